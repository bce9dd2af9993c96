"""A dataset as token ids on disk, made once for each dataset and way of reading text."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from app.config import Config
from app.run import new_directory
from app.tasks.base import RowBatch, Task, Vocabularies
from data.encoding import Encoded, Rows, Texts, UniqueTokens, VocabularyRule, encode, load_encoded
from data.errors import UserError
from data.prepared import Dataset, Scan
from data.readers import CONTINUES
from data.sources import row_hash, split_of
from data.subwords import learn_subwords
from models.subwords import SubwordTokenizer
from models.text import SPECIAL_TOKENS, UNKNOWN_ID, normalize, unique_tokens

ENCODING_VERSION = 5
TRAINING_SPLITS = ("train", "validation")
LONGEST = "longest"
LARGEST_TEXT = 50_000
"""Bytes of the longest training text that are kept: of a corpus in one piece, its beginning."""
PIECES, SCORES = "pieces", "piece_scores"


def training_rows(dataset: Dataset, task: Task, config: Config) -> Iterator[tuple[str, RowBatch]]:
    """Batches of (split, rows) of all that a training sees.

    Where the data has no validation split, a share of the training rows is held out by the hash of
    their first field: the same rows in every run, equal texts on the same side. Of one text in
    pieces it is the end.
    """
    first = task.fields(config)[0].name
    held_out = config.data.validation_fraction
    shares = (("validation", held_out), ("train", 1 - held_out))
    for split in TRAINING_SPLITS:
        if split not in dataset.sizes:
            continue
        whole = split != "train" or "validation" in dataset.sizes
        if not whole and CONTINUES in dataset.columns:
            yield from _cut_off(dataset, first, held_out)
            continue
        for batch in dataset.batches(split):
            if not whole:
                own = np.array([split_of(row_hash({first: _plain(v)}), shares) for v in batch[first]])
                for name in TRAINING_SPLITS:
                    if len(chosen := np.flatnonzero(own == name)):
                        yield name, {key: values[chosen] for key, values in batch.items()}
            else:
                yield split, batch


def _cut_off(dataset: Dataset, name: str, held_out: float) -> Iterator[tuple[str, RowBatch]]:
    """The training rows of one text in pieces, its end for validation."""
    total = sum(len(text) for batch in dataset.batches("train") for text in batch[name])
    left = round(total * (1 - held_out))
    begun = False
    for batch in dataset.batches("train"):
        for i, text in enumerate(batch[name]):
            cut = min(max(left, 0), len(text))
            while 0 < cut < len(text) and text[cut] & 0xC0 == 0x80:  # inside a character of UTF-8
                cut -= 1
            left -= len(text)
            for split, part in (("train", text[:cut]), ("validation", text[cut:])):
                if part:
                    row = {key: values[i : i + 1].copy() for key, values in batch.items()}
                    row[name][0] = part
                    if split == "validation":
                        row[CONTINUES][0], begun = begun, True
                    yield split, row


def _plain(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return tuple(item.decode(errors="replace") for item in value)


@dataclass(frozen=True)
class TextCutter:
    """Cuts texts into tokens as the model's preprocessing does, with what was learned for it."""

    cut: Callable[[Texts], UniqueTokens]
    rule: VocabularyRule
    learned: dict[str, list[bytes]] = field(default_factory=dict)


def cutting_options(
    config: Config, learned: Vocabularies, *, prefix: str = "", collapse: bool = False
) -> dict[str, Any]:
    """The options of `models.text.tokenize` for a configuration.

    Args:
        config: resolved.
        learned: holds the subword pieces, where tokens are subwords.
        prefix: of their names there.
        collapse: whether subwords take runs of white space for a space.
    """
    options = config.tokenizing()
    if config.text.tokens == "subword":
        scores = [float(score) for score in learned[prefix + SCORES]]
        options["subwords"] = SubwordTokenizer(list(learned[prefix + PIECES]), scores, collapse=collapse)
    return options


