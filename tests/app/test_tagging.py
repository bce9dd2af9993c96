from __future__ import annotations

import functools
import json
import random
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from click.testing import Result
from tensorflow.python.framework.config import disable_op_determinism

import app.evaluate
import app.prediction.predictor
from app.artifacts.run import open_run
from app.config import load_config
from app.export import export
from app.prediction.loading import load_keras_model, load_predictor
from app.tasks import get_task
from app.train import train
from app.training.encode import encode_dataset
from data.prepared import prepare
from data.samples import tags as sample_tags
from data.sources import open_source
from models.text.words import WordEncoder

Command = Callable[..., Result]
Jsonl = Callable[..., None]
Process = Callable[..., subprocess.CompletedProcess[str]]
Lines = list[dict[str, Any]]
Span = tuple[str, int, int]


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Load each model once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(load_predictor)
        patch.setattr(app.prediction.predictor, "load_predictor", once)
        patch.setattr(app.evaluate, "load_predictor", once)
        yield


TINY = (
    "model.units=8",
    "model.embedding_size=8",
    "model.character_units=4",
    "model.character_embedding_size=4",
    "training.epochs=1",
    "training.learning_rate=0.03",
)
# Without recurrence a network is traced in a tenth of the time.
PLAIN = ("model.layers=0", "model.character_features=none", "model.dropout=0", "model.word_dropout=0")
NO_DROPOUT = ("model.dropout=0", "model.word_dropout=0", "model.rare_word_dropout=0")

HARD = [
    "",
    " \t\u00a0 ",
    "Play",
    "I want Old  Paris\u00a0songs\ton Friday. " * 300,
    "👍🏽 👩‍👩‍👧 🇩🇪 so good😀😀",
    "cafe\u0301 n\u0303o",
    "Η υπόθεση είναι καλή, ΌΜΩΣ…",
    "الحبكة جيدة، لكن الممثلين سيئون",
    "剧情很好，但是演员不行。",
    "หนังเรื่องนี้ดีมาก",
    "İSTANBUL'da ılık",
    "I don’t, she’d’ve; DON'T",
    "a\x00b\x02c \ufeff d\u200be",
    "<br />so <b>New York</b> [UNK]",
]
GIVEN = [
    ["Play", "Old", "Paris", "songs"],
    [],
    ["New York", "is n't", "a\nb", "👍🏽👍🏽"],
    ["x"] * 300,
    ["’", "\u00a0", "e\u0301"],
]


def settings(*assignments: str) -> list[str]:
    """Return them as they are typed."""
    return [word for assignment in assignments for word in ("--set", assignment)]


def trained(data: Path | str, run: Path, *overrides: str, preset: str | None = None) -> Path:
    """Return the run of a tiny tagger."""
    config = load_config("tagging", preset=preset, overrides=[*TINY, *overrides])
    assert train("tagging", str(data), config, run=run).finished
    return run


def printed(command: Command, *arguments: object, status: int = 0) -> Lines:
    """Return the objects that a command printed, a line each."""
    result = command(*arguments)
    assert result.exit_code == status, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def spans_of(tags: Sequence[str]) -> list[Span]:
    """Return the spans of BIO tags: type, first token, and the one behind the last."""
    found: list[Span] = []
    for i, tag in enumerate(tags):
        if tag.startswith("B-"):
            found.append((tag[2:], i, i + 1))
        elif tag.startswith("I-"):
            assert found[-1][0] == tag[2:]
            assert found[-1][2] == i
            found[-1] = (*found[-1][:2], i + 1)
    return found


def orphans(tags: Sequence[str]) -> int:
    """Return how many I- stand behind neither the B- nor the I- of their type."""
    pairs = zip(["O", *tags[:-1]], tags, strict=True)
    return sum(tag.startswith("I-") and before[1:] != tag[1:] for before, tag in pairs)


def f1(gold: set[Any], found: set[Any]) -> float:
    """Return the harmonic mean of precision and recall."""
    return 2 * len(gold & found) / (len(gold) + len(found))


def best_line(run: Path) -> dict[str, Any]:
    """Return the figures of the epoch that a run keeps."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, Any] = [line for line in lines if line.get("best")][-1]
    return found


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """Return a run on the sample: slots and intents."""
    run = tmp_path_factory.mktemp("joint") / "run"
    options = settings(*TINY, *NO_DROPOUT, "training.batch_size=16", "model.units=12")
    result = command("train", "tagging", "sample:tags", "--preset", "fast", *options, "--run", run)
    assert result.exit_code == 0, result.stderr
    return run


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, joint: Path) -> Path:
    """Return the export of the run on the sample."""
    return export(joint, output=tmp_path_factory.mktemp("exports"))


def sample_rows(split: str, number: int) -> Lines:
    """Return rows of the sample as they stand in a file."""
    return [
        {**row, "tokens": list(row["tokens"]), "tags": list(row["tags"])} for row in sample_tags(0)[split]
    ][:number]


@pytest.fixture(scope="module")
def crf(tmp_path_factory: pytest.TempPathFactory, jsonl: Jsonl) -> Path:
    """Return a run with a CRF, after its first epoch, on rows without labels and texts."""
    folder = tmp_path_factory.mktemp("crf")
    for split, size in (("train", 48), ("validation", 8), ("test", 8)):
        rows = [{"tokens": row["tokens"], "tags": row["tags"]} for row in sample_rows(split, size)]
        jsonl(folder / "data" / f"{split}.jsonl", rows)
    return trained(
        folder / "data", folder / "run", "model.crf=true", "model.layers=1", "training.batch_size=24"
    )


# What a run keeps


def test_files_of_a_run(joint: Path, crf: Path) -> None:
    """A run keeps words, characters, tags and how they are written; labels, where the data has them."""
    tags = {tag for row in sample_tags(0)["train"] for tag in row["tags"]}
    labels = {row["label"] for row in sample_tags(0)["train"]}

    assert set((joint / "tags.txt").read_text().split()) == tags
    assert (joint / "scheme.txt").read_text() == "BIO\n"
    assert set((joint / "labels.txt").read_text().split()) == labels
    assert "don't" not in (joint / "vocabulary.txt").read_text().splitlines()
    assert "n't" in (joint / "vocabulary.txt").read_text().splitlines()
    assert {"A", "a"} <= set((joint / "characters.txt").read_text().splitlines())
    assert not (crf / "labels.txt").exists()


def test_it_learns(joint: Path) -> None:
    """After one epoch the smallest network already knows more than chance."""
    figures = best_line(joint)

    assert figures["validation_accuracy"] > 0.75
    assert figures["validation_label_accuracy"] > 0.5
    assert figures["accuracy"] > 0.6


# predict


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lines]:
    """Return a file in which texts and given tokens take turns, and its rows."""
    texts = [{"text": text} for text in HARD]
    given: Lines = [{"tokens": tokens} for tokens in GIVEN]
    rows = [*texts[:3], given[0], *texts[3:5], *given[1:3], *texts[5:], *given[3:]]
    path = tmp_path_factory.mktemp("mixed") / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path, rows


@pytest.fixture(scope="module")
def answers(command: Command, joint: Path, mixed: tuple[Path, Lines]) -> Lines:
    """Return what the run answers to the file."""
    return printed(command, "predict", joint, mixed[0])


def without_score(line: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without its probability."""
    return {name: value for name, value in line.items() if name != "score"}


