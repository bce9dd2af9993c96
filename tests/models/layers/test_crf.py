from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from models.layers.crf import CRF, forbidding, marginals, viterbi

Array = NDArray[np.float64]

LENGTHS = [4, 1, 3, 2, 4]
each_size = pytest.mark.parametrize("size", [1, 2, 3, 4])

# Tags O, B, I: I neither begins a row nor follows O.
BIO: list[Any] = [
    [True, True, False],
    [[True, True, False], [True, True, True], [True, True, True]],
    [True] * 3,
]
# Tags B, I, E, S in which a row neither begins nor ends within a span.
CLOSED: list[Any] = [
    [True, False, False, True],
    [
        [False, True, True, False],
        [False, True, True, False],
        [True, False, False, True],
        [True, False, False, True],
    ],
    [False, False, True, True],
]


def crf(size: int, allowed: Any = None) -> CRF:
    """Return a built layer of random weights, the same for each size."""
    made = CRF(size, allowed=allowed, name="crf")
    made.build()
    generator = np.random.default_rng(size)
    made.set_weights([generator.normal(scale=2, size=weight.shape) for weight in made.get_weights()])
    return made


def batch(
    size: int, padding: int = 0, lengths: list[int] = LENGTHS
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return emissions, tags and lengths; padding is larger noise."""
    steps = max(lengths) + padding
    generator = np.random.default_rng(steps)
    emissions = generator.normal(scale=50, size=(len(lengths), steps, size))
    tags = generator.integers(0, size, (len(lengths), steps))
    for row, length in enumerate(lengths):
        random = np.random.default_rng([1, row])
        emissions[row, :length] = random.normal(scale=2, size=(length, size))
        tags[row, :length] = random.integers(0, size, length)
    return tf.constant(emissions, tf.float32), tf.constant(tags, tf.int32), tf.constant(lengths, tf.int32)


def score(made: CRF, emissions: Array, path: tuple[int, ...]) -> float:
    """Return the score of one path over the steps of a row."""
    transitions, start, end = (weights.astype(np.float64) for weights in made.get_weights())
    total = start[path[0]] + end[path[-1]]
    total += sum(emissions[t, tag] for t, tag in enumerate(path))
    return float(total + sum(transitions[a, b] for a, b in pairwise(path)))


def is_allowed(path: tuple[int, ...], allowed: Any) -> bool:
    if allowed is None:
        return True
    start, step, end = allowed
    return start[path[0]] and end[path[-1]] and all(step[a][b] for a, b in pairwise(path))


def all_paths(made: CRF, emissions: Array) -> dict[tuple[int, ...], float]:
    """Return the score of every path of a row of this length."""
    steps, size = emissions.shape
    paths = product(range(size), repeat=steps)
    allowed = made.settings["allowed"]
    return {path: score(made, emissions, path) for path in paths if is_allowed(path, allowed)}


@each_size
@pytest.mark.parametrize("padding", [0, 2])
def test_likelihood(size: int, padding: int) -> None:
    """A row's likelihood is its path's share of all paths."""
    made = crf(size)
    emissions, tags, lengths = batch(size, padding)
    found = made.log_likelihood(emissions, tags, lengths)

    assert found.dtype == tf.float32
    assert found.shape == [len(LENGTHS)]
    for row, length in enumerate(LENGTHS):
        steps = emissions[row, :length].numpy().astype(np.float64)
        of_all = np.logaddexp.reduce(list(all_paths(made, steps).values()))
        expected = score(made, steps, tuple(tags[row, :length].numpy())) - of_all
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-5)


def test_likelihood_of_all_paths_is_one() -> None:
    """The probabilities of all paths of a row sum to 1, also if some are not allowed in decoding."""
    made = crf(3, BIO)
    paths = np.array(list(product(range(3), repeat=4)))
    emissions = tf.repeat(batch(3)[0][:1], len(paths), axis=0)
    found = made.log_likelihood(emissions, tf.constant(paths, tf.int32), tf.fill([len(paths)], 4))

    assert np.exp(found).sum() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize(("size", "allowed"), [(1, None), (2, None), (3, None), (4, None), (3, BIO)])
@pytest.mark.parametrize("padding", [0, 2])
def test_decode(size: int, allowed: Any, padding: int) -> None:
    """The decoded path has the highest score of all allowed paths; padding is 0."""
    made = crf(size, allowed)
    emissions, _, lengths = batch(size, padding)
    emissions = tf.concat([tf.roll(emissions, shift, axis=2) for shift in range(3)], axis=0)
    found = made.decode(emissions, tf.tile(lengths, [3])).numpy()

    assert found.dtype == np.int32
    assert found.shape == (3 * len(LENGTHS), max(LENGTHS) + padding)
    for row, length in enumerate(3 * LENGTHS):
        paths = all_paths(made, emissions[row, :length].numpy().astype(np.float64))
        assert tuple(found[row, :length]) == max(paths, key=paths.__getitem__)
        assert not found[row, length:].any()


@pytest.mark.parametrize(("size", "allowed"), [(1, None), (2, None), (3, None), (4, None), (3, BIO)])
@pytest.mark.parametrize("padding", [0, 2])
def test_marginals(size: int, allowed: Any, padding: int) -> None:
    """A tag's probability is the share of the paths through it; padding has none."""
    made = crf(size, allowed)
    emissions, _, lengths = batch(size, padding)
    found = made.marginals(emissions, lengths).numpy()

    assert found.shape == emissions.shape
    for row, length in enumerate(LENGTHS):
        paths = all_paths(made, emissions[row, :length].numpy().astype(np.float64))
        weights = np.exp(np.array(list(paths.values())) - max(paths.values()))
        for t, tag in product(range(length), range(size)):
            through = weights[[path[t] == tag for path in paths]].sum() / weights.sum()
            assert found[row, t, tag] == pytest.approx(through, abs=1e-5)
        assert not found[row, length:].any()


def gradients(made: CRF, emissions: tf.Tensor, tags: tf.Tensor, lengths: tf.Tensor) -> list[Array]:
    with tf.GradientTape() as tape:
        tape.watch(emissions)
        loss = -tf.reduce_sum(made.log_likelihood(emissions, tags, lengths))
    return [gradient.numpy() for gradient in tape.gradient(loss, [emissions, *made.trainable_variables])]


@each_size
def test_gradients(size: int) -> None:
    """Gradients are the expected counts over all paths minus those of the given path; 0 on padding."""
    made = crf(size)
    emissions, tags, lengths = batch(size, padding=2)
    of_emissions, *of_weights = gradients(made, emissions, tags, lengths)

    of_transitions, of_start, of_end = (np.zeros(weight.shape) for weight in of_weights)
    for row, length in enumerate(LENGTHS):
        paths = all_paths(made, emissions[row, :length].numpy().astype(np.float64))
        of_all = np.logaddexp.reduce(list(paths.values()))
        expected = np.zeros(emissions.shape[1:])
        shares = {path: np.exp(found - of_all) for path, found in paths.items()}
        shares[tuple(tags[row, :length].numpy())] -= 1
        for path, share in shares.items():
            of_start[path[0]] += share
            of_end[path[-1]] += share
            for t, tag in enumerate(path):
                expected[t, tag] += share
            for a, b in pairwise(path):
                of_transitions[a, b] += share
        np.testing.assert_allclose(of_emissions[row], expected, atol=1e-4)
    for found_gradient, wanted in zip(of_weights, (of_transitions, of_start, of_end), strict=True):
        np.testing.assert_allclose(found_gradient, wanted, atol=1e-4)


def test_order_of_rows_does_not_matter() -> None:
    """Rows in another order give the same in that order."""
    made = crf(3, BIO)
    emissions, tags, lengths = batch(3, padding=1)
    order = [2, 0, 4, 3, 1]
    shuffled = [tf.gather(part, order) for part in (emissions, tags, lengths)]

    np.testing.assert_allclose(
        made.log_likelihood(*shuffled),
        tf.gather(made.log_likelihood(emissions, tags, lengths), order),
        rtol=1e-5,
    )
    for method in (made.decode, made.marginals):
        np.testing.assert_allclose(
            method(shuffled[0], shuffled[2]),
            tf.gather(method(emissions, lengths), order),
            rtol=1e-5,
            atol=1e-7,
        )


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6, 1e30, -1e30, np.inf])
@pytest.mark.parametrize("allowed", [BIO, CLOSED])
def test_nothing_forbidden_is_decoded(allowed: Any, scale: float) -> None:
    """No forbidden path is decoded, whatever the emissions and the weights."""
    size = len(allowed[0])
    made = crf(size, allowed)
    start, step, end = (np.array(part) for part in allowed)
    weights = zip(made.get_weights(), (step, start, end), strict=True)
    made.set_weights([weight - 100.0 * part for weight, part in weights])  # they ask for what is forbidden
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(200, 7, size))
    emissions = (noise * scale).astype(np.float32)
    if allowed is CLOSED:  # a row of one step can only be S
        emissions[0, 0] = [1e30, 1e30, 1e30, -1e30]
    lengths = np.append(1, generator.integers(1, 8, 199)).astype(np.int32)
    found = made.decode(tf.constant(emissions), tf.constant(lengths)).numpy()

    paths = [tuple(row[:length]) for row, length in zip(found, lengths, strict=True)]
    assert all(is_allowed(path, allowed) for path in paths)
    assert len(set(paths)) >= (20 if abs(scale) > 1 else 7)


