"""The parts of the benchmark that decide what is compared: turns, workers, ratios and the arithmetic."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from benchmarks import rounds
from benchmarks.flops import dense, recurrent
from benchmarks.rounds import Spread, Worker, WorkerFailed, alternate, ratios

FOLDER = Path(rounds.__file__).parent
SCRIPT = """
from answering import answer

def count(job):
    turns = iter(range(job["start"], job["start"] + 2))

    def turn():
        print("a library prints this")
        return {"turn": next(turns)}

    return turn

answer({"count": count})
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str | Path]:
    script = tmp_path / "worker.py"
    script.write_text(SCRIPT)
    return [sys.executable, script]


def test_a_worker_measures_once_a_turn_and_what_libraries_print_is_not_its_answer(command):
    """A worker answers each turn with one object, and tells what it printed when it fails."""
    with Worker(command, {"kind": "count", "start": 7}, {"PYTHONPATH": str(FOLDER)}) as worker:
        worker.ready()
        assert [worker.turn(), worker.turn()] == [{"turn": 7}, {"turn": 8}]
        with pytest.raises(WorkerFailed, match=r"exit status 1:(?s:.*)StopIteration"):
            worker.turn()


def test_a_worker_ends_with_its_input(command):
    """Closing a worker ends it without a signal, in less time than it would be killed after."""
    worker = Worker(command, {"kind": "count", "start": 0}, {"PYTHONPATH": str(FOLDER)})
    worker.ready()
    began = time.monotonic()
    worker.close()
    assert time.monotonic() - began < rounds.PATIENCE


def test_all_take_turns_and_the_first_one_changes():
    """In each round everything is called once, and results of the warm-up are not kept."""
    order: list[str] = []

    def call(name: str) -> int:
        order.append(name)
        return len(order)

    calls = {name: lambda name=name: call(name) for name in "abc"}
    found = alternate(calls, 3, warm_up=1)
    assert "".join(order) == "cab" + "abc" + "bca" + "cab"
    assert found == {"a": [4, 9, 11], "b": [5, 7, 12], "c": [6, 8, 10]}


def test_ratios_are_those_within_a_round():
    """A load of the machine that slows one round for all does not change the ratio."""
    assert ratios([2, 30, 8], [1, 10, 2]) == Spread(3, 2, 4)


def test_operations_are_those_of_the_matrix_products():
    """The classifier of 128 units has 2 × 2 × 4 × 128 × (128 + 128) operations a token."""
    assert recurrent(128, 128, directions=2) == 524_288
    assert recurrent(64, 512) == 2 * 4 * 512 * 576
    assert recurrent(10, 20, cell="gru") == 3 * recurrent(10, 20, cell="simple") == 3 * 2 * 20 * 30
    assert dense(512, 67) == 68_608
