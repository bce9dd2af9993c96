"""Mistakes in the data of taggers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tagging_data import LABELLED, TAGGED, Command, settings

MISTAKES = {
    "misaligned": (
        TAGGED * 2 + '{"tokens": ["a", "b", "c"], "tags": ["O", "O"]}\n',
        "1 row cannot be read ({path}:3: misaligned: 3 tokens, 2 tags); correct or remove it",
    ),
    "contradicting": (
        TAGGED * 8
        + '{"tokens": ["a", "b"], "tags": ["B-X", "I-Y"]}\n'
        + TAGGED
        + '{"tokens": ["a"], "tags": ["I-X"]}\n',
        "2 tags contradict BIO, the scheme that fits the other 10 best "
        "({path}:9: token 2: 'I-Y' after 'B-X': in BIO, a span begins with 'B-Y', "
        "{path}:11: token 1: 'I-X' at the start of a sentence: in BIO, a span begins with 'B-X'); "
        "correct the tags",
    ),
    "neither": (
        TAGGED * 3 + '{"tokens": ["a"], "tags": ["PERSON"]}\n' + TAGGED,
        "1 tag is not written as in BIO, as the others are ({path}:4: token 1: 'PERSON' is neither O nor a "
        "letter and a type, such as B-PER or I-PER); correct the tags",
    ),
    "some labels": (
        LABELLED * 3 + TAGGED * 2,
        "2 of 5 examples have no label ({path}:4, {path}:5); add it to all examples or to none",
    ),
    "one tag": (
        '{"tokens": ["a", "b"], "tags": ["O", "O"]}\n' * 4,
        "the training examples have only one tag, 'O'; add examples of another tag, or name the right column "
        "with --set data.tag_column=NAME",
    ),
    "one label": (
        LABELLED * 4,
        "the training examples have only one class, 'x'; add examples of another class, or name the right "
        "label column",
    ),
    "no tokens": (
        '{"text": "a b", "tags": ["O", "O"]}\n',
        "{path}: no column 'tokens'; there is 'text', 'tags'; name it with --set data.token_column=NAME",
    ),
    "no tags": (
        '{"tokens": ["a", "b"], "ner": ["O", "O"]}\n',
        "{path}: no column 'upos'; there is 'tokens', 'ner'; name it with --set data.tag_column=NAME",
    ),
    "nothing": (
        '{"tokens": [], "tags": []}\n' * 20,
        "the train split has no tokens, only empty examples; give examples with tokens and tags",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(command: Command, tmp_path: Path, name: str) -> None:
    """A mistake in the data ends in one line that says where it is, and nothing is written."""
    rows, message = MISTAKES[name]
    path = tmp_path / "data" / "train.jsonl"
    path.parent.mkdir()
    path.write_text(rows)

    result = command("train", "tagging", path.parent, "--run", tmp_path / "run")

    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"Error: {message.format(path=path)}")
    assert not (tmp_path / "run").exists()


def test_an_unknown_column(command: Command, treebank: Path, tmp_path: Path) -> None:
    """A column that CoNLL-U does not have is refused, with a list of those that it has."""
    options = settings("data.tag_column=ner")
    result = command("train", "tagging", treebank, "--run", tmp_path / "run", *options)

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {treebank}/")
    assert ".conllu: no column 'ner'; there is 'id', 'form', 'lemma', 'upos', " in result.stderr
    assert result.stderr.count("\n") == 1
