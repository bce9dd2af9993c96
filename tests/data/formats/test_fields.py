"""Fields of a row, and the checks of their values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.formats import FORMATS, BadRow, Field, Row, read_rows

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
LABELLED = (TEXT, LABEL)
TOKENS = Field("tokens", "tokens", "tokens", "--set data.token_column=NAME")
TAGS = Field("tags", "tags", "upos", "--set data.tag_column=NAME", ("tags",))
OPTIONAL = Field("text", "text", "text", "--set data.text_column=NAME", optional=True)
TAGGED = (TOKENS, TAGS)


def read(folder: Path, content: str, fields: tuple[Field, ...]) -> list[Row | BadRow]:
    """Write JSON Lines, and return their rows."""
    path = folder / "rows.jsonl"
    path.write_text(content)
    return list(read_rows(path, fields, FORMATS["json"]))


def row(line: int, tokens: str, tags: str, **more: str) -> Row:
    """Return a row of tokens and tags, which are separated by spaces here."""
    return Row(line, {"tokens": tuple(tokens.split(" ")), "tags": tuple(tags.split(" ")), **more})


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("3", "3"),
        ("-1", "-1"),
        ("0", "0"),
        ("1.0", "1.0"),
        ("0.5", "0.5"),
        ("true", "true"),
        ("false", "false"),
        ('"3"', "3"),
        ('" x y "', "x y"),
        ('"\\n x\\t"', "x"),
    ],
)
def test_labels_are_names(tmp_path: Path, label: str, expected: str) -> None:
    """Numbers, `true` and `false` are names as in JSON; white space around a label is removed."""
    assert read(tmp_path, f'{{"text": "a", "label": {label}}}', LABELLED) == [
        Row(1, {"text": "a", "label": expected})
    ]


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("NaN", "'label' is NaN, not a text"),
        ("-Infinity", "'label' is -Infinity, not a text"),
        (
            '["x"]',
            "'label' is a list, not one label; read several labels of each example with "
            "--set data.labels=several",
        ),
        ('{"x": 1}', "'label' is an object, not a text"),
        ('"x\\ny"', "'label' has a line break: 'x\\ny'"),
        ('"x\\u2028y"', "'label' has a line break: 'x\\u2028y'"),
        ('"x\\u001b[31my"', "'label' has a control character: 'x\\x1b[31my'"),
        ('"x\\u0000y"', "'label' has a control character: 'x\\x00y'"),
        ('"x\\u009by"', "'label' has a control character: 'x\\x9by'"),
    ],
)
def test_malformed_labels(tmp_path: Path, label: str, reason: str) -> None:
    """Names of classes are lines of files, and are printed on terminals."""
    assert read(tmp_path, f'{{"text": "a", "label": {label}}}', LABELLED) == [BadRow(1, reason)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("null", "null"),
        ("1", "a number"),
        ("1.5", "a number"),
        ("true", "true or false"),
        ('["a"]', "a list"),
    ],
)
def test_a_text_must_be_a_text(tmp_path: Path, text: str, kind: str) -> None:
    """Unlike a label, a text is never a number: probably the column is wrong."""
    assert read(tmp_path, f'{{"text": {text}, "label": "x"}}', LABELLED) == [
        BadRow(1, f"'text' is {kind}, not a text")
    ]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tokens": ["a", "b"], "upos": ["X"]}, "misaligned: 2 tokens, 1 tags"),
        ({"tokens": [], "upos": ["X"]}, "misaligned: 0 tokens, 1 tags"),
        ({"tokens": "a b", "upos": ["X"]}, "'tokens' is a text, not a list"),
        ({"tokens": ["a"], "upos": "X"}, "'upos' is a text, not a list"),
        ({"tokens": ["a", ""], "upos": ["X", "Y"]}, "tokens[1] is empty"),
        ({"tokens": ["a", 1], "upos": ["X", "Y"]}, "tokens[1] is a number, not a text"),
        ({"tokens": ["a", "b"], "upos": ["X", None]}, "upos[1] is null, not a text"),
        ({"tokens": ["a", "b"], "upos": [" ", "X"]}, "upos[0] is empty"),
        ({"tokens": ["a"], "upos": ["X\nY"]}, "upos[0] has a line break"),
        ({"tokens": ["a"], "upos": ["X\x1bY"]}, "upos[0] has a control character"),
        ({"tokens": ["a\ud800"], "upos": ["X"]}, "tokens[0] is not valid Unicode: a lone surrogate \\ud800"),
    ],
)
def test_malformed_sequences(tmp_path: Path, values: dict[str, object], reason: str) -> None:
    """There is one tag for each token, and neither is empty."""
    good = {"tokens": ["a"], "upos": ["X"]}
    first, second = read(tmp_path, f"{json.dumps(values)}\n{json.dumps(good)}\n", TAGGED)

    assert isinstance(first, BadRow)
    assert (first.line, first.reason[: len(reason)]) == (1, reason)
    assert second == row(2, "a", "X")


@pytest.mark.parametrize(
    ("written", "tag"),
    [("\ufeffB-PER", "B-PER"), (" B-PER\u200b", "B-PER"), ("Cafe\u0301", "Café"), ("\u2060O", "O")],
)
def test_tags_are_names(tmp_path: Path, written: str, tag: str) -> None:
    """They are cleaned as labels are; a token is not changed."""
    line = json.dumps({"tokens": ["\ufeffa\u200b"], "tags": [written]})

    assert read(tmp_path, line, TAGGED) == [Row(1, {"tokens": ("\ufeffa\u200b",), "tags": (tag,)})]


def test_sequences(tmp_path: Path) -> None:
    """A token may contain spaces; the tags may be numbers."""
    rows = read(tmp_path, '{"upos": [1, " N ", true], "tokens": ["New York", "b", " "]}', TAGGED)

    assert rows == [Row(1, {"tokens": ("New York", "b", " "), "tags": ("1", "N", "true")})]


def test_other_columns_of_a_field(tmp_path: Path) -> None:
    """The first column that a field allows is used; the message has the main one."""
    rows = read(
        tmp_path,
        '{"tokens": ["a"], "tags": ["X"]}\n{"tokens": ["a"], "tags": ["X"], "upos": ["Y"]}\n{"tokens": []}',
        TAGGED,
    )

    assert rows[:2] == [row(1, "a", "X"), row(2, "a", "Y")]
    assert rows[2] == BadRow(
        3, "no column 'upos'; there is 'tokens'; name it with --set data.tag_column=NAME"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"tokens": ["a"], "upos": ["X"]}', None),
        ('{"tokens": ["a"], "upos": ["X"], "text": "A"}', "A"),
        ('{"tokens": ["a"], "upos": ["X"], "text": ""}', ""),
    ],
)
def test_optional_values(tmp_path: Path, content: str, expected: str | None) -> None:
    """A row without the value does not have the field; an empty value is one."""
    (found,) = read(tmp_path, content, (*TAGGED, OPTIONAL))

    assert isinstance(found, Row)
    assert found.values.get("text") == expected
    assert found.tokens() == ("a",)


def test_an_optional_value_must_be_of_its_kind(tmp_path: Path) -> None:
    """An optional value is checked if it is there."""
    rows = read(tmp_path, '{"tokens": ["a"], "upos": ["X"], "text": 1}', (*TAGGED, OPTIONAL))

    assert rows == [BadRow(1, "'text' is a number, not a text")]


@pytest.mark.parametrize(("value", "reason"), [("1", "a number"), ("[]", "a list"), ('"yes"', "'yes'")])
def test_a_flag_must_be_true_or_false(tmp_path: Path, value: str, reason: str) -> None:
    """Other JSON values are malformed; null is no value."""
    flag = Field("continues", "flag", "continues", "", optional=True)
    values = ("true", "false", "null", value)
    rows = read(tmp_path, "".join(f'{{"continues": {own}}}\n' for own in values), (flag,))

    assert rows == [
        Row(1, {"continues": True}),
        Row(2, {"continues": False}),
        Row(3, {}),
        BadRow(4, f"'continues' is {reason}, not true or false"),
    ]


def test_values_by_their_kind() -> None:
    """A sequence is not a text and a text is not a sequence: to confuse them is a TypeError."""
    found = row(1, "a b", "X Y", text="a b")

    assert (found.text(), found.tokens("tags")) == ("a b", ("X", "Y"))
    with pytest.raises(TypeError, match="tokens is not a text"):
        found.text("tokens")
    with pytest.raises(TypeError, match="text is not a sequence"):
        found.tokens("text")
