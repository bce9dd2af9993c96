"""Labels that are no classes: numbers of a scale, sets, identifiers or free text."""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median

from data.findings import Finding

CLEAR = ("|", ";")
SEPARATORS = (*CLEAR, ",", "/", "+", " ")
"""What may separate the labels of a set, the clearest first."""
MOST_NUMBERS = 20
"""Number of different whole numbers up to which they may be classes."""
MOST_FRACTIONS = 10
"""Number of different numbers with decimals up to which they may be classes, such as half stars."""
FEWEST_ROWS = 8
"""Number of examples below which all labels may be different by chance."""
FEWEST_TOKENS = 20
"""Number of tokens below which most tags may be different by chance."""
MOSTLY = 0.8
LONG = 60
"""Number of characters from which a label is long."""
MANY_WORDS = 4
NAMES_SHOWN = 3

_NUMBER = re.compile(
    r"[$€£¥]?\s?[+\-\u2212]?[$€£¥]?\s?(?=[.,]?\d)(\d{1,3}([,.' \u2019\u00a0\u202f]\d{3})+|\d+)?([.,]\d+)?"
    r"(e[+-]?\d+)?(\s?/\s?\d+)?\s?[%$€£¥]?",
    re.IGNORECASE,
)


def is_number(name: str) -> bool:
    """Return whether a text is a number, perhaps with a sign, separators, a currency or a percent sign."""
    return any(c.isdigit() for c in name) and _NUMBER.fullmatch(name.strip()) is not None


def unlike_classes(counts: Mapping[str, int], *, separable: bool) -> Finding | None:
    """Return a warning if labels look like something else than classes, or None.

    Args:
        counts: number of examples of each label.
        separable: whether the task can learn several labels of an example.
    """
    if not counts:
        return None
    return _sets(counts, separable=separable) or _numbers(counts) or _unlike_any(counts)


def unlike_tags(counts: Mapping[str, int]) -> Finding | None:
    """Return a warning if tags look like numbers or words, or None.

    Args:
        counts: number of tokens with each tag.
    """
    tokens = sum(counts.values())
    numbers = [name for name in counts if is_number(name)]
    if len(numbers) > MOST_NUMBERS and sum(counts[name] for name in numbers) >= MOSTLY * tokens:
        kind, names = "numbers", numbers
    elif tokens >= FEWEST_TOKENS and len(counts) > tokens / 2:
        kind, names = "words", list(counts)
    else:
        return None
    return Finding(
        f"tags look like {kind}: {len(names):,} different ones of {tokens:,} tokens, such as {_some(names)}",
        "name the column of the tags with --set data.tag_column=NAME",
    )


def _numbers(counts: Mapping[str, int]) -> Finding | None:
    numbers = [name for name in counts if is_number(name)]
    examples = sum(counts.values())
    if sum(counts[name] for name in numbers) < MOSTLY * examples:
        return None
    most = MOST_NUMBERS if all(name.strip().isdigit() for name in numbers) else MOST_FRACTIONS
    if len(numbers) <= most and not (_nearly_distinct(len(numbers), examples) and examples >= FEWEST_ROWS):
        return None
    return Finding(
        f"labels look like numbers of a scale (regression): {len(numbers):,} different ones in "
        f"{examples:,} examples, such as {_some(numbers)}",
        "each would be a class of its own, no nearer to one number than to another; replace them by a few "
        "ranges, such as low, middle and high, unless they are ids of classes",
    )


def _nearly_distinct(distinct: int, examples: int) -> bool:
    return distinct > MOSTLY * examples


def _sets(counts: Mapping[str, int], *, separable: bool) -> Finding | None:
    lists = [name for name in counts if _is_list(name)]
    if len(lists) >= MOSTLY * len(counts):
        advice = "write the labels of an example into its cell with a sign between them, such as a|b, and"
        return _set_finding(lists, len(counts), advice, "|", separable)
    for separator in SEPARATORS:
        parts = {name: _parts(name, separator) for name in counts}
        combined = [name for name in counts if len(parts[name]) > 1]
        if combined and _recur(parts, separator):
            return _set_finding(combined, len(counts), "", separator, separable)
    return None


def _recur(parts: Mapping[str, list[str]], separator: str) -> bool:
    """Return whether the parts of labels are labels themselves, or parts of several labels."""
    alone = {own[0] for own in parts.values() if len(own) == 1}
    combined = {name: own for name, own in parts.items() if len(own) > 1}
    uses = Counter(part for own in combined.values() for part in set(own))
    shared = sum(part in alone or number > 1 for part, number in uses.items())
    if separator in CLEAR:
        return shared > 0
    if separator == "," and all(map(is_number, combined)):  # decimals or thousands
        return False
    if shared == len(uses):
        return separator != " " or (len(combined) > 1 and all(part in alone for part in uses))
    return (
        separator != " "
        and len(combined) > 2
        and len(alone | set(uses)) < len(parts)
        and shared * 2 >= len(uses)
    )


def _set_finding(sets: list[str], total: int, advice: str, separator: str, separable: bool) -> Finding:
    option = f"--set data.label_separator={separator}"
    if separator not in ",/+":  # signs that a shell understands
        option = f"--set 'data.label_separator={separator}'"
    does = f"{advice} pass {option}".strip() + "; then each example may have several labels (multi-label)"
    if not separable:
        does = "each set would be a class of its own; keep one label of each example"
    return Finding(
        f"labels look like sets: {len(sets):,} of {total:,} different labels, such as {_some(sets)}", does
    )


def _parts(name: str, separator: str) -> list[str]:
    return [part for part in (own.strip() for own in name.split(separator)) if part]


def _is_list(name: str) -> bool:
    """Return whether a text is a list or a set in JSON or Python, such as `["a", "b"]`."""
    if (name[:1], name[-1:]) not in {("[", "]"), ("{", "}"), ("(", ")")}:
        return False
    try:
        return isinstance(ast.literal_eval(name), list | set | tuple)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return re.fullmatch(r"\[\s*[\w' -]+(,\s*[\w' -]+)+\]", name) is not None


def _unlike_any(counts: Mapping[str, int]) -> Finding | None:
    examples = sum(counts.values())
    if examples < FEWEST_ROWS:
        return None
    distinct = f"{len(counts):,} different ones in {examples:,} examples, such as {_some(counts)}"
    typical = median(len(name) for name in counts)
    words = median(len(name.split()) for name in counts)
    if typical >= LONG or (words >= MANY_WORDS and len(counts) > examples / 2):
        return Finding(
            f"labels look like free text: {distinct}",
            "name the column of the classes with --set data.label_column=NAME; perhaps the columns of the "
            "text and of the label are swapped",
        )
    if _nearly_distinct(len(counts), examples):
        return Finding(
            f"labels look like identifiers: {distinct}",
            "nothing can be learned about a class from one example; name the column of the classes with "
            "--set data.label_column=NAME",
        )
    return None


def _some(names: Iterable[str]) -> str:
    first = itertools.islice(names, NAMES_SHOWN)
    return ", ".join(repr(name if len(name) <= LONG else name[: LONG - 1] + "…") for name in first)
