"""Lines of fastText: `__label__x __label__y text` (fasttext.cc/docs/en/supervised-tutorial.html)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TextIO

from data.formats.base import Format
from data.formats.fields import BadRow, Field, Row, build_row
from data.formats.head import Head
from data.formats.layout import Layout, Options
from data.formats.values import SEVERAL_LABELS

PREFIX = "__label__"
_LABEL = re.compile(rf"(?:^|(?<=\s)){PREFIX}(\S*)\s*")
_SURE_SHARE = 0.9


def read_fasttext(lines: TextIO, fields: Sequence[Field], layout: Layout) -> Iterator[Row | BadRow]:
    """Yield a row for each line; blank lines are skipped.

    Every word that begins with `__label__` is a label, as for fastText, also after the text.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        line = line.removeprefix("\ufeff")  # of a file that was joined from several
        labels: list[object] = [label for label in _LABEL.findall(line) if label]
        text = _LABEL.sub("", line).strip()
        yield _row(number, text, labels, fields, layout)


def _row(
    number: int, text: str, labels: list[object], fields: Sequence[Field], layout: Layout
) -> Row | BadRow:
    found: list[tuple[Field, Sequence[str], Sequence[object]]] = []
    for field in fields:
        if field.kind == "text":
            found.append((field, ("text",), (text,)))
        elif field.kind == "labels":
            found.append((field, (PREFIX,), (labels or None,)))
        elif field.kind == "label":
            if len(labels) > 1:
                shown = ", ".join(map(repr, labels))
                return BadRow(number, f"several labels: {shown}; {SEVERAL_LABELS}")
            found.append((field, (PREFIX,), (labels[0] if labels else None,)))
    return build_row(number, found, encoding=layout.encoding)


def recognize_fasttext(head: Head, fields: Sequence[Field], options: Options) -> bool:
    """Return whether nearly all of the first lines begin with a label."""
    lines = [line for line in head.lines() if line.strip()]
    labelled = sum(line.lstrip().startswith(PREFIX) for line in lines)
    return bool(lines) and labelled >= _SURE_SHARE * len(lines)


def sniff_fasttext(head: Head, fields: Sequence[Field], options: Options) -> Layout:
    """Decide whether lines have several labels."""
    several = any(len(set(_LABEL.findall(line))) > 1 for line in head.lines())
    return Layout("fasttext", several_labels=several)


FORMAT = Format(
    "fasttext",
    read_fasttext,
    ("fasttext", "ft"),
    "records",
    frozenset(("text", "label", "labels")),
    title="fastText",
    named=False,
    recognize=recognize_fasttext,
    sniff=sniff_fasttext,
)
