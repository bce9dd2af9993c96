"""Word vectors that are learned before training, from training texts and texts without labels."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from trained import PLAIN, overrides, same, weights

from app.artifacts.run import open_run, read_run_manifest
from app.config import TaskConfig, load_config
from app.prediction.loading import load_keras_model
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.tagging.facts import TaggingFacts
from app.train import train
from app.training.word_vectors import SCALE, word_vectors
from data.encoding import Sequences

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
LEARN = (*PLAIN, "model.embeddings=learn", "training.deterministic=true", "training.epochs=2")
STILL = (*LEARN, "training.learning_rate=1e-30", "training.schedule=constant")


def sequences(path: Path, texts: list[list[int]]) -> Sequences:
    """Return texts of token ids as they are on disk."""
    np.array([i for text in texts for i in text], np.uint16).tofile(path)
    return Sequences(path, np.dtype(np.uint16), np.array([len(text) for text in texts], np.int64))


def learn(texts: list[Sequences], **other: Any) -> np.ndarray:
    """Return vectors of 8 ids, of which the first two are special."""
    return word_vectors(texts, **({"vocabulary_size": 8, "special": 2, "size": 3, "seed": 0} | other))


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Return the cosine of the angle between two vectors."""
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def test_words_of_the_same_contexts_are_alike(tmp_path: Path) -> None:
    """2 and 3 occur beside 4, 5 and 6 beside 7; ids of special tokens get no vector."""
    texts = sequences(tmp_path / "ids", [[2, 4], [3, 4], [5, 7], [6, 7], [1, 1], [], [0]] * 9)

    vectors = learn([texts])

    assert vectors.dtype == np.float32
    assert cosine(vectors[2], vectors[3]) > 0.99
    assert cosine(vectors[5], vectors[6]) > 0.99
    assert abs(cosine(vectors[2], vectors[5])) < 0.01
    assert not vectors[:2].any()
    assert np.sqrt(np.mean(np.square(vectors[2:]))) == pytest.approx(SCALE)
    np.testing.assert_array_equal(vectors, learn([texts]))


def test_no_window_reaches_into_another_text(tmp_path: Path) -> None:
    """Texts of one word have no neighbours; and the texts may be in several splits."""
    alone = sequences(tmp_path / "alone", [[2], [3], [4]])
    first, second = (sequences(tmp_path / name, [[2, 3], [5, 4]]) for name in "ab")
    whole = sequences(tmp_path / "whole", [[2, 3], [5, 4]] * 2)

    assert not learn([alone]).any()
    np.testing.assert_allclose(learn([first, second]), learn([whole]), atol=1e-6)


def test_ids_of_another_vocabulary(tmp_path: Path) -> None:
    """Sequences may have ids of their own, several of which are one word."""
    texts = sequences(tmp_path / "ids", [[0, 3], [4, 3], [1, 2]])
    expected = sequences(tmp_path / "expected", [[2, 5], [2, 5], [7, 6]])

    vectors = learn([texts], ids=np.array([2, 7, 6, 5, 2]))

    np.testing.assert_array_equal(vectors, learn([expected]))


def test_vectors_of_a_tagger_are_those_of_its_words(tmp_path: Path, jsonl: Callable[..., None]) -> None:
    """`Red` and `red` are one word, whose neighbours are those of both."""
    pair = {"upos": ["ADJ", "NOUN"]}
    sentences = [("Red", "sky"), ("red", "sky"), ("a", "dog"), ("one", "dog")]
    rows = [{"tokens": list(tokens), **pair} for tokens in sentences * 5]
    for split in ("train", "validation"):
        jsonl(tmp_path / "data" / f"{split}.jsonl", rows)
    chosen = ("model.embeddings=learn", "model.embedding_size=3", "model.units=2", "training.epochs=1")
    still = ("training.learning_rate=1e-30", "training.schedule=constant", "model.character_features=none")
    config = load_config("tagging", overrides=[*chosen, *still])

    run = train("tagging", str(tmp_path / "data"), config, run=tmp_path / "run").path

    embeddings = load_keras_model(open_run(run)).embedding.embeddings.numpy()
    table = dict(zip(open_run(run).preprocessing(TaggingFacts).vocabulary, embeddings, strict=True))
    assert cosine(table[b"a"], table[b"one"]) > 0.99
    assert abs(cosine(table[b"red"], table[b"a"])) < 0.01
    assert abs(cosine(table[b"sky"], table[b"dog"])) < 0.01


