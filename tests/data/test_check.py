"""The statistics of the data check."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import pytest

from data.check import StatisticsObserver
from data.check_report import Places, Report, Statistics
from data.findings import Finding
from data.formats import Field, Row, Value
from data.samples import reviews

Rows = Iterator[tuple[str, str, Row]]
TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
SOURCE = Field("source", "text", "source", "--set data.source=NAME")
TARGET = Field("target", "text", "target", "--set data.target=NAME")
TOKENS = Field("tokens", "tokens", "tokens", "")
TAGS = Field("tags", "tags", "tags", "")


def split(name: str, *values: Sequence[Value], fields: Sequence[Field] = (TEXT, LABEL)) -> Rows:
    """Yield rows of a split, each with the values of the first fields."""
    for line, own in enumerate(values, 1):
        yield (
            name,
            f"{name}.csv",
            Row(line, {field.name: value for field, value in zip(fields, own, strict=False)}),
        )


def words(texts: Sequence[str]) -> list[list[bytes]]:
    """Return the words of texts."""
    return [text.lower().encode().split() for text in texts]


def check(
    *rows: Rows,
    fields: Sequence[Field] = (TEXT, LABEL),
    vocabulary_size: int = 1000,
    min_count: int = 1,
    max_length: int = 0,
    pair: tuple[str, str] | None = None,
    splits: Iterable[str] = (),
) -> Statistics:
    observer = StatisticsObserver(
        fields,
        tokenize=words,
        vocabulary_size=vocabulary_size,
        min_count=min_count,
        max_length=max_length,
        pair=pair,
        splits=splits,
    )
    for row in chain(*rows):
        observer.add(*row)
    return observer.statistics()


def warnings(found: Statistics) -> list[str]:
    """Return the sentences of the warnings."""
    return [own.sentence() for own in found.warnings({"text": TEXT.option})]


# Examples without warnings; "d" in the test split does not occur in train.
TRAIN = (("a b", "x"), ("b c", "y"))
TEST = (("a", "x"), ("b d", "y"))


def test_good_examples_have_no_warnings() -> None:
    """The examples of each split are counted."""
    found = check(split("train", *TRAIN), split("test", *TEST))

    assert warnings(found) == []
    assert {name: own.rows for name, own in found.splits.items()} == {"train": 2, "test": 2}
    assert found.splits["train"].labels == {"x": 1, "y": 1}
    assert [(o.first, o.second, o.texts) for o in found.overlaps] == [("train", "test", Places())]


def test_the_sample_has_no_warnings() -> None:
    """Its labels are balanced, and no text occurs twice."""
    rows = chain.from_iterable(
        split(name, *((row["text"], row["label"]) for row in rows)) for name, rows in reviews(0).items()
    )
    found = check(rows)

    assert warnings(found) == []
    assert found.splits["train"].labels == {"negative": 1000, "positive": 1000}
    assert found.unknown_shares == {"validation": 0, "test": 0}


def test_splits_are_in_order() -> None:
    """Splits are in the order training, validation, test, whatever the order of the rows."""
    found = check(split("test", *TEST), split("validation", ("b", "x")), split("train", *TRAIN))

    assert list(found.splits) == ["train", "validation", "test"]
    assert [(overlap.first, overlap.second) for overlap in found.overlaps] == [
        ("train", "validation"),
        ("train", "test"),
        ("validation", "test"),
    ]


def test_splits_may_be_mixed() -> None:
    """The rows of a single file alternate between splits; the result does not depend on their order."""
    train, test = list(split("train", *TRAIN, ("", "x"))), list(split("test", *TEST, ("", "y")))
    mixed = [row for pair in zip(train, test, strict=True) for row in pair]

    assert check(iter(mixed)) == check(iter(train), iter(test))


def test_texts_need_no_labels() -> None:
    """Without labels there are no classes and no conflicts."""
    found = check(split("train", ("a",), ("b",), ("b",)), split("test", ("c",)), fields=[TEXT])

    assert len(warnings(found)) == 1
    assert found.splits["train"].labels == {}
    assert found.splits["train"].largest_class_share is None
    assert found.splits["train"].smallest_class_share is None
    assert found.splits["train"].conflicts == Places()
    assert found.splits["train"].duplicates.total == 1


def test_shares_of_classes() -> None:
    """The shares are those of the largest and the smallest class of a split."""
    found = check(split("train", *TRAIN, ("c", "x"), ("d", "x"), ("e", "z")))

    assert found.splits["train"].labels == {"x": 3, "y": 1, "z": 1}
    assert found.splits["train"].largest_class_share == 0.6
    assert found.splits["train"].smallest_class_share == 0.2


def test_labels_are_sorted() -> None:
    """Labels are in alphabetical order."""
    found = check(split("train", ("a", "z"), ("b", "a"), ("c", "m")))

    assert list(found.splits["train"].labels) == ["a", "m", "z"]


def test_sets_of_labels() -> None:
    """Each label of an example is counted; the same labels of the same text are no conflict."""
    several = Field("label", "labels", "label", "")
    found = check(
        split("train", ("a b", ("x", "y")), ("b", ("x",)), ("c", ()), ("c", ("y",)), fields=(TEXT, several)),
        split("test", ("d", ("x", "z")), fields=(TEXT, several)),
        fields=(TEXT, several),
    )

    assert found.splits["train"].labels == {"x": 2, "y": 2}
    assert found.splits["train"].conflicts.first == ("train.csv:3 and train.csv:4",)
    assert [(own.label, own.rows.total) for own in found.unseen_labels] == [("z", 1)]


def test_texts_without_tokens() -> None:
    """Texts without tokens are counted with their places, across batches too; they are a warning."""
    texts = [("", "x") if i % 700 == 3 else (f"a text {i}", "xy"[i % 2]) for i in range(4_300)]
    found = check(split("train", *texts))

    assert found.splits["train"].fields["text"].empty == Places(
        tuple(f"train.csv:{4 + 700 * i}" for i in range(7)), 7
    )
    assert warnings(found)[0] == (
        "train has 7 texts without tokens (train.csv:4, train.csv:704, train.csv:1404, and 4 more); "
        "fill or remove them"
    )


def test_the_tokenizer_decides_which_texts_are_empty() -> None:
    """A text of spaces has no tokens if the tokenizer splits words."""
    found = check(split("train", *TRAIN, (" \t", "x")))

    assert warnings(found) == ["train has 1 text without tokens (train.csv:3); fill or remove them"]


@pytest.mark.parametrize("blank", ["", " ", "\n\t"])
@pytest.mark.parametrize("side", ["source", "target"])
def test_each_side_of_a_pair_is_examined(side: str, blank: str) -> None:
    """An empty source and an empty target are a warning that names the side."""
    pair = (blank, "b c") if side == "source" else ("b c", blank)
    found = check(
        split("train", ("a", "b"), pair, fields=(SOURCE, TARGET)),
        fields=(SOURCE, TARGET),
        pair=("source", "target"),
    )

    assert warnings(found) == [f"train has 1 {side} text without tokens (train.csv:2); fill or remove them"]
    assert found.splits["train"].empty == 1


def test_empty_lists_of_tokens() -> None:
    """A sentence without tokens is a warning."""
    rows = split("train", (("a",), ("X",)), ((), ()), fields=(TOKENS, TAGS))
    found = check(rows, fields=(TOKENS, TAGS))

    assert warnings(found) == ["train has 1 sentence without tokens (train.csv:2); fill or remove them"]


@pytest.mark.parametrize("present", [[], [1], [0, 2]])
def test_texts_that_an_example_may_lack(present: list[int]) -> None:
    """A field that is missing is not empty; one that no example has is not in the report."""
    fields = (TOKENS, TAGS, Field("text", "text", "text", "", optional=True))
    rows = [Row(i + 1, {"tokens": ("a", str(i)), "tags": ("X", "Y")}) for i in range(3)]
    for i in present:
        rows[i].values["text"] = "" if i == 2 else f"a {i}"
    found = check((("train", "train.jsonl", row) for row in rows), fields=fields)

    assert list(found.splits["train"].fields) == (["tokens", "text"] if present else ["tokens"])
    expected = (
        ["train has 1 text without tokens (train.jsonl:3); fill or remove them"] if 2 in present else []
    )
    assert warnings(found) == expected


def test_pairs_that_are_not_translated() -> None:
    """A target that is its source is a warning, unless it has no letters."""
    pairs = [
        ("good day", "guten Tag"),
        ("good day ", "good day"),
        ("10:30", "10:30"),
        ("OK", "ok"),
        ("x", "x"),
    ]
    found = check(
        split("train", *pairs, fields=(SOURCE, TARGET)), fields=(SOURCE, TARGET), pair=("source", "target")
    )

    assert found.splits["train"].untranslated == Places(("train.csv:2", "train.csv:5"), 2)
    assert warnings(found)[-1] == (
        "train has 2 pairs whose target is the same as the source (train.csv:2, train.csv:5); translate or "
        "remove them, or the model learns to copy"
    )


@pytest.mark.parametrize("usual", [1, 2])
@pytest.mark.parametrize(
    ("source", "target", "odd"), [(3, 60, True), (60, 3, True), (3, 9, False), (1, 9, False)]
)
def test_pairs_of_unusual_lengths(source: int, target: int, odd: bool, usual: int) -> None:
    """A side that is many times longer than in other pairs is a warning, with both lengths."""
    pairs = [(f"a{i} " * 10, f"b{i} " * (10 * usual)) for i in range(9)]
    pairs.append(("c " * source, "d " * (target * usual)))
    found = check(
        split("train", *pairs, fields=(SOURCE, TARGET)), fields=(SOURCE, TARGET), pair=("source", "target")
    )

    assert found.splits["train"].odd_lengths.first == odd * (
        f"train.csv:10: {source} and {target * usual} tokens",
    )


def test_other_targets_of_a_source_are_no_conflict() -> None:
    """A sentence may have two translations; only equal pairs are duplicates in all fields."""
    pairs = [("a", "b"), ("a", "c"), ("a", "b")]
    found = check(
        split("train", *pairs, fields=(SOURCE, TARGET)), fields=(SOURCE, TARGET), pair=("source", "target")
    )

    assert found.splits["train"].conflicts == Places()
    assert found.splits["train"].duplicates == Places(("train.csv:2", "train.csv:3"), 2)
    assert found.splits["train"].duplicate_rows == 1
    assert warnings(found) == [
        "train has 2 examples whose source occurs in an earlier example, 1 of them equal in all fields "
        "(train.csv:2, train.csv:3); remove them, or the same text counts more than once"
    ]


def test_two_texts_and_a_label() -> None:
    """Texts conflict if all of them are equal and the label is not."""
    fields = (Field("first", "text", "", ""), Field("second", "text", "", ""), LABEL)
    rows = [("a", "b", "x"), ("a", "c", "y"), ("a", "b", "y")]
    found = check(split("train", *rows, fields=fields), fields=fields)

    assert found.splits["train"].conflicts == Places(("train.csv:1 and train.csv:3",), 1)


def test_tags_that_contradict_each_other() -> None:
    """The same tokens with other tags are a conflict."""
    rows = [(("a", "b"), ("X", "Y")), (("a b",), ("X",)), (("a", "b"), ("X", "X"))]
    found = check(split("train", *rows, fields=(TOKENS, TAGS)), fields=(TOKENS, TAGS))

    assert found.splits["train"].conflicts == Places(("train.csv:1 and train.csv:3",), 1)
    assert warnings(found)[-1].startswith("train has 1 text with more than one sequence of tags (")


def test_duplicate_texts() -> None:
    """Every example of a text except the first is counted, if the text is exactly equal; it is a warning."""
    found = check(split("train", *TRAIN, ("a b", "x"), ("A b", "x"), ("a b", "x"), ("b c", "y")))

    assert found.splits["train"].duplicates == Places(("train.csv:3", "train.csv:5", "train.csv:6"), 3)
    assert found.splits["train"].conflicts == Places()
    assert warnings(found) == [
        "train has 3 examples whose text occurs in an earlier example, 3 of them equal in all fields "
        "(train.csv:3, train.csv:5, train.csv:6); remove them, or the same text counts more than once"
    ]


def test_texts_with_several_labels() -> None:
    """Each such text counts once, with its first two examples of different labels; it is a warning."""
    found = check(
        split("train", ("a", "x"), ("b", "y"), ("b", "y"), ("c", "x"), ("b", "x"), ("b", "y"), ("a", "y"))
    )

    assert found.splits["train"].conflicts == Places(
        ("train.csv:1 and train.csv:7", "train.csv:3 and train.csv:5"), 2
    )
    assert warnings(found)[-1] == (
        "train has 2 texts with more than one label (train.csv:1 and train.csv:7, train.csv:3 and "
        "train.csv:5); keep the correct one"
    )


def test_all_places_are_kept() -> None:
    """Places are in the order of the file; a sentence shows the first few."""
    texts = [(f"a text {i % 40}", "xy"[i // 40]) for i in range(80)]
    found = check(split("train", *texts))

    assert found.splits["train"].conflicts.first == tuple(
        f"train.csv:{i} and train.csv:{i + 40}" for i in range(1, 41)
    )
    assert found.splits["train"].duplicates.first == tuple(f"train.csv:{i}" for i in range(41, 81))
    assert warnings(found)[-1].endswith("train.csv:3 and train.csv:43, and 37 more); keep the correct one")


def test_texts_of_two_splits() -> None:
    """Each text counts once for each pair of splits that have it, whatever its label; it is a warning."""
    found = check(
        split("train", *TRAIN, ("c", "x"), ("c", "x")),
        split("validation", ("d", "x"), ("c", "x")),
        split("test", ("d", "y"), ("c", "y"), ("b c", "y"), ("b c", "y")),
    )

    assert {(o.first, o.second): o.texts for o in found.overlaps} == {
        ("train", "validation"): Places(("train.csv:3 and validation.csv:2",), 1),
        ("train", "test"): Places(("train.csv:3 and test.csv:2", "train.csv:2 and test.csv:3"), 2),
        ("validation", "test"): Places(
            ("validation.csv:1 and test.csv:1", "validation.csv:2 and test.csv:2"), 2
        ),
    }
    assert warnings(found)[-2] == (
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
    found = check(split("train", *texts)).splits["train"].fields["text"].lengths

    assert found is not None
    assert (found.p50, found.p90, found.p99, found.max) == expected


def test_places_are_those_of_the_rows() -> None:
    """Each row has its own file and line."""
    rows = [("one.csv", 7, "a", "x"), ("two.csv", 1, "", "x"), ("one.csv", 9, "a", "y")]
    found = check(
        ("train", where, Row(line, {"text": text, "label": label})) for where, line, text, label in rows
    )

    assert found.splits["train"].fields["text"].empty.first == ("two.csv:1",)
    assert found.splits["train"].conflicts.first == ("one.csv:7 and one.csv:9",)


def test_a_split_without_examples() -> None:
    """An expected split is in the statistics even if it has no examples."""
    found = check(split("train", *TRAIN), splits=("train", "test"))

    assert found.splits["test"].rows == 0
    assert found.splits["test"].fields["text"].lengths is None
    assert warnings(found) == []


def test_labels_that_do_not_occur_in_train() -> None:
    """They are counted with their places. Labels that occur only in train are not."""
    found = check(
        split("train", *TRAIN, ("e", "only here")),
        split("validation", ("d", "x")),
        split("test", ("f", "z"), ("g", "Y"), ("h", "x"), ("i", "z")),
    )

    assert [(u.split, u.label, u.rows) for u in found.unseen_labels] == [
        ("test", "z", Places(("test.csv:1", "test.csv:4"), 2)),
        ("test", "Y", Places(("test.csv:2",), 1)),
    ]
    assert [own.sentence() for own in found.unseen()] == [
        "3 test examples have a label that does not occur in train: 'Y', 'z' (test.csv:1: 'z', "
        "test.csv:4: 'z', test.csv:2: 'Y'); they count as wrong; correct the labels, or add training "
        "examples with them"
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
    found = check(train, split("test", (text, "x")), vocabulary_size=vocabulary_size, min_count=min_count)

    expected = sum(token in unknown for token in text.split()) / 8
    assert found.unknown_shares == {"test": pytest.approx(expected)}


def test_tokens_of_other_splits_are_not_learned() -> None:
    """Frequent tokens of other splits are out of vocabulary; a split without tokens has no share."""
    found = check(split("validation", ("", "x")), split("test", ("q q q a", "x")), split("train", *TRAIN))

    assert found.unknown_shares == {"test": 0.75}


def test_out_of_vocabulary_tokens_of_each_field() -> None:
    """Each text has its own vocabulary."""
    found = check(
        split("train", ("a", "b"), fields=(SOURCE, TARGET)),
        split("test", ("a b", "b c d a"), fields=(SOURCE, TARGET)),
        fields=(SOURCE, TARGET),
        pair=("source", "target"),
    )

    assert {name: own.unknown_share for name, own in found.splits["test"].fields.items()} == {
        "source": 0.5,
        "target": 0.75,
    }


COLUMNS: Mapping[str, tuple[list[tuple[str, str]], str]] = {
    "constant": ([("same", "xy"[i % 2]) for i in range(10)], "all 10 examples have the same text"),
    "numbers": ([(str(i), "xy"[i % 2]) for i in range(10)], "the text is a number in 10 of 10 examples"),
    "prices": ([(f"$ {i}.50", "xy"[i % 2]) for i in range(10)], "the text is a number in 10 of 10 examples"),
    "identifiers": (
        [(f"user_{i}", "xy"[i % 2]) for i in range(10)],
        "the text looks like an identifier: one word with digits, different in 10 of 10 examples",
    ),
    "addresses": (
        [(f"https://example.org/{i}?q=1", "xy"[i % 2]) for i in range(10)],
        "the text looks like an identifier: one word with digits, different in 10 of 10 examples",
    ),
    "the label": (
        [("Xy", "xy"), ("ab ", "ab")] * 5,
        "the text is the same as the label in 10 of 10 examples",
    ),
    "a leak": (
        [
            (f"rated good by {i} people" if i % 2 else f"Bad, {i} said", "good" if i % 2 else "bad")
            for i in range(10)
        ],
        "the label is part of the text in 10 of 10 examples",
    ),
    "a leak with a sign": (
        [
            (f"__{'C++' if i % 2 else 'C#'}__ C++ and C# by {i} people", "C++" if i % 2 else "C#")
            for i in range(10)
        ],
        "the label is part of the text in 10 of 10 examples",
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_suspicious_columns(name: str) -> None:
    """A column of which nothing can be learned is a warning with the option that names another one."""
    rows, expected = COLUMNS[name]
    found = [own for own in warnings(check(split("train", *rows))) if own.startswith(expected)]

    assert len(found) == 1
    assert "leak" in name or found[0].endswith("name the right column with --set data.text_column=NAME")


def test_tokens_that_are_no_words() -> None:
    """Tokens that are numbers, and tokens that are the tags, are warnings."""
    numbers = [((str(i), str(i + 1)), ("X", "Y")) for i in range(10)]
    tags = [(("X", "Y", "Z")[: i % 3 + 1], ("X", "Y", "Z")[: i % 3 + 1]) for i in range(10)]

    def found(rows: Sequence[Sequence[Value]]) -> list[str]:
        return warnings(check(split("train", *rows, fields=(TOKENS, TAGS)), fields=(TOKENS, TAGS)))

    assert "the tokens are numbers in 10 of 10 examples; give other texts" in found(numbers)
    assert "the tokens are the same as the tags in 10 of 10 examples; give other texts" in found(tags)


@pytest.mark.parametrize(("long", "warned"), [(1, False), (2, True)])
def test_texts_that_are_longer_than_the_maximum(long: int, warned: bool) -> None:
    """They are a warning if they are many."""
    texts = [(f"a text {i} " + "w " * 10 * (i < long), "xy"[i % 2]) for i in range(20)]
    found = check(split("train", *texts), max_length=12)

    assert found.splits["train"].fields["text"].long.total == long
    assert warnings(found) == warned * [
        "train: 2 of 20 examples have a text of more than text.max_length = 12 tokens (train.csv:1, "
        "train.csv:2); the other tokens are ignored; give a larger value, or 0 for no limit"
    ]


def test_pairs_of_the_maximum_length() -> None:
    """A pair is not used if a side has the maximum length, which may have been longer."""
    rows = [("a b c", "d"), ("a", "b c"), ("b", "c d e f")]
    found = check(
        split("train", *rows, fields=(SOURCE, TARGET)),
        fields=(SOURCE, TARGET),
        pair=("source", "target"),
        max_length=3,
    )

    assert [own.split(" have a ")[1].split(";")[0] for own in warnings(found)] == [
        "source of at least text.max_length = 3 tokens (train.csv:1)",
        "target of at least text.max_length = 3 tokens (train.csv:3)",
    ]


@pytest.mark.parametrize(("known", "warned"), [(60, False), (40, True)])
def test_a_split_of_other_words(known: int, warned: bool) -> None:
    """A split most of whose words do not occur in train is a warning."""
    other = " ".join(["a", "b", "c", "d"] * (known // 4) + ["q"] * (100 - known))
    found = check(split("train", ("a b", "x"), ("c d", "y")), split("test", (other, "x")))

    assert [own.split(";")[0] for own in warnings(found)] == warned * [
        "test: 60% of the tokens of the text are out of vocabulary"
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [(f"goodness {i} people", "good") for i in range(10)],
        [(f"word{'abcdefghij'[i]}", "xy"[i % 2]) for i in range(9)] + [("two 2", "x")],
        [(f"{i} apples", "xy"[i % 2]) for i in range(10)],
        [("\u54c1\u8cea" + "\u5f88\u597d" * i, "xy"[i % 2]) for i in range(10)],
        [("1", "x"), ("2", "y")],
    ],
)
def test_columns_of_texts(rows: list[tuple[str, str]]) -> None:
    """Words with numbers, one word a text, and other scripts are texts; few examples say nothing."""
    assert warnings(check(split("train", *rows))) == []


def test_a_report_as_json() -> None:
    """It has the statistics, the sentences, and all places of each finding; tuples are lists."""
    found = check(
        split("train", *TRAIN, ("b c", "x")), split("test", *TEST, ("a b", "z"), ("", "x")), splits=["train"]
    )
    problem = Finding("1 row cannot be read", "fix it", ("train.csv:4: oops",), 1)
    report = Report(found, (problem,), tuple(found.warnings({})), layout=("a",), malformed={"train": 1})
    plain = report.as_json()

    assert json.loads(json.dumps(plain)) == plain
    assert plain["splits"]["train"] == {
        "rows": 3,
        "labels": {"x": 2, "y": 1},
        "empty": 0,
        "duplicates": 1,
        "duplicate_rows": 0,
        "conflicts": 1,
        "untranslated": 0,
        "odd_lengths": 0,
        "lengths": {"p50": 2, "p90": 2, "p99": 2, "max": 2},
        "fields": {
            "text": {
                "empty": 0,
                "lengths": {"p50": 2, "p90": 2, "p99": 2, "max": 2},
                "tokens": 6,
                "long": 0,
                "unknown_share": None,
            }
        },
        "malformed": 1,
        "largest_class_share": pytest.approx(2 / 3),
        "smallest_class_share": pytest.approx(1 / 3),
    }
    assert plain["overlaps"] == [
        {"first": "train", "second": "test", "texts": 1, "places": ["train.csv:1 and test.csv:3"]}
    ]
    assert plain["unseen_labels"] == [{"split": "test", "label": "z", "rows": 1, "places": ["test.csv:3"]}]
    assert plain["unknown_shares"] == {"test": 0.2}
    assert plain["layout"] == ["a"]
    assert plain["problems"] == ["1 row cannot be read (train.csv:4: oops); fix it"]
    assert plain["warnings"] == report.warnings
    assert len(plain["warnings"]) == 4
    assert plain["findings"]["problems"] == [
        {"what": "1 row cannot be read", "advice": "fix it", "places": ["train.csv:4: oops"], "total": 1}
    ]
    assert [own["what"] for own in plain["findings"]["warnings"]] == [
        "train has 1 example whose text occurs in an earlier example, 0 of them equal in all fields",
        "train has 1 text with more than one label",
        "test has 1 text without tokens",
        "train and test share 1 text",
    ]
