from __future__ import annotations

import hashlib
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import Result
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorflow.python.framework.config import disable_op_determinism

from app.artifacts.run import open_run
from app.config import TaskConfig, TrainingConfig
from app.prediction.loading import load_keras_model
from app.tasks import get_task
from app.terminal.progress import TrainingDisplay
from app.train import FEWEST_EPOCHS, MOST_EPOCHS, default_run, resolve_epochs, train
from app.training.fit import clip
from data.encoding import Encoded, EncodedSplit, Sequences
from data.errors import UserError
from models.text import Preprocessor

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Process = Callable[..., subprocess.CompletedProcess[str]]
Snapshot = Callable[..., dict[str, str]]
Weights = list[np.ndarray]

# A network without recurrence is traced in a tenth of the time: enough where the loop is looked at.
PLAIN = (
    "model.layers=0",
    "model.dropout=0",
    "model.word_dropout=0",
    "model.rare_word_dropout=0",
    "model.pooling=mean",
)
EXACT = (
    "training.deterministic=true",
    "training.epochs=3",
    "training.batch_size=2",
    "model.cell=gru",
    "model.bidirectional=false",
    "model.recurrent_dropout=0.2",
    "training.learning_rate=0.02",
    "training.early_stopping_patience=0",
)
TIMES = ("examples_per_second", "tokens_per_second")


@pytest.fixture(autouse=True, scope="module")
def no_lasting_determinism() -> Iterator[None]:
    """Let the tests of other files run as they would alone."""
    yield
    disable_op_determinism()


def weights(run: Path) -> Weights:
    """Return the weights that a run keeps."""
    values: Weights = load_keras_model(open_run(run)).get_weights()
    return values


def same(first: Weights, second: Weights) -> bool:
    """Return whether two models have the same weights, bit for bit."""
    return len(first) == len(second) and all(map(np.array_equal, first, second))


def metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def epoch_lines(run: Path) -> list[dict[str, Any]]:
    """Return those lines that end an epoch, without the times, which are never the same."""
    return [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in metrics(run)
        if "best" in line
    ]


def overrides(*assignments: str) -> list[str]:
    """Return them as they are typed."""
    return [word for assignment in assignments for word in ("--set", assignment)]


def interrupt_at(monkeypatch: pytest.MonkeyPatch, epoch: int, step: int) -> None:
    """Let the process ask itself to stop, as Ctrl-C does, after a step; both count from 1."""

    def watch(self: TrainingDisplay, progress: Any, steps: int, figures: dict[str, float]) -> None:
        if (progress.epoch + 1, progress.step) == (epoch, step):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingDisplay, "step", watch)


# What a run leaves behind


def test_files_of_a_run(run: Path) -> None:
    """A run directory holds the files of the contract and no others."""
    files = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())

    assert [name for name in files if not name.startswith("tensorboard/events.out.tfevents.")] == [
        "checkpoints/state.npz",
        "config.toml",
        "labels.txt",
        "longest_text",
        "manifest.json",
        "metrics.jsonl",
        "model.keras",
        "vocabulary.txt",
    ]


