"""Words as hashes of their features: the word itself, its affixes and its shape."""

from __future__ import annotations

import tensorflow as tf

from models.text.normalize import normalize

AFFIXES = 4
"""Characters of the longest prefix and of the longest suffix."""
HASHES = 1 << 24
"""Number of distinct hashes; a table of fewer rows takes the remainder."""
WORD_FEATURES = (
    "word",
    "lower",
    *(f"prefix{length}" for length in range(1, AFFIXES + 1)),
    *(f"suffix{length}" for length in range(1, AFFIXES + 1)),
    "shape",
)
"""Names of the features of a word, in the order of their hashes."""


def word_features(words: tf.Tensor) -> tf.Tensor:
    """Return the hashes of the features of words (Huang et al. 2015, section 3.4).

    They are the word, the word in lower case, its prefixes and suffixes of 1 to 4 characters, and its shape.
    Affixes are in lower case; a shorter word is its own affix. The hashes are the same on every machine.

    Args:
        words: string [U], valid UTF-8; may be empty.

    Returns:
        int32 [U, F], from 0 to `HASHES` - 1, with F the number of `WORD_FEATURES`.
    """
    lower = normalize(words, lowercase=True)
    length = tf.strings.length(lower, unit="UTF8_CHAR")
    start = tf.zeros_like(length)
    parts = [words, lower]
    parts += [_characters(lower, start, tf.minimum(length, size)) for size in range(1, AFFIXES + 1)]
    parts += [
        _characters(lower, length - tf.minimum(length, size), tf.minimum(length, size))
        for size in range(1, AFFIXES + 1)
    ]
    parts.append(word_shapes(words))
    hashes = [
        tf.strings.to_hash_bucket_fast(tf.strings.join([f"{name}=", part]), HASHES)
        for name, part in zip(WORD_FEATURES, parts, strict=True)
    ]
    return tf.cast(tf.stack(hashes, axis=1), tf.int32)


def word_shapes(words: tf.Tensor) -> tf.Tensor:
    """Return the shapes of words: string [U] → string [U].

    Runs of upper case letters become `X`, of other letters `x`, of digits `d`; all else stays as it is.
    `word_shapes(["Covid-19", "McCoy"]) -> ["Xx-d", "XxXx"]`
    """
    # The letters that take the place of others must not be taken for letters of the word.
    shapes = tf.strings.regex_replace(words, r"[\p{Lu}\p{Lt}]+", "\x01")
    shapes = tf.strings.regex_replace(shapes, r"[\p{L}\p{M}]+", "x")
    shapes = tf.strings.regex_replace(shapes, r"\p{Nd}+", "d")
    return tf.strings.regex_replace(shapes, "\x01", "X")


def _characters(words: tf.Tensor, first: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(words, first, number, unit="UTF8_CHAR")
