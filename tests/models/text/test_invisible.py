"""Invisible characters never make or split a token."""

from __future__ import annotations

import pytest
import tensorflow as tf

from models.text.locate import locate
from models.text.tokenize import tokenize
from models.text.words import lookup_key, visible

ENGLAND, SCOTLAND = (
    "🏴" + "".join(chr(0xE0000 + ord(letter)) for letter in name) + "\U000e007f"
    for name in ("gbeng", "gbsct")
)
# One of each kind: controls of direction and notation, zero-width characters, selectors, fillers, anchors.
INVISIBLE = [
    *("\u00ad", "\u034f", "\u061c", "\u115f", "\u17b4", "\u180b", "\u180e", "\u200b", "\u200c", "\u200d"),
    *("\u200e", "\u202a", "\u2060", "\u2062", "\u2066", "\u3164", "\ufe00", "\ufe0f", "\ufeff", "\uffa0"),
    *("\ufff9", "\ufffb", "\U0001bca0", "\U0001d173", "\U000e0001", "\U000e0067", "\U000e0100"),
]


def words(text: str) -> list[str]:
    """Return the tokens of a text."""
    return [token.decode() for token in tokenize(tf.constant([text])).to_list()[0]]


def located(text: str) -> list[str]:
    """Return the parts of a text at the positions of its tokens."""
    _, starts, ends = (column.to_list()[0] for column in locate(tf.constant([text])))
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_no_token_is_made_or_split(character: str) -> None:
    """Tokens with an invisible character inside are what they are without it."""
    c = character
    assert words(f"co{c}operate") == ["cooperate"]
    assert words(f"{c}a{c} {c} b{c}") == ["a", "b"]
    assert words(f"don{c}'{c}t 3{c}.{c}14 .{c}. -{c}-") == ["do", "n't", "3.14", "..", "--"]
    assert words(f"中{c}国{c}。") == ["中", "国", "。"]
    assert words(f" {c}{c} ") == located(f" {c} ") == []


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_positions_are_exact(character: str) -> None:
    """A token is at its place in the original text, with the invisible characters inside it."""
    c = character
    assert located(f"{c}co{c}op") == [f"co{c}op"]
    assert [token.strip(c) for token in located(f"don't {c}b{c}.")] == ["do", "n't", "b", "."]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (f"{ENGLAND}{SCOTLAND}🏴", f"{ENGLAND} {SCOTLAND} 🏴"),
        ("❤️❤ ☎️", "❤ ❤ ☎"),
        ("👩‍❤️‍👨 👁️‍🗨️ 🏳️‍🌈", "👩‍❤‍👨 👁‍🗨 🏳‍🌈"),
        ("1️⃣2️⃣ #️⃣ *️⃣", "1⃣2⃣ #⃣ *⃣"),
        ("می‌خواهم کتاب‌ها", "می‌خواهم کتاب‌ها"),
        ("क्‍ष র‍্য", "क्‍ष র‍্য"),
        ("Auf\u200clage", "auflage"),
        ("😀\u200b😀 🇩\u200d🇪", "😀 😀 🇩🇪"),
        ("葛\U000e0100城", "葛 城"),
        ("\u0600١٢ a\u0600b", "\u0600١٢ a\u0600b"),
    ],
)  # fmt: skip
def test_those_with_a_meaning_are_kept(text: str, tokens: str) -> None:
    """Joiners of emoji and of letters that they shape, and tags of flags, are parts of tokens."""
    assert words(text) == tokens.split()


def test_words_of_a_tagger() -> None:
    """A tagger sees words without invisible characters; models of the first rules see them."""
    given = tf.constant(["Co\u00adop", "❤️", "\u200b", "می‌خواهم"])

    assert lookup_key(visible(given), True).numpy().tolist() == [
        word.encode() for word in ("coop", "❤", "", "می‌خواهم")
    ]
    assert visible(given, 1).numpy().tolist() == given.numpy().tolist()
