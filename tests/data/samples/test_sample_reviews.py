from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections import Counter, defaultdict
from typing import Any

import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from data.samples import SAMPLES, Example, reviews
from data.samples.reviews import BLAME, PRAISE

SPLITS = {"train": 2000, "validation": 400, "test": 400}

# Clauses as regular expressions, up to their adjective.
IS = r"the \w+ is(?: very| rather| truly)?"
IS_NOT = r"the \w+ (?:isn't|is not|is never|is hardly)(?: very| at all)?"


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Example]]:
    return reviews(0)


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text without their order.

    >>> words("It's not good, it's bad.")
    ('bad', 'good', "it's", "it's", 'not')
    """
    return tuple(sorted(re.findall(r"[a-z']+", text.lower())))


def accuracy(vectorizer: Any, splits: dict[str, list[Example]]) -> float:
    """Return the test accuracy of a logistic regression of the vectorizer's features."""
    texts = {split: [row["text"] for row in rows] for split, rows in splits.items()}
    labels = {split: [row["label"] for row in rows] for split, rows in splits.items()}
    classifier = make_pipeline(vectorizer, LogisticRegression(max_iter=1000))
    classifier.fit(texts["train"], labels["train"])
    return float(classifier.score(texts["test"], labels["test"]))


def test_reviews_are_a_registered_sample() -> None:
    """`sample:reviews` is found by its name."""
    assert SAMPLES["reviews"] is reviews


def test_sizes(splits: dict[str, list[Example]]) -> None:
    """There are 2,000 training examples and 400 each for validation and test."""
    assert {split: len(rows) for split, rows in splits.items()} == SPLITS


def test_same_seed_same_examples(splits: dict[str, list[Example]]) -> None:
    """The examples depend only on the seed; Python's global generator is not used."""
    before = random.getstate()

    assert reviews(0) == splits
    assert random.getstate() == before


def test_examples_are_the_same_on_every_machine(splits: dict[str, list[Example]]) -> None:
    """Seed 0 results in the examples of the scores in the module's docstring.

    A change to the generator changes this hash: measure anew, and write both down together.
    """
    assert hashlib.sha256(json.dumps(splits).encode()).hexdigest() == (
        "39b24c46021c9e7840c03f8cdd6f0a2964df889026072fae18599da58c401fbd"
    )


def test_other_seed_other_examples(splits: dict[str, list[Example]]) -> None:
    """Another seed results in other texts, not only in another order."""
    texts = {row["text"] for rows in splits.values() for row in rows}
    other_texts = {row["text"] for rows in reviews(1).values() for row in rows}

    assert len(texts & other_texts) < 0.1 * len(texts)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_text_occurs_twice(seed: int) -> None:
    """No text occurs twice, not even with another case or end mark."""
    texts = [row["text"] for rows in reviews(seed).values() for row in rows]

    assert len({text.lower().rstrip(".!") for text in texts}) == len(texts) == 2800


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_balanced(splits: dict[str, list[Example]], split: str) -> None:
    """Half of each split is positive, and half is negative."""
    half = SPLITS[split] // 2

    assert Counter(row["label"] for row in splits[split]) == {"positive": half, "negative": half}


def test_labels_are_shuffled(splits: dict[str, list[Example]]) -> None:
    """Examples are not sorted by label, and most twins are not adjacent."""
    rows = splits["train"]
    neighbours = list(itertools.pairwise(rows))

    assert 900 < sum(a["label"] != b["label"] for a, b in neighbours) < 1100
    assert sum(words(a["text"]) == words(b["text"]) for a, b in neighbours) < 20


@pytest.mark.parametrize("split", SPLITS)
def test_every_text_has_a_twin(splits: dict[str, list[Example]], split: str) -> None:
    """In each split, texts of the same words are half positive and half negative.

    So all its texts can be paired, 1,000 pairs in "train" and 200 in the others, such that the
    two of a pair differ in the order of their words and in their label only.
    """
    labels: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in splits[split]:
        labels[words(row["text"])][row["label"]] += 1

    pairs = sum(min(count["positive"], count["negative"]) for count in labels.values())

    assert pairs == SPLITS[split] // 2


