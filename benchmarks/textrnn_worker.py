"""textrnn as its users run it: training, exports and predictions through the Python API; see `answering`.

It also runs with an earlier version, which `PYTHONPATH` puts before the current one.
"""

from __future__ import annotations

import atexit
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from answering import Parts, Turn, answer, seconds, turn_of_layers, turn_of_texts

import textrnn


def train(job: dict[str, Any]) -> Turn:
    """Train a model: a turn is an epoch without validation, or a number of steps."""
    run = Path(tempfile.mkdtemp(dir=job["folder"]), "run")
    overrides = {
        **_overrides(job),
        "training.epochs": 1000,
        "training.early_stopping_patience": 0,
        "training.steps_per_checkpoint": 0,
    }
    events = textrnn.training_steps(job["task"], job["data"], run=run, overrides=overrides)
    # Of an example; if the job does not say it, the epoch of the warm-up does.
    state: dict[str, float] = {"tokens": job.get("tokens", 0)}

    def step() -> tuple[float, textrnn.Step]:
        while True:
            begun = time.perf_counter()
            event = next(events)
            took = time.perf_counter() - begun
            if isinstance(event, textrnn.Step):
                return took, event
            if isinstance(event, textrnn.Epoch):
                record = event.record
                state["tokens"] = record["tokens_per_second"] / record["examples_per_second"]

    _, first = step()
    steps = job.get("steps") or first.steps
    for _ in range(job.get("warm_up", first.steps) - 1):
        step()

    def turn() -> Parts:
        taken = [step() for _ in range(steps)]
        examples = steps * job["batch_size"] if job.get("steps") else job["examples"]
        return {
            "": {
                "seconds": sum(took for took, _ in taken),
                "examples": examples,
                "tokens": examples * state["tokens"],
                "loss": taken[-1][1].metrics["loss"],
            }
        }

    return turn


def _overrides(job: dict[str, Any]) -> dict[str, Any]:
    found = {**job["overrides"], "data.directory": job["cache"]}
    return found if job["kernels"] is None else {**found, "training.kernels": job["kernels"]}


def export(job: dict[str, Any]) -> Turn:
    """Train a classifier for one epoch and export it: a turn says where it is."""
    folder = Path(tempfile.mkdtemp(dir=job["folder"]))
    run = textrnn.train(
        "classification", job["data"], run=folder / "run", overrides=_overrides(job) | {"training.epochs": 1}
    )
    found = textrnn.export(run.path, output=folder / "export")
    facts = {
        "export": str(found),
        "tokens": run.best["tokens_per_second"] / run.best["examples_per_second"],
        **_described(run.path, folder, job["lengths"]),
    }
    return lambda: facts


def _described(run_path: Path, folder: Path, lengths: list[int]) -> dict[str, Any]:
    """Write the weights of a classifier, and return its sizes and texts of some lengths with their ids."""
    from app.artifacts.run import open_run
    from app.prediction.loading import load_keras_model
    from app.tasks import get_task
    from app.tasks.tokenizing import tokenizer_options
    from models.text.preprocessor import Preprocessor

    run = open_run(run_path)
    model = load_keras_model(run)
    stack = model.recurrent
    arrays = {
        "embedding": model.embedding.embeddings.numpy(),
        "head_kernel": model.head.kernel.numpy(),
        "head_bias": model.head.bias.numpy(),
    }
    for name, layer in (("forward", stack.forward[0]), ("backward", stack.backward[0])):
        for part in ("kernel", "recurrent_kernel", "bias"):
            arrays[f"{name}_{part}"] = getattr(layer.cell, part).numpy()
    np.savez(folder / "weights.npz", **arrays)
    preprocessing = run.preprocessing(get_task(run.task).facts)
    tokens = [token.decode() for token in preprocessing.vocabulary if token.isalpha() and token.isascii()]
    texts = {
        str(length): " ".join(tokens[number % len(tokens)] for number in range(length)) for length in lengths
    }
    preprocessor = Preprocessor(
        preprocessing.vocabulary, **tokenizer_options(run.config, preprocessing.facts)
    )
    ids = {name: preprocessor(tf.constant([text]))[0][0].numpy().tolist() for name, text in texts.items()}
    assert all(len(row) == int(name) for name, row in ids.items()), "a word is more than a token"
    vocabulary, embedding = arrays["embedding"].shape
    sizes = {
        "vocabulary": vocabulary,
        "embedding": embedding,
        "units": model.settings.units,
        "classes": model.classes,
    }
    return {"weights": str(folder / "weights.npz"), "sizes": sizes, "texts": texts, "ids": ids}


