from __future__ import annotations
from pathlib import Path
from data.formats.fields import BadRow, encoding_problem
from data.formats.layout import Options
from data.formats.opening import open_text


def read_text(path: Path, options: Options) -> str | BadRow:
    with open_text(path) as f:
        text = f.read()
    p = encoding_problem(text)
    return BadRow(1, p) if p else text
