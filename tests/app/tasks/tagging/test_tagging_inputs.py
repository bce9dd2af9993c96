"""Files of sentences and of texts that a tagger predicts for: the tokens of a file are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tagging_data import Command, printed

SENTENCES = (("Book", "a", "table", "in", "New York"), ("Play", "jazz", "."))


def conllu(column: int = 1) -> str:
    """Return the sentences in CoNLL-U, with empty nodes and comments."""
    blocks = []
    for sentence in SENTENCES:
        rows = [["_"] * 10 for _ in sentence]
        for number, (row, token) in enumerate(zip(rows, sentence, strict=True), 1):
            row[0], row[column] = str(number), token
        lines = ["# text = something else", "0.1\tBooka" + "\t_" * 8, *("\t".join(row) for row in rows)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n\n"


def columns(template: str) -> str:
    """Return the sentences with a line for each token."""
    return "\n".join(
        "".join(template.format(n=n, token=token) + "\n" for n, token in enumerate(sentence, 1))
        for sentence in SENTENCES
    )


@pytest.fixture(scope="module")
def expected(command: Command, joint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the predictions for the tokens in JSON lines."""
    path = tmp_path_factory.mktemp("tokens") / "in.jsonl"
    path.write_text("".join(json.dumps({"tokens": tokens}) + "\n" for tokens in SENTENCES))
    return printed(command, "predict", joint, path)


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("in.conllu", conllu(), ()),
        ("in.conll", columns("{token}\tNOUN\tO"), ()),
        ("in.bio", columns("{token}\tB-LOC"), ()),
        ("in.conll", columns("{token}\tO").replace("O\n\n", "O\n \n"), ()),
        ("in.conll", columns("{n}\t{token}\tO"), ("--set", "data.token_column=2")),
        ("in.conll", "-DOCSTART-\tO\n\n" + columns("{token}\tO"), ()),
        ("in.json", json.dumps([{"tokens": tokens, "tags": []} for tokens in SENTENCES]), ()),
        ("in.txt", columns("{token}\tB-LOC"), ()),
        ("in.dat", conllu(), ("--format", "conllu")),
    ],
)
def test_given_tokens(
    command: Command,
    joint: Path,
    tmp_path: Path,
    expected: list[dict[str, Any]],
    name: str,
    content: str,
    options: tuple[str, ...],
) -> None:
    """The tokens of the file have the tags that they have in JSON lines; its tags are ignored."""
    (tmp_path / name).write_text(content)

    assert printed(command, "predict", joint, tmp_path / name, *options) == expected


def test_tokens_without_tags(command: Command, joint: Path, tmp_path: Path) -> None:
    """A file with a column of tokens alone has no tags, and needs none."""
    (tmp_path / "in.conll").write_text("Play\njazz\n.\n\nStop\n.\n")

    found = printed(command, "predict", joint, tmp_path / "in.conll")

    assert [[token["text"] for token in line["tokens"]] for line in found] == [
        ["Play", "jazz", "."],
        ["Stop", "."],
    ]


def test_texts(command: Command, joint: Path, tmp_path: Path) -> None:
    """Texts of a table and of lines are tokenized, with the same result."""
    (tmp_path / "in.csv").write_text("text\nplay some jazz\n\n")
    (tmp_path / "in.txt").write_text("play some jazz\n")

    assert printed(command, "predict", joint, tmp_path / "in.csv") == printed(
        command, "predict", joint, tmp_path / "in.txt"
    )