def predict(job: dict[str, Any]) -> Turn:
    """Predict the classes of texts with an export."""
    lines = Path(job["data"], "train.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    model = textrnn.load(job["export"], **_load_options(job))
    model.predict(texts[:256])

    def turn() -> Parts:
        took = seconds(lambda: model.predict(texts))
        return {"": {"seconds": took, "examples": len(texts), "tokens": job["tokens"] * len(texts)}}

    return turn


def _load_options(job: dict[str, Any]) -> dict[str, str]:
    return {} if job["kernels"] is None else {"kernels": job["kernels"]}


def single(job: dict[str, Any]) -> Turn:
    """Predict one raw text at a time with the loaded signature of an export, as the server calls it."""
    from app.prediction.loading import load_predictor

    predictor = load_predictor(Path(job["export"]), **_load_options(job))
    call = predictor.signatures["serving_default"]

    def predict(text: bytes) -> list[float]:
        found = {name: value.numpy() for name, value in call(text=tf.constant([text])).items()}
        probabilities: list[float] = found["probabilities"][0].tolist()
        return probabilities

    texts = {length: text.encode() for length, text in job["texts"].items()}
    return turn_of_texts(texts, predict, job["calls"])


def serve(job: dict[str, Any]) -> Turn:
    """Run a server and clients that each send one text after the other: a turn is some seconds of them."""
    import uvloop
    from serving import Server, load, request

    options = [] if job["kernels"] is None else ["--kernels", job["kernels"]]
    server = Server(Path(job["export"]).parent, *options)
    atexit.register(server.stop)
    lines = Path(job["data"], "train.jsonl").read_text(encoding="utf-8").splitlines()[:300]
    requests = [request(json.loads(line)["text"], server.port) for line in lines]

    def turn() -> Parts:
        seen = uvloop.run(load(server.port, requests, job["clients"], job["seconds"]))
        if seen.statuses.keys() != {200} or seen.dropped or seen.refused:
            raise RuntimeError(f"statuses {dict(seen.statuses)}, lost {seen.dropped + seen.refused}")
        return {"": {"seconds": job["seconds"], "examples": len(seen.seconds), "tokens": 0}}

    turn()
    return turn


def layer(job: dict[str, Any]) -> Turn:
    """Run a recurrent layer alone, with the kernels of training or, as in an export, portable ones."""
    from models.layers.recurrent import RecurrentStack
    from models.settings import BidirectionalSettings

    def prepared(case: dict[str, Any]) -> Any:
        rows, steps, units = case["rows"], case["steps"], case["units"]
        stack = RecurrentStack(BidirectionalSettings(cell="lstm", units=units, layers=1, dropout=0.0))
        stack.build((None, None, units))
        if job["kernels"] == "portable" or (job["kernels"] == "native" and not case["backward"]):
            stack.make_portable()  # as where a model is loaded: the weights never change
        if job["kernels"] == "native":
            stack.runner.kernels = "native"
        specs = [tf.TensorSpec([None, None, units]), tf.TensorSpec([None], tf.int32)]
        inputs = tf.random.normal([rows, steps, units]), tf.fill([rows], steps)

        @tf.function(autograph=False, input_signature=specs)
        def forward(x: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
            return stack(x, lengths)[0]

        @tf.function(autograph=False, input_signature=specs)
        def both(x: tf.Tensor, lengths: tf.Tensor) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(stack(x, lengths, training=True)[0])
            return tape.gradient(loss, [x, *stack.trainable_variables])

        if case["backward"]:
            return lambda: [value.numpy() for value in both(*inputs)]
        return lambda: forward(*inputs).numpy()

    cases = [case for case in job["cases"] if not (case["backward"] and job["kernels"] == "portable")]
    return turn_of_layers(cases, prepared)


if __name__ == "__main__":
    answer({kind.__name__: kind for kind in (train, export, predict, single, serve, layer)})
