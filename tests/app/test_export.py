from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import Result
from trained import export_quickly

from app.artifacts.operations import forbidden_operations
from app.config import TaskConfig
from app.export import export, next_version
from app.prediction.loading import load_predictor
from app.train import train

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Process = Callable[..., subprocess.CompletedProcess[str]]

HARD = {
    "empty": b"",
    "blank": b" \t\n ",
    "one word": b"good",
    "long": b"The plot is dull, but the cast is very charming. " * 1000,
    "emoji": "👍🏽 👩‍👩‍👧 🇩🇪 so good 😀😀".encode(),
    "Greek": "Η υπόθεση είναι καλή, ΌΜΩΣ…".encode(),
    "Chinese": "剧情很好，但是演员不行。".encode(),
    "Arabic": "الحبكة جيدة، لكن الممثلين سيئون".encode(),
    "Turkish": "İSTANBUL'da ılık".encode(),
    "not UTF-8": b"good \xff\xfe caf\xe9 \x80",
    "zero byte": b"good\x00bad",
    "of the vocabulary": b"[UNK] <br /> don't",
}

# Answers the texts of a job with SavedModels: as a person does who has nothing of this project.
ALONE = r"""
import base64, importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("app", "data", "models"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Refuse())
import tensorflow as tf

def listed(value):
    return [[v.decode() if isinstance(v, bytes) else float(v) for v in row] if value.ndim > 1
            else row.decode() if isinstance(row, bytes) else float(row) for row in value]

def spec(tensor):
    return [tensor.dtype.name, tensor.shape.as_list()]

job = json.load(sys.stdin)
results = {}
for path in job["exports"]:
    texts = [base64.b64decode(text) for text in job["texts"]]
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures["serving_default"]
    answers = signature(text=tf.constant(texts))
    result = {
        "signatures": sorted(loaded.signatures),
        "inputs": {k: spec(v) for k, v in signature.structured_input_signature[1].items()},
        "outputs": {k: spec(v) for k, v in signature.structured_outputs.items()},
        "shapes": {k: v.shape.as_list() for k, v in answers.items()},
        "tf2": {k: listed(v.numpy()) for k, v in answers.items()},
    }
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], path)
        signature = meta.signature_def["serving_default"]
        outputs = {k: v.name for k, v in signature.outputs.items()}
        answers = session.run(outputs, {signature.inputs["text"].name: texts})
        result["tf1"] = {k: listed(v) for k, v in answers.items()}
        result["method"] = signature.method_name
    results[path] = result
imported = sorted({name.partition(".")[0] for name in sys.modules})
json.dump({"results": results, "imported": imported}, sys.stdout)
"""


