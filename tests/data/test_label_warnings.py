"""Warnings of labels and tags by their counts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from data.label_kinds import is_number
from data.label_warnings import unseen_labels, warn_of_classes, warn_of_tags

RANDOM = random.Random(0)
NUMBERS = {
    "prices": [f"{RANDOM.random() * 100:.2f}" for _ in range(100)],
    "ages": [str(RANDOM.randint(18, 90)) for _ in range(300)],
    "amounts": [f"€{RANDOM.randint(1, 9)},{RANDOM.randint(100, 999)}" for _ in range(60)],
    "signed": [str(RANDOM.gauss(0, 1)) for _ in range(60)],
    "decimal comma": [f"{RANDOM.randint(0, 9)},{RANDOM.randint(0, 9)}" for _ in range(100)],
    "percent": [f"{RANDOM.randint(0, 100)} %" for _ in range(80)],
    "few rows": [str(i * 1.5) for i in range(9)],
    "some missing": [str(i) for i in range(90)] + ["n/a"] * 10,
}
SETS = {
    "commas": (
        [",".join(RANDOM.sample(["joy", "love", "anger", "fear"], 1 + i % 3)) for i in range(100)],
        "--set data.label_separator=,",
    ),
    "a set and its members": (["joy,love", "joy", "love"] * 5, "--set data.label_separator=,"),
    "bars": (["a|b", "b|c", "a|c"] * 5, "--set 'data.label_separator=|'"),
    "semicolons": (["x; y", "y; z", "x; z", "x; y; z"] * 5, "--set 'data.label_separator=;'"),
    "spaces": (["joy", "love", "joy love", "love joy anger", "anger"] * 5, "--set 'data.label_separator= '"),
    "slashes": (["a/b", "b/c", "a/c"] * 5, "--set data.label_separator=/"),
    "JSON": (['["a", "b"]', '["a"]', '["c"]'] * 5, "--set 'data.label_separator=|'"),
    "Python": (["['a', 'b']", "['b']", "[]", "{'c'}"] * 5, "--set 'data.label_separator=|'"),
}
OTHERS = {
    "user names": ([f"user_{i}" for i in range(40)], "identifiers"),
    "hexadecimal": ([f"{RANDOM.getrandbits(64):x}g" for _ in range(40)], "identifiers"),
    "dates": ([f"2020-01-{i:02}" for i in range(1, 31)], "identifiers"),
    "sentences": ([f"this is a sentence of number {i}" for i in range(20)], "free text"),
    "long": (["a long text without end " * 5, "another one that is as long " * 5] * 10, "free text"),
    "German": ([f"Das ist der Satz {'abcdefghij'[i % 10]}{i}" for i in range(30)], "free text"),
}
CLASSES = {
    "stars": [str(i % 5 + 1) for i in range(100)],
    "half stars": [str(i % 10 / 2) for i in range(100)],
    "ids of classes": [str(i % 20) for i in range(200)],
    "sci/tech": ["World", "Sports", "Business", "Sci/Tech"] * 10,
    "two words": ["credit card", "debit card", "card lost", "card stolen"] * 10,
    "ampersands": ["ARTS & CULTURE", "CULTURE & ARTS", "FOOD & DRINK", "ARTS"] * 10,
    "with commas": ["Bosnia, north", "Korea, north", "Korea, south"] * 10,
    "versions": ["1.0.1", "1.2.1", "v2"] * 10,
    "none": [],
}


def sentences(labels: Sequence[str], *, separable: bool = True) -> list[str]:
    return [own.sentence() for own in warn_of_classes({"train": Counter(labels)}, separable=separable)]


@pytest.mark.parametrize("name", NUMBERS)
def test_labels_that_look_like_numbers(name: str) -> None:
    """Many different numbers are a scale, not classes."""
    (sentence,) = sentences(NUMBERS[name])

    assert sentence.startswith("labels look like numbers of a scale (regression): ")
    assert "replace them by a few ranges" in sentence


@pytest.mark.parametrize("name", SETS)
def test_labels_that_look_like_sets(name: str) -> None:
    """The option that separates them is named."""
    labels, option = SETS[name]
    (sentence,) = sentences(labels)

    assert sentence.startswith("labels look like sets: ")
    assert f"pass {option}; then each example may have several labels (multi-label)" in sentence
    assert "data.label_separator" not in sentences(labels, separable=False)[0]


@pytest.mark.parametrize("name", OTHERS)
def test_labels_that_look_like_something_else(name: str) -> None:
    """Labels of which nearly each is different, or long ones, are no classes."""
    labels, kind = OTHERS[name]
    (sentence,) = sentences(labels)

    assert sentence.startswith(f"labels look like {kind}: ")
    assert "--set data.label_column=NAME" in sentence


@pytest.mark.parametrize("name", CLASSES)
def test_labels_that_are_classes(name: str) -> None:
    """A few numbers, and signs within a name, are no reason for a warning."""
    assert sentences(CLASSES[name]) == []


def test_the_labels_of_all_splits_are_examined() -> None:
    """A spelling that only the test split has is found."""
    (near,) = warn_of_classes({"train": {"pos": 9, "neg": 9}, "test": {"Pos": 2, "neg": 5}})

    assert near.sentence() == (
        "labels that differ only in case, width, spaces or invisible characters ('pos' (9) and 'Pos' (2)); "
        "they are different labels to the model; keep the first one of each and replace the others"
    )


def test_misspelt_labels() -> None:
    """A rare label that is nearly a frequent one is named with it."""
    found = sentences(["positive"] * 900 + ["positve"] + ["negative"] * 800)

    assert found[0] == (
        "labels that may be misspelt ('positve' (1) for 'positive' (900)); correct them, or ignore this if "
        "they are right"
    )


def test_rare_classes() -> None:
    """Classes with fewer than five training examples are listed, the rarest first."""
    (few,) = warn_of_classes({"train": {"a": 5, "b": 4, "c": 1}, "test": {"a": 1}})

    assert few.sentence() == (
        "2 classes have fewer than 5 training examples ('c': 1, 'b': 4); little can be learned about them; "
        "add examples, or merge them with other classes"
    )


@pytest.mark.parametrize(("examples", "warned"), [(50, False), (51, True)])
def test_classes_of_very_different_size(examples: int, warned: bool) -> None:
    """A class with more than ten times as many examples in train as another is a warning."""
    found = sentences(["common"] * examples + ["rare"] * 5)

    assert found == warned * [
        "train has 51 examples of 'common' and 5 of 'rare', more than 10:1; add examples of 'rare', and do "
        "not rely on accuracy alone"
    ]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"B-PER": 90, "B-per": 3, "O": 50}, "'B-PER' (90) and 'B-per' (3)"),
        ({"B-PER": 90, "I-Per": 3, "O": 50}, "'PER' (90) and 'Per' (3)"),
        ({"NOUN": 90, "ＮＯＵＮ": 1, "VERB": 50}, "'NOUN' (90) and 'ＮＯＵＮ' (1)"),
        ({"B-LOCATION": 90, "B-LOCATOIN": 1, "S-LOCATION": 2}, "'LOCATOIN' (1) for 'LOCATION' (92)"),
    ],
)
def test_tags_that_are_nearly_the_same(tags: dict[str, int], expected: str) -> None:
    """Tags are compared as a whole and by the types of their spans."""
    (found,) = warn_of_tags({"train": tags})

    assert expected in found.sentence()


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({str(i): 10 for i in range(30)}, "numbers: 30 different ones of 300 tokens, such as '0', '1', '2'"),
        ({str(i): 9 - i // 10 for i in range(40)} | {"_": 5}, "numbers: 40 different ones"),
        ({f"word{chr(97 + i)}": 1 + i % 2 for i in range(26)}, "words: 26 different ones of 39 tokens"),
    ],
)
def test_tags_that_look_like_something_else(tags: dict[str, int], expected: str) -> None:
    """The numbers of heads and the words of another column are no tags."""
    (found,) = warn_of_tags({"train": tags})

    assert found.sentence().startswith(f"tags look like {expected}")
    assert found.advice == "name the column of the tags with --set data.tag_column=NAME"


def test_tags_of_a_scheme_are_different() -> None:
    """The letters before a type make a difference."""
    tags = {"B-LOCATION": 900, "I-LOCATION": 300, "S-LOCATION": 1, "E-LOCATION": 1, "O": 5000}

    assert list(warn_of_tags({"train": tags})) == []


def test_labels_that_train_lacks() -> None:
    """Their number, the first names and the places are said."""
    found = unseen_labels("test", {"a": 2, "b": 1}, ["t.csv:1: 'a'", "t.csv:2: 'b'", "t.csv:9: 'a'"])

    assert found.sentence(2) == (
        "3 test examples have a label that does not occur in train: 'a', 'b' (t.csv:1: 'a', t.csv:2: 'b', "
        "and 1 more); they count as wrong; correct the labels, or add training examples with them"
    )


@pytest.mark.parametrize(
    "text", ["1", "-1", "+1", "1e-5", ".5", "7/10", "5 %", "$12.99", "1,234.50", "1 234,5", "\u22122", "١٢"]
)
def test_numbers(text: str) -> None:
    """A number may have a sign, separators, a currency or a percent sign."""
    assert is_number(text)


@pytest.mark.parametrize("text", ["", "e5", "$", "1.2.3", "v1", "12 monkeys", "one", "%", "1-2"])
def test_texts_that_are_no_numbers(text: str) -> None:
    """Words, versions and ranges are no numbers."""
    assert not is_number(text)
