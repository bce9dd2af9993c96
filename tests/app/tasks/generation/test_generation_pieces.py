"""The signature `score_pieces` of language models: the loss of documents that are read piece by piece."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from generation_data import Model, Models, greek, play

from models.text.tokens import END_ID

Outputs = dict[str, Any]
SUMS = ("nats", "correct", "tokens")

PLAY = play()[:700].encode()
PIECES = {
    "char": [PLAY[:1], PLAY[1:130], PLAY[130:131], PLAY[131:]],
    "byte": [greek().encode()[:33], greek().encode()[33:290], greek().encode()[290:300]],
    "word": [b"ship", b"gull tide wave", b"salt ship."],
    "subword": [b"Anna: The", b"cat is old; isn't", b"it? (OLD, no?)\nBen:"],
}
# A space comes before the first subword of a text.
WHOLE = {kind: (b" " if kind in ("word", "subword") else b"").join(pieces) for kind, pieces in PIECES.items()}


def score(
    model: Model,
    texts: list[bytes],
    before: Outputs | None = None,
    *,
    begins: bool | list[bool] = True,
    ends: bool | list[bool] = False,
    label: list[bytes] | None = None,
) -> Outputs:
    """Return the outputs for a piece of each document, and the states after it."""
    signatures, rows = model.predictor.signatures, len(texts)
    has_labels = bool(model.predictor.info.preprocessing.labels)
    inputs: Outputs = {"text": tf.constant(texts, tf.string), "previous": tf.zeros([rows], tf.int32)}
    if has_labels:
        inputs["label"] = tf.constant(label or [b""] * rows)
    own = {"label": inputs["label"]} if has_labels else {}
    zeros = signatures["begin"](prompt=tf.constant([b""] * rows), **own)
    inputs |= {name: tf.zeros_like(value) for name, value in zeros.items() if name.startswith("state_")}
    if before is not None:
        inputs |= {name: tf.constant(before[name]) for name in inputs if name in before}
    inputs["begins"] = tf.constant(begins if isinstance(begins, list) else [begins] * rows)
    inputs["ends"] = tf.constant(ends if isinstance(ends, list) else [ends] * rows)
    return {name: value.numpy() for name, value in signatures["score_pieces"](**inputs).items()}


def in_pieces(model: Model, pieces: list[bytes], *, ends: bool = False) -> Outputs:
    """Return the summed outputs of the pieces of one document, and the state after the last one."""
    outputs: Outputs | None = None
    sums = dict.fromkeys(SUMS, 0.0)
    for i, piece in enumerate(pieces):
        last = i == len(pieces) - 1
        outputs = score(model, [piece], outputs, begins=i == 0, ends=ends and last)
        sums = {name: sums[name] + float(outputs[name][0]) for name in SUMS}
    assert outputs is not None
    return outputs | sums


@pytest.mark.parametrize("kind", PIECES)
def test_pieces_are_one_document(models: Models, kind: str) -> None:
    """A document in several pieces has the loss, the counts and the state of the document in one piece."""
    model = models(kind)
    for ends in (False, True):
        whole = in_pieces(model, [WHOLE[kind]], ends=ends)
        pieces = in_pieces(model, PIECES[kind], ends=ends)

        assert pieces["tokens"] == whole["tokens"] > 5
        assert pieces["correct"] == whole["correct"]
        assert pieces["nats"] == pytest.approx(whole["nats"], rel=1e-5)
        assert pieces["previous"] == whole["previous"]
        assert (whole["previous"][0] == END_ID) == ends
        for name in whole:
            if name.startswith("state_"):
                np.testing.assert_allclose(pieces[name], whole[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", PIECES)
def test_a_document_in_one_piece_has_its_score(models: Models, kind: str) -> None:
    """Without its end a document has the loss of `score` times its number of tokens."""
    texts = [WHOLE[kind], PIECES[kind][1], b""]

    pieces = score(models(kind), texts)
    whole = models(kind).predictor.run_texts("score", texts)

    assert pieces["tokens"].tolist() == whole["tokens"].tolist()
    assert pieces["nats"] == pytest.approx(whole["loss"] * whole["tokens"], rel=1e-5)
    assert pieces["tokens"][2] == pieces["nats"][2] == pieces["correct"][2] == 0


def test_correct_tokens(char: Model) -> None:
    """`correct` counts the tokens to which the network gives the highest probability."""
    text = play()[200:500]
    ids = char.ids(text)

    found = score(char, [text.encode()])

    assert found["correct"][0] == (char.logits(ids).argmax(axis=1) == ids).sum() > 30
    assert found["nats"][0] == pytest.approx(char.nats(ids).sum(), rel=1e-4)


@pytest.mark.parametrize("label", [None, 0, 1])
def test_labels_and_ends(word: Model, label: int | None) -> None:
    """The label conditions every token; the end of a document counts as a token."""
    text = "moss fern deer tree."
    ids = word.document(text)
    name = b"" if label is None else [b"sea", b"wood"][label]
    none = len(word.predictor.info.preprocessing.labels)

    with_end = score(word, [text.encode()], ends=True, label=[name])
    without = score(word, [text.encode()], label=[name])

    nats = word.nats(ids, none if label is None else label)
    assert with_end["nats"][0] == pytest.approx(nats.sum(), rel=1e-4)
    assert without["nats"][0] == pytest.approx(nats[:-1].sum(), rel=1e-4)
    assert (with_end["tokens"][0], without["tokens"][0]) == (len(ids), len(ids) - 1)
    assert score(word, [text.encode()], label=[b"unknown"])["nats"] == score(word, [text.encode()])["nats"]


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_a_batch_of_pieces_changes_nothing(models: Models, kind: str) -> None:
    """The outputs of a row do not depend on the order of the rows, nor on the others, nor on padding."""
    model = models(kind)
    first = [b"Anna: The cat", b"", PLAY[:300], b"Ben", "Zoë: ".encode()]
    second = [b" is old", PLAY[:200], b"\n", b"", b"The"]
    begins, ends = [False, True, False, False, True], [True, False, False, True, False]
    before = score(model, first)
    together = score(model, second, before, begins=begins, ends=ends)

    order = [3, 0, 4, 2, 1]
    reordered = score(
        model,
        [second[i] for i in order],
        {name: value[order] for name, value in before.items()},
        begins=[begins[i] for i in order],
        ends=[ends[i] for i in order],
    )
    for name, value in together.items():
        np.testing.assert_allclose(reordered[name], value[order], rtol=1e-5, atol=1e-6)
    for i, text in enumerate(second):
        own = {name: value[i : i + 1] for name, value in before.items()}
        alone = score(model, [text], own, begins=begins[i], ends=ends[i])
        for name, value in alone.items():
            np.testing.assert_allclose(value, together[name][i : i + 1], rtol=1e-5, atol=1e-5)


def test_a_piece_that_begins_a_document(char: Model) -> None:
    """A piece that begins a document ignores the state that it is given."""
    text = b"The cat is old"
    before = score(char, [b"Ben: isn't it?"])

    fresh, begun, continued = (
        score(char, [text]),
        score(char, [text], before),
        score(char, [text], before, begins=False),
    )

    assert begun["nats"] == fresh["nats"]
    assert continued["nats"] != fresh["nats"]


def test_a_piece_without_tokens(char: Model) -> None:
    """An empty piece leaves the state and the previous token as they are."""
    before = score(char, [b"Ben: isn't it?"])

    after = score(char, [b""], before, begins=False)

    assert after["nats"] == after["tokens"] == after["correct"] == 0
    for name in ("previous", "state_0"):
        assert np.array_equal(after[name], before[name])
