from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from click.testing import Result

from app.artifacts.files import PARTIAL
from app.artifacts.run import complete_run, open_run
from app.config import TaskConfig
from app.tasks.classification.facts import ClassificationFacts
from data.errors import UserError

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Snapshot = Callable[..., dict[str, str]]
StopAt = Callable[..., dict[str, Any]]


def test_files_of_a_run(run: Path) -> None:
    """A run directory holds the files of the contract and no others."""
    files = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())

    assert [name for name in files if not name.startswith("tensorboard/events.out.tfevents.")] == [
        "README.md",
        "checkpoints/state.npz",
        "config.toml",
        "labels.txt",
        "longest_text",
        "manifest.json",
        "metrics.jsonl",
        "model.keras",
        "preprocessing.json",
        "vocabulary.txt",
    ]


def test_manifest(run: Path, reviews: Path) -> None:
    """The manifest says what was trained on what, with what, and holds the sha256 of every file."""
    manifest = json.loads((run / "manifest.json").read_text())
    vocabulary = (run / "vocabulary.txt").read_bytes().count(b"\n")
    cell = 4 * ((4 + 4) * 4 + 4)  # four gates over 4 features and 4 units

    assert manifest["task"] == "classification"
    assert manifest["dataset"] == "reviews"
    assert Path(manifest["data"]).is_absolute()
    assert Path(manifest["data"]).name == reviews.name
    assert len(bytes.fromhex(manifest["dataset_hash"])) == 32
    assert manifest["seed"] == 0
    assert manifest["complete"] is True
    assert manifest["examples"] == {"train": 40, "validation": 12}
    assert manifest["parameters"] == vocabulary * 4 + 2 * cell + (2 * 2 * 4 + 1) * 2 + 1  # the scale
    assert manifest["versions"]["tensorflow"] == tf.__version__
    assert manifest["versions"].keys() >= {"python", "textrnn", "keras", "tensorflow-datasets", "numpy"}
    assert manifest["format"] == 1
    assert manifest["files"] == {
        name: hashlib.sha256((run / name).read_bytes()).hexdigest()
        for name in (
            "config.toml",
            "labels.txt",
            "longest_text",
            "metrics.jsonl",
            "model.keras",
            "preprocessing.json",
            "vocabulary.txt",
        )
    }


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """Return a copy of a finished run."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.mark.parametrize("folder", ["checkpoints", "tensorboard"])
def test_folders_that_prediction_does_not_need(copy: Path, folder: str) -> None:
    """A run without its checkpoints or its TensorBoard logs can still be opened."""
    shutil.rmtree(copy / folder)
    assert open_run(copy).task == "classification"

    (copy / folder).mkdir()
    (copy / folder / "state.npz").write_bytes(b"changed")
    assert open_run(copy).task == "classification"


def test_files_of_the_user(copy: Path) -> None:
    """Files and folders of the user are neither read, nor sealed, nor deleted, hidden ones included."""
    (copy / ".ipynb_checkpoints").mkdir()
    (copy / ".ipynb_checkpoints/notes.ipynb").write_text("{}")
    (copy / "checkpoints/.hidden").mkdir()
    (copy / ".notes").write_text("mine")
    (copy / "predictions.txt").write_bytes(b"\xff\xfe\n")
    (copy / f"{PARTIAL}0a1b2c3d-model.keras").write_bytes(b"left by a killed process")

    complete_run(copy)

    assert (copy / ".ipynb_checkpoints/notes.ipynb").read_text() == "{}"
    assert (copy / "checkpoints/.hidden").is_dir()
    assert (copy / ".notes").read_text() == "mine"
    assert not (copy / f"{PARTIAL}0a1b2c3d-model.keras").exists()
    opened = open_run(copy)
    assert opened.preprocessing(ClassificationFacts).vocabularies.keys() == {"vocabulary", "labels"}
    assert not {".notes", "predictions.txt"} & opened.manifest.files.keys()


@pytest.mark.parametrize("name", ["model.keras", "vocabulary.txt", "preprocessing.json", "metrics.jsonl"])
def test_a_changed_file(copy: Path, name: str) -> None:
    """A file of the run that was changed or deleted is named."""
    with (copy / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(UserError, match=f"{name} was changed"):
        open_run(copy)

    (copy / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        open_run(copy)


def test_an_earlier_format(copy: Path) -> None:
    """A run of an earlier format is refused by its format."""
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["format"]
    (copy / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(UserError, match="format 0 is not supported, only format 1"):
        open_run(copy)


@pytest.mark.parametrize("content", [None, "", "[]", '{"name": "of something else"}'])
def test_a_directory_that_is_not_a_run(tmp_path: Path, content: str | None) -> None:
    """The message says what is missing and which directory to pass."""
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)

    with pytest.raises(UserError) as caught:
        open_run(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path} is not a run directory: no valid manifest.json. "
        "Pass a directory created by 'textrnn train'."
    )
