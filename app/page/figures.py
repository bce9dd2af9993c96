"""Plots as inline SVG, which take the colours of the page's text."""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Callable
from typing import Any

from app.extras import extra

TEXT, GRID = "#010203", "#040506"
"""Stand for the colour of text and of grid lines, which are light on a dark page."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Told apart by the colour-blind, on light and dark pages (Okabe and Ito 2008)."""
WIDTH = 7.2
"""Of a figure, in inches; the page scales it."""
SMALLEST = 5.7
"""Width to which a usual figure is shrunk, in inches; on a smaller screen it is scrolled."""
GROWN = 1.35
"""Factor by which the page makes a figure larger at most."""


def figure(draw: Callable[[Any], None], *, width: float = WIDTH, height: float = 3.0, panels: int = 1) -> str:
    """Return a plot as SVG markup, without outside references.

    Args:
        draw: draws into the axes of Matplotlib, or into an array of them.
        width: in inches.
        height: in inches.
        panels: number of axes, side by side.
    """
    with extra("plots", "the report"):
        from matplotlib import rc_context
        from matplotlib.figure import Figure

    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph ")  # the browser has other fonts
        made = Figure(figsize=(width, height), layout="constrained")
        draw(made.subplots(1, panels))
        stream = io.StringIO()
        made.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    found = _inline(stream.getvalue())
    # A large picture is scrolled, not shrunk until nobody can read it; a small one is not blown up.
    smallest, largest = (width, width) if width > WIDTH else (min(width, SMALLEST), width * GROWN)
    style = f"min-width: {smallest:.1f}in; max-width: {largest:.1f}in"
    return found.replace("<svg", f'<svg style="{style}"', 1)


def logarithmic(axes: Any) -> None:
    """Give drawn axes a logarithmic y axis whose numbers do not touch each other."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    digits = "23456789" if high < 4 * low else "25" if high < 100 * low else ""
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in digits else "")


_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": TEXT,
    "axes.titlesize": 9,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "grid.color": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
_NUMBERS = itertools.count()


def _inline(svg: str) -> str:
    """Return the element `svg` of a document, with the page's colours and names that no other figure has."""
    found = svg[svg.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.DOTALL)
    prefix = f"f{next(_NUMBERS)}-"
    found = re.sub(r'(\bid="|\burl\(#|href="#)', rf"\g<1>{prefix}", found)
    found = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", found, count=1)
    found = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 role="img"', found, count=1)
    return found.replace(TEXT, "currentColor").replace(GRID, "var(--grid)")
