"""Warnings of labels and tags, by their counts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from data.findings import Finding
from data.label_kinds import unlike_classes, unlike_tags
from data.multiword import JOINT
from data.near_names import misspellings, near_duplicates, shown

FEW = 5
"""Number of training examples of a class below which there is a warning."""
MAX_IMBALANCE = 10
"""Ratio of the largest to the smallest class above which there is a warning."""
NAMES_SHOWN = 5
_SPAN = re.compile("^[BIESLUM][-_](?=.)", re.IGNORECASE)
"""The part of a tag before the type of its span."""

Counts = Mapping[str, Mapping[str, int]]
"""By split, the number of examples of each label."""


def warn_of_classes(counts: Counts, *, separable: bool = False, several: bool = False) -> Iterator[Finding]:
    """Yield warnings of labels that are no classes, nearly the same, rare, or of very different frequency.

    Args:
        counts: by split.
        separable: whether the task can learn several labels of an example.
        several: whether an example has several labels, so that they are separated already.
    """
    total = _total(counts)
    unlike = None if several else unlike_classes(total, separable=separable)
    if unlike is not None:
        yield unlike
        return
    yield from _near(total, "label")
    yield from _misspelt(total, "label")
    train = counts.get("train", {})
    yield from _warn_of_few(train)
    yield from _warn_of_imbalance(train)


def warn_of_tags(counts: Counts) -> Iterator[Finding]:
    """Yield warnings of tags that are numbers or words, or nearly the same.

    The tag of a multiword token counts as those of its words.
    """
    tags = _of_words(_total(counts))
    unlike = unlike_tags(tags)
    if unlike is not None:
        yield unlike
        return
    types: Counter[str] = Counter()
    for tag, number in tags.items():
        types[_SPAN.sub("", tag)] += number
    near = [*_near(tags, "tag")]
    yield from near or _near(types, "tag")
    yield from _misspelt(types, "tag")


def _total(counts: Counts) -> Counter[str]:
    total: Counter[str] = Counter()
    for own in counts.values():
        total.update(own)
    return total


def _of_words(counts: Counter[str]) -> Counter[str]:
    """Return the counts with joined tags split, if each of their parts is a tag, too."""
    found: Counter[str] = Counter()
    for tag, number in counts.items():
        parts = tag.split(JOINT)
        for part in parts if all(part in counts for part in parts) else [tag]:
            found[part] += number
    return found


def _near(counts: Mapping[str, int], noun: str) -> Iterator[Finding]:
    groups = []
    for group in near_duplicates(counts):
        ranked = sorted(group, key=lambda name: -counts[name])
        groups.append(" and ".join(f"{shown(name)} ({counts[name]:,})" for name in ranked))
    if groups:
        yield Finding(
            f"{noun}s that differ only in case, width, spaces or invisible characters",
            f"they are different {noun}s to the model; keep the first one of each and replace the others",
            groups,
            len(groups),
        )


def _misspelt(counts: Mapping[str, int], noun: str) -> Iterator[Finding]:
    typos = [
        f"{rare!r} ({counts[rare]:,}) for {right!r} ({counts[right]:,})"
        for rare, right in misspellings(counts)
    ]
    if typos:
        yield Finding(
            f"{noun}s that may be misspelt",
            "correct them, or ignore this if they are right",
            typos,
            len(typos),
        )


def unseen_labels(
    split: str, unseen: Mapping[str, int], places: Sequence[str] = (), *, several: bool = False
) -> Finding:
    """Return a warning of labels that no training example has: such examples count as wrong.

    Args:
        split: that has them.
        unseen: number of examples of each label, in the order in which they are shown.
        places: of the examples, if they are known.
        several: whether an example may have several labels.
    """
    number = sum(unseen.values())
    if several:
        what = (
            f"{number:,} labels of {split} examples do"
            if number != 1
            else f"1 label of a {split} example does"
        )
        what += " not occur in train"
    else:
        examples = f"1 {split} example has" if number == 1 else f"{number:,} {split} examples have"
        what = f"{examples} a label that does not occur in train"
    names = ", ".join(map(repr, [*unseen][:NAMES_SHOWN])) + (" …" if len(unseen) > NAMES_SHOWN else "")
    return Finding(
        f"{what}: {names}",
        f"they count as {'missed' if several else 'wrong'}; correct the labels, or add training examples "
        "with them",
        places,
        len(places),
    )


def _warn_of_few(train: Mapping[str, int]) -> Iterator[Finding]:
    few = sorted((number, label) for label, number in train.items() if number < FEW)
    if few:
        classes = "1 class has" if len(few) == 1 else f"{len(few):,} classes have"
        yield Finding(
            f"{classes} fewer than {FEW} training examples",
            "little can be learned about them; add examples, or merge them with other classes",
            [f"{label!r}: {number}" for number, label in few],
            len(few),
        )


def _warn_of_imbalance(train: Mapping[str, int]) -> Iterator[Finding]:
    if train and max(train.values()) > MAX_IMBALANCE * min(train.values()):
        largest, smallest = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
        examples = "1 example" if train[largest] == 1 else f"{train[largest]:,} examples"
        yield Finding(
            f"train has {examples} of {largest!r} and {train[smallest]:,} of {smallest!r}, more than "
            f"{MAX_IMBALANCE}:1",
            f"add examples of {smallest!r}, and do not rely on accuracy alone",
        )
