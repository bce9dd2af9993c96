from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from data import catalogue
from data.errors import UserError
from data.formats import BadRow, Field, Row
from data.prepared import FORMAT_VERSION, Dataset, Scan, ExampleValidator, prepare
from data.sources import CatalogueName, Part, Source, open_source
from data.splits import row_hash, rows_by_split, split_of

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
FIELDS = (TEXT, LABEL)
IMDB_URL = "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test send anything."""

    def send(*args: Any, **options: Any) -> NoReturn:
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(requests.Session, "send", send)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two training rows and one test row."""
    path = tmp_path / "Films"
    path.mkdir()
    path.joinpath("train.csv").write_text("text,label\nfine,pos\n\npoor,neg\n")
    path.joinpath("test.jsonl").write_text('{"text": "ä 中", "label": "pos"}\n')
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return where prepared datasets are put; nothing is there yet."""
    return tmp_path / "prepared"


def find(data: Path, *fields: Field) -> Source:
    source = open_source(str(data), fields or FIELDS, ("records", "lines"))
    assert isinstance(source, Source)
    return source


def rows(dataset: Dataset, split: str, size: int = 1024) -> list[dict[str, Any]]:
    """Return the rows of a split one by one, texts as strings."""
    found = []
    for batch in dataset.batches(split, size):
        columns = [
            [v.decode() if isinstance(v, bytes) else v for v in batch[name].tolist()] for name in batch
        ]
        found += [dict(zip(batch, values, strict=True)) for values in zip(*columns, strict=True)]
    return found


def snapshot(directory: Path) -> dict[Path, int]:
    """Return when each file below a folder was last written."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def unreadable() -> Iterator[Row | BadRow]:
    raise AssertionError("rows were read")


def test_a_folder_is_prepared(folder: Path, directory: Path) -> None:
    """Splits, rows and labels are those of the files; blank lines are none."""
    dataset = prepare(find(folder), FIELDS, directory=directory)

    assert dataset.name == "films"
    assert dataset.sizes == {"train": 2, "test": 1}
    assert dataset.names == {"label": ("neg", "pos")}
    assert rows(dataset, "train") == [{"text": "fine", "label": 1}, {"text": "poor", "label": 0}]
    assert rows(dataset, "test") == [{"text": "ä 中", "label": 1}]


def test_a_file_is_split_by_its_rows(tmp_path: Path, directory: Path) -> None:
    """Each row stands in the split of its hash, in the order of the file, and none is lost."""
    content = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(200)]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    dataset = prepare(find(path), FIELDS, directory=directory)

    shares = (("train", 0.8), ("validation", 0.1), ("test", 0.1))
    for split in ("train", "validation", "test"):
        own = [row for row in content if split_of(row_hash({"text": row["text"]}), shares) == split]
        assert dataset.sizes[split] == len(own) > 5
        assert [(r["text"], "ab"[r["label"]]) for r in rows(dataset, split)] == [
            (row["text"], row["label"]) for row in own
        ]
    assert sum(dataset.sizes.values()) == 200


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (FIELDS, {"text": "same text", "label": "{}"}),
        ((Field("source", "text", "en", ""), Field("target", "text", "de", "")), {"en": "one", "de": "{}"}),
        (
            (Field("tokens", "tokens", "tokens", ""), Field("tags", "tags", "tags", "")),
            {"tokens": ["a"], "tags": ["{}"]},
        ),
    ],
)
def test_the_first_field_alone_decides_the_split(
    tmp_path: Path, fields: tuple[Field, ...], line: dict[str, Any]
) -> None:
    """Copies of a text with other labels, tags or translations are in one split."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line).replace("{}", f"value {i}") + "\n" for i in range(60)))

    assert len({split for split, _, _ in rows_by_split(find(path, *fields))}) == 1


def test_the_documented_version_is_the_present_one() -> None:
    """`docs/data.md` names the folder in which a prepared dataset is."""
    docs = Path(__file__).parents[2] / "docs" / "data.md"

    assert f"/{FORMAT_VERSION}/" in docs.read_text()


