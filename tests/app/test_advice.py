"""Each advice in an error message works: the mistake is made, the advice is followed to the letter."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from app.training.fit import Fit
from data.errors import UserError

Command = Callable[..., Result]

BEGINS = "the training begins"
WORDS = ("good", "bad", "fine", "poor", "nice", "dull")


def table(header: str = "text,label", delimiter: str = ",") -> str:
    """Return a table of short texts of two classes."""
    rows = [f"a {WORDS[i % 6]} film {i}{delimiter}{('pos', 'neg')[i % 2]}" for i in range(40)]
    return "\n".join([*([header] if header else []), *rows]) + "\n"


def lines(**columns: Callable[[int], object]) -> str:
    """Return JSON lines whose values are functions of the row's number."""
    return "".join(json.dumps({key: make(i) for key, make in columns.items()}) + "\n" for i in range(40))


def text(i: int) -> str:
    """Return the text of a row."""
    return f"a {WORDS[i % 6]} film {i}"


def label(i: int) -> str:
    """Return the label of a row."""
    return ("pos", "neg")[i % 2]


VECTORS = "good 1 2 3\nbad 4 5 6\nfilm 7 8 9\n"
EMBEDDINGS = "train classification t.csv --set model.embeddings=v.txt --set model.embedding_size"


@dataclass(frozen=True)
class Mistake:
    """A mistake, the error that it gives, and what the advice says to do."""

    command: str
    said: str
    """Regular expression of the advice; `{1}` in `then` is its first group."""
    then: str
    """The command that follows the advice."""
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    mended: Mapping[str, str | bytes] = field(default_factory=dict)
    """Files that the advice says to write."""
    shows: str = ""
    """Regular expression of what the command that follows the advice prints; empty: it succeeds."""


