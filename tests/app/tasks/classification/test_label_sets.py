"""Classification of texts with any number of labels: trained, evaluated, explained, exported and served."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import Result
from label_set_data import OPTIONS, SIZES, WORDS, label_set_rows
from sklearn.metrics import f1_score, precision_recall_fscore_support
from trained import export_quickly, metrics, weights

from app.artifacts.run import open_run
from app.config import load_config
from app.evaluate import evaluate
from app.prediction.loading import load_keras_model, load_predictor
from app.prediction.predictor import Predictor
from app.serving.json_tensors import write_tensors
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.classification.thresholds import choose_thresholds
from app.train import train
from data.errors import UserError

Command = Callable[..., Result]
Jsonl = Callable[..., None]
LABELS = list(WORDS)


def config(*overrides: str) -> Any:
    """Return the configuration of a tiny network."""
    return load_config("classification", overrides=[*OPTIONS, *overrides])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, jsonl: Jsonl) -> Path:
    """Return a folder of JSON lines whose labels are lists."""
    path = tmp_path_factory.mktemp("data") / "sets"
    for split, size in SIZES.items():
        jsonl(path / f"{split}.jsonl", label_set_rows(split, size))
    return path


@pytest.fixture(scope="module")
def sets_run(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Return a finished run."""
    path = tmp_path_factory.mktemp("run") / "sets"
    assert train("classification", str(folder), config(), run=path).finished
    return path


@pytest.fixture(scope="module")
def predictor(sets_run: Path) -> Predictor:
    """Return the predictor of the run."""
    return load_predictor(sets_run)


