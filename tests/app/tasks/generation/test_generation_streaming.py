"""Texts that are generated piece by piece, and stop strings."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from generation_data import KINDS, Command, Model, Models, ending, streamed, texts

from app.prediction.predictor import Predictor
from app.tasks.generation.sampling import PIECE_TOKENS, Options, generate


@pytest.mark.parametrize("prompt", ["", "Anna: το ship", "is \n"])
@pytest.mark.parametrize("kind", KINDS)
def test_stream(models: Models, kind: str, prompt: str) -> None:
    """A text that is generated piece by piece is the one that is generated at once, in whole characters."""
    label = "sea" if kind == "word" else None
    for options in ({"seed": 1}, {"seed": 2, "temperature": 2.0, "repetition_penalty": 1.3, "top_k": 20}):
        whole = texts(models(kind), [prompt], length=90, label=label, **options)
        pieces = streamed(models(kind), prompt, length=90, label=label, **options)

        assert "".join(pieces) == whole[0]
        if kind != "word":
            assert len(pieces) == math.ceil(90 / PIECE_TOKENS)


def test_stream_token_by_token(models: Models) -> None:
    """The text does not depend on the number of tokens of a piece."""
    options: dict[str, Any] = {"seed": 3, "repetition_penalty": 1.2, "length": 21}
    whole = texts(models("char"), ["Anna"], **options)[0]

    assert streamed(models("char"), "Anna", tokens=1, **options) == list(whole)
    assert streamed(models("char"), "Anna", tokens=8, **options) == [whole[:8], whole[8:16], whole[16:]]
    assert streamed(models("char"), "Anna", tokens=100, **options) == [whole]


@pytest.mark.parametrize("tokens", [1, 16])
def test_how_a_stream_ends(models: Models, tokens: int) -> None:
    """A stream returns why it ended, and the log-probability of the text that is generated at once."""
    predictor = models("char").predictor
    (whole,) = generate(predictor, ["Anna"], Options(length=30, seed=5))
    found = ending(models("char"), "Anna", tokens=tokens, length=30, seed=5)

    assert found.reason == "length"
    assert found.log_probability == pytest.approx(whole.score, abs=1e-3)
    stopped = ending(models("char"), "Anna", tokens=tokens, length=30, seed=5, stop=(whole.text[4:6],))
    assert stopped.reason == "stop"
    assert whole.score < stopped.log_probability < 0

    by_seed = {
        seed: ending(models("word"), "", tokens=tokens, length=200, seed=seed, temperature=0.5)
        for seed in range(4)
    }
    ended = {seed: end for seed, end in by_seed.items() if end.reason == "end"}
    assert ended
    for seed, end in ended.items():
        (one,) = generate(models("word").predictor, [""], Options(length=200, seed=seed, temperature=0.5))
        assert end.log_probability == pytest.approx(one.score, abs=1e-3)


def test_a_stream_splits_no_character(models: Models) -> None:
    """Pieces of bytes may end within a character; the text that is yielded does not."""
    moved = 0
    for seed in range(3):
        pieces = streamed(models("byte"), "", length=160, seed=seed, temperature=0.3)
        assert "".join(pieces) == texts(models("byte"), [""], length=160, seed=seed, temperature=0.3)[0]
        ends = np.cumsum([len(piece.encode()) for piece in pieces[:-1]])
        moved += int((ends % PIECE_TOKENS != 0).sum())
    assert moved > 5


@pytest.mark.parametrize("kind", KINDS)
def test_stop(models: Models, kind: str) -> None:
    """A text ends before the first stop string, also if it lies across two pieces."""
    label = "sea" if kind == "word" else None
    options: dict[str, Any] = {"seed": 1, "length": 60, "label": label, "temperature": 0.7}
    (whole,) = texts(models(kind), [""], **options)
    for begin, end in ((0, 1), (5, 9), (14, 18), (15, 17), (16, 18)):
        stop = whole[begin:end]
        truncated = whole[: whole.find(stop)]
        if not stop or "�" in stop:  # a part of a character is no stop string
            continue
        assert texts(models(kind), [""], stop=(stop, "never there"), **options) == [truncated]
        assert "".join(streamed(models(kind), "", stop=(stop, "never there"), **options)) == truncated
    assert len(whole) > 18
    both = (whole[12:14], whole[5:7])  # in one piece
    if "�" not in "".join(both):
        truncated = whole[: min(whole.find(stop) for stop in both)]
        assert texts(models(kind), [""], stop=both, **options) == [truncated]
        assert "".join(streamed(models(kind), "", stop=both, **options)) == truncated
    assert texts(models(kind), [""], stop=("",), **options) == [whole]
    assert "".join(streamed(models(kind), "", stop=("", "\x00"), **options)) == whole


# Several texts in one call


def test_texts_of_different_lengths_share_calls(models: Models) -> None:
    """Texts that go on by different numbers of tokens, and one that ends, are those of calls of their own."""
    signatures, prompts = models("word").predictor.signatures, [b"", b"Anna", b"the ship"]
    drawing = {"temperature": 0.5, "top_p": 1.0, "repetition_penalty": 1.2}

    def resumed(state: dict[str, Any], rows: list[int], lengths: list[int]) -> dict[str, Any]:
        count = len(rows)
        fixed = {
            "prompt": tf.constant([prompts[row] for row in rows]),
            "label": tf.constant([b""] * count),
            "length": tf.constant(lengths),
            "seed": tf.constant([row + 1 for row in rows]),
            "top_k": tf.zeros([count], tf.int32),
            **{name: tf.fill([count], value) for name, value in drawing.items()},
        }
        sent = {name: value for name, value in state.items() if name in kept}
        found: dict[str, Any] = signatures["resume"](**fixed, **sent)
        return found

    begun = signatures["begin"](prompt=tf.constant(prompts), label=tf.constant([b""] * 3))
    kept = {*begun, "ids"}
    begun["ids"] = tf.zeros([3, 0], tf.int32)
    pieces = ([2, 16, 5], [40, 1, 200], [3, 30, 3])

    together = begun
    for lengths in pieces:
        together = resumed(together, [0, 1, 2], list(lengths))
    for row in range(3):
        alone = {name: value[row : row + 1] for name, value in begun.items()}
        for lengths in pieces:
            alone = resumed(alone, [row], [lengths[row]])
        count = int(alone["emitted"][0])
        assert together["text"][row] == alone["text"][0]
        assert together["emitted"][row] == count
        assert together["ids"][row, -count:].numpy().tolist() == alone["ids"][0, -count:].numpy().tolist()
        assert together["ended"][row] == alone["ended"][0]
        for name in kept - {"ids"}:
            np.testing.assert_allclose(together[name][row], alone[name][0], atol=1e-5)


# Nothing is sampled after a stop string


def counting(predictor: Predictor, steps: list[int]) -> Predictor:
    """Return a predictor that records how many tokens each call may sample."""

    def counted(name: str) -> Any:
        def call(**inputs: Any) -> Any:
            steps.extend(inputs["length"].numpy().tolist())
            return predictor.signatures[name](**inputs)

        return call

    sampling = {name: counted(name) for name in ("serving_default", "generate", "resume")}
    return replace(predictor, signatures={**predictor.signatures, **sampling})


@pytest.mark.parametrize("end", [1, 5, 16, 17, 40])
def test_nothing_is_sampled_after_a_stop_string(char: Model, end: int) -> None:
    """With a stop string, the tokens up to it are sampled, and at most two pieces more to find it."""
    prompt, seed = "Anna", 6
    (whole,) = texts(char, [prompt], length=60, seed=seed)
    stop = whole[max(end - 6, 0) : end]
    end = whole.find(stop) + len(stop)
    steps: list[int] = []

    (made,) = generate(
        counting(char.predictor, steps), [prompt], Options(length=100_000, seed=seed, stop=(stop,))
    )

    assert made.text == whole[: whole.find(stop)]
    assert end <= sum(steps) < end + 2 * PIECE_TOKENS


@pytest.mark.parametrize("kind", KINDS)
def test_log_probability_up_to_a_stop_string(models: Models, kind: str) -> None:
    """The log-probability is that of the tokens up to the stop string, for pieces of any length."""
    model = models(kind)
    options = Options(length=60, seed=1, temperature=0.7, label="sea" if kind == "word" else None)
    (whole,) = generate(model.predictor, [""], options)
    stop = whole.text[17:20] if kind != "byte" else next(c for c in whole.text[8:] if c.isalpha())
    stopped = replace(options, stop=(stop,))

    (made,) = generate(model.predictor, [""], stopped)
    found = [ending(model, "", tokens=tokens, **stopped.__dict__) for tokens in (1, 3, PIECE_TOKENS)]

    assert made.text == whole.text[: whole.text.find(stop)]
    assert whole.score < made.score < 0
    assert [end.reason for end in found] == ["stop"] * 3
    assert [end.log_probability for end in found] == pytest.approx([made.score] * 3, rel=1e-5)


def test_log_probability_of_a_truncated_text(command: Command, char: Model) -> None:
    """`generate --stop --json` prints the log-probability of the text and the stop string only."""
    prompt = "Ben: The "
    options: dict[str, Any] = {"length": 60, "seed": 3}
    (whole,) = generate(char.predictor, [prompt], Options(**options))
    stop = whole.text[20:23]
    until = whole.text[: whole.text.find(stop) + len(stop)]
    expected = -char.nats(char.ids(prompt + until))[len(prompt) :].sum()
    words = ("generate", char.path, "--prompt", prompt, "--length", 60, "--seed", 3, "--stop", stop)

    line = json.loads(command(*words, "--json").stdout)

    assert line["text"] == until.removesuffix(stop)
    assert line["score"] == pytest.approx(expected, rel=1e-4)
    assert line["score"] > whole.score + 1
    assert command(*words, "--stream").stdout == f"{prompt}{line['text']}\n"


def test_seeds_of_stopped_texts(char: Model) -> None:
    """With a stop string, too, the i-th prompt uses the seed plus i."""
    options: dict[str, Any] = {"length": 60, "stop": ("?",)}
    together = texts(char, ["Anna"] * 3, seed=2**31 - 2, **options)

    assert together == [texts(char, ["Anna"], seed=seed, **options)[0] for seed in (2**31 - 2, 2**31 - 1, 0)]
    assert len(set(together)) > 1
