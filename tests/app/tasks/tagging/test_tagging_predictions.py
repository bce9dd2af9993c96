"""What a tagger predicts for texts and for given tokens."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tagging_data import GIVEN, HARD, Command, Lines, printed, spans_of, without_score

import app.prediction.loading
from app.artifacts.run import open_run
from app.prediction.loading import build_served
from app.tasks import get_task
from app.tasks.tagging.examples import word_encoder
from app.tasks.tagging.facts import TaggingFacts
from app.tasks.tagging.training import ARGUMENTS
from data.formats import Row
from data.samples import tags as sample_tags


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lines]:
    """Return a file in which texts and given tokens alternate, and its records."""
    texts = [{"text": text} for text in HARD]
    given: Lines = [{"tokens": tokens} for tokens in GIVEN]
    rows = [*texts[:3], given[0], *texts[3:5], *given[1:3], *texts[5:], *given[3:]]
    path = tmp_path_factory.mktemp("mixed") / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path, rows


@pytest.fixture(scope="module")
def predicted(command: Command, joint: Path, mixed: tuple[Path, Lines]) -> Lines:
    """Return the predictions of the run for the file."""
    return printed(command, "predict", joint, mixed[0])


def test_run_and_export_predict_the_same(
    command: Command, exported: Path, mixed: tuple[Path, Lines], predicted: Lines
) -> None:
    """A run and its export give the same predictions for a file that mixes texts and given tokens."""
    found = printed(command, "predict", exported, mixed[0])

    assert [without_score(line) for line in found] == [without_score(line) for line in predicted]
    assert [line["score"] for line in found] == pytest.approx([line["score"] for line in predicted], abs=2e-6)
    assert len({line["score"] for line in predicted}) > 10


def test_predictions(mixed: tuple[Path, Lines], predicted: Lines) -> None:
    """Each record has a prediction, in order: tokens with tags, spans of the text, and a label."""
    labels = {row["label"] for row in sample_tags(0)["train"]}
    assert len(predicted) == len(mixed[1])
    for row, line in zip(mixed[1], predicted, strict=True):
        text = row.get("text", "")
        if "tokens" in row:  # joined with single spaces or none
            for token in line["tokens"]:
                text = text.ljust(token["start"]) + token["text"]
        assert list(line) == ["tokens", "spans", "label", "score"]
        assert all(list(token) == ["text", "start", "end", "tag"] for token in line["tokens"])
        assert all(text[token["start"] : token["end"]] == token["text"] for token in line["tokens"])
        if "tokens" in row:
            assert [token["text"] for token in line["tokens"]] == row["tokens"]
        expected = [
            (label, line["tokens"][first]["start"], line["tokens"][last - 1]["end"])
            for label, first, last in spans_of([token["tag"] for token in line["tokens"]])
        ]
        assert [(span["label"], span["start"], span["end"]) for span in line["spans"]] == expected
        assert all(span["text"] == text[span["start"] : span["end"]] for span in line["spans"])
        assert line["label"] in labels
        assert 1 / len(labels) < line["score"] <= 1
    assert [line["tokens"] for line in predicted[:2]] == [[], []]
    assert len(predicted[4]["tokens"]) == 8 * 300
    assert any(line["spans"] for line in predicted)


def test_text_of_a_span(joint: Path) -> None:
    """The text of a span is that of the input text, with the white space between its tokens."""
    outputs = {
        "tokens": [[b"New", b"York"]],
        "tags": [[b"B-city", b"I-city"]],
        "start": [[0, 5]],
        "end": [[3, 9]],
        "length": [2],
    }
    predictor = replace(
        app.prediction.loading.load_predictor(joint),
        signatures={"serving_default": lambda text: {k: tf.constant(v) for k, v in outputs.items()}},
    )

    (found,) = get_task("tagging").predictions.predict(predictor, [Row(1, {"text": "New\t\u00a0York"})])

    assert found["spans"] == [{"label": "city", "start": 0, "end": 9, "text": "New\t\u00a0York"}]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("He is n't here , ( yet ) .", "He isn't here, (yet)."),
        ("北京 很 大 。", "北京很大。"),
        ("東京 タワー 2 時", "東京タワー2時"),
        ("หนัง เรื่อง นี้ 5", "หนังเรื่องนี้ 5"),
        ("￭ ▁x ⁂j", "￭▁x ⁂j"),
    ],
)
def test_given_tokens_are_joined_as_words_are(joint: Path, tokens: str, text: str) -> None:
    """Positions of given tokens refer to the tokens joined by the rule; none is changed."""
    predictor = app.prediction.loading.load_predictor(joint)
    rows = [Row(1, {"tokens": tuple(tokens.split())}), Row(2, {"tokens": ("a",)})]

    line, other = get_task("tagging").predictions.predict(predictor, rows)

    assert [token["text"] for token in line["tokens"]] == tokens.split()
    assert all(text[token["start"] : token["end"]] == token["text"] for token in line["tokens"])
    assert line["tokens"][-1]["end"] == len(text)
    assert (other["tokens"][0]["start"], other["tokens"][0]["end"]) == (0, 1)


def test_a_batch_changes_nothing(joint: Path, mixed: tuple[Path, Lines], predicted: Lines) -> None:
    """A text alone has the same prediction as in a batch with a text of thousands of words."""
    predictor = app.prediction.loading.load_predictor(joint)
    predictions = get_task("tagging").predictions
    for row, line in zip(mixed[1], predicted, strict=True):
        if "text" in row:
            (alone,) = predictions.to_json(predictor.run_texts("serving_default", [row["text"].encode()]))
            assert [token["tag"] for token in alone["tokens"]] == [token["tag"] for token in line["tokens"]]
            assert alone["score"] == pytest.approx(line["score"], abs=2e-6)


def test_lines_and_tables(command: Command, joint: Path, tmp_path: Path) -> None:
    """Texts may also be given one per line, or in a column."""
    text = "I want Old Paris songs."
    (tmp_path / "texts.txt").write_text(f"{text}\n\n")
    (tmp_path / "rows.csv").write_text(f'id,text\n1,"{text}"\n2,\n')
    (tmp_path / "rows.jsonl").write_text(f'{{"q": "{text}"}}\n{{"q": ""}}\n')

    first = printed(command, "predict", joint, tmp_path / "texts.txt")

    assert [len(line["tokens"]) for line in first] == [6, 0]
    assert printed(command, "predict", joint, tmp_path / "rows.csv") == first
    assert printed(command, "predict", joint, tmp_path / "rows.jsonl", "--text-column", "q") == first


def test_records_that_cannot_be_tagged(command: Command, joint: Path, tmp_path: Path) -> None:
    """A record without text and tokens, or with invalid tokens, gives an error in its place."""
    rows = [
        '{"tokens": ["a"], "text": "b c"}',
        '{"x": 1}',
        '{"tokens": "a b"}',
        '{"tokens": [""]}',
        '{"text": "d"}',
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))

    found = printed(command, "predict", joint, tmp_path / "rows.jsonl", status=1)

    assert [token["text"] for token in found[0]["tokens"]] == ["a"]
    assert [line["line"] for line in found[1:4]] == [2, 3, 4]
    assert found[1]["error"] == (
        "neither a text nor 'tokens'; name the column of the text with --text-column NAME"
    )
    assert found[2]["error"] == "'tokens' is a text, not a list"
    assert found[3]["error"] == "tokens[0] is empty"
    assert [token["text"] for token in found[4]["tokens"]] == ["d"]


def orphans(tags: Sequence[str]) -> int:
    """Return how many I- tags do not follow a B- or I- tag of their type."""
    pairs = zip(["O", *tags[:-1]], tags, strict=True)
    return sum(tag.startswith("I-") and before[1:] != tag[1:] for before, tag in pairs)


@pytest.mark.parametrize("name", ["joint", "crf"])
def test_spans_start_with_b(name: str, request: pytest.FixtureRequest) -> None:
    """No I- tag occurs without its B-, with any weights, although the best tag of a token often is one."""
    run = open_run(request.getfixturevalue(name))
    words = sorted({token for row in sample_tags(0)["train"] for token in row["tokens"]})
    generator = random.Random(0)
    texts = [generator.choices(words, k=generator.randint(1, 20)) for _ in range(200)]
    served = build_served(run)
    preprocessing = run.preprocessing(TaggingFacts)
    noise = np.random.default_rng(0)
    for weight in served.model.trainable_variables:
        weight.assign(noise.normal(size=weight.shape))
    served.model.make_portable()  # with these weights
    arrays = word_encoder(preprocessing, run.config)(tf.ragged.constant(texts))
    emissions = served.model(*(arrays[name] for name in ARGUMENTS))["emissions"].numpy()
    free = [
        [preprocessing.vocabularies["tags"][i].decode() for i in row[: len(text)].argmax(axis=1)]
        for row, text in zip(emissions, texts, strict=True)
    ]

    padded = tf.ragged.constant(texts).to_tensor("")
    found = served.signatures["tokens"].function(padded)["tags"].numpy()

    tags = [[tag.decode() for tag in row[: len(text)]] for row, text in zip(found, texts, strict=True)]
    assert sum(map(orphans, free)) > 20
    assert sum(map(orphans, tags)) == 0
    assert sum(tag.startswith("I-") for row in tags for tag in row) > 20


# What to label next


def test_suggestions(command: Command, joint: Path) -> None:
    """Texts come as tokens with their predicted tags and label, the most uncertain first."""
    result = command(
        "suggest", joint, "--count", "2", stdin="Play a song\nqwerty zxcvb Ω\nPlay a song by X\n"
    )
    found = [json.loads(line) for line in result.stdout.splitlines()]

    assert result.exit_code == 0, result.stderr
    assert [set(line) for line in found] == [{"tokens", "tags", "label", "uncertainty"}] * 2
    assert all(len(line["tokens"]) == len(line["tags"]) > 0 for line in found)
    assert found[0]["uncertainty"] >= found[1]["uncertainty"] >= 0
