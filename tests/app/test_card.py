"""The model card: what train, card and export write, and that its examples run."""

from __future__ import annotations

import ast
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from trained import export_quickly

from app.artifacts.files import CARD
from app.artifacts.manifests import read_export_manifest
from app.config import load_config
from app.inspection.memory import horizon_of
from app.inspection.opened import open_to_inspect
from app.model_card import render
from app.model_card.measured import MEASURED
from app.train import train
from app.training.events import Event, Message

Command = Callable[..., Result]
Write = Callable[[Path, list[dict[str, object]]], None]

TINY = (
    *("model.units=4", "model.embedding_size=4", "training.epochs=1", "training.batch_size=8"),
    "data.validation_fraction=0.3",
)
WORDS = ("good", "bad", "new", "old", "red", "blue")
TEXTS = [f"{first} {second} things happen here" for first in WORDS for second in WORDS]
ROWS: dict[str, list[dict[str, object]]] = {
    "classification": [{"text": text, "label": "ja" if "good" in text else "nein"} for text in TEXTS],
    "tagging": [
        {"tokens": text.split(), "tags": ["B-x", "I-x", "O", "O", "O"], "label": text.split()[0]}
        for text in TEXTS
    ],
    "generation": [{"text": text} for text in TEXTS],
    "translation": [{"source": text, "target": text.upper()} for text in TEXTS],
}
MORE = {
    "classification": ["text.max_length=50"],
    "translation": ["text.tokens=char", "text.max_length=40", "decoding.beam=2"],
}


def front_matter(card: Path) -> dict[str, Any]:
    """Return the metadata of a card."""
    _, metadata, _ = card.read_text().split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(metadata)
    return found


def snippets(card: Path, language: str) -> list[str]:
    """Return the code of a card in a language."""
    return re.findall(rf"```{language}\n(.*?)```", card.read_text(), re.S)


def trained(task: str, folder: Path, jsonl: Write, *overrides: str, watcher: Any = None) -> Path:
    """Return a run of the task on a few rows."""
    jsonl(folder / "rows.jsonl", ROWS[task])
    config = load_config(task, overrides=[*TINY, *MORE.get(task, []), *overrides])
    options = {"watcher": watcher} if watcher else {}
    return train(task, str(folder / "rows.jsonl"), config, run=folder / "run", **options).path


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """Return a copy of the shared run that a test may change."""
    return Path(shutil.copytree(run, tmp_path / "reviews"))


def test_the_card_of_a_training(run: Path) -> None:
    """It has the validation metrics of the kept epoch, and says what is not measured and not stated."""
    card, text = front_matter(run / CARD), (run / CARD).read_text()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = [line for line in lines if line.get("best")][-1]
    manifest = json.loads((run / "manifest.json").read_text())

    assert card["pipeline_tag"] == "text-classification"
    assert "license" not in card
    assert "language" not in card
    (results,) = card["model-index"][0]["results"]
    assert results["dataset"] == {"name": "reviews", "type": "reviews", "split": "validation"}
    assert {metric["name"]: metric["value"] for metric in results["metrics"]} == {
        "accuracy": best["validation_accuracy"],
        "macro F1": best["validation_macro_f1"],
        "loss": best["validation_loss"],
    }
    assert f"| accuracy | {best['validation_accuracy']:#.4g}" in text
    assert manifest["dataset_hash"] in text
    assert manifest["data"] not in text  # a path says nothing elsewhere
    assert "| train | 40 |" in text
    assert "a bidirectional LSTM layer of 4 units in each direction, max\\_mean pooling" in text
    assert f"{manifest['parameters']:,} parameters" in text
    assert "2 labels: negative, positive" in text
    assert "Scripts of its training texts: Latin." in text
    assert "Not measured." in text
    assert "Not stated." in text
    assert not (run / MEASURED).exists()


def test_measuring(command: Command, copied: Path) -> None:
    """The command adds what `evaluate` and `inspect` say; what is measured is not measured again."""
    result = command("card", copied, "--split", "test")
    card, text = copied / CARD, (copied / CARD).read_text()
    found = json.loads(command("evaluate", copied, "--split", "test", "--json").stdout)

    assert (result.exit_code, result.stdout) == (0, f"{card}\n"), result.stderr
    low, high = found["intervals"]["accuracy"]
    row = [found["accuracy"], low, high, found["baseline"]["accuracy"]]
    own = "| accuracy | {} | {} to {} | {} |".format(*(render.number(value) for value in row))
    assert own in text
    assert f"expected calibration error: {render.number(found['expected_calibration_error'])}" in text
    assert f"Brier score: {render.number(found['brier_score'])}" in text
    assert f"reaches back {render.number(horizon_of(open_to_inspect(copied)))} tokens" in text
    assert re.search(r"The prediction of one text takes [\d.]+ ms", text)
    assert "out of vocabulary" in text
    assert front_matter(card)["model-index"][0]["results"][0]["dataset"]["split"] == "test"
    assert "Not measured." not in text

    before = (copied / MEASURED).read_text()
    assert command("card", copied).exit_code == 0
    assert (copied / MEASURED).read_text() == before
    assert card.read_text() == text


