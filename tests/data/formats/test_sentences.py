"""Sentences that are cut into tokens already, and a tag for each of these."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from data.errors import UserError
from data.formats import EMPTY_LINE, BadRow, Field, Reader, Row, read_rows
from data.formats.conll import read_conll
from data.formats.conllu import read_conllu
from data.formats.jsonl import read_jsonl

TOKENS = Field("tokens", "tokens", "tokens", "--set data.token_column=NAME")
TAGS = Field("tags", "tags", "upos", "--set data.tag_column=NAME", ("tags",))
TEXT = Field("text", "text", "text", "--set data.text_column=NAME", optional=True)
FIELDS = (TOKENS, TAGS)


def read(
    folder: Path, content: str | bytes, reader: Reader, fields: tuple[Field, ...] = FIELDS
) -> list[Row | BadRow]:
    """Write a file, and return its rows."""
    path = folder / "rows"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(path, fields, reader))


def row(line: int, tokens: str, tags: str, **more: str) -> Row:
    """Return a row of tokens and tags with spaces between."""
    return Row(line, {"tokens": tuple(tokens.split(" ")), "tags": tuple(tags.split(" ")), **more})


def tabs(*lines: str) -> str:
    """Return lines of CoNLL-U, written with spaces here, the columns that are left out empty (`_`)."""
    cells = [line.split(" ") if not line.startswith("#") else [line] for line in lines]
    return "".join("\t".join(c + ["_"] * (10 - len(c)) * (len(c) > 1)) + "\n" for c in cells)


# "del" is one word as written and two tokens; 3.1 is a node that was left out in the sentence.
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
    row(1, "Viene de el mar # 1 .", "VERB ADP DET NOUN SYM NUM PUNCT"),
    row(13, "Sí", "INTJ"),
]


def test_conllu(tmp_path: Path) -> None:
    """Ranges and empty nodes are no tokens, and a row has the line that its sentence begins on."""
    assert read(tmp_path, SPANISH, read_conllu) == SPANISH_ROWS


@pytest.mark.parametrize("blank", ["", "\n", "\n\n\n", "\r\n", " \n"])
def test_blank_lines_at_the_end_of_conllu(tmp_path: Path, blank: str) -> None:
    """None, one or several: no row is lost and none is added."""
    assert read(tmp_path, SPANISH.rstrip("\n") + "\n" + blank, read_conllu) == SPANISH_ROWS
    assert read(tmp_path, SPANISH.rstrip("\n"), read_conllu) == SPANISH_ROWS


def test_blank_lines_between_sentences_of_conllu(tmp_path: Path) -> None:
    """However many there are, each sentence knows its own line."""
    content = "\n\n" + tabs("1 a a X") + "\n\n" + tabs("# b", "1 b b Y")

    assert read(tmp_path, content, read_conllu) == [row(3, "a", "X"), row(6, "b", "Y")]


def test_line_ends_of_windows_in_conllu(tmp_path: Path) -> None:
    r"""`\r\n` ends a line, and the last column keeps no `\r`."""
    fields = (TOKENS, Field("tags", "tags", "misc", "--set data.tag_column=NAME"), TEXT)
    content = tabs("# text = a b", "1 a _ _ _ _ _ _ _ M", "2 b _ _ _ _ _ _ _ N").replace("\n", "\r\n")

    assert read(tmp_path, content, read_conllu, fields) == [row(1, "a b", "M N", text="a b")]


def test_packed_conllu(tmp_path: Path) -> None:
    """`.gz` changes nothing."""
    path = tmp_path / "rows.conllu.gz"
    path.write_bytes(gzip.compress(SPANISH.encode()))

    assert list(read_rows(path, FIELDS, read_conllu)) == SPANISH_ROWS


def test_the_raw_text_of_conllu(tmp_path: Path) -> None:
    """It stands in a comment; a sentence may lack it where the field is optional."""
    first, second = read(tmp_path, SPANISH, read_conllu, (*FIELDS, TEXT))

    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert first.values["text"] == "Viene del mar #1."
    assert "text" not in second.values


def test_a_raw_text_that_is_needed(tmp_path: Path) -> None:
    """A sentence without it is broken where the task can't do without."""
    needed = Field("text", "text", "text", "--set data.text_column=NAME")
    rows = read(tmp_path, SPANISH, read_conllu, (*FIELDS, needed))

    assert isinstance(rows[0], Row)
    assert isinstance(rows[1], BadRow)
    assert rows[1].line == 13
    assert rows[1].reason.startswith("no column 'text'; there is 'tokens', 'upos'")


