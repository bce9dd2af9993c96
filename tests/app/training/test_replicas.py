"""Several devices of a process, and several processes, train as one device does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from trained import PLAIN, TIMES, metrics, overrides, same, weights

from app.artifacts.run import read_run_manifest
from app.config import TaskConfig, load_config
from app.tasks import get_task
from app.train import train
from app.training.strategy import check_strategy
from app.training.workers import read_place
from data.errors import UserError
from data.samples import pairs, tags, text

Configured = Callable[..., TaskConfig]
Write = Callable[[Path, Sequence[Mapping[str, object]]], None]

HERE = Path(__file__).parent
MOST = 300
"""Seconds after which a process that should have ended is killed."""
KEYS = (
    *("model.units=4", "model.embedding_size=4", "training.batch_size=8", "training.epochs=2"),
    *("training.steps_per_checkpoint=1", "training.learning_rate=0.01", *PLAIN, "training.ema=0.5"),
)


def largest_difference(first: Path, second: Path) -> float:
    """Return that of all numbers in metrics.jsonl, except the times."""
    found = 0.0
    for one, other in zip(metrics(first), metrics(second), strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {*TIMES, "best"}:
            found = max(found, abs(one[name] - other[name]))
    return found


# Devices of one process


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory, reviews: Path, jsonl: Write) -> Path:
    """Return the folder of the runs of `mirrored_trainings`."""
    folder = tmp_path_factory.mktemp("mirrored")
    for name, sample, sizes in (
        ("tags", tags(0), {"train": 24, "validation": 6}),
        ("pairs", pairs(0), {"train": 24, "validation": 6}),
        ("texts", text(0), {"train": 6, "validation": 2}),
    ):
        for split, size in sizes.items():
            jsonl(folder / name / f"{split}.jsonl", sample[split][:size])
    subprocess.run(
        [sys.executable, HERE / "mirrored_trainings.py", folder, reviews],
        cwd=HERE.parents[2],
        check=True,
        timeout=540,
        capture_output=True,
    )
    return folder


@pytest.mark.parametrize("name", ["classification", "tagging", "generation", "translation", "few"])
def test_devices_train_as_one_does(mirrored: Path, name: str) -> None:
    """Three devices have the losses, the metrics and the weights of one."""
    single, several = mirrored / f"{name}-single", mirrored / f"{name}-mirrored"

    assert len(metrics(single)) > 1
    assert largest_difference(single, several) < 1e-5
    for one, other in zip(weights(single), weights(several), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    manifests = [read_run_manifest(run) for run in (single, several)]
    assert [(m.strategy, m.replicas) for m in manifests] == [("single", 1), ("mirrored", 3)]


def test_devices_resume_exactly(mirrored: Path) -> None:
    """With dropout, mixup and perturbations, which are random on each device, too."""
    assert largest_difference(mirrored / "whole", mirrored / "parts") == 0
    assert same(weights(mirrored / "whole"), weights(mirrored / "parts"))


def test_another_number_of_devices(mirrored: Path) -> None:
    """A training continues on one device, and the manifest says so."""
    manifest = read_run_manifest(mirrored / "fewer")

    assert manifest.complete
    assert (manifest.strategy, manifest.replicas) == ("single", 1)
    assert manifest.changes == [
        "from epoch 1, step 2: 3 devices shared the rows of a step, 1 does now: the weights will not be "
        "those of an uninterrupted training, bit for bit"
    ]


def test_one_device_has_all_rows(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """On a host with one device `mirrored` is what `single` is."""
    said: list[str] = []

    train(
        "classification",
        str(reviews),
        configured(*PLAIN, "training.strategy=mirrored"),
        run=tmp_path / "run",
        watcher=lambda event: said.append(getattr(event, "text", "")),
    )

    assert f"{tmp_path / 'run'}: 1 device has all rows of a step" in said


# Processes


def free_addresses(number: int) -> list[str]:
    """Return addresses of this machine that are free now."""
    sockets = [socket.socket() for _ in range(number)]
    for own in sockets:
        own.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{own.getsockname()[1]}" for own in sockets]
    for own in sockets:
        own.close()
    return addresses


class Job:
    """Two workers, each with a folder of its own."""

    def __init__(self, folder: Path, commands: Sequence[Sequence[str]]) -> None:
        """Start them."""
        self.folders = [folder / f"worker{rank}" for rank in range(len(commands))]
        self.addresses = free_addresses(len(commands))
        self.processes = []
        for rank, (own, words) in enumerate(zip(self.folders, commands, strict=True)):
            own.mkdir(exist_ok=True)
            task = {"type": "worker", "index": rank}
            config = {"cluster": {"worker": self.addresses}, "task": task}
            with (own / "output").open("w") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "app", *words],
                    cwd=own,
                    env={**os.environ, "TF_CONFIG": json.dumps(config), "PYTHONPATH": str(HERE.parents[2])},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.processes.append(process)

    def wait_for(self, path: Path, lines: int) -> None:
        """Wait until a file has so many lines."""
        end = time.monotonic() + MOST
        while not (path.exists() and path.read_text().count("\n") >= lines):
            assert all(process.poll() is None for process in self.processes), self.outputs()
            assert time.monotonic() < end
            time.sleep(0.05)

    def end(self) -> list[int]:
        """Wait for all of them, and return how they ended."""
        end = time.monotonic() + MOST
        return [process.wait(max(end - time.monotonic(), 1)) for process in self.processes]

    def outputs(self) -> list[str]:
        """Return what they have printed."""
        return [(own / "output").read_text() for own in self.folders]

    def kill(self) -> None:
        """Leave nothing behind."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Return a function that starts a command in two workers, and kills what is left of them."""
    jobs: list[Job] = []

    def begin(*words: str, of_second: Sequence[str] = ()) -> Job:
        jobs.append(Job(tmp_path, [words, [*words, *of_second]]))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.kill()