def test_what_the_user_states(command: Command, copied: Path, tmp_path: Path) -> None:
    """Licence and languages are in the metadata, later ones replace earlier ones, and exports have them."""
    options = ("--split", "validation", "--no-baseline")
    states = ("--set", "card.license=Apache-2.0", "--set", "card.language=en, de")
    assert command("card", copied, *options, *states).exit_code == 0
    card = front_matter(copied / CARD)
    assert (card["license"], card["language"]) == ("apache-2.0", ["en", "de"])

    before = (copied / CARD).read_text()
    options = ("--no-measure", "--split", "test")
    assert command("card", copied, *options, "--set", "card.license=Ours: internal").exit_code == 0
    assert "On the validation split, 12 examples" in before
    assert "On the validation split, 12 examples" in (copied / CARD).read_text()
    exported = export_quickly(copied, output=tmp_path / "exported")
    for path in (copied, exported):
        card = front_matter(path / CARD)
        assert (card["license"], card["license_name"]) == ("other", "Ours: internal")
        assert card["language"] == ["en", "de"]
        assert "Not stated." not in (path / CARD).read_text()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.units=8", "card.license and card.language"),
        ("card.licence=mit", "card.licence"),
        ("card.language=English", "card.language"),
        ("card.license", "expected KEY=VALUE"),
    ],
)
def test_what_cannot_be_stated(command: Command, copied: Path, assignment: str, message: str) -> None:
    """Other keys and wrong values are refused in one line, and nothing is written."""
    before = (copied / CARD).read_bytes()
    result = command("card", copied, "--set", assignment)

    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (copied / CARD).read_bytes() == before
    assert not (copied / MEASURED).exists()


def test_own_text_is_kept(command: Command, copied: Path, tmp_path: Path) -> None:
    """What stands after the last line survives, and exports have it; what stands before it does not."""
    card = copied / CARD
    card.write_text(f"# Mine\n\n{card.read_text()}\n## Intended use\n\nFilm clubs.\n")
    render.write_card(copied)
    text = card.read_text()

    assert text.startswith("---\n")
    assert text.endswith(f"{render.KEEP}\n## Intended use\n\nFilm clubs.\n")
    assert text.count(render.KEEP) == 1
    assert (export_quickly(copied, output=tmp_path / "exported") / CARD).read_text().endswith("Film clubs.\n")


def test_measurements_of_other_weights(copied: Path, command: Command) -> None:
    """Measurements hold for the weights that were measured; what the user states holds for all."""
    command("card", copied, "--no-baseline", "--set", "card.license=mit")
    assert "Not measured." not in (copied / CARD).read_text()
    stored = json.loads((copied / MEASURED).read_text())
    (copied / MEASURED).write_text(json.dumps(stored | {"model": "0" * 64}))
    render.write_card(copied)

    assert "Not measured." in (copied / CARD).read_text()
    assert front_matter(copied / CARD)["license"] == "mit"


def test_an_older_run(copied: Path, tmp_path: Path) -> None:
    """A run without a card is exported with one."""
    (copied / CARD).unlink()
    exported = export_quickly(copied, output=tmp_path / "exported")

    card = (exported / CARD).read_text()
    assert "# exported" in card
    assert 'tf.saved_model.load(".")' in card
    assert CARD not in read_export_manifest(exported).files


def test_an_edited_card_leaves_an_export_valid(command: Command, exported: Path, tmp_path: Path) -> None:
    """Nothing but people reads it: its text is no part of what `verify` and loading check."""
    edited = Path(shutil.copytree(exported, tmp_path / "edited" / "1"))
    (edited / CARD).write_text("Another text.\n")
    assert command("verify", edited, "--no-replay").exit_code == 0
    (edited / "NOTES.md").write_text("Another file.\n")
    assert command("verify", edited, "--no-replay").exit_code == 1


