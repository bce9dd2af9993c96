"""The shared library of the native kernels: found, or compiled at first use, and loaded once a process."""

from __future__ import annotations

import ctypes
import functools
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from models.kernels.native import build as builder
from models.kernels.native.build import LIBRARY, BuildError, Compiler
from models.kernels.native.cache import UnusableError, open_cache, store, stored
from models.kernels.native.threads import native_threads

PACKAGED = Path(__file__).parent / LIBRARY
"""The library that a wheel brings."""


@dataclass(frozen=True)
class Library:
    """Whether the native kernels can run in this process."""

    available: bool
    reason: str
    """One line: what runs, or why it does not."""
    path: Path | None = None
    """Of the library; None if there is none, or if it is one of this process alone."""
    instruction_set: str | None = None
    """Which of its kernels run: `avx512`, `avx2` or `baseline`."""


@dataclass
class _Loaded:
    library: Library
    operations: Any
    functions: ctypes.CDLL
    threads: int = 0


_lock = threading.RLock()
_loaded: _Loaded | None = None
_failed: Library | None = None


def library(build: bool = True) -> Library:
    """Return the library; it is compiled if it has to be, and loaded at the first call.

    It never raises. A failure is remembered for the process.

    Args:
        build: whether it may be compiled, which takes some seconds.
    """
    global _failed
    with _lock:
        if _loaded is not None:
            _follow_threads(_loaded)
            return _loaded.library
        if _failed is not None:
            return _failed
        try:
            return _open(build)
        except (BuildError, OSError, tf.errors.OpError) as error:
            found = Library(False, _one_line(error))
        if build:
            _failed = found
        return found


def needs_compiling() -> bool:
    """Return whether `library()` would compile now, so that a user can be told why it takes time."""
    with _lock:
        if _loaded is not None or _failed is not None or builder.fits(PACKAGED):
            return False
        try:
            key = _key(_compiler())
        except (BuildError, OSError):
            return False
        try:
            return stored(open_cache(), key) is None
        except UnusableError:
            return True


def operations() -> Any:
    """Return the module of the operations, e.g. `operations().textrnn_recurrent(…)`.

    Raises:
        RuntimeError: the library is not available; the message says why.
    """
    found = library()
    if _loaded is None:
        raise RuntimeError(f"the native kernels are not available: {found.reason}")
    return _loaded.operations


def _open(build: bool) -> Library:
    if builder.fits(PACKAGED):
        try:
            return _load(PACKAGED, "from the package", PACKAGED)
        except (tf.errors.OpError, OSError):
            pass  # it needs something that this system lacks: compile one
    compiler = _compiler()
    key = _key(compiler)
    by = f"compiled by {compiler.version}"
    try:
        cache = open_cache()
        path = stored(cache, key)
        if path is None:
            if not build:
                return Library(False, "not compiled yet")
            path = store(
                cache, key, functools.partial(builder.compile_library, compiler), timeout=builder.TIMEOUT
            )
    except (UnusableError, OSError) as error:
        if not build:
            return Library(False, "not compiled yet")
        with tempfile.TemporaryDirectory(prefix="textrnn-") as folder:
            path = Path(folder, LIBRARY)
            builder.compile_library(compiler, path)
            return _load(path, f"{by}, for this process only: {_one_line(error)}", None)
    return _load(path, by, path)


def _load(path: Path, origin: str, kept: Path | None) -> Library:
    global _loaded
    operations = tf.load_op_library(str(path))
    functions = ctypes.CDLL(str(path))
    functions.textrnn_instruction_set.restype = ctypes.c_char_p
    instruction_set = functions.textrnn_instruction_set().decode()
    found = Library(True, f"native kernels for {instruction_set}, {origin}", kept, instruction_set)
    _loaded = _Loaded(found, operations, functions)
    _follow_threads(_loaded)
    return found


def _follow_threads(loaded: _Loaded) -> None:
    """Use as many threads as TensorFlow; a number that was set by other means stays until that changes."""
    threads = native_threads()
    if threads != loaded.threads:
        loaded.functions.textrnn_set_threads(threads)
        loaded.threads = threads


def _compiler() -> Compiler:
    if sys.platform != "linux":
        raise BuildError(f"there are none for {sys.platform}")
    return builder.find_compiler()


def _key(compiler: Compiler) -> str:
    return builder.library_key(compiler, tf.__version__)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