def command(reviews: Path, *assignments: str) -> list[str]:
    """Return the words of a training by several workers."""
    words = ["train", "classification", str(reviews), "--run", "run", "--no-report"]
    return [*words, *overrides(*KEYS, "training.strategy=multi_worker", *assignments)]


def test_workers_train_as_one_process_does(start: Callable[..., Job], reviews: Path, tmp_path: Path) -> None:
    """They do so although one is killed and all are resumed, and the chief alone writes."""
    train("classification", str(reviews), load_config(overrides=KEYS), run=tmp_path / "single")
    words = command(reviews)
    job = start(*words)
    first, second = job.addresses
    job.wait_for(job.folders[0] / "run" / "metrics.jsonl", 2)
    job.processes[1].kill()

    killed = job.end()
    output = job.outputs()[0]
    job = start(*words, "--resume")
    resumed = job.end()

    assert killed == [1, -signal.SIGKILL]
    error = output.splitlines()[-1]
    assert error.startswith(f"Error: worker 0 ({first}): worker 1 ({second}) has ended or cannot be reached")
    assert "with --resume on all workers" in error
    assert output.count("Error") == 1
    assert resumed == [0, 0], job.outputs()
    chief, other = job.folders
    assert "resuming at epoch" in job.outputs()[0]
    assert largest_difference(tmp_path / "single", chief / "run") < 1e-5
    for one, other_one in zip(weights(tmp_path / "single"), weights(chief / "run"), strict=True):
        np.testing.assert_allclose(one, other_one, atol=1e-5)
    assert [path.name for path in other.iterdir()] == ["output"]
    first, second = job.addresses
    assert job.outputs()[1].splitlines() == [
        f"worker 1 ({second}): waiting for all 2 workers to start",
        f"worker 1 ({second}): training; the chief, worker 0 ({first}), reports",
        f"worker 1 ({second}): done; the chief has the run",
    ]