@pytest.mark.parametrize("split", SPLITS)
def test_every_word_is_balanced(splits: dict[str, list[Example]], split: str) -> None:
    """Each word occurs as often in positive texts as in negative ones."""
    counts: dict[str, Counter[str]] = {"positive": Counter(), "negative": Counter()}
    for row in splits[split]:
        counts[row["label"]].update(words(row["text"]))

    assert counts["positive"] == counts["negative"]
    assert {"dull", "good", "but", "isn't", "never", "hardly"} <= counts["positive"].keys()


def test_words_alone_fail(splits: dict[str, list[Example]]) -> None:
    """The accuracy of word counts is that of chance."""
    assert accuracy(CountVectorizer(), splits) < 0.62


def test_pairs_of_words_do_not_suffice(splits: dict[str, list[Example]]) -> None:
    """Pairs of words help, but the order of more than two words decides."""
    assert 0.7 < accuracy(TfidfVectorizer(ngram_range=(1, 2)), splits) < 0.9


@pytest.mark.parametrize(
    ("pattern", "label_if_praise"),
    [
        (f"{IS} (?P<foil>ADJ), but {IS} (?P<verdict>ADJ)", "positive"),
        (f"{IS_NOT} (?P<foil>ADJ), but {IS_NOT} (?P<verdict>ADJ)", "negative"),
        (f"(although|even though) {IS} (?P<foil>ADJ), {IS} (?P<verdict>ADJ)", "positive"),
        (f"{IS} (?P<verdict>ADJ), (although|even though) {IS} (?P<foil>ADJ)", "positive"),
        (f"{IS} (?P<foil>ADJ) and {IS_NOT} (?P<verdict>ADJ)", "negative"),
        (f"{IS_NOT} (?P<foil>ADJ) and {IS} (?P<verdict>ADJ)", "positive"),
        (r"the \w+ is not (?P<foil>ADJ), it is (?P<verdict>ADJ)", "positive"),
        (r"the \w+ is more (?P<verdict>ADJ) than (?P<foil>ADJ)", "positive"),
    ],
)
def test_the_verdict_decides(splits: dict[str, list[Example]], pattern: str, label_if_praise: str) -> None:
    """The label is that of the clause after "but" or the main clause, with its negation."""
    sentence = re.compile(pattern.replace("ADJ", "|".join(PRAISE + BLAME)))
    texts = [(row["text"].lower().rstrip(".!"), row["label"]) for row in splits["train"]]
    found = [(match, label) for text, label in texts if (match := sentence.fullmatch(text))]

    assert {label for _, label in found} == {"positive", "negative"}
    for match, label in found:
        assert (match["verdict"] in PRAISE) != (match["foil"] in PRAISE), match[0]
        assert (match["verdict"] in PRAISE) == (label == label_if_praise), match[0]


def test_intensifiers_change_nothing(splits: dict[str, list[Example]]) -> None:
    """The patterns above hold with "very", "rather" and "truly", which all occur."""
    counts = Counter(word for row in splits["train"] for word in words(row["text"]))

    assert min(counts[word] for word in ("very", "rather", "truly")) > 100


def test_texts_look_natural(splits: dict[str, list[Example]]) -> None:
    """Texts are ASCII without wrong spaces or slots; some have no capitals or no full stop."""
    rows = [row for split in splits.values() for row in split]

    for row in rows:
        assert set(row) == {"text", "label"}
        assert re.fullmatch(r"[A-Za-z',;.!]+( [A-Za-z',;.!]+)+", row["text"]), row["text"]
    assert 0.1 < sum(row["text"].islower() for row in rows) / len(rows) < 0.3
    assert 0.1 < sum(row["text"][-1].isalpha() for row in rows) / len(rows) < 0.4