T = "train classification"
TABLE = {"t.csv": table()}
MISTAKES = {
    # names
    "unknown dataset": Mistake(f"{T} imbd", r"'textrnn (datasets list)' prints all names", "{1} imdb"),
    "unknown sample": Mistake(f"{T} sample:review", r"did you mean '(\w+)'", f"{T} sample:{{1}}"),
    "unknown catalogue name": Mistake(f"{T} tfds:imdb_review", r"did you mean '(\w+)'", "datasets list {1}"),
    "no catalogue name": Mistake(f"{T} tfds:", r"see 'textrnn (datasets list)'", "{1} imdb"),
    "unknown preset": Mistake(
        f"{T} t.csv --preset quick", r"classification has \w+, (\w+)", f"{T} t.csv --preset {{1}}", TABLE
    ),
    "unknown task": Mistake("train classify t.csv", r"'(classification)'", "train {1} t.csv", TABLE),
    # configuration
    "unknown key": Mistake(
        f"{T} t.csv --set model.unitz=4", r"did you mean '([\w.]+)'", f"{T} t.csv --set {{1}}=4", TABLE
    ),
    "key without section": Mistake(
        f"{T} t.csv --set units=4", r"did you mean '([\w.]+)'", f"{T} t.csv --set {{1}}=4", TABLE
    ),
    "section in place of a key": Mistake(
        f"{T} t.csv --set model=lstm",
        r"set one of them: (--set [\w.]+)=VALUE",
        f"{T} t.csv {{1}}=lstm",
        TABLE,
    ),
    "key of another task": Mistake(
        f"{T} t.csv --set model.crf=true",
        r"classification has ([\w.]+)",
        f"{T} t.csv --set {{1}}=mean",
        TABLE,
    ),
    "misspelt value": Mistake(
        f"{T} t.csv --set model.cell=lsmt",
        r"did you mean '(\w+)'",
        f"{T} t.csv --set model.cell={{1}}",
        TABLE,
    ),
    "number out of range": Mistake(
        f"{T} t.csv --set model.units=0",
        r"greater than or equal to (\d)",
        f"{T} t.csv --set model.units={{1}}",
        TABLE,
    ),
    "no KEY=VALUE": Mistake(
        f"{T} t.csv --set model.units", r"e.g. (--set model.units=64)", f"{T} t.csv {{1}}", TABLE
    ),
    "unknown early stopping metric": Mistake(
        f"{T} t.csv --set training.early_stopping_metric=f1",
        r"expected one of (\w+)",
        f"{T} t.csv --set training.early_stopping_metric={{1}}",
        TABLE,
    ),
    "too small a subword vocabulary": Mistake(
        f"{T} t.csv --set text.tokens=subword --set text.vocabulary_size=10",
        r"at least (\d+) pieces",
        f"{T} t.csv --set text.tokens=subword --set text.vocabulary_size=300",
        TABLE,
    ),
    # columns and files
    "label in another column": Mistake(
        f"{T} t.csv",
        r"(--set data.label_column)=NAME; did you mean '(labels)'",
        f"{T} t.csv {{1}}={{2}}",
        {"t.csv": table("text,labels")},
    ),
    "text in another column": Mistake(
        f"{T} t.csv",
        r"there is '(review)'.*(--set data.text_column)=NAME",
        f"{T} t.csv {{2}}={{1}}",
        {"t.csv": table("review,label")},
    ),
    "a column of JSON lines": Mistake(
        f"{T} t.jsonl",
        r"there is 'text', '(stars)'.*(--set data.label_column)=NAME",
        f"{T} t.jsonl {{2}}={{1}}",
        {"t.jsonl": lines(text=text, stars=label)},
    ),
    "two columns of a name": Mistake(
        f"{T} t.csv",
        r"two columns are named 'text'; rename one",
        f"{T} t.csv",
        {"t.csv": table("text,text")},
        {"t.csv": table()},
    ),
    "unknown format": Mistake(
        f"{T} t.md",
        r"expected .*\.(csv)",
        f"{T} t.{{1}}",
        {"t.md": "Notes of a meeting\n" * 20},
        {"t.csv": table()},
    ),
    "folder without training file": Mistake(
        f"{T} data",
        r"(train\.csv)",
        f"{T} data",
        {"data/a.csv": table(), "data/b.csv": table()},
        {"data/train.csv": table()},
    ),
    "one class": Mistake(
        f"{T} t.csv",
        "only one class, 'pos'; add examples of another class",
        f"{T} t.csv",
        {"t.csv": table().replace("neg", "pos")},
        TABLE,
    ),
    "few examples": Mistake(
        f"{T} data",
        r"or increase (data.validation_fraction)",
        f"{T} data --set {{1}}=0.5",
        {"data/train.csv": "text,label\ngood,pos\nbad,neg\nbest,pos\nworst,neg\n"},
    ),
    "no examples": Mistake(
        f"{T} t.csv", "no examples; expected at least one", f"{T} t.csv", {"t.csv": "text,label\n"}, TABLE
    ),
    "one tag": Mistake(
        "train tagging t.jsonl",
        r"name the right column with (--set data.tag_column)=NAME",
        "train tagging t.jsonl {1}=pos",
        {
            "t.jsonl": lines(
                tokens=lambda i: ["a", str(i)], upos=lambda i: ["X", "X"], pos=lambda i: ["A", "B"]
            )
        },
    ),
    "a side is missing": Mistake(
        "train translation a.en --set data.source=en --set data.target=de",
        r"(a\.de): no such file",
        "train translation a.en --set data.source=en --set data.target=de",
        {"a.en": "one\ntwo\n" * 20},
        {"a.de": "eins\nzwei\n" * 20},
    ),
    "long pairs": Mistake(
        "train translation t.jsonl --set text.max_length=2",
        r"a larger value, or (0) for no limit",
        "train translation t.jsonl --set text.max_length={1}",
        {"t.jsonl": lines(source=text, target=text)},
    ),
    # layouts
    "rows that cannot be read": Mistake(
        "datasets prepare t.csv",
        r"'textrnn (datasets check) DATA (--all)' lists all",
        "{1} t.csv {2}",
        {"t.csv": table() + "".join(f"bad {i}\n" for i in range(5))},
        shows=r"t\.csv:42.*t\.csv:43.*t\.csv:44.*t\.csv:45.*t\.csv:46",
    ),
    "an encoding that is not UTF-8": Mistake(
        "datasets prepare t.csv",
        r"(--set data\.encoding=\S+)",
        "datasets prepare t.csv {1}",
        {"t.csv": table().replace("film", "très").encode("windows-1252")},
    ),
    "UTF-16 without a mark": Mistake(
        "datasets prepare t.csv",
        r"(--set data\.encoding=\S+)",
        "datasets prepare t.csv {1}",
        {"t.csv": table().encode("utf-16-le")},
    ),
    "an unknown encoding": Mistake(
        "datasets prepare t.csv --set data.encoding=latin1252",
        r"such as (utf-8)",
        "datasets prepare t.csv --set data.encoding={1}",
        TABLE,
    ),
    "another encoding than the stated one": Mistake(
        "datasets prepare t.csv --set data.encoding=ascii",
        r"perhaps (--set data\.encoding=\S+)",
        "datasets prepare t.csv {1}",
        {"t.csv": table().replace("film", "très")},
    ),
    "a delimiter of two characters": Mistake(
        "datasets prepare t.csv --set data.delimiter=ab",
        r"one of (comma)",
        "datasets prepare t.csv --set data.delimiter={1}",
        TABLE,
    ),
    "columns without names": Mistake(
        "datasets prepare t.csv",
        r"by number, e\.g\. (--set [\w.]+=\d --set [\w.]+=\d)",
        "datasets prepare t.csv {1}",
        {"t.csv": "".join(f"{i},{text(i)},{label(i)}\n" for i in range(40))},
    ),
    "predict: columns without names": Mistake(
        "predict run t.csv",
        r"by number, e\.g\. (--text-column \d)",
        "predict run t.csv {1}",
        {"t.csv": "".join(f"{i},{text(i)},{label(i)}\n" for i in range(40))},
    ),
    "predict: another encoding": Mistake(
        "predict run t.txt",
        r"(--set data\.encoding=\S+)",
        "predict run t.txt {1}",
        {"t.txt": "Très bon\n".encode("latin-1")},
    ),
    # vectors
    "vectors of another size": Mistake(
        f"{EMBEDDINGS}=5",
        "give (--set model.embedding_size=3)",
        f"{EMBEDDINGS}=5 {{1}}",
        TABLE | {"v.txt": VECTORS},
    ),
    "vectors of word2vec of another size": Mistake(
        f"{EMBEDDINGS}=5",
        "give (--set model.embedding_size=3)",
        f"{EMBEDDINGS}=5 {{1}}",
        TABLE | {"v.txt": f"3 3\n{VECTORS}"},
    ),
    "vectors cut off": Mistake(
        f"{EMBEDDINGS}=3",
        "the last line is cut off; .* or delete the line",
        f"{EMBEDDINGS}=3",
        TABLE | {"v.txt": f"{VECTORS}dull 1 2"},
        {"v.txt": VECTORS},
    ),
    "vectors that are not finite": Mistake(
        f"{EMBEDDINGS}=3",
        "v.txt:4: the vector has the value nan.* delete the line",
        f"{EMBEDDINGS}=3",
        TABLE | {"v.txt": f"{VECTORS}dull 1 2 nan\n"},
        {"v.txt": VECTORS},
    ),
    "vectors that are no numbers": Mistake(
        f"{EMBEDDINGS}=3",
        "v.txt:4: not a word vector.* delete the line",
        f"{EMBEDDINGS}=3",
        TABLE | {"v.txt": f"{VECTORS}dull 1 2 x\n"},
        {"v.txt": VECTORS},
    ),
    "a wrong header of vectors": Mistake(
        f"{EMBEDDINGS}=3",
        "correct the header, or delete it",
        f"{EMBEDDINGS}=3",
        TABLE | {"v.txt": f"3 300\n{VECTORS}"},
        {"v.txt": VECTORS},
    ),
    "fewer vectors than the header says": Mistake(
        f"{EMBEDDINGS}=3",
        "or delete the first line",
        f"{EMBEDDINGS}=3",
        TABLE | {"v.txt": f"300 3\n{VECTORS}"},
        {"v.txt": VECTORS},
    ),
    "vectors in binary": Mistake(
        f"{EMBEDDINGS}=3",
        "save vectors of word2vec or fastText in the text format",
        f"{EMBEDDINGS}=3",
        TABLE | {"v.txt": b"1 3\ngood \x00\x00\x80?\x00\x00\x00@\x00\x00@@\n"},
        {"v.txt": VECTORS},
    ),
    # runs
    "the run exists: resume": Mistake(
        f"{T} t.csv --run run",
        r"continue it with (--resume)",
        f"{T} reviews --run run --config run/config.toml {{1}}",
        TABLE,
    ),
    "the run exists: another": Mistake(
        f"{T} t.csv --run run", r"another (--run)", f"{T} t.csv {{1}} other", TABLE
    ),
    "a folder that is no run": Mistake(
        f"{T} t.csv --run data",
        r"not a run directory; give another (--run)",
        f"{T} t.csv {{1}} other",
        TABLE | {"data/a.txt": "a"},
    ),
    "resume without a run": Mistake(
        f"{T} reviews --resume", r"needs (--run)", f"{T} reviews --config run/config.toml --resume {{1}} run"
    ),
    "no run": Mistake(
        "evaluate data", "directory created by 'textrnn train'", "evaluate run", {"data/a": "a"}
    ),
    # evaluation
    "evaluate: another column": Mistake(
        "evaluate run --data t.csv --split all",
        r"there is 'text', '(stars)'.*(--set data.label_column)=NAME",
        "evaluate run --data t.csv --split all {2}={1}",
        {"t.csv": table("text,stars").replace("pos", "positive").replace("neg", "negative")},
    ),
    "evaluate: a key of the model": Mistake(
        "evaluate run --data t.csv --set data.label_colum=stars",
        r"did you mean '([\w.]+)'",
        "evaluate run --data t.csv --split all --set {1}=stars",
        {"t.csv": table("text,stars").replace("pos", "positive").replace("neg", "negative")},
    ),
    "evaluate: settings without data": Mistake(
        "evaluate run --set data.delimiter=,",
        r"with (--data)",
        "evaluate run {1} t.csv --set data.delimiter=, --split all",
        {"t.csv": table().replace("pos", "positive").replace("neg", "negative")},
    ),
    "evaluate: no such split": Mistake(
        "evaluate run --split dev", r"there is \w+, (\w+)", "evaluate run --split {1} --no-baseline"
    ),
    "evaluate: an export without data": Mistake(
        "evaluate export", r"with (--data)", "evaluate export {1} reviews --no-baseline"
    ),
    # prediction
    "predict: another column": Mistake(
        "predict run t.csv",
        r"there is '(review)'.*(--text-column) NAME",
        "predict run t.csv {2} {1}",
        {"t.csv": "review\ngood\n"},
    ),
    "predict: an unknown suffix": Mistake(
        "predict run notes.md",
        r"give (--format txt)",
        "predict run notes.md {1}",
        {"notes.md": "good\nbad\n"},
    ),
    "predict: no suffix": Mistake(
        "predict run notes", r"give (--format txt)", "predict run notes {1}", {"notes": "good\nbad\n"}
    ),
    "predict: a document of an office program": Mistake(
        "predict run a.docx",
        r"unpack it, and give the files in it",
        "predict run a.txt",
        {"a.docx": b"PK\x03\x04\x14\x00\x00\x00"},
        {"a.txt": "good\n"},
    ),
    "predict: a setting of the network": Mistake(
        "predict run in.csv --set model.units=4",
        r"how files are read: .*(data\.text_column)",
        "predict run in.csv --set {1}=review",
        {"in.csv": "review\ngood\n"},
    ),
    "predict: beam search": Mistake(
        "predict run in.txt --beam 2",
        "a classification model has no beam search",
        "predict run in.txt",
        {"in.txt": "good\n"},
    ),
    # generation, inspection, export, serving
    "generate with a classifier": Mistake(
        "generate run", r"use 'textrnn (predict)'", "{1} run in.txt", {"in.txt": "good\n"}
    ),
    "an empty prompt": Mistake(
        "generate run --prompt ''", "give a text", "predict run in.txt", {"in.txt": "good\n"}
    ),
    "inspect the layers of an export": Mistake("inspect export", r"pass the (run)", "inspect {1}"),
    "inspect a text without tokens": Mistake(
        "inspect run ' '", "give a text to classify", "inspect run good --json"
    ),
    "inspect to an unknown format": Mistake(
        "inspect translator one --output a.jpg", r"ends with (\.png)", "inspect translator one --output a{1}"
    ),
    "export over a file": Mistake(
        "export run --output in.txt", "expected a directory", "export run --output out", {"in.txt": "good\n"}
    ),
    "export over a version": Mistake(
        "export run --output exports --version 1", r"none for (\d)", "export run --output exports"
    ),
    "verify a run": Mistake(
        "verify run", "directory created by 'textrnn export'", "verify export --no-replay"
    ),
}


