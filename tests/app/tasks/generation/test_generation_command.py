"""The command `generate`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from generation_data import Command, Model, texts


def test_command(command: Command, char: Model) -> None:
    """The prompt and the text are printed; a stream prints the same."""
    words = ("generate", char.path, "--prompt", "Anna", "--length", 30, "--temperature", 0.8, "--seed", 5)
    (text,) = texts(char, ["Anna"], length=30, temperature=0.8, seed=5)

    result = command(*words)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"Anna{text}\n"
    assert command(*words, "--stream").stdout == result.stdout


def test_samples(command: Command, char: Model) -> None:
    """Several samples use the seed and the next ones; they are separated by a line, or are JSON lines."""
    words = ("generate", char.path, "--length", 12, "--seed", 5, "--samples", 3)
    expected = [texts(char, [""], length=12, seed=seed)[0] for seed in (5, 6, 7)]

    assert command(*words).stdout == "\n---\n\n".join(expected).replace("\n---\n\n", "\n\n---\n") + "\n"
    lines = [json.loads(line) for line in command(*words, "--json").stdout.splitlines()]
    assert [line["text"] for line in lines] == expected
    assert all(line["prompt"] == "" and line["score"] < 0 for line in lines)
    assert len(set(expected)) == 3


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--prompt", ""), 1, "--prompt is empty; give a text, or leave the option out to start a document"),
        (("--stream", "--beam", 2), 2, "--stream prints one sampled text"),
        (("--stream", "--samples", 2), 2, "--stream prints one sampled text"),
        (("--stream", "--json"), 2, "--stream prints one sampled text"),
        (("--length", 0), 2, "--length"),
        (("--length", 2**31), 2, "--length"),
        (("--temperature", -1), 2, "--temperature"),
        (("--temperature", "inf"), 2, "expected a number of at least 0, got inf"),
        (
            ("--temperature", "nan", "--stream"),
            2,
            "expected a number of at least 0, got nan",
        ),
        (("--top-p", 0), 2, "--top-p"),
        (("--stop", os.fsdecode(b"\xff")), 1, r"stop: expected strings in UTF-8, got '\udcff'"),
    ],
    ids=str,
)
def test_mistakes(command: Command, char: Model, words: tuple[Any, ...], status: int, message: str) -> None:
    """Each mistake in the options ends in one line."""
    result = command("generate", char.path, *words)

    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_model_that_does_not_generate(command: Command, run: Path) -> None:
    """A classifier is refused."""
    result = command("generate", run)

    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {run} is a classification model, which does not generate text; pass a model "
        "that was trained with 'textrnn train generation' (or use 'textrnn predict')\n"
    )


def test_there_is_nothing_to_label(command: Command, char: Model) -> None:
    """`suggest` refuses a language model in one line."""
    result = command("suggest", char.path, stdin="a text\n")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: a generation model learns from texts alone: there is nothing to label\n"