def test_run_and_export_answer_alike(
    command: Command, exported: Path, mixed: tuple[Path, Lines], answers: Lines
) -> None:
    """Texts and given tokens, mixed in a file, have the same answers from the run and from its export."""
    found = printed(command, "predict", exported, mixed[0])

    assert [without_score(line) for line in found] == [without_score(line) for line in answers]
    assert [line["score"] for line in found] == pytest.approx([line["score"] for line in answers], abs=2e-6)
    assert len({line["score"] for line in answers}) > 10


def test_answers(mixed: tuple[Path, Lines], answers: Lines) -> None:
    """Each row has its answer in its place: tokens with tags, spans cut out of the text, and a label."""
    labels = {row["label"] for row in sample_tags(0)["train"]}
    assert len(answers) == len(mixed[1])
    for row, line in zip(mixed[1], answers, strict=True):
        text = row["text"] if "text" in row else " ".join(row["tokens"])
        assert list(line) == ["tokens", "spans", "label", "score"]
        assert all(list(token) == ["text", "start", "end", "tag"] for token in line["tokens"])
        assert all(text[token["start"] : token["end"]] == token["text"] for token in line["tokens"])
        if "tokens" in row:
            assert [token["text"] for token in line["tokens"]] == row["tokens"]
        expected = [
            (label, line["tokens"][first]["start"], line["tokens"][last - 1]["end"])
            for label, first, last in spans_of([token["tag"] for token in line["tokens"]])
        ]
        assert [(span["label"], span["start"], span["end"]) for span in line["spans"]] == expected
        assert all(span["text"] == text[span["start"] : span["end"]] for span in line["spans"])
        assert line["label"] in labels
        assert 1 / len(labels) < line["score"] <= 1
    assert [line["tokens"] for line in answers[:2]] == [[], []]
    assert len(answers[4]["tokens"]) == 8 * 300
    assert any(line["spans"] for line in answers)


def test_what_stands_in_a_span(joint: Path) -> None:
    """A span's text is that of the text, the white space between its tokens as well."""
    line = {"spans": [{"label": "city", "start": 0, "end": 9, "text": "New  York"}], "tokens": []}
    task: Any = app.prediction.predictor.load_predictor(joint).task
    rows = [type("R", (), {"values": {"text": ""}, "text": lambda self: "New\t\u00a0York", "line": 1})()]

    class Fixed:
        """Answers one text always."""

        def __call__(self, texts: list[bytes]) -> dict[str, np.ndarray]:
            return {
                "tokens": np.array([[b"New", b"York"]]),
                "tags": np.array([[b"B-city", b"I-city"]]),
                "start": np.array([[0, 5]]),
                "end": np.array([[3, 9]]),
                "length": np.array([2]),
            }

    (found,) = task.answer(Fixed(), rows)

    assert found["spans"] == [line["spans"][0] | {"text": "New\t\u00a0York"}]


def test_neighbours_change_nothing(joint: Path, mixed: tuple[Path, Lines], answers: Lines) -> None:
    """A text alone is answered as in a batch with one of thousands of words."""
    predictor = app.prediction.predictor.load_predictor(joint)
    for row, line in zip(mixed[1], answers, strict=True):
        if "text" in row:
            (alone,) = predictor.task.lines(predictor([row["text"].encode()]))
            assert [token["tag"] for token in alone["tokens"]] == [token["tag"] for token in line["tokens"]]
            assert alone["score"] == pytest.approx(line["score"], abs=2e-6)


def test_lines_and_tables(command: Command, joint: Path, tmp_path: Path) -> None:
    """Texts may also come one a line, or in a column."""
    text = "I want Old Paris songs."
    (tmp_path / "texts.txt").write_text(f"{text}\n\n")
    (tmp_path / "rows.csv").write_text(f'id,text\n1,"{text}"\n2,\n')
    (tmp_path / "rows.jsonl").write_text(f'{{"q": "{text}"}}\n{{"q": ""}}\n')

    first = printed(command, "predict", joint, tmp_path / "texts.txt")

    assert [len(line["tokens"]) for line in first] == [6, 0]
    assert printed(command, "predict", joint, tmp_path / "rows.csv") == first
    assert printed(command, "predict", joint, tmp_path / "rows.jsonl", "--text-column", "q") == first


