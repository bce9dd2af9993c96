"""What tests of reports share: the page that a command writes, checked, read, and shown in a browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import Result

Command = Callable[..., Result]

SECTIONS = ["Result", "Configuration", "Training", "Gradients", "Memory"]
LARGEST = 3_000_000
VOID = {"meta", "link", "br", "img"}
SCREENS = [(1280, "light"), (390, "dark")]
"""Widths in pixels, and colour schemes."""


class Page(HTMLParser):
    """Headings, cells and references of a page, whose elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.cells: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.path: list[str] = []
        """Elements that are open."""
        self.feed(text)
        assert not self.path

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.path.append(tag)
        if tag in ("h2", "td"):
            (self.headings if tag == "h2" else self.cells).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        if self.path and self.path[-1] in ("h2", "td"):
            (self.headings if self.path[-1] == "h2" else self.cells)[-1] += data

    def handle_endtag(self, tag: str) -> None:
        assert self.path.pop() == tag


def page_of(command: Command, run: Path, *options: object) -> Page:
    """Write the report of a run, check what holds for every page, and return it."""
    result = command("report", run, "--no-baseline", *options)
    assert (result.exit_code, result.stdout) == (0, f"{run / 'report.html'}\n"), result.stderr
    text = (run / "report.html").read_text()
    assert len(text) < LARGEST
    page = Page(text)
    assert "script" not in page.tags
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"url\((?!#)|@import", text)
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    pictures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(pictures) >= 4
    for picture in pictures:
        check_picture(ElementTree.fromstring(picture))  # noqa: S314  # of this program
    return page


def check_picture(svg: ElementTree.Element) -> None:
    """Require a text for those who do not see it, and a name for each axis with numbers."""
    assert svg.get("role") == "img"
    assert svg.get("aria-label")
    axes = [own for own in svg.iter() if re.search(r"matplotlib\.axis_\d+$", own.get("id", ""))]
    with_ticks = [own for own in axes if any("tick_" in child.get("id", "") for child in own)]
    assert len(with_ticks) >= 2
    for axis in with_ticks:
        names = [child for child in axis if re.search(r"-text_\d+$", child.get("id", ""))]
        assert any("".join(name.itertext()).strip() for name in names)


def look_at(run: Path) -> None:
    """Show the page in a browser, wide and narrow: nothing overlaps, is cut off or comes from elsewhere.

    It is skipped without Playwright and Chromium.
    """
    browsers = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium")
    with browsers.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, scheme in SCREENS:
            view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            messages: list[Any] = []
            view.on("console", lambda message: messages.append(message.text))  # noqa: B023
            view.on("request", lambda request: messages.append(request.url))  # noqa: B023
            view.goto((run / "report.html").as_uri())
            assert [text for text in messages if not text.startswith(("file:", "data:"))] == []
            assert view.evaluate("document.documentElement.scrollWidth") == width
            misplaced = view.evaluate(MISPLACED)
            assert not misplaced, misplaced
        browser.close()


MISPLACED = """() => [...document.querySelectorAll("svg")].flatMap(svg => {
  const box = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")]
    .map(own => [own.textContent.trim(), own.getBoundingClientRect()]).filter(own => own[0]);
  const outside = texts.filter(([, own]) => own.left < box.left - 2 || own.right > box.right + 2
    || own.top < box.top - 2 || own.bottom > box.bottom + 2).map(([text]) => text);
  const over = texts.flatMap(([text, a], i) => texts.slice(i + 1)
    .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5
      && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2.5)
    .map(([other]) => `${text} | ${other}`));
  return [...outside, ...over];
})"""
"""Texts of pictures that are outside of them or overlap."""
