"""Splitting the texts of a dataset into tokens, exactly as the preprocessing of the model does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from app.config import Config
from data.encoding import Texts, UniqueTokens, VocabularyRule
from data.subwords import learn_subwords
from models.text.normalize import normalize
from models.text.subwords import SubwordTokenizer
from models.text.tokenize import unique_tokens
from models.text.tokens import SPECIAL_TOKENS, UNKNOWN_ID

PIECES, SCORES = "pieces", "piece_scores"


@dataclass(frozen=True)
class TextCutter:
    """Cuts texts into tokens as the model's preprocessing does, with what was learned for it."""

    cut: Callable[[Texts], UniqueTokens]
    rule: VocabularyRule
    learned: dict[str, list[bytes]] = field(default_factory=dict)


def cutting_options(
    config: Config, learned: Mapping[str, Sequence[bytes]], *, prefix: str = "", collapse: bool = False
) -> dict[str, Any]:
    """The options of `models.text.tokenize.tokenize` for a configuration.

    Args:
        config: resolved.
        learned: holds the subword pieces, where tokens are subwords.
        prefix: of their names there.
        collapse: whether subwords take runs of white space for a space.
    """
    options = config.tokenizing()
    if config.text.tokens == "subword":
        scores = [float(score) for score in learned[prefix + SCORES]]
        options["subwords"] = SubwordTokenizer(list(learned[prefix + PIECES]), scores, collapse=collapse)
    return options


def text_cutter(
    config: Config,
    texts: Callable[[], Iterable[Texts]],
    *,
    special: tuple[bytes, ...] = SPECIAL_TOKENS,
    prefix: str = "",
    collapse: bool = False,
    lines: bool = False,
) -> TextCutter:
    """How the texts of a dataset are cut.

    Args:
        config: resolved.
        texts: batches of the training texts, to learn subwords from.
        special: the first tokens of the vocabulary.
        prefix: of the names of what is learned.
        collapse: as in `cutting_options`.
        lines: as in `models.text.tokenize.tokenize`.
    """
    learned: dict[str, list[bytes]] = {}
    size = config.text.vocabulary_size
    if config.text.tokens == "subword":
        pieces = learn_subwords(
            (text for batch in texts() for text in normalize(batch, config.text.lowercase).numpy()),
            vocabulary_size=size - len(special),
        )
        learned[prefix + PIECES] = [piece for piece, _ in pieces]
        learned[prefix + SCORES] = [repr(score).encode() for _, score in pieces]
    options = cutting_options(config, learned, prefix=prefix, collapse=collapse) | {"lines": lines}
    graph = tf.function(
        lambda texts: unique_tokens(texts, **options),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )

    def cut(texts: Texts) -> UniqueTokens:
        distinct, positions, lengths = (t.numpy() for t in graph(tf.constant(texts, tf.string)))
        return distinct, positions, lengths

    rule = VocabularyRule(special, UNKNOWN_ID, most=size, min_count=config.text.min_count)
    return TextCutter(cut, rule, learned)
