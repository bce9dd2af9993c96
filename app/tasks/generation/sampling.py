"""Text from a language model through its signatures, by sampling or by beam search."""

from __future__ import annotations

import codecs
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from app.bounds import BEAM_WIDTH
from app.prediction.predictor import Predictor
from app.tasks.generation.bounds import OPTIONS
from data.errors import UserError, did_you_mean

PIECE_TOKENS = 16
"""Tokens that are sampled in one call where a text is produced piece by piece."""
SEEDS = 2**31
"""Number of seeds."""
SIGNATURES = ("generate", "beam", "begin", "resume")
SAMPLING = ("temperature", "top_k", "top_p", "repetition_penalty", "seed")
Reason = Literal["length", "end", "stop"]


@dataclass(frozen=True)
class Options:
    """How texts are generated."""

    length: int = 500
    """Maximum number of tokens."""
    temperature: float = 1.0
    """0: always the most probable token."""
    top_k: int = 0
    """0: all tokens."""
    top_p: float = 1.0
    """1: all tokens."""
    repetition_penalty: float = 1.0
    seed: int = 0
    beam: int = 0
    """Beam width; 0: sample."""
    length_penalty: float = 1.0
    """Of beam search."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these strings."""
    label: str | None = None
    """The label that the text is conditioned on; None: no condition."""

    def checked(self) -> Options:
        """Return the same options, numbers of NumPy as those of Python.

        Raises:
            UserError: a value is not allowed.
        """
        values = {name: bounds.checked(name, getattr(self, name)) for name, bounds in OPTIONS.items()}
        if isinstance(self.beam, bool) or self.beam != 0:
            values["beam"] = BEAM_WIDTH.checked("beam", self.beam)
        for stop in self.stop:
            if not isinstance(stop, str) or _bytes(stop).decode(errors="replace") != stop:
                raise UserError(f"stop: expected strings in UTF-8, got {stop!r}")
        if self.label is not None and not isinstance(self.label, str):
            raise UserError(f"label: expected a string, got {self.label!r}")
        return replace(self, **values)


@dataclass(frozen=True)
class Generated:
    """A generated text."""

    text: str
    """What follows the prompt."""
    score: float
    """Log-probability of the sampled tokens up to the end or the stop string; of beam search the score of the
    hypothesis before it is truncated at a stop string."""


Arrays = dict[str, np.ndarray]
"""Inputs or outputs of a signature by name; strings are objects of bytes."""


@dataclass(frozen=True)
class ModelCall:
    """A call of a signature."""

    signature: str
    inputs: Arrays
    """One row."""


@dataclass(frozen=True)
class Ending:
    """How a text that was generated piece by piece ended."""

    reason: Reason
    """Its length was reached, the model ended it, or a stop string occurred."""
    log_probability: float
    """Log-probability of all sampled tokens, those of the stop string among them."""


def check_model(predictor: Predictor, label: str | None) -> None:
    """Check that a model generates text, and that it knows a label.

    Raises:
        UserError: it does not.
    """
    if not all(name in predictor.signatures for name in SIGNATURES):
        raise UserError(
            f"{predictor.info.where} is a {predictor.info.task} model, which does not generate text; pass a "
            "model that was trained with 'textrnn train generation' (or use 'textrnn predict')"
        )
    known = [name.decode() for name in predictor.info.preprocessing.labels]
    if label is not None and not known:
        raise UserError(f"--label {label}: the model was trained without labels")
    if label is not None and label not in known:
        names = ", ".join(known[:20])
        raise UserError(f"--label {label}: expected one of {names}{did_you_mean(label, known)}")


def _inputs(predictor: Predictor, prompts: Sequence[str], options: Options) -> dict[str, Any]:
    """Return the inputs of all signatures by name, with a row for each prompt."""
    rows = len(prompts)
    inputs: dict[str, Any] = {
        "prompt": tf.constant([_bytes(prompt) for prompt in prompts], tf.string),
        "length": tf.fill([rows], options.length),
        "temperature": tf.fill([rows], float(options.temperature)),
        "top_k": tf.fill([rows], options.top_k),
        "top_p": tf.fill([rows], float(options.top_p)),
        "repetition_penalty": tf.fill([rows], float(options.repetition_penalty)),
        "seed": tf.constant([(options.seed + i) % SEEDS for i in range(rows)], tf.int32),
        "stop": tf.constant([_bytes(stop) for stop in options.stop], tf.string),
        "width": tf.constant(options.beam),
        "length_penalty": tf.constant(float(options.length_penalty)),
    }
    if predictor.info.preprocessing.labels:
        inputs["label"] = tf.fill([rows], (options.label or "").encode())
    return inputs


