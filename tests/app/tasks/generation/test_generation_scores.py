"""Losses of given texts, and metrics of language models."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from generation_data import KINDS, Command, Model, Models, play

from app.artifacts.run import open_run
from app.evaluate import evaluate
from app.tasks import get_task
from data.prepared import prepare
from data.sources import open_source


def test_scores(char: Model) -> None:
    """The loss of a text of any length is that of the network that reads it at once."""
    given = ["A", play()[:127], play()[:128], play()[300:429], play()[:1000], "Zoë: " * 3]
    outputs = char.predictor.run_texts("score", [text.encode() for text in given])

    assert outputs["tokens"].tolist() == [len(text) for text in given]
    for text, loss in zip(given, outputs["loss"], strict=True):
        assert float(loss) * len(text) == pytest.approx(char.nats(char.ids(text)).sum(), rel=1e-4)


def test_the_score_of_no_text(models: Models) -> None:
    """An empty text has no tokens and a loss of 0, alone and in a batch."""
    for model in map(models, KINDS):
        for given in ([b""], [b"", b"is"], [b"", b""]):
            outputs = model.predictor.run_texts("score", given)
            assert (outputs["loss"][0], outputs["tokens"][0]) == (0, 0)
            assert (outputs["tokens"][1:] == 0).all() == (given[-1] == b"")


def test_predict(command: Command, char: Model) -> None:
    """`predict` prints the loss of each line, its perplexity, and its number of tokens."""
    result = command("predict", char.path, stdin="Anna: The cat\n\nqqqq\n")
    lines = [json.loads(line) for line in result.stdout.splitlines()]

    assert [line["tokens"] for line in lines] == [13, 0, 4]
    assert lines[1] == {"loss": 0.0, "perplexity": 1.0, "tokens": 0}
    assert lines[2]["loss"] > lines[0]["loss"] + 1
    for line in lines:
        assert line["perplexity"] == pytest.approx(math.exp(line["loss"]), rel=1e-4)


def test_evaluate_a_text(command: Command, char: Model) -> None:
    """The metrics on the last 5 % of a text are those of the network that reads it at once."""
    text = play()[round(len(play()) * 0.95) :]
    outputs = char.predictor.run_texts("score", [text.encode()])
    ids = char.ids(text)
    loss = char.nats(ids).mean()

    found = json.loads(command("evaluate", char.path, "--json").stdout)

    assert found["split"] == "test"
    assert found["examples"] == 1
    assert found["tokens"] == found["characters"] == len(text) == outputs["tokens"][0]
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["loss"] == pytest.approx(float(outputs["loss"][0]), rel=1e-4)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    assert found["bits_per_character"] == pytest.approx(loss / math.log(2), rel=1e-4)
    assert found["accuracy"] == pytest.approx(np.mean(char.logits(ids).argmax(axis=1) == ids))


def test_evaluate_documents(word: Model) -> None:
    """The end of each document counts as a token, and the label of each document is known to the model."""
    run = open_run(word.path)
    examples = get_task("generation").examples
    fields = examples.fields(run.config)
    source = open_source(str(word.data), fields, examples.shapes)
    dataset = prepare(source, fields, directory=run.config.data_directory(), splitting=run.config.splitting())
    (rows,) = dataset.batches("test")
    nats, correct = [], []
    for text, label in zip(rows["text"], rows["label"], strict=True):
        ids = word.document(text)
        nats.append(word.nats(ids, int(label)))
        correct.append(word.logits(ids, int(label)).argmax(axis=1) == ids)
    found = evaluate(word.path)

    assert found["examples"] == len(rows["text"]) > 2
    assert found["tokens"] == sum(map(len, nats))
    assert found["characters"] == sum(len(text) for text in rows["text"])
    assert found["loss"] == pytest.approx(np.concatenate(nats).mean(), rel=1e-4)
    assert found["accuracy"] == pytest.approx(np.concatenate(correct).mean())
    bits = np.concatenate(nats).sum() / math.log(2) / found["characters"]
    assert found["bits_per_character"] == pytest.approx(bits, rel=1e-4)


@pytest.mark.parametrize("kind", ["byte", "subword"])
def test_bits_per_character(models: Models, kind: str) -> None:
    """Bits are per character for every kind of token, so that models can be compared."""
    found = evaluate(models(kind).path, split="validation")

    assert (found["tokens"] > found["characters"]) == (kind == "byte")
    nats = found["loss"] * found["tokens"]
    assert found["bits_per_character"] == pytest.approx(nats / found["characters"] / math.log(2))
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))


def test_labels_that_the_data_lacks(command: Command, word: Model, tmp_path: Path) -> None:
    """A model with labels is not evaluated on data without labels, of any format."""
    (tmp_path / "sea.txt").write_text("ship wave salt. " * 40)
    (tmp_path / "sea.jsonl").write_text('{"text": "ship wave salt."}\n' * 4)

    for name in ("sea.txt", "sea.jsonl"):
        result = command("evaluate", word.path, "--data", tmp_path / name, "--split", "all")

        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: ")
        assert "label" in result.stderr
        assert result.stderr.count("\n") == 1
