"""`textrnn distill`: a student learns from the mean probabilities of its teachers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from trained import PLAIN, epoch_lines, export_quickly, same, weights

from app.api import distill
from app.artifacts.run import open_run
from app.config import TaskConfig, load_config
from app.prediction.loading import load_predictor
from app.train import train
from data.errors import UserError
from data.samples import reviews as sample_reviews
from data.samples import tags as sample_tags
from data.samples import topics as sample_topics

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
StopAt = Callable[..., dict[str, Any]]
Jsonl = Callable[..., None]

EXACT = (
    *("training.deterministic=true", "training.epochs=2", "training.learning_rate=0.05"),
    *("model.cell=gru", "model.layers=1", "model.dropout=0.2", "model.word_dropout=0.2"),
)
"""Of a student with every kind of randomness."""


def teachers_of(
    task: str, data: Path, folder: Path, config: Callable[..., TaskConfig], number: int = 2
) -> list[Path]:
    """Train runs that differ in their seeds."""
    for seed in range(number):
        assert train(task, str(data), config(f"seed={seed}"), run=folder / f"teacher-{seed}").finished
    return [folder / f"teacher-{seed}" for seed in range(number)]


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory, configured: Configured, reviews: Path) -> list[Path]:
    """Return two runs of a classifier."""

    def config(*overrides: str) -> TaskConfig:
        return configured(*PLAIN, "training.learning_rate=0.1", "training.epochs=12", *overrides)

    return teachers_of("classification", reviews, tmp_path_factory.mktemp("teachers"), config)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, teachers: list[Path]) -> Path:
    """Return a student that was trained without a break."""
    path = tmp_path_factory.mktemp("student") / "run"
    assert distill(teachers, run=path, overrides=EXACT).finished
    return path


def manifest_of(run: Path) -> dict[str, Any]:
    """Return the manifest of a run."""
    found: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    return found


def softened(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the softmax of logits that are divided by a temperature, from that of the logits."""
    powers = probabilities.astype(np.float64) ** (1 / temperature)
    found: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return found


def texts_of(split: str, size: int) -> list[bytes]:
    """Return the texts of the reviews."""
    return [row["text"].encode() for row in sample_reviews(0)[split][:size]]


def test_the_probabilities_are_the_mean_of_the_teachers(student: Path, teachers: list[Path]) -> None:
    """The run has the mean of the softened probabilities of each training text, in order."""
    texts = texts_of("train", 40)
    expected = np.mean(
        [
            softened(load_predictor(path).run_texts("serving_default", texts)["probabilities"], 2.0)
            for path in teachers
        ],
        axis=0,
    )
    found = np.load(student / "teacher/examples.classes.npy")

    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.ptp(found[:, 0]) > 0.1


def test_the_manifest_names_the_teachers(student: Path, teachers: list[Path]) -> None:
    """It has path, seed, size and checksum of each, and the checksums of the probabilities."""
    manifest = manifest_of(student)

    assert manifest["teachers"] == [
        {
            "run": str(path),
            "seed": seed,
            "parameters": manifest_of(path)["parameters"],
            "model": manifest_of(path)["files"]["model.keras"],
        }
        for seed, path in enumerate(teachers)
    ]
    assert list(manifest["teacher_files"]) == ["examples.classes.npy"]
    assert manifest_of(teachers[0])["teachers"] == []


