from __future__ import annotations

import gc
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from data.encoding import (
    Encoded,
    EncodedSplit,
    Texts,
    TokenizedBatch,
    UniqueTokens,
    VocabularyRule,
    encode,
    load_encoded,
)
from data.samples import reviews
from models.text.preprocessor import Preprocessor
from models.text.tokenize import tokenize, unique_tokens
from models.text.tokens import SPECIAL_TOKENS, UNKNOWN_ID

TextRows = list[tuple[str, list[bytes], np.ndarray]]
"""Batches of a split, texts, and a number for each."""

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


def batched(split: str, texts: Sequence[bytes], size: int) -> TextRows:
    """Return batches of texts, each text with its number."""
    return [
        (
            split,
            list(texts[start : start + size]),
            np.arange(start, min(start + size, len(texts)), dtype=np.int32),
        )
        for start in range(0, len(texts), size)
    ]


def encoded(
    folder: Path, rows: TextRows, *, most: int = 10_000, min_count: int = 1, **options: Any
) -> Encoded:
    """Encode examples of one sequence as training does, and open the result."""
    graph = tf.function(
        lambda texts: unique_tokens(texts, **options),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )

    def tokens(texts: Texts) -> UniqueTokens:
        distinct, positions, lengths = graph(tf.constant(texts, tf.string))
        return distinct.numpy(), positions.numpy(), lengths.numpy()

    folder.mkdir(parents=True)
    encode(
        (
            TokenizedBatch(split, {"tokens": tokens(texts)}, {"number": numbers})
            for split, texts, numbers in rows
        ),
        vocabulary_of={"tokens": "words"},
        rules={"words": VocabularyRule(SPECIAL_TOKENS, UNKNOWN_ID, most=most, min_count=min_count)},
        directory=folder,
    )
    return load_encoded(folder)


@pytest.fixture(scope="module")
def sample() -> dict[str, list[bytes]]:
    """Return all texts of the sample, and difficult texts."""
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
    """The ids on disk are those that the exported graph computes from the same strings."""
    options = {"tokens": tokens, "lowercase": lowercase, "max_length": max_length, "truncate": truncate}
    rows = [batch for split, texts in sample.items() for batch in batched(split, texts, 700)]

    found = encoded(tmp_path / "encoded", rows, most=most, min_count=min_count, **options)

    preprocessor = Preprocessor(found.vocabularies["words"], **options)
    for split, texts in sample.items():
        stored = found.splits[split].sequences["tokens"]
        expected, lengths = (value.numpy() for value in preprocessor(tf.constant(texts)))
        ids, stored_lengths = stored.batch(np.arange(len(texts)))
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal(stored_lengths, lengths)
        np.testing.assert_array_equal(stored.lengths, lengths)
        assert found.splits[split].columns["number"].tolist() == list(range(len(texts)))
        assert (ids == UNKNOWN_ID).any() or most > 1000


def test_batches(tmp_path: Path) -> None:
    """Examples are in the given order, padded with 0 to the longest one."""
    found = encoded(tmp_path / "e", batched("train", [b"b a", b"", b"b", b"a c b"], 3))
    split = found.splits["train"].sequences["tokens"]

    ids, lengths = split.batch(np.array([3, 1, 0]))

    assert ids.tolist() == [[3, 4, 2], [0, 0, 0], [2, 3, 0]]
    assert lengths.tolist() == [3, 1, 2]
    assert ids.dtype == lengths.dtype == np.int32


def test_empty_texts(tmp_path: Path) -> None:
    """A text without tokens is one step of padding, alone or with others."""
    found = encoded(tmp_path / "e", batched("train", [b"", b"a", b" "], 2))
    split = found.splits["train"].sequences["tokens"]

    assert len(split) == 3
    assert split.lengths.tolist() == [1, 1, 1]
    assert split.row(0).tolist() == []
    assert split.batch(np.array([0, 2]))[0].tolist() == [[0], [0]]
    assert split.batch(np.array([0]))[1].tolist() == [1]


