"""Rounds of measurements in which programs take turns, so that other load of the machine affects all of them.

A program that cannot share a process with the others runs in a `Worker`, which `answering` describes from the
inside.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")
PATIENCE = 10
"""Seconds that a worker has to end by itself."""
PAUSE = 0.05
"""Seconds before a turn: threads of the program before may still wait actively for more work."""


class WorkerFailed(Exception):
    """A worker ended before it answered; the message is the end of what it printed."""


class Worker:
    """A process that prepares a job, and then measures it once in each turn."""

    def __init__(
        self,
        command: Sequence[str | Path],
        job: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it. It prepares its job while others do; `ready` waits for it.

        Args:
            command: program and arguments.
            job: passed to it as a line of JSON.
            environment: variables to add to those of this process.
        """
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed in close
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._write(json.dumps(job))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ready(self) -> None:
        """Wait until the job is prepared.

        Raises:
            WorkerFailed: it ended.
        """
        self._read()

    def turn(self) -> dict[str, Any]:
        """Measure once, and return what the worker says.

        Raises:
            WorkerFailed: it ended.
        """
        time.sleep(PAUSE)
        self._write("go")
        return self._read()

    def close(self) -> None:
        """End the process: by the end of its input, so that it can end others, or else by a signal."""
        assert self._process.stdin
        assert self._process.stdout
        # Closing a pipe writes what a process that has ended did not read.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _write(self, line: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise self._failure()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _failure(self) -> WorkerFailed:
        status = self._process.wait()
        self._errors.seek(0)
        printed = self._errors.read().strip()[-1000:]
        return WorkerFailed(f"exit status {status}: {printed}")


def alternate(
    calls: Mapping[Name, Callable[[], Result]], rounds: int, *, warm_up: int = 0
) -> dict[Name, list[Result]]:
    """Call all functions in each round, and return what each returned, by its name.

    Each round starts with another function, so that none always comes after the same one.

    Args:
        calls: functions by name.
        rounds: number of rounds whose results are kept.
        warm_up: number of rounds before them.
    """
    names = list(calls)
    found: dict[Name, list[Result]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        first = number % len(names) if names else 0
        for name in names[first:] + names[:first]:
            result = calls[name]()
            if number >= 0:
                found[name].append(result)
    return found


@dataclass(frozen=True)
class Spread:
    """Median and range of a quantity over the rounds."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return the spread of at least one value: `Spread.of([3, 1, 2]) -> Spread(2, 1, 3)`."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Return the spread of the ratios within each round, which load of the machine affects less.

    `ratios([2, 30], [1, 10]) -> Spread(2.5, 2, 3)`
    """
    return Spread.of(a / b for a, b in zip(numerators, denominators, strict=True))
