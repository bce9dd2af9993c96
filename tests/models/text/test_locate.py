from __future__ import annotations

import random

import numpy as np
import pytest
import tensorflow as tf

from models.text.locate import locate
from models.text.tokenize import tokenize
from models.text.tokens import PADDING, UNKNOWN
from models.text.words import MOST_CHARACTERS, WordEncoder, lookup_key

TEXTS = {
    "empty": b"",
    "blank": b" \t\r\n \x0b ",
    "wide blank": "\u00a0\u3000\u2028\u2029\ufeff\x85".encode(),
    "blank at both ends": b"\n  so  good\t ",
    "no-break spaces": "10\u00a0000\u202fkm".encode(),
    "emoji": "👍🏽 👩‍👩‍👧🇩🇪🇬🇷 so good😀😀!".encode(),
    "lone regional indicator": "🇩 🇩🇪🇬".encode(),
    "combining": "cafe\u0301 n\u0303o \u0301 a\u0323\u0307b".encode(),
    "Greek": "Η υπόθεση ΔΕΝ είναι καλή· ΌΜΩΣ…".encode(),
    "Arabic": "الحبكة جيِّدة، لكن الممثلين (سيئون)!".encode(),
    "Hebrew": "הסרט 'טוב' מאוד, ‏100%.".encode(),
    "Persian": "می‌خواهم کتاب‌ها".encode(),
    "Hindi": "फ़िल्म बहुत अच्छी है। क्‍ष".encode(),
    "Chinese": "剧情很好，但是iPhone 15演员不行。".encode(),
    "Japanese": "映画は2時間、とてもガッカリした。".encode(),
    "Korean": "영화는 정말 좋았다.".encode(),
    "Thai": "หนังเรื่องนี้ดีมาก 5/5".encode(),
    "Turkish": "İSTANBUL'da ılık IŞIK".encode(),
    "not UTF-8": b"good \xff\xfe caf\xe9 \x80\x80 x",
    "cut short": b"caf\xc3 \xe2\x82 \xf0\x9f\x98",
    "surrogates and overlong": b"a\xed\xa0\x80b \xc0\xaf \xf4\x90\x80\x80 \xf8\x88\x80\x80\x80",
    "noncharacters": "\ufffe x\uffff \U0001fffe".encode(),
    "control characters": b"a\x00b\x01\x02c \x02 d\x02\x02 don\x02't \x1b[0m \x7f",
    "zero-width": "\ufeffa\u200bb\u00adc \u200d d\u2060e".encode(),
    "contractions": b"I don't, CAN'T; she'd've won't 'tis y'all's cannot it's 's n't '",
    "curly apostrophes": "I don’t, CAN’T; she’d’ve ‘tis’ it’s ’s n’t".encode(),
    "split contraction": b"do n't it 's ' s I ' d",
    "markup": b"<br />so <b>good</b> [UNK] &amp; <3",
    "numbers": b"3.14 1,000.50 10:30 7/10 1.2.3. $5 50% 3rd",
    "signs": b"...---!!! (a-b)_c/d\\e @user #tag a@b.co http://x.y/z?q=1&r=2",
    "one token": b"good",
    "long": b"The plot isn't really dull, but the cast is charming. " * 1000,
}


def located(texts: list[bytes]) -> list[list[tuple[str, int, int]]]:
    """Return tokens, starts and ends of each text."""
    rows = [column.to_list() for column in locate(tf.constant(texts, tf.string))]
    return [
        [(token.decode(), start, end) for token, start, end in zip(*row, strict=True)]
        for row in zip(*rows, strict=True)
    ]


@pytest.fixture(scope="module")
def answers() -> dict[str, list[tuple[str, int, int]]]:
    """Return the places of all texts, found in one batch."""
    return dict(zip(TEXTS, located(list(TEXTS.values())), strict=True))


def words(text: str) -> list[str]:
    """Return the tokens of one text."""
    return [token for token, _, _ in located([text.encode()])[0]]