def test_forbidden_tags_have_no_probability() -> None:
    """Forbidden tags have a probability of 0, and all probabilities are finite."""
    found = crf(4, CLOSED).marginals(tf.fill([2, 3, 4], 1e6), tf.constant([3, 1])).numpy()

    np.testing.assert_allclose(found.sum(axis=2), [[1, 1, 1], [1, 0, 0]], rtol=1e-5)
    np.testing.assert_array_equal(found[1, 0], [0, 0, 0, 1])
    assert not found[0, 0, 1:3].any()
    assert not found[0, 2, :2].any()


def test_constraints_that_leave_no_path() -> None:
    """Constraints that allow no path of some length are refused, as are those of a wrong size."""
    with pytest.raises(ValueError, match="no tags for a row of 1 steps"):
        CRF(2, allowed=[[True, False], [[True, True]] * 2, [False, True]])
    with pytest.raises(ValueError, match="no tags for a row of 3 steps"):
        forbidding([[True, False], [[False, True], [False, False]], [True, True]])
    with pytest.raises(ValueError, match=r"got \[3\], \[2, 3\], \[3\]"):
        forbidding([BIO[0], BIO[1][:2], BIO[2]])
    with pytest.raises(ValueError, match="for 3 tags, the layer for 4"):
        CRF(4, allowed=BIO)