def test_rows_that_cannot_be_tagged(command: Command, joint: Path, tmp_path: Path) -> None:
    """A row without text and tokens, or with tokens that are none, has an error in its place."""
    rows = [
        '{"tokens": ["a"], "text": "b c"}',
        '{"x": 1}',
        '{"tokens": "a b"}',
        '{"tokens": [""]}',
        '{"text": "d"}',
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))

    found = printed(command, "predict", joint, tmp_path / "rows.jsonl", status=1)

    assert [token["text"] for token in found[0]["tokens"]] == ["a"]
    assert [line["line"] for line in found[1:4]] == [2, 3, 4]
    assert found[1]["error"] == "neither a text nor 'tokens'; name the text's column with --text-column NAME"
    assert found[2]["error"] == "'tokens' is a text, not a list"
    assert found[3]["error"] == "tokens[0] is empty"
    assert [token["text"] for token in found[4]["tokens"]] == ["d"]


@pytest.mark.parametrize("name", ["joint", "crf"])
def test_spans_begin_with_b(name: str, request: pytest.FixtureRequest) -> None:
    """No I- without its B- in any text, whatever the weights, though single tokens would often be one."""
    path = request.getfixturevalue(name)
    words = sorted({token for row in sample_tags(0)["train"] for token in row["tokens"]})
    generator = random.Random(0)
    texts = [generator.choices(words, k=generator.randint(1, 20)) for _ in range(200)]
    vocabularies = open_run(path).vocabularies()
    predictor = load_predictor(path)
    model = predictor.model
    assert model is not None
    noise = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(noise.normal(size=weight.shape))
    model.make_portable()  # of these weights
    arrays = WordEncoder(vocabularies["vocabulary"], vocabularies["characters"])(tf.ragged.constant(texts))
    order = ("token_ids", "lengths", "forms", "characters", "character_lengths")
    emissions = model(*(arrays[name] for name in order))["emissions"].numpy()
    free = [
        [vocabularies["tags"][i].decode() for i in row[: len(text)].argmax(axis=1)]
        for row, text in zip(emissions, texts, strict=True)
    ]

    found = predictor.run("tokens", {"tokens": texts}, np.array([len(text) for text in texts]))

    tags = [
        [tag.decode() for tag in row[: len(text)]] for row, text in zip(found["tags"], texts, strict=True)
    ]
    assert sum(map(orphans, free)) > 20
    assert sum(map(orphans, tags)) == 0
    assert sum(tag.startswith("I-") for row in tags for tag in row) > 20


# evaluate


@pytest.fixture(scope="module")
def evaluated(
    command: Command, joint: Path, jsonl: Jsonl, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Lines, Lines, Lines]:
    """Return figures on rows of a file, the rows, and what is answered to their tokens and texts."""
    folder = tmp_path_factory.mktemp("evaluated")
    rows = sample_rows("test", 80)
    # Tags that are right where the label is not.
    labels = sorted({row["label"] for row in rows})
    rows += [{"text": ".", "tokens": ["."], "tags": ["O"], "label": label} for label in labels]
    # As in treebanks, tokens that are written otherwise or together; and tags that the model lacks.
    rows.append(
        {
            "text": "dunno about Old Paris weather",
            "tokens": ["do", "n't", "know", "about", "Old", "Paris", "weather"],
            "tags": ["O", "O", "O", "O", "B-city", "I-city", "O"],
            "label": "get_weather",
        }
    )
    rows.append({"text": "xy", "tokens": ["x", "y"], "tags": ["B-zzz", "O"], "label": "get_weather"})
    jsonl(folder / "rows.jsonl", rows)
    jsonl(folder / "tokens.jsonl", [{"tokens": row["tokens"]} for row in rows])
    jsonl(folder / "texts.jsonl", [{"text": row["text"]} for row in rows])
    (figures,) = printed(
        command,
        "evaluate",
        joint,
        "--data",
        folder / "rows.jsonl",
        "--split",
        "all",
        "--json",
        "--no-baseline",
    )
    given, raw = (
        printed(command, "predict", joint, folder / f"{name}.jsonl") for name in ("tokens", "texts")
    )
    return figures, rows, given, raw


def test_the_object(evaluated: tuple[dict[str, Any], Lines, Lines, Lines]) -> None:
    """`--json` has the keys of the contract."""
    figures, rows, _, _ = evaluated

    assert list(figures) == [
        *("task", "dataset", "split", "examples", "tokens", "loss", "accuracy"),
        *(
            "span_f1",
            "span_precision",
            "span_recall",
            "per_type",
            "label_accuracy",
            "exact_match",
            "raw_text",
        ),
    ]
    assert (figures["task"], figures["examples"]) == ("tagging", 87)
    assert figures["tokens"] == sum(len(row["tokens"]) for row in rows)


def test_figures_on_tokens(evaluated: tuple[dict[str, Any], Lines, Lines, Lines]) -> None:
    """Figures are those of what `predict` answers to the given tokens."""
    figures, rows, given, _ = evaluated
    tags = [[token["tag"] for token in line["tokens"]] for line in given]
    hits = [
        [a == b for a, b in zip(row["tags"], own, strict=True)] for row, own in zip(rows, tags, strict=True)
    ]
    right_labels = [row["label"] == line["label"] for row, line in zip(rows, given, strict=True)]
    gold = {(i, *span) for i, row in enumerate(rows) for span in spans_of(row["tags"])}
    found = {(i, *span) for i, own in enumerate(tags) for span in spans_of(own)}

    assert 0 < len(gold & found) < len(found)
    assert any(all(row) and not right for row, right in zip(hits, right_labels, strict=True))
    assert figures["accuracy"] == pytest.approx(np.mean([hit for row in hits for hit in row]))
    assert figures["span_f1"] == pytest.approx(f1(gold, found))
    assert figures["span_precision"] == pytest.approx(len(gold & found) / len(found))
    assert figures["span_recall"] == pytest.approx(len(gold & found) / len(gold))
    assert figures["label_accuracy"] == pytest.approx(np.mean(right_labels))
    both = [all(row) and right for row, right in zip(hits, right_labels, strict=True)]
    assert figures["exact_match"] == pytest.approx(np.mean(both))
    assert figures["per_type"].keys() == {span[1] for span in gold | found}
    for label, row in figures["per_type"].items():
        own, answered = ({span for span in spans if span[1] == label} for spans in (gold, found))
        assert row["support"] == len(own)
        assert row["f1"] == pytest.approx(f1(own, answered))
        assert row["precision"] == pytest.approx(len(own & answered) / max(len(answered), 1))
        assert row["recall"] == pytest.approx(len(own & answered) / max(len(own), 1))
    assert figures["per_type"]["zzz"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}


