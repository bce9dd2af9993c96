"""Scores on raw text, where errors of tokenization count too, as in the CoNLL 2018 shared task.

Tokens and words are compared by the characters of the text that they cover, without white space (Zeman et
al. 2018). A predicted token is correct if a token of the data covers the same characters. Words are aligned
by these characters, too, but around multiword tokens by the longest common subsequence of their forms in
lower case. The tag of an aligned word is correct or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from app.tasks.tagging.facts import TaggingFacts
from app.tasks.tagging.token_places import Characters
from data.multiword import Word
from data.tags import Score, spans

Span = tuple[int, int]


class PlacedWord(NamedTuple):
    """A word, and the characters of its token."""

    start: int
    end: int
    text: str
    tag: str
    multiword: bool
    """Whether its token has several words."""


class RawScore:
    """Sums of what is correct on raw text.

    A token of the data that is not written in the text as it is has no characters, and counts as missed.
    """

    def __init__(self, facts: TaggingFacts) -> None:
        """Initialize.

        Args:
            facts: say whether tags encode spans, and of which words multiword tokens are.
        """
        self._facts = facts
        self.examples = 0
        self.tokens = self.words = self.tags = self.spans = Score()

    def add(
        self,
        text: str,
        tokens: Sequence[str],
        tags: Sequence[str],
        words: Sequence[Sequence[Word]],
        line: Mapping[str, Any],
    ) -> None:
        """Add an example.

        Args:
            text: of the example.
            tokens: of the data.
            tags: of the tokens.
            words: of each token; none if it is one word, or they are not known.
            line: the prediction for the text as JSON.
        """
        characters = Characters(text)
        places = characters.places(tokens)
        own = [self._words(token, tag, known) for token, tag, known in zip(tokens, tags, words, strict=True)]
        gold = [
            word
            for place, of_token in zip(places, own, strict=True)
            if place
            for word in _placed(place, of_token)
        ]
        found = [
            (characters.span(token["start"], token["end"]), self._words(token["text"], token["tag"], ()))
            for token in line["tokens"]
        ]
        predicted = [word for place, of_token in found for word in _placed(place, of_token)]
        pairs = [(gold[g], predicted[p]) for g, p in align(gold, predicted)]
        number = sum(map(len, own)), len(predicted)
        self.examples += 1
        located = {place for place in places if place} & {place for place, _ in found}
        self.tokens = self.tokens.plus(len(tokens), len(found), len(located))
        self.words = self.words.plus(*number, len(pairs))
        self.tags = self.tags.plus(*number, sum(a.tag == b.tag for a, b in pairs))
        if self._facts.has_spans:
            self._add_spans(characters, places, tags, line["spans"])

    def _words(self, token: str, tag: str, known: Sequence[Word]) -> Sequence[Word]:
        if known:
            return known
        return self._facts.words(token, tag) or (Word(token, tag),)

    def _add_spans(
        self,
        characters: Characters,
        places: Sequence[Span | None],
        tags: Sequence[str],
        predicted: Sequence[Mapping[str, Any]],
    ) -> None:
        own = spans(tags)
        gold = set()
        for span in own:
            first, last = places[span.start], places[span.end - 1]
            gold.add((span.label, first and first[0], last and last[1]))
        found = {(span["label"], *characters.span(span["start"], span["end"])) for span in predicted}
        self.spans = self.spans.plus(len(own), len(found), len(gold & found))

    def metrics(self) -> dict[str, float]:
        """Return the scores of tokens, of words, of the tags of words, and of spans."""
        scores = {"token": self.tokens, "word": self.words, "tag": self.tags}
        if self._facts.has_spans:
            scores["span"] = self.spans
        return {f"{name}_f1": score.f1 for name, score in scores.items()}


def _placed(place: Span, words: Sequence[Word]) -> list[PlacedWord]:
    return [PlacedWord(*place, word.text, word.tag, len(words) > 1) for word in words]


def align(gold: Sequence[PlacedWord], predicted: Sequence[PlacedWord]) -> list[tuple[int, int]]:
    """Return the positions of the words that are aligned with each other."""
    pairs = []
    g = p = 0
    while g < len(gold) and p < len(predicted):
        if gold[g].multiword or predicted[p].multiword:
            first_g, first_p, g, p = _multiword_span(gold, predicted, g, p)
            common = _common_subsequence(gold[first_g:g], predicted[first_p:p])
            pairs += [(first_g + i, first_p + j) for i, j in common]
        elif gold[g][:2] == predicted[p][:2]:
            pairs.append((g, p))
            g, p = g + 1, p + 1
        elif gold[g].start <= predicted[p].start:
            g += 1
        else:
            p += 1
    return pairs


def _multiword_span(
    gold: Sequence[PlacedWord], predicted: Sequence[PlacedWord], g: int, p: int
) -> tuple[int, int, int, int]:
    """Return the first words, and those after the last, of the characters that multiword tokens cover."""
    if gold[g].multiword:
        end = gold[g].end
        p += not predicted[p].multiword and predicted[p].start < gold[g].start
    else:
        end = predicted[p].end
        g += not gold[g].multiword and gold[g].start < predicted[p].start
    first = g, p
    while not (_is_beyond(gold, g, end) and _is_beyond(predicted, p, end)):
        if g < len(gold) and (p >= len(predicted) or gold[g].start <= predicted[p].start):
            word, g = gold[g], g + 1
        else:
            word, p = predicted[p], p + 1
        if word.multiword:
            end = max(end, word.end)
    return (*first, g, p)


def _is_beyond(words: Sequence[PlacedWord], i: int, end: int) -> bool:
    if i >= len(words):
        return True
    return words[i].start >= end if words[i].multiword else words[i].end > end


def _common_subsequence(gold: Sequence[PlacedWord], predicted: Sequence[PlacedWord]) -> list[tuple[int, int]]:
    """Return the positions of a longest common subsequence of forms in lower case."""
    a, b = ([word.text.lower() for word in words] for words in (gold, predicted))
    longest = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in reversed(range(len(a))):
        for j in reversed(range(len(b))):
            same = longest[i + 1][j + 1] + 1 if a[i] == b[j] else 0
            longest[i][j] = max(same, longest[i + 1][j], longest[i][j + 1])
    pairs = []
    i = j = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif longest[i][j] == longest[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs
