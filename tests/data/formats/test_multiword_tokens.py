"""Tokens of several words in CoNLL-U, and texts that are rebuilt from tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.formats import BadRow, Field, Row, sniff
from data.multiword import Word, unpack

TOKENS = Field("tokens", "tokens", "tokens", "--set data.token_column=NAME", ("words",))
TAGS = Field("tags", "tags", "upos", "--set data.tag_column=NAME", ("tags",))
TEXT = Field("text", "text", "text", "--set data.text_column=NAME", optional=True)
WORDS = Field("token_words", "words", "token_words", "", optional=True)


def lines(*rows: str) -> str:
    """Return lines of CoNLL-U: id, form, tag of the parts of speech, and perhaps MISC, between spaces."""
    found = []
    for row in rows:
        if not row or row.startswith("#"):
            found.append(row)
            continue
        number, form, tag, *misc = row.split(" ")
        found.append(
            "\t".join([number, form, form.upper(), tag, f"x{tag}", "_", "_", tag, "_", *(misc or "_")])
        )
    return "".join(f"{line}\n" for line in found)


def read(folder: Path, content: str, *fields: Field, name: str = "rows.conllu") -> list[Row | BadRow]:
    """Write a file, and return its rows."""
    (folder / name).write_text(content)
    file = sniff(folder / name, fields or (TOKENS, TAGS, TEXT, WORDS), ("sentences", "records"))
    assert file is not None
    return list(file.rows())


def one(folder: Path, content: str, *fields: Field, name: str = "rows.conllu") -> Row:
    """Return the only row."""
    (row,) = read(folder, content, *fields, name=name)
    assert isinstance(row, Row), row
    return row


def test_a_token_of_several_words(tmp_path: Path) -> None:
    """Its tag is the tags of its words joined by `+`, and the words are kept."""
    found = one(
        tmp_path, lines("# text = Fui al mar", "1 Fui VERB", "2-3 al _", "2 a ADP", "3 el DET", "4 mar NOUN")
    )

    assert found.tokens() == ("Fui", "al", "mar")
    assert found.tokens("tags") == ("VERB", "ADP+DET", "NOUN")
    assert [unpack(own) for own in found.tokens("token_words")] == [
        (),
        (Word("a", "ADP"), Word("el", "DET")),
        (),
    ]
    assert found.text() == "Fui al mar"


@pytest.mark.parametrize(
    ("column", "tag"), [("upos", "V+P+P"), ("xpos", "xV+xP+xP"), ("deprel", "V+P+P"), ("feats", "_+_+_")]
)
def test_the_tag_of_the_column(tmp_path: Path, column: str, tag: str) -> None:
    """It is joined whichever column has the tags; `_` is the tag of a word like any other."""
    fields = (TOKENS, Field("tags", "tags", column, "--set data.tag_column=NAME"))

    found = one(tmp_path, lines("1-3 dámelo _", "1 da V", "2 me P", "2.1 x X", "3 lo P"), *fields)
    assert found.values == {"tokens": ("dámelo",), "tags": (tag,)}


def test_tokens_without_tags(tmp_path: Path) -> None:
    """Where the tags are not read, tokens are the same."""
    content = lines("1-2 du _", "1 de ADP", "2 le DET", "3 mur NOUN")

    assert one(tmp_path, content, TOKENS).values == {"tokens": ("du", "mur")}


def test_other_columns_have_a_token_for_each_word(tmp_path: Path) -> None:
    """A lemma is not written in the text: a range has none."""
    lemmas = Field("tokens", "tokens", "lemma", "--set data.token_column=NAME")
    content = lines("1-2 du _", "1 de ADP", "2 le DET")

    assert one(tmp_path, content, lemmas, TAGS).values == {"tokens": ("DE", "LE"), "tags": ("ADP", "DET")}


def test_a_range_of_one_word(tmp_path: Path) -> None:
    """It is a token like any other, written as the range is."""
    found = one(tmp_path, lines("1-1 cam'on _", "1 come VERB", "2 on ADV"))

    assert found.values == {"tokens": ("cam'on", "on"), "tags": ("VERB", "ADV")}


@pytest.mark.parametrize(
    ("words", "tag"),
    [
        ("O O", "O"),
        ("O B-LOC", "B-LOC"),
        ("B-LOC I-LOC", "B-LOC"),
        ("I-LOC O", "I-LOC"),
        ("I-LOC E-LOC", "E-LOC"),
        ("B-LOC E-LOC", "S-LOC"),
        ("B-LOC L-LOC", "U-LOC"),
        ("S-PER B-LOC", "S-PER"),
        ("O B-LOC O", "B-LOC"),
    ],
)
def test_tags_of_spans_are_not_joined(tmp_path: Path, words: str, tag: str) -> None:
    """The token belongs to the first span of its words, and has no words of its own."""
    tags = words.split(" ")
    content = lines(f"1-{len(tags)} x _", *(f"{i} x{i} {own}" for i, own in enumerate(tags, 1)))

    assert one(tmp_path, content).values == {"tokens": ("x",), "tags": (tag,)}


@pytest.mark.parametrize(
    ("rows", "bad"),
    [
        (["1-2 ab _", "1 a X"], [(1, "the range 1-2 has no word 2")]),
        (["1 a X", "2-4 bcd _", "2 b X", "3 c X"], [(2, "the range 2-4 has no word 4")]),
        (["1-2 ab _", "1 a X", "2-3 bc _", "2 b X", "3 c X"], [(3, "the range 2-3 overlaps 1-2")]),
        (["1-3 abc _", "2-3 bc _", "1 a X", "2 b X", "3 c X"], [(2, "the range 2-3 overlaps 1-3")]),
        (["2-1 ab _", "1 a X", "2 b X"], [(1, "the range is 2-1; expected the smaller number first")]),
        (
            ["1 a X", "1-2 ab _", "2 b X"],
            [(2, "the range is 1-2; the next word is 2, before which its range is expected")],
        ),
        (
            ["3-4 cd _", "1 a X", "2 b X", "3 c X", "4 d X"],
            [(1, "the range is 3-4; the next word is 1, before which its range is expected")],
        ),
        (["1-2  _", "1 a X", "2 b X"], [(1, "column 2 of tokens is empty")]),
    ],
)
def test_malformed_ranges(tmp_path: Path, rows: list[str], bad: list[tuple[int, str]]) -> None:
    """Each is reported with its line, and the next sentence is read."""
    found = read(tmp_path, lines(*rows, "", "1 c Y"), TOKENS, TAGS)

    assert found[:-1] == [BadRow(*own) for own in bad]
    assert isinstance(found[-1], Row)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (["1 Go VERB", "2 on ADP SpaceAfter=No", "3 ! PUNCT"], "Go on!"),
        (
            ["1-2 du _ SpaceAfter=No", "1 de ADP", "2 le DET SpaceAfter=No", "3 , PUNCT", "4 oui INTJ"],
            "du, oui",
        ),
        (["1 a X Lang=en|SpaceAfter=No", "2 b X SpacesAfter=\\\\s\\\\s", "3 c X SpacesAfter=\\\\n"], "ab  c"),
        (["1 a X SpacesAfter=\\\\t", "2 | X SpacesAfter=\\\\p", "3 c X"], "a\t||c"),
    ],
)
def test_a_text_is_rebuilt(tmp_path: Path, rows: list[str], text: str) -> None:
    """Without `# text` it is the tokens, with what is after each by SpaceAfter and SpacesAfter."""
    assert one(tmp_path, lines(*(row.replace("\\\\", "\\") for row in rows))).text() == text


def test_a_text_is_not_guessed(tmp_path: Path) -> None:
    """A file that never says that a space is missing says nothing about spaces."""
    rows = read(tmp_path, lines("1 Go VERB", "2 ! PUNCT", "", "# text = Go!", "1 Go VERB", "2 ! PUNCT"))

    assert ["text" in row.values for row in rows if isinstance(row, Row)] == [False, True]


def test_a_given_text_is_kept(tmp_path: Path) -> None:
    """`# text` is the text even where tokens say something else; other comments are not the text."""
    content = lines("#text=Go !", "# text_en = Go", "1 Go VERB SpaceAfter=No", "2 ! PUNCT")

    assert one(tmp_path, content).text() == "Go !"


@pytest.mark.parametrize("name", ["rows.conll", "rows.conllup"])
def test_ranges_in_other_columns(tmp_path: Path, name: str) -> None:
    """Where a column counts the tokens, ranges are tokens of several words, too."""
    content = "# global.columns = ID FORM UPOS\n1\ta\tX\n2-3\tdel\t_\n2\tde\tADP\n3\tel\tDET\n4\tb\tX\n"

    found = one(tmp_path, content, TOKENS, TAGS, WORDS, name=name)
    assert found.tokens() == ("a", "del", "b")
    assert found.tokens("tags") == ("X", "ADP+DET", "X")
    assert unpack(found.tokens("token_words")[1]) == (Word("de", "ADP"), Word("el", "DET"))
    assert read(tmp_path, content.replace("4\tb\tX\n", "4-5\tb\t_\n4\tb\tX\n"), TOKENS, TAGS, name=name) == [
        BadRow(6, "the range 4-5 has too few words")
    ]
