"""Exports of language models: without the project, in a session of TensorFlow 1, and evaluated."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from generation_data import KINDS, Command, Models, Process, texts

from app.evaluate import evaluate
from app.prediction.loading import load_predictor

Exports = Callable[[str], Path]

ALONE = r"""
import base64, importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("app", "data", "models"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Refuse())
import tensorflow as tf

def spec(tensor):
    return [tensor.dtype.name, tensor.shape.as_list()]

def listed(value):
    return [base64.b64encode(v).decode() if isinstance(v, bytes) else float(v) for v in value.tolist()]

results = {}
for kind, job in json.load(sys.stdin).items():
    calls = {}
    for name, given in job["calls"].items():
        strings = {k: [base64.b64decode(v) for v in given[k]] for k in ("prompt", "stop", "label", "text")
                   if k in given}
        calls[name] = given | strings
    loaded = tf.saved_model.load(job["path"])
    found = {"specs": {}, "tf1": {}, "tf2": {}}
    for name, call in loaded.signatures.items():
        types = call.structured_input_signature[1]
        found["specs"][name] = [{k: spec(v) for k, v in types.items()},
                                {k: spec(v) for k, v in call.structured_outputs.items()}]
    for name, given in calls.items():
        call = loaded.signatures[name]
        types = call.structured_input_signature[1]
        outputs = call(**{k: tf.constant(v, types[k].dtype) for k, v in given.items()})
        found["tf2"][name] = {k: listed(v.numpy()) for k, v in outputs.items()}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], job["path"])
        for name, given in calls.items():
            signature = meta.signature_def[name]
            outputs = {k: v.name for k, v in signature.outputs.items()}
            fed = {signature.inputs[k].name: v for k, v in given.items()}
            found["tf1"][name] = {k: listed(v) for k, v in session.run(outputs, fed).items()}
    results[kind] = found
imported = sorted({name.partition(".")[0] for name in sys.modules})
json.dump({"results": results, "imported": imported}, sys.stdout)
"""
PROMPTS = [b"", b"Anna: The", "τοship\n".encode(), b"\xff\xfe"]
DRAWING = {
    "prompt": PROMPTS,
    "length": [40, 7, 40, 1],
    "temperature": [1.0, 0.5, 1.2, 0.0],
    "top_k": [0, 5, 0, 0],
    "top_p": [1.0, 1.0, 0.9, 1.0],
    "seed": [0, 1, 2**31 - 1, 3],
}


def calls(kind: str) -> dict[str, dict[str, Any]]:
    """Return the inputs of three signatures."""
    label = {"label": [b"sea", b"wood", b"", b"none"]} if kind == "word" else {}
    more = {"repetition_penalty": [1.0, 1.3, 1.0, 1.0], "stop": [b"qq", b";"]}
    plain = {"serving_default": DRAWING} if kind == "char" else {}  # for one is enough
    return {
        **plain,
        "generate": {**DRAWING, **more, **label},
        "score": {"text": [*PROMPTS, b"the cat is red. " * 70]},
    }


def encoded(values: list[Any]) -> list[Any]:
    """Return bytes in base64, for JSON."""
    return [base64.b64encode(value).decode() if isinstance(value, bytes) else value for value in values]


@pytest.fixture(scope="module")
def alone(process: Process, exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the outputs of exports in a process without the project, in TensorFlow 2 and 1."""
    job = {
        kind: {
            "path": str(exports(kind)),
            "calls": {
                name: {key: encoded(values) for key, values in given.items()}
                for name, given in calls(kind).items()
            },
        }
        for kind in KINDS
    }
    result = process("-I", "-c", ALONE, cwd=tmp_path_factory.mktemp("elsewhere"), stdin=json.dumps(job))
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert not {"app", "data", "models"} & set(found["imported"])
    return found["results"]


@pytest.mark.parametrize("version", ["tf1", "tf2"])
@pytest.mark.parametrize("kind", KINDS)
def test_run_and_export(alone: dict[str, Any], models: Models, kind: str, version: str) -> None:
    """A run and its export generate the same texts from the same seeds, also without this project."""
    for name, given in calls(kind).items():
        call = models(kind).predictor.signatures[name]
        dtypes = dict.fromkeys(("prompt", "stop", "label", "text"), tf.string)
        dtypes |= {"length": tf.int32, "top_k": tf.int32, "seed": tf.int32}
        outputs = call(**{k: tf.constant(v, dtypes.get(k, tf.float32)) for k, v in given.items()})
        found = alone[kind][version][name]

        assert found.keys() == outputs.keys()
        for key, value in outputs.items():
            if value.dtype == tf.string:
                assert [base64.b64decode(text) for text in found[key]] == value.numpy().tolist()
                assert len(set(found[key])) > 2
            else:
                np.testing.assert_allclose(found[key], value.numpy(), rtol=1e-4, atol=1e-5)


def test_signatures(alone: dict[str, Any]) -> None:
    """The signatures have the names, types and shapes of the contract."""
    drawing = {
        **{"length": "int32", "temperature": "float32", "top_k": "int32", "top_p": "float32"},
        **{"prompt": "string", "seed": "int32"},
    }
    for kind, found in alone.items():
        inputs, outputs = found["specs"]["serving_default"]
        assert sorted(found["specs"]) == [
            "beam",
            "begin",
            "counts",
            "generate",
            "resume",
            "score",
            "score_pieces",
            "serving_default",
        ]
        assert inputs == {name: [dtype, [None]] for name, dtype in drawing.items()}
        assert outputs == {"text": ["string", [None]], "log_probability": ["float32", [None]]}
        assert found["specs"]["score"] == [
            {"text": ["string", [None]]},
            {"loss": ["float32", [None]], "tokens": ["int32", [None]]},
        ]
        assert ("label" in found["specs"]["generate"][0]) == (kind == "word")


@pytest.mark.parametrize("name", ["char", "word"])
def test_predictor_of_an_export(models: Models, exports: Exports, name: str) -> None:
    """`generate` generates the same texts with a run and with its export."""
    model, predictor = models(name), load_predictor(exports(name))
    options: dict[str, Any] = {"seed": 5, "label": "sea" if name == "word" else None}

    assert texts(predictor, ["", "is"], **options) == texts(model, ["", "is"], **options)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_an_export(command: Command, models: Models, exports: Exports, kind: str) -> None:
    """An export does not record the path of its data; with --data it has the metrics of its run."""
    run, path = models(kind), exports(kind)

    result = command("evaluate", path)
    expected = evaluate(run.path, with_baseline=False)
    found = evaluate(path, data=str(run.data), with_baseline=False)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {path} does not record its data; name the data to evaluate on with --data\n"
    )
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5)), key
