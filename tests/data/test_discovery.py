"""What is in a folder: splits, their pieces, lists, folders for classes, and what is not read."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from data.formats import CONTINUES, Field, Row, Shape
from data.prepared import prepare
from data.sources import Source, open_source

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
LABELLED = (TEXT, LABEL)
DOCUMENT = (TEXT, Field(CONTINUES, "flag", CONTINUES, "", optional=True))
TAGGED = (
    Field("tokens", "tokens", "tokens", ""),
    Field("tags", "tags", "upos", "", ("tags",)),
    Field("label", "label", "label", "", optional=True),
)
PAIRS = (Field("source", "text", "en", ""), Field("target", "text", "de", ""))
SplitRows = Callable[..., dict[str, list[Row]]]


def make(folder: Path, files: dict[str, str]) -> Path:
    """Write files; `a-b` stands for a row with text `a` and label `b`, in the format of the name."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text, dash, label = content.partition("-")
        if dash and ".csv" in name.lower():
            content = f"text,label\n{text},{label}\n"
        elif dash and ".jsonl" in name:
            content = json.dumps({"text": text, "label": label}) + "\n"
        path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return folder


def find(
    data: Path, fields: tuple[Field, ...] = LABELLED, shape: Shape = "records", **options: Any
) -> Source:
    source = open_source(str(data), fields, (shape,), **options)
    assert isinstance(source, Source)
    return source


def contents(source: Source) -> dict[str, list[Any]]:
    """Return the values of the rows of each part."""
    found: dict[str, list[Any]] = {}
    for name, part in source.parts.items():
        rows = [row for _, row in part.rows()]
        assert all(isinstance(row, Row) for row in rows), rows
        found[name] = [tuple(row.values.values()) for row in rows if isinstance(row, Row)]
    return found


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"train-00000-of-00002.csv": "a-x", "train-00001-of-00002.csv": "b-y",
             "test-00000-of-00001.csv": "c-x"},
            {"train": "ab", "test": "c"},
        ),
        ({"train_10.csv": "c-x", "train_9.csv": "b-x", "train_1.csv": "a-x"}, {"train": "abc"}),
        ({"train.part1.jsonl": "a-x", "train.part2.jsonl": "b-x"}, {"train": "ab"}),
        ({"train_part2.jsonl.gz": "b-x", "train_part1.jsonl.gz": "a-x"}, {"train": "ab"}),
        ({"train.csv": "a-x", "train-2.csv": "b-x"}, {"train": "ab"}),
        ({"train (1).csv": "a-x", "train (2).csv": "b-x"}, {"train": "ab"}),
        (
            {"data/train-00000-of-00001-a09b74b3ef9c3b56.jsonl": "a-x",
             "README.md": "", "data/dev.jsonl": "b-x"},
            {"train": "a", "validation": "b"},
        ),
        ({"train/x.jsonl": "a-x", "train/y.jsonl": "b-x", "val/z.csv": "c-x"},
         {"train": "ab", "validation": "c"}),
        ({"train.csv/part-0.csv": "a-x", "train.csv/part-1.csv": "b-x", "train.csv/_SUCCESS": ""},
         {"train": "ab"}),
        ({"Training.CSV": "a-x", "TESTING.csv": "b-x"}, {"train": "a", "test": "b"}),
        ({"films_train.csv": "a-x", "films_test.csv": "b-x"}, {"train": "a", "test": "b"}),
        ({"set-train-1.csv": "a-x", "set-train-2.csv": "b-x"}, {"train": "ab"}),
        ({"cooking.train": "__label__x a\n", "cooking.valid": "__label__y b\n"},
         {"train": "a", "validation": "b"}),
        ({"train.txt": "__label__x a\n", "test.txt": "__label__y b\n"}, {"train": "a", "test": "b"}),
        ({"reviews.csv": "a-x", "notes.md": "n"}, {"all": "a"}),
        ({"part-00001.csv": "b-x", "part-00000.csv": "a-x"}, {"all": "ab"}),
        ({"set/v1/train.csv": "a-x"}, None),
        ({"set/train.csv": "a-x"}, {"train": "a"}),
        ({"train/pos/1.txt": "a", "train/neg/2.txt": "b", "test/pos/3.txt": "c"},
         {"train": "ba", "test": "c"}),
        ({"pos/1.txt": "a", "pos/10.txt": "c", "pos/2.txt": "b", "neg/x": "d"}, {"all": "dabc"}),
        ({"20news-train/sci.space/123": "a", "20news-train/rec.autos/7": "b", "20news-test/sci.space/9": "c"},
         {"train": "ba", "test": "c"}),
        ({"train/pos/1.txt.gz": "a", "train/neg/2.txt": "b", "train/unsup/3.txt": "c"}, {"train": "ba"}),
        ({"train.text": "a\nb\n", "train.labels": "x\ny\n", "test.text": "c\n", "test.labels": "x\n"},
         {"train": "ab", "test": "c"}),
        ({"train_text.txt": "a\n", "train_labels.txt": "1\n", "val_text.txt": "b\n", "val_labels.txt": "0\n"},
         {"train": "a", "validation": "b"}),
        ({"train/text": "a\n", "train/label": "x\n"}, {"train": "a"}),
    ],
)  # fmt: skip
def test_which_files_are_which_split(
    tmp_path: Path, files: dict[str, str], expected: dict[str, str] | None
) -> None:
    """All pieces of a split are read, in the order of their numbers."""
    folder = make(tmp_path / "set", files)
    if expected is None:
        with pytest.raises(UserError, match="no training file"):
            find(folder)
        return

    found = contents(find(folder))

    assert {name: "".join(text for text, _ in rows) for name, rows in found.items()} == expected