def test_figures_on_raw_text(evaluated: tuple[dict[str, Any], Lines, Lines, Lines]) -> None:
    """On raw text a token counts by its place, a span by its ends; what is written otherwise is missed."""
    figures, rows, _, raw = evaluated
    gold, gold_spans = set(), set()
    for i, row in enumerate(rows):
        places, position = [], 0
        for j, token in enumerate(row["tokens"]):
            start = row["text"].find(token, position)
            places.append((-1 - j, -1 - j) if start < 0 else (start, start + len(token)))
            position = max(position, places[-1][1])
        gold |= {(i, *place, tag) for place, tag in zip(places, row["tags"], strict=True)}
        spans = spans_of(row["tags"])
        gold_spans |= {(i, label, places[first][0], places[last - 1][1]) for label, first, last in spans}
    found = {(i, t["start"], t["end"], t["tag"]) for i, line in enumerate(raw) for t in line["tokens"]}
    found_spans = {(i, s["label"], s["start"], s["end"]) for i, line in enumerate(raw) for s in line["spans"]}
    text = figures["raw_text"]

    assert list(text) == ["token_f1", "tag_f1", "span_f1", "gap"]
    assert text["token_f1"] == pytest.approx(f1({t[:3] for t in gold}, {t[:3] for t in found}))
    assert text["tag_f1"] == pytest.approx(f1(gold, found))
    assert text["span_f1"] == pytest.approx(f1(gold_spans, found_spans))
    assert text["gap"] == pytest.approx(figures["span_f1"] - text["span_f1"])
    assert text["token_f1"] < 1  # "do n't know", of which nothing is written so


def test_validation_is_what_training_saw(command: Command, joint: Path) -> None:
    """On the validation rows the figures are those that the best epoch was chosen by, the loss as well."""
    (figures,) = printed(command, "evaluate", joint, "--split", "validation", "--json", "--no-baseline")
    best = best_line(joint)

    for name in ("loss", "accuracy", "span_f1", "label_accuracy", "exact_match"):
        assert figures[name] == pytest.approx(best[f"validation_{name}"], rel=1e-4)


def test_a_tag_that_the_model_lacks(command: Command, joint: Path, jsonl: Jsonl, tmp_path: Path) -> None:
    """The loss is the mean over the rows whose tags the model has; without such rows there is none."""
    known = [{"tokens": row["tokens"], "tags": row["tags"]} for row in sample_rows("test", 12)]
    strange = {"tokens": ["x"] * 50, "tags": ["B-zzz"] * 50}
    data = {"known": known, "both": [*known, strange], "strange": [strange]}
    found = {}
    for name, rows in data.items():
        jsonl(tmp_path / f"{name}.jsonl", rows)
        options = ("--data", tmp_path / f"{name}.jsonl", "--split", "all", "--no-baseline", "--json")
        (found[name],) = printed(command, "evaluate", joint, *options)

    assert found["both"]["loss"] == pytest.approx(found["known"]["loss"])
    assert found["both"]["accuracy"] < found["known"]["accuracy"]
    assert "loss" not in found["strange"]
    assert found["strange"]["accuracy"] == 0
    assert not found["known"].keys() & {"label_accuracy", "exact_match", "raw_text"}


def test_baseline(command: Command, joint: Path) -> None:
    """The baseline is each word's most frequent tag, and of a new one that of most words seen once."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in sample_tags(0)["train"]:
        for token, tag in zip(row["tokens"], row["tags"], strict=True):
            counts[token.lower()][tag] += 1
    hits, total = 0, 0
    for row in sample_tags(0)["test"]:
        for token, tag in zip(row["tokens"], row["tags"], strict=True):
            own = counts[token.lower()]
            best = max(sorted(own), key=lambda name: own[name]) if own else "O"
            hits, total = hits + (best == tag), total + 1

    (figures,) = printed(command, "evaluate", joint, "--json")

    assert figures["baseline"].keys() == {"name", "accuracy", "span_f1"}
    assert figures["baseline"]["name"] == "most frequent tag"
    # Few words of the test rows are new.
    assert figures["baseline"]["accuracy"] == pytest.approx(hits / total, abs=5e-3)
    assert 0 < figures["baseline"]["span_f1"] < 0.5


# Parts of speech


CONLLU = {
    "I don't know.": ["1 I PRON", "2-3 don't _", "2 do AUX", "3 n't PART", "4 know VERB", "5 . PUNCT"],
    "Dogs gonna bark!": ["1 Dogs NOUN", "2-3 gonna _", "2 gon VERB", "3 na PART", "4 bark VERB", "5 ! PUNCT"],
    "She knows\u00a0dogs": ["1 She PRON", "2 knows VERB", "2.1 the DET", "3 dogs NOUN"],
    "Στο σπίτι": ["1-2 Στο _", "1 Σε ADP", "2 το DET", "3 σπίτι NOUN"],
}


def write_conllu(path: Path, sentences: dict[str, list[str]]) -> None:
    """Write sentences given as their text, and lines of number, form and part of speech."""
    path.parent.mkdir(exist_ok=True)
    blocks = []
    for text, lines in sentences.items():
        cells = [line.split(" ") for line in lines]
        rows = [[number, form, "_", tag, f"X{tag}", *["_"] * 5] for number, form, tag in cells]
        blocks.append("\n".join([f"# text = {text}", *("\t".join(row) for row in rows)]) + "\n\n")
    path.write_text("".join(blocks), encoding="utf-8")


@pytest.fixture(scope="module")
def treebank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four sentences in CoNLL-U."""
    folder = tmp_path_factory.mktemp("treebank") / "bank"
    for split in ("train", "validation", "test"):
        write_conllu(folder / f"{split}.conllu", CONLLU)
    return folder


