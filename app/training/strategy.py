"""`training.strategy`: which devices and processes share the rows of a training step."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from app.artifacts.files import versions
from app.artifacts.manifests import RunManifest
from app.artifacts.run import Run
from app.config import TaskConfig
from app.config.differences import value_of
from app.config.keys import keys_of
from app.config.sections import LEARN
from app.tasks.base import Task
from app.tasks.opening import learns_from_unlabelled, pretrained_from
from app.training.events import Message
from app.training.workers import MULTI_WORKER, Alone, Cluster, place_of
from data.errors import UserError

SINGLE = "single"
OWN_KEYS = {"data.directory", "training.kernels"}
"""Keys that may differ between workers."""


def check_strategy(task: Task[Any, Any], config: TaskConfig, teachers: Sequence[Run]) -> None:
    """Refuse what several devices, or several processes, cannot train.

    Raises:
        UserError: names the key.
    """
    strategy = config.training.strategy
    if strategy == SINGLE:
        return
    if task.examples.unlabelled(config) and learns_from_unlabelled(config):
        raise UserError(
            f"training.strategy = {strategy!r}: texts without labels (data.unlabelled) are not shared among "
            "devices; set training.virtual_adversarial to 0, or training.strategy to single"
        )
    if strategy != MULTI_WORKER:
        return
    if teachers:
        raise UserError(
            f"training.strategy = {strategy!r}: textrnn distill runs in one process; set it to single or "
            "mirrored"
        )
    if pretrained_from(config) == LEARN:
        raise UserError(
            f"training.strategy = {strategy!r}: model.pretrained = {LEARN!r} runs in one process; train the "
            "language model with 'textrnn train generation' first, and set model.pretrained to its run"
        )


def check_one_process(config: TaskConfig, command: str) -> None:
    """Refuse several workers where one process trains several networks.

    Args:
        config: of a training.
        command: for the message, as `textrnn compare`.

    Raises:
        UserError: the strategy is `multi_worker`.
    """
    if config.training.strategy == MULTI_WORKER:
        raise UserError(
            f"training.strategy = {MULTI_WORKER!r}: {command} trains in one process; set it to single or "
            "mirrored"
        )


def connected(strategy: str, should_stop: Callable[[], bool]) -> Generator[Message, None, Alone]:
    """Return the processes that train together, and yield what is waited for.

    Raises:
        UserError: `TF_CONFIG` is not valid, or the other workers do not start.
    """
    place = place_of(strategy)
    if place is None or len(place.addresses) == 1:
        return Alone()
    yield Message(f"{place.name(place.rank)}: waiting for all {len(place.addresses)} workers to start")
    return Cluster(place, should_stop)


def check_equal(workers: Alone, config: TaskConfig, *hashes: str) -> None:
    """Require the same versions, configuration and examples in all workers.

    Raises:
        UserError: names the worker that differs from the chief, and both values.
    """
    if workers.number == 1:
        return
    keys = {path: value_of(config, path) for path in keys_of(type(config)) if path not in OWN_KEYS}
    kinds = [str(device).split("device:")[-1].split(":")[0] for device in workers.devices(several=True)]
    own = {
        "task": config.task,
        **{f"version of {name}": version for name, version in versions().items() if name != "python"},
        **keys,
        "devices": kinds,
        "dataset_hash": list(hashes),
    }
    found = workers.exchange(own)
    for rank, other in enumerate(found):
        differing = [name for name in own if other.get(name) != found[0].get(name)]
        if differing:
            name = differing[0]
            raise UserError(
                f"{workers.name_of(rank)} differs from the chief: {name} is {other.get(name)!r}, not "
                f"{found[0].get(name)!r}; give all workers the same command, data and versions"
            )


def check_replicas(run: Path, manifest: RunManifest, config: TaskConfig, replicas: int) -> None:
    """Require the devices that a deterministic training has run on so far.

    Raises:
        UserError: their number is another one now.
    """
    if config.training.deterministic and manifest.replicas != replicas:
        raise UserError(
            f"{run}: cannot be resumed exactly: {described_replicas(manifest.replicas)}, "
            f"{described_replicas(replicas)} would now"
        )
    if manifest.teachers and config.training.strategy == MULTI_WORKER:
        raise UserError(
            f"{run}: cannot be resumed by several workers: it was trained by 'textrnn distill', which "
            "runs in one process; set training.strategy to single or mirrored"
        )


def described_replicas(number: int, workers: int = 1) -> str:
    """Return how many devices share the rows of a step."""
    devices = "1 device" if number == 1 else f"{number} devices"
    of = f" of {workers} workers" if workers > 1 else ""
    verb = "has all rows" if number == 1 else "share the rows"
    return f"{devices}{of} {verb} of a step"


def other_replicas(before: int, now: int) -> str:
    """Return what it means that a training continues on another number of devices, or an empty string.

    Args:
        before: number of devices that shared the rows of a step so far.
        now: from now on.
    """
    if before == now:
        return ""
    return (
        f"{before} device{'s' * (before != 1)} shared the rows of a step, {now} do{'es' * (now == 1)} now: "
        "the weights will not be those of an uninterrupted training, bit for bit"
    )
