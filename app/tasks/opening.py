"""Opening DATA for a task: its source, the fields that are read of it, and what its content decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from app.config import TaskConfig, for_other_data
from app.config.sections import LEARN, EncoderConfig
from app.tasks import get_task
from app.tasks.base import Task
from data.errors import UserError
from data.findings import Finding
from data.formats import Field
from data.prepared import Dataset, prepare
from data.scan import Scan
from data.sources import CatalogueName, Source, open_source

if TYPE_CHECKING:
    from app.prediction.predictor import ModelInfo


class Opened(NamedTuple):
    """DATA whose rows are not read yet."""

    source: Source | CatalogueName
    fields: tuple[Field, ...]
    """The fields of an example."""
    config: TaskConfig
    """The configuration with what the data decides, such as how many labels an example has."""


def open_data(data: str, task: Task[Any, Any], config: TaskConfig) -> Opened:
    """Open DATA to train on it, or to check it.

    Args:
        data: as the user gives it.
        task: that the data is for.
        config: may leave to the data what the data decides.

    Raises:
        UserError: there is no such data, or its format cannot hold what the task needs.
    """
    examples = task.examples

    def opened(config: TaskConfig) -> Opened:
        fields = examples.fields(config)
        source = open_source(data, fields, examples.shapes, examples.parallel(config), config.options())
        return Opened(source, fields, config)

    first = opened(config)
    decided = examples.with_data(config, first.source)
    return first if decided == config else opened(decided)


def prepare_data(
    data: str, task: Task[Any, Any], config: TaskConfig, manual_directory: Path | None
) -> tuple[Dataset, TaskConfig]:
    """Return the dataset of DATA to train on, and the configuration with what the data decides.

    Args:
        data: as the user gives it.
        task: that the data is for.
        config: may leave to the data what the data decides.
        manual_directory: raw files of a catalogue dataset.

    Raises:
        UserError: as of `open_data`, or the examples cannot be trained on.
    """
    opened = open_data(data, task, config)
    checks = {"check": task.examples.check, "warn": task.examples.warn}
    return prepare_opened(opened, task, manual_directory, **checks), opened.config


def prepare_opened(
    opened: Opened,
    task: Task[Any, Any],
    manual_directory: Path | None,
    **checks: Callable[[Scan], Iterable[Finding]],
) -> Dataset:
    """Return the dataset of opened DATA, which is prepared as its configuration says.

    Args:
        opened: the data.
        task: that it is for.
        manual_directory: raw files of a catalogue dataset.
        checks: `check` and `warn` of `data.prepared.prepare`.

    Raises:
        UserError: as of `data.prepared.prepare`.
    """
    config = opened.config
    return prepare(
        opened.source,
        opened.fields,
        directory=config.data_directory(),
        manual_directory=manual_directory,
        splitting=config.splitting(),
        validator=task.examples.validator(config),
        **checks,
    )


def open_dataset(
    info: ModelInfo, data: str | None, manual_directory: Path | None, overrides: Sequence[str] = ()
) -> Dataset:
    """Return the dataset that a model was trained on, or another one.

    Args:
        info: of the model.
        data: other DATA; None: that of the training.
        manual_directory: raw files of a catalogue dataset.
        overrides: `KEY=VALUE` that say how the files of other DATA are read.

    Raises:
        UserError: the data is missing, or it has changed since the training.
    """
    if data is None and info.data is None:
        raise UserError(f"{info.where} does not record its data; name the data to evaluate on with --data")
    if data is None and overrides:
        raise UserError(
            f"--set {overrides[0]}: the data of the training is read as in training; name the data that it "
            "applies to with --data"
        )
    task = get_task(info.task)
    examples = task.examples
    config = info.config if data is None else for_other_data(info.config, overrides)
    fields = examples.fields(config)
    source = open_source(
        data or info.data or "", fields, examples.shapes, examples.parallel(config), config.options()
    )
    dataset = prepare_opened(Opened(source, fields, config), task, manual_directory)
    if data is None and dataset.hash != info.dataset_hash:
        raise UserError(
            f"{info.data} has changed since {info.where} was trained on it; "
            "name the data to evaluate on with --data"
        )
    return dataset


def learns_from_unlabelled(config: TaskConfig) -> bool:
    """Return whether each training step takes texts without labels, if there are any."""
    return getattr(config.training, "virtual_adversarial", 0.0) > 0


def pretrained_from(config: TaskConfig) -> str:
    """Return `model.pretrained`; empty for a task that does not have it."""
    return config.model.pretrained if isinstance(config.model, EncoderConfig) else ""


def open_unlabelled(task: Task[Any, Any], config: TaskConfig) -> Opened | None:
    """Open the texts without labels, if the configuration names any.

    Raises:
        UserError: there is no such data, or it has no texts.
    """
    examples = task.examples
    path = examples.unlabelled(config)
    if not path:
        return None
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"data.unlabelled = {path!r}: No such file or directory; give a file of texts")
    pretrained = pretrained_from(config)
    if LEARN not in (config.model.embeddings, pretrained) and not learns_from_unlabelled(config):
        raise UserError(
            f"data.unlabelled = {path!r} is not used by model.embeddings = {config.model.embeddings!r} and "
            f"model.pretrained = {pretrained!r} with training.virtual_adversarial = 0; give --set "
            f"model.embeddings={LEARN}, --set model.pretrained={LEARN} or --set "
            "training.virtual_adversarial=1, or leave out data.unlabelled"
        )
    fields = tuple(field for field in examples.fields(config) if field.kind == "text")
    source = open_source(str(place), fields, ("lines", *examples.shapes), (), config.options())
    return Opened(source, fields, config)
