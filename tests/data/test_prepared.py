"""Prepared datasets of files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from data.findings import Finding
from data.formats import BadRow, Field, Row
from data.prepared import FORMAT_VERSION, Dataset, prepare
from data.scan import Scan
from data.sources import Part, Source, open_source

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
FIELDS = (TEXT, LABEL)


def find(data: Path, *fields: Field) -> Source:
    source = open_source(str(data), fields or FIELDS, ("records", "lines"))
    assert isinstance(source, Source)
    return source


def rows(dataset: Dataset, split: str, size: int = 1024) -> list[dict[str, Any]]:
    """Return the examples of a split, with texts as strings."""
    found = []
    for batch in dataset.batches(split, size):
        columns = [
            [v.decode() if isinstance(v, bytes) else v for v in batch[name].tolist()] for name in batch
        ]
        found += [dict(zip(batch, values, strict=True)) for values in zip(*columns, strict=True)]
    return found


def snapshot(directory: Path) -> dict[Path, int]:
    """Return the modification time of each file in a directory."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def unreadable() -> Iterator[tuple[str, Row | BadRow]]:
    raise AssertionError("rows were read")


def test_a_folder_is_prepared(folder: Path, directory: Path) -> None:
    """Splits, examples and labels are those of the files; blank lines are skipped."""
    dataset = prepare(find(folder), FIELDS, directory=directory)

    assert dataset.name == "films"
    assert dataset.sizes == {"train": 2, "test": 1}
    assert dataset.names == {"label": ("neg", "pos")}
    assert rows(dataset, "train") == [{"text": "fine", "label": 1}, {"text": "poor", "label": 0}]
    assert rows(dataset, "test") == [{"text": "ä 中", "label": 1}]


def test_examples_stay_in_order(tmp_path: Path, directory: Path) -> None:
    """Examples are in the order of the file. The last batch is smaller, and `all` has all splits in order."""
    texts = {split: [f"{split} {i * 7919 % 10_007}" for i in range(2_100)] for split in ("train", "dev")}
    for split, own in texts.items():
        (tmp_path / f"{split}.txt").write_text("".join(f"{text}\n" for text in own))
    dataset = prepare(find(tmp_path, TEXT), (TEXT,), directory=directory)

    assert dataset.names == {}
    assert [len(batch["text"]) for batch in dataset.batches("train", 1000)] == [1000, 1000, 100]
    assert [row["text"] for row in rows(dataset, "train")] == texts["train"]
    assert [row["text"] for row in rows(dataset, "all", 7)] == texts["train"] + texts["dev"]
    assert (dataset.size("validation"), dataset.size("all")) == (2_100, 4_200)