def _call(
    predictor: Predictor, signature: str, inputs: dict[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """Call a signature with those of the inputs that it takes."""
    label = ["label"] if "label" in inputs else []
    return predictor.signatures[signature](**{name: inputs[name] for name in (*names, *label)})


def generate(predictor: Predictor, prompts: Sequence[str], options: Options) -> list[Generated]:
    """Generate a text for each prompt; the i-th one uses the seed plus i.

    Raises:
        UserError: the model does not generate text, an option is not allowed, or the label is unknown.
    """
    options = options.checked()
    check_model(predictor, options.label)
    inputs = _inputs(predictor, prompts, options)
    if options.beam:
        outputs = _call(predictor, "beam", inputs, ("prompt", "length", "width", "length_penalty", "stop"))
        scores = outputs["score"]
    elif options.stop:  # piece by piece, so that nothing is computed after a stop string
        return [_until_stop(predictor, prompt, options, i) for i, prompt in enumerate(prompts)]
    else:
        outputs = _call(predictor, "generate", inputs, ("prompt", "length", *SAMPLING, "stop"))
        scores = outputs["log_probability"]
    return [
        Generated(text.decode(errors="replace"), float(score))
        for text, score in zip(outputs["text"].numpy(), scores.numpy(), strict=True)
    ]


def _until_stop(predictor: Predictor, prompt: str, options: Options, index: int) -> Generated:
    seed = (options.seed + index) % SEEDS
    pieces = stream(predictor, prompt, replace(options, seed=seed))
    text = ""
    while True:
        try:
            text += next(pieces)
        except StopIteration as end:
            return Generated(text, end.value.log_probability)


def stream(
    predictor: Predictor, prompt: str, options: Options, *, tokens: int = PIECE_TOKENS
) -> Generator[str, None, Ending]:
    """Generate the text of `generate` piece by piece.

    Args:
        predictor: the model.
        prompt: what the text follows.
        options: without beam search, which has no text before its end.
        tokens: sampled for each piece.

    Yields:
        what each call of the model adds to the text; empty while it may be the beginning of a stop string, or
        of a character.

    Returns:
        how the text ended.

    Raises:
        UserError: the model does not generate text, an option is not allowed, or the label is unknown.
    """
    work = pieces(predictor, prompt, options, tokens=tokens)
    outputs: Arrays | None = None
    while True:
        try:
            found = work.send(outputs)
        except StopIteration as end:
            ending: Ending = end.value
            return ending
        if isinstance(found, str):
            outputs = None
            yield found
        else:
            tensors = {name: tf.constant(value) for name, value in found.inputs.items()}
            called = predictor.signatures[found.signature](**tensors)
            outputs = {name: value.numpy() for name, value in called.items()}


def pieces(
    predictor: Predictor, prompt: str, options: Options, *, tokens: int
) -> Generator[ModelCall | str, Arrays | None, Ending]:
    """Generate a text as `stream` does; who runs the generator makes the calls.

    Args:
        predictor: the model.
        prompt: what the text follows.
        options: without beam search.
        tokens: sampled for each piece.

    Yields:
        a call of the model, for which the outputs are sent; or a piece of the text.

    Returns:
        how the text ended.

    Raises:
        UserError: as `stream`.
    """
    options = options.checked()
    check_model(predictor, options.label)
    given = {name: value.numpy() for name, value in _inputs(predictor, [prompt], options).items()}
    label = ["label"] if "label" in given else []
    state = yield ModelCall("begin", {name: given[name] for name in ("prompt", *label)})
    assert state is not None
    fixed = {name: given[name] for name in ("prompt", *SAMPLING, *label)}
    ids = np.zeros((1, 0), np.int32)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    shown = b""
    stops = [_bytes(stop) for stop in options.stop if stop]
    held = max((len(stop) - 1 for stop in stops), default=0)
    log_probability = 0.0
    reason: Reason | None = None
    while reason is None:
        length = np.array([min(tokens, options.length - ids.shape[1])], np.int32)
        outputs = yield ModelCall("resume", {**fixed, **state, "ids": ids, "length": length})
        assert outputs is not None
        text: bytes = outputs["text"][0]
        if tokens > 1 and any(stop in text for stop in stops):
            tokens = 1  # this piece once more, token by token: none is sampled after the stop string
            continue
        state = {name: outputs[name] for name in state}
        ids = outputs["ids"]
        if "emitted" in state:  # else an export of an earlier version, which has no padding
            ids = ids[:, ids.shape[1] - state["emitted"][0] :]
        log_probability += float(outputs["log_probability"][0])
        places = [place for stop in stops if (place := text.find(stop)) >= 0]
        if places:
            text, reason = text[: min(places)], "stop"
        elif outputs["ended"][0]:
            reason = "end"
        elif ids.shape[1] >= options.length:
            reason = "length"
        # What may become a stop string is held back.
        until = len(text) if reason else max(len(text) - held, len(shown))
        yield decoder.decode(text[len(shown) : until], final=reason is not None)
        shown = text[:until]
    return Ending(reason, log_probability)


def _bytes(text: str) -> bytes:
    """Return UTF-8; bytes of the command line that are not UTF-8 are kept as they are."""
    return text.encode(errors="surrogateescape")
