"""JSON that is not an object in each line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from data.formats import (
    FIELD_SEPARATOR,
    BadRow,
    Field,
    File,
    MissingColumn,
    Row,
    sniff,
    sniff_stream,
)
from data.formats.json_stream import JsonStream

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
TOKENS = Field("tokens", "tokens", "tokens", "--set data.token_column=NAME")
TAGS = Field("tags", "tags", "tags", "--set data.tag_column=NAME")
ROWS = [{"text": "a [b], {c}", "label": "x"}, {"text": 'd "e"\n', "label": "y"}, {"text": "", "label": "x"}]
EXPECTED = [row["text"] for row in ROWS]


def decide(path: Path, content: str, *fields: Field) -> File:
    path.write_bytes(content.encode())
    file = sniff(path, fields or (TEXT, LABEL), ("records",))
    assert file is not None
    return file


def texts(file: File) -> list[str]:
    return [row.text() for row in file.rows() if isinstance(row, Row)]


VARIANTS = {
    "JSON array": json.dumps(ROWS),
    "JSON array\n": json.dumps(ROWS, indent=2),
    "JSON array\t": "[" + ",\n".join(map(json.dumps, ROWS)) + "]\n",
    "JSON Lines": "\n".join(map(json.dumps, ROWS)),
    "JSON objects": "\n".join(json.dumps(row, indent=1) for row in ROWS),
    "JSON object of lists": json.dumps(
        {key: [row[key] for row in ROWS] for key in ("id", "text", "label") if key != "id"}
    ),
    "JSON object of lists\n": json.dumps(
        {key: {str(i): row[key] for i, row in enumerate(ROWS)} for key in ("text", "label")}, indent=4
    ),
    "JSON object with an array 'data'": json.dumps({"data": ROWS}),
    "JSON object with an array 'rows'": json.dumps(
        {"version": "1.0", "meta": {"a": [1]}, "rows": ROWS, "n": 3}, indent=1
    ),
}


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.csv", "a.txt", "a"])
@pytest.mark.parametrize("title", VARIANTS)
def test_the_content_decides_the_variant(tmp_path: Path, title: str, name: str) -> None:
    """The name of the file has no influence, nor have line breaks between values."""
    file = decide(tmp_path / name, VARIANTS[title])

    assert texts(file) == EXPECTED
    assert file.layout.describe() == title.strip()
    assert [row.values["label"] for row in file.rows() if isinstance(row, Row)] == ["x", "y", "x"]


@pytest.mark.parametrize("title", VARIANTS)
def test_variants_from_a_stream(title: str) -> None:
    """Standard input has no name."""
    content = io.BytesIO(VARIANTS[title].encode("utf-16"))
    file = sniff_stream(content, "stdin", (TEXT, LABEL), ("records", "lines"))

    assert file is not None
    assert texts(file) == EXPECTED


def test_lines_of_rows(tmp_path: Path) -> None:
    """A row of an array has the line where it begins; a row of lists has its number."""
    pretty = json.dumps(ROWS, indent=2)

    assert [row.line for row in decide(tmp_path / "a.json", pretty).rows()] == [2, 6, 10]
    assert [row.line for row in decide(tmp_path / "a.json", pretty.replace("\n", "\r\n")).rows()] == [
        2,
        6,
        10,
    ]
    assert [row.line for row in decide(tmp_path / "a.json", pretty.replace("\n", "\r")).rows()] == [2, 6, 10]
    assert [r.line for r in decide(tmp_path / "a.json", VARIANTS["JSON object of lists"]).rows()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            '[{"text": "a", "label": "x"},\n{"text": "b", "label": "y"}',
            "line 2: the end of the file after an ele",
        ),
        (
            '[{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}]',
            "line 2: '{' after an element of the array",
        ),
        ('[{"text": "a", "label": "x"},\n{"text": "b, "label": "y"}]', "line 2: Expecting ',' delimiter"),
        ('[{"text": "a", "label": "x"},\n{"text": "b}]', "line 2: Unterminated string"),
        ('[{"text": "a", "label": "x"}]\n[]', "line 2: more after the array"),
        (
            '{"data": [{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}]}',
            "line 2: '{' after an element",
        ),
        ('[{"text": "a", "label": "x"},\n\n]', "line 3: Expecting value"),
    ],
)
def test_an_array_that_is_damaged(tmp_path: Path, content: str, reason: str) -> None:
    """What follows a syntax error cannot be read: it is an error of the file, with its line."""
    file = decide(tmp_path / "a.json", content)
    with pytest.raises(UserError) as caught:
        list(file.rows())
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: not JSON in {reason}")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('["a", "b"]', "a text"),
        ("[1, 2]", "a number"),
        ('[["a", "x"], ["b", "y"]]', "a list"),
        ("[null]\n", "null"),
    ],
)
def test_an_array_of_other_values(tmp_path: Path, content: str, what: str) -> None:
    """The message has what an element is, and what it should be."""
    with pytest.raises(UserError) as caught:
        decide(tmp_path / "a.json", content)
    assert str(caught.value) == (
        f"{tmp_path / 'a.json'}: a JSON array; its first element is {what}, "
        'not an object such as {"text": …}'
    )


def test_an_element_that_is_no_object(tmp_path: Path) -> None:
    """Only its row is malformed."""
    rows = list(
        decide(tmp_path / "a.json", '[{"text": "a", "label": "x"}, 7,\n{"text": "b", "label": "y"}]').rows()
    )

    assert rows[1] == BadRow(1, 'a number, not an object such as {"text": …}')
    assert isinstance(rows[2], Row)


@pytest.mark.parametrize("content", ["[]", "[ ]\n", "", "\n"])
def test_no_rows(tmp_path: Path, content: str) -> None:
    """An empty file and an empty array have none."""
    assert list(decide(tmp_path / "a.json", content).rows()) == []


def test_a_missing_list_of_a_long_file(tmp_path: Path) -> None:
    """It is found when the whole is read."""
    content = json.dumps({"text": [f"text {i}" for i in range(30_000)], "labels": ["x"] * 30_000})

    with pytest.raises(MissingColumn, match="no column 'label'; there is 'text', 'labels'"):
        list(decide(tmp_path / "a.json", content).rows())


def test_lists_that_do_not_match(tmp_path: Path) -> None:
    """It is an error of the file."""
    with pytest.raises(
        UserError, match=r"a\.json: lists of unequal length: 2 of 'text', 1 of 'label'; expected"
    ):
        list(decide(tmp_path / "a.json", '{"text": ["a", "b"], "label": ["x"]}').rows())


def test_a_single_row_is_no_object_of_lists(tmp_path: Path) -> None:
    """A list of tokens, or of labels, is one value of a row; a list of lists has those of all rows."""
    several = Field("label", "labels", "label", "")
    row = '{"tokens": ["a", "b"], "tags": ["X", "Y"]}'

    assert list(decide(tmp_path / "a.json", row, TOKENS, TAGS).rows()) == [
        Row(1, {"tokens": ("a", "b"), "tags": ("X", "Y")})
    ]
    assert list(
        decide(
            tmp_path / "a.json", '{"tokens": [["a"], ["b", "c"]], "tags": [["X"], ["Y", "Z"]]}', TOKENS, TAGS
        ).rows()
    ) == [
        Row(1, {"tokens": ("a",), "tags": ("X",)}),
        Row(2, {"tokens": ("b", "c"), "tags": ("Y", "Z")}),
    ]
    assert list(decide(tmp_path / "a.json", '{"text": "a", "label": ["x", "y"]}', TEXT, several).rows()) == [
        Row(1, {"text": "a", "label": ("x", "y")})
    ]
    assert list(
        decide(tmp_path / "a.json", '{"text": ["a", "b"], "label": [["x"], []]}', TEXT, several).rows()
    ) == [
        Row(1, {"text": "a", "label": ("x",)}),
        Row(2, {"text": "b", "label": ()}),
    ]


@pytest.mark.parametrize("kind", ["array", "data", "lists", "lines", "objects"])
def test_files_that_are_longer_than_what_is_examined(tmp_path: Path, kind: str) -> None:
    """Their variant is decided from an incomplete beginning."""
    rows: list[dict[str, Any]] = [
        {"text": f"{i} " + "long " * 20_000, "label": "xy"[i % 2]} for i in range(8)
    ]
    if kind == "lists":
        rows = [{"text": f"{i} some text", "label": "xy"[i % 2]} for i in range(40_000)]
    content = {
        "array": lambda: json.dumps(rows),
        "data": lambda: json.dumps({"version": 1, "data": rows}),
        "lists": lambda: json.dumps({key: [row[key] for row in rows] for key in ("text", "label")}),
        "lines": lambda: "\n".join(
            json.dumps({"text": row["text"] * 5, "label": row["label"]}) for row in rows
        ),
        "objects": lambda: "\n".join(json.dumps(row, indent=1) for row in rows),
    }[kind]()
    file = decide(tmp_path / "a.json", content)

    assert (
        file.layout.title
        == {
            "array": "JSON array",
            "data": "JSON object with an array 'data'",
            "lists": "JSON object of lists",
            "lines": "JSON Lines",
            "objects": "JSON objects",
        }[kind]
    )
    assert len(texts(file)) == len(rows)


def test_an_object_of_lists_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read as a whole, so its size is limited; the advice works."""
    monkeypatch.setattr("data.formats.json_rows.COLUMNS_CHARACTERS", 20)
    path = tmp_path / "a.json"

    with pytest.raises(
        UserError, match=r"a\.json: an object of lists that is too large; save it as JSON Lines"
    ):
        list(decide(path, VARIANTS["JSON object of lists"]).rows())
    assert texts(decide(path, VARIANTS["JSON Lines"])) == EXPECTED


