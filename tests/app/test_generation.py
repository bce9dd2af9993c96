from __future__ import annotations

import base64
import itertools
import json
import math
import os
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import Result
from tensorflow.python.framework.config import disable_op_determinism

from app.artifacts.run import open_run
from app.config import TaskConfig, load_config
from app.evaluate import evaluate
from app.export import export
from app.generate import STREAMED_TOKENS, Ending, Options, generate, stream
from app.prediction.loading import load_predictor
from app.prediction.predictor import Predictor
from app.tasks import get_task
from app.train import train
from data.prepared import prepare
from data.sources import open_source
from data.splits import training_rows
from models.text.tokenize import tokenize
from models.text.tokens import END_ID

Command = Callable[..., Result]
Process = Callable[..., subprocess.CompletedProcess[str]]

SMALL = {
    "model.cell": "gru",
    "model.units": 16,
    "model.embedding_size": 8,
    "model.dropout": 0,
    "model.weight_dropout": 0,
    "training.schedule": "constant",
    "training.learning_rate": 0.03,
    "training.epochs": 3,
    "training.batch_size": 4,
    "training.sequence_length": 25,
}
WORDS_OF = {
    "sea": ["ship", "wave", "salt", "gull", "tide"],
    "wood": ["tree", "moss", "fern", "deer", "bark"],
}
HARD = {
    "emoji": "👍🏽 👩‍👩‍👧 🇩🇪",
    "right to left": "السلام عليكم",
    "unknown characters": "ж☂\x07\x00",
    "blank": " \n\t ",
    "long": "Anna: the cat is old. " * 455,
    "not UTF-8": os.fsdecode(b"Anna \xff\xfe caf\xe9 \x80"),
}


def configured(*overrides: str) -> TaskConfig:
    """Return the configuration of a tiny model."""
    return load_config(
        "generation", overrides=[*(f"{key}={value}" for key, value in SMALL.items()), *overrides]
    )


def play() -> str:
    """Return a text of lines that are much alike."""
    chance = random.Random(0)
    lines = []
    for name in ("Anna", "Ben", "Zoë") * 40:
        thing, kind = chance.choice(["cat", "dog", "tree"]), chance.choice(["old", "red", "big"])
        lines.append(f"{name}: The {thing} is {kind}; isn't it? ({kind.upper()}, no?)\n")
    return "".join(lines)


def greek() -> str:
    """Return a text most of whose characters are of two bytes, and some of four."""
    chance = random.Random(0)
    return "".join(chance.choice(["το παιδί ", "η θάλασσα 🌊 ", "ο ήλιος, "]) for _ in range(150))


def labelled_rows() -> list[dict[str, str]]:
    """Return rows whose words their label decides."""
    chance = random.Random(0)
    return [
        {"text": " ".join(chance.choice(words) for _ in range(chance.randint(3, 7))) + ".", "label": label}
        for _ in range(60)
        for label, words in WORDS_OF.items()
    ]


