"""Any bytes in any file: rows, malformed rows or one user error, never another exception."""

from __future__ import annotations

import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import UserError
from data.formats import BadRow, Field, Options, Row, sniff_stream
from data.formats.registry import all_formats

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
LABELS = Field("label", "labels", "label", "--set data.label_column=NAME", separator="|")
ONE_HOT = Field("label", "labels", "label", "--set data.label_columns=NAME", one_hot=("text", "label"))
NUMBERS = (Field("text", "text", "1,2", TEXT.option), Field("label", "label", "2", LABEL.option))


def parquet() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "ä"] * 9, "label": [["x"], ["y", "z"]] * 9}), stream)
    return stream.getvalue()


def arrow() -> bytes:
    stream = io.BytesIO()
    table = pa.table({"text": ["a", "ä"] * 9, "label": ["x", None] * 9})
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


ROWS = [{"text": "ä, b; c | d", "label": "x"}, {"text": '"e"\t\\"f', "label": "y"}]
TABLE = 'text,label\n"a, ""b""",x\nc,"y\n"\n\ntext,label\n'
SEEDS = [
    TABLE.encode(),
    TABLE.replace(",", ";").encode("utf-16"),
    TABLE.replace("\n", "\r").replace(",", "\t").encode("latin-1"),
    b"sep=;\r\ntext;label\r\na;x\r\n",
    b"1\tpos\n2\tneg\n3\tpos\n4\tneg\n",
    json.dumps(ROWS).encode(),
    json.dumps({"data": ROWS}, indent=1).encode("utf-8-sig"),
    json.dumps({"text": ["a", "b"], "label": ["x", "y"]}).encode(),
    "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode(),
    b"__label__x __label__y text\n\n__label__ \xc3\xa4\n",
    gzip.compress(TABLE.encode()),
    zstandard.compress(json.dumps(ROWS).encode()),
    parquet(),
    arrow(),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file in which bytes are removed, inserted or changed."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.integers(0, 6))
        content[start:end] = draw(
            st.binary(max_size=6) | st.sampled_from([b"\n", b'"', b"[", b"\xff\xfe", b"NaN"])
        )
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    damaged() | st.binary(max_size=60),
    st.sampled_from([(TEXT, LABEL), (TEXT, LABELS), (TEXT, ONE_HOT), (TEXT,), NUMBERS]),
    st.sampled_from(["", "json", "table", "fasttext", "arrow", "lines"]),
    st.sampled_from(["", "latin-1", "utf-16", "ascii", "shift_jis", "utf-7", "utf-32-be"]),
    st.sampled_from(["auto", "true", "false"]),
    st.sampled_from(["", ";", "tab"]),
)
def test_damaged_files(
    content: bytes, fields: tuple[Field, ...], name: str, encoding: str, header: str, delimiter: str
) -> None:
    """Every row has valid Unicode and a line, and every error is a line of text."""
    options = Options(encoding=encoding, header=header, delimiter=delimiter)  # type: ignore[arg-type]
    format = all_formats()[name] if name else None
    stream = io.BytesIO(content)
    rows: list[Row | BadRow] = []
    message = "stdin: "
    try:
        if file := sniff_stream(stream, "stdin", fields, ("records", "lines"), options, format=format):
            rows = list(file.rows())
    except UserError as error:
        message = str(error)
    assert message.startswith("stdin: ")
    assert "\n" not in message
    for row in rows:
        assert row.line > 0
        if isinstance(row, BadRow):
            assert row.reason
        else:
            assert isinstance(row, Row)
            json.dumps(row.values, ensure_ascii=False).encode()
            assert row.text() is not None
