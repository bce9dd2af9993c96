"""Scores on raw text, worked out by hand by the definition of the CoNLL 2018 shared task."""

from __future__ import annotations

import pytest

from app.tasks.tagging.facts import TaggingFacts
from app.tasks.tagging.raw_scores import RawScore
from app.tasks.tagging.scores import TagScore
from app.tasks.tagging.token_places import token_places
from app.tasks.tagging.word_forms import learn
from data.multiword import Word, joined_tag
from data.tags import Score

FORMS = {
    ("du", ("de", "le")): 9,
    ("des", ("de", "les")): 9,
    ("don't", ("do", "n't")): 9,
    ("isn't", ("is", "n't")): 9,
    ("dámelo", ("da", "me", "lo")): 1,
}
FACTS = TaggingFacts(
    tag_scheme="plain",
    joined_tags={"P+D": ["P", "D"], "V+N": ["V", "N"], "V+P+P": ["V", "P", "P"]},
    separable=True,
    word_forms=learn(FORMS),
)
SPANS = TaggingFacts(tag_scheme="BIO")

Tokens = tuple[list[str], list[str], list[tuple[Word, ...]]]


def parsed(line: str) -> Tokens:
    """Return tokens, tags and words of `du=de/P+le/D mur/N`."""
    tokens, tags, words = [], [], []
    for part in line.split():
        token, _, inner = part.partition("=")
        own = tuple(Word(*word.split("/")) for word in (inner or token).split("+"))
        tokens.append(token if inner else own[0].text)
        tags.append(joined_tag([word.tag for word in own]))
        words.append(own if inner else ())
    return tokens, tags, words


def scored(text: str, gold: str, predicted: str, facts: TaggingFacts = FACTS) -> RawScore:
    """Return the scores of one example; predicted tokens are `du/P+D mur/N`."""
    score = RawScore(facts)
    add(score, text, gold, predicted)
    return score


def add(score: RawScore, text: str, gold: str, predicted: str) -> None:
    """Add an example to scores."""
    pairs = [part.split("/") for part in predicted.split()]
    places = token_places(text, [token for token, _ in pairs])
    assert None not in places
    line = {
        "tokens": [
            {"text": token, "start": place[0], "end": place[1], "tag": tag}
            for (token, tag), place in zip(pairs, places, strict=True)
            if place
        ],
        "spans": [],
    }
    score.add(text, *parsed(gold), line)


@pytest.mark.parametrize(
    ("text", "gold", "predicted", "tokens", "words", "tags"),
    [
        # Everything is right; the words of "du" are those of the rules.
        ("du mur", "du=de/P+le/D mur/N", "du/P+D mur/N", (2, 2, 2), (3, 3, 3), 3),
        # One tag of a word is wrong.
        ("du mur", "du=de/P+le/D mur/N", "du/P+X mur/N", (2, 2, 2), (3, 3, 3), 2),
        # A multiword token is predicted as a word.
        ("du mur", "du=de/P+le/D mur/N", "du/P mur/N", (2, 2, 2), (3, 2, 1), 1),
        # A word is predicted as a multiword token.
        ("du mur", "du/P mur/N", "du/P+D mur/N", (2, 2, 2), (2, 3, 1), 1),
        # The words are predicted as tokens of their own: their forms are right, their tokens are not.
        ("don't know", "don't=do/V+n't/N know/V", "do/V n't/N know/V", (2, 3, 1), (3, 3, 3), 3),
        # The reverse.
        ("don't know", "do/V n't/N know/V", "don't/V+N know/V", (3, 2, 1), (3, 3, 3), 3),
        # Two of three words are predicted as tokens.
        ("dámelo ya", "dámelo=da/V+me/P+lo/P ya/A", "dá/V me/P lo/P ya/A", (2, 4, 1), (4, 4, 3), 3),
        # Another number of words: there is no rule for it, so that it is one word.
        ("dámelo ya", "dámelo=da/V+me/P+lo/P ya/A", "dámelo/V+P ya/A", (2, 2, 2), (4, 2, 1), 1),
        # A token covers a multiword token and the next one.
        ("dumur", "du=de/P+le/D mur/N", "dumur/N", (2, 1, 0), (3, 1, 0), 0),
        # A token covers two multiword tokens; the next token is aligned again.
        ("dudes a", "du=de/P+le/D des=de/P+les/D a/X", "dudes/N a/X", (3, 2, 1), (5, 2, 1), 1),
        # Multiword tokens that overlap: the words of "udes" are "ude" and "les", and "les" is common.
        ("dudes", "du=de/P+le/D des=de/P+les/D", "d/X udes/P+D", (2, 2, 0), (4, 3, 1), 1),
        # Ordinary tokens: one is split, one is joined.
        ("ab c d.", "ab/N c/N d/N ./X", "a/N b/N c/V d./N", (4, 4, 1), (4, 4, 1), 0),
        # Forms are compared in lower case, and the rules keep the case of the text.
        ("DU Mur", "DU=de/P+le/D Mur/N", "DU/P+D Mur/N", (2, 2, 2), (3, 3, 3), 3),
        # "not" is not in the text: it is missed, and what is after it is found.
        ("cannae go", "can/V not/N go/V", "cannae/V go/V", (3, 2, 1), (3, 2, 1), 1),
        # Without any token.
        ("", "", "", (0, 0, 0), (0, 0, 0), 0),
    ],
)
def test_counts(
    text: str,
    gold: str,
    predicted: str,
    tokens: tuple[int, int, int],
    words: tuple[int, int, int],
    tags: int,
) -> None:
    """Tokens, words and tags are counted in the data, in the prediction, and where both agree."""
    found = scored(text, gold, predicted)

    assert found.tokens == Score(*tokens)
    assert found.words == Score(*words)
    assert found.tags == Score(*words[:2], tags)


