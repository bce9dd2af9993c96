"""The README's commands do what it says."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.cli import main
from data.samples import reviews

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
DOCS = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))


def commands(text: str) -> list[list[str]]:
    """The arguments of every `textrnn …` line of the shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = (line for block in blocks for line in block.splitlines() if line.startswith("textrnn "))
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_the_road_from_a_table_to_a_savedmodel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The five commands, in their order, on a table of the bundled sample's rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = reviews(0)["train"][:300]
    with Path("reviews.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["text", "label"])
        table.writeheader()
        table.writerows(rows)
    Path("new_reviews.txt").write_text("The soup is dull.\n\nWhat a charming film!\n", encoding="utf-8")
    block = README.split("## From your own table to a SavedModel")[1].split("```sh\n")[1].split("```")[0]

    outputs = []
    for arguments in commands(f"```sh\n{block}```"):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, (arguments, result.stderr)
        outputs.append(result.stdout)

    assert len(outputs) == 5
    assert outputs[3] == "exports/reviews/1\n"
    answers = [json.loads(line) for line in outputs[4].splitlines()]
    assert [sorted(answer) for answer in answers] == [["label", "probabilities", "score"]] * 3


@pytest.mark.parametrize("path", [Path("README.md"), *DOCS], ids=lambda path: path.name)
def test_every_command_line_parses(path: Path) -> None:
    """No command, argument or option that is named has been renamed since."""
    found = commands(README if path.name == "README.md" else path.read_text(encoding="utf-8"))

    for arguments in found:
        command: click.Command = main
        context = click.Context(main)
        while isinstance(command, click.Group):
            name, command, arguments = command.resolve_command(context, arguments)  # type: ignore[assignment]
        command.make_context(name, list(arguments))
    assert found or path.name not in ("README.md", "results.md")


def test_relative_links_lead_somewhere() -> None:
    """Every document that the README names is there."""
    links = re.findall(r"\]\((docs/[^)]+)\)", README)

    assert links
    for link in links:
        assert (Path(__file__).parents[1] / link).is_file(), link
