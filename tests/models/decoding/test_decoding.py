from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from markov_chain import END, VOCABULARY, Chain

from models.decoding.beam import beam_search
from models.decoding.sampling import sample
from models.decoding.truncate import truncate_at


def test_in_a_saved_model(tmp_path: Path) -> None:
    """A TF1 session without this package decodes to the same texts."""
    chain = Chain(10)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, VOCABULARY]),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([], tf.int32),
        ]
    )
    def decode(logits: tf.Tensor, seed: tf.Tensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
        state = {"before": tf.zeros_like(seed), "seen": (chain.looks(tf.zeros_like(seed)),)}
        ids, _, log_p, *_ = sample(
            chain.step, state, logits, length=8, seed=seed, top_p=0.9, repetition_penalty=1.2, end_id=END
        )
        beams, _, scores = beam_search(chain.step, state, logits, end_id=END, max_length=8, width=width)
        truncated = truncate_at(
            tf.strings.reduce_join(tf.strings.as_string(ids), axis=1), tf.constant(["2", "3"])
        )
        return {"ids": ids, "log_p": log_p, "beams": beams, "scores": scores, "truncated": truncated}

    module = tf.Module()
    module.decode = decode
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": decode})
    logits, _ = chain.start(5)
    expected = decode(logits, tf.range(5), tf.constant(3))

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path)).signature_def[
            "serving_default"
        ]
        got = session.run(
            {name: tensor.name for name, tensor in signature.outputs.items()},
            {
                signature.inputs["logits"].name: logits.numpy(),
                signature.inputs["seed"].name: np.arange(5),
                signature.inputs["width"].name: 3,
            },
        )
    for name in ("ids", "beams", "truncated"):
        np.testing.assert_array_equal(got[name], expected[name])
    for name in ("log_p", "scores"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-5)