@pytest.fixture
def _begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a training end when it begins."""

    def events(fit: Any) -> None:
        raise UserError(BEGINS)

    monkeypatch.setattr(Fit, "events", events)


@pytest.fixture
def workplace(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reviews: Path,
    run: Path,
    exported: Path,
    translator: Path,
) -> Path:
    """Return an empty working directory with links to data and models."""
    for name, path in (("reviews", reviews), ("run", run), ("export", exported), ("translator", translator)):
        (tmp_path / name).symlink_to(path)
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports/1").symlink_to(exported)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(files: Mapping[str, str | bytes]) -> None:
    """Write files into the working directory."""
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


def run_command(command: Command, typed: str) -> Result:
    """Run a command; a training gets a small network and a run directory."""
    words = shlex.split(typed)
    if words[0] == "train" and "--resume" not in words:
        words[3:3] = ["--set", "model.units=4"]
        words += [] if "--run" in words else ["--run", "new"]
    return command(*words)


@pytest.mark.usefixtures("_begun", "workplace")
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_the_advice_works(command: Command, mistake: Mistake) -> None:
    """The mistake ends in one line with advice; the command that follows it gets as far as it should."""
    write(mistake.files)
    before = run_command(command, mistake.command)

    assert before.exit_code in (1, 2), before.output
    assert before.stderr.count("\n") == 1
    found = re.search(mistake.said, before.stderr)
    assert found, before.stderr

    write(mistake.mended)
    after = run_command(command, mistake.then.format(found[0], *found.groups()))

    if mistake.shows:
        assert re.search(mistake.shows, after.output, re.DOTALL), after.output
    else:
        assert after.exit_code == 0 or BEGINS in after.stderr, after.output