def test_manifest(run: Path, reviews: Path) -> None:
    """The manifest says what was trained on what, with what, and holds the sha256 of every file."""
    manifest = json.loads((run / "manifest.json").read_text())
    vocabulary = (run / "vocabulary.txt").read_bytes().count(b"\n")
    cell = 4 * ((4 + 4) * 4 + 4)  # four gates over 4 features and 4 units

    assert manifest["task"] == "classification"
    assert manifest["dataset"] == "reviews"
    assert manifest["data"] == str(reviews)
    assert len(bytes.fromhex(manifest["dataset_hash"])) == 32
    assert manifest["seed"] == 0
    assert manifest["complete"] is True
    assert manifest["rows"] == {"train": 40, "validation": 12}
    assert manifest["parameters"] == vocabulary * 4 + 2 * cell + (2 * 2 * 4 + 1) * 2
    assert manifest["versions"]["tensorflow"] == tf.__version__
    assert manifest["versions"].keys() >= {"python", "textrnn", "keras", "tensorflow-datasets", "numpy"}
    assert manifest["files"] == {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def test_vocabulary_and_labels(run: Path, reviews: Path) -> None:
    """The vocabulary is that of the training rows, the most frequent words first; the labels are sorted."""
    rows = [json.loads(line) for line in (reviews / "train.jsonl").read_text().splitlines()]
    lines = (run / "vocabulary.txt").read_text().splitlines()
    pieces = Preprocessor(open_run(run).vocabularies()["vocabulary"])(
        tf.constant([row["text"] for row in rows])
    )[0].numpy()
    counts = Counter(pieces[pieces > 1].tolist())

    assert lines[:2] == ["", "[UNK]"]
    assert not (pieces == 1).any()
    assert sorted(counts) == list(range(2, len(lines)))
    assert [counts[i] for i in range(2, len(lines))] == sorted(counts.values(), reverse=True)
    assert (run / "labels.txt").read_text() == "negative\npositive\n"


def test_metrics(run: Path) -> None:
    """There is a line every `steps_per_checkpoint` steps and one an epoch, which has the validation."""
    lines = metrics(run)
    figures = {"loss", "accuracy", "gradient_norm", "gradient_norm_max", "clipped_share", "learning_rate"}

    assert [(line["epoch"], line["step"]) for line in lines] == [
        (1, 2),
        (1, 4),
        (1, 5),
        (2, 7),
        (2, 9),
        (2, 10),
    ]
    for line in lines:
        assert line.keys() >= {*figures, *TIMES}
        assert all(math.isfinite(value) for value in line.values())
        assert line["gradient_norm_max"] >= line["gradient_norm"] > 0
        assert line["tokens_per_second"] > line["examples_per_second"] > 0
        ends = line["step"] % 5 == 0
        assert ends == (
            {"validation_loss", "validation_accuracy", "validation_macro_f1", "best"} <= line.keys()
        )


def test_tensorboard(run: Path) -> None:
    """TensorBoard reads the figures of each epoch from the run's event file."""
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    epochs = [line for line in metrics(run) if "best" in line]

    for name in ("loss", "validation_loss", "validation_accuracy", "gradient_norm", "learning_rate"):
        found = [(e.step, tf.make_ndarray(e.tensor_proto).item()) for e in events.Tensors(name)]
        assert found == [(line["step"], pytest.approx(line[name])) for line in epochs]


def test_output(command: Command, reviews: Path, tmp_path: Path) -> None:
    """The run's path goes to stdout, for scripts; the course of the training to stderr."""
    tiny = overrides(*PLAIN, "training.epochs=2", "model.embedding_size=4")

    result = command("train", "classification", reviews, "--run", tmp_path / "run", *tiny)

    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'run'}\n"
    assert "epoch 1/2  loss 0." in result.stderr
    assert "epoch 2/2  loss 0." in result.stderr
    assert "done; best on the validation rows: epoch " in result.stderr