@pytest.mark.parametrize(("column", "tag"), [("lemma", "sí"), ("upos", "INTJ"), ("xpos", "I"), ("deps", "_")])
def test_any_column_of_conllu_may_be_the_tags(tmp_path: Path, column: str, tag: str) -> None:
    """Columns go by the names that Universal Dependencies gives them."""
    fields = (TOKENS, Field("tags", "tags", column, "--set data.tag_column=NAME"))

    assert read(tmp_path, SPANISH, read_conllu, fields)[1] == row(13, "Sí", tag)


def test_an_unknown_column_of_conllu(tmp_path: Path) -> None:
    """It is refused at once, with the names that there are and the likely one."""
    fields = (TOKENS, Field("tags", "tags", "uppos", "--set data.tag_column=NAME"))

    with pytest.raises(UserError) as caught:
        read(tmp_path, SPANISH, read_conllu, fields)
    assert str(caught.value) == (
        f"{tmp_path / 'rows'}: no column 'uppos'; there is 'id', 'form', 'lemma', 'upos', 'xpos', 'feats', "
        "'head', 'deprel', 'deps', 'misc'; name it with --set data.tag_column=NAME; did you mean 'upos'?"
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
def test_a_broken_line_of_conllu_spoils_its_sentence_alone(tmp_path: Path, line: str, reason: str) -> None:
    """The message has the line itself, not that of the sentence; the next sentence is read."""
    content = tabs("1 a a X", "", "# text = a b", "1 a a X") + f"{line}\n\n" + tabs("1 c c Z")

    assert read(tmp_path, content, read_conllu) == [row(1, "a", "X"), BadRow(5, reason), row(7, "c", "Z")]


def test_bytes_that_are_not_utf8_in_conllu(tmp_path: Path) -> None:
    """Their line is named."""
    content = tabs("1 a a X", "2 é é X", "", "1 b b Y").encode("latin-1")

    assert read(tmp_path, content, read_conllu) == [
        BadRow(2, "not UTF-8: byte 0xe9 at character 3"),
        row(4, "b", "Y"),
    ]


def test_an_empty_tag_of_conllu(tmp_path: Path) -> None:
    """A gap where a tag should be is a broken row; `_` is a tag like any other."""
    content = tabs("1 a a _") + "\n" + tabs("1 b b X", "2 c c @").replace("@", "")

    assert read(tmp_path, content, read_conllu) == [row(1, "a", "_"), BadRow(3, "upos[1] is empty")]


def test_comments_alone_are_no_sentence(tmp_path: Path) -> None:
    """They count as blank lines do."""
    content = tabs("# newdoc", "", "1 a a X")

    assert read(tmp_path, content, read_conllu) == [BadRow(1, EMPTY_LINE), row(3, "a", "X")]


# The columns of CoNLL-2003: token, part of speech, chunk, entity.
NEWS = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC

Peter NNP B-NP B-PER
"""
NEWS_ROWS = [row(3, "EU rejects German", "B-ORG O B-MISC"), row(7, "Peter", "B-PER")]


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n", " \n\t\n"])
def test_conll(tmp_path: Path, end: str) -> None:
    """The token stands first, its tag last; a document's start is no token."""
    assert read(tmp_path, NEWS + end, read_conll) == NEWS_ROWS
    assert read(tmp_path, NEWS.rstrip("\n"), read_conll) == NEWS_ROWS


@pytest.mark.parametrize("separator", ["\t", "  ", " \t"])
def test_columns_of_conll(tmp_path: Path, separator: str) -> None:
    """Spaces or tabs stand between them."""
    assert read(tmp_path, NEWS.replace(" ", separator), read_conll) == NEWS_ROWS


def test_line_ends_of_windows_in_conll(tmp_path: Path) -> None:
    r"""`\r\n` ends a line, and a line of it alone is blank."""
    assert read(tmp_path, NEWS.replace("\n", "\r\n"), read_conll) == NEWS_ROWS


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\u202f", "\x85"])
def test_other_white_space_is_part_of_a_token(tmp_path: Path, space: str) -> None:
    """A number may be written with a space that does not break; it is one token."""
    assert read(tmp_path, f"10{space}000\tO\nEuro\tB\n", read_conll) == [row(1, f"10{space}000 Euro", "O B")]


def test_a_document_may_start_right_before_a_sentence(tmp_path: Path) -> None:
    """No blank line is needed between."""
    assert read(tmp_path, "-DOCSTART- O\na X\n", read_conll) == [row(1, "a", "X")]


def test_the_sign_of_a_comment_is_a_token(tmp_path: Path) -> None:
    """`#` with a tag is a token wherever it stands, at the beginning of a sentence too."""
    rows = read(tmp_path, "# O\n1 O\n\na X\n# Y\n#b Z\n", read_conll)

    assert rows == [row(1, "# 1", "O O"), row(4, "a # #b", "X Y Z")]
    assert read(tmp_path, "a X\n# N Y\nb Z\n", read_conll) == [row(1, "a # b", "X Y Z")]


def test_comments_in_conll(tmp_path: Path) -> None:
    """A line that begins with `#` before a sentence, with other columns than its, is skipped."""
    assert read(tmp_path, "# source: some news\n# 1\na N X\nb N Y\n", read_conll) == [row(1, "a b", "X Y")]


def test_a_token_without_a_tag(tmp_path: Path) -> None:
    """Its line is named, and the next sentence is read."""
    assert read(tmp_path, "a X\nb\nc\n\nd X\n", read_conll) == [
        BadRow(2, "columns: 1; expected a token and its tag"),
        row(5, "d", "X"),
    ]


def test_bytes_that_are_not_utf8_in_conll(tmp_path: Path) -> None:
    """Their line is named."""
    assert read(tmp_path, "a X\né X\n\nb Y\n".encode("latin-1"), read_conll) == [
        BadRow(2, "not UTF-8: byte 0xe9 at character 1"),
        row(4, "b", "Y"),
    ]


@pytest.mark.parametrize("reader", [read_conll, read_conllu])
def test_an_empty_file_has_no_sentences(tmp_path: Path, reader: Reader) -> None:
    """Nor has one of blank lines."""
    assert read(tmp_path, "", reader) == read(tmp_path, "\n\n", reader) == []


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
        ({"tokens": ["a\ud800"], "upos": ["X"]}, "tokens[0] is not valid Unicode: a lone surrogate \\ud800"),
    ],
)
def test_broken_lists_of_json(tmp_path: Path, values: dict[str, object], reason: str) -> None:
    """There is a tag for each token, and none of either is empty."""
    good = {"tokens": ["a"], "upos": ["X"]}
    first, second = read(tmp_path, f"{json.dumps(values)}\n{json.dumps(good)}\n", read_jsonl)

    assert isinstance(first, BadRow)
    assert (first.line, first.reason[: len(reason)]) == (1, reason)
    assert second == row(2, "a", "X")


