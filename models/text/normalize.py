"""Valid UTF-8 and lower case, the same on every host."""

from __future__ import annotations

import tensorflow as tf


def normalize(texts: tf.Tensor, lowercase: bool) -> tf.Tensor:
    """Valid UTF-8, in lower case or as it stands: string [B] → string [B].

    What is no UTF-8 becomes as many U+FFFD as Python's `decode(errors="replace")` makes of it.
    """
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    return lower(texts) if lowercase else texts


def lower(texts: tf.Tensor) -> tf.Tensor:
    """Lower-cases UTF-8 strings of any shape, alike on every host; U+0000 becomes a space.

    `tf.strings.lower(encoding="utf-8")` follows the host's locale for I and İ (Turkish, Azeri) and for
    Ì, Í, Ĩ, Į (Lithuanian), and it stops at U+0000: all these are settled before it is called.
    """
    texts = tf.strings.regex_replace(tf.strings.lower(texts), r"\x00", " ")
    for capital in "İÌÍĨĮ":
        texts = tf.strings.regex_replace(texts, capital, capital.lower())
    return tf.strings.lower(texts, encoding="utf-8")