def test_name_of_a_run(
    command: Command, configured: Configured, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--run` a run is named for task, dataset and time, below `runs`."""
    monkeypatch.chdir(tmp_path)
    now = datetime(2024, 2, 3, 4, 5, 6)

    trained = train("classification", str(reviews), configured(*PLAIN), now=now)

    assert trained.run == default_run("classification", "reviews", now)
    assert trained.run == Path("runs/classification-reviews-20240203-040506")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [trained.run.name]


def test_two_runs_in_a_second(
    configured: Configured, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trainings that begin in the same second never share a run."""
    monkeypatch.chdir(tmp_path)
    now = datetime(2024, 2, 3, 4, 5, 6)
    first = train("classification", str(reviews), configured(*PLAIN), now=now)
    before = first.run.stat().st_mtime_ns, (first.run / "manifest.json").stat().st_mtime_ns

    with pytest.raises(UserError, match="exists"):
        train("classification", str(reviews), configured(*PLAIN), now=now)

    assert before == (first.run.stat().st_mtime_ns, (first.run / "manifest.json").stat().st_mtime_ns)


def test_epochs_fit_the_text(configured: Configured) -> None:
    """Where no number of epochs is given, a short text is read more often than a long one."""
    lengths = [0, 1_000, 10**6, 2 * 10**6, 4 * 10**6, 10**7, 10**9]

    config = configured("training.epochs=0", "seed=5")
    resolved = [resolve_epochs(config, tokens, to_learn_from=15 * 10**6) for tokens in lengths]

    epochs = [config.training.epochs for config in resolved]
    assert epochs == sorted(epochs, reverse=True)
    assert len(set(epochs)) >= 4
    assert (epochs[0], epochs[-1]) == (MOST_EPOCHS, FEWEST_EPOCHS)
    assert resolved[0] == configured(f"training.epochs={MOST_EPOCHS}", "seed=5")
    assert resolve_epochs(config, 4 * 10**6, to_learn_from=32 * 10**6).training.epochs == 8


def test_given_epochs_stay(configured: Configured) -> None:
    """A number of epochs that is given is kept, whatever the text."""
    config = configured("training.epochs=7")

    for tokens in (10, 10**9):
        assert resolve_epochs(config, tokens, to_learn_from=10**7) == config


def test_validation_rows_are_held_out(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """Without a validation file a share of the training rows is held out, equal texts on one side."""
    (tmp_path / "data").mkdir()
    lines = (reviews / "train.jsonl").read_text()
    (tmp_path / "data/train.jsonl").write_text(lines * 3)

    counts = {}
    for share in (0.1, 0.4):
        config = configured(*PLAIN, f"data.validation_fraction={share}")
        trained = train("classification", str(tmp_path / "data"), config, run=tmp_path / f"run{share}")
        counts[share] = json.loads((trained.run / "manifest.json").read_text())["rows"]

    for rows in counts.values():
        assert rows["train"] + rows["validation"] == 120
        assert rows["train"] % 3 == 0
    assert 0 < counts[0.1]["validation"] < counts[0.4]["validation"] < 80


# The same weights again


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory, configured: Configured, reviews: Path) -> Path:
    """Return a run with every kind of dropout, trained without a break."""
    path = tmp_path_factory.mktemp("exact") / "run"
    assert train("classification", str(reviews), configured(*EXACT), run=path).finished
    return path


def test_a_configuration_repeats_its_run(
    command: Command, exact: Path, reviews: Path, tmp_path: Path
) -> None:
    """`train --config RUN/config.toml` gives the same weights, bit for bit, and the same figures."""
    result = command(
        "train", "classification", reviews, "--config", exact / "config.toml", "--run", tmp_path / "run"
    )

    assert result.exit_code == 0
    assert (tmp_path / "run/config.toml").read_bytes() == (exact / "config.toml").read_bytes()
    assert same(weights(tmp_path / "run"), weights(exact))
    assert epoch_lines(tmp_path / "run") == epoch_lines(exact)


def test_the_seed_decides(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """Another seed gives other weights, in every layer."""
    found = {}
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        config = configured(*PLAIN, "training.deterministic=true", "model.dropout=0.2", f"seed={seed}")
        found[name] = weights(train("classification", str(reviews), config, run=tmp_path / name).run)

    assert same(found["first"], found["again"])
    assert not any(map(np.array_equal, found["first"], found["other"]))


def start_training(folder: Path, reviews: Path, *more: str) -> subprocess.Popen[str]:
    """Start `textrnn train` in a process of its own, writing its state after each step."""
    tiny = ("model.units=4", "model.embedding_size=4")
    words = ["train", "classification", str(reviews), "--run", "run"]
    words += overrides(*tiny, *EXACT, "training.steps_per_checkpoint=1")
    return subprocess.Popen(
        [sys.executable, "-m", "app", *words, *more],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> Path:
    """Return a run whose process was killed in the middle of its second epoch."""
    folder = tmp_path_factory.mktemp("killed")
    process = start_training(folder, reviews)
    deadline = time.monotonic() + 240
    try:
        while time.monotonic() < deadline and process.poll() is None:
            written = folder / "run/metrics.jsonl"
            if written.exists() and written.read_text().count("\n") >= 27:
                break
            time.sleep(0.005)
    finally:
        process.kill()
    _, messages = process.communicate()
    assert process.returncode == -signal.SIGKILL, messages
    return folder / "run"


@pytest.fixture(scope="module")
def resumed(killed: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Return the killed run after the same command with `--resume`, and what that printed."""
    folder = tmp_path_factory.mktemp("resumed")
    shutil.copytree(killed, folder / "run")
    (folder / "run/checkpoints/.state.4242.npz").write_bytes(b"a state that was not whole")
    process = start_training(folder, reviews, "--resume")
    output, messages = process.communicate(timeout=240)
    assert process.returncode == 0, messages
    return folder / "run", output, messages


def test_a_killed_training_is_not_complete(command: Command, killed: Path) -> None:
    """What `kill -9` leaves is a run that says that it is not finished, its state in mid-epoch."""
    with np.load(killed / "checkpoints/state.npz") as state:
        progress = json.loads(str(state["progress"]))

    assert json.loads((killed / "manifest.json").read_text())["complete"] is False
    assert progress["epoch"] == 1
    assert 0 < progress["step"] < 20
    assert command("evaluate", killed).stderr.startswith(f"Error: {killed}: its training is not finished")


def test_a_resumed_training_ends_at_the_same_weights(resumed: tuple[Path, str, str], exact: Path) -> None:
    """Killed and resumed, a training ends at the same weights and figures, bit for bit."""
    run, _, _ = resumed

    assert same(weights(run), weights(exact))
    assert epoch_lines(run) == epoch_lines(exact)
    steps = [line["step"] for line in metrics(run)]
    assert steps == list(range(1, 61))


def test_a_resumed_training_tidies_up(resumed: tuple[Path, str, str]) -> None:
    """What a killed process had written by half is gone at the end."""
    run, _, _ = resumed

    assert [path.name for path in (run / "checkpoints").iterdir()] == ["state.npz"]


def test_stdout_of_a_resumed_training(resumed: tuple[Path, str, str]) -> None:
    """Nothing but the run's path goes to stdout, whatever the libraries say."""
    _, output, messages = resumed

    assert output == "run\n"
    assert "run: going on\n" in messages


def test_stderr_of_a_resumed_training(resumed: tuple[Path, str, str]) -> None:
    """The libraries' chatter does not reach stderr."""
    _, _, messages = resumed

    assert messages.splitlines()[0] == "run: going on"


def test_resumed_in_the_same_process(
    configured: Configured, exact: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does one that was asked to stop and is resumed from Python, without a new process."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=2, step=3)
        first = train("classification", str(reviews), configured(*EXACT), run=tmp_path / "run")
    assert not first.finished

    second = train("classification", str(reviews), configured(*EXACT), run=tmp_path / "run", resume=True)

    assert second.finished
    assert same(weights(tmp_path / "run"), weights(exact))


@pytest.fixture(scope="module")
def stopped(
    tmp_path_factory: pytest.TempPathFactory, command: Command, reviews: Path
) -> tuple[Path, Path, list[str], Result]:
    """Return a run that was stopped by Ctrl-C, its data, its command's words, and what that printed."""
    folder = tmp_path_factory.mktemp("stopped")
    shutil.copytree(reviews, folder / "data")
    tiny = ("model.embedding_size=4", "training.batch_size=8", "training.epochs=2")
    words = ["train", "classification", str(folder / "data"), *overrides(*PLAIN, *tiny)]
    before = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, epoch=1, step=3)
        result = command(*words, "--run", folder / "run")
    assert signal.getsignal(signal.SIGINT) is before
    return folder / "run", folder / "data", words, result


def test_interrupted(stopped: tuple[Path, Path, list[str], Result]) -> None:
    """Ctrl-C ends a training after its step, and the message says how it goes on."""
    run, _, _, result = stopped
    with np.load(run / "checkpoints/state.npz") as state:
        progress = json.loads(str(state["progress"]))

    assert result.exit_code == 130
    assert result.stdout == ""
    assert (
        result.stderr.splitlines()[-1] == f"{run}: interrupted; give the same command with --resume to go on"
    )
    assert (progress["epoch"], progress["step"]) == (0, 3)


def test_interrupted_between_epochs(
    configured: Configured, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends a training too where each epoch is a single step."""
    interrupt_at(monkeypatch, epoch=1, step=1)
    config = configured(*PLAIN, "training.batch_size=64", "training.epochs=5")

    trained = train("classification", str(reviews), config, run=tmp_path / "run")

    assert not trained.finished
    assert len(metrics(tmp_path / "run")) < 5


@pytest.mark.parametrize("assignment", ["model.embedding_size=5", "seed=1", "training.epochs=3"])
def test_no_resume_with_another_configuration(
    command: Command, snapshot: Snapshot, stopped: tuple[Path, Path, list[str], Result], assignment: str
) -> None:
    """A key that decides a training's course can't be changed on the way; the message names it."""
    run, _, words, _ = stopped
    before = snapshot(run)

    result = command(*words, "--run", run, "--resume", "--set", assignment)

    key, _, value = assignment.partition("=")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {run}: cannot be resumed with another configuration: {key} was ")
    assert result.stderr.endswith(f", is {value}\n")
    assert snapshot(run) == before


def test_no_resume_with_changed_data(
    command: Command, snapshot: Snapshot, stopped: tuple[Path, Path, list[str], Result], tmp_path: Path
) -> None:
    """Rows that were changed since are noticed."""
    run, data, words, _ = stopped
    shutil.copytree(data, tmp_path / "data")
    with (tmp_path / "data/train.jsonl").open("a") as file:
        file.write('{"text": "good", "label": "positive"}\n')
    before = snapshot(run)

    words = [str(tmp_path / "data") if word == str(data) else word for word in words]
    result = command(*words, "--run", run, "--resume")

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {run}: cannot be resumed: its dataset_hash is ")
    assert snapshot(run) == before


def test_no_resume_from_a_broken_state(
    command: Command, stopped: tuple[Path, Path, list[str], Result], tmp_path: Path
) -> None:
    """A state that was cut off is refused by its name."""
    run, _, words, _ = stopped
    shutil.copytree(run, tmp_path / "run")
    state = tmp_path / "run/checkpoints/state.npz"
    state.write_bytes(state.read_bytes()[:-100])

    result = command(*words, "--run", tmp_path / "run", "--resume")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error: {state}: is not the state of this training")


def test_a_finished_run_is_not_resumed(
    command: Command, snapshot: Snapshot, run: Path, reviews: Path, tmp_path: Path
) -> None:
    """`--resume` of a finished run trains nothing, and says the same as at its end."""
    shutil.copytree(run, tmp_path / "run")
    before = snapshot(tmp_path)

    result = command("train", "classification", reviews, "--run", tmp_path / "run", "--resume")

    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'run'}\n"
    assert snapshot(tmp_path) == before


def test_resume_of_nothing_begins(command: Command, reviews: Path, tmp_path: Path) -> None:
    """The same command with `--resume` also begins a training that was stopped before its run was made."""
    tiny = overrides(*PLAIN, "training.epochs=1")

    result = command("train", "classification", reviews, "--run", tmp_path / "run", "--resume", *tiny)

    assert result.exit_code == 0
    assert open_run(tmp_path / "run").task == "classification"


# Gradients


def gradients(random: np.random.Generator) -> list[np.ndarray]:
    """Return the gradients of three variables."""
    return [random.normal(size=shape).astype(np.float32) for shape in ((5, 3), (3,), (2, 2, 2))]


def clipped_by(values: Sequence[np.ndarray], **options: float) -> tuple[list[np.ndarray], float, bool]:
    """Clip as a configuration with these options says."""
    found, norm, was_clipped = clip([tf.constant(v) for v in values], TrainingConfig(**options))
    return [v.numpy() for v in found], float(norm), bool(was_clipped)


def test_clipping_by_norm() -> None:
    """All gradients shrink by one factor so that their global norm is the limit."""
    values = gradients(np.random.default_rng(0))
    norm = math.sqrt(sum(float((v.astype(np.float64) ** 2).sum()) for v in values))

    found, reported, was_clipped = clipped_by(values, clip_norm=0.5)

    assert norm > 2
    assert reported == pytest.approx(norm, rel=1e-6)
    assert was_clipped
    for before, after in zip(values, found, strict=True):
        np.testing.assert_allclose(after, before * (0.5 / norm), rtol=1e-5)


def test_gradients_within_the_norm_stay() -> None:
    """A gradient whose norm is below the limit is left alone."""
    values = gradients(np.random.default_rng(0))

    found, reported, was_clipped = clipped_by(values, clip_norm=100)

    assert not was_clipped
    assert reported < 100
    for before, after in zip(values, found, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6)


def test_clipping_by_value() -> None:
    """Each element is cut at the limit, in place of the norm; the norm is that before."""
    values = gradients(np.random.default_rng(0))
    norm = math.sqrt(sum(float((v.astype(np.float64) ** 2).sum()) for v in values))

    found, reported, was_clipped = clipped_by(values, clip_norm=1e-3, clip_value=0.3)

    assert was_clipped
    assert reported == pytest.approx(norm, rel=1e-6)
    for before, after in zip(values, found, strict=True):
        np.testing.assert_array_equal(after, np.clip(before, np.float32(-0.3), np.float32(0.3)))
    assert not clipped_by(values, clip_value=100)[2]


def test_no_clipping() -> None:
    """With both limits at 0 gradients stay, however large; their norm is still known."""
    values = [1e6 * v for v in gradients(np.random.default_rng(0))]

    found, reported, was_clipped = clipped_by(values, clip_norm=0, clip_value=0)

    assert not was_clipped
    assert reported > 1e6
    assert all(map(np.array_equal, found, values))


def test_a_zero_gradient() -> None:
    """Nothing is divided by a norm of 0."""
    found, reported, was_clipped = clipped_by([np.zeros((2, 2), np.float32)], clip_norm=1)

    assert (found[0].tolist(), reported, was_clipped) == ([[0, 0], [0, 0]], 0, False)


ROWS = [
    ("good good good plot", "positive"),
    ("good good", "positive"),
    ("fine plot , fine cast", "positive"),
    ("good cast", "positive"),
    ("dull dull dull dull", "negative"),
    ("dull plot", "negative"),
]


def first_step(config: TaskConfig, initial: Weights, run: Path) -> tuple[list[np.ndarray], float]:
    """Compute the gradients and the loss of one step over all `ROWS` in NumPy.

    The network is: the mean of a row's embeddings, a dense layer, softmax and cross-entropy.
    """
    table, kernel, bias = (value.astype(np.float64) for value in initial)
    opened = open_run(run)
    ids, lengths = (
        t.numpy()
        for t in Preprocessor(opened.vocabularies()["vocabulary"], **opened.config.tokenizing())(
            tf.constant([t for t, _ in ROWS])
        )
    )
    targets = np.array([opened.vocabularies()["labels"].index(label.encode()) for _, label in ROWS])
    smoothing = config.training.label_smoothing
    expected = np.eye(2)[targets] * (1 - smoothing) + smoothing / 2
    row_weights = np.ones(len(ROWS))
    if config.training.class_weights == "balanced":
        row_weights = np.array([len(ROWS) / (2 * np.sum(targets == target)) for target in targets])

    pooled = np.stack([table[row[:n]].mean(axis=0) for row, n in zip(ids, lengths, strict=True)])
    logits = pooled @ kernel + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = float((-(expected * np.log(probabilities)).sum(axis=1) * row_weights).mean())
    d_logits = (probabilities - expected) * row_weights[:, None] / len(ROWS)
    d_table = np.zeros_like(table)
    for row, n, d_pooled in zip(ids, lengths, d_logits @ kernel.T, strict=True):
        for token in row[:n]:
            d_table[token] += d_pooled / n
    return [d_table, pooled.T @ d_logits, d_logits.sum(axis=0)], loss


ONE_STEP = (
    *PLAIN,
    "training.batch_size=16",
    "training.optimizer=sgd",
    "training.schedule=constant",
    "training.learning_rate=0.5",
    "training.label_smoothing=0",
    "training.class_weights=none",
)


@pytest.fixture(scope="module")
def six_rows(tmp_path_factory: pytest.TempPathFactory, jsonl: Callable[..., None]) -> Path:
    """Return a folder with `ROWS`, to train and to validate."""
    folder = tmp_path_factory.mktemp("six") / "rows"
    for split in ("train", "validation"):
        jsonl(folder / f"{split}.jsonl", [{"text": text, "label": label} for text, label in ROWS])
    return folder


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory, configured: Configured, six_rows: Path) -> Weights:
    """Return the weights before the first step: those of a training that hardly moves."""
    config = configured(*ONE_STEP, "training.learning_rate=1e-30")
    return weights(
        train("classification", str(six_rows), config, run=tmp_path_factory.mktemp("still") / "run").run
    )


@pytest.mark.parametrize(
    "options",
    [
        ("training.clip_norm=0.01",),
        ("training.clip_norm=100",),
        ("training.clip_value=0.02", "training.clip_norm=0.01"),
        ("training.clip_norm=0",),
        ("training.clip_norm=0", "training.class_weights=balanced"),
        ("training.clip_norm=0.01", "training.class_weights=balanced", "training.label_smoothing=0.1"),
    ],
    ids=" ".join,
)
def test_one_step(
    configured: Configured, six_rows: Path, initial: Weights, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Loss, gradient norm before clipping and new weights are those that NumPy computes.

    A token that stands twice in a batch counts once in the norm, with its sum.
    """
    config = configured(*ONE_STEP, *options)

    run = train("classification", str(six_rows), config, run=tmp_path / "run").run

    expected, loss = first_step(config, initial, run)
    norm = math.sqrt(sum(float((g**2).sum()) for g in expected))
    training = config.training
    if training.clip_value:
        applied = [np.clip(g, -training.clip_value, training.clip_value) for g in expected]
        cut = any(np.abs(g).max() > training.clip_value for g in expected)
    else:
        limit = training.clip_norm or math.inf
        applied = [g * min(1, limit / norm) for g in expected]
        cut = norm > limit
    (line,) = metrics(run)
    assert cut == (options[0] not in ("training.clip_norm=100", "training.clip_norm=0"))
    assert line["loss"] == pytest.approx(loss, rel=1e-5)
    assert line["gradient_norm"] == line["gradient_norm_max"] == pytest.approx(norm, rel=1e-4)
    assert line["clipped_share"] == float(cut)
    for before, gradient, after in zip(initial, applied, weights(run), strict=True):
        np.testing.assert_allclose(before - after, 0.5 * gradient, atol=2e-7)


def row_weights(folder: Path, targets: list[int], config: TaskConfig) -> np.ndarray:
    """Return the weight in the loss of rows with these labels, each of one token."""
    path = folder / "ids"
    np.ones(len(targets), np.uint16).tofile(path)
    tokens = Sequences(path, np.dtype(np.uint16), np.ones(len(targets), np.int64))
    rows = EncodedSplit({"tokens": tokens}, {"label": np.array(targets, np.int32)})
    feed = get_task("classification").feed(Encoded({}, {}, {"train": rows}), "train", {}, config)
    return feed.batch(np.arange(len(targets))).arrays["weights"]


def test_class_weights(configured: Configured, tmp_path: Path) -> None:
    """Balanced, each class has the same weight in all, and a row weighs 1 on average."""
    targets = [0, 0, 0, 0, 0, 0, 2, 2, 1, 0]

    balanced = row_weights(tmp_path, targets, configured("training.class_weights=balanced"))
    none = row_weights(tmp_path, targets, configured("training.class_weights=none"))

    assert none.tolist() == [1] * 10
    sums = [balanced[np.equal(targets, c)].sum() for c in range(3)]
    np.testing.assert_allclose(sums, [10 / 3] * 3, rtol=1e-6)
    assert balanced.dtype == none.dtype == np.float32


def test_class_weights_of_a_class_without_rows(configured: Configured, tmp_path: Path) -> None:
    """A class that no training row has changes nothing."""
    weights = row_weights(tmp_path, [0, 3, 3, 3], configured("training.class_weights=balanced"))

    np.testing.assert_allclose(weights, [2, 2 / 3, 2 / 3, 2 / 3], rtol=1e-6)


# A loss that is not finite


@pytest.fixture(scope="module")
def exploded(
    tmp_path_factory: pytest.TempPathFactory, command: Command, reviews: Path
) -> tuple[Path, Result]:
    """Return a run whose weights became too large, and what its command printed."""
    run = tmp_path_factory.mktemp("exploded") / "run"
    wild = overrides(
        "model.units=4",
        "model.cell=simple",
        "model.activation=relu",
        "training.learning_rate=1e30",
        "training.clip_norm=0",
        "training.epochs=2",
        "training.batch_size=8",
    )
    return run, command("train", "classification", reviews, "--run", run, *wild)


def test_a_loss_that_is_not_finite(exploded: tuple[Path, Result]) -> None:
    """The training stops, and one line names step, norm and what to try."""
    _, result = exploded
    *_, line = result.stderr.splitlines()

    assert result.exit_code == 1
    assert result.stderr.count("Error: ") == 1
    assert line.startswith("Error: the loss is not finite: ")
    assert " at step 2 of epoch 1, gradient norm " in line
    assert line.endswith(
        "try a lower training.learning_rate than 1e+30, or training.clip_norm=1.0, or model.activation=tanh"
    )


def test_a_run_whose_loss_was_not_finite(command: Command, exploded: tuple[Path, Result]) -> None:
    """Its run is not complete, and no command takes it for a finished one."""
    run, _ = exploded

    assert json.loads((run / "manifest.json").read_text())["complete"] is False
    assert not (run / "model.keras").exists()
    assert command("export", run).exit_code == 1


def test_a_validation_loss_that_is_not_finite(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """So it is where the last step of an epoch did it, which only the validation shows."""
    config = configured(
        *PLAIN, "training.batch_size=64", "training.schedule=constant", "training.learning_rate=1e30"
    )

    with pytest.raises(UserError, match="not finite"):
        train("classification", str(reviews), config, run=tmp_path / "run")

    assert json.loads((tmp_path / "run/manifest.json").read_text())["complete"] is False


# Epochs


class Script:
    """Validation figures as they are told, and the weights that they were asked for."""

    def __init__(self, **figures: Sequence[float]) -> None:
        self.figures = figures
        self.seen: list[Weights] = []

    def evaluate(self, model: Any) -> dict[str, float]:
        """Stand in for what evaluates a model after an epoch."""
        epoch = len(self.seen)
        self.seen.append([value.copy() for value in model.get_weights()])
        return {"loss": 1.0, "accuracy": 0.5, "macro_f1": 0.5} | {
            k: v[epoch] for k, v in self.figures.items()
        }


@pytest.fixture
def scripted(
    monkeypatch: pytest.MonkeyPatch, configured: Configured, reviews: Path, tmp_path: Path
) -> Callable[..., tuple[Path, Script]]:
    """Return a function that trains with scripted validation figures."""

    def run_script(*options: str, **figures: Sequence[float]) -> tuple[Path, Script]:
        script = Script(**figures)
        monkeypatch.setattr(
            type(get_task("classification")),
            "evaluator",
            lambda task, model, *rest: lambda: script.evaluate(model),
        )
        usual = (
            "training.epochs=6",
            "training.learning_rate=0.05",
            "training.early_stopping_metric=accuracy",
        )
        config = configured(*PLAIN, *usual, *options)
        return train("classification", str(reviews), config, run=tmp_path / "run").run, script

    return run_script


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("accuracy", [0.5, 0.8, 0.6, 0.7, 0.9, 0.9]),
        ("macro_f1", [0.5, 0.8, 0.6, 0.7, 0.9, 0.9]),
        ("loss", [0.9, 0.3, 0.5, 0.4, 0.2, 0.2]),
    ],
)
def test_early_stopping(
    scripted: Callable[..., tuple[Path, Script]], metric: str, values: list[float]
) -> None:
    """After so many epochs without a better one the training ends; the best one's weights are kept."""
    run, script = scripted(
        "training.early_stopping_patience=2", f"training.early_stopping_metric={metric}", **{metric: values}
    )

    assert [line["best"] for line in metrics(run)] == [True, True, False, False]
    assert same(weights(run), script.seen[1])
    assert not same(script.seen[1], script.seen[3])


def test_without_early_stopping(scripted: Callable[..., tuple[Path, Script]]) -> None:
    """With a patience of 0 all epochs are trained, and the best one's weights are kept all the same."""
    run, script = scripted("training.early_stopping_patience=0", accuracy=[0.9, 0.1, 0.2, 0.3, 0.4, 0.5])

    assert [line["best"] for line in metrics(run)] == [True] + [False] * 5
    assert same(weights(run), script.seen[0])


def test_the_loss_decides_between_equals(scripted: Callable[..., tuple[Path, Script]]) -> None:
    """Of epochs with the same accuracy the one with the lowest loss is the best."""
    run, script = scripted(
        "training.early_stopping_patience=0", accuracy=[0.5] * 6, loss=[0.7, 0.6, 0.6, 0.5, 0.8, 0.9]
    )

    assert [line["best"] for line in metrics(run)] == [True, True, False, True, False, False]
    assert same(weights(run), script.seen[3])


def test_plateau_schedule(scripted: Callable[..., tuple[Path, Script]]) -> None:
    """The rate is halved after two epochs without a better one, and again after two more."""
    run, _ = scripted(
        "training.schedule=plateau",
        "training.early_stopping_patience=0",
        "training.epochs=8",
        accuracy=[0.5, 0.4, 0.4, 0.6, 0.4, 0.4, 0.4, 0.4],
    )

    rates = [line["learning_rate"] for line in metrics(run)]
    assert rates == pytest.approx([0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.0125, 0.0125])


def test_constant_schedule(scripted: Callable[..., tuple[Path, Script]]) -> None:
    """A constant rate stays."""
    run, _ = scripted("training.schedule=constant", "training.epochs=3", accuracy=[0.5, 0.4, 0.4])

    assert [line["learning_rate"] for line in metrics(run)] == pytest.approx([0.05] * 3)


def test_cosine_schedule(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """The rate rises along a line, then falls along a cosine to a fiftieth, over all steps."""
    config = configured(
        *PLAIN,
        "training.batch_size=2",
        "training.schedule=cosine",
        "training.warmup=0.25",
        "training.learning_rate=0.004",
        "training.steps_per_checkpoint=1",
    )

    run = train("classification", str(reviews), config, run=tmp_path / "run").run

    rates = [line["learning_rate"] for line in metrics(run)]
    fall = [0.5 * (1 + math.cos(math.pi * step / 15)) for step in range(16)]
    assert rates[:5] == pytest.approx([0.004 * step / 5 for step in range(1, 6)])
    assert rates[4:] == pytest.approx([0.004 * (0.02 + 0.98 * share) for share in fall])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_optimizers_learn(configured: Configured, six_rows: Path, tmp_path: Path, optimizer: str) -> None:
    """Each update rule learns six sentences."""
    rate = 1.0 if optimizer == "sgd" else 0.1
    config = configured(
        *PLAIN,
        f"training.optimizer={optimizer}",
        f"training.learning_rate={rate}",
        "training.epochs=20",
        "training.weight_decay=0.001",
        "training.early_stopping_patience=0",
    )

    trained = train("classification", str(six_rows), config, run=tmp_path / "run")

    assert trained.best["validation_accuracy"] == 1
    assert trained.best["validation_loss"] < 0.2


# Word vectors


def test_word_vectors_start_the_embedding(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """Words of a GloVe file begin with its vectors, all others where the seed puts them."""
    (tmp_path / "glove.txt").write_text("plot 1 2 3 4\nacting -1 -2 -3 -4.5\nxyzzy 9 9 9 9\n")
    still = (*PLAIN, "training.learning_rate=1e-30", "training.schedule=constant")
    tables = {}
    for name, file in (("with", tmp_path / "glove.txt"), ("without", "")):
        config = configured(*still, f"model.embeddings={file}")
        run = train("classification", str(reviews), config, run=tmp_path / name).run
        tables[name] = weights(run)[0]
    vocabulary = open_run(tmp_path / "with").vocabularies()["vocabulary"]
    given = {vocabulary.index(b"plot"): [1, 2, 3, 4], vocabulary.index(b"acting"): [-1, -2, -3, -4.5]}

    for index in range(len(vocabulary)):
        assert tables["with"][index].tolist() == given.get(index, tables["without"][index].tolist())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("plot 1 2 3\nacting 1 2 3\n", "model.embedding_size is 4; set model.embedding_size=3"),
        ("2 300\nplot 1 2 3\n", "model.embedding_size is 4; set model.embedding_size=300"),
        ("xyzzy 1 2 3 4\n", "none of its words is in the vocabulary"),
        ("plot 1 2 three 4\n", "glove.txt:1: no word vector"),
    ],
)
def test_word_vectors_that_do_not_fit(
    command: Command, reviews: Path, tmp_path: Path, content: str, said: str
) -> None:
    """Vectors of another size, or of other words, are refused before a run is made."""
    file = tmp_path / "glove.txt"
    file.write_text(content)
    tiny = overrides(*PLAIN, "model.embedding_size=4", f"model.embeddings={file}")

    result = command("train", "classification", reviews, "--run", tmp_path / "run", *tiny)

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["glove.txt"]