def test_lists_of_json(tmp_path: Path) -> None:
    """A token may have spaces within; numbers are names of tags like any other."""
    rows = read(tmp_path, '{"upos": [1, " N ", true], "tokens": ["New York", "b", " "]}', read_jsonl)

    assert rows == [Row(1, {"tokens": ("New York", "b", " "), "tags": ("1", "N", "true")})]


def test_another_column_may_hold_the_tags(tmp_path: Path) -> None:
    """The first of those that a field allows; the message names the one that is meant."""
    rows = read(
        tmp_path,
        '{"tokens": ["a"], "tags": ["X"]}\n{"tokens": ["a"], "tags": ["X"], "upos": ["Y"]}\n{"tokens": []}',
        read_jsonl,
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
def test_a_row_may_do_without_an_optional_value(tmp_path: Path, content: str, expected: str | None) -> None:
    """It is then not there, which is not the same as empty."""
    (found,) = read(tmp_path, content, read_jsonl, (*FIELDS, TEXT))

    assert isinstance(found, Row)
    assert found.values.get("text") == expected
    assert found.tokens() == ("a",)


def test_an_optional_value_must_be_of_its_kind(tmp_path: Path) -> None:
    """What is there is checked."""
    rows = read(tmp_path, '{"tokens": ["a"], "upos": ["X"], "text": 1}', read_jsonl, (*FIELDS, TEXT))

    assert rows == [BadRow(1, "'text' is a number, not a text")]


def test_values_are_asked_for_by_their_kind() -> None:
    """A sequence is no text, nor the other way round: a task that mixes them up is told at once."""
    found = row(1, "a b", "X Y", text="a b")

    assert (found.text(), found.tokens("tags")) == ("a b", ("X", "Y"))
    with pytest.raises(TypeError, match="tokens is not a text"):
        found.text("tokens")
    with pytest.raises(TypeError, match="text is not a sequence"):
        found.tokens("text")
