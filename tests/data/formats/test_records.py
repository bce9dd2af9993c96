from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from data.errors import UserError
from data.formats import EMPTY_LINE, BadRow, Field, Row, formats_of, read_rows, suffix_of

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
FIELDS = (TEXT, LABEL)
FORMATS = formats_of(("records", "lines"))


def read(path: Path, content: str | bytes, *fields: Field) -> list[Row | BadRow]:
    """Write a file, and return its rows for the fields, or for a text and a label."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(path, fields or FIELDS, FORMATS[suffix_of(path)].read))


def row(line: int, text: str, label: str) -> Row:
    return Row(line, {"text": text, "label": label})


# The same two rows in each format; a text with what separates columns, and one of another script.
CONTENT = {
    "jsonl": '{"text": "a, \\"b\\"\\tc", "label": "x"}\n{"label": "y", "text": "ä 中"}\n',
    "csv": 'text,label\n"a, ""b""\tc",x\nä 中,y\n',
    "tsv": 'label\ttext\nx\ta, "b" c\ny\tä 中\n',
}
EXPECTED = {
    "jsonl": [row(1, 'a, "b"\tc', "x"), row(2, "ä 中", "y")],
    "csv": [row(2, 'a, "b"\tc', "x"), row(3, "ä 中", "y")],
    "tsv": [row(2, 'a, "b" c', "x"), row(3, "ä 中", "y")],
}
TABLES = ("csv", "tsv")
SEPARATOR = {"csv": ",", "tsv": "\t"}


def test_every_format_with_labels_is_covered() -> None:
    """The tests below go through all formats; `txt` alone has no labels."""
    assert set(FORMATS) == {*CONTENT, "txt"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train.jsonl", "jsonl"),
        ("train.jsonl.gz", "jsonl"),
        ("Train.CSV.GZ", "csv"),
        ("a.b.tsv", "tsv"),
        ("train", ""),
        ("train.gz", ""),
    ],
)
def test_a_name_tells_the_format(name: str, expected: str) -> None:
    """The last suffix decides, in either case, the one before it if the last is `.gz`."""
    assert suffix_of(Path(name)) == expected


@pytest.mark.parametrize("kind", CONTENT)
def test_rows_are_read_in_order(tmp_path: Path, kind: str) -> None:
    """Rows come with their lines; columns may be in any order, and a table's header is line 1."""
    assert read(tmp_path / f"rows.{kind}", CONTENT[kind]) == EXPECTED[kind]


def test_a_line_of_txt_is_a_text(tmp_path: Path) -> None:
    """Quotation marks, commas and spaces stand for themselves, and an empty line is an empty text."""
    rows = read(tmp_path / "rows.txt", 'a, "b"\n\n  c \n{"text": 1}', TEXT)

    assert rows == [
        Row(line, {"text": text}) for line, text in enumerate(['a, "b"', "", "  c ", '{"text": 1}'], 1)
    ]


@pytest.mark.parametrize("kind", CONTENT)
def test_a_packed_file_reads_like_a_plain_one(tmp_path: Path, kind: str) -> None:
    """`.gz` changes nothing."""
    assert read(tmp_path / f"rows.{kind}.gz", gzip.compress(CONTENT[kind].encode())) == EXPECTED[kind]


@pytest.mark.parametrize("kind", CONTENT)
def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path, kind: str) -> None:
    """Neither the first JSON object nor the first column's name is spoilt by it."""
    assert read(tmp_path / f"rows.{kind}", b"\xef\xbb\xbf" + CONTENT[kind].encode()) == EXPECTED[kind]


@pytest.mark.parametrize("header", ['"text,label', '"text"s,label', "text,label\ra,x\rb,y"])
def test_a_header_that_is_no_csv_is_refused(tmp_path: Path, header: str) -> None:
    """An unclosed quotation mark, or line ends without line feeds, leave no columns to name."""
    with pytest.raises(UserError, match=r"rows\.csv: .*not CSV: "):
        read(tmp_path / "rows.csv", f"{header}\nc,y\n")


def test_a_byte_order_mark_is_no_part_of_the_first_text(tmp_path: Path) -> None:
    """In `txt` too it is gone."""
    assert read(tmp_path / "rows.txt", b"\xef\xbb\xbfa\n", TEXT) == [Row(1, {"text": "a"})]


