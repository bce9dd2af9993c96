"""The data check has errors exactly where training refuses the data, and says the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app.config import load_config
from app.datasets import check
from app.tasks import get_task
from app.train import training_steps
from data.errors import UserError
from data.prepared import prepare
from data.sources import open_source

TINY = ("model.units=4", "model.embedding_size=4", "training.epochs=1", "training.batch_size=8")
REVIEWS = [
    {"text": f"a text of number {word}", "label": "xy"[i % 2]}
    for i, word in enumerate("abcdefghijklmnopqrst")
]
TAGGED = [{"tokens": ["in", f"{word}x"], "tags": ["O", "B-X"]} for word in "abcdefghijklmnopqrst"]
PAIRS = [{"source": f"a text {word}", "target": f"ein Text {word}"} for word in "abcdefghijklmnopqrst"]


class Case(NamedTuple):
    """Files, by name, and what is wrong with them."""

    files: Mapping[str, str | Sequence[Mapping[str, object]]]
    said: str = ""
    """Part of the error; empty: there is none."""
    task: str = "classification"
    overrides: tuple[str, ...] = ()


def sentence(*tags: str) -> dict[str, object]:
    return {"tokens": [f"w{i}" for i in range(len(tags))], "tags": list(tags)}


CASES = {
    "good": Case({"train.jsonl": REVIEWS}),
    "good tags": Case({"train.jsonl": TAGGED}, task="tagging"),
    "three rows": Case({"train.jsonl": REVIEWS[:2], "test.jsonl": REVIEWS[2:3]}, "validation"),
    "one row": Case({"train.jsonl": REVIEWS[:1]}, "validation"),
    "one class": Case({"train.jsonl": REVIEWS[::2]}, "only one class, 'x'"),
    "one class in a table": Case(
        {"train.csv": "text,label\n" + "a,x\nb,x\nc,x\n" * 5}, "only one class, 'x'"
    ),
    "one label of texts to generate": Case(
        {"train.jsonl": REVIEWS[::2]}, "only one class, 'x'", "generation", ("data.label_column=label",)
    ),
    "one tag": Case({"train.jsonl": [sentence("O", "O")] * 20}, "only one tag, 'O'", "tagging"),
    "one tag of a treebank": Case(
        {"train.conllu": "1\tcat\t_\tNOUN\t_\t_\t0\t_\t_\t_\n\n" * 20}, "only one tag, 'NOUN'", "tagging"
    ),
    "no tokens": Case({"train.jsonl": [sentence()] * 20}, "no tokens", "tagging"),
    "broken tags": Case(
        {"train.jsonl": [*TAGGED, sentence("PERSON", "O")]}, "train.jsonl:21: token 1", "tagging"
    ),
    "misaligned tags": Case(
        {"train.jsonl": [*TAGGED, {"tokens": ["a", "b"], "tags": ["O"]}]},
        "train.jsonl:21: misaligned",
        "tagging",
    ),
    "no labels": Case({"train.jsonl": [{"text": row["text"]} for row in REVIEWS]}, "no column 'label'"),
    "empty labels": Case({"train.jsonl": [{**row, "label": ""} for row in REVIEWS]}, "label"),
    "null labels": Case({"train.jsonl": [{**row, "label": None} for row in REVIEWS]}, "label"),
    "half of the labels": Case(
        {"train.jsonl": [{**row, "label": None} if i % 3 else row for i, row in enumerate(REVIEWS)]}, "label"
    ),
    "half of the labels of tags": Case(
        {"train.jsonl": [row | {"label": "xy"[i % 2]} if i % 3 else row for i, row in enumerate(TAGGED)]},
        "have no label",
        "tagging",
    ),
    "an unlabelled test split": Case(
        {"train.jsonl": REVIEWS, "test.jsonl": [{"text": "a new one", "label": "-1"}]}, ""
    ),
    "an empty file": Case({"train.jsonl": ""}, "no examples"),
    "only a header": Case({"train.csv": "text,label\n"}, "no examples"),
    "blank lines": Case({"train.jsonl": "\n\n"}, "no examples"),
    "an empty test split": Case({"train.jsonl": REVIEWS, "test.jsonl": ""}),
    "blank texts": Case(
        {"train.jsonl": [{**row, "text": " " * i} for i, row in enumerate(REVIEWS)]}, "white space"
    ),
    "a single row that cannot be read": Case(
        {"train.jsonl": [*REVIEWS, {"text": 1, "label": "x"}]}, "jsonl:21: "
    ),
    "rows that cannot be read": Case({"train.csv": "text,label\na,x\nb\nc,y\nd\n"}, "train.csv:3: "),
    "white space to generate": Case(
        {"train.txt": " \n\t" * 300}, "white space", "generation", ("text.tokens=word",)
    ),
    "an empty document": Case({"train.txt": ""}, "no examples", "generation"),
    "pairs of white space": Case(
        {"train.jsonl": [{"source": " " * i, "target": f"b {i}"} for i in range(20)]},
        "each source of the train split",
        "translation",
    ),
    "long pairs": Case({"train.jsonl": PAIRS}, "text.max_length = 3", "translation", ("text.max_length=3",)),
    "an unseen label": Case({"train.jsonl": REVIEWS, "test.jsonl": [{"text": "a new one", "label": "z"}]}),
    "an unseen label in validation": Case(
        {"train.jsonl": REVIEWS, "dev.jsonl": [*REVIEWS[:4], {"text": "a new one", "label": "z"}]}
    ),
    "empty targets": Case({"train.jsonl": [*PAIRS, {"source": "a", "target": ""}]}, task="translation"),
}


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[[Case], Path]:
    """Return a function that writes the files of a case into a folder."""

    def write(case: Case) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        for name, content in case.files.items():
            text = content if isinstance(content, str) else "".join(f"{json.dumps(row)}\n" for row in content)
            (folder / name).write_text(text)
        return folder

    return write


def refusal(case: Case, folder: Path, config: Any) -> str:
    """Return why training refuses data; empty: it begins."""
    steps = training_steps(case.task, str(folder), config, run=folder.parent / "run")
    try:
        while not config_path(folder).exists():  # messages about the data
            next(steps)
    except UserError as error:
        return str(error)
    finally:
        steps.close()
    return ""


def config_path(folder: Path) -> Path:
    return folder.parent / "run" / "config.toml"


@pytest.mark.parametrize("name", CASES)
def test_check_and_train_agree(dataset: Callable[[Case], Path], tmp_path: Path, name: str) -> None:
    """What training refuses is an error of the check in the same words, and nothing else is."""
    case = CASES[name]
    folder = dataset(case)
    config = load_config(
        case.task, overrides=[*TINY, *case.overrides, f"data.directory={tmp_path / 'prepared'}"]
    )

    report = check(str(folder), case.task, config, None)
    refused = refusal(case, folder, config)

    assert bool(report.problems) == bool(refused) == bool(case.said)
    assert not case.said or any(case.said in problem for problem in report.problems)
    assert not report.problems or report.problems[0] in refused
    assert len(report.problems) < 2 or f"{len(report.problems) - 1} more problem" in refused


ODD = {
    "numbers": (
        [{**row, "label": f"{i * 1.25}"} for i, row in enumerate(REVIEWS)],
        "labels look like numbers of a scale (regression)",
    ),
    "sets": (
        [{**row, "label": ("joy", "love", "joy,love")[i % 3]} for i, row in enumerate(REVIEWS)],
        "labels look like sets",
    ),
    "identifiers": (
        [{**row, "label": f"id-{i}x"} for i, row in enumerate(REVIEWS)],
        "labels look like identifiers",
    ),
    "free text": (
        [{**row, "label": f"this is what {row['text']} means"} for row in REVIEWS],
        "labels look like free text",
    ),
    "near names": (
        [
            {**row, "label": "positive" if i % 2 else ("Neg", "neg", "ｎｅｇ")[i % 3]}
            for i, row in enumerate(REVIEWS)
        ],
        "labels that differ only in case, width, spaces or invisible characters",
    ),
    "a misspelling": (
        [
            {"text": f"text {word} {i}", "label": "positive" if i % 2 else "negative"}
            for i in range(44)
            for word in "ab"
        ]
        + [{"text": "one more", "label": "positve"}],
        "labels that may be misspelt ('positve' (1) for 'positive' (",
    ),
    "rare": ([*REVIEWS, {"text": "one more", "label": "rare"}], "1 class has fewer than 5 training examples"),
}


@pytest.mark.parametrize("name", ODD)
def test_training_says_the_warnings_too(dataset: Callable[[Case], Path], tmp_path: Path, name: str) -> None:
    """What is odd about the labels is said before training, in the words of the check."""
    rows, expected = ODD[name]
    folder = dataset(Case({"train.jsonl": rows, "dev.jsonl": rows[:4]}))
    config = load_config("classification", overrides=[*TINY, f"data.directory={tmp_path / 'prepared'}"])

    warnings = check(str(folder), "classification", config, None).warnings
    examples = get_task("classification").examples
    fields = examples.fields(config)
    notes = prepare(
        open_source(str(folder), fields, examples.shapes),
        fields,
        directory=config.data_directory(),
        check=examples.check,
        warn=examples.warn,
    ).notes

    (warning,) = (own for own in warnings if own.startswith(expected))
    assert warning in notes