def test_nothing_but_empty_texts(tmp_path: Path) -> None:
    """A split without any tokens can be encoded."""
    found = encoded(tmp_path / "e", batched("train", [b"", b""], 2))

    assert found.vocabularies["words"] == list(SPECIAL_TOKENS)
    assert found.splits["train"].sequences["tokens"].batch(np.array([1, 0]))[0].tolist() == [[0], [0]]


def test_the_vocabulary_is_that_of_training(tmp_path: Path) -> None:
    """It has the tokens of the training split only: the most frequent first, ties by their bytes."""
    rows = [
        *batched("validation", [b"x x x x x x b"], 1),
        *batched("train", [b"b c a", b"c a c"], 1),
        *batched("test", [b"y a"], 1),
    ]

    found = encoded(tmp_path / "e", rows)

    assert found.vocabularies["words"] == [*SPECIAL_TOKENS, b"c", b"a", b"b"]
    assert found.splits["train"].sequences["tokens"].row(0).tolist() == [4, 2, 3]
    assert found.splits["validation"].sequences["tokens"].row(0).tolist() == [1, 1, 1, 1, 1, 1, 4]
    assert found.splits["test"].sequences["tokens"].row(0).tolist() == [1, 3]


def test_counts(tmp_path: Path) -> None:
    """The counts are those in the training examples; the unknown id has that of all other tokens."""
    rows = [
        *batched("train", [b"a a a b b c c d", b"a b e", b""], 2),
        *batched("validation", [b"a a a x"], 1),
    ]

    found = encoded(tmp_path / "e", rows, most=5, min_count=2)

    assert found.vocabularies["words"] == [*SPECIAL_TOKENS, b"a", b"b", b"c"]
    assert found.counts["words"].tolist() == [0, 2, 4, 3, 2]


def test_size_and_least_count(tmp_path: Path) -> None:
    """The vocabulary has the maximum size, special tokens included, and no token below the minimum count."""
    texts = [b"a a a a b b b c c d"]
    for most, min_count, kept in ((3, 1, b"a"), (4, 1, b"a b"), (100, 2, b"a b c"), (100, 5, b"")):
        found = encoded(
            tmp_path / f"{most}-{min_count}", batched("train", texts, 1), most=most, min_count=min_count
        )

        assert found.vocabularies["words"] == [*SPECIAL_TOKENS, *kept.split()]


def test_batches_do_not_matter(tmp_path: Path, sample: dict[str, list[bytes]]) -> None:
    """Vocabulary and ids do not depend on the size of the batches."""
    texts = sample["validation"]

    one, other = (encoded(tmp_path / str(size), batched("train", texts, size)) for size in (17, 1000))

    assert one.vocabularies == other.vocabularies
    assert one.counts["words"].tolist() == other.counts["words"].tolist()
    for i in range(len(texts)):
        np.testing.assert_array_equal(
            one.splits["train"].sequences["tokens"].row(i), other.splits["train"].sequences["tokens"].row(i)
        )


def test_counts_of_the_sample(tmp_path: Path, sample: dict[str, list[bytes]]) -> None:
    """The counts are correct, and fall from the first token to the last."""
    texts = sample["train"]
    pieces = tokenize(tf.constant(texts)).flat_values.numpy().tolist()
    expected = Counter(pieces)

    found = encoded(tmp_path / "e", batched("train", texts, 500), most=100)

    known = found.vocabularies["words"][len(SPECIAL_TOKENS) :]
    assert len(found.vocabularies["words"]) == 100
    assert [expected[token] for token in known] == found.counts["words"][2:].tolist()
    assert known == sorted(expected, key=lambda token: (-expected[token], token))[:98]
    assert found.counts["words"][UNKNOWN_ID] == len(pieces) - sum(expected[token] for token in known)


