"""`textrnn evaluate RUN RUN …`: runs that differ in their seed, as one model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from app.config import TaskConfig
from app.evaluate import evaluate
from app.train import train

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]

PLAIN = ("model.layers=0", "model.dropout=0", "model.word_dropout=0")
SPLIT = ("--split", "train")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory, configured: Configured, reviews: Path) -> list[Path]:
    """Return three runs with the seeds 0, 1 and 2."""
    folder = tmp_path_factory.mktemp("seeds")
    for seed in range(3):
        config = configured(*PLAIN, f"seed={seed}")
        assert train("classification", str(reviews), config, run=folder / f"run-{seed}").finished
    return [folder / f"run-{seed}" for seed in range(3)]


@pytest.fixture(scope="module")
def found(command: Command, seeds: list[Path]) -> dict[str, Any]:
    """Return the object of the three runs on their training examples."""
    result = command("evaluate", *seeds, *SPLIT, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    (line,) = result.stdout.splitlines()
    read: dict[str, Any] = json.loads(line)
    return read


def test_each_run_has_its_own_metrics(found: dict[str, Any], seeds: list[Path]) -> None:
    """Each run has the metrics that it has alone, with its seed."""
    assert list(found) == [
        *("task", "dataset", "split", "runs", "examples", "mean", "standard_error", "baseline", "comparison")
    ]
    assert [(own["run"], own["seed"]) for own in found["runs"]] == [(str(s), i) for i, s in enumerate(seeds)]
    alone = evaluate(seeds[1], split="train")
    own = found["runs"][1]
    assert {name: own[name] for name in ("accuracy", "loss", "confusion", "intervals")} == {
        name: alone[name] for name in ("accuracy", "loss", "confusion", "intervals")
    }
    assert found["baseline"] == alone["baseline"]


def test_mean_and_standard_error(found: dict[str, Any]) -> None:
    """The standard error is the sample standard deviation divided by the root of the number of runs."""
    for name in ("accuracy", "macro_f1", "loss"):
        values = np.array([own[name] for own in found["runs"]])
        assert found["mean"][name] == pytest.approx(values.mean())
        expected = np.sqrt(((values - values.mean()) ** 2).sum() / 2 / 3)
        assert found["standard_error"][name] == pytest.approx(expected)
    assert found["standard_error"]["loss"] > 0


def test_the_mean_is_compared(found: dict[str, Any]) -> None:
    """The difference is that of the mean from the baseline, with an interval around it."""
    own = found["comparison"]["accuracy"]

    assert own["difference"] == pytest.approx(found["mean"]["accuracy"] - found["baseline"]["accuracy"])
    low, high = own["interval"]
    assert low < own["difference"] < high
    assert own["different"] == (not low <= 0 <= high)


def test_table(command: Command, found: dict[str, Any], seeds: list[Path]) -> None:
    """The table has a line for each run, the mean, its standard error and the baseline, then a sentence."""
    result = command("evaluate", *seeds, *SPLIT)
    lines = [line.split() for line in result.stdout.splitlines()]

    def shown(values: dict[str, Any]) -> list[str]:
        return [f"{values[name]:.4f}" for name in found["mean"]]

    assert result.exit_code == 0
    for start, values in (
        *(([str(own["run"]), str(own["seed"])], own) for own in found["runs"]),
        (["mean"], found["mean"]),
        (["standard", "error"], found["standard_error"]),
    ):
        assert [*start, *shown(values)] in lines
    mean, other = found["mean"]["accuracy"], found["baseline"]["accuracy"]
    sentence = f"accuracy: {mean:.4f} against {other:.4f} of the linear baseline: "
    assert any(line.startswith(sentence) for line in result.stdout.splitlines())


def test_one_run_is_compared_too(command: Command, seeds: list[Path]) -> None:
    """The sentence about one run has its difference, and says whether there is one."""
    found = evaluate(seeds[0], split="train")
    printed = command("evaluate", seeds[0], *SPLIT).stdout
    own = found["comparison"]["accuracy"]

    verdict = ("better" if own["difference"] > 0 else "worse") if own["different"] else "no difference"
    low, high = own["interval"]
    assert (
        f"linear baseline: {verdict} (95 % interval of the difference {low:+.4f} to {high:+.4f})" in printed
    )
    assert own["difference"] == pytest.approx(found["accuracy"] - found["baseline"]["accuracy"])
    low, high = found["intervals"]["accuracy"]
    assert f"{low:.4f} to {high:.4f}" in printed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("seed=5", "model.embedding_size=5"), "model.embedding_size was 4, is 5"),
        (("seed=5", "training.epochs=2"), "training.epochs was 1, is 2"),
        (("seed=0",), "the same seed, 0"),
    ],
    ids=["configuration", "epochs", "seed"],
)
def test_other_runs_are_refused(
    command: Command,
    configured: Configured,
    seeds: list[Path],
    reviews: Path,
    tmp_path: Path,
    overrides: tuple[str, ...],
    message: str,
) -> None:
    """Runs that differ in more than their seed are refused, and the difference is named."""
    train("classification", str(reviews), configured(*PLAIN, *overrides), run=tmp_path / "other")
    result = command("evaluate", seeds[0], tmp_path / "other", *SPLIT)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {tmp_path / 'other'} cannot be compared with {seeds[0]}: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_other_examples_are_refused(
    command: Command, configured: Configured, seeds: list[Path], tmp_path: Path, reviews: Path
) -> None:
    """Runs on other examples are refused."""
    shutil.copytree(reviews, tmp_path / "data")
    with (tmp_path / "data/test.jsonl").open("a") as file:
        file.write('{"text": "good", "label": "positive"}\n')
    train("classification", str(tmp_path / "data"), configured(*PLAIN, "seed=4"), run=tmp_path / "other")
    result = command("evaluate", seeds[0], tmp_path / "other")

    assert result.exit_code == 1
    assert "it was trained on other examples: dataset_hash is " in result.stderr


def test_exports_are_refused(command: Command, seeds: list[Path], exported: Path) -> None:
    """Several models must be runs: an export does not say how it was trained."""
    result = command("evaluate", seeds[0], exported)

    assert result.exit_code == 1
    assert "is not a run directory" in result.stderr
