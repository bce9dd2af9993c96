"""What the data check advises works."""

from __future__ import annotations

import random
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from app.config import load_config
from app.datasets import check

RANDOM = random.Random(0)
SETS = [RANDOM.sample(["joy", "love", "anger"], 1 + i % 3) for i in range(80)]


def findings(path: Path, *overrides: str, task: str = "classification") -> dict[str, Any]:
    """Check a file with options as they are typed into a shell; return the report as JSON."""
    typed = shlex.split(" ".join(overrides))
    options = [own for own in typed if own != "--set"]
    config = load_config(task, overrides=[*options, f"data.directory={path.parent / 'prepared'}"])
    return check(str(path), task, config, None).as_json()


def advised(report: dict[str, Any], start: str) -> str:
    """Return the option that the warning with a start names."""
    (sentence,) = (own for own in report["warnings"] if own.startswith(start))
    found = re.search(r"--set ('[^']*'|[^\s;]*)", sentence)
    assert found is not None
    return found.group()


@pytest.mark.parametrize("separator", ["|", ",", "; ", "/", " "])
def test_the_separator_of_sets(tmp_path: Path, separator: str) -> None:
    """With the option that is named, each example has its labels, and the warning is gone."""
    path = tmp_path / "sets.tsv"
    lines = (f"a text {i}\t{separator.join(labels)}\n" for i, labels in enumerate(SETS))
    path.write_text(f"text\tlabel\n{''.join(lines)}")

    option = advised(findings(path), "labels look like sets")
    report = findings(path, option)

    assert report["problems"] == []
    assert not [own for own in report["warnings"] if own.startswith("labels look like")]
    assert set(report["splits"]["train"]["labels"]) == {"joy", "love", "anger"}


def test_swapped_columns(tmp_path: Path) -> None:
    """The column of the classes is named with the option that is said."""
    path = tmp_path / "swapped.csv"
    lines = (f"{'xy'[i % 2]},this is what the text {i} means\n" for i in range(80))
    path.write_text(f"text,label\n{''.join(lines)}")

    option = advised(findings(path), "labels look like free text")
    report = findings(path, option.replace("NAME", "text"), "--set data.text_column=label")

    assert report["problems"] == []
    assert report["splits"]["train"]["labels"].keys() == {"x", "y"}


@pytest.mark.parametrize("content", ["{i}", "user-{i}", "the same"])
def test_a_wrong_column_of_texts(tmp_path: Path, content: str) -> None:
    """The option names another column of the texts."""
    path = tmp_path / "columns.csv"
    lines = (f"{content.format(i=i)},a text {'ab' * (i % 7)} {i},{'xy'[i % 2]}\n" for i in range(80))
    path.write_text(f"text,body,label\n{''.join(lines)}")
    sentences = findings(path)["warnings"]

    (option,) = {found for own in sentences for found in re.findall(r"--set data.text_column=NAME", own)}
    report = findings(path, option.replace("NAME", "body"))

    assert report["problems"] == []
    assert not [own for own in report["warnings"] if "--set" in own]


def test_texts_over_the_maximum_length(tmp_path: Path) -> None:
    """A larger value, and 0, remove the warning."""
    path = tmp_path / "long.csv"
    lines = (f"{'a text ' * 20}{i},{'xy'[i % 2]}\n" for i in range(80))
    path.write_text(f"text,label\n{''.join(lines)}")

    def long(value: int) -> list[str]:
        warnings: list[str] = findings(path, f"--set text.max_length={value}")["warnings"]
        return [own for own in warnings if "text.max_length" in own]

    assert "larger value, or 0 for no limit" in long(20)[0]
    assert long(41) == long(0) == []


def test_places_are_those_of_an_editor(tmp_path: Path) -> None:
    """A place is the file and the line, as an editor counts it, also after a cell with line breaks."""
    path = tmp_path / "places.csv"
    rows = [f'"a text\nof {i} lines",{"xy"[i % 2]}\n' for i in range(40)]
    path.write_text(f"text,label\n{''.join(rows)}{rows[0]}")

    report = findings(path)
    places = [place for own in report["findings"]["warnings"] for place in own["places"]]

    assert f"{path}:82" in places
    assert path.read_text().split("\n")[81] == '"a text'
