"""A split needs text to learn from."""

from __future__ import annotations

import pytest

from data.blank_texts import BlankTexts
from data.formats import Row


def problems(*examples: tuple[str, dict[str, str]], fields: tuple[str, ...] = ("text",)) -> list[str]:
    validator = BlankTexts(fields)
    for line, (split, values) in enumerate(examples, 1):
        validator.add(split, "texts.csv", Row(line, {**values}))
    return [problem.sentence() for problem in validator.problems()]


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0\u3000", "\u2028"], ids=ascii)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_of_blank_texts(split: str, blank: str) -> None:
    """White space of any kind is no text."""
    other = "validation" if split == "train" else "train"

    assert problems((split, {"text": blank}), (other, {"text": "a"}), (split, {"text": ""})) == [
        f"each text of the {split} split is empty or white space; give texts, or name the right column"
    ]


@pytest.mark.parametrize("name", ["source", "target"])
def test_each_side_of_pairs(name: str) -> None:
    """A side that is blank in all pairs is named."""
    pair = {"source": "a", "target": "b", name: " "}

    (problem,) = problems(("train", pair), ("train", pair), fields=("source", "target"))
    assert problem.startswith(f"each {name} of the train split ")


def test_one_text_is_enough() -> None:
    """Blank texts among others, or in the test split, are no errors."""
    assert problems(("train", {"text": ""}), ("train", {"text": "a"}), ("test", {"text": " "})) == []
    assert problems() == []
