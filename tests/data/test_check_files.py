"""How the data check's statistics use the tokenizer and memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

from data.check import StatisticsObserver
from data.formats import Field, Row

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")


def words(texts: Sequence[str]) -> list[list[bytes]]:
    """Return the words of texts."""
    return [text.lower().encode().split() for text in texts]


def test_the_tokenizer_gets_batches() -> None:
    """Each text is tokenized once, in batches of at most 1,024 texts, long texts in smaller batches."""
    sizes = []

    def count(texts: Sequence[str]) -> list[list[bytes]]:
        sizes.append((len(texts), sum(map(len, texts))))
        return words(texts)

    short, long = [(str(i), "x") for i in range(3_000)], [("w " * 50_000, "x")] * 30
    observer = StatisticsObserver((TEXT, LABEL), tokenize=count, vocabulary_size=9, min_count=1)
    for line, (text, label) in enumerate([*short, *long], 1):
        observer.add("train", "train.csv", Row(line, {"text": text, "label": label}))
    observer.statistics()

    assert sum(texts for texts, _ in sizes) == 3_030
    assert max(texts for texts, _ in sizes) == 1024
    assert len(sizes) <= 6
    assert max(characters for _, characters in sizes) < 2_000_000


def test_texts_are_not_kept_in_memory() -> None:
    """Memory grows by a few numbers per example, not by its text."""
    observer = StatisticsObserver(
        (TEXT, LABEL), tokenize=lambda texts: [[b"w"]] * len(texts), vocabulary_size=9, min_count=1
    )
    tracemalloc.start()
    try:
        for line in range(1, 5_001):
            row = Row(line, {"text": f"{line} " * 2_000, "label": "x"})
            observer.add("train", "train.csv", row)
        found = observer.statistics()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found.splits["train"].rows == 5_000  # about 50 million characters
    assert peak < 6_000_000
