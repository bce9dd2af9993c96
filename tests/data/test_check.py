from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import pytest

from data.check import examine
from data.check_report import Malformed, Report
from data.formats import EMPTY_LINE, BadRow, Row
from data.samples import reviews

Rows = Iterator[tuple[str, str, Row | BadRow]]


def split(name: str, *values: tuple[str, ...] | str) -> Rows:
    """Yield rows of a split: a text and perhaps its label, or the reason of a malformed row."""
    for line, value in enumerate(values, 1):
        row = (
            BadRow(line, value)
            if isinstance(value, str)
            else Row(line, dict(zip(("text", "label"), value, strict=False)))
        )
        yield name, f"{name}.csv", row


def words(texts: Sequence[str]) -> list[list[bytes]]:
    """Return the words of texts."""
    return [text.lower().encode().split() for text in texts]


def check(*rows: Rows, vocabulary_size: int = 1000, min_count: int = 1, splits: Iterable[str] = ()) -> Report:
    return examine(
        chain(*rows), tokenize=words, vocabulary_size=vocabulary_size, min_count=min_count, splits=splits
    )


# Examples without errors and warnings; "d" in the test split does not occur in train.
TRAIN = (("a b", "x"), ("b c", "y"))
TEST = (("a", "x"), ("b d", "y"))


def test_good_examples_have_no_errors() -> None:
    """There are neither errors nor warnings, and the examples of each split are counted."""
    report = check(split("train", *TRAIN), split("test", *TEST))

    assert (report.problems, report.warnings) == ([], [])
    assert {name: found.rows for name, found in report.splits.items()} == {"train": 2, "test": 2}
    assert report.splits["train"].labels == {"x": 1, "y": 1}
    assert [(o.first, o.second, o.texts, o.places) for o in report.overlaps] == [("train", "test", 0, ())]


def test_the_sample_has_no_errors() -> None:
    """Its labels are balanced, and no text occurs twice."""
    rows = chain.from_iterable(
        split(name, *((row["text"], row["label"]) for row in rows)) for name, rows in reviews(0).items()
    )
    report = check(rows)

    assert (report.problems, report.warnings) == ([], [])
    assert report.splits["train"].labels == {"negative": 1000, "positive": 1000}
    assert report.unknown_shares == {"validation": 0, "test": 0}


def test_splits_are_in_order() -> None:
    """Splits are in the order training, validation, test, whatever the order of the rows."""
    report = check(split("test", *TEST), split("validation", ("b", "x")), split("train", *TRAIN))

    assert list(report.splits) == ["train", "validation", "test"]
    assert [(overlap.first, overlap.second) for overlap in report.overlaps] == [
        ("train", "validation"),
        ("train", "test"),
        ("validation", "test"),
    ]


def test_splits_may_be_mixed() -> None:
    """The rows of a single file alternate between splits; the report does not depend on their order."""
    train, test = list(split("train", *TRAIN, ("", "x"))), list(split("test", *TEST, ("", "y")))
    mixed = [row for pair in zip(train, test, strict=True) for row in pair]

    assert check(iter(mixed)) == check(iter(train), iter(test))


def test_texts_need_no_labels() -> None:
    """Without labels there are no classes and no conflicts."""
    report = check(split("train", ("a",), ("b",), ("b",)), split("test", ("c",)))

    assert report.problems == []
    assert len(report.warnings) == 1
    assert report.splits["train"].labels == {}
    assert report.splits["train"].largest_class_share is None
    assert report.splits["train"].smallest_class_share is None
    assert report.splits["train"].conflicts == 0
    assert report.splits["train"].duplicates == 1


def test_shares_of_classes() -> None:
    """The shares are those of the largest and the smallest class of a split."""
    report = check(split("train", *TRAIN, ("c", "x"), ("d", "x"), ("e", "z")))

    assert report.splits["train"].labels == {"x": 3, "y": 1, "z": 1}
    assert report.splits["train"].largest_class_share == 0.6
    assert report.splits["train"].smallest_class_share == 0.2


