"""`textrnn datasets check`: what it prints, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Check = Callable[..., Result]
ROWS = [
    {"text": f"a text of number {word}", "label": "xy"[i % 2]}
    for i, word in enumerate("abcdefghijklmnopqrst")
]


@pytest.fixture
def check(command: Callable[..., Result], tmp_path: Path) -> Check:
    """Return a function that writes JSON lines into a folder and checks it."""

    def run(files: Mapping[str, list[dict[str, object]]], *options: str) -> Result:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        for name, rows in files.items():
            (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return command("datasets", "check", folder, f"--set=data.directory={tmp_path / 'prepared'}", *options)

    return run


def found(result: Result) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(result.stdout)
    return plain


def test_good_data(check: Check) -> None:
    """There are no errors, and the exit status is 0."""
    result = check({"train.jsonl": ROWS, "test.jsonl": [{"text": "another", "label": "x"}]})

    assert result.exit_code == 0
    assert "\nno errors" in result.stdout
    assert "--all" not in result.stdout


def test_all_places(check: Check) -> None:
    """`--all` lists every place with its reason, a line each; otherwise the first three are shown."""
    bad = [{"text": i, "label": "x"} for i in range(7)]
    few, every = check({"train.jsonl": ROWS + bad}), check({"train.jsonl": ROWS + bad}, "--all")

    assert few.exit_code == every.exit_code == 1
    assert "7 rows cannot be read (" in few.stdout
    assert "train.jsonl:23: 'text' is a number, not a text, and 4 more); " in few.stdout
    assert few.stdout.endswith("\n--all lists all places\n")
    lines = every.stdout.splitlines()
    for line in range(21, 28):
        assert sum(own.endswith(f"train.jsonl:{line}: 'text' is a number, not a text") for own in lines) == 1
    assert "--all" not in every.stdout


def test_all_mistakes_are_found_at_once(check: Check) -> None:
    """A row that cannot be read does not hide that there is one class, or an example without text."""
    rows = [{"text": f"text {i}", "label": "x"} for i in range(20)]
    result = check({"train.jsonl": [*rows, {"text": "", "label": "x"}, {"label": "x"}]}, "--json")

    assert result.exit_code == 1
    assert [own["what"] for own in found(result)["findings"]["problems"]] == [
        "1 row cannot be read",
        "the training examples have only one class, 'x'",
    ]
    assert any("without tokens" in own for own in found(result)["warnings"])


def test_findings_as_json(check: Check) -> None:
    """All places are there, whatever the number; the sentences are those of the findings."""
    rows = [*ROWS, *({"text": i, "label": "x"} for i in range(9)), *ROWS[:8]]
    report = found(check({"train.jsonl": rows}, "--json"))

    (problem,) = report["findings"]["problems"]
    assert problem["what"] == "9 rows cannot be read"
    assert (len(problem["places"]), problem["total"]) == (9, 9)
    assert report["problems"] == [
        f"9 rows cannot be read ({', '.join(problem['places'][:3])}, and 6 more); {problem['advice']}"
    ]
    assert report["splits"]["train"]["malformed"] == 9
    repeated = [
        own for own in report["findings"]["warnings"] if "occurs in an earlier example" in own["what"]
    ]
    assert sum(own["total"] for own in repeated) == sum(len(own["places"]) for own in repeated) == 8


def test_the_layout_and_ignored_files(check: Check, tmp_path: Path) -> None:
    """Which file is which split is printed, and which files are not read."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.csv").write_text("a,b\n1,2\n")
    result = check({"train.jsonl": ROWS, "dev.jsonl": ROWS[:2]})
    report = found(check({}, "--json"))

    assert result.stdout.startswith("read\n  - ")
    assert any("train.jsonl" in own for own in report["layout"])
    assert any("dev.jsonl" in own for own in report["layout"])
    assert any("notes.csv" in own for own in report["ignored"])
    assert f"\nnot read\n  - {report['ignored'][0]}" in result.stdout


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\x07bell", "\u202eevil", "c1 \x9b31m"], ids=ascii)
def test_control_characters_do_not_reach_the_terminal(check: Check, name: str) -> None:
    """A label and a text are shown with escapes."""
    rows = [{**row, "label": name} if row["label"] == "x" else row for row in ROWS]
    result = check({"train.jsonl": rows, "test.jsonl": [{"text": "a new one", "label": f"{name}!"}]}, "--all")

    assert "classes" in result.stdout or "\nerrors\n" in result.stdout
    assert not [
        c for c in result.stdout if (ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e") and c != "\n"
    ]


def test_the_places_of_labels_that_train_lacks(check: Check) -> None:
    """The warning of the training has the places of the examples."""
    report = found(
        check(
            {"train.jsonl": ROWS, "test.jsonl": [{"text": f"new {i}", "label": "xz"[i]} for i in range(2)]},
            "--json",
        )
    )

    (own,) = (
        finding for finding in report["findings"]["warnings"] if "not occur in train" in finding["what"]
    )
    assert [place.rpartition("/")[2] for place in own["places"]] == ["test.jsonl:2: 'z'"]


def test_a_column_that_is_missing(check: Check) -> None:
    """What training refuses before it reads examples is an error of the report too."""
    result = check({"train.jsonl": [{"text": row["text"]} for row in ROWS]}, "--json")

    assert result.exit_code == 1
    assert "no column 'label'; there is 'text'" in found(result)["problems"][0]


def test_each_side_of_pairs(check: Check) -> None:
    """Empty targets, untranslated pairs and unusual lengths are warnings of the check."""
    pairs = [{"source": f"a text {word}", "target": f"ein Text {word}"} for word in "abcdefghijklmnopqrst"]
    odd = [
        {"source": "nothing", "target": ""},
        {"source": "a copy", "target": "a copy"},
        {"source": "short", "target": "lang " * 50},
    ]
    report = found(check({"train.jsonl": pairs + odd}, "--task", "translation", "--json"))
    total = {
        name: sum(own[name] for own in report["splits"].values()) for name in ("untranslated", "odd_lengths")
    }

    assert report["problems"] == []
    assert total == {"untranslated": 1, "odd_lengths": 1}
    assert sum(own["fields"]["target"]["empty"] for own in report["splits"].values()) == 1
    assert sum(own["fields"]["source"]["empty"] for own in report["splits"].values()) == 0
    places = [place for own in report["findings"]["warnings"] for place in own["places"]]
    for line in (21, 22, 23):
        assert any(f"train.jsonl:{line}" in place for place in places)


@pytest.mark.parametrize("options", [(), ("--task", "classification"), ("--task", "tagging")])
def test_data_of_another_task(check: Check, options: tuple[str, ...]) -> None:
    """If nothing can be read, and no task was given, that is said."""
    rows = [{"tokens": ["a", word], "tags": ["O", "B-x"]} for word in "bcdefghijk"]
    result = check({"train.jsonl": rows}, *options)

    assert result.exit_code == (0 if "tagging" in options else 1)
    assert ("without --task, DATA is read for classification" in result.stderr) == (not options)


def test_unreadable_rows_are_of_no_other_task(check: Check) -> None:
    """If examples can be read, the task is the right one."""
    result = check({"train.jsonl": [*ROWS, {"text": 1, "label": "x"}]})

    assert result.exit_code == 1
    assert "--task" not in result.stderr


def test_preparing_data_of_another_task(command: Callable[..., Result], tmp_path: Path) -> None:
    """`prepare` says so in its error; not where there is no such file."""
    (tmp_path / "train.en").write_text("a\n")
    (tmp_path / "train.de").write_text("b\n")
    result, missing = (command("datasets", "prepare", name) for name in (tmp_path, tmp_path / "none"))

    assert result.exit_code == missing.exit_code == 1
    assert result.stderr.endswith("name another with --task (tagging, generation, translation)\n")
    assert "--task" not in missing.stderr