def test_more_tokens_than_two_bytes_hold(tmp_path: Path) -> None:
    """Ids of a vocabulary of more than 65,536 tokens are distinct."""
    tokens = [b"t%d" % i for i in range(70_000)]
    texts = [b" ".join(tokens[start : start + 1000]) for start in range(0, len(tokens), 1000)]

    found = encoded(tmp_path / "e", batched("train", texts, 20), most=80_000)

    split = found.splits["train"].sequences["tokens"]
    assert len(found.vocabularies["words"]) == 70_002
    assert [found.vocabularies["words"][i] for i in split.row(69)] == tokens[-1000:]
    assert split.batch(np.array([69]))[0].max() > 1 << 16


def test_columns_of_any_shape(tmp_path: Path) -> None:
    """Other values of the examples are stored with their type and shape."""
    rows = [
        ("train", [b"a", b"b"], np.array([[1, 2], [3, 4]], np.int16)),
        ("train", [b"c"], np.array([[5, 6]], np.int16)),
    ]

    numbers = encoded(tmp_path / "e", rows).splits["train"].columns["number"]

    assert numbers.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert numbers.dtype == np.int16


def sequences(**texts: str) -> dict[str, UniqueTokens]:
    """Return the sequences of one example, split at spaces."""
    found: dict[str, UniqueTokens] = {}
    for name, text in texts.items():
        tokens = text.encode().split()
        distinct = sorted(set(tokens))
        positions = np.array([distinct.index(token) for token in tokens], np.int64)
        found[name] = (distinct, positions, np.array([len(tokens)]))
    return found


def words(split: EncodedSplit, sequence: str, vocabulary: list[bytes], row: int = 0) -> str:
    """Return the words of an encoded example."""
    return b" ".join(vocabulary[i] for i in split.sequences[sequence].row(row)).decode()


def pairs() -> list[TokenizedBatch]:
    """Return examples of two sequences; "x" occurs in both, "c" only outside of the training split."""
    return [
        TokenizedBatch("train", sequences(source="a b x", target="x Z Z Z"), {"line": np.array([1])}),
        TokenizedBatch("train", sequences(source="a", target="Y"), {"line": np.array([2])}),
        TokenizedBatch("validation", sequences(source="c a", target="Y c x Y"), {"line": np.array([3])}),
    ]


RULE = VocabularyRule(SPECIAL_TOKENS, UNKNOWN_ID, most=100)


def test_two_sequences_with_a_vocabulary_each(tmp_path: Path) -> None:
    """Each vocabulary has the tokens and counts of its sequence, and follows its own rule."""
    encode(
        pairs(),
        vocabulary_of={"source": "english", "target": "german"},
        rules={"english": RULE, "german": replace(RULE, most=4)},
        directory=tmp_path,
    )
    found = load_encoded(tmp_path)
    train, validation = found.splits["train"], found.splits["validation"]

    assert found.vocabularies == {
        "english": [*SPECIAL_TOKENS, b"a", b"b", b"x"],
        "german": [*SPECIAL_TOKENS, b"Z", b"Y"],
    }
    assert found.counts["english"].tolist() == [0, 0, 2, 1, 1]
    assert found.counts["german"].tolist() == [0, 1, 3, 1]
    assert words(train, "source", found.vocabularies["english"]) == "a b x"
    assert words(train, "target", found.vocabularies["german"]) == "[UNK] Z Z Z"
    assert words(validation, "source", found.vocabularies["english"]) == "[UNK] a"
    assert words(validation, "target", found.vocabularies["german"]) == "Y [UNK] [UNK] Y"
    assert (len(train), len(validation)) == (2, 1)
    assert train.columns["line"].tolist() == [1, 2]
    assert train.sequences["source"].lengths.tolist() == [3, 1]
    assert train.sequences["target"].lengths.tolist() == [4, 1]


