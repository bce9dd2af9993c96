"""The commands and the links of README and documentation work."""

from __future__ import annotations

import csv
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.cli import main
from app.config import load_config
from data.samples import reviews

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def commands(text: str) -> list[list[str]]:
    """Return the arguments of every `textrnn …` line of the shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = (line for block in blocks for line in block.splitlines() if line.startswith("textrnn "))
    return [shlex.split(line, comments=True)[1:] for line in lines]


def anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_from_a_table_to_a_savedmodel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The five commands run in their order, on a table of examples of the sample."""
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
    predictions = [json.loads(line) for line in outputs[4].splitlines()]
    assert [sorted(prediction) for prediction in predictions] == [["label", "probabilities", "score"]] * 3


def check_keys(arguments: list[str]) -> None:
    """Load the configuration of a `train` command with its `--set` options; raises if a key is refused."""
    if arguments[0] == "train":
        sets = [value for option, value in pairwise(arguments) if option == "--set" and "…" not in value]
        load_config(arguments[1], overrides=sets)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_line_parses(path: Path) -> None:
    """Commands, arguments and options have the names that the pages give them; configuration keys too."""
    found = commands(path.read_text(encoding="utf-8"))

    for arguments in found:
        check_keys(arguments)
        command: click.Command = main
        context = click.Context(main, **main.context_settings)
        while isinstance(command, click.Group):
            name, command, arguments = command.resolve_command(context, arguments)  # type: ignore[assignment]
        command.make_context(name, list(arguments), parent=context)
    assert found or path.name not in ("README.md", "results.md")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    """Every file and every heading that a page links to exists."""
    links = re.findall(r"\]\(([\w./#-]+)\)", path.read_text(encoding="utf-8"))

    assert links or path.name not in ("README.md", "classification.md")
    for link in links:
        name, _, heading = link.partition("#")
        target = path.parent / name if name else path
        assert target.is_file(), link
        assert not heading or heading in anchors(target), link