def test_viterbi_without_a_crf() -> None:
    """With scores of 0 for all allowed paths, the emissions alone decide."""
    emissions = tf.constant([[[0.0, 1.0, 5.0], [0.0, 1.0, 5.0], [9.0, 0.0, 0.0]]])

    assert viterbi(emissions, tf.constant([3]), *forbidding(BIO)).numpy().tolist() == [[1, 2, 0]]
    free = forbidding([[True] * 3, [[True] * 3] * 3, [True] * 3])
    assert viterbi(emissions, tf.constant([2]), *free).numpy().tolist() == [[2, 2, 0]]
    np.testing.assert_allclose(
        marginals(emissions, tf.constant([3]), *free), tf.nn.softmax(emissions), rtol=1e-5, atol=1e-7
    )


def test_long_rows() -> None:
    """The likelihood of 10,000 steps of independent tags is as exact as that of one."""
    random = np.random.default_rng(0)
    emissions = tf.constant(random.normal(scale=3, size=(2, 10_000, 3)), tf.float32)
    made = CRF(3)
    made.build()
    lengths = tf.constant([10_000, 7_000])

    decoded, probabilities = tf.function(
        lambda: (made.decode(emissions, lengths), made.marginals(emissions, lengths))
    )()

    np.testing.assert_array_equal(decoded[0], tf.argmax(emissions[0], axis=1))
    np.testing.assert_array_equal(decoded[1, :7000], tf.argmax(emissions[1, :7000], axis=1))
    np.testing.assert_allclose(probabilities[0], tf.nn.softmax(emissions[0]), atol=1e-5)


