from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.text.normalize import lower
from models.text.preprocessor import Preprocessor
from models.text.tokenize import tokenize, unique_tokens
from models.text.tokens import SPECIAL_TOKENS, TokenKind

KINDS: tuple[TokenKind, ...] = ("word", "char", "byte")
FAMILY = "👨‍👩‍👧"

# Texts between words: what a rule of the tokenizer is about stands next to anything.
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


def cut(text: str | bytes, **options: Any) -> list[str]:
    """Return one text's tokens.

    >>> cut("Not bad!")
    ['not', 'bad', '!']
    """
    return [token.decode() for token in tokenize(tf.constant([text]), **options).to_list()[0]]


def separates(character: str) -> bool:
    """Return whether a character stands between words and is no token itself."""
    category = unicodedata.category(character)
    return category.startswith("Z") or category == "Cc" or character == "\ufeff"


def content(text: str) -> str:
    """Return a text without what separates, case and the kind of apostrophe.

    >>> content("It’s GOOD")
    "it'sgood"
    """
    return "".join(c for c in text.casefold().replace("’", "'") if not separates(c))


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
        # an apostrophe and one of these letters are no contraction where the word goes on
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
        ("👩🏽‍💻❤️", "👩🏽‍💻 ❤️"),
        ("🇩🇪🇫🇷", "🇩🇪 🇫🇷"),
        # what separates
        ("a\u00a0b\u3000c\u2003d\u2028e\ufefff", "a b c d e f"),
        ("a\x00b\x07c\td\ne\rf\x1fg\x7fh\x85i", "a b c d e f g h i"),
        ("", ""),
        (" \t\n\u00a0\u3000", ""),
        ("<br /><br />", ""),
    ],
)  # fmt: skip
def test_words(text: str, tokens: str) -> None:
    """A text is cut into the words, numbers and signs that a reader would count."""
    assert cut(text) == tokens.split()


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
    """Without `lowercase` words are cut in the same places, and keep their case."""
    assert cut(text, lowercase=False) == tokens.split()


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
    """`char` cuts a text into its code points, spaces included."""
    assert cut(text, tokens="char") == tokens


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
    """`byte` cuts a text into its bytes as they stand, ASCII letters lower-cased."""
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
    """What is no UTF-8 becomes U+FFFD, and the rest of the text stands."""
    assert cut(text) == tokens.split()
    assert "".join(cut(text, tokens="char")).replace(" ", "") == tokens.replace(" ", "")


@settings(max_examples=60, deadline=None)
@given(st.text())
@example("a\x00b")
def test_chars_lose_nothing(text: str) -> None:
    """The characters of `char`, one token each, are the text."""
    tokens = cut(text, tokens="char", lowercase=False)

    assert "".join(tokens) == text
    assert all(len(token) == 1 for token in tokens)


@settings(max_examples=60, deadline=None)
@given(texts_of(FRAGMENTS))
@example("a\x00B")
@example("İ’S ΟΔΟΣ")
def test_lower_cased_chars_lose_nothing_visible(text: str) -> None:
    """But for their case, the visible characters of `char` are those of the text."""
    tokens = cut(text, tokens="char")

    assert content("".join(tokens)) == content(text)
    assert all(len(token) == 1 for token in tokens)


@settings(max_examples=60, deadline=None)
@given(st.binary())
def test_bytes_lose_nothing(text: bytes) -> None:
    """The bytes of `byte`, one token each, are the text, whatever it holds."""
    tokens = tokenize(tf.constant([text]), tokens="byte", lowercase=False).to_list()[0]

    assert b"".join(tokens) == text
    assert all(len(token) == 1 for token in tokens)


@settings(max_examples=60, deadline=None)
@given(texts_of(FRAGMENTS).map(lambda text: text.replace("<", "")))
@example("a\x00B it’s")
def test_words_lose_nothing_visible(text: str) -> None:
    """Without markup, words put together again are the text but for case and what separates."""
    tokens = cut(text)

    assert "".join(tokens).casefold() == content(text)
    assert not any(separates(character) for character in "".join(tokens))


@settings(max_examples=60, deadline=None)
@given(texts_of(MARKUP_FRAGMENTS), texts_of(MARKUP_FRAGMENTS))
@example("<a href=", "x>")
@example("ΟΔΟΣ", "Α")
def test_markup_separates(before: str, after: str) -> None:
    """`<br />` between two texts gives the tokens of the one and then of the other."""
    before, after = before.replace("\x00", ""), after.replace("\x00", "")

    assert cut(f"{before}<br />{after}") == cut(before) + cut(after)


