"""What training says about the files: layout, splits and warnings; and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.artifacts.run import read_run_manifest
from app.config import TaskConfig
from app.evaluate import evaluate
from app.train import train
from app.training.events import Message
from data.errors import UserError

Configured = Callable[..., TaskConfig]


def rows(number: int, first: int = 0) -> str:
    """Return rows of a table, of two labels."""
    return "".join(f"some words {i},{'ab'[i % 2]}\n" for i in range(first, first + number))


@pytest.fixture
def trained(configured: Configured, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that trains on a folder or file and returns the messages."""

    def messages(data: Path, run: Path, *options: str) -> list[str]:
        found: list[str] = []
        config = configured(f"data.directory={tmp_path / 'cache'}", *options)
        train(
            "classification",
            str(data),
            config,
            run=run,
            watcher=lambda event: found.append(event.text) if isinstance(event, Message) else None,
        )
        return found

    return messages


def test_what_was_decided_is_said_and_kept(trained: Callable[..., list[str]], tmp_path: Path) -> None:
    """The layout is printed before the training, also of a prepared dataset, and is in the manifest."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.csv").write_text("text,label\n" + rows(40))
    (data / "test.csv").write_text("text,label\nsome words,new\n")
    (data / "eval.csv").write_text("text,label\n" + rows(4))
    layout = [
        f"{data}: train.csv = train, test.csv = test; CSV",
        "splits: 10% of train is validation, by the hash of each text",
        f"{data / 'eval.csv'} is not read: rename it to validation.csv to use it as the validation split",
    ]

    for name in ("first", "second"):
        messages = trained(data, tmp_path / name)
        assert messages[:3] == layout
        assert messages[3].startswith("1 test example has a label that does not occur in train: 'new'")
        assert read_run_manifest(tmp_path / name).layout == layout

    (data / "eval.csv").rename(data / "validation.csv")
    assert trained(data, tmp_path / "third")[0] == (
        f"{data}: train.csv = train, validation.csv = validation, test.csv = test; CSV"
    )


def test_held_out_examples_can_be_evaluated(trained: Callable[..., list[str]], tmp_path: Path) -> None:
    """`validation` is a split also if the data has none; one that is left out is refused with the reason."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.csv").write_text("text,label\n" + rows(60))
    (data / "test.csv").write_text("text\nsome words\n")
    trained(data, tmp_path / "run")

    found = evaluate(tmp_path / "run", split="validation", with_baseline=False)

    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert found["examples"] == read_run_manifest(tmp_path / "run").examples["validation"] > 0
    best = next(line for line in reversed(lines) if line.get("best"))
    assert found["accuracy"] == pytest.approx(best["validation_accuracy"], abs=1e-6)
    assert found["macro_f1"] == pytest.approx(best["validation_macro_f1"], abs=1e-6)
    with pytest.raises(
        UserError, match=r"no split 'test' \(.*test\.csv: no example has a label; the test split"
    ):
        evaluate(tmp_path / "run", split="test")


@pytest.mark.parametrize("single", [True, False])
def test_the_advice_for_data_without_validation_examples(
    trained: Callable[..., list[str]], tmp_path: Path, single: bool
) -> None:
    """Nothing is written; with more examples, another fraction or a validation file the training runs."""
    data = tmp_path / "data"
    data.mkdir()
    file = data / "train.csv"
    file.write_text("text,label\n" + rows(4))
    given = file if single else data
    with pytest.raises(UserError) as caught:
        trained(given, tmp_path / "run", "data.validation_fraction=0.001")
    assert str(caught.value) == (
        "no example is left for validation; add examples or a validation split, or increase "
        "data.validation_fraction"
    )
    assert not (tmp_path / "run").exists()

    (data / "validation.csv").write_text("text,label\n" + rows(4))
    trained(data, tmp_path / "split", "data.validation_fraction=0.001")
    (data / "validation.csv").unlink()
    trained(given, tmp_path / "fraction", "data.validation_fraction=0.7")
    file.write_text("text,label\n" + rows(80))
    trained(given, tmp_path / "more")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (
            30,
            "labels look like identifiers: 30 different ones in 30 examples, such as 'label 0', 'label 1', "
            "'label 2'; nothing can be learned about a class from one example; name the column of the "
            "classes with --set data.label_column=NAME",
        ),
        (
            7,
            "7 classes have fewer than 5 training examples ('label 0': 1, 'label 1': 1, 'label 2': 1, and 4 "
            "more); little can be learned about them; add examples, or merge them with other classes",
        ),
    ],
)
def test_rare_labels_leave_no_validation_example(
    trained: Callable[..., list[str]], tmp_path: Path, number: int, advice: str
) -> None:
    """The message says why, and what is odd about the labels; with more examples the training runs."""
    file = tmp_path / "data.csv"
    file.write_text("text,label\n" + "".join(f"words {i},label {i}\n" for i in range(number)))

    with pytest.raises(UserError) as caught:
        trained(file, tmp_path / "run", "data.validation_fraction=0.5")
    message = str(caught.value)
    assert message.startswith("no example is left for validation: ")
    assert message.endswith(f" are in train because it would have no other example of their label; {advice}")

    file.write_text(file.read_text() + "".join(f"more words {i},label {i % number}\n" for i in range(120)))
    assert any("validation" in text for text in trained(file, tmp_path / "run"))


def test_one_test_row_of_another_class_does_not_forbid_training(
    trained: Callable[..., list[str]], tmp_path: Path
) -> None:
    """It counts as wrong in the evaluation."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.csv").write_text("text,label\n" + rows(60))
    (data / "test.csv").write_text("text,label\n" + rows(3) + "some words,other\n")

    trained(data, tmp_path / "run")

    assert (tmp_path / "run" / "model.keras").exists()
