"""The baseline of taggers: the most frequent tag of each word."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from app.tasks.base import Evaluation, Split
from app.tasks.tagging.examples import learned, tag_names
from app.tasks.tagging.facts import TaggingFacts
from app.tasks.tagging.scores import TagScore


def most_frequent_tags(train: Split, test: Split, facts: TaggingFacts) -> Evaluation:
    """Evaluate the most frequent tag of each lower-cased word.

    A word without training examples gets the most frequent tag of the words that occur once.

    Returns:
        accuracy, and span F1 if tags encode spans.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for batch in train[1]:
        for tokens, tags in zip(batch["tokens"], tag_names(batch, train[0]), strict=True):
            for token, tag in zip(tokens, learned(tags, facts.tag_scheme), strict=True):
                counts[token.decode(errors="replace").lower()][tag] += 1
    rare: Counter[str] = Counter()
    for of_word in counts.values():
        if of_word.total() == 1:
            rare.update(of_word)
    best = {word: max(sorted(of_word), key=of_word.__getitem__) for word, of_word in counts.items()}
    unseen = max(sorted(rare), key=rare.__getitem__) if rare else next(iter(best.values()))
    score = TagScore(facts)
    for batch in test[1]:
        for tokens, tags in zip(batch["tokens"], tag_names(batch, test[0]), strict=True):
            found = [best.get(token.decode(errors="replace").lower(), unseen) for token in tokens]
            score.add(learned(tags, facts.tag_scheme), found, None)
    metrics = score.metrics()
    kept: dict[str, Any] = {name: metrics[name] for name in ("accuracy", "span_f1") if name in metrics}
    return Evaluation(kept, score.outcomes())
