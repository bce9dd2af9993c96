"""Text to token ids, in the graph: the one function that training, prediction and the SavedModel share.

Only core TensorFlow string operations are used, so that a SavedModel needs no extra library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf

TokenKind = Literal["word", "char", "byte"]
Truncation = Literal["end", "middle"]

PADDING = b""
UNKNOWN = b"[UNK]"
SPECIAL_TOKENS = (PADDING, UNKNOWN)
PADDING_ID = 0
UNKNOWN_ID = 1

# Scripts that are written without spaces between words: each letter stands alone.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# A letter of a spaced script: "not (not a letter, or of an unspaced script)".
_LETTER = rf"[^\P{{L}}{_UNSPACED}]"
# Zero-width (non-)joiners belong into words of Persian and of Indic scripts.
_WORD = rf"(?:{_LETTER}|[\p{{M}}\p{{N}}_\x{{200C}}\x{{200D}}])+"
_TOKEN = "|".join(
    (
        r"\p{N}+(?:[.,:/]\p{N}+)+",  # 3.14  1,000  10:30  7/10
        rf"{_WORD}(?:'{_WORD})*",
        rf"[{_UNSPACED}]\p{{M}}*",
        r"[\x{1F1E6}-\x{1F1FF}]{2}",  # a flag is a pair of regional indicators
        r"\p{So}[\p{Sk}\p{M}]*(?:\x{200D}\p{So}[\p{Sk}\p{M}]*)*",  # emoji, skin tones, joined families
        r"\.\.+",
        r"--+",
        r"\S",  # any other sign is a token of its own: nothing is lost
    )
)
# Both read words that are already cut, each with a space behind it: RE2's \b knows ASCII letters only.
_SUFFIX = r"(?i)' (s|m|d|ll|re|ve) "  # one space: the two stood together
_CONTRACTION = r"(?i)([\p{L}\p{M}])(n't|'(?:s|m|d|ll|re|ve))('(?:s|m|d|ll|re|ve))? "
_MARKUP = (
    r"(?i)</?(?:a|b|br|blockquote|code|div|em|h[1-6]|hr|i|li|ol|p|pre|span|strong|table|td|th|tr|u|ul)"
    r"(?:\s+[a-z-]+\s*=[^<>]*)?\s*/?>"
)
_SEPARATOR = rf"{_MARKUP}|[\p{{Z}}\p{{Cc}}\x{{FEFF}}]+"


def lower(texts: tf.Tensor) -> tf.Tensor:
    """Lower-cases UTF-8 strings of any shape, alike on every host; U+0000 becomes a space.

    `tf.strings.lower(encoding="utf-8")` follows the host's locale for I and İ (Turkish, Azeri) and for
    Ì, Í, Ĩ, Į (Lithuanian), and it stops at U+0000: all these are settled before it is called.
    """
    texts = tf.strings.regex_replace(tf.strings.lower(texts), r"\x00", " ")
    for capital in "İÌÍĨĮ":
        texts = tf.strings.regex_replace(texts, capital, capital.lower())
    return tf.strings.lower(texts, encoding="utf-8")


def tokenize(
    texts: tf.Tensor,
    *,
    tokens: TokenKind = "word",
    lowercase: bool = True,
    max_length: int = 0,
    truncate: Truncation = "end",
) -> tf.RaggedTensor:
    """Cuts texts into tokens.

    `word`: words, numbers and signs as a person would count them; English contractions apart
    (`don't` → `do` `n't`), a typographic apostrophe read as a plain one, markup such as `<br />`
    is a separator, in scripts without spaces each letter is a token. `char`: Unicode code points.
    `byte`: the bytes as they stand.

    Invalid UTF-8 becomes U+FFFD in `word` and `char`.

    Args:
        texts: string [B].
        tokens: the kind of token.
        lowercase: whether case is dropped (for bytes: of ASCII letters only).
        max_length: the most tokens of a text that are kept; 0 keeps all.
        truncate: what a longer text loses: its `end`, or its `middle` (a review's verdict often
            stands at its end).

    Returns:
        string [B, (tokens)]; an empty text has no tokens.
    """
    pieces = _cut(texts, tokens, lowercase)
    if not max_length:
        return pieces
    if truncate == "end":
        return pieces[:, :max_length]
    head = max_length - max_length // 2
    tail = pieces[:, head:]
    return tf.concat(
        [pieces[:, :head], tail[:, -(max_length // 2) :] if max_length > 1 else tail[:, :0]], axis=1
    )


def unique_tokens(texts: tf.Tensor, **options: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The distinct tokens of texts, for learning a vocabulary.

    Args:
        texts: string [B].
        options: of `tokenize`.

    Returns:
        distinct tokens string [U]; for each token of all texts its position among them, int32 [N];
        the number of tokens of each text, int64 [B].
    """
    pieces = tokenize(texts, **options)
    distinct, positions = tf.unique(pieces.flat_values)
    return distinct, positions, pieces.row_lengths()


