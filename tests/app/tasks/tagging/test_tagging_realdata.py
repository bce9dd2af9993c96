"""Columns, schemes and tokens of public corpora, if they are present: `pytest -m realdata`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from public_data import DATA, skip_without_data

from app.config import TaskConfig, load_config
from app.tasks import get_task
from data.errors import UserError
from data.formats import BadRow, Row
from data.sources import Source, open_source

EXAMPLES = get_task("tagging").examples

pytestmark = [pytest.mark.realdata, skip_without_data]


def opened(path: Path, config: TaskConfig) -> Source:
    """Return the source of a folder or a file."""
    source = open_source(str(path), EXAMPLES.fields(config), EXAMPLES.shapes, options=config.options())
    assert isinstance(source, Source)
    return source


def rows_of(path: Path, *overrides: str) -> Iterator[Row | BadRow]:
    """Yield the rows of all splits."""
    for part in opened(path, load_config("tagging", overrides=overrides)).parts.values():
        for _, row in part.rows():
            yield row


@pytest.mark.parametrize(
    ("name", "sentences", "notes", "share"),
    [
        (
            "ud_en_ewt",
            16_622,
            [
                "tags: plain, 40 distinct",
                "multiword tokens: 3,327 of 251,489 tokens are several words, whose tags are joined by '+'",
            ],
            0.97,
        ),
        ("ud_el_gud", 1_807, ["tags: plain, 17 distinct"], 0.99),
        ("snips", 14_484, ["tags: BIO (0 exceptions)"], 0.99),
    ],
)
def test_a_corpus(name: str, sentences: int, notes: list[str], share: float) -> None:
    """All sentences are read; their scheme is known, and most of their tokens are those of the tokenizer."""
    config = load_config("tagging")
    tags, tokens = EXAMPLES.validator(config), EXAMPLES.doctor(config)
    number = 0
    for row in rows_of(DATA / name):
        assert isinstance(row, Row)
        tags.add("train", name, row)
        tokens.add("train", name, row)
        number += 1

    assert number == sentences
    assert tags.notes() == notes
    assert tags.problems() == tags.warnings() == []
    (note,) = tokens.notes()
    found = re.match(r"tokenizer: the rules give (\S+)% of", note)
    assert found is not None
    assert float(found[1]) / 100 > share


@pytest.mark.parametrize("name", ["ud_en_ewt", "ud_el_gud"])
def test_a_treebank_by_another_name(name: str, tmp_path: Path) -> None:
    """As `.conll` its last column is refused; the advised column has the same rows as the `.conllu` file."""
    path = tmp_path / "test.conll"
    path.write_bytes((DATA / name / "test.conllu").read_bytes())

    with pytest.raises(UserError, match=r"column 10 has no tags.*--set data.tag_column=4$"):
        list(rows_of(path))
    found = [row.values for row in rows_of(path, "data.tag_column=4") if isinstance(row, Row)]
    expected = [row.values for row in rows_of(DATA / name / "test.conllu") if isinstance(row, Row)]

    assert len(found) > 700
    assert [(row["tokens"], row["tags"]) for row in found] == [
        (row["tokens"], row["tags"]) for row in expected
    ]


def test_columns_of_slots(tmp_path: Path) -> None:
    """Written in columns by tabs or spaces, numbered or not, a corpus of slots has the same rows."""
    lines = (DATA / "snips" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    expected = [(tuple(row["tokens"]), tuple(row["tags"])) for row in rows]

    for name, template in {
        "tabs": "{token}\t{tag}\n",
        "spaces": "{token} {tag}\n",
        "numbered": "{i} {token} X {tag}\n",
        "document": "snips/0 0 {token} {tag}\n",
    }.items():
        path = tmp_path / f"{name}.conll"
        with path.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(f"# text {' '.join(row['tokens'])}\n")
                pairs = zip(row["tokens"], row["tags"], strict=True)
                file.writelines(template.format(i=i, token=t, tag=g) for i, (t, g) in enumerate(pairs, 1))
                file.write("\n")
        found = [(row.values["tokens"], row.values["tags"]) for row in rows_of(path) if isinstance(row, Row)]
        assert found == expected, name
