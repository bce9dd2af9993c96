"""What is known of the tags of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field

from app.artifacts.preprocessing import Facts
from app.tasks.tagging.word_forms import WordForms, learn
from data.multiword import JOINT, Word
from data.tags import Scheme

LEARNED_SCHEME: Scheme = "BIO"
"""The scheme of all models whose tags encode spans, whichever scheme their data has."""


class TaggingFacts(Facts):
    """Facts of a tagger."""

    tag_scheme: Literal["plain", "BIO"]
    """`BIO`: tags encode spans; `plain`: each tag is independent."""
    joined_tags: dict[str, list[str]] = Field(default_factory=dict)
    """The tags of the words of multiword tokens, by the tag of the token."""
    separable: bool = False
    """Whether `+` only occurs in the tags of multiword tokens."""
    word_forms: WordForms = WordForms()
    """How multiword tokens are written as words."""
    features: int = 0
    """Number of features of tokens that the linear model needs."""

    @property
    def has_spans(self) -> bool:
        """Whether tags encode spans."""
        return self.tag_scheme != "plain"

    def word_tags(self, tag: str) -> Sequence[str]:
        """Return the tags of the words of a token with a tag: `ADP+DET -> ADP, DET`, `NOUN -> NOUN`.

        A `+` that belongs to a tag, as in Korean treebanks, separates nothing.
        """
        if (known := self.joined_tags.get(tag)) is not None:
            return known
        return tag.split(JOINT) if self.separable and all(tag.split(JOINT)) else (tag,)

    def words(self, token: str, tag: str) -> list[Word]:
        """Return the words of a token with a predicted tag; none if it is one word, or no rule is known."""
        tags = self.word_tags(tag)
        forms = self.word_forms.of(token, len(tags)) if len(tags) > 1 else None
        return [] if forms is None else [Word(*pair) for pair in zip(forms, tags, strict=True)]


class MultiwordTokens:
    """Collects the multiword tokens of training examples."""

    def __init__(self) -> None:
        self._tags: Counter[tuple[str, ...]] = Counter()
        self._forms: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self._others: set[str] = set()
        """Tags of single words."""

    def add(self, tokens: Iterable[str], tags: Iterable[str], words: Iterable[Sequence[Word]]) -> None:
        """Add an example: its tokens, their tags, and the words of each."""
        for token, tag, own in zip(tokens, tags, words, strict=True):
            if not own:
                self._others.add(tag)
                continue
            self._tags[tuple(word.tag for word in own)] += 1
            self._forms[token, tuple(word.text for word in own)] += 1
            self._others.update(word.tag for word in own)

    def facts(self) -> dict[str, Any]:
        """Return the facts as JSON; none without multiword tokens."""
        if not self._tags:
            return {}
        joined = {JOINT.join(tags): list(tags) for tags, _ in reversed(self._tags.most_common())}
        return {
            "joined_tags": {tag: joined[tag] for tag in sorted(joined)},
            "separable": not any(JOINT in tag for tag in self._others),
            "word_forms": learn(self._forms).model_dump(mode="json"),
        }
