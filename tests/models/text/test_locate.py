from __future__ import annotations

import random
import unicodedata

import pytest
import tensorflow as tf

from models.text.invisible import without_invisible
from models.text.locate import locate
from models.text.tokenize import tokenize

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
def positions_in() -> dict[str, list[tuple[str, int, int]]]:
    """Return the positions in all texts, located in one batch."""
    return dict(zip(TEXTS, located(list(TEXTS.values())), strict=True))


def words(text: str) -> list[str]:
    """Return the tokens of one text."""
    return [token for token, _, _ in located([text.encode()])[0]]


@pytest.mark.parametrize("name", TEXTS)
def test_places_cut_the_text(positions_in: dict[str, list[tuple[str, int, int]]], name: str) -> None:
    """The text from start to end is the token, in order; the rest of the text is blank."""
    text = TEXTS[name].decode(errors="replace")
    rest, last = "", 0
    for token, start, end in positions_in[name]:
        assert text[start:end] == token
        assert last <= start < end
        rest += text[last:start]
        last = end
    rest += text[last:]
    # White space, control characters and invisible characters: what no token is made of.
    assert all(c.isspace() or unicodedata.category(c) in ("Cc", "Cf") for c in rest), ascii(rest)


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - {"markup"}))
def test_tokens_are_those_of_tokenize(positions_in: dict[str, list[tuple[str, int, int]]], name: str) -> None:
    """Tokens are those of `tokenize` with case, but with their apostrophes and invisible characters."""
    (expected,) = tokenize(tf.constant([TEXTS[name]]), lowercase=False).to_list()

    found = [token.replace("’", "'") for token, _, _ in positions_in[name]]

    assert without_invisible(tf.constant(found, tf.string)).numpy().tolist() == expected


def test_numbers_of_tokens(positions_in: dict[str, list[tuple[str, int, int]]]) -> None:
    """A blank text has no tokens; a long text has all of its tokens."""
    assert positions_in["empty"] == positions_in["blank"] == positions_in["wide blank"] == []
    assert len(TEXTS["long"].split()) == 10_000
    assert len(positions_in["long"]) == 13_000  # with n't, comma and full stop
    assert positions_in["long"][-1] == (".", len(TEXTS["long"]) - 2, len(TEXTS["long"]) - 1)


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
    """Tokens are words as a person counts them; positions count code points."""
    if isinstance(expected, str):
        assert words(text) == expected.split()
    else:
        assert located([text.encode()]) == [expected]


def test_bytes_that_are_no_utf_8() -> None:
    """Invalid UTF-8 counts as the number of characters that Python replaces it with."""
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


def test_a_batch_changes_nothing(positions_in: dict[str, list[tuple[str, int, int]]]) -> None:
    """The positions in a text do not depend on other texts or their order."""
    names = list(reversed(TEXTS))

    assert located([TEXTS[name] for name in names]) == [positions_in[name] for name in names]
    assert [located([TEXTS[name]])[0] for name in names] == [positions_in[name] for name in names]


def test_no_texts() -> None:
    """A batch without texts has no rows."""
    assert [column.to_list() for column in locate(tf.zeros([0], tf.string))] == [[], [], []]


def test_types() -> None:
    """Positions are int32, also in a graph of an unknown number of texts."""
    graph = tf.function(locate, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    tokens, start, end = graph(tf.constant(["a b", ""]))

    assert (tokens.dtype, start.dtype, end.dtype) == (tf.string, tf.int32, tf.int32)
    assert (tokens.to_list(), start.to_list(), end.to_list()) == (
        [[b"a", b"b"], []],
        [[0, 2], []],
        [[1, 3], []],
    )
