"""What `predict` reads: the formats of its task, folders and encodings; it refuses what it does not know."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from click.testing import Result
from trained import PLAIN

import app.evaluate
import app.prediction.loading
from app.config import TaskConfig
from app.prediction.loading import load_predictor
from app.train import train

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]

TEXTS = ("The plot is charming.", "Très ennuyeux, ce film.")
ROWS = [{"text": text, "label": "positive"} for text in TEXTS]


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Load each model once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(load_predictor)
        patch.setattr(app.prediction.loading, "load_predictor", once)
        patch.setattr(app.evaluate, "load_predictor", once)
        yield


def lines_of(result: Result) -> list[dict[str, Any]]:
    """Return the predictions that a command printed without an error."""
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def expected(command: Command, run: Path) -> list[dict[str, Any]]:
    """Return the predictions for the texts."""
    return lines_of(command("predict", run, stdin="\n".join(TEXTS)))


def _arrow(parquet: bool) -> bytes:
    table = pyarrow.Table.from_pylist(ROWS)
    file = io.BytesIO()
    if parquet:
        pyarrow.parquet.write_table(table, file)
    else:
        with pyarrow.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    return file.getvalue()


JSONL = "".join(f"{json.dumps(row)}\n" for row in ROWS)
CSV = f'text,label\n{TEXTS[0]},x\n"{TEXTS[1]}",\n'
SEMICOLONS = f"label;text\nx;{TEXTS[0]}\n;{TEXTS[1]}\n"
FASTTEXT = f"__label__x {TEXTS[0]}\n__label__x __label__y {TEXTS[1]}\n"
READ: list[tuple[str, str | bytes, tuple[str, ...]]] = [
    ("in.jsonl", JSONL, ()),
    ("in.ndjson", JSONL, ()),
    ("in.json", json.dumps(ROWS), ()),
    ("in.json", json.dumps({"text": TEXTS}), ()),
    ("in.jsonl", json.dumps(ROWS, indent=1), ()),
    ("in.csv", CSV, ()),
    ("in.csv", SEMICOLONS, ()),
    ("in.csv", SEMICOLONS.encode("utf-16"), ()),
    ("in.csv", SEMICOLONS.encode("latin-1"), ("--set", "data.encoding=latin-1")),
    ("in.csv", SEMICOLONS.replace(";", "§"), ("--set", "data.delimiter=§")),
    ("in.csv", SEMICOLONS.replace("text", "film"), ("--set", "data.text_column=film")),
    ("in.csv", SEMICOLONS.replace("text", "film"), ("--text-column", "film")),
    ("in.csv", SEMICOLONS.replace("text", "film"), ("--text-column", "2")),
    ("in.tsv", f"1\t{TEXTS[0]}\n2\t{TEXTS[1]}\n", ("--text-column", "2")),
    ("in.tsv", "\n".join(TEXTS), ("--set", "data.header=false")),
    ("in.parquet", _arrow(parquet=True), ()),
    ("in.arrow", _arrow(parquet=False), ()),
    ("in.feather", _arrow(parquet=False), ()),
    ("in.ft", FASTTEXT, ()),
    ("in.txt", FASTTEXT, ()),
    ("in.txt", JSONL, ()),
    ("in.txt", "\n".join(TEXTS), ()),
    ("in.txt", "\r\n".join(TEXTS).encode("utf-16"), ()),
    ("in.txt", "\r".join(TEXTS), ()),
    ("in.md", "\n".join(TEXTS), ("--format", "txt")),
    ("in", JSONL, ("--format", "jsonl")),
    ("in.dat", CSV, ("--format", "csv")),
    ("in.jsonl.gz", gzip.compress(JSONL.encode()), ()),
    ("in.jsonl.bz2", bz2.compress(JSONL.encode()), ()),
    ("in.csv.xz", lzma.compress(CSV.encode()), ()),
    ("in.csv.zst", zstandard.compress(CSV.encode()), ()),
    ("in.txt", gzip.compress("\n".join(TEXTS).encode()), ()),
]


@pytest.mark.parametrize(
    ("name", "content", "options"), READ, ids=[f"{i} {r[0]}" for i, r in enumerate(READ)]
)
def test_what_is_read(
    command: Command,
    run: Path,
    tmp_path: Path,
    expected: list[dict[str, Any]],
    name: str,
    content: str | bytes,
    options: tuple[str, ...],
) -> None:
    """Texts have the same predictions in every format, encoding and compression; labels are ignored."""
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    assert lines_of(command("predict", run, tmp_path / name, *options)) == expected


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.md", b"good\n", "--format txt"),
        ("in.log", b"good\n", "--format txt"),
        ("in", b"good\n", "--format txt"),
        ("in.html", b"<p>good</p>\n", "--format txt"),
        ("in.conllu", b"1\tgood\t_\tADJ\t_\t_\t0\troot\t_\t_\n", "--format txt"),
        ("in.conll", b"good ADJ\nfilm NOUN\n", "--format txt"),
        ("in.docx", b"PK\x03\x04" + bytes(30), "ZIP"),
        ("in.xlsx", b"PK\x03\x04" + bytes(30), "ZIP"),
        ("in.pdf", b"%PDF-1.4\n", "PDF"),
        ("in.png", b"\x89PNG\r\n\x1a\n", "PNG"),
        ("in.txt", b"PK\x03\x04" + bytes(30), "ZIP"),
        ("in.txt", bytes(range(256)) * 4, "binary"),
    ],
)
def test_what_is_refused(
    command: Command, run: Path, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    """A file that is not of the formats of the task is refused as a whole; nothing is answered."""
    (tmp_path / name).write_bytes(content)

    result = command("predict", run, tmp_path / name)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {tmp_path / name}: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.csv", "text\ngood\n\nbad\n\n"),
        ("in.csv", "text,label\ngood,x\n,\nbad,x\n\n\n"),
        ("in.tsv", "label\ttext\nx\tgood\n\t\nx\tbad\n \n"),
        ("in.jsonl", '{"text": "good"}\n\n{"text": "bad"}\n \n'),
        ("in.ndjson", '\n{"text": "good"}\n{"text": "bad"}\n\n'),
        ("in.ft", "__label__x good\n\n__label__x bad\n\n"),
        ("in.csv", "text,label\ngood,x\ntext,label\nbad,x\n"),
    ],
)
def test_rows_that_are_no_examples(
    command: Command, run: Path, tmp_path: Path, name: str, content: str
) -> None:
    """Blank lines of tables and JSON lines, and repeated headers, have no prediction and are no errors."""
    (tmp_path / name).write_text(content)

    assert lines_of(command("predict", run, tmp_path / name)) == lines_of(
        command("predict", run, stdin="good\nbad\n")
    )


def test_blank_lines_of_texts(command: Command, run: Path, tmp_path: Path) -> None:
    """In a `.txt` file a blank line is a text."""
    (tmp_path / "in.txt").write_text("good\n\nbad\n\n")

    assert len(lines_of(command("predict", run, tmp_path / "in.txt"))) == 4


def test_another_layout_than_that_of_the_training(
    command: Command, configured: Configured, reviews: Path, tmp_path: Path
) -> None:
    """Encoding, delimiter and header that were set for the training are not those of other files."""
    rows = [json.loads(line) for line in (reviews / "train.jsonl").read_text().splitlines()]
    content = "\n".join(f"{row['label']}§{row['text']}" for row in rows)
    (tmp_path / "data.csv").write_text(content, encoding="utf-16-le")
    options = (
        *("data.encoding=utf-16-le", "data.delimiter=§", "data.header=false"),
        *("data.text_column=2", "data.label_column=1"),
    )
    train("classification", str(tmp_path / "data.csv"), configured(*PLAIN, *options), run=tmp_path / "run")
    (tmp_path / "in.csv").write_text("label,text\npositive,good\nnegative,bad\npositive,fine\n")
    (tmp_path / "in.tsv").write_text("positive\tgood\nnegative\tbad\npositive\tfine\n")

    found = [command("predict", tmp_path / "run", tmp_path / name) for name in ("in.csv", "in.tsv")]
    evaluated = [
        command("evaluate", tmp_path / "run", "--data", tmp_path / name, "--split", "all", "--json")
        for name in ("in.csv", "in.tsv")
    ]

    assert lines_of(found[0]) == lines_of(found[1])
    assert "in.csv: the first row is read as a header; if it is an example, give --set data.header=false" in (
        found[0].stderr
    )
    assert found[1].stderr == ""
    assert [json.loads(result.stdout)["examples"] for result in evaluated] == [3, 3], evaluated[0].stderr
    assert json.loads(evaluated[0].stdout)["loss"] == json.loads(evaluated[1].stdout)["loss"]
    assert command("evaluate", tmp_path / "run", "--no-baseline").exit_code == 0


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.units=4", "data.text_column, data.label_column"),
        ("data.directory=x", "data.encoding"),
        ("data.validation_fraction=0.5", "data.delimiter"),
        ("data.textcolumn=x", "did you mean 'data.text_column'"),
        ("seed=1", "data.header"),
        ("data.header=yes", "expected one of auto, true, false"),
        ("data.encoding", "KEY=VALUE, e.g. --set data.encoding=latin-1"),
    ],
)
def test_settings_that_a_model_does_not_take(
    command: Command, run: Path, reviews: Path, verb: str, setting: str, said: str
) -> None:
    """A model takes the keys of columns and layout only; the error names them."""
    data = [reviews / "test.jsonl"] if verb == "predict" else ["--data", reviews / "test.jsonl"]

    result = command(verb, run, *data, "--set", setting)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr


def test_evaluation_of_other_columns(command: Command, run: Path, tmp_path: Path) -> None:
    """`evaluate` names columns and layout of other data as `train` does."""
    (tmp_path / "in.csv").write_bytes("stars§film\npositive§Très bon\nnegative§bad\n".encode("latin-1"))
    options = ("encoding=latin-1", "delimiter=§", "text_column=film", "label_column=stars")
    settings = [word for option in options for word in ("--set", f"data.{option}")]

    result = command(
        "evaluate", run, "--data", tmp_path / "in.csv", "--split", "all", "--json", "--no-baseline", *settings
    )

    assert json.loads(result.stdout)["examples"] == 2, result.stderr


# Folders


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write files into a folder and return it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_a_folder_of_texts(command: Command, run: Path, tmp_path: Path) -> None:
    """Each `.txt` file is one text; the prediction names it."""
    one, two = "The plot is charming.\n\nThe acting is dull.\n", "Bad.\n"
    folder = write(tmp_path / "in", {"b.txt": one, "a.txt": two, "c.txt": "", ".hidden.txt": "no"})

    found = lines_of(command("predict", run, folder))

    assert [line["file"] for line in found] == ["a.txt", "b.txt", "c.txt"]
    assert [list(line)[:2] for line in found] == [["file", "label"]] * 3
    (tmp_path / "texts.jsonl").write_text(
        "".join(json.dumps({"text": t}) + "\n" for t in ("Bad.", one[:-1], ""))
    )
    alone = lines_of(command("predict", run, tmp_path / "texts.jsonl"))
    assert [{**line, "file": ""} for line in alone] == [{**line, "file": ""} for line in found]


def test_a_folder_for_each_class(command: Command, run: Path, tmp_path: Path) -> None:
    """Texts of nested folders are read; files next to the folders are named as not read."""
    texts: dict[str, str | bytes] = {
        f"test/{name}/{i}_1.txt": f"film {i}" for name in ("pos", "neg") for i in range(5)
    }
    folder = write(
        tmp_path / "in",
        {**texts, "test/urls_pos.txt": "http://x\n", "test/words.feat": "1:2\n", "README": "x"},
    )

    result = command("predict", run, folder)

    assert [line["file"] for line in lines_of(result)] == sorted(texts)
    left = "README, test/urls_pos.txt, test/words.feat"
    assert result.stderr == f"{folder}: not read: {left}; give a file as INPUT to read it alone\n"


def test_a_folder_of_texts_without_suffixes(command: Command, run: Path, tmp_path: Path) -> None:
    """Files without suffixes are texts if there are no others, as in the 20 Newsgroups."""
    folder = write(tmp_path / "in", {"sci.space/60161": "Orbits\n", "sci.med/58045": "Doctors\n"})

    assert [line["file"] for line in lines_of(command("predict", run, folder))] == [
        "sci.med/58045",
        "sci.space/60161",
    ]


def test_a_folder_of_shards(
    command: Command, run: Path, tmp_path: Path, expected: list[dict[str, Any]]
) -> None:
    """Of a folder without texts all files that can be read are read, in the order of their names."""
    shards: dict[str, str | bytes] = {
        "data/test-00000-of-00002.parquet": _arrow(parquet=True),
        "data/test-00001-of-00002.parquet": _arrow(parquet=True),
        "more.csv": CSV,
        "README.md": "# Reviews\n",
        "picture.png": b"\x89PNG\r\n\x1a\n",
    }
    folder = write(tmp_path / "in", shards)

    result = command("predict", run, folder)

    found = lines_of(result)
    assert [line.pop("file") for line in found] == [name for name in list(shards)[:3] for _ in range(2)]
    assert found == expected * 3
    assert "README.md, picture.png" in result.stderr


def test_a_text_of_a_folder_that_cannot_be_read(command: Command, run: Path, tmp_path: Path) -> None:
    """A damaged text has an error in its place, with its file."""
    folder = write(tmp_path / "in", {"a.txt": "good", "b.txt": b"PK\x03\x04" + bytes(9), "c.txt": b"caf\xe9"})

    result = command("predict", run, folder)

    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert [line["file"] for line in found] == ["a.txt", "b.txt", "c.txt"]
    assert ["error" in line for line in found] == [False, True, True]


@pytest.mark.parametrize("files", [{}, {"README.md": "x"}, {"a.png": b"\x89PNG\r\n\x1a\n"}])
def test_a_folder_without_data(
    command: Command, run: Path, tmp_path: Path, files: dict[str, str | bytes]
) -> None:
    """A folder in which nothing can be read is refused."""
    (tmp_path / "in").mkdir()

    result = command("predict", run, write(tmp_path / "in", files))

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {tmp_path / 'in'}: no file that a classification model reads")


def test_json_lines_on_stdin(command: Command, run: Path) -> None:
    """JSON objects on stdin are texts, as is said, unless a format is given."""
    plain = command("predict", run, stdin=JSONL)
    named = command("predict", run, "--format", "jsonl", stdin=JSONL)

    assert (
        plain.stderr == "stdin: JSON objects are read as texts; give --format jsonl to read their columns\n"
    )
    assert named.stderr == ""
    assert lines_of(plain) != lines_of(named)


def test_a_table_named_as_a_text(command: Command, run: Path, tmp_path: Path) -> None:
    """A `.txt` file that is a table is read as in training, as is said; `--format txt` reads its lines."""
    (tmp_path / "in.txt").write_text(SEMICOLONS)

    table = command("predict", run, tmp_path / "in.txt")
    texts = command("predict", run, tmp_path / "in.txt", "--format", "txt")

    assert len(lines_of(table)) == 2
    assert "in.txt: read as CSV" in table.stderr
    assert len(lines_of(texts)) == 3
