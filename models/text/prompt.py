"""Prompts of a language model: their tokens, and how the text after them joins."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from models.text.detokenize import detokenize
from models.text.joins import JOINED, SPACED, is_sign, prefers_space
from models.text.normalize import normalize
from models.text.patterns import WHITE_SPACE
from models.text.preprocessor import Preprocessor
from models.text.tokenize import tokenize
from models.text.tokens import UNKNOWN_ID


class Prompt(NamedTuple):
    """The tokens of prompts."""

    pieces: tf.RaggedTensor
    """string [B, (tokens)]."""
    last: tf.Tensor
    """string [B], the last token of each prompt; "" without tokens."""
    is_blank: tf.Tensor
    """bool [B], whether a prompt is empty or ends with white space."""


def read_prompt(texts: tf.Tensor, preprocessor: Preprocessor) -> Prompt:
    """Tokenize prompts.

    A prompt does not say how its last word joins the next one, except by white space at its end. If words
    keep their joins, a sign at the end has the form that is more frequent in the training text: `well-` is
    `well` `￭-￭`, and `end.` is `end` `.`.

    Args:
        texts: string [B].
        preprocessor: of the model; its vocabulary begins with the most frequent tokens.
    """
    pieces = tokenize(texts, **preprocessor.options)
    texts = normalize(texts, lowercase=False)
    counts = pieces.row_lengths()
    has_tokens = counts > 0
    blank = ~has_tokens | tf.strings.regex_full_match(texts, rf"\C*[{WHITE_SPACE}]")
    # Rows without tokens read the added one.
    flat = tf.concat([pieces.flat_values, [""]], 0)
    places = tf.where(has_tokens, pieces.row_limits() - 1, tf.size(flat, tf.int64) - 1)
    last = tf.gather(flat, places)
    if preprocessor.options["tokens"] != "word" or not preprocessor.options["joins"]:
        return Prompt(pieces, last, blank)
    spaced = prefers_space(last)
    other = tf.strings.join([last, tf.where(spaced, JOINED, SPACED)])
    own_id, other_id = (preprocessor.table.lookup(token) for token in (last, other))
    is_preferred = tf.equal(own_id, UNKNOWN_ID) | (other_id < own_id)
    differs = tf.where(blank, ~spaced, is_preferred) & is_sign(last) & has_tokens & (other_id != UNKNOWN_ID)
    last = tf.where(differs, other, last)
    flat = tf.tensor_scatter_nd_update(flat, places[:, tf.newaxis], last)
    return Prompt(pieces.with_flat_values(flat[:-1]), last, blank)


def continuation(pieces: tf.RaggedTensor, prompt: Prompt, preprocessor: Preprocessor) -> tf.Tensor:
    """Return tokens as text that continues a prompt: string [B, (tokens)] → [B].

    No space comes at the start of a text and after white space of the prompt.
    """
    options = preprocessor.options
    texts = detokenize(pieces, options["tokens"], joins=options["joins"], previous=prompt.last)
    if options["tokens"] in ("char", "byte"):
        return texts
    bare = prompt.is_blank if options["tokens"] == "word" else tf.equal(prompt.pieces.row_lengths(), 0)
    return tf.where(bare, tf.strings.regex_replace(texts, "^ ", ""), texts)
