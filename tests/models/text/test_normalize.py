from __future__ import annotations

import tensorflow as tf

from models.text.normalize import lower


def test_every_character_is_lowered() -> None:
    """Each upper-case letter of the first 65,536 code points is lower-cased by Unicode's rules.

    Exceptions are letters newer than TensorFlow's version of Unicode, of 2021: two of Latin, one of
    Glagolitic and some of Vithkuqi and Latin Extended-D are unchanged.
    """
    capitals = [chr(c) for c in range(1, 0x10000) if not 0xD800 <= c < 0xE000 and chr(c).lower() != chr(c)]
    lowered = [text.decode() for text in lower(tf.constant(capitals)).numpy()]
    wrong = {before for before, after in zip(capitals, lowered, strict=True) if after != before.lower()}

    assert len(capitals) > 1100
    assert wrong <= set("ⰯꟀꟐꟖꟘ")


def test_lower_keeps_the_shape() -> None:
    """Strings of any shape are lower-cased, also an empty tensor."""
    assert lower(tf.constant([["É", "SS"], ["ẞ", "i"]])).numpy().tolist() == [
        ["é".encode(), b"ss"],
        ["ß".encode(), b"i"],
    ]
    assert lower(tf.constant("ÀB")).numpy().decode() == "àb"
    assert lower(tf.zeros([0], tf.string)).shape == [0]
