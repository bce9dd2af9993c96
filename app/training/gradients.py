"""The gradients of a training: their norms by layer and gate, and whether they explode or vanish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from app.config import TaskConfig
from app.inspection.memory import measure_memory
from app.tasks.inspection import Inspection
from models.layers.cells import cell_of

EVERY = 50
"""Steps from one measurement of the norms of layers to the next; fewer in an epoch of fewer steps."""
PREFIX = "gradient_norm/"
"""Before the name of a layer or gate in metrics.jsonl."""
HIGH, OFTEN = 100.0, 20.0
"""A gradient explodes whose norm exceeds the first number, if its usual norm does too, or if it is more than
the second number times the usual norm."""
LOW = 1e-6
"""A usual norm below it has vanished."""
FAR, DEEP = 1e-3, 1e-3
"""A gradient vanishes whose norm is less than this share: over the first half of a text of that over the
second half; in the lowest recurrent layer of that in the highest one."""
ROWS, LONGEST = 32, 256
"""Rows, and tokens of each, on which gradients are followed back through a text."""
SHORT = 20
"""Texts of fewer tokens are not long enough to see a gradient vanish."""


class _Part(NamedTuple):
    name: str
    variable: int
    """Its position among the trainable variables."""
    block: int = 0
    blocks: int = 0
    """Which of how many equal parts of the columns; 0: the whole variable."""


class GradientNorms:
    """The norms of the gradients of each layer, and of each gate of the recurrent matrices.

    They are measured before clipping, in one step of every 50, so that the others take no longer.
    """

    def __init__(self, model: keras.Model, steps: int) -> None:
        """Find the layers.

        Args:
            model: built.
            steps: of an epoch.
        """
        self.every = max(min(EVERY, steps), 1)
        self._parts = _parts(model)
        self.names = list(dict.fromkeys(part.name for part in self._parts))
        """Names of layers, and of gates below those of their layer: `recurrent/forward_0/forget`."""

    def measure(self, gradients: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """Return 1 and the norms in the order of `names` if they are measured in a step; else zeros.

        Args:
            gradients: dense, of all trainable variables in their order.
            step: int scalar, the number of the step from 0.

        Returns:
            float32 [names + 1].
        """

        def norms() -> tf.Tensor:
            squares: dict[str, list[tf.Tensor]] = {name: [] for name in self.names}
            for part in self._parts:
                gradient = gradients[part.variable]
                if part.blocks:
                    gradient = tf.split(gradient, part.blocks, axis=1)[part.block]
                squares[part.name].append(2 * tf.nn.l2_loss(gradient))
            return tf.sqrt(tf.stack([1.0, *(tf.add_n(own) for own in squares.values())]))

        return tf.cond(
            tf.equal(step % self.every, 0), norms, lambda: tf.zeros([len(self.names) + 1], tf.float32)
        )


def _parts(model: keras.Model) -> list[_Part]:
    """Return a part for each variable, and one for each gate of a recurrent kernel."""
    places = {id(variable): place for place, variable in enumerate(model.trainable_variables)}
    found: list[_Part] = []
    seen: set[int] = set()
    layers = list(model._flatten_layers(include_self=False))
    layers.sort(key=lambda layer: not isinstance(layer, keras.layers.RNN))  # a cell is part of its layer
    for layer in layers:
        is_recurrent = isinstance(layer, keras.layers.RNN)
        for variable in layer.trainable_variables if is_recurrent else layer._trainable_variables:
            place = places.get(id(variable))
            if place is None or place in seen:
                continue
            seen.add(place)
            name = str(layer.path).removeprefix(f"{model.name}/")
            found.append(_Part(name, place))
            blocks = cell_of(layer).blocks if is_recurrent and variable.name == "recurrent_kernel" else ()
            if len(blocks) > 1:
                found += [_Part(f"{name}/{gate}", place, i, len(blocks)) for i, gate in enumerate(blocks)]
    # Variables of the network itself, such as an output bias.
    found += [_Part(model.name, place) for place in places.values() if place not in seen]
    return sorted(found, key=lambda part: (part.variable, part.blocks, part.block))


class GradientWatch:
    """Says once that gradients explode, and once that they vanish."""

    def __init__(
        self,
        config: TaskConfig,
        inspection: Inspection[Any, Any] | None = None,
        examples: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Say nothing yet.

        Args:
            config: of the training.
            inspection: of the network, if its outputs should depend on whole texts; None: they need not.
            examples: validation examples, an array for each field.
        """
        self.config = config
        self._inspection = inspection
        self._examples = examples or {}
        self._said: set[str] = set()

    def after_epoch(self, record: Mapping[str, Any], usual: float) -> list[str]:
        """Return what is to be said after an epoch.

        Gradients are followed back through texts after the epochs 1, 2, 4, 8 and so on.

        Args:
            record: line of metrics.jsonl.
            usual: geometric mean of the norms of the steps.
        """
        epoch = int(record["epoch"])
        follows = epoch & (epoch - 1) == 0
        found = {
            "explode": exploding(record, usual, self.config),
            "vanish": vanishing(record, usual, self.config) or (self._forgetting() if follows else ""),
        }
        new = {kind: sentence for kind, sentence in found.items() if sentence and kind not in self._said}
        self._said |= new.keys()
        return list(new.values())

    def _forgetting(self) -> str:
        """Return that outputs do not depend on the first halves of texts, or an empty string."""
        if self._inspection is None or "vanish" in self._said:
            return ""
        vectors = self._inspection.sample(self._examples, ROWS, LONGEST, np.random.default_rng(0))
        norms = measure_memory(self._inspection, vectors).back[self._inspection.main].norms
        half = len(norms) // 2
        if len(norms) < SHORT or norms[half:].mean() >= FAR * norms[:half].mean():
            return ""
        return (
            f"vanishing gradients: tokens {half} or more before the end of a text have hardly an effect on "
            f"the prediction ({norms[half:].mean():.0e} against {norms[:half].mean():.0e}); try "
            f"{' or '.join(longer_memory(self.config))}"
        )


