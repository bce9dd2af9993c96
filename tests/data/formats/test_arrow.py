"""Parquet and Arrow files."""

from __future__ import annotations

import builtins
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from data.errors import UserError
from data.formats import FIELD_SEPARATOR, BadRow, Field, File, MissingColumn, Row, sniff, sniff_stream
from data.formats.arrow import BATCH_ROWS

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
LABELS = Field("label", "labels", "label", "--set data.label_column=NAME")
TOKENS = Field("tokens", "tokens", "tokens", "--set data.token_column=NAME")
TAGS = Field("tags", "tags", "ner_tags", "--set data.tag_column=NAME")


def parquet(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, row_group_size=700)
    return stream.getvalue()


def arrow_file(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def arrow_stream(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def feather(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pyarrow.feather.write_feather(table, stream, compression="lz4")
    return stream.getvalue()


WRITERS: dict[str, Callable[[pa.Table], bytes]] = {
    "Parquet": parquet,
    "Arrow": arrow_file,
    "Arrow stream": arrow_stream,
    "Feather": feather,
}
TITLES = {"Parquet": "Parquet", "Arrow": "Arrow", "Arrow stream": "Arrow stream", "Feather": "Arrow"}


def decide(folder: Path, content: bytes, *fields: Field, name: str = "train.parquet") -> File:
    path = folder / name
    path.write_bytes(content)
    file = sniff(path, fields or (TEXT, LABEL), ("records",))
    assert file is not None
    return file


def with_features(table: pa.Table, features: object) -> pa.Table:
    """Return a table with the features that `datasets` of Hugging Face keeps in the schema."""
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    return table.replace_schema_metadata(metadata)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["train.parquet", "train.csv", "train.arrow", "train", "train.parquet.gz"])
def test_the_content_decides_the_format(tmp_path: Path, kind: str, name: str) -> None:
    """The name of the file has no influence; rows are counted from 1, over batches and row groups."""
    number = 2 * BATCH_ROWS + 5
    table = pa.table(
        {
            "id": range(number),
            "text": [f"text {i}" for i in range(number)],
            "label": ["x", "y"] * (number // 2) + ["x"],
        }
    )
    content = WRITERS[kind](table)
    file = decide(tmp_path, gzip.compress(content) if name.endswith(".gz") else content, name=name)
    rows = list(file.rows())

    assert rows == [Row(i + 1, {"text": f"text {i}", "label": "xy"[i % 2]}) for i in range(number)]
    assert list(file.rows()) == rows
    assert file.layout.title == TITLES[kind]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_stream_without_a_name(kind: str) -> None:
    """Standard input may be such a file."""
    content = WRITERS[kind](pa.table({"text": ["a", "b"]}))
    file = sniff_stream(io.BytesIO(content), "stdin", (TEXT,), ("records", "lines"))

    assert file is not None
    assert list(file.rows()) == [Row(1, {"text": "a"}), Row(2, {"text": "b"})]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.array(["x", "y", None]), ["x", "y", None]),
        (pa.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"]),
        (pa.array([" x", "y\u200b", ""], pa.large_string()), ["x", "y", None]),
        (pa.array([b"x", b"y", b"z"]), ["x", "y", "z"]),
        (pa.array([0, 1, -1], pa.int8()), ["0", "1", "-1"]),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.array([1.0, 0.5, None]), ["1.0", "0.5", None]),
        (pa.array(["x", "y", "z"], pa.string_view()), ["x", "y", "z"]),
    ],
)
@pytest.mark.parametrize("kind", ["Parquet", "Arrow stream"])
def test_types_of_labels(tmp_path: Path, kind: str, values: pa.Array, names: list[str | None]) -> None:
    """Strings of all types, numbers and truth values are names; null is no label."""
    table = pa.table({"text": pa.array(["a", "b", "c"], pa.large_string()), "label": values})
    rows = list(decide(tmp_path, WRITERS[kind](table)).rows())

    assert [row.values.get("label") for row in rows if isinstance(row, Row)] == names


@pytest.mark.parametrize(
    "feature",
    [
        {"names": ["World", "Sports"], "_type": "ClassLabel"},
        {"num_classes": 2, "names": ["World", "Sports"], "id": None, "_type": "ClassLabel"},
    ],
)
def test_class_labels_have_names(tmp_path: Path, feature: object) -> None:
    """The schema has them; -1 is no label, and another number is kept."""
    table = pa.table({"text": ["a", "b", "c", "d"], "label": [1, 0, -1, 7]})
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": feature}
    rows = list(decide(tmp_path, parquet(with_features(table, features))).rows())

    assert [row.values.get("label") for row in rows if isinstance(row, Row)] == ["Sports", "World", None, "7"]