def test_a_vector_may_be_larger_than_the_vocabulary(tmp_path: Path) -> None:
    """Its last elements are 0."""
    texts = sequences(tmp_path / "ids", [[2, 3], [5, 4]])

    vectors = learn([texts], size=10)

    assert vectors.shape == (8, 10)
    assert not vectors[:, 8:].any()


def test_texts_without_labels_count(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """They change the vectors, not the vocabulary; copies of held-out texts are left out."""
    held_out = [json.loads(line)["text"] for line in (reviews / "validation.jsonl").read_text().splitlines()]
    extra = ["the plot and the acting were xyzzy", "acting of a plot", *held_out]
    (tmp_path / "more.txt").write_text("".join(f"{text}\n" for text in extra))
    with gzip.open(tmp_path / "more.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": text, "label": "never"}) + "\n" for text in extra)
    tables, vocabularies = {}, {}
    for name in ("", "more.txt", "more.jsonl.gz"):
        chosen = [f"data.unlabelled={tmp_path / name}"] if name else []
        run = train(
            "classification", str(reviews), configured(*STILL, *chosen), run=tmp_path / f"run{name}"
        ).path
        tables[name] = weights(run)[0]
        vocabularies[name] = open_run(run).preprocessing(ClassificationFacts).vocabularies
        assert read_run_manifest(run).examples.get("unlabelled") == (2 if name else None)

    assert vocabularies[""] == vocabularies["more.txt"] == vocabularies["more.jsonl.gz"]
    np.testing.assert_array_equal(tables["more.txt"], tables["more.jsonl.gz"])
    assert not np.array_equal(tables[""], tables["more.txt"])


def test_resuming_is_exact(
    configured: Configured, reviews: Path, tmp_path: Path, stop_at: Callable[..., dict[str, Any]]
) -> None:
    """An interrupted training ends with the same weights as one that is not."""
    (tmp_path / "more.txt").write_text("the plot and the acting\n" * 5)
    config = configured(*LEARN, f"data.unlabelled={tmp_path / 'more.txt'}")

    def run(name: str, **options: Any) -> Path:
        train("classification", str(reviews), config, run=tmp_path / name, **options)
        return tmp_path / name

    run("stopped", **stop_at(epoch=2, step=1))
    run("stopped", resume=True)

    assert same(weights(run("whole")), weights(tmp_path / "stopped"))


def test_changed_texts_are_refused(command: Command, reviews: Path, tmp_path: Path) -> None:
    """A run is resumed with the texts that it began with."""
    (tmp_path / "more.txt").write_text("the plot and the acting\n")
    options = overrides(*LEARN, f"data.unlabelled={tmp_path / 'more.txt'}")
    assert command("train", "classification", reviews, "--run", tmp_path / "run", *options).exit_code == 0
    (tmp_path / "more.txt").write_text("another plot\n")

    result = command("train", "classification", reviews, "--run", tmp_path / "run", "--resume", *options)

    assert result.exit_code == 1
    assert "cannot be resumed: the texts of data.unlabelled have changed" in result.stderr


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (("model.embeddings=learn", "data.unlabelled=nowhere.txt"), "'nowhere.txt': No such file"),
        (
            ("data.unlabelled=.",),
            "is not used by model.embeddings = '' and model.pretrained = '' with "
            "training.virtual_adversarial = 0; give --set model.embeddings=learn, --set "
            "model.pretrained=learn or --set training.virtual_adversarial=1, or leave out data.unlabelled",
        ),
    ],
    ids=["missing", "unused"],
)
def test_mistakes(
    command: Command, reviews: Path, tmp_path: Path, chosen: tuple[str, ...], said: str
) -> None:
    """Each is one line, before a run is made."""
    result = command(
        "train", "classification", reviews, "--run", tmp_path / "run", *overrides(*PLAIN, *chosen)
    )

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert not (tmp_path / "run").exists()