def test_labels_are_sorted() -> None:
    """Labels in a report are in alphabetical order."""
    report = check(split("train", ("a", "z"), ("b", "a"), ("c", "m")))

    assert list(report.splits["train"].labels) == ["a", "m", "z"]


def test_texts_without_tokens() -> None:
    """Texts without tokens are counted, and the first 5 listed, across batches too; they are a warning."""
    texts = [("", "x") if i % 700 == 3 else (f"text {i}", "xy"[i % 2]) for i in range(4_300)]
    report = check(split("train", *texts))

    assert report.splits["train"].empty == 7
    assert report.splits["train"].empty_places == tuple(f"train.csv:{4 + 700 * i}" for i in range(5))
    assert report.problems == []
    assert report.warnings[0] == (
        "train has 7 texts without tokens (train.csv:4, train.csv:704, train.csv:1404, and 4 more); "
        "fill or remove them"
    )


def test_the_tokenizer_decides_which_texts_are_empty() -> None:
    """A text of spaces has no tokens if the tokenizer splits words."""
    report = check(split("train", *TRAIN, (" \t", "x")))

    assert report.splits["train"].empty_places == ("train.csv:3",)
    assert report.warnings == ["train has 1 text without tokens (train.csv:3); fill or remove them"]


def test_duplicate_texts() -> None:
    """Every example of a text except the first is counted, if the text is exactly equal; it is a warning."""
    report = check(split("train", *TRAIN, ("a b", "x"), ("A b", "x"), ("a b", "x"), ("b c", "y")))

    assert report.splits["train"].duplicates == 3
    assert report.splits["train"].duplicate_places == ("train.csv:3", "train.csv:5", "train.csv:6")
    assert report.splits["train"].conflicts == 0
    assert report.problems == []
    assert report.warnings == [
        "train has 3 examples whose text occurs in an earlier example (train.csv:3, train.csv:5, "
        "train.csv:6); remove them, or the same text counts more than once"
    ]


def test_texts_with_several_labels() -> None:
    """Each such text counts once, with its first two examples of different labels; it is a warning."""
    report = check(
        split("train", ("a", "x"), ("b", "y"), ("b", "y"), ("c", "x"), ("b", "x"), ("b", "y"), ("a", "y"))
    )

    assert report.splits["train"].conflicts == 2
    assert set(report.splits["train"].conflict_places) == {
        ("train.csv:1", "train.csv:7"),
        ("train.csv:3", "train.csv:5"),
    }
    assert report.problems == []
    assert report.warnings[-1] == (
        "train has 2 texts with more than one label (train.csv:1 and train.csv:7, train.csv:3 and "
        "train.csv:5); keep the correct one"
    )


