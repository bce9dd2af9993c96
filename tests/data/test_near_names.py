"""Names that differ in writing only, and misspelt names."""

from __future__ import annotations

import time
import unicodedata

import pytest

from data.near_names import misspellings, near_duplicates, shown


@pytest.mark.parametrize(
    "names",
    [
        ("pos", "Pos", "POS"),
        ("pos", "ｐｏｓ"),
        ("pos", "\ufeffpos", "po\u200bs", "p\u00ados"),
        ("new york", "new_york", "New-York", "newyork", "new\u00a0york"),
        ("été", unicodedata.normalize("NFD", "été")),
        ("Straße", "STRASSE"),
        ("ﬁne", "fine"),
        ("4-5 stars", "4_5 stars"),
        ("_pos", "pos", " pos"),
        ("\N{HEAVY BLACK HEART}", "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}"),
        ("B-PER", "B-per", "b_per"),
        ("ΣΑΣ", "σας"),
    ],
    ids=ascii,
)
def test_names_that_differ_in_writing_only(names: tuple[str, ...]) -> None:
    """They are one group, whatever the order of the names."""
    assert near_duplicates([*names, "other"]) == [names]
    assert [set(group) for group in near_duplicates([*reversed(names), "other"])] == [set(names)]


@pytest.mark.parametrize(
    "names",
    [
        ("-1", "1", "+1", "0"),
        ("A+", "A", "A-"),
        ("C", "C#", "C++"),
        ("4-5", "45", "4.5"),
        ("B-PER", "I-PER"),
        ("pos", "neg", "neutral"),
        ("_", "-", " "),
        ("PRP", "PRP$"),
        (  # the flags of England and of Scotland
            "\N{WAVING BLACK FLAG}\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
            "\N{WAVING BLACK FLAG}\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        ),
    ],
    ids=ascii,
)
def test_different_names(names: tuple[str, ...]) -> None:
    """Signs, digits and letters make a difference."""
    assert near_duplicates(names) == []


def test_a_rare_name_one_edit_from_a_frequent_one() -> None:
    """A letter that is missing, wrong, doubled or swapped is reported with the right name."""
    counts = {"positive": 900, "positve": 1, "poxitive": 2, "possitive": 3, "psoitive": 4, "negative": 800}

    assert misspellings(counts) == [
        ("positve", "positive"),
        ("possitive", "positive"),
        ("poxitive", "positive"),
        ("psoitive", "positive"),
    ]


@pytest.mark.parametrize(
    "counts",
    [
        {"positive": 900, "positve": 100},  # not rare
        {"sad": 900, "bad": 1},  # short
        {"step 1": 900, "step 2": 1},
        {"class1": 900, "class11": 1},
        {"positive": 900, "postvie": 1},  # two edits
        {"negative": 900, "Negative": 1},  # a near duplicate
        {},
    ],
)
def test_names_that_are_no_misspellings(counts: dict[str, int]) -> None:
    """Frequent, short and numbered names are names of their own."""
    assert misspellings(counts) == []


def test_many_names_are_compared_quickly() -> None:
    """The time grows with the number of names, not with the number of pairs."""
    counts = {f"{chr(97 + i % 26)}{chr(97 + i // 26 % 26)} name of a class {i}": 1 for i in range(5_000)}
    counts["frequent"], counts["frequnt"] = 900, 1

    began = time.monotonic()
    assert misspellings(counts) == [("frequnt", "frequent")]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pos", "'pos'"),
        ("été", "'été'"),
        ("po\u200bs", r"'po\u200bs'"),
        ("e\u0301", r"'e\u0301'"),
        ("हिन्दी", "'हिन्दी'"),
    ],
    ids=ascii,
)
def test_a_name_that_looks_like_another_is_escaped(name: str, expected: str) -> None:
    """Invisible characters and decomposed letters can be read; other scripts are not escaped."""
    assert shown(name) == expected
