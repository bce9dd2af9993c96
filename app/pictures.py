"""Files with pictures, drawn by Matplotlib."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.artifacts.files import open_output
from app.extras import extra
from data.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")
DOTS_PER_INCH = 150
LONGEST_SIDE = 8000
"""Largest width or height of a picture, in pixels; tokens of a longer text are too small to read."""


def check_picture(output: Path) -> None:
    """Require a file name of a format that can be drawn, and Matplotlib.

    Raises:
        UserError: the file is neither PNG nor SVG, or Matplotlib is not installed.
    """
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"--output {output}: expected a name that ends with {' or '.join(FORMATS)}")
    with extra("plots", f"the picture {output.name}"):
        import matplotlib  # noqa: F401


@contextmanager
def picture(output: Path, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure, which is written when the block ends without an error.

    Args:
        output: a PNG or SVG file, whose folder is made if it is missing.
        width: in inches.
        height: in inches.

    Raises:
        UserError: as `check_picture`, or the file cannot be written.
    """
    check_picture(output)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    yield figure
    output.parent.mkdir(parents=True, exist_ok=True)
    with open_output(output) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph ")  # a glyph that the font lacks is drawn as a box
        dpi = min(DOTS_PER_INCH, LONGEST_SIDE / max(width, height))
        figure.savefig(file, format=output.suffix.lower()[1:], dpi=dpi)
