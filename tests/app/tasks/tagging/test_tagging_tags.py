"""Tags of different kinds: parts of speech, schemes of spans, features of the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tagging_data import (
    CONLLU,
    NO_DROPOUT,
    PLAIN,
    TINY,
    Command,
    evaluated,
    facts_of,
    printed,
    settings,
    trained,
)

from app.config import load_config
from app.tasks import get_task
from app.training.encode import encode_dataset
from data.prepared import prepare
from data.sources import open_source


def test_parts_of_speech(command: Command, treebank: Path, tmp_path: Path) -> None:
    """Plain tags are learned from four sentences; on raw text the tokens of the rules count."""
    run = trained(
        treebank, tmp_path / "run", *PLAIN, *NO_DROPOUT, "training.epochs=40", "training.schedule=constant"
    )

    (metrics,) = printed(command, "evaluate", run, "--json")
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in CONLLU), encoding="utf-8")
    lines = printed(command, "predict", run, tmp_path / "texts.txt")

    assert facts_of(run)["tag_scheme"] == "plain"
    assert (metrics["examples"], metrics["tokens"], metrics["words"]) == (4, 13, 16)
    assert metrics["accuracy"] == 1
    assert list(metrics["raw_text"]) == ["token_f1", "word_f1", "tag_f1", "gap", "tokenizer"]
    # Of 13 tokens "don't" is two others; its words and those of "gonna" and "Στο" are found.
    assert metrics["raw_text"]["token_f1"] == pytest.approx(2 * 12 / (13 + 14))
    assert metrics["raw_text"]["word_f1"] == 1
    assert metrics["raw_text"]["tag_f1"] >= 14 / 16
    assert metrics["raw_text"]["gap"] == pytest.approx(1 - metrics["raw_text"]["tag_f1"])
    assert not {"span_f1", "per_type", "label_accuracy"} & metrics.keys()
    assert [list(line) for line in lines] == [["tokens", "spans"]] * 4
    assert [token["text"] for token in lines[0]["tokens"]] == ["I", "do", "n't", "know", "."]
    assert lines[1]["tokens"][1]["words"] == [{"text": "gon", "tag": "VERB"}, {"text": "na", "tag": "PART"}]
    assert all(line["spans"] == [] for line in lines)


def test_another_column(treebank: Path, tmp_path: Path) -> None:
    """`data.tag_column` names another column of CoNLL-U."""
    run = trained(treebank, tmp_path / "run", *PLAIN, "data.tag_column=xpos")

    assert "XVERB" in (run / "tags.txt").read_text().split()


SENTENCES = [
    [
        ("Ann", "PER"),
        ("Lee", "PER"),
        ("met", ""),
        ("Bo", "PER+"),
        ("in", ""),
        ("New", "LOC"),
        ("York", "LOC"),
    ],
    [("Bo", "PER"), ("Ann", "PER+"), ("Lee", "PER"), ("left", "")],
    [("New", "LOC"), ("York", "LOC"), ("Paris", "LOC+"), ("met", ""), ("Ann", "PER")],
    [("in", ""), ("Paris", "LOC"), ("Bo", "PER")],
]


def written(sentence: list[tuple[str, str]], scheme: str) -> list[str]:
    """Return the tags of a sentence; a type with `+` starts a span directly after another of its type."""
    bio, iob1 = [], []
    before = ""
    for _, name in sentence:
        kind = name.rstrip("+")
        new = name.endswith("+") or kind != before
        bio.append(f"{'B' if new else 'I'}-{kind}" if kind else "O")
        iob1.append(f"{'B' if name.endswith('+') and kind == before else 'I'}-{kind}" if kind else "O")
        before = kind
    if scheme != "BIOES":
        return {"BIO": bio, "IOB1": iob1}[scheme]
    ended = [not after.startswith("I-") for after in [*bio[1:], "O"]]
    last = {"B": "S", "I": "E", "O": "O"}
    return [last[tag[0]] + tag[1:] if end else tag for tag, end in zip(bio, ended, strict=True)]


SCHEMES = ("BIO", "IOB1", "BIOES")


@pytest.fixture(scope="module")
def schemes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one folder per scheme; each has the same spans."""
    folder = tmp_path_factory.mktemp("schemes")
    for scheme in SCHEMES:
        blocks = [
            "".join(f"{t} _ {tag}\n" for (t, _), tag in zip(row, written(row, scheme), strict=True)) + "\n"
            for row in SENTENCES
        ]
        (folder / scheme).mkdir()
        for split in ("train", "validation", "test"):
            (folder / scheme / f"{split}.conll").write_text("".join(blocks))
    return folder