@dataclass(frozen=True)
class Model:
    """A run and all that is looked at of it."""

    path: Path
    export: Path
    data: Path
    messages: str
    """What its training printed on stderr."""
    predictor: Predictor

    def vocabulary(self) -> list[bytes]:
        """Return the tokens."""
        return open_run(self.path).vocabularies()["vocabulary"]

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text of known characters."""
        return [self.vocabulary().index(character.encode()) for character in text]

    def logits(self, ids: list[int], label: int | None = None) -> np.ndarray:
        """Return the scores of each token of a document, read in one piece: float [tokens, V]."""
        labels = None if label is None else tf.constant([label])
        assert self.predictor.model is not None
        values: np.ndarray = self.predictor.model(tf.constant([[END_ID, *ids[:-1]]]), None, labels)[0].numpy()
        return values[0].astype(np.float64)

    def nats(self, ids: list[int], label: int | None = None) -> np.ndarray:
        """Return -log p of each token of a document: float [tokens]."""
        logits = self.logits(ids, label)
        return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(ids)), ids]


SETTINGS = {
    "char": (),
    "word": ("text.tokens=word", "text.lowercase=true", "data.label_column=label", "training.epochs=12"),
    "byte": ("text.tokens=byte", "model.cell=lstm", "model.layers=2"),
    "subword": ("text.tokens=subword", "text.vocabulary_size=60", "model.cell=simple"),
}
KINDS = list(SETTINGS)


@pytest.fixture(scope="session")
def models(
    tmp_path_factory: pytest.TempPathFactory, command: Command, jsonl: Callable[..., None]
) -> dict[str, Model]:
    """Return a model of each kind of token: of a text, of texts with labels, of Greek, and of subwords."""
    folder = tmp_path_factory.mktemp("generation")
    (folder / "play.txt").write_text(play())
    (folder / "greek.txt").write_text(greek())
    jsonl(folder / "rows.jsonl", labelled_rows())
    data = {"char": "play.txt", "word": "rows.jsonl", "byte": "greek.txt", "subword": "play.txt"}
    found = {}
    for kind, name in data.items():
        path = folder / kind
        pairs = [*(f"{key}={value}" for key, value in SMALL.items()), *SETTINGS[kind]]
        words = [word for pair in pairs for word in ("--set", pair)]
        result = command("train", "generation", folder / name, "--run", path, *words)
        assert result.exit_code == 0, result.stderr
        written = export(path, output=folder / "exports" / kind)
        found[kind] = Model(path, written, folder / name, result.stderr, load_predictor(path))
    return found


@pytest.fixture(scope="session")
def char(models: dict[str, Model]) -> Model:
    """Return the model of characters of one text."""
    return models["char"]


@pytest.fixture(scope="session")
def word(models: dict[str, Model]) -> Model:
    """Return the model of words of documents with labels."""
    return models["word"]


def texts(model: Model | Predictor, prompts: list[str], **options: Any) -> list[str]:
    """Return what is generated behind prompts."""
    predictor = model.predictor if isinstance(model, Model) else model
    return [made.text for made in generate(predictor, prompts, Options(**{"length": 40, **options}))]


def streamed(model: Model, prompt: str, *, tokens: int = STREAMED_TOKENS, **options: Any) -> list[str]:
    """Return the pieces that are shown of a text while it grows."""
    return list(stream(model.predictor, prompt, Options(**{"length": 40, **options}), tokens=tokens))


def ending(model: Model, prompt: str, *, tokens: int = STREAMED_TOKENS, **options: Any) -> Ending:
    """Return how a text that is made piece by piece comes to its end."""
    pieces = stream(model.predictor, prompt, Options(**{"length": 40, **options}), tokens=tokens)
    while True:
        try:
            next(pieces)
        except StopIteration as stopped:
            found: Ending = stopped.value
            return found


# The run


def test_a_sample_after_each_epoch(models: dict[str, Model]) -> None:
    """After each epoch a sample of what the model writes goes to stderr, below the epoch's figures."""
    lines = models["char"].messages.splitlines()
    epochs = [i for i, line in enumerate(lines) if line.startswith("epoch ")]

    assert len(epochs) == 3
    for begin, end in itertools.pairwise([*epochs, len(lines) - 1]):
        sample = lines[begin + 1 : end]
        assert all(line.startswith("  | ") for line in sample)
        assert sum(len(line) - 3 for line in sample) == 200 + 1


def test_files_of_a_run(models: dict[str, Model]) -> None:
    """A run says whether its texts end, and which labels it knows."""
    assert (models["char"].path / "ends.txt").read_text() == "one text\n"
    assert (models["word"].path / "ends.txt").read_text() == "documents\n"
    assert (models["word"].path / "labels.txt").read_text() == "sea\nwood\n"
    assert not (models["char"].path / "labels.txt").exists()
    assert (models["subword"].path / "pieces.txt").exists()


# The same text everywhere

ALONE = r"""
import base64, importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("app", "data", "models"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Refuse())
import tensorflow as tf

def spec(tensor):
    return [tensor.dtype.name, tensor.shape.as_list()]

def listed(value):
    return [base64.b64encode(v).decode() if isinstance(v, bytes) else float(v) for v in value.tolist()]

results = {}
for kind, job in json.load(sys.stdin).items():
    calls = {}
    for name, given in job["calls"].items():
        strings = {k: [base64.b64decode(v) for v in given[k]] for k in ("prompt", "stop", "label", "text")
                   if k in given}
        calls[name] = given | strings
    loaded = tf.saved_model.load(job["path"])
    found = {"specs": {}, "tf1": {}, "tf2": {}}
    for name, call in loaded.signatures.items():
        types = call.structured_input_signature[1]
        found["specs"][name] = [{k: spec(v) for k, v in types.items()},
                                {k: spec(v) for k, v in call.structured_outputs.items()}]
    for name, given in calls.items():
        call = loaded.signatures[name]
        types = call.structured_input_signature[1]
        answers = call(**{k: tf.constant(v, types[k].dtype) for k, v in given.items()})
        found["tf2"][name] = {k: listed(v.numpy()) for k, v in answers.items()}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], job["path"])
        for name, given in calls.items():
            signature = meta.signature_def[name]
            outputs = {k: v.name for k, v in signature.outputs.items()}
            fed = {signature.inputs[k].name: v for k, v in given.items()}
            found["tf1"][name] = {k: listed(v) for k, v in session.run(outputs, fed).items()}
    results[kind] = found
imported = sorted({name.partition(".")[0] for name in sys.modules})
json.dump({"results": results, "imported": imported}, sys.stdout)
"""
PROMPTS = [b"", b"Anna: The", "τοship\n".encode(), b"\xff\xfe"]
DRAWING = {
    "prompt": PROMPTS,
    "length": [40, 7, 40, 1],
    "temperature": [1.0, 0.5, 1.2, 0.0],
    "top_k": [0, 5, 0, 0],
    "top_p": [1.0, 1.0, 0.9, 1.0],
    "seed": [0, 1, 2**31 - 1, 3],
}


