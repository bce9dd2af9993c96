import os
from pathlib import Path

import pytest

from models.kernels.cpus import available_cpus, cgroup_quota


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def own_groups(folder: Path, *lines: str) -> Path:
    write(folder / "own", "".join(f"{line}\n" for line in lines))
    return folder / "own"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"a/b/cpu.max": "250000 100000\n", "a/cpu.max": "max 100000\n"}, 2.5),
        ({"a/b/cpu.max": "250000 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "a\n"}, None),
    ],
    ids=["none", "max", "own", "outer", "container", "damaged"],
)
def test_the_smallest_quota_of_a_group_and_those_around_it_counts(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    assert cgroup_quota(tmp_path, own_groups(tmp_path, "0::/a/b")) == quota


def test_the_first_version_of_control_groups_is_read(tmp_path: Path) -> None:
    own = own_groups(tmp_path, "5:cpuset:/a", "4:cpu,cpuacct:/a", "1:memory:/b")
    assert cgroup_quota(tmp_path, own) is None
    write(tmp_path / "cpu,cpuacct/a/cpu.cfs_period_us", "100000\n")
    write(tmp_path / "cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n")
    assert cgroup_quota(tmp_path, own) is None
    write(tmp_path / "cpu,cpuacct/a/cpu.cfs_quota_us", "300000\n")
    assert cgroup_quota(tmp_path, own) == 3


def test_no_more_cpus_than_the_scheduler_allows() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("quota", "cpus"), [(None, 8), (0.2, 1), (2.5, 3), (64.0, 8)])
def test_a_quota_is_rounded_up(monkeypatch: pytest.MonkeyPatch, quota: float | None, cpus: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr("models.kernels.cpus.cgroup_quota", lambda: quota)
    assert available_cpus() == cpus
