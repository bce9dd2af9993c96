"""Data of translators: parallel files and tables, pairs that are left out, and errors."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from translators import Command, Pair, eagerly, pairs_of, refused, settings, tiny, trained

from app.config import TaskConfig
from app.datasets import prepare
from app.tasks.translation.task import TASK
from app.training.encode import encode_dataset
from data.prepared import Dataset
from data.scan import Scan
from models.text.tokens import END_ID

SIDES = ("data.source=en", "data.target=de")


def prepared(data: Path, config: TaskConfig) -> Dataset:
    """Return DATA as it is prepared for training."""
    dataset: Dataset = prepare(str(data), "translation", config, None)
    return dataset


def stored(data: Path, directory: Path, *overrides: str) -> dict[str, list[Pair]]:
    """Return the pairs of each split of DATA as they are prepared for training."""
    dataset = prepared(data, tiny(f"data.directory={directory}", *overrides))
    return {
        split: [
            (a.decode(), b.decode())
            for batch in dataset.batches(split)
            for a, b in zip(batch["source"], batch["target"], strict=True)
        ]
        for split in dataset.sizes
    }


def write_sides(folder: Path, stem: str, chosen: Sequence[Pair], *, packed: bool = False) -> None:
    """Write a file for each language, that of the target with gzip or without."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.en").write_text("".join(f"{source}\n" for source, _ in chosen))
    german = "".join(f"{target}\n" for _, target in chosen).encode()
    if packed:
        (folder / f"{stem}.de.gz").write_bytes(gzip.compress(german))
    else:
        (folder / f"{stem}.de").write_bytes(german)


def test_parallel_files(pairs: Path, tmp_path: Path, command: Command) -> None:
    """Line-aligned files of two languages are used to train, validate and evaluate, with gzip or without."""
    folder = tmp_path / "numbers"
    expected = {split: pairs_of(pairs, split)[:10] for split in ("train", "validation", "test")}
    write_sides(folder, "train", expected["train"], packed=True)
    write_sides(folder, "val", expected["validation"])
    write_sides(folder, "test", expected["test"], packed=True)
    assert stored(folder, tmp_path / "cache", *SIDES) == expected
    other = stored(folder, tmp_path / "cache", "data.source=de", "data.target=en")
    assert other["test"] == [(target, source) for source, target in expected["test"]]

    trained(folder, tmp_path / "run", *SIDES, "training.batch_size=16")
    with eagerly():
        result = command("evaluate", tmp_path / "run", "--json", "--beam", 1)

    assert json.loads(result.stdout)["examples"] == 10
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["examples"] == {"train": 10, "validation": 10}


def test_one_pair_of_files(pairs: Path, tmp_path: Path) -> None:
    """A single pair of files is split by a hash, so that equal pairs are in the same split."""
    chosen = pairs_of(pairs, "train")
    write_sides(tmp_path / "data", "corpus", [*chosen, *chosen[:50]], packed=True)

    for name in ("corpus.en", "corpus.de.gz"):
        found = stored(tmp_path / "data" / name, tmp_path / name, *SIDES)

        assert set(found) == {"train", "validation", "test"}
        assert sorted(pair for split in found.values() for pair in split) == sorted([*chosen, *chosen[:50]])
        assert not set(found["train"]) & set(found["test"])
        assert not set(found["train"]) & set(found["validation"])
        assert len(found["train"]) > 4 * len(found["test"]) > 0


