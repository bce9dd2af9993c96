"""The pass over the rows of files in which a dataset is validated, counted and written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.assignment import LEFT_OUT, Assignment
from data.errors import UserError
from data.findings import Finding
from data.formats import BadRow, Field, Row
from data.prepared import Dataset, prepare
from data.scan import ExampleValidator, Scan
from data.sources import Part, Source, open_source
from data.splits import row_hash, split_of
from data.spool import Spool

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
FIELDS = (TEXT, LABEL)


TEST = Part("more", lambda: iter([("more", Row(1, {"text": "more", "label": "x"}))]))


def find(data: Path, *fields: Field) -> Source:
    source = open_source(str(data), fields or FIELDS, ("records", "lines"))
    assert isinstance(source, Source)
    return source


def snapshot(directory: Path) -> dict[Path, int]:
    """Return the modification time of each file in a directory."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def texts(dataset: Dataset, split: str) -> list[str]:
    """Return the texts of a split."""
    return [text.decode() for batch in dataset.batches(split) for text in batch["text"]]


@pytest.mark.parametrize("single", [True, False])
def test_each_file_is_read_once(tmp_path: Path, directory: Path, single: bool) -> None:
    """The same pass validates, counts and splits the examples, and no temporary file is left."""
    (tmp_path / "own").mkdir()
    for name in ("train", "test"):
        lines = (f'{{"text": "{name} {i}", "label": "x"}}\n' for i in range(100))
        (tmp_path / "own" / f"{name}.jsonl").write_text("".join(lines))
    source = find(tmp_path / "own" / "train.jsonl" if single else tmp_path / "own")
    passes: Counter[str] = Counter()

    def counted(part: Part) -> Part:
        def rows() -> Iterator[tuple[str, Row | BadRow]]:
            passes[part.where] += 1
            yield from part.rows()

        return Part(part.where, rows)

    parts = {name: counted(part) for name, part in source.parts.items()}
    dataset = prepare(replace(source, parts=parts), FIELDS, directory=directory)

    assert passes == Counter(part.where for part in source.parts.values())
    assert dataset.size("all") == (100 if single else 200)
    assert not [path for path in directory.iterdir() if path.is_file()]


@pytest.mark.parametrize(
    "text", ["", "a\nb\r\n\x85\u2028c", '"\\\t\0', "\N{GRINNING FACE}", "\ufeffa"], ids=ascii
)
def test_a_spool_returns_the_same_values(tmp_path: Path, text: str) -> None:
    """Examples are read in the order in which they were added, with their places and splits."""
    rows = [
        Row(3, {"text": text, "continues": True}),
        Row(5, {"tokens": (text, "b")}),
        Row(1, {"text": text + text, "continues": False}),
        Row(2, {"text": "left out"}),
    ]
    with Spool(tmp_path / "new") as spool:
        for where, row in zip("aabb", rows, strict=True):
            spool.add(0, where, row, labels=0, text_hash=0)
        spool.assign(Assignment(np.array([0, 2, 0, LEFT_OUT], np.uint8)))

        assert list(spool.rows()) == [
            ("train", "a", rows[0]),
            ("test", "a", rows[1]),
            ("train", "b", rows[2]),
        ]
        assert list(spool.read("train")) == [rows[0].values, rows[2].values]
        assert list(spool.read("test")) == [{"tokens": (text, "b")}]
        assert list((tmp_path / "new").iterdir()) == []


def test_a_malformed_row_is_refused(folder: Path, directory: Path) -> None:
    """The message has its place, the reason, and the command that lists all; nothing is written."""
    (folder / "test.jsonl").write_text('{"text": "a", "label": "pos"}\n\n{"text": 1, "label": "pos"}\n')

    with pytest.raises(UserError) as caught:
        prepare(find(folder), FIELDS, directory=directory)
    assert str(caught.value) == (
        f"1 row cannot be read ({folder / 'test.jsonl'}:3: 'text' is a number, not a text); "
        "correct or remove it"
    )
    assert not snapshot(directory)


@pytest.mark.parametrize("content", ["", "\n\n", " \n"])
def test_a_file_without_examples_is_left_out(folder: Path, directory: Path, content: str) -> None:
    """A test file that is empty or has only blank lines is not used, and the notes say so."""
    (folder / "test.jsonl").write_text(content)

    dataset = prepare(find(folder), FIELDS, directory=directory)

    assert "test" not in dataset.sizes
    assert f"{folder / 'test.jsonl'}: no examples; the test split is left out" in dataset.notes
    with pytest.raises(
        UserError, match=r"has no split 'test' \(.*: no examples; the test split is left out\)"
    ):
        dataset.size("test")


@pytest.mark.parametrize("content", ["text,label\n", "text,label\n\n"])
def test_a_training_file_without_examples_is_refused(folder: Path, directory: Path, content: str) -> None:
    """Nothing is written."""
    (folder / "train.csv").write_text(content)

    with pytest.raises(UserError) as caught:
        prepare(find(folder), FIELDS, directory=directory)
    assert str(caught.value) == f"{folder / 'train.csv'}: no examples; expected at least one"
    assert not snapshot(directory)


