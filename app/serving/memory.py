"""The memory of a server."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from models.kernels.cpus import own_groups

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_LIMITS = {"": "memory.max", "memory": "memory/memory.limit_in_bytes"}
"""File with the limit of a control group, by the controllers of its hierarchy: version 2, and 1."""


def available_memory() -> int:
    """Return how many bytes this process may use.

    It is the memory of the machine, the limit of the control groups of a container, or the limit of the
    address space (`ulimit -v`), whichever is the least.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    limits = [] if limit == resource.RLIM_INFINITY else [limit]
    return min([memory, *limits, *cgroup_limits()])


def cgroup_limits(groups: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> Iterator[int]:
    """Yield the limits of the memory of the control groups of this process, in bytes.

    Args:
        groups: where control groups are mounted.
        own: lists the groups of this process, a line `ID:CONTROLLERS:PATH` for each hierarchy.
    """
    for controllers, path in own_groups(own):
        if controllers not in _LIMITS:
            continue
        folder, _, name = _LIMITS[controllers].rpartition("/")
        group = PurePosixPath(path.lstrip("/"))
        for part in (group, *group.parents):
            try:
                yield int((groups / folder / part / name).read_text())
            except (OSError, ValueError):  # no such group here, or `max`
                continue
