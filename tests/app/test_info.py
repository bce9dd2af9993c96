"""`textrnn info`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from app.artifacts.files import versions
from models.kernels.choice import choose
from models.kernels.cpus import available_cpus

Command = Callable[..., Result]


def test_the_json_object_says_what_runs_and_why(command: Command) -> None:
    found = json.loads(command("info", "--json").stdout)
    choice = choose("auto")

    assert found["versions"] == versions()
    assert found["devices"][0] == "CPU:0"
    assert found["cpus"]["available"] == available_cpus()
    assert found["threads"]["native"] >= 1
    assert found["kernels"]["name"] == choice.kernels
    assert found["kernels"]["reason"] == choice.reason
    assert found["kernels"]["instruction_set"] == choice.instruction_set
    library = found["kernels"]["library"]
    assert (library is not None and Path(library).is_file()) == (choice.kernels == "native")


def test_the_table_has_the_same_facts(command: Command) -> None:
    lines = command("info").stdout.splitlines()
    shown = {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in lines}
    choice = choose("auto")

    assert shown["tensorflow"] == versions()["tensorflow"]
    assert shown["devices"].startswith("CPU:0")
    assert shown["kernels"] == f"{choice.kernels}: {choice.reason}"
