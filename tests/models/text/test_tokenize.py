from __future__ import annotations

import unicodedata
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.text.invisible import without_invisible
from models.text.tokenize import tokenize, unique_tokens
from models.text.tokens import TokenKind

KINDS: tuple[TokenKind, ...] = ("word", "char", "byte")
FAMILY = "👨‍👩‍👧"

# Texts between words, so that each rule of the tokenizer meets any neighbours.
FRAGMENTS = [
    *(" ", "\n", "\x00", "\x85", "\u00a0", "\u200c", "\u200d", "\u3000", "\ufeff"),
    *("'", "’", "'s", "n't", "DON’T", "a", "É", "e\u0301", "İ", "ΟΔΟΣ", "中", "の", "ー", "ไทย"),
    *("7", "3.14", "1/2", "...", "--", "_", "🇩🇪", "👍🏽", FAMILY),
]
# The same, but for texts in which markup may begin or end.
MARKUP_FRAGMENTS = [*FRAGMENTS, "<", ">", "/>", "<br", "<a href=", "<i>", "</p>"]


def texts_of(fragments: list[str]) -> st.SearchStrategy[str]:
    """Return any text, between and around the fragments."""
    return st.lists(st.one_of(st.text(max_size=5), st.sampled_from(fragments)), max_size=8).map("".join)


def tokens_of(text: str | bytes, **options: Any) -> list[str]:
    """Return one text's tokens.

    >>> tokens_of("Not bad!")
    ['not', 'bad', '!']
    """
    return [token.decode() for token in tokenize(tf.constant([text]), **options).to_list()[0]]


def separates(character: str) -> bool:
    """Return whether a character separates words and is not a token."""
    category = unicodedata.category(character)
    return category.startswith("Z") or category == "Cc"


