"""Exports of all tasks, and the command, shared by the tests of `app.beam`."""

from __future__ import annotations

import functools
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.runners.portability.prism_runner import PrismRunner
from beam_jobs import Done, Job
from click.testing import CliRunner

import app.prediction.loading
from app.beam.command import main
from app.prediction.loading import load_predictor

STORED = Path(__file__).parents[1] / "artifacts" / "stored"
TASKS = ("classification", "tagging", "translation", "generation")


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    """Let DirectRunner do without Prism, which it would download."""

    def refuse(*_: object) -> None:
        raise OSError("no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PrismRunner, "run_pipeline", refuse)
        yield


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Load each model once in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.prediction.loading, "load_predictor", functools.cache(load_predictor))
        yield


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return an export of each task."""
    folder = tmp_path_factory.mktemp("exports")
    for task in TASKS:
        with tarfile.open(STORED / f"{task}-1.tar.xz") as archive:
            archive.extractall(folder / task, filter="data")
    return {task: folder / task / "export" / "1" for task in TASKS}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Return a function that runs `python -m app.beam` in this process, with --output OUT."""

    def run(model: Path | str, pattern: Path | str, *options: object) -> Done:
        arguments = ["--model", model, "--input", pattern, "--output", tmp_path / "out" / "p", *options]
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        files = sorted((tmp_path / "out").glob("p-*.jsonl"))
        failed = sorted((tmp_path / "out").glob("*errors-*.jsonl"))
        return Done(
            result.exit_code,
            json.loads(result.stdout) if result.stdout else {},
            [line for file in files for line in file.read_text().splitlines()],
            [json.loads(line) for file in failed for line in file.read_text().splitlines()],
            result.stderr,
            [path.name for path in sorted((tmp_path / "out").iterdir())] if files or failed else [],
        )

    return run
