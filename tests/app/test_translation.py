"""A translator from its data to its answers: what it learns, how it searches, what it is said to be worth."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import math
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import sacrebleu
import tensorflow as tf
from app.tasks.translation.search import Translator
from click.testing import Result
from tensorflow.python.framework.config import disable_op_determinism

from app.artifacts.run import Run, open_run
from app.config import TaskConfig, load_config
from app.export import export
from app.prediction.loading import load_keras_model, load_predictor
from app.prediction.predictor import Predictor
from app.tasks.translation.task import TASK, validation_bleu
from app.train import TrainedRun, new_model, train
from app.training.encode import encode_dataset
from data.encoding import Encoded
from data.errors import UserError
from data.prepared import prepare
from data.sources import Source, open_source
from models.text.tokenize import tokenize
from models.text.tokens import END_ID, PADDING_ID, UNKNOWN_ID

Command = Callable[..., Result]
Process = Callable[..., subprocess.CompletedProcess[str]]
Pair = tuple[str, str]

TINY = (
    "text.vocabulary_size=60",
    "text.max_length=20",
    "model.units=4",
    "model.embedding_size=4",
    "training.epochs=1",
    "training.batch_size=8",
    "training.learning_rate=0.05",
    "decoding.beam=2",
)
HARD = {
    "empty": b"",
    "blank": b" \t\n ",
    "one word": b"three",
    "known": b"two six one.",
    "long": b"one five six. " * 3334,
    "emoji": "👍🏽 👩‍👩‍👧 🇩🇪 one 😀😀".encode(),
    "Hebrew": "אחד שתיים, three".encode(),
    "Chinese": "一二三四五。".encode(),
    "not UTF-8": b"two \xff\xfe caf\xe9 \x80",
    "control characters": b"one\x00two\x01\x7f\r\nthree",
    "of the vocabulary": "[END] [UNK] ▁one".encode(),
}
SHORT = [text for name, text in HARD.items() if name != "long"]


def tiny(*overrides: str) -> TaskConfig:
    """Return the configuration of a tiny translator."""
    return load_config("translation", overrides=[*TINY, *overrides])


@contextmanager
def eagerly() -> Iterator[None]:
    """Run functions step by step: for a handful of steps a graph takes longer to be made."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def trained(data: Path, run: Path, *overrides: str, resume: bool = False, **watched: Any) -> TrainedRun:
    """Train a tiny translator."""
    with eagerly():
        return train("translation", str(data), tiny(*overrides), run=run, resume=resume, **watched)


def rows(folder: Path, split: str) -> list[Pair]:
    """Return the pairs of a split."""
    lines = (folder / f"{split}.jsonl").read_text().splitlines()
    return [(row["source"], row["target"]) for row in map(json.loads, lines)]


def epochs(run: Path) -> list[dict[str, Any]]:
    """Return the figures of each epoch."""
    return [
        line for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "best" in line
    ]


@pytest.fixture(scope="module")
def few(pairs: Path, tmp_path_factory: pytest.TempPathFactory, jsonl: Callable[..., None]) -> Path:
    """Return a folder with sixteen of the pairs for training, and four in each other split."""
    folder = tmp_path_factory.mktemp("few") / "few"
    for split, size in (("train", 16), ("validation", 4), ("test", 4)):
        jsonl(
            folder / f"{split}.jsonl",
            [{"source": source, "target": target} for source, target in rows(pairs, split)[:size]],
        )
    return folder


@pytest.fixture(scope="module")
def predictor(translator: Path) -> Predictor:
    """Return the learned translator."""
    return load_predictor(translator)


class Opened:
    """A run and what it is made of."""

    def __init__(self, path: Path) -> None:
        """Load it."""
        self.run: Run = open_run(path)
        self.model: keras.Model = load_keras_model(self.run)
        self.translator = Translator(self.model, self.run.vocabularies(), self.run.config)

    def source_ids(self, text: str | bytes) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the token ids of a source [1, S], and their number [1]."""
        return self.translator.source(tf.constant([text]))

    def target_ids(self, text: str) -> list[int]:
        """Return the token ids of a right translation, looked up one by one."""
        options = {**self.translator.target.options, "max_length": 0}
        known = {token: i for i, token in enumerate(self.translator._target)}
        return [known.get(token, UNKNOWN_ID) for token in tokenize([text], **options)[0].numpy()]

    def log_probabilities(self, text: str | bytes, ids: Sequence[int]) -> np.ndarray:
        """Return log p of each of a translation's tokens, float [T], all of them read at once."""
        source, lengths = self.source_ids(text)
        logits = self.model(source, lengths, tf.constant([[END_ID, *ids[:-1]]]))[0]
        chosen: np.ndarray = tf.gather(tf.nn.log_softmax(logits), tf.constant(ids), batch_dims=1).numpy()
        return chosen

    def steps(
        self, text: str, choose: Callable[[int, np.ndarray], int], most: int
    ) -> tuple[list[int], float]:
        """Decode step by step.

        Returns the tokens that were chosen, an end among them, and Σ log min(coverage, 1) at the last one.
        """
        source, lengths = self.source_ids(text)
        state = self.model.encode(source, lengths)
        ids: list[int] = []
        while len(ids) < most and END_ID not in ids:
            logits, state = self.model.step(tf.constant([ids[-1] if ids else END_ID]), state)
            ids.append(choose(len(ids), logits[0].numpy()))
        return ids, float(np.log(np.minimum(state["coverage"][0], 1)).sum())

    def greedy(self, text: str) -> list[int]:
        """Return the tokens of a translation that takes the likeliest one at each step."""
        allowed = np.ones(len(self.translator._target), bool)
        allowed[[PADDING_ID, UNKNOWN_ID]] = False
        most = 2 * int(self.source_ids(text)[1][0]) + 10
        return self.steps(text, lambda _, logits: int(np.where(allowed, logits, -np.inf).argmax()), most)[0]