@pytest.mark.parametrize("name", TEXTS)
def test_places_cut_the_text(answers: dict[str, list[tuple[str, int, int]]], name: str) -> None:
    """Start and end cut each token out of its text, one behind the other, and all that is left is blank."""
    text = TEXTS[name].decode(errors="replace")
    rest, last = "", 0
    for token, start, end in answers[name]:
        assert text[start:end] == token
        assert last <= start < end
        rest += text[last:start]
        last = end
    rest += text[last:]
    # White space, control characters and the byte order mark: what no token is made of.
    assert all(c.isspace() or c in "\ufeff\x7f" or ord(c) < 32 for c in rest), ascii(rest)


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - {"markup"}))
def test_tokens_are_those_of_tokenize(answers: dict[str, list[tuple[str, int, int]]], name: str) -> None:
    """Tokens are the ones of `tokenize` with case, but for the apostrophes, which stay as they are."""
    (expected,) = tokenize(tf.constant([TEXTS[name]]), lowercase=False).to_list()

    found = [token.replace("’", "'") for token, _, _ in answers[name]]

    assert found == [token.decode() for token in expected]


def test_numbers_of_tokens(answers: dict[str, list[tuple[str, int, int]]]) -> None:
    """Nothing that is blank has tokens; a long text has all of its."""
    assert answers["empty"] == answers["blank"] == answers["wide blank"] == []
    assert len(TEXTS["long"].split()) == 10_000
    assert len(answers["long"]) == 13_000  # with n't, comma and full stop
    assert answers["long"][-1] == (".", len(TEXTS["long"]) - 2, len(TEXTS["long"]) - 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don't", [("I", 0, 1), ("do", 2, 4), ("n't", 4, 7)]),
        ("DON’T, she’d’ve", "DO N’T , she ’d ’ve"),
        ("do n't it 's", "do n't it 's"),
        ("<br/>", "< br / >"),
        ("İstanbul ΌΜΩΣ", "İstanbul ΌΜΩΣ"),
        ("映画は2時間", "映 画 は 2 時 間"),
        ("หนังดี", "ห นั ง ดี"),
        ("👍🏽👩‍👧🇩🇪🇬🇷", "👍🏽 👩‍👧 🇩🇪 🇬🇷"),
        ("a\u00a0b\x00c\x02d", [("a", 0, 1), ("b", 2, 3), ("c", 4, 5), ("d", 6, 7)]),
        ("x 🇩🇪 y", [("x", 0, 1), ("🇩🇪", 2, 4), ("y", 5, 6)]),
    ],
)
def test_tokens(text: str, expected: str | list[tuple[str, int, int]]) -> None:
    """Tokens are what a person counts; places count characters, neither bytes nor what is drawn."""
    if isinstance(expected, str):
        assert words(text) == expected.split()
    else:
        assert located([text.encode()]) == [expected]


def test_bytes_that_are_no_utf_8() -> None:
    """What is no UTF-8 counts as many characters as Python replaces it by, whatever the bytes."""
    generator = random.Random(0)
    parts = [
        b"a",
        b" ",
        b"\xc3",
        b"\xa9",
        b"\xe2\x82",
        b"\xac",
        b"\xf0\x9f",
        b"\x98\x80",
        b"\xed\xa0",
        b"\xff",
    ]
    texts = [b"".join(generator.choices(parts, k=generator.randint(1, 12))) for _ in range(500)]

    for text, row in zip(texts, located(texts), strict=True):
        decoded = text.decode(errors="replace")
        assert "".join(token for token, _, _ in row) == decoded.replace(" ", "")
        assert all(decoded[start:end] == token for token, start, end in row)


def test_a_batch_changes_nothing(answers: dict[str, list[tuple[str, int, int]]]) -> None:
    """Each text alone has the places that it has among all others, in another order."""
    names = list(reversed(TEXTS))

    assert located([TEXTS[name] for name in names]) == [answers[name] for name in names]
    assert [located([TEXTS[name]])[0] for name in names] == [answers[name] for name in names]


def test_no_texts() -> None:
    """A batch without texts has no rows."""
    assert [column.to_list() for column in locate(tf.zeros([0], tf.string))] == [[], [], []]


