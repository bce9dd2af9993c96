"""Interrupt trainings at random moments, and compare what they end with with uninterrupted ones, bit for bit.

    python benchmarks/interruptions.py --output interrupted                       # 50 kills of each training
    python benchmarks/interruptions.py --output interrupted --only tagging --kills 10 --faults 5

Each training has `training.deterministic = true` and writes its state after every step. Once it runs without
a break. Then its process is killed (SIGKILL) at a random moment and started again with `--resume`, until so
many kills have hit it; one that ends sooner is compared and begun anew. A fault is an error of a random write
(no space, input/output), or damage of the last state between two processes: cut off, or one flipped bit.
Compared are all arrays of the kept weights and of the last state, and all lines of metrics.jsonl but their
times.
"""

from __future__ import annotations

import argparse
import errno
import json
import multiprocessing
import os
import random
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FORKS = multiprocessing.get_context("forkserver")
SMALL = (
    "training.deterministic=true",
    "training.steps_per_checkpoint=1",
    "training.epochs=4",
    "training.early_stopping_patience=0",
    "model.units=8",
    "model.embedding_size=8",
)
CLASSIFIER = ("classification", "sample:reviews", "training.batch_size=128", "text.max_length=20")
TAGGER = ("tagging", "sample:tags", "training.batch_size=96", "model.character_features=none")
WRITER = ("generation", "sample:text", "training.batch_size=32", "training.sequence_length=32")
TRANSLATOR = ("translation", "sample:pairs", "training.batch_size=128", "text.vocabulary_size=300")

TRAININGS = {
    "classification": (*CLASSIFIER, "model.recurrent_dropout=0.2"),
    "tagging": TAGGER,
    "generation": WRITER,
    "translation": TRANSLATOR,
    "keras": (*CLASSIFIER, "training.kernels=keras"),
    "averaged": (*CLASSIFIER, "training.ema=0.9", "training.schedule=plateau"),
    "adversarial": (*CLASSIFIER, "training.adversarial=1", "training.virtual_adversarial=1"),
    "mixup": (*CLASSIFIER, "training.mixup=0.2", "training.label_smoothing=0.1"),
    "r_drop": (*CLASSIFIER, "training.r_drop=1", "model.locked_dropout=true"),
    "stopped": (*CLASSIFIER, "training.epochs=6", "training.early_stopping_patience=1"),
    "pretrained": (*CLASSIFIER, "model.pretrained=learn"),
    "words": (
        *WRITER,
        "text.tokens=word",
        "training.sampled_softmax=50",
        "training.ema=0.9",
        "model.weight_dropout=0.2",
    ),
}
"""TASK, DATA and settings, by name: the tasks, and the techniques that have a state or random numbers."""
TIMES = ("examples_per_second", "tokens_per_second", "evaluation_seconds")
DAMAGE = ("cut", "flip")
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}


def main() -> int:
    """Interrupt each training, print a line about each, and return 1 if one of them ended otherwise."""
    arguments = _arguments()
    FORKS.set_forkserver_preload(["app.cli", "app.train", "app.training.fit", "app.training.recorder"])
    _wait_for_imports()
    different = 0
    for name in arguments.only:
        case = Case(name, arguments.output / name, random.Random(f"{arguments.seed} {name}"))
        problems = case.run(arguments.kills, arguments.faults)
        print(f"{name}: {case.described()}: {'; '.join(problems) or 'bit-identical'}", flush=True)
        different += bool(problems)
    return int(different > 0)


def _wait_for_imports() -> None:
    """Start the server of processes, which imports TensorFlow once for all of them."""
    process = FORKS.Process(target=os.getpid)
    process.start()
    process.join()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs; must not exist")
    parser.add_argument("--only", nargs="+", choices=TRAININGS, default=list(TRAININGS))
    parser.add_argument("--kills", type=int, default=50, help="of each training")
    parser.add_argument("--faults", type=int, default=10, help="of each training")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


