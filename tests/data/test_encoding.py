from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from data.encoding import Encoded, Texts, UniqueTokens, encode, load_encoded
from data.samples import reviews
from models.text import SPECIAL_TOKENS, UNKNOWN_ID, Preprocessor, tokenize, unique_tokens

Rows = list[tuple[str, list[bytes], np.ndarray]]

HARD = [
    b"",
    b" \n ",
    b"The END of the end; the end.",
    "Η ΥΠΌΘΕΣΗ 剧情很好 👍🏽 isn't".encode(),
    b"caf\xe9 \xff\x00",
    b"line one\nline two\r\n\\n",
    b"one " * 40,
    b"[UNK] \x5b",
]


def batched(split: str, texts: Sequence[bytes], size: int) -> Rows:
    """Return texts in batches; the target of a row is its number."""
    return [
        (
            split,
            list(texts[start : start + size]),
            np.arange(start, min(start + size, len(texts)), dtype=np.int32),
        )
        for start in range(0, len(texts), size)
    ]


def encoded(folder: Path, rows: Rows, *, most: int = 10_000, min_count: int = 1, **options: Any) -> Encoded:
    """Encode rows as a training does, and open what was written."""
    graph = tf.function(
        lambda texts: unique_tokens(texts, **options),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )

    def cut(texts: Texts) -> UniqueTokens:
        distinct, positions, lengths = graph(tf.constant(texts, tf.string))
        return distinct.numpy(), positions.numpy(), lengths.numpy()

    folder.mkdir(parents=True)
    encode(
        iter(rows),
        unique_tokens=cut,
        special=SPECIAL_TOKENS,
        unknown_id=UNKNOWN_ID,
        most=most,
        min_count=min_count,
        directory=folder,
    )
    return load_encoded(folder)


@pytest.fixture(scope="module")
def sample() -> dict[str, list[bytes]]:
    """Return every text of the sample, and hard ones beside them."""
    splits = {name: [row["text"].encode() for row in rows] for name, rows in reviews(0).items()}
    splits["train"] += HARD
    splits["validation"] += HARD
    return splits


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize(
    ("tokens", "max_length", "truncate", "most", "min_count"),
    [
        ("word", 0, "end", 10_000, 1),
        ("word", 7, "end", 100, 1),
        ("word", 7, "middle", 100, 3),
        ("word", 1, "middle", 10_000, 2),
        ("char", 0, "end", 10_000, 1),
        ("char", 30, "middle", 20, 1),
        ("byte", 0, "end", 10_000, 1),
        ("byte", 30, "end", 10_000, 5),
    ],
)
def test_stored_ids_are_those_of_the_preprocessor(
    tmp_path: Path,
    sample: dict[str, list[bytes]],
    tokens: str,
    max_length: int,
    truncate: str,
    most: int,
    min_count: int,
    lowercase: bool,
) -> None:
    """What a training reads from disk is what the exported graph makes of the same strings, row by row."""
    options = {"tokens": tokens, "lowercase": lowercase, "max_length": max_length, "truncate": truncate}
    rows = [batch for split, texts in sample.items() for batch in batched(split, texts, 700)]

    found = encoded(tmp_path / "encoded", rows, most=most, min_count=min_count, **options)

    preprocessor = Preprocessor(found.vocabulary, **options)
    for split, texts in sample.items():
        stored = found.splits[split]
        expected, lengths = (value.numpy() for value in preprocessor(tf.constant(texts)))
        ids, stored_lengths = stored.batch(np.arange(len(texts)))
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal(stored_lengths, lengths)
        np.testing.assert_array_equal(stored.lengths, lengths)
        assert stored.targets.tolist() == list(range(len(texts)))
        assert (ids == UNKNOWN_ID).any() or most > 1000


def test_batches(tmp_path: Path) -> None:
    """Rows come in the order that is asked for, padded with 0 to the longest of them."""
    split = encoded(tmp_path / "e", batched("train", [b"b a", b"", b"b", b"a c b"], 3)).splits["train"]

    ids, lengths = split.batch(np.array([3, 1, 0]))

    assert ids.tolist() == [[3, 4, 2], [0, 0, 0], [2, 3, 0]]
    assert lengths.tolist() == [3, 1, 2]
    assert ids.dtype == lengths.dtype == np.int32


def test_empty_texts(tmp_path: Path) -> None:
    """A text without tokens is one step of padding, alone and beside others."""
    split = encoded(tmp_path / "e", batched("train", [b"", b"a", b" "], 2)).splits["train"]

    assert len(split) == 3
    assert split.lengths.tolist() == [1, 1, 1]
    assert split.row(0).tolist() == []
    assert split.batch(np.array([0, 2]))[0].tolist() == [[0], [0]]
    assert split.batch(np.array([0]))[1].tolist() == [1]


