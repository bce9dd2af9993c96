"""`python -m app.beam`: the predictions of `textrnn predict`, in shards, on the DirectRunner."""

from __future__ import annotations

import gzip
import json
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf
from beam_jobs import Job
from click.testing import CliRunner, Result

from app.beam import handler
from app.beam.command import main
from app.beam.pipeline import checked_options
from app.prediction.predictor import Predictor

Command = Callable[..., Result]

TEXTS = ("A good film.", "A bad, bad film:\nno plot.", "", "Très bien…", " ".join(["good"] * 90))


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def examples(count: int) -> list[dict[str, Any]]:
    """Return texts of many lengths."""
    chance = random.Random(0)
    words = ("good", "bad", "film", "soup", "the", "is", "dull", "charming", ",", "!")
    return [{"text": " ".join(chance.choices(words, k=chance.choice((1, 3, 9, 40))))} for _ in range(count)]


def predicted(command: Command, model: Path, *files: Path, options: Sequence[str] = ()) -> list[str]:
    """Return the lines that `textrnn predict` prints, without those of rows that cannot be read."""
    lines = [line for file in files for line in command("predict", model, file, *options).stdout.splitlines()]
    return [line for line in lines if "error" not in json.loads(line)]


@pytest.mark.parametrize("task", ["classification", "tagging", "translation", "generation"])
def test_predictions_are_those_of_predict(
    command: Command, exports: dict[str, Path], job: Job, tmp_path: Path, task: str
) -> None:
    """Of each task, the sorted lines of all shards are the sorted lines of `textrnn predict`."""
    column = "source" if task == "translation" else "text"
    rows = [{column: row["text"]} for row in examples(30)]
    files = [written(tmp_path / f"{n}.jsonl", rows[n::2]) for n in (0, 1)]

    done = job(exports[task], tmp_path / "*.jsonl", "--shards", 3)

    assert done.status == 0, done.stderr
    assert sorted(done.lines) == sorted(predicted(command, exports[task], *files))
    assert done.shards == [f"p-0000{n}-of-00003.jsonl" for n in range(3)]
    assert done.counters["rows"] == 30


def _tfrecord(path: Path) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for text in TEXTS:
            value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
            example = tf.train.Example(features=tf.train.Features(feature={"text": value}))
            writer.write(example.SerializeToString())


def _jsonl() -> bytes:
    return "".join(f"{json.dumps({'text': text})}\n" for text in TEXTS).encode()


def _csv() -> bytes:
    return ("label,text\n" + "".join(f'x,"{text}"\n' for text in TEXTS)).encode()


WRITERS: dict[str, Callable[[Path], object]] = {
    "in.csv": lambda path: path.write_bytes(_csv()),
    "in.jsonl": lambda path: path.write_bytes(_jsonl()),
    "in.jsonl.gz": lambda path: path.write_bytes(gzip.compress(_jsonl())),
    "in.parquet": lambda path: pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS}), path),
    "in.txt": lambda path: path.write_text("".join(f"{json.dumps(text)}\n" for text in TEXTS)),
    "in.tfrecord-00000-of-00001": _tfrecord,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format(
    command: Command, exports: dict[str, Path], job: Job, tmp_path: Path, name: str
) -> None:
    """The same texts in any format have the same predictions, also with line breaks in cells."""
    WRITERS[name](tmp_path / name)
    (tmp_path / "expected.jsonl").write_bytes(_jsonl())
    same = tmp_path / (name if name == "in.txt" else "expected.jsonl")

    done = job(exports["classification"], tmp_path / name)

    assert done.status == 0, done.stderr
    assert sorted(done.lines) == sorted(predicted(command, exports["classification"], same))
    assert len(done.lines) == len(TEXTS)


def test_tagged_tokens_of_tfrecords(
    command: Command, exports: dict[str, Path], job: Job, tmp_path: Path
) -> None:
    """A feature with several values is a list; so is one with a single value where tokens are expected."""
    rows: list[dict[str, Any]] = [{"tokens": ["A", "good", "film"]}, {"tokens": ["Rome"]}]
    file = written(tmp_path / "in.jsonl", rows)
    with tf.io.TFRecordWriter(str(tmp_path / "in.tfrecord")) as writer:
        for row in rows:
            value = tf.train.BytesList(value=[token.encode() for token in row["tokens"]])
            features = tf.train.Features(feature={"tokens": tf.train.Feature(bytes_list=value)})
            writer.write(tf.train.Example(features=features).SerializeToString())

    done = job(exports["tagging"], tmp_path / "in.tfrecord")

    assert done.status == 0, (done.stderr, done.failures)
    assert sorted(done.lines) == sorted(predicted(command, exports["tagging"], file))