def content(text: str) -> str:
    """Return a text without separators, invisible characters, case and the kind of apostrophe.

    >>> content("It’s GOOD")
    "it'sgood"
    """
    visible = without_invisible(tf.constant(text)).numpy().decode()
    return "".join(c for c in visible.casefold().replace("’", "'") if not separates(c))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # English: contractions apart, other apostrophes inside a word
        ("It's not bad.", "it 's not bad ."),
        ("I'm sure he'd stay, we'll see", "i 'm sure he 'd stay , we 'll see"),
        ("they're fine, they've won", "they 're fine , they 've won"),
        ("don't isn't can't won't cannot", "do n't is n't ca n't wo n't cannot"),
        ("DON'T", "do n't"),
        ("don’t it’s", "do n't it 's"),
        ("o'clock rock'n'roll James's", "o'clock rock'n'roll james 's"),
        ("'tis the dogs' 'bone'", "' tis the dogs ' ' bone '"),
        ("it 's already cut , is n't it", "it 's already cut , is n't it"),
        ("“Heat”'s end", "“ heat ” 's end"),
        ("y'all'd've", "y'all 'd 've"),
        ("shouldn't've", "should n't 've"),
        ("cafe\u0301's", "cafe\u0301 's"),
        # an apostrophe and one of these letters are no contraction inside a longer word
        ("Ankara'da Ankara'sı", "ankara'da ankara'sı"),
        ("the 'mère' and 'dün'", "the ' mère ' and ' dün '"),
        # numbers
        ("3.14 7/10 1,000 10:30 1.2.3", "3.14 7/10 1,000 10:30 1.2.3"),
        ("3. .5 9/ 1, 2", "3 . . 5 9 / 1 , 2"),
        ("the 1st of 90s", "the 1st of 90s"),
        ("٣٫٥ १२", "٣ ٫ ٥ १२"),
        # signs
        ("wait... no -- yes--no!!", "wait ... no -- yes -- no ! !"),
        ("C++ e-mail a_b #1 $5 50% (ok)", "c + + e - mail a_b # 1 $ 5 50 % ( ok )"),
        ("<3 :-)", "< 3 : - )"),
        ("a\ue000\ue000b", "a \ue000 \ue000 b"),
        # markup separates, comparison does not
        ("good<br />bad<BR/>so<br>so", "good bad so so"),
        ("<p>a</p><h1>b</h1>", "a b"),
        ('<a href="x y">link</a>', "link"),
        ("a<b and c>d", "a < b and c > d"),
        ("a < b > c", "a < b > c"),
        ("<bread> <brx/> <h7>", "< bread > < brx / > < h7 >"),
        # scripts without spaces: a letter each
        ("我爱电影", "我 爱 电 影"),
        ("我爱NLP技术", "我 爱 nlp 技 术"),
        ("好good好", "好 good 好"),
        ("日本語のテキスト", "日 本 語 の テ キ ス ト"),
        ("スーパー", "ス ー パ ー"),
        ("abcไทยdef", "abc ไ ท ย def"),
        ("ที่นี่", "ที่ นี่"),
        ("𠀀𠀁", "𠀀 𠀁"),
        # scripts with spaces: words
        ("한국어 텍스트", "한국어 텍스트"),
        ("Привет, МИР!", "привет , мир !"),
        ("हिन्दी में", "हिन्दी में"),
        ("שלום عالم", "שלום عالم"),
        ("می‌خواهم بروم", "می‌خواهم بروم"),
        # case
        ("ΟΔΥΣΣΕΥΣ ΣΑΣ", "οδυσσευς σας"),
        ("İstanbul ISPARTA ılık", "i\u0307stanbul isparta ılık"),
        ("ÉCOLE STRASSE Straße", "école strasse straße"),
        # combining marks stay with their letter
        ("cafe\u0301 e\u0301te\u0301", "cafe\u0301 e\u0301te\u0301"),
        ("q\u0307\u0323x", "q\u0307\u0323x"),
        # emoji
        ("😀😀 good😀", "😀 😀 good 😀"),
        ("👍🏽👍🏿", "👍🏽 👍🏿"),
        (f"{FAMILY}{FAMILY}", f"{FAMILY} {FAMILY}"),
        ("👩🏽‍💻❤️", "👩🏽‍💻 ❤"),
        ("🇩🇪🇫🇷", "🇩🇪 🇫🇷"),
        # what separates
        ("a\u00a0b\u3000c\u2003d\u2028e", "a b c d e"),
        ("a\x00b\x07c\td\ne\rf\x1fg\x7fh\x85i", "a b c d e f g h i"),
        ("", ""),
        (" \t\n\u00a0\u3000", ""),
        ("<br /><br />", ""),
    ],
)  # fmt: skip
def test_words(text: str, tokens: str) -> None:
    """A text is split into words, numbers and signs as a person would count them."""
    assert tokens_of(text) == tokens.split()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's I'LL WE’VE", "It 's I 'LL WE 'VE"),
        ("DON'T Don't", "DO N'T Do n't"),
        ("ΟΔΥΣΣΕΥΣ İ Straße", "ΟΔΥΣΣΕΥΣ İ Straße"),
        ("<BR />Good<Br>", "Good"),
    ],
)
def test_case_can_be_kept(text: str, tokens: str) -> None:
    """Without `lowercase` words are split at the same positions and keep their case."""
    assert tokens_of(text, lowercase=False) == tokens.split()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Not a", ["n", "o", "t", " ", "a"]),
        ("中é<b>", ["中", "é", "<", "b", ">"]),
        ("e\u0301", ["e", "\u0301"]),
        ("ΣΑΣ", ["σ", "α", "ς"]),
        ("👍🏽", ["👍", "🏽"]),
        ("", []),
    ],
)
def test_chars(text: str, tokens: list[str]) -> None:
    """`char` splits a text into its code points, including spaces."""
    assert tokens_of(text, tokens="char") == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Aé B".encode(), [b"a", b"\xc3", b"\xa9", b" ", b"b"]),
        ("É".encode(), [b"\xc3", b"\x89"]),
        (b"\xff\x00A", [b"\xff", b"\x00", b"a"]),
        (b"", []),
    ],
)
def test_bytes(text: bytes, tokens: list[bytes]) -> None:
    """`byte` splits a text into its bytes; ASCII letters are lower-cased."""
    assert tokenize(tf.constant([text]), tokens="byte").to_list() == [tokens]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (b"caf\xe9 ok", "caf � ok"),
        (b"\xff\xfe", "� �"),
        (b"a\xf0\x9f\x91", "a �"),
        (b"\xed\xa0\x80", "� � �"),
    ],
)
def test_invalid_utf8_is_replaced(text: bytes, tokens: str) -> None:
    """Invalid UTF-8 is replaced by U+FFFD; the rest of the text is unchanged."""
    assert tokens_of(text) == tokens.split()
    assert "".join(tokens_of(text, tokens="char")).replace(" ", "") == tokens.replace(" ", "")


@settings(max_examples=60, deadline=None)
@given(st.text())
@example("a\x00b")
def test_chars_lose_nothing(text: str) -> None:
    """The joined tokens of `char` are the text."""
    tokens = tokens_of(text, tokens="char", lowercase=False)

    assert "".join(tokens) == text
    assert all(len(token) == 1 for token in tokens)


