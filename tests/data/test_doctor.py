from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import pytest

from data.doctor import Malformed, Report, examine
from data.formats import EMPTY_LINE, BadRow, Field, Row
from data.samples import reviews
from data.sources import Source, open_source
from data.splits import rows_by_split

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")

Rows = Iterator[tuple[str, str, Row | BadRow]]


def split(name: str, *values: tuple[str, ...] | str) -> Rows:
    """Yield the rows of a split: a text and perhaps its label, or why a row is broken; lines count from 1."""
    for line, value in enumerate(values, 1):
        row = (
            BadRow(line, value)
            if isinstance(value, str)
            else Row(line, dict(zip(("text", "label"), value, strict=False)))
        )
        yield name, f"{name}.csv", row


def cut(texts: Sequence[str]) -> list[list[bytes]]:
    """Return the words of texts."""
    return [text.lower().encode().split() for text in texts]


def check(*rows: Rows, vocabulary_size: int = 1000, min_count: int = 1, splits: Iterable[str] = ()) -> Report:
    return examine(
        chain(*rows), tokenize=cut, vocabulary_size=vocabulary_size, min_count=min_count, splits=splits
    )


# Rows with which nothing is wrong, to add to; in the test, "d" is one token of three that train lacks.
TRAIN = (("a b", "x"), ("b c", "y"))
TEST = (("a", "x"), ("b d", "y"))


def test_nothing_is_wrong_with_good_rows() -> None:
    """There is nothing to say, and the rows of each split are counted."""
    report = check(split("train", *TRAIN), split("test", *TEST))

    assert (report.problems, report.warnings) == ([], [])
    assert {name: found.rows for name, found in report.splits.items()} == {"train": 2, "test": 2}
    assert report.splits["train"].labels == {"x": 1, "y": 1}
    assert [(o.first, o.second, o.texts, o.places) for o in report.overlaps] == [("train", "test", 0, ())]


def test_nothing_is_wrong_with_the_sample() -> None:
    """The doctor finds what the generator promises: balanced labels, and no text twice."""
    rows = chain.from_iterable(
        split(name, *((row["text"], row["label"]) for row in rows)) for name, rows in reviews(0).items()
    )
    report = check(rows)

    assert (report.problems, report.warnings) == ([], [])
    assert report.splits["train"].labels == {"negative": 1000, "positive": 1000}
    assert report.unknown_shares == {"validation": 0, "test": 0}


def test_splits_are_in_order() -> None:
    """Training, validation and test, whatever comes first."""
    report = check(split("test", *TEST), split("validation", ("b", "x")), split("train", *TRAIN))

    assert list(report.splits) == ["train", "validation", "test"]
    assert [(overlap.first, overlap.second) for overlap in report.overlaps] == [
        ("train", "validation"),
        ("train", "test"),
        ("validation", "test"),
    ]


def test_splits_may_be_mixed() -> None:
    """Rows of a single file come in its order, and their splits alternate."""
    train, test = list(split("train", *TRAIN, ("", "x"))), list(split("test", *TEST, ("", "y")))
    mixed = [row for pair in zip(train, test, strict=True) for row in pair]

    assert check(iter(mixed)) == check(iter(train), iter(test))


def test_texts_need_no_labels() -> None:
    """Then there are no classes to speak of, and no text has two labels."""
    report = check(split("train", ("a",), ("b",), ("b",)), split("test", ("c",)))

    assert report.problems == []
    assert len(report.warnings) == 1
    assert report.splits["train"].labels == {}
    assert report.splits["train"].largest_class_share is None
    assert report.splits["train"].smallest_class_share is None
    assert report.splits["train"].conflicts == 0
    assert report.splits["train"].duplicates == 1


def test_shares_of_classes() -> None:
    """The largest and the smallest class of a split, as parts of its rows."""
    report = check(split("train", *TRAIN, ("c", "x"), ("d", "x"), ("e", "z")))

    assert report.splits["train"].labels == {"x": 3, "y": 1, "z": 1}
    assert report.splits["train"].largest_class_share == 0.6
    assert report.splits["train"].smallest_class_share == 0.2


def test_labels_are_sorted() -> None:
    """In a report they stand by name, not by what came first."""
    report = check(split("train", ("a", "z"), ("b", "a"), ("c", "m")))

    assert list(report.splits["train"].labels) == ["a", "m", "z"]


def test_texts_without_tokens() -> None:
    """They are counted, the first 5 with their places, across batches too: a warning."""
    texts = [("", "x") if i % 700 == 3 else (f"text {i}", "xy"[i % 2]) for i in range(4_300)]
    report = check(split("train", *texts))

    assert report.splits["train"].empty == 7
    assert report.splits["train"].empty_places == tuple(f"train.csv:{4 + 700 * i}" for i in range(5))
    assert report.problems == []
    assert report.warnings[0] == (
        "train has 7 texts without tokens (train.csv:4, train.csv:704, train.csv:1404, and 4 more); "
        "fill or remove them"
    )