def test_parts_of_speech(command: Command, treebank: Path, tmp_path: Path) -> None:
    """Plain tags are learnt by heart from four sentences; on raw text what ranges write is missed."""
    run = trained(
        treebank, tmp_path / "run", *PLAIN, *NO_DROPOUT, "training.epochs=40", "training.schedule=constant"
    )

    (figures,) = printed(command, "evaluate", run, "--json")
    lines = printed(command, "predict", run, "--text-column", "text", *[_texts(tmp_path, CONLLU)])

    assert (run / "scheme.txt").read_text() == "plain\n"
    assert (figures["examples"], figures["tokens"], figures["accuracy"]) == (4, 16, 1)
    assert list(figures["raw_text"]) == ["token_f1", "tag_f1", "gap"]
    # Of 16 tokens and 14 that are cut: "do" "n't" are found; "gon" "na", "Σε" "το" are not written so.
    assert figures["raw_text"]["token_f1"] == pytest.approx(2 * 12 / (16 + 14))
    assert figures["raw_text"]["tag_f1"] == pytest.approx(2 * 12 / (16 + 14))
    assert figures["raw_text"]["gap"] == pytest.approx(1 - 2 * 12 / (16 + 14))
    assert not {"span_f1", "per_type", "label_accuracy"} & figures.keys()
    assert [list(line) for line in lines] == [["tokens", "spans"]] * 4
    assert [(t["text"], t["tag"]) for t in lines[0]["tokens"]] == [
        *(("I", "PRON"), ("do", "AUX"), ("n't", "PART"), ("know", "VERB"), (".", "PUNCT")),
    ]
    assert all(line["spans"] == [] for line in lines)


def _texts(folder: Path, texts: dict[str, Any]) -> Path:
    path = folder / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def test_another_column(treebank: Path, tmp_path: Path) -> None:
    """`data.tag_column` names another column of CoNLL-U."""
    run = trained(treebank, tmp_path / "run", *PLAIN, "data.tag_column=xpos")

    assert "XVERB" in (run / "tags.txt").read_text().split()


# Schemes


SENTENCES = [
    [
        ("Ann", "PER"),
        ("Lee", "PER"),
        ("met", ""),
        ("Bo", "PER+"),
        ("in", ""),
        ("New", "LOC"),
        ("York", "LOC"),
    ],
    [("Bo", "PER"), ("Ann", "PER+"), ("Lee", "PER"), ("left", "")],
    [("New", "LOC"), ("York", "LOC"), ("Paris", "LOC+"), ("met", ""), ("Ann", "PER")],
    [("in", ""), ("Paris", "LOC"), ("Bo", "PER")],
]


def written(sentence: list[tuple[str, str]], scheme: str) -> list[str]:
    """Return the tags of a sentence; a type with `+` begins a span that touches another of its type."""
    bio, iob1 = [], []
    before = ""
    for _, name in sentence:
        kind = name.rstrip("+")
        new = name.endswith("+") or kind != before
        bio.append(f"{'B' if new else 'I'}-{kind}" if kind else "O")
        iob1.append(f"{'B' if name.endswith('+') and kind == before else 'I'}-{kind}" if kind else "O")
        before = kind
    if scheme != "BIOES":
        return {"BIO": bio, "IOB1": iob1}[scheme]
    ended = [not after.startswith("I-") for after in [*bio[1:], "O"]]
    last = {"B": "S", "I": "E", "O": "O"}
    return [last[tag[0]] + tag[1:] if end else tag for tag, end in zip(bio, ended, strict=True)]


SCHEMES = ("BIO", "IOB1", "BIOES")