def calls(kind: str) -> dict[str, dict[str, Any]]:
    """Return the arguments of three signatures."""
    label = {"label": [b"sea", b"wood", b"", b"none"]} if kind == "word" else {}
    more = {"repetition_penalty": [1.0, 1.3, 1.0, 1.0], "stop": [b"qq", b";"]}
    plain = {"serving_default": DRAWING} if kind == "char" else {}  # the others' is a call of `generate`
    return {
        **plain,
        "generate": {**DRAWING, **more, **label},
        "score": {"text": [*PROMPTS, b"the cat is red. " * 70]},
    }


def encoded(values: list[Any]) -> list[Any]:
    """Return bytes as JSON can hold them."""
    return [base64.b64encode(value).decode() if isinstance(value, bytes) else value for value in values]


@pytest.fixture(scope="module")
def alone(
    process: Process, models: dict[str, Model], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Return what exports answer in a process without the project, in TensorFlow 2 and in a session of 1."""
    job = {
        kind: {
            "path": str(model.export),
            "calls": {
                name: {key: encoded(values) for key, values in given.items()}
                for name, given in calls(kind).items()
            },
        }
        for kind, model in models.items()
    }
    result = process("-I", "-c", ALONE, cwd=tmp_path_factory.mktemp("elsewhere"), stdin=json.dumps(job))
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert not {"app", "data", "models"} & set(found["imported"])
    return found["results"]


@pytest.mark.parametrize("version", ["tf1", "tf2"])
@pytest.mark.parametrize("kind", KINDS)
def test_run_and_export(alone: dict[str, Any], models: dict[str, Model], kind: str, version: str) -> None:
    """A run and its export give the same texts for the same seeds, also without this project."""
    for name, given in calls(kind).items():
        call = models[kind].predictor.signatures[name]
        dtypes = dict.fromkeys(("prompt", "stop", "label", "text"), tf.string)
        dtypes |= {"length": tf.int32, "top_k": tf.int32, "seed": tf.int32}
        answers = call(**{k: tf.constant(v, dtypes.get(k, tf.float32)) for k, v in given.items()})
        found = alone[kind][version][name]

        assert found.keys() == answers.keys()
        for key, value in answers.items():
            if value.dtype == tf.string:
                assert [base64.b64decode(text) for text in found[key]] == value.numpy().tolist()
                assert len(set(found[key])) > 2
            else:
                np.testing.assert_allclose(found[key], value.numpy(), rtol=1e-4, atol=1e-5)


def test_signatures(alone: dict[str, Any]) -> None:
    """The signatures have the names, types and shapes of the contract."""
    drawing = {
        **{"length": "int32", "temperature": "float32", "top_k": "int32", "top_p": "float32"},
        **{"prompt": "string", "seed": "int32"},
    }
    for kind, found in alone.items():
        inputs, outputs = found["specs"]["serving_default"]
        assert sorted(found["specs"]) == ["beam", "begin", "generate", "resume", "score", "serving_default"]
        assert inputs == {name: [dtype, [None]] for name, dtype in drawing.items()}
        assert outputs == {"text": ["string", [None]], "log_probability": ["float32", [None]]}
        assert found["specs"]["score"] == [
            {"text": ["string", [None]]},
            {"loss": ["float32", [None]], "tokens": ["int32", [None]]},
        ]
        assert ("label" in found["specs"]["generate"][0]) == (kind == "word")


@pytest.mark.parametrize("name", ["char", "word"])
def test_predictor_of_an_export(models: dict[str, Model], name: str) -> None:
    """`generate` takes an export as it takes a run."""
    model, predictor = models[name], load_predictor(models[name].export)
    options: dict[str, Any] = {"seed": 5, "label": "sea" if name == "word" else None}

    assert texts(predictor, ["", "is"], **options) == texts(model, ["", "is"], **options)


# Batches, lengths and seeds


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_changes_nothing(models: dict[str, Model], kind: str) -> None:
    """A text is the same whatever texts are made beside it; each has a seed of its own."""
    prompts = ["", "A", "the cat is red" * 9, "A"]
    together = generate(models[kind].predictor, prompts, Options(length=40, seed=11))

    for i, prompt in enumerate(prompts):
        (alone,) = generate(models[kind].predictor, [prompt], Options(length=40, seed=11 + i))
        assert together[i].text == alone.text
        assert together[i].score == pytest.approx(alone.score, rel=1e-4, abs=1e-4)
    assert together[1].text != together[3].text


def test_seeds(char: Model) -> None:
    """The same seed gives the same text, another one another text, and the highest one is followed by 0."""
    first = texts(char, ["Anna"], seed=3)

    assert texts(char, ["Anna"], seed=3) == first
    assert texts(char, ["Anna"], seed=4) != first
    highest = texts(char, ["Anna", "Anna"], seed=2**31 - 1)
    assert highest[1:] == texts(char, ["Anna"], seed=0)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 33])
def test_length(char: Model, length: int) -> None:
    """A text that never ends has just the length that was asked for."""
    (text,) = texts(char, ["Anna"], length=length)

    assert len(text) == length
    assert "".join(streamed(char, "Anna", length=length)) == text


def test_documents_end(word: Model) -> None:
    """A model of documents ends its texts by itself; what it scores holds the end."""
    made = generate(word.predictor, [""] * 8, Options(length=300, label="sea"))

    lengths = [len(text.text.split()) for text in made]
    assert max(lengths) < 40
    assert len(set(lengths)) > 1
    for text in made:
        pieces = tokenize(tf.constant([text.text]), lines=True).to_list()[0]
        ids = [*(word.vocabulary().index(piece) for piece in pieces), END_ID]
        assert text.score == pytest.approx(-word.nats(ids, 0).sum(), rel=1e-4)


def test_words_are_written_as_text(word: Model) -> None:
    """Words have one space between them, none at the start, nor behind a prompt's own; stops stand close."""
    bare, open_end, line = (
        texts(word, [prompt], label="sea", temperature=0)[0] for prompt in ("", "ship", "ship\n")
    )

    assert bare[:1].isalpha()
    assert bare.endswith(".")
    assert " ." not in bare
    assert open_end[:1] in (" ", ".")
    assert line[:1] != " "
    assert texts(word, ["ship "], label="sea", temperature=0)[0] == open_end.removeprefix(" ")


def test_characters_keep_their_first_space(char: Model) -> None:
    """A text of characters may begin with a space."""
    found = texts(char, [""] * 400, length=2, temperature=1000)

    assert any(text[0] == " " for text in found)
    assert {len(text) for text in found} == {2}


# Choosing tokens


def test_the_likeliest_tokens(models: dict[str, Model]) -> None:
    """Temperature 0, one beam and the likeliest token alone all give the same text."""
    for kind, prompt in (("char", "Anna"), ("word", "ship"), ("byte", "το")):
        greedy = texts(models[kind], [prompt], temperature=0, seed=1)

        assert texts(models[kind], [prompt], beam=1) == greedy
        assert texts(models[kind], [prompt], top_k=1, seed=2) == greedy
        assert texts(models[kind], [prompt], top_p=1e-6, seed=3) == greedy
        assert texts(models[kind], [prompt], seed=1, temperature=3.0) != greedy


@pytest.mark.parametrize(
    "options", [{"top_k": 3}, {"top_p": 0.6}, {"top_k": 4, "top_p": 0.5}, {"temperature": 1e-3}, {}], ids=str
)
def test_what_is_drawn(char: Model, options: dict[str, Any]) -> None:
    """Each token is one of those that top-k and top-p leave; the score is the model's own log p of all."""
    prompt = "Ben: The "
    (made,) = generate(char.predictor, [prompt], Options(length=120, seed=4, **options))
    ids = char.ids(prompt + made.text)
    logits = char.logits(ids)[len(prompt) :]
    ids = ids[len(prompt) :]
    own = logits[np.arange(len(ids)), ids]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    better = probabilities > probabilities[np.arange(len(ids)), ids][:, None]
    mass = (probabilities * better).sum(axis=1)

    assert made.score == pytest.approx((own - np.log(np.exp(logits).sum(axis=1))).sum(), rel=1e-4)
    assert better.sum(axis=1).max() < options.get("top_k", 1 if "temperature" in options else 99)
    assert mass.max() <= options.get("top_p", 1.0) + 1e-6
    if "temperature" not in options:
        assert better.sum(axis=1).max() > 0
    if not options:
        assert better.sum(axis=1).max() > 3
        assert mass.max() > 0.7


def test_repetition_penalty(char: Model) -> None:
    """With a penalty a text repeats less."""
    plain, penalised = (
        texts(char, ["Anna"], temperature=0, length=60, repetition_penalty=penalty)[0] for penalty in (1, 3)
    )

    assert len(set(penalised)) > len(set(plain)) + 3


def test_beam(word: Model) -> None:
    """A wide search finds a text at least as likely as the greedy one, and a stop string cuts it."""
    wide, narrow = (
        generate(word.predictor, ["ship"], Options(length=20, beam=beam, length_penalty=0.0))[0]
        for beam in (6, 1)
    )
    (stopped,) = texts(word, ["ship"], length=20, beam=6, length_penalty=0.0, stop=(wide.text[-2:],))

    assert wide.score >= narrow.score - 1e-5
    assert stopped == wide.text[:-2]


# Labels


def test_labels_decide_the_words(word: Model) -> None:
    """A text of a label has words of the label."""
    for label, own in WORDS_OF.items():
        for text in texts(word, [""] * 10, label=label, temperature=0.7):
            assert text
            assert set(text.replace(".", " ").split()) <= set(own)


def test_without_a_label(word: Model) -> None:
    """A model of labels also writes without one."""
    found = texts(word, [""] * 20, seed=1)

    assert {word for text in found for word in text.replace(".", " ").split()} > {"ship", "tree"}


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("word", "woods", "--label woods: expected one of sea, wood; did you mean 'wood'?"),
        ("char", "sea", "--label sea: the model was trained without labels"),
    ],
)
def test_labels_that_are_not_there(
    command: Command, models: dict[str, Model], name: str, label: str, message: str
) -> None:
    """A label that the model does not know is refused."""
    for path in (models[name].path, models[name].export):
        result = command("generate", path, "--label", label)

        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == f"Error: {message}\n"


