"""The tags that a tagger learns as BIOES."""

from __future__ import annotations

from collections.abc import Sequence

from data.tags import parse_tag

_ENDING = {"B": "S", "I": "E"}


def inside_tags(tags: Sequence[str]) -> list[int]:
    """Return the position of the tag that continues the span of each tag of BIO; -1: there is none.

    `inside_tags(["O", "B-X", "I-X", "B-Y"]) -> [-1, 2, 2, -1]`
    """
    places = {_parsed(tag): place for place, tag in enumerate(tags)}
    return [places.get(("I", label), -1) if letter != "O" else -1 for letter, label in map(_parsed, tags)]


def learned_tags(tags: Sequence[str], inside: Sequence[int]) -> list[str]:
    """Return the names of learned tags, in the order of `models.layers.bioes.SpanEnds`.

    `learned_tags(["O", "B-X", "I-X", "B-Y"], [-1, 2, 2, -1]) -> ["O", "B-X", "I-X", "S-Y", "S-X", "E-X"]`
    """
    pairs = list(zip(tags, inside, strict=True))
    whole = [tag if place >= 0 or tag == "O" else _ending(tag) for tag, place in pairs]
    return [*whole, *(_ending(tag) for tag, place in pairs if place >= 0)]


def _parsed(tag: str) -> tuple[str, str]:
    parsed = parse_tag(tag)
    assert parsed is not None, tag  # learned tags are BIO
    return parsed


def _ending(tag: str) -> str:
    return _ENDING[tag[0]] + tag[1:]