def test_examples_stay_in_order_across_files(
    folder: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large split has several files, which are read in order."""
    monkeypatch.setattr("data.shards.SHARD_CHARACTERS", 1_000)
    texts = [f"text {i * 7919 % 10_007}" for i in range(500)]
    (folder / "train.csv").write_text("text,label\n" + "".join(f"{text},x\n" for text in texts))
    dataset = prepare(find(folder), FIELDS, directory=directory)

    assert len(list(directory.rglob("*train*.tfrecord*"))) > 3
    train, validation = ([row["text"] for row in rows(dataset, split)] for split in ("train", "validation"))
    assert train == [text for text in texts if text not in validation]
    assert validation == [text for text in texts if text not in train]


@pytest.mark.parametrize("text", ["", " a ", "a\nb", "a\r\n\tb", "a\0b", "\N{GRINNING FACE}", "x" * 200_000])
def test_texts_are_stored_unchanged(folder: Path, directory: Path, text: str) -> None:
    """Texts are stored without any change."""
    (folder / "train.jsonl").write_text(json.dumps({"text": text, "label": "x"}) + "\n")
    (folder / "train.csv").unlink()

    assert rows(prepare(find(folder), FIELDS, directory=directory), "train") == [{"text": text, "label": 1}]


def test_labels_are_sorted_and_of_all_splits(folder: Path, directory: Path) -> None:
    """Labels are sorted, not in the order of the examples, and numbers are names too."""
    (folder / "train.csv").write_text("text,label\na,zoo\nb,10\nc,2\nd,Ende\n")
    (folder / "test.jsonl").write_text('{"text": "e", "label": true}\n{"text": "f", "label": "two words"}\n')
    dataset = prepare(find(folder), FIELDS, directory=directory)

    assert dataset.names["label"] == ("10", "2", "Ende", "true", "two words", "zoo")
    assert [row["label"] for row in rows(dataset, "train")] == [5, 0, 1, 2]
    assert [row["label"] for row in rows(dataset, "test")] == [3, 4]


def test_an_unknown_split_is_refused(folder: Path, directory: Path) -> None:
    """The message lists the splits."""
    dataset = prepare(find(folder), FIELDS, directory=directory)

    with pytest.raises(UserError) as caught:
        dataset.size("validation")
    assert str(caught.value) == "films has no split 'validation'; there is train, test, all"


def test_nothing_is_prepared_twice(folder: Path, directory: Path) -> None:
    """The second time nothing is read or written; the task checks the same counts."""
    source = find(folder)
    first_scans: list[Scan] = []

    def first_check(found: Scan) -> Iterator[Finding]:
        first_scans.append(found)
        yield from ()

    first = prepare(source, FIELDS, directory=directory, check=first_check)
    before = snapshot(directory)
    locked = replace(source, parts={s: Part(p.where, unreadable) for s, p in source.parts.items()})

    scans: list[Scan] = []

    def check(found: Scan) -> Iterator[Finding]:
        scans.append(found)
        yield from ()

    second = prepare(locked, FIELDS, directory=directory, check=check)

    assert before
    assert snapshot(directory) == before
    assert scans == first_scans[1:] == first_scans[:1]
    assert (second.hash, second.sizes, second.names) == (first.hash, first.sizes, first.names)
    assert rows(second, "train") == rows(first, "train")


def test_a_changed_file_is_another_dataset(folder: Path, directory: Path) -> None:
    """The previous dataset can still be read."""
    first = prepare(find(folder), FIELDS, directory=directory)
    (folder / "train.csv").write_text("text,label\nfine,pos\n\npooh,neg\n")
    second = prepare(find(folder), FIELDS, directory=directory)

    assert second.hash != first.hash
    assert [row["text"] for row in rows(second, "train")] == ["fine", "pooh"]
    assert [row["text"] for row in rows(first, "train")] == ["fine", "poor"]


def test_other_columns_are_another_dataset(folder: Path, directory: Path) -> None:
    """The same files with other columns have another hash."""
    (folder / "train.csv").write_text("text,label,topic\na,x,y\n")
    (folder / "test.jsonl").unlink()
    topic = Field("label", "label", "topic", "--set data.label_column=NAME")
    datasets = [
        prepare(find(folder, *fields), fields, directory=directory)
        for fields in ((TEXT, LABEL), (TEXT, topic), (TEXT,))
    ]

    assert [dataset.names for dataset in datasets] == [{"label": ("x",)}, {"label": ("y",)}, {}]
    assert len({dataset.hash for dataset in datasets}) == 3


def test_a_copy_is_the_same_dataset(folder: Path, tmp_path: Path) -> None:
    """The hash depends on the content only, not on the path or time of a file."""
    copy = tmp_path / "elsewhere" / "Films"
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    first, second = (
        prepare(find(path), FIELDS, directory=tmp_path / name) for path, name in ((folder, "1"), (copy, "2"))
    )

    assert first.hash == second.hash


def test_the_documented_version_is_the_current_one() -> None:
    """`docs/data.md` names the directory of a prepared dataset."""
    docs = Path(__file__).parents[2] / "docs" / "data.md"

    assert f"/{FORMAT_VERSION}/" in docs.read_text()


def test_preparing_prints_nothing(folder: Path, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is only for the results of commands."""
    prepare(find(folder), FIELDS, directory=directory)

    assert capsys.readouterr().out == ""
