"""A predictor that computes the outputs of a row once."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from app.prediction.predictor import Predictor
from app.prediction.remembering import RememberingPredictor, remembering


def counting(most: int) -> tuple[RememberingPredictor, list[int]]:
    """Return a predictor of texts and tokens, and the numbers of rows of its calls."""
    calls: list[int] = []

    def codes(text: tf.Tensor) -> dict[str, tf.Tensor]:
        calls.append(int(tf.shape(text)[0]))
        codes = tf.strings.unicode_decode(text, "UTF-8").to_tensor()
        return {"codes": codes, "length": tf.strings.length(text)}

    def first(tokens: tf.Tensor, width: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        calls.append(int(tf.shape(tokens)[0]))
        return {"first": tokens[:, 0], "width": tf.fill(tf.shape(tokens)[:1], 1 if width is None else width)}

    def doubled(number: tf.Tensor) -> dict[str, tf.Tensor]:
        calls.append(int(tf.shape(number)[0]))
        return {"doubled": 2 * number}

    no_info: Any = None
    signatures: dict[str, Any] = {"codes": codes, "first": first, "doubled": doubled}
    return remembering(Predictor(no_info, signatures), most), calls


def test_each_row_is_computed_once() -> None:
    """Rows in another order and in other company have the same outputs, in their order, padded alike."""
    predictor, calls = counting(10)
    before = predictor.run_texts("codes", [b"a", b"bcd", b"a"])
    after = predictor.run_texts("codes", np.array([b"ef", b"bcd"], object))

    assert calls == [2, 1]
    assert before["codes"].tolist() == [[97, 0, 0], [98, 99, 100], [97, 0, 0]]
    assert after["codes"].tolist() == [[101, 102, 0], [98, 99, 100]]
    assert (before["length"].tolist(), after["length"].tolist()) == ([1, 3, 1], [2, 3])


def test_tokens_and_signatures() -> None:
    """Sequences of strings are remembered too; another signature or a shared input is another question."""
    predictor, calls = counting(10)
    tokens = np.empty(2, object)
    tokens[:] = [np.array([b"x", b"y"], object), np.array([b"z"], object)]

    for _ in range(2):
        assert predictor.run("first", {"tokens": tokens})["first"].tolist() == [b"x", b"z"]
    assert calls == [2]
    shared = {"width": tf.constant(3)}
    assert predictor.run("first", {"tokens": tokens}, shared=shared)["width"].tolist() == [3, 3]
    assert calls == [2, 2]


def test_memory_is_bounded() -> None:
    """More rows than fit are computed again; numbers are not remembered at all."""
    predictor, calls = counting(1)
    for _ in range(2):
        assert predictor.run_texts("codes", [b"a", b"b"])["length"].tolist() == [1, 1]
    assert calls == [2, 1]
    for _ in range(2):
        assert predictor.run("doubled", {"number": np.array([1, 2])})["doubled"].tolist() == [2, 4]
    assert calls == [2, 1, 2, 2]
