"""Data, settings and small functions that the tests of tagging share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from click.testing import Result

from app.config import load_config
from app.train import train
from data.samples import tags as sample_tags

Command = Callable[..., Result]
Jsonl = Callable[..., None]
Lines = list[dict[str, Any]]
Span = tuple[str, int, int]

TINY = (
    "model.units=8",
    "model.embedding_size=8",
    "model.character_units=4",
    "model.character_embedding_size=4",
    "training.epochs=1",
    "training.learning_rate=0.03",
    "model.token_features=256",
    "text.tokenizer=rules",
)
# Without recurrence a network is traced in a tenth of the time.
PLAIN = ("model.layers=0", "model.character_features=none", "model.dropout=0", "model.word_dropout=0")
NO_DROPOUT = ("model.dropout=0", "model.word_dropout=0", "model.rare_word_dropout=0")

HARD = [
    "",
    " \t\u00a0 ",
    "Play",
    "I want Old  Paris\u00a0songs\ton Friday. " * 300,
    "👍🏽 👩‍👩‍👧 🇩🇪 so good😀😀",
    "cafe\u0301 n\u0303o",
    "Η υπόθεση είναι καλή, ΌΜΩΣ…",
    "الحبكة جيدة، لكن الممثلين سيئون",
    "剧情很好，但是演员不行。",
    "หนังเรื่องนี้ดีมาก",
    "İSTANBUL'da ılık",
    "I don’t, she’d’ve; DON'T",
    "a\x00b\x02c \ufeff d\u200be",
    "<br />so <b>New York</b> [UNK]",
]
GIVEN = [
    ["Play", "Old", "Paris", "songs"],
    [],
    ["New York", "is n't", "a\nb", "👍🏽👍🏽"],
    ["x"] * 300,
    ["’", "\u00a0", "e\u0301"],
]


TAGGED = '{"tokens": ["a", "b"], "tags": ["B-X", "O"]}\n'
LABELLED = '{"tokens": ["a", "b"], "tags": ["B-X", "O"], "label": "x"}\n'


CONLLU = {
    "I don't know.": ["1 I PRON", "2-3 don't _", "2 do AUX", "3 n't PART", "4 know VERB", "5 . PUNCT"],
    "Dogs gonna bark!": ["1 Dogs NOUN", "2-3 gonna _", "2 gon VERB", "3 na PART", "4 bark VERB", "5 ! PUNCT"],
    "She knows\u00a0dogs": ["1 She PRON", "2 knows VERB", "2.1 the DET", "3 dogs NOUN"],
    "Στο σπίτι": ["1-2 Στο _", "1 Σε ADP", "2 το DET", "3 σπίτι NOUN"],
}


def settings(*assignments: str) -> list[str]:
    """Return assignments as options of the command line."""
    return [word for assignment in assignments for word in ("--set", assignment)]


def trained(data: Path | str, run: Path, *overrides: str) -> Path:
    """Train a tiny tagger, and return its run."""
    config = load_config("tagging", overrides=[*TINY, *overrides])
    assert train("tagging", str(data), config, run=run).finished
    return run


def printed(command: Command, *arguments: object, status: int = 0) -> Lines:
    """Run a command, and return the JSON objects that it prints, one per line."""
    result = command(*arguments)
    assert result.exit_code == status, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def evaluated(command: Command, model: Path, *options: object) -> dict[str, Any]:
    """Return the metrics of a model, without a baseline."""
    (metrics,) = printed(command, "evaluate", model, *options, "--json", "--no-baseline")
    return metrics


def spans_of(tags: Sequence[str]) -> list[Span]:
    """Return the spans of BIO tags: type, first token, and the token after the last."""
    found: list[Span] = []
    for i, tag in enumerate(tags):
        if tag.startswith("B-"):
            found.append((tag[2:], i, i + 1))
        elif tag.startswith("I-"):
            assert found[-1][0] == tag[2:]
            assert found[-1][2] == i
            found[-1] = (*found[-1][:2], i + 1)
    return found


def f1(gold: set[Any], found: set[Any]) -> float:
    """Return the harmonic mean of precision and recall."""
    return 2 * len(gold & found) / (len(gold) + len(found))


def best_line(run: Path) -> dict[str, Any]:
    """Return the metrics of the best epoch of a run."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, Any] = [line for line in lines if line.get("best")][-1]
    return found


def facts_of(run: Path) -> dict[str, Any]:
    """Return the facts that a run stores."""
    found: dict[str, Any] = json.loads((run / "preprocessing.json").read_text())["facts"]
    return found


def sample_rows(split: str, number: int) -> Lines:
    """Return examples of the sample as JSON objects."""
    rows = sample_tags(0)[split][:number]
    return [{**row, "tokens": list(row["tokens"]), "tags": list(row["tags"])} for row in rows]


def unlabelled(rows: Lines) -> Lines:
    """Return examples without texts and labels."""
    return [{"tokens": row["tokens"], "tags": row["tags"]} for row in rows]


def without_score(line: dict[str, Any]) -> dict[str, Any]:
    """Return a prediction without its probability."""
    return {name: value for name, value in line.items() if name != "score"}