@pytest.mark.parametrize("kind", CONTENT)
def test_line_ends_of_windows(tmp_path: Path, kind: str) -> None:
    r"""`\r\n` ends a line as `\n` does, and no `\r` is left on a value."""
    assert read(tmp_path / f"rows.{kind}", CONTENT[kind].replace("\n", "\r\n")) == EXPECTED[kind]


def test_line_ends_of_windows_in_txt(tmp_path: Path) -> None:
    r"""`\r\n` ends a text."""
    rows = read(tmp_path / "rows.txt", "a\r\n\r\nb\r\n", TEXT)

    assert [r.values["text"] for r in rows if isinstance(r, Row)] == ["a", "", "b"]


@pytest.mark.parametrize("kind", CONTENT)
def test_only_a_line_feed_ends_a_line(tmp_path: Path, kind: str) -> None:
    """Other signs that Unicode calls line separators are part of a text, so line numbers hold."""
    text = "a\u2028b\x85c"
    content = CONTENT[kind].replace("ä 中", text)

    assert read(tmp_path / f"rows.{kind}", content) == [
        EXPECTED[kind][0],
        row(EXPECTED[kind][1].line, text, "y"),
    ]


@pytest.mark.parametrize("kind", CONTENT)
def test_the_last_line_needs_no_end(tmp_path: Path, kind: str) -> None:
    """The last row counts without a line feed behind it."""
    assert read(tmp_path / f"rows.{kind}", CONTENT[kind].rstrip("\n")) == EXPECTED[kind]


@pytest.mark.parametrize("kind", CONTENT)
def test_an_empty_file_has_no_rows(tmp_path: Path, kind: str) -> None:
    """Not even a header is asked for."""
    assert read(tmp_path / f"rows.{kind}", "") == []


def test_a_missing_file_names_its_path(tmp_path: Path) -> None:
    """What can't be opened is the user's mistake, not a traceback."""
    with pytest.raises(UserError, match=r"rows\.csv: cannot be read: No such file"):
        list(read_rows(tmp_path / "rows.csv", FIELDS, FORMATS["csv"].read))


@pytest.mark.parametrize("kind", CONTENT)
def test_a_truncated_gz_is_refused(tmp_path: Path, kind: str) -> None:
    """What was read before the end that is missing must not pass for the whole."""
    packed = gzip.compress(CONTENT[kind].encode())

    with pytest.raises(UserError, match=rf"rows\.{kind}\.gz: cannot be read: .*end-of-stream"):
        read(tmp_path / f"rows.{kind}.gz", packed[:-10])


def test_a_damaged_gz_is_refused(tmp_path: Path) -> None:
    """Bytes that do not unpack are the user's mistake too."""
    packed = bytearray(gzip.compress(CONTENT["csv"].encode()))
    packed[10] = 0xFF  # the first block behind the header of 10 bytes: of no kind that there is

    with pytest.raises(UserError, match=r"rows\.csv\.gz: cannot be read: "):
        read(tmp_path / "rows.csv.gz", bytes(packed))


def test_a_plain_file_named_gz_is_refused(tmp_path: Path) -> None:
    """The name promises what the content is not."""
    with pytest.raises(UserError, match=r"rows\.csv\.gz: cannot be read: .*gzip"):
        read(tmp_path / "rows.csv.gz", CONTENT["csv"])


def test_quoted_line_breaks_are_kept(tmp_path: Path) -> None:
    """A quoted field may span lines, of either kind; a row has the line that it begins on."""
    rows = read(tmp_path / "rows.csv", 'text,label\r\n"a\r\n\nb",x\r\nc,y\r\n"d\ne","z"\r\nf,w\r\n')

    assert rows == [row(2, "a\r\n\nb", "x"), row(5, "c", "y"), row(6, "d\ne", "z"), row(8, "f", "w")]


def test_a_broken_row_does_not_shift_the_lines_after_it(tmp_path: Path) -> None:
    """Reading goes on behind a row with text after its closing quotation mark."""
    rows = read(tmp_path / "rows.csv", 'text,label\n"a\nb"c,x\nd,y\n')

    assert isinstance(rows[0], BadRow)
    assert (rows[0].line, rows[0].reason[:9]) == (2, "not CSV: ")
    assert rows[-1] == row(4, "d", "y")


