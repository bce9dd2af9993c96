"""Whether the native kernels run in this process, and what is said if they do not."""

from pathlib import Path

import pytest
import tensorflow as tf

from models.kernels import choice
from models.kernels.native import build, library
from models.kernels.native.build import BuildError, Compiler
from models.kernels.native.threads import native_threads

COMPILER = Compiler(("/bin/g++",), "/bin/g++", "g++ 1.0")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Begin as a new process does, with an empty cache. Nothing is loaded: a process can load one library."""
    monkeypatch.setattr(library, "_loaded", None)
    monkeypatch.setattr(library, "_failed", None)
    monkeypatch.setattr(library, "PACKAGED", tmp_path / "packaged" / build.LIBRARY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        library,
        "_load",
        lambda path, origin, kept: library.Library(True, f"{path.read_text()}, {origin}", kept),
    )


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Compile by writing a word, and return the list of what was compiled."""
    made: list[Path] = []

    def compile_library(_: Compiler, path: Path) -> None:
        made.append(path)
        path.write_text("code")

    monkeypatch.setattr(build, "find_compiler", lambda: COMPILER)
    monkeypatch.setattr(build, "compile_library", compile_library)
    return made


def test_the_library_is_compiled_once_and_then_found(compiled: list[Path]) -> None:
    assert library.needs_compiling()
    assert library.library(build=False) == library.Library(False, "not compiled yet")
    found = library.library()
    assert found.available
    assert found.reason == "code, compiled by g++ 1.0"
    assert found.path is not None
    assert not library.needs_compiling()
    assert library.library(build=False) == found
    assert len(compiled) == 1


def test_without_a_cache_it_is_compiled_for_the_process(
    compiled: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert library.needs_compiling()
    found = library.library()
    assert found.available
    assert found.path is None
    assert found.reason.startswith("code, compiled by g++ 1.0, for this process only: /proc/none")
    assert [path.exists() for path in compiled] == [False]


def test_a_library_of_the_package_needs_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/bin/false")
    library.PACKAGED.parent.mkdir()
    library.PACKAGED.write_text("wheel")
    build.describe(library.PACKAGED)
    assert not library.needs_compiling()
    assert library.library() == library.Library(True, "wheel, from the package", library.PACKAGED)


def test_a_failure_is_one_line_and_remembered_for_the_process(
    compiled: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def fail(_: Compiler, path: Path) -> None:
        calls.append(path)
        raise BuildError("g++: kernels.cpp:1: error: no\n  such thing")

    monkeypatch.setattr(build, "compile_library", fail)
    for _ in range(2):
        found = library.library()
        assert (found.available, found.reason) == (False, "g++: kernels.cpp:1: error: no such thing")
    assert len(calls) == 1
    assert not library.needs_compiling()
    with pytest.raises(RuntimeError, match=r"not available: g\+\+: kernels\.cpp:1: error"):
        library.operations()


def test_a_library_that_tensorflow_refuses_is_not_available(
    compiled: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise tf.errors.NotFoundError(None, None, "kernels.so: undefined symbol")

    monkeypatch.setattr(library, "_load", refuse)
    assert library.library() == library.Library(False, "kernels.so: undefined symbol")
    assert len(compiled) == 1


@pytest.mark.usefixtures("compiled")
def test_auto_is_native_where_that_can_run() -> None:
    assert choice.needs_compiling("auto")
    assert choice.choose("auto").kernels == "native"
    assert choice.choose("native") == choice.choose("auto")
    assert choice.choose("keras") == choice.KERAS


def test_auto_is_keras_without_a_compiler_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/bin/false")
    found = choice.choose("auto")
    assert (found.name, found.is_fallback) == ("keras", True)
    assert found.reason == "CXX=/bin/false does not run: /bin/false: exit status 1"
    assert not choice.needs_compiling("auto")
    with pytest.raises(ValueError, match="not available: CXX=/bin/false does not run"):
        choice.choose("native")


def test_auto_leaves_a_gpu_to_cudnn(compiled: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["/physical_device:GPU:0"])
    assert not choice.needs_compiling("auto")
    found = choice.choose("auto")
    assert (found.kernels, found.is_fallback) == ("keras", False)
    assert compiled == []


def test_the_threads_are_those_of_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.kernels.native.threads.available_cpus", lambda: 5)
    for given, threads in (("3", 3), ("0", 5), ("", 5), ("many", 5)):
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", given)
        assert native_threads() == threads
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 2)
    assert native_threads() == 2
