"""Exports of taggers: without the project, in a session of TensorFlow 1, and evaluated."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tagging_data import GIVEN, HARD, Command, Jsonl, Lines, evaluated, sample_rows

import app.prediction.loading

Process = Callable[..., subprocess.CompletedProcess[str]]

ALONE = r"""
import importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("app", "data", "models"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Refuse())
import numpy as np
import tensorflow as tf

def plain(value):
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value

def specs(tensors):
    return {k: [v.dtype.name, v.shape.as_list()] for k, v in tensors.items()}

def rows(tokens):
    width = max(map(len, tokens))
    values = [[t.encode() for t in row] + [b""] * (width - len(row)) for row in tokens]
    return np.array(values, object).reshape(len(tokens), width)

job = json.load(sys.stdin)
given = [{"tokens": rows(tokens)} for tokens in job["tokens"]]
texts = [np.array([text.encode() for text in batch], object) for batch in job["texts"]]
tags = [np.where(own["tokens"] == b"", b"", b"O").astype(object) for own in given]
inputs = {"serving_default": [{"text": batch} for batch in texts],
          "states": [{"text": batch} for batch in texts],
          "counts": [{"text": batch} for batch in texts],
          "tokens": given,
          "score": [{**own, "tags": of_tags} for own, of_tags in zip(given, tags)]}

def predicted(path):
    results = {"tf1": {}, "tf2": {}, "inputs": {}, "outputs": {}}
    loaded = tf.saved_model.load(path)
    for name, signature in loaded.signatures.items():
        results["inputs"][name] = specs(signature.structured_input_signature[1])
        results["outputs"][name] = specs(signature.structured_outputs)
        found = [signature(**{k: tf.constant(v, tf.string) for k, v in own.items()}) for own in inputs[name]]
        results["tf2"][name] = [{k: plain(v.numpy().tolist()) for k, v in a.items()} for a in found]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], path)
        for name in inputs:
            signature = meta.signature_def[name]
            outputs = {k: v.name for k, v in signature.outputs.items()}
            found = [session.run(outputs, {signature.inputs[k].name: v for k, v in own.items()})
                     for own in inputs[name]]
            results["tf1"][name] = [{k: plain(v.tolist()) for k, v in a.items()} for a in found]
    return results

results = {name: predicted(path) for name, path in job["exports"].items()}
results["imported"] = sorted({name.partition(".")[0] for name in sys.modules})
json.dump(results, sys.stdout)
"""
TEXT_BATCHES = [HARD, [""], ["Play Old Paris songs.", ""]]
TOKEN_BATCHES = [GIVEN, [[], []], [["", ""], ["", ""]], [["Play", "", "songs"], ["Play", "songs"]]]


@pytest.fixture(scope="module")
def alone(
    process: Process, exported: Path, crf_export: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """Return the outputs of exports with and without labels in a process without the project."""
    exports = {"joint": str(exported), "crf": str(crf_export)}
    job = {"exports": exports, "texts": TEXT_BATCHES, "tokens": TOKEN_BATCHES}
    result = process("-I", "-c", ALONE, cwd=tmp_path_factory.mktemp("alone"), stdin=json.dumps(job))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", ["joint", "crf"])
def test_signatures(alone: Any, name: str) -> None:
    """The signatures have the names, types and shapes of the contract, and need nothing of the project."""
    tags = {"tags": ["string", [None, None]], "length": ["int32", [None]]}
    label = {"label": ["string", [None]], "score": ["float32", [None]]} if name == "joint" else {}
    places = {key: ["int32", [None, None]] for key in ("start", "end")}
    units = {"joint": 24, "crf": 16}[name]

    assert alone[name]["inputs"] == {
        "counts": {"text": ["string", [None]]},
        "serving_default": {"text": ["string", [None]]},
        "states": {"text": ["string", [None]]},
        "tokens": {"tokens": ["string", [None, None]]},
        "score": {name: ["string", [None, None]] for name in ("tokens", "tags")},
    }
    assert alone[name]["outputs"] == {
        "counts": {"tokens": ["int32", [None]], "unknown": ["int32", [None]]},
        "serving_default": {**tags, **label, **places, "tokens": ["string", [None, None]]},
        "states": {
            **places,
            "tokens": ["string", [None, None]],
            "length": ["int32", [None]],
            "states": ["float32", [None, None, units]],
            "units": ["string", [None, units]],
        },
        "tokens": {**tags, **label},
        "score": {"loss": ["float32", [None]], "scored": ["int32", [None]]},
    }
    assert not {"app", "data", "models"} & set(alone["imported"])


@pytest.fixture(scope="module")
def of_runs(joint: Path, crf: Path) -> dict[str, dict[str, Lines]]:
    """Return the outputs of the runs for the same batches."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value.decode() if isinstance(value, bytes) else value

    def rows(batch: list[list[str]]) -> tf.Tensor:
        width = max(map(len, batch))
        padded = [[*row, *[""] * (width - len(row))] for row in batch]
        return tf.constant(np.array(padded, object).reshape(len(batch), width), tf.string)

    given = [{"tokens": rows(batch)} for batch in TOKEN_BATCHES]
    inputs: dict[str, list[dict[str, tf.Tensor]]] = {
        **{
            name: [{"text": tf.constant(batch)} for batch in TEXT_BATCHES]
            for name in ("serving_default", "states", "counts")
        },
        "tokens": given,
        "score": [{**own, "tags": tf.where(own["tokens"] == "", "", "O")} for own in given],
    }
    found: dict[str, dict[str, Lines]] = {}
    for name, path in (("joint", joint), ("crf", crf)):
        signatures = app.prediction.loading.load_predictor(path).signatures
        found[name] = {
            signature: [
                {key: plain(value.numpy().tolist()) for key, value in signatures[signature](**own).items()}
                for own in batches
            ]
            for signature, batches in inputs.items()
        }
    return found