def test_an_unclosed_quote_is_found_where_it_opens(tmp_path: Path) -> None:
    """It swallows the rest of the file; its own line is where to look."""
    rows = read(tmp_path / "rows.csv", 'text,label\na,x\n"b,y\nc,x\nd,y\n')

    assert rows == [row(2, "a", "x"), BadRow(3, "not CSV: unexpected end of data")]


def test_quotes_mean_nothing_in_tsv(tmp_path: Path) -> None:
    """An unclosed quotation mark is a sign like any other."""
    assert read(tmp_path / "rows.tsv", 'text\tlabel\n"a\tx\nb"\ty\n') == [
        row(2, '"a', "x"),
        row(3, 'b"', "y"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("rows.jsonl", '{"text": "a", "label": "x"}\n{"text": "café"}\n', "byte 0xe9 at character 14"),
        ("rows.csv", 'text,label\n"café\n",x\n', "'text' is not UTF-8: byte 0xe9 at character 4"),
        ("rows.tsv", "text\tlabel\na\té\n", "'label' is not UTF-8: byte 0xe9 at character 1"),
        ("rows.txt", "text\tlabel\ncafé\n", "not UTF-8: byte 0xe9 at character 4"),
    ],
)
def test_bytes_that_are_not_utf8_are_found_in_their_row(
    tmp_path: Path, name: str, content: str, reason: str
) -> None:
    """Only the row that holds them is broken; the message names its line and the byte."""
    fields = (TEXT,) if name == "rows.txt" else FIELDS
    good = {
        "rows.jsonl": '{"text": "b", "label": "y"}',
        "rows.csv": "b,y",
        "rows.tsv": "b\ty",
        "rows.txt": "b",
    }
    rows = read(tmp_path / name, f"{content}{good[name]}\n".encode("latin-1"), *fields)

    bad = next(r for r in rows if isinstance(r, BadRow))
    assert bad.line == 2
    assert bad.reason.endswith(reason)
    assert isinstance(rows[-1], Row)
    assert (rows[-1].line, rows[-1].values["text"]) == (content.count("\n") + 1, "b")


def test_utf16_is_not_read_as_text(tmp_path: Path) -> None:
    """Each line of a file in another encoding is refused."""
    rows = read(tmp_path / "rows.txt", "ab\ncd\n".encode("utf-16"), TEXT)

    assert isinstance(rows[0], BadRow)
    assert rows[0].reason == "not UTF-8: byte 0xff at character 1"


@pytest.mark.parametrize("escape", [r"\ud83d", r"\ude00", r"\udc96"])
@pytest.mark.parametrize("column", ["text", "label"])
def test_half_of_a_surrogate_pair_is_refused(tmp_path: Path, escape: str, column: str) -> None:
    """JSON can spell what is no Unicode text; stored, it would break whoever reads it."""
    values = {"text": "a", "label": "x"} | {column: "HALF"}
    rows = read(tmp_path / "rows.jsonl", json.dumps(values).replace("HALF", f"a {escape}"))

    assert isinstance(rows[0], BadRow)
    assert (rows[0].line, rows[0].reason[: len(column) + 2]) == (1, repr(column))


@pytest.mark.parametrize("escape", [r"\ud83d", r"\ude00", r"\udc96"])
def test_half_of_a_surrogate_pair_is_named(tmp_path: Path, escape: str) -> None:
    """The message spells it as the file does."""
    rows = read(tmp_path / "rows.jsonl", f'{{"text": "ab{escape}", "label": "x"}}')

    assert rows == [BadRow(1, f"'text' is not valid Unicode: a lone surrogate {escape} at character 3")]