@settings(max_examples=30, deadline=None)
@given(st.lists(texts_of(MARKUP_FRAGMENTS), min_size=1, max_size=4), st.sampled_from(KINDS), st.booleans())
def test_neighbours_do_not_matter(texts: list[str], kind: TokenKind, lowercase: bool) -> None:
    """A text has the same tokens alone and in a batch."""
    batch = tokenize(tf.constant(texts), tokens=kind, lowercase=lowercase).to_list()
    alone = [tokenize(tf.constant([text]), tokens=kind, lowercase=lowercase).to_list()[0] for text in texts]

    assert batch == alone


@pytest.mark.parametrize("kind", KINDS)
def test_truncation(kind: TokenKind) -> None:
    """The end or the middle of a long text is dropped, and a short one is left alone."""
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


def test_every_character_is_lowered() -> None:
    """Each upper-case letter of the first 65,536 characters is lowered as Unicode says.

    But for letters younger than the Unicode that TensorFlow knows, of 2021: two of Latin, one of
    Glagolitic and some of Vithkuqi and Latin Extended-D are left as they are.
    """
    capitals = [chr(c) for c in range(1, 0x10000) if not 0xD800 <= c < 0xE000 and chr(c).lower() != chr(c)]
    lowered = [text.decode() for text in lower(tf.constant(capitals)).numpy()]
    wrong = {before for before, after in zip(capitals, lowered, strict=True) if after != before.lower()}

    assert len(capitals) > 1100
    assert wrong <= set("ⰯꟀꟐꟖꟘ")


def test_lower_keeps_the_shape() -> None:
    """Strings of any shape are lowered, none included."""
    assert lower(tf.constant([["É", "SS"], ["ẞ", "i"]])).numpy().tolist() == [
        ["é".encode(), b"ss"],
        ["ß".encode(), b"i"],
    ]
    assert lower(tf.constant("ÀB")).numpy().decode() == "àb"
    assert lower(tf.zeros([0], tf.string)).shape == [0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [0, 2])
def test_unique_tokens_are_the_tokens(kind: TokenKind, max_length: int) -> None:
    """Distinct tokens, put where their positions say, are what `tokenize` gives; none comes twice."""
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


VOCABULARY = [*SPECIAL_TOKENS, b"good", b"film", b"not", b",", "中".encode()]


def test_ids() -> None:
    """A known token's id is its position, an unknown one's is 1, and rows are right-padded with 0."""
    ids, lengths = Preprocessor(VOCABULARY)(tf.constant(["Good film", "not 中, bad good", "film"]))

    assert ids.dtype == lengths.dtype == tf.int32
    assert ids.numpy().tolist() == [[2, 3, 0, 0, 0], [4, 6, 5, 1, 2], [3, 0, 0, 0, 0]]
    assert lengths.numpy().tolist() == [2, 5, 1]


@pytest.mark.parametrize("texts", [["", "good film"], ["", ""], [" \n"], ["<br />"]])
def test_text_without_tokens_is_one_step_of_padding(texts: list[str]) -> None:
    """An empty text counts as one step of padding, next to others and alone."""
    ids, lengths = Preprocessor(VOCABULARY)(tf.constant(texts))

    assert ids.shape == [len(texts), 2 if "good film" in texts else 1]
    assert ids.numpy()[0].tolist() == [0] * ids.shape[1]
    assert lengths.numpy().tolist() == [2 if text == "good film" else 1 for text in texts]


def test_no_texts() -> None:
    """An empty batch has no rows, but a step."""
    ids, lengths = Preprocessor(VOCABULARY)(tf.zeros([0], tf.string))

    assert ids.shape == [0, 1]
    assert lengths.shape == [0]


def test_preprocessor_passes_all_options_on() -> None:
    """Kind of token, case, and how a long text is cut are those of `tokenize`."""
    text = tf.constant(["Good film"])
    letters = [*SPECIAL_TOKENS, b"g", b"m", b"G"]

    def ids(**options: Any) -> list[list[int]]:
        return Preprocessor(letters, tokens="char", **options)(text)[0].numpy().tolist()

    assert ids() == [[2, 1, 1, 1, 1, 1, 1, 1, 3]]
    assert ids(lowercase=False) == [[4, 1, 1, 1, 1, 1, 1, 1, 3]]
    assert ids(max_length=4) == [[2, 1, 1, 1]]
    assert ids(max_length=4, truncate="middle") == [[2, 1, 1, 3]]


def test_longest_kept_text_is_the_width() -> None:
    """After truncation the width is that of the longest text, not `max_length`."""
    preprocessor = Preprocessor(VOCABULARY, max_length=3)

    assert preprocessor(tf.constant(["good film good film", "film"]))[1].numpy().tolist() == [3, 1]
    assert preprocessor(tf.constant(["good film", "film"]))[0].shape == [2, 2]


