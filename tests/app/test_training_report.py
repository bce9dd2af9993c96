"""`train` writes a report when it is finished; what goes wrong with it does not concern the training."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from trained import PLAIN, overrides

import app.report
import textrnn
from app.artifacts.run import open_run

Command = Callable[..., Result]
Write = Callable[[Path, list[dict[str, object]]], None]

SMALL = (*PLAIN, "training.epochs=1", "training.batch_size=8")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, jsonl: Write) -> Path:
    """Return a folder of a few rows whose validation split is sorted by label."""
    folder = tmp_path_factory.mktemp("data")
    rows: list[dict[str, object]] = [
        {"text": f"a {word} text {i}", "label": word} for word in ("good", "bad") for i in range(20)
    ]
    jsonl(folder / "train.jsonl", rows)
    jsonl(folder / "validation.jsonl", rows)
    return folder


def test_training_writes_a_report(command: Command, data: Path, tmp_path: Path) -> None:
    """The page is there, the command says so, and the run is as without it; `--no-report` leaves it out."""
    words = ("train", "classification", data, *overrides(*SMALL))
    run, without = tmp_path / "run", tmp_path / "without"
    result = command(*words, "--run", run, "--report")
    other = command(*words, "--run", without)
    page = (run / "report.html").read_text()

    assert (result.exit_code, result.stdout) == (0, f"{run}\n"), result.stderr
    assert f"{run / 'report.html'}: learning curves" in result.stderr
    assert "all 40 examples of the validation split" in page
    assert "linear baseline" not in page
    assert other.exit_code == 0
    assert not (without / "report.html").exists()
    assert open_run(run).manifest.parameters == open_run(without).manifest.parameters


def test_a_report_of_few_examples(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large split only some examples are predicted, of both labels, and the page says so."""
    predictions = type(app.report.get_task("classification").predictions)
    monkeypatch.setattr(predictions, "most_reported", 10)
    run = tmp_path / "run"
    messages: list[str] = []
    textrnn.train(
        "classification",
        data,
        run=run,
        overrides=SMALL,
        watcher=lambda event: messages.append(getattr(event, "text", "")),
    )
    page = (run / "report.html").read_text()

    assert messages[-1] == f"{run / 'report.html'}: learning curves, mistakes and more"
    assert "10 of the 40 examples of the validation split" in page
    assert page.count("50.0 %") == 2  # the share of each label


def test_a_report_is_not_written_twice(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished training that is resumed keeps its page, and a missing or older one is written."""
    run = tmp_path / "run"
    textrnn.train("classification", data, run=run, overrides=SMALL, report=False)
    written: list[Path] = []
    monkeypatch.setattr(app.report, "report", lambda path, **_: written.append(path))

    def resumed() -> list[type]:
        steps = textrnn.training_steps("classification", data, run=run, overrides=SMALL, resume=True)
        return [type(event) for event in steps]

    assert (resumed(), written) == ([textrnn.Message], [run])
    (run / "report.html").touch()
    assert (resumed(), written) == ([], [run])
    os.utime(run / "report.html", ns=(0, 0))
    assert (resumed(), written) == ([textrnn.Message], [run, run])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (textrnn.UserError("the report needs matplotlib"), "the report needs matplotlib"),
        (ValueError("first line\nsecond line"), "ValueError: first line"),
    ],
    ids=["of the user", "other"],
)
def test_a_report_that_fails(
    command: Command,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
) -> None:
    """The training is finished all the same, and one line says why there is no page."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(app.report, "report", fail)
    run = tmp_path / "run"
    result = command("train", "classification", data, "--run", run, *overrides(*SMALL), "--report")

    assert (result.exit_code, result.stdout) == (0, f"{run}\n")
    assert f"{run / 'report.html'} is not written: {reason}\n" in result.stderr
    assert "second line" not in result.stderr
    assert open_run(run).manifest.complete


def test_a_training_that_was_stopped(data: Path, tmp_path: Path) -> None:
    """It has no report yet."""
    run = tmp_path / "run"
    trained = textrnn.train(
        "classification", data, run=run, overrides=(*SMALL, "training.epochs=2"), should_stop=lambda: True
    )

    assert not trained.finished
    assert not (run / "report.html").exists()