def answered_alone(process: Process, folder: Path, exports: list[Path], texts: list[bytes]) -> dict[str, Any]:
    """Return what exports answer in a process without the project."""
    job = {"exports": [str(p) for p in exports], "texts": [base64.b64encode(text).decode() for text in texts]}
    result = process("-I", "-c", ALONE, cwd=folder, stdin=json.dumps(job))
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def alone(process: Process, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the run's export answers to the hard texts in a process without the project."""
    return answered_alone(process, tmp_path_factory.mktemp("elsewhere"), [exported], list(HARD.values()))


@pytest.fixture(scope="module")
def answers(alone: dict[str, Any], exported: Path) -> dict[str, Any]:
    """Return the answers themselves."""
    found: dict[str, Any] = alone["results"][str(exported)]
    return found


def test_nothing_of_the_project_is_needed(alone: dict[str, Any]) -> None:
    """An export loads and answers where this project is not installed."""
    assert "tensorflow" in alone["imported"]
    assert not {"app", "data", "models"} & set(alone["imported"])


def test_signature(answers: dict[str, Any]) -> None:
    """The signature has the names, types and shapes of the contract."""
    assert answers["signatures"] == ["counts", "explain", "serving_default", "states"]
    assert answers["method"] == "tensorflow/serving/predict"
    assert answers["inputs"] == {"text": ["string", [None]]}
    assert answers["outputs"] == {
        "label": ["string", [None]],
        "score": ["float32", [None]],
        "probabilities": ["float32", [None, 2]],
        "classes": ["string", [None, 2]],
    }
    assert answers["shapes"] == {
        "label": [len(HARD)],
        "score": [len(HARD)],
        "probabilities": [len(HARD), 2],
        "classes": [len(HARD), 2],
    }


@pytest.mark.parametrize("version", ["tf1", "tf2"])
def test_outputs(answers: dict[str, Any], version: str) -> None:
    """Probabilities add up to 1, the label is that of the highest, and the classes stand in order."""
    for i in range(len(HARD)):
        label, score, probabilities, classes = (
            answers[version][name][i] for name in ("label", "score", "probabilities", "classes")
        )
        assert classes == ["negative", "positive"]
        assert sum(probabilities) == pytest.approx(1, abs=1e-6)
        assert score == max(probabilities)
        assert label == classes[int(np.argmax(probabilities))]


@pytest.mark.parametrize("version", ["tf1", "tf2"])
def test_hard_texts(run: Path, answers: dict[str, Any], version: str) -> None:
    """An export answers as its run does: no text, 10,000 words, many scripts, bytes that are no text."""
    predictor = load_predictor(run)
    expected = predictor.run_texts("serving_default", list(HARD.values()))

    assert len(HARD["long"].split()) == 10_000
    np.testing.assert_allclose(answers[version]["probabilities"], expected["probabilities"], atol=1e-5)
    assert [label.encode() for label in answers[version]["label"]] == expected["label"].tolist()
    assert len({round(score, 6) for score in answers[version]["score"]}) >= 6


def test_a_batch_changes_nothing(answers: dict[str, Any], run: Path) -> None:
    """A text beside one of 10,000 words is answered as it is alone."""
    predictor = load_predictor(run)
    for i, text in enumerate(HARD.values()):
        found = predictor.run_texts("serving_default", [text])["probabilities"][0]
        np.testing.assert_allclose(answers["tf2"]["probabilities"][i], found, atol=1e-5)


# Every kind of network


COMBINATIONS = {
    # cell: (direction or merge mode, layers, pooling, what else is set)
    "simple": [
        ("concat", 3, "attention"),
        ("sum", 1, "max", "text.tokens=char", "text.truncate=end"),
        ("ave", 2, "mean", "model.activation=relu"),
    ],
    "gru": [
        ("forward", 3, "attention", "model.recurrent_dropout=0.5"),
        ("ave", 1, "max_mean", "training.mixed_precision=true"),
    ],
    "lstm": [
        ("concat", 2, "last"),
        ("mul", 1, "max_mean", "text.tokens=byte", "text.lowercase=false"),
    ],
}
NETWORKS = {
    f"{cell} {way} {layers} {pooling}": (
        f"model.cell={cell}",
        "model.bidirectional=false" if way == "forward" else f"model.merge_mode={way}",
        f"model.layers={layers}",
        f"model.pooling={pooling}",
        *more,
    )
    for cell, rows in COMBINATIONS.items()
    for way, layers, pooling, *more in rows
}
NETWORKS["none forward 0 max_mean"] = ("model.layers=0", "model.pooling=max_mean")
SHORT = [text for name, text in HARD.items() if name != "long"] + [HARD["long"][:2000]]


@pytest.fixture(scope="module")
def networks(
    tmp_path_factory: pytest.TempPathFactory, configured: Configured, reviews: Path, process: Process
) -> dict[str, tuple[np.ndarray, dict[str, Any], int]]:
    """Return of each network what run and export answer, and its parameters beside the embedding."""
    folder = tmp_path_factory.mktemp("networks")
    exports, found = {}, {}
    for name, options in NETWORKS.items():
        config = configured(
            "training.batch_size=64", "training.learning_rate=0.05", "text.max_length=24", *options
        )
        tf.config.run_functions_eagerly(True)  # tracing a graph takes longer than one batch
        try:
            run = train("classification", str(reviews), config, run=folder / "runs" / name).path
            outputs = load_predictor(run).run_texts("serving_default", SHORT)
        finally:
            tf.config.run_functions_eagerly(False)
        found[name] = outputs["probabilities"], _parameters(run)
        exports[name] = export_quickly(run, output=folder / "exports" / name)
        assert forbidden_operations(exports[name]) == []
    results = answered_alone(process, folder, list(exports.values()), SHORT)["results"]
    return {name: (found[name][0], results[str(path)], found[name][1]) for name, path in exports.items()}


def _parameters(run: Path) -> int:
    """Return the number of a run's parameters beside the embedding."""
    vocabulary = len((run / "vocabulary.txt").read_bytes().split(b"\n")) - 1
    parameters: int = json.loads((run / "manifest.json").read_text())["parameters"]
    return parameters - 4 * vocabulary


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("version", ["tf1", "tf2"])
def test_networks(
    networks: dict[str, tuple[np.ndarray, dict[str, Any], int]], name: str, version: str
) -> None:
    """Each cell in each direction and depth trains, is saved and exported, and answers alike afterwards."""
    expected, answers, _ = networks[name]

    assert np.ptp(expected, axis=0).max() > 1e-4
    np.testing.assert_allclose(answers[version]["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_of_networks(
    networks: dict[str, tuple[np.ndarray, dict[str, Any], int]], name: str
) -> None:
    """Cell, directions, depth and pooling are those that were asked for: the weights add up."""
    cell, way, layers, pooling = name.split()
    width, total = 4, 0
    for _ in range(int(layers)):
        gates = {"simple": 1, "gru": 3, "lstm": 4}[cell]
        bias = 8 if cell == "gru" else 4  # Keras's GRU has a bias for the state, too
        total += (1 if way == "forward" else 2) * gates * (width * 4 + 4 * 4 + bias)
        width = 8 if way == "concat" else 4
    if pooling == "attention":
        total += width * width + width + width
    total += 2 * ((2 if pooling == "max_mean" else 1) * width + 1)
    total += 1  # the scale of the logits

    assert networks[name][2] == total


# Versions


def test_versions(command: Command, run: Path, tmp_path: Path) -> None:
    """The first export is version 1, each next one is one more; a number can be given, but not twice."""
    (tmp_path / "exports/notes").mkdir(parents=True)

    def exported(*options: object) -> Result:
        return command("export", run, "--output", tmp_path / "exports", *options)

    assert exported().stdout == f"{tmp_path / 'exports/1'}\n"
    assert exported("--version", 9).stdout == f"{tmp_path / 'exports/9'}\n"
    assert exported().stdout == f"{tmp_path / 'exports/10'}\n"
    again = exported("--version", 9)
    assert again.exit_code == 1
    assert again.stderr == (
        f"Error: {tmp_path / 'exports/9'} exists; give another --version, or none for 11\n"
    )
    assert sorted(path.name for path in (tmp_path / "exports").iterdir()) == ["1", "10", "9", "notes"]


def test_next_version(tmp_path: Path) -> None:
    """What is no number does not count, nor does a folder that is not there."""
    assert next_version(tmp_path / "nowhere") == 1
    for name in ("3", "12", "7.old", ".13", "v20"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 13


def test_default_output(command: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `--output` an export stands below `exports`, under the name of its run."""
    monkeypatch.chdir(tmp_path)

    assert command("export", run).stdout == "exports/reviews/1\n"
    assert (tmp_path / "exports/reviews/1/saved_model.pb").is_file()


def test_export_manifest(run: Path, exported: Path) -> None:
    """An export says what it was made from, and holds the sha256 of every file."""
    manifest = json.loads((exported / "assets.extra/manifest.json").read_text())
    of_run = json.loads((run / "manifest.json").read_text())

    assert (manifest["format"], manifest["version"]) == (1, 1)
    assert manifest["data"] is None  # a path
    assert "directory" not in manifest["config"]["data"]
    assert manifest["config"]["model"]["cell"] == "lstm"
    assert manifest["preprocessing"]["labels"] == ["negative", "positive"]
    assert {name: about["batched"] for name, about in manifest["signatures"].items()} == {
        "counts": True,
        "explain": True,
        "serving_default": True,
        "states": True,
    }
    assert manifest["signatures"]["serving_default"]["cudnn_layers"] == 2
    assert manifest["reference"]["examples"] == of_run["examples"]["validation"]
    for name in ("task", "dataset", "dataset_hash", "seed", "parameters", "versions"):
        assert manifest[name] == of_run[name]
    assert manifest["files"] == {
        path.relative_to(exported).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in exported.rglob("*")
        if path.is_file() and path.name not in ("manifest.json", "README.md")
    }
    assert {"saved_model.pb", "variables/variables.index"} <= manifest["files"].keys()


def test_an_export_that_fails_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export is written whole or not at all."""

    def fail(module: Any, path: str, **options: Any) -> None:
        Path(path, "saved_model.pb").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tensorflow.saved_model.save", fail)

    with pytest.raises(OSError, match="No space left"):
        export(run, output=tmp_path / "exports")

    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.name == "1"] == []
