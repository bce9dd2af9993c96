"""Names of labels, tags and columns."""

from __future__ import annotations

import pytest

from data.names import clean_name, control_character


@pytest.mark.parametrize(
    "written",
    [
        *(
            "pos",
            " pos ",
            "\tpos\r\n",
            "\ufeffpos",
            "pos\u200b",
            "\u200b \ufeff pos\u00a0",
            "\u2060pos\u00ad",
        ),
        *("\u200epos\u200f", "\x00pos\x1b", "\u3000pos\u2028", "\u202apos\u202c"),
    ],
)
def test_white_space_and_invisible_characters_are_no_part_of_a_name(written: str) -> None:
    """They are removed at both ends."""
    assert clean_name(written) == "pos"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("cafe\u0301", "café"),
        ("\u212bngstro\u0308m", "Ångström"),
        ("\u1112\u1161\u11ab", "한"),
        ("New York", "New York"),
        ("a\u200bb", "a\u200bb"),
        ("", ""),
        ("\u200b\ufeff ", ""),
    ],
)
def test_a_name_is_in_normalization_form_c(written: str, name: str) -> None:
    """Two spellings of a letter are one name; what is inside a name is kept."""
    assert clean_name(written) == name
    assert clean_name(name) == name


def test_flags_of_regions_stay_different() -> None:
    """Tag characters are invisible, but they tell the flag of Scotland from that of Wales."""
    scotland = "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbsct") + "\U000e007f"
    wales = "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbwls") + "\U000e007f"

    assert clean_name(f" {scotland}") == scotland != clean_name(wales)


@pytest.mark.parametrize(
    ("name", "character"),
    [("a\x1b[31m", "\x1b"), ("a\x00b", "\x00"), ("a\u2028b", "\u2028"), ("a\nb", "\n"), ("a\x9bb", "\x9b")],
)
def test_control_characters(name: str, character: str) -> None:
    """The first one is returned."""
    assert control_character(name) == character


@pytest.mark.parametrize("name", ["", "pos", "very good", "a\u200bb", "ä中", "🏴", "a\u00a0b"])
def test_names_without_control_characters(name: str) -> None:
    """Spaces and invisible characters are no control characters."""
    assert control_character(name) is None
