"""Delimiters, quotation marks, headers and columns of tables, decided from their first rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from data.errors import UserError
from data.formats import (
    FIELD_SEPARATOR,
    BadRow,
    Field,
    File,
    MissingColumn,
    Options,
    Row,
    sniff,
)

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
FIELDS = (TEXT, LABEL)
DELIMITERS = (",", ";", "\t", "|")


def by_column(text: str, label: str) -> tuple[Field, Field]:
    """Return the fields of a text and a label, of other columns."""
    return Field("text", "text", text, TEXT.option), Field("label", "label", label, LABEL.option)


def decide(path: Path, content: str, *fields: Field, delimiter: str = "", header: str = "auto") -> File:
    """Write a file, and return it with its layout."""
    path.write_bytes(content.encode())
    options = Options(delimiter=delimiter, header=header)  # type: ignore[arg-type]
    file = sniff(path, fields or FIELDS, ("records",), options)
    assert file is not None
    return file


def values(file: File) -> list[tuple[object, ...]]:
    """Return the values of the rows, which must all be well-formed."""
    rows = list(file.rows())
    assert not [row for row in rows if isinstance(row, BadRow)]
    return [tuple(row.values.values()) for row in rows if isinstance(row, Row)]


def refusal(path: Path, content: str, *fields: Field, delimiter: str = "", header: str = "auto") -> str:
    with pytest.raises(UserError) as caught:
        decide(path, content, *fields, delimiter=delimiter, header=header)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.data", "a"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_rows_decide_the_delimiter(tmp_path: Path, delimiter: str, name: str, end: str) -> None:
    """The name of the file and the other characters of the texts have no influence."""
    rows = [["id", "text", "label"], ["1", "so, so - maybe", "x"], ["2", "a, b, c", "y"], ["3", "fine", "x"]]
    content = end.join(
        delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in rows
    )
    file = decide(tmp_path / name, content + end)

    assert file.layout.delimiter == delimiter
    assert values(file) == [("so, so - maybe", "x"), ("a, b, c", "y"), ("fine", "x")]


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ('text;label\n"a; b, c";x\nd, e;y\n', ";"),
        ("text|label\na;b;c|x\nd;e|y\n", "|"),
        ("text\tlabel\na, b, c\tx\nd, e, f\ty\n", "\t"),
        ('text,label\n"a; b",x\n"c; d",y\n', ","),
        ("label;text\nx;a, b, c, d\ny;e, f\n", ";"),
        ("text,label\na | b,x\nc | d,y\n", ","),
        ('text,label\n"a\n;\nb",x\n"c;",y\n', ","),
    ],
)
def test_other_delimiters_in_the_texts(tmp_path: Path, content: str, delimiter: str) -> None:
    """Quoted cells and line breaks in them are understood."""
    file = decide(tmp_path / "a.csv", content)

    assert file.layout.delimiter == delimiter
    assert len(values(file)) == 2


@pytest.mark.parametrize(
    ("stated", "character"),
    [
        *((":", ":"), ("tab", "\t"), ("\\t", "\t"), ("\t", "\t"), ("comma", ","), ("Semicolon", ";")),
        *(("pipe", "|"), ("space", " "), (" ", " "), ("^", "^"), ("\x01", "\x01")),
    ],
)
def test_the_user_may_say_the_delimiter(tmp_path: Path, stated: str, character: str) -> None:
    """It is a character, or the name of one."""
    content = f"text{character}label\nabc{character}x\n"

    assert values(decide(tmp_path / "a.csv", content, delimiter=stated)) == [("abc", "x")]


@pytest.mark.parametrize("stated", [",,", '"', "\n", "commas", "||"])
def test_an_impossible_delimiter(tmp_path: Path, stated: str) -> None:
    """The message lists what is possible."""
    assert refusal(tmp_path / "a.csv", "text,label\na,x\n", delimiter=stated) == (
        f"data.delimiter = {stated!r}: expected one character, or one of comma, semicolon, "
        "tab, \\t, pipe, space"
    )


def test_the_wrong_delimiter(tmp_path: Path) -> None:
    """The message has the header as it is read."""
    message = refusal(tmp_path / "a.csv", "text,label\na,x\n", delimiter=";")

    assert message.startswith("no column 'text'; there is 'text,label'; ")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('text\tlabel\n"Good" film\tx\n"bad"\ty\n', ['"Good" film', '"bad"']),
        ('text\tlabel\n5" screen\tx\nfine\ty\n', ['5" screen', "fine"]),
        ('"text"\t"label"\n"a"\t"x"\n"b"\t"y"\n', ["a", "b"]),
        ('text\tlabel\n"a ""b"" c"\tx\nd\ty\n', ['a "b" c', "d"]),
        ('text\tlabel\n"two\nlines"\tx\nd\ty\n', ["two\nlines", "d"]),
        ('text\tlabel\n"a\tb"\tx\nd\ty\n', ["a\tb", "d"]),
    ],
)
def test_quotation_marks_between_tabs(tmp_path: Path, content: str, expected: list[str]) -> None:
    """They are characters of the text, unless all of them enclose cells and some must."""
    assert [text for text, _ in values(decide(tmp_path / "a.tsv", content))] == expected


@pytest.mark.parametrize("delimiter", [";", "|"])
def test_quotation_marks_that_enclose_nothing(tmp_path: Path, delimiter: str) -> None:
    """A table in which they cannot enclose cells is read without them."""
    content = f'text{delimiter}label\n"Good" film{delimiter}x\nbad{delimiter}y\n'

    assert values(decide(tmp_path / "a.csv", content)) == [('"Good" film', "x"), ("bad", "y")]


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ("pos,I liked it a lot\nneg,It was dull\npos,Fine\n", by_column("2", "1")),
        ("I liked it;5\nIt was dull;1\n", by_column("1", "2")),
        ("1\t5\tgood\n2\t1\tbad\n", by_column("3", "2")),
    ],
)
def test_columns_by_number(tmp_path: Path, content: str, fields: tuple[Field, ...]) -> None:
    """A table without a header has them by their numbers from 1, and its first row is an example."""
    file = decide(tmp_path / "a.csv", content, *fields)

    assert file.layout.header is False
    assert len(values(file)) == content.count("\n")
    assert f"no header: text = column {fields[0].column}, label = column {fields[1].column}" in (
        file.layout.describe()
    )


def test_columns_by_number_below_a_header(tmp_path: Path) -> None:
    """Numbers may be used although there are names; a name that is a number is preferred."""
    content = "id,review,stars\n7,good,x\n8,bad,y\n"

    assert values(decide(tmp_path / "a.csv", content, *by_column("2", "3"), header="true")) == [
        ("good", "x"),
        ("bad", "y"),
    ]
    assert values(decide(tmp_path / "a.csv", content, *by_column("2", "stars"))) == [
        ("good", "x"),
        ("bad", "y"),
    ]
    assert values(decide(tmp_path / "a.csv", "3,2,1\na,b,c\n", *by_column("1", "2"), header="true")) == [
        ("c", "b")
    ]


@pytest.mark.parametrize(
    ("content", "text", "label"),
    [
        ("pos,I liked it\nneg,It was dull\npos,Fine, I think\nneg,No\n".replace("e, I", "e I"), "2", "1"),
        ("I liked it\t1\nIt was dull\t0\nFine\t1\nNo\t0\n", "1", "2"),
        ("ham;Ok lar\nspam;Free entry in 2 a wkly comp\nham;Nah\nham;Even my brother\n", "2", "1"),
        ('"3","Wall St. Bears"\n"4","Oil prices"\n"3","Carlyle"\n"4","Chips"\n', "2", "1"),
    ],
)
def test_two_clear_columns_without_a_header(tmp_path: Path, content: str, text: str, label: str) -> None:
    """One has few and short values that occur again: these are the labels. The layout says so."""
    file = decide(tmp_path / "a.csv", content)

    assert len(values(file)) == 4
    assert file.layout.describe().endswith(f"no header: text = column {text}, label = column {label}")


@pytest.mark.parametrize(
    "content",
    [
        "12,I liked it\n7,It was dull\n12.5,No\n",
        "1,a long text that is read,pos\n2,another one that is read,neg\n",
        "yes,1\nno,0\nyes,1\nno,0\n",
        '"3","Wall St. Bears Claw Back","Short-sellers are seeing green again."\n"4","Oil","Prices rise."\n',
    ],
)
def test_unclear_columns_without_a_header(tmp_path: Path, content: str) -> None:
    """The message has the first values and options that read the table."""
    message = refusal(tmp_path / "a.csv", content)
    advice = re.search(r"e\.g\. --set data\.text_column=(\d) --set data\.label_column=(\d), or", message)

    assert message.startswith("no column 'text', since there is no header; the first row is 1: ")
    assert advice
    assert len(values(decide(tmp_path / "a.csv", content, *by_column(*advice.groups())))) == content.count(
        "\n"
    )


def test_a_column_that_does_not_exist_by_number(tmp_path: Path) -> None:
    """The numbers that exist are shown."""
    message = refusal(tmp_path / "a.csv", "1,good\n2,bad\n", *by_column("2", "3"))

    assert message.startswith("no column '3', since there is no header; the first row is 1: '1', 2: 'good'; ")


@pytest.mark.parametrize("content", ["great film,x\nbad film,y\nok film,z\n", "a,b\nc,d\n"])
def test_a_first_row_that_could_be_a_header(tmp_path: Path, content: str) -> None:
    """The message says how to read it as an example."""
    message = refusal(tmp_path / "a.csv", content)

    assert "no column 'text'; there is " in message
    assert message.endswith("; if the first row is no header, pass --set data.header=false")
    file = decide(tmp_path / "a.csv", content, *by_column("1", "2"), header="false")
    assert len(values(file)) == content.count("\n")


def test_the_header_that_the_user_says(tmp_path: Path) -> None:
    """`false`: names of columns are an example too; `true`: a row of values is skipped."""
    content = "text,label\na,x\nb,y\n"
    file = decide(tmp_path / "a.csv", content, *by_column("1", "2"), header="false")

    assert values(file) == [("text", "label"), ("a", "x"), ("b", "y")]
    assert values(decide(tmp_path / "a.csv", "1,x\na,y\n", *by_column("1", "2"), header="true")) == [
        ("a", "y")
    ]


@pytest.mark.parametrize(
    "header",
    [
        " text , label ",
        "\ufefftext,label",
        "te\u200bxt".replace("\u200b", "") + ",label\u200b",
        '"text ","label"',
    ],
)
def test_names_of_columns_are_cleaned(tmp_path: Path, header: str) -> None:
    """White space and invisible characters around them do not count."""
    file = decide(tmp_path / "a.csv", f"{header}\na,x\n")

    assert values(file) == [("a", "x")]
    assert file.layout.columns == ("text", "label")


def test_a_name_in_another_normalization_form(tmp_path: Path) -> None:
    """It is the same column."""
    fields = by_column("re\u0301sume\u0301", "label")

    assert values(decide(tmp_path / "a.csv", "résumé,label\na,x\n", *fields)) == [("a", "x")]


def test_a_header_inside_the_file_is_compared_as_a_name(tmp_path: Path) -> None:
    """A joined file has its own byte order mark."""
    content = "text,label\na,x\n\ufefftext,label \nb,y\n"

    assert [row for row in decide(tmp_path / "a.csv", content).rows() if isinstance(row, BadRow)] == [
        BadRow(3, "repeats the header", harmless=True)
    ]


@pytest.mark.parametrize("sign", [":", "^", "~"])
def test_another_delimiter(tmp_path: Path, sign: str) -> None:
    """The message says how to name it, and that reads the table."""
    content = f"text{sign}label\na{sign}x\n"
    message = refusal(tmp_path / "a.csv", content)

    assert message.endswith(f"; if {sign!r} separates columns, pass --set 'data.delimiter={sign}'")
    assert values(decide(tmp_path / "a.csv", content, delimiter=message[-2])) == [("a", "x")]


@pytest.mark.parametrize("sign", [";", "\t", ":"])
def test_the_delimiter_that_excel_writes(tmp_path: Path, sign: str) -> None:
    """`sep=;` in the first line is no row."""
    content = f"sep={sign}\r\ntext{sign}label\r\na, b{sign}x\r\n"

    assert list(decide(tmp_path / "a.csv", content).rows()) == [Row(3, {"text": "a, b", "label": "x"})]


@pytest.mark.parametrize("delimiter", [",", ";", "|"])
def test_quotation_marks_after_a_backslash(tmp_path: Path, delimiter: str) -> None:
    """Some databases write them so; where both cannot be, the one without errors is meant."""
    content = f'text{delimiter}label\n"I said \\"no{delimiter}\\""{delimiter}x\n"a"{delimiter}y\n'

    assert values(decide(tmp_path / "a.csv", content)) == [(f'I said "no{delimiter}"', "x"), ("a", "y")]
    assert values(decide(tmp_path / "a.csv", f'text{delimiter}label\n"a \\ ""b"" "{delimiter}x\n')) == [
        ('a \\ "b" ', "x")
    ]


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_a_header_inside_the_file(tmp_path: Path, delimiter: str) -> None:
    """Files that were joined have it again; it is no example, and harmless."""
    lines = [delimiter.join(row) for row in (["text", "label"], ["a", "x"], ["text", "label"], ["b", "y"])]

    assert list(decide(tmp_path / "a.csv", "\n".join(lines)).rows()) == [
        Row(2, {"text": "a", "label": "x"}),
        BadRow(3, "repeats the header", harmless=True),
        Row(4, {"text": "b", "label": "y"}),
    ]


def test_a_table_of_one_column(tmp_path: Path) -> None:
    """It has a header or not; its texts may have commas if these are quoted."""
    assert values(decide(tmp_path / "a.csv", 'text\ngood\n"so, so"\n', TEXT)) == [("good",), ("so, so",)]
    assert values(decide(tmp_path / "a.tsv", "text\ngood\nso, so\n", TEXT)) == [("good",), ("so, so",)]
    file = decide(
        tmp_path / "a.csv", "I liked it very much indeed, though not all of it\n1 of 2\n", TEXT, delimiter="|"
    )
    assert len(values(file)) == 2


@pytest.mark.parametrize(
    ("content", "column", "expected"),
    [
        ("title,body,label\nA,b c,x\n", "title,body", f"A {FIELD_SEPARATOR} b c"),
        ("title,body,label\nA,b c,x\n", "body, title", f"b c {FIELD_SEPARATOR} A"),
        ("title,body,label\nA,b c,x\n", "1,2", f"A {FIELD_SEPARATOR} b c"),
        ("title,body,label\nA,,x\n", "title,body", f"A {FIELD_SEPARATOR} "),
        ('"title,body",title,body,label\nA,b,c,x\n', "title,body", "A"),
        ("title;body;label\nA;b;x\n", "title,body,label", f"A {FIELD_SEPARATOR} b {FIELD_SEPARATOR} x"),
    ],
)
def test_several_columns_of_a_text(tmp_path: Path, content: str, column: str, expected: str) -> None:
    """They are joined in the order that is given; a column of exactly this name is preferred."""
    assert values(decide(tmp_path / "a.csv", content, *by_column(column, "label"))) == [(expected, "x")]


def test_a_missing_one_of_several_columns(tmp_path: Path) -> None:
    """The message has its name, and the most similar one."""
    message = refusal(tmp_path / "a.csv", "title,text,label\na,b,x\n", *by_column("title,txt", "label"))

    assert message == (
        "no column 'txt'; there is 'title', 'text', 'label'; name it with --set data.text_column=NAME; "
        "did you mean 'text'?"
    )


def test_a_missing_column_is_known_by_its_field(tmp_path: Path) -> None:
    """A split without labels can so be told from a wrong name."""
    path = tmp_path / "test.csv"
    path.write_text("text,id\na,1\n")

    with pytest.raises(MissingColumn) as caught:
        sniff(path, FIELDS, ("records",))
    assert caught.value.field == LABEL


@pytest.mark.parametrize("content", ["", "\n\n", "  \n\t\n", "\ufeff", ",,\n,,\n", "sep=;\n"])
def test_a_table_without_rows(tmp_path: Path, content: str) -> None:
    """It has no columns, and is no error here."""
    assert values(decide(tmp_path / "a.csv", content)) == []


def test_a_table_that_is_longer_than_what_is_examined(tmp_path: Path) -> None:
    """The last row that was examined is incomplete; it decides nothing."""
    text = "word " * 20_000
    content = "text;label\n" + f'"{text};";x\n' * 9

    assert len(values(decide(tmp_path / "a.csv", content))) == 9


@pytest.mark.parametrize("rows", [1, 5])
def test_texts_with_commas_that_are_not_quoted(tmp_path: Path, rows: int) -> None:
    """The names decide the delimiter; the rows are malformed."""
    content = "text,label\n" + "a, b, and c,x\n" * rows

    bad = list(decide(tmp_path / "a.csv", content).rows())
    assert bad == [BadRow(line + 2, "columns: 4; in the header: 2") for line in range(rows)]