def test_the_schemes_differ() -> None:
    """The same spans have different tags in the three schemes."""
    assert written(SENTENCES[1], "BIO") == ["B-PER", "B-PER", "I-PER", "O"]
    assert written(SENTENCES[1], "IOB1") == ["I-PER", "B-PER", "I-PER", "O"]
    assert written(SENTENCES[1], "BIOES") == ["S-PER", "B-PER", "E-PER", "O"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_is_learned_as_bio(schemes: Path, tmp_path: Path, scheme: str) -> None:
    """A model learns BIO tags, whatever the scheme of its data."""
    config = load_config("tagging", overrides=TINY)
    task = get_task("tagging")
    fields = task.examples.fields(config)
    source = open_source(str(schemes / scheme), fields, task.examples.shapes)
    dataset = prepare(source, fields, directory=tmp_path, validator=task.examples.validator(config))

    encoded, _ = encode_dataset(dataset, task, config, tmp_path)

    names = encoded.vocabularies["tags"]
    rows = encoded.splits["train"].sequences["tags"]
    expected = [written(sentence, "BIO") for sentence in SENTENCES]
    assert [[names[i].decode() for i in rows.row(row)] for row in range(len(rows))] == expected
    assert set(names) == {b"B-LOC", b"B-PER", b"I-LOC", b"I-PER", b"O"}
    assert encoded.facts["tag_scheme"] == "BIO"


def test_few_contradictions_are_repaired(tmp_path: Path) -> None:
    """An I- without its B- begins a span, and a letter of another scheme is read as what it means."""
    sentence = "Ann B-PER\nLee I-PER\nmet O\n\n"
    folder = tmp_path / "strays"
    folder.mkdir()
    (folder / "validation.conll").write_text(sentence)
    (folder / "train.conll").write_text(f"{sentence * 150}Bo I-PER\nmet O\nAnn S-PER\nLee I-LOC\n")
    config = load_config("tagging", overrides=TINY)
    task = get_task("tagging")
    fields = task.examples.fields(config)
    source = open_source(str(folder), fields, task.examples.shapes)
    dataset = prepare(source, fields, directory=tmp_path, validator=task.examples.validator(config))
    encoded, _ = encode_dataset(dataset, task, config, tmp_path)

    names = encoded.vocabularies["tags"]
    rows = encoded.splits["train"].sequences["tags"]
    found = {tuple(names[i].decode() for i in rows.row(row)) for row in range(len(rows))}
    assert encoded.facts["tag_scheme"] == "BIO"
    assert found == {("B-PER", "I-PER", "O"), ("B-PER", "O", "B-PER", "B-LOC")}


def test_every_scheme_has_the_same_metrics(command: Command, schemes: Path, tmp_path: Path) -> None:
    """A model that was trained on one scheme has the same metrics on data in every other."""
    run = trained(schemes / "IOB1", tmp_path / "run", *PLAIN, "training.epochs=6", "training.batch_size=1")
    metrics = [evaluated(command, run, "--data", schemes / other) for other in SCHEMES]

    assert facts_of(run)["tag_scheme"] == "BIO"
    for name in ("loss", "accuracy", "span_f1", "span_recall"):
        assert [row[name] for row in metrics] == pytest.approx([metrics[0][name]] * 3)
    assert metrics[0]["span_f1"] > 0.5
    assert metrics[0]["per_type"].keys() == {"PER", "LOC"}


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Return a folder with the description of `tfds:conll2003`, three splits, without its examples."""
    builder = tfds.builder("conll2003", data_dir=tmp_path / "features")
    folder = tmp_path / "catalogue"
    own = folder / str(builder.info.full_name)
    own.mkdir(parents=True)
    builder.info.features.save_metadata(own)
    splits = [
        {
            "name": name,
            "shardLengths": ["12"],
            "numBytes": "100",
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        }
        for name in ("train", "dev", "test")
    ]
    info = {"name": "conll2003", "version": str(builder.version), "fileFormat": "tfrecord", "splits": splits}
    (own / "dataset_info.json").write_text(json.dumps(info))
    return folder


def sentences(builder: Any, **_: Any) -> tf.data.Dataset:
    """Return 12 sentences of three tokens, in the format of the catalogue."""
    pos, ner = (builder.info.features[name].feature for name in ("pos", "ner"))
    row = {
        "tokens": ["Ann", "saw", "Paris"],
        "pos": [pos.str2int(name) for name in ("NNP", "VBD", "NNP")],
        "ner": [ner.str2int(name) for name in ("B-PER", "O", "B-LOC")],
    }
    return tf.data.Dataset.from_tensors(row).repeat(12)


def test_the_catalogue(catalogue: Path, command: Command, tmp_path: Path) -> None:
    """`data.tag_column` names a feature of a catalogue dataset; it is needed if there are several."""
    cache = f"data.directory={tmp_path / 'cache'}"
    words = ("train", "tagging", "tfds:conll2003", *settings(*TINY, cache), "--run", tmp_path / "other")
    with tfds.testing.mock_data(as_dataset_fn=sentences, data_dir=str(catalogue)):
        run = trained("tfds:conll2003", tmp_path / "run", *PLAIN, cache, "data.tag_column=ner")
        unnamed = command(*words)
    with tfds.testing.mock_data(num_examples=12, data_dir=str(catalogue)):  # of random lengths
        random_examples = command(*words, *settings("data.tag_column=pos"))

    assert {"B-PER", "B-LOC", "O"} <= set((run / "tags.txt").read_text().split())
    assert facts_of(run)["tag_scheme"] == "BIO"
    assert (unnamed.exit_code, random_examples.exit_code) == (1, 1)
    assert unnamed.stderr.count("\n") == 1
    assert "no tags feature 'upos'" in unnamed.stderr
    assert "ner (Sequence of ClassLabel)" in unnamed.stderr
    assert "--set data.tag_column=NAME" in unnamed.stderr
    assert "rows cannot be read (tfds:conll2003 train:1: misaligned: " in random_examples.stderr
    assert random_examples.stderr.count("\n") == 1