@dataclass
class Case:
    """One training."""

    name: str
    folder: Path
    chance: random.Random
    kills: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    starts: int = 0
    ends: int = 0
    """Trainings that were interrupted, resumed to their end, and compared."""

    def run(self, kills: int, faults: int) -> list[str]:
        """Interrupt the training so often, and return how its ends differ from that without a break."""
        self.folder.mkdir(parents=True)
        began = time.monotonic()
        status = self._start("whole", None, None)
        if status != 0:
            return [f"it ends with status {status}: {self._last_message()}"]
        duration = time.monotonic() - began
        problems: list[str] = []
        while (self.kills < kills or sum(self.faults.values()) < faults) and not problems:
            run = f"run-{self.ends}"
            while not _finished(self.folder / run):
                problems += self._interrupt(run, duration, self.kills < kills, faults)
                if problems:
                    return problems
            self.ends += 1
            problems += differences(self.folder / "whole", self.folder / run)
            if not problems:
                shutil.rmtree(self.folder / run)
        return problems

    def described(self) -> str:
        """Return what has been done to the training."""
        faults = ", ".join(f"{number} × {kind}" for kind, number in sorted(self.faults.items()))
        return f"{self.kills} kills, {faults or 'no faults'}, {self.starts} starts, {self.ends} ends"

    def _interrupt(self, run: str, duration: float, kill: bool, faults: int) -> list[str]:
        """Start or resume the training, and interrupt it or let it end; return what is wrong."""
        fault = None
        if sum(self.faults.values()) < faults and self.chance.random() < 0.5:
            fault = self.chance.choice([*ERRORS, *DAMAGE])
            if fault in DAMAGE and not self._damage(run, fault):
                fault = None
        if fault is not None:
            self.faults[fault] = self.faults.get(fault, 0) + 1
        error = (fault, self.chance.randrange(1, 60)) if fault in ERRORS else None
        wait = self.chance.uniform(0, duration) if kill and error is None else None
        status = self._start(run, wait, error)
        allowed = {0, *([None] if wait is not None else []), *([1] if error else [])}
        if status in allowed:
            return []
        return [f"it ends with status {status}: {self._last_message()}"]

    def _start(self, run: str, wait: float | None, error: tuple[str, int] | None) -> int | None:
        """Run the command, and return its status; None if it was killed, after `wait` seconds."""
        task, data, *settings = TRAININGS[self.name]
        chosen = {text.partition("=")[0]: text for text in (*SMALL, *settings)}
        words = ["train", task, data, "--run", run, "--resume", "--no-report"]
        words += [word for text in chosen.values() for word in ("--set", text)]
        process = FORKS.Process(target=command, args=(words, str(self.folder), error))
        process.start()
        self.starts += 1
        process.join(wait)
        if process.exitcode is None:
            process.kill()
            process.join()
            self.kills += 1
            return None
        return process.exitcode

    def _damage(self, run: str, how: str) -> bool:
        """Damage the last state; return False if there is not yet one before it."""
        path = self.folder / run / "checkpoints/state.npz"
        if not path.with_name("previous_state.npz").exists() or not path.exists():
            return False
        content = bytearray(path.read_bytes())
        place = self.chance.randrange(len(content))
        if how == "cut":
            del content[place:]
        else:
            content[place] ^= 1 << self.chance.randrange(8)
        path.unlink()  # the state before it may share its blocks
        path.write_bytes(content)
        return True

    def _last_message(self) -> str:
        lines = (self.folder / "messages.txt").read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""


def command(words: list[str], folder: str, error: tuple[str, int] | None) -> None:
    """Run a command of textrnn in this process.

    Args:
        words: of the command.
        folder: working directory; what is printed is added to `messages.txt`.
        error: one of `ERRORS`, and the number of the write that fails; None: no write fails.
    """
    os.chdir(folder)
    with Path("messages.txt").open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if error is not None:
        _fail_at(*error)
    from app.cli import main as textrnn

    textrnn(words)


def _fail_at(kind: str, number: int) -> None:
    """Let one write of an array file, or one sync, fail: the file is cut off, as on a full disk."""
    writes, real_fsync, real_savez = 0, os.fsync, np.savez

    def fails() -> bool:
        nonlocal writes
        writes += 1
        return writes == number

    def fsync(descriptor: int) -> None:
        if fails():
            raise OSError(ERRORS[kind], os.strerror(ERRORS[kind]))
        real_fsync(descriptor)

    def savez(path: Any, **arrays: Any) -> None:
        real_savez(path, **arrays)
        if fails():
            os.truncate(path, Path(path).stat().st_size // 2)
            raise OSError(ERRORS[kind], os.strerror(ERRORS[kind]))

    os.fsync = fsync
    np.savez = savez  # type: ignore[assignment]


def differences(expected: Path, found: Path) -> list[str]:
    """Return in what two runs differ.

    Args:
        expected: run directory of a training without a break.
        found: of one that was interrupted.
    """
    kinds: tuple[tuple[str, Callable[[Path], Any]], ...] = (
        ("lines of metrics.jsonl", lines),
        ("samples", samples),
        ("arrays of model.keras", kept_arrays),
        ("arrays of the last state", state_arrays),
    )
    return [f"other {what}" for what, read in kinds if not _equal(read(expected), read(found))]


def lines(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without times."""
    read = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name not in TIMES} for line in read]


def samples(run: Path) -> str:
    """Return the texts that a language model wrote after each epoch."""
    path = run / "samples.jsonl"
    return path.read_text() if path.exists() else ""


def kept_arrays(run: Path) -> dict[str, np.ndarray]:
    """Return the weights of the best epoch by name."""
    import h5py

    found: dict[str, np.ndarray] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item)

    with (
        zipfile.ZipFile(run / "model.keras") as archive,
        archive.open("model.weights.h5") as member,
        h5py.File(member) as file,
    ):
        file.visititems(add)
    return found


def state_arrays(run: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the last state by name, but the progress, which has times."""
    with np.load(run / "checkpoints/state.npz") as saved:
        return {name: saved[name] for name in saved.files if name != "progress"}


def _equal(first: Any, second: Any) -> bool:
    if not (isinstance(first, dict) and first and isinstance(next(iter(first.values())), np.ndarray)):
        return bool(first == second)
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and first[name].tobytes() == second[name].tobytes()
        for name in first
    )


def _finished(run: Path) -> bool:
    with suppress(FileNotFoundError):
        return bool(json.loads((run / "manifest.json").read_text())["complete"])
    return False


if __name__ == "__main__":
    sys.exit(main())
