"""Texts to measure with: the public datasets where they are, else generated ones of about the same lengths.

The generated texts have made-up words with Zipf-distributed frequencies. They serve for measuring time, not
accuracy.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Example = dict[str, Any]
VALIDATION = 200
"""Examples of the validation split, which is not measured."""
REVIEW_WORDS, REVIEW_SPREAD = 174, 0.65
"""Median of the words of an IMDB review, and standard deviation of the logarithm."""
SENTENCE_WORDS, SENTENCE_SPREAD = 19, 0.57
"""The same for a sentence of SST-2 or of UD English-EWT."""
SENTENCES = 6920
CHARACTERS = 1_115_394
TAGS = ("NOUN", "VERB", "ADJ", "ADV", "DET", "ADP", "PRON", "PUNCT")


def made_up_words(random: np.random.Generator, count: int) -> np.ndarray:
    """Return words of one to four syllables, not all different: str [count]."""
    syllables = np.array([c + v for c in "bdfgklmnprstvz" for v in "aeiou"])
    return np.array(["".join(random.choice(syllables, random.integers(1, 5))) for _ in range(count)])


def zipf(count: int) -> np.ndarray:
    """Return probabilities that are inverse to the rank: float [count]."""
    chances = 1 / np.arange(1, count + 1)
    normalized: np.ndarray = chances / chances.sum()
    return normalized


class Corpora:
    """Folders with data, written when they are first asked for."""

    def __init__(self, public: Path | None, folder: Path, *, share: float = 1.0) -> None:
        """Initialize.

        Args:
            public: folder of the public datasets `imdb`, `sst2`, `ud_en_ewt` and `tinyshakespeare`; what it
                lacks is generated.
            folder: where the data is written.
            share: of the examples that are used.
        """
        self._public, self._folder, self._share = public, folder, share
        self.generated: set[str] = set()
        """Names of the datasets that are not public."""

    def reviews(self, count: int) -> Path:
        """Return a folder of reviews with labels; its training split has `count` of them, less by `share`."""
        return self._texts("imdb", "train.jsonl.gz", count, REVIEW_WORDS, REVIEW_SPREAD)

    def sentences(self) -> Path:
        """Return a folder of sentences with labels."""
        return self._texts("sst2", "train.jsonl", SENTENCES, SENTENCE_WORDS, SENTENCE_SPREAD)

    def equal(self, count: int, tokens: int, vocabulary: int) -> Path:
        """Return a folder of texts that all have the same number of tokens, with labels."""
        random = np.random.default_rng(0)
        # Of letters alone, so that a word is one token: 19 is `bj`.
        letters = str.maketrans("0123456789", "abcdefghij")
        words = [str(number).translate(letters) for number in range(vocabulary)]
        rows = random.integers(0, vocabulary, (count, tokens))
        # Each word occurs, so that the vocabulary has the size that is asked for.
        rows.flat[:vocabulary] = np.arange(vocabulary)
        texts = (" ".join(words[i] for i in row) for row in rows)
        return self._written(f"equal-{tokens}", [_labelled(text, i) for i, text in enumerate(texts)])

    def tagged(self, count: int) -> Path:
        """Return a folder of sentences with a tag for each word."""
        found = self._find("ud_en_ewt", "train.conllu")
        if found is None:
            return self._written("ud_en_ewt", list(_tagged(self._size(count) + VALIDATION)))
        sentences = found.read_text(encoding="utf-8").strip().split("\n\n")[: self._size(count) + VALIDATION]
        folder = self._folder / "ud_en_ewt"
        folder.mkdir(parents=True, exist_ok=True)
        for split, own in (("validation", sentences[:VALIDATION]), ("train", sentences[VALIDATION:])):
            (folder / f"{split}.conllu").write_text("\n\n".join(own) + "\n\n", encoding="utf-8")
        return folder

    def characters(self) -> Path:
        """Return a file with one long text."""
        found = self._find("tinyshakespeare", "input.txt")
        if found is not None:
            return found
        path = self._folder / "characters.txt"
        text = " ".join(_generated(1, CHARACTERS // 4, 0.0)[0].split())[:CHARACTERS]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def _size(self, count: int) -> int:
        return math.ceil(count * self._share)

    def _find(self, name: str, file: str) -> Path | None:
        path = self._public / name / file if self._public else None
        if path is not None and path.is_file():
            return path
        self.generated.add(name)
        return None

    def _texts(self, name: str, file: str, count: int, words: int, spread: float) -> Path:
        found = self._find(name, file)
        size = self._size(count) + VALIDATION
        if found is None:
            rows = [_labelled(text, i) for i, text in enumerate(_generated(size, words, spread))]
        else:
            rows = list(read_rows(found))
            order = np.random.default_rng(0).permutation(len(rows))[:size]
            rows = [{"text": rows[i]["text"], "label": str(rows[i]["label"])} for i in order]
        return self._written(f"{name}-{len(rows)}", rows)

    def _written(self, name: str, rows: list[Example]) -> Path:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for split, own in (("validation", rows[:VALIDATION]), ("train", rows[VALIDATION:])):
            lines = "".join(f"{json.dumps(row)}\n" for row in own)
            (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        return folder


def read_rows(path: Path) -> Iterator[Example]:
    """Yield the objects of a file of JSON lines, which may be compressed."""
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8") as file
    ):
        yield from map(json.loads, file)


def _labelled(text: str, number: int) -> Example:
    return {"text": text, "label": ("negative", "positive")[number % 2]}


def _generated(count: int, words: int, spread: float) -> list[str]:
    random = np.random.default_rng(0)
    known = made_up_words(random, 50_000)
    lengths = np.maximum(random.lognormal(math.log(words), spread, count), 1).astype(int)
    return [" ".join(random.choice(known, length, p=zipf(len(known)))) + "." for length in lengths]


def _tagged(count: int) -> Iterator[Example]:
    for text in _generated(count, SENTENCE_WORDS, SENTENCE_SPREAD):
        tokens = [*text.removesuffix(".").split(), "."]
        yield {"tokens": tokens, "tags": [TAGS[sum(map(ord, token)) % len(TAGS)] for token in tokens]}
