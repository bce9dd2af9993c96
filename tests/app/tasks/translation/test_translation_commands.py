"""`predict` and `evaluate` of a translator."""

from __future__ import annotations

import functools
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from translators import (
    Command,
    Networks,
    Opened,
    eagerly,
    epochs,
    pairs_of,
    refused,
    searched,
    translated,
)

import app.evaluate
import app.prediction.loading
from app.prediction.loading import load_predictor
from app.prediction.predictor import Predictor
from models.text.tokens import END_ID


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Load each model once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        load = functools.cache(load_predictor)
        patch.setattr(app.prediction.loading, "load_predictor", load)
        patch.setattr(app.evaluate, "load_predictor", load)
        yield


def lines_of(output: str) -> list[dict[str, Any]]:
    """Return JSON lines as objects."""
    return [json.loads(line) for line in output.splitlines()]


def test_predict(command: Command, translator: Path, networks: Networks, predictor: Predictor) -> None:
    """A run and its export print the same lines; `--beam` sets the width of the search."""
    texts = ["two one.", "", "five five six one two three.", "Ωμέγα one", "six" * 4]
    generator = random.Random(0)  # texts that the model is uncertain of
    texts += ["".join(generator.choices("abeinostuwx Ωμ.", k=12)) for _ in range(40)]
    configured, greedy = translated(predictor, texts), searched(predictor, texts, 1)
    for model in (translator, networks.exports["learned"]):
        for options, expected in (((), configured), (("--beam", 1), greedy)):
            result = command("predict", model, *options, stdin="".join(f"{text}\n" for text in texts))
            lines = lines_of(result.stdout)

            assert result.exit_code == 0
            assert [set(line) for line in lines] == [{"text", "score"}] * len(texts)
            assert [line["text"].encode() for line in lines] == expected["text"].tolist()
            np.testing.assert_allclose([line["score"] for line in lines], expected["score"], atol=2e-5)
    assert lines[1] == {"text": "", "score": 0.0}
    assert not np.allclose(configured["score"], greedy["score"], atol=1e-4)


TEXTS = ("two one.", "six three four.")


@pytest.mark.parametrize("kind", ["run", "export"])
@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("in.csv", "source,target\ntwo one.,?\nsix three four.,?\n", ()),
        ("in.tsv", "target\tsource\n?\ttwo one.\n?\tsix three four.\n", ()),
        ("in.csv", "source,other\n?,two one.\n?,six three four.\n", ("--text-column", "other")),
        ("in.jsonl", "".join(json.dumps({"source": t, "target": "?"}) + "\n" for t in TEXTS), ()),
        ("in.jsonl", "".join(json.dumps({"text": t}) + "\n" for t in TEXTS), ()),
        (
            "in.jsonl",
            "".join(json.dumps({"other": t, "source": "?"}) + "\n" for t in TEXTS),
            ("--text-column", "other"),
        ),
    ],
)
def test_columns(
    command: Command,
    translator: Path,
    networks: Networks,
    tmp_path: Path,
    kind: str,
    name: str,
    content: str,
    options: tuple[str, ...],
) -> None:
    """The text is read from the source column of training, from `text`, or from `--text-column`."""
    model = translator if kind == "run" else networks.exports["learned"]
    (tmp_path / name).write_text(content)
    expected = command("predict", model, stdin="".join(f"{text}\n" for text in TEXTS)).stdout

    result = command("predict", model, tmp_path / name, *options)

    assert (result.exit_code, result.stdout) == (0, expected)
    assert len({line["text"] for line in lines_of(expected)}) == 2


def test_a_table_without_the_column(command: Command, translator: Path, tmp_path: Path) -> None:
    """A table without the source column is refused; the error names the option."""
    (tmp_path / "in.csv").write_text("english,german\none.,eins.\n")

    message = refused(command, "predict", translator, tmp_path / "in.csv")

    assert "no column 'source'" in message
    assert "--text-column" in message


def test_evaluate(command: Command, translator: Path, opened: Opened, pairs: Path) -> None:
    """BLEU and chrF are those of sacrebleu for what `predict` prints; the loss is that of the references."""
    pairs_of_test = pairs_of(pairs, "test")
    with eagerly():
        evaluated = command("evaluate", translator, "--json")
        predicted = command("predict", translator, stdin="".join(f"{text}\n" for text, _ in pairs_of_test))
    found, lines = json.loads(evaluated.stdout), lines_of(predicted.stdout)
    texts, references = [line["text"] for line in lines], [target for _, target in pairs_of_test]
    log_p = [opened.log_probabilities(a, [*opened.target_ids(b), END_ID]) for a, b in pairs_of_test]
    loss = -np.concatenate(log_p).mean()
    bleu, chrf = sacrebleu.BLEU(effective_order=True), sacrebleu.CHRF()

    assert (found["task"], found["split"], found["examples"]) == ("translation", "test", len(references))
    assert found["bleu"] == pytest.approx(bleu.corpus_score(texts, [references]).score)
    assert found["chrf"] == pytest.approx(chrf.corpus_score(texts, [references]).score)
    assert found["signatures"] == {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    assert 80 < found["bleu"] < 100.1
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    assert found["exact_match"] == np.mean([a == b for a, b in zip(texts, references, strict=True)])
    assert found["mean_score"] == pytest.approx(np.mean([line["score"] for line in lines]), abs=1e-6)
    assert found["beam"] == 3
    assert 0.8 < found["accuracy"] <= 1


def test_evaluate_another_width(
    command: Command, translator: Path, predictor: Predictor, pairs: Path
) -> None:
    """`--beam` changes the translations, not the loss of the references."""
    with eagerly():
        result = command("evaluate", translator, "--split", "validation", "--beam", 1, "--json")
        table = command("evaluate", translator)
    found = json.loads(result.stdout)
    sources = [source for source, _ in pairs_of(pairs, "validation")]

    assert found["beam"] == 1
    assert found["mean_score"] == pytest.approx(searched(predictor, sources, 1)["score"].mean(), abs=1e-5)
    best = next(line for line in reversed(epochs(translator)) if line["best"])
    assert found["loss"] == pytest.approx(best["validation_loss"], abs=1e-5)
    assert found["accuracy"] == pytest.approx(best["validation_accuracy"], abs=1e-6)
    assert table.exit_code == 0
    assert "bleu" in table.stdout.lower()
    assert "chrf" in table.stdout.lower()


@pytest.mark.parametrize("options", [(), ("--beam", 1)])
def test_an_export_has_the_metrics_of_its_run(
    command: Command, networks: Networks, pairs: Path, options: tuple[object, ...]
) -> None:
    """`evaluate` of an export on the same data prints what it prints for the run."""
    words = ("--data", pairs, "--split", "validation", *options, "--json")

    run = json.loads(command("evaluate", networks.runs["learned"], *words).stdout)
    export = json.loads(command("evaluate", networks.exports["learned"], *words).stdout)

    assert run.keys() == export.keys()
    for name, value in run.items():
        assert export[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), name
    assert run["beam"] == (options[1] if options else 3)


def test_no_beam_without_a_search(command: Command, run: Path) -> None:
    """`--beam` is refused for a classifier, with a one-line error."""
    for name in ("predict", "evaluate"):
        result = command(name, run, "--beam", 2, stdin="good\n")

        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1] == "Error: --beam: a classification model has no beam search"
        assert "Traceback" not in result.stderr
