"""Names of labels and tags that are nearly the same, and perhaps should be one."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping

SHORTEST_TYPO = 5
"""Minimum number of characters of a name that may be a misspelling: `sad` and `bad` are two words."""
RARER = 20
"""How many times rarer a misspelling is than the right name, at least."""

_INVISIBLE_MARKS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters without a glyph that Unicode counts as letters or marks."""
_FLAG_LETTERS = re.compile("[\U000e0020-\U000e007f]")
"""Invisible letters that name the region of the emoji of a flag, and so make a difference."""
_JOINTS = re.compile(r"(?<=[^\W\d_])[\s_-]+(?=[^\W\d_])")
_SEPARATORS = re.compile(r"(?<=\w)[\s_-]+(?=\w)")
_EDGES = re.compile(r"^[\s_]+(?=[^\s_])|(?<=[^\s_])[\s_]+$")


def folded(name: str) -> str:
    """Return what names have in common that differ in writing only.

    Case, width, other compatible forms, invisible characters, and white space, `_` and `-` between letters
    make no difference. Next to a digit, white space, `_` and `-` are equal, but not left out.

    `folded("New_York") == folded("new-york") == folded("ＮｅｗＹｏｒｋ")`, `folded("-1") != folded("1")`
    """
    plain = unicodedata.normalize("NFKC", _visible(name)).casefold()
    plain = _EDGES.sub("", unicodedata.normalize("NFKC", plain))
    return _SEPARATORS.sub("-", _JOINTS.sub("", plain))


def shown(name: str) -> str:
    """Return a name in quotation marks, escaped if it looks like another one that is written differently."""
    return repr(name) if unicodedata.normalize("NFC", _visible(name)) == name else ascii(name)


def _visible(name: str) -> str:
    return "".join(character for character in name if _is_visible(character))


def _is_visible(character: str) -> bool:
    if unicodedata.category(character) in ("Cc", "Cf"):
        return character.isspace() or _FLAG_LETTERS.match(character) is not None
    return _INVISIBLE_MARKS.match(character) is None


def near_duplicates(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of names that differ in writing only, in the order of the names.

    `near_duplicates(["pos", "neg", "Pos"]) == [("pos", "Pos")]`
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        groups[folded(name)].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def misspellings(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return rare names that are one edit from a frequent one, each with that name.

    An edit inserts, removes or replaces a letter, or swaps two neighbours. Names that differ in a digit are
    different: `step 1` and `step 2`.

    Args:
        counts: the number of occurrences of each name.

    `misspellings({"positive": 900, "positve": 1}) == [("positve", "positive")]`
    """
    spelled: dict[str, str] = {}
    for name in sorted(counts, key=lambda name: (counts[name], name)):  # the most frequent spelling last
        spelled[folded(name)] = name
    by_shortened: dict[str, set[str]] = defaultdict(set)
    for name in spelled:
        if len(name) >= SHORTEST_TYPO - 1:
            for shorter in {name, *(name[:i] + name[i + 1 :] for i in range(len(name)))}:
                by_shortened[shorter].add(name)
    found: dict[str, str] = {}
    for names in by_shortened.values():
        frequent = max(names, key=lambda name: (counts[spelled[name]], name))
        for name in names - {frequent}:
            rare = counts[spelled[name]] * RARER <= counts[spelled[frequent]]
            if rare and max(len(name), len(frequent)) >= SHORTEST_TYPO and _one_edit(name, frequent):
                best = found.get(name)
                if best is None or counts[spelled[frequent]] > counts[spelled[best]]:
                    found[name] = frequent
    return sorted((spelled[rare], spelled[frequent]) for rare, frequent in found.items())


def _one_edit(first: str, second: str) -> bool:
    """Return whether one edit of letters makes two different names equal."""
    start = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    if start is None:
        start = min(len(first), len(second))
    end = 0
    while end < min(len(first), len(second)) - start and first[-1 - end] == second[-1 - end]:
        end += 1
    a, b = first[start : len(first) - end], second[start : len(second) - end]
    swapped = len(a) == len(b) == 2 and a == b[::-1]
    return (max(len(a), len(b)) == 1 or swapped) and (a + b).isalpha()