@pytest.fixture(scope="module")
def sets_export(sets_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the first version of an export of the run."""
    return export_quickly(sets_run, output=tmp_path_factory.mktemp("export") / "sets")


def best_epoch(run: Path) -> dict[str, Any]:
    """Return the metrics of the epoch whose weights the run keeps."""
    return [line for line in metrics(run) if line["best"]][-1]


def outputs(predictor: Predictor, split: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the outputs for the texts of a split, and their true labels among those of the model."""
    rows = label_set_rows(split, SIZES[split])
    found = predictor.run_texts("serving_default", [row["text"].encode() for row in rows])
    return found, np.array([[label in row["label"] for label in LABELS] for row in rows])


def test_lists_decide_that_there_are_several_labels(sets_run: Path) -> None:
    """The configuration of the run says so, and so do its facts; micro F1 selects the best epoch."""
    opened = open_run(sets_run)

    assert opened.config.data.labels == "several"  # type: ignore[attr-defined]
    assert opened.config.training.early_stopping_metric == "micro_f1"
    assert opened.preprocessing(ClassificationFacts).facts.several_labels


def test_the_model_knows_the_labels_of_its_training(predictor: Predictor) -> None:
    """Labels of other splits are none of its labels."""
    assert [label.decode() for label in predictor.info.preprocessing.labels] == LABELS


def test_it_learns(sets_run: Path, predictor: Predictor) -> None:
    """A few epochs suffice to find the words; validation has all metrics."""
    *_, last = metrics(sets_run)
    names = {name.removeprefix("validation_") for name in last if name.startswith("validation_")}

    assert names == {"loss", "micro_f1", "macro_f1", "subset_accuracy", "average_precision"}
    assert last["validation_micro_f1"] > 0.9
    found, targets = outputs(predictor, "test")
    assert f1_score(targets, found["chosen"], average="micro") > 0.9


def test_thresholds_are_chosen_on_validation(sets_run: Path, predictor: Predictor) -> None:
    """Those of the run are the best ones of the validation examples with the weights that it keeps."""
    found, targets = outputs(predictor, "validation")
    thresholds = choose_thresholds(found["probabilities"], targets)
    best = best_epoch(sets_run)

    np.testing.assert_allclose(found["thresholds"][0], thresholds, atol=1e-5)
    assert load_keras_model(open_run(sets_run)).thresholds.numpy().tolist() == (
        found["thresholds"][0].tolist()
    )
    hits = (found["chosen"] & targets).sum()
    missed = 2  # the unseen label of two examples
    expected = 2 * hits / (found["chosen"].sum() + targets.sum() + missed)
    assert best["validation_micro_f1"] == pytest.approx(expected)


def test_the_loss_is_a_sum_over_labels(sets_run: Path, predictor: Predictor) -> None:
    """The validation loss is the mean over the examples of the binary cross-entropies of their labels."""
    found, targets = outputs(predictor, "validation")
    p = found["probabilities"].astype(np.float64)
    best = best_epoch(sets_run)

    expected = -np.where(targets, np.log(p), np.log(1 - p)).sum(axis=1).mean()
    assert best["validation_loss"] == pytest.approx(expected, rel=1e-4)


def test_predict(command: Command, sets_run: Path) -> None:
    """Each text has its chosen labels, the most probable first, perhaps none, and all probabilities."""
    result = command("predict", sets_run, "-", stdin="the fish and the song\nof and it\n")
    some, none = map(json.loads, result.stdout.splitlines())

    assert some.keys() == {"labels", "probabilities"}
    assert set(some["labels"]) == {"food", "music"}
    assert some["labels"] == sorted(some["labels"], key=lambda label: -some["probabilities"][label])
    assert list(some["probabilities"]) == LABELS
    assert none["labels"] == []


def test_evaluate(command: Command, sets_run: Path, predictor: Predictor) -> None:
    """`evaluate --json` has the metrics, and those of each label with its threshold; no confusion matrix."""
    result = json.loads(command("evaluate", sets_run, "--json").stdout)
    found, targets = outputs(predictor, "test")
    precision, recall, f1, support = precision_recall_fscore_support(targets, found["chosen"])

    assert "confusion" not in result
    assert result["examples"] == SIZES["test"]
    assert result["unseen_labels"] == {"unseen in test": 2}
    assert list(result["per_class"]) == [*LABELS, "unseen in test"]
    assert result["macro_f1"] == pytest.approx(sum(f1) / 5)
    for i, label in enumerate(LABELS):
        own = result["per_class"][label]
        expected = [precision[i], recall[i], f1[i], support[i], found["thresholds"][0, i]]
        assert list(own) == ["precision", "recall", "f1", "support", "threshold"]
        assert list(own.values()) == pytest.approx(expected, abs=1e-6)
    assert result["per_class"]["unseen in test"] == {"precision": 0, "recall": 0, "f1": 0, "support": 2}
    for name in ("micro_f1", "macro_f1", "subset_accuracy", "average_precision"):
        assert 0.3 < result["baseline"][name] <= 1


def test_the_table_of_evaluate(command: Command, sets_run: Path) -> None:
    """It has the thresholds, and the labels that the model does not know."""
    printed = command("evaluate", sets_run, "--no-baseline").stdout

    assert "threshold" in printed
    assert "labels that the model does not know: unseen in test (2)" in printed


def test_explain(predictor: Predictor) -> None:
    """The label whose probability is highest above its threshold is explained, mostly by its word."""
    texts = [b"the team and it", b"of fish the", b"zebra a zebra"]
    found = predictor.run_texts("explain", texts)
    predicted = predictor.run_texts("serving_default", texts)

    for row, label in enumerate(found["label"]):
        odds = {
            name: np.log(values / (1 - values))
            for name, values in (("p", predicted["probabilities"][row]), ("t", predicted["thresholds"][row]))
        }
        assert LABELS.index(label.decode()) == np.argmax(odds["p"] - odds["t"])
        best = found["tokens"][row, np.argmax(found["importance"][row])].decode()
        assert best in WORDS[label.decode()]


ALONE = r"""
import json, sys
import tensorflow as tf

path, texts = json.loads(sys.argv[1])
loaded = tf.saved_model.load(path)
found = {}
for name in ("serving_default", "explain"):
    values = loaded.signatures[name](text=tf.constant(texts))
    found[name] = {
        key: [[v.decode() if isinstance(v, bytes) else v for v in row] if isinstance(row, list) else str(row)
              for row in value.numpy().tolist()]
        for key, value in values.items()
    }
found["own"] = sorted({"app", "data", "models"} & {name.partition(".")[0] for name in sys.modules})
print(json.dumps(found))
"""


def test_an_export_alone(
    process: Callable[..., subprocess.CompletedProcess[str]],
    sets_export: Path,
    predictor: Predictor,
    tmp_path: Path,
) -> None:
    """An export chooses and explains labels as its run does, in a process without this project."""
    texts = ["the fish and the song", "of it", "zebra", ""]
    result = process("-I", "-c", ALONE, json.dumps([str(sets_export), texts]), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    expected = predictor.run_texts("serving_default", [text.encode() for text in texts])

    assert found["own"] == []
    assert found["serving_default"].keys() == {"probabilities", "thresholds", "chosen", "classes"}
    assert found["serving_default"]["chosen"] == expected["chosen"].tolist()
    assert found["serving_default"]["classes"] == [LABELS] * 4
    for name in ("probabilities", "thresholds"):
        np.testing.assert_allclose(found["serving_default"][name], expected[name], atol=1e-6)
    explained = predictor.run_texts("explain", [text.encode() for text in texts])
    np.testing.assert_allclose(found["explain"]["importance"], explained["importance"], atol=1e-5)


def test_an_export_is_evaluated_as_its_run(
    command: Command, sets_run: Path, sets_export: Path, folder: Path
) -> None:
    """Also on other data, whose labels are read as in training."""
    given = ("--data", folder, "--json", "--no-baseline")
    run, export = (json.loads(command("evaluate", model, *given).stdout) for model in (sets_run, sets_export))

    assert export["per_class"].keys() == run["per_class"].keys()
    assert export["micro_f1"] == run["micro_f1"]
    assert export["loss"] == pytest.approx(run["loss"], rel=1e-5)


def test_padding_changes_nothing(predictor: Predictor) -> None:
    """Other texts of a batch change no probability."""
    texts = [b"the fish", b"a song of the band and the team and it all", b""]
    together = predictor.run_texts("serving_default", texts)

    for row, text in enumerate(texts):
        alone = predictor.run_texts("serving_default", [text])
        np.testing.assert_allclose(alone["probabilities"][0], together["probabilities"][row], atol=1e-6)


def test_resumed_training_has_the_same_thresholds(
    folder: Path, sets_run: Path, tmp_path: Path, stop_at: Callable[..., dict[str, Any]]
) -> None:
    """Training that is stopped and resumed ends with the same weights, thresholds among them."""
    run = tmp_path / "run"
    stopped = train("classification", str(folder), config(), run=run, **stop_at(epoch=2, step=3))
    assert not stopped.finished
    assert train("classification", str(folder), config(), run=run, resume=True).finished

    for resumed, own in zip(weights(run), weights(sets_run), strict=True):
        np.testing.assert_allclose(resumed, own, atol=1e-5)


def test_served_rows(sets_export: Path) -> None:
    """REST's row format has an object for each text, with true and false for what is chosen."""
    loaded = tf.saved_model.load(str(sets_export))
    found = loaded.signatures["serving_default"](text=tf.constant(["the fish"]))
    written = write_tensors({name: value.numpy() for name, value in found.items()}, rows=True)
    (row,) = json.loads(written)["predictions"]

    assert row["classes"] == LABELS
    assert row["chosen"] == [True, False, False, False]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.labels=one"], "data.labels = 'one', but the examples have lists of labels; use 'several'"),
        (["data.labels=one", "data.label_separator=|"], "labels = 'one' contradicts label_separator = '|'"),
        (["data.label_columns=a,b", "data.label_separator=|"], "label_columns = 'a,b' contradicts"),
    ],
)
def test_contradictions(folder: Path, tmp_path: Path, overrides: list[str], message: str) -> None:
    """Keys that contradict each other or the data are refused before training."""
    with pytest.raises(UserError) as caught:
        train("classification", str(folder), config(*overrides), run=tmp_path / "run")

    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[], [], []], "no training example has a label"),
        ([["a"], ["a"], ["a"]], "all training examples have the same labels, 'a'"),
        ([["a", "b"], ["b", "a"]], "all training examples have the same labels, 'a', 'b'"),
    ],
)
def test_nothing_to_learn(tmp_path: Path, jsonl: Jsonl, labels: list[list[str]], message: str) -> None:
    """Examples that all have the same labels are refused; a single label that some have is enough."""
    rows = [{"text": f"text {i}", "label": own} for i, own in enumerate(labels)]
    for split in ("train", "validation"):
        jsonl(tmp_path / "data" / f"{split}.jsonl", rows)

    with pytest.raises(UserError) as caught:
        train("classification", str(tmp_path / "data"), config("data.labels=several"), run=tmp_path / "run")

    assert message in str(caught.value)


