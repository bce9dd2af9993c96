"""Sentences of CoNLL-U."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from data.errors import UserError
from data.formats import BadRow, Field, File, Row, sniff

TOKENS = Field("tokens", "tokens", "tokens", "--set data.token_column=NAME", ("words",))
TAGS = Field("tags", "tags", "upos", "--set data.tag_column=NAME", ("tags",))
TEXT = Field("text", "text", "text", "--set data.text_column=NAME", optional=True)
FIELDS = (TOKENS, TAGS)


def opened(path: Path, fields: tuple[Field, ...] = FIELDS) -> File:
    """Return a file whose layout is decided."""
    file = sniff(path, fields, ("sentences", "records"))
    assert file is not None
    return file


def read(
    folder: Path,
    content: str | bytes,
    fields: tuple[Field, ...] = FIELDS,
) -> list[Row | BadRow]:
    """Write a file, and return its rows."""
    path = folder / "rows.conllu"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(opened(path, fields).rows())


def row(line: int, tokens: str, tags: str, **more: str) -> Row:
    """Return a row of tokens and tags, which are separated by spaces here."""
    return Row(line, {"tokens": tuple(tokens.split(" ")), "tags": tuple(tags.split(" ")), **more})


def tabs(*lines: str) -> str:
    """Return lines of CoNLL-U from lines with spaces; omitted columns are `_`."""
    cells = [line.split(" ") if not line.startswith("#") else [line] for line in lines]
    return "".join("\t".join(c + ["_"] * (10 - len(c)) * (len(c) > 1)) + "\n" for c in cells)


# "del" is one token of two words; 3.1 is an empty node.
SPANISH = tabs(
    "# sent_id = es-1",
    "# text = Viene del mar #1.",
    "1 Viene venir VERB",
    "2-3 del",
    "2 de de ADP",
    "3 el el DET",
    "3.1 viene venir VERB",
    "4 mar mar NOUN",
    "5 # # SYM",
    "6 1 1 NUM",
    "7 . . PUNCT",
    "",
    "1 Sí sí INTJ I",
    "",
)
SPANISH_ROWS = [
    row(1, "Viene del mar # 1 .", "VERB ADP+DET NOUN SYM NUM PUNCT"),
    row(13, "Sí", "INTJ"),
]


def test_conllu(tmp_path: Path) -> None:
    """A range is one token, an empty node is none, and a row has the first line of its sentence."""
    assert read(tmp_path, SPANISH) == SPANISH_ROWS


@pytest.mark.parametrize("blank", ["", "\n", "\n\n\n", "\r\n", " \n"])
def test_blank_lines_at_the_end_of_conllu(tmp_path: Path, blank: str) -> None:
    """With none, one or several of them the rows are the same."""
    assert read(tmp_path, SPANISH.rstrip("\n") + "\n" + blank) == SPANISH_ROWS
    assert read(tmp_path, SPANISH.rstrip("\n")) == SPANISH_ROWS


def test_blank_lines_between_sentences_of_conllu(tmp_path: Path) -> None:
    """The line numbers of sentences are correct with any number of them."""
    content = "\n\n" + tabs("1 a a X") + "\n\n" + tabs("# b", "1 b b Y")

    assert read(tmp_path, content) == [row(3, "a", "X"), row(6, "b", "Y")]


def test_line_ends_of_windows_in_conllu(tmp_path: Path) -> None:
    r"""`\r\n` ends a line, and `\r` is not part of the last column."""
    fields = (TOKENS, Field("tags", "tags", "misc", "--set data.tag_column=NAME"), TEXT)
    content = tabs("# text = a b", "1 a _ _ _ _ _ _ _ M", "2 b _ _ _ _ _ _ _ N").replace("\n", "\r\n")

    assert read(tmp_path, content, fields) == [row(1, "a b", "M N", text="a b")]


def test_compressed_conllu(tmp_path: Path) -> None:
    """A compressed file has the same rows."""
    path = tmp_path / "rows.conllu.gz"
    path.write_bytes(gzip.compress(SPANISH.encode()))

    assert list(opened(path).rows()) == SPANISH_ROWS


def test_the_raw_text_of_conllu(tmp_path: Path) -> None:
    """It is in a comment; a sentence may lack it if the field is optional."""
    first, second = read(tmp_path, SPANISH, (*FIELDS, TEXT))

    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert first.values["text"] == "Viene del mar #1."
    assert "text" not in second.values


def test_a_required_raw_text(tmp_path: Path) -> None:
    """A sentence without it is malformed if the field is required."""
    needed = Field("text", "text", "text", "--set data.text_column=NAME")
    rows = read(tmp_path, SPANISH, (*FIELDS, needed))

    assert isinstance(rows[0], Row)
    assert isinstance(rows[1], BadRow)
    assert rows[1].line == 13
    assert rows[1].reason.startswith("no column 'text'; there is 'tokens', 'upos'")


@pytest.mark.parametrize(("column", "tag"), [("lemma", "sí"), ("upos", "INTJ"), ("xpos", "I"), ("deps", "_")])
def test_any_column_of_conllu_may_be_the_tags(tmp_path: Path, column: str, tag: str) -> None:
    """Columns have the names of Universal Dependencies."""
    fields = (TOKENS, Field("tags", "tags", column, "--set data.tag_column=NAME"))

    assert read(tmp_path, SPANISH, fields)[1] == row(13, "Sí", tag)


def test_an_unknown_column_of_conllu(tmp_path: Path) -> None:
    """The message lists the columns and the most similar one."""
    fields = (TOKENS, Field("tags", "tags", "uppos", "--set data.tag_column=NAME"))

    with pytest.raises(UserError) as caught:
        read(tmp_path, SPANISH, fields)
    assert str(caught.value) == (
        f"{tmp_path / 'rows.conllu'}: no column 'uppos'; there is 'id', 'form', 'lemma', 'upos', 'xpos', "
        "'feats', 'head', 'deprel', 'deps', 'misc'; name it with "
        "--set data.tag_column=NAME; did you mean 'upos'?"
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2\tb\tb\tY", "columns: 4; in CoNLL-U: 10, separated by tabs"),
        ("2 b b Y _ _ _ _ _ _", "columns: 1; in CoNLL-U: 10, separated by tabs"),
        ("2\tb\tb\tY" + "\t_" * 7, "columns: 11; in CoNLL-U: 10, separated by tabs"),
        ("b\tb\tb\tY" + "\t_" * 6, "the id is 'b'; expected a number such as 1, 1-2 or 1.1"),
        ("2-\tb\tb\tY" + "\t_" * 6, "the id is '2-'; expected a number such as 1, 1-2 or 1.1"),
        ("2\tb\t\tY" + "\t_" * 5, "columns: 9; in CoNLL-U: 10, separated by tabs"),
    ],
)
def test_a_malformed_line_of_conllu(tmp_path: Path, line: str, reason: str) -> None:
    """The message has the line, not the beginning of its sentence; the next sentence is read."""
    content = tabs("1 a a X", "", "# text = a b", "1 a a X") + f"{line}\n\n" + tabs("1 c c Z")

    assert read(tmp_path, content) == [row(1, "a", "X"), BadRow(5, reason), row(7, "c", "Z")]


def test_bytes_that_are_not_utf8_in_conllu(tmp_path: Path) -> None:
    """The message has their line."""
    content = tabs("1 a a X", "2 @ @ X", "", "1 é é Y").encode().replace(b"@", b"\xe9")

    assert read(tmp_path, content.replace(b"\xe9\t\xe9", b"\xe9\te")) == [
        BadRow(2, "not UTF-8: byte 0xe9 at character 3"),
        row(4, "é", "Y"),
    ]


def test_an_empty_tag_of_conllu(tmp_path: Path) -> None:
    """An empty column is malformed; `_` is a tag like any other."""
    content = tabs("1 a a _") + "\n" + tabs("1 b b X", "2 c c @").replace("@", "")

    assert read(tmp_path, content) == [row(1, "a", "_"), BadRow(4, "column 4 of tags is empty")]


def test_comments_without_a_sentence(tmp_path: Path) -> None:
    """They are the same as blank lines."""
    content = tabs("# newdoc", "", "1 a a X")

    assert read(tmp_path, content) == [row(3, "a", "X")]


def test_an_empty_file_of_conllu(tmp_path: Path) -> None:
    """A file that is empty or has only blank lines has no sentences."""
    assert read(tmp_path, "") == read(tmp_path, "\n\n") == []


@pytest.mark.parametrize(("column", "tags"), [("4", "VERB"), ("5", "V"), ("2", "Go"), ("UPOS", "VERB")])
def test_columns_of_conllu_by_number(tmp_path: Path, column: str, tags: str) -> None:
    """The first column has the number 1, and case does not matter in names."""
    fields = (TOKENS, Field("tags", "tags", column, "--set data.tag_column=NAME"))

    assert read(tmp_path, tabs("1 Go go VERB V"), fields) == [row(1, "Go", tags)]


def test_another_column_of_tokens(tmp_path: Path) -> None:
    """`data.token_column` chooses it, e.g. the lemmas."""
    fields = (Field("tokens", "tokens", "lemma", "--set data.token_column=NAME"), TAGS)

    assert read(tmp_path, tabs("1 Went go VERB"), fields) == [row(1, "go", "VERB")]


@pytest.mark.parametrize(
    ("ids", "bad"),
    [
        ("1 3", [BadRow(2, "the id is 3; expected 2, and a blank line between sentences")]),
        ("1 2 1 2", [BadRow(3, "the id is 1; expected 3, and a blank line between sentences")]),
        ("2 3", [BadRow(1, "the id is 2; expected 1, and a blank line between sentences")]),
        ("0 1", [BadRow(1, "the id is 0; expected 1, and a blank line between sentences")]),
        (
            "1 x 3 y",
            [
                BadRow(2, "the id is 'x'; expected a number such as 1, 1-2 or 1.1"),
                BadRow(3, "the id is 3; expected 2, and a blank line between sentences"),
                BadRow(4, "the id is 'y'; expected a number such as 1, 1-2 or 1.1"),
            ],
        ),
    ],
)
def test_ids_that_do_not_count(tmp_path: Path, ids: str, bad: list[BadRow]) -> None:
    """Each wrong line of a sentence is listed."""
    content = tabs(*(f"{own} a a X" for own in ids.split()))

    assert read(tmp_path, content + "\n" + tabs("1 b b Y"))[:-1] == bad


def test_a_file_that_is_no_conllu(tmp_path: Path) -> None:
    """Where no line has ten columns, the message says how to read it, and this works."""
    content = "Oslo B-LOC\nis O\n"

    with pytest.raises(UserError) as caught:
        read(tmp_path, content)
    assert "no line has the 10 columns of CoNLL-U, separated by tabs" in str(caught.value)
    assert "let the name end in .conll" in str(caught.value)
    path = tmp_path / "rows.conll"
    path.write_text(content)
    assert list(opened(path).rows()) == [row(1, "Oslo is", "B-LOC O")]


def test_the_layout_of_conllu(tmp_path: Path) -> None:
    """It has the columns of tokens and tags."""
    path = tmp_path / "rows.conllu"
    path.write_text(SPANISH)
    layout = opened(path).layout

    assert layout.format == "conllu"
    assert layout.chosen == {"tokens": "form", "tags": "upos"}
