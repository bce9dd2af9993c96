from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.config import TaskConfig
from app.tasks import get_task
from app.training.encode import encode_and_batch, encode_dataset
from data.encoding import Encoded
from data.errors import UserError
from data.prepared import Dataset, prepare
from data.sources import open_source

Configured = Callable[..., TaskConfig]
ROWS = [{"text": f"good {'very ' * i}film", "label": ("good", "bad")[i % 2]} for i in range(12)]


@pytest.fixture
def dataset(tmp_path: Path, jsonl: Callable[..., None]) -> Callable[..., tuple[Dataset, TaskConfig]]:
    """Return a function from rows and a configuration to a prepared dataset."""

    def made(config: TaskConfig, rows: list[dict[str, str]] = ROWS) -> Dataset:
        jsonl(tmp_path / "data/train.jsonl", rows)
        examples = get_task("classification").examples
        fields = examples.fields(config)
        source = open_source(str(tmp_path / "data"), fields, examples.shapes, examples.parallel(config))
        return prepare(
            source,
            fields,
            directory=tmp_path / "cache",
            splitting=config.splitting(),
            check=examples.check,
        )

    return made


def encoded_of(dataset: Dataset, config: TaskConfig, directory: Path) -> tuple[Encoded, bytes]:
    """Encode for classification."""
    return encode_dataset(dataset, get_task("classification"), config, directory)


def test_what_is_encoded(dataset: Callable[..., Dataset], configured: Configured, tmp_path: Path) -> None:
    """Each example is in one of the splits, with its length and its label; the longest text is kept."""
    config = configured("text.max_length=0", "data.validation_fraction=0.3")

    encoded, longest = encoded_of(dataset(config), config, tmp_path)

    splits = encoded.splits
    assert sorted(np.concatenate([s.sequences["tokens"].counts for s in splits.values()])) == list(
        range(2, 14)
    )
    assert sum(len(split) for split in splits.values()) == 12
    assert 0 < len(splits["validation"]) < 12
    assert set(np.concatenate([split.columns["label"] for split in splits.values()])) == {0, 1}
    trained_on = max(splits["train"].sequences["tokens"].counts)
    assert longest.decode() == f"good {'very ' * (trained_on - 2)}film"