def test_two_sequences_that_share_a_vocabulary(tmp_path: Path) -> None:
    """A token has the same id and a common count in both sequences."""
    encode(
        pairs(),
        vocabulary_of={"source": "words", "target": "words"},
        rules={"words": RULE},
        directory=tmp_path,
    )
    found = load_encoded(tmp_path)
    train = found.splits["train"]

    assert found.vocabularies == {"words": [*SPECIAL_TOKENS, b"Z", b"a", b"x", b"Y", b"b"]}
    assert found.counts["words"].tolist() == [0, 0, 3, 2, 2, 1, 1]
    assert train.sequences["source"].row(0).tolist() == [3, 6, 4]
    assert train.sequences["target"].row(0).tolist() == [4, 2, 2, 2]
    assert words(found.splits["validation"], "target", found.vocabularies["words"]) == "Y [UNK] x Y"


def test_a_vocabulary_of_all_splits(tmp_path: Path) -> None:
    """Without `training_only`, tokens of other splits have ids after those of training."""
    rule = replace(RULE, training_only=False)

    encode(
        pairs(),
        vocabulary_of={"source": "words", "target": "words"},
        rules={"words": rule},
        directory=tmp_path,
    )
    found = load_encoded(tmp_path)

    assert found.vocabularies["words"][2:5] == [b"Z", b"a", b"x"]
    assert set(found.vocabularies["words"][5:]) == {b"Y", b"b", b"c"}
    assert dict(zip(found.vocabularies["words"], found.counts["words"], strict=True))[b"c"] == 0
    assert words(found.splits["validation"], "source", found.vocabularies["words"]) == "c a"


def test_special_tokens_in_a_text(tmp_path: Path) -> None:
    """A token with the name of a special one has its id; an empty token is unknown, not padding."""
    tokens = ([b"", b"[END]", b"a", b"[UNK]"], np.array([2, 1, 0, 3, 2]), np.array([5]))
    rule = VocabularyRule((*SPECIAL_TOKENS, b"[END]"), UNKNOWN_ID, most=10)

    encode(
        [TokenizedBatch("train", {"text": tokens}, {})],
        vocabulary_of={"text": "words"},
        rules={"words": rule},
        directory=tmp_path,
    )
    found = load_encoded(tmp_path)

    assert found.vocabularies["words"] == [*SPECIAL_TOKENS, b"[END]", b"a"]
    assert found.splits["train"].sequences["text"].row(0).tolist() == [3, 2, 1, 1, 3]
    assert found.counts["words"].tolist() == [0, 2, 1, 2]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 9, "a b c d e f g h i"),
        (0, 2, "a b"),
        (1, 4, "b c d"),
        (2, 6, "c d e f"),
        (8, 9, "i"),
        (5, 5, ""),
        (7, 100, "h i"),
    ],
)
def test_a_span_across_examples(tmp_path: Path, start: int, end: int, expected: str) -> None:
    """The tokens of a split are concatenated; an empty example has none."""
    texts = ["a b", "", "c d e f", "g h i"]
    encode(
        [TokenizedBatch("train", sequences(text=text), {}) for text in texts],
        vocabulary_of={"text": "words"},
        rules={"words": RULE},
        directory=tmp_path,
    )
    found = load_encoded(tmp_path)
    tokens = found.splits["train"].sequences["text"]

    span = b" ".join(found.vocabularies["words"][i] for i in tokens.span(start, end)).decode()

    assert span == expected
    assert [words(found.splits["train"], "text", found.vocabularies["words"], i) for i in range(4)] == texts
    assert tokens.counts.tolist() == [2, 0, 4, 3]
    assert tokens.lengths.tolist() == [2, 1, 4, 3]


def test_facts_are_returned_as_they_were(tmp_path: Path) -> None:
    """Facts are stored as JSON, with their types."""
    facts = {"tag_scheme": "BIO", "scores": [-1.5, 0.1], "documents_end": True}
    rows = [TokenizedBatch("train", {"tokens": ([b"a"], np.array([0]), np.array([1]))}, {})]
    encode(
        rows,
        vocabulary_of={"tokens": "words"},
        rules={"words": VocabularyRule(SPECIAL_TOKENS, UNKNOWN_ID, most=10)},
        facts=facts,
        directory=tmp_path,
    )
    (tmp_path / "notes.txt").write_bytes(b"\xff not a vocabulary")
    found = load_encoded(tmp_path)

    assert found.facts == facts
    assert set(found.vocabularies) == {"words"}