@pytest.fixture(scope="module")
def opened(translator: Path) -> Opened:
    """Return what the learned translator is made of."""
    return Opened(translator)


def searched(
    predictor: Predictor, texts: Sequence[str | bytes], width: int, alpha: float = 0.6, beta: float = 0.0
) -> dict[str, np.ndarray]:
    """Return what the signature of the search answers."""
    answers = predictor.signatures["search"](
        text=tf.constant(texts),
        width=tf.constant(width),
        length_penalty=tf.constant(alpha),
        coverage_penalty=tf.constant(beta),
    )
    return {name: value.numpy() for name, value in answers.items()}


# What is learned


def test_it_learns(translator: Path, pairs: Path, predictor: Predictor) -> None:
    """Sentences that it never read are turned around and translated word for word."""
    learned, unknown = rows(pairs, "train"), rows(pairs, "test")
    assert not set(learned) & set(unknown)

    answers = predictor([source.encode() for source, _ in unknown])

    found = [text.decode() for text in answers["text"]]
    right = [target for _, target in unknown]
    assert np.mean([a == b for a, b in zip(found, right, strict=True)]) >= 0.9
    assert min(answers["score"]) < max(answers["score"]) < 0


def test_vocabularies(translator: Path) -> None:
    """Each side has its own subwords and tokens, and a file for each."""
    vocabularies = open_run(translator).vocabularies()

    assert set(vocabularies) == {
        f"{side}{name}" for side in ("", "target_") for name in ("vocabulary", "pieces", "piece_scores")
    }
    source, target = vocabularies["vocabulary"], vocabularies["target_vocabulary"]
    assert source[:3] == target[:3] == [b"", b"[UNK]", b"[END]"]
    assert set(source[3:]) <= set(vocabularies["pieces"])
    assert set(target[3:]) <= set(vocabularies["target_pieces"])
    assert "▁one".encode() in source
    assert any("ü".encode() in token for token in target)
    assert not any("ü".encode() in token for token in source)


def test_figures_of_an_epoch(translator: Path) -> None:
    """BLEU, perplexity and accuracy of the validation rows stand beside their loss."""
    lines = epochs(translator)

    for line in lines:
        assert line["validation_perplexity"] == pytest.approx(math.exp(line["validation_loss"]))
        assert 0 <= line["validation_bleu"] < 100.1
        assert 0 <= line["accuracy"] <= 1
    assert lines[0]["validation_bleu"] < 50 < 90 < lines[-1]["validation_bleu"]
    assert lines[0]["validation_accuracy"] < lines[-1]["validation_accuracy"]


