"""Compilation of the native kernels with the C++ compiler of the machine.

It needs neither TensorFlow nor its headers. The build of a wheel runs it too: beside this project it imports
the standard library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from models.kernels.cpus import available_cpus

SOURCES = Path(__file__).parent
LIBRARY = "kernels.so"
"""Name of the compiled library."""
DESCRIPTION = ".json"
"""Suffix of the file beside a library that says what it was made of."""
CHECK = "check.cpp"
"""The kernels' own test program, which is not in the library."""
OPERATION = "operation.cpp"
"""The only source that calls TensorFlow."""
TIMEOUT = 300.0
"""Seconds that the compilation may take."""
INSTRUCTION_SETS = {
    "x86_64": {
        "avx512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
        "avx2": ("-march=x86-64-v3",),
        "baseline": (),
    }
}
"""Options of the compiler for each instruction set of a machine; another machine has `baseline` only."""
FRAMEWORK = "libtensorflow_framework.so.2"
"""The library that exports TensorFlow's C API. It is in the process when the kernels are loaded."""

_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
)
_COMPILERS = ("g++", "clang++", "c++")
_OF_C = {"gcc": "g++", "clang": "clang++", "cc": "c++"}
"""The C++ compiler that goes with a C compiler."""
_C_COMPILER = re.compile(r"(?P<before>.+-)?(?P<name>gcc|clang|cc)(?P<after>-[\d.]+)?")
_VERSION_TIMEOUT = 30.0


class BuildError(Exception):
    """The kernels cannot be compiled here; the text says why, in one line."""


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler."""

    command: tuple[str, ...]
    """Program, with an absolute path, and its first arguments."""
    path: str
    """Of the program itself, where `command` names a link to it."""
    version: str
    """First line of `--version`."""


def find_compiler(environment: Mapping[str, str] = os.environ) -> Compiler:
    """Return the C++ compiler: `CXX`, else the one that goes with `CC`, else g++, clang++ or c++.

    Raises:
        BuildError: there is none, or the one that is named does not run.
    """
    if command := shlex.split(environment.get("CXX", "")):
        return _checked(command, f"CXX={environment['CXX']}")
    if command := shlex.split(environment.get("CC", "")):
        name = f"CC={environment['CC']}"
        program = Path(command[0])
        found = _C_COMPILER.fullmatch(program.name)
        if found is None:
            raise BuildError(f"no C++ compiler goes with {name}; name one in CXX")
        before, after = found["before"] or "", found["after"] or ""
        other = program.with_name(f"{before}{_OF_C[found['name']]}{after}")
        return _checked([str(other), *command[1:]], name)
    for program_name in _COMPILERS:
        if shutil.which(program_name):
            return _checked([program_name], program_name)
    raise BuildError(f"no C++ compiler found ({', '.join(_COMPILERS)}); install g++")


def _checked(command: Sequence[str], name: str) -> Compiler:
    path = shutil.which(command[0])
    if path is None:
        raise BuildError(f"{name}: {command[0]} is not an executable program")
    whole = (path, *command[1:])
    try:
        said = _run([*whole, "--version"], _VERSION_TIMEOUT)
    except BuildError as error:
        raise BuildError(f"{name} does not run: {error}") from None
    return Compiler(whole, os.path.realpath(path), said.partition("\n")[0].strip())


def machine() -> list[str]:
    """Return what the machine code of a library depends on: the architecture and the C library."""
    return [sys.platform, platform.machine(), *platform.libc_ver()]


def sources_key() -> str:
    """Return a hash of the sources and of all options of the compiler."""
    content = [path.read_text(encoding="utf-8") for path in sorted(_inputs())]
    return _hash([content, _FLAGS, _sets(), FRAMEWORK])


def library_key(compiler: Compiler, tensorflow: str) -> str:
    """Return a hash of all that a library depends on.

    Args:
        compiler: compiles it.
        tensorflow: version of TensorFlow.
    """
    return _hash([sources_key(), dataclasses.astuple(compiler), tensorflow, machine()])


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _inputs() -> list[Path]:
    return [path for kind in ("*.cpp", "*.h") for path in SOURCES.glob(kind) if path.name != CHECK]


def _sets() -> dict[str, tuple[str, ...]]:
    return INSTRUCTION_SETS.get(platform.machine(), {"baseline": ()})


def describe(library: Path) -> None:
    """Write beside a library what it was made of, so that `fits` can be asked on another machine."""
    facts = {"sources": sources_key(), "machine": machine(), "sha256": checksum(library)}
    library.with_suffix(DESCRIPTION).write_text(json.dumps(facts), encoding="utf-8")


def fits(library: Path) -> bool:
    """Return whether a library is there, whole, made of these sources, and can run on this machine."""
    try:
        facts = json.loads(library.with_suffix(DESCRIPTION).read_text(encoding="utf-8"))
        *kind, version = facts["machine"]
        *own_kind, own_version = machine()
        return bool(
            facts["sources"] == sources_key()
            and kind == own_kind
            and _numbers(version) <= _numbers(own_version)
            and facts["sha256"] == checksum(library)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def checksum(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compile_library(compiler: Compiler, library: Path, timeout: float = TIMEOUT) -> None:
    """Compile the shared library of the kernels, in parallel processes.

    Args:
        compiler: compiles it.
        library: file to write.
        timeout: seconds for the whole.

    Raises:
        BuildError: a source does not compile, or it takes too long.
    """
    end = time.monotonic() + timeout
    with tempfile.TemporaryDirectory(prefix="textrnn-") as folder:
        objects = _compile(compiler, Path(folder), [*_sources()], (), end)
        # Only the name of the framework is in the library. Linked with an empty library of this name, it
        # needs no TensorFlow now, and finds the one of the process later.
        empty, framework = Path(folder, "empty.cpp"), Path(folder, FRAMEWORK)
        empty.touch()
        shared = [*compiler.command, "-shared", "-fPIC", "-pthread"]
        _run([*shared, f"-Wl,-soname,{FRAMEWORK}", str(empty), "-o", str(framework)], end - time.monotonic())
        linked = [*map(str, objects), "-Wl,--no-as-needed", str(framework), "-o", str(library)]
        _run([*shared, *linked], end - time.monotonic())


def compile_check(compiler: Compiler, program: Path, flags: Sequence[str], timeout: float = TIMEOUT) -> None:
    """Compile the kernels' own test program, without TensorFlow.

    Args:
        compiler: compiles it.
        program: file to write.
        flags: further options of the compiler and the linker, e.g. `-fsanitize=address`.
        timeout: seconds for the whole.

    Raises:
        BuildError: a source does not compile, or it takes too long.
    """
    end = time.monotonic() + timeout
    with tempfile.TemporaryDirectory(prefix="textrnn-") as folder:
        sources = [(path, options) for path, options in _sources() if path.name != OPERATION]
        objects = _compile(compiler, Path(folder), [*sources, (SOURCES / CHECK, ())], flags, end)
        command = [*compiler.command, "-pthread", *flags, *map(str, objects), "-o", str(program)]
        _run(command, end - time.monotonic())


def _sources() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield each source with its own options; the kernels once for each instruction set."""
    for path in sorted(_inputs()):
        if path.name == "kernels.cpp":
            for name, options in _sets().items():
                yield path, (f"-DTEXTRNN_ISA={name}", *options)
        elif path.suffix == ".cpp":
            yield path, ()