# Piece by piece


@pytest.mark.parametrize("prompt", ["", "Anna: το ship", "is \n"])
@pytest.mark.parametrize("kind", KINDS)
def test_stream(models: dict[str, Model], kind: str, prompt: str) -> None:
    """A text that is shown while it grows is the one that is made at once, in whole characters."""
    label = "sea" if kind == "word" else None
    for options in ({"seed": 1}, {"seed": 2, "temperature": 2.0, "repetition_penalty": 1.3, "top_k": 20}):
        whole = texts(models[kind], [prompt], length=90, label=label, **options)
        pieces = streamed(models[kind], prompt, length=90, label=label, **options)

        assert "".join(pieces) == whole[0]
        if kind != "word":
            assert len(pieces) == math.ceil(90 / STREAMED_TOKENS)


def test_stream_token_by_token(models: dict[str, Model]) -> None:
    """However many tokens a piece has, the text is the same; one token a piece makes as many pieces."""
    options: dict[str, Any] = {"seed": 3, "repetition_penalty": 1.2, "length": 21}
    whole = texts(models["char"], ["Anna"], **options)[0]

    assert streamed(models["char"], "Anna", tokens=1, **options) == list(whole)
    assert streamed(models["char"], "Anna", tokens=8, **options) == [whole[:8], whole[8:16], whole[16:]]
    assert streamed(models["char"], "Anna", tokens=100, **options) == [whole]