def test_bleu_chooses_the_best_epoch(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not accuracy or the loss, which decides between equals alone."""
    script = [(3.0, 1.0, 0.1), (2.0, 5.0, 0.2), (1.9, 5.0, 0.3), (1.0, 4.0, 0.9)]
    figures = iter(
        [
            {"loss": loss, "bleu": bleu, "accuracy": accuracy, "perplexity": 1.0}
            for loss, bleu, accuracy in script
        ]
    )
    monkeypatch.setattr(type(TASK), "evaluator", lambda *_: lambda: next(figures))

    result = trained(few, tmp_path / "run", "training.epochs=4", "training.batch_size=16")

    assert result.best["epoch"] == 3
    assert [line["best"] for line in epochs(tmp_path / "run")] == [True, True, True, False]


def test_bleu_of_short_texts() -> None:
    """Where no text has four words, what is right is still the best."""
    right = ["ein Hund", "zwei"]

    assert validation_bleu(right, right) == pytest.approx(100)
    assert validation_bleu(["ein Hund bellt laut", "zwei"], right) < 60
    assert validation_bleu(["ein", "zwei"], right) < 70
    long = ["the cat sat on the mat", "it is here now"]
    assert validation_bleu(long, long[::-1]) == sacrebleu.corpus_bleu(long, [long[::-1]]).score


def test_label_smoothing_is_for_training_alone(networks: Networks, few: Path) -> None:
    """The loss of the validation rows is that of the right tokens, the end among them."""
    for name, precision in (("multiplicative", 0.05), ("additive", 1e-5)):
        run = networks.runs[name]
        opened = Opened(run)
        assert opened.run.config.training.label_smoothing == 0.1
        nats = [
            -opened.log_probabilities(source, [*opened.target_ids(target), END_ID])
            for source, target in rows(few, "validation")
        ]

        assert epochs(run)[-1]["validation_loss"] == pytest.approx(np.concatenate(nats).mean(), abs=precision)


def test_smoothed_loss(opened: Opened, pairs: Path) -> None:
    """A share of the target is spread over the whole vocabulary; padding has none of it."""
    source, target = zip(*rows(pairs, "test")[:8], strict=True)
    batch = opened.translator.pair(tf.constant(source), tf.constant(target))
    logits = opened.model(batch["source"], batch["source_lengths"], batch["before"])
    log_p = tf.nn.log_softmax(logits).numpy()
    expected = {0.0: 0.0, 0.2: 0.0}
    for row, (following, length) in enumerate(
        zip(batch["following"].numpy(), batch["lengths"].numpy(), strict=True)
    ):
        for step in range(length):
            for share in expected:
                right = log_p[row, step, following[step]]
                expected[share] -= (1 - share) * right + share * log_p[row, step].mean()
    tokens = int(batch["lengths"].numpy().sum())
    assert tokens < batch["following"].shape[0] * batch["following"].shape[1]

    for share, nats in expected.items():
        found = TASK.losses(opened.model, batch, [], label_smoothing=share)

        assert float(found.loss) == pytest.approx(nats / tokens, rel=1e-5)
        assert float(found.count) == tokens
    assert expected[0.2] > 2 * expected[0.0]


# Every kind of network

NETWORKS = {
    "multiplicative": ("training.mixed_precision=true",),
    "additive": (
        "text.tokens=word",
        "text.lowercase=true",
        "text.shared=true",
        "model.attention=additive",
        "model.input_feeding=false",
        "model.cell=gru",
        "model.merge_mode=sum",
        "model.layers=2",
    ),
    "bytes": (
        "text.tokens=byte",
        "text.max_length=40",
        "model.attention=none",
        "model.cell=simple",
        "model.bidirectional=false",
    ),
    "characters": (
        "text.tokens=char",
        "text.max_length=40",
        "text.shared=true",
        "model.attention=none",
        "model.input_feeding=false",
        "model.tie_embeddings=false",
    ),
}

# Answers the texts of a job with SavedModels, as a person does who has nothing of this project.
ALONE = r"""
import base64, importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("app", "data", "models"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Refuse())
import tensorflow as tf

def attended(answers):
    tokens = {name: [[base64.b64encode(t).decode() for t in row] for row in answers[name]]
              for name in ("source", "target")}
    lengths = {name: answers[name].tolist() for name in ("source_length", "target_length", "attention")}
    return {**tokens, **lengths, "text": [base64.b64encode(text).decode() for text in answers["text"]]}

def listed(answers):
    return {"text": [base64.b64encode(text).decode() for text in answers["text"]],
            "score": [float(score) for score in answers["score"]]}

job = json.load(sys.stdin)
texts = [base64.b64decode(text) for text in job["texts"]]
results = {}
for path in job["exports"]:
    loaded = tf.saved_model.load(path)
    answer = loaded.signatures["serving_default"]
    def numbers(outputs):
        return {name: value.numpy() for name, value in outputs.items()}
    search = loaded.signatures["search"]
    options = {"width": tf.constant(2)}
    options |= {"length_penalty": tf.constant(1.0), "coverage_penalty": tf.constant(0.0)}
    result = {
        "inputs": {name: {k: [v.dtype.name, v.shape.as_list()] for k, v in
                          loaded.signatures[name].structured_input_signature[1].items()}
                   for name in loaded.signatures},
        "outputs": {k: [v.dtype.name, v.shape.as_list()] for k, v in answer.structured_outputs.items()},
        "tf2": listed(numbers(answer(text=tf.constant(texts)))),
        "search": listed(numbers(search(text=tf.constant(texts), **options))),
    }
    short = [text for text in texts if len(text) < 1000]
    if "attention" in loaded.signatures:
        result["attended tf2"] = attended(numbers(loaded.signatures["attention"](text=tf.constant(short))))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], path)
        signature = meta.signature_def["serving_default"]
        outputs = {name: info.name for name, info in signature.outputs.items()}
        result["tf1"] = listed(session.run(outputs, {signature.inputs["text"].name: texts}))
        if "attention" in meta.signature_def:
            signature = meta.signature_def["attention"]
            outputs = {name: info.name for name, info in signature.outputs.items()}
            answers = session.run(outputs, {signature.inputs["text"].name: short})
            result["attended tf1"] = attended(answers)
    results[path] = result
