"""How multiword tokens are written as words: learned from the training examples.

A rule says how the words of a token follow from its first or its last characters, and the longest one
applies. `n't` → `~`, `n't` makes `do` and `n't` of `don't`, where `~` is the rest of the token. Tokens for
which the rules are wrong have their words (as in UDPipe, Straka and Straková 2017).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

REST = "~"
"""The other characters of the token, at the beginning of the first or at the end of the last word."""
Forms = tuple[str, ...]
_Table = dict[str, list[str]]


class Rules(BaseModel):
    """The rules of tokens of one number of words. All are in lower case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ends: _Table = {}
    """Words by the last characters of a token; the first word begins with its other characters."""
    begins: _Table = {}
    """Words by the first characters of a token; the last word ends with its other characters."""
    tokens: _Table = {}
    """Words of a whole token."""


class WordForms(BaseModel):
    """The rules by the number of words of a token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: dict[int, Rules] = {}

    def of(self, token: str, number: int) -> list[str] | None:
        """Return the words of a token; None: there is no rule.

        Args:
            token: as it is written.
            number: of its words.
        """
        rules = self.rules.get(number)
        words = None if rules is None else _apply(rules, lower(token), token)
        return None if words is None else _in_case_of(token, words)


def learn(seen: Mapping[tuple[str, Forms], int]) -> WordForms:
    """Learn rules.

    Args:
        seen: how often each token with its words occurs.
    """
    best: dict[int, dict[str, tuple[int, Forms]]] = defaultdict(dict)
    counts: Counter[tuple[str, Forms]] = Counter()
    for (token, words), number in seen.items():
        counts[lower(token), tuple(map(lower, words))] += number
    for (token, words), number in sorted(counts.items()):
        own = best[len(words)]
        if token not in own or own[token][0] < number:
            own[token] = number, words
    return WordForms(
        rules={
            number: _rules({token: words for token, (_, words) in own.items()})
            for number, own in sorted(best.items())
        }
    )


def lower(text: str) -> str:
    """Return a text in lower case with the same number of characters."""
    return "".join(low if len(low := character.lower()) == 1 else character for character in text)


def _rules(words_of: Mapping[str, Forms]) -> Rules:
    """Return the smaller one of the rules of ends and of beginnings."""
    ends, begins = (_with_exceptions(words_of, at_end=at_end) for at_end in (True, False))
    return min((ends, begins), key=_size)


def _size(rules: Rules) -> int:
    return len(rules.ends) + len(rules.begins) + len(rules.tokens)


def _with_exceptions(words_of: Mapping[str, Forms], *, at_end: bool) -> Rules:
    votes: dict[str, Counter[Forms]] = defaultdict(Counter)
    for token, words in words_of.items():
        key, form = _rule(token, words, at_end=at_end)
        if key and len(key) < len(token):
            votes[key][form] += 1
    table = {key: list(own.most_common(1)[0][0]) for key, own in sorted(votes.items())}
    rules = Rules(ends=table) if at_end else Rules(begins=table)
    wrong = {
        token: list(words)
        for token, words in sorted(words_of.items())
        if _apply(rules, token, token) != list(words)
    }
    return rules.model_copy(update={"tokens": wrong})


def _rule(token: str, words: Forms, *, at_end: bool) -> tuple[str, Forms]:
    """Return the shortest rule of a token: its characters, and the words."""
    if at_end:
        rest = _shared(token, words[0])
        return token[rest:], (REST + words[0][rest:], *words[1:])
    rest = _shared(token[::-1], words[-1][::-1])
    kept = len(token) - rest
    return token[:kept], (*words[:-1], words[-1][: len(words[-1]) - rest] + REST)


def _shared(a: str, b: str) -> int:
    """Return the number of characters with which both begin."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _apply(rules: Rules, key: str, token: str) -> list[str] | None:
    """Return the words of a token, of which `key` is the lower case."""
    if (words := rules.tokens.get(key)) is not None:
        return list(words)
    for length in range(len(key) - 1, 0, -1):
        if (words := rules.ends.get(key[-length:])) is not None:
            return [token[:-length] + words[0].removeprefix(REST), *words[1:]]
        if (words := rules.begins.get(key[:length])) is not None:
            return [*words[:-1], words[-1].removesuffix(REST) + token[length:]]
    return None


def _in_case_of(token: str, words: Sequence[str]) -> list[str]:
    """Return words in upper case, or with a capital first letter, where the token is written so."""
    if token.isupper() and len(token) > 1:
        return [word.upper() for word in words]
    if token[:1].isupper() and words[0]:
        return [words[0][0].upper() + words[0][1:], *words[1:]]
    return list(words)
