"""Taggers of treebanks with multiword tokens, by the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from multiword_data import conllu, given, treebank
from tagging_data import PLAIN, Command, best_line, evaluated, facts_of, printed, trained
from trained import export_quickly


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a treebank whose tokens are a fifth multiword tokens."""
    folder = tmp_path_factory.mktemp("bank") / "bank"
    treebank(folder, train=120, validation=12, test=12)
    return folder


@pytest.fixture(scope="module")
def run(bank: Path) -> Path:
    """Return a run that has learned the treebank, in which each token has one tag."""
    overrides = ("training.epochs=4", "training.batch_size=8", "model.crf=false", *PLAIN)
    return trained(bank, bank.parent / "run", *overrides)


def test_facts(run: Path) -> None:
    """A run stores which tags are joined, and how tokens are written as words."""
    facts = facts_of(run)

    assert facts["joined_tags"] == {"ADP+DET": ["ADP", "DET"]}
    assert facts["separable"]
    assert set(facts["word_forms"]["rules"]) == {"2"}


def test_metrics(command: Command, run: Path, bank: Path) -> None:
    """Accuracy counts words, and so do the scores on raw text; the validation in training does the same."""
    metrics = evaluated(command, run, "--split", "validation")
    lines = (bank / "validation.conllu").read_text().splitlines()
    ids = [line.split("\t")[0] for line in lines if line]

    assert metrics["words"] == sum(own.isdecimal() for own in ids)
    assert metrics["tokens"] == metrics["words"] - sum("-" in own for own in ids)
    assert metrics["accuracy"] == pytest.approx(best_line(run)["validation_accuracy"])
    assert metrics["accuracy"] == 1
    scores = {"token_f1": 1, "word_f1": 1, "tag_f1": 1, "gap": 0}
    assert metrics["raw_text"] == scores | {"tokenizer": "rules"}


def test_the_baseline_counts_words(command: Command, run: Path) -> None:
    """The tag of a multiword token that the baseline predicts is that of its words."""
    (metrics,) = printed(command, "evaluate", run, "--json")

    assert metrics["baseline"] == {"name": "linear baseline", "accuracy": 1}


def test_predictions_are_the_treebank(command: Command, run: Path, tmp_path: Path) -> None:
    """For raw text and for CoNLL-U they are what `given` writes, with the words of multiword tokens."""
    sentences = treebank(tmp_path, seed=5, test=6)
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text, _ in sentences))
    expected = [given(example) for example in sentences]

    assert printed(command, "predict", run, tmp_path / "in.txt") == expected
    assert printed(command, "predict", run, tmp_path / "test.conllu") == expected


def test_an_export_has_the_words(command: Command, run: Path, tmp_path: Path) -> None:
    """An export gives the same, also for words in upper case."""
    export_quickly(run, output=tmp_path / "export")
    (tmp_path / "in.txt").write_text("Le chat parle DU mur.\n")

    (line,) = printed(command, "predict", tmp_path / "export" / "1", tmp_path / "in.txt")
    assert line == printed(command, "predict", run, tmp_path / "in.txt")[0]
    assert line["tokens"][3]["words"] == [{"text": "DE", "tag": "ADP"}, {"text": "LE", "tag": "DET"}]


def test_predictions_are_data(command: Command, run: Path, tmp_path: Path) -> None:
    """What `predict` prints can be evaluated on as it is, and after a correction by hand."""
    sentences = treebank(tmp_path / "bank", seed=6, test=5)
    lines: list[dict[str, Any]] = [given(example) for example in sentences]
    (tmp_path / "as_printed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    lines[0]["tokens"][1]["tag"] = "PROPN"
    (tmp_path / "corrected.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = sum(len(own) for _, tokens in sentences for _, own in tokens)

    printed_metrics, corrected = (
        evaluated(command, run, "--data", tmp_path / f"{name}.jsonl", "--split", "all")
        for name in ("as_printed", "corrected")
    )
    assert printed_metrics["words"] == words
    assert printed_metrics["raw_text"]["tag_f1"] == 1
    assert corrected["accuracy"] == pytest.approx(1 - 1 / words)
    assert corrected["raw_text"]["tag_f1"] == pytest.approx(1 - 1 / words)


@pytest.mark.parametrize("tags", ["PER", "LOC ORG", "1 2+3"])
def test_a_model_of_words_on_other_tags(command: Command, run: Path, tmp_path: Path, tags: str) -> None:
    """Data with none of its tags is refused in one line."""
    own = tags.split()
    rows = [{"tokens": ["x"] * len(own), "tags": own}] * 3
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    result = command("evaluate", run, "--data", tmp_path / "rows.jsonl", "--split", "all")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "but those of the model are plain, such as 'ADP+DET', 'DET', 'NOUN'" in result.stderr


def test_a_column_without_tags(command: Command, tmp_path: Path) -> None:
    """A column that has only `_` is refused, though the tag of two words is `_+_`."""
    treebank(tmp_path / "bank", train=20, validation=5)

    result = command(
        "train", "tagging", tmp_path / "bank", "--set", "data.tag_column=xpos", "--run", tmp_path / "run"
    )
    assert result.exit_code == 1
    assert "the training examples have only one tag, '_'" in result.stderr


def test_spans_in_a_treebank(command: Command, tmp_path: Path) -> None:
    """Tags of spans are not joined: a multiword token belongs to the span of its words."""
    columns = "# global.columns = ID FORM NER\n"
    rows = ["1 Il O", "2-3 du O", "2 de O", "3 le B-LOC", "4 Caire I-LOC", "5 part O"]
    block = "".join("\t".join(row.split(" ")) + "\n" for row in rows) + "\n"
    for split in ("train", "validation"):
        (tmp_path / "bank").mkdir(exist_ok=True)
        (tmp_path / "bank" / f"{split}.conllu").write_text(columns + block * 4)

    result = command(
        "datasets", "check", tmp_path / "bank", "--task", "tagging", "--set", "data.tag_column=ner"
    )
    assert "tags: BIO (0 exceptions)" in result.stdout
    assert "multiword tokens" not in result.stdout


def test_the_text_of_a_treebank_is_that_of_its_tokens(bank: Path) -> None:
    """The helper writes no `# text`, so that these tests cover texts that are rebuilt."""
    assert "# text" not in (bank / "train.conllu").read_text()
    assert "SpaceAfter=No" in conllu(treebank(bank.parent / "other", test=1)[0])
