"""Settings of the server. Imports no TensorFlow, so that the command line can show the defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Largest requests that are accepted; others are refused with INVALID_ARGUMENT."""

    rows: int = 1024
    """Rows of one request."""
    text_bytes: int = 1_000_000
    """Size of one input string, in bytes."""
    body_bytes: int = 64 * 2**20
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


@dataclass(frozen=True)
class Batching:
    """Dynamic batching: rows of concurrent requests share calls of a model."""

    max_batch_size: int = 64
    """Rows of one call."""
    threads: int = os.cpu_count() or 1
    """Concurrent calls of one signature; by default one for each core, as in TensorFlow Serving."""
    timeout: float = 0.0
    """Seconds that a row waits for further rows while a thread is idle."""
    max_queue: int = 1024
    """Rows of a signature that are queued or running; further requests are refused."""
    boundaries: tuple[int, ...] = (512,)
    """Text sizes in bytes that separate short from long rows. Short and long rows never share a call, because
    each row is padded to the longest one of its call."""
    direct_calls: int = 4
    """Concurrent calls of a signature that is not batched."""
