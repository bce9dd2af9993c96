"""Data whose labels or tags a model does not know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tagging_data import PLAIN, Command, Jsonl, Lines, evaluated, sample_rows, trained

PARTS_OF_SPEECH = [
    {"tokens": ["dogs", "bark"], "tags": ["NOUN", "VERB"]},
    {"tokens": ["cats", "see", "dogs"], "tags": ["NOUN", "VERB", "NOUN"]},
]
SPANS = [{"tokens": ["Bo", "Lee", "left"], "tags": ["B-PER", "I-PER", "O"]}]


@pytest.fixture(scope="module")
def plain(jsonl: Jsonl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run on parts of speech."""
    folder = tmp_path_factory.mktemp("plain")
    for split in ("train", "validation"):
        jsonl(folder / "data" / f"{split}.jsonl", PARTS_OF_SPEECH * 2)
    return trained(folder / "data", folder / "run", *PLAIN)


def refusal(command: Command, model: Path, path: Path) -> str:
    """Return the one line with which `evaluate` refuses data."""
    result = command("evaluate", model, "--data", path, "--split", "all")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize(
    ("tags", "shown"),
    [
        (["PER", "PER", "O"], "'PER'"),
        (["NOUN", "VERB", "ADJ"], "'ADJ', 'NOUN', 'VERB'"),
        (["B_PER", "I_PER", "O"], "'B_PER', 'I_PER'"),
        (["1", "2", "3"], "'1', '2', '3'"),
        (["a-b", "-", "BIO"], "'-', 'BIO', 'a-b'"),
    ],
)
def test_a_model_of_spans_on_plain_tags(
    command: Command, joint: Path, jsonl: Jsonl, tmp_path: Path, tags: list[str], shown: str
) -> None:
    """The message says which tags the data has, and which ones the model."""
    jsonl(tmp_path / "rows.jsonl", [{"tokens": ["a", "b", "c"], "tags": tags}])

    assert refusal(command, joint, tmp_path / "rows.jsonl") == (
        f"Error: rows: the data has the tags {shown}, but those of the model are BIO, such as 'B-artist', "
        "'B-city', 'B-count' …; choose data with such tags, or their column with --set data.tag_column=NAME\n"
    )


@pytest.mark.parametrize(
    ("tags", "shown"),
    [
        (["B-PER", "I-PER", "O"], "'B-PER', 'I-PER'"),
        (["S-PER", "O", "S-LOC"], "'S-LOC', 'S-PER'"),
        (["NN", "VBZ", "JJ"], "'JJ', 'NN', 'VBZ'"),
    ],
)
def test_a_model_of_plain_tags_on_other_tags(
    command: Command, plain: Path, jsonl: Jsonl, tmp_path: Path, tags: list[str], shown: str
) -> None:
    """Data with none of its tags is refused, too."""
    jsonl(tmp_path / "rows.jsonl", [{"tokens": ["a", "b", "c"], "tags": tags}])

    assert refusal(command, plain, tmp_path / "rows.jsonl") == (
        f"Error: rows: the data has the tags {shown}, but those of the model are plain, such as 'NOUN', "
        "'VERB'; choose data with such tags, or their column with --set data.tag_column=NAME\n"
    )


def test_some_plain_tags_that_the_model_does_not_know(
    command: Command, plain: Path, jsonl: Jsonl, tmp_path: Path
) -> None:
    """They count as wrong."""
    jsonl(tmp_path / "rows.jsonl", [{"tokens": ["x", "y"], "tags": ["ADJ", "X"]}, *PARTS_OF_SPEECH[:1]])

    metrics = evaluated(command, plain, "--data", tmp_path / "rows.jsonl", "--split", "all")

    assert metrics["tokens"] == 4
    assert metrics["accuracy"] <= 0.5


@pytest.mark.parametrize("tags", [["B-zzz", "I-zzz"], ["S-city", "O"], ["I-city", "I-city"], ["O", "O"]])
def test_types_of_spans_that_the_model_does_not_know(
    command: Command, joint: Path, jsonl: Jsonl, tmp_path: Path, tags: list[str]
) -> None:
    """They count as wrong, and tags in another scheme are converted."""
    jsonl(tmp_path / "rows.jsonl", [{"tokens": ["x", "y"], "tags": tags}])

    metrics = evaluated(command, joint, "--data", tmp_path / "rows.jsonl", "--split", "all")

    assert metrics["tokens"] == 2
    if "zzz" in tags[0]:
        assert metrics["per_type"]["zzz"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}


def test_a_label_that_the_model_does_not_know(
    command: Command, joint: Path, jsonl: Jsonl, tmp_path: Path
) -> None:
    """Its examples count as wrong."""
    rows = sample_rows("test", 8)
    jsonl(tmp_path / "known.jsonl", rows)
    jsonl(tmp_path / "rows.jsonl", [*rows, *({**row, "label": "x"} for row in rows)])

    known, both = (
        evaluated(command, joint, "--data", tmp_path / f"{name}.jsonl", "--split", "all")
        for name in ("known", "rows")
    )

    assert known["label_accuracy"] > 0
    assert both["label_accuracy"] == pytest.approx(known["label_accuracy"] / 2)
    assert both["exact_match"] == pytest.approx(known["exact_match"] / 2)
    assert both["span_f1"] == pytest.approx(known["span_f1"])


def flights(split: str) -> Lines:
    """Return examples as those of ATIS: some intents of validation and test are not in train."""
    intents = {
        "train": ["flight", "airfare"],
        "validation": ["flight", "airfare", "meal"],
        "test": ["flight", "airfare", "flight+airfare", "day_name"],
    }
    return [
        {
            "text": f"{word} from {city} to dallas",
            "tokens": [word, "from", city, "to", "dallas"],
            "tags": ["O", "O", "B-fromloc.city_name", "O", "B-toloc.city_name"],
            "label": intent,
        }
        for intent, word in zip(intents[split], ("show", "fares", "meals", "days"), strict=False)
        for city in ("boston", "denver", "oakland", "tampa", "reno", "erie")
    ]


def test_intents_that_training_lacks(command: Command, jsonl: Jsonl, tmp_path: Path) -> None:
    """The model trains; its labels are those of the training examples, and others count as wrong."""
    for split in ("train", "validation", "test"):
        jsonl(tmp_path / "data" / f"{split}.jsonl", flights(split))

    run = trained(tmp_path / "data", tmp_path / "run", *PLAIN, "training.epochs=8")
    metrics = {split: evaluated(command, run, "--split", split) for split in ("train", "validation", "test")}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

    assert (run / "labels.txt").read_text().split() == ["airfare", "flight"]
    assert metrics["train"]["label_accuracy"] == 1
    assert metrics["validation"]["label_accuracy"] == pytest.approx(2 / 3)
    assert metrics["test"]["label_accuracy"] == pytest.approx(2 / 4)
    assert lines[-1]["validation_label_accuracy"] == pytest.approx(2 / 3)
    assert all(line["validation_loss"] < 100 for line in lines)