def test_only_the_first_places_are_kept() -> None:
    """A report lists the first five texts with two labels, in the order of the file."""
    texts = [(f"text {i % 40}", "xy"[i // 40]) for i in range(80)]
    report = check(split("train", *texts))

    assert report.splits["train"].conflicts == 40
    assert report.splits["train"].conflict_places == tuple(
        (f"train.csv:{i}", f"train.csv:{i + 40}") for i in range(1, 6)
    )
    assert report.splits["train"].duplicates == 40
    assert report.splits["train"].duplicate_places == tuple(f"train.csv:{i}" for i in range(41, 46))
    assert report.warnings[-1].endswith("train.csv:3 and train.csv:43, and 37 more); keep the correct one")


def test_texts_of_two_splits() -> None:
    """Each text counts once for each pair of splits that have it, whatever its label; it is a warning."""
    report = check(
        split("train", *TRAIN, ("c", "x"), ("c", "x")),
        split("validation", ("d", "x"), ("c", "x")),
        split("test", ("d", "y"), ("c", "y"), ("b c", "y"), ("b c", "y")),
    )

    assert {(o.first, o.second): o.texts for o in report.overlaps} == {
        ("train", "validation"): 1,
        ("train", "test"): 2,
        ("validation", "test"): 2,
    }
    assert {(o.first, o.second): o.places for o in report.overlaps} == {
        ("train", "validation"): (("train.csv:3", "validation.csv:2"),),
        ("train", "test"): (("train.csv:3", "test.csv:2"), ("train.csv:2", "test.csv:3")),
        ("validation", "test"): (("validation.csv:1", "test.csv:1"), ("validation.csv:2", "test.csv:2")),
    }
    assert report.problems == []
    assert report.warnings[-2] == (
        "train and test share 2 texts (train.csv:3 and test.csv:2, train.csv:2 and test.csv:3); "
        "remove them from train, or scores on test will be too good"
    )


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        (range(1, 101), (50, 90, 99, 100)),
        ([*range(1, 101), 1000], (51, 91, 100, 1000)),
        ([7], (7, 7, 7, 7)),
        ([0, 2], (0, 2, 2, 2)),
        ([3] * 9 + [5], (3, 3, 5, 5)),
        ([3] * 8 + [5] * 2, (3, 5, 5, 5)),
    ],
)
def test_percentiles_of_lengths(lengths: Sequence[int], expected: tuple[int, ...]) -> None:
    """50, 90 and 99 % of the texts have at most that many tokens."""
    texts = [(f"{i} " * length, "xy"[i % 2]) for i, length in enumerate(lengths)]
    random.Random(0).shuffle(texts)
    found = check(split("train", *texts)).splits["train"].lengths

    assert found is not None
    assert (found.p50, found.p90, found.p99, found.max) == expected


def test_malformed_rows() -> None:
    """All are counted, and the first 20 listed with their reasons; they are an error. Blank lines are not."""
    report = check(split("train", *TRAIN, EMPTY_LINE, *(f"reason {i}" for i in range(30)), ("c", "x")))

    assert report.splits["train"].rows == 3
    assert report.splits["train"].malformed == 30
    assert report.splits["train"].first_malformed == tuple(
        Malformed("train.csv", 4 + i, f"reason {i}") for i in range(20)
    )
    assert report.problems == [
        "train has 30 rows that cannot be read: train.csv:4 (reason 0), train.csv:5 (reason 1), "
        "train.csv:6 (reason 2), and 27 more; fix or remove them"
    ]


def test_places_after_malformed_rows_and_blank_lines() -> None:
    """Line numbers are those of the file."""
    report = check(split("train", EMPTY_LINE, *TRAIN, "oops", ("", "x"), EMPTY_LINE, ("a b", "y")))

    assert report.splits["train"].empty_places == ("train.csv:5",)
    assert report.splits["train"].conflict_places == (("train.csv:2", "train.csv:7"),)


@pytest.mark.parametrize("values", [(), (EMPTY_LINE,)])
def test_a_split_without_examples(values: tuple[str, ...]) -> None:
    """An expected split whose file is empty or blank is an error."""
    report = check(split("train", *TRAIN), split("test", *values), splits=("train", "test"))

    assert report.splits["test"].rows == 0
    assert report.splits["test"].lengths is None
    assert report.problems == ["test has no examples; expected at least one"]
    assert report.warnings == []


def test_no_training_examples() -> None:
    """They are always required; errors that follow from their absence are not listed."""
    report = check(split("test", *TEST))

    assert list(report.splits) == ["train", "test"]
    assert report.problems == ["train has no examples; expected at least one"]


def test_a_single_class() -> None:
    """A single class in train is an error; in other splits it is not."""
    report = check(split("train", ("a", "x"), ("b", "x")), split("test", ("c", "x")))

    assert report.problems == [
        "train has only one class, 'x' (2 examples); add examples of another class, or name the right "
        "label column"
    ]
    assert check(split("train", *TRAIN), split("test", ("c", "x"))).problems == []


def test_labels_that_do_not_occur_in_train() -> None:
    """They are an error, since no model can predict them. Labels that occur only in train are not."""
    report = check(
        split("train", *TRAIN, ("e", "only here")),
        split("validation", ("d", "x")),
        split("test", ("f", "z"), ("g", "Y"), ("h", "x"), ("i", "z")),
    )

    assert [(u.split, u.label, u.rows, u.place) for u in report.unseen_labels] == [
        ("test", "z", 2, "test.csv:1"),
        ("test", "Y", 1, "test.csv:2"),
    ]
    assert report.problems == [
        "test has 3 examples with a label that does not occur in train: 'z' (2, first test.csv:1), "
        "'Y' (1, first test.csv:2); correct the labels, or add such examples to train"
    ]


@pytest.mark.parametrize(("examples", "warned"), [(10, False), (11, True)])
def test_classes_of_very_different_size(examples: int, warned: bool) -> None:
    """A class with more than ten times as many examples in train as another is a warning."""
    texts = [(f"text {i}", "common") for i in range(examples)]
    report = check(split("train", ("a", "rare"), *texts))

    assert report.problems == []
    assert report.warnings == warned * [
        "train has 11 examples of 'common' and 1 of 'rare', more than 10:1; add examples of 'rare', and do "
        "not rely on accuracy alone"
    ]


@pytest.mark.parametrize(
    ("vocabulary_size", "min_count", "unknown"),
    [
        (1000, 1, "q"),
        (4, 1, "dq"),  # "c" and "d" occur once each; the first in order of bytes is kept
        (3, 1, "cdq"),
        (1000, 2, "cdq"),
        (1000, 3, "bcdq"),
        (1, 1, "bcdeq"),
        (0, 1, "abcdeq"),
    ],
)
def test_out_of_vocabulary_tokens(vocabulary_size: int, min_count: int, unknown: str) -> None:
    """The vocabulary has the most frequent tokens of train, ties by their bytes, except rare ones."""
    train = split("train", ("a d a a a c", "x"), ("b e e e b a", "y"))
    text = "a a b c d e q q"
    report = check(train, split("test", (text, "x")), vocabulary_size=vocabulary_size, min_count=min_count)

    expected = sum(token in unknown for token in text.split()) / 8
    assert report.unknown_shares == {"test": pytest.approx(expected)}


def test_tokens_of_other_splits_are_not_learned() -> None:
    """Frequent tokens of other splits are out of vocabulary; a split without tokens has no share."""
    report = check(split("validation", ("", "x")), split("test", ("q q q a", "x")), split("train", *TRAIN))

    assert report.unknown_shares == {"test": 0.75}


def test_a_report_as_json() -> None:
    """It has all fields of the report and the sentences; tuples are lists."""
    report = check(
        split("train", *TRAIN, ("b c", "x"), "oops"), split("test", *TEST, ("a b", "z"), ("", "x"))
    )
    found = report.as_json()

    assert json.loads(json.dumps(found)) == found
    assert found["splits"]["train"] == {
        "rows": 3,
        "labels": {"x": 2, "y": 1},
        "empty": 0,
        "empty_places": [],
        "duplicates": 1,
        "duplicate_places": ["train.csv:3"],
        "conflicts": 1,
        "conflict_places": [["train.csv:2", "train.csv:3"]],
        "lengths": {"p50": 2, "p90": 2, "p99": 2, "max": 2},
        "malformed": 1,
        "first_malformed": [{"where": "train.csv", "line": 4, "reason": "oops"}],
        "largest_class_share": pytest.approx(2 / 3),
        "smallest_class_share": pytest.approx(1 / 3),
    }
    assert found["overlaps"] == [
        {"first": "train", "second": "test", "texts": 1, "places": [["train.csv:1", "test.csv:3"]]}
    ]
    assert found["unseen_labels"] == [{"split": "test", "label": "z", "rows": 1, "place": "test.csv:3"}]
    assert found["unknown_shares"] == {"test": 0.2}
    assert found["problems"] == report.problems
    assert found["warnings"] == report.warnings
    assert len(found["problems"]) == 2
    assert len(found["warnings"]) == 4
