"""Tokenization of the texts of a dataset, exactly as the preprocessing of the model does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from app.artifacts.preprocessing import Facts, Preprocessing
from app.config import TaskConfig
from data.encoding import Texts, UniqueTokens, VocabularyRule
from data.subwords import learn_subwords
from models.text.normalize import normalize
from models.text.subwords import SubwordTokenizer
from models.text.tokenize import unique_tokens
from models.text.tokens import SPECIAL_TOKENS, UNKNOWN_ID

VOCABULARY = "vocabulary"
"""The vocabulary of the input texts."""

Subwords = dict[str, list[tuple[str, float]]]
"""Pieces and their log-probabilities, by the name of their vocabulary."""


@dataclass(frozen=True)
class TextTokenizer:
    """Tokenizes batches of texts, with what was learned for it."""

    tokenize: Callable[[Texts], UniqueTokens]
    rule: VocabularyRule
    subwords: Subwords = field(default_factory=dict)


def tokenizer_options(
    config: TaskConfig,
    facts: Facts,
    *,
    vocabulary: str = VOCABULARY,
    collapse: bool = False,
    joins: bool = False,
) -> dict[str, Any]:
    """Return the options of `models.text.tokenize.tokenize` for a configuration.

    Args:
        config: resolved.
        facts: hold the subword pieces, where tokens are subwords, and the version of the rules of words.
        vocabulary: the name of the vocabulary of the tokens.
        collapse: whether subwords treat runs of white space as one space.
        joins: whether words keep how they join; the first version of the rules does not know it.
    """
    return {
        **_options(config, facts.subwords, vocabulary, collapse),
        "joins": joins and facts.word_rules > 1,
        "rules": facts.word_rules,
    }


def _options(config: TaskConfig, subwords: Subwords, vocabulary: str, collapse: bool) -> dict[str, Any]:
    options = config.tokenizing()
    if options["tokens"] == "subword":
        pieces = [piece.encode() for piece, _ in subwords[vocabulary]]
        scores = [score for _, score in subwords[vocabulary]]
        options["subwords"] = SubwordTokenizer(pieces, scores, collapse=collapse)
    return options


def first_tokens(special: Sequence[bytes], vocabulary: str, kept: Preprocessing[Any] | None) -> list[bytes]:
    """Return the first tokens of a vocabulary: special ones, and those of a model that training starts from.

    `first_tokens([b"", b"[UNK]"], "vocabulary", None) -> [b"", b"[UNK]"]`
    """
    before = kept.vocabularies.get(vocabulary, ()) if kept is not None else ()
    return list(dict.fromkeys([*special, *before]))


def text_tokenizer(
    config: TaskConfig,
    texts: Callable[[], Iterable[Texts]],
    *,
    special: tuple[bytes, ...] = SPECIAL_TOKENS,
    vocabulary: str = VOCABULARY,
    collapse: bool = False,
    lines: bool = False,
    joins: bool = False,
    kept: Preprocessing[Any] | None = None,
) -> TextTokenizer:
    """Return the tokenizer of a dataset, of the latest rules of words.

    Args:
        config: resolved.
        texts: returns batches of the training texts, from which subwords are learned.
        special: the first tokens of the vocabulary.
        vocabulary: its name.
        collapse: as in `tokenizer_options`.
        lines: as in `models.text.tokenize.tokenize`.
        joins: as in `models.text.tokenize.tokenize`.
        kept: as of `Examples.plan`.
    """
    subwords: Subwords = {}
    size = config.text.vocabulary_size
    if kept is not None and vocabulary in kept.facts.subwords:
        subwords[vocabulary] = kept.facts.subwords[vocabulary]
    elif config.tokenizing()["tokens"] == "subword":
        pieces = learn_subwords(
            (text for batch in texts() for text in normalize(batch, config.text.lowercase).numpy()),
            vocabulary_size=size - len(special),
        )
        subwords[vocabulary] = [(piece.decode(), score) for piece, score in pieces]
    options = _options(config, subwords, vocabulary, collapse) | {"lines": lines, "joins": joins}
    graph = tf.function(
        lambda texts: unique_tokens(texts, **options),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )

    def tokenize(texts: Texts) -> UniqueTokens:
        distinct, positions, lengths = (t.numpy() for t in graph(tf.constant(texts, tf.string)))
        return distinct, positions, lengths

    first = first_tokens(special, vocabulary, kept)
    most = max(size, len(first))
    rule = VocabularyRule(first, UNKNOWN_ID, most=most, min_count=config.text.min_count)
    return TextTokenizer(tokenize, rule, subwords)
