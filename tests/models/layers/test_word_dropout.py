from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers.word_dropout import WordDropout
from models.text.tokens import UNKNOWN_ID

# 20,000 ids from 2 to 19, none of them the unknown token's. Where a share of these is measured, a
# tolerance of 0.0142 is at least four standard deviations.
TOKEN_IDS = tf.reshape(tf.range(20_000) % 18 + 2, [400, 50])
TOLERANCE = 0.0142


@pytest.fixture(autouse=True)
def seed() -> None:
    """Make what is drawn the same in each run."""
    keras.utils.set_random_seed(1)


def is_unknown(token_ids: tf.Tensor) -> tf.Tensor:
    return token_ids.numpy() == UNKNOWN_ID


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.8])
def test_rate(rate: float) -> None:
    """In training, about the given share of tokens is read as unknown, and the others stay."""
    dropped = WordDropout(rate)(TOKEN_IDS, training=True)
    kept = ~is_unknown(dropped)

    assert abs(is_unknown(dropped).mean() - rate) < TOLERANCE
    assert dropped.dtype == TOKEN_IDS.dtype
    np.testing.assert_array_equal(dropped[kept], TOKEN_IDS[kept])


def test_tokens_are_dropped_each_for_itself() -> None:
    """No row and no column is dropped as a whole, or spared."""
    unknown = is_unknown(WordDropout(0.5)(TOKEN_IDS, training=True))

    for axis in (0, 1):
        assert unknown.mean(axis=axis).min() > 0.1
        assert unknown.mean(axis=axis).max() < 0.9


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("half", [None, 0.0, 9.0])
def test_nothing_is_dropped_out_of_training(rate: float, half: float | None) -> None:
    """Evaluation and prediction read every token, rare or not."""
    layer = WordDropout(rate)
    if half is not None:
        layer.drop_rare(np.ones(20, np.int64), half)

    np.testing.assert_array_equal(layer(TOKEN_IDS), TOKEN_IDS)
    np.testing.assert_array_equal(layer(TOKEN_IDS, training=False), TOKEN_IDS)


def test_ends_of_the_range() -> None:
    """A rate of 0 drops nothing, and one of 1 all."""
    np.testing.assert_array_equal(WordDropout(0.0)(TOKEN_IDS, training=True), TOKEN_IDS)
    assert np.all(is_unknown(WordDropout(1.0)(TOKEN_IDS, training=True)))


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_rare_tokens_are_dropped_more_often(rate: float) -> None:
    """A token seen n times is kept with a chance of n / (z + n), times that of any token."""
    counts = np.arange(20) ** 2
    layer = WordDropout(rate)
    layer.drop_rare(counts, 50.0)
    unknown = is_unknown(layer(tf.tile(TOKEN_IDS, [20, 1]), training=True))
    token_ids = np.tile(TOKEN_IDS, [20, 1])

    for token_id in range(2, 20):
        kept = (1 - rate) * counts[token_id] / (50 + counts[token_id])
        assert abs(unknown[token_ids == token_id].mean() - (1 - kept)) < TOLERANCE


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_without_a_half_rare_tokens_are_as_others(rate: float) -> None:
    """A z of 0 leaves the one rate, for tokens never seen too."""
    layer = WordDropout(rate)
    layer.drop_rare(np.arange(20) // 10, 0.0)
    unknown = is_unknown(layer(TOKEN_IDS, training=True))

    assert abs(unknown.mean() - rate) < TOLERANCE
    assert np.any(unknown) == (rate > 0)


def test_token_never_seen_is_dropped_like_one_seen_once() -> None:
    """A count of 0 is read as 1."""
    layer = WordDropout(0.0)
    layer.drop_rare(np.zeros(20, np.int64), 1.0)

    assert abs(is_unknown(layer(TOKEN_IDS, training=True)).mean() - 0.5) < TOLERANCE


def test_each_call_drops_other_tokens() -> None:
    """Each step of training drops anew, also where a graph is traced once."""
    layer = WordDropout(0.5)
    graph = tf.function(lambda token_ids: layer(token_ids, training=True))

    for call in (lambda: layer(TOKEN_IDS, training=True), lambda: graph(TOKEN_IDS)):
        same = np.mean(is_unknown(call()) == is_unknown(call()))
        assert abs(same - 0.5) < TOLERANCE


def test_seed() -> None:
    """Keras's seed gives the same tokens again, and another one others."""

    def dropped(seed: int) -> tf.Tensor:
        keras.utils.set_random_seed(seed)
        return WordDropout(0.5)(TOKEN_IDS, training=True)

    np.testing.assert_array_equal(dropped(1), dropped(1))
    assert np.any(dropped(1) != dropped(2))


def test_config() -> None:
    """The configuration makes a layer of the same rate again."""
    made = WordDropout(0.3, name="rare")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))

    assert isinstance(again, WordDropout)
    assert (again.rate, again.name) == (0.3, "rare")