def test_what_is_empty_is_for_the_tokenizer_to_say() -> None:
    """Spaces have no tokens for one that cuts words."""
    report = check(split("train", *TRAIN, (" \t", "x")))

    assert report.splits["train"].empty_places == ("train.csv:3",)
    assert report.warnings == ["train has 1 text without tokens (train.csv:3); fill or remove them"]


def test_texts_that_stand_twice() -> None:
    """Each row but the first of a text is counted, if its text is the same to the sign: a warning."""
    report = check(split("train", *TRAIN, ("a b", "x"), ("A b", "x"), ("a b", "x"), ("b c", "y")))

    assert report.splits["train"].duplicates == 3
    assert report.splits["train"].duplicate_places == ("train.csv:3", "train.csv:5", "train.csv:6")
    assert report.splits["train"].conflicts == 0
    assert report.problems == []
    assert report.warnings == [
        "train has 3 rows whose text occurs in an earlier row (train.csv:3, train.csv:5, train.csv:6); "
        "remove them, or the same text counts more than once"
    ]


def test_texts_with_several_labels() -> None:
    """Each such text counts once, with the first two rows that disagree: a warning."""
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
        "train.csv:5); keep the right one"
    )


def test_only_the_first_places_are_kept() -> None:
    """However many texts have two labels, a report names five, in the order of the file."""
    texts = [(f"text {i % 40}", "xy"[i // 40]) for i in range(80)]
    report = check(split("train", *texts))

    assert report.splits["train"].conflicts == 40
    assert report.splits["train"].conflict_places == tuple(
        (f"train.csv:{i}", f"train.csv:{i + 40}") for i in range(1, 6)
    )
    assert report.splits["train"].duplicates == 40
    assert report.splits["train"].duplicate_places == tuple(f"train.csv:{i}" for i in range(41, 46))
    assert report.warnings[-1].endswith("train.csv:3 and train.csv:43, and 37 more); keep the right one")


def test_texts_of_two_splits() -> None:
    """Each text counts once for every two splits that have it, whatever its label: a warning."""
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
    """Half of the texts, 90 and 99 per cent of them, have so many tokens or fewer."""
    texts = [(f"{i} " * length, "xy"[i % 2]) for i, length in enumerate(lengths)]
    random.Random(0).shuffle(texts)
    found = check(split("train", *texts)).splits["train"].lengths

    assert found is not None
    assert (found.p50, found.p90, found.p99, found.max) == expected


def test_broken_rows() -> None:
    """All are counted, the first 20 kept with their reasons: a problem. Blank lines are no rows."""
    report = check(split("train", *TRAIN, EMPTY_LINE, *(f"reason {i}" for i in range(30)), ("c", "x")))

    assert report.splits["train"].rows == 3
    assert report.splits["train"].malformed == 30
    assert report.splits["train"].first_malformed == tuple(
        Malformed("train.csv", 4 + i, f"reason {i}") for i in range(20)
    )
    assert report.problems == [
        "train has 30 rows that can't be read: train.csv:4 (reason 0), train.csv:5 (reason 1), "
        "train.csv:6 (reason 2), and 27 more; fix or remove them"
    ]


def test_places_hold_behind_broken_rows_and_blank_lines() -> None:
    """Lines are the file's, not the number of good rows."""
    report = check(split("train", EMPTY_LINE, *TRAIN, "oops", ("", "x"), EMPTY_LINE, ("a b", "y")))

    assert report.splits["train"].empty_places == ("train.csv:5",)
    assert report.splits["train"].conflict_places == (("train.csv:2", "train.csv:7"),)


@pytest.mark.parametrize("values", [(), (EMPTY_LINE,)])
def test_a_split_without_rows(values: tuple[str, ...]) -> None:
    """Be its file empty or blank, that is a problem, if the split is expected."""
    report = check(split("train", *TRAIN), split("test", *values), splits=("train", "test"))

    assert report.splits["test"].rows == 0
    assert report.splits["test"].lengths is None
    assert report.problems == ["test has no rows; expected at least one"]
    assert report.warnings == []


def test_no_training_rows() -> None:
    """There always have to be some; what follows from their lack is not told as well."""
    report = check(split("test", *TEST))

    assert list(report.splits) == ["train", "test"]
    assert report.problems == ["train has no rows; expected at least one"]


def test_a_single_class() -> None:
    """There is nothing to tell apart: a problem. In other splits it is none."""
    report = check(split("train", ("a", "x"), ("b", "x")), split("test", ("c", "x")))

    assert report.problems == [
        "train has only one class, 'x' (2 rows); add rows of another, or name the right label column"
    ]
    assert check(split("train", *TRAIN), split("test", ("c", "x"))).problems == []


def test_labels_that_train_lacks() -> None:
    """No model can ever answer them: a problem. Those that only train has are none."""
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
        "test has 3 rows with a label that train lacks: 'z' (2, first test.csv:1), "
        "'Y' (1, first test.csv:2); correct the labels, or add such rows to train"
    ]


@pytest.mark.parametrize(("rows", "warned"), [(10, False), (11, True)])
def test_classes_of_very_different_size(rows: int, warned: bool) -> None:
    """More than ten rows of one for each of another in train is a warning."""
    texts = [(f"text {i}", "common") for i in range(rows)]
    report = check(split("train", ("a", "rare"), *texts))

    assert report.problems == []
    assert report.warnings == warned * [
        "train has 11 rows of 'common' and 1 of 'rare', more than 10:1; add rows of 'rare', and do not rely "
        "on accuracy alone"
    ]


@pytest.mark.parametrize(
    ("vocabulary_size", "min_count", "unknown"),
    [
        (1000, 1, "q"),
        (4, 1, "dq"),  # of "c" and "d", which stand once each, the first of the alphabet is kept
        (3, 1, "cdq"),
        (1000, 2, "cdq"),
        (1000, 3, "bcdq"),
        (1, 1, "bcdeq"),
        (0, 1, "abcdeq"),
    ],
)
def test_tokens_that_train_lacks(vocabulary_size: int, min_count: int, unknown: str) -> None:
    """Known are the most frequent of train, ties by their bytes, unless they are too rare."""
    train = split("train", ("a d a a a c", "x"), ("b e e e b a", "y"))
    text = "a a b c d e q q"
    report = check(train, split("test", (text, "x")), vocabulary_size=vocabulary_size, min_count=min_count)

    expected = sum(token in unknown for token in text.split()) / 8
    assert report.unknown_shares == {"test": pytest.approx(expected)}


def test_tokens_of_other_splits_are_not_learned() -> None:
    """Whatever stands there often, and before train, stays unknown; a split without tokens has no share."""
    report = check(split("validation", ("", "x")), split("test", ("q q q a", "x")), split("train", *TRAIN))

    assert report.unknown_shares == {"test": 0.75}


def test_a_report_can_be_written_as_json() -> None:
    """Nothing is lost but that pairs become lists, and the sentences are there too."""
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


def test_the_tokenizer_gets_batches() -> None:
    """At most 1,024 texts at once, all of them once, and long ones in smaller batches."""
    sizes = []

    def count(texts: Sequence[str]) -> list[list[bytes]]:
        sizes.append((len(texts), sum(map(len, texts))))
        return cut(texts)

    short, long = [(str(i), "x") for i in range(3_000)], [("w " * 50_000, "x")] * 30
    examine(split("train", *short, *long), tokenize=count, vocabulary_size=9, min_count=1)

    assert sum(texts for texts, _ in sizes) == 3_030
    assert max(texts for texts, _ in sizes) == 1024
    assert len(sizes) <= 6
    assert max(characters for _, characters in sizes) < 2_000_000


def test_texts_are_not_held() -> None:
    """What is in memory grows by a few numbers a row, not by its text."""

    def rows() -> Rows:
        for line in range(1, 5_001):
            yield "train", "train.csv", Row(line, {"text": f"{line} " * 2_000, "label": "x"})

    tracemalloc.start()
    try:
        report = examine(rows(), tokenize=lambda texts: [[b"w"]] * len(texts), vocabulary_size=9, min_count=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert report.splits["train"].rows == 5_000  # about 50 million characters
    assert peak < 6_000_000


def test_a_folder_of_files(tmp_path: Path) -> None:
    """Rows as they are read: places are paths and lines as an editor shows them."""
    (tmp_path / "train.csv").write_text('text,label\n"a\nb",x\n\nc,y\n"a\nb",y\nd\n')
    (tmp_path / "dev.jsonl").write_text('{"text": "c", "label": "y"}\nnone\n')
    source = open_source(str(tmp_path), (TEXT, LABEL), ("records", "lines"))
    assert isinstance(source, Source)
    report = check(rows_by_split(source), splits=source.parts)

    train, dev = str(tmp_path / "train.csv"), str(tmp_path / "dev.jsonl")
    assert report.splits["train"].conflict_places == ((f"{train}:2", f"{train}:6"),)
    assert report.splits["train"].first_malformed == (Malformed(train, 8, "columns: 1; in the header: 2"),)
    assert [(bad.where, bad.line) for bad in report.splits["validation"].first_malformed] == [(dev, 2)]
    assert [overlap.places for overlap in report.overlaps] == [((f"{train}:5", f"{dev}:1"),)]
    assert len(report.problems) == 2


def test_a_single_file(tmp_path: Path) -> None:
    """Its rows are examined in the splits that they fall to."""
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "".join(f"text {i},{'xy'[i % 2]}\n" for i in range(200)))
    source = open_source(str(path), (TEXT, LABEL), ("records", "lines"))
    assert isinstance(source, Source)
    report = check(rows_by_split(source), splits=source.parts)

    assert report.problems == []
    assert list(report.splits) == ["train", "validation", "test"]
    assert sum(found.rows for found in report.splits.values()) == 200
