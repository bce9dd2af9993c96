"""JSON Lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.formats import FORMATS, BadRow, Field, Row, read_rows

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
FIELDS = (TEXT, LABEL)


def read(path: Path, content: str) -> list[Row | BadRow]:
    """Write a file, and return its rows."""
    path.write_text(content)
    return list(read_rows(path, FIELDS, FORMATS["json"]))


def row(line: int, text: str, label: str) -> Row:
    return Row(line, {"text": text, "label": label})


def test_an_object_without_the_column(tmp_path: Path) -> None:
    """Only an object without the text is malformed, since objects may differ; a label may be missing."""
    rows = read(tmp_path / "rows.jsonl", '{"text": "a", "labels": "x"}\n{"text": "b", "label": "y"}\n{}\n')

    assert [r.line for r in rows] == [1, 2, 3]
    assert rows[0] == Row(1, {"text": "a"})
    assert rows[1] == row(2, "b", "y")
    assert isinstance(rows[2], BadRow)
    assert rows[2].reason.startswith("no column 'text'; there is none")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('["a", "x"]', "a list"),
        ('"a"', "a text"),
        ("7", "a number"),
        ("true", "true or false"),
        ("null", "null"),
        ("NaN", "NaN"),
    ],
)
def test_json_other_than_an_object_is_malformed(tmp_path: Path, line: str, what: str) -> None:
    """A line must be an object."""
    rows = read(tmp_path / "rows.jsonl", f'{line}\n{{"text": "b", "label": "y"}}\n')

    assert rows == [BadRow(1, f'{what}, not an object such as {{"text": …}}'), row(2, "b", "y")]


@pytest.mark.parametrize("line", ["{", "text", "{'text': 'a'}", '{"text": "a"} x', "[" * 100_000, "9" * 5000])
def test_invalid_json_is_malformed(tmp_path: Path, line: str) -> None:
    """A truncated line, Python syntax and too deep nesting are malformed; the next line is read."""
    rows = read(tmp_path / "rows.jsonl", f'{line}\n{{"text": "b", "label": "y"}}\n')

    assert isinstance(rows[0], BadRow)
    assert (rows[0].line, rows[0].reason[:10]) == (1, "not JSON: ")
    assert rows[1:] == [row(2, "b", "y")]


@pytest.mark.parametrize("escape", [r"\ud83d", r"\ude00", r"\udc96"])
@pytest.mark.parametrize("column", ["text", "label"])
def test_half_of_a_surrogate_pair_is_malformed(tmp_path: Path, escape: str, column: str) -> None:
    """JSON can contain half of a surrogate pair, which cannot be encoded."""
    values = {"text": "a", "label": "x"} | {column: "HALF"}
    rows = read(tmp_path / "rows.jsonl", json.dumps(values).replace("HALF", f"a {escape}"))

    assert isinstance(rows[0], BadRow)
    assert (rows[0].line, rows[0].reason[: len(column) + 2]) == (1, repr(column))


@pytest.mark.parametrize("escape", [r"\ud83d", r"\ude00", r"\udc96"])
def test_the_message_about_half_of_a_surrogate_pair(tmp_path: Path, escape: str) -> None:
    """The message has it as it is in the file."""
    rows = read(tmp_path / "rows.jsonl", f'{{"text": "ab{escape}", "label": "x"}}')

    assert rows == [BadRow(1, f"'text' is not valid Unicode: a lone surrogate {escape} at character 3")]


def test_a_surrogate_pair_is_one_character(tmp_path: Path) -> None:
    """JSON in ASCII has characters above U+FFFF as surrogate pairs."""
    rows = read(tmp_path / "rows.jsonl", r'{"text": "\ud83d\ude00", "label": "x"}')

    assert rows == [row(1, "\N{GRINNING FACE}", "x")]