def test_a_student_is_a_run(command: Command, student: Path, tmp_path: Path) -> None:
    """It is evaluated, exported, verified and predicts like any other run, without its teachers' files."""
    shutil.copytree(student, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/teacher")
    found = json.loads(command("evaluate", tmp_path / "run", "--json").stdout)
    export = export_quickly(tmp_path / "run", output=tmp_path / "export")
    lines = [command("predict", path, stdin="good\n").stdout for path in (student, export)]

    assert found["examples"] == 14
    assert json.loads(lines[0]) == {
        name: pytest.approx(value, abs=1e-5) for name, value in json.loads(lines[1]).items()
    }


def test_weight_0_is_training_without_teachers(teachers: list[Path], reviews: Path, tmp_path: Path) -> None:
    """A student whose teachers have no weight has the weights of an ordinary run, bit for bit."""
    alone = (*EXACT, "training.distillation_weight=0")
    distill(teachers, run=tmp_path / "student", overrides=alone)
    config = load_config(file=teachers[0] / "config.toml", overrides=alone)
    train("classification", str(reviews), config, run=tmp_path / "run")

    assert same(weights(tmp_path / "student"), weights(tmp_path / "run"))


@pytest.mark.parametrize(
    "override", ["training.distillation_weight=0.9", "training.distillation_temperature=4"]
)
def test_each_key_has_an_effect(override: str, student: Path, teachers: list[Path], tmp_path: Path) -> None:
    """Weight and temperature change the student."""
    distill(teachers, run=tmp_path / "student", overrides=[*EXACT, override])

    assert not same(weights(tmp_path / "student"), weights(student))


def test_loss_of_the_first_step(teachers: list[Path], tmp_path: Path) -> None:
    """Of a student whose logits are all but 0 it is (1 - w) log 2 + w T² log 2."""
    overrides = (*PLAIN, "training.epochs=1", "training.learning_rate=1e-9", "training.deterministic=true")
    losses = []
    for weight in (0.0, 0.75):
        run = tmp_path / str(weight)
        own = (f"training.distillation_weight={weight}", "training.distillation_temperature=3")
        distill(teachers, run=run, overrides=[*overrides, *own, "training.batch_size=40"])
        losses.append(epoch_lines(run)[0]["loss"])

    assert losses[0] == pytest.approx(np.log(2), rel=0.02)
    assert losses[1] == pytest.approx((0.25 + 0.75 * 9) * np.log(2), rel=0.02)


def test_learning_from_teachers_alone(tmp_path: Path, configured: Configured, reviews: Path) -> None:
    """With a weight of 1 a student comes to predict what its teacher predicts."""
    config = configured(*PLAIN, "training.learning_rate=0.1", "training.epochs=20")
    train("classification", str(reviews), config, run=tmp_path / "teacher")
    own = ("training.distillation_weight=1", "training.epochs=20")
    distill([tmp_path / "teacher"], run=tmp_path / "student", overrides=own)
    texts = texts_of("train", 40)
    teacher, student = (
        load_predictor(tmp_path / name).run_texts("serving_default", texts)["probabilities"]
        for name in ("teacher", "student")
    )

    assert np.abs(teacher - student).mean() < 0.1
    assert np.mean(teacher.argmax(axis=1) == student.argmax(axis=1)) > 0.9


# Resuming


@pytest.mark.parametrize("verb", ["distill", "train"])
def test_exact_resuming(
    verb: str,
    student: Path,
    teachers: list[Path],
    tmp_path: Path,
    stop_at: StopAt,
    command: Command,
    reviews: Path,
) -> None:
    """A distillation that was stopped in mid-epoch has the same weights, bit for bit, after `--resume`.

    `train --resume` continues it too, which does not need the teachers.
    """
    path = tmp_path / "run"
    assert not distill(teachers, run=path, overrides=EXACT, **stop_at(epoch=2, step=2)).finished
    words = [word for override in EXACT for word in ("--set", override)]
    if verb == "distill":
        result = command("distill", *teachers, "--run", path, *words, "--resume")
    else:
        own = ("--config", student / "config.toml", "--run", path)
        result = command("train", "classification", reviews, *own, "--resume")

    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{path}\n"
    assert same(weights(path), weights(student))
    assert epoch_lines(path) == epoch_lines(student)
    assert (path / "teacher/examples.classes.npy").read_bytes() == (
        student / "teacher/examples.classes.npy"
    ).read_bytes()


def stopped(teachers: list[Path], path: Path, stop_at: StopAt) -> Path:
    """Return a student whose training was stopped."""
    assert not distill(teachers, run=path, overrides=PLAIN, **stop_at(epoch=1, step=2)).finished
    return path


def resumed(command: Command, teachers: list[Path], path: Path) -> str:
    """Resume, and return the error."""
    words = [word for override in PLAIN for word in ("--set", override)]
    result = command("distill", *teachers, "--run", path, *words, "--resume")
    assert (result.exit_code, result.stdout) == (1, "")
    return result.stderr.splitlines()[-1]


def test_changed_probabilities(
    command: Command, teachers: list[Path], tmp_path: Path, stop_at: StopAt
) -> None:
    """A file of probabilities that was changed is found when the training is resumed."""
    path = stopped(teachers, tmp_path / "run", stop_at)
    values = np.load(path / "teacher/examples.classes.npy")
    np.save(path / "teacher/examples.classes.npy", values[::-1])

    assert "examples.classes.npy was changed" in resumed(command, teachers, path)


def test_other_teachers(command: Command, teachers: list[Path], tmp_path: Path, stop_at: StopAt) -> None:
    """A student is not continued with fewer teachers than it has, or with more."""
    path = stopped(teachers, tmp_path / "run", stop_at)

    for others in (teachers[:1], [*teachers, teachers[0]]):
        error = resumed(command, others, path)
        assert error.startswith(f"Error: {path}: cannot be resumed with other teachers than it has: ")
        assert str(teachers[0]) in error


def test_a_run_without_teachers(
    command: Command, teachers: list[Path], reviews: Path, tmp_path: Path, stop_at: StopAt
) -> None:
    """An ordinary run is not continued as a student."""
    config = load_config(file=teachers[0] / "config.toml", overrides=PLAIN)
    train("classification", str(reviews), config, run=tmp_path / "run", **stop_at(epoch=1, step=2))

    assert "it was trained without teachers; continue it with 'textrnn train'" in resumed(
        command, teachers, tmp_path / "run"
    )


# Configuration


def test_a_smaller_student(command: Command, teachers: list[Path], tmp_path: Path) -> None:
    """A student may have another network, another vocabulary and its own preset."""
    path = tmp_path / "run"
    own = (
        "--set",
        "text.vocabulary_size=30",
        "--set",
        "model.embedding_size=3",
        "--set",
        "training.epochs=1",
    )
    result = command("distill", *teachers, "--run", path, "--preset", "fast", *own)
    run = open_run(path)

    assert result.exit_code == 0, result.stderr
    assert "computing the probabilities of 2 teachers" in result.stderr
    assert run.config.text.vocabulary_size == 30
    assert run.config.model.cell == load_config(preset="fast").model.cell
    assert run.config.data == open_run(teachers[0]).config.data
    assert run.manifest.dataset_hash == open_run(teachers[0]).manifest.dataset_hash


def test_other_data_of_the_student(command: Command, teachers: list[Path], tmp_path: Path) -> None:
    """The student reads the data as its teachers did; otherwise nothing is written."""
    own = ("--set", "data.validation_fraction=0.4", "--set", "data.label_column=text")
    result = command("distill", *teachers, "--run", tmp_path / "run", *own)

    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


# Refusals


def test_runs_of_other_data(
    command: Command, teachers: list[Path], configured: Configured, reviews: Path, tmp_path: Path
) -> None:
    """Runs on other examples do not teach together."""
    shutil.copytree(reviews, tmp_path / "data")
    with (tmp_path / "data/train.jsonl").open("a") as file:
        file.write('{"text": "good", "label": "positive"}\n')
    train("classification", str(tmp_path / "data"), configured(*PLAIN), run=tmp_path / "other")
    result = command("distill", teachers[0], tmp_path / "other", "--run", tmp_path / "run")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(
        f"Error: {tmp_path / 'other'} cannot teach together with {teachers[0]}: it was trained on other "
    )
    assert not (tmp_path / "run").exists()


def test_other_tasks(command: Command, teachers: list[Path], translator: Path, tmp_path: Path) -> None:
    """Translation is refused by name; so are runs of different tasks."""
    alone = command("distill", translator, "--run", tmp_path / "run")
    mixed = command("distill", teachers[0], translator, "--run", tmp_path / "run")

    assert alone.stderr == (
        f"Error: {translator}: a translation model cannot be distilled; classification and tagging models "
        "can be\n"
    )
    assert "its task is translation, not classification" in mixed.stderr
    assert not (tmp_path / "run").exists()


def test_an_existing_run(command: Command, teachers: list[Path], student: Path) -> None:
    """A student does not replace a run."""
    result = command("distill", *teachers, "--run", student)

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {student} exists; continue it with --resume")


# Sets of labels, and tags


def test_sets_of_labels(tmp_path: Path, jsonl: Jsonl) -> None:
    """A teacher of several labels gives the probability of each, softened on its own."""
    rows = {
        split: own[:size] for (split, own), size in zip(sample_topics(0).items(), (60, 20, 10), strict=True)
    }
    for split, own in rows.items():
        jsonl(tmp_path / f"data/{split}.jsonl", own)

    def config(*overrides: str) -> TaskConfig:
        small = ("model.embedding_size=8", "training.learning_rate=0.05", "training.epochs=3")
        return load_config(overrides=[*PLAIN, *small, *overrides])

    teachers = teachers_of("classification", tmp_path / "data", tmp_path, config)
    distill(teachers, run=tmp_path / "student", overrides=["training.distillation_temperature=1.5"])
    texts = [str(row["text"]).encode() for row in rows["train"]]
    powers = [
        np.stack([p, 1 - p], axis=-1).astype(np.float64) ** (1 / 1.5)
        for p in (
            load_predictor(path).run_texts("serving_default", texts)["probabilities"] for path in teachers
        )
    ]
    expected = np.mean([own[..., 0] / own.sum(axis=-1) for own in powers], axis=0)

    assert np.load(tmp_path / "student/teacher/examples.classes.npy") == pytest.approx(expected, abs=1e-4)
    assert epoch_lines(tmp_path / "student")[-1]["validation_micro_f1"] >= 0


@pytest.mark.parametrize(
    ("crf", "scheme"), [("true", "bioes"), ("false", "bio")], ids=["crf-bioes", "softmax"]
)
def test_tags_and_labels(crf: str, scheme: str, tmp_path: Path, jsonl: Jsonl, stop_at: StopAt) -> None:
    """Taggers teach the tags of each token, and the label of each example; resuming is exact."""
    for (split, own), size in zip(sample_tags(0).items(), (30, 10, 10), strict=True):
        jsonl(tmp_path / f"data/{split}.jsonl", own[:size])
    small = ("model.units=4", "model.embedding_size=4", "model.character_units=2", "training.batch_size=8")

    def config(*overrides: str) -> TaskConfig:
        more = (
            "training.epochs=2",
            "training.learning_rate=0.05",
            f"model.crf={crf}",
            f"model.tag_scheme={scheme}",
            "text.tokenizer=rules",
        )
        return load_config("tagging", overrides=[*small, *more, "training.deterministic=true", *overrides])

    teachers = teachers_of("tagging", tmp_path / "data", tmp_path, config)
    distill(teachers, run=tmp_path / "student")
    distill(teachers, run=tmp_path / "other", **stop_at(epoch=2, step=2))
    distill(teachers, run=tmp_path / "other", resume=True)
    tokens = [row["tokens"] for row in sample_tags(0)["train"][:30]]
    of_tags = np.load(tmp_path / "student/teacher/tokens.tags.npy")
    of_labels = np.load(tmp_path / "student/teacher/examples.labels.npy")

    assert same(weights(tmp_path / "student"), weights(tmp_path / "other"))
    assert len(of_tags) == sum(map(len, tokens))
    assert len(of_labels) == 30
    for values in (of_tags, of_labels):
        assert values.sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert values.max(axis=1).mean() > 1.2 / values.shape[1]
    # The labels of each text, from the probability that the exported model has of the best one.
    found = [load_predictor(path) for path in teachers]
    best = found[0].run("tokens", {"tokens": [[t.encode() for t in row] for row in tokens]})
    assert np.mean(of_labels.argmax(axis=1) == [_label_id(found[0], name) for name in best["label"]]) > 0.6
    others = {"model.tag_scheme": "bio" if scheme == "bioes" else "bioes", "training.exchange_spans": 0.5}
    for key, value in others.items():
        with pytest.raises(UserError, match=rf"teacher-0 cannot teach here: .*{key}"):
            distill(teachers, run=tmp_path / "refused", overrides=[f"{key}={value}"])
    assert not (tmp_path / "refused").exists()


def _label_id(predictor: Any, name: bytes) -> int:
    return int(list(predictor.info.preprocessing.labels).index(name))


# Seeds


def test_train_seeds(command: Command, reviews: Path, tmp_path: Path) -> None:
    """`train --seeds N` makes N runs that differ in their seed, which distill and evaluate take."""
    pairs = ("model.units=4", "model.embedding_size=4", "training.epochs=1", "seed=5", *PLAIN)
    words = [word for pair in pairs for word in ("--set", pair)]
    arguments = ("train", "classification", reviews, "--run", tmp_path / "run", *words, "--seeds", 2)
    result = command(*arguments)
    again = command(*arguments, "--resume")

    assert (result.exit_code, again.exit_code) == (0, 0)
    runs = [tmp_path / "run-0", tmp_path / "run-1"]
    assert result.stdout == again.stdout == "".join(f"{run}\n" for run in runs)
    assert [open_run(run).config.seed for run in runs] == [5, 6]
    assert not same(*map(weights, runs))
    assert command("evaluate", *runs, "--no-baseline").exit_code == 0


def test_seeds_need_a_name(command: Command, reviews: Path) -> None:
    """Without `--run` the runs would have no name."""
    result = command("train", "classification", reviews, "--seeds", 2)

    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "--seeds needs --run" in result.stderr