def test_metrics_are_those_of_all_examples() -> None:
    """The counts of all examples are added, in any order, before F1 is computed."""
    examples = (
        ("du mur", "du=de/P+le/D mur/N", "du/P mur/N"),
        ("don't know", "don't=do/V+n't/N know/V", "do/V n't/N know/V"),
        ("ab c", "ab/N c/N", "a/N b/N c/V"),
    )
    score, backwards = RawScore(FACTS), RawScore(FACTS)
    for example in examples:
        add(score, *example)
    for example in examples[::-1]:
        add(backwards, *example)

    assert score.metrics() == backwards.metrics()
    assert score.metrics() == pytest.approx({"token_f1": 8 / 14, "word_f1": 10 / 16, "tag_f1": 8 / 16})
    assert score.words.precision == pytest.approx(5 / 8)
    assert score.words.recall == pytest.approx(5 / 8)


def test_words_that_the_data_does_not_have() -> None:
    """Data with joined tags alone has the words of the rules."""
    score = RawScore(FACTS)
    line = {"tokens": [{"text": "du", "start": 0, "end": 2, "tag": "P+D"}], "spans": []}
    score.add("du", ["du"], ["P+D"], [()], line)

    assert score.words == Score(2, 2, 2)


def test_spans_by_their_characters() -> None:
    """Spans count by their label and their characters, whatever white space is in them."""
    score = RawScore(SPANS)
    line = {
        "tokens": [
            {"text": "New", "start": 0, "end": 3, "tag": "B-L"},
            {"text": "York", "start": 5, "end": 9, "tag": "I-L"},
        ],
        "spans": [{"label": "L", "start": 0, "end": 9, "text": "New  York"}],
    }
    score.add("New  York", ["New York"], ["B-L"], [()], line)

    assert score.tokens == Score(1, 2, 0)
    assert score.spans == Score(1, 1, 1)
    assert list(score.metrics()) == ["token_f1", "word_f1", "tag_f1", "span_f1"]


@pytest.mark.parametrize(
    ("gold", "predicted", "words", "correct"),
    [
        ("P+D N", "P+D N", 3, 3),
        ("P+D N", "P+X N", 3, 2),
        ("P+D N", "P N", 3, 1),
        ("P N", "P+D N", 2, 1),
        ("V+P+P", "V+P", 3, 0),
        ("X+Y+Z", "X+Q+Z", 3, 2),
    ],
)
def test_accuracy_counts_words(gold: str, predicted: str, words: int, correct: int) -> None:
    """On given tokens a multiword token counts as its words; all are wrong if their number is."""
    score = TagScore(FACTS)
    score.add(gold.split(), predicted.split(), None)

    assert (score.tokens, score.words, score.correct) == (len(gold.split()), words, correct)
    assert score.metrics()["accuracy"] == correct / words


def test_a_plus_of_a_treebank_is_not_split() -> None:
    """Where tags of single words have `+`, as in Korean, only known joined tags are split."""
    korean = TaggingFacts(tag_scheme="plain", joined_tags={"ncn+jp+ef": ["ncn", "jp+ef"]})

    assert korean.word_tags("ncn+jcj") == ("ncn+jcj",)
    assert korean.word_tags("ncn+jp+ef") == ["ncn", "jp+ef"]
    assert TaggingFacts(tag_scheme="plain").word_tags("a+b") == ("a+b",)
    assert FACTS.word_tags("+") == ("+",)


@pytest.mark.parametrize(
    ("text", "tokens", "places"),
    [
        ("10 000 Euro", ["10 000", "Euro"], [(0, 6), (7, 11)]),
        ("10\u00a0000 Euro", ["10 000", "Euro"], [(0, 6), (7, 11)]),
        ("a  b", ["a", "b"], [(0, 1), (3, 4)]),
        ("dunno why", ["do", "n't", "know", "why"], [None, None, None, (6, 9)]),
        ("a b", ["b"], [None]),
        ("a", ["a", "a"], [(0, 1), None]),
        ("a", [" ", "a"], [None, (0, 1)]),
        ("", [], []),
        ("\ufeffa b", ["a", "b"], [(1, 2), (3, 4)]),
        ("a\u200b\u00ad b", ["a", "b"], [(0, 1), (4, 5)]),
        ("\u200fa\u200b", ["\u200fa", "\u200b"], [(0, 2), (2, 3)]),
        ("a-b", ["a", "b"], [(0, 1), None]),
        ("ab", ["\u200ba"], [None]),
    ],
)  # fmt: skip
def test_places_of_tokens(text: str, tokens: list[str], places: list[tuple[int, int] | None]) -> None:
    """White space and invisible characters do not count, and between two tokens there is nothing else."""
    assert token_places(text, tokens) == places
