"""The loss of each token of some texts under a language model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from app.tasks.generation.inspection import GenerationInspection
from models.losses import token_cross_entropy
from models.text.detokenize import detokenize
from models.text.preprocessor import Preprocessor
from models.text.tokenize import tokenize
from models.text.tokens import END_ID, PADDING_ID

LARGEST = 2**24
"""Most logits that are computed at once."""


class Window(NamedTuple):
    """Consecutive tokens of a text, which are read from an empty state on."""

    pieces: list[bytes]
    losses: np.ndarray
    """float32 [T], in nats."""


def windows(
    inspection: GenerationInspection, texts: Sequence[bytes], *, number: int, longest: int
) -> list[Window]:
    """Return the losses of the tokens of a random sample of windows, the same each time.

    Args:
        inspection: of the network; it reads texts with labels as texts without.
        texts: documents, or pieces of one; at least one.
        number: most windows.
        longest: most tokens of a window.
    """
    pieces = tokenize(tf.constant(texts), **inspection.preprocessor.options)
    ids, tokens = inspection.preprocessor.ids(pieces).to_list(), pieces.to_list()
    starts = [(row, start) for row, own in enumerate(ids) for start in range(0, len(own), longest)]
    chosen = np.sort(np.random.default_rng(0).permutation(len(starts))[:number])
    # What precedes a text is the end of another one.
    sequences = [[END_ID, *own] for own in ids]
    places = [starts[i] for i in chosen.tolist()]
    read = [sequences[row][start : start + longest + 1] for row, start in places]
    at_once = max(LARGEST // (longest * inspection.model.vocabulary_size), 1)
    losses = [
        own
        for first in range(0, len(read), at_once)
        for own in _losses(inspection, read[first : first + at_once])
    ]
    return [
        Window(tokens[row][start : start + longest], own)
        for (row, start), own in zip(places, losses, strict=True)
    ]


def _losses(inspection: GenerationInspection, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Return the loss of each token but the first one of each sequence."""
    model = inspection.model
    ids = tf.ragged.constant(sequences, tf.int32, ragged_rank=1).to_tensor(PADDING_ID)
    lengths = [len(own) - 1 for own in sequences]
    logits, _ = model(ids[:, :-1], model.initial_state(len(sequences)))
    real = tf.sequence_mask(lengths, tf.shape(ids)[1] - 1)
    losses = token_cross_entropy(logits, ids[:, 1:], real).numpy()
    return [row[:length] for row, length in zip(losses, lengths, strict=True)]


def shown(pieces: Sequence[bytes], preprocessor: Preprocessor) -> list[str]:
    """Return what each token adds to the text of those before it; all of them together are the text."""
    prefixes = tf.ragged.constant(
        [list(pieces[: i + 1]) for i in range(len(pieces))], tf.string, ragged_rank=1
    )
    options = preprocessor.options
    texts = detokenize(prefixes, options["tokens"], joins=options["joins"]).numpy()
    # Bytes of a character that is not complete yet add nothing.
    decoded = ["", *(text.decode(errors="ignore") for text in texts)]
    return [text[len(before) :] for before, text in itertools.pairwise(decoded)]
