"""Metrics of taggers on given tokens and on raw text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagging_data import (
    Command,
    Jsonl,
    Lines,
    best_line,
    evaluated,
    f1,
    printed,
    sample_rows,
    spans_of,
    unlabelled,
)

from app.tasks.tagging.baseline import token_features


@pytest.fixture(scope="module")
def evaluation(
    command: Command, joint: Path, jsonl: Jsonl, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Lines, Lines, Lines]:
    """Return metrics on a file, its examples, and the predictions for their tokens and for their texts."""
    folder = tmp_path_factory.mktemp("evaluated")
    rows = sample_rows("test", 80)
    # Examples whose tags are correct where the label is not.
    labels = sorted({row["label"] for row in rows})
    rows += [{"text": ".", "tokens": ["."], "tags": ["O"], "label": label} for label in labels]
    # As in treebanks, tokens that are not written as in the text; and tags that the model does not know.
    rows.append(
        {
            "text": "dunno about Old Paris weather",
            "tokens": ["do", "n't", "know", "about", "Old", "Paris", "weather"],
            "tags": ["O", "O", "O", "O", "B-city", "I-city", "O"],
            "label": "get_weather",
        }
    )
    rows.append({"text": "xy", "tokens": ["x", "y"], "tags": ["B-zzz", "O"], "label": "get_weather"})
    jsonl(folder / "rows.jsonl", rows)
    jsonl(folder / "tokens.jsonl", [{"tokens": row["tokens"]} for row in rows])
    jsonl(folder / "texts.jsonl", [{"text": row["text"]} for row in rows])
    metrics = evaluated(command, joint, "--data", folder / "rows.jsonl", "--split", "all")
    given, raw = (
        printed(command, "predict", joint, folder / f"{name}.jsonl") for name in ("tokens", "texts")
    )
    return metrics, rows, given, raw


def test_keys(evaluation: tuple[dict[str, Any], Lines, Lines, Lines]) -> None:
    """`--json` has the keys of the contract."""
    metrics, rows, _, _ = evaluation

    assert list(metrics) == [
        *("task", "dataset", "split", "examples", "tokens", "loss", "accuracy"),
        *(
            "span_f1",
            "span_precision",
            "span_recall",
            "per_type",
            "label_accuracy",
            "exact_match",
            "label_expected_calibration_error",
            "label_reliability",
            "label_risk_coverage",
            "raw_text",
            "intervals",
        ),
    ]
    assert (metrics["task"], metrics["examples"]) == ("tagging", 87)
    assert metrics["tokens"] == sum(len(row["tokens"]) for row in rows)


def test_metrics_on_tokens(evaluation: tuple[dict[str, Any], Lines, Lines, Lines]) -> None:
    """Metrics on given tokens are those of the predictions of `predict` for them."""
    metrics, rows, given, _ = evaluation
    tags = [[token["tag"] for token in line["tokens"]] for line in given]
    correct = [
        [a == b for a, b in zip(row["tags"], own, strict=True)] for row, own in zip(rows, tags, strict=True)
    ]
    correct_labels = [row["label"] == line["label"] for row, line in zip(rows, given, strict=True)]
    gold = {(i, *span) for i, row in enumerate(rows) for span in spans_of(row["tags"])}
    found = {(i, *span) for i, own in enumerate(tags) for span in spans_of(own)}

    assert 0 < len(gold & found) < len(found)
    assert any(all(row) and not label for row, label in zip(correct, correct_labels, strict=True))
    assert metrics["accuracy"] == pytest.approx(np.mean(np.concatenate(correct)))
    assert metrics["span_f1"] == pytest.approx(f1(gold, found))
    assert metrics["span_precision"] == pytest.approx(len(gold & found) / len(found))
    assert metrics["span_recall"] == pytest.approx(len(gold & found) / len(gold))
    assert metrics["label_accuracy"] == pytest.approx(np.mean(correct_labels))
    both = [all(row) and label for row, label in zip(correct, correct_labels, strict=True)]
    assert metrics["exact_match"] == pytest.approx(np.mean(both))
    assert metrics["per_type"].keys() == {span[1] for span in gold | found}
    for label, row in metrics["per_type"].items():
        own, predicted = ({span for span in spans if span[1] == label} for spans in (gold, found))
        assert row["support"] == len(own)
        assert row["f1"] == pytest.approx(f1(own, predicted))
        assert row["precision"] == pytest.approx(len(own & predicted) / max(len(predicted), 1))
        assert row["recall"] == pytest.approx(len(own & predicted) / max(len(own), 1))
    assert metrics["per_type"]["zzz"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}


def test_metrics_on_raw_text(evaluation: tuple[dict[str, Any], Lines, Lines, Lines]) -> None:
    """On raw text tokens and spans count by their positions; a token that is not written so is missed."""
    metrics, rows, _, raw = evaluation
    gold, gold_spans = set(), set()
    for i, row in enumerate(rows):
        places, position = [], 0
        for j, token in enumerate(row["tokens"]):
            start = row["text"].find(token, position)
            places.append((-1 - j, -1 - j) if start < 0 else (start, start + len(token)))
            position = max(position, places[-1][1])
        gold |= {(i, *place, tag) for place, tag in zip(places, row["tags"], strict=True)}
        spans = spans_of(row["tags"])
        gold_spans |= {(i, label, places[first][0], places[last - 1][1]) for label, first, last in spans}
    found = {(i, t["start"], t["end"], t["tag"]) for i, line in enumerate(raw) for t in line["tokens"]}
    found_spans = {(i, s["label"], s["start"], s["end"]) for i, line in enumerate(raw) for s in line["spans"]}
    text = metrics["raw_text"]

    assert list(text) == ["token_f1", "word_f1", "tag_f1", "span_f1", "gap", "tokenizer"]
    assert text["token_f1"] == pytest.approx(f1({t[:3] for t in gold}, {t[:3] for t in found}))
    assert text["tag_f1"] == pytest.approx(f1(gold, found))
    assert text["word_f1"] == text["token_f1"]  # there are no multiword tokens
    assert text["span_f1"] == pytest.approx(f1(gold_spans, found_spans))
    assert text["gap"] == pytest.approx(metrics["span_f1"] - text["span_f1"])
    assert text["token_f1"] < 1  # "do n't know" is not written so


def test_metrics_of_the_validation_split(command: Command, joint: Path) -> None:
    """On the validation split the metrics are those of the best epoch in training, the loss too."""
    metrics = evaluated(command, joint, "--split", "validation")
    best = best_line(joint)

    for name in ("loss", "accuracy", "span_f1", "label_accuracy", "exact_match"):
        assert metrics[name] == pytest.approx(best[f"validation_{name}"], rel=1e-4)


def test_tags_that_the_model_does_not_know(
    command: Command, joint: Path, jsonl: Jsonl, tmp_path: Path
) -> None:
    """The loss is a mean over the examples whose tags the model knows; without them there is no loss."""
    known = unlabelled(sample_rows("test", 12))
    strange = {"tokens": ["x"] * 50, "tags": ["B-zzz"] * 50}
    data = {"known": known, "both": [*known, strange], "strange": [strange]}
    found = {}
    for name, rows in data.items():
        jsonl(tmp_path / f"{name}.jsonl", rows)
        found[name] = evaluated(command, joint, "--data", tmp_path / f"{name}.jsonl", "--split", "all")

    assert found["both"]["loss"] == pytest.approx(found["known"]["loss"])
    assert found["both"]["accuracy"] < found["known"]["accuracy"]
    assert "loss" not in found["strange"]
    assert found["strange"]["accuracy"] == 0
    assert not found["known"].keys() & {"label_accuracy", "exact_match", "raw_text"}


def test_baseline(command: Command, joint: Path) -> None:
    """The baseline of tags knows their words and neighbours, that of labels the words of a sentence.

    The most frequent tag of each word finds less than a quarter of the spans of the sample.
    """
    (metrics,) = printed(command, "evaluate", joint, "--json")

    assert list(metrics["baseline"]) == ["name", "accuracy", "span_f1", "label_accuracy", "exact_match"]
    assert metrics["baseline"]["name"] == "linear baseline"
    assert 0.8 < metrics["baseline"]["accuracy"] < 1
    assert 0.25 < metrics["baseline"]["span_f1"] < 1
    assert 0.5 < metrics["baseline"]["label_accuracy"] <= 1
    assert metrics["baseline"]["exact_match"] <= metrics["baseline"]["label_accuracy"]


def test_features_of_the_baseline() -> None:
    """A token has its word, affixes and shape, and the same of its neighbours, with pairs of words."""
    first, second = token_features(["An", "Ant-2"])

    assert first[-1] == "after:pair=an ant-2"
    assert second == [
        *("bias", "word=Ant-2", "lower=ant-2", "shape=Xx-d"),
        *("prefix=a", "suffix=2|", "prefix=an", "suffix=-2|", "prefix=ant", "suffix=t-2|"),
        *("prefix=ant-", "suffix=nt-2|"),
        *("before=an", "before:suffix=an", "before:shape=Xx", "before:pair=ant-2 an", "after:none"),
    ]
    assert token_features([""])[0][:4] == ["bias", "word=", "lower=", "shape="]
