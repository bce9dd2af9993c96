"""What tests of reports share: the page that a command writes, checked and read."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from click.testing import Result

Command = Callable[..., Result]

SECTIONS = ["Result", "Configuration", "Training", "Gradients", "Memory"]
LARGEST = 3_000_000


class Page(HTMLParser):
    """Headings, cells and references of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.cells: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        self.open = tag
        if tag in ("h2", "td"):
            (self.headings if tag == "h2" else self.cells).append("")

    def handle_data(self, data: str) -> None:
        if self.open in ("h2", "td"):
            (self.headings if self.open == "h2" else self.cells)[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.open = ""


def page_of(command: Command, run: Path, *options: object) -> Page:
    """Write the report of a run, and return it."""
    result = command("report", run, "--no-baseline", *options)
    assert (result.exit_code, result.stdout) == (0, f"{run / 'report.html'}\n"), result.stderr
    text = (run / "report.html").read_text()
    assert len(text) < LARGEST
    page = Page(text)
    assert "script" not in page.tags
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"url\((?!#)|@import", text)
    return page
