"""Tokens of JSON lines as objects and as offsets of the text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from data.formats import BadRow, Field, Row, sniff
from data.multiword import Word, unpack

TOKENS = Field("tokens", "tokens", "tokens", "--set data.token_column=NAME", ("words", "offsets"))
TAGS = Field("tags", "tags", "upos", "--set data.tag_column=NAME", ("tags",))
XPOS = Field("tags", "tags", "xpos", "--set data.tag_column=NAME")
TEXT = Field("text", "text", "text", "--set data.text_column=NAME", optional=True)
WORDS = Field("token_words", "words", "token_words", "", optional=True)
DU = [{"text": "de", "tag": "ADP"}, {"text": "le", "tag": "DET"}]


def read(folder: Path, *values: object, tags: Field = TAGS, name: str = "rows.jsonl") -> list[Row | BadRow]:
    """Write a line for each value, and return its rows."""
    (folder / name).write_text("".join(json.dumps(value) + "\n" for value in values))
    file = sniff(folder / name, (TOKENS, tags, TEXT, WORDS), ("sentences", "records"))
    assert file is not None
    return list(file.rows())


def objects(*tokens: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Return tokens of start, end, tag and perhaps text."""
    return [dict(zip(("start", "end", "tag", "text"), token, strict=False)) for token in tokens]


SENTENCE = {"text": "Go on!", "tokens": ("Go", "on", "!"), "tags": ("V", "P", "X")}


@pytest.mark.parametrize(
    "value",
    [
        {"text": "Go on!", "tokens": objects((0, 2, "V"), (3, 5, "P"), (5, 6, "X"))},
        {"text": "Go on!", "tokens": objects((0, 2, "V", "Go"), (3, 5, "P", "on"), (5, 6, "X", "!"))},
        {"tokens": objects((0, 2, "V", "Go"), (3, 5, "P", "on"), (5, 6, "X", "!")), "spans": []},
        {"text": "Go on!", "tokens": [[0, 2], [3, 5], [5, 6]], "tags": ["V", "P", "X"]},
        {"text": "Go on!", "offsets": [[0, 2], [3, 5], [5, 6]], "upos": ["V", "P", "X"]},
        {"text": "Go on!", "tokens": [{"start": 0, "end": 2}, {"start": 3, "end": 5}, {"start": 5, "end": 6}],
         "tags": ["V", "P", "X"]},
        {"text": "Go on!", "tokens": [{"text": "Go", "tag": "V"}, {"text": "on", "tag": "P"},
                                      {"text": "!", "tag": "X"}]},
        {"text": "Go on!", "tokens": [{"text": "Go", "upos": "V", "tag": "1"}, {"text": "on", "upos": "P"},
                                      {"text": "!", "upos": "X"}]},
    ],
)  # fmt: skip
def test_tokens(tmp_path: Path, value: dict[str, Any]) -> None:
    """Objects, with or without their texts, and offsets are the same tokens."""
    assert read(tmp_path, value, value) == [Row(1, dict(SENTENCE)), Row(2, dict(SENTENCE))]


def test_a_tag_column_of_objects(tmp_path: Path) -> None:
    """The key of the tags may be that of `data.tag_column`."""
    value = {"text": "Go", "tokens": [{"start": 0, "end": 2, "tag": "V", "xpos": "VB"}]}

    (found,) = read(tmp_path, value, tags=XPOS)
    assert isinstance(found, Row)
    assert found.tokens("tags") == ("VB",)


def test_characters_are_counted_as_python_does(tmp_path: Path) -> None:
    """An emoji is one character, as in what `predict` prints."""
    (found,) = read(tmp_path, {"text": "\U0001f44d é", "tokens": objects((0, 1, "S"), (2, 3, "X"))})

    assert isinstance(found, Row)
    assert found.tokens() == ("\U0001f44d", "é")


