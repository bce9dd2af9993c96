"""How much the branches of a tagger count: the recurrent network, and the linear model of features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.tasks.base import Arrays, graph_of

if TYPE_CHECKING:
    import tensorflow as tf

    from models.tagger import Tagger

LARGEST_WEIGHT = 4.0
"""Where all validation tags are correct, the best weights would be infinite."""
TOLERANCE = 1e-5
SCORES = ("recurrent", "features")
"""Outputs of either branch, in the order of their weights."""


class Branches:
    """Chooses the weights of both branches, and joins their scores."""

    def __init__(
        self,
        model: Tagger,
        tagged: Callable[[Mapping[str, tf.Tensor], dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    ) -> None:
        """Keep a tagger with features of tokens.

        Args:
            model: the tagger.
            tagged: from a batch and the tagger's outputs to its loss and tags.
        """
        self.model, self.tagged = model, tagged
        self.graphs: dict[Any, Any] = {}

    def join(self, arrays: Sequence[Arrays], outputs: Sequence[Arrays]) -> list[Arrays]:
        """Return what `tagged` does for each batch, with the weights that fit all of them best.

        The weights are assigned to the model.

        Args:
            arrays: of each batch `tags` int32 [B, T] and `lengths` int32 [B].
            outputs: of each batch `recurrent` and `features` float32 [B, T, K]; and others, which stay.
        """
        batches = [
            {name: own[name] for name in ("tags", "lengths")} | {name: found[name] for name in SCORES}
            for own, found in zip(arrays, outputs, strict=True)
        ]
        self.model.branch_weights.assign(self._best(batches))
        return [
            {name: value for name, value in found.items() if name not in SCORES}
            | {name: value.numpy() for name, value in self._run(self._joined, batch).items()}
            for batch, found in zip(batches, outputs, strict=True)
        ]

    def _best(self, batches: Sequence[Arrays]) -> np.ndarray:
        """Return the weights, at least 0, that minimize the loss of the tags: float32 [2]."""
        from scipy.optimize import minimize

        tokens = sum(int(batch["lengths"].sum()) for batch in batches)

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            of_batches = [
                self._run(self._loss, {**batch, "weights": weights.astype(np.float32)}) for batch in batches
            ]
            nats, slopes = (sum(np.float64(found[i]) for found in of_batches) for i in (0, 1))
            return float(nats) / tokens, np.asarray(slopes / tokens)

        bounds = [(0.0, LARGEST_WEIGHT)] * 2
        found: Any = minimize(loss, [0.5, 0.5], jac=True, bounds=bounds, method="L-BFGS-B", tol=TOLERANCE)
        return np.asarray(found.x, np.float32)

    def _run(self, function: Callable[[Mapping[str, tf.Tensor]], Any], batch: Arrays) -> Any:
        if function not in self.graphs:
            self.graphs[function] = graph_of(function, batch)
        return self.graphs[function](batch)

    def _joined(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        emissions = self.model.joined(*(batch[name] for name in SCORES))
        return self.tagged(batch, {"emissions": emissions})

    def _loss(self, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the sum of the losses, and its gradient by the weights."""
        import tensorflow as tf

        weights = tf.convert_to_tensor(batch["weights"])
        with tf.GradientTape() as tape:
            tape.watch(weights)
            first, second = SCORES
            emissions = weights[0] * batch[first] + weights[1] * batch[second]
            losses = self.model.tag_losses({"emissions": emissions}, batch["tags"], batch["lengths"])
            loss = tf.reduce_sum(losses)
        return loss, tape.gradient(loss, weights)
