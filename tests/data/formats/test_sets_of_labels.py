"""Sets of labels: cells with a separator, one-hot columns, lists; and labels that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import load_config
from app.tasks import get_task
from data.errors import UserError
from data.formats import BadRow, Field, MissingColumn, Row, sniff

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
ONE_HOT = Field("label", "labels", "label", "--set data.label_columns=NAME", one_hot=("toxic", "mild insult"))


def labels(path: Path, content: str, field: Field) -> list[object]:
    """Return the labels of each row, None if it has none, or the reason why it is malformed."""
    path.write_bytes(content.encode())
    file = sniff(path, (TEXT, field), ("records",))
    assert file is not None
    return [row.values.get("label") if isinstance(row, Row) else row.reason for row in file.rows()]


def separated(separator: str) -> Field:
    return Field("label", "labels", "label", "--set data.label_column=NAME", separator=separator)


@pytest.mark.parametrize(
    ("separator", "cell", "expected"),
    [
        ("|", "joy|love", ("joy", "love")),
        (";", " joy ; love;joy", ("joy", "love")),
        (" ", "joy love  joy", ("joy", "love")),
        (", ", "'joy, love'", ("joy", "love")),
        ("|", "|joy||", ("joy",)),
        ("|", "", ()),
        ("|", " ", ()),
        ("|", "cafe\u0301\u200b|caf\u00e9", ("café",)),
        ("||", "a|b||c", ("a|b", "c")),
        ("", "joy|love", ("joy|love",)),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_a_cell_of_several_labels(
    tmp_path: Path, name: str, separator: str, cell: str, expected: tuple[str, ...]
) -> None:
    """Each is cleaned, occurs once, and keeps its place; an empty cell is an empty set."""
    content = {
        "a.csv": 'text,label\nt,"{}"\n',
        "a.tsv": "text\tlabel\nt\t{}\n",
        "a.jsonl": '{{"text": "t", "label": "{}"}}\n',
    }[name].format(cell.replace("'", ""))

    assert labels(tmp_path / name, content, separated(separator)) == [expected]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('["joy", "love"]', ("joy", "love")),
        ('[" joy", "joy\\u200b", ""]', ("joy",)),
        ("[]", ()),
        ("[1, true, 0.5]", ("1", "true", "0.5")),
        ("null", None),
        ('"joy"', ("joy",)),
        ("3", ("3",)),
        ('["a,b"]', ("a,b",)),
        ('[["joy"]]', "label[0] is a list, not a text"),
        ("[null]", "label[0] is null, not a text"),
        ("[NaN]", "label[0] is NaN, not a text"),
        ('{"joy": 1}', "'label' is an object, not a text"),
        ('["a\\u001bb"]', "label[0] has a control character: 'a\\x1bb'"),
    ],
)
def test_a_list_of_labels(tmp_path: Path, value: str, expected: object) -> None:
    """The separator applies to texts, not to the elements of a list; null is no set."""
    content = f'{{"text": "t", "label": {value}}}\n'

    assert labels(tmp_path / "a.jsonl", content, separated(",")) == [expected]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("1", "0", ("toxic",)),
        ("1", "1", ("toxic", "mild insult")),
        ("0", "0", ()),
        ("True", "false", ("toxic",)),
        ("FALSE", " 1 ", ("mild insult",)),
        ("", "", None),
        ("-1", "-1", None),
        ("1", "", "'mild insult' is ''; expected 0, 1, true or false"),
        ("0.5", "1", "'toxic' is '0.5'; expected 0, 1, true or false"),
        ("yes", "1", "'toxic' is 'yes'; expected 0, 1, true or false"),
        ("2", "0", "'toxic' is '2'; expected 0, 1, true or false"),
        ("-1", "0", "'toxic' is '-1'; expected 0, 1, true or false"),
    ],
)
def test_one_hot_columns(tmp_path: Path, first: str, second: str, expected: object) -> None:
    """A label is named after its column; where all are empty or -1 there is no set."""
    content = f"id,text,mild insult, toxic\n7,t,{second},{first}\n"

    assert labels(tmp_path / "a.csv", content, ONE_HOT) == [expected]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("1", "0", ("toxic",)),
        ("true", "false", ("toxic",)),
        ('"1"', '"0"', ("toxic",)),
        ("null", "null", None),
        ("-1", "-1", None),
        ("null", "1", "'toxic' is null; expected 0, 1, true or false"),
        ("[1]", "1", "'toxic' is a list; expected 0, 1, true or false"),
        ("2", "1", "'toxic' is 2; expected 0, 1, true or false"),
        ("1.0", "0", "'toxic' is a number; expected 0, 1, true or false"),
    ],
)
def test_one_hot_keys(tmp_path: Path, first: str, second: str, expected: object) -> None:
    """The values of JSON are 0, 1, true or false."""
    content = f'{{"text": "t", "toxic": {first}, "mild insult": {second}}}\n'

    assert labels(tmp_path / "a.jsonl", content, ONE_HOT) == [expected]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_missing_one_hot_column(tmp_path: Path, name: str) -> None:
    """The message has its name."""
    content = {"a.csv": "text,toxic\nt,1\n", "a.jsonl": '{"text": "t", "toxic": 1}'}[name]

    with pytest.raises(MissingColumn, match="no column 'mild insult'; there is 'text', 'toxic'"):
        labels(tmp_path / name, content, ONE_HOT)


def test_one_hot_columns_by_number(tmp_path: Path) -> None:
    """Without a header the labels are named by the numbers."""
    field = Field("label", "labels", "label", "", one_hot=("2", "3"))
    text = Field("text", "text", "1", "")
    path = tmp_path / "a.csv"
    path.write_text("a nice text;1;0\nanother one;0;0\n")
    file = sniff(path, (text, field), ("records",))

    assert file is not None
    assert [row.values["label"] for row in file.rows() if isinstance(row, Row)] == [("2",), ()]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\na,\nb, \nc,\u200b\nd,x\n"),
        ("a.tsv", "label\ttext\n\ta\n\tb\n\ufeff\tc\nx\td\n"),
        (
            "a.jsonl",
            '{"text": "a", "label": null}\n{"text": "b"}\n'
            '{"text": "c", "label": ""}\n{"text": "d", "label": "x"}',
        ),
        ("a.ft", "a\nb\n__label__ c\n__label__x d\n"),
    ],
)
def test_rows_without_a_label(tmp_path: Path, name: str, content: str) -> None:
    """They lack the field: an unlabelled split is no malformed one."""
    path = tmp_path / name
    path.write_bytes(content.encode())
    file = sniff(path, (TEXT, LABEL), ("records",))

    assert file is not None
    assert [row.values for row in file.rows() if isinstance(row, Row)] == [
        *({"text": text} for text in "abc"),
        {"text": "d", "label": "x"},
    ]


@pytest.mark.parametrize(
    "labels_of_rows",
    [
        ["pos", "\ufeffpos", "pos\u200b", " pos ", "\u00a0pos"],
        ["café", "cafe\u0301", "café\u2060", "\tcafe\u0301"],
        ["정", "\u110c\u1165\u11bc", "정\u200d"],
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.ft"])
def test_spellings_of_a_label(tmp_path: Path, name: str, labels_of_rows: list[str]) -> None:
    """White space, invisible characters and the normalization form do not make another class."""
    line = {"a.csv": "t,{}\n", "a.jsonl": '{{"text": "t", "label": "{}"}}\n', "a.ft": "__label__{} t\n"}[name]
    if name != "a.csv":
        labels_of_rows = [label.strip() for label in labels_of_rows]
    content = "text,label\n" * (name == "a.csv") + "".join(line.format(label) for label in labels_of_rows)

    found = labels(tmp_path / name, content, LABEL)

    assert len(found) == len(labels_of_rows)
    assert len(set(found)) == 1


def test_the_advice_for_lists_works(tmp_path: Path) -> None:
    """Classification asks for sets where `data.labels` is `several`, and these are read."""
    content = '{"text": "t", "label": ["x", "y"]}\n'
    (reason,) = labels(tmp_path / "a.jsonl", content, LABEL)

    assert isinstance(reason, str)
    option = reason.rpartition("--set ")[2]
    _, field = get_task("classification").examples.fields(load_config("classification", overrides=[option]))
    assert labels(tmp_path / "a.jsonl", content, field) == [("x", "y")]


def test_fields_that_a_format_has_not(tmp_path: Path) -> None:
    """A table has no lists of tokens."""
    path = tmp_path / "a.csv"
    path.write_text("tokens,tags\na b,X Y\n")
    fields = (Field("tokens", "tokens", "tokens", ""), Field("tags", "tags", "tags", ""))

    with pytest.raises(UserError, match=r"format table has no column 'tokens' \(tokens\); use \.jsonl"):
        sniff(path, fields, ("records",))


def test_a_bad_label_of_a_table(tmp_path: Path) -> None:
    """A control character would reach the terminal."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\nt,a\x1b[31mb\nu,x\n")
    file = sniff(path, (TEXT, LABEL), ("records",))

    assert file is not None
    assert next(file.rows()) == BadRow(2, "'label' has a control character: 'a\\x1b[31mb'")
