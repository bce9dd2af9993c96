"""Control characters of data never reach a terminal as such."""

from __future__ import annotations

import functools
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from trained import PLAIN

import app.evaluate
import app.prediction.loading
from app.cli import main
from app.config import TaskConfig
from app.prediction.loading import load_predictor
from app.terminal.printable import json_line, one_line, printable
from app.terminal.tables import show_evaluation
from app.train import train
from app.training.display import TrainingDisplay
from app.training.events import Message

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
RED = "\x1b[31mred"
TITLE = "\x1b]0;title\x07"
REVERSED = "\u202egpj.exe"
CSI = "\x9b2J"
ODD = (RED, TITLE, REVERSED, CSI, "a\x08b", "del\x7f", "\u2066isolate", "bell\x07", "ff\x0c")


@pytest.mark.parametrize("text", ODD)
def test_control_characters_are_escaped(text: str) -> None:
    """A control character becomes an escape, and other characters stay."""
    for shown in (printable(text), one_line(text), json_line(text)):
        assert not UNSAFE.search(shown)
        assert UNSAFE.sub("", text)[-1] in shown


def test_what_stays() -> None:
    """Letters of all scripts, joiners, line feeds and tabs stay; `one_line` escapes the last two."""
    text = "é 好 نص 👩\u200d👩\n\tx"

    assert printable(text) == text
    assert one_line(text) == "é 好 نص 👩\u200d👩\\n\\tx"
    assert printable(RED + REVERSED) == r"\x1b[31mred\u202egpj.exe"


@given(st.text(st.characters(exclude_categories=())))
def test_json_is_equal(text: str) -> None:
    """Escapes in JSON stand for the same text, which is safe to print and to encode."""
    shown = json_line({"text": text})

    assert json.loads(shown) == {"text": text}
    assert not UNSAFE.search(shown)
    assert shown.encode()


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory, configured: Configured) -> Path:
    """Return a run on texts with control characters, and its data."""
    folder = tmp_path_factory.mktemp("odd")
    rows = [{"text": f"film {i} {ODD[i % len(ODD)]}", "label": ("a", "b")[i % 2]} for i in range(60)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train("classification", str(folder / "data.jsonl"), configured(*PLAIN), run=folder / "run")
    return folder


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Load each model once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(load_predictor)
        patch.setattr(app.prediction.loading, "load_predictor", once)
        patch.setattr(app.evaluate, "load_predictor", once)
        yield


@pytest.mark.parametrize(
    "typed",
    [
        "predict run data.jsonl",
        "evaluate run --data data.jsonl --split all",
        "evaluate run --data data.jsonl --split all --json",
        "datasets check data.jsonl",
        "datasets check data.jsonl --json",
        f"train classification {RED}",
        f"train classification data.jsonl --set data.text_column={REVERSED}",
        f"train classification data.jsonl --set {TITLE}=1",
        f"predict {CSI} data.jsonl",
        f"evaluate run --split {CSI}",
        f"predict run {TITLE}",
        f"datasets list {RED}",
        f"{RED}",
        f"train {RED} data.jsonl",
    ],
)
def test_commands(command: Command, odd_run: Path, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    """Neither results nor messages of a command have control characters, whatever data and arguments have."""
    monkeypatch.chdir(odd_run)

    result = command(*typed.split(" "))

    assert not UNSAFE.search(result.stdout)
    assert not UNSAFE.search(result.stderr)
    assert result.output or typed.startswith("datasets list")


def test_tables_and_messages(capsys: pytest.CaptureFixture[str]) -> None:
    """Cells, headings and messages of a training are escaped."""
    scores = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    result: dict[str, Any] = {"task": RED, "dataset": TITLE, "split": "test", "examples": 2, "loss": 0.5}
    classes = {"per_class": {REVERSED: scores, CSI: scores}, "confusion": [[0, 1], [1, 0]]}
    stream = io.StringIO()

    show_evaluation(result | classes | {"baseline": {"name": CSI, "error": TITLE}})
    TrainingDisplay(stream)(Message(f"{RED}\n{REVERSED}"))

    shown = capsys.readouterr().out
    assert not UNSAFE.search(shown)
    assert r"\u202egpj.exe" in shown
    assert stream.getvalue() == "\\x1b[31mred\n\\u202egpj.exe\n"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Return true."""
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_generated_text(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    """Generated text is escaped on a terminal, and unchanged in a pipe."""
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("app.prediction.loading.load_predictor", lambda *_, **__: None)
    monkeypatch.setattr("app.generate.output", lambda *_, **__: iter([RED, "\n"]))
    monkeypatch.setattr(sys, "stdout", stream)

    with pytest.raises(SystemExit):
        main(["generate", "run"])

    assert stream.getvalue() == (r"\x1b[31mred" if terminal else RED) + "\n"
