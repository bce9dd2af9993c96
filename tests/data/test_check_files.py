"""The data check of files, and its use of memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.check import examine
from data.check_report import Malformed, Report
from data.formats import Field, Row
from data.sources import Source, open_source
from data.splits import rows_by_split

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")


def words(texts: Sequence[str]) -> list[list[bytes]]:
    """Return the words of texts."""
    return [text.lower().encode().split() for text in texts]


def check(source: Source) -> Report:
    return examine(
        rows_by_split(source), tokenize=words, vocabulary_size=1000, min_count=1, splits=source.parts
    )


def test_the_tokenizer_gets_batches() -> None:
    """Each text is tokenized once, in batches of at most 1,024 texts, long texts in smaller batches."""
    sizes = []

    def count(texts: Sequence[str]) -> list[list[bytes]]:
        sizes.append((len(texts), sum(map(len, texts))))
        return words(texts)

    short, long = [(str(i), "x") for i in range(3_000)], [("w " * 50_000, "x")] * 30
    rows = (
        ("train", "train.csv", Row(line, {"text": text, "label": label}))
        for line, (text, label) in enumerate([*short, *long], 1)
    )
    examine(rows, tokenize=count, vocabulary_size=9, min_count=1)

    assert sum(texts for texts, _ in sizes) == 3_030
    assert max(texts for texts, _ in sizes) == 1024
    assert len(sizes) <= 6
    assert max(characters for _, characters in sizes) < 2_000_000


def test_texts_are_not_kept_in_memory() -> None:
    """Memory grows by a few numbers per example, not by its text."""

    def rows() -> Iterator[tuple[str, str, Row]]:
        for line in range(1, 5_001):
            yield "train", "train.csv", Row(line, {"text": f"{line} " * 2_000, "label": "x"})

    tracemalloc.start()
    try:
        report = examine(rows(), tokenize=lambda texts: [[b"w"]] * len(texts), vocabulary_size=9, min_count=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert report.splits["train"].rows == 5_000  # about 50 million characters
    assert peak < 6_000_000


def test_a_folder_of_files(tmp_path: Path) -> None:
    """Places are paths and line numbers."""
    (tmp_path / "train.csv").write_text('text,label\n"a\nb",x\n\nc,y\n"a\nb",y\nd\n')
    (tmp_path / "dev.jsonl").write_text('{"text": "c", "label": "y"}\nnone\n')
    source = open_source(str(tmp_path), (TEXT, LABEL), ("records", "lines"))
    assert isinstance(source, Source)
    report = check(source)

    train, dev = str(tmp_path / "train.csv"), str(tmp_path / "dev.jsonl")
    assert report.splits["train"].conflict_places == ((f"{train}:2", f"{train}:6"),)
    assert report.splits["train"].first_malformed == (Malformed(train, 8, "columns: 1; in the header: 2"),)
    assert [(bad.where, bad.line) for bad in report.splits["validation"].first_malformed] == [(dev, 2)]
    assert [overlap.places for overlap in report.overlaps] == [((f"{train}:5", f"{dev}:1"),)]
    assert len(report.problems) == 2


def test_a_single_file(tmp_path: Path) -> None:
    """The rows of a single file are examined in their splits."""
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "".join(f"text {i},{'xy'[i % 2]}\n" for i in range(200)))
    source = open_source(str(path), (TEXT, LABEL), ("records", "lines"))
    assert isinstance(source, Source)
    report = check(source)

    assert report.problems == []
    assert list(report.splits) == ["train", "validation", "test"]
    assert sum(found.rows for found in report.splits.values()) == 200