def test_the_labels_of_folders(tmp_path: Path) -> None:
    """The name of a folder is the label of its texts, which are unchanged."""
    folder = make(
        tmp_path, {"train/sci.space/1": "one\ntwo\r\n", "train/Größe/2.txt": "", "train/3.txt": "no label"}
    )

    assert contents(find(folder)) == {"train": [("", "Größe"), ("one\ntwo\r\n", "sci.space")]}


def test_a_folder_for_each_class_has_the_examples_of_json_lines(tmp_path: Path, directory: Path) -> None:
    """The splits are the same as well."""
    rows = [(f"text {i}\nof two lines", ("neg", "pos")[i // 100]) for i in range(200)]
    make(tmp_path / "folders", {f"train/{label}/{i}.txt": text for i, (text, label) in enumerate(rows)})
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    make(tmp_path / "lines", {"train.jsonl": lines})
    first, second = (
        prepare(find(tmp_path / name), LABELLED, directory=directory) for name in ("folders", "lines")
    )

    assert first.sizes == second.sizes
    for split in ("train", "validation"):
        assert [
            {name: values.tolist() for name, values in batch.items()} for batch in first.batches(split)
        ] == [{name: values.tolist() for name, values in batch.items()} for batch in second.batches(split)]


def test_lists_of_tokens_tags_and_labels(tmp_path: Path) -> None:
    """A folder for each split has a file for each field."""
    files = {"seq.in": "play jazz\nhi\n", "seq.out": "O B-genre\nO\n", "label": "PlayMusic\nGreet\n"}
    folder = make(
        tmp_path, {f"{split}/{name}": text for split in ("train", "valid") for name, text in files.items()}
    )

    found = contents(find(folder, TAGGED, "sentences"))

    rows = [(("play", "jazz"), ("O", "B-genre"), "PlayMusic"), (("hi",), ("O",), "Greet")]
    assert found == {"train": rows, "validation": rows}


def test_pairs_in_a_folder_for_each_split(tmp_path: Path) -> None:
    """The sides of a translation may be in folders."""
    folder = make(tmp_path, {"train/a.en": "one\n", "train.en": "a\n", "train.de": "b\n"})

    assert contents(find(folder, PAIRS, parallel=("en", "de"))) == {"train": [("a", "b")]}


def test_a_single_list_of_texts(tmp_path: Path) -> None:
    """DATA may be the list of texts or that of labels."""
    make(tmp_path, {"films.text": "a\nb\n", "films.labels": "x\ny\n"})

    for name in ("films.text", "films.labels"):
        assert contents(find(tmp_path / name)) == {"all": [("a", "x"), ("b", "y")]}


def test_a_list_without_its_other_side(tmp_path: Path) -> None:
    """The message names the file that is missing; with it the list is read."""
    make(tmp_path, {"films.text": "a\n"})
    with pytest.raises(UserError) as caught:
        find(tmp_path / "films.text")
    assert str(caught.value) == (
        f"{tmp_path / 'films.label'}: no such file; it is the other side of {tmp_path / 'films.text'}"
    )

    make(tmp_path, {"films.label": "x\n"})
    assert contents(find(tmp_path / "films.text")) == {"all": [("a", "x")]}


def test_several_documents_of_a_split(tmp_path: Path, split_rows: SplitRows) -> None:
    """Each begins a new text; the end of the last one is held out."""
    make(tmp_path, {"train/1.txt": "a" * 60, "train/2.txt": "b" * 40})

    found = split_rows(find(tmp_path, DOCUMENT, "document"), DOCUMENT)

    assert [(row.text(), row.values[CONTINUES]) for row in found["train"]] == [
        ("a" * 60, False),
        ("b" * 30, False),
    ]
    assert [(row.text(), row.values[CONTINUES]) for row in found["validation"]] == [("b" * 10, False)]


@pytest.mark.parametrize(
    ("name", "renamed", "split"),
    [
        ("eval.csv", "validation.csv", "validation"),
        ("validate.csv", "validation.csv", "validation"),
        ("Evaluation.csv.gz", "validation.csv.gz", "validation"),
        ("development.jsonl", "validation.jsonl", "validation"),
        ("train_old.csv", "train-2.csv", "train"),
        ("train_augmented.csv", "train-2.csv", "train"),
        ("test_hard.csv", "test.csv", "test"),
        ("dev_b.csv", "dev.csv", "validation"),
    ],
)
def test_the_advice_for_a_file_that_is_not_read(tmp_path: Path, name: str, renamed: str, split: str) -> None:
    """The file is named, and after the renaming it is read."""
    make(tmp_path, {"train.csv": "a-x", name: "b-y"})
    source = find(tmp_path)
    assert set(source.parts) == {"train"}
    (sentence,) = source.ignored
    assert sentence.startswith(f"{tmp_path / name} is not read: rename it to {renamed} to ")

    (tmp_path / name).rename(tmp_path / renamed)
    source = find(tmp_path)

    assert source.ignored == ()
    assert ("b", "y") in contents(source)[split]


def test_pieces_are_added_after_the_last_one(tmp_path: Path) -> None:
    """The advised name is that of the next piece."""
    make(tmp_path, {"train-1.csv": "a-x", "train-3.csv": "b-x", "train_more.csv": "c-x"})

    assert find(tmp_path).ignored == (
        f"{tmp_path / 'train_more.csv'} is not read: rename it to train-4.csv to add it to train",
    )


@pytest.mark.parametrize("name", ["all.csv", "reviews.csv", "full.jsonl", "train_old.jsonl", "sub.tsv"])
def test_other_files_of_examples_are_named(tmp_path: Path, name: str) -> None:
    """Files that are not of a split are not read, and the user is told."""
    make(tmp_path, {"train.csv": "a-x", name: "b-y"})

    assert find(tmp_path).ignored == (
        f"{tmp_path / name} is not read: its name is not that of a split (train, validation or test)",
    )


def test_files_that_are_no_examples_are_listed(tmp_path: Path) -> None:
    """One sentence lists them; documentation and hidden files need no word."""
    make(
        tmp_path,
        {
            "train/pos/1.txt": "a", "train/neg/1.txt": "b", "train/unsup/1.txt": "c",
            "train/urls_pos.txt": "u", "train/labeledBow.feat": "f", "train/pos/.DS_Store": "",
            "imdb.vocab": "v", "README": "r", ".DS_Store": "", "train/neg/notes.pdf": "n",
        },
    )  # fmt: skip
    source = find(tmp_path)

    assert source.ignored == (
        f"{tmp_path / 'train' / 'unsup'}: left out, because its texts have no label",
        f"{tmp_path}: not read: imdb.vocab, train/labeledBow.feat, train/urls_pos.txt, train/neg/notes.pdf",
    )
    assert source.layout == (
        f"{tmp_path}: 2 files in train = train; a text in each file, the 2 folders are its labels",
    )


def test_what_was_read_as_what(tmp_path: Path) -> None:
    """Files that are written alike are in one sentence."""
    make(tmp_path, {"train.csv": "a-x", "dev.csv": "a-x", "test.jsonl": "a-x", "train-2.csv": "b-x"})

    assert find(tmp_path).layout == (
        f"{tmp_path}: 2 files train.csv to train-2.csv = train, dev.csv = validation; CSV",
        f"{tmp_path}: test.jsonl = test; JSON Lines",
    )
    assert find(tmp_path / "train.csv").layout == (
        f"{tmp_path / 'train.csv'}: divided into train, validation and test; CSV",
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"train.csv": "a-x", "train.jsonl": "b-x"},
            "two files for train: train.csv and train.jsonl; keep one",
        ),
        ({"train.csv": "a-x", "train/1.csv": "b-x"}, "two files for train: train.csv and train/; keep one"),
        (
            {"train-1.csv": "a-x", "train_1.csv": "b-x"},
            "two files for train: train-1.csv and train_1.csv; keep one",
        ),
        (
            {"train/a.csv": "a-x", "train/b.jsonl": "b-x"},
            "files of two formats: a.csv and b.jsonl; keep those of one",
        ),
        ({"a.csv": "a-x", "b.csv": "b-x"}, "no training file; expected one of train.jsonl"),
        ({"a_train.csv": "a-x", "b_train.csv": "b-x"}, "no training file; expected one of train.jsonl"),
        ({"test.csv": "a-x"}, "no training file; expected one of train.jsonl"),
        ({"train/pos/a.pdf": "x", "train/neg/b.pdf": "x"}, "no training file; expected one of train.jsonl"),
        ({"pos/1.txt": "x"}, "no training file; expected one of train.jsonl"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    """One line says which files are in the way, or what is expected."""
    make(tmp_path, files)

    with pytest.raises(UserError) as caught:
        find(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_link_is_refused(tmp_path: Path) -> None:
    """In a folder, and as DATA itself."""
    (tmp_path / "train.csv").symlink_to(tmp_path / "nowhere.csv")

    with pytest.raises(UserError, match=r"train\.csv: a broken link; remove it or restore its file"):
        find(tmp_path)
    with pytest.raises(
        UserError, match=r"train\.csv: a broken link to .*nowhere\.csv; give the path of a file"
    ):
        find(tmp_path / "train.csv")


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line."""

    def refuse(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)

    with pytest.raises(UserError) as caught:
        find(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot be read: Permission denied"


def test_a_test_split_without_labels(tmp_path: Path, directory: Path) -> None:
    """A test file that lacks the column of the label is left out; without the text it is an error."""
    make(tmp_path / "a", {"train.csv": "a-x", "test.csv": "text\nb\n"})
    dataset = prepare(find(tmp_path / "a"), LABELLED, directory=directory)
    assert dataset.sizes == {"train": 1}
    assert any("no example has a label; the test split is left out" in note for note in dataset.notes)

    make(tmp_path / "a", {"test.csv": "body,label\nb,x\n"})
    with pytest.raises(UserError, match=r"test\.csv: no column 'text'"):
        prepare(find(tmp_path / "a"), LABELLED, directory=directory)
