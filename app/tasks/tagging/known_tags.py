"""Whether a model can be evaluated on the tags of a dataset."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from app.tasks.tagging.facts import LEARNED_SCHEME, TaggingFacts
from data.errors import UserError
from data.prepared import Dataset
from data.tags import OUTSIDE, parse_tag

SHOWN = 3
"""Number of tags that a message lists."""


def require_comparable_tags(dataset: Dataset, known: Sequence[bytes], facts: TaggingFacts) -> None:
    """Require tags of spans for a model of spans, and for another one at least one tag that it knows.

    Single tags that the model does not know count as wrong.

    Args:
        dataset: to evaluate on.
        known: the tags of the model.
        facts: of the model.

    Raises:
        UserError: the tags are of another kind.
    """
    tags = [tag for tag in dataset.names["tags"] if tag != OUTSIDE]
    model_tags = sorted({tag.decode() for tag in known} - {OUTSIDE})
    of_words = {own for tag in model_tags for own in facts.word_tags(tag)}
    if facts.has_spans:
        strange = [tag for tag in tags if parse_tag(tag) is None]
        expected = f"{LEARNED_SCHEME}, such as {_listed(model_tags)}"
    else:
        strange = [] if any(own in of_words for tag in tags for own in facts.word_tags(tag)) else tags
        expected = f"plain, such as {_listed(model_tags)}"
    if strange:
        raise UserError(
            f"{dataset.name}: the data has the tags {_listed(strange)}, but those of the model are "
            f"{expected}; choose data with such tags, or their column with --set data.tag_column=NAME"
        )


def _listed(tags: Collection[str]) -> str:
    more = " …" if len(tags) > SHOWN else ""
    return ", ".join(map(repr, list(tags)[:SHOWN])) + more
