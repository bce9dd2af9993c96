"""`textrnn compare`: all combinations of values as a table and a picture, resumed after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from trained import PLAIN, overrides

from app.compare import combinations, compare
from app.training.events import Epoch
from data.errors import UserError

Command = Callable[..., Result]

OWN = (*PLAIN, "model.embedding_size=4", "training.epochs=1", "training.batch_size=8")


def compared(
    reviews: Path, output: Path, *vary: str, overrides: Sequence[str] = OWN, **options: Any
) -> dict[str, Any] | None:
    """Compare tiny networks."""
    return compare("classification", str(reviews), vary, output=output, overrides=overrides, **options)


def test_all_combinations_are_trained(reviews: Path, tmp_path: Path) -> None:
    """Each value of each key is combined with all others, with every seed, and all are measured."""
    table = compared(
        *(reviews, tmp_path, "model.embedding_size=3,5", "model.pooling=mean,max"), seeds=2, split="test"
    )

    assert table is not None
    assert table["keys"] == ["model.embedding_size", "model.pooling"]
    assert [tuple(row["values"].values()) for row in table["rows"]] == [
        *(("3", "mean"), ("3", "max"), ("5", "mean"), ("5", "max"))
    ]
    for row in table["rows"]:
        values = [run["value"] for run in row["runs"]]
        assert [run["seed"] for run in row["runs"]] == [0, 1]
        assert row["mean"] == pytest.approx(sum(values) / 2)
        assert row["standard_error"] == pytest.approx(abs(values[0] - values[1]) / 2)
        assert row["seconds"] > 0
        assert row["milliseconds"] > 0
        assert row["horizon"] == pytest.approx(sum(run["horizon"] for run in row["runs"]) / 2)
        assert row["context"] >= 1
    assert table["rows"][0]["parameters"] < table["rows"][2]["parameters"]
    assert json.loads((tmp_path / "compare.json").read_text()) == table
    assert not list(tmp_path.rglob("report.html"))


def test_tensorboard_compares_the_runs(reviews: Path, tmp_path: Path) -> None:
    """Each run has its values and its seed, once, for the tab HPARAMS of `tensorboard --logdir`."""
    for _ in range(2):
        compared(reviews, tmp_path, "model.embedding_size=3,5")

    for size in (3, 5):
        (logs,) = tmp_path.glob(f"embedding_size-{size}-0/tensorboard/*.hparams")
        data = (
            EventAccumulator(str(logs)).Reload().summary_metadata["_hparams_/session_start_info"].plugin_data
        )
        values = HParamsPluginData.FromString(data.content).session_start_info.hparams
        assert {key: value.number_value for key, value in values.items()} == {
            "model.embedding_size": size,
            "seed": 0,
        }


def test_an_interrupted_comparison_goes_on(reviews: Path, tmp_path: Path) -> None:
    """What is finished is not trained again, and the training that was stopped is resumed."""
    epochs: list[object] = []
    sentences: list[str] = []

    def watch(event: object) -> None:
        if isinstance(event, Epoch):
            epochs.append(event)

    arguments = reviews, tmp_path, "model.pooling=mean,max"
    own = (*OWN, "training.epochs=2")
    stopped = compared(*arguments, overrides=own, watcher=watch, should_stop=lambda: len(epochs) > 2)
    trained = len(epochs)
    table = compared(*arguments, overrides=own, watcher=watch, note=sentences.append)

    assert stopped is None
    assert table is not None
    assert (trained, len(epochs)) == (3, 4)
    assert len(table["rows"]) == 2
    assert sentences == ["1 of 2: model.pooling = mean, seed = 0", "2 of 2: model.pooling = max, seed = 0"]


def test_other_configurations_need_another_folder(reviews: Path, tmp_path: Path) -> None:
    """A folder with runs of another configuration is refused, and nothing in it changes."""
    assert compared(reviews, tmp_path, "model.pooling=mean,max")
    before = (tmp_path / "compare.json").read_text()

    with pytest.raises(UserError, match=r"pooling-mean-0.*model.dropout"):
        compared(reviews, tmp_path, "model.pooling=mean,max", overrides=[*OWN, "model.dropout=0.3"])

    assert (tmp_path / "compare.json").read_text() == before


def test_other_tasks_and_data_need_another_folder(command: Command, reviews: Path, tmp_path: Path) -> None:
    """A folder keeps the table of its task and data, also where no run would have the same name."""
    assert compared(reviews, tmp_path, "model.pooling=mean,max")
    before = (tmp_path / "compare.json").read_text()

    for task, data in (("tagging", str(reviews)), ("classification", "sample:memory")):
        result = command("compare", task, data, "--vary", "model.cell=gru,lstm", "--output", tmp_path)
        assert (result.exit_code, result.stderr) == (
            1,
            f"Error: {tmp_path}: has a comparison of classification on {reviews}, not of {task} on {data}; "
            "give another folder with --output\n",
        )

    assert (tmp_path / "compare.json").read_text() == before
    assert not list(tmp_path.glob("cell-*"))


def test_command(command: Command, reviews: Path, tmp_path: Path) -> None:
    """The command prints a row for each combination, and draws them."""
    words = ("compare", "classification", reviews, "--vary", "model.pooling=mean,max", *overrides(*OWN))
    result = command(*words, "--output", tmp_path / "out")
    again = command(*words, "--output", tmp_path / "out", "--json")

    assert result.exit_code == 0, result.stderr
    assert "model.pooling  seeds  accuracy" in result.stdout
    assert [line.split()[0] for line in result.stdout.splitlines()[3:]] == ["mean", "max"]
    assert (tmp_path / "out/compare.svg").read_text().startswith("<?xml")
    assert json.loads(again.stdout)["metric"] == "accuracy"


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        (["model.cell"], r"--vary 'model.cell': expected KEY=A,B with two values or more"),
        (["model.cell=gru"], r"--vary 'model.cell=gru': expected KEY=A,B with two values or more"),
        (["model.cell=gru,gru"], r"expected KEY=A,B with two values or more"),
        (["model.cel=gru,lstm"], r"model.cel.*model.cell"),
        (["model.cell=gru,lsmt"], r"model.cell.*lsmt"),
        (["model.units=8,x"], r"model.units.*x"),
        (["seed=1,2"], r"--vary seed: give --seeds N"),
        (["model.units=8,9", "model.units=10,11"], r"model.units varies already"),
    ],
    ids=["no values", "one value", "equal values", "key", "choice", "number", "seed", "twice"],
)
def test_what_cannot_vary(vary: list[str], message: str) -> None:
    """All mistakes are found before the first training."""
    with pytest.raises(UserError, match=message):
        combinations("classification", vary)


def test_names_of_runs() -> None:
    """A name has the last part of each key and its value, without what file names may not have."""
    found = combinations("classification", ["model.cell=gru,lstm", "training.learning_rate=1e-3, 0.01"])

    assert [own.name for own in found] == [
        *("cell-gru_learning_rate-1e-3", "cell-gru_learning_rate-0.01"),
        *("cell-lstm_learning_rate-1e-3", "cell-lstm_learning_rate-0.01"),
    ]
    assert found[-1].config.training.learning_rate == 0.01