def test_extreme_emissions_can_be_learnt_from() -> None:
    """Likelihood and gradients stay finite whatever the emissions are."""
    made = crf(3)
    for scale in (1e-30, 1e6, 1e30):
        emissions, tags, lengths = batch(3, padding=1)
        for gradient in gradients(made, emissions * scale, tags, lengths):
            assert np.isfinite(gradient).all()
        assert np.isfinite(made.log_likelihood(emissions * scale, tags, lengths)).all()


def test_half_precision_emissions() -> None:
    """Emissions in bfloat16 are cast to float32, as are the weights under a mixed policy."""
    made = CRF(3, dtype="mixed_bfloat16")
    made.build()
    made.set_weights(crf(3).get_weights())
    emissions, tags, lengths = batch(3)
    half = tf.cast(emissions, tf.bfloat16)
    found = made.log_likelihood(half, tags, lengths)

    assert found.dtype == tf.float32
    np.testing.assert_allclose(
        found, crf(3).log_likelihood(tf.cast(half, tf.float32), tags, lengths), rtol=1e-6
    )


def test_one_graph_for_all_shapes() -> None:
    """A graph of unknown batch size and length computes the same results and gradients."""
    made = crf(3, BIO)
    signature = [
        tf.TensorSpec([None, None, 3]),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None], tf.int32),
    ]

    @tf.function(input_signature=signature)
    def graph(emissions: tf.Tensor, tags: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            likelihood = made.log_likelihood(emissions, tags, lengths)
            loss = -tf.reduce_sum(likelihood)
        of_weights = tape.gradient(loss, made.trainable_variables)
        return likelihood, made(emissions, lengths), made.marginals(emissions, lengths), *of_weights

    for lengths in (LENGTHS, [1], [2, 2]):
        emissions, tags, steps = batch(3, lengths=lengths)
        found = graph(emissions, tags, steps)
        wanted = (
            made.log_likelihood(emissions, tags, steps),
            made.decode(emissions, steps),
            made.marginals(emissions, steps),
            *gradients(made, emissions, tags, steps)[1:],
        )
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("allowed", [None, BIO])
def test_save_and_load(allowed: Any, tmp_path: Path) -> None:
    """A loaded layer has the weights and constraints of the saved one."""
    made = crf(3, allowed)
    emissions, lengths = keras.Input([None, 3]), keras.Input([], dtype="int32")
    keras.Model([emissions, lengths], made(emissions, lengths)).save(tmp_path / "crf.keras")
    again = keras.saving.load_model(tmp_path / "crf.keras").get_layer("crf")

    assert again.get_config() == made.get_config()
    assert again.settings == {"tags": 3, "allowed": allowed}
    for one, other in zip(again.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(again.decode(*batch(3)[::2]), made.decode(*batch(3)[::2]))


def test_saved_model(tmp_path: Path) -> None:
    """In a SavedModel, run by a session of TensorFlow 1, decoding and probabilities are the same."""
    made = crf(3, BIO)
    emissions, _, lengths = batch(3, padding=1)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3]), tf.TensorSpec([None], tf.int32)])
    def serve(emissions: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"tags": made.decode(emissions, lengths), "scores": made.marginals(emissions, lengths)}

    module = tf.Module()
    module.weights, module.serve = [weight.value for weight in made.weights], serve
    tf.saved_model.save(module, tmp_path, signatures=serve)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path)).signature_def[
            "serving_default"
        ]
        found = session.run(
            {name: tensor.name for name, tensor in signature.outputs.items()},
            {
                signature.inputs["emissions"].name: emissions.numpy(),
                signature.inputs["lengths"].name: lengths.numpy(),
            },
        )

    np.testing.assert_array_equal(found["tags"], made.decode(emissions, lengths))
    np.testing.assert_allclose(found["scores"], made.marginals(emissions, lengths), rtol=1e-5, atol=1e-7)