def test_failures_do_not_end_the_job(exports: dict[str, Path], job: Job, tmp_path: Path) -> None:
    """Rows and files that cannot be read are written with the reason, and counted; the rest is done."""
    (tmp_path / "a.csv").write_text("text,label\ngood,x\ntoo,many,cells\nbad,y\n")
    (tmp_path / "b.csv").write_text("review\ngood\n")
    (tmp_path / "c.tfrecord").write_bytes(b"\x00" * 40)
    with tf.io.TFRecordWriter(str(tmp_path / "d.tfrecord")) as writer:
        writer.write(b"\xff\xff")

    done = job(exports["classification"], tmp_path / "*.*")

    assert (done.status, len(done.lines)) == (1, 2)
    failures = {Path(each["file"]).name: (each["line"], each["error"]) for each in done.failures}
    assert failures["a.csv"] == (3, "columns: 3; in the header: 2")
    assert failures["b.csv"][0] is None
    assert failures["b.csv"][1].startswith("no column 'text'; there is 'review'")
    assert failures["c.tfrecord"][0] is None
    assert "incomplete or damaged" in failures["c.tfrecord"][1]
    assert failures["d.tfrecord"] == (1, "not a tf.train.Example")
    names = ("files", "failed_files", "rows", "failed_rows")
    assert [done.counters[name] for name in names] == [4, 2, 4, 2]
    assert "2 of the examples could not be predicted, and 2 of the files could not be read" in done.stderr


