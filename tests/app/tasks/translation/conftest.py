"""Trained translators, one of each kind of network, and the outputs of their exports in another process."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from trained import export_quickly
from translators import HARD, NETWORKS, Networks, Opened, pairs_of, trained

from app.prediction.loading import load_predictor
from app.prediction.predictor import Predictor

Process = Callable[..., subprocess.CompletedProcess[str]]
Once = Callable[[str, Callable[[Path], object]], Path]

# Runs SavedModels on the texts of a job, where this project cannot be imported.
ALONE = r"""
import base64, importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("app", "data", "models"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Refuse())
import tensorflow as tf

def attended(outputs_of):
    tokens = {name: [[base64.b64encode(t).decode() for t in row] for row in outputs_of[name]]
              for name in ("source", "target")}
    lengths = {name: outputs_of[name].tolist() for name in ("source_length", "target_length", "attention")}
    return {**tokens, **lengths, "text": [base64.b64encode(text).decode() for text in outputs_of["text"]]}

def listed(outputs_of):
    return {"text": [base64.b64encode(text).decode() for text in outputs_of["text"]],
            "score": [float(score) for score in outputs_of["score"]]}

job = json.load(sys.stdin)
texts = [base64.b64decode(text) for text in job["texts"]]
results = {}
for path in job["exports"]:
    loaded = tf.saved_model.load(path)
    answer = loaded.signatures["serving_default"]
    def numbers(outputs):
        return {name: value.numpy() for name, value in outputs.items()}
    search = loaded.signatures["search"]
    options = {"width": tf.constant(2)}
    options |= {"length_penalty": tf.constant(1.0), "coverage_penalty": tf.constant(0.0)}
    result = {
        "inputs": {name: {k: [v.dtype.name, v.shape.as_list()] for k, v in
                          loaded.signatures[name].structured_input_signature[1].items()}
                   for name in loaded.signatures},
        "outputs": {k: [v.dtype.name, v.shape.as_list()] for k, v in answer.structured_outputs.items()},
        "tf2": listed(numbers(answer(text=tf.constant(texts)))),
        "search": listed(numbers(search(text=tf.constant(texts), **options))),
    }
    short = [text for text in texts if len(text) < 1000]
    score = loaded.signatures["score"]
    result["score"] = {name: value.numpy().tolist()
                       for name, value in score(text=tf.constant(short), target=tf.constant(short)).items()}
    if "attention" in loaded.signatures:
        result["attended tf2"] = attended(numbers(loaded.signatures["attention"](text=tf.constant(short))))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], path)
        signature = meta.signature_def["serving_default"]
        outputs = {name: info.name for name, info in signature.outputs.items()}
        result["tf1"] = listed(session.run(outputs, {signature.inputs["text"].name: texts}))
        if "attention" in meta.signature_def:
            signature = meta.signature_def["attention"]
            outputs = {name: info.name for name, info in signature.outputs.items()}
            outputs_of = session.run(outputs, {signature.inputs["text"].name: short})
            result["attended tf1"] = attended(outputs_of)
    results[path] = result
json.dump({"results": results, "imported": sorted({m.partition(".")[0] for m in sys.modules})}, sys.stdout)
"""


@pytest.fixture(scope="session")
def few(once: Once, pairs: Path, jsonl: Callable[..., None]) -> Path:
    """Return a folder with sixteen of the pairs for training, and four in each other split."""

    def make(folder: Path) -> None:
        for split, size in (("train", 16), ("validation", 4), ("test", 4)):
            chosen = pairs_of(pairs, split)[:size]
            jsonl(folder / f"{split}.jsonl", [{"source": a, "target": b} for a, b in chosen])

    return once("few", make)


@pytest.fixture(scope="session")
def predictor(translator: Path) -> Predictor:
    """Return the predictor of the learned translator."""
    return load_predictor(translator)


@pytest.fixture(scope="session")
def opened(translator: Path) -> Opened:
    """Return the parts of the learned translator."""
    return Opened(translator)


@pytest.fixture(scope="session")
def networks(once: Once, few: Path, translator: Path, process: Process) -> Networks:
    """Return the learned translator and a tiny run of each other network, with their exports."""
    names = [*NETWORKS, "learned"]

    def make(folder: Path) -> None:
        for name, options in NETWORKS.items():
            trained(few, folder / name, *options)
        runs = {name: translator if name == "learned" else folder / name for name in names}
        exports = [str(export_quickly(run, output=folder / "exports" / name)) for name, run in runs.items()]
        texts = [base64.b64encode(text).decode() for text in HARD.values()]
        result = process(
            "-I", "-c", ALONE, cwd=folder, stdin=json.dumps({"exports": exports, "texts": texts})
        )
        assert result.returncode == 0, result.stderr
        (folder / "alone.json").write_text(result.stdout)

    folder = once("networks", make)
    found = json.loads((folder / "alone.json").read_text())
    exports = {name: folder / "exports" / name / "1" for name in names}
    return Networks(
        {name: translator if name == "learned" else folder / name for name in names},
        exports,
        set(found["imported"]),
        {name: found["results"][str(path)] for name, path in exports.items()},
    )
