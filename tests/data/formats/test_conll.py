"""Sentences of the CoNLL shared tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import UserError
from data.formats import BadRow, Field, File, Options, Row, sniff

TOKENS = Field("tokens", "tokens", "tokens", "--set data.token_column=NAME", ("words",))
TAGS = Field("tags", "tags", "upos", "--set data.tag_column=NAME", ("tags",))


def opened(
    folder: Path, content: str | bytes, *, token: str = "", tag: str = "", options: Options | None = None
) -> File:
    """Write a file and decide its layout; `token` and `tag` are the columns that the user chooses."""
    path = folder / "rows.conll"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    fields = (
        Field("tokens", "tokens", token, TOKENS.option) if token else TOKENS,
        Field("tags", "tags", tag, TAGS.option) if tag else TAGS,
    )
    file = sniff(path, fields, ("sentences", "records"), options)
    assert file is not None
    return file


def read(
    folder: Path, content: str | bytes, *, token: str = "", tag: str = "", options: Options | None = None
) -> list[Row | BadRow]:
    """Write a file, and return its rows."""
    return list(opened(folder, content, token=token, tag=tag, options=options).rows())


def refused(
    folder: Path, content: str, *, token: str = "", tag: str = "", options: Options | None = None
) -> str:
    """Return why a file is refused."""
    with pytest.raises(UserError) as caught:
        opened(folder, content, token=token, tag=tag, options=options)
    path, _, reason = str(caught.value).partition(": ")
    assert path == str(folder / "rows.conll")
    assert "\n" not in reason
    return reason


def row(line: int, tokens: str, tags: str) -> Row:
    """Return a row of tokens and tags, which are separated by spaces here."""
    return Row(line, {"tokens": tuple(tokens.split(" ")), "tags": tuple(tags.split(" "))})


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
    """The token is in the first column, its tag in the last one; the start of a document is not a token."""
    assert read(tmp_path, NEWS + end) == NEWS_ROWS
    assert read(tmp_path, NEWS.rstrip("\n")) == NEWS_ROWS


@pytest.mark.parametrize("separator", ["\t", "  ", " \t"])
def test_separators_of_columns(tmp_path: Path, separator: str) -> None:
    """Spaces or tabs separate the columns."""
    assert read(tmp_path, NEWS.replace(" ", separator)) == NEWS_ROWS


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("New York\tB-LOC\nis\tO\n", [Row(1, {"tokens": ("New York", "is"), "tags": ("B-LOC", "O")})]),
        ("10 000\tNUM\tO\n", [Row(1, {"tokens": ("10 000",), "tags": ("O",)})]),
        ("a b c\tX\n\nd\tY\n", [Row(1, {"tokens": ("a b c",), "tags": ("X",)}), row(3, "d", "Y")]),
        ("1\tAl  Gore\tB-PER\n", [Row(1, {"tokens": ("Al  Gore",), "tags": ("B-PER",)})]),
    ],
)
def test_a_token_with_a_space(tmp_path: Path, content: str, expected: list[Row]) -> None:
    """Where lines have tabs, only tabs separate the columns."""
    assert read(tmp_path, content) == expected


def test_a_chosen_delimiter(tmp_path: Path) -> None:
    """`data.delimiter` is what separates the columns."""
    content = "a,X\nb,Y\n"

    assert "name another separator with --set data.delimiter=CHARACTER" in refused(tmp_path, content)
    assert read(tmp_path, content, options=Options(delimiter=",")) == [row(1, "a b", "X Y")]


def test_line_ends_of_windows_in_conll(tmp_path: Path) -> None:
    r"""`\r\n` ends a line, and a line of it alone is blank."""
    assert read(tmp_path, NEWS.replace("\n", "\r\n")) == NEWS_ROWS


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\u202f", "\x85", "\u2028"])
def test_other_white_space_is_part_of_a_token(tmp_path: Path, space: str) -> None:
    """A number may contain a non-breaking space; it is one token."""
    assert read(tmp_path, f"10{space}000\tO\nEuro\tB\n") == [row(1, f"10{space}000 Euro", "O B")]
    assert read(tmp_path, f"10{space}000 O\nEuro B\n") == [row(1, f"10{space}000 Euro", "O B")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "1 Oslo NNP I-LOC\n\n1 Bo NNP I-PER\n2 left V O\n",
            [row(1, "Oslo", "I-LOC"), row(3, "Bo left", "I-PER O")],
        ),
        ("0 a X\n1 b Y\n\n0 c X\n", [row(1, "a b", "X Y"), row(4, "c", "X")]),
        ("1\ta\tX\n2\tb\tY\n\n3\tc\tX\n4\td\tX\n", [row(1, "a b", "X Y"), row(4, "c d", "X X")]),
        ("a X 1\nb Y 2\n\nc X 1\n", [row(1, "a b", "X Y"), row(4, "c", "X")]),
        ("1-1 a X\n1-2 b Y\n\n2-1 c X\n", [row(1, "a b", "X Y"), row(4, "c", "X")]),
        ("w1 a X\nw2 b Y\n\nw1 c X\n", [row(1, "a b", "X Y"), row(4, "c", "X")]),
        ("1-1\t0-2\tOh\tX\n1-2\t3-4\ta\tY\n\n2-1\t5-6\tb\tX\n", [row(1, "Oh a", "X Y"), row(4, "b", "X")]),
        ("0 2 Oh X\n3 4 a Y\n5 6 b X\n", [row(1, "Oh a b", "X Y X")]),
        ("7 a X\n7 b Y\n\n8 c X\n", [row(1, "a b", "X Y"), row(4, "c", "X")]),
        ("1-2 am _\n1 a X\n2 m Y\n2.1 e Z\n3 b X\n", [row(1, "am b", "X+Y X")]),
        (
            "#begin document (n/1); part 000\nn/1 0 0 In IN O\nn/1 0 1 the DT O\nn/1 0 2 end NN B-X\n\n"
            "n/1 0 0 So RB O\nn/1 0 1 it PR O\nn/1 0 2 is VB O\n\n#end document\n",
            [row(1, "In the end", "O O B-X"), row(6, "So it is", "O O O")],
        ),
    ],
)
def test_a_column_that_counts_is_no_token(tmp_path: Path, content: str, expected: list[Row]) -> None:
    """Neither is one that has the name of the document, or positions in it."""
    assert read(tmp_path, content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1 X\n9 Y\n\n4 X\n", [row(1, "1 9", "X Y"), row(4, "4", "X")]),
        ("1990 CD O\na DT O\n\n7 CD O\n", [row(1, "1990 a", "O O"), row(4, "7", "O")]),
        ("b2 X\nb2 Y\n\nb3 X\n", [row(1, "b2 b2", "X Y"), row(4, "b3", "X")]),
    ],
)
def test_numbers_that_do_not_count_are_tokens(tmp_path: Path, content: str, expected: list[Row]) -> None:
    """A text may begin with a number."""
    assert read(tmp_path, content) == expected


def test_the_layout_has_the_columns(tmp_path: Path) -> None:
    """What was decided can be printed."""
    layout = opened(tmp_path, "1 Oslo NNP I-LOC\n2 is VB O\n").layout

    assert (layout.format, layout.variant, layout.columns) == ("conll", "spaces", ("1", "2", "3", "4"))
    assert layout.chosen == {"position": "1", "tokens": "2", "tags": "4"}
    assert opened(tmp_path, "New York\tB-LOC\n").layout.variant == "tabs"


@pytest.mark.parametrize(
    ("token", "tag", "expected"),
    [
        ("", "2", row(3, "EU rejects German", "NNP VBZ JJ")),
        ("", "3", row(3, "EU rejects German", "B-NP B-VP B-NP")),
        ("2", "", row(3, "NNP VBZ JJ", "B-ORG O B-MISC")),
        ("2", "1", row(3, "NNP VBZ JJ", "EU rejects German")),
    ],
)
def test_columns_by_number(tmp_path: Path, token: str, tag: str, expected: Row) -> None:
    """The first column has the number 1."""
    assert read(tmp_path, NEWS, token=token, tag=tag)[0] == expected


HEADER = "word\tpos\tner\n"
TABLE = "Oslo\tNNP\tB-LOC\nis\tVB\tO\n"


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize(
    ("tag", "tags"),
    [("", "B-LOC O"), ("pos", "NNP VB"), ("ner", "B-LOC O"), ("NER", "B-LOC O"), ("2", "NNP VB")],
)
def test_columns_by_name(tmp_path: Path, end: str, tag: str, tags: str) -> None:
    """A header names the columns, also before a blank line."""
    assert read(tmp_path, HEADER + end + TABLE, tag=tag) == [row(3 if end else 1, "Oslo is", tags)]


def test_a_header_of_unusual_names(tmp_path: Path) -> None:
    """It is recognized by the chosen column, or declared."""
    content = "Wort Art\nOslo N\nist V\n"

    assert read(tmp_path, content, tag="Art") == [row(1, "Oslo ist", "N V")]
    assert read(tmp_path, content, options=Options(header="true")) == [row(1, "Oslo ist", "N V")]
    assert read(tmp_path, content) == [row(1, "Wort Oslo ist", "Art N V")]
    assert read(tmp_path, HEADER + TABLE, options=Options(header="false"))[0] == row(
        1, "word Oslo is", "ner B-LOC O"
    )


PLUS = "# global.columns = ID FORM UPOS PARSEME:MWE\n# text = Oslo is\n1\tOslo\tPROPN\t*\n2\tis\tAUX\t1:VID\n"


@pytest.mark.parametrize(
    ("tag", "tags"), [("", "PROPN AUX"), ("UPOS", "PROPN AUX"), ("parseme:mwe", "* 1:VID"), ("4", "* 1:VID")]
)
def test_columns_of_conllu_plus(tmp_path: Path, tag: str, tags: str) -> None:
    """`# global.columns` names the columns."""
    assert read(tmp_path, PLUS, tag=tag) == [row(1, "Oslo is", tags)]


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    """The message says which ones there are, and how to choose one."""
    assert refused(tmp_path, NEWS, tag="9") == (
        "no column 9; there are 4; choose another column with --set data.tag_column=N, from 1 to 4"
    )
    assert refused(tmp_path, NEWS, token="word").startswith(
        "no column 'word'; the 4 columns have no names; choose another column with --set data.token_column=N"
    )
    assert refused(tmp_path, HEADER + TABLE, tag="nr") == (
        "no column 'nr'; there is 'word', 'pos', 'ner'; choose another column with "
        "--set data.tag_column=NAME; did you mean 'ner'?"
    )
    assert refused(tmp_path, NEWS, tag="0").startswith("no column 0; there are 4")


@pytest.mark.parametrize(
    ("content", "token", "tag", "reason", "advised"),
    [
        ("1 a X\n2 b Y\n", "1", "", "column 1 counts the tokens; choose another column", {"token": "2"}),
        ("1 a X\n2 b Y\n", "", "1", "column 1 counts the tokens; choose another column", {"tag": "3"}),
        ("a X\nb Y\n", "", "1", "column 1 has the tokens and cannot have the tags, too", {"tag": "2"}),
        ("a X _\nb Y _\n", "", "", "column 3 has no tags, only '_'", {"tag": "2"}),
        ("a X _\nb Y _\n", "", "3", "column 3 has no tags, only '_'", {"tag": "2"}),
        ("a X f=1\nb Y f=2\n", "", "", "column 3 has no tags, only 'f=1', 'f=2'", {"tag": "2"}),
    ],
)
def test_a_column_that_has_no_tags(
    tmp_path: Path, content: str, token: str, tag: str, reason: str, advised: dict[str, str]
) -> None:
    """It is refused, and the advice works."""
    message = refused(tmp_path, content, token=token, tag=tag)
    ((name, column),) = advised.items()

    assert message.startswith(reason)
    assert message.endswith(f"--set data.{name}_column={column}")
    chosen = {"token": token, "tag": tag} | advised
    assert read(tmp_path, content, **chosen) == [row(1, "a b", "X Y")]


UNIVERSAL = "1\tOslo\toslo\tPROPN\tNNP\t_\t2\tnsubj\t_\t{}\n2\tis\tbe\tAUX\tVB\t_\t0\troot\t_\t{}\n"


@pytest.mark.parametrize("last", ["_", "SpaceAfter=No"])
def test_ten_columns_of_a_treebank(tmp_path: Path, last: str) -> None:
    """In a `.conll` file with the columns of CoNLL-U, the last one has no tags; another has."""
    content = UNIVERSAL.format("_", last)

    assert refused(tmp_path, content).endswith("choose another column with --set data.tag_column=4")
    assert read(tmp_path, content, tag="4") == [row(1, "Oslo is", "PROPN AUX")]
    assert read(tmp_path, content.replace("\t_\n", "\tX\n").replace("=", "-"))[0].line == 1


def test_fourteen_columns(tmp_path: Path) -> None:
    """The token of CoNLL-2009 is the second column."""
    line = "{}\t{}\tl\tl\t{}\t{}\t_\t_\t0\t0\troot\troot\tY\t{}\n"
    content = line.format(1, "Oslo", "NNP", "NNP", "A0") + line.format(2, "is", "VB", "VB", "_")

    assert read(tmp_path, content) == [row(1, "Oslo is", "A0 _")]
    assert read(tmp_path, content, tag="5") == [row(1, "Oslo is", "NNP VB")]


def test_tags_before_tokens(tmp_path: Path) -> None:
    """Columns in the other order are refused, since there are more tags than tokens; the advice works."""
    content = "".join(f"{'NVDA'[i % 4]} word{i}\n" for i in range(24))

    assert refused(tmp_path, content) == (
        "column 2 has 24 distinct values, and column 1 only 4, so they are hardly tags and tokens; choose "
        "both with --set data.token_column=N and --set data.tag_column=N"
    )
    (found,) = read(tmp_path, content, token="2", tag="1")
    assert isinstance(found, Row)
    assert set(found.tokens("tags")) == set("NVDA")


@pytest.mark.parametrize(
    "content",
    ["a\nb\n", "1 Oslo\n2 is\n", "1\tOslo\n\n1\tBo\n2\tleft\n", "a,X\nb,Y\n"],
)
def test_files_without_a_column_of_tags(tmp_path: Path, content: str) -> None:
    """One column, or a number and a token, are not enough."""
    assert "; expected a token and its tag, separated by a tab or spaces" in refused(tmp_path, content)


@pytest.mark.parametrize(
    "content",
    ["a X\nb X Y\nc X Y Z\nd 1 2 3 4\n", "I like it very much\nYou do not\nWe are here too\nSo\n"],
)
def test_a_varying_number_of_columns(tmp_path: Path, content: str) -> None:
    """A file whose lines have nothing in common is refused."""
    message = refused(tmp_path, content)

    assert message.startswith("the number of columns varies: 1 line has ")
    assert message.endswith(
        "write the same columns in all lines, or name what separates them with --set data.delimiter=CHARACTER"
    )


def test_lines_of_other_columns_are_all_listed(tmp_path: Path) -> None:
    """Each has its line, and the other sentences are read."""
    assert read(tmp_path, "a X\nb\nc\n\nd X\n\ne X\nf X Y\n\ng Y\n") == [
        BadRow(2, "columns: 1; the other lines have 2"),
        BadRow(3, "columns: 1; the other lines have 2"),
        row(5, "d", "X"),
        BadRow(8, "columns: 3; the other lines have 2"),
        row(10, "g", "Y"),
    ]


def test_empty_cells_are_listed(tmp_path: Path) -> None:
    """A token or a tag that is empty has its line and its column."""
    assert read(tmp_path, "a\tX\n\tY\nb\t\n\nc\tX\n") == [
        BadRow(2, "column 1 of tokens is empty"),
        BadRow(3, "column 2 of tags is empty"),
        row(5, "c", "X"),
    ]


@pytest.mark.parametrize(
    "mark", ["-DOCSTART-", "-DOCSTART- O", "-DOCSTART- -X- -X- O", "#begin document x", "#end document"]
)
def test_marks_of_documents(tmp_path: Path, mark: str) -> None:
    """They may have any number of columns, and there may be no blank line before the sentence."""
    assert read(tmp_path, f"{mark}\na X\nb Y\n") == [row(1, "a b", "X Y")]
    assert read(tmp_path, f"a X\n\n{mark}\n\nb Y\n") == [row(1, "a", "X"), row(5, "b", "Y")]


def test_a_number_sign_is_a_token(tmp_path: Path) -> None:
    """`#` with a tag is a token everywhere, also at the beginning of a sentence."""
    rows = read(tmp_path, "# O\n1 O\n\na X\n# Y\n#b Z\n")

    assert rows == [row(1, "# 1", "O O"), row(4, "a # #b", "X Y Z")]
    assert read(tmp_path, "a X\n# N Y\nb Z\n")[0] == BadRow(2, "columns: 3; the other lines have 2")
    assert read(tmp_path, "# #\n5 CD\n") == [row(1, "# 5", "# CD")]
    assert read(tmp_path, "#nlp B-TAG\nis O\n") == [row(1, "#nlp is", "B-TAG O")]


@pytest.mark.parametrize(
    "comments",
    [
        "# source: some news\n# 1\n",
        "# text0\n",
        "#id 7\n# newdoc\n",
        "# sent_id = 1\n",
        "# a-comment\n#\n",
        "#\tone\n",
    ],
)
def test_comments_in_conll(tmp_path: Path, comments: str) -> None:
    """A line before a sentence with another number of columns, or a tag of no other line, is a comment."""
    first = comments.count("\n")

    assert read(tmp_path, f"{comments}a N\nb V\n\n{comments}c N\n") == [
        row(1, "a b", "N V"),
        row(first + 4, "c", "N"),
    ]


def test_comments_with_as_many_columns_as_tokens(tmp_path: Path) -> None:
    """They do not become tokens `#`, even if each is different."""
    content = "".join(f"# text{i}\nnlp{i} NOUN\nis VERB\n\n" for i in range(50))

    assert read(tmp_path, content) == [row(4 * i + 1, f"nlp{i} is", "NOUN VERB") for i in range(50)]


def test_bytes_that_are_not_utf8_in_conll(tmp_path: Path) -> None:
    """The message has their line."""
    assert read(tmp_path, b"a X\n\xe9 X\n\n\xc3\xa9\xc3\xa8 Y\n") == [
        BadRow(2, "not UTF-8: byte 0xe9 at character 1"),
        row(4, "éè", "Y"),
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_encodings_of_conll(tmp_path: Path, encoding: str) -> None:
    """A file in another encoding has the same rows."""
    options = Options(encoding="latin-1") if encoding == "latin-1" else None

    assert read(tmp_path, "née X\nb Y\n".encode(encoding), options=options) == [row(1, "née b", "X Y")]


def test_an_empty_file_of_conll(tmp_path: Path) -> None:
    """A file that is empty or has only blank lines has no sentences."""
    assert read(tmp_path, "") == read(tmp_path, "\n\n") == []


def test_a_large_file_without_blank_lines(tmp_path: Path) -> None:
    """It is not one sentence."""
    lines = "a_long_word\tNOUN\n" * 20_000

    assert refused(tmp_path, lines).endswith(" lines; separate sentences by blank lines")
    assert len(read(tmp_path, lines[: len(lines) // 2] + "\n" + lines)) == 2


def test_a_large_file(tmp_path: Path) -> None:
    """Lines after the first ones are checked against the layout, too."""
    content = "word\tNOUN\n\n" * 40_000

    rows = read(tmp_path, content + "bad\n\n# text\nnlp\tNOUN\n")

    assert len(rows) == 40_002
    assert rows[-2:] == [BadRow(80_001, "columns: 1; the other lines have 2"), row(80_003, "nlp", "NOUN")]


@pytest.mark.parametrize(
    "name", ["rows.bio", "rows.iob", "rows.iob2", "rows.bioes", "train.tsv", "train.txt", "train"]
)
def test_names_of_files(tmp_path: Path, name: str) -> None:
    """Sentences of tagged tokens are recognized by their content, too, if a task needs tokens and tags."""
    path = tmp_path / name
    path.write_text("Oslo\tB-LOC\nis\tO\n\nBo\tB-PER\nleft\tO\n")
    file = sniff(path, (TOKENS, TAGS), ("sentences", "records"))

    assert file is not None
    assert file.layout.format == "conll"
    assert list(file.rows()) == [row(1, "Oslo is", "B-LOC O"), row(4, "Bo left", "B-PER O")]


def test_texts_are_not_taken_for_sentences_of_tokens(tmp_path: Path) -> None:
    """Plain text has another number of words in each line."""
    path = tmp_path / "rows.txt"
    path.write_text("It is what it is.\n\nOr so they say, at least\nin this town.\n\nNever mind.\n")

    assert sniff(path, (TOKENS, TAGS), ("sentences", "records")) is None