def test_one_example_that_fails(
    exports: dict[str, Path], job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in computing a batch costs only the example that causes it."""
    rows = examples(9)
    rows[4] = {"text": "poison"}
    written(tmp_path / "in.jsonl", rows)
    run = Predictor.run

    def poisoned(self: Predictor, signature: str, inputs: Any, **options: Any) -> Any:
        if b"poison" in inputs["text"]:
            raise tf.errors.InvalidArgumentError(None, None, "a poisoned text\nmore")
        return run(self, signature, inputs, **options)

    monkeypatch.setattr(Predictor, "run", poisoned)

    done = job(exports["classification"], tmp_path / "in.jsonl", "--errors", tmp_path / "out" / "own-errors")

    assert (done.status, len(done.lines)) == (1, 8)
    assert done.failures == [{"file": str(tmp_path / "in.jsonl"), "line": 5, "error": "a poisoned text"}]
    assert "own-errors-00000-of-00001.jsonl" in done.shards


def test_source_and_columns(exports: dict[str, Path], job: Job, tmp_path: Path) -> None:
    """File and line of an example are added on request; column and layout are chosen as with predict."""
    (tmp_path / "in.csv").write_text("good;x\nbad;y\n")

    layout = ("--set", "data.header=false", "--set", "data.delimiter=;")
    done = job(exports["classification"], tmp_path / "in.csv", "--with-source", "--text-column", "1", *layout)

    lines = [json.loads(line) for line in done.lines]
    assert sorted((line["file"], line["line"]) for line in lines) == [
        (str(tmp_path / "in.csv"), n) for n in (1, 2)
    ]
    assert list(lines[0]) == ["file", "line", "label", "score", "probabilities"]


@pytest.mark.parametrize("task", ["classification", "tagging", "translation", "generation"])
def test_parquet(command: Command, exports: dict[str, Path], job: Job, tmp_path: Path, task: str) -> None:
    """Parquet has the fields of the JSON lines, with null where a prediction has none."""
    file = written(tmp_path / "in.jsonl", [{"text": row["text"]} for row in examples(12)])

    done = job(exports[task], file, "--output-format", "parquet", "--with-source")

    assert done.status == 0, done.stderr
    tables = [pyarrow.parquet.read_table(path) for path in sorted((tmp_path / "out").glob("p-*.parquet"))]
    rows = sorted(pyarrow.concat_tables(tables).to_pylist(), key=lambda row: int(row["line"]))
    expected = [json.loads(line) for line in predicted(command, exports[task], file)]
    for number, (row, line) in enumerate(zip(rows, expected, strict=True), 1):
        assert (row.pop("file"), row.pop("line")) == (str(file), number)
        assert _without_nulls(row) == _without_nulls(line)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(own) for name, own in value.items() if own is not None}
    return [_without_nulls(own) for own in value] if isinstance(value, list) else value


def test_rejected_labels(command: Command, exports: dict[str, Path], job: Job, tmp_path: Path) -> None:
    """A label with a score below --reject-below is null, as with predict."""
    file = written(tmp_path / "in.jsonl", examples(8))

    done = job(exports["classification"], file, "--reject-below", 1)

    expected = predicted(command, exports["classification"], file, options=("--reject-below", "1"))
    assert sorted(done.lines) == sorted(expected)
    assert {json.loads(line)["label"] for line in done.lines} == {None}


def test_batches_by_cost(
    exports: dict[str, Path], job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch has examples up to a cost; one that costs more is alone. The counters have their sizes."""
    monkeypatch.setattr(handler, "BATCH_COST", 40)
    written(tmp_path / "in.jsonl", [{"text": "x" * 9}] * 8 + [{"text": "y" * 99}])

    done = job(exports["classification"], tmp_path / "in.jsonl")

    assert done.counters["bytes"] == 8 * 10 + 100
    assert done.counters["batch_rows"]["max"] == 4
    assert done.counters["batches"] in (3, 4)  # the long text may divide the others


@pytest.mark.parametrize("mode", ["multi_threading", "multi_processing"])
def test_two_workers(command: Command, exports: dict[str, Path], job: Job, tmp_path: Path, mode: str) -> None:
    """Two workers have the predictions of one; the options of the runner reach it."""
    file = written(tmp_path / "in.jsonl", examples(40))

    done = job(
        exports["classification"],
        file,
        *("--runner", "DirectRunner", "--direct_num_workers", 2, f"--direct_running_mode={mode}"),
    )

    assert done.status == 0, done.stderr
    assert sorted(done.lines) == sorted(predicted(command, exports["classification"], file))
    assert done.counters["batches"] == 2  # each worker has a part of the rows


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "pattern": (("--input", "none/*.csv"), "no file matches; give a file, or a pattern such as 'data/*.csv'"),
    "filesystem": (("--input", "no://bucket/*"), "cannot be read: Unable to get filesystem"),
    "expanded pattern": (("second.csv",), "'second.csv' is neither an option nor the value of one; quote"),
    "value": (("--direct_num_workers=many",), "invalid int value: 'many'"),
    "model": (("--model", "none"), "none is not an export: it has no saved_model.pb"),
    "override": (("--set", "model.units=3"), "model.units"),
    "beam": (("--beam", "3"), "a classification model has no beam search"),
    "option": (("--output-format", "csv"), "'csv' is not one of"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_mistakes_are_one_line(exports: dict[str, Path], job: Job, tmp_path: Path, name: str) -> None:
    """A mistake is found before the job begins, and is one line."""
    options, expected = REFUSED[name]
    file = written(tmp_path / "in.jsonl", examples(1))

    done = job(exports["classification"], file, *options)

    assert done.status in (1, 2)
    assert done.stderr.startswith("Error: ")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.shards


def test_shards_of_another_job(exports: dict[str, Path], job: Job, tmp_path: Path) -> None:
    """Shards are not mixed with those of an earlier job."""
    file = written(tmp_path / "in.jsonl", examples(2))
    assert job(exports["classification"], file).status == 0

    done = job(exports["classification"], file, "--shards", 2)

    assert done.status == 1
    assert "p-00000-of-00001.jsonl exists; delete it, or give another prefix" in done.stderr
    assert len(done.shards) == 1


def test_a_job_that_fails_is_one_line(
    exports: dict[str, Path], job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason why a worker cannot do its work is reported in one line."""

    def refuse(*_: object) -> Predictor:
        raise handler.UserError("the export was changed")

    monkeypatch.setattr(handler, "load_checked", refuse)

    done = job(exports["classification"], written(tmp_path / "in.jsonl", examples(2)))

    assert (done.status, done.stderr.splitlines()[-1]) == (1, "Error: the export was changed")


def test_changed_exports_are_refused(exports: dict[str, Path], job: Job, tmp_path: Path) -> None:
    """An export is checked before it is loaded."""
    export = tmp_path / "export"
    shutil.copytree(exports["classification"], export)
    with (export / "saved_model.pb").open("ab") as file:
        file.write(b"\x00")

    done = job(export, written(tmp_path / "in.jsonl", examples(1)))

    assert done.status == 1
    assert "saved_model.pb was changed" in done.stderr


def test_without_apache_beam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Apache Beam the extra is named."""
    monkeypatch.delitem(sys.modules, "app.beam.pipeline")
    monkeypatch.setitem(sys.modules, "apache_beam", None)

    result = CliRunner().invoke(main, ["--model", "m", "--input", "i", "--output", "o"])

    expected = "Error: python -m app.beam needs apache_beam; pip install 'textrnn[beam]'\n"
    assert (result.exit_code, result.stderr) == (1, expected)


def test_help_is_fast(process: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    """Help is printed without TensorFlow and Apache Beam; options of runners are shown as such."""
    program = "import sys; from app.beam.command import main\n"
    program += "try: main(['--help'])\nexcept SystemExit: pass\n"
    program += "assert not {'tensorflow', 'apache_beam'} & set(sys.modules)"

    done = process("-c", program, cwd=tmp_path)

    assert not done.returncode, done.stderr
    assert "[--RUNNER_OPTION VALUE]..." in done.stdout


def test_commands_of_the_documentation() -> None:
    """Every command of docs/beam.md has the options that the page gives it."""
    page = (Path(__file__).parents[3] / "docs" / "beam.md").read_text(encoding="utf-8")
    commands = [line for line in page.splitlines() if line.startswith("python -m app.beam ")]

    assert len(commands) >= 5
    for line in commands:
        context = main.make_context("app.beam", shlex.split(line)[3:])
        assert checked_options(context.params["pipeline_options"]) is not None
        assert context.params["patterns"]
