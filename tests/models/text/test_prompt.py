"""The tokens of prompts, and the text that continues them."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from models.text.preprocessor import Preprocessor
from models.text.prompt import continuation, read_prompt

# The most frequent ones first, as in a vocabulary that was learned.
TOKENS = [', . ( ) the ￭-￭ - ￭- "￭ ￭" well known 我 。 們 。▁ (▁ ดี มา ▁มา ,￭ ␤ \'']
VOCABULARY = [b"", b"[UNK]", b"[END]", *(token.encode() for token in TOKENS[0].split())]


def preprocessor(**options: Any) -> Preprocessor:
    """Return a preprocessor of words with joins."""
    return Preprocessor(VOCABULARY, lines=True, **{"joins": True, **options})


def continued(prompt: str | bytes, *tokens: str, **options: Any) -> str:
    """Return the text of tokens after a prompt."""
    own = preprocessor(**options)
    pieces = tf.RaggedTensor.from_row_lengths(tf.constant(tokens, tf.string), [len(tokens)])
    text: bytes = continuation(pieces, read_prompt(tf.constant([prompt]), own), own).numpy()[0]
    return text.decode()


@pytest.mark.parametrize(
    ("prompt", "token", "text"),
    [
        ("", "known", "known"),
        ("well", "known", " known"),
        ("well ", "known", "known"),
        ("well-", "known", "known"),
        ("well- ", "known", "known"),
        ("well - ", "known", "known"),
        ("the,", "known", " known"),
        ("the (", "known", "known"),
        ("the ( ", "known", "known"),
        ('the "', "known", "known"),
        ('the "well"', "known", " known"),
        ("the\n", "known", "known"),
        ("the", ".", "."),
        ("the ", ".", "."),
        ("我", "們", "們"),
        ("我。", "們", "們"),
        ("ดี", "มา", "มา"),
        ("ดี", "▁มา", " มา"),
        ("ดี ", "▁มา", "มา"),
        ("\u200b", "known", "known"),
        (b"\xff", "known", " known"),
    ],
)
def test_the_text_joins_its_prompt(prompt: str | bytes, token: str, text: str) -> None:
    """A space comes where the training text usually has one, and never after white space."""
    assert continued(prompt, token) == text


@pytest.mark.parametrize(
    ("prompt", "last"),
    [
        ("well-", "￭-￭"),
        ("well- ", "￭-"),
        ("well -", "-"),
        ("the,", ","),
        ("(", "("),
        ("( ", "(▁"),
        ("。 ", "。▁"),
        ("well", "well"),
        ("", ""),
    ],
)
def test_the_last_sign_has_its_usual_form(prompt: str, last: str) -> None:
    """A sign at the end has the more frequent form; white space after it decides."""
    found = read_prompt(tf.constant(["well", prompt, ""]), preprocessor())

    assert found.last.numpy()[1].decode() == last
    assert [row[-1:] for row in found.pieces.to_list()] == [[b"well"], [last.encode()] * bool(last), []]


def test_words_without_joins() -> None:
    """Models that know no joins have the spaces of the rule."""
    assert continued("well-", "known", joins=False) == " known"
    assert continued("the (", "known", joins=False) == "known"
    assert continued("我", "們", joins=False, rules=1) == "們"
