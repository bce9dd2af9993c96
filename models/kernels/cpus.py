"""The number of CPUs that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def available_cpus() -> int:
    """Return how many CPUs this process may use, at least 1.

    It is the number of CPUs that the scheduler may place the process on, or the quota of its control groups,
    rounded up, if that is less. `os.cpu_count` has neither.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota()
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def cgroup_quota(groups: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> float | None:
    """Return the smallest quota among the control groups of this process, in CPUs; None: no limit.

    Both versions of control groups are read. In a container, the path of a group may be the one on the host;
    then the root of what is mounted is the group of the container.

    Args:
        groups: where control groups are mounted.
        own: lists the groups of this process, a line `ID:CONTROLLERS:PATH` for each hierarchy.
    """
    quotas: list[float] = []
    for controllers, path in own_groups(own):
        if not controllers:
            quotas += _quotas(groups, path, _quota_of_version_2)
        elif "cpu" in controllers.split(","):
            for name in dict.fromkeys((controllers, "cpu")):
                quotas += _quotas(groups / name, path, _quota_of_version_1)
    return min(quotas, default=None)


def own_groups(own: Path = _OWN_CGROUPS) -> Iterator[tuple[str, str]]:
    """Yield the control groups of this process: the controllers of each hierarchy, and the path in it."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux, or no /proc
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        yield controllers, path


def _quotas(root: Path, path: str, quota_of: Callable[[Path], float | None]) -> Iterator[float]:
    """Yield the quotas of a group and of those that it is in."""
    relative = PurePosixPath(path.lstrip("/"))
    for part in (relative, *relative.parents):
        quota = quota_of(root / part)
        if quota is not None:
            yield quota


def _quota_of_version_2(group: Path) -> float | None:
    """Read `cpu.max`: a quota in microseconds or `max`, and the period."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_of_version_1(group: Path) -> float | None:
    try:
        quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else None  # -1: no limit
    except (OSError, ValueError, ZeroDivisionError):
        return None