@pytest.mark.parametrize(
    "feature",
    [
        {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}, "_type": "Sequence"},
        {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}, "length": -1, "_type": "List"},
        [{"names": ["O", "B-PER"], "_type": "ClassLabel"}],
    ],
)
def test_tags_have_names(tmp_path: Path, feature: object) -> None:
    """A sequence of class labels has them too."""
    table = pa.table({"tokens": [["Eva", "sings"], []], "ner_tags": [[1, 0], []]})
    file = decide(tmp_path, parquet(with_features(table, {"ner_tags": feature})), TOKENS, TAGS)

    assert list(file.rows()) == [
        Row(1, {"tokens": ("Eva", "sings"), "tags": ("B-PER", "O")}),
        Row(2, {"tokens": (), "tags": ()}),
    ]


@pytest.mark.parametrize("features", [None, {"label": None}, {"label": {"names": [1]}}, [], {"label": []}])
def test_features_that_are_unknown(tmp_path: Path, features: object) -> None:
    """They are ignored."""
    table = with_features(pa.table({"text": ["a"], "label": [1]}), features)

    assert list(decide(tmp_path, parquet(table)).rows()) == [Row(1, {"text": "a", "label": "1"})]


def test_lists_of_labels(tmp_path: Path) -> None:
    """They are sets if the task asks for sets; the layout says that there are such."""
    table = pa.table({"text": ["a", "b", "c"], "label": [["x", "y", "x"], [], None]})
    file = decide(tmp_path, parquet(table), TEXT, LABELS)

    assert file.layout.several_labels
    assert [row.values.get("label") for row in file.rows() if isinstance(row, Row)] == [("x", "y"), (), None]
    rows = list(decide(tmp_path, parquet(table)).rows())
    assert isinstance(rows[0], BadRow)
    assert rows[0].reason.startswith("'label' is a list, not one label; read several labels of each example")


def test_columns_by_number_and_several_columns(tmp_path: Path) -> None:
    """As in tables."""
    table = pa.table({"id": [1], "title": ["A"], "body": ["b"]})

    for column in ("title,body", "2,3"):
        file = decide(tmp_path, parquet(table), Field("text", "text", column, ""))
        assert list(file.rows()) == [Row(1, {"text": f"A {FIELD_SEPARATOR} b"})]


def test_a_column_that_does_not_exist(tmp_path: Path) -> None:
    """The message has the columns that do."""
    with pytest.raises(
        MissingColumn, match=r"no column 'label'; there is 'text', 'labels'; .*did you mean 'labels'"
    ):
        decide(tmp_path, parquet(pa.table({"text": ["a"], "labels": ["x"]})))


def test_a_text_that_is_no_text(tmp_path: Path) -> None:
    """It is a bad row, as in JSON."""
    rows = list(decide(tmp_path, parquet(pa.table({"text": [1, None]})), TEXT).rows())

    assert rows == [BadRow(1, "'text' is a number, not a text"), BadRow(2, "'text' is null, not a text")]


@pytest.mark.parametrize("kind", ["Parquet", "Arrow stream"])
def test_bytes_that_are_not_utf8(tmp_path: Path, kind: str) -> None:
    """Only their row is malformed."""
    strings = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffc")]
    )
    rows = list(decide(tmp_path, WRITERS[kind](pa.table({"text": strings})), TEXT).rows())

    assert rows == [
        Row(1, {"text": "a"}),
        BadRow(2, "'text' is not UTF-8: byte 0xff at character 1"),
        Row(3, {"text": "c"}),
    ]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("size", [20, 200, -20])
def test_a_truncated_file(tmp_path: Path, kind: str, size: int) -> None:
    """It is one error."""
    content = WRITERS[kind](pa.table({"text": ["a" * 50, "b"] * 50, "label": ["x", "y"] * 50}))

    with pytest.raises(UserError, match=r"train\.parquet: (cannot be read|not ).*"):
        list(decide(tmp_path, content[:size]).rows())


def test_a_text_that_is_named_parquet(tmp_path: Path) -> None:
    """A table is read as one; other text is refused."""
    assert list(decide(tmp_path, b"text,label\na,x\n").rows()) == [Row(2, {"text": "a", "label": "x"})]
    with pytest.raises(
        UserError, match=r"train\.parquet: neither Parquet nor Arrow; name it after its format"
    ):
        decide(tmp_path, b"some text\n")


def test_a_column_with_a_dot_in_its_name(tmp_path: Path) -> None:
    """It is no part of a nested column."""
    table = pa.table({"a.text": ["x"], "a": [{"text": "y"}]})

    assert list(decide(tmp_path, parquet(table), Field("text", "text", "a.text", "")).rows()) == [
        Row(1, {"text": "x"})
    ]


def test_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to install it."""
    content = parquet(pa.table({"text": ["a"]}))
    original = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ModuleNotFoundError(name=name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError) as caught:
        decide(tmp_path, content, TEXT)
    assert str(caught.value) == (
        f"{tmp_path / 'train.parquet'}: a Parquet file needs pyarrow; pip install 'textrnn[parquet]'"
    )
