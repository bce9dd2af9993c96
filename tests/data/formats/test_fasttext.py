"""Lines of fastText."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.formats import BadRow, Field, File, Row, sniff

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
LABELS = Field("label", "labels", "label", "--set data.label_column=NAME", separator=",")


def decide(path: Path, content: str, *fields: Field) -> File:
    path.write_bytes(content.encode())
    file = sniff(path, fields or (TEXT, LABEL), ("records",))
    assert file is not None
    return file


@pytest.mark.parametrize(
    "name", ["train.txt", "cooking.train", "cooking.valid", "a.ft", "a.fasttext", "train", "a.csv", "a.jsonl"]
)
def test_the_labels_decide_the_format(tmp_path: Path, name: str) -> None:
    """The name of the file has no influence where a text file cannot be anything else."""
    file = decide(tmp_path / name, "__label__pos Good, really.\n\n__label__neg Not\tgood.\n")

    assert file.layout.describe() == "fastText"
    assert list(file.rows()) == [
        Row(1, {"text": "Good, really.", "label": "pos"}),
        Row(3, {"text": "Not\tgood.", "label": "neg"}),
    ]


def test_several_labels(tmp_path: Path) -> None:
    """They are read as a set if the task asks for sets, in order and each once; else the message says how."""
    content = "__label__a __label__b text\n__label__b __label__b x\nno label\n__label__c\n__label__ y\n"

    assert list(decide(tmp_path / "a.txt.ft", content, TEXT, LABELS).rows()) == [
        Row(1, {"text": "text", "label": ("a", "b")}),
        Row(2, {"text": "x", "label": ("b",)}),
        Row(3, {"text": "no label"}),
        Row(4, {"text": "", "label": ("c",)}),
        Row(5, {"text": "y"}),
    ]
    file = decide(tmp_path / "a.ft", content)
    assert file.layout.several_labels
    assert next(file.rows()) == BadRow(
        1, "several labels: 'a', 'b'; read several labels of each example with --set data.labels=several"
    )


@pytest.mark.parametrize(
    ("line", "text", "labels"),
    [
        ("text __label__x", "text", ("x",)),
        ("__label__x one __label__y two", "one two", ("x", "y")),
        ("my__label__x text", "my__label__x text", None),
        ("  __label__x  text ", "text", ("x",)),
        ("__label__caf\u0065\u0301\u200b text", "text", ("café",)),
        ("__label__New_York text", "text", ("New_York",)),
    ],
)
def test_every_word_that_begins_so_is_a_label(
    tmp_path: Path, line: str, text: str, labels: tuple[str, ...] | None
) -> None:
    """Wherever it is in the line, as fastText reads it."""
    (row,) = decide(tmp_path / "a.ft", f"{line}\n", TEXT, LABELS).rows()

    assert isinstance(row, Row)
    assert row.values == {"text": text} | ({"label": labels} if labels else {})


def test_labels_that_are_no_names(tmp_path: Path) -> None:
    """A control character makes a bad row."""
    (row,) = decide(tmp_path / "a.ft", "__label__a\x1bb text\n").rows()

    assert isinstance(row, BadRow)
    assert row.reason == "'__label__' has a control character: 'a\\x1bb'"


def test_prediction_needs_no_labels(tmp_path: Path) -> None:
    """The text is read without them."""
    assert list(decide(tmp_path / "a.ft", "__label__x a b\nc\n", TEXT).rows()) == [
        Row(1, {"text": "a b"}),
        Row(2, {"text": "c"}),
    ]


def test_a_few_lines_with_labels_are_no_fasttext(tmp_path: Path) -> None:
    """Then the format is not known."""
    path = tmp_path / "a.log"
    path.write_text("text\n" * 9 + "__label__x text\n")

    assert sniff(path, (TEXT, LABEL), ("records",)) is None
