from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import textrnn

TEXTS = ["The plot is charming.", "", "dull 👍"]


@pytest.fixture(scope="module")
def model(run: Path) -> textrnn.Model:
    """Return a loaded run."""
    return textrnn.load(run)


def test_the_import_is_cheap() -> None:
    """`import textrnn` imports no large library."""
    code = (
        "import sys, textrnn; print(sorted({'tensorflow', 'keras', 'numpy', 'sklearn'} & sys.modules.keys()))"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_a_run_and_its_export(model: textrnn.Model, exported: Path, command: Any, run: Path) -> None:
    """Both predict what the command prints."""
    other = textrnn.load(exported)

    assert (model.task, model.labels) == ("classification", ["negative", "positive"])
    assert (other.task, other.labels) == (model.task, model.labels)
    found = model.predict(TEXTS)
    assert [p["label"] for p in other.predict(TEXTS)] == [p["label"] for p in found]
    printed = command("predict", run, stdin="".join(f"{text}\n" for text in TEXTS)).stdout
    assert [json.loads(line) for line in printed.splitlines()] == found
    assert model.predict([]) == []


def test_evaluation(model: textrnn.Model, exported: Path, command: Any, run: Path, reviews: Path) -> None:
    """The metrics are those of the command, of a run and of an export."""
    printed = json.loads(command("evaluate", run, "--json", "--no-baseline").stdout)

    assert model.evaluate(baseline=False) == printed
    assert textrnn.evaluate(run, baseline=False) == printed
    assert textrnn.load(exported).evaluate(reviews, baseline=False)["accuracy"] == printed["accuracy"]


def test_evaluation_of_other_columns(model: textrnn.Model, run: Path, tmp_path: Path) -> None:
    """`overrides` say how other data is read, as `--set` does, as a mapping or as strings."""
    path = tmp_path / "in.csv"
    path.write_bytes(
        "1§Très bon\n2§bad\n".replace("1", "positive").replace("2", "negative").encode("latin-1")
    )
    options = {
        "data.encoding": "latin-1",
        "data.delimiter": "§",
        "data.header": False,
        "data.text_column": 2,
        "data.label_column": "1",
    }

    found = model.evaluate(path, split="all", baseline=False, overrides=options)
    again = textrnn.evaluate(
        run,
        data=path,
        split="all",
        baseline=False,
        overrides=[f"{k}={str(v).lower()}" for k, v in options.items()],
    )

    assert found == again
    assert found["examples"] == 2
    with pytest.raises(textrnn.UserError, match="how files are read: data"):
        model.evaluate(path, overrides={"model.units": 3})
    with pytest.raises(textrnn.UserError, match="--data"):
        model.evaluate(overrides=options)


def test_an_export(model: textrnn.Model, tmp_path: Path) -> None:
    """`export` returns the directory of the new version."""
    assert model.export(tmp_path / "out") == tmp_path / "out/1"
    assert textrnn.load(tmp_path / "out").task == "classification"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda model: model.predict("one text"), "expected a list of strings, not one string"),
        (lambda model: model.predict(["a", b"b"]), "text 1 is not a string: b'b'"),
        (lambda model: model.predict(["\udc80"]), "text 0 cannot be encoded as UTF-8"),
        (lambda model: model.predict(["a"], beam=3), "beam"),
        (lambda model: model.score(["a"]), "a classification model does not score texts"),
        (lambda model: model.generate("a"), "does not generate text"),
        (lambda model: model.generate("a", width=3), "unknown option 'width' of generate; expected one of "),
        (lambda model: model.generate("a", beam=3, seed=1), "seed has no effect in beam search"),
        (lambda model: model.generate("a", length_penalty=0.5), "length_penalty has an effect in beam"),
        (lambda _: textrnn.load("missing"), "missing is not a run directory: no such directory"),
        (lambda _: textrnn.train("sorting", "x.csv"), "unknown task 'sorting'; expected one of classif"),
        (lambda _: textrnn.train("tagging", "x", overrides={"model.cell": {}}), "model.cell"),
        (lambda _: textrnn.train("tagging", "x", overrides={"model.cell": None}), "model.cell = None"),
        (
            lambda _: textrnn.train("tagging", "x", overrides={"model.cel": "gru"}),
            "'model.cell'",
        ),
        (lambda _: textrnn.train("tagging", "missing.conllu"), "missing.conllu"),
    ],
)
def test_mistakes(model: textrnn.Model, call: Any, said: str) -> None:
    """A mistake raises `UserError`, which says what was wrong."""
    with pytest.raises(textrnn.UserError) as caught:
        call(model)

    assert said in str(caught.value)
