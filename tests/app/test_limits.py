"""Limits of the machine, memory and disk, end in one line; other unexpected errors stay tracebacks."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import Result
from trained import PLAIN, overrides

from app.training.fit import Fit

Command = Callable[..., Result]
TINY = overrides(*PLAIN, "model.units=4", "model.embedding_size=4", "training.epochs=1")


def raising(error: Exception) -> Callable[..., object]:
    """Return a function that raises an error."""

    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


OUT_OF_MEMORY = (
    MemoryError(),
    MemoryError("std::bad_alloc"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[64,30000,128]"),
    tf.errors.ResourceExhaustedError(None, None, "failed to allocate memory"),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_training_without_enough_memory(
    command: Command, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The message names a key that helps, and the command takes it."""
    with monkeypatch.context() as patch:
        patch.setattr(Fit, "_add_step", raising(error))
        result = command("train", "classification", reviews, "--run", tmp_path / "run", *TINY)

    assert result.exit_code == 1
    *_, message = result.stderr.splitlines()
    assert message.startswith("Error: out of memory; ")
    key = re.search(r"--set ([\w.]+)=N", message)
    assert key
    options = (*TINY, "--set", f"{key[1]}=2", "--run", tmp_path / "other")
    assert command("train", "classification", reviews, *options).exit_code == 0


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_prediction_without_enough_memory(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The message says what to do about the input."""
    monkeypatch.setattr("app.prediction.predictor.Predictor.run", raising(error))

    result = command("predict", run, stdin="good\n")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: out of memory; shorten the longest texts\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ENOSPC, "No space left on device", "runs/a/model.keras"),
        tf.errors.ResourceExhaustedError(None, None, "/data/x: No space left on device"),
    ],
    ids=str,
)
def test_a_full_disk(command: Command, run: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A full disk is named as such."""
    monkeypatch.setattr("app.export.export", raising(error))

    result = command("export", run)

    assert result.exit_code == 1
    assert re.fullmatch("Error: .*[Nn]o space left on device.*\n", result.stderr)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            tf.errors.PermissionDeniedError(None, None, "runs/x; Permission denied"),
            "runs/x; Permission denied",
        ),
        (tf.errors.ResourceExhaustedError(None, None, "a; Too many open files"), "a; Too many open files"),
        (tf.errors.UnknownError(None, None, "a; Read-only file system"), "a; Read-only file system"),
        (tf.errors.FailedPreconditionError(None, None, "a; Is a directory\n\t[[x]]"), "a; Is a directory"),
        (tf.errors.UnknownError(None, None, "aa; File name too long"), "aa; File name too long"),
        (OSError(errno.EMFILE, "Too many open files", "a"), "a: Too many open files"),
        (OSError(errno.EROFS, "Read-only file system", "a\nb"), r"a\nb: Read-only file system"),
        (
            RuntimeError("can't start new thread"),
            "the system starts no more threads for this process; ",
        ),
    ],
    ids=str,
)
def test_limits_of_files_and_threads(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    """What the system refuses ends in one line, whichever library reports it."""
    monkeypatch.setattr("app.export.export", raising(error))

    result = command("export", run)

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("depth", [10_000, 100_000])
def test_toml_that_is_nested_too_deeply(command: Command, tmp_path: Path, depth: int) -> None:
    """A configuration that Python cannot parse is not a bug of the program."""
    (tmp_path / "a.toml").write_text(f"a = {depth * '['}{depth * ']'}\n")

    result = command("train", "classification", "x.csv", "--config", tmp_path / "a.toml")

    assert result.exit_code == 1
    assert result.stderr.endswith("a.toml: not TOML: nested too deeply\n")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a device without an end")
def test_a_configuration_without_an_end(command: Command) -> None:
    """A file that is no configuration is not read to its end, which may never come."""
    result = command("train", "classification", "x.csv", "--config", "/dev/zero")

    assert result.exit_code == 1
    assert result.stderr == "Error: --config /dev/zero: not a configuration: larger than 1048576 bytes\n"


@pytest.mark.parametrize("key", ["data.text_column", "data.directory", "text.tokens"])
def test_values_that_are_not_unicode(command: Command, key: str) -> None:
    """Bytes of the command line that are not UTF-8 cannot be stored in a configuration."""
    result = command("train", "classification", "x.csv", "--set", f"{key}=a\udcff")

    assert result.exit_code == 1
    assert result.stderr == rf"Error: --set '{key}=a\udcff': the value is not valid UTF-8" + "\n"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        RuntimeError("a bug"),
        KeyError("a bug"),
        RecursionError("a bug"),
        tf.errors.InvalidArgumentError(None, None, "a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_bugs_are_not_hidden(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """An error that is nobody's mistake and no limit is raised."""
    monkeypatch.setattr("app.export.export", raising(error))

    with pytest.raises(type(error), match="a bug"):
        command("export", run)