def test_tables(pairs: Path, tmp_path: Path) -> None:
    """TSV, CSV and JSON lines have a pair in two columns, which may have any name."""
    chosen = pairs_of(pairs, "test")
    (tmp_path / "plain.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in [("source", "target"), *chosen]))
    (tmp_path / "named.csv").write_text("".join(f"7,{b},{a}\n" for a, b in [("en", "de"), *chosen]))
    (tmp_path / "named.jsonl").write_text("".join(json.dumps({"de": b, "en": a}) + "\n" for a, b in chosen))

    for name, options in (("plain.tsv", ()), ("named.csv", SIDES), ("named.jsonl", SIDES)):
        found = stored(tmp_path / name, tmp_path / "cache", *options)
        assert sorted(pair for split in found.values() for pair in split) == sorted(chosen)


def test_truncated_pairs_are_left_out(tmp_path: Path, jsonl: Callable[..., None]) -> None:
    """A pair with a truncated side is not learned from; a maximum length of 0 leaves no pair out."""
    chosen = [("a b", "x y"), ("a b c d", "x"), ("a", "x y z w v"), ("a b c", "x y z"), ("", "x")]
    for split in ("train", "validation"):
        jsonl(tmp_path / f"{split}.jsonl", [{"source": a, "target": b} for a, b in chosen])
    for most, expected in ((4, [0, 3, 4]), (0, [0, 1, 2, 3, 4])):
        options = ("text.tokens=word", f"text.max_length={most}", f"data.directory={tmp_path / 'cache'}")
        config = tiny(*options)
        dataset = prepared(tmp_path, config)
        encoded, _ = encode_dataset(dataset, TASK, config, tmp_path / "cache")
        preprocessing = TASK.examples.preprocessing(encoded, dataset, config)
        source, target = (preprocessing.vocabularies[n] for n in ("vocabulary", "target_vocabulary"))

        batches = TASK.examples.batches(encoded, "train", preprocessing, config)
        batch = batches.batch(batches.whole()[0])

        found = []
        for i in range(batch.rows):
            columns = {name: array[i] for name, array in batch.arrays.items()}
            length = columns["lengths"]
            words = [source[j].decode() for j in columns["source"][: columns["source_lengths"]]]
            following = [target[j].decode() for j in columns["following"][:length]]
            assert following[-1] == "[END]"
            assert columns["before"][:length].tolist() == [END_ID, *columns["following"][: length - 1]]
            assert not columns["following"][length:].any()
            found.append((" ".join(words), " ".join(following[:-1])))
        assert sorted(found) == sorted(chosen[i] for i in expected)


def test_training_needs_examples() -> None:
    """Data without training examples is refused."""
    (problem,) = TASK.examples.check(Scan())

    assert problem.what == "the data has no training examples"


def test_files_of_unequal_length(command: Command, pairs: Path, tmp_path: Path) -> None:
    """The error names both files and their numbers of lines; nothing is written."""
    folder = tmp_path / "data"
    write_sides(folder, "train", pairs_of(pairs, "train")[:10])
    with (folder / "train.de").open("a") as file:
        file.write("zu viel\n")

    message = refused(command, "train", "translation", folder, "--run", tmp_path / "run", *settings(*SIDES))

    for part in (folder / "train.en", folder / "train.de", "10", "11", "lines"):
        assert str(part) in message
    assert not (tmp_path / "run").exists()


def test_a_side_that_is_missing(command: Command, pairs: Path, tmp_path: Path) -> None:
    """The error for a folder, and for a single pair of files, names the missing file."""
    folder = tmp_path / "data"
    write_sides(folder, "train", pairs_of(pairs, "train")[:10])
    (folder / "train.de").unlink()
    words = ["--run", tmp_path / "run", *settings(*SIDES)]

    message = refused(command, "train", "translation", folder, *words)
    assert message.startswith(f"{folder}: ")
    assert "train.de" in message
    message = refused(command, "train", "translation", folder / "train.en", *words)
    assert message.startswith(f"{folder / 'train.de'}: ")
    assert str(folder / "train.en") in message


def test_a_column_that_is_missing(command: Command, few: Path, tmp_path: Path) -> None:
    """The error lists the columns of the file, and the option."""
    words = ["--run", tmp_path / "run", *settings("data.source=english")]

    message = refused(command, "train", "translation", few, *words)

    for part in ("'english'", "'source', 'target'", "--set data.source=NAME"):
        assert part in message
