"""Networks that start from the weights of a language model.

Dai and Le 2015, "Semi-supervised sequence learning", section 2.3: embeddings and recurrent layers are those
of a language model of the same texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.files import MANIFEST
from app.artifacts.manifests import Pretrained, RunManifest
from app.artifacts.run import MODEL, Run, open_run
from app.config import TaskConfig
from app.config.sections import LEARN
from app.tasks.base import Task
from app.tasks.generation.facts import GenerationFacts
from app.tasks.opening import pretrained_from
from app.training.state import read_progress
from data.errors import UserError
from models.text.tokens import SEQUENCE_TOKENS

if TYPE_CHECKING:
    import keras

LANGUAGE_MODELS = "generation"
"""The task whose runs are language models."""
_CELL = ("cell", "units", "activation")
"""Settings that decide whether weights of recurrent layers fit."""

Layer = Mapping[str, np.ndarray]
"""Weights of a recurrent layer by name."""


@dataclass(frozen=True)
class LanguageModelWeights:
    """What a network can take over from a finished language model."""

    path: Path
    """Of the run."""
    described: Pretrained
    """For the manifest, with nothing copied yet."""
    config: TaskConfig
    ids: Mapping[bytes, int]
    """Ids of tokens, without the marks of their joins."""
    embeddings: np.ndarray
    """float32 [vocabulary, embedding_size]"""
    layers: Sequence[Layer]


def has_begun(run: Path) -> bool:
    """Return whether a run directory has a state of its training, so that nothing starts anew."""
    return run.exists() and read_progress(run) is not None


def open_language_model(config: TaskConfig, run: Path | None) -> Run | None:
    """Open the run that `model.pretrained` names.

    Args:
        config: of the training.
        run: its run directory, which may exist.

    Returns:
        None: the key names no run, or the training has begun and the run was deleted since.

    Raises:
        UserError: it is not a finished language model.
    """
    name = pretrained_from(config)
    if name in ("", LEARN):
        return None
    path = Path(name).expanduser()
    if run is not None and has_begun(run) and not (path / MANIFEST).exists():
        return None
    try:
        found = open_run(path)
    except UserError as error:
        raise UserError(f"model.pretrained = {name!r}: {error}") from None
    if found.task != LANGUAGE_MODELS:
        raise UserError(
            f"model.pretrained = {name!r}: its task is {found.task}; give a run of 'textrnn train "
            f"{LANGUAGE_MODELS}', or {LEARN}"
        )
    return found


def check_pretrained(run: Path, manifest: RunManifest, source: Run | None) -> None:
    """Require that a training is resumed with the language model that it started from.

    Raises:
        UserError: its weights have changed.
    """
    if source is None or manifest.pretrained is None:
        return
    before, now = manifest.pretrained.model, source.manifest.files[MODEL]
    if before != now:
        raise UserError(
            f"{run}: cannot be resumed: the weights of model.pretrained have changed: their sha256 was "
            f"{before!r}, is {now!r} in {source.path}; restore them, or train a new run"
        )


def read_language_model(source: Run) -> LanguageModelWeights:
    """Return the weights of a finished language model.

    Call it before the network is built that starts from them: loading a model changes the names of those
    that are built afterwards.
    """
    from app.prediction.loading import load_keras_model

    vocabulary = source.preprocessing(GenerationFacts).vocabulary
    model = load_keras_model(source)
    return LanguageModelWeights(
        source.path,
        Pretrained(run=str(source.path.resolve()), model=source.manifest.files[MODEL], copied=[]),
        source.config,
        plain_ids(vocabulary, marked=_kind(source.config) == "word"),
        model.embedding.embeddings.numpy(),
        [_weights(layer) for layer in model.recurrent],
    )


def plain_ids(vocabulary: Sequence[bytes], *, marked: bool) -> dict[bytes, int]:
    """Return the ids of tokens without the marks of their joins; of equal ones that of the most frequent.

    `plain_ids([b"", b"the", "￭-￭".encode(), b"-"], marked=True) -> {b"the": 1, b"-": 2}`

    Args:
        vocabulary: frequent tokens first; the empty token is padding.
        marked: whether tokens have marks, as in `models.text.joins`.
    """
    from models.text.joins import JOINED, SPACED

    found: dict[bytes, int] = {}
    for i, token in enumerate(vocabulary):
        text = token.decode(errors="surrogateescape")
        plain = text.strip(JOINED + SPACED) if marked else text
        if plain:
            found.setdefault(plain.encode(errors="surrogateescape"), i)
    return found


def copy_language_model(
    source: LanguageModelWeights,
    task: Task[Any, Any],
    model: keras.Model,
    vocabulary: Sequence[bytes],
    config: TaskConfig,
) -> Pretrained:
    """Copy what fits of a language model to a new network: rows of the embedding, and recurrent layers.

    A recurrent layer may have further inputs: the features of characters, the outputs of a backward
    direction. Their weights become 0, so that the forward direction computes what it does in the language
    model. Its layers are copied up to the first one that does not fit; the backward direction is not changed.

    Args:
        source: of the language model.
        task: of the network.
        model: the network, with random weights.
        vocabulary: the tokens of its embedding.
        config: of the network.

    Returns:
        the language model, and what was copied.

    Raises:
        UserError: nothing can be copied.
    """
    _check(source, config)
    rows = {i: source.ids[token] for i, token in enumerate(vocabulary) if token and token in source.ids}
    words = [i for i in rows if vocabulary[i] not in SEQUENCE_TOKENS]
    of_all = f"{len(words):,} of {sum(token not in SEQUENCE_TOKENS for token in vocabulary):,} tokens"
    if not words:
        raise UserError(
            f"model.pretrained = {str(source.path)!r}: nothing can be copied: {of_all} are in its "
            "vocabulary; give a language model of similar texts, with the same text.tokens and text.lowercase"
        )
    embedding = task.training.embedding(model)
    table = embedding.embeddings.numpy()
    table[list(rows)] = source.embeddings[list(rows.values())]
    embedding.embeddings.assign(table)
    sentences = [f"copied the embeddings of {of_all}", *_copy_layers(source, task, model, config)]
    return source.described.model_copy(update={"copied": sentences})


def _check(source: LanguageModelWeights, config: TaskConfig) -> None:
    name = f"model.pretrained = {str(source.path)!r}"
    tokens, own_tokens = _kind(source.config), _kind(config)
    if tokens != own_tokens:
        raise UserError(
            f"{name}: nothing can be copied: its text.tokens is {tokens!r}, here {own_tokens!r}; give a "
            f"language model of {own_tokens} tokens"
        )
    if source.config.model.embedding_size != config.model.embedding_size:
        differ = _differences(source.config, config, ("embedding_size", *_CELL))
        has = ", ".join(f"model.{key} is {value!r}, here {own!r}" for key, (value, own) in differ.items())
        give = " ".join(f"--set model.{key}={value}" for key, (value, _) in differ.items())
        raise UserError(f"{name}: nothing can be copied: its {has}; give {give}")


def _copy_layers(
    source: LanguageModelWeights, task: Task[Any, Any], model: keras.Model, config: TaskConfig
) -> Iterator[str]:
    """Copy recurrent layers, and yield a sentence about those that were copied, and those that were not."""
    stack = task.training.encoder(model)
    differ = _differences(source.config, config, _CELL)
    copied = 0
    for layer, weights in zip(stack.forward, source.layers, strict=False):
        if differ or not _copy(weights, layer):
            break
        copied += 1
    left = [f"recurrent layer {i + 1}" for i in range(copied, len(stack.forward))]
    if copied:
        direction = "the forward direction of " if stack.backward else ""
        yield f"copied {direction}{'recurrent layers' if copied > 1 else 'recurrent layer'} {_upto(copied)}"
    if stack.backward:
        left = [f"the backward direction of recurrent layer {i + 1}" for i in range(copied)] + left
    if left:
        has = "; ".join(f"its model.{key} is {value!r}, here {own!r}" for key, (value, own) in differ.items())
        yield f"not copied, with random values: {', '.join(left)}{f' ({has})' if has else ''}"


def _upto(number: int) -> str:
    return "1" if number == 1 else f"1 to {number}"


def _copy(weights: Layer, layer: keras.layers.RNN) -> bool:
    """Copy the weights of a layer if they fit, and return whether they do."""
    own = {weight.name: weight for weight in layer.weights}
    values = {}
    for name, weight in own.items():
        value = weights.get(name)
        if value is None:
            return False
        if name == "kernel" and len(value) < weight.shape[0]:
            value = np.pad(value, [(0, weight.shape[0] - len(value)), (0, 0)])
        if value.shape != tuple(weight.shape):
            return False
        values[name] = value
    for name, value in values.items():
        own[name].assign(value)
    return True


def _weights(layer: keras.layers.RNN) -> Layer:
    return {weight.name: np.asarray(weight.numpy(), np.float32) for weight in layer.weights}


def _differences(
    other: TaskConfig, config: TaskConfig, keys: Sequence[str]
) -> dict[str, tuple[object, object]]:
    """Return the values of keys of `model` that differ: of a language model, and of a network."""
    values = {key: (getattr(other.model, key), getattr(config.model, key)) for key in keys}
    return {key: pair for key, pair in values.items() if pair[0] != pair[1]}


def _kind(config: TaskConfig) -> str:
    kind: str = config.tokenizing()["tokens"]
    return kind
