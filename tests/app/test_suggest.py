"""`textrnn suggest`: uncertain texts that differ, as examples to be labelled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from trained import PLAIN

from app.config import load_config
from app.suggest import diverse
from app.tasks.base import Unlabelled
from app.train import train

Command = Callable[..., Result]
Write = Callable[[Path, list[dict[str, object]]], None]

OPTIONS = (*PLAIN, "model.embedding_size=8", "training.learning_rate=0.1", "training.epochs=8")
OWN = (*OPTIONS, "training.batch_size=16")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, jsonl: Write) -> Path:
    """Return a run that knows that `good` and `bad` are opposites."""
    folder = tmp_path_factory.mktemp("suggest")
    rows: list[dict[str, object]] = [
        {"text": f"{word} thing {number}", "label": word} for number in range(60) for word in ("good", "bad")
    ]
    jsonl(folder / "data/train.jsonl", rows)
    jsonl(folder / "data/validation.jsonl", rows[:20])
    config = load_config("classification", overrides=list(OWN))
    assert train("classification", str(folder / "data"), config, run=folder / "run").finished
    return folder / "run"


def suggested(command: Command, run: Path, texts: list[str], *options: object) -> list[dict[str, object]]:
    """Return the examples that are printed for texts."""
    result = command("suggest", run, *options, stdin="".join(f"{text}\n" for text in texts))
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_uncertain_texts_are_chosen(command: Command, run: Path) -> None:
    """Texts that speak for both classes, or for none, come before clear ones."""
    clear = [f"{word} thing {number}" for number in range(20) for word in ("good", "bad")]
    found = suggested(command, run, [*clear, "good bad", "neither here nor there"], "--count", "2")

    assert {str(line["text"]) for line in found} == {"good bad", "neither here nor there"}
    assert all(line["label"] is None and line["predicted"] in ("good", "bad") for line in found)
    first, second = (line["uncertainty"] for line in found)
    assert isinstance(first, float)
    assert isinstance(second, float)
    assert 1 >= first >= second > 0.1


def test_an_example_can_be_trained_on(command: Command, run: Path, tmp_path: Path) -> None:
    """With its label filled in, a line is a training example; unlabelled fields do no harm."""
    output = tmp_path / "to_label.jsonl"
    texts = [f"good bad {number}" for number in range(30)]
    suggested(command, run, texts, "--count", "20", "--output", output)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    (tmp_path / "data").mkdir()
    labelled = [{**line, "label": ("good", "bad")[i % 2]} for i, line in enumerate(lines)]
    (tmp_path / "data/train.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in labelled))
    result = command("datasets", "check", tmp_path / "data", "--task", "classification")

    assert len(lines) == 20
    assert result.exit_code == 0, result.stderr


def test_repeated_and_few_texts(command: Command, run: Path) -> None:
    """A text that occurs twice is printed once, and all are printed if there are fewer than wanted."""
    result = command("suggest", run, stdin="good\nbad\ngood\n")

    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] != []
    assert len(result.stdout.splitlines()) == 2
    assert "1 texts occur more than once" in result.stderr
    assert "there are only 2 texts" in result.stderr


def test_nothing_to_choose_from(command: Command, run: Path) -> None:
    """An empty input is refused."""
    result = command("suggest", run, stdin="")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: stdin: no text to choose from; give texts without labels\n"


def test_the_choice_is_diverse() -> None:
    """Of two kinds of equally uncertain texts each has one chosen, and the same ones with the same seed."""
    kinds = [[f"apple pear {i}" for i in range(8)], [f"bolt screw {i}" for i in range(8)]]
    candidates = [Unlabelled(text, {}, 0.9) for texts in kinds for text in texts]
    found, again = (diverse(candidates, 2, seed=3) for _ in range(2))

    assert {own.text.split()[0] for own in found} == {"apple", "bolt"}
    assert found == again


@pytest.mark.parametrize("text", ["same", "?!"], ids=["equal texts", "no words"])
def test_texts_that_cannot_be_told_apart(text: str) -> None:
    """As many texts as wanted are chosen, the most uncertain first."""
    candidates = [Unlabelled(text, {}, uncertainty) for uncertainty in np.linspace(1, 0.1, 9).tolist()]
    found = diverse(candidates, 4, seed=0)

    assert len(found) == 4
    assert found[0].uncertainty == 1


def test_translations(command: Command, translator: Path) -> None:
    """The translation of each source comes along, to be corrected."""
    found = suggested(command, translator, ["a red dog", "the cat sees the bird"], "--count", "2")

    assert [set(line) for line in found] == [{"source", "target", "uncertainty"}] * 2
    assert {line["source"] for line in found} == {"a red dog", "the cat sees the bird"}
    assert all(isinstance(line["target"], str) for line in found)
