"""Settings of the server. Imports no TensorFlow, so that the command line can show the defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.serving.memory import available_memory
from models.kernels.cpus import available_cpus


@dataclass(frozen=True)
class Limits:
    """Largest requests that are accepted; others are refused with INVALID_ARGUMENT."""

    rows: int = 1024
    """Rows of one request."""
    text_bytes: int = 160_000
    """Size of one row, in bytes: its strings, or the given tokens with their padding, with one byte between
    two; times the beam width."""
    body_bytes: int = 16 * 2**20
    """Size of one HTTP body or gRPC message, in bytes."""
    header_bytes: int = 64 * 2**10
    """Size of the target and the headers of one HTTP request, in bytes."""
    header_timeout: float = 10.0
    """Seconds until the headers of an HTTP request must have arrived."""
    length: int = 10_000
    """Tokens to generate for one row."""
    width: int = 100
    """Beam width."""
    timeout: float = 60.0
    """Seconds until a request without a deadline is given up."""
    values: int = 2**23
    """Output values of one request, padding included."""
    streams: int = 64
    """Texts that are streamed at the same time; further requests are refused with RESOURCE_EXHAUSTED."""


def affordable_bytes() -> int:
    """Return the default of `Batching.max_bytes` for the memory and the cores that this process may use.

    A token of a default tagger takes about 8 KB, and may be a single byte. A quarter of the memory is for
    these calls, the rest for TensorFlow, the models and the requests.
    """
    return min(max(available_memory() // 2**15, 2**15), available_cpus() * 2**17)


@dataclass(frozen=True)
class Batching:
    """Dynamic batching: rows of concurrent requests share calls of a model."""

    max_batch_size: int = 64
    """Rows of one call."""
    max_bytes: int = field(default_factory=affordable_bytes)
    """Size of all calls of long rows that run at the same time: rows × longest row, in bytes. One call of
    several rows has at most half of it. A single row that is larger runs when no other long ones do."""
    threads: int = field(default_factory=available_cpus)
    """Concurrent calls of one signature; by default one for each core, as in TensorFlow Serving. If all of
    them have long rows, one more may have short ones."""
    timeout: float = 0.0
    """Seconds that a row waits for further rows while a thread is idle."""
    max_queue: int = 1024
    """Rows of a signature that are queued or running; further requests are refused."""
    max_queue_bytes: int = 16 * 2**20
    """Size of these rows, likewise."""
    boundaries: tuple[int, ...] = (512, 4096, 2**15)
    """Sizes in bytes that separate short from longer rows, up to long ones. Rows of different lanes never
    share a call, because each row is padded to the longest one of its call."""
    direct_calls: int = 4
    """Concurrent calls of a signature that is not batched."""
