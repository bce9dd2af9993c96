"""Random noise that is a pure function of its arguments."""

from __future__ import annotations

import tensorflow as tf


def gumbel_noise(seed: tf.Tensor, position: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Return noise of the standard Gumbel distribution, a pure function of (seed, position, token id).

    A counter-based generator: the three numbers are hashed one after the other with the 32-bit finalizer
    of MurmurHash3 (Appleby 2011). So all rows are drawn at once, each by its own seed, where TensorFlow's
    own generators take one seed for a whole tensor.

    Args:
        seed: int32 [B].
        position: of the token in the text, int32 [] or [B].
        ids: token ids int32 [B, V] or [1, V].

    Returns:
        float [B, V].
    """
    key = _hash(tf.bitcast(seed, tf.uint32) + _word(0x9E3779B9))
    key = _hash(key ^ _hash(tf.bitcast(position, tf.uint32) + _word(0x85EBCA77)))
    bits = _hash(key[:, tf.newaxis] + tf.bitcast(ids, tf.uint32) * _word(0x9E3779B9))
    # Small uniforms make the large noise that wins: they keep all 32 bits, which near 1 would be lost.
    uniform = (tf.cast(bits, tf.float32) + 0.5) * 2.0**-32
    return -tf.math.log(-tf.math.log1p(-tf.minimum(uniform, 1 - 2.0**-24)))


def _word(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)


def _hash(words: tf.Tensor) -> tf.Tensor:
    """Mix the bits of each uint32, so that each input bit changes half of the output bits (MurmurHash3)."""
    words = (words ^ tf.bitwise.right_shift(words, _word(16))) * _word(0x85EBCA6B)
    words = (words ^ tf.bitwise.right_shift(words, _word(13))) * _word(0xC2B2AE35)
    return words ^ tf.bitwise.right_shift(words, _word(16))
