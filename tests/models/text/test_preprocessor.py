from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.text.preprocessor import Preprocessor
from models.text.tokens import SPECIAL_TOKENS

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
    """An empty batch has shape [0, 1]."""
    ids, lengths = Preprocessor(VOCABULARY)(tf.zeros([0], tf.string))

    assert ids.shape == [0, 1]
    assert lengths.shape == [0]


def test_preprocessor_passes_all_options_on() -> None:
    """Kind of token, case and truncation are those of `tokenize`."""
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
    """With special tokens only, every token is unknown, even one spelled like a special token."""
    ids, lengths = Preprocessor(SPECIAL_TOKENS)(tf.constant(["good [UNK]"]))

    assert ids.numpy().tolist() == [[1, 1, 1, 1]]
    assert lengths.numpy().tolist() == [4]


def test_order_of_a_batch_does_not_matter() -> None:
    """Except for padding, the ids of a text do not depend on other texts or their order."""
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
