"""Positions of the tokens of `tokenize` in the original text."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.text.invisible import without_invisible
from models.text.normalize import lower
from models.text.positions import positions
from models.text.subwords import SubwordTokenizer
from models.text.tokenize import tokenize
from models.text.tokens import TokenKind

PIECES = [*"▁aeinst", "▁the", "▁it", "is", "▁İ", "<", ">", "/", "br"]
SUBWORDS = SubwordTokenizer([p.encode() for p in PIECES], [-float(i + 1) for i in range(len(PIECES))])

HARD = ["a", "T", "İ", "Σ", "é", "e\u0301", "不", "👩‍👩‍👧", "🇩🇪", "don't", "n’t", "’", "'s", "3.14"]
HARD += [
    "<br />",
    "<b>",
    "</B>",
    "<",
    ">",
    "/",
    "br",
    " ",
    "  ",
    "\n",
    "\xa0",
    "\x00",
    "\x02",
    "\x7f",
    "\ufeff",
]
HARD += ["...", "--", "▁", "ſ", "K", "\u200d", "ﬁ", "ß", "Ⓐ", "ǅ"]
TEXTS = st.lists(st.one_of(st.sampled_from(HARD), st.characters(exclude_categories=["Cs"])), max_size=12)


def spans(text: str | bytes, **options: Any) -> list[tuple[int, int]]:
    """Return the positions of a text's tokens."""
    start, end = positions(tf.constant([text]), **options)
    return list(zip(start[0].numpy().tolist(), end[0].numpy().tolist(), strict=True))


def pieces(text: str | bytes, **options: Any) -> list[str]:
    """Return a text's tokens."""
    return [token.decode() for token in tokenize(tf.constant([text]), **options)[0].numpy()]


def folded(text: str, lowercase: bool) -> str:
    """Return what a token and its original text have in common."""
    if lowercase:  # a sigma at the end of a word is another one
        found: bytes = lower(tf.constant(text)).numpy()
        text = found.decode().replace("ς", "σ")
    return text.replace("’", "'").replace(" ", "▁").removeprefix("▁")


def test_words() -> None:
    """Positions of words refer to the original text, with its case and markup."""
    text = "I <b>don’t</b> like\xa0IT<br />."
    found = [text[start:end] for start, end in spans(text)]

    assert found == ["I", "do", "n’t", "like", "IT", "."]
    assert pieces(text) == ["i", "do", "n't", "like", "it", "."]
    assert spans("I <b>don't</b>") == [(0, 1), (5, 7), (7, 10)]


def test_a_zero_byte_in_markup() -> None:
    """U+0000, which lower-casing replaces by a space, may be part of markup."""
    text = "a<br\x00/>b"
    assert pieces(text) == ["a", "b"]
    assert spans(text) == [(0, 1), (7, 8)]
    assert len(spans(text, lowercase=False)) == len(pieces(text, lowercase=False)) == 6


def test_characters() -> None:
    """Each character has one position; one that has two characters in lower case, too."""
    assert spans("aİb", tokens="char") == [(0, 1), (1, 2), (1, 2), (2, 3)]
    assert pieces("aİb", tokens="char") == ["a", "i", "\u0307", "b"]
    assert spans("aİb", tokens="char", lowercase=False) == [(0, 1), (1, 2), (2, 3)]


def test_bytes() -> None:
    """All bytes of a character have its position; so do invalid bytes that count as one character."""
    assert spans("aé👍", tokens="byte") == [(0, 1), (1, 2), (1, 2), *[(2, 3)] * 4]
    assert spans(b"\xffa\xe2\x82b", tokens="byte") == [(0, 1), (1, 2), (2, 3), (2, 3), (3, 4)]
    assert b"\xffa\xe2\x82b".decode(errors="replace") == "\ufffda\ufffdb"