def test_mixed_precision_is_for_others() -> None:
    """Under a mixed policy the layer does not round its emissions."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        made = crf(2)
    finally:
        keras.config.set_dtype_policy(policy)
    made.set_weights([np.zeros_like(weight) for weight in made.get_weights()])
    close = tf.constant([[[1.0, 1.0001]]])  # equal in bfloat16

    assert made(close, tf.constant([1])).numpy().tolist() == [[1]]


def expected_by_paths(made: CRF, emissions: Array, probabilities: Array, temperature: float) -> float:
    """Return the mean log-probability of paths whose steps are drawn on their own."""
    scores = {path: value / temperature for path, value in all_paths(made, emissions).items()}
    total = np.log(sum(np.exp(value) for value in scores.values()))
    drawn = {path: np.prod([p[k] for p, k in zip(probabilities, path, strict=True)]) for path in scores}
    return float(sum(share * (scores[path] - total) for path, share in drawn.items()))


@each_size
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_expected_log_likelihood(size: int, temperature: float) -> None:
    """It is the mean over all paths, and padding has no effect on it."""
    made, values = crf(size), []
    for padding in (0, 3):
        emissions, _, lengths = batch(size, padding)
        probabilities = np.zeros(emissions.shape, np.float32)
        for row, length in enumerate(LENGTHS):
            probabilities[row, :length] = np.random.default_rng(row).dirichlet(np.ones(size), length)
        found = made.expected_log_likelihood(emissions, tf.constant(probabilities), lengths, temperature)
        for row, length in enumerate(LENGTHS):
            own = (emissions.numpy()[row, :length].astype(np.float64), probabilities[row, :length])
            assert float(found[row]) == pytest.approx(
                expected_by_paths(made, *own, temperature), rel=1e-4, abs=1e-4
            )
        values.append(found.numpy())

    assert values[0] == pytest.approx(values[1], rel=1e-5)


@each_size
def test_expected_log_likelihood_of_certain_tags(size: int) -> None:
    """Of one-hot probabilities it is the log-likelihood of the tags, and has its gradient."""
    made = crf(size)
    emissions, tags, lengths = batch(size, padding=2)
    certain = tf.one_hot(tags, size) * tf.sequence_mask(lengths, tags.shape[1], tf.float32)[:, :, None]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(emissions)
        one = made.log_likelihood(emissions, tags, lengths)
        other = made.expected_log_likelihood(emissions, certain, lengths)

    assert one.numpy() == pytest.approx(other.numpy(), rel=1e-5, abs=1e-5)
    for variable in (emissions, *(weight.value for weight in made.trainable_weights)):
        gradients = [tape.gradient(loss, variable).numpy() for loss in (one, other)]
        assert gradients[0] == pytest.approx(gradients[1], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("allowed", [None, BIO], ids=["all", "BIO"])
def test_marginals_at_a_temperature(allowed: Any) -> None:
    """A temperature divides the scores of all paths; forbidden ones stay so."""
    made = crf(3, allowed)
    emissions, _, lengths = batch(3)
    found = made.marginals(emissions, lengths, 2.0).numpy()

    for row, length in enumerate(LENGTHS):
        paths = all_paths(made, emissions.numpy()[row, :length].astype(np.float64))
        shares = {path: np.exp(value / 2) for path, value in paths.items() if is_allowed(path, allowed)}
        for step in range(length):
            expected = [sum(s for path, s in shares.items() if path[step] == tag) for tag in range(3)]
            assert found[row, step] == pytest.approx(np.array(expected) / sum(shares.values()), abs=1e-5)
