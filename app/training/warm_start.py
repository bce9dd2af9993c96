"""Networks that start from the weights of a finished run: `textrnn train --from RUN`.

For the same task, tokens, labels and tags are taken over by their names, all other weights by their place in
the network. For another task, the embeddings and the recurrent layers are taken over.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.files import MANIFEST
from app.artifacts.manifests import Pretrained, RunManifest
from app.artifacts.preprocessing import Preprocessing
from app.artifacts.run import CONFIG, MODEL, Run, open_run, read_run_manifest
from app.config import TaskConfig, get_config_class, load_config
from app.config.differences import value_of
from app.config.keys import keys_of
from app.tasks.base import NamedAxis, Task
from app.tasks.opening import pretrained_from
from app.training.pretrained import (
    EncoderWeights,
    copy_encoder,
    described_differences,
    described_run,
    has_begun,
    read_encoder,
    shape_differences,
)
from data.errors import UserError
from models.text.tokens import SEQUENCE_TOKENS

if TYPE_CHECKING:
    import keras

SHARED = (
    *(f"model.{key}" for key in ("cell", "units", "layers", "activation", "embedding_size")),
    *("model.bidirectional", "model.merge_mode", "text.tokens", "text.lowercase"),
)
"""Keys that a run of another task takes over: those that decide whether the weights fit."""
OTHER_STARTS = ("model.embeddings=", "model.pretrained=")
"""Other starts of the weights, which a run does not take over."""
MOST_SHOWN = 5

Names = Mapping[int, Sequence[Hashable]]
"""The names of the elements of a weight along some of its axes."""


@dataclass(frozen=True)
class NetworkWeights:
    """What a network can take over from a finished run of its task."""

    described: Pretrained
    """For the manifest, with nothing copied yet."""
    weights: Mapping[str, np.ndarray]
    """By their place in the network."""
    names: Mapping[str, Names]
    kinds: Mapping[str, Sequence[Hashable]]
    """The names of each kind: tokens, labels, …."""


def warm_start_config(
    task: str,
    source: Path,
    *,
    run: Path | None = None,
    config_file: Path | None = None,
    preset: str | None = None,
    overrides: Sequence[str] = (),
) -> TaskConfig:
    """Return the configuration of a training that starts from a run.

    Without a file and a preset it is that of the run, except for the section data and for other starts of the
    weights. If the run is one of another task, it has those keys of the run that decide whether its weights
    fit.

    Args:
        task: of the training.
        source: the finished run.
        run: the run directory of the training; if it exists, its own configuration is taken.
        config_file: TOML file.
        preset: of the task.
        overrides: `KEY=VALUE`.

    Raises:
        UserError: the run is not finished, or a key or value is not valid.
    """
    if config_file is not None or preset is not None:
        return load_config(task, file=config_file, preset=preset, overrides=overrides)
    if run is not None and (run / MANIFEST).exists():
        path, of_task = run, read_run_manifest(run).task
        config = None
    else:
        opened = open_source(source)
        path, of_task, config = source, opened.task, opened.config
    known = keys_of(get_config_class(task))
    if of_task != task:
        if config is None:
            return load_config(task, overrides=overrides)  # which is refused: a run keeps its task
        theirs = keys_of(type(config))
        shared = [
            f"{key}={json.dumps(value_of(config, key))}" for key in SHARED if key in known and key in theirs
        ]
        return load_config(task, overrides=[*shared, *overrides])
    others = [own for own in OTHER_STARTS if own.rstrip("=") in known]
    found = load_config(task, file=path / CONFIG, overrides=[*others, *overrides], require_format=True)
    of_data = [own for own in overrides if own.lstrip().startswith("data.")]
    return found.model_copy(update={"data": load_config(task, overrides=of_data).data})


def open_source(path: Path) -> Run:
    """Open the run that `--from` names.

    Raises:
        UserError: it is not a finished run.
    """
    try:
        return open_run(path)
    except UserError as error:
        raise UserError(f"--from {path}: {error}") from None


def open_warm_start(task: str, config: TaskConfig, source: Path | None, run: Path | None) -> Run | None:
    """Open the run whose weights a training starts from.

    Args:
        task: of the training.
        config: of the training.
        source: the run that the user names.
        run: the run directory of the training; it exists if the training is resumed.

    Returns:
        None: there is none, or the training has begun and needs it no more.

    Raises:
        UserError: it is not a finished run, its weights do not fit or have changed, the configuration has
            another start of the weights, or the training to resume was not started from it.
    """
    manifest = read_run_manifest(run) if run is not None and run.exists() else None
    if source is not None:
        for key, value in (
            ("model.embeddings", config.model.embeddings),
            ("model.pretrained", pretrained_from(config)),
        ):
            if value:
                raise UserError(f"--from {source} contradicts {key} = {value!r}; leave out one of the two")
    if manifest is None or run is None:
        if source is None:
            return None
        opened = open_source(source)
        _check_shape(task, opened, config)
        return opened
    if manifest.from_run is None:
        if source is not None:
            raise UserError(
                f"{run}: cannot be resumed: it did not start from another run; leave out --from {source}"
            )
        return None
    begun = has_begun(run)
    if source is None or (begun and not (source / MANIFEST).exists()):
        if not begun:
            raise UserError(
                f"{run}: cannot be resumed: its training has not begun, and starts from another run; give "
                f"--from {manifest.from_run.run}"
            )
        return None
    opened = open_source(source)
    _check_same(run, manifest, opened)
    return None if begun else opened


def _check_same(run: Path, manifest: RunManifest, source: Run) -> None:
    assert manifest.from_run is not None
    before, now = manifest.from_run.model, source.manifest.files[MODEL]
    if before != now:
        raise UserError(
            f"{run}: cannot be resumed: it started from other weights than those of --from {source.path}: "
            f"their sha256 was {before!r}, is {now!r}; give --from {manifest.from_run.run}"
        )


def _check_shape(task: str, source: Run, config: TaskConfig) -> None:
    option = f"--from {source.path}"
    tokens, own = (str(each.tokenizing()["tokens"]) for each in (source.config, config))
    if tokens != own:
        raise UserError(
            f"{option}: its text.tokens is {tokens!r}, here {own!r}; give a run of {own} tokens, or "
            f"{task} of {tokens} tokens"
        )
    if differ := shape_differences(source.config, config):
        raise UserError(f"{option}: {described_differences(differ)}")


def kept_preprocessing(
    task: Task[Any, Any], source: Run | None, run: Path | None
) -> Preprocessing[Any] | None:
    """Return the preprocessing whose tokens a training keeps.

    It is that of the run that it starts from; a training that is resumed has it in its own.

    Args:
        task: of the training.
        source: the run that it starts from, of any task.
        run: the run directory of the training; it exists if the training is resumed.
    """
    from app.artifacts.preprocessing import read_preprocessing

    if run is not None and run.exists():
        started = read_run_manifest(run).from_run is not None
        return read_preprocessing(run, task.facts) if started else None
    return source.preprocessing(task.facts) if source is not None and source.task == task.name else None


def read_source(source: Run, task: Task[Any, Any]) -> NetworkWeights | EncoderWeights:
    """Return the weights of a finished run, for a network of a task.

    Call it before the network is built that starts from them: loading a model changes the names of those
    that are built afterwards.
    """
    from app.prediction.loading import load_keras_model

    if source.task != task.name:
        return read_encoder(source, f"--from {source.path}")
    model = load_keras_model(source)
    axes = list(task.training.named_axes(model, source.preprocessing(task.facts), source.config))
    return NetworkWeights(
        described_run(source),
        {_place(weight): weight.numpy() for weight in model.trainable_variables},
        _by_place(axes),
        {axis.kind: axis.names for axis in axes},
    )


def copy_source(
    source: NetworkWeights | EncoderWeights,
    task: Task[Any, Any],
    model: keras.Model,
    preprocessing: Preprocessing[Any],
    config: TaskConfig,
) -> Pretrained:
    """Copy what fits of the weights of a run to a new network.

    Linear models beside the network, weights of branches and thresholds are not copied: training fits them to
    its own data.

    Args:
        source: of the run.
        task: of the network.
        model: the network, with random weights.
        preprocessing: of the network.
        config: of the network.

    Returns:
        the run, and sentences about what was copied and what is new.

    Raises:
        UserError: nothing can be copied.
    """
    if isinstance(source, EncoderWeights):
        return copy_encoder(source, task, model, preprocessing.vocabulary, config)
    axes = list(task.training.named_axes(model, preprocessing, config))
    names = _by_place(axes)
    new = []
    for weight in model.trainable_variables:
        place = _place(weight)
        value = source.weights.get(place)
        found = None
        if value is not None:
            found = _joined(weight.numpy(), names.get(place, {}), value, source.names.get(place, {}))
        if found is None:
            new.append(place.rpartition("/")[0] or place)
        else:
            weight.assign(found)
    sentences = [
        _compared(kind, source.kinds.get(kind, ()), own)
        for kind, own in {axis.kind: axis.names for axis in axes}.items()
    ]
    sentences.append(
        f"new, with random values: {', '.join(dict.fromkeys(new))}" if new else "all layers are kept"
    )
    return source.described.model_copy(update={"copied": sentences})


def _joined(own: np.ndarray, names: Names, value: np.ndarray, value_names: Names) -> np.ndarray | None:
    """Return a weight with the elements of another one, by name where an axis has names; None: it differs."""
    if own.ndim != value.ndim or names.keys() != value_names.keys():
        return None
    to, from_ = [], []
    for axis, (size, size_of_value) in enumerate(zip(own.shape, value.shape, strict=True)):
        if axis in names:
            places = {name: i for i, name in enumerate(value_names[axis])}
            pairs = [(i, places[name]) for i, name in enumerate(names[axis]) if name in places]
            to.append([i for i, _ in pairs])
            from_.append([i for _, i in pairs])
        elif size == size_of_value:
            to.append(list(range(size)))
            from_.append(list(range(size)))
        else:
            return None
    joined = own.copy()
    joined[np.ix_(*to)] = value[np.ix_(*from_)]
    return joined


def _compared(kind: str, before: Sequence[Hashable], now: Sequence[Hashable]) -> str:
    """Return how many names a network has from a run, which are new, and which are left out.

    `_compared("labels", [b"a", b"b"], [b"b", b"c"]) -> "labels: 1 kept, 1 new ('c'), 1 left out ('a')"`
    """
    of_before, of_now = (_of_data(names) for names in (before, now))
    known, present = set(of_before), set(of_now)
    new = [name for name in of_now if name not in known]
    left = [name for name in of_before if name not in present]
    parts = [f"{len(of_now) - len(new):,} kept"]
    parts += [f"{len(own):,} {what}{_listed(own)}" for own, what in ((new, "new"), (left, "left out")) if own]
    return f"{kind}: {', '.join(parts)}"


def _of_data(names: Sequence[Hashable]) -> list[str]:
    """Return the names that data has, without special ones."""
    return list(_texts(name for name in names if name not in SEQUENCE_TOKENS))


def _texts(names: Iterator[Hashable]) -> Iterator[str]:
    for name in names:
        if isinstance(name, bytes):
            yield name.decode(errors="replace")
        elif isinstance(name, str):
            yield name


def _listed(names: Sequence[str]) -> str:
    return f" ({', '.join(map(repr, names[:MOST_SHOWN]))}{' …' if len(names) > MOST_SHOWN else ''})"


def _place(weight: Any) -> str:
    """Return the path of a weight below the network, whose own name does not count."""
    place: str = weight.path.partition("/")[2]
    return place


def _by_place(axes: Sequence[NamedAxis]) -> dict[str, dict[int, Sequence[Hashable]]]:
    found: dict[str, dict[int, Sequence[Hashable]]] = {}
    for own in axes:
        found.setdefault(_place(own.weight), {})[own.axis] = own.names
    return found
