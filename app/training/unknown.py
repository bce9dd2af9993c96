"""Tokens that are out of vocabulary: how many are too many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.config import TaskConfig
from app.tasks.base import Examples
from data.encoding import Encoded
from data.errors import UserError
from data.findings import Finding
from data.splits import TRAINING_SPLITS

MOST_UNKNOWN = 0.95
"""Share of the training tokens above which nothing can be learned: of a sentence hardly a token is left."""
MANY_UNREADABLE = 0.5
"""Share of tokens that a model reads above which there is a warning: a label may depend on a few tokens."""
MANY_UNWRITABLE = 0.2
"""Share of tokens that a model should write above which there is a warning: it never writes them."""
FEWEST_TOKENS = 20
"""Tokens of a split below which most of them may be unknown by chance."""


def check_unknown(
    encoded: Encoded, preprocessing: Preprocessing[Any], examples: Examples[Any, Any], config: TaskConfig
) -> Iterator[Finding]:
    """Yield warnings of splits with many tokens out of vocabulary.

    Args:
        encoded: dataset.
        preprocessing: has the vocabularies.
        examples: of the task.
        config: resolved.

    Raises:
        UserError: hardly a training token, or none of the validation split, is in the vocabulary.
    """
    for split in TRAINING_SPLITS:
        for name, counts in examples.occurrences(encoded, split, preprocessing, config).items():
            vocabulary = preprocessing.vocabularies[examples.vocabulary_of(name, config)]
            visible = np.array([_is_visible(token) for token in vocabulary])
            own = _check(split, name, np.where(visible, counts, 0), examples, config)
            if own is not None:
                yield own


def _check(
    split: str, name: str, counts: np.ndarray, examples: Examples[Any, Any], config: TaskConfig
) -> Finding | None:
    from models.text.tokens import UNKNOWN_ID

    tokens, unknown = int(counts.sum()), int(counts[UNKNOWN_ID])
    share = unknown / max(tokens, 1)
    written = name in examples.written_sequences
    many = tokens >= FEWEST_TOKENS and share > (MANY_UNWRITABLE if written else MANY_UNREADABLE)
    hopeless = share > MOST_UNKNOWN if split == "train" else tokens >= FEWEST_TOKENS and unknown == tokens
    hopeless = hopeless and not examples.reads_characters(config)
    if not (many or hopeless):
        return None
    text = {"source": "source texts", "target": "target texts"}.get(name, "texts")
    what = f"{split}: {_percent(share)} of the {tokens:,} tokens of the {text} are out of vocabulary"
    remedies = _remedies(counts, config)
    if hopeless and split == "train":
        raise UserError(f"{what}, so that nothing can be learned; use {remedies}")
    if hopeless:
        raise UserError(f"{what}, so that no epoch is better than another; give texts like those of train")
    consequence = "the model never writes them, and they count as wrong" if written else "they are not read"
    like = "" if split == "train" else "give training texts that are more like these, or "
    return Finding(what, f"{consequence}; {like}use {remedies}")


def _is_visible(token: bytes) -> bool:
    """Return whether a token is more than white space, a line break or the end of a text."""
    from models.text.tokens import END, NEWLINE

    return bool(token.strip()) and token not in (END, NEWLINE)


def _remedies(counts: np.ndarray, config: TaskConfig) -> str:
    text = config.text
    remedies = []
    if config.tokenizing()["tokens"] == "word" and "tokens" in type(text).model_fields:
        remedies.append("--set text.tokens=subword or --set text.tokens=char")
    if text.min_count > 1:
        remedies.append(f"a smaller text.min_count than {text.min_count}")
    if len(counts) >= text.vocabulary_size:
        remedies.append(f"a larger text.vocabulary_size than {text.vocabulary_size:,}")
    return ", or ".join(remedies or ["more training examples"])


def _percent(share: float) -> str:
    return "all" if share == 1 else f"{min(share, 0.999):.1%}"