@pytest.mark.parametrize(
    "vocabulary", [[], [b"good", b"film"], list(reversed(SPECIAL_TOKENS)), [SPECIAL_TOKENS[0], b"good"]]
)
def test_vocabulary_starts_with_special_tokens(vocabulary: list[bytes]) -> None:
    """A vocabulary without the special tokens at its start is refused."""
    with pytest.raises(ValueError, match="starts with"):
        Preprocessor(vocabulary)


def test_vocabulary_of_special_tokens_only() -> None:
    """With no other tokens every token is unknown, even one spelt like a special one."""
    ids, lengths = Preprocessor(SPECIAL_TOKENS)(tf.constant(["good [UNK]"]))

    assert ids.numpy().tolist() == [[1, 1, 1, 1]]
    assert lengths.numpy().tolist() == [4]


def test_order_of_a_batch_does_not_matter() -> None:
    """A text has the same ids in any place and next to any other text, but for padding."""
    preprocessor = Preprocessor(VOCABULARY)
    texts = ["good", "", "not good, film film", "中 中", "good bad"]
    alone = [preprocessor(tf.constant([text])) for text in texts]

    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1], [1, 0]):
        ids, lengths = preprocessor(tf.constant([texts[i] for i in order]))
        for row, i in enumerate(order):
            width = alone[i][0].shape[1]
            assert lengths[row] == alone[i][1][0]
            assert ids[row, :width].numpy().tolist() == alone[i][0][0].numpy().tolist()
            assert not np.any(ids[row, width:])


# What some language lowers in its own way.
CAPITALS = ["I", "İ", "ISPARTA", "I\u0301", "I\u0307", "Ì", "Í", "Ĩ", "J\u0301", "Į\u0301", "Ĳ", "ΟΔΟΣ", "É"]
LOWERED = list(dict.fromkeys(text.lower().encode() for text in CAPITALS))
LOCALES = ["C", "POSIX", "C.UTF-8", "tr_TR.UTF-8", "lt_LT.UTF-8"]

# One process a locale, forked where TensorFlow is imported but has not yet looked at the locale.
IN_EACH_LOCALE = """
import json, os, sys
import tensorflow as tf

path, texts, locales = json.loads(sys.argv[1])
for locale in locales:
    if os.fork() == 0:
        os.environ["LC_ALL"] = locale
        exported = tf.saved_model.load(path)
        ids, lengths = exported.ids(tf.constant(texts))
        print(json.dumps({
            "plain": [text.decode() for text in tf.strings.lower(texts, encoding="utf-8").numpy()],
            "lower": [text.decode() for text in exported.lower(tf.constant(texts)).numpy()],
            "ids": ids.numpy().tolist(),
            "lengths": lengths.numpy().tolist(),
        }), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def in_each_locale(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what `lower` and a preprocessor give in fresh processes that know TensorFlow only."""
    path = str(tmp_path_factory.mktemp("text") / "exported")
    signature = [tf.TensorSpec([None], tf.string)]
    exported = tf.Module()
    exported.preprocessor = Preprocessor([*SPECIAL_TOKENS, *LOWERED])
    exported.ids = tf.function(exported.preprocessor.__call__, input_signature=signature)
    exported.lower = tf.function(lower, input_signature=signature)
    tf.saved_model.save(exported, path)
    result = subprocess.run(
        [sys.executable, "-I", "-c", IN_EACH_LOCALE, json.dumps([path, CAPITALS, LOCALES])],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=Path(path).parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(zip(LOCALES, map(json.loads, result.stdout.splitlines()), strict=True))


def test_locales_differ(in_each_locale: dict[str, Any]) -> None:
    """Left to itself, TensorFlow lowers as the host's language does: the tests below test something."""
    plain = {locale: result["plain"][0] for locale, result in in_each_locale.items()}

    assert plain["C"] == "i"
    assert plain["tr_TR.UTF-8"] == "ı"
    assert in_each_locale["lt_LT.UTF-8"]["plain"] != in_each_locale["C"]["plain"]


@pytest.mark.parametrize("locale", LOCALES)
def test_locale_does_not_matter(in_each_locale: dict[str, Any], locale: str) -> None:
    """Text is lowered as Unicode says, in any locale."""
    result = in_each_locale[locale]

    assert result["lower"] == [text.lower() for text in CAPITALS]


@pytest.mark.parametrize("locale", LOCALES)
def test_exported_preprocessor(in_each_locale: dict[str, Any], locale: str) -> None:
    """A SavedModel gives the same ids without this package, in any locale."""
    ids = [len(SPECIAL_TOKENS) + LOWERED.index(text.lower().encode()) for text in CAPITALS]

    assert in_each_locale[locale]["ids"] == [[i] for i in ids]
    assert in_each_locale[locale]["lengths"] == [1] * len(CAPITALS)
