"""The prose uses the standard terms of the field."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BANNED = (
    "a mistake of the person who types the command",
    "expected one that 'textrnn train' made",
    "Go on where an interrupted training stopped",
    "goes on where",
    "Honest figures",
    "how the step size falls",
    "is none of the model's",
    "Let an export prove itself",
    "looked at while it wrote",
    "makes up when half of it is read as unknown",
    "more for longer texts",
    "more for texts that leave no word",
    "must be mended",
    "no run (it has no",
    "Of those that were trained on, the one that takes most",
    "Requests share calls.",
    "run: going on",
    "Seconds for an answer",
    "Seconds that accepted requests have when",
    "so that you need not",
    "Some answers are decided by rounding",
    "spelled once",
    "Texts, with seeds N, N+1",
    "that make an answer long in coming",
    "Users' texts may stand in the log",
    "What keeps the selector from giving up",
    "where it shall not be the run's own",
    "Who is told of a training's course",
    "worth a look",
)


def tracked() -> list[Path]:
    """Return the text files of the repository."""
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    suffixes = {".py", ".md", ".cfg", ".toml", ".html", ".js", ""}
    files = [ROOT / name for name in names if name and Path(name).suffix in suffixes]
    return [path for path in files if path.is_file() and path != Path(__file__)]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the list of tracked files")
def test_no_banned_phrase_is_used() -> None:
    """No tracked text has one of the banned phrases."""
    texts = {path: " ".join(path.read_text(encoding="utf-8").split()).casefold() for path in tracked()}

    found = [
        f"{path.relative_to(ROOT)}: {phrase}"
        for path, text in texts.items()
        for phrase in BANNED
        if phrase.casefold() in text
    ]

    assert len(texts) > 100
    assert not found, "\n".join(found)
