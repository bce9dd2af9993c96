"""`textrnn datasets`: list, check and prepare datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from app.config import TaskConfig
from app.tasks import get_task
from app.tasks.base import Task
from app.tasks.opening import open_data
from data import prepared
from data.check import examine
from data.check_report import Report
from data.formats import BadRow, Field, Row, Value
from data.prepared import Dataset
from data.samples import SAMPLES
from data.sources import CatalogueName
from data.splits import SPLITS, rows_by_split


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
    source, fields, config = open_data(data, task, config)
    needed = () if isinstance(source, CatalogueName) else fields
    return prepared.prepare(
        source,
        needed,
        directory=config.data_directory(),
        manual_directory=manual_directory,
        splitting=config.splitting(),
    )


def _catalogue_rows(dataset: Dataset, fields: Sequence[Field]) -> Iterator[tuple[str, str, Row | BadRow]]:
    for split in dataset.sizes:
        line = 0
        for batch in dataset.batches(split):
            present = [field for field in fields if field.name in batch]
            for values in zip(*(batch[field.name] for field in present), strict=True):
                line += 1
                row = {f.name: _value(f, v, dataset) for f, v in zip(present, values, strict=True)}
                yield split, dataset.name, Row(line, row)


def _value(field: Field, value: Any, dataset: Dataset) -> Value:
    """Return a stored value as a reader of files returns it."""
    if field.kind == "tokens":
        return tuple(token.decode(errors="replace") for token in value)
    if field.kind in ("tags", "labels"):
        return tuple(dataset.names[field.name][i] for i in value)
    if field.kind == "label":
        return dataset.names[field.name][value] if value >= 0 else "no label"
    return bool(value) if field.kind == "flag" else str(value.decode(errors="replace"))


def _described(task: Task[Any, Any], row: Row | BadRow) -> Row | BadRow:
    return Row(row.line, task.examples.described(row.values)) if isinstance(row, Row) else row


def check(data: str, task_name: str, config: TaskConfig, manual_directory: Path | None) -> Report:
    """Return a report of errors and warnings about DATA; only a catalogue dataset is prepared on disk."""
    import tensorflow as tf

    from models.text.tokenize import tokenize
    from models.text.tokens import SPECIAL_TOKENS

    task = get_task(task_name)
    source, fields, config = open_data(data, task, config)
    if isinstance(source, CatalogueName):
        dataset = prepared.prepare(
            source, fields, directory=config.data_directory(), manual_directory=manual_directory
        )
        rows, splits = _catalogue_rows(dataset, fields), tuple(dataset.sizes)
    else:
        rows = rows_by_split(source)
        splits = tuple(split for split in source.parts if split in SPLITS)
    text = config.text
    options = config.tokenizing() | {"max_length": 0}
    if options["tokens"] == "subword":  # Subwords are learned in training; the check counts words.
        options["tokens"] = "word"
    graph = tf.function(
        lambda texts: tokenize(texts, **options),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )

    def tokens(texts: Sequence[str]) -> list[list[bytes]]:
        found: list[list[bytes]] = graph(tf.constant(list(texts), tf.string)).to_list()
        return found

    return examine(
        ((split, where, _described(task, row)) for split, where, row in rows),
        tokenize=tokens,
        vocabulary_size=text.vocabulary_size - len(SPECIAL_TOKENS),
        min_count=text.min_count,
        splits=splits,
    )
