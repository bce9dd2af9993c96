"""A classifier whose texts have any number of labels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from classifier_models import batch, classifier, randomized
from keras import optimizers, utils

from models.losses import binary_cross_entropy

# Who likes whom: the same words in another order have other labels, and a text has none to two of them.
TOY = {
    "ann likes bob .": (True, False),
    "bob likes ann .": (False, True),
    "ann likes bob , bob likes ann .": (True, True),
    "ann , bob .": (False, False),
    "bob likes ann , ann likes cid .": (False, True),
    "ann likes cid , ann likes bob .": (True, False),
}
WORDS = sorted({word for text in TOY for word in text.split()})
TOY_LENGTHS = tf.constant([len(text.split()) for text in TOY])
TOY_IDS = tf.ragged.constant(
    [[WORDS.index(word) + 2 for word in text.split()] for text in TOY], dtype=tf.int32
).to_tensor()
TOY_LABELS = tf.constant(list(TOY.values()))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_loss_in_numpy(label_smoothing: float) -> None:
    """The binary cross-entropy with smoothed targets is that of its definition."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=3, size=(4, 3)).astype(np.float32)
    targets = generator.random((4, 3)) < 0.4
    wanted = np.where(targets, 1 - label_smoothing / 2, label_smoothing / 2)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))

    found = binary_cross_entropy(tf.constant(logits), tf.constant(targets), label_smoothing)

    np.testing.assert_allclose(found, -wanted * np.log(p) - (1 - wanted) * np.log(1 - p), rtol=1e-5)


def test_the_loss_of_large_logits() -> None:
    """It is finite: as large as the logit that is wrong."""
    found = binary_cross_entropy(tf.constant([1000.0, -1000.0]), tf.constant([False, True]))

    np.testing.assert_allclose(found, [1000.0, 1000.0])


def test_padding_changes_nothing() -> None:
    """More padding, of any token, and another order of the rows give the same logits and margins."""
    model = randomized(several_labels=True, classes=3, bidirectional=True, pooling="max_mean")
    model.thresholds.assign([0.2, 0.5, 0.9])
    expected = model(*batch()).numpy()

    for padding_id in (0, 5):
        logits = model(*batch(padding=4, padding_id=padding_id))
        np.testing.assert_allclose(logits, expected, atol=1e-6)
        np.testing.assert_allclose(model.margins(logits), model.margins(expected), atol=1e-6)
    ids, lengths = batch()
    np.testing.assert_allclose(
        model(tf.reverse(ids, [0]), tf.reverse(lengths, [0])), expected[::-1], atol=1e-6
    )


def test_margins_choose_as_thresholds_do() -> None:
    """A label's margin is at least 0 if its probability is at least its threshold."""
    model = classifier(several_labels=True, classes=3)
    model.thresholds.assign([0.1, 0.5, 0.9])
    logits = np.random.default_rng(0).normal(scale=2, size=(50, 3)).astype(np.float32)

    chosen = 1 / (1 + np.exp(-logits)) >= [0.1, 0.5, 0.9]

    assert (model.margins(tf.constant(logits)).numpy() >= 0).tolist() == chosen.tolist()


def test_importances_add_up() -> None:
    """The importances of a label sum to its logit minus that of a text of unknown tokens."""
    model = randomized(several_labels=True, classes=3, bidirectional=True, pooling="mean")
    ids, lengths = batch()
    labels = tf.constant([0, 1, 2, 1])
    unknown = tf.ones_like(ids)

    found = model.importances(ids, lengths, labels)

    gained = tf.gather(model(ids, lengths) - model(unknown, lengths), labels, axis=1, batch_dims=1)
    np.testing.assert_allclose(tf.reduce_sum(found, axis=1), gained, atol=0.02)
    np.testing.assert_allclose(
        model.log_odds(model(ids, lengths), labels),
        tf.gather(model(ids, lengths), labels, axis=1, batch_dims=1),
    )


def test_learns_the_toy_texts_and_keeps_its_thresholds(tmp_path: Path) -> None:
    """Six texts are learned by heart; logits and thresholds are the same after loading in another process."""
    utils.set_random_seed(1)
    model = classifier(several_labels=True, units=8, embedding_size=8)
    optimizer = optimizers.Adam(0.05)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            logits = model(TOY_IDS, TOY_LENGTHS, training=True)
            loss = tf.reduce_mean(tf.reduce_sum(binary_cross_entropy(logits, TOY_LABELS), axis=1))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(60):
        step()
    model.thresholds.assign([0.25, 0.75])
    logits = model(TOY_IDS, TOY_LENGTHS).numpy()
    assert ((logits >= 0) == TOY_LABELS.numpy()).all()

    model.save(tmp_path / "model.keras")
    code = (
        "import json, sys, keras, models.classifier\n"
        "import tensorflow as tf\n"
        "path, ids, lengths = json.loads(sys.argv[1])\n"
        "model = keras.saving.load_model(path)\n"
        "logits = model(tf.constant(ids), tf.constant(lengths)).numpy().tolist()\n"
        "print(json.dumps([logits, model.thresholds.numpy().tolist()]))\n"
    )
    given = [str(tmp_path / "model.keras"), TOY_IDS.numpy().tolist(), TOY_LENGTHS.numpy().tolist()]
    result = subprocess.run(
        [sys.executable, "-c", code, json.dumps(given)], capture_output=True, text=True, check=True
    )
    found, thresholds = json.loads(result.stdout)
    np.testing.assert_allclose(found, logits, atol=1e-6)
    assert thresholds == [0.25, 0.75]


def test_one_label_has_no_thresholds() -> None:
    """A model with one label a text has the weights that it had: no thresholds."""
    assert [weight.name for weight in classifier().non_trainable_weights] == [
        weight.name
        for weight in classifier(several_labels=True).non_trainable_weights
        if weight.name != "thresholds"
    ]