json.dump({"results": results, "imported": sorted({m.partition(".")[0] for m in sys.modules})}, sys.stdout)
"""


class Networks:
    """Runs of several networks, and what they and their exports answer to the hard texts."""

    def __init__(self, runs: Mapping[str, Path], folder: Path, process: Process) -> None:
        """Export them and ask."""
        self.runs = dict(runs)
        self.exports = {name: export(run, output=folder / "exports" / name) for name, run in runs.items()}
        texts = list(HARD.values())
        job = {
            "exports": [str(path) for path in self.exports.values()],
            "texts": [base64.b64encode(text).decode() for text in texts],
        }
        result = process("-I", "-c", ALONE, cwd=folder, stdin=json.dumps(job))
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)
        self.imported = set(found["imported"])
        self.alone = {name: found["results"][str(path)] for name, path in self.exports.items()}


@pytest.fixture(scope="module")
def networks(
    tmp_path_factory: pytest.TempPathFactory, few: Path, translator: Path, process: Process
) -> Networks:
    """Return the learned translator and a tiny run of each other network."""
    folder = tmp_path_factory.mktemp("networks")
    runs = {name: trained(few, folder / name, *options).path for name, options in NETWORKS.items()}
    return Networks({**runs, "learned": translator}, folder, process)


def assert_alike(found: Mapping[str, Any], expected: Mapping[str, np.ndarray]) -> None:
    """Compare answers of a process of its own."""
    assert [base64.b64decode(text) for text in found["text"]] == expected["text"].tolist()
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-5)


def test_nothing_of_the_project_is_needed(networks: Networks) -> None:
    """Exports load and answer where this project is not installed; all signatures are there."""
    assert "tensorflow" in networks.imported
    assert not {"app", "data", "models", "sentencepiece", "tensorflow_text"} & networks.imported
    text = ["string", [None]]
    for name, answers in networks.alone.items():
        attends = "model.attention=none" not in NETWORKS.get(name, ())
        assert answers["inputs"] == {
            "serving_default": {"text": text},
            **({"attention": {"text": text}} if attends else {}),
            "search": {
                "text": text,
                "width": ["int32", []],
                "length_penalty": ["float32", []],
                "coverage_penalty": ["float32", []],
            },
        }
        assert answers["outputs"] == {"text": text, "score": ["float32", [None]]}


@pytest.mark.parametrize("name", [*NETWORKS, "learned"])
def test_hard_texts(networks: Networks, name: str) -> None:
    """A run and its export answer alike: alone, in a batch, in any order, in TF1 and TF2."""
    texts = list(HARD.values())
    predictor = load_predictor(networks.runs[name])
    expected = predictor(texts)
    assert len(HARD["long"].split()) >= 10_000

    found = networks.alone[name]
    for version in ("tf1", "tf2"):
        assert_alike(found[version], expected)
    if name != "learned":  # whose own options are those that were asked for
        assert_alike(found["search"], expected)
    order = random.Random(1).sample(range(len(texts)), len(texts))
    for batch_size in (1, len(texts)):
        shuffled = predictor([texts[i] for i in order], batch_size=batch_size)
        assert shuffled["text"].tolist() == [expected["text"][i] for i in order]
        np.testing.assert_allclose(shuffled["score"], expected["score"][order], atol=1e-5)
    for text, score, source in zip(expected["text"], expected["score"], HARD, strict=True):
        text.decode()
        assert math.isfinite(score)
        if source == "empty":
            assert (text, score) == (b"", 0)
        else:
            assert score <= 0
    assert len({round(float(score), 6) for score in expected["score"]}) >= 5


def test_parameters(networks: Networks) -> None:
    """Attention, input feeding, tied and shared embeddings are those that were asked for."""
    names = {name: {w.path for w in Opened(run).model.weights} for name, run in networks.runs.items()}

    def has(name: str, part: str) -> bool:
        return any(part in path for path in names[name])

    assert {n for n in names if has(n, "of_memory")} == {"multiplicative", "additive", "learned"}
    assert {n for n in names if has(n, "of_query")} == {"additive"}
    assert {n for n in names if has(n, "head")} == {"characters"}
    assert {n for n in names if not has(n, "source_embedding")} == {"additive", "characters"}
    assert {n for n in names if has(n, "decoder_1")} == {"additive"}


def test_mixed_precision(networks: Networks) -> None:
    """Training computes in half precision but for sums of attention; the run does in float32, as exported."""
    opened = Opened(networks.runs["multiplicative"])
    config, vocabularies = opened.run.config, opened.run.vocabularies()
    encoded: Any = None  # a translator is built from its vocabularies alone
    in_training = new_model(TASK, config, encoded, vocabularies)
    assert config.training.mixed_precision

    for model, dtype in ((opened.model, tf.float32), (in_training, tf.bfloat16)):
        state = model.encode(*opened.source_ids("one two."))
        logits, state = model.step(tf.constant([END_ID]), state)
        assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
        assert logits.dtype == state["hidden"][0][0].dtype == state["attentional"].dtype == dtype
        assert state["coverage"].dtype == state["attention"].dtype == tf.float32


def test_no_attention_to_draw(command: Command, networks: Networks, tmp_path: Path) -> None:
    """A translator without attention looks at nothing in particular."""
    run = networks.runs["bytes"]

    assert refused(command, "inspect", run, "one.", "--output", tmp_path / "picture.png") == (
        f"{run}: has no attention to draw; expected a translation run with model.attention"
    )


def test_bytes_that_are_no_text() -> None:
    """Any bytes may be written one after the other; what comes out is text all the same."""
    vocabulary = [b"", b"[UNK]", b"[END]", b"a", *(bytes([i]) for i in "ü".encode())]
    config = tiny("text.tokens=byte", "text.shared=true")
    translator = Translator(keras.Model(), {"vocabulary": vocabulary}, config)
    written = translator.write(tf.constant([[3, 4, 5], [3, 4, 3]]), tf.constant([3, 2]))

    assert [text.decode() for text in written.numpy()] == ["aü", "a\ufffd"]


# What was looked at


@pytest.mark.parametrize("name", ["multiplicative", "additive", "learned"])
def test_attention_signature(networks: Networks, name: str) -> None:
    """Run and export say alike what the best translation looked at: each token's shares add up to 1."""
    predictor = load_predictor(networks.runs[name])
    answers = predictor.signatures["attention"](text=tf.constant(SHORT))
    expected = {key: value.numpy() for key, value in answers.items()}
    options = open_run(networks.runs[name])
    pieces = Translator(predictor.model, options.vocabularies(), options.config).source.options

    assert expected["text"].tolist() == predictor(SHORT)["text"].tolist()
    for i, text in enumerate(SHORT):
        read, written = expected["source_length"][i], expected["target_length"][i]
        tokens = tokenize(tf.constant([text]), **pieces)[0].numpy().tolist()
        assert expected["source"][i, :read].tolist() == tokens
        assert (written > 0) == (read > 0)
        if written:
            assert expected["target"][i, written - 1] == b"[END]"
        assert b"[END]" not in expected["target"][i, : max(written - 1, 0)]
        np.testing.assert_allclose(expected["attention"][i, :written, :read].sum(axis=1), 1, atol=1e-5)
        assert not expected["attention"][i, written:].any()
        assert not expected["attention"][i, :, read:].any()
        assert not any(expected["source"][i, read:])
        assert not any(expected["target"][i, written:])
    assert {0, 1} < set(expected["source_length"].tolist())
    for version in ("tf1", "tf2"):
        found = networks.alone[name][f"attended {version}"]
        for key in ("source", "target"):
            assert [[base64.b64decode(t) for t in row] for row in found[key]] == expected[key].tolist()
        for key in ("source_length", "target_length"):
            assert found[key] == expected[key].tolist()
        np.testing.assert_allclose(found["attention"], expected["attention"], atol=1e-5)


