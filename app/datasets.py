"""`textrnn datasets`: list, check and prepare datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from app.config import TaskConfig
from app.tasks import get_task
from app.tasks.base import Task
from app.tasks.opening import Opened, open_data, prepare_opened
from data import prepared
from data.check import StatisticsObserver
from data.check_report import Report
from data.errors import UserError
from data.findings import Finding
from data.formats import Field
from data.prepared import Dataset
from data.samples import SAMPLES
from data.scan import scan
from data.sources import CatalogueName, Source
from data.splits import ALL_SPLITS
from data.spool import Spool


def list_all(match: str) -> list[str]:
    """Return the names for DATA that contain `match`: samples, then the catalogue."""
    import tensorflow_datasets as tfds

    names = [f"sample:{name}" for name in SAMPLES]
    names += [f"tfds:{name}" for name in tfds.list_builders(with_community_datasets=False)]
    return [name for name in names if match.lower() in name.lower()]


def prepare(data: str, task_name: str, config: TaskConfig, manual_directory: Path | None) -> Dataset:
    """Return the prepared dataset of DATA, even if no model could be trained on it.

    A catalogue dataset may have any features.
    """
    task = get_task(task_name)
    opened = open_data(data, task, config)
    if isinstance(opened.source, CatalogueName):
        opened = opened._replace(fields=())
    return prepare_opened(opened, task, manual_directory)


def check(data: str, task_name: str, config: TaskConfig, manual_directory: Path | None) -> Report:
    """Return what training would refuse in DATA, its warnings, and statistics.

    The examples go the way of training: the same scan, validators and checks. Those that these do not refuse
    are prepared and encoded, which training then need not do again.

    Raises:
        UserError: there is no such data.
    """
    task = get_task(task_name)
    examples = task.examples
    directory = config.data_directory()
    try:
        source, fields, config = open_data(data, task, config)
    except UserError as error:
        if not Path(data).exists():
            raise
        fields = examples.fields(config)
        empty = _observer(fields, examples.pair, config, ()).statistics()
        return Report(empty, problems_found=(Finding(str(error), ""),))
    rows = prepared.readable(source, fields, directory=directory, manual_directory=manual_directory)
    observer = _observer(fields, examples.pair, config, rows.parts)
    with Spool(directory) as spool:
        validators = (examples.validator(config), examples.doctor(config), observer)
        found = scan(rows, fields, config.splitting(), spool, validators)
    problems = [*found.problems, *examples.check(found)]
    of_tokens: Sequence[Finding] = ()
    if not problems:
        problems, of_tokens = _encoded(task, source, config, manual_directory)
    statistics = observer.statistics()
    options = {field.name: field.option for field in fields if field.option.startswith("--set")}
    return Report(
        statistics,
        problems_found=tuple(problems),
        warnings_found=_with_places(
            [*found.warnings, *examples.warn(found), *of_tokens, *statistics.warnings(options)],
            statistics.unseen(),
        ),
        layout=(*rows.layout, *found.notes),
        ignored=rows.ignored,
        malformed={"train" if part == ALL_SPLITS else part: rows for part, rows in found.failed.items()},
    )


def _encoded(
    task: Task[Any, Any], source: Source | CatalogueName, config: TaskConfig, manual_directory: Path | None
) -> tuple[list[Finding], Sequence[Finding]]:
    """Return the first error of training when the examples are tokens, if there is one, and warnings."""
    from app.training.encode import encode_and_batch
    from app.training.selection import selecting_metric

    try:
        opened = Opened(source, task.examples.fields(config), config)
        dataset = prepare_opened(opened, task, manual_directory, check=task.examples.check)
        encoded = encode_and_batch(dataset, task, config, config.data_directory())
        selecting_metric(task.training.metrics(encoded.preprocessing), config)
    except UserError as error:
        return [Finding(str(error), "")], ()
    return [], encoded.warnings


def _with_places(warnings: Sequence[Finding], placed: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return warnings, with the places of those that were also found with places."""
    by_sentence = {own.what: own for own in placed}
    return tuple(by_sentence.get(warning.what, warning) for warning in warnings)


def _observer(
    fields: Sequence[Field], pair: tuple[str, str] | None, config: TaskConfig, parts: Iterable[str]
) -> StatisticsObserver:
    from models.text.tokens import SPECIAL_TOKENS

    return StatisticsObserver(
        fields,
        tokenize=_tokenizer(config),
        vocabulary_size=config.text.vocabulary_size - len(SPECIAL_TOKENS),
        min_count=config.text.min_count,
        max_length=config.tokenizing()["max_length"],
        lowercase=config.text.lowercase,
        pair=pair,
        splits=[split for split in parts if split != ALL_SPLITS],
    )


def _tokenizer(config: TaskConfig) -> Callable[[Sequence[str]], list[list[bytes]]]:
    """Return a function from texts to their tokens; the data check counts words in place of subwords."""
    import tensorflow as tf

    from models.text.tokenize import tokenize

    options = config.tokenizing() | {"max_length": 0}
    if options["tokens"] == "subword":  # Subwords are learned in training.
        options["tokens"] = "word"
    graph = tf.function(
        lambda texts: tokenize(texts, **options),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )

    def tokens(texts: Sequence[str]) -> list[list[bytes]]:
        found: list[list[bytes]] = graph(tf.constant(list(texts), tf.string)).to_list()
        return found

    return tokens
