"""The memory of a server."""

from __future__ import annotations

import ctypes
import resource

_M_ARENA_MAX = -8
"""Of glibc's `malloc.h`."""


def save_address_space() -> None:
    """Let all threads allocate from two arenas, if the address space of the process is limited (`ulimit -v`).

    glibc reserves 64 MB of address space for each thread that allocates: almost 1 GB for the threads of a
    server, which uses a few MB of it. Call it before TensorFlow is imported.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if limit != resource.RLIM_INFINITY and mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


def return_memory() -> None:
    """Return freed memory to the system: after a call that failed for want of it, the next one needs it."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