@pytest.mark.parametrize("content", ["", "text,label\n"])
def test_a_single_file_without_examples_is_refused(tmp_path: Path, directory: Path, content: str) -> None:
    """A header is not an example."""
    path = tmp_path / "texts.csv"
    path.write_text(content)

    with pytest.raises(UserError) as caught:
        prepare(find(path), FIELDS, directory=directory)
    assert str(caught.value) == f"{path}: no examples; expected at least one"
    assert not snapshot(directory)


def test_a_single_file_without_training_examples_is_prepared(tmp_path: Path, directory: Path) -> None:
    """The few examples of a small file may all be in other splits; they can be used for evaluation."""
    shares = (("train", 0.8), ("validation", 0.1), ("test", 0.1))
    lines = [str(i) for i in range(50) if split_of(row_hash({"text": str(i)}), shares) != "train"]
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in lines))

    dataset = prepare(find(path, TEXT), (TEXT,), directory=directory)

    assert "train" not in dataset.sizes
    assert dataset.size("all") == len(lines) > 0


def test_a_task_may_reject_the_examples(folder: Path, directory: Path) -> None:
    """A task gets the number of examples and the labels of each split before anything is written."""
    seen = []

    def check(found: Scan) -> None:
        seen.append(found)
        raise UserError("too few examples")

    with pytest.raises(UserError, match="too few examples"):
        prepare(find(folder), FIELDS, directory=directory, check=check)
    assert [found.examples for found in seen] == [Counter(train=2, test=1)]
    assert seen[0].labels() == {"train": Counter(pos=1, neg=1), "test": Counter(pos=1)}
    assert not snapshot(directory)


class Recording(ExampleValidator):
    """A validator that records the examples, and rejects those with a given text."""

    def __init__(self, rejected: str) -> None:
        self.rejected = rejected
        self.seen: list[tuple[str, str, int, str]] = []

    def add(self, split: str, where: str, row: Row) -> None:
        self.seen.append((split, Path(where).name, row.line, row.text()))

    def problems(self) -> list[Finding]:
        places = [f"{name}:{line}" for _, name, line, text in self.seen if text == self.rejected]
        return [Finding("a text is bad", "correct it", places)] if places else []


def test_a_validator_gets_each_example(folder: Path, directory: Path) -> None:
    """It gets split and place of each, and its errors are those of the examples; nothing is written."""
    validator = Recording("poor")

    with pytest.raises(UserError) as caught:
        prepare(find(folder), FIELDS, directory=directory, validator=validator)
    assert str(caught.value) == "a text is bad (train.csv:4); correct it"
    assert validator.seen == [
        ("train", "train.csv", 2, "fine"),
        ("train", "train.csv", 4, "poor"),
        ("test", "test.jsonl", 1, "ä 中"),
    ]
    assert not snapshot(directory)


def test_an_interrupted_preparation_starts_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an interrupted process has left is not used as a dataset, and does no harm."""
    content = [{"text": f"text {i}", "label": "x"} for i in range(100)]
    examples = [Row(line, {**values}) for line, values in enumerate(content, 1)]
    source = Source(
        "texts",
        {"train": Part("texts", lambda: (("texts", row) for row in examples)), "validation": TEST},
        lambda: "digest",
        "text",
    )

    def interrupted(spool: Spool, split: str) -> Iterator[dict[str, Any]]:
        yield from content[:60]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(source, FIELDS, directory=directory)
    left = directory / "texts" / "incomplete.ABCDEF_1.0.0"
    left.mkdir(parents=True)
    left.joinpath("texts-train.tfrecord-00000-of-00001").write_bytes(b"half an example")
    dataset = prepare(source, FIELDS, directory=directory)
    left_within = Path(dataset.builder.data_dir).parent / "incomplete.ABCDEF_1.0.0"
    left_within.mkdir()
    left_within.joinpath("dataset_info.json").write_text("{")
    again = prepare(source, FIELDS, directory=directory)

    assert texts(dataset, "train") == [values["text"] for values in content]
    assert texts(again, "train") == texts(dataset, "train")


def test_two_processes_may_prepare_at_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one uses the dataset that the first one has written."""
    content = [Row(line, {"text": f"text {line}", "label": "x"}) for line in range(1, 11)]
    source = Source(
        "texts",
        {"train": Part("texts", lambda: (("texts", row) for row in content)), "validation": TEST},
        lambda: "digest",
        "text",
    )
    first: list[Dataset] = []
    read = Spool.read

    def overtaken(spool: Spool, split: str) -> Iterator[dict[str, Any]]:
        examples = list(read(spool, split))
        yield from examples[:5]
        if not first:
            monkeypatch.setattr(Spool, "read", read)
            first.append(prepare(source, FIELDS, directory=directory))
        yield from examples[5:]

    monkeypatch.setattr(Spool, "read", overtaken)
    second = prepare(source, FIELDS, directory=directory)

    assert len(first) == 1
    assert second.hash == first[0].hash
    assert texts(second, "train") == [row.values["text"] for row in content]