def test_equal_rows_of_a_file_are_in_one_split(tmp_path: Path) -> None:
    """So no row of the test is known from training."""
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text {i % 50}\n" for i in range(150)))
    splits: dict[str, set[str]] = {}
    for split, where, row in rows_by_split(find(path, TEXT)):
        assert isinstance(row, Row)
        assert where == str(path)
        splits.setdefault(row.text(), set()).add(split)

    assert len(splits) == 50
    assert all(len(own) == 1 for own in splits.values())
    assert len(set().union(*splits.values())) == 3


def test_rows_stay_in_order(tmp_path: Path, directory: Path) -> None:
    """Batches have the rows as the file has them, the last batch what is left, and `all` has all splits."""
    texts = {split: [f"{split} {i * 7919 % 10_007}" for i in range(2_100)] for split in ("train", "dev")}
    for split, own in texts.items():
        (tmp_path / f"{split}.txt").write_text("".join(f"{text}\n" for text in own))
    dataset = prepare(find(tmp_path, TEXT), (TEXT,), directory=directory)

    assert dataset.names == {}
    assert [len(batch["text"]) for batch in dataset.batches("train", 1000)] == [1000, 1000, 100]
    assert [row["text"] for row in rows(dataset, "train")] == texts["train"]
    assert [row["text"] for row in rows(dataset, "all", 7)] == texts["train"] + texts["dev"]
    assert (dataset.size("validation"), dataset.size("all")) == (2_100, 4_200)