def test_attention_is_that_of_the_best_translation(translator: Path, predictor: Predictor) -> None:
    """It is what the decoder's steps give that write the translation, each alone, the end last."""
    opened = open_run(translator)
    text = "one five two."
    answers = predictor.signatures["attention"](text=tf.constant([text, "three."]))
    found = {key: value.numpy()[0] for key, value in answers.items()}
    own = Translator(predictor.model, opened.vocabularies(), opened.config)
    source, lengths = own.source(tf.constant([text]))
    target = own.target.ids(tf.ragged.constant([found["target"]]))[0].numpy().tolist()
    assert b"".join(found["target"].tolist()).decode() == "▁zwei▁fünf▁eins.[END]"

    assert predictor.model is not None
    state = predictor.model.encode(source, lengths)
    for token, weights in zip([END_ID, *target[:-1]], found["attention"], strict=True):
        _, state = predictor.model.step(tf.constant([token]), state)
        np.testing.assert_allclose(weights, state["attention"][0], atol=1e-5)


def test_a_row_looks_at_its_own_text(predictor: Predictor) -> None:
    """Neighbours and their order change nothing of what is looked at."""
    texts = ["one five two.", "", "three six one two four."]
    both = {k: v.numpy() for k, v in predictor.signatures["attention"](text=tf.constant(texts)).items()}
    for i, text in enumerate(texts):
        alone = {
            k: v.numpy()[0] for k, v in predictor.signatures["attention"](text=tf.constant([text])).items()
        }
        read, written = alone["source_length"], alone["target_length"]
        assert both["target"][i, :written].tolist() == alone["target"][:written].tolist()
        np.testing.assert_allclose(
            both["attention"][i, :written, :read], alone["attention"][:written, :read], atol=1e-5
        )


# The search


def test_a_width_of_one_is_greedy(predictor: Predictor, opened: Opened, pairs: Path) -> None:
    """The likeliest token at each step, up to an end."""
    texts = [source for source, _ in rows(pairs, "test")[:6]] + ["one two three four five six.", "[nonsense]"]

    found = searched(predictor, texts, 1)["text"]

    expected = [opened.greedy(text) for text in texts]
    written = [opened.translator.write(tf.constant([ids]), tf.constant([len(ids) - 1])) for ids in expected]
    assert all(ids[-1] == END_ID for ids in expected)
    assert found.tolist() == [text.numpy()[0] for text in written]
    assert len(set(found)) >= 5


def test_a_wider_search_finds_better_texts(predictor: Predictor, pairs: Path) -> None:
    """The mean score does not fall with the width, and rises where the model is unsure."""
    sure = [source for source, _ in rows(pairs, "validation")]
    unsure = [f"{a} {b} {a}{a}" for a, b in itertools.pairwise(sure)] + ["six" * 4, ". . one . two", "...."]
    for texts in (sure, unsure):
        means = [searched(predictor, texts, width)["score"].mean() for width in (1, 4, 8)]
        assert means[0] <= means[1] + 1e-6
        assert means[1] <= means[2] + 1e-6
    assert means[0] < means[2] - 1e-3


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (0.6, 0.0), (1.0, 0.4)])
def test_scores(predictor: Predictor, opened: Opened, pairs: Path, alpha: float, beta: float) -> None:
    """A score is log p of the text and its end, normalised by length, and a penalty for words left out."""
    texts = [source for source, _ in rows(pairs, "test")[:3]] + ["four four two one six six.", "[nonsense]"]
    found = searched(predictor, texts, 4, alpha, beta)
    for text, translated, score in zip(texts, found["text"], found["score"], strict=True):
        ids, lengths, scores = opened.translator.search(
            *opened.source_ids(text), width=4, length_penalty=alpha, coverage_penalty=beta
        )
        best = [*ids[0, 0, : lengths[0, 0]].numpy().tolist(), END_ID]
        _, coverage = opened.steps(text, lambda step, _, best=best: best[step], len(best))  # type: ignore[misc]
        log_p = opened.log_probabilities(text, best).sum()

        expected = log_p / ((5 + len(best)) / 6) ** alpha + beta * coverage

        assert opened.translator.write(ids[:, 0], lengths[:, 0]).numpy()[0] == translated
        assert score == pytest.approx(expected, abs=1e-5)
        assert float(scores[0, 0]) == pytest.approx(expected, abs=1e-5)
        assert not beta or coverage < -0.01