def text_cutter(
    config: Config,
    texts: Callable[[], Iterable[Texts]],
    *,
    special: tuple[bytes, ...] = SPECIAL_TOKENS,
    prefix: str = "",
    collapse: bool = False,
    lines: bool = False,
) -> TextCutter:
    """How the texts of a dataset are cut.

    Args:
        config: resolved.
        texts: batches of the training texts, to learn subwords from.
        special: the first tokens of the vocabulary.
        prefix: of the names of what is learned.
        collapse: as in `cutting_options`.
        lines: as in `models.text.tokenize`.
    """
    learned: dict[str, list[bytes]] = {}
    size = config.text.vocabulary_size
    if config.text.tokens == "subword":
        pieces = learn_subwords(
            (text for batch in texts() for text in normalize(batch, config.text.lowercase).numpy()),
            vocabulary_size=size - len(special),
        )
        learned[prefix + PIECES] = [piece for piece, _ in pieces]
        learned[prefix + SCORES] = [repr(score).encode() for _, score in pieces]
    options = cutting_options(config, learned, prefix=prefix, collapse=collapse) | {"lines": lines}
    graph = tf.function(
        lambda texts: unique_tokens(texts, **options),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )

    def cut(texts: Texts) -> UniqueTokens:
        distinct, positions, lengths = (t.numpy() for t in graph(tf.constant(texts, tf.string)))
        return distinct, positions, lengths

    rule = VocabularyRule(special, UNKNOWN_ID, most=size, min_count=config.text.min_count)
    return TextCutter(cut, rule, learned)


def _key(dataset: Dataset, config: Config) -> str:
    content = json.dumps(
        [
            ENCODING_VERSION,
            dataset.hash,
            config.text.model_dump(),
            config.data.validation_fraction,
        ],
        sort_keys=True,
    )
    return hashlib.sha256(content.encode()).hexdigest()


def encode_dataset(dataset: Dataset, task: Task, config: Config, directory: Path) -> tuple[Encoded, bytes]:
    """The training and validation rows of a dataset as token ids, and the longest text to train on.

    Args:
        dataset: prepared.
        task: says how a row is cut.
        config: resolved.
        directory: keeps what was encoded, for the next run over the same data.

    Raises:
        UserError: nothing can be learned from the rows.
    """
    path = directory / "encoded" / f"{task.name}-{_key(dataset, config)}"
    longest = b""

    def rows() -> Iterator[Rows]:
        nonlocal longest
        first = task.fields(config)[0].name
        for split, batch in training_rows(dataset, task, config):
            if split == "train":
                longest = max([longest, *map(_joined, batch[first])], key=len)
            yield Rows(split, *plan.cut(batch))

    if not path.exists():
        plan = task.plan(
            dataset,
            config,
            lambda: (rows for split, rows in training_rows(dataset, task, config) if split == "train"),
        )
        # Another process may be quicker: what it encoded is the same.
        with contextlib.suppress(FileExistsError), new_directory(path) as beside:
            encode(
                rows(),
                vocabulary_of=plan.vocabulary_of,
                rules=plan.rules,
                learned=plan.learned,
                directory=beside,
            )
            (beside / LONGEST).write_bytes(longest[:LARGEST_TEXT])
            found = _scan(load_encoded(beside), dataset)
            task.check(found)
            if not found.rows["validation"]:
                raise UserError(
                    f"{dataset.name}: no row is left to validate with; give more rows, or a "
                    "validation split, or a larger data.validation_fraction"
                )
    return load_encoded(path), (path / LONGEST).read_bytes()


def _joined(value: Any) -> bytes:
    """A text, or tokens as one."""
    return value if isinstance(value, bytes) else b" ".join(value)


def _scan(encoded: Encoded, dataset: Dataset) -> Scan:
    """What a catalogue's rows, that no scan read before, turn out to be."""
    found = Scan()
    for name, split in encoded.splits.items():
        found.rows[name] = len(split)
        if "label" in split.columns and (labels := dataset.names.get("label")):
            counts = np.bincount(split.columns["label"], minlength=len(labels))
            own = Counter({labels[i]: int(n) for i, n in enumerate(counts) if n})
            found.names.setdefault("label", {})[name] = own
    return found
