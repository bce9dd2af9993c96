"""Tokens out of vocabulary: refused or warned of, by training and by the data check alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import Result

from app.config import load_config
from app.datasets import check

Command = Callable[..., Result]
Write = Callable[[Path, Sequence[Mapping[str, object]]], None]

WORDS = ["".join(letters) for letters in itertools.product("bdfgk", "aeiou", "bdfgk", "aeiou")]
SENTENCES = [" ".join(WORDS[i : i + 5]) for i in range(0, 600, 5)]
PLAIN = ["the dog sees the cat and the cat sees the dog"] * 30
OTHER = ["η γάτα βλέπει τον σκύλο και ο σκύλος βλέπει τη γάτα"] * 5
TOKENS = "use --set text.tokens=subword or --set text.tokens=char"


def labelled(texts: Sequence[str]) -> list[dict[str, object]]:
    """Return rows with one of two labels each."""
    return [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]


def translated(sources: Sequence[str], targets: Sequence[str]) -> list[dict[str, object]]:
    """Return pairs."""
    return [{"source": source, "target": target} for source, target in zip(sources, targets, strict=True)]


def tagged(texts: Sequence[str]) -> list[dict[str, object]]:
    """Return sentences with tags."""
    return [{"tokens": text.split(), "upos": [word[:1] for word in text.split()]} for text in texts]


NUMBERED = [f"{text} {i}" for i, text in enumerate(PLAIN)]
REFUSED = {
    "generation of distinct words": (
        ("generation", labelled(SENTENCES), None, ["text.tokens=word", "text.min_count=2"]),
        f"train: all of the 600 tokens of the texts are out of vocabulary, so that nothing can be learned; "
        f"{TOKENS}, or a smaller text.min_count than 2",
    ),
    "characters without a vocabulary": (
        ("generation", labelled(SENTENCES), labelled(PLAIN), ["text.vocabulary_size=3"]),
        "out of vocabulary, so that nothing can be learned; use a larger text.vocabulary_size than 3",
    ),
    "target words": (
        ("translation", translated(NUMBERED, SENTENCES[:30]), translated(PLAIN[:3], PLAIN[:3]), [
            "text.tokens=word", "text.min_count=2",
        ]),
        f"train: all of the 150 tokens of the target texts are out of vocabulary, so that nothing can be "
        f"learned; {TOKENS}, or a smaller text.min_count than 2",
    ),
    "classification": (
        ("classification", labelled(SENTENCES), labelled(PLAIN), ["text.min_count=9"]),
        f"train: all of the 600 tokens of the texts are out of vocabulary, so that nothing can be learned; "
        f"{TOKENS}, or a smaller text.min_count than 9",
    ),
    "tagging without characters": (
        ("tagging", tagged(SENTENCES), tagged(PLAIN[:2]), [
            "text.min_count=9", "model.character_features=none",
        ]),
        "so that nothing can be learned; use a smaller text.min_count than 9",
    ),
    "validation in another script": (
        ("generation", labelled(NUMBERED), labelled(OTHER), ["text.tokens=word"]),
        "validation: all of the 55 tokens of the texts are out of vocabulary, so that no epoch is better "
        "than another; give texts like those of train",
    ),
}  # fmt: skip
WARNED = {
    "generation": (
        ("generation", labelled(NUMBERED), labelled([*PLAIN[:3], *OTHER[:1]]), ["text.tokens=word"]),
        "validation: 25.0% of the 44 tokens of the texts are out of vocabulary",
    ),
    "translation": (
        ("translation", translated(NUMBERED, NUMBERED), translated(PLAIN[:4], [*PLAIN[:2], *OTHER[:2]]), [
            "text.tokens=word",
        ]),
        "validation: 50.0% of the 44 tokens of the target texts are out of vocabulary",
    ),
    "classification": (
        ("classification", labelled(NUMBERED), labelled([*PLAIN[:1], *OTHER[:2]]), []),
        "validation: 66.7% of the 33 tokens of the texts are out of vocabulary",
    ),
    "tagging with characters": (
        ("tagging", tagged(SENTENCES), tagged(SENTENCES[:4]), ["text.min_count=9"]),
        "train: all of the 600 tokens of the texts are out of vocabulary",
    ),
}  # fmt: skip


@pytest.fixture
def written(tmp_path: Path, jsonl: Write) -> Callable[..., Path]:
    """Return a function that writes the examples of train and validation."""

    def write(train: list[dict[str, object]], validation: list[dict[str, object]] | None) -> Path:
        jsonl(tmp_path / "data/train.jsonl", train)
        jsonl(tmp_path / "data/validation.jsonl", validation or train[:40])
        return tmp_path / "data"

    return write


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_could_say_nothing(
    command: Command, written: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    """Training and the data check refuse it with the same sentence, before the run is made."""
    (task, train, validation, overrides), message = REFUSED[name]
    data = written(train, validation)
    settings = [word for override in overrides for word in ("--set", override)]
    result = command("train", task, data, "--run", tmp_path / "run", *settings)
    report = check(str(data), task, load_config(task, overrides=overrides), None)

    assert result.exit_code == 1
    assert result.stderr.endswith(f"{message}\n")
    assert not (tmp_path / "run").exists()
    assert [f"Error: {finding.sentence()}\n" for finding in report.problems_found] == [result.stderr]


@pytest.mark.parametrize("name", WARNED)
def test_a_model_that_could_not_say_much(written: Callable[..., Path], name: str) -> None:
    """There is a warning from a fifth of the tokens on that are to be written, or half of those only read."""
    (task, train, validation, overrides), what = WARNED[name]
    report = check(str(written(train, validation)), task, load_config(task, overrides=overrides), None)

    assert not report.problems_found
    found = [finding.what for finding in report.warnings_found if "out of vocabulary" in finding.what]
    assert what in found


@pytest.mark.parametrize("task", ["generation", "classification"])
def test_some_unknown_tokens_are_usual(written: Callable[..., Path], task: str) -> None:
    """A few unknown tokens, line breaks and a tiny split are no reason for a warning."""
    data = written(labelled([f"{text}\n" for text in NUMBERED]), labelled([*PLAIN[:6], "ο σκύλος"]))
    config = load_config(task, overrides=["text.tokens=word"])

    assert not [f for f in check(str(data), task, config, None).warnings_found if "vocabulary" in f.what]


def test_the_advice_helps(written: Callable[..., Path]) -> None:
    """With subwords and with characters the same texts are accepted without a warning."""
    (task, train, _, _), _ = REFUSED["generation of distinct words"]
    data = written(train, None)
    for tokens in ("subword", "char"):
        config = load_config(task, overrides=[f"text.tokens={tokens}", "text.vocabulary_size=100"])
        report = check(str(data), task, config, None)
        assert not report.problems_found
        assert not [finding for finding in report.warnings_found if "vocabulary" in finding.what]
