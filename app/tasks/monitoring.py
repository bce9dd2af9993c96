"""What is watched of a served model, and the same of its validation texts, to tell when they drift apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from app.artifacts.manifests import Reference

if TYPE_CHECKING:
    import tensorflow as tf

    from app.prediction.predictor import Predictor
    from app.tasks.base import ExampleBatch, OutputArrays
    from app.tasks.signature import Signature
    from data.prepared import Dataset
    from models.text.preprocessor import Preprocessor

COUNTS = "counts"
"""Signature: `text` string [B] → `tokens`, `unknown` int32 [B], the number of tokens of each text, and of
those of them that are out of vocabulary."""
MOST_EXAMPLES = 2000
"""Most validation examples that are looked at."""
QUANTILES = (0.1, 0.5, 0.9, 0.99)
SPLIT = "validation"


class Observed(NamedTuple):
    """What is counted of the outputs of a call."""

    answers: Mapping[str, int]
    """Number of answers by name: labels, or tags of tokens."""
    certainty: np.ndarray | None = None
    """float [rows]: the probability of each answer; None: the model gives none."""
    characters: np.ndarray | None = None
    """int [rows]: length of each text that was written; None: none is written."""


@dataclass(frozen=True)
class Monitoring:
    """How the requests of a task are watched."""

    observe: Callable[[OutputArrays], Observed]
    """From the outputs of `signature`."""
    texts: Callable[[ExampleBatch], Sequence[bytes]]
    """From examples of a dataset to what clients would send."""
    outputs: frozenset[str]
    """What `observe` needs; a model without it is not watched."""
    signature: str = "serving_default"
    """The signature whose answers are counted."""
    text: str = "text"
    """Its input that has the texts."""
    answers: tuple[str, ...] = ()
    """Vocabularies of the answers."""
    repeatable: bool = True
    """Whether the answer depends on the text alone, so that those to validation texts are a reference."""


def counts_signature(
    look_up: Callable[[tf.Tensor], tf.RaggedTensor], *, own_cudnn_layers: int = 0
) -> Signature:
    """Return the signature `COUNTS`.

    Args:
        look_up: token ids of texts: string [B] → int [B, (tokens)].
        own_cudnn_layers: of `Signature`.
    """
    import tensorflow as tf

    from app.tasks.signature import signature
    from models.text.tokens import UNKNOWN_ID

    def counts(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = look_up(text)
        unknown = tf.reduce_sum(tf.cast(tf.equal(ids, UNKNOWN_ID), tf.int32), axis=1)
        return {"tokens": tf.cast(ids.row_lengths(), tf.int32), "unknown": unknown}

    text = tf.TensorSpec([None], tf.string, "text")
    return signature(counts, text, batched=True, reads_sequences=False, own_cudnn_layers=own_cudnn_layers)


def text_counts(preprocessor: Preprocessor) -> Signature:
    """Return the signature `COUNTS` of a model that reads texts with a preprocessor."""
    from models.text.tokenize import tokenize

    return counts_signature(lambda text: preprocessor.ids(tokenize(text, **preprocessor.options)))


def counted(values: np.ndarray) -> dict[str, int]:
    """Return how often each string occurs: bytes of any shape."""
    names, counts = np.unique(values.astype(bytes), return_counts=True)
    return {name.decode(): int(count) for name, count in zip(names, counts, strict=True)}


def characters(texts: np.ndarray) -> np.ndarray:
    """Return the number of characters of UTF-8 texts: int [B]."""
    return np.array([len(text.decode(errors="replace")) for text in texts.tolist()], np.int64)


def reference(monitoring: Monitoring, predictor: Predictor, dataset: Dataset) -> Reference | None:
    """Return what is watched of the first validation examples; None: there are none.

    Args:
        monitoring: of the task.
        predictor: of the model that is to be served.
        dataset: that it was trained on.
    """
    batches: Iterable[ExampleBatch] = dataset.batches(SPLIT, size=MOST_EXAMPLES)
    texts = [text for batch in itertools.islice(batches, 1) for text in monitoring.texts(batch)]
    if not texts:
        return None
    counts = predictor.run_texts(COUNTS, texts)
    tokens = counts["tokens"]
    found = Observed({})
    if monitoring.repeatable:
        found = monitoring.observe(predictor.run(monitoring.signature, {monitoring.text: texts}))
    total = sum(found.answers.values())
    return Reference(
        split=SPLIT,
        examples=len(texts),
        answers={name: count / total for name, count in sorted(found.answers.items())},
        certainty=None if found.certainty is None else float(np.mean(found.certainty)),
        characters=None if found.characters is None else float(np.mean(found.characters)),
        unknown=float(counts["unknown"].sum() / max(tokens.sum(), 1)),
        tokens={
            str(q): float(value) for q, value in zip(QUANTILES, np.quantile(tokens, QUANTILES), strict=True)
        },
    )