def test_both_halves_of_a_surrogate_pair_are_one_sign(tmp_path: Path) -> None:
    """JSON written in ASCII spells signs beyond the first 65,536 so."""
    rows = read(tmp_path / "rows.jsonl", r'{"text": "\ud83d\ude00", "label": "x"}')

    assert rows == [row(1, "\N{GRINNING FACE}", "x")]


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(("cells", "columns"), [(["a"], 1), (["a", "x", "b"], 3), (["a", "x", ""], 3)])
def test_a_row_with_another_number_of_columns_is_refused(
    tmp_path: Path, kind: str, cells: list[str], columns: int
) -> None:
    """A stray or missing separator shifts values, so none of the row is trusted."""
    lines = [SEPARATOR[kind].join(line) for line in (["text", "label"], cells, ["b", "y"])]

    assert read(tmp_path / f"rows.{kind}", "\n".join(lines)) == [
        BadRow(2, f"columns: {columns}; in the header: 2"),
        row(3, "b", "y"),
    ]


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_without_the_column_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    """The message has the columns that are there, the likely one, and the option that names it."""
    header = SEPARATOR[kind].join(["text", "labels"])

    with pytest.raises(UserError) as caught:
        read(tmp_path / f"rows.{kind}", f"{header}\n")
    assert str(caught.value) == (
        f"{tmp_path / f'rows.{kind}'}: no column 'label'; there is 'text', 'labels'; "
        "name it with --set data.label_column=NAME; did you mean 'labels'?"
    )


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_with_two_such_columns_is_refused(tmp_path: Path, kind: str) -> None:
    """Nobody can tell which one is meant; two of another name do no harm."""
    header = SEPARATOR[kind].join(["text", "label", "id", "label", "id"])
    cells = SEPARATOR[kind].join("axybz")

    with pytest.raises(UserError, match=rf"rows\.{kind}: two columns are named 'label'"):
        read(tmp_path / f"rows.{kind}", f"{header}\n{cells}\n")
    assert read(tmp_path / f"rows.{kind}", f"{header}\n{cells}\n", TEXT) == [Row(2, {"text": "a"})]


def test_an_object_without_the_column_is_a_broken_row(tmp_path: Path) -> None:
    """Objects may differ, so that the next may have what one lacks."""
    rows = read(tmp_path / "rows.jsonl", '{"text": "a", "labels": "x"}\n{"text": "b", "label": "y"}\n{}\n')

    assert [r.line for r in rows] == [1, 2, 3]
    assert isinstance(rows[0], BadRow)
    assert rows[0].reason == (
        "no column 'label'; there is 'text', 'labels'; name it with --set data.label_column=NAME; "
        "did you mean 'labels'?"
    )
    assert rows[1] == row(2, "b", "y")
    assert isinstance(rows[2], BadRow)
    assert rows[2].reason.startswith("no column 'text'; there is none")


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.jsonl", '{"id": 7, "stars": 1, "body": "a"}'), ("rows.csv", "id,stars,body\n7,1,a\n")],
)
def test_columns_have_the_names_that_the_user_gives(tmp_path: Path, name: str, content: str) -> None:
    """Values are known by their fields; other columns are ignored."""
    fields = (Field("text", "text", "body", "--a"), Field("label", "label", "stars", "--b"))

    assert [r.values for r in read(tmp_path / name, content, *fields) if isinstance(r, Row)] == [
        {"text": "a", "label": "1"}
    ]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("3", "3"),
        ("-1", "-1"),
        ("0", "0"),
        ("true", "true"),
        ("false", "false"),
        ('"3"', "3"),
        ('" x y "', "x y"),
        ('"\\n x\\t"', "x"),
    ],
)
def test_labels_are_names(tmp_path: Path, label: str, expected: str) -> None:
    """Whole numbers, `true` and `false` are spelt as in JSON; space around a label is no part of it."""
    assert read(tmp_path / "rows.jsonl", f'{{"text": "a", "label": {label}}}') == [row(1, "a", expected)]


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("null", "'label' is null, not a text"),
        ('""', "'label' is empty"),
        ('" \\t "', "'label' is empty"),
        ("0.5", "'label' is a number, not a text"),
        ('["x"]', "'label' is a list, not a text"),
        ('{"x": 1}', "'label' is an object, not a text"),
        ('"x\\ny"', "'label' has a line break"),
        ('"x\\u2028y"', "'label' has a line break"),
    ],
)
def test_what_can_not_be_a_label_is_refused(tmp_path: Path, label: str, reason: str) -> None:
    """Class names stand one a line in a file, and an empty one is a gap in the data."""
    assert read(tmp_path / "rows.jsonl", f'{{"text": "a", "label": {label}}}') == [BadRow(1, reason)]