@pytest.mark.parametrize("title", [title for title in VARIANTS if title != "JSON Lines"])
def test_a_missing_column_of_every_variant(tmp_path: Path, title: str) -> None:
    """It is an error of the file if no row of its beginning has the column."""
    path = tmp_path / "a.json"
    path.write_text(VARIANTS[title])
    fields = (TEXT, Field("label", "label", "labels", LABEL.option))

    with pytest.raises(
        MissingColumn, match=r"a\.json: no column 'labels'; there is .*did you mean 'label'\?"
    ):
        sniff(path, fields, ("records",))


def test_keys_are_cleaned_and_columns_are_joined(tmp_path: Path) -> None:
    """As in tables."""
    fields = (Field("text", "text", "title,body", ""), LABEL)

    assert list(
        decide(
            tmp_path / "a.json", '[{"title": "A", " body\u200b": "b", "\ufefflabel ": "x"}]', *fields
        ).rows()
    ) == [Row(1, {"text": f"A {FIELD_SEPARATOR} b", "label": "x"})]


def test_lists_of_labels_are_seen(tmp_path: Path) -> None:
    """The layout says so, so that a task can ask for sets of labels."""
    content = '{"text": "a", "label": []}\n{"text": "b", "label": ["x", "y"]}\n'

    assert decide(tmp_path / "a.jsonl", content).layout.several_labels
    assert decide(tmp_path / "a.json", f"[{','.join(content.splitlines())}]").layout.several_labels
    assert not decide(tmp_path / "a.jsonl", '{"text": "a", "label": "x"}').layout.several_labels
    assert not decide(
        tmp_path / "a.jsonl", '{"text": "a", "label": "x", "more": ["y"]}'
    ).layout.several_labels


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=6), st.sampled_from([None, 1]), st.integers(1, 40))
def test_values_of_a_stream(values: list[Any], indent: int | None, size: int) -> None:
    """They are the same in whichever pieces the text is read, with their lines."""
    text = "\n".join(json.dumps(value, indent=indent) for value in values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.formats.json_stream.PIECE_CHARACTERS", size)
        stream = JsonStream(io.StringIO(text))
        found, lines = [], []
        while stream.peek():
            lines.append(stream.line())
            found.append(stream.value())

    assert found == values
    expected = 1
    for value, line in zip(values, lines, strict=True):
        assert line == expected
        expected += json.dumps(value, indent=indent).count("\n") + 1
