"""Tables: comma-separated and tab-separated values."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import UserError
from data.formats import BadRow, Field, Row, formats_of, read_rows, suffix_of

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
FIELDS = (TEXT, LABEL)
BY_SUFFIX = formats_of(("records",))
TABLES = ("csv", "tsv")
SEPARATOR = {"csv": ",", "tsv": "\t"}


def read(path: Path, content: str, *fields: Field) -> list[Row | BadRow]:
    """Write a file, and return its rows for the fields, by default a text and a label."""
    path.write_bytes(content.encode())
    return list(read_rows(path, fields or FIELDS, BY_SUFFIX[suffix_of(path)]))


def row(line: int, text: str, label: str) -> Row:
    return Row(line, {"text": text, "label": label})


@pytest.mark.parametrize("header", ['"text,label', '"text"s,label'])
def test_a_malformed_header(tmp_path: Path, header: str) -> None:
    """A header with an unclosed quotation mark, or text after a closing one, has no columns."""
    with pytest.raises(UserError, match=r"rows\.csv: .*not CSV: "):
        read(tmp_path / "rows.csv", f"{header}\nc,y\n")


def test_line_breaks_in_quoted_cells(tmp_path: Path) -> None:
    """A quoted cell may have line breaks; the line of a row is its first one."""
    rows = read(tmp_path / "rows.csv", 'text,label\r\n"a\r\n\nb",x\r\nc,y\r\n"d\ne","z"\r\nf,w\r\n')

    assert rows == [row(2, "a\r\n\nb", "x"), row(5, "c", "y"), row(6, "d\ne", "z"), row(8, "f", "w")]


def test_line_numbers_after_a_malformed_row(tmp_path: Path) -> None:
    """After a row with text after a closing quotation mark, line numbers are correct."""
    rows = read(tmp_path / "rows.csv", 'text,label\n"a\nb"c,x\nd,y\n')

    assert isinstance(rows[0], BadRow)
    assert (rows[0].line, rows[0].reason[:9]) == (2, "not CSV: ")
    assert rows[-1] == row(4, "d", "y")


def test_an_unclosed_quotation_mark(tmp_path: Path) -> None:
    """The rest of the file belongs to the cell; the message has the line where it begins."""
    rows = read(tmp_path / "rows.csv", 'text,label\na,x\n"b,y\nc,x\nd,y\n')

    assert rows == [row(2, "a", "x"), BadRow(3, "not CSV: unexpected end of data")]


def test_an_unclosed_quotation_mark_of_a_long_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell has a maximum size, so that memory does not fill; what follows is read."""
    for module in ("tables", "table_layout"):
        monkeypatch.setattr(f"data.formats.{module}.CELL_CHARACTERS", 1000)
    rows = read(tmp_path / "rows.csv", "text,label\na,x\n" + '"b,y\n' + "c,x\n" * 1000)

    assert rows[0] == row(2, "a", "x")
    assert rows[1] == BadRow(
        3, "not CSV: field larger than field limit (1000); perhaps a quotation mark is not closed"
    )
    assert rows[-1] == row(1003, "c", "x")


def test_quotation_marks_in_tsv(tmp_path: Path) -> None:
    """A quotation mark is a character like any other."""
    assert read(tmp_path / "rows.tsv", 'text\tlabel\n"a\tx\nb"\ty\n') == [
        row(2, '"a', "x"),
        row(3, 'b"', "y"),
    ]


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(("cells", "columns"), [(["a"], 1), (["a", "x", "b"], 3), (["a", "x", ""], 3)])
def test_a_row_with_another_number_of_columns_is_refused(
    tmp_path: Path, kind: str, cells: list[str], columns: int
) -> None:
    """It is malformed, since a missing or extra separator shifts the values."""
    lines = [SEPARATOR[kind].join(line) for line in (["text", "label"], cells, ["b", "y"])]

    assert read(tmp_path / f"rows.{kind}", "\n".join(lines)) == [
        BadRow(2, f"columns: {columns}; in the header: 2"),
        row(3, "b", "y"),
    ]


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_without_the_column(tmp_path: Path, kind: str) -> None:
    """The message lists the columns, the most similar one, and the option that names it."""
    header = SEPARATOR[kind].join(["text", "labels"])

    with pytest.raises(UserError) as caught:
        read(tmp_path / f"rows.{kind}", f"{header}\n")
    assert str(caught.value) == (
        f"{tmp_path / f'rows.{kind}'}: no column 'label'; there is 'text', 'labels'; "
        "name it with --set data.label_column=NAME; did you mean 'labels'?"
    )


@pytest.mark.parametrize("kind", TABLES)
def test_two_columns_of_the_same_name(tmp_path: Path, kind: str) -> None:
    """Two columns of a field with the same name are an error; two other ones are not."""
    header = SEPARATOR[kind].join(["text", "label", "id", "label", "id"])
    cells = SEPARATOR[kind].join("axybz")

    with pytest.raises(UserError, match=rf"rows\.{kind}: two columns are named 'label'"):
        read(tmp_path / f"rows.{kind}", f"{header}\n{cells}\n")
    assert read(tmp_path / f"rows.{kind}", f"{header}\n{cells}\n", TEXT) == [Row(2, {"text": "a"})]


@pytest.mark.parametrize("kind", TABLES)
def test_labels_are_stripped_and_may_be_missing(tmp_path: Path, kind: str) -> None:
    """White space around a label is removed, and an empty label is none."""
    rows = [["text", "label"], ["a", " x "], ["b", ""], ["c", " "]]

    assert read(tmp_path / f"rows.{kind}", "\n".join(SEPARATOR[kind].join(cells) for cells in rows)) == [
        row(2, "a", "x"),
        Row(3, {"text": "b"}),
        Row(4, {"text": "c"}),
    ]


def test_a_long_cell(tmp_path: Path) -> None:
    """The limit of the `csv` module, 131,072 characters, does not apply."""
    text = "ab " * 50_000

    assert read(tmp_path / "rows.csv", f"text,label\n{text},x\n") == [row(2, text, "x")]


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(
    ("cell", "expected"), [("true", True), ("False", False), ("TRUE", True), ("false", False)]
)
def test_flags(tmp_path: Path, kind: str, cell: str, expected: bool) -> None:
    """A flag is `true` or `false`, in upper or lower case."""
    flag = Field("continues", "flag", "continues", "", optional=True)
    lines = [SEPARATOR[kind].join(cells) for cells in (["text", "continues"], ["a", cell])]

    assert read(tmp_path / f"rows.{kind}", "\n".join(lines), TEXT, flag) == [
        Row(2, {"text": "a", "continues": expected})
    ]


@pytest.mark.parametrize("cell", ["", "0", "1", "no", " true", "truer"])
def test_other_values_of_a_flag_are_malformed(tmp_path: Path, cell: str) -> None:
    """A value is never converted to true or false."""
    flag = Field("continues", "flag", "continues", "", optional=True)

    assert read(tmp_path / "rows.csv", f"text,continues\na,{cell}\n", TEXT, flag) == [
        BadRow(2, f"'continues' is {cell!r}, not true or false")
    ]