@pytest.mark.parametrize("kind", TABLES)
def test_labels_in_tables_are_trimmed_and_not_empty(tmp_path: Path, kind: str) -> None:
    """The same rules hold for cells."""
    rows = [["text", "label"], ["a", " x "], ["b", ""], ["c", " "]]

    assert read(tmp_path / f"rows.{kind}", "\n".join(SEPARATOR[kind].join(cells) for cells in rows)) == [
        row(2, "a", "x"),
        BadRow(3, "'label' is empty"),
        BadRow(4, "'label' is empty"),
    ]


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
    """Unlike labels, numbers are no texts: likely the wrong column was named."""
    assert read(tmp_path / "rows.jsonl", f'{{"text": {text}, "label": "x"}}') == [
        BadRow(1, f"'text' is {kind}, not a text")
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", '{"text": " ", "label": "x"}'),
        ("rows.csv", 'text,label\n" ",x'),
        ("rows.tsv", "text\tlabel\n \tx"),
    ],
)
def test_a_text_is_kept_as_it_is(tmp_path: Path, name: str, content: str) -> None:
    """Space is not trimmed from texts, and a text of spaces is no mistake."""
    assert [r.values for r in read(tmp_path / name, content) if isinstance(r, Row)] == [
        {"text": " ", "label": "x"}
    ]


@pytest.mark.parametrize(
    ("kind", "blank"),
    [("jsonl", ""), ("jsonl", " \t"), ("jsonl", "\r"), ("csv", ""), ("csv", "\r"), ("tsv", "")],
)
def test_blank_lines_are_told_from_broken_rows(tmp_path: Path, kind: str, blank: str) -> None:
    """They are no rows, are counted as lines, and have a reason of their own, so that one may skip them."""
    lines = CONTENT[kind].splitlines()
    rows = read(tmp_path / f"rows.{kind}", "\n".join([*lines[:-1], blank, lines[-1], blank, ""]))

    last = EXPECTED[kind][-1]
    assert rows == [
        EXPECTED[kind][0],
        BadRow(last.line, EMPTY_LINE),
        Row(last.line + 1, last.values),
        BadRow(last.line + 2, EMPTY_LINE),
    ]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('["a", "x"]', "a list"),
        ('"a"', "a text"),
        ("7", "a number"),
        ("true", "true or false"),
        ("null", "null"),
        ("NaN", "a number"),
    ],
)
def test_json_other_than_an_object_is_refused(tmp_path: Path, line: str, what: str) -> None:
    """A row needs names for its values."""
    rows = read(tmp_path / "rows.jsonl", f'{line}\n{{"text": "b", "label": "y"}}\n')

    assert rows == [BadRow(1, f'{what}, not an object such as {{"text": …}}'), row(2, "b", "y")]


@pytest.mark.parametrize("line", ["{", "text", "{'text': 'a'}", '{"text": "a"} x', "[" * 100_000, "9" * 5000])
def test_what_is_no_json_is_refused(tmp_path: Path, line: str) -> None:
    """Be it cut off, of Python's kind, or nested too deep to be read, the next line is read."""
    rows = read(tmp_path / "rows.jsonl", f'{line}\n{{"text": "b", "label": "y"}}\n')

    assert isinstance(rows[0], BadRow)
    assert (rows[0].line, rows[0].reason[:10]) == (1, "not JSON: ")
    assert rows[1:] == [row(2, "b", "y")]


def test_a_cell_may_be_longer_than_pythons_limit(tmp_path: Path) -> None:
    """Texts of books are texts; the `csv` module would stop at 131,072 signs."""
    text = "ab " * 50_000

    assert read(tmp_path / "rows.csv", f"text,label\n{text},x\n") == [row(2, text, "x")]


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    """The first row of a packed file comes before its damaged end is met."""
    lines = "".join(f'{{"text": "{i * 7919 % 100_003}", "label": "x"}}\n' for i in range(100_000))
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode(), 1)[:-100])
    rows = read_rows(path, FIELDS, FORMATS["jsonl"].read)

    assert next(rows) == row(1, "0", "x")
    with pytest.raises(UserError):
        list(rows)