def test_sequences_leave_no_file_open(tmp_path: Path) -> None:
    """The file is closed without a warning when the sequences are deleted."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        found = encoded(tmp_path / "e", batched("train", [b"a b", b"b"], 2))
        assert found.splits["train"].sequences["tokens"].span(1, 3).tolist() == [2, 2]
        del found
        gc.collect()

    assert not [warning for warning in caught if issubclass(warning.category, ResourceWarning)]


def made_up(texts: int) -> list[bytes]:
    """Return texts of the same ten words, two of them twice or more, and of two that no other text has."""
    usual = [b"w%d" % i for i in range(10)] + [b"w0", b"w0", b"w1"]
    return [b" ".join([*usual, b"x%d" % i, b"y%d" % i]) for i in range(texts)]


def test_rare_tokens_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus with more distinct tokens than are counted at once has the same vocabulary and ids."""
    rows = [*batched("train", made_up(500), 20), *batched("validation", made_up(40), 20)]
    whole = encoded(tmp_path / "whole", rows, most=14, min_count=3)

    monkeypatch.setattr("data.encoding.MOST_DISTINCT", 200)
    found = encoded(tmp_path / "found", rows, most=14, min_count=3)

    assert found.vocabularies == whole.vocabularies
    assert found.vocabularies["words"][2:4] == [b"w0", b"w1"]
    np.testing.assert_array_equal(found.counts["words"], whole.counts["words"])
    for split in ("train", "validation"):
        ids, expected = (
            own.splits[split].sequences["tokens"].batch(np.arange(40))[0] for own in (found, whole)
        )
        np.testing.assert_array_equal(ids, expected)


def test_a_forgotten_token_that_becomes_frequent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the vocabulary, with its later occurrences; the earlier ones are out of vocabulary."""
    monkeypatch.setattr("data.encoding.MOST_DISTINCT", 200)
    texts = [b"late", *made_up(200), *([b"late late"] * 50)]

    found = encoded(tmp_path / "e", batched("train", texts, 20), most=14)

    assert found.counts["words"][found.vocabularies["words"].index(b"late")] == 100
    assert found.counts["words"].sum() == 1 + 200 * 15 + 100
    tokens = found.splits["train"].sequences["tokens"]
    assert tokens.row(0).tolist() == [UNKNOWN_ID]
    assert UNKNOWN_ID not in tokens.row(len(texts) - 1)


def test_memory_does_not_grow_with_the_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as many texts, with four times as many distinct words, need only a few bytes each more."""
    monkeypatch.setattr("data.encoding.MOST_DISTINCT", 1000)

    def peak(texts: int) -> int:
        rules = {"words": VocabularyRule(SPECIAL_TOKENS, UNKNOWN_ID, most=20)}

        def rows() -> Iterator[TokenizedBatch]:
            for start in range(0, texts, 50):
                words = [word for text in made_up(start + 50)[start:] for word in text.split()]
                places = {word: i for i, word in enumerate(dict.fromkeys(words))}
                positions = np.array([places[word] for word in words])
                sequences = {"tokens": (list(places), positions, np.full(50, len(words) // 50))}
                yield TokenizedBatch("train", sequences, {"label": np.zeros(50, np.int32)})

        folder = tmp_path / str(texts)
        folder.mkdir()
        tracemalloc.start()
        encode(rows(), vocabulary_of={"tokens": "words"}, rules=rules, directory=folder)
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(2000), peak(8000)

    assert many - few < 6000 * 100  # a text has 15 words of 2 to 5 bytes, two of which are new
