"""Options of the memory allocator of glibc, for the whole process; without glibc they have no effect."""

from __future__ import annotations

import ctypes
import resource

# Of malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8

_KEPT = 2**30
"""Up to which size freed memory is kept, in bytes."""
_GROWTH = 2**26
"""By how many bytes more than it must the memory of the process grows."""


def keep_freed_memory() -> None:
    """Keep freed memory for the next allocation, unless the address space is limited (`ulimit -v`).

    The activations of a training step are larger than what glibc keeps: each step would return them to the
    system, and get the same number of pages again, which the system must fill with zeros first. That takes a
    fifth of the time of a step.
    """
    if not has_limited_address_space():
        _set_option(_M_MMAP_THRESHOLD, _KEPT)
        _set_option(_M_TRIM_THRESHOLD, _KEPT)
        _set_option(_M_TOP_PAD, _GROWTH)


def save_address_space() -> None:
    """Let all threads allocate from two arenas, if the address space is limited (`ulimit -v`).

    glibc reserves 64 MB of address space for each thread that allocates: almost 1 GB for the threads of a
    server, which uses a few MB of it. Call it before TensorFlow is imported.
    """
    if has_limited_address_space():
        _set_option(_M_ARENA_MAX, 2)


def return_memory() -> None:
    """Return freed memory to the system, which glibc keeps for the process."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def has_limited_address_space() -> bool:
    """Return whether `ulimit -v` is set."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return limit != resource.RLIM_INFINITY


def _set_option(option: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(option, value)
