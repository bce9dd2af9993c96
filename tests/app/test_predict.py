"""`textrnn predict`: a prediction for each line of the input, from a run or an export."""

from __future__ import annotations

import functools
import gzip
import json
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from trained import export_quickly

import app.predict
import app.prediction.loading
from app.config import TaskConfig
from app.prediction.loading import load_predictor
from app.prediction.predictor import Predictor
from app.train import train

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Snapshot = Callable[..., dict[str, str]]

GOOD = '{"text": "The plot is charming."}'


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Load each model once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.prediction.loading, "load_predictor", functools.cache(load_predictor))
        yield


def predictions_of(result: Result) -> list[dict[str, Any]]:
    """Return the predictions that a command printed."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def mixed_texts(reviews: Path, count: int) -> list[str]:
    """Return texts of zero to a few hundred words, in random order."""
    words = [
        w
        for line in (reviews / "test.jsonl").read_text().splitlines()
        for w in json.loads(line)["text"].split()
    ]
    chance = random.Random(0)
    lengths = [chance.choice((0, 1, 3, 10, 40, 300)) for _ in range(count)]
    return [" ".join(chance.choices(words, k=length)) for length in lengths]


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    """Return the predictor of the run."""
    return load_predictor(run)


def predicted(predictor: Predictor, texts: list[str]) -> dict[str, np.ndarray]:
    """Return the outputs of the main signature."""
    return predictor.run_texts("serving_default", [text.encode() for text in texts])


@pytest.fixture(scope="module")
def texts(reviews: Path) -> list[str]:
    """Return 70 texts of all lengths: more than one batch."""
    return mixed_texts(reviews, 70)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three lines be read, predicted and written at once."""
    monkeypatch.setattr(app.predict, "CHUNK", 3)


def test_predictions(command: Command, run: Path) -> None:
    """A prediction has the label, its probability, and the probabilities of all labels."""
    (prediction,) = predictions_of(command("predict", run, stdin="The plot is charming.\n"))

    assert list(prediction) == ["label", "score", "probabilities"]
    assert list(prediction["probabilities"]) == ["negative", "positive"]
    assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=2e-6)
    assert prediction["score"] == max(prediction["probabilities"].values())
    assert prediction["probabilities"][prediction["label"]] == prediction["score"]


def test_run_and_export_predict_alike(
    command: Command, run: Path, exported: Path, texts: list[str], tmp_path: Path
) -> None:
    """A run, its export, and the parent directory of the export print the same predictions."""
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in texts))

    results = [command("predict", model, tmp_path / "in.txt") for model in (run, exported, exported.parent)]

    assert [result.exit_code for result in results] == [0, 0, 0]
    assert len({result.stdout for result in results}) == 1
    assert len({prediction["score"] for prediction in predictions_of(results[0])}) > 30


def test_order_and_length_change_nothing(
    command: Command, run: Path, predictor: Predictor, texts: list[str], small_chunks: None
) -> None:
    """Each text has the prediction that it has alone: neither order nor padding matter."""
    result = command("predict", run, stdin="".join(f"{text}\n" for text in texts))

    found = [list(prediction["probabilities"].values()) for prediction in predictions_of(result)]
    alone = [predicted(predictor, [text])["probabilities"][0] for text in texts]
    assert np.ptp(alone, axis=0).max() > 0.02
    np.testing.assert_allclose(found, alone, atol=2e-6)


def test_batch_size_changes_nothing(predictor: Predictor, texts: list[str]) -> None:
    """The batch size changes no prediction."""
    one, many = (predicted(replace(predictor, batch_size=size), texts) for size in (7, 1000))

    assert one.keys() == many.keys() == {"label", "score", "probabilities", "classes"}
    np.testing.assert_allclose(one["probabilities"], many["probabilities"], atol=1e-6)
    assert one["label"].tolist() == many["label"].tolist()


@pytest.mark.parametrize("content", ["\n", "\n\n\n", "good\n\n", "\ngood", " \n\t\n", "good\r\n\r\n"])
def test_empty_lines_are_texts(command: Command, run: Path, content: str) -> None:
    """An empty line has a prediction too: there are as many output lines as input lines."""
    result = command("predict", run, stdin=content)

    assert result.exit_code == 0
    assert len(predictions_of(result)) == len(content.splitlines())
    assert all("label" in prediction for prediction in predictions_of(result))