def test_own_options(predictor: Predictor, pairs: Path) -> None:
    """The main signature searches as the run's configuration says."""
    texts = [source for source, _ in rows(pairs, "test")]

    own, same = predictor([text.encode() for text in texts]), searched(predictor, texts, 3, 0.6)

    assert own["text"].tolist() == same["text"].tolist()
    np.testing.assert_allclose(own["score"], same["score"], atol=1e-5)
    assert not np.allclose(own["score"], searched(predictor, texts, 3, 1.0)["score"], atol=1e-4)


def test_texts_are_cut(predictor: Predictor) -> None:
    """Of a text beyond `text.max_length` its beginning is translated."""
    cut, longer, other = predictor([b"one two " * 10, b"one two " * 10 + b"five six", b"one two " * 9])[
        "score"
    ]

    assert longer == pytest.approx(cut, abs=1e-6)
    assert abs(other - cut) > 1e-4


# The commands


def test_predict(command: Command, translator: Path, networks: Networks, predictor: Predictor) -> None:
    """A run and its export print the same lines; `--beam` is the width of the search."""
    texts = ["two one.", "", "five five six one two three.", "Ωμέγα one", "six" * 4]
    own = predictor([text.encode() for text in texts])
    greedy = searched(predictor, texts, 1)
    for model in (translator, networks.exports["learned"]):
        for options, expected in (((), own), (("--beam", 1), greedy)):
            result = command("predict", model, *options, stdin="".join(f"{text}\n" for text in texts))
            lines = [json.loads(line) for line in result.stdout.splitlines()]

            assert result.exit_code == 0
            assert [set(line) for line in lines] == [{"text", "score"}] * 5
            assert [line["text"].encode() for line in lines] == expected["text"].tolist()
            np.testing.assert_allclose([line["score"] for line in lines], expected["score"], atol=1e-5)
    assert lines[1] == {"text": "", "score": 0.0}
    assert not np.allclose(own["score"], greedy["score"], atol=1e-4)


def test_evaluate(command: Command, translator: Path, opened: Opened, pairs: Path) -> None:
    """BLEU and chrF are sacrebleu's of what `predict` prints; loss and perplexity those of what is right."""
    pairs_of_test = rows(pairs, "test")
    texts_in = "".join(f"{source}\n" for source, _ in pairs_of_test)
    with eagerly():
        evaluated = command("evaluate", translator, "--json")
        predicted = command("predict", translator, stdin=texts_in)
    found = json.loads(evaluated.stdout)
    lines = [json.loads(line) for line in predicted.stdout.splitlines()]
    texts, right = [line["text"] for line in lines], [target for _, target in pairs_of_test]
    log_p = [
        opened.log_probabilities(source, [*opened.target_ids(target), END_ID])
        for source, target in pairs_of_test
    ]
    loss = -np.concatenate(log_p).mean()
    bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()

    assert (found["task"], found["split"], found["examples"]) == ("translation", "test", len(right))
    assert found["bleu"] == pytest.approx(bleu.corpus_score(texts, [right]).score)
    assert found["chrf"] == pytest.approx(chrf.corpus_score(texts, [right]).score)
    assert found["signatures"] == {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    assert 80 < found["bleu"] < 100.1
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    assert found["exact_match"] == np.mean([a == b for a, b in zip(texts, right, strict=True)])
    assert found["mean_score"] == pytest.approx(np.mean([line["score"] for line in lines]), abs=1e-6)
    assert found["beam"] == 3


def test_evaluate_another_width(
    command: Command, translator: Path, predictor: Predictor, pairs: Path
) -> None:
    """`--beam` changes what is found, and not what is right; the table names what it shows."""
    with eagerly():
        result = command("evaluate", translator, "--split", "validation", "--beam", 1, "--json")
        table = command("evaluate", translator)
    found = json.loads(result.stdout)
    sources = [source for source, _ in rows(pairs, "validation")]

    assert found["beam"] == 1
    assert found["mean_score"] == pytest.approx(searched(predictor, sources, 1)["score"].mean(), abs=1e-5)
    best = min(line["validation_loss"] for line in epochs(translator) if line["best"])
    assert found["loss"] == pytest.approx(best, abs=1e-5)
    assert table.exit_code == 0
    assert "bleu" in table.stdout.lower()
    assert "chrf" in table.stdout.lower()


def test_no_beam_without_a_search(command: Command, run: Path) -> None:
    """A classifier does not search; the message says so, in one line."""
    for name in ("predict", "evaluate"):
        result = command(name, run, "--beam", 2, stdin="good\n")

        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1] == (
            "Error: --beam: a model for classification does not search for its answers"
        )
        assert "Traceback" not in result.stderr


# Data


def stored(data: Path, directory: Path, *overrides: str) -> dict[str, list[Pair]]:
    """Return the rows of each split of DATA as they are prepared for training."""
    config = tiny(*overrides)
    fields = TASK.fields(config)
    source = open_source(str(data), fields, TASK.examples.shapes, TASK.parallel(config))
    assert isinstance(source, Source)
    dataset = prepare(source, fields, directory=directory, check=TASK.check)
    return {
        split: [
            (a.decode(), b.decode())
            for batch in dataset.batches(split)
            for a, b in zip(batch["source"], batch["target"], strict=True)
        ]
        for split in dataset.sizes
    }


