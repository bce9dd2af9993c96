"""An export is checked before a command loads it: a SavedModel is code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from click.testing import Result
from tensorflow.core.protobuf import saved_model_pb2

from app.artifacts.files import checksums
from app.prediction.loading import find_export, load_predictor
from data.errors import UserError

Command = Callable[..., Result]
Snapshot = Callable[..., dict[str, str]]

COMMANDS = {
    "predict": ("predict", "MODEL"),
    "generate": ("generate", "MODEL"),
    "evaluate": ("evaluate", "MODEL", "--data", "sample:reviews", "--no-baseline"),
    "inspect": ("inspect", "MODEL", "good"),
}


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """Return a copy of an export."""
    return Path(shutil.copytree(exported, tmp_path / "model"))


def change_manifest(export: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of an export."""
    path = export / "assets.extra/manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def write_when_loaded(export: Path, target: Path) -> None:
    """Let the initialization of an export write a file, with a consistent manifest."""
    path = export / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.io.write_file(str(target), "written")
    for node in graph.as_graph_def().node:
        saved.meta_graphs[0].graph_def.node.add().CopyFrom(node)
    path.write_bytes(saved.SerializeToString())
    (export / "assets.extra/manifest.json").rename(export.parent / "manifest.json")
    files = checksums(export)
    (export.parent / "manifest.json").rename(export / "assets.extra/manifest.json")
    change_manifest(export, lambda manifest: manifest.update(files=files))


@pytest.mark.parametrize("name", COMMANDS)
def test_forbidden_operations(
    command: Command, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A graph that writes a file is refused before it is loaded, by every command that takes an export."""
    write_when_loaded(copy, tmp_path / "target")
    loaded: list[object] = []
    monkeypatch.setattr(tf.saved_model, "load", loaded.append)
    monkeypatch.chdir(tmp_path)

    result = command(*(copy if word == "MODEL" else word for word in COMMANDS[name]), stdin="good\n")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {copy}: the graph has operations that are not allowed: ")
    assert "WriteFile" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not loaded
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def remove(export: Path) -> None:
    (export / "assets.extra/manifest.json").unlink()


def not_json(export: Path) -> None:
    (export / "assets.extra/manifest.json").write_text('{"task": "classif')


def foreign(export: Path) -> None:
    (export / "assets.extra/manifest.json").write_text('{"name": "another program"}')


def older(export: Path) -> None:
    change_manifest(export, lambda manifest: manifest.pop("format"))


def newer(export: Path) -> None:
    change_manifest(export, lambda manifest: manifest.update(format=99))


def incomplete(export: Path) -> None:
    change_manifest(export, lambda manifest: manifest.pop("signatures"))


def of_another_type(export: Path) -> None:
    change_manifest(export, lambda manifest: manifest.update(seed="zero"))


def other_weights(export: Path) -> None:
    with next((export / "variables").glob("*.data*")).open("ab") as file:
        file.write(b"\0")


def no_weights(export: Path) -> None:
    next((export / "variables").glob("*.data*")).unlink()


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (remove, ("is not an export", "manifest.json")),
        (not_json, ("manifest.json", "not JSON")),
        (foreign, ("manifest.json", "not a manifest of textrnn")),
        (older, ("manifest.json", "format 0 is not supported")),
        (newer, ("manifest.json", "format 99 is not supported")),
        (incomplete, ("manifest.json", "signatures")),
        (of_another_type, ("manifest.json", "seed")),
        (other_weights, ("variables",)),
        (no_weights, ("variables",)),
    ],
)
def test_damaged_exports(
    command: Command, copy: Path, damage: Callable[[Path], None], parts: tuple[str, ...]
) -> None:
    """An export with a damaged, foreign or older manifest, or with other files, is refused in one line."""
    damage(copy)

    result = command("predict", copy, stdin="good\n")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {copy}")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


def test_an_unknown_task(copy: Path) -> None:
    """An export of a task that this program does not have is refused by the name of the task."""
    change_manifest(copy, lambda manifest: manifest.update(task="parsing"))

    with pytest.raises(UserError, match="parsing"):
        load_predictor(copy)


def test_neither_a_run_nor_an_export(command: Command, tmp_path: Path) -> None:
    """A directory without a model, and a path without a directory, are refused in one line."""
    for path in (tmp_path, tmp_path / "absent"):
        result = command("predict", path, stdin="good\n")

        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: {path} ")
        assert result.stderr.count("\n") == 1


def test_loading_changes_nothing(copy: Path, run: Path, snapshot: Snapshot) -> None:
    """Loading an export or a run writes nothing to it."""
    before = snapshot(copy, run)

    for path in (copy, copy.parent / "model", run):
        load_predictor(path).run_texts("serving_default", [b"good"])

    assert snapshot(copy, run) == before


def test_what_is_known_of_a_model(copy: Path, run: Path) -> None:
    """A run and its export agree on task, dataset, configuration and labels; a path is of the run only."""
    of_run, of_export = load_predictor(run).info, load_predictor(copy).info

    for name in ("task", "dataset", "dataset_hash"):
        assert getattr(of_run, name) == getattr(of_export, name)
    assert of_run.config.model == of_export.config.model
    assert of_run.config.text == of_export.config.text
    assert (
        list(of_run.preprocessing.labels)
        == list(of_export.preprocessing.labels)
        == [b"negative", b"positive"]
    )
    assert of_run.data is not None
    assert of_export.data is None
    assert (of_run.where, of_export.where) == (str(run), str(copy))


def test_the_newest_version(tmp_path: Path) -> None:
    """Of a directory of exports the version with the highest number is found."""
    for version in ("2", "10", "other"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()

    assert find_export(tmp_path) == tmp_path / "10"
    assert find_export(tmp_path / "2") == tmp_path / "2"
    assert find_export(tmp_path / "absent") is None
