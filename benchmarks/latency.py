"""Time of one prediction for one text: an export, the same model exported by Keras, and PyTorch.

    python benchmarks/latency.py runs/sst2 exports/sst2 DATA --torch PYTHON

DATA is a file of JSON lines with a `text`, also one that ends with .gz; PYTHON is the interpreter of an
environment that has PyTorch. All models have the same layers with the same weights. The input of the export
is raw text. Keras's model is exported twice with `model.export`: the same layers after a `TextVectorization`,
and the layers alone, whose input is token ids. The input of PyTorch is token ids too. Each model runs in a
separate process. They take turns with the same texts, one text at a time, in several rounds, so that other
load of the machine affects all of them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 5
WARM_UP = 30
TORCH_WORKER = Path(__file__).with_name("torch_worker.py")


def main() -> None:
    """Run the models, and print a table with their ratios to the export."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("export", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--worker", choices=["export", "keras", "keras-ids"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.run, arguments.export)
        return
    texts = read_texts(arguments.data, arguments.texts)
    with tempfile.TemporaryDirectory() as folder:
        describe(arguments.run, Path(folder))
        own = [sys.executable, __file__, arguments.run, arguments.export, arguments.data, "--worker"]
        commands = {name: [*own, name] for name in ("export", "keras", "keras-ids")}
        if arguments.torch:
            commands["torch"] = [arguments.torch, TORCH_WORKER, folder]
            commands["torch, 1 thread"] = [arguments.torch, TORCH_WORKER, folder, "1"]
        times, labels = race(commands, texts, arguments.run)
    print(f"{len(texts)} texts, {ROUNDS} rounds; milliseconds per text; {os.cpu_count()} CPUs")
    print(f"{'':18}{'p50':>8}{'p99':>8}{'of export':>12}{'same label':>12}")
    for name, found in times.items():
        p50, p99 = (np.median([np.percentile(one, p) for one in found]) * 1e3 for p in (50, 99))
        ratio = np.median(
            [np.median(one) / np.median(base) for one, base in zip(found, times["export"], strict=True)]
        )
        same = np.mean([a == b for a, b in zip(labels[name], labels["export"], strict=True)])
        print(f"{name:18}{p50:8.2f}{p99:8.2f}{ratio:11.2f}x{same:12.1%}")


def read_texts(path: Path, count: int) -> list[str]:
    """Return the first texts of a file."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [json.loads(line)["text"] for line, _ in zip(file, range(count + WARM_UP), strict=False)]


def race(
    commands: dict[str, list[Any]], texts: list[str], run: Path
) -> tuple[dict[str, list[np.ndarray]], dict[str, list[int]]]:
    """Return the seconds of each model for each text in each round, and the predicted classes."""
    ids = token_ids(run, texts)
    rows = [{"text": text, "ids": row} for text, row in zip(texts, ids, strict=True)]
    job = json.dumps(rows) + "\n"
    workers = {}
    for name, command in commands.items():
        workers[name] = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            stderr=subprocess.DEVNULL,
        )
        assert exchange(workers[name], job)["ready"]
    times: dict[str, list[np.ndarray]] = {name: [] for name in commands}
    labels: dict[str, list[int]] = {}
    for _ in range(ROUNDS):
        for name, worker in workers.items():
            found = exchange(worker, "go\n")
            times[name].append(np.array(found["seconds"][WARM_UP:]))
            labels[name] = found["labels"]
    for worker in workers.values():
        worker.kill()
    return times, labels


def exchange(worker: subprocess.Popen[str], line: str) -> dict[str, Any]:
    """Write one line to a process, and return the JSON line that it prints."""
    assert worker.stdin
    assert worker.stdout
    worker.stdin.write(line)
    worker.stdin.flush()
    response: dict[str, Any] = json.loads(worker.stdout.readline())
    return response


def token_ids(run: Path, texts: list[str]) -> list[list[int]]:
    """Return the token ids of texts, as the model of the run encodes them."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    from app.artifacts.preprocessing import Facts
    from app.artifacts.run import open_run
    from app.tasks.tokenizing import tokenizer_options
    from models.text.preprocessor import Preprocessor

    opened = open_run(run)
    preprocessing = opened.preprocessing(Facts)
    options = tokenizer_options(opened.config, preprocessing.facts)
    preprocessor = Preprocessor(preprocessing.vocabulary, **options)
    found = []
    for text in texts:
        ids, lengths = preprocessor(tf.constant([text.encode()]))
        found.append(ids[0, : int(lengths[0])].numpy().tolist())
    return found


