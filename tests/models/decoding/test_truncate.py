from __future__ import annotations

import pytest
import tensorflow as tf

from models.decoding.truncate import truncate_at


@pytest.mark.parametrize(
    ("stops", "truncated"),
    [
        (["b"], ["a", "", "xyz", "", "c\xff"]),
        (["\n\n", "c"], ["ab", "b", "xyz", "", ""]),
        (["cab", "b"], ["a", "", "xyz", "", "c\xff"]),
        (["yz", "y"], ["abcab", "b\n\n\nb", "x", "", "c\xffb"]),
        ([""], ["abcab", "b\n\n\nb", "xyz", "", "c\xffb"]),
        ([], ["abcab", "b\n\n\nb", "xyz", "", "c\xffb"]),
        (["", "z"], ["abcab", "b\n\n\nb", "xy", "", "c\xffb"]),
        (["."], ["abcab", "b\n\n\nb", "xyz", "", "c\xffb"]),
    ],
)
def test_truncate_at(stops: list[str], truncated: list[str]) -> None:
    """Texts are truncated before the first occurrence of any stop."""
    rows = tf.constant([text.encode("latin-1") for text in ("abcab", "b\n\n\nb", "xyz", "", "c\xffb")])
    expected = [text.encode("latin-1") for text in truncated]

    assert truncate_at(rows, stops).numpy().tolist() == expected
    assert truncate_at(rows, tf.constant(stops, tf.string)).numpy().tolist() == expected


def test_stops_are_no_patterns() -> None:
    """Characters of a stop have no special meaning, in any script."""
    signs = "".join(chr(code) for code in range(32, 127))
    assert truncate_at(tf.constant([f"a{signs}"]), [signs]).numpy().tolist() == [b"a"]
    for sign in signs + "\t\né—字\U0001f600":
        assert truncate_at(tf.constant([f"A{sign}a", "字_字"]), [sign])[0].numpy() == (
            b"" if sign == "A" else b"A"
        )
