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
from app.tasks import get_task
from app.tasks.base import Task
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
class EncoderWeights:
    """What a network can take over from a finished run of another task."""

    option: str
    """What names the run, for messages."""
    described: Pretrained
    """For the manifest, with nothing copied yet."""
    config: TaskConfig
    ids: Mapping[bytes, int]
    """Ids of tokens, without the marks of their joins."""
    embeddings: np.ndarray
    """float32 [vocabulary, embedding_size]"""
    forward: Sequence[Layer]
    backward: Sequence[Layer]
    """Of a language model: none."""


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


def read_encoder(source: Run, option: str) -> EncoderWeights:
    """Return the weights of the embedding and of the recurrent layers of a finished run.

    Call it before the network is built that starts from them: loading a model changes the names of those
    that are built afterwards.

    Args:
        source: of any task.
        option: what names it, for messages.
    """
    from app.prediction.loading import load_keras_model

    task = get_task(source.task)
    model = load_keras_model(source)
    forward, backward = task.training.directions(model)
    return EncoderWeights(
        option,
        described_run(source),
        source.config,
        plain_ids(source.preprocessing(task.facts).vocabulary, marked=_kind(source.config) == "word"),
        task.training.embedding(model).embeddings.numpy(),
        [_weights(layer) for layer in forward],
        [_weights(layer) for layer in backward],
    )


def read_language_model(source: Run) -> EncoderWeights:
    """Return the weights of a finished language model; see `read_encoder`."""
    return read_encoder(source, f"model.pretrained = {str(source.path)!r}")


def described_run(source: Run) -> Pretrained:
    """Return what the manifest says about a run that a network starts from, with nothing copied yet."""
    return Pretrained(run=str(source.path.resolve()), model=source.manifest.files[MODEL], copied=[])


def plain_ids(vocabulary: Sequence[bytes], *, marked: bool) -> dict[bytes, int]:
    """Return the ids of tokens without the marks of their joins; of equal ones that of the most frequent.

    `plain_ids([b"", b"the", "￭-￭".encode(), b"-"], marked=True) -> {b"the": 1, b"-": 2}`

    Args:
        vocabulary: frequent tokens first; the empty token is padding.
        marked: whether tokens have marks, as in `models.text.joins`.
    """
    found: dict[bytes, int] = {}
    for i, token in enumerate(vocabulary):
        if plain := _plain(token, marked=marked):
            found.setdefault(plain, i)
    return found


def _plain(token: bytes, *, marked: bool) -> bytes:
    from models.text.joins import JOINED, SPACED

    text = token.decode(errors="surrogateescape")
    return (text.strip(JOINED + SPACED) if marked else text).encode(errors="surrogateescape")


def copy_encoder(
    source: EncoderWeights,
    task: Task[Any, Any],
    model: keras.Model,
    vocabulary: Sequence[bytes],
    config: TaskConfig,
) -> Pretrained:
    """Copy what fits to a new network of another task: rows of the embedding, and recurrent layers.

    A recurrent layer may have further inputs: the features of characters, the outputs of a backward
    direction. Their weights become 0, so that the forward direction computes what it does in the other
    network. It may also have fewer; their weights are left out. Layers are copied up to the first one that
    does not fit. Without a backward direction to copy, that of the network is not changed.

    Args:
        source: of the other network.
        task: of the network.
        model: the network, with random weights.
        vocabulary: the tokens of its embedding.
        config: of the network.

    Returns:
        the other run, and what was copied.

    Raises:
        UserError: nothing can be copied.
    """
    _check(source, config)
    plain = [_plain(token, marked=_kind(config) == "word") for token in vocabulary]
    rows = {i: source.ids[token] for i, token in enumerate(plain) if token in source.ids}
    words = [i for i in rows if vocabulary[i] not in SEQUENCE_TOKENS]
    of_all = f"{len(words):,} of {sum(token not in SEQUENCE_TOKENS for token in vocabulary):,} tokens"
    if not words:
        raise UserError(
            f"{source.option}: nothing can be copied: {of_all} are in its vocabulary; give a run on similar "
            "texts, with the same text.tokens and text.lowercase"
        )
    embedding = task.training.embedding(model)
    table = embedding.embeddings.numpy()
    table[list(rows)] = source.embeddings[list(rows.values())]
    embedding.embeddings.assign(table)
    sentences = [f"copied the embeddings of {of_all}", *_copy_layers(source, task, model, config)]
    return source.described.model_copy(update={"copied": sentences})


def shape_differences(source: TaskConfig, config: TaskConfig) -> dict[str, tuple[object, object]]:
    """Return the keys of `model` because of which embeddings or recurrent layers do not fit.

    By the name of the key its two values.
    """
    return _differences(source, config, ("embedding_size", *_CELL))


def _check(source: EncoderWeights, config: TaskConfig) -> None:
    tokens, own_tokens = _kind(source.config), _kind(config)
    if tokens != own_tokens:
        raise UserError(
            f"{source.option}: nothing can be copied: its text.tokens is {tokens!r}, here {own_tokens!r}; "
            f"give a language model of {own_tokens} tokens"
        )
    if source.config.model.embedding_size != config.model.embedding_size:
        differ = shape_differences(source.config, config)
        raise UserError(f"{source.option}: nothing can be copied: {described_differences(differ)}")


def described_differences(differ: Mapping[str, tuple[object, object]]) -> str:
    """Return a sentence about `shape_differences`, and what to do."""
    has = ", ".join(f"model.{key} is {value!r}, here {own!r}" for key, (value, own) in differ.items())
    give = " ".join(f"--set model.{key}={value}" for key, (value, _) in differ.items())
    return f"its {has}; give {give}"


def _copy_layers(
    source: EncoderWeights, task: Task[Any, Any], model: keras.Model, config: TaskConfig
) -> Iterator[str]:
    """Copy recurrent layers, and yield a sentence about those that were copied, and those that were not."""
    forward, backward = task.training.directions(model)
    differ = _differences(source.config, config, _CELL)
    copied = 0
    for layer, weights in zip(forward, source.forward, strict=False):
        if differ or not _copy(weights, layer):
            break
        copied += 1
    both = 0
    for layer, weights in zip(backward[:copied], source.backward, strict=False):
        if not _copy(weights, layer):
            break
        both += 1
    left = [f"recurrent layer {i + 1}" for i in range(copied, len(forward))]
    if copied:
        layers = f"{'recurrent layers' if copied > 1 else 'recurrent layer'} {_upto(copied)}"
        which = "both directions of " if both == copied else "the forward direction of "
        yield f"copied {which if backward else ''}{layers}"
    if backward:
        left = [f"the backward direction of recurrent layer {i + 1}" for i in range(both, copied)] + left
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
        if name == "kernel":
            value = value[: weight.shape[0]]
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