@pytest.mark.parametrize("version", ["tf1", "tf2"])
@pytest.mark.parametrize("name", ["joint", "crf"])
def test_exports_predict_as_their_runs(
    alone: Any, of_runs: dict[str, dict[str, Lines]], name: str, version: str
) -> None:
    """Without the project and in a session of TensorFlow 1, outputs are those of the run, for any text."""
    for signature, expected in of_runs[name].items():
        found = alone[name][version][signature]
        floats = ("score", "loss")
        for outputs, of_run in zip(found, expected, strict=True):
            assert outputs.keys() == of_run.keys()
            for key, values in outputs.items():
                if key == "states":
                    np.testing.assert_allclose(values, of_run[key], rtol=1e-5, atol=1e-5)
                elif key in floats:
                    assert values == pytest.approx(of_run[key], rel=1e-5, abs=1e-5)
                else:
                    assert values == of_run[key]
    assert all("score" in outputs for outputs in alone["joint"][version]["tokens"])


def test_padding_of_outputs(alone: Any) -> None:
    """After the end of a row there are empty strings and zeros; an empty token within a row has a tag."""
    long = alone["crf"]["tf2"]["serving_default"][0]
    for i, length in enumerate(long["length"]):
        assert all(long["tags"][i][:length])
        assert not any(long["tags"][i][length:] + long["tokens"][i][length:])
        assert not any(long["start"][i][length:] + long["end"][i][length:])
    assert alone["crf"]["tf2"]["serving_default"][1] == {
        **{"tags": [[""]], "tokens": [[""]], "start": [[0]], "end": [[0]], "length": [0]}
    }
    given, none, empty, inner = alone["crf"]["tf2"]["tokens"]
    assert given["length"] == [len(row) for row in GIVEN]
    assert none["length"] == empty["length"] == [0, 0]
    assert not any(tag for outputs in (none, empty) for row in outputs["tags"] for tag in row)
    assert inner["length"] == [3, 2]
    assert [[bool(tag) for tag in row] for row in inner["tags"]] == [[True] * 3, [True, True, False]]


def test_evaluate_an_export(command: Command, joint: Path, exported: Path) -> None:
    """An export has the metrics of its run, on the sample that both know."""
    run, export = (evaluated(command, model, "--split", "test") for model in (joint, exported))

    assert export.keys() == run.keys()
    assert _numbers(export) == pytest.approx(_numbers(run), rel=1e-5)
    assert run["raw_text"]["span_f1"] > 0


def test_evaluate_an_export_of_other_data(
    command: Command, crf: Path, crf_export: Path, jsonl: Jsonl, tmp_path: Path
) -> None:
    """An export does not record the path of its data; with --data it has the metrics of its run."""
    jsonl(tmp_path / "rows.jsonl", sample_rows("test", 12))
    options = ("--data", tmp_path / "rows.jsonl", "--split", "all")

    result = command("evaluate", crf_export)
    run, export = (evaluated(command, model, *options) for model in (crf, crf_export))

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {crf_export} does not record its data; name the data to evaluate on with --data\n"
    )
    assert export.keys() == run.keys()
    assert _numbers(export) == pytest.approx(_numbers(run), rel=1e-5)


def _numbers(metrics: dict[Any, Any], prefix: str = "") -> dict[str, float]:
    """Return all numbers of an object by their paths."""
    found = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            found |= _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            found |= _numbers(dict(enumerate(value)), f"{prefix}{name}.")
        elif not isinstance(value, str):
            found[f"{prefix}{name}"] = value
    return found
