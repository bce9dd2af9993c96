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
from collections.abc import Callable, Mapping
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


def repeated(call: Callable[[], Any], calls: int) -> float:
    """Return the median time of several calls."""
    return statistics.median(seconds(call) for _ in range(calls))