@settings(max_examples=60, deadline=None)
@given(texts_of(FRAGMENTS))
@example("a\x00B")
@example("İ’S ΟΔΟΣ")
def test_lower_cased_chars_lose_nothing_visible(text: str) -> None:
    """Except for case, the visible characters of `char` are those of the text."""
    tokens = tokens_of(text, tokens="char")

    assert content("".join(tokens)) == content(text)
    assert all(len(token) == 1 for token in tokens)


@settings(max_examples=60, deadline=None)
@given(st.binary())
def test_bytes_lose_nothing(text: bytes) -> None:
    """The joined tokens of `byte` are the text, whatever its bytes."""
    tokens = tokenize(tf.constant([text]), tokens="byte", lowercase=False).to_list()[0]

    assert b"".join(tokens) == text
    assert all(len(token) == 1 for token in tokens)


@settings(max_examples=60, deadline=None)
@given(texts_of(FRAGMENTS).map(lambda text: text.replace("<", "")))
@example("a\x00B it’s")
def test_words_lose_nothing_visible(text: str) -> None:
    """Without markup, the joined words are the text except for case and separators."""
    tokens = tokens_of(text)

    assert "".join(tokens).casefold() == content(text)
    assert not any(separates(character) for character in "".join(tokens))


@settings(max_examples=60, deadline=None)
@given(texts_of(MARKUP_FRAGMENTS), texts_of(MARKUP_FRAGMENTS))
@example("<a href=", "x>")
@example("ΟΔΟΣ", "Α")
def test_markup_separates(before: str, after: str) -> None:
    """The tokens of two texts with `<br />` between them are those of both texts."""
    before, after = before.replace("\x00", ""), after.replace("\x00", "")

    assert tokens_of(f"{before}<br />{after}") == tokens_of(before) + tokens_of(after)


@settings(max_examples=30, deadline=None)
@given(st.lists(texts_of(MARKUP_FRAGMENTS), min_size=1, max_size=4), st.sampled_from(KINDS), st.booleans())
def test_neighbours_do_not_matter(texts: list[str], kind: TokenKind, lowercase: bool) -> None:
    """A text has the same tokens alone and in a batch."""
    batch = tokenize(tf.constant(texts), tokens=kind, lowercase=lowercase).to_list()
    alone = [tokenize(tf.constant([text]), tokens=kind, lowercase=lowercase).to_list()[0] for text in texts]

    assert batch == alone


@pytest.mark.parametrize("kind", KINDS)
def test_truncation(kind: TokenKind) -> None:
    """The end or the middle of a long text is removed; a short text is unchanged."""
    texts = tf.constant(["abcdef", "ab", "", "abc"])
    if kind == "word":
        texts = tf.strings.regex_replace(texts, "(.)", r"\1 ")

    def kept(max_length: int, truncate: str) -> list[str]:
        pieces = tokenize(texts, tokens=kind, max_length=max_length, truncate=truncate)  # type: ignore[arg-type]
        return [b"".join(row).decode() for row in pieces.to_list()]

    assert kept(0, "end") == kept(0, "middle") == ["abcdef", "ab", "", "abc"]
    assert kept(6, "end") == kept(6, "middle") == ["abcdef", "ab", "", "abc"]
    assert kept(1, "end") == kept(1, "middle") == ["a", "a", "", "a"]
    assert kept(2, "end") == ["ab", "ab", "", "ab"]
    assert kept(2, "middle") == ["af", "ab", "", "ac"]
    assert kept(3, "end") == ["abc", "ab", "", "abc"]
    assert kept(3, "middle") == ["abf", "ab", "", "abc"]
    assert kept(5, "middle") == ["abcef", "ab", "", "abc"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [0, 2])
def test_unique_tokens_are_the_tokens(kind: TokenKind, max_length: int) -> None:
    """Distinct tokens at their positions are the tokens of `tokenize`; none occurs twice."""
    texts = tf.constant(["Good good film", "", "not a good film, film", "中 good"])
    options: dict[str, Any] = {"tokens": kind, "max_length": max_length}

    distinct, positions, lengths = unique_tokens(texts, **options)
    rows = tf.RaggedTensor.from_row_lengths(tf.gather(distinct, positions), lengths)

    assert rows.to_list() == tokenize(texts, **options).to_list()
    assert len(set(distinct.numpy())) == len(distinct) > 2


def test_unique_tokens_of_nothing() -> None:
    """A batch without tokens, or without texts, has no distinct ones."""
    for texts in (tf.constant(["", " "]), tf.zeros([0], tf.string)):
        distinct, positions, lengths = unique_tokens(texts)

        assert len(distinct) == len(positions) == 0
        assert lengths.numpy().tolist() == [0] * len(texts)
