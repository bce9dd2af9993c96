"""Keras as its tutorials write it, and the matrix product that the machine is measured with; see `answering`.

The classifier is `TextVectorization`, `Embedding(mask_zero=True)`, `Bidirectional(LSTM)` and `Dense`, over
shuffled batches that are padded to their longest text.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from answering import Parts, Turn, answer, repeated, seconds, turn_of_layers, turn_of_texts
from flops import PRODUCT_SIZE


class Tutorial:
    """The classifier of the tutorials, and its data."""

    def __init__(self, job: dict[str, Any]) -> None:
        """Read the texts, learn the vocabulary and build the network."""
        lines = Path(job["data"], "train.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        labels = sorted({row["label"] for row in rows})
        self.examples, self._batch_size = len(rows), job["batch_size"]
        self._texts = [row["text"] for row in rows]
        self._classes = [labels.index(row["label"]) for row in rows]
        self._max_length = job["max_length"]
        self._vectorize = keras.layers.TextVectorization(max_tokens=job["vocabulary"])
        self._vectorize.adapt(tf.data.Dataset.from_tensor_slices(self._texts).batch(256))
        lengths = (tf.math.count_nonzero(self._encode(text, 0)[0], axis=1) for text in self._batches())
        self.tokens = int(sum(tf.reduce_sum(own) for own in lengths))
        self.model = keras.Sequential(
            [
                keras.layers.Embedding(job["vocabulary"], job["embedding"], mask_zero=True),
                keras.layers.Bidirectional(keras.layers.LSTM(job["units"])),
                keras.layers.Dense(len(labels)),
            ]
        )
        self.model.compile(
            keras.optimizers.Adam(1e-3, global_clipnorm=1.0),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )

    def dataset(self, *, shuffled: bool) -> tf.data.Dataset:
        """Return the batches of an epoch, split into words as they are read."""
        found = tf.data.Dataset.from_tensor_slices((self._texts, self._classes))
        if shuffled:
            found = found.shuffle(self.examples, seed=0)
        return (
            found.batch(self._batch_size).map(self._encode, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)
        )

    def measured(self, took: float) -> Parts:
        """Return the measurement of one pass over the texts."""
        return {"": {"seconds": took, "examples": self.examples, "tokens": self.tokens}}

    def _batches(self) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(self._texts).batch(256)

    def _encode(self, texts: tf.Tensor, classes: Any) -> tuple[tf.Tensor, Any]:
        return self._vectorize(texts)[:, : self._max_length], classes


def train(job: dict[str, Any]) -> Turn:
    """Train the classifier: a turn is an epoch."""
    tutorial = Tutorial(job)
    data = tutorial.dataset(shuffled=True)
    tutorial.model.fit(data.take(3), verbose=0)
    return lambda: tutorial.measured(seconds(lambda: tutorial.model.fit(data, verbose=0)))


def predict(job: dict[str, Any]) -> Turn:
    """Predict the classes of texts."""
    tutorial = Tutorial(job)
    data = tutorial.dataset(shuffled=False)
    tutorial.model.predict(data.take(3), verbose=0)
    return lambda: tutorial.measured(seconds(lambda: tutorial.model.predict(data, verbose=0)))


def layer(job: dict[str, Any]) -> Turn:
    """Run `Bidirectional(LSTM)` alone, without a mask."""

    def prepared(case: dict[str, Any]) -> Any:
        rows, steps, units = case["rows"], case["steps"], case["units"]
        lstm = keras.layers.Bidirectional(keras.layers.LSTM(units, return_sequences=True))
        lstm.build((None, None, units))
        x = tf.random.normal([rows, steps, units])

        @tf.function(autograph=False)
        def forward(x: tf.Tensor) -> tf.Tensor:
            return lstm(x, training=False)

        @tf.function(autograph=False)
        def both(x: tf.Tensor) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(lstm(x, training=True))
            return tape.gradient(loss, [x, *lstm.trainable_variables])

        if case["backward"]:
            return lambda: [value.numpy() for value in both(x)]
        return lambda: forward(x).numpy()

    return turn_of_layers(job["cases"], prepared)


def single(job: dict[str, Any]) -> Turn:
    """Run `model.export` of the same layers and weights on the ids of one text at a time."""
    weights, sizes = dict(np.load(job["weights"])), job["sizes"]
    given = keras.layers.Input([None], dtype="int32")
    embedding = keras.layers.Embedding(sizes["vocabulary"], sizes["embedding"], mask_zero=True)
    recurrent = keras.layers.Bidirectional(keras.layers.LSTM(sizes["units"], return_sequences=True))
    head = keras.layers.Dense(sizes["classes"], activation="softmax")
    sequences = recurrent(embedding(given))
    pooled = [keras.layers.GlobalMaxPooling1D()(sequences), keras.layers.GlobalAveragePooling1D()(sequences)]
    model = keras.Model(given, head(keras.layers.Concatenate()(pooled)))
    embedding.set_weights([weights["embedding"]])
    head.set_weights([weights["head_kernel"], weights["head_bias"]])
    parts = ("kernel", "recurrent_kernel", "bias")
    recurrent.set_weights([weights[f"{name}_{part}"] for name in ("forward", "backward") for part in parts])
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        loaded = tf.saved_model.load(folder)
    (key,) = loaded.signatures["serving_default"].structured_input_signature[1]

    def predict(ids: list[int]) -> list[float]:
        # A signature does not hold its variables: what was loaded does.
        (found,) = loaded.signatures["serving_default"](**{key: tf.constant([ids], tf.int32)}).values()
        row: list[float] = found.numpy()[0].tolist()
        return row

    return turn_of_texts(job["ids"], predict, job["calls"])


def product(job: dict[str, Any]) -> Turn:
    """Multiply two matrices of float32."""
    left, right = (tf.random.normal([PRODUCT_SIZE, PRODUCT_SIZE]) for _ in range(2))

    def multiply() -> None:
        tf.linalg.matmul(left, right).numpy()

    multiply()
    return lambda: {"": {"seconds": repeated(multiply, job["calls"]), "examples": 1, "tokens": 1}}


if __name__ == "__main__":
    answer({kind.__name__: kind for kind in (train, predict, layer, single, product)})