@pytest.fixture(scope="module")
def schemes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of folders, in each the same spans written in another way."""
    folder = tmp_path_factory.mktemp("schemes")
    for scheme in SCHEMES:
        blocks = [
            "".join(f"{t} _ {tag}\n" for (t, _), tag in zip(row, written(row, scheme), strict=True)) + "\n"
            for row in SENTENCES
        ]
        (folder / scheme).mkdir()
        for split in ("train", "validation", "test"):
            (folder / scheme / f"{split}.conll").write_text("".join(blocks))
    return folder


def test_the_schemes_differ() -> None:
    """The same spans, written in three ways."""
    assert written(SENTENCES[1], "BIO") == ["B-PER", "B-PER", "I-PER", "O"]
    assert written(SENTENCES[1], "IOB1") == ["I-PER", "B-PER", "I-PER", "O"]
    assert written(SENTENCES[1], "BIOES") == ["S-PER", "B-PER", "E-PER", "O"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_is_learnt_as_bio(schemes: Path, tmp_path: Path, scheme: str) -> None:
    """However spans are written, a model is shown their tags in BIO."""
    config = load_config("tagging", overrides=TINY)
    task = get_task("tagging")
    fields = task.fields(config)
    source = open_source(str(schemes / scheme), fields, task.examples.shapes)
    dataset = prepare(source, fields, directory=tmp_path, watch=task.watch(config))

    encoded, _ = encode_dataset(dataset, task, config, tmp_path)

    names = encoded.vocabularies["tags"]
    rows = encoded.splits["train"].sequences["tags"]
    expected = [written(sentence, "BIO") for sentence in SENTENCES]
    assert [[names[i].decode() for i in rows.row(row)] for row in range(len(rows))] == expected
    assert set(names) == {b"B-LOC", b"B-PER", b"I-LOC", b"I-PER", b"O"}
    assert encoded.vocabularies["scheme"] == [b"BIO"]


def test_every_scheme_is_evaluated_alike(command: Command, schemes: Path, tmp_path: Path) -> None:
    """A model that learned from one way to write spans has the same figures on every other."""
    run = trained(schemes / "IOB1", tmp_path / "run", *PLAIN, "training.epochs=6", "training.batch_size=1")
    figures = [
        printed(command, "evaluate", run, "--data", schemes / other, "--json", "--no-baseline")[0]
        for other in SCHEMES
    ]

    assert (run / "scheme.txt").read_text() == "BIO\n"
    for name in ("loss", "accuracy", "span_f1", "span_recall"):
        assert [row[name] for row in figures] == pytest.approx([figures[0][name]] * 3)
    assert figures[0]["span_f1"] > 0.5
    assert figures[0]["per_type"].keys() == {"PER", "LOC"}


# Every kind of network


# What the runs above, a GRU with filters over characters and an LSTM with a CRF, are not.
NETWORKS = {
    "simple": ("model.cell=simple", "model.character_features=convolution", "model.bidirectional=false"),
    "lstm": (
        *("model.character_features=none", "model.merge_mode=sum", "model.recurrent_dropout=0.2"),
        *("training.batch_size=4", "training.label_smoothing=0.1"),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(command: Command, jsonl: Jsonl, tmp_path: Path, name: str) -> None:
    """Each network trains, is saved, and has the same figures when it is loaded."""
    jsonl(tmp_path / "data/train.jsonl", sample_rows("train", 10))
    jsonl(tmp_path / "data/validation.jsonl", sample_rows("validation", 6))
    labels = {row["label"] for row in sample_rows("train", 10)}
    assert {row["label"] for row in sample_rows("validation", 6)} <= labels

    run = trained(tmp_path / "data", tmp_path / "run", "model.layers=1", *NETWORKS[name])
    (figures,) = printed(command, "evaluate", run, "--split", "validation", "--json", "--no-baseline")

    best = best_line(run)
    for figure in ("loss", "accuracy", "span_f1", "label_accuracy", "exact_match"):
        assert figures[figure] == pytest.approx(best[f"validation_{figure}"], rel=1e-4)
    assert 0 < figures["loss"] < 10


# Resuming


@pytest.fixture
def no_lasting_determinism() -> Iterator[None]:
    """Let other tests run as they would alone."""
    yield
    disable_op_determinism()


@pytest.mark.usefixtures("no_lasting_determinism")
def test_resumed(jsonl: Jsonl, tmp_path: Path, stop_at: Callable[..., dict[str, Any]]) -> None:
    """A training that stops in its second epoch and goes on ends at the same weights, bit for bit."""
    jsonl(tmp_path / "data/train.jsonl", sample_rows("train", 24))
    jsonl(tmp_path / "data/validation.jsonl", sample_rows("validation", 4))
    overrides = [
        *("training.deterministic=true", "training.epochs=2", "training.batch_size=4", "model.layers=0"),
        *("model.crf=true", "model.character_features=convolution", "model.word_dropout=0.1"),
    ]
    config = load_config("tagging", overrides=[*TINY, *overrides])

    data = str(tmp_path / "data")
    whole = train("tagging", data, config, run=tmp_path / "whole")
    stopped = train("tagging", data, config, run=tmp_path / "run", **stop_at(epoch=2, step=2))
    assert not stopped.finished
    again = train("tagging", data, config, run=tmp_path / "run", resume=True)

    assert whole.finished
    assert again.finished
    first, second = (load_keras_model(open_run(trained.path)).get_weights() for trained in (whole, again))
    assert len(first) == len(second) > 0
    assert all(map(np.array_equal, first, second))


# Exports


ALONE = r"""
import importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("app", "data", "models"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Refuse())
import numpy as np
import tensorflow as tf

def plain(value):
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value

def specs(tensors):
    return {k: [v.dtype.name, v.shape.as_list()] for k, v in tensors.items()}

def rows(tokens):
    width = max(map(len, tokens))
    values = [[t.encode() for t in row] + [b""] * (width - len(row)) for row in tokens]
    return np.array(values, object).reshape(len(tokens), width)

job = json.load(sys.stdin)
fed = {"serving_default": [("text", np.array([t.encode() for t in texts], object)) for texts in job["texts"]],
       "tokens": [("tokens", rows(tokens)) for tokens in job["tokens"]]}
def answered(path):
    results = {"tf1": {}, "tf2": {}, "inputs": {}, "outputs": {}}
    loaded = tf.saved_model.load(path)
    for name, signature in loaded.signatures.items():
        results["inputs"][name] = specs(signature.structured_input_signature[1])
        results["outputs"][name] = specs(signature.structured_outputs)
        answers = [signature(**{i: tf.constant(v, tf.string)}) for i, v in fed[name]]
        results["tf2"][name] = [{k: plain(v.numpy().tolist()) for k, v in a.items()} for a in answers]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], path)
        for name in fed:
            signature = meta.signature_def[name]
            outputs = {k: v.name for k, v in signature.outputs.items()}
            answers = [session.run(outputs, {signature.inputs[i].name: v}) for i, v in fed[name]]
            results["tf1"][name] = [{k: plain(v.tolist()) for k, v in a.items()} for a in answers]
    return results