@pytest.mark.parametrize("task", ROWS)
def test_the_examples_run(
    task: str, command: Command, jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example of the card of a run does what it says, in the folder of the card."""
    path = trained(task, tmp_path, jsonl)
    monkeypatch.chdir(path)
    monkeypatch.setattr("app.export.hard_texts", lambda *_: {})  # they take most of the time
    _run_examples(command, Path(CARD))

    version = path / "exports" / "run" / "1"
    request = re.search(r"curl -d '(.*)' ", (version / CARD).read_text())
    assert request
    (instance,) = json.loads(request[1])["instances"]
    assert instance.keys() == read_export_manifest(version).signatures["serving_default"].inputs.keys()


def test_the_examples_of_an_export_run(
    command: Command, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example of the card of an export does what it says, in the folder of the card."""
    monkeypatch.chdir(exported)
    assert 'model_base_path="$(dirname "$PWD")"' in Path(CARD).read_text()
    _run_examples(command, Path(CARD))


def _run_examples(command: Command, card: Path) -> None:
    """Run all examples of a card but those of a server; the command and Python print the same."""
    shell = [line for snippet in snippets(card, "sh") for line in snippet.splitlines()]
    printed = []
    for line in shell:
        if "textrnn" not in line:
            continue  # of TensorFlow Serving
        typed, _, piped = line.partition(" | ")
        text = shlex.split(typed)[1] if piped else ""
        result = command(*shlex.split(piped or typed)[1:], stdin=f"{text}\n")
        assert result.exit_code == 0, result.stderr
        printed.append(result.stdout)
    python, saved_model = snippets(card, "python")
    for code in (python, saved_model):
        output = io.StringIO()
        with redirect_stdout(output):
            exec(code, {})  # noqa: S102
        printed.append(output.getvalue())
    first, *_, from_python, of_outputs = printed
    assert "serving_default" in saved_model
    assert ast.literal_eval(of_outputs)
    if first.startswith("{"):  # no generated text
        assert ast.literal_eval(from_python) == [json.loads(first)]


def test_the_examples_run_in_a_shell(run: Path, copied: Path) -> None:
    """The first example is a line of the shell."""
    line = snippets(copied / CARD, "sh")[0].replace("textrnn", f"{shlex.quote(sys.executable)} -m app", 1)
    done = subprocess.run(
        ["sh", "-c", line], cwd=copied, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path.cwd())},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] in ("negative", "positive")


def test_text_of_the_data_is_no_markup(jsonl: Write, tmp_path: Path) -> None:
    """Labels with characters of Markdown, HTML or YAML change neither the table nor the metadata."""
    labels = ["<b>|x|</b>", "`tick` --- # head", "[a](b)"]
    rows: list[dict[str, object]] = [
        {"text": f"{text} {i}", "label": label} for i, label in enumerate(labels) for text in TEXTS[:12]
    ]
    jsonl(tmp_path / "a: b.jsonl", rows)
    config = load_config("classification", overrides=[*TINY, 'card.license=mit: "x" #', "card.language=el"])
    run = train("classification", str(tmp_path / "a: b.jsonl"), config, run=tmp_path / "r: [x]").path

    text = (run / CARD).read_text()
    assert front_matter(run / CARD)["license_name"] == 'mit: "x" #'
    assert front_matter(run / CARD)["language"] == ["el"]
    assert front_matter(run / CARD)["model-index"][0]["name"] == "r: [x]"
    assert "<b>" not in text.replace("\\<", "")
    assert r"\<b\>\|x\|\</b\>" in text
    assert r"\`tick\` --- \# head" in text
    assert r"\[a\](b)" in text


def test_a_failure_does_not_lose_the_training(
    jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is complete, and one line says why there is no card."""
    events: list[Event] = []

    def fails(*_: object) -> str:
        raise OSError(28, "No space left\non device")

    monkeypatch.setattr(render, "card_text", fails)
    run = trained("classification", tmp_path, jsonl, watcher=events.append)

    assert json.loads((run / "manifest.json").read_text())["complete"]
    assert not (run / CARD).exists()
    (message,) = [event.text for event in events if isinstance(event, Message) and "model card" in event.text]
    assert "No space left on device" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([b"good", "gut ÄÖ".encode(), b"12", b"[UNK]"], ["Latin"]),
        (["λόγος".encode(), b"a"], ["Greek", "Latin"]),
        (["日本".encode(), b"\xff\xfe"], ["Chinese characters"]),
        ([b"!", b"1"], []),
    ],
    ids=["latin", "two", "chinese", "none"],
)
def test_scripts(tokens: list[bytes], expected: list[str]) -> None:
    """Scripts are those of the letters of a vocabulary."""
    assert list(render.scripts(tokens)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.91234, "0.9123"), (0.5, "0.5000"), (21.3456, "21.35"), (1204.4, "1,204"), (float("nan"), "–")],
    ids=["share", "half", "tens", "thousands", "nan"],
)
def test_numbers(value: float, expected: str) -> None:
    """Numbers have four significant digits."""
    assert render.number(value) == expected


def test_what_is_no_run(command: Command, tmp_path: Path) -> None:
    """A folder without a run is refused in one line."""
    result = command("card", tmp_path)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {tmp_path}")
