"""Spans, schemes that encode them, and their scores."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.tags import Scheme, SpanScores, convert, spans, transitions
from data.tags.schemes import fault

LETTERS: dict[Scheme, str] = {
    **{"BIO": "BI", "IOB1": "BI"},
    **{"BIOES": "BIES", "BILOU": "BILU", "BMES": "BMES", "BMEWO": "BMEW"},
}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", []),
        ("O O", []),
        ("B-X", [("X", 0, 1)]),
        ("O B-X I-X O", [("X", 1, 3)]),
        ("B-X B-X I-X", [("X", 0, 1), ("X", 1, 3)]),
        ("I-X I-X O I-X", [("X", 0, 2), ("X", 3, 4)]),
        ("B-X I-Y I-Y", [("X", 0, 1), ("Y", 1, 3)]),
        ("I-X B-X", [("X", 0, 1), ("X", 1, 2)]),
        ("B-a-b I-a-b I-b", [("a-b", 0, 2), ("b", 2, 3)]),
        ("B I O I", [("", 0, 2), ("", 3, 4)]),
        ("S-X S-X B-X E-X I-X", [("X", 0, 1), ("X", 1, 2), ("X", 2, 4), ("X", 4, 5)]),
        ("U-X B-X I-X L-X", [("X", 0, 1), ("X", 1, 4)]),
        ("B M E W", [("", 0, 3), ("", 3, 4)]),
    ],
)
def test_spans(tags: str, expected: list[tuple[str, int, int]]) -> None:
    """Spans are those of conlleval."""
    assert spans(tags.split()) == expected


def test_spans_of_plain_tags() -> None:
    """Tags that encode no spans are an error."""
    with pytest.raises(ValueError, match="B-PER, I-PER or O, got 'NOUN'"):
        spans(["O", "NOUN"])


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("BIO", "B-X B-X I-X B-Y O B-Y I-Y I-Y"),
        ("IOB1", "I-X B-X I-X I-Y O I-Y I-Y I-Y"),
        ("BIOES", "S-X B-X E-X S-Y O B-Y I-Y E-Y"),
        ("BILOU", "U-X B-X L-X U-Y O B-Y I-Y L-Y"),
        ("BMES", "S-X B-X E-X S-Y O B-Y M-Y E-Y"),
        ("BMEWO", "W-X B-X E-X W-Y O B-Y M-Y E-Y"),
    ],
)
def test_convert(scheme: Scheme, expected: str) -> None:
    """Each scheme encodes the same spans."""
    for tags in (
        "B-X B-X I-X B-Y O B-Y I-Y I-Y",
        "I-X B-X I-X I-Y O I-Y I-Y I-Y",
        "S-X B-X E-X S-Y O B-Y I-Y E-Y",
    ):
        assert convert(tags.split(), scheme) == expected.split()


def test_convert_leaves_plain_tags() -> None:
    """Plain tags are not changed, even if they look like spans."""
    assert convert(["NOUN", "I-X"], "plain") == ["NOUN", "I-X"]


bio = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=9).map(
    lambda tags: convert(tags, "BIO")
)


@given(st.lists(bio, max_size=4), st.sampled_from(list(LETTERS)))
def test_no_scheme_loses_anything(sentences: list[list[str]], scheme: Scheme) -> None:
    """Conversion from BIO to any scheme and back changes nothing, and follows the rules of the scheme."""
    for before in sentences:
        written = convert(before, scheme)
        assert convert(written, "BIO") == before
        assert spans(written) == spans(before)
        assert not any(fault(scheme, *pair) for pair in pairwise((None, *written, None)))


@pytest.mark.parametrize("scheme", LETTERS)
def test_transitions(scheme: Scheme) -> None:
    """The allowed sequences are exactly the encodings of all spans of four tokens."""
    tags = ["O", *(f"{letter}-{label}" for letter in LETTERS[scheme] for label in "XY")]
    start, step, end = transitions(tags, scheme)

    def allowed(path: tuple[int, ...]) -> bool:
        return bool(start[path[0]] and end[path[-1]] and all(step[a, b] for a, b in pairwise(path)))

    paths = {tuple(tags[i] for i in path) for path in product(range(len(tags)), repeat=4) if allowed(path)}
    # Every sequence over O, B and I is some set of spans, and each set is written in one way.
    assert paths == {
        tuple(convert(path, scheme)) for path in product(["O", "B-X", "I-X", "B-Y", "I-Y"], repeat=4)
    }


def test_transitions_of_the_docstring() -> None:
    """In BIO, I- is neither at the start of a sentence nor after O."""
    start, step, end = transitions(["B-X", "I-X", "O"], "BIO")

    assert (start.dtype, step.dtype, end.dtype) == (bool, bool, bool)
    assert start.tolist() == [1, 0, 1]
    assert step.tolist() == [[1, 1, 1], [1, 1, 1], [1, 0, 1]]
    assert end.tolist() == [1, 1, 1]


def test_transitions_of_plain_tags() -> None:
    """Plain tags may have any order, even if they look like spans."""
    for part, shape in zip(transitions(["I-X", "NOUN"], "plain"), [(2,), (2, 2), (2,)], strict=True):
        assert part.shape == shape
        assert np.all(part)


def scores(*pairs: tuple[str, str]) -> SpanScores:
    made = SpanScores()
    for gold, predicted in pairs:
        made.add(gold.split(), predicted.split())
    return made


def test_scores() -> None:
    """The scores of three sentences are those computed by hand.

    Of four gold spans and five predicted ones two are right: LOC at the end of the first sentence and
    the second PER of the second one.
    """
    made = scores(
        ("B-PER I-PER O B-LOC", "B-PER O O B-LOC"),  # PER is cut short
        ("B-PER B-PER I-PER O", "I-ORG B-PER I-PER O"),  # another type for the same token
        ("O O", "O I-LOC"),  # one too many
    )

    assert made.overall == (4, 5, 2)
    assert made.overall.precision == 2 / 5
    assert made.overall.recall == 2 / 4
    assert made.overall.f1 == pytest.approx(2 * 0.4 * 0.5 / 0.9)
    assert made.by_label == {"LOC": (1, 2, 1), "ORG": (0, 1, 0), "PER": (3, 2, 1)}
    assert list(made.by_label) == ["LOC", "ORG", "PER"]
    assert made.by_label["PER"].precision == 1 / 2
    assert made.by_label["PER"].recall == 1 / 3
    assert made.by_label["PER"].f1 == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("gold", "predicted", "counts"),
    [
        ("", "", (0, 0, 0)),
        ("O O", "O O", (0, 0, 0)),
        ("B-X I-X", "O O", (1, 0, 0)),
        ("O O", "B-X I-X", (0, 1, 0)),
        ("B-X B-X", "B-X I-X", (2, 1, 0)),  # two that touch are not one
        ("B-X I-X I-X", "B-X I-X O", (1, 1, 0)),  # a part counts nothing
        ("B-X I-X", "B-Y I-Y", (1, 1, 0)),
        ("B-X I-X", "B-X I-Y", (1, 2, 0)),  # a change of type cuts a span in two
        ("B-X I-X O", "I-X I-X O", (1, 1, 1)),  # a span may start with I-
        ("B-X I-X B-Y", "S-X S-X S-Y", (2, 3, 1)),
    ],
)
def test_scores_of_one_sentence(gold: str, predicted: str, counts: tuple[int, int, int]) -> None:
    """A span is correct if label, start and end are; scores without spans are 0."""
    made = scores((gold, predicted))
    found, given, right = counts

    assert made.overall == counts
    assert made.overall.recall == (right / found if found else 0)
    assert made.overall.precision == (right / given if given else 0)
    assert made.overall.f1 == pytest.approx(2 * right / (found + given) if right else 0)


def test_spans_end_with_their_sentence() -> None:
    """The same tags are different spans in two sentences than in one."""
    assert scores(("B-X", "B-X"), ("I-X", "I-X")).overall == (2, 2, 2)
    assert scores(("B-X I-X", "B-X I-X")).overall == (1, 1, 1)


def test_scores_need_a_tag_for_each_token() -> None:
    """Sequences of different lengths are an error."""
    with pytest.raises(ValueError, match="2 gold, 1 predicted"):
        scores(("O O", "O"))
