"""`textrnn generate`: text from a language model, sampled or searched for."""

from __future__ import annotations

import codecs
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

from app.prediction.predictor import Predictor
from data.errors import UserError, did_you_mean

STREAMED_TOKENS = 16
"""Emitted in one call where a text is printed as it grows."""
LARGEST_SEED = 2**31
Reason = Literal["length", "end", "stop"]


@dataclass(frozen=True)
class Options:
    """How texts are made."""

    length: int = 500
    """Tokens, at most."""
    temperature: float = 1.0
    """0: always the likeliest token."""
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0
    beam: int = 0
    """0: no search."""
    length_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    label: str | None = None


@dataclass(frozen=True)
class Generated:
    """A text that was made."""

    text: str
    """What follows the prompt."""
    score: float
    """log p of it, or of a search its score."""


@dataclass(frozen=True)
class Ending:
    """How a text that was made piece by piece came to its end."""

    reason: Reason
    """Its length was reached, the model ended it, or a stop string came."""
    log_probability: float
    """log p of all tokens that were drawn, those of the stop string among them."""


def check_model(predictor: Predictor, label: str | None) -> None:
    """Refuses a model that does not generate, and a label that it was not trained with.

    Raises:
        UserError: says what the model has.
    """
    if predictor.task.name != "generation":
        raise UserError(
            f"a model for {predictor.task.name} does not generate; expected one that "
            "'textrnn train generation' made (try 'textrnn predict')"
        )
    known = predictor.manifest.get("labels", [])
    if label is not None and not known:
        raise UserError(f"--label {label}: the model was trained without labels")
    if label is not None and label not in known:
        names = ", ".join(known[:20])
        raise UserError(f"--label {label}: expected one of {names}{did_you_mean(label, known)}")


def _inputs(predictor: Predictor, prompts: Sequence[str], options: Options) -> dict[str, Any]:
    """Arguments that several signatures share, by name; a row for each prompt."""
    for name in ("temperature", "repetition_penalty", "length_penalty"):
        if not math.isfinite(value := getattr(options, name)):
            raise UserError(f"--{name.replace('_', '-')} {value}: expected a finite number")
    for stop in options.stop:
        if _bytes(stop).decode(errors="replace") != stop:
            raise UserError(f"--stop {stop!r}: expected UTF-8")
    rows = len(prompts)
    given: dict[str, Any] = {
        "prompt": tf.constant([_bytes(prompt) for prompt in prompts], tf.string),
        "length": tf.fill([rows], options.length),
        "temperature": tf.fill([rows], float(options.temperature)),
        "top_k": tf.fill([rows], options.top_k),
        "top_p": tf.fill([rows], float(options.top_p)),
        "repetition_penalty": tf.fill([rows], float(options.repetition_penalty)),
        "seed": tf.constant([(options.seed + i) % LARGEST_SEED for i in range(rows)], tf.int32),
        "stop": tf.constant([_bytes(stop) for stop in options.stop], tf.string),
        "width": tf.constant(options.beam),
        "length_penalty": tf.constant(float(options.length_penalty)),
    }
    if predictor.manifest.get("labels"):
        given["label"] = tf.fill([rows], (options.label or "").encode())
    return given


def _call(
    predictor: Predictor, signature: str, given: dict[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """Calls a signature with those of the arguments that it takes."""
    label = ["label"] if "label" in given else []
    return predictor.signatures[signature](**{name: given[name] for name in (*names, *label)})


DRAWING = ("temperature", "top_k", "top_p", "repetition_penalty", "seed")


def generate(predictor: Predictor, prompts: Sequence[str], options: Options) -> list[Generated]:
    """A text for each prompt, all in one call; the i-th one with the seed plus i.

    Raises:
        UserError: the model does not generate, or lacks the label.
    """
    check_model(predictor, options.label)
    given = _inputs(predictor, prompts, options)
    if options.beam:
        answers = _call(predictor, "beam", given, ("prompt", "length", "width", "length_penalty", "stop"))
        scores = answers["score"]
    else:
        answers = _call(predictor, "generate", given, ("prompt", "length", *DRAWING, "stop"))
        scores = answers["log_probability"]
    return [
        Generated(text.decode(errors="replace"), float(score))
        for text, score in zip(answers["text"].numpy(), scores.numpy(), strict=True)
    ]


def stream(
    predictor: Predictor, prompt: str, options: Options, *, tokens: int = STREAMED_TOKENS
) -> Generator[str, None, Ending]:
    """Makes the text of `generate` piece by piece.

    Args:
        predictor: the model.
        prompt: what the text follows.
        options: without a beam, which has no text before its end.
        tokens: that are drawn for a piece.

    Yields:
        what each call of the model adds to the text: nothing where it may be the beginning of a stop string,
        or of a character.

    Returns:
        how the text came to its end.

    Raises:
        UserError: the model does not generate, or lacks the label.
    """
    check_model(predictor, options.label)
    given = _inputs(predictor, [prompt], options)
    state = _call(predictor, "begin", given, ("prompt",))
    given["ids"] = tf.zeros([1, 0], tf.int32)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    shown = b""
    stops = [_bytes(stop) for stop in options.stop if stop]
    held = max((len(stop) - 1 for stop in stops), default=0)
    log_probability = 0.0
    reason: Reason | None = None
    while reason is None:
        left = options.length - given["ids"].shape[1]
        given["length"] = tf.constant([min(tokens, left)])
        answers = _call(
            predictor,
            "resume",
            given | state,
            ("prompt", "ids", "logits", "length", *DRAWING, *_cells(state)),
        )
        state = {name: answers[name] for name in ("logits", *_cells(answers))}
        given["ids"] = answers["ids"]
        log_probability += float(answers["log_probability"][0])
        text = answers["text"].numpy()[0]
        places = [place for stop in stops if (place := text.find(stop)) >= 0]
        if places:
            text, reason = text[: min(places)], "stop"
        elif answers["ended"][0]:
            reason = "end"
        elif given["ids"].shape[1] >= options.length:
            reason = "length"
        # What may become a stop string is not shown yet.
        until = len(text) if reason else max(len(text) - held, len(shown))
        yield decoder.decode(text[len(shown) : until], final=reason is not None)
        shown = text[:until]
    return Ending(reason, log_probability)


def _bytes(text: str) -> bytes:
    """UTF-8; bytes of the command line that are none stay as they came."""
    return text.encode(errors="surrogateescape")


def _cells(state: dict[str, Any]) -> list[str]:
    return sorted(name for name in state if name.startswith("state_"))
