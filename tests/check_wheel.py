"""Is the built wheel whole? Every module and data file of the packages is in it, and nothing else is."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "data", "models")


def main(wheel: str) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for pattern in ("*.py", "*.toml", "*.html", "*.css", "*.js", "*.svg")
        for path in (ROOT / package).rglob(pattern)
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = next(name for name in names if name.endswith("entry_points.txt"))
        entry_points = archive.read(metadata).decode()
    present = {name for name in names if ".dist-info/" not in name}
    if present != expected:
        sys.exit(f"missing: {sorted(expected - present)}; too much: {sorted(present - expected)}")
    if "textrnn = app.cli:main" not in entry_points:
        sys.exit(f"no console script: {entry_points}")
    print(f"{wheel}: {len(present)} files")


main(sys.argv[1])