def test_subwords() -> None:
    """The position of a piece excludes its leading space; an added space has no width."""
    options: dict[str, Any] = {"tokens": "subword", "subwords": SUBWORDS, "lowercase": False}

    assert pieces("it  is", **options) == ["▁it", "▁", "▁", "is"]
    assert spans("it  is", **options) == [(0, 2), (2, 3), (3, 4), (4, 6)]
    assert pieces("na it", **options) == ["▁", "n", "a", "▁it"]
    assert spans("na it", **options) == [(0, 0), (0, 1), (1, 2), (3, 5)]
    assert pieces("na", **options) == ["▁", "n", "a"]
    assert spans("na", **options) == [(0, 0), (0, 1), (1, 2)]


def test_rows() -> None:
    """Rows do not depend on each other; a batch without rows has no positions."""
    texts = ["<b>one</b> two", "", " ", "İx"]
    for tokens in ("word", "char", "byte"):
        start, end = positions(tf.constant(texts), tokens=tokens)
        assert [
            list(zip(*each, strict=True)) for each in zip(start.to_list(), end.to_list(), strict=True)
        ] == [spans(text, tokens=tokens) for text in texts]
        assert positions(tf.constant([], tf.string), tokens=tokens).start.to_list() == []


@pytest.mark.parametrize("truncate", ["end", "middle"])
@pytest.mark.parametrize("max_length", [1, 2, 5])
@pytest.mark.parametrize("text", ["a <br/> b c d e f g", "a b c d e", "a b", ""])
def test_truncation(truncate: str, max_length: int, text: str) -> None:
    """Positions are those of the kept tokens."""
    options = {"max_length": max_length, "truncate": truncate}

    assert [text[start:end] for start, end in spans(text, **options)] == pieces(text, **options)


KINDS: tuple[TokenKind, ...] = ("word", "char", "byte", "subword")
GRAPHS = {
    (kind, lowercase): tf.function(
        lambda texts, options={"tokens": kind, "lowercase": lowercase, "subwords": SUBWORDS}: (
            tokenize(texts, **options),
            positions(texts, **options),
        ),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )
    for kind in KINDS
    for lowercase in (True, False)
}


@pytest.mark.parametrize(("kind", "lowercase"), GRAPHS)
@settings(max_examples=60)
@given(parts=TEXTS)
@example(parts=HARD)
@example(parts=[f"{a}{b}" for a, b in zip(HARD, reversed(HARD), strict=True)])
def test_any_text(kind: TokenKind, lowercase: bool, parts: list[str]) -> None:
    """Every token of any text has a position, in order, and its text is there."""
    text = "".join(parts)
    tokens, places = GRAPHS[kind, lowercase](tf.constant([text]))
    found = [token.decode(errors="replace") for token in tokens[0].numpy()]
    starts, ends = (each[0].numpy().tolist() for each in places)

    assert len(starts) == len(ends) == len(found)
    assert starts == sorted(starts)
    assert all(0 <= start <= end <= len(text) for start, end in zip(starts, ends, strict=True))
    if kind in ("word", "subword"):
        written = [text[start:end] for start, end in zip(starts, ends, strict=True)]
        if kind == "word":
            written = [token.decode() for token in without_invisible(tf.constant(written, tf.string)).numpy()]
        pairs = [
            (folded(token, lowercase), folded(own, lowercase))
            for token, own in zip(found, written, strict=True)
            if not (lowercase and "İ" in own)  # of which several tokens may be parts
        ]
        assert [token for token, _ in pairs] == [own for _, own in pairs]
    if kind in ("char", "byte"):
        assert sorted(set(starts)) == list(range(len(text)))


def test_what_it_does_not_do() -> None:
    """Options that change the text before it is tokenized are refused."""
    with pytest.raises(ValueError, match="lines=True"):
        positions(tf.constant(["a"]), lines=True)
    with pytest.raises(ValueError, match="joins=True"):
        positions(tf.constant(["a"]), joins=True)
    with pytest.raises(ValueError, match="subword tokens need a SubwordTokenizer"):
        positions(tf.constant(["a"]), tokens="subword")
    collapsing = SubwordTokenizer([b"a"], [-1.0], collapse=True)
    with pytest.raises(ValueError, match="texts as they are"):
        positions(tf.constant(["a"]), tokens="subword", subwords=collapsing)