SIDES = ("data.source=en", "data.target=de")


def write_sides(folder: Path, stem: str, chosen: Sequence[Pair], *, packed: bool = False) -> None:
    """Write a file for each language, that of the target packed or not."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.en").write_text("".join(f"{source}\n" for source, _ in chosen))
    german = "".join(f"{target}\n" for _, target in chosen).encode()
    if packed:
        (folder / f"{stem}.de.gz").write_bytes(gzip.compress(german))
    else:
        (folder / f"{stem}.de").write_bytes(german)


def test_parallel_files(pairs: Path, tmp_path: Path, command: Command) -> None:
    """Files of a language each are trained, validated and evaluated on, line by line, packed or not."""
    folder = tmp_path / "numbers"
    expected = {split: rows(pairs, split)[:10] for split in ("train", "validation", "test")}
    write_sides(folder, "train", expected["train"], packed=True)
    write_sides(folder, "val", expected["validation"])
    write_sides(folder, "test", expected["test"], packed=True)
    assert stored(folder, tmp_path / "cache", *SIDES) == expected
    other = stored(folder, tmp_path / "cache", "data.source=de", "data.target=en")
    assert other["test"] == [(target, source) for source, target in expected["test"]]

    run = trained(folder, tmp_path / "run", *SIDES, "training.batch_size=16").path
    with eagerly():
        result = command("evaluate", run, "--json", "--beam", 1)

    assert json.loads(result.stdout)["examples"] == 10
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["examples"] == {"train": 10, "validation": 10}


def test_one_pair_of_files(pairs: Path, tmp_path: Path) -> None:
    """It is split by a hash of the row, so that pairs that are equal stay together."""
    chosen = rows(pairs, "train")
    write_sides(tmp_path / "data", "corpus", [*chosen, *chosen[:50]], packed=True)

    for name in ("corpus.en", "corpus.de.gz"):
        found = stored(tmp_path / "data" / name, tmp_path / name, *SIDES)

        assert set(found) == {"train", "validation", "test"}
        assert sorted(pair for split in found.values() for pair in split) == sorted([*chosen, *chosen[:50]])
        assert not set(found["train"]) & set(found["test"])
        assert not set(found["train"]) & set(found["validation"])
        assert len(found["train"]) > 4 * len(found["test"]) > 0


def test_tables(pairs: Path, tmp_path: Path) -> None:
    """TSV, CSV and JSON lines hold a pair in two columns, which may have any name."""
    chosen = rows(pairs, "test")
    (tmp_path / "plain.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in [("source", "target"), *chosen]))
    (tmp_path / "named.csv").write_text("".join(f"7,{b},{a}\n" for a, b in [("en", "de"), *chosen]))
    (tmp_path / "named.jsonl").write_text("".join(json.dumps({"de": b, "en": a}) + "\n" for a, b in chosen))

    for name, options in (("plain.tsv", ()), ("named.csv", SIDES), ("named.jsonl", SIDES)):
        found = stored(tmp_path / name, tmp_path / "cache", *options)
        assert sorted(pair for split in found.values() for pair in split) == sorted(chosen)


def encoded_of(data: Path, directory: Path, config: TaskConfig) -> Encoded:
    """Return DATA as token ids."""
    fields = TASK.fields(config)
    source = open_source(str(data), fields, TASK.examples.shapes, TASK.parallel(config))
    assert isinstance(source, Source)
    return encode_dataset(prepare(source, fields, directory=directory), TASK, config, directory)[0]


def test_long_rows_are_left_out(tmp_path: Path, jsonl: Callable[..., None]) -> None:
    """A pair of which one side was cut is no right pair: it is not learned from; 0 leaves none out."""
    chosen = [("a b", "x y"), ("a b c d", "x"), ("a", "x y z w v"), ("a b c", "x y z"), ("", "x")]
    for split in ("train", "validation"):
        jsonl(tmp_path / f"{split}.jsonl", [{"source": a, "target": b} for a, b in chosen])
    for most, expected in ((4, [0, 3, 4]), (0, [0, 1, 2, 3, 4])):
        config = tiny("text.tokens=word", f"text.max_length={most}")
        encoded = encoded_of(tmp_path, tmp_path / "cache", config)
        feed = TASK.feed(encoded, "train", TASK.vocabularies(encoded, None, config), config)  # type: ignore[arg-type]
        source, target = (encoded.vocabularies[name] for name in ("vocabulary", "target_vocabulary"))

        batch = feed.batch(feed.whole()[0])

        found = []
        for i in range(batch.rows):
            words = source, batch.arrays["source"][i], batch.arrays["source_lengths"][i]
            after = target, batch.arrays["following"][i], batch.arrays["lengths"][i]
            read, following = (
                [tokens[j].decode() for j in ids[:length]] for tokens, ids, length in (words, after)
            )
            assert following[-1] == "[END]"
            length = len(following)
            assert batch.arrays["before"][i][:length].tolist() == [
                END_ID,
                *batch.arrays["following"][i][: length - 1],
            ]
            assert not batch.arrays["following"][i][length:].any()
            found.append((" ".join(read), " ".join(following[:-1])))
        assert sorted(found) == sorted(chosen[i] for i in expected)


# Mistakes


def refused(command: Command, *words: object) -> str:
    """Return the one line of a command that is refused, without `Error: `."""
    result = command(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    error = result.stderr.splitlines()[-1]
    assert error.startswith("Error: ")
    return error.removeprefix("Error: ")


def settings(*overrides: str) -> list[str]:
    """Return a tiny configuration as it is typed."""
    return [word for override in (*TINY, *overrides) for word in ("--set", override)]


def test_files_of_unequal_length(command: Command, pairs: Path, tmp_path: Path) -> None:
    """The message names the files and how many lines each has; nothing is written."""
    folder = tmp_path / "data"
    write_sides(folder, "train", rows(pairs, "train")[:10])
    with (folder / "train.de").open("a") as file:
        file.write("zu viel\n")

    assert refused(command, "train", "translation", folder, "--run", tmp_path / "run", *settings(*SIDES)) == (
        f"{folder / 'train.en'}: no line 11 to go with the other file's: "
        f"{folder / 'train.en'} has 10 and {folder / 'train.de'} has 11 lines"
    )
    assert not (tmp_path / "run").exists()


def test_a_side_that_is_missing(command: Command, pairs: Path, tmp_path: Path) -> None:
    """Of a folder and of a single pair the message names the file that should be there."""
    folder = tmp_path / "data"
    write_sides(folder, "train", rows(pairs, "train")[:10])
    (folder / "train.de").unlink()
    words = ["--run", tmp_path / "run", *settings(*SIDES)]

    assert refused(command, "train", "translation", folder, *words) == (
        f"{folder}: train.de is missing, the other side of train; there is train.en"
    )
    assert refused(command, "train", "translation", folder / "train.en", *words) == (
        f"{folder / 'train.de'}: no such file; it is the other side of {folder / 'train.en'}"
    )


def test_a_column_that_is_missing(command: Command, few: Path, tmp_path: Path) -> None:
    """The message lists the columns that there are, and the option."""
    message = refused(
        command, "train", "translation", few, "--run", tmp_path / "run", *settings("data.source=english")
    )

    assert "no column 'english'; there is 'source', 'target'; name it with --set data.source=NAME" in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "text.max_length=1",
            "text.max_length = 1: every train row has a side of as many tokens or more; "
            "give a larger one, or 0 for no limit",
        ),
        ("model.layers=0", "model.layers = 0: expected greater than or equal to 1"),
        (
            "training.early_stopping_metric=macro_f1",
            "training.early_stopping_metric = 'macro_f1': expected one of accuracy, perplexity, bleu, loss",
        ),
        ("text.vocabulary_size=10", "a subword vocabulary holds at least 16 pieces, got 7"),
    ],
)
def test_a_configuration_that_cannot_be_learned(
    command: Command, few: Path, tmp_path: Path, override: str, message: str
) -> None:
    """It is refused in one line, and no run is left behind."""
    words = ["train", "translation", few, "--run", tmp_path / "run", *settings(override)]

    assert refused(command, *words) == message
    assert not (tmp_path / "run").exists()


def test_word_vectors_are_the_source_s(few: Path, tmp_path: Path) -> None:
    """A file of word vectors starts the embedding of what is read."""
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("one 1 2 3 4\neins 5 6 7 8\n")
    run = trained(
        few,
        tmp_path / "run",
        "text.tokens=word",
        f"model.embeddings={vectors}",
        "training.learning_rate=1e-9",
        "training.batch_size=16",
    ).path
    opened = Opened(run)
    tables = {
        "vocabulary": opened.model.source_embedding.embeddings.numpy(),
        "target_vocabulary": opened.model.target_embedding.embeddings.numpy(),
    }
    words = opened.run.vocabularies()

    np.testing.assert_allclose(
        tables["vocabulary"][words["vocabulary"].index(b"one")], [1, 2, 3, 4], atol=1e-5
    )
    eins = tables["target_vocabulary"][words["target_vocabulary"].index(b"eins")]
    assert abs(eins).max() < 1


# Going on


@pytest.fixture
def determinism() -> Iterator[None]:
    """Let the other tests run as they would alone."""
    yield
    disable_op_determinism()


@pytest.mark.usefixtures("determinism")
def test_a_resumed_training(few: Path, tmp_path: Path, stop_at: Callable[..., dict[str, Any]]) -> None:
    """It ends at the same weights, bit for bit, with every kind of dropout."""
    options = (
        "training.deterministic=true",
        "training.epochs=2",
        "text.tokens=word",
        "model.cell=gru",
        "model.dropout=0.3",
        "model.recurrent_dropout=0.2",
        "model.word_dropout=0.2",
    )

    assert trained(few, tmp_path / "whole", *options).finished
    assert not trained(few, tmp_path / "run", *options, **stop_at(epoch=2, step=1)).finished
    assert trained(few, tmp_path / "run", *options, resume=True).finished

    first, second = (load_keras_model(open_run(tmp_path / name)).get_weights() for name in ("whole", "run"))
    assert len(first) == len(second) > 10
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    names = ("loss", "validation_loss", "validation_bleu", "gradient_norm")
    assert [[e[n] for n in names] for e in epochs(tmp_path / "whole")] == [
        [e[n] for n in names] for e in epochs(tmp_path / "run")
    ]


def test_rows_to_learn_from() -> None:
    """Without any, there is nothing to do."""
    from data.prepared import Scan

    with pytest.raises(UserError, match="no rows to train on"):
        TASK.check(Scan())
