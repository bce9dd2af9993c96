"""No command ends in a traceback because of the encoding of its output, or because it cannot be written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.terminal.console import make_console
from app.terminal.streams import escaped, print_path

CHARSETS = ("ascii", "latin-1", "cp1252", "utf-16", "utf-8", "koi8-r")
TEXT = "été ŁÓDŹ 😀 дом"


@pytest.fixture(params=CHARSETS)
def printed(request: pytest.FixtureRequest) -> Callable[..., tuple[Result, str]]:
    """Return a function that runs a command with streams of an encoding, and decodes what it prints."""

    def run(*arguments: object, stdin: bytes = b"") -> tuple[Result, str]:
        result = CliRunner(charset=request.param).invoke(main, [str(a) for a in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result, result.stdout_bytes.decode(request.param)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two texts, with names that few encodings have."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in (f"{TEXT}.txt", "ä.txt"):
        (folder / name).write_text("good")
    return folder


def test_predictions(printed: Callable[..., Any], run: Path, folder: Path) -> None:
    """Each line is JSON with the same content in every encoding."""
    result, text = printed("predict", run, folder)

    assert result.exit_code == 0
    assert {json.loads(line)["file"] for line in text.splitlines()} == {f"{TEXT}.txt", "ä.txt"}


def test_a_file_is_always_utf8(printed: Callable[..., Any], run: Path, folder: Path, tmp_path: Path) -> None:
    """`--output` does not depend on the terminal."""
    printed("predict", run, folder, "--output", tmp_path / "out.jsonl")

    assert f'"file": "{TEXT}.txt"' in (tmp_path / "out.jsonl").read_text(encoding="utf-8")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table with labels and a name that few encodings have."""
    path = tmp_path / f"{TEXT}.csv"
    labels = [TEXT, "ä", "–"]
    rows = [f"a text of number {i},{labels[i % 3]}" for i in range(60)]
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    return path


def test_reports(printed: Callable[..., Any], table: Path) -> None:
    """Tables escape what the encoding lacks, JSON stays JSON."""
    result, text = printed("datasets", "check", table)
    assert result.exit_code == 0
    assert "examples" in text
    result, text = printed("datasets", "check", table, "--json")
    assert TEXT in json.loads(text)["splits"]["train"]["labels"]


def test_evaluation(printed: Callable[..., Any], run: Path, table: Path) -> None:
    """Labels of other data that the model does not know are shown."""
    arguments = ("evaluate", run, "--data", table, "--split", "all", "--no-baseline")
    result, text = printed(*arguments)
    assert result.exit_code == 0
    assert "labels that the model does not know" in text
    _, text = printed(*arguments, "--json")
    assert TEXT in json.loads(text)["unseen_labels"]


def test_errors_and_help(printed: Callable[..., Any]) -> None:
    """Messages and help are printed too."""
    result, _ = printed("predict", TEXT, TEXT)
    assert result.exit_code == 1
    for command in main.commands:
        assert printed(command, "--help")[0].exit_code == 0
    assert printed("train", "classification", "x", "--print-config")[0].exit_code == 0


def test_escapes_are_those_of_json() -> None:
    """What an encoding lacks is the same character in a string of JSON, and readable elsewhere."""
    text = json.dumps(TEXT, ensure_ascii=False)
    for encoding in CHARSETS:
        CliRunner().invoke(main, ["--version"])  # registers the error handler
        assert json.loads(text.encode(encoding, "textrnn.escape").decode(encoding)) == TEXT
    assert "😀 é".encode("ascii", "textrnn.escape") == rb"\ud83d\ude00 \u00e9"
    with pytest.raises(UnicodeDecodeError):
        escaped(UnicodeDecodeError("ascii", b"\xff", 0, 1, "no text"))


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "a - b - c..."),
        ("latin-1", "a · b - c..."),
        ("utf-8", "a · b – c…"),
        ("cp1252", "a · b – c…"),
    ],
)
def test_punctuation_of_messages(encoding: str, shown: str) -> None:
    """Tables on a terminal of another encoding have its punctuation."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    make_console(stream).print("a · b – c…")
    stream.seek(0)
    assert stream.read() == f"{shown}\n"


def test_a_path_that_is_not_unicode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script gets the name of the file, byte for byte."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    print_path(Path(os.fsdecode(b"runs/\xff\xe9")))
    print_path(Path("runs/é"))
    sys.stdout.flush()
    assert raw.getvalue() == b"runs/\xff\xe9\nruns/\xc3\xa9\n"


PRINTS = ("train", "classification", "x", "--print-config")


def in_shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, with streams as a shell redirects them."""
    line = f'"$0" -c "from app.cli import main; main()" "$@" {redirection}'
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}", sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )


@pytest.mark.parametrize(
    ("arguments", "redirection", "message"),
    [
        (PRINTS, ">/dev/full", "Error: input/output: No space left on device\n"),
        (PRINTS, ">&-", "Error: input/output: Bad file descriptor\n"),
        (PRINTS, "| true", ""),
        (PRINTS, ">/dev/full 2>/dev/full", ""),
        (PRINTS, ">&- <&- 2>&-", ""),
        (("--help",), ">/dev/full", "Error: input/output: No space left on device\n"),
        (("--version",), ">&-", "Error: input/output: Bad file descriptor\n"),
    ],
)
def test_output_that_cannot_be_written(arguments: tuple[str, ...], redirection: str, message: str) -> None:
    """One line and status 1; no message if the reader of a pipe has exited, as it wants no more."""
    found = in_shell(redirection, *arguments)

    assert (found.returncode, found.stdout, found.stderr) == (1, "", message)
