"""How the tokens of a corpus compare with those of the rules of the tokenizer."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any

from app.tasks.tagging.token_places import token_places
from data.findings import Finding
from data.formats import Row
from data.scan import ExampleValidator

if TYPE_CHECKING:
    import tensorflow as tf

MOST_EXAMPLES = 20_000
"""Number of examples that are compared."""
FEW = 0.01
"""Share of other tokens up to which there is no warning."""
LEARN = "learn the tokens of the corpus with text.tokenizer=learned, or give tokens to predict"
GIVE_TEXT = (
    "give the texts, too, from which text.tokenizer=learned learns the tokens; or give tokens to predict"
)
_EXAMPLES_AT_ONCE = 512
_CHARACTERS_AT_ONCE = 1 << 18


class TokenizationValidator(ExampleValidator):
    """Counts the tokens of a corpus that are tokens of the tokenizer, too, at the same place of the text."""

    def __init__(self) -> None:
        self.tokens = self.same = 0
        self.differences: Counter[tuple[str, tuple[str, ...]]] = Counter()
        """Tokens of the corpus with those of the tokenizer in their place; none: it is not in the text."""
        self._examples = self._with_text = 0
        self._waiting: list[tuple[str, tuple[str, ...]]] = []
        self._characters = 0

    def add(self, split: str, where: str, row: Row) -> None:
        """See the tokens of an example, and its text, or else its tokens joined by spaces."""
        tokens = row.tokens()
        if self._examples == MOST_EXAMPLES or not tokens:
            return
        self._examples += 1
        self._with_text += "text" in row.values
        self._waiting.append((row.text() if "text" in row.values else " ".join(tokens), tokens))
        self._characters += len(self._waiting[-1][0])
        if len(self._waiting) == _EXAMPLES_AT_ONCE or self._characters >= _CHARACTERS_AT_ONCE:
            self._compare()

    def notes(self) -> list[str]:
        """Return the share of the tokens that are the same."""
        self._compare()
        if not self.tokens:
            return []
        joined = "" if self._with_text else ", joined by spaces, as there is no text"
        share = f"{self.same / self.tokens:.1%}"
        return [f"tokenizer: the rules give {share} of {self.tokens:,} tokens of the corpus{joined}"]

    def warnings(self) -> list[Finding]:
        """Return the most frequent differences if there are more than a few."""
        self._compare()
        if self.tokens - self.same <= FEW * self.tokens:
            return []
        places = [
            f"{token!r} is {' '.join(map(repr, own)) if own else 'not in the text'} ({number:,})"
            for (token, own), number in self.differences.most_common()
        ]
        return [
            Finding(
                f"{1 - self.same / self.tokens:.1%} of the tokens of the corpus are others in raw text by the"
                " rules of the tokenizer",
                LEARN if self._with_text else GIVE_TEXT,
                places,
                len(places),
            )
        ]

    @cached_property
    def _locate(self) -> tf.types.experimental.PolymorphicFunction:
        import tensorflow as tf

        from models.text.locate import locate

        return tf.function(locate, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    def _compare(self) -> None:
        if not self._waiting:
            return
        located: Any = self._locate([text.encode(errors="replace") for text, _ in self._waiting])
        starts, ends = located.start.to_list(), located.end.to_list()
        for (text, tokens), own_starts, own_ends in zip(self._waiting, starts, ends, strict=True):
            own = list(zip(own_starts, own_ends, strict=True))
            found = set(own)
            first = 0
            for token, place in zip(tokens, token_places(text, tokens), strict=True):
                if place in found:
                    self.same += 1
                    continue
                pieces: list[str] = []
                if place is not None:
                    while first < len(own) and own[first][1] <= place[0]:
                        first += 1
                    inside = (span for span in own[first : first + len(token) + 1] if span[0] < place[1])
                    pieces = [text[start:end] for start, end in inside]
                self.differences[token, tuple(pieces)] += 1
            self.tokens += len(tokens)
        self._waiting, self._characters = [], 0
