"""Rules that write multiword tokens as words."""

from __future__ import annotations

import json

import pytest

from app.tasks.tagging.word_forms import WordForms, learn

ENGLISH = {
    ("don't", ("do", "n't")): 50,
    ("isn't", ("is", "n't")): 30,
    ("Didn't", ("Did", "n't")): 10,
    ("it's", ("it", "'s")): 40,
    ("She's", ("She", "'s")): 20,
    ("gonna", ("gon", "na")): 5,
    ("can't", ("ca", "n't")): 9,
}
FRENCH = {("du", ("de", "le")): 9, ("des", ("de", "les")): 9, ("Au", ("À", "le")): 5, ("au", ("à", "le")): 7}
HEBREW = {
    ("והבית", ("ו", "ה", "בית")): 3,
    ("והספר", ("ו", "ה", "ספר")): 3,
    ("שהילד", ("ש", "ה", "ילד")): 3,
    ("בבית", ("ב", "בית")): 3,
    ("בספר", ("ב", "ספר")): 3,
}
SPANISH = {("darlo", ("dar", "lo")): 2, ("verlo", ("ver", "lo")): 2, ("dámelo", ("da", "me", "lo")): 2}


@pytest.mark.parametrize(
    ("seen", "token", "words"),
    [
        (ENGLISH, "don't", ["do", "n't"]),
        (ENGLISH, "wouldn't", ["would", "n't"]),
        (ENGLISH, "Alice's", ["Alice", "'s"]),
        (ENGLISH, "WOULDN'T", ["WOULD", "N'T"]),
        (ENGLISH, "gonna", ["gon", "na"]),
        (FRENCH, "du", ["de", "le"]),
        (FRENCH, "Du", ["De", "le"]),
        (FRENCH, "DES", ["DE", "LES"]),
        (FRENCH, "Au", ["À", "le"]),
        (HEBREW, "והילד", ["ו", "ה", "ילד"]),
        (HEBREW, "בילד", ["ב", "ילד"]),
        (SPANISH, "tenerlo", ["tener", "lo"]),
        (SPANISH, "dámelo", ["da", "me", "lo"]),
        (ENGLISH, "hello", None),
        (FRENCH, "Straße", None),
    ],
)
def test_words(seen: dict[tuple[str, tuple[str, ...]], int], token: str, words: list[str] | None) -> None:
    """Known tokens have their words; others with the same end or beginning follow them, in their own case."""
    number = 2 if words is None else len(words)

    assert learn(seen).of(token, number) == words


def test_every_seen_token_has_its_words() -> None:
    """Where words differ, the most frequent ones are used."""
    seen = {**ENGLISH, ("it's", ("it", "is")): 3, ("it's", ("it", "has")): 2}
    rules = learn(seen)

    for (token, words), number in seen.items():
        if number > 3:
            assert rules.of(token, len(words)) == list(words)


def test_the_rules_are_few() -> None:
    """A rule of an ending serves all tokens that end so."""
    seen = {(f"verb{i}n't", (f"verb{i}", "n't")): 1 for i in range(200)}
    rules = learn(seen).rules[2]

    assert rules.ends == {"n't": ["~", "n't"]}
    assert rules.begins == rules.tokens == {}


def test_rules_are_json() -> None:
    """They are the same after they were stored."""
    rules = learn({**ENGLISH, **HEBREW, **SPANISH})

    assert WordForms.model_validate(json.loads(json.dumps(rules.model_dump(mode="json")))) == rules


def test_characters_whose_lower_case_is_longer() -> None:
    """The rest of a token is what it is in the token, also after a dotted capital I."""
    assert learn(ENGLISH).of("İsn't", 2) == ["İs", "n't"]