@pytest.mark.parametrize("tokens", [1, 16])
def test_how_a_stream_ends(models: dict[str, Model], tokens: int) -> None:
    """A stream says why it ended, and log p of its text is that of the text made at once."""
    predictor = models["char"].predictor
    (whole,) = generate(predictor, ["Anna"], Options(length=30, seed=5))
    found = ending(models["char"], "Anna", tokens=tokens, length=30, seed=5)

    assert found.reason == "length"
    assert found.log_probability == pytest.approx(whole.score, abs=1e-3)
    stopped = ending(models["char"], "Anna", tokens=tokens, length=30, seed=5, stop=(whole.text[4:6],))
    assert stopped.reason == "stop"
    assert whole.score < stopped.log_probability < 0

    by_seed = {
        seed: ending(models["word"], "", tokens=tokens, length=200, seed=seed, temperature=0.5)
        for seed in range(4)
    }
    ended = {seed: end for seed, end in by_seed.items() if end.reason == "end"}
    assert ended
    for seed, end in ended.items():
        (one,) = generate(models["word"].predictor, [""], Options(length=200, seed=seed, temperature=0.5))
        assert end.log_probability == pytest.approx(one.score, abs=1e-3)


def test_stream_cuts_no_character(models: dict[str, Model]) -> None:
    """Pieces of bytes end in the middle of characters; what is shown does not."""
    cut = 0
    for seed in range(3):
        pieces = streamed(models["byte"], "", length=160, seed=seed, temperature=0.3)
        assert "".join(pieces) == texts(models["byte"], [""], length=160, seed=seed, temperature=0.3)[0]
        ends = np.cumsum([len(piece.encode()) for piece in pieces[:-1]])
        cut += int((ends % STREAMED_TOKENS != 0).sum())
    assert cut > 5


