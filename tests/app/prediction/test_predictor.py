from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from app.prediction.predictor import Predictor

TEXTS = [b"a" * (1 + 7 * i % 40) for i in range(33)]


def predictor(**signatures: Any) -> Predictor:
    """Return a predictor of functions, which take five rows at a time."""
    no_info: Any = None
    return Predictor(no_info, signatures, batch_size=5)


def test_batches_that_run_at_the_same_time_stay_in_order() -> None:
    """Outputs are those of their rows, also if a later batch is finished first."""
    callers = set()

    def lengths(text: tf.Tensor) -> dict[str, tf.Tensor]:
        callers.add(threading.get_ident())
        length = tf.strings.length(text)
        time.sleep(0.05 if int(length[0]) % 2 else 0.001)
        return {"length": length, "reversed": tf.strings.unicode_decode(text, "UTF-8").to_tensor()}

    found = predictor(lengths=lengths).run_texts("lengths", TEXTS)

    assert found["length"].tolist() == [len(text) for text in TEXTS]
    assert (found["reversed"] > 0).sum(axis=1).tolist() == [len(text) for text in TEXTS]
    assert len(callers) == 2


def test_an_error_of_a_batch() -> None:
    """The error of a batch is raised, and no further batch is begun."""
    calls = []

    def failing(text: tf.Tensor) -> dict[str, tf.Tensor]:
        calls.append(len(text))
        raise ValueError("a bad row")

    with pytest.raises(ValueError, match="a bad row"):
        predictor(failing=failing).run_texts("failing", TEXTS)

    assert len(calls) <= 3


def test_one_batch_is_computed_by_the_caller() -> None:
    """A text alone costs no thread."""
    found = predictor(
        caller=lambda text: {"thread": tf.constant([threading.get_ident()], tf.int64)}
    ).run_texts("caller", [b"one"])

    np.testing.assert_array_equal(found["thread"], [threading.get_ident()])
