"""Exchange of spans between training examples."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagging_data import TINY, Command, Jsonl, settings

from app.config import load_config
from app.tasks import get_task
from app.tasks.opening import open_data
from app.tasks.tagging.exchange import SpanExchange
from app.training.encode import encode_and_batch
from data.encoding import TokenizedBatch, VocabularyRule, encode, load_encoded
from data.prepared import prepare

ROWS = [
    ("fly to New York now", "O O B-city I-city O"),
    ("Rome please", "B-city O"),
    ("from Rome to Rio", "O B-city O B-city"),
    ("play Help", "O B-song"),
    ("hello", "O"),
]


def exchange(folder: Path, probability: float) -> tuple[SpanExchange, list[str], list[str]]:
    """Return the exchange of the rows, and the names of words and tags."""

    def unique(column: int) -> Any:
        rows = [row[column].split() for row in ROWS]
        distinct = sorted({token for row in rows for token in row})
        places = np.array([distinct.index(token) for row in rows for token in row])
        return [token.encode() for token in distinct], places, np.array([len(row) for row in rows])

    rule = VocabularyRule((), 0, 1 << 20, training_only=False)
    names = ("word_types", "tags")
    encode(
        [TokenizedBatch("train", {name: unique(i) for i, name in enumerate(names)}, {})],
        vocabulary_of={name: name for name in names},
        rules=dict.fromkeys(names, rule),
        facts={},
        directory=folder,
    )
    encoded = load_encoded(folder)
    words, tags = ([name.decode() for name in encoded.vocabularies[name]] for name in names)
    sequences = encoded.splits["train"].sequences
    return SpanExchange(sequences["word_types"], sequences["tags"], tags, probability), words, tags


def sentences(folder: Path, probability: float, seeds: range = range(200)) -> list[Counter[tuple[str, str]]]:
    """Return how often each sentence with its tags becomes of each row."""
    made, words, tags = exchange(folder, probability)
    found: list[Counter[tuple[str, str]]] = [Counter() for _ in ROWS]
    for seed in seeds:
        for counts, (types, ids) in zip(found, made.rows(np.arange(len(ROWS)), (0, seed)), strict=True):
            counts[" ".join(words[i] for i in types), " ".join(tags[i] for i in ids)] += 1
    return found


def test_spans_are_exchanged_with_their_tags(tmp_path: Path) -> None:
    """A span becomes each value of its label about equally often, with the tags of that value."""
    of_two_words, first, two, alone, without = sentences(tmp_path, 1.0)

    assert set(of_two_words) == {
        ("fly to New York now", "O O B-city I-city O"),
        ("fly to Rome now", "O O B-city O"),
        ("fly to Rio now", "O O B-city O"),
    }
    assert min(of_two_words.values()) > 45
    assert set(first) == {
        ("New York please", "B-city I-city O"),
        ("Rome please", "B-city O"),
        ("Rio please", "B-city O"),
    }
    assert len(two) == 9
    assert list(alone) == [ROWS[3]]
    assert list(without) == [ROWS[4]]


@pytest.mark.parametrize("probability", [0.0, 0.3])
def test_the_probability(tmp_path: Path, probability: float) -> None:
    """A span is drawn again with the probability: two of three draws change one of three values."""
    changed = 1 - sentences(tmp_path, probability, range(600))[1][ROWS[1]] / 600

    assert changed == pytest.approx(probability * 2 / 3, abs=0.06 if probability else 0)


def test_the_seed_and_the_example_decide(tmp_path: Path) -> None:
    """Rows depend on the seed and their own example, not on the other ones of a batch."""
    made, *_ = exchange(tmp_path, 1.0)
    together = made.rows(np.array([0, 2]), (3, 1))
    alone = made.rows(np.array([2]), (3, 1))
    others = [made.rows(np.array([2]), (3, epoch))[0][0].tolist() for epoch in range(8)]

    np.testing.assert_array_equal(together[1], alone[0])
    assert len({tuple(types) for types in others}) > 1


def test_batches_follow(jsonl: Jsonl, tmp_path: Path) -> None:
    """Ids, characters, features and tags of a batch are those of the exchanged words; validation stays."""
    rows: list[dict[str, object]] = [{"tokens": text.split(), "tags": tags.split()} for text, tags in ROWS]
    for split in ("train", "validation"):
        jsonl(tmp_path / "data" / f"{split}.jsonl", rows)
    overrides = [*TINY, "training.exchange_spans=1.0", "training.batch_size=5", f"data.directory={tmp_path}"]
    config = load_config("tagging", overrides=overrides)
    task = get_task("tagging")
    source, fields, config = open_data(str(tmp_path / "data"), task, config)
    dataset = prepare(
        source,
        fields,
        directory=tmp_path,
        splitting=config.splitting(),
        validator=task.examples.validator(config),
    )
    data = encode_and_batch(dataset, task, config, tmp_path)
    names = {name: data.preprocessing.vocabularies[name] for name in ("vocabulary", "characters", "tags")}

    def read(batch: dict[str, np.ndarray]) -> set[tuple[str, str]]:
        found = set()
        for i, length in enumerate(batch["lengths"]):
            types = batch["word_types"][i, :length]
            spelled = [
                b"".join(names["characters"][c] for c in batch["characters"][t, :number])
                for t, number in zip(types, batch["character_lengths"][types], strict=True)
            ]
            words = [names["vocabulary"][word] for word in batch["token_ids"][i, :length]]
            assert words == [word.lower() for word in spelled]
            tags = [names["tags"][tag].decode() for tag in batch["tags"][i, :length]]
            found.add((b" ".join(spelled).decode(), " ".join(tags)))
        return found

    train = data.batches["train"]
    epochs = [read(train.batch(train.epoch(0, epoch)[0]).arrays) for epoch in range(6)]
    again = read(train.batch(train.epoch(0, 2)[0]).arrays)
    whole = [read(feed.batch(feed.whole()[0]).arrays) for feed in data.batches.values()]

    assert len(set(map(frozenset, epochs))) > 1
    assert epochs[2] == again
    assert whole == [set(ROWS)] * 2


def test_plain_tags_have_no_spans(command: Command, jsonl: Jsonl, tmp_path: Path) -> None:
    """Parts of speech cannot be exchanged, and a message says so."""
    jsonl(tmp_path / "data/train.jsonl", [{"tokens": ["a", "b"], "tags": ["X", "Y"]}] * 4)
    jsonl(tmp_path / "data/validation.jsonl", [{"tokens": ["a", "c"], "tags": ["X", "Y"]}])
    options = settings(*TINY, "training.exchange_spans=0.5")

    result = command("train", "tagging", tmp_path / "data", "--run", tmp_path / "run", *options)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (
        "Error: training.exchange_spans = 0.5: the tags of the data encode no spans; only tags of "
        "spans, such as B-PER and I-PER, are exchanged: set training.exchange_spans=0"
    )
    assert not (tmp_path / "run").exists()