def describe(run: Path, folder: Path) -> None:
    """Write the weights and sizes of a classifier, for a process without TensorFlow."""
    from app.artifacts.run import open_run
    from app.prediction.loading import load_keras_model

    model = load_keras_model(open_run(run))
    stack = model.recurrent
    arrays = {"embedding": model.embedding.embeddings.numpy()}
    for i, layer in enumerate(stack.forward):
        for name, one in (("forward", layer), ("backward", stack.backward[i] if stack.backward else None)):
            if one is not None:
                for part in ("kernel", "recurrent_kernel", "bias"):
                    arrays[f"{name}_{i}_{part}"] = getattr(one.cell, part).numpy()
    arrays["head_kernel"], arrays["head_bias"] = model.head.kernel.numpy(), model.head.bias.numpy()
    np.savez(folder / "weights.npz", **arrays)
    (folder / "settings.json").write_text(json.dumps(_settings(model)))


def work(name: str, run: Path, export: Path) -> None:
    """Predict for texts from stdin, one at a time, and print the seconds of each."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    rows = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory() as folder:
        if name == "export":
            from app.prediction.loading import find_export

            loaded = tf.saved_model.load(str(find_export(export)))
            function = loaded.signatures["serving_default"]
            inputs = [{"text": tf.constant([row["text"].encode()])} for row in rows]
        else:
            stock_export(run, folder, from_text=name == "keras")
            loaded = tf.saved_model.load(folder)
            function = loaded.signatures["serving_default"]
            key = next(iter(function.structured_input_signature[1]))
            inputs = [
                {
                    key: tf.constant([[row["text"]]])
                    if name == "keras"
                    else tf.constant([row["ids"]], tf.int32)
                }
                for row in rows
            ]
        print(json.dumps({"ready": True}), flush=True)
        for _ in sys.stdin:
            seconds, labels = [], []
            for one in inputs:
                begun = time.perf_counter()
                outputs = function(**one)
                scores = outputs["probabilities" if name == "export" else next(iter(outputs))].numpy()
                seconds.append(time.perf_counter() - begun)
                labels.append(int(scores[0].argmax()))
            print(json.dumps({"seconds": seconds, "labels": labels}), flush=True)


def _settings(model: Any) -> dict[str, Any]:
    """Return settings and sizes of a classifier by name."""
    return {**model.settings.model_dump(), **model.arguments}


def stock_export(run: Path, folder: str, *, from_text: bool) -> None:
    """Export the same layers and weights with `model.export`, as in the tutorials of Keras."""
    import keras

    from app.artifacts.preprocessing import Facts
    from app.artifacts.run import open_run
    from app.prediction.loading import load_keras_model
    from models.layers.cells import get_cell

    opened = open_run(run)
    own = load_keras_model(opened)
    settings, stack = _settings(own), own.recurrent
    layer = get_cell(settings["cell"]).layer
    if from_text:
        tokens = [token.decode() for token in opened.preprocessing(Facts).vocabulary[2:]]
        given = keras.layers.Input([1], dtype="string")
        ids = keras.layers.TextVectorization(vocabulary=tokens)(given)
    else:
        given = ids = keras.layers.Input([None], dtype="int32")
    embedding = keras.layers.Embedding(
        settings["vocabulary_size"], settings["embedding_size"], mask_zero=True
    )
    sequences = embedding(ids)
    recurrent = []
    for _ in range(settings["layers"]):
        made = layer(settings["units"], return_sequences=True)
        recurrent.append(keras.layers.Bidirectional(made) if settings["bidirectional"] else made)
        sequences = recurrent[-1](sequences)
    assert settings["pooling"] == "max_mean", "the benchmark has only max_mean pooling"
    pooled = keras.layers.Concatenate()(
        [keras.layers.GlobalMaxPooling1D()(sequences), keras.layers.GlobalAveragePooling1D()(sequences)]
    )
    head = keras.layers.Dense(settings["classes"], activation="softmax")
    model = keras.Model(given, head(pooled))
    embedding.set_weights(own.embedding.get_weights())
    head.set_weights(own.head.get_weights())
    for i, made in enumerate(recurrent):
        backward = stack.backward[i].get_weights() if stack.backward else []
        made.set_weights(stack.forward[i].get_weights() + backward)
    model.export(folder, format="tf_saved_model", verbose=False)


if __name__ == "__main__":
    main()