def test_one_label_that_some_examples_have(tmp_path: Path, jsonl: Jsonl) -> None:
    """A model of a single label is trained, evaluated with a baseline, and its predictions are sets."""
    rows = [
        {"text": f"{'good' if i % 3 else 'bad'} text {i}", "label": ["x"] if i % 3 else []} for i in range(40)
    ]
    for split in ("train", "validation", "test"):
        jsonl(tmp_path / "data" / f"{split}.jsonl", rows)
    run = tmp_path / "run"
    assert train("classification", str(tmp_path / "data"), config(), run=run).finished

    found = evaluate(run)
    assert found["micro_f1"] > 0.9
    assert found["baseline"]["micro_f1"] > 0.9


@pytest.mark.parametrize("layout", ["separator", "columns"])
def test_tables(tmp_path: Path, layout: str) -> None:
    """Labels in one cell with a separator, and columns of 0 and 1, are the same sets as lists."""
    (tmp_path / "data").mkdir()
    known = [*LABELS, "unseen in validation", "unseen in test"]
    for split, size in SIZES.items():
        with (tmp_path / "data" / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"] if layout == "separator" else ["text", *known])
            for row in label_set_rows(split, size):
                cells = [int(name in row["label"]) for name in known]
                writer.writerow(
                    [row["text"], *(["|".join(row["label"])] if layout == "separator" else cells)]
                )
    option = "data.label_separator=|" if layout == "separator" else f"data.label_columns={','.join(known)}"
    run = tmp_path / "run"
    assert train("classification", str(tmp_path / "data"), config(option), run=run).finished

    found = load_predictor(run)
    assert [label.decode() for label in found.info.preprocessing.labels] == LABELS
    results, targets = outputs(found, "test")
    assert f1_score(targets, results["chosen"], average="micro") > 0.9


def test_suggestions(command: Command, sets_run: Path) -> None:
    """A text of known words is certain, one without any is not."""
    result = command("suggest", sets_run, "--count", "1", stdin="the soup\na band\nxyzzy plugh\n")
    found = json.loads(result.stdout)

    assert (found["text"], found["label"]) == ("xyzzy plugh", None)
    assert isinstance(found["predicted"], list)
    assert 0 < found["uncertainty"] <= 1