def test_types() -> None:
    """Places are int32, in a graph of an unknown number of texts, too."""
    graph = tf.function(locate, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    tokens, start, end = graph(tf.constant(["a b", ""]))

    assert (tokens.dtype, start.dtype, end.dtype) == (tf.string, tf.int32, tf.int32)
    assert (tokens.to_list(), start.to_list(), end.to_list()) == (
        [[b"a", b"b"], []],
        [[0, 2], []],
        [[1, 3], []],
    )


# Forms as a tagger reads them

VOCABULARY = [PADDING, UNKNOWN, b"the", b"don't", "παρα".encode()]
CHARACTERS = [PADDING, UNKNOWN, b"t", b"T", b"h", b"e", b"'", "π".encode()]


def read(rows: list[list[str]], *, lowercase: bool = True) -> dict[str, np.ndarray]:
    """Return what a reader makes of rows of forms."""
    reader = WordEncoder(VOCABULARY, CHARACTERS, lowercase=lowercase)
    return {name: value.numpy() for name, value in reader(tf.ragged.constant(rows, dtype=tf.string)).items()}


def test_reader() -> None:
    """Words are looked up in lower case, characters as they are; each distinct form is spelled once."""
    found = read([["The", "the", "x"], [], ["the"]])

    assert found["token_ids"].tolist() == [[2, 2, 1], [0, 0, 0], [2, 0, 0]]
    assert found["lengths"].tolist() == [3, 1, 1]
    # The first form is that of padding, and of rows without tokens.
    assert found["forms"].tolist() == [[1, 2, 3], [0, 0, 0], [2, 0, 0]]
    assert found["characters"].tolist() == [[0, 0, 0], [3, 4, 5], [2, 4, 5], [1, 0, 0]]
    assert found["character_lengths"].tolist() == [1, 3, 3, 1]
    assert {array.dtype for array in found.values()} == {np.dtype(np.int32)}


@pytest.mark.parametrize("rows", [[[]], [[], []]])
def test_rows_without_tokens(rows: list[list[str]]) -> None:
    """Rows without tokens are one step of padding each."""
    found = read(rows)

    assert found["token_ids"].tolist() == found["forms"].tolist() == [[0]] * len(rows)
    assert found["lengths"].tolist() == [1] * len(rows)
    assert found["characters"].tolist() == [[0]]
    assert found["character_lengths"].tolist() == [1]


def test_an_empty_form() -> None:
    """A form without characters within a row is a token that is not known, and no padding."""
    found = read([["the", "", "the"]])

    assert found["token_ids"].tolist() == [[2, 1, 2]]
    assert found["lengths"].tolist() == [3]


def test_case() -> None:
    """With case, a word is known as it is written alone."""
    assert read([["The", "the"]], lowercase=False)["token_ids"].tolist() == [[1, 2]]


def test_apostrophes() -> None:
    """A typographic apostrophe is a plain one for words, but no known character here."""
    found = read([["don’t", "DON'T", "’"]])

    assert found["token_ids"].tolist() == [[3, 3, 1]]
    assert found["characters"][3].tolist() == [1, 0, 0, 0, 0]


def test_long_forms() -> None:
    """Of a long form the middle is not read."""
    half = MOST_CHARACTERS // 2
    found = read([["t" * half + "e" * 50 + "h" * half], ["π" * 100]])

    assert found["characters"].shape[1] == MOST_CHARACTERS
    assert found["characters"][1].tolist() == [2] * half + [4] * half
    assert found["character_lengths"].tolist() == [1, MOST_CHARACTERS, MOST_CHARACTERS]


def test_as_word() -> None:
    """Words are valid UTF-8, in lower case if that is asked for, apostrophes made plain."""
    forms = tf.constant(["İT’S".encode(), "ΌΜΩΣ".encode(), b"a\xffB", b""])

    assert lookup_key(forms, True).numpy().tolist() == [
        "i\u0307t's".encode(),
        "όμως".encode(),
        "a\ufffdb".encode(),
        b"",
    ]
    assert lookup_key(forms, False).numpy().tolist() == [
        "İT'S".encode(),
        "ΌΜΩΣ".encode(),
        "a\ufffdB".encode(),
        b"",
    ]
