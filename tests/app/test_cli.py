from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import Result

from app.cli import main

Command = Callable[..., Result]
Process = Callable[..., subprocess.CompletedProcess[str]]
Snapshot = Callable[..., dict[str, str]]

REVIEW = {"text": "The plot is good.", "label": "positive"}
PANS = {"text": "The plot is dull.", "label": "negative"}


def commands(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield the group itself, its commands, and those of its subgroups, each with its words."""
    yield names, group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield (*names, name), command


COMMANDS = dict(commands(main))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help(command: Command, words: tuple[str, ...]) -> None:
    """Each command says in its help what it does, and shows an example that begins with `textrnn`."""
    result = command(*words, "--help")

    assert (result.exit_code, result.stderr) == (0, "")
    assert COMMANDS[words].help
    _, _, examples = result.stdout.partition("Example")
    assert f"textrnn {' '.join(words)}".strip() in examples


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_has_help(words: tuple[str, ...]) -> None:
    """Each option says what it is for."""
    options = [p for p in COMMANDS[words].params if isinstance(p, click.Option)]

    assert [option.name for option in options if not option.help] == []


def test_expected_commands() -> None:
    """The commands of the program are found."""
    assert {"train", "evaluate", "predict", "export", "datasets list"} <= {
        " ".join(words) for words in COMMANDS
    }


def test_help_and_version_import_no_library(process: Process, tmp_path: Path) -> None:
    """Help and version are printed without the libraries that take seconds to import."""
    arguments = [[*words, "--help"] for words in COMMANDS] + [["--version"]]
    script = f"""
import contextlib, io, sys
from app.cli import main

for arguments in {arguments!r}:
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(SystemExit):
        main(arguments)
    assert output.getvalue(), arguments
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    result = process("-c", script, cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert {"app", "click"} <= loaded
    assert not loaded & {"tensorflow", "keras", "tensorflow_datasets", "pydantic", "sklearn", "numpy"}


def test_module(process: Process, tmp_path: Path) -> None:
    """`python -m app` is the same command."""
    result = process("-m", "app", "--version", cwd=tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("textrnn, version ")


@pytest.mark.parametrize("words", [[], ["datasets"]])
def test_no_command(command: Command, words: list[str]) -> None:
    """Without a command the help is printed, and the status is that of a wrong command line."""
    result = command(*words)

    assert result.exit_code == 2
    assert result.stdout.startswith("Usage: ")


def test_print_config_is_toml(command: Command, tmp_path: Path) -> None:
    """`--print-config` prints the configuration that `--config` reads."""
    shown = command("train", "classification", "any", "--set", "model.units=7", "--print-config")
    (tmp_path / "config.toml").write_text(shown.stdout)

    again = command("train", "classification", "any", "--config", tmp_path / "config.toml", "--print-config")

    assert "\nunits = 7 " in shown.stdout
    assert again.stdout == shown.stdout


# User errors: each ends in one line, with the right status, and changes nothing.


def _flipped(run: Path, name: str, target: Path) -> None:
    """Copy a directory with one byte of one of its files changed."""
    shutil.copytree(run, target)
    content = bytearray((target / name).read_bytes())
    content[len(content) // 2] ^= 1
    (target / name).write_bytes(content)


@pytest.fixture(scope="module")
def workplace(
    tmp_path_factory: pytest.TempPathFactory, run: Path, exported: Path, jsonl: Callable[..., None]
) -> Path:
    """Return a working directory with valid and invalid files; no user error may change it."""
    folder = tmp_path_factory.mktemp("workplace")
    jsonl(folder / "good/train.jsonl", [REVIEW, PANS] * 8)
    jsonl(folder / "good/validation.jsonl", [REVIEW, PANS])
    (folder / "stars.csv").write_text("text,labels\ngood,5\nbad,1\n")
    (folder / "empty.csv").write_text("")
    (folder / "header.csv").write_text("text,label\n")
    (folder / "notes.md").write_text("good\n")
    (folder / "no_training").mkdir()
    jsonl(folder / "no_training/test.jsonl", [REVIEW, PANS])
    jsonl(folder / "one_class.jsonl", [REVIEW | {"text": f"good {i}"} for i in range(30)])
    (folder / "latin1.jsonl").write_bytes(
        b'{"text": "good", "label": "a"}\n{"text": "caf\xe9", "label": "b"}\n'
    )
    (folder / "broken.jsonl").write_text('{"text": "good", "label": "a"}\n{"text": "bad", \n')
    jsonl(folder / "few/train.jsonl", [REVIEW, PANS])
    (folder / "wrong.toml").write_text("[model]\nunits = -1\ncel = 'gru'\n[training]\nepochs = '3'\n")
    (folder / "broken.toml").write_text("[model\n")
    (folder / "tagging.toml").write_text('task = "tagging"\n')
    (folder / "future.toml").write_text("format = 2\n")
    (folder / "vectors.txt").write_text("good 1 2 3\nbad 1 2 3\n")
    (folder / "in.txt").write_text("good\n")
    (folder / "in.csv").write_text("review\ngood\n")

    shutil.copytree(run, folder / "run")
    for name in ("model.keras", "vocabulary.txt", "config.toml"):
        _flipped(run, name, folder / f"changed_{Path(name).stem}")
    shutil.copytree(run, folder / "lacking")
    (folder / "lacking/labels.txt").unlink()
    shutil.copytree(run, folder / "unfinished")
    manifest = json.loads((run / "manifest.json").read_text())
    (folder / "unfinished/manifest.json").write_text(json.dumps(manifest | {"complete": False}))
    (folder / "no_run").mkdir()
    (folder / "no_run/manifest.json").write_text('{"name": "of something else"}')
    shutil.copytree(exported, folder / "exports/1")
    _flipped(exported, "variables/variables.data-00000-of-00001", folder / "changed_export/1")
    return folder


TRAIN = "train classification"

MISTAKES = [
    # command; exit status; parts of the message
    ("train sentiment good", 2, ["sentiment", "classification"]),
    (f"{TRAIN} good --unit 4", 2, ["--unit"]),
    (f"{TRAIN}", 2, ["DATA"]),
    ("trian classification good", 2, ["trian"]),
    ("export run --version 0", 2, ["0"]),
    ("predict run in.txt --format xml", 2, ["xml", "jsonl"]),
    (
        "generate run --beam 2 --temperature 0.5 --seed 0",
        2,
        [
            "--temperature, --seed: not used by beam search",
            "leave out either --beam or --temperature, --seed",
        ],
    ),
    *(
        (f"generate run --beam 2 {option}", 2, [f"{option.split()[0]}: not used by beam search"])
        for option in ("--top-k 4", "--top-p 0.5", "--repetition-penalty 1.1", "--seed 0", "--samples 3")
    ),
    (
        "generate run --length-penalty 1",
        2,
        ["--length-penalty applies to beam search", "add --beam N"],
    ),
    (f"{TRAIN} imbd", 1, ["'imbd'", "sample:reviews", "tfds:NAME"]),
    (f"{TRAIN} sample:review", 1, ["'review'", "did you mean 'reviews'"]),
    (f"{TRAIN} notes.md", 1, ["notes.md", "md format", ".jsonl, .csv, .tsv"]),
    (f"{TRAIN} no_training", 1, ["no_training", "train.jsonl", "there is test.jsonl"]),
    (f"{TRAIN} good --set model.unitz=4", 1, ["'model.unitz'", "did you mean 'model.units'"]),
    (f"{TRAIN} good --set unit=4", 1, ["'unit'", "did you mean 'model.units'"]),
    (f"{TRAIN} good --set model.units", 1, ["'model.units'", "KEY=VALUE"]),
    (f"{TRAIN} good --set model.crf=true", 1, ["model.crf is a key of tagging", "model.pooling"]),
    (f"{TRAIN} good --config tagging.toml", 1, ["tagging.toml is a configuration of tagging"]),
    (f"{TRAIN} good --config future.toml", 1, ["future.toml: format 2 is not supported"]),
    (
        f"{TRAIN} good --set model.cell=lsmt --set training.epochs=-1 --set modle.units=4 --set seed=1.5",
        1,
        [
            "model.cell = 'lsmt': expected one of simple, gru, lstm, mingru; did you mean 'lstm'",
            "training.epochs = -1",
            "unknown key 'modle'; did you mean 'model'",
            "seed = 1.5",
        ],
    ),
    (
        f"{TRAIN} good --config wrong.toml",
        1,
        ["model.units = -1", "'model.cel'; did you mean 'model.cell'", "training.epochs = '3'"],
    ),
    (f"{TRAIN} good --config broken.toml", 1, ["broken.toml", "not TOML"]),
    (f"{TRAIN} good --config missing.toml", 1, ["missing.toml", "No such file"]),
    (f"{TRAIN} good --preset quick", 1, ["'quick'", "deep, fast"]),
    (
        f"{TRAIN} stars.csv",
        1,
        ["stars.csv", "'label'", "did you mean 'labels'", "--set data.label_column=NAME"],
    ),
    (f"{TRAIN} good --set data.text_column=txt", 1, ["train.jsonl:1", "'txt'", "did you mean 'text'"]),
    (f"{TRAIN} empty.csv", 1, ["empty.csv", "no examples"]),
    (f"{TRAIN} header.csv", 1, ["header.csv", "no examples"]),
    (f"{TRAIN} one_class.jsonl", 1, ["only one class, 'positive'"]),
    (f"{TRAIN} latin1.jsonl", 1, ["latin1.jsonl:2", "not UTF-8", "0xe9"]),
    (f"{TRAIN} broken.jsonl", 1, ["broken.jsonl:2", "not JSON"]),
    (f"{TRAIN} good --run run", 1, ["run exists", "--resume", "another --run"]),
    (f"{TRAIN} good --run no_run", 1, ["no_run exists"]),
    (f"{TRAIN} good --resume", 1, ["--resume", "--run"]),
    (f"{TRAIN} good --resume --run no_run", 1, ["no_run", "not a run directory"]),
    *(
        (f"{verb} {path}", 1, said)
        for verb in ("evaluate", "export", "predict")
        for path, said in (
            ("missing", ["missing", "no such directory"]),
            ("no_run", ["no_run", "not a run directory", "manifest.json"]),
            ("changed_model", ["changed_model", "model.keras", "changed"]),
            ("changed_vocabulary", ["changed_vocabulary", "vocabulary.txt", "changed"]),
            ("changed_config", ["changed_config", "config.toml", "changed"]),
            ("lacking", ["labels.txt", "missing"]),
            ("unfinished", ["unfinished", "not finished", "--resume"]),
        )
    ),
    ("predict changed_export in.txt", 1, ["changed_export", "variables.data", "changed"]),
    ("predict changed_export/1 in.txt", 1, ["changed_export", "variables.data", "changed"]),
    ("predict run missing.txt", 1, ["missing.txt", "no such file"]),
    ("predict run in.csv", 1, ["in.csv", "'text'", "there is 'review'", "--text-column NAME"]),
    ("predict run in.txt --output nowhere/answers.jsonl", 1, ["nowhere/answers.jsonl", "No such file"]),
    ("predict run in.txt --output exports", 1, ["exports"]),
    ("evaluate run --split tst", 1, ["'tst'", "train, validation, test, all"]),
    ("evaluate run --data missing.csv", 1, ["'missing.csv'"]),
    ("evaluate run --data stars.csv", 1, ["stars.csv", "'label'"]),
    ("export run --output exports --version 1", 1, ["exports/1 exists", "--version"]),
    ("export run --output in.txt", 1, ["in.txt"]),
    ("datasets check missing.csv", 1, ["'missing.csv'"]),
    ("datasets prepare broken.jsonl", 1, ["broken.jsonl:2", "not JSON"]),
    (f"{TRAIN} good --set model.embeddings=missing.txt", 1, ["missing.txt", "No such"]),
]


@pytest.mark.parametrize(
    ("typed", "status", "said"), MISTAKES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_mistakes(
    command: Command,
    snapshot: Snapshot,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    status: int,
    said: list[str],
) -> None:
    """A user error ends in one line that says what was wrong, with its status; no file is changed."""
    monkeypatch.chdir(workplace)
    folders = (workplace, Path(os.environ["XDG_CACHE_HOME"]))
    before = snapshot(*folders)

    result = command(*shlex.split(typed), stdin="good\n")

    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1, result.stderr
    for words in said:
        assert words in result.stderr
    assert snapshot(*folders) == before


def test_too_few_rows_to_validate_with(
    command: Command, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too few examples for a validation split are reported before the run directory is created."""
    monkeypatch.chdir(workplace)

    result = command(*shlex.split(f"{TRAIN} few --run few_run"))

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: few: no example is left for validation")
    assert result.stderr.count("\n") == 1
    assert not Path("few_run").exists()


def test_a_mistake_in_a_process_of_its_own(process: Process, snapshot: Snapshot, workplace: Path) -> None:
    """The message is the only output, even if a model was loaded before."""
    before = snapshot(workplace)

    result = process("-m", "app", "evaluate", "run", "--data", "stars.csv", "--split", "all", cwd=workplace)

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: stars.csv: no column 'label'")
    assert result.stderr.count("\n") == 1
    assert snapshot(workplace) == before
