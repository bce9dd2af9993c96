"""The token between the texts of several columns."""

from __future__ import annotations

import pytest
import tensorflow as tf

from data.formats import FIELD_SEPARATOR
from models.text.tokenize import tokenize


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("A title", "The body.", ["a", "title", FIELD_SEPARATOR, "the", "body", "."]),
        ("Wow ☺", "☺ yes", ["wow", "☺", FIELD_SEPARATOR, "☺", "yes"]),
        ("", "body", [FIELD_SEPARATOR, "body"]),
        ("题", "体", ["题", FIELD_SEPARATOR, "体"]),
        ("a", "", ["a", FIELD_SEPARATOR]),
    ],
)
def test_the_separator_is_a_token(first: str, second: str, expected: list[str]) -> None:
    """It is never joined with a neighbor, so that the vocabulary knows it."""
    (tokens,) = tokenize(tf.constant([f"{first} {FIELD_SEPARATOR} {second}"])).to_list()

    assert [token.decode() for token in tokens] == expected
