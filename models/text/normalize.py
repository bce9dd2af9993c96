"""Valid UTF-8 and lower case, the same on every host."""

from __future__ import annotations

import tensorflow as tf


def normalize(texts: tf.Tensor, lowercase: bool) -> tf.Tensor:
    """Return valid UTF-8, in lower case or unchanged: string [B] → string [B].

    Invalid bytes become as many U+FFFD as with Python's `decode(errors="replace")`.
    """
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    return lower(texts) if lowercase else texts


def lower(texts: tf.Tensor) -> tf.Tensor:
    """Lower-case UTF-8 strings of any shape, the same on every host; U+0000 becomes a space.

    `tf.strings.lower(encoding="utf-8")` follows the host's locale for I and İ (Turkish, Azeri) and for
    Ì, Í, Ĩ, Į (Lithuanian), and it stops at U+0000: all these are replaced before it is called.
    """
    texts = tf.strings.regex_replace(tf.strings.lower(texts), r"\x00", " ")
    for capital in "İÌÍĨĮ":
        texts = tf.strings.regex_replace(texts, capital, capital.lower())
    return tf.strings.lower(texts, encoding="utf-8")