results = {name: answered(path) for name, path in job["exports"].items()}
results["imported"] = sorted({name.partition(".")[0] for name in sys.modules})
json.dump(results, sys.stdout)
"""
TEXT_BATCHES = [HARD, [""], ["Play Old Paris songs.", ""]]
TOKEN_BATCHES = [GIVEN, [[], []], [["", ""], ["", ""]], [["Play", "", "songs"], ["Play", "songs"]]]


@pytest.fixture(scope="module")
def alone(process: Process, exported: Path, crf: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what exports with and without labels answer in a process without the project."""
    folder = tmp_path_factory.mktemp("alone")
    exports = {"joint": str(exported), "crf": str(export(crf, output=folder / "crf"))}
    job = {"exports": exports, "texts": TEXT_BATCHES, "tokens": TOKEN_BATCHES}
    result = process("-I", "-c", ALONE, cwd=folder, stdin=json.dumps(job))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", ["joint", "crf"])
def test_signatures(alone: Any, name: str) -> None:
    """Both signatures have the names, types and shapes of the contract, and need nothing of the project."""
    tags = {"tags": ["string", [None, None]], "length": ["int32", [None]]}
    label = {"label": ["string", [None]], "score": ["float32", [None]]} if name == "joint" else {}
    places = {key: ["int32", [None, None]] for key in ("start", "end")}

    assert alone[name]["inputs"] == {
        "serving_default": {"text": ["string", [None]]},
        "tokens": {"tokens": ["string", [None, None]]},
    }
    assert alone[name]["outputs"] == {
        "serving_default": {**tags, **label, **places, "tokens": ["string", [None, None]]},
        "tokens": {**tags, **label},
    }
    assert not {"app", "data", "models"} & set(alone["imported"])


@pytest.fixture(scope="module")
def of_runs(joint: Path, crf: Path) -> dict[str, dict[str, Lines]]:
    """Return what the runs answer to the same batches."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value.decode() if isinstance(value, bytes) else value

    def rows(batch: list[list[str]]) -> tf.Tensor:
        width = max(map(len, batch))
        padded = [[*row, *[""] * (width - len(row))] for row in batch]
        return tf.constant(np.array(padded, object).reshape(len(batch), width), tf.string)

    fed: dict[str, list[dict[str, tf.Tensor]]] = {
        "serving_default": [{"text": tf.constant(batch)} for batch in TEXT_BATCHES],
        "tokens": [{"tokens": rows(batch)} for batch in TOKEN_BATCHES],
    }
    found: dict[str, dict[str, Lines]] = {}
    for name, path in (("joint", joint), ("crf", crf)):
        signatures = app.prediction.predictor.load_predictor(path).signatures
        found[name] = {
            signature: [
                {key: plain(value.numpy().tolist()) for key, value in signatures[signature](**own).items()}
                for own in batches
            ]
            for signature, batches in fed.items()
        }
    return found


@pytest.mark.parametrize("version", ["tf1", "tf2"])
@pytest.mark.parametrize("name", ["joint", "crf"])
def test_exports_answer_as_their_runs(
    alone: Any, of_runs: dict[str, dict[str, Lines]], name: str, version: str
) -> None:
    """Without the project and in a TF1 session, answers are the run's: hard texts, none, and no tokens."""
    for signature, expected in of_runs[name].items():
        found = alone[name][version][signature]
        assert [without_score(answer) for answer in found] == [without_score(row) for row in expected]
        for answer, row in zip(found, expected, strict=True):
            assert answer.get("score") == pytest.approx(row.get("score"), abs=1e-5)
    assert all("score" in answer for answer in alone["joint"][version]["tokens"])


def test_padding_of_answers(alone: Any) -> None:
    """Behind a row's end there are empty strings and zeros; what is empty within a row has a tag."""
    long = alone["crf"]["tf2"]["serving_default"][0]
    for i, length in enumerate(long["length"]):
        assert all(long["tags"][i][:length])
        assert not any(long["tags"][i][length:] + long["tokens"][i][length:])
        assert not any(long["start"][i][length:] + long["end"][i][length:])
    assert alone["crf"]["tf2"]["serving_default"][1] == {
        **{"tags": [[""]], "tokens": [[""]], "start": [[0]], "end": [[0]], "length": [0]}
    }
    given, none, empty, inner = alone["crf"]["tf2"]["tokens"]
    assert given["length"] == [len(row) for row in GIVEN]
    assert none["length"] == empty["length"] == [0, 0]
    assert not any(tag for answer in (none, empty) for row in answer["tags"] for tag in row)
    assert inner["length"] == [3, 2]
    assert [[bool(tag) for tag in row] for row in inner["tags"]] == [[True] * 3, [True, True, False]]


# Mistakes


