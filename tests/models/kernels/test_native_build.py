"""The compilation of the native kernels, by scripts in place of a compiler, and where they are kept."""

import os
import re
import stat
import threading
import time
from pathlib import Path

import pytest

from models.kernels.native import build, cache
from models.kernels.native.build import BuildError, Compiler, compile_library, find_compiler
from models.kernels.native.cache import UnusableError, open_cache, store, stored

VERSION = 'case "$*" in *--version) echo "{name} 1.0"; echo more; exit;; esac\n'


def program(path: Path, body: str = "exit 1", *, version: bool = True) -> Path:
    """Write a script that is called as a compiler."""
    path.parent.mkdir(exist_ok=True)
    start = VERSION.format(name=path.name) if version else ""
    path.write_text(f"#!/bin/sh\n{start}{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the whole PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


@pytest.mark.parametrize(
    ("present", "environment", "found"),
    [
        (["g++", "clang++", "c++"], {}, "g++"),
        (["clang++", "c++"], {"CXX": "", "CC": ""}, "clang++"),
        (["g++", "c++"], {"CXX": "c++ -m64"}, "c++"),
        (["g++", "clang++-17"], {"CC": "clang-17"}, "clang++-17"),
        (["g++", "x-linux-gnu-g++"], {"CC": "x-linux-gnu-gcc"}, "x-linux-gnu-g++"),
        (["g++", "c++"], {"CC": "cc", "CXX": "g++"}, "g++"),
    ],
)
def test_the_compiler_is_the_one_of_the_environment(
    programs: Path, present: list[str], environment: dict[str, str], found: str
) -> None:
    for name in present:
        program(programs / name)
    compiler = find_compiler(environment)
    assert compiler.command[0] == str(programs / found)
    assert compiler.version == f"{found} 1.0"
    assert compiler.command[1:] == (("-m64",) if "-m64" in environment.get("CXX", "") else ())


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"CC": "/bin/false"}, "no C++ compiler goes with CC=/bin/false; name one in CXX"),
        ({"CC": "clang"}, "CC=clang: clang++ is not an executable program"),
        ({"CXX": "/bin/false"}, "CXX=/bin/false does not run: /bin/false: exit status 1"),
        ({"CXX": "missing"}, "CXX=missing: missing is not an executable program"),
    ],
)
def test_a_compiler_that_is_named_and_does_not_run_is_not_replaced(
    programs: Path, environment: dict[str, str], reason: str
) -> None:
    program(programs / "g++")
    with pytest.raises(BuildError, match=f"^{re.escape(reason)}$"):
        find_compiler(environment)


@pytest.mark.usefixtures("programs")
def test_without_a_compiler_the_reason_names_those_that_were_looked_for() -> None:
    with pytest.raises(
        BuildError, match=r"^no C\+\+ compiler found \(g\+\+, clang\+\+, c\+\+\); install g\+\+$"
    ):
        find_compiler({})


def test_the_first_error_of_the_compiler_is_the_reason(tmp_path: Path) -> None:
    path = program(
        tmp_path / "g++", 'echo "In file" >&2\necho "a.cpp:1: error: no" >&2\necho "error: b" >&2\nexit 1'
    )
    with pytest.raises(BuildError, match=f"^{re.escape(str(path))}: a.cpp:1: error: no$"):
        compile_library(find_compiler({"CXX": str(path)}), tmp_path / "library")