def test_no_lines(command: Command, run: Path) -> None:
    """An empty input has an empty output."""
    result = command("predict", run, stdin="")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_broken_lines_have_an_error_in_place(
    command: Command, run: Path, tmp_path: Path, small_chunks: None
) -> None:
    """A row that cannot be read gives an error with its line number; the exit status is 1."""
    lines: list[bytes] = [
        GOOD.encode(),
        b'{"text": "cut off',
        b'{"txt": "other name"}',
        b'{"text": null}',
        b"",
        b'{"text": "caf\xe9"}',
        b'["text"]',
        '{"text": "café crème"}'.encode(),
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines) + b"\n")

    result = command("predict", run, tmp_path / "in.jsonl")

    found = predictions_of(result)
    assert result.exit_code == 1
    assert result.stderr == "5 of the examples could not be parsed; their output is an 'error'\n"
    assert [prediction.get("line") for prediction in found] == [None, 2, 3, 4, 6, 7, None]
    assert all(prediction.keys() == {"error", "line"} for prediction in found[1:-1])
    assert found[0] == predictions_of(command("predict", run, stdin=GOOD[10:-2]))[0]
    assert "label" in found[-1]
    for prediction, reason in zip(
        found[1:-1],
        ["not JSON", "no column 'text'", "'text' is null", "not UTF-8: byte 0xe9", "a list"],
        strict=True,
    ):
        assert reason in prediction["error"]


def test_broken_lines_of_text(command: Command, run: Path) -> None:
    """A line of a plain text that is not UTF-8 gives an error with its line number."""
    result = command("predict", run, stdin="Un très bon café\n".encode() + b"caf\xe9\nbad\n")

    first, second, third = predictions_of(result)
    assert result.exit_code == 1
    assert second["line"] == 2
    assert "0xe9" in second["error"]
    assert {"label"} <= first.keys() & third.keys()


def test_broken_lines_of_a_table(command: Command, run: Path, tmp_path: Path) -> None:
    """A row of a table with a missing cell gives an error; the header is line 1."""
    (tmp_path / "in.csv").write_text('id,text\n1,good\n2\n3,"two\nlines"\n4\n')

    result = command("predict", run, tmp_path / "in.csv")

    found = predictions_of(result)
    assert result.exit_code == 1
    assert [prediction.get("line") for prediction in found] == [None, 3, None, 6]


@pytest.mark.parametrize("model", ["run", "exported"])
@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("in.txt", "The plot is charming.\n", []),
        ("in.log", "The plot is charming.\n", ["--format", "txt"]),
        ("in.jsonl", f"{GOOD}\n", []),
        ("in.csv", 'id,text\n1,"The plot is charming."\n', []),
        ("in.tsv", "id\ttext\n1\tThe plot is charming.\n", []),
        ("in.csv", 'review,text\n"The plot is charming.",3\n', ["--text-column", "review"]),
        ("in.tsv", "text\treview\n3\tThe plot is charming.\n", ["--text-column", "review"]),
        ("in.jsonl", '{"review": "The plot is charming."}\n', ["--text-column", "review"]),
        ("in.txt", f"{GOOD}\n", ["--format", "jsonl"]),
        ("in.jsonl", "text\nThe plot is charming.\n", ["--format", "tsv"]),
        ("in.txt", "\ufeffThe plot is charming.\r\n", []),
    ],
)
def test_formats(
    command: Command,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    model: str,
    name: str,
    content: str,
    options: list[str],
) -> None:
    """A text has the same prediction in every input format, from a file and from stdin."""
    path = request.getfixturevalue(model)
    expected = command("predict", path, stdin="The plot is charming.").stdout
    (tmp_path / name).write_text(content)
    formatted = options if "--format" in options else [*options, "--format", name.removeprefix("in.")]

    from_file = command("predict", path, tmp_path / name, *options)
    from_stdin = command("predict", path, "-", *formatted, stdin=content)

    assert from_file.stdout == from_stdin.stdout == expected
    assert from_file.exit_code == from_stdin.exit_code == 0


def test_zipped_input(command: Command, run: Path, tmp_path: Path) -> None:
    """A `.gz` file is read as the file that it holds."""
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(f"{GOOD}\n{GOOD}\n".encode()))

    result = command("predict", run, tmp_path / "in.jsonl.gz")

    assert [prediction["label"] for prediction in predictions_of(result)] == [
        predictions_of(result)[0]["label"]
    ] * 2


