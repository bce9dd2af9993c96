"""The inside of a `rounds.Worker`, with the standard library alone: it runs in the environments of all peers.

A worker reads its job from the first line of stdin, as JSON. It prepares it, warms up, and prints a line.
Each further line of stdin is a turn: it measures once and prints a JSON object. What libraries print goes to
stderr.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

Parts = dict[str, dict[str, Any]]
"""Measurements of one turn by the name of the part: `seconds` for a number of `examples` and `tokens`."""
Turn = Callable[[], Any]


def answer(jobs: Mapping[str, Callable[[dict[str, Any]], Turn]]) -> None:
    """Prepare the job that is asked for, and measure it in each turn.

    Args:
        jobs: by the value of `kind` in a job; each prepares it and returns the function of a turn, whose
            result is printed as JSON.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    turn = jobs[job["kind"]](job)
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn()), file=replies, flush=True)


def seconds(call: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def turn_of_layers(
    cases: Sequence[dict[str, Any]], prepared: Callable[[dict[str, Any]], Callable[[], Any]]
) -> Turn:
    """Return a turn that measures a layer alone, after some calls to warm up.

    Args:
        cases: each with a `name`, the `rows`, `steps` and `units`, whether it goes `backward`, and the number
            of `calls` in a turn.
        prepared: returns the function of a case.
    """
    calls = [(case, prepared(case)) for case in cases]
    for _, call in calls:
        repeated(call, 2)

    def turn() -> Parts:
        return {
            case["name"]: {
                "seconds": repeated(call, case["calls"]),
                "examples": case["rows"],
                "tokens": case["rows"] * case["steps"],
            }
            for case, call in calls
        }

    return turn


def turn_of_texts(texts: Mapping[str, Any], predict: Callable[[Any], list[float]], calls: int) -> Turn:
    """Return a turn that measures predictions for one text at a time, after a turn to warm up.

    Args:
        texts: or token ids, by their number of tokens.
        predict: returns the probabilities of the classes.
        calls: number of predictions of each text in a turn.
    """

    def turn() -> Parts:
        return {
            length: {
                "seconds": repeated(partial(predict, text), calls),
                "examples": 1,
                "tokens": int(length),
                "probabilities": predict(text),
            }
            for length, text in texts.items()
        }

    turn()
    return turn


def repeated(call: Callable[[], Any], calls: int) -> float:
    """Return the median time of several calls."""
    return statistics.median(seconds(call) for _ in range(calls))