def test_a_compiler_that_does_not_end_is_stopped_with_all_that_it_has_started(tmp_path: Path) -> None:
    path = program(tmp_path / "g++", f"sleep 300 & echo $! >> {tmp_path}/pids\nwait")
    started = time.monotonic()
    with pytest.raises(BuildError, match="took too long and was stopped"):
        compile_library(find_compiler({"CXX": str(path)}), tmp_path / "library", timeout=1)
    assert time.monotonic() - started < 30
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert pids
    time.sleep(0.2)
    assert [pid for pid in pids if _runs(pid)] == []


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_the_key_depends_on_all_that_the_machine_code_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler(("/bin/g++",), "/bin/g++-12", "g++ 12")
    keys = [
        build.library_key(compiler, "2.21.0"),
        build.library_key(compiler, "2.22.0"),
        build.library_key(Compiler(("/bin/g++", "-m64"), "/bin/g++-12", "g++ 12"), "2.21.0"),
        build.library_key(Compiler(("/bin/g++",), "/bin/g++-13", "g++ 12"), "2.21.0"),
        build.library_key(Compiler(("/bin/g++",), "/bin/g++-12", "g++ 13"), "2.21.0"),
    ]
    for name, value in (("machine", lambda: ["linux", "riscv64", "glibc", "2.36"]), ("_FLAGS", ("-O0",))):
        with monkeypatch.context() as patch:
            patch.setattr(build, name, value)
            keys.append(build.library_key(compiler, "2.21.0"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", lambda *_, **__: "// other sources")
        keys.append(build.library_key(compiler, "2.21.0"))
    assert len(set(keys)) == len(keys)
    assert build.library_key(compiler, "2.21.0") == keys[0]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home of caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_only_the_user_can_read_or_change_the_cache(home: Path) -> None:
    folder = open_cache()
    assert folder == home / "textrnn" / "kernels"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert open_cache() == folder


@pytest.mark.parametrize(
    ("path", "mode", "is_refused"),
    [
        ("textrnn/kernels", 0o770, True),
        ("textrnn/kernels", 0o702, True),
        ("textrnn/kernels", 0o755, False),
        ("textrnn", 0o777, True),
        ("textrnn", 0o1777, False),
        ("textrnn", 0o775, False),
    ],
)
def test_a_cache_that_others_can_change_is_refused(
    home: Path, path: str, mode: int, is_refused: bool
) -> None:
    open_cache()
    (home / path).chmod(mode)
    if is_refused:
        with pytest.raises(UnusableError, match=rf"/{path} can be written by other users$"):
            open_cache()
    else:
        assert open_cache()


@pytest.mark.usefixtures("home")
def test_a_cache_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    open_cache()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(UnusableError, match=r"kernels belongs to another user$"):
        open_cache()


@pytest.mark.parametrize("where", ["/proc/none", "~/.cache", "/dev/null/none"])
def test_a_cache_that_cannot_be_written_is_refused(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one is what a user without a home has."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: where)
    with pytest.raises(UnusableError):
        open_cache()


@pytest.mark.parametrize("damage", ["truncated", "changed", "no checksum", "no library", "a file"])
@pytest.mark.usefixtures("home")
def test_a_damaged_library_is_made_again(damage: str) -> None:
    folder = open_cache()
    path = store(folder, "key", lambda library: library.write_bytes(b"machine code"), timeout=1)
    assert stored(folder, "key") == path
    if damage == "truncated":
        path.write_bytes(b"machine")
    elif damage == "changed":
        path.write_bytes(b"machine c0de")
    elif damage == "no checksum":
        path.with_name(cache.CHECKSUM).unlink()
    else:
        path.unlink()
    if damage == "a file":
        path.with_name(cache.CHECKSUM).unlink()
        path.parent.rmdir()
        path.parent.touch()
    assert stored(folder, "key") is None
    assert store(folder, "key", lambda library: library.write_bytes(b"again"), timeout=1) == path
    assert path.read_bytes() == b"again"
    assert sorted(entry.name for entry in folder.iterdir()) == ["key", "lock"]


@pytest.mark.usefixtures("home")
def test_of_two_at_once_one_makes_the_library_and_both_use_it() -> None:
    folder, made, found = open_cache(), [], []

    def make(library: Path) -> None:
        made.append(library)
        time.sleep(0.2)
        library.write_bytes(b"machine code")

    threads = [
        threading.Thread(target=lambda: found.append(store(folder, "key", make, timeout=60)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [folder / "key" / build.LIBRARY] * 4
    assert len(made) == 1


@pytest.mark.usefixtures("home")
def test_one_that_waits_too_long_makes_its_own() -> None:
    folder = open_cache()
    inner: list[Path] = []

    def make(library: Path) -> None:
        if not inner:  # another one comes while this one compiles
            inner.append(library)
            store(folder, "key", lambda other: other.write_bytes(b"other"), timeout=0.1)
        library.write_bytes(b"own")

    path = store(folder, "key", make, timeout=60)
    assert path.read_bytes() == b"own"
    assert inner


@pytest.mark.usefixtures("home")
def test_what_a_killed_process_has_left_is_removed() -> None:
    folder = open_cache()
    (folder / "partial-1" / "made").mkdir(parents=True)
    (folder / "partial-1" / "made" / build.LIBRARY).touch()

    def fail(library: Path) -> None:
        library.write_bytes(b"half")
        raise BuildError("no")

    with pytest.raises(BuildError):
        store(folder, "key", fail, timeout=1)
    assert [entry.name for entry in folder.iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("change", "is_fit"),
    [
        (None, True),
        ("sources_key", False),
        ("machine", False),
        ("newer", True),
        ("older", False),
        ("library", False),
        ("description", False),
    ],
)
def test_a_library_of_a_wheel_is_used_where_it_fits(
    change: str | None, is_fit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / build.LIBRARY
    monkeypatch.setattr(build, "machine", lambda: ["linux", "x86_64", "glibc", "2.9"])
    library.write_bytes(b"machine code")
    build.describe(library)
    versions = {"newer": "2.36", "older": "2.8"}
    if change in versions:
        monkeypatch.setattr(build, "machine", lambda: ["linux", "x86_64", "glibc", versions[change or ""]])
    elif change == "machine":
        monkeypatch.setattr(build, "machine", lambda: ["linux", "aarch64", "glibc", "2.9"])
    elif change == "sources_key":
        monkeypatch.setattr(build, "sources_key", lambda: "other")
    elif change == "library":
        library.write_bytes(b"machine")
    elif change == "description":
        library.with_suffix(".json").write_text("{")
    assert build.fits(library) == is_fit
