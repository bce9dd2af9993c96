from __future__ import annotations

import numpy as np
import tensorflow as tf

from models.decoding.constraints import keep_likely, penalise_repetition
from models.decoding.emit import REPETITION_WINDOW
from models.decoding.sampling import sample


def test_equals_go_to_the_lowest_id() -> None:
    """Among equal logits, greedy decoding takes the lowest id and top-k keeps the lowest ids."""
    scores, ids = keep_likely(tf.constant([[1.0, 2.0, 1.0, 1.0]]), tf.constant([3]), tf.constant([1.0]))
    assert ids.numpy()[0, :3].tolist() == [1, 0, 2]
    assert np.isfinite(scores[0]).tolist() == [True, True, True, False]

    ids, *_ = sample(lambda ids, s: (tf.zeros([1, 4]), s), (), tf.zeros([1, 4]), length=2, temperature=0.0)
    assert ids.numpy().tolist() == [[0, 0]]


def test_mass_that_is_reached_exactly() -> None:
    """The kept tokens are the fewest that reach the mass; a mass of 1 keeps tokens lost in rounding too."""
    halves = tf.math.log([[0.5, 0.25, 0.125, 0.125]])
    assert np.sum(np.isfinite(keep_likely(halves, tf.constant([0]), tf.constant([0.75]))[0])) == 2

    steep = tf.constant([[100.0, 90.0, 0.0, -20.0]])
    assert np.all(np.isfinite(keep_likely(steep, tf.constant([0]), tf.constant([1.0]))[0]))


def test_penalty() -> None:
    """Logits of repeated tokens decrease once, whatever their sign; others do not change."""
    logits = tf.constant([[2.0, -2.0, 1.0, -1.0], [2.0, -2.0, 1.0, -1.0], [2.0, -2.0, 1.0, -1.0]])
    recent = tf.constant([[0, 1, 0], [3, 3, 3], [0, 1, 2]])
    got = penalise_repetition(logits, recent, tf.constant([2.0, 4.0, 1.0]))

    assert got.numpy().tolist() == [[1, -4, 1, -1], [2, -2, 1, -4], [2, -2, 1, -1]]


def test_penalty_forgets() -> None:
    """A token outside of the window is not penalised; a row without a penalty repeats itself."""
    vocabulary = REPETITION_WINDOW + 6
    logits = tf.tile(tf.linspace(2.0, 1.0, vocabulary)[tf.newaxis], [2, 1])
    ids, *_ = sample(
        lambda ids, state: (logits, state),
        (),
        logits,
        length=REPETITION_WINDOW + 3,
        temperature=0.0,
        repetition_penalty=[100.0, 1.0],
    )

    assert ids[0].numpy().tolist() == [*range(REPETITION_WINDOW + 1), 0, 1]
    assert not np.any(ids[1])