def exploding(record: Mapping[str, Any], usual: float, config: TaskConfig) -> str:
    """Return that gradients explode and what to try, or an empty string.

    Args:
        record: line of metrics.jsonl.
        usual: geometric mean of the norms of the steps.
        config: of the training.
    """
    largest = record["gradient_norm_max"]
    if largest <= HIGH or (usual <= HIGH and largest <= OFTEN * usual):
        return ""
    training = config.training
    advice = [f"a lower training.learning_rate than {training.learning_rate:g}"]
    if not (training.clip_norm or training.clip_value):
        advice.insert(0, "training.clip_norm=1.0")
    if config.model.cell == "simple":
        advice.append("model.cell=gru")
    share = record["clipped_share"]
    clipped = f", clipped in {share:.0%} of the steps" if share else ""
    return (
        f"exploding gradients: their norm rose to {largest:.3g}, {usual:.2g} is usual{clipped}; if the loss "
        f"does not fall steadily, try {', or '.join(advice)}"
    )


def vanishing(record: Mapping[str, Any], usual: float, config: TaskConfig) -> str:
    """Return that gradients vanish, all of them or on their way down through the layers, or an empty string.

    Arguments are those of `exploding`.
    """
    if usual < LOW:
        return (
            f"vanishing gradients: {usual:.0e} is their usual norm, so that the weights hardly change; try "
            f"{' or '.join(longer_memory(config))}, or another seed"
        )
    for stack in ("recurrent/forward_", "recurrent_", "encoder/forward_"):
        lowest, highest = f"{stack}0", f"{stack}{config.model.layers - 1}"
        low, high = (record.get(PREFIX + name) for name in (lowest, highest))
        if low is not None and high is not None and low < DEEP * high:
            return (
                f"vanishing gradients: {low:.0e} is the norm of {lowest}, {high:.0e} that of {highest}, so "
                "that the lowest layer hardly learns; try fewer model.layers"
            )
    return ""


def longer_memory(config: TaskConfig) -> list[str]:
    """Return settings with which gradients reach further back than with those of a training."""
    model = config.model
    advice = []
    if model.cell == "simple":
        advice.append("model.cell=gru")
    if model.activation != "tanh":
        advice.append("model.activation=tanh")
    if getattr(model, "pooling", "") == "last":
        advice.append("model.pooling=max_mean")
    return advice or ["a smaller text.max_length"]