def test_nothing_but_empty_texts(tmp_path: Path) -> None:
    """A split without any token can be encoded, too."""
    found = encoded(tmp_path / "e", batched("train", [b"", b""], 2))

    assert found.vocabulary == list(SPECIAL_TOKENS)
    assert found.splits["train"].batch(np.array([1, 0]))[0].tolist() == [[0], [0]]


def test_the_vocabulary_is_that_of_training(tmp_path: Path) -> None:
    """Only training rows count, whenever they come: the most frequent first, ties by their bytes."""
    rows = [
        *batched("validation", [b"x x x x x x b"], 1),
        *batched("train", [b"b c a", b"c a c"], 1),
        *batched("test", [b"y a"], 1),
    ]

    found = encoded(tmp_path / "e", rows)

    assert found.vocabulary == [*SPECIAL_TOKENS, b"c", b"a", b"b"]
    assert found.splits["train"].row(0).tolist() == [4, 2, 3]
    assert found.splits["validation"].row(0).tolist() == [1, 1, 1, 1, 1, 1, 4]
    assert found.splits["test"].row(0).tolist() == [1, 3]


def test_counts(tmp_path: Path) -> None:
    """Each token's count in the training rows is kept, and that of all that are not in the vocabulary."""
    rows = [
        *batched("train", [b"a a a b b c c d", b"a b e", b""], 2),
        *batched("validation", [b"a a a x"], 1),
    ]

    found = encoded(tmp_path / "e", rows, most=5, min_count=2)

    assert found.vocabulary == [*SPECIAL_TOKENS, b"a", b"b", b"c"]
    assert found.counts.tolist() == [0, 2, 4, 3, 2]


def test_size_and_least_count(tmp_path: Path) -> None:
    """The vocabulary has at most so many tokens, the special ones included, none of them rarer than said."""
    texts = [b"a a a a b b b c c d"]
    for most, min_count, kept in ((3, 1, b"a"), (4, 1, b"a b"), (100, 2, b"a b c"), (100, 5, b"")):
        found = encoded(
            tmp_path / f"{most}-{min_count}", batched("train", texts, 1), most=most, min_count=min_count
        )

        assert found.vocabulary == [*SPECIAL_TOKENS, *kept.split()]


def test_batches_do_not_matter(tmp_path: Path, sample: dict[str, list[bytes]]) -> None:
    """Vocabulary and ids are the same however many rows are read at once."""
    texts = sample["validation"]

    one, other = (encoded(tmp_path / str(size), batched("train", texts, size)) for size in (17, 1000))

    assert one.vocabulary == other.vocabulary
    assert one.counts.tolist() == other.counts.tolist()
    for i in range(len(texts)):
        np.testing.assert_array_equal(one.splits["train"].row(i), other.splits["train"].row(i))


def test_counts_of_the_sample(tmp_path: Path, sample: dict[str, list[bytes]]) -> None:
    """On real rows the counts are those that Python counts, and fall from the first token to the last."""
    texts = sample["train"]
    pieces = tokenize(tf.constant(texts)).flat_values.numpy().tolist()
    expected = Counter(pieces)

    found = encoded(tmp_path / "e", batched("train", texts, 500), most=100)

    known = found.vocabulary[len(SPECIAL_TOKENS) :]
    assert len(found.vocabulary) == 100
    assert [expected[token] for token in known] == found.counts[2:].tolist()
    assert known == sorted(expected, key=lambda token: (-expected[token], token))[:98]
    assert found.counts[UNKNOWN_ID] == len(pieces) - sum(expected[token] for token in known)


def test_more_tokens_than_two_bytes_hold(tmp_path: Path) -> None:
    """A vocabulary of more than 65,536 tokens keeps every one of them apart."""
    tokens = [b"t%d" % i for i in range(70_000)]
    texts = [b" ".join(tokens[start : start + 1000]) for start in range(0, len(tokens), 1000)]

    found = encoded(tmp_path / "e", batched("train", texts, 20), most=80_000)

    split = found.splits["train"]
    assert len(found.vocabulary) == 70_002
    assert [found.vocabulary[i] for i in split.row(69)] == tokens[-1000:]
    assert split.batch(np.array([69]))[0].max() > 1 << 16


def test_targets_of_any_shape(tmp_path: Path) -> None:
    """Targets are kept as they are given, with their type."""
    rows: Iterator[tuple[str, list[bytes], np.ndarray]] = iter(
        [
            ("train", [b"a", b"b"], np.array([[1, 2], [3, 4]], np.int16)),
            ("train", [b"c"], np.array([[5, 6]], np.int16)),
        ]
    )

    targets = encoded(tmp_path / "e", list(rows)).splits["train"].targets

    assert targets.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert targets.dtype == np.int16
