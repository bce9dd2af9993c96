from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from markov_chain import Array

from models.decoding.noise import gumbel_noise


def hashed(words: Array) -> Array:
    """Return the finalizer of MurmurHash3 of uint32 numbers."""
    words = words.astype(np.uint32)
    words = (words ^ (words >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    words = (words ^ (words >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return words ^ (words >> np.uint32(16))


def noise(seeds: Array, position: int, vocabulary: int) -> Array:
    ids = tf.range(vocabulary)[tf.newaxis]
    return gumbel_noise(tf.constant(seeds, tf.int32), tf.constant(position), ids).numpy()


def test_noise_in_numpy() -> None:
    """The noise is the hash of seed, position and id, the same in every version."""
    seeds = np.array([0, 1, -1, 2**31 - 1, -(2**31)])
    golden = np.uint32(0x9E3779B9)
    key = hashed(seeds.astype(np.int32).view(np.uint32) + golden)
    key = hashed(key ^ hashed(np.full(1, 7, np.uint32) + np.uint32(0x85EBCA77)))
    bits = hashed(key[:, np.newaxis] + np.arange(50, dtype=np.uint32) * golden)
    uniform = (bits + 0.5) / 2**32

    np.testing.assert_allclose(noise(seeds, 7, 50), -np.log(-np.log1p(-uniform)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("varied", ["ids", "seeds", "positions"])
def test_noise_is_uniform(varied: str) -> None:
    """Over ids, seeds and positions, the noise has a Gumbel distribution and no correlation."""
    size = 1 << 16
    draws = {
        "ids": lambda: noise(np.array([5]), 3, size)[0],
        "seeds": lambda: noise(np.arange(size), 3, 5)[:, 4],
        "positions": lambda: np.array(
            [noise(np.array([5]), position, 64)[0] for position in range(size // 64)]
        ),
    }[varied]()
    uniform = np.exp(-np.exp(-draws.astype(np.float64))).ravel()
    counts = np.bincount((uniform * 256).astype(int), minlength=256)

    assert np.all(np.isfinite(draws))
    # Chi-square of 255 degrees of freedom: mean 255, standard deviation 22.6.
    assert abs(np.sum((counts - size / 256) ** 2 / (size / 256)) - 255) < 5 * 22.6
    for lag in (1, 2, 64):
        assert abs(np.corrcoef(uniform[lag:], uniform[:-lag])[0, 1]) < 5 / np.sqrt(size)
    # The winners' end is the finest: the greatest of 65,536 is where it should be, and no two are equal.
    assert 8 < draws.max() < 18
    top = np.sort(draws.ravel())[-100:]
    assert len(np.unique(top)) == 100
