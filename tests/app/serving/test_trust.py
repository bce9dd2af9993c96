"""An export is checked before anything loads it, by every command."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from click.testing import Result
from toy_exports import ROWS, write_version

from app.artifacts import operations
from app.artifacts.manifests import EXPORT_MANIFEST
from app.prediction.loading import load_predictor
from app.serving.logs import Log
from app.serving.metrics import Metrics
from app.serving.repository import Repository, State
from data.errors import UserError

Command = Callable[..., Result]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Return the path of a file that the untrusted export writes when it is called."""
    return tmp_path / "written"


@pytest.fixture
def untrusted(tmp_path: Path, written: Path) -> Path:
    """Return an export with a consistent manifest whose signatures write a file."""

    @tf.function(input_signature=[ROWS], autograph=False)
    def write(text: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.io.write_file(str(written), "gotcha")]):
            classes = tf.tile([[b"a", b"b"]], [tf.size(text), 1])
            probabilities = tf.fill([tf.size(text), 2], 0.5)
            return {
                "label": classes[:, 0],
                "score": probabilities[:, 0],
                "probabilities": probabilities,
                "classes": classes,
            }

    write_version(tmp_path / "model", 1, task="classification", signatures={"serving_default": write})
    return tmp_path / "model"


@pytest.mark.parametrize("command_name", ["predict", "generate"])
def test_commands_refuse_it(command: Command, untrusted: Path, written: Path, command_name: str) -> None:
    """The error names the operation; nothing of the export is run."""
    result = command(command_name, untrusted, stdin="good\n")

    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "WriteFile" in result.stderr
    assert not written.exists()


def test_the_server_refuses_it(untrusted: Path, written: Path) -> None:
    """The version is not available, and its status names the operation."""
    repository = Repository({"model": untrusted}, metrics=Metrics(), log=Log(io.StringIO()))
    repository.poll()

    (status,) = repository.status("model")
    assert status.state is State.END
    assert "WriteFile" in status.error_message
    assert not written.exists()


def test_the_server_scans_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a version parses and scans its graph once."""
    scanned: list[Path] = []
    scan = operations.forbidden_operations

    def counted(directory: Path) -> list[str]:
        scanned.append(directory)
        return scan(directory)

    monkeypatch.setattr(operations, "forbidden_operations", counted)
    path = write_version(tmp_path / "toy", 1)
    repository = Repository({"toy": tmp_path / "toy"}, metrics=Metrics(), log=Log(io.StringIO()))
    repository.poll()

    assert repository.ready
    assert scanned == [path]
    repository.close()


def without(manifest: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in manifest.items() if name != key}


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "of an older format": (
        lambda m: without(m, "format"),
        "format 0 is not supported",
    ),
    "of a later format": (lambda m: m | {"format": 2}, "format 2 is not supported, only format 1"),
    "of another program": (lambda m: {"name": "model"}, "not a manifest of textrnn"),
    "not an object": (lambda m: [m], "not a manifest of textrnn"),
    "without a key": (
        lambda m: without(m, "signatures"),
        "signatures: Field required",
    ),
    "with another type": (lambda m: m | {"version": "1"}, "version: Input should be a valid integer"),
    "of another task": (lambda m: m | {"task": "chess"}, "task 'chess' is unknown; expected one of classif"),
    "without checksums": (lambda m: m | {"files": {}}, "no checksum of saved_model.pb"),
}


@pytest.mark.parametrize(("change", "message"), MANIFESTS.values(), ids=MANIFESTS)
def test_manifests(
    command: Command, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    """A manifest that cannot be used is refused in one line that names it."""
    path = write_version(tmp_path / "toy", 1)
    manifest = path / EXPORT_MANIFEST
    manifest.write_text(json.dumps(change(json.loads(manifest.read_text()))))

    with pytest.raises(UserError) as error:
        load_predictor(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    result = command("verify", path, "--no-replay")
    assert result.exit_code == 1
    assert any(name in result.stdout for name in ("FAILED  manifest", "FAILED  checksums"))


@pytest.mark.parametrize("content", ["", "no JSON", "[" * 100_000, "{"])
def test_damaged_manifests(command: Command, tmp_path: Path, content: str) -> None:
    """A manifest that is not JSON is refused in one line, and is a failed check of `verify`."""
    path = write_version(tmp_path / "toy", 1)
    (path / EXPORT_MANIFEST).write_text(content)

    with pytest.raises(UserError, match="not JSON"):
        load_predictor(path)
    result = command("verify", path, "--no-replay")
    assert result.exit_code == 1
    assert "FAILED  manifest" in result.stdout
    assert "not checked: assets.extra/manifest.json is missing or invalid" in result.stdout


def test_inputs_that_the_server_cannot_limit(tmp_path: Path) -> None:
    """A limited input that this version has no limit for keeps the version from being served."""
    path = write_version(tmp_path / "toy", 1)
    manifest = json.loads((path / EXPORT_MANIFEST).read_text())
    manifest["signatures"]["slow"]["limited"] = ["length", "depth"]
    (path / EXPORT_MANIFEST).write_text(json.dumps(manifest))
    repository = Repository({"toy": path}, metrics=Metrics(), log=Log(io.StringIO()))
    repository.poll()

    (status,) = repository.status("toy")
    assert "the limited input 'depth'" in status.error_message
