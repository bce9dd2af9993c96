"""The address space of a server."""

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