def test_a_signal_stops_all_workers(start: Callable[..., Job], tmp_path: Path, jsonl: Write) -> None:
    """SIGTERM of one worker, not of the chief: all end, and the chief saves the state."""
    for split, size in {"train": 24, "validation": 6}.items():
        jsonl(tmp_path / "tags" / f"{split}.jsonl", tags(0)[split][:size])
    tiny = ("model.units=4", "model.embedding_size=4", "model.character_units=4", "training.batch_size=8")
    endless = ("training.epochs=2000", "training.early_stopping_patience=0")
    words = ["train", "tagging", str(tmp_path / "tags"), "--run", "run", "--no-report"]
    job = start(*words, *overrides(*tiny, *endless, "training.strategy=multi_worker"))
    run = job.folders[0] / "run"
    job.wait_for(run / "metrics.jsonl", 1)

    job.processes[1].terminate()

    assert job.end() == [130, 130]
    assert "run: interrupted; run the same command with --resume to continue" in job.outputs()[0]
    assert "interrupted; the chief has the run" in job.outputs()[1]
    assert (run / "checkpoints" / "state.npz").is_file()


def test_workers_differ(start: Callable[..., Job], reviews: Path) -> None:
    """A worker with another configuration is named by all."""
    job = start(*command(reviews), of_second=overrides("training.batch_size=9"))

    assert job.end() == [1, 1]
    differs = (
        f"Error: worker 1 ({job.addresses[1]}) differs from the chief: training.batch_size is 9, not 8; give "
        "all workers the same command, data and versions"
    )
    assert [output.splitlines()[-1] for output in job.outputs()] == [differs] * 2
    assert not (job.folders[0] / "run").exists()


def test_an_error_of_one_worker_is_told_to_all(
    start: Callable[..., Job], reviews: Path, tmp_path: Path
) -> None:
    """The chief has another directory in place of the run: the other worker says what the chief says."""
    (tmp_path / "worker0" / "run").mkdir(parents=True)

    job = start(*command(reviews))

    assert job.end() == [1, 1]
    error = "run exists and is not a run directory; give another --run"
    assert [output.splitlines()[-1] for output in job.outputs()] == [
        f"Error: {error}",
        f"Error: worker 0 ({job.addresses[0]}) has ended: {error}",
    ]


# What is refused, and parts of it


CLUSTER = {"worker": ["a:1", "b:2"]}


@pytest.mark.parametrize(
    ("text_", "reason"),
    [
        (None, "it is not set"),
        ("{", "it is not JSON"),
        ('{"cluster": {"worker": ["a:1"]}}', "it has no cluster, task.type or task.index"),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}), "its task is worker 2"),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "ps", "index": 0}}), "its task is ps 0"),
        (
            json.dumps({"cluster": {**CLUSTER, "ps": ["c:3"]}, "task": {"type": "worker", "index": 0}}),
            "tasks of type ps are not used",
        ),
        (
            json.dumps({"cluster": {"worker": ["a", "b:2"]}, "task": {"type": "worker", "index": 0}}),
            "'a' is not HOST:PORT",
        ),
        (
            json.dumps({"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}),
            "an address occurs twice",
        ),
    ],
    ids=["missing", "syntax", "keys", "index", "type", "servers", "port", "twice"],
)
def test_a_wrong_cluster(text_: str | None, reason: str) -> None:
    """The message has what is wrong, and an example."""
    with pytest.raises(UserError, match="TF_CONFIG") as caught:
        read_place(text_)

    assert reason in str(caught.value)
    assert '"task": {"type": "worker", "index": 0}' in str(caught.value)


def test_a_chief_comes_first() -> None:
    """A cluster may have a task `chief`, which counts before the workers."""
    cluster = {"worker": ["a:1", "b:2"], "chief": ["c:3"]}

    place = read_place(json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}}))

    assert place.addresses == ("c:3", "a:1", "b:2")
    assert place.rank == 2
    assert place.name(0) == "chief 0 (c:3)"


@pytest.mark.parametrize(
    ("strategy", "assignments", "key"),
    [
        ("mirrored", ("data.unlabelled=texts.txt", "training.virtual_adversarial=1"), "data.unlabelled"),
        ("multi_worker", ("model.pretrained=learn",), "model.pretrained = 'learn'"),
    ],
    ids=["unlabelled", "pretrained"],
)
def test_what_several_devices_cannot_train(strategy: str, assignments: Sequence[str], key: str) -> None:
    """One line names the key."""
    config = load_config(overrides=[*assignments, f"training.strategy={strategy}"])

    with pytest.raises(UserError, match=f"training.strategy = '{strategy}'") as caught:
        check_strategy(get_task("classification"), config, ())

    assert key in str(caught.value)