def _compile(
    compiler: Compiler,
    folder: Path,
    sources: Sequence[tuple[Path, tuple[str, ...]]],
    flags: Sequence[str],
    end: float,
) -> list[Path]:
    """Compile each source to an object file, and return these."""

    def compile_one(number: int) -> Path:
        source, options = sources[number]
        target = folder / f"{number}-{source.stem}.o"
        command = [*compiler.command, *_FLAGS, *options, *flags, "-c", str(source), "-o", str(target)]
        _run(command, end - time.monotonic())
        return target

    with ThreadPoolExecutor(available_cpus()) as pool:
        waiting = [pool.submit(compile_one, number) for number in range(len(sources))]
        try:
            return [one.result() for one in waiting]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run(command: Sequence[str], timeout: float) -> str:
    """Run a program, with all that it starts, and return its output.

    Raises:
        BuildError: it does not start, fails or takes too long; the text has the first line of its errors.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=os.environ | {"LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            raise BuildError(f"{command[0]}: {error.strerror}") from None
        try:
            status = process.wait(max(timeout, 0))
        except subprocess.TimeoutExpired:
            raise BuildError(f"{command[0]} took too long and was stopped") from None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        errors.seek(0)
        if status:
            raise BuildError(f"{command[0]}: {_reason(errors.read(), status)}")
        output.seek(0)
        return output.read().decode(errors="replace")


def _reason(errors: bytes, status: int) -> str:
    """Return the first line of a compiler's output that names an error, or its first line, or its status."""
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
    named = [line for line in lines if "error" in line.lower()]
    return next(iter(named or lines), f"exit status {status}")