@pytest.mark.parametrize("kind", KINDS)
def test_stop(models: dict[str, Model], kind: str) -> None:
    """A text ends before the first stop string, wherever it stands between two pieces of a stream."""
    label = "sea" if kind == "word" else None
    options: dict[str, Any] = {"seed": 1, "length": 60, "label": label, "temperature": 0.7}
    (whole,) = texts(models[kind], [""], **options)
    for begin, end in ((0, 1), (5, 9), (14, 18), (15, 17), (16, 18)):
        stop = whole[begin:end]
        cut = whole[: whole.find(stop)]
        if not stop or "�" in stop:  # a part of a character, which no string holds
            continue
        assert texts(models[kind], [""], stop=(stop, "never there"), **options) == [cut]
        assert "".join(streamed(models[kind], "", stop=(stop, "never there"), **options)) == cut
    assert len(whole) > 18
    both = (whole[12:14], whole[5:7])  # in one piece
    if "�" not in "".join(both):
        cut = whole[: min(whole.find(stop) for stop in both)]
        assert texts(models[kind], [""], stop=both, **options) == [cut]
        assert "".join(streamed(models[kind], "", stop=both, **options)) == cut
    assert texts(models[kind], [""], stop=("",), **options) == [whole]
    assert "".join(streamed(models[kind], "", stop=("", "\x00"), **options)) == whole


# Hard prompts


@pytest.mark.parametrize("kind", KINDS)
def test_hard_prompts(models: dict[str, Model], kind: str) -> None:
    """Any prompt is followed by a text, the same in a batch, alone and in a stream."""
    found = texts(models[kind], list(HARD.values()), length=20, seed=7)

    assert len(HARD["long"]) > 10_000
    for i, prompt in enumerate(HARD.values()):
        assert found[i] or kind == "word"  # a document may end at once
        assert "".join(streamed(models[kind], prompt, length=20, seed=7 + i)) == found[i]


@pytest.mark.parametrize("mode", [(), ("--stream",), ("--json",)])
def test_a_prompt_that_is_not_utf8(command: Command, char: Model, mode: tuple[str, ...]) -> None:
    """A prompt of bytes that are no text is printed with signs in their place."""
    result = command("generate", char.path, "--prompt", HARD["not UTF-8"], "--length", 5, *mode)

    assert result.exit_code == 0
    expected = texts(char, [HARD["not UTF-8"]], length=5)[0]
    if mode == ("--json",):
        line = json.loads(result.stdout)
        assert (line["prompt"], line["text"]) == ("Anna �� caf� �", expected)
    else:
        assert result.stdout == f"Anna �� caf� �{expected}\n"


# The command


def test_command(command: Command, char: Model) -> None:
    """What is printed begins with the prompt; a stream prints the same."""
    words = ("generate", char.path, "--prompt", "Anna", "--length", 30, "--temperature", 0.8, "--seed", 5)
    (text,) = texts(char, ["Anna"], length=30, temperature=0.8, seed=5)

    result = command(*words)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"Anna{text}\n"
    assert command(*words, "--stream").stdout == result.stdout


def test_samples(command: Command, char: Model) -> None:
    """Several samples are those of the seed and the next ones, with a line between them or as JSON."""
    words = ("generate", char.path, "--length", 12, "--seed", 5, "--samples", 3)
    expected = [texts(char, [""], length=12, seed=seed)[0] for seed in (5, 6, 7)]

    assert command(*words).stdout == "\n---\n\n".join(expected).replace("\n---\n\n", "\n\n---\n") + "\n"
    lines = [json.loads(line) for line in command(*words, "--json").stdout.splitlines()]
    assert [line["text"] for line in lines] == expected
    assert all(line["prompt"] == "" and line["score"] < 0 for line in lines)
    assert len(set(expected)) == 3


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--prompt", ""), 1, "--prompt is empty; give a text, or leave the option out to start a document"),
        (("--stream", "--beam", 2), 2, "--stream prints one sampled text"),
        (("--stream", "--samples", 2), 2, "--stream prints one sampled text"),
        (("--stream", "--json"), 2, "--stream prints one sampled text"),
        (("--length", 0), 2, "--length"),
        (("--length", 2**31), 2, "--length"),
        (("--temperature", -1), 2, "--temperature"),
        (("--temperature", "inf"), 1, "--temperature inf: expected a finite number"),
        (("--temperature", "nan", "--stream"), 1, "--temperature nan: expected a finite number"),
        (("--top-p", 0), 2, "--top-p"),
        (("--stop", os.fsdecode(b"\xff")), 1, r"--stop '\udcff': expected UTF-8"),
    ],
    ids=str,
)
def test_mistakes(command: Command, char: Model, words: tuple[Any, ...], status: int, message: str) -> None:
    """Each mistake ends in one line."""
    result = command("generate", char.path, *words)

    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_model_that_does_not_generate(command: Command, run: Path) -> None:
    """A classifier is refused."""
    result = command("generate", run)

    assert result.exit_code == 1
    assert result.stderr == (
        "Error: a model for classification does not generate; expected one that "
        "'textrnn train generation' made (try 'textrnn predict')\n"
    )


# Scores