def test_words_of_tokens(tmp_path: Path) -> None:
    """Objects have their words, and so has a column beside strings."""
    joined = {
        "text": "du vin",
        "tokens": [{"text": "du", "tag": "ADP+DET", "words": DU}, {"text": "vin", "tag": "N"}],
    }
    column = {"text": "du vin", "tokens": ["du", "vin"], "tags": ["ADP+DET", "N"], "token_words": [DU, []]}

    for value in (joined, column):
        (found,) = read(tmp_path, value)
        assert isinstance(found, Row), found
        assert [unpack(own) for own in found.tokens("token_words")] == [
            (Word("de", "ADP"), Word("le", "DET")),
            (),
        ]
        assert found.tokens("tags") == ("ADP+DET", "N")


@pytest.mark.parametrize(
    ("text", "tokens", "reason"),
    [
        ("Go on!", [[0, 2], [3, 9]], "tokens[1] is [3, 9]; the text has 6 characters"),
        ("Go on!", [[0, 3], [2, 5]], "tokens[1] is [2, 5]; the token before ends at 3"),
        ("Go on!", [[3, 5], [0, 2]], "tokens[1] is [0, 2]; the token before ends at 5"),
        ("Go on!", [[2, 2]], "tokens[0] is [2, 2]; expected a start from 0, and an end after it"),
        ("Go on!", [[-2, 2]], "tokens[0] is [-2, 2]; expected a start from 0, and an end after it"),
        ("Go on!", [[2, 3]], "tokens[0] is [2, 3], where the text has only white space"),
        ("Go on!", [[0, 2.0]], "tokens[0] is [0, 2.0]; expected its start and end, such as [0, 4]"),
        ("Go on!", [[0, 2], [3]], "tokens[1] is [3]; expected its start and end, such as [0, 4]"),
        ("Go on!", [[0, 2], "on"], "tokens[1] is 'on'; expected its start and end, such as [0, 4]"),
        ("Go on!", objects((0, 2, "V", "Og")), "tokens[0] is [0, 2] and 'Og'; the text has 'Go' there"),
        ("Go on!", [*objects((0, 2, "V")), "on"], "tokens[1] is no object, but other tokens are"),
        ("Go on!", [*objects((0, 2, "V")), {"end": 5}], 
         "tokens[1] has no 'start'; a token has start and end, or text"),
        ("Go on!", [{"start": 0}], "tokens[0] has no 'end'; a token has start and end, or text"),
        ("Go on!", [{"tag": "V"}], "tokens[0] has no 'text'; a token has start and end, or text"),
        (None, [[0, 2]],
         "'tokens' has offsets, but there is no text; name its column with --set data.text_column=NAME"),
        ("du", [{"text": "du", "tag": "X+Y", "words": [{"text": "de", "tag": "X"}]}],
         "token_words[0]: one word; expected several, or an empty list for a token that is one word"),
        ("du", [{"text": "du", "tag": "X+Y", "words": ["de", "le"]}],
         'token_words[0]: expected a list of words such as {"text": "de", "tag": "ADP"}'),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, text: str | None, tokens: list[Any], reason: str) -> None:
    """Each is reported with its row and its values, and the next row is read."""
    value = {"text": text, "tokens": tokens, "tags": ["V"] * len(tokens)}
    good = {"text": "Go on!", "tokens": ["Go"], "tags": ["V"]}

    assert read(tmp_path, good, value, good)[1] == BadRow(2, reason)


def test_a_missing_tag(tmp_path: Path) -> None:
    """A token without a tag, where others have one, is a mistake; where none has, so is the file."""
    (found,) = read(
        tmp_path, {"text": "Go on", "tokens": [{"start": 0, "end": 2, "tag": "V"}, {"start": 3, "end": 5}]}
    )
    assert found == BadRow(1, "tags[1] is null, not a text")

    with pytest.raises(UserError, match="no column 'upos'; there is 'text', 'tokens'"):
        read(tmp_path, {"text": "Go", "tokens": [{"start": 0, "end": 2}]})


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_one_long_document(tmp_path: Path, name: str) -> None:
    """An object that is longer than what is sniffed is a row, and no array of rows."""
    text = "ab " * 20_000
    places = [[3 * i, 3 * i + 2] for i in range(20_000)]
    for tokens in (places, objects(*((start, end, "X") for start, end in places))):
        value = {"text": text, "tags": ["X"] * len(places), "tokens": tokens}
        (found,) = read(tmp_path, value, name=name)
        assert isinstance(found, Row)
        assert len(found.tokens()) == 20_000