def test_rows_stay_in_order_across_shards(
    folder: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large split is cut into several files, which are read one behind the other."""
    monkeypatch.setattr("data.prepared.SHARD_CHARACTERS", 1_000)
    texts = [f"text {i * 7919 % 10_007}" for i in range(500)]
    (folder / "train.csv").write_text("text,label\n" + "".join(f"{text},x\n" for text in texts))
    dataset = prepare(find(folder), FIELDS, directory=directory)

    assert len(list(directory.rglob("*train*.tfrecord*"))) > 3
    assert [row["text"] for row in rows(dataset, "train")] == texts


@pytest.mark.parametrize("text", ["", " a ", "a\nb", "a\r\n\tb", "a\0b", "\N{GRINNING FACE}", "x" * 200_000])
def test_texts_come_back_as_they_were(folder: Path, directory: Path, text: str) -> None:
    """Whatever a text holds, not a sign of it changes."""
    (folder / "train.jsonl").write_text(json.dumps({"text": text, "label": "x"}) + "\n")
    (folder / "train.csv").unlink()

    assert rows(prepare(find(folder), FIELDS, directory=directory), "train") == [{"text": text, "label": 1}]


def test_labels_are_sorted_and_of_all_splits(folder: Path, directory: Path) -> None:
    """Their order does not follow that of the rows, and numbers are names like any other."""
    (folder / "train.csv").write_text("text,label\na,zoo\nb,10\nc,2\nd,Ende\n")
    (folder / "test.jsonl").write_text('{"text": "e", "label": true}\n{"text": "f", "label": "two words"}\n')
    dataset = prepare(find(folder), FIELDS, directory=directory)

    assert dataset.names["label"] == ("10", "2", "Ende", "true", "two words", "zoo")
    assert [row["label"] for row in rows(dataset, "train")] == [5, 0, 1, 2]
    assert [row["label"] for row in rows(dataset, "test")] == [3, 4]


def test_an_unknown_split_is_refused(folder: Path, directory: Path) -> None:
    """The message has those that there are."""
    dataset = prepare(find(folder), FIELDS, directory=directory)

    with pytest.raises(UserError) as caught:
        dataset.size("validation")
    assert str(caught.value) == "films has no split 'validation'; there is train, test, all"


def test_nothing_is_prepared_twice(folder: Path, directory: Path) -> None:
    """The second time rows are not read, nothing is checked, and no file is written."""
    source = find(folder)
    first = prepare(source, FIELDS, directory=directory)
    before = snapshot(directory)
    locked = Source(
        source.name, {s: Part(p.where, unreadable) for s, p in source.parts.items()}, source.digest
    )

    def check(found: Scan) -> None:
        raise AssertionError("checked again")

    second = prepare(locked, FIELDS, directory=directory, check=check)

    assert before
    assert snapshot(directory) == before
    assert (second.hash, second.sizes, second.names) == (first.hash, first.sizes, first.names)
    assert rows(second, "train") == rows(first, "train")


def test_a_changed_file_is_another_dataset(folder: Path, directory: Path) -> None:
    """The old one can still be read."""
    first = prepare(find(folder), FIELDS, directory=directory)
    (folder / "train.csv").write_text("text,label\nfine,pos\n\npooh,neg\n")
    second = prepare(find(folder), FIELDS, directory=directory)

    assert second.hash != first.hash
    assert [row["text"] for row in rows(second, "train")] == ["fine", "pooh"]
    assert [row["text"] for row in rows(first, "train")] == ["fine", "poor"]


def test_other_columns_are_another_dataset(folder: Path, directory: Path) -> None:
    """The same files, read otherwise, are not the same data."""
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
    """The hash is of the content: neither the place nor the time of a file matters."""
    copy = tmp_path / "elsewhere" / "Films"
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    first, second = (
        prepare(find(path), FIELDS, directory=tmp_path / name) for path, name in ((folder, "1"), (copy, "2"))
    )

    assert first.hash == second.hash


def test_a_broken_row_is_refused(folder: Path, directory: Path) -> None:
    """The message says where it is, why, and how to find all; nothing is written."""
    (folder / "test.jsonl").write_text('{"text": "a", "label": "pos"}\n\n{"text": 1, "label": "pos"}\n')

    with pytest.raises(UserError) as caught:
        prepare(find(folder), FIELDS, directory=directory)
    assert str(caught.value) == (
        f"{folder / 'test.jsonl'}:3: 'text' is a number, not a text; "
        "'textrnn datasets check' lists all such rows"
    )
    assert not snapshot(directory)


@pytest.mark.parametrize("content", ["", "\n\n", " \n"])
def test_a_file_without_rows_is_refused(folder: Path, directory: Path, content: str) -> None:
    """Be it that it is empty or that its lines are blank; nothing is written."""
    (folder / "test.jsonl").write_text(content)

    with pytest.raises(UserError) as caught:
        prepare(find(folder), FIELDS, directory=directory)
    assert str(caught.value) == f"{folder / 'test.jsonl'}: no rows; expected at least one"
    assert not snapshot(directory)


@pytest.mark.parametrize("content", ["", "text,label\n"])
def test_a_single_file_without_rows_is_refused(tmp_path: Path, directory: Path, content: str) -> None:
    """A header is no row."""
    path = tmp_path / "texts.csv"
    path.write_text(content)

    with pytest.raises(UserError) as caught:
        prepare(find(path), FIELDS, directory=directory)
    assert str(caught.value) == f"{path}: no rows; expected at least one"
    assert not snapshot(directory)


def test_a_single_file_without_training_rows_is_prepared(tmp_path: Path, directory: Path) -> None:
    """Few rows may all fall to other splits: to evaluate on, they are as good as any."""
    shares = (("train", 0.8), ("validation", 0.1), ("test", 0.1))
    texts = [str(i) for i in range(50) if split_of(row_hash({"text": str(i)}), shares) != "train"]
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in texts))

    dataset = prepare(find(path, TEXT), (TEXT,), directory=directory)

    assert "train" not in dataset.sizes
    assert dataset.size("all") == len(texts) > 0


def test_a_task_may_refuse_what_was_found(folder: Path, directory: Path) -> None:
    """It sees the rows and the labels of each split; nothing is written."""
    seen = []

    def check(found: Scan) -> None:
        seen.append(found)
        raise UserError("too few rows")

    with pytest.raises(UserError, match="too few rows"):
        prepare(find(folder), FIELDS, directory=directory, check=check)
    assert [found.rows for found in seen] == [Counter(train=2, test=1)]
    assert seen[0].labels() == {"train": Counter(pos=1, neg=1), "test": Counter(pos=1)}
    assert not snapshot(directory)


class Noting(ExampleValidator):
    """Notes what it is shown, and refuses what it is told to."""

    def __init__(self, refused: str) -> None:
        self.refused = refused
        self.seen: list[tuple[str, int, str]] = []

    def row(self, where: str, row: Row) -> None:
        self.seen.append((Path(where).name, row.line, row.text()))
        if row.text() == self.refused:
            raise UserError(f"refused: {row.text()}")

    def finish(self) -> None:
        if self.refused == "all":
            raise UserError(f"refused: all {len(self.seen)}")


@pytest.mark.parametrize(("refused", "message"), [("poor", "refused: poor"), ("all", "refused: all 3")])
def test_a_task_may_look_at_each_row(folder: Path, directory: Path, refused: str, message: str) -> None:
    """It is told where each stands, and may refuse one, or all at the end, before anything is written."""
    watch = Noting(refused)

    with pytest.raises(UserError, match=message):
        prepare(find(folder), FIELDS, directory=directory, validator=watch)
    assert watch.seen == [("test.jsonl", 1, "ä 中"), ("train.csv", 2, "fine"), ("train.csv", 4, "poor")]
    assert not snapshot(directory)


TAGGING = (
    Field("tokens", "tokens", "tokens", "--set data.token_column=NAME"),
    Field("tags", "tags", "upos", "--set data.tag_column=NAME", ("tags",)),
    Field("text", "text", "text", "--set data.text_column=NAME", optional=True),
    Field("label", "label", "label", "--set data.label_column=NAME", optional=True),
)


def tagged(folder: Path, **splits: list[dict[str, Any]]) -> Source:
    """Write JSON lines of each split, and return them as a source of tagged sentences."""
    folder.mkdir()
    for split, content in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    return find(folder, *TAGGING)


def test_tokens_and_tags_are_prepared(tmp_path: Path, directory: Path) -> None:
    """Each row has as many as it has, none too; the names of all splits are sorted, once each."""
    source = tagged(
        tmp_path / "a",
        train=[
            {"tokens": ["Ein", "Hund", "."], "upos": ["DET", "NOUN", "."]},
            {"tokens": [], "upos": []},
            {"tokens": ["New York"], "upos": ["NOUN"]},
        ],
        test=[{"tokens": ["中"], "tags": ["X"]}],
    )
    scans: list[Scan] = []
    dataset = prepare(source, TAGGING, directory=directory, check=scans.append)

    (batch,) = dataset.batches("train")
    assert set(batch) == {"tokens", "tags"}
    assert [[token.decode() for token in row] for row in batch["tokens"]] == [
        ["Ein", "Hund", "."],
        [],
        ["New York"],
    ]
    assert dataset.names == {"tags": (".", "DET", "NOUN", "X")}
    assert [row.tolist() for row in batch["tags"]] == [[1, 2, 0], [], [2]]
    (batch,) = dataset.batches("test")
    assert [row.tolist() for row in batch["tags"]] == [[3]]
    assert scans[0].names == {
        "tags": {"train": Counter({"DET": 1, "NOUN": 2, ".": 1}), "test": Counter({"X": 1})}
    }
    assert scans[0].labels() == {}
    assert scans[0].characters == Counter(train=8 + 8 + 8 + 4, test=1 + 1)


def test_rows_of_one_length_are_sequences_too(tmp_path: Path, directory: Path) -> None:
    """Which lengths stand in a batch changes nothing about how it is given."""
    rows = [{"tokens": ["a", "b"], "upos": ["X", "Y"]}, {"tokens": ["c", "d"], "upos": ["Y", "Y"]}]
    dataset = prepare(tagged(tmp_path / "a", train=rows), TAGGING, directory=directory)

    (batch,) = dataset.batches("train")
    assert batch["tags"].shape == (2,)
    assert [row.tolist() for row in batch["tags"]] == [[0, 1], [1, 1]]
    assert [row.tolist() for row in batch["tokens"]] == [[b"a", b"b"], [b"c", b"d"]]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_sequences_stay_in_order(tmp_path: Path, directory: Path, size: int) -> None:
    """Batches of any size cut them nowhere."""
    content = [{"tokens": [f"{i}.{j}" for j in range(i % 4)], "upos": ["X"] * (i % 4)} for i in range(7)]
    dataset = prepare(tagged(tmp_path / "a", train=content), TAGGING, directory=directory)

    found = [row.tolist() for batch in dataset.batches("train", size) for row in batch["tokens"]]
    assert found == [[token.encode() for token in row["tokens"]] for row in content]


def test_an_optional_value_that_no_row_has(tmp_path: Path, directory: Path) -> None:
    """The dataset does without it; one that all rows have is kept."""
    row = {"tokens": ["a"], "upos": ["X"]}
    bare = prepare(tagged(tmp_path / "bare", train=[row]), TAGGING, directory=directory)
    full = prepare(
        tagged(
            tmp_path / "full", train=[row | {"text": "a!", "label": "y"}, row | {"text": "", "label": "x"}]
        ),
        TAGGING,
        directory=directory,
    )

    assert set(bare.columns) == {"tokens", "tags"}
    assert set(full.columns) == {"tokens", "tags", "text", "label"}
    (batch,) = full.batches("train")
    assert batch["text"].tolist() == [b"a!", b""]
    assert batch["label"].tolist() == [1, 0]
    assert full.names == {"tags": ("X",), "label": ("x", "y")}


def test_an_optional_text_that_some_rows_have(tmp_path: Path, directory: Path) -> None:
    """It is empty in the others, of whichever split."""
    row = {"tokens": ["a"], "upos": ["X"]}
    source = tagged(tmp_path / "a", train=[row, row | {"text": "b"}], test=[row])
    dataset = prepare(source, TAGGING, directory=directory)

    assert [batch["text"].tolist() for batch in dataset.batches("all")] == [[b"", b"b"], [b""]]


def test_a_label_that_some_rows_have_is_refused(tmp_path: Path, directory: Path) -> None:
    """There is no class that stands for none; the message counts the rows; nothing is written."""
    row = {"tokens": ["a"], "upos": ["X"]}
    source = tagged(tmp_path / "a", train=[row | {"label": "x"}] * 3, test=[row] * 1_200)

    with pytest.raises(UserError) as caught:
        prepare(source, TAGGING, directory=directory)
    assert str(caught.value) == "a: 1,200 of 1,203 rows have no label; give it to all rows or to none"
    assert not snapshot(directory)


def test_an_interrupted_preparation_is_begun_anew(directory: Path) -> None:
    """What it left behind, whole or in pieces, is not taken for a dataset and is not in the way."""
    content = [{"text": f"text {i}", "label": "x"} for i in range(100)]
    readings = 0

    def interrupted() -> Iterator[Row | BadRow]:
        nonlocal readings
        readings += 1
        for line, values in enumerate(content, 1):
            if readings == 2 and line == 60:  # the first reading is the check before anything is written
                raise KeyboardInterrupt
            yield Row(line, values)

    source = Source("texts", {"train": Part("texts", interrupted)}, lambda: "digest")
    with pytest.raises(KeyboardInterrupt):
        prepare(source, FIELDS, directory=directory)
    left = directory / "texts" / "incomplete.ABCDEF_1.0.0"
    left.mkdir(parents=True)
    left.joinpath("texts-train.tfrecord-00000-of-00001").write_bytes(b"half a row")
    dataset = prepare(source, FIELDS, directory=directory)
    left_within = Path(dataset.builder.data_dir).parent / "incomplete.ABCDEF_1.0.0"
    left_within.mkdir()
    left_within.joinpath("dataset_info.json").write_text("{")
    again = prepare(source, FIELDS, directory=directory)

    assert readings > 2
    assert [row["text"] for row in rows(dataset, "train")] == [row["text"] for row in content]
    assert rows(again, "train") == rows(dataset, "train")


def test_two_may_prepare_at_once(directory: Path) -> None:
    """Who comes second uses what the first one wrote."""
    content = [Row(line, {"text": f"text {line}", "label": "x"}) for line in range(1, 11)]
    source = Source("texts", {"train": Part("texts", lambda: iter(content))}, lambda: "digest")
    first: list[Dataset] = []

    def overtaken() -> Iterator[Row | BadRow]:
        yield from content[:5]
        if slower and not first:
            first.append(prepare(source, FIELDS, directory=directory))
        yield from content[5:]

    slower: list[Scan] = []  # empty until the rows are being written
    second = prepare(
        Source("texts", {"train": Part("texts", overtaken)}, source.digest),
        FIELDS,
        directory=directory,
        check=slower.append,
    )

    assert len(first) == 1
    assert second.hash == first[0].hash
    assert [row["text"] for row in rows(second, "train")] == [row.values["text"] for row in content]


def test_preparing_prints_nothing(folder: Path, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is for the answers of commands."""
    prepare(find(folder), FIELDS, directory=directory)

    assert capsys.readouterr().out == ""


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    """Return a folder that says of `imdb_reviews` what would be known once it was downloaded."""
    path = tmp_path / "metadata"
    builder = tfds.builder("imdb_reviews", data_dir=path)
    own = path / "imdb_reviews" / "plain_text" / "1.0.0"
    own.mkdir(parents=True)
    builder.info.features.save_metadata(own)
    splits = [
        {
            "name": name,
            "shardLengths": ["5"],
            "numBytes": "100",
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        }
        for name in ("train", "test", "unsupervised")
    ]
    info = {"name": "imdb_reviews", "version": "1.0.0", "configName": "plain_text", "fileFormat": "tfrecord"}
    own.joinpath("dataset_info.json").write_text(json.dumps(info | {"splits": splits}))
    return path


def test_a_catalogue_dataset(metadata: Path, directory: Path) -> None:
    """Its text and its label are found by their kinds; splits without labels are left out."""
    with tfds.testing.mock_data(num_examples=5, data_dir=str(metadata)):
        dataset = prepare(CatalogueName("imdb_reviews"), FIELDS, directory=directory)
        batches = list(dataset.batches("train", 3))

    assert dataset.name == "imdb_reviews"
    assert dataset.sizes == {"train": 5, "test": 5}
    assert dataset.names == {"label": ("neg", "pos")}
    assert [len(batch["text"]) for batch in batches] == [3, 2]
    for batch in batches:
        assert set(batch) == {"text", "label"}
        assert all(isinstance(text, bytes) and text for text in batch["text"])
        assert set(batch["label"].tolist()) <= {0, 1}


def test_a_catalogue_dataset_is_known_by_name_and_columns(metadata: Path, directory: Path) -> None:
    """The version that is meant by default is the same as when it is named."""
    with tfds.testing.mock_data(num_examples=5, data_dir=str(metadata)):
        hashes = [
            prepare(CatalogueName(name), fields, directory=directory).hash
            for name, fields in [
                ("imdb_reviews", FIELDS),
                ("imdb_reviews/plain_text:1.0.0", FIELDS),
                ("imdb_reviews", (TEXT,)),
            ]
        ]

    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("name", ["imbd", "imbd_reviews", "imdb_review/plain_text:1.0.0"])
def test_an_unknown_catalogue_name(directory: Path, name: str) -> None:
    """The message has the likely one."""
    with pytest.raises(UserError) as caught:
        prepare(CatalogueName(name), FIELDS, directory=directory)
    plain = name.split("/")[0]
    assert str(caught.value) == f"unknown dataset {plain!r} in the catalogue; did you mean 'imdb_reviews'?"


@pytest.mark.parametrize(
    ("name", "known"),
    [("imdb_reviews/plain", "plain_text"), ("imdb_reviews:9.9.9", "1.0.0"), ("", "datasets list")],
)
def test_an_unknown_configuration_or_version(directory: Path, name: str, known: str) -> None:
    """The message has those that there are, and nothing of the program's inside."""
    with pytest.raises(UserError) as caught:
        prepare(CatalogueName(name), FIELDS, directory=directory)
    message = str(caught.value)
    assert known in message
    assert "builder_kwargs" not in message
    assert "\n" not in message


def test_a_catalogue_dataset_without_texts(directory: Path) -> None:
    """The message has the features that it has, and the option that names one."""
    with pytest.raises(UserError) as caught:
        prepare(CatalogueName("mnist"), FIELDS, directory=directory)
    assert str(caught.value) == (
        "tfds:mnist: no text feature 'text'; it has image (Image), label (ClassLabel); "
        "name one with --set data.text_column=NAME"
    )


def test_a_catalogue_dataset_with_several_texts(directory: Path) -> None:
    """Which of them is meant is for the user to say."""
    with pytest.raises(UserError) as caught:
        prepare(CatalogueName("glue/mrpc"), FIELDS, directory=directory)
    message = str(caught.value)
    assert "sentence1 (Text)" in message
    assert "sentence2 (Text)" in message
    assert message.endswith("name one with --set data.text_column=NAME")


def test_no_network(directory: Path) -> None:
    """The message says which file to get, from where, how to know it, and where to say that it is there."""
    with pytest.raises(UserError) as caught:
        prepare(CatalogueName("imdb_reviews"), FIELDS, directory=directory)
    message = str(caught.value)
    assert f"download aclImdb_v1.tar.gz from {IMDB_URL} " in message
    assert "(sha256 c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe)" in message
    assert "--manual-dir" in message
    assert "\n" not in message


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_a_transient_failure_does_not_end_a_download(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    """With a network, a lost connection is tried again, three times at most."""
    calls: list[int] = []

    class Builder:
        url_infos: ClassVar = {IMDB_URL: None}

        def download_and_prepare(self, **options: Any) -> None:
            calls.append(downloader.MAX_RETRIES)
            if len(calls) <= failures:
                raise requests.exceptions.ChunkedEncodingError("connection broken")

    monkeypatch.setattr("data.catalogue._reachable", lambda urls: True)
    before = downloader.MAX_RETRIES
    if failures < 3:
        catalogue._download(Builder(), None)
    else:
        with pytest.raises(requests.RequestException):
            catalogue._download(Builder(), None)

    assert len(calls) == min(failures + 1, 3)
    assert min(calls) > 0
    assert before == downloader.MAX_RETRIES


def test_without_a_network_nothing_is_retried(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """One connection that fails is enough to say so."""
    tried: list[int] = []

    def fail(*args: Any, **options: Any) -> NoReturn:
        tried.append(downloader.MAX_RETRIES)
        raise OSError("network is unreachable")

    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("socket.create_connection", fail)
    with pytest.raises(UserError, match="cannot be downloaded"):
        prepare(CatalogueName("imdb_reviews"), FIELDS, directory=directory)
    assert len(tried) == 1


def archive(path: Path) -> str:
    """Write a file such as `imdb_reviews` is made of, with two rows of each kind, and return its sha256."""
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for part in ("train/neg", "train/pos", "test/neg", "test/pos", "train/unsup"):
            for number in range(2):
                content = f"{part} {number}".encode()
                info = tarfile.TarInfo(f"aclImdb/{part}/{number}_1.txt")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_raw_files_need_no_network(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A catalogue dataset is prepared from files that were brought by hand."""
    path = tmp_path / "raw" / "aclImdb_v1.tar.gz"
    checksum = archive(path)
    info = tfds.download.checksums.UrlInfo(size=path.stat().st_size, checksum=checksum, filename=path.name)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "url_infos", {IMDB_URL: info})
    dataset = prepare(
        CatalogueName("imdb_reviews"), FIELDS, directory=directory, manual_directory=path.parent
    )

    assert dataset.sizes == {"train": 4, "test": 4}
    assert {(row["text"], row["label"]) for row in rows(dataset, "test")} == {
        (f"test/{label} {number}", label_id)
        for label_id, label in enumerate(["neg", "pos"])
        for number in "01"
    }
    assert capsys.readouterr().out == ""


def test_a_raw_file_with_another_content_is_refused(tmp_path: Path, directory: Path) -> None:
    """The message names the file."""
    archive(tmp_path / "raw" / "aclImdb_v1.tar.gz")

    with pytest.raises(UserError, match=r"aclImdb_v1\.tar\.gz") as caught:
        prepare(CatalogueName("imdb_reviews"), FIELDS, directory=directory, manual_directory=tmp_path / "raw")
    assert "\n" not in str(caught.value)


def test_a_folder_of_raw_files_must_be_there(tmp_path: Path, directory: Path) -> None:
    """It is not made for the user, who may have mistyped it."""
    with pytest.raises(UserError, match=r"--manual-dir .*nowhere: no such folder"):
        prepare(
            CatalogueName("imdb_reviews"),
            FIELDS,
            directory=directory,
            manual_directory=tmp_path / "nowhere",
        )
    assert not (tmp_path / "nowhere").exists()