def _cut(texts: tf.Tensor, tokens: TokenKind, lowercase: bool) -> tf.RaggedTensor:
    if tokens == "byte":
        return tf.strings.bytes_split(tf.strings.lower(texts) if lowercase else texts)
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    if lowercase:
        texts = lower(texts)
    if tokens == "char":
        return tf.strings.unicode_split(texts, "UTF-8")
    texts = tf.strings.regex_replace(texts, _SEPARATOR, " ")
    texts = tf.strings.regex_replace(texts, "’", "'")
    texts = tf.strings.regex_replace(texts, _TOKEN, r"\0 ")  # \0, not a group: RE2 is then 8 times faster
    texts = tf.strings.regex_replace(texts, _SUFFIX, r"'\1 ")
    texts = tf.strings.regex_replace(texts, _CONTRACTION, r"\1 \2 \3 ")
    return tf.strings.split(texts)


class Preprocessor(tf.Module):
    """Strings to token ids: tokens, a fixed vocabulary, truncation and padding."""

    def __init__(
        self,
        vocabulary: Sequence[bytes],
        *,
        tokens: TokenKind = "word",
        lowercase: bool = True,
        max_length: int = 0,
        truncate: Truncation = "end",
    ) -> None:
        """Builds the lookup table.

        Args:
            vocabulary: distinct tokens; an id is a token's position. Starts with `SPECIAL_TOKENS`.
            tokens: as in `tokenize`.
            lowercase: as in `tokenize`.
            max_length: as in `tokenize`.
            truncate: as in `tokenize`.
        """
        super().__init__(name="preprocessor")
        if tuple(vocabulary[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
            raise ValueError(f"a vocabulary starts with {SPECIAL_TOKENS}, got {vocabulary[:2]}")
        self.options: dict[str, Any] = {
            "tokens": tokens,
            "lowercase": lowercase,
            "max_length": max_length,
            "truncate": truncate,
        }
        first = UNKNOWN_ID  # stands for itself, so that the table is never empty, which TensorFlow refuses
        known = list(vocabulary[first:])
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(known, tf.string), tf.range(first, first + len(known), dtype=tf.int64)
            ),
            default_value=UNKNOWN_ID,
        )

    def __call__(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Token ids of texts.

        Args:
            texts: string [B].

        Returns:
            ids int32 [B, T], right-padded with 0, T at least 1; lengths int32 [B], at least 1: a text
            without tokens counts as one step of padding, so that no row has zero steps.
            `["good film", ""] -> [[7, 9], [0, 0]], [2, 1]`
        """
        pieces = tokenize(texts, **self.options)
        ids = pieces.with_flat_values(tf.cast(self.table.lookup(pieces.flat_values), tf.int32))
        lengths = tf.maximum(tf.cast(ids.row_lengths(), tf.int32), 1)
        padded = ids.to_tensor(PADDING_ID)
        missing = tf.maximum(1 - tf.shape(padded)[1], 0)
        return tf.pad(padded, [[0, 0], [0, missing]], constant_values=PADDING_ID), lengths