def test_encoded_once(dataset: Callable[..., Dataset], configured: Configured, tmp_path: Path) -> None:
    """The same data and text configuration is encoded once; another configuration is encoded anew."""
    folder = tmp_path / "encoded"
    base = "data.validation_fraction=0.3"
    config = configured(base)
    prepared = dataset(config)
    encoded_of(prepared, config, tmp_path)
    first = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    encoded_of(prepared, configured(base, "model.units=7", "seed=3"), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == first

    for options in ("text.lowercase=false", "text.max_length=3", "data.validation_fraction=0.5"):
        config = configured(base, options)
        encoded_of(dataset(config), config, tmp_path)
    assert len(list(folder.iterdir())) == 4


def test_nothing_to_validate(dataset: Callable[..., Dataset], configured: Configured, tmp_path: Path) -> None:
    """If no example is left for validation, the message says what to do, and nothing is kept."""
    config = configured("data.validation_fraction=0.000001")

    with pytest.raises(UserError, match="no example is left for validation; add examples or a validation"):
        dataset(config)

    assert not (tmp_path / "encoded").exists()


def test_the_longest_text_is_truncated(
    dataset: Callable[..., Dataset], configured: Configured, tmp_path: Path
) -> None:
    """At most 50,000 bytes of it are kept."""
    rows = [*ROWS, *({"text": f"{'long ' * 20_000}{i}", "label": "good"} for i in range(9))]
    config = configured("data.validation_fraction=0.3")

    _, longest = encoded_of(dataset(config, rows), config, tmp_path)

    assert len(longest) == 50_000
    assert json.dumps(longest.decode()).startswith('"long long ')


def test_prepared_once(dataset: Callable[..., Dataset], configured: Configured, tmp_path: Path) -> None:
    """What is on disk is not written again."""
    config = configured("data.validation_fraction=0.3")

    def files() -> dict[Path, int]:
        encoded_of(dataset(config), config, tmp_path / "cache")
        return {path: path.stat().st_ino for path in (tmp_path / "cache").rglob("*") if path.is_file()}

    assert files() == files()


def only(folder: Path, pattern: str) -> Path:
    """Return the first file, of those that match, in a folder of caches."""
    return sorted(folder.rglob(pattern))[0]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "all caches": shutil.rmtree,
    "ids missing": lambda cache: only(cache, "train.tokens.ids").unlink(),
    "ids cut off": lambda cache: os.truncate(only(cache, "train.tokens.ids"), 10),
    "lengths cut off": lambda cache: os.truncate(only(cache, "train.npz"), 100),
    "counts missing": lambda cache: only(cache, "*.npy").unlink(),
    "facts cut off": lambda cache: os.truncate(only(cache, "encoded.json"), 5),
    "shard missing": lambda cache: only(cache, "*train.tfrecord*").unlink(),
    "shard cut off": lambda cache: os.truncate(only(cache, "*train.tfrecord*"), 50),
    "description missing": lambda cache: only(cache, "dataset_info.json").unlink(),
    "description cut off": lambda cache: os.truncate(only(cache, "dataset_info.json"), 5),
    "features missing": lambda cache: only(cache, "features.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_cache_that_is_not_whole(
    dataset: Callable[..., Dataset],
    configured: Configured,
    tmp_path: Path,
    damage: Callable[[Path], object],
) -> None:
    """What is missing or cut off is prepared again, and is the same."""
    config = configured("data.validation_fraction=0.3")

    def ids() -> list[list[int]]:
        encoded, _ = encoded_of(dataset(config), config, tmp_path / "cache")
        texts = encoded.splits["train"].sequences["tokens"]
        return [texts.row(index).tolist() for index in range(len(texts))]

    before = ids()
    damage(tmp_path / "cache")

    assert ids() == before


@pytest.mark.parametrize("cpus", [2, 7])
def test_the_number_of_cores_changes_nothing(
    dataset: Callable[..., Dataset],
    configured: Configured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cpus: int,
) -> None:
    """However many cores tokenize, and however the texts are divided among them, the files are the same."""
    config = configured("data.validation_fraction=0.3")
    rows = [{"text": f"film {i % 7} {'so ' * (i % 30)}w{i}", "label": "ab"[i % 2]} for i in range(900)]
    prepared = dataset(config, rows)

    def files(folder: Path) -> dict[str, bytes]:
        encoded_of(prepared, config, folder)
        return {path.name: path.read_bytes() for path in folder.rglob("*.*")}

    monkeypatch.setattr("app.training.encode.available_cpus", lambda: 1)
    alone = files(tmp_path / "alone")
    monkeypatch.setattr("app.training.encode.available_cpus", lambda: cpus)
    monkeypatch.setattr("app.training.encode.TOKENIZED_BYTES", 600 * cpus)
    together = files(tmp_path / "together")

    assert {"train.tokens.ids", "validation.tokens.ids", "train.npz", "vocabulary.txt"} < set(alone)
    assert together == alone


def test_memory_does_not_grow_with_the_data(
    jsonl: Callable[..., None], configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preparing, encoding and an epoch of four times as many examples need a few bytes more for each."""
    config = configured("data.validation_fraction=0.3", "text.max_length=20")
    task = get_task("classification")
    fields = task.examples.fields(config)

    def peak(examples: int) -> int:
        words = [f"word{i}" for i in range(200)]
        folder = tmp_path / str(examples)
        texts = (f"{words[i // 200]} {words[i % 200]} {' '.join(words)}" for i in range(examples))
        rows = [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
        jsonl(folder / "data/train.jsonl", rows)
        del rows
        source = open_source(str(folder / "data"), fields, task.examples.shapes, ())
        tracemalloc.start()
        try:
            prepared = prepare(source, fields, directory=folder, splitting=config.splitting())
            batches = encode_and_batch(prepared, task, config, folder).batches["train"]
            entries = batches.epoch(0, 0)
            assert sum(batches.batch(entry).rows for entry in entries) == prepared.sizes["train"]
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    monkeypatch.setattr("data.shards.SHARD_CHARACTERS", 1 << 19)
    peak(200)  # what is loaded and traced once
    few, many = peak(1500), peak(6000)

    assert many - few < 4500 * 100  # a text has 1,500 bytes