@pytest.fixture(scope="module")
def other_column(
    tmp_path_factory: pytest.TempPathFactory, configured: Configured, reviews: Path
) -> tuple[Path, Path]:
    """Return a run on data whose text is in `review`, and its export."""
    folder = tmp_path_factory.mktemp("column")
    (folder / "data").mkdir()
    for path in reviews.iterdir():
        (folder / "data" / path.name).write_text(path.read_text().replace('"text": ', '"review": '))
    config = configured("model.layers=0", "data.text_column=review")
    train("classification", str(folder / "data"), config, run=folder / "run")
    return folder / "run", export_quickly(folder / "run", output=folder / "export")


@pytest.mark.parametrize("which", [0, 1], ids=["run", "export"])
def test_the_column_of_training(
    command: Command, other_column: tuple[Path, Path], tmp_path: Path, which: int
) -> None:
    """Without `--text-column` the text is read from the column that training read."""
    (tmp_path / "in.csv").write_text('review\n"good"\n')

    result = command("predict", other_column[which], tmp_path / "in.csv")

    assert result.exit_code == 0
    assert "label" in predictions_of(result)[0]


def test_output(command: Command, run: Path, texts: list[str], tmp_path: Path) -> None:
    """`--output` writes what would be printed, and replaces an older file."""
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in texts))
    (tmp_path / "predictions.jsonl").write_text("older\n")

    printed = command("predict", run, tmp_path / "in.txt")
    written = command("predict", run, tmp_path / "in.txt", "--output", tmp_path / "predictions.jsonl")

    assert (written.exit_code, written.stdout, written.stderr) == (0, "", "")
    assert (tmp_path / "predictions.jsonl").read_text() == printed.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "predictions.jsonl"]


def test_output_with_broken_lines(command: Command, run: Path, tmp_path: Path) -> None:
    """The output is written even if some rows cannot be read."""
    result = command(
        "predict", run, "--output", tmp_path / "out.jsonl", stdin="Un très bon café\n".encode() + b"\xff\n"
    )

    assert result.exit_code == 1
    assert [*json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1])] == ["error", "line"]


@pytest.mark.parametrize("older", [None, "older\n"])
def test_output_is_whole_or_absent(
    command: Command, run: Path, tmp_path: Path, snapshot: Snapshot, small_chunks: None, older: str | None
) -> None:
    """If the input ends in an error, no output is written, and an older one is kept."""
    whole = gzip.compress(
        "".join(f"text number {i} {random.Random(i).random()}\n" for i in range(2000)).encode()
    )
    (tmp_path / "in.txt.gz").write_bytes(whole[: len(whole) // 2])
    if older:
        (tmp_path / "out.jsonl").write_text(older)
    before = snapshot(tmp_path)

    result = command("predict", run, tmp_path / "in.txt.gz", "--output", tmp_path / "out.jsonl")

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path / 'in.txt.gz'}: cannot be read: ")
    assert result.stderr.count("\n") == 1
    assert snapshot(tmp_path) == before


def test_the_highest_version_is_loaded(command: Command, exported: Path, tmp_path: Path) -> None:
    """Of a directory of exports the highest version is loaded, not the last name."""
    for version in ("2", "10", "not_a_version"):
        shutil.copytree(exported, tmp_path / version)
    for version in ("2", "not_a_version"):
        (tmp_path / version / "saved_model.pb").write_bytes(b"broken")

    assert command("predict", tmp_path, stdin="good").exit_code == 0
    assert "saved_model.pb was changed" in command("predict", tmp_path / "2", stdin="good").stderr


def test_a_savedmodel_of_others(command: Command, exported: Path, tmp_path: Path) -> None:
    """A SavedModel without a manifest of this program is refused by its path."""
    shutil.copytree(exported, tmp_path / "model")
    (tmp_path / "model/assets.extra/manifest.json").unlink()

    result = command("predict", tmp_path / "model", stdin="good")

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path / 'model'} is not an export: ")
    assert result.stderr.count("\n") == 1


def test_output_is_a_link(command: Command, run: Path, tmp_path: Path) -> None:
    """`--output` follows a symbolic link and keeps the mode of its target."""
    (tmp_path / "in.txt").write_text("good\n")
    target, link = tmp_path / "target.jsonl", tmp_path / "link.jsonl"
    target.touch(mode=0o600)
    link.symlink_to(target.name)

    result = command("predict", run, tmp_path / "in.txt", "--output", link)

    assert result.exit_code == 0
    assert link.is_symlink()
    assert json.loads(target.read_text())["label"] in ("negative", "positive")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
