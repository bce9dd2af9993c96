"""What a page is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str
    kind: str = "paragraph"


@dataclass(frozen=True)
class Table:
    """A table. Columns after the first ones are numbers, aligned to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    """Number of columns, from the first one on, that are texts."""
    caption: str = ""
    more: int = 0
    """Number of rows that are left out."""
    kind: str = "table"


@dataclass(frozen=True)
class Figure:
    """A picture."""

    svg: str
    """Markup of `app.page.figures`."""
    caption: str
    kind: str = "figure"

    @property
    def labelled(self) -> str:
        """The markup, with the caption as the text for those who do not see the picture."""
        return self.svg.replace('role="img"', f'role="img" aria-label="{escape(self.caption)}"', 1)


@dataclass(frozen=True)
class MarkedText:
    """A text whose parts are coloured by their weights."""

    parts: Sequence[tuple[str, float]]
    """In order, with a weight from -1 to 1; 0: without a colour."""
    note: str = ""
    """Said of the text, before it."""
    kind: str = "marked"


Block = Paragraph | Table | Figure | MarkedText


@dataclass(frozen=True)
class Section:
    """A headed part of a page."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)

    @property
    def anchor(self) -> str:
        """The name that links within the page have."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())