TAGGED = '{"tokens": ["a", "b"], "tags": ["B-X", "O"]}\n'
LABELLED = '{"tokens": ["a", "b"], "tags": ["B-X", "O"], "label": "x"}\n'
MISTAKES = {
    "misaligned": (
        TAGGED * 2 + '{"tokens": ["a", "b", "c"], "tags": ["O", "O"]}\n',
        "{path}:3: misaligned: 3 tokens, 2 tags; 'textrnn datasets check' lists all such rows",
    ),
    "contradicting": (
        TAGGED * 8 + '{"tokens": ["a", "b"], "tags": ["B-X", "I-Y"]}\n' + TAGGED,
        "{path}:9: token 2: 'I-Y' after 'B-X': in BIO, a span begins with 'B-Y'",
    ),
    "neither": (
        TAGGED * 3 + '{"tokens": ["a"], "tags": ["PERSON"]}\n' + TAGGED,
        "{path}:4: token 1: 'PERSON' is neither O nor a letter and a type, such as B-PER or I-PER",
    ),
    "some labels": (
        LABELLED * 3 + TAGGED * 2,
        "data: 2 of 5 rows have no label; give it to all rows or to none",
    ),
    "one tag": (
        '{"tokens": ["a", "b"], "tags": ["O", "O"]}\n' * 4,
        "the training examples have only one tag ('O'); expected at least 2",
    ),
    "one label": (LABELLED * 4, "only one class in the training rows ('x'); expected at least two"),
    "no tokens": (
        '{"text": "a b", "tags": ["O", "O"]}\n',
        "{path}:1: no column 'tokens'; there is 'text', 'tags'; name it with a column 'tokens'; "
        "'textrnn datasets check' lists all such rows",
    ),
    "no tags": (
        '{"tokens": ["a", "b"], "ner": ["O", "O"]}\n',
        "{path}:1: no column 'upos'; there is 'tokens', 'ner'; name it with --set data.tag_column=NAME; "
        "'textrnn datasets check' lists all such rows",
    ),
    "nothing": (
        '{"tokens": [], "tags": []}\n' * 20,
        "the train split has no tokens, only empty examples; give examples with tokens and tags",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(command: Command, tmp_path: Path, name: str) -> None:
    """A mistake in the data is one line that says where it is, and nothing is written."""
    rows, message = MISTAKES[name]
    path = tmp_path / "data" / "train.jsonl"
    path.parent.mkdir()
    path.write_text(rows)

    result = command("train", "tagging", path.parent, "--run", tmp_path / "run")

    assert result.exit_code == 1
    assert result.stderr == f"Error: {message.format(path=path)}\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("held_out", [False, True])
def test_empty_validation_examples_are_refused(command: Command, tmp_path: Path, held_out: bool) -> None:
    """A split without a token has no loss; be it a file or what is held out."""
    empty = '{"tokens": [], "tags": []}\n'
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.jsonl").write_text(TAGGED + (empty * 9 if held_out else ""))
    if not held_out:
        (data / "validation.jsonl").write_text(empty * 3)
    # All empty examples have one hash; where it is not held out, the example with tokens is.
    options = settings("data.validation_fraction=0.5")
    result = command("train", "tagging", data, "--run", tmp_path / "run", *options)

    assert result.exit_code == 1
    assert (
        "has no tokens, only empty examples" in result.stderr or "no row is left to validate" in result.stderr
    )
    assert result.stderr.count("\n") == 1


def test_an_unknown_column(command: Command, treebank: Path, tmp_path: Path) -> None:
    """A column that CoNLL-U does not have is refused with those that it has."""
    options = settings("data.tag_column=ner")
    result = command("train", "tagging", treebank, "--run", tmp_path / "run", *options)

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {treebank}/")
    assert ".conllu: no column 'ner'; there is 'id', 'form', 'lemma', 'upos', " in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_label_that_the_model_lacks(command: Command, joint: Path, tmp_path: Path) -> None:
    """Evaluation refuses an intent that the model was never taught."""
    (tmp_path / "rows.jsonl").write_text(LABELLED)

    result = command("evaluate", joint, "--data", tmp_path / "rows.jsonl", "--split", "all")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: label 'x' (split all) is none of the model's: ")
    assert result.stderr.count("\n") == 1


# The catalogue


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Return the folder of what is known of `tfds:conll2003`, three splits, without its rows."""
    builder = tfds.builder("conll2003", data_dir=tmp_path / "features")
    folder = tmp_path / "catalogue"
    own = folder / str(builder.info.full_name)
    own.mkdir(parents=True)
    builder.info.features.save_metadata(own)
    splits = [
        {
            "name": name,
            "shardLengths": ["12"],
            "numBytes": "100",
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        }
        for name in ("train", "dev", "test")
    ]
    info = {"name": "conll2003", "version": str(builder.version), "fileFormat": "tfrecord", "splits": splits}
    (own / "dataset_info.json").write_text(json.dumps(info))
    return folder


def sentences(builder: Any, **_: Any) -> tf.data.Dataset:
    """Return 12 sentences of three tokens, as a split of the catalogue's has them."""
    pos, ner = (builder.info.features[name].feature for name in ("pos", "ner"))
    row = {
        "tokens": ["Ann", "saw", "Paris"],
        "pos": [pos.str2int(name) for name in ("NNP", "VBD", "NNP")],
        "ner": [ner.str2int(name) for name in ("B-PER", "O", "B-LOC")],
    }
    return tf.data.Dataset.from_tensors(row).repeat(12)


def test_the_catalogue(catalogue: Path, command: Command, tmp_path: Path) -> None:
    """Tags of a catalogue dataset are the feature that is named; where several could be meant, it must be."""
    cache = f"data.directory={tmp_path / 'cache'}"
    words = ("train", "tagging", "tfds:conll2003", *settings(*TINY, cache), "--run", tmp_path / "other")
    with tfds.testing.mock_data(as_dataset_fn=sentences, data_dir=str(catalogue)):
        run = trained("tfds:conll2003", tmp_path / "run", *PLAIN, cache, "data.tag_column=ner")
        unnamed = command(*words)
    with tfds.testing.mock_data(num_examples=12, data_dir=str(catalogue)):  # sequences of random lengths
        random_rows = command(*words, *settings("data.tag_column=pos"))

    assert {"B-PER", "B-LOC", "O"} <= set((run / "tags.txt").read_text().split())
    assert (run / "scheme.txt").read_text() == "BIO\n"
    assert (unnamed.exit_code, random_rows.exit_code) == (1, 1)
    assert unnamed.stderr.count("\n") == 1
    assert "no tags feature 'upos'" in unnamed.stderr
    assert "ner (Sequence of ClassLabel)" in unnamed.stderr
    assert "--set data.tag_column=NAME" in unnamed.stderr
    assert random_rows.stderr.startswith("Error: conll2003: misaligned: a row has ")
    assert random_rows.stderr.count("\n") == 1
