"""Write a JSONL file of a given size, to measure preparation and training with large files.

    python benchmarks/large_file.py reviews.jsonl --gigabytes 2

An example has about 4,000 characters: words of a made-up language with Zipf-distributed frequencies, and
between them sentences of `sample:reviews` that have the label of the example.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from corpora import made_up_words, zipf

from data.samples import reviews

WORDS = 50_000
PASSAGES = 20_000
PASSAGE_WORDS = 90
PARTS = 6


def write_reviews(output: Path, size: float, seed: int = 0) -> tuple[int, int]:
    """Write examples until the file is large enough.

    Args:
        output: the file.
        size: in bytes.
        seed: of the examples; a larger file begins with the smaller one.

    Returns:
        the numbers of examples and of bytes.
    """
    random = np.random.default_rng(seed)
    words = made_up_words(random, WORDS)
    passages = [" ".join(row) for row in random.choice(words, (PASSAGES, PASSAGE_WORDS), p=zipf(WORDS))]
    examples = reviews(seed)["train"]
    sentences = {
        label: [example["text"] for example in examples if example["label"] == label]
        for label in ("negative", "positive")
    }
    written = count = 0
    with output.open("w", encoding="utf-8") as file:
        while written < size:
            label = ("negative", "positive")[random.integers(2)]
            chosen = random.integers(0, PASSAGES, PARTS), random.integers(0, len(sentences[label]), PARTS)
            pairs = zip(*(part.tolist() for part in chosen), strict=True)
            text = " ".join(f"{passages[i]} {sentences[label][j]}" for i, j in pairs)
            written += file.write(json.dumps({"text": text, "label": label}) + "\n")
            count += 1
    return count, written


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    count, written = write_reviews(arguments.output, arguments.gigabytes * 1e9, arguments.seed)
    print(f"{arguments.output}: {count:,} examples, {written:,} bytes")


if __name__ == "__main__":
    main()