def test_scores(char: Model) -> None:
    """A text's loss is that of the model that reads it in one piece, however long it is."""
    given = ["A", play()[:127], play()[:128], play()[300:429], play()[:1000], "Zoë: " * 3]
    answers = char.predictor([text.encode() for text in given])

    assert answers["tokens"].tolist() == [len(text) for text in given]
    for text, loss in zip(given, answers["loss"], strict=True):
        assert float(loss) * len(text) == pytest.approx(char.nats(char.ids(text)).sum(), rel=1e-4)


def test_the_score_of_no_text(models: dict[str, Model]) -> None:
    """An empty text has no tokens and a loss of 0, alone and beside others."""
    for model in models.values():
        for given in ([b""], [b"", b"is"], [b"", b""]):
            answers = model.predictor(given)
            assert (answers["loss"][0], answers["tokens"][0]) == (0, 0)
            assert (answers["tokens"][1:] == 0).all() == (given[-1] == b"")


def test_predict(command: Command, char: Model) -> None:
    """`predict` gives the loss of each line, its perplexity, and the number of its tokens."""
    result = command("predict", char.path, stdin="Anna: The cat\n\nqqqq\n")
    lines = [json.loads(line) for line in result.stdout.splitlines()]

    assert [line["tokens"] for line in lines] == [13, 0, 4]
    assert lines[1] == {"loss": 0.0, "perplexity": 1.0, "tokens": 0}
    assert lines[2]["loss"] > lines[0]["loss"] + 1
    for line in lines:
        assert line["perplexity"] == pytest.approx(math.exp(line["loss"]), rel=1e-4)


def test_evaluate_a_text(command: Command, char: Model) -> None:
    """The figures of a text's last 20th are those of its score, which reads it in one piece."""
    text = play()[round(len(play()) * 0.95) :]
    answer = char.predictor([text.encode()])
    ids = char.ids(text)
    loss = char.nats(ids).mean()

    found = json.loads(command("evaluate", char.path, "--json").stdout)

    assert found["split"] == "test"
    assert found["examples"] == 1
    assert found["tokens"] == found["characters"] == len(text) == answer["tokens"][0]
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["loss"] == pytest.approx(float(answer["loss"][0]), rel=1e-4)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    assert found["bits_per_character"] == pytest.approx(loss / math.log(2), rel=1e-4)
    assert found["accuracy"] == pytest.approx(np.mean(char.logits(ids).argmax(axis=1) == ids))


def test_evaluate_documents(word: Model) -> None:
    """Of documents each one's end counts too, and each is read with its label."""
    run = open_run(word.path)
    task = get_task("generation")
    source = open_source(str(word.data), task.fields(run.config), task.examples.shapes)
    dataset = prepare(source, task.fields(run.config), directory=run.config.data_directory())
    (rows,) = dataset.batches("test")
    nats = []
    for text, label in zip(rows["text"], rows["label"], strict=True):
        pieces = tokenize(tf.constant([text]), lines=True).to_list()[0]
        ids = [*(word.vocabulary().index(piece) for piece in pieces), END_ID]
        nats.append(word.nats(ids, int(label)))
    found = evaluate(word.path)

    assert found["examples"] == len(rows["text"]) > 5
    assert found["tokens"] == sum(map(len, nats))
    assert found["characters"] == sum(len(text) for text in rows["text"])
    assert found["loss"] == pytest.approx(np.concatenate(nats).mean(), rel=1e-4)
    bits = np.concatenate(nats).sum() / math.log(2) / found["characters"]
    assert found["bits_per_character"] == pytest.approx(bits, rel=1e-4)


@pytest.mark.parametrize("kind", ["byte", "subword"])
def test_bits_per_character(models: dict[str, Model], kind: str) -> None:
    """Bits are those of characters, whatever tokens a model reads, so that models can be compared."""
    found = evaluate(models[kind].path, split="validation")

    assert (found["tokens"] > found["characters"]) == (kind == "byte")
    nats = found["loss"] * found["tokens"]
    assert found["bits_per_character"] == pytest.approx(nats / found["characters"] / math.log(2))
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))


# Splits


def joined(rows: Mapping[str, list[Mapping[str, np.ndarray]]]) -> dict[str, str]:
    """Return the whole text of each split."""
    return {
        split: b"".join(text for batch in batches for text in batch["text"]).decode()
        for split, batches in rows.items()
    }


