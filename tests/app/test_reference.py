from __future__ import annotations

from pathlib import Path

import pytest

from app.cli import main
from app.config import get_config_class
from app.config.keys import keys_of
from app.reference import pages, write
from app.tasks import TASKS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["configuration.md", "commands.md"])
def test_the_reference_pages_are_current(name: str) -> None:
    """The pages in `docs/` are those that `python -m app.reference docs` writes."""
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name]


def test_every_key_of_every_task_is_listed() -> None:
    """The table of a task has a row for each of its keys, with default and description."""
    text = pages()["configuration.md"]
    for task in TASKS:
        table = text.partition(f"\n## {task.capitalize()}\n")[2].partition("\n## ")[0]
        rows = [line for line in table.splitlines() if line.startswith("| `")]
        assert [row.split("`")[1] for row in rows] == list(keys_of(get_config_class(task)))


def test_every_command_is_listed() -> None:
    """Each command has a heading and its usage."""
    text = pages()["commands.md"]

    for name in main.commands:
        assert f"## `textrnn {name}`\n\n```text\nUsage: textrnn {name}" in text
    assert "## `textrnn datasets check`" in text


def test_write(tmp_path: Path) -> None:
    """The pages are written to the given directory."""
    write(tmp_path)

    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == pages()
