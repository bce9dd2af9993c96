"""`textrnn datasets`: list, check and prepare datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data.spool import Spool

from app.config import TaskConfig
from app.tasks import get_task
from data import prepared
from data.check import StatisticsObserver
from data.check_report import Report
from data.findings import Finding
from data.formats import Field, Row, Value
from data.prepared import Dataset
from data.samples import SAMPLES
from data.scan import scan
from data.sources import CatalogueName, Part, Source, open_source
from data.splits import ALL_SPLITS


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
    fields = task.examples.fields(config)
    source = open_source(data, fields, task.examples.shapes, task.examples.parallel(config), config.options())
    needed = () if isinstance(source, CatalogueName) else fields
    return prepared.prepare(
        source,
        needed,
        directory=config.data_directory(),
        manual_directory=manual_directory,
        splitting=config.splitting(),
    )


def check(data: str, task_name: str, config: TaskConfig, manual_directory: Path | None) -> Report:
    """Return what training would refuse in DATA, its warnings, and statistics.

    The examples go the way of training: the same scan, validators and checks. Only a catalogue dataset and
    examples that training does not refuse are prepared on disk.
    """
    task = get_task(task_name)
    examples = task.examples
    fields = examples.fields(config)
    source = open_source(data, fields, examples.shapes, examples.parallel(config), config.options())
    if isinstance(source, CatalogueName):
        source = _as_source(
            prepared.prepare(
                source, fields, directory=config.data_directory(), manual_directory=manual_directory
            ),
            fields,
        )
    observer = _observer(fields, examples.pair, config, source)
    doctor = examples.doctor(config)
    with Spool(config.data_directory()) as spool:
        validators = (examples.validator(config), doctor, observer)
        found = scan(source, fields, config.splitting(), spool, validators)
    problems = [*found.problems, *examples.check(found)]
    statistics = observer.statistics()
    options = {field.name: field.option for field in fields if field.option.startswith("--set")}
    return Report(
        statistics,
        problems_found=tuple(problems),
        warnings_found=_merged(
            [*found.warnings, *examples.warn(found), *statistics.warnings(options)], statistics.unseen()
        ),
        layout=source.layout,
        ignored=source.ignored,
        malformed=found.failed,
    )


def _merged(warnings: Sequence[Finding], placed: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return warnings, with the places of those that were also found with places."""
    by_sentence = {own.what: own for own in placed}
    return tuple(by_sentence.get(warning.what, warning) for warning in warnings)


def _observer(
    fields: Sequence[Field], pair: tuple[str, str] | None, config: TaskConfig, source: Source
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
        splits=[split for split in source.parts if split != ALL_SPLITS],
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


def _as_source(dataset: Dataset, fields: Sequence[Field]) -> Source:
    """Return the examples of a catalogue dataset as those of files."""

    def part(split: str) -> Part:
        where = f"{dataset.name} {split}"
        return Part(where, lambda: ((where, row) for row in _rows(dataset, split, fields)))

    return Source(
        dataset.name,
        {split: part(split) for split in dataset.sizes},
        lambda: dataset.hash,
        key=fields[0].name,
    )


def _rows(dataset: Dataset, split: str, fields: Sequence[Field]) -> Iterator[Row]:
    line = 0
    for batch in dataset.batches(split):
        present = [field for field in fields if field.name in batch]
        for values in zip(*(batch[field.name] for field in present), strict=True):
            line += 1
            decoded = {f.name: _value(f, v, dataset) for f, v in zip(present, values, strict=True)}
            yield Row(line, {name: value for name, value in decoded.items() if value is not None})


def _value(field: Field, value: Any, dataset: Dataset) -> Value | None:
    """Return a stored value as a reader of files returns it; None: there is none."""
    if field.kind == "tokens":
        return tuple(token.decode(errors="replace") for token in value)
    if field.kind in ("tags", "labels"):
        return tuple(dataset.names[field.name][i] for i in value)
    if field.kind == "label":
        return dataset.names[field.name][value] if value >= 0 else None
    return bool(value) if field.kind == "flag" else str(value.decode(errors="replace"))