def rows_of(data: Path, cache: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the text of each split, and of what a training learns from and is validated with."""
    config = configured(f"data.directory={cache}")
    task = get_task("generation")
    source = open_source(str(data), task.fields(config), task.examples.shapes)
    dataset = prepare(source, task.fields(config), directory=cache)
    seen: dict[str, list[Any]] = {}
    for split, batch in training_rows(dataset, task, config):
        seen.setdefault(split, []).append(batch)
    return joined({split: list(dataset.batches(split)) for split in dataset.sizes}), joined(seen)


@pytest.mark.parametrize("piece", [1 << 16, 100])
def test_a_text_is_cut_by_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """The first 90 % of a text are learned from, the next 5 % validate, the last 5 % test."""
    monkeypatch.setattr("data.formats.documents.PIECE_CHARACTERS", piece)
    text = play()
    (tmp_path / "play.txt").write_text(text)

    splits, seen = rows_of(tmp_path / "play.txt", tmp_path / "cache")

    first, second = round(len(text) * 0.9), round(len(text) * 0.95)
    assert splits == {"train": text[:first], "validation": text[first:second], "test": text[second:]}
    assert seen == {"train": text[:first], "validation": text[first:second]}


@pytest.mark.parametrize("piece", [1 << 16, 100])
def test_the_end_of_a_training_text_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """Of a folder with a training text alone, the text's end validates, however short the text is."""
    monkeypatch.setattr("data.formats.documents.PIECE_CHARACTERS", piece)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.txt").write_text(play())

    splits, seen = rows_of(tmp_path / "data", tmp_path / "cache")

    assert splits == {"train": play()}
    assert seen["train"] + seen["validation"] == play()
    assert len(seen["validation"]) == pytest.approx(0.1 * len(play()), abs=150)


# Windows


@pytest.mark.parametrize(
    "options",
    [
        ("training.sequence_length=1", "training.batch_size=300"),
        ("training.sequence_length=100000", "training.batch_size=3"),
    ],
    ids=["of one token, more streams than tokens", "longer than the text"],
)
def test_windows_of_any_length(tmp_path: Path, options: tuple[str, ...]) -> None:
    """A training reads windows of any length in any number of streams."""
    (tmp_path / "play.txt").write_text(play()[:200])

    trained = train(
        "generation",
        str(tmp_path / "play.txt"),
        configured("model.cell=simple", "training.epochs=1", *options),
        run=tmp_path / "run",
    )

    assert trained.finished
    assert 1 < trained.best["loss"] < 10
    assert trained.best["step"] == 1


# Mistakes in data and configuration


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "play.txt: no rows; expected at least one"),
        (b"\xef\xbb\xbf", "play.txt: no rows; expected at least one"),
        (b"One.\nTwo \xff.\n", "play.txt:2: not UTF-8: byte 0xff at character 5"),
        (b"a", "no example is left for validation"),
    ],
)
def test_texts_that_cannot_be_learned_from(
    command: Command, tmp_path: Path, content: bytes, message: str
) -> None:
    """Such a file is refused in one line, and no run is made."""
    (tmp_path / "play.txt").write_bytes(content)

    result = command("train", "generation", tmp_path / "play.txt", "--run", tmp_path / "run")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("model.layers=0", "One. Two. " * 20, "model.layers = 0: expected greater than or equal to 1"),
        ("text.tokens=word", "   \t " * 50, "the train split has no tokens, only white space"),
    ],
)
def test_trainings_that_cannot_be(
    command: Command, tmp_path: Path, option: str, content: str, message: str
) -> None:
    """A network that cannot generate, and a text without a word, are refused before a run is made."""
    (tmp_path / "play.txt").write_text(content)

    result = command("train", "generation", tmp_path / "play.txt", "--run", tmp_path / "run", "--set", option)

    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


# The same weights again


@pytest.fixture
def no_lasting_determinism() -> Iterator[None]:
    """Let other tests run as they would alone."""
    yield
    disable_op_determinism()


def state(run: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a training's state."""
    with np.load(run / "checkpoints/state.npz") as saved:
        return {name: saved[name] for name in saved.files if name != "progress"}


@pytest.mark.usefixtures("no_lasting_determinism")
def test_exact_resume(char: Model, tmp_path: Path, stop_at: Callable[..., dict[str, Any]]) -> None:
    """Stopped in an epoch and resumed, a training ends at the same state bit for bit, the carried one too."""
    config = configured(
        "training.deterministic=true",
        "training.epochs=2",
        "training.batch_size=8",
        "model.dropout=0.2",
        "model.weight_dropout=0.2",
        "training.early_stopping_patience=0",
    )

    whole = train("generation", str(char.data), config, run=tmp_path / "whole")
    stopped = train("generation", str(char.data), config, run=tmp_path / "run", **stop_at(epoch=2, step=3))
    assert not stopped.finished
    middle = state(tmp_path / "run")
    carried = [name for name in middle if "carried" in name]
    resumed = train("generation", str(char.data), config, run=tmp_path / "run", resume=True)

    expected, found = state(whole.path), state(resumed.path)
    assert whole.finished
    assert resumed.finished
    assert len(carried) == 1
    assert middle[carried[0]].shape == (8, 16)
    assert np.abs(middle[carried[0]]).max() > 0.1
    assert not np.array_equal(middle[carried[0]], expected[carried[0]])
    assert found.keys() == expected.keys() == middle.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name
