"""Columns of CoNLL files, from a file to a dataset, as a user chooses them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tagging_data import PLAIN, TINY, Command, settings

from app.config import load_config
from app.datasets import prepare
from data.errors import UserError
from data.prepared import Dataset


def prepared(folder: Path, name: str, content: str, *overrides: str) -> Dataset:
    """Write a file, and return its dataset."""
    path = folder / name
    path.write_text(content)
    config = load_config("tagging", overrides=[f"data.directory={folder / 'cache'}", *overrides])
    return prepare(str(path), "tagging", config, None)


def tokens_of(dataset: Dataset) -> set[str]:
    """Return the distinct tokens of a dataset."""
    return {token.decode() for batch in dataset.batches("all") for row in batch["tokens"] for token in row}


@pytest.mark.parametrize(
    ("name", "content", "tokens", "tags"),
    [
        (
            "a.conll",
            "1 Oslo NNP I-LOC\n2 calls VBZ O\n\n1 Bo NNP I-PER\n",
            {"Oslo", "calls", "Bo"},
            {"I-LOC", "I-PER", "O"},
        ),
        (
            "b.bio",
            "".join(f"# text{i}\nnlp{i} NOUN\nis VERB\n\n" for i in range(9)),
            {"is", *(f"nlp{i}" for i in range(9))},
            {"NOUN", "VERB"},
        ),
        (
            "c.iob",
            "New York\tB-LOC\ncalls\tO\n\nBo\tB-PER\n",
            {"New York", "calls", "Bo"},
            {"B-LOC", "B-PER", "O"},
        ),
        (
            "d.tsv",
            "New York\tB-LOC\ncalls\tO\n\nBo\tB-PER\nran\tO\n",
            {"New York", "calls", "Bo", "ran"},
            {"B-LOC", "B-PER", "O"},
        ),
        (
            "e.txt",
            "Oslo NNP O\ncalls VBZ O\n\nBo NNP B-PER\nran VBD O\n",
            {"Oslo", "calls", "Bo", "ran"},
            {"B-PER", "O"},
        ),
        ("f.conll", "word\tpos\nOslo\tNNP\ncalls\tVBZ\n\nBo\tNNP\n", {"Oslo", "calls", "Bo"}, {"NNP", "VBZ"}),
    ],
)
def test_shapes_of_columns(tmp_path: Path, name: str, content: str, tokens: set[str], tags: set[str]) -> None:
    """Numbers, comments and headers become neither tokens nor tags."""
    dataset = prepared(tmp_path, name, content)

    assert tokens_of(dataset) == tokens
    assert set(dataset.names["tags"]) == tags


@pytest.mark.parametrize(
    ("setting", "tokens", "tags"),
    [
        ("data.tag_column=2", {"EU", "calls"}, {"NNP", "VBZ"}),
        ("data.tag_column=3", {"EU", "calls"}, {"B-NP", "B-VP"}),
        ("data.token_column=2", {"NNP", "VBZ"}, {"B-ORG", "O"}),
    ],
)
def test_chosen_columns(tmp_path: Path, setting: str, tokens: set[str], tags: set[str]) -> None:
    """`data.token_column` and `data.tag_column` are numbers from 1."""
    dataset = prepared(tmp_path, "a.conll", "EU NNP B-NP B-ORG\ncalls VBZ B-VP O\n", setting)

    assert tokens_of(dataset) == tokens
    assert set(dataset.names["tags"]) == tags


def test_words_of_json(tmp_path: Path) -> None:
    """Tokens may be called words; another column is chosen by its name."""
    line = '{"words": ["a", "b"], "pieces": ["c", "d"], "tags": ["X", "Y"]}\n'

    assert tokens_of(prepared(tmp_path, "a.jsonl", line)) == {"a", "b"}
    assert tokens_of(prepared(tmp_path, "a.jsonl", line, "data.token_column=pieces")) == {"c", "d"}
    with pytest.raises(UserError, match=r"no column 'tokens'.*--set data.token_column=NAME"):
        prepared(tmp_path, "b.jsonl", line.replace("words", "forms"))


def test_the_advice_about_a_column_works(command: Command, tmp_path: Path) -> None:
    """A treebank named `.conll` is refused in one line, and prepared as that line says."""
    path = tmp_path / "bank.conll"
    lines = [
        f"{i}\tw{i}x\tl\t{'NOUN' if i % 2 else 'VERB'}\t_\t_\t0\troot\t_\tSpaceAfter=No\n"
        for i in range(1, 9)
    ]
    path.write_text("".join(lines))
    words = (
        "datasets",
        "prepare",
        path,
        "--task",
        "tagging",
        *settings(f"data.directory={tmp_path / 'cache'}"),
    )

    refused = command(*words)
    advice = refused.stderr.strip().rpartition("--set ")[2]
    accepted = command(*words, *settings(advice))

    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert advice == "data.tag_column=4"
    assert accepted.exit_code == 0


@pytest.mark.parametrize("first", [None, "check", "prepare"])
def test_the_scheme_is_said_whatever_was_done_before(
    command: Command, tmp_path: Path, first: str | None
) -> None:
    """`train` says the layout, the scheme, and what contradicts it, also of a prepared dataset."""
    path = tmp_path / "rows.conll"
    path.write_text("".join(f"{i} a{i} B-X\n{i + 1} b O\n\n" for i in range(1, 201)) + "1 c O\n2 d I-X\n")
    own = settings(f"data.directory={tmp_path / 'cache'}", *PLAIN, *TINY)
    if first:
        assert command("datasets", first, path, "--task", "tagging", *own[:2]).exit_code == 0

    result = command("train", "tagging", path, "--run", tmp_path / "run", *own)

    assert result.exit_code == 0, result.stderr
    assert (
        "CoNLL, columns separated by ' ': position = column 1, tokens = column 2, tags = column 3"
        in result.stderr
    )
    assert "tags: BIO (1 exception)" in result.stderr
    assert (
        f"({path.name}:601: token 2: 'I-X' after 'O': in BIO, a span begins with 'B-X')"
        in result.stderr.replace(f"{tmp_path}/", "")
    )


@pytest.mark.parametrize("first", [None, "check", "prepare"])
def test_contradictions_are_refused_whatever_was_done_before(
    command: Command, tmp_path: Path, first: str | None
) -> None:
    """`check` lists them, and neither `prepare` nor `train` accepts them."""
    path = tmp_path / "rows.conll"
    path.write_text("a B-X\nb O\n\nc O\nd I-X\n\n" * 20)
    own = settings(f"data.directory={tmp_path / 'cache'}")
    if first:
        assert command("datasets", first, path, "--task", "tagging", *own).exit_code == 1

    result = command("train", "tagging", path, "--run", tmp_path / "run", *own)

    assert result.exit_code == 1
    assert "20 tags contradict" in result.stderr
    assert result.stderr.count("\n") == 1
