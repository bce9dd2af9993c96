"""Networks that start from the weights of a language model, of a run or learned before training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import Result
from trained import export_quickly, overrides, same, weights

from app.artifacts.manifests import Pretrained
from app.artifacts.run import Run, open_run, read_run_manifest
from app.config import TaskConfig, load_config
from app.evaluate import evaluate
from app.prediction.loading import load_keras_model
from app.tasks import get_task
from app.train import train
from app.training.events import Message
from app.training.pretrained import plain_ids
from data.errors import UserError

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
StopAt = Callable[..., dict[str, Any]]

LANGUAGE_MODEL = ("text.tokens=word", "text.lowercase=true", "model.units=4", "model.embedding_size=4")
EXACT = ("training.deterministic=true", "training.epochs=3", "training.batch_size=8")
STILL = ("training.learning_rate=1e-30", "training.schedule=constant")
LEARN = "model.pretrained=learn"


def language_model(data: Path, run: Path, *chosen: str) -> Run:
    """Train a language model of the texts of a table."""
    config = load_config("generation", overrides=[*LANGUAGE_MODEL, "training.epochs=2", *chosen])
    assert train("generation", str(data), config, run=run).finished
    return open_run(run)


def keras_model(run: Path) -> Any:
    """Return the network of a run."""
    return load_keras_model(open_run(run))


def vocabulary(run: Path) -> Sequence[bytes]:
    """Return the tokens of a run."""
    opened = open_run(run)
    return opened.preprocessing(get_task(opened.task).facts).vocabulary


def copied(run: Path) -> Pretrained:
    """Return what the manifest of a run says about its language model."""
    found = read_run_manifest(run).pretrained
    assert found is not None
    return found


def kernels(layers: Sequence[Any]) -> list[np.ndarray]:
    """Return the input weights of recurrent layers."""
    return [layer.cell.kernel.numpy() for layer in layers]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> Run:
    """Return a language model of the texts of a classification task."""
    return language_model(reviews, tmp_path_factory.mktemp("source") / "model")


def test_ids_of_tokens_with_marks() -> None:
    """Marks of joins do not count; of tokens that differ in them alone the most frequent one is meant."""
    tokens = [b"", b"[UNK]", "￭-￭".encode(), b"the", b"-", "▁,".encode(), "￭".encode(), "␤".encode()]

    assert plain_ids(tokens, marked=True) == {b"[UNK]": 1, b"-": 2, b"the": 3, b",": 5, "␤".encode(): 7}
    assert plain_ids(["▁the".encode(), b"the"], marked=False) == {"▁the".encode(): 0, b"the": 1}


def test_a_classifier_starts_from_a_run(
    configured: Configured, reviews: Path, tmp_path: Path, source: Run
) -> None:
    """Embeddings are copied by token, and the forward direction; all else has its random values."""
    messages: list[str] = []

    def run(name: str, *chosen: str) -> Any:
        path = tmp_path / name
        train(
            "classification",
            str(reviews),
            configured(*STILL, *chosen),
            run=path,
            watcher=lambda event: messages.append(event.text) if isinstance(event, Message) else None,
        )
        return keras_model(path)

    random, model = run("random"), run("run", f"model.pretrained={source.path}")
    of_source, words, own = keras_model(source.path), vocabulary(source.path), vocabulary(tmp_path / "run")
    ids = plain_ids(words, marked=True)
    both = [i for i, token in enumerate(own) if token in ids]
    others = [i for i in range(len(own)) if i not in both]

    table = model.embedding.embeddings.numpy()
    np.testing.assert_array_equal(
        table[both], of_source.embedding.embeddings.numpy()[[ids[own[i]] for i in both]]
    )
    np.testing.assert_array_equal(table[others], random.embedding.embeddings.numpy()[others])
    assert len(both) > len(own) - 3
    for layer, expected in (
        (model.recurrent.forward[0], of_source.recurrent[0]),
        (model.recurrent.backward[0], random.recurrent.backward[0]),
        (model.head, random.head),
    ):
        for found, value in zip(layer.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_allclose(found, value, rtol=0, atol=1e-20)  # biases of 0 have moved
    assert copied(tmp_path / "run") == Pretrained(
        run=str(source.path),
        model=source.manifest.files["model.keras"],
        copied=[
            f"copied the embeddings of {len(both) - 1} of {len(own) - 2} tokens",
            "copied the forward direction of recurrent layer 1",
            "not copied, with random values: the backward direction of recurrent layer 1",
        ],
    )
    assert f"{source.path}: {'; '.join(copied(tmp_path / 'run').copied)}" in messages
    assert read_run_manifest(tmp_path / "random").pretrained is None


@pytest.mark.parametrize("cell", ["lstm", "gru", "mingru"])
def test_the_forward_direction_is_that_of_the_language_model(
    configured: Configured, reviews: Path, tmp_path: Path, cell: str
) -> None:
    """Both layers compute what they do in the language model, whatever the backward direction does."""
    shape = ("model.layers=2", f"model.cell={cell}")
    language_model(reviews, tmp_path / "source", *shape, "training.epochs=1")
    config = configured(*STILL, *shape, f"model.pretrained={tmp_path / 'source'}")

    train("classification", str(reviews), config, run=tmp_path / "run")

    model, of_source = keras_model(tmp_path / "run"), keras_model(tmp_path / "source")
    inputs = tf.random.stateless_normal([3, 5, 4], [1, 2])
    both, _ = model.recurrent(inputs, tf.constant([5, 5, 5]))
    expected = inputs
    for layer in of_source.recurrent:
        expected = layer(expected)[0]
    np.testing.assert_allclose(both[..., :4], expected, atol=1e-6)
    assert np.abs(both[..., 4:]).max() > 0.01
    assert copied(tmp_path / "run").copied[1] == "copied the forward direction of recurrent layers 1 to 2"


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_layers_up_to_the_first_that_does_not_fit(
    configured: Configured, reviews: Path, tmp_path: Path, source: Run, merge: str
) -> None:
    """The language model has one layer, the classifier two."""
    config = configured(
        *STILL, "model.layers=2", f"model.merge_mode={merge}", f"model.pretrained={source.path}"
    )

    train("classification", str(reviews), config, run=tmp_path / "run")

    assert copied(tmp_path / "run").copied[1:] == [
        "copied the forward direction of recurrent layer 1",
        "not copied, with random values: the backward direction of recurrent layer 1, recurrent layer 2",
    ]


@pytest.mark.parametrize(
    ("chosen", "sentences"),
    [
        (
            ("model.units=6",),
            ["not copied, with random values: recurrent layer 1 (its model.units is 4, here 6)"],
        ),
        (
            ("model.cell=gru",),
            ["not copied, with random values: recurrent layer 1 (its model.cell is 'lstm', here 'gru')"],
        ),
        (("model.bidirectional=false",), ["copied recurrent layer 1"]),
        (("model.layers=0",), []),
    ],
    ids=["units", "cell", "one direction", "no layer"],
)
def test_what_fits_is_copied(
    configured: Configured,
    reviews: Path,
    tmp_path: Path,
    source: Run,
    chosen: tuple[str, ...],
    sentences: list[str],
) -> None:
    """Embeddings are copied where the recurrent layers do not fit, which is said."""
    config = configured(*STILL, *chosen, f"model.pretrained={source.path}")

    train("classification", str(reviews), config, run=tmp_path / "run")

    assert copied(tmp_path / "run").copied[0].startswith("copied the embeddings of ")
    assert copied(tmp_path / "run").copied[1:] == sentences


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (
            ("model.pretrained=nowhere",),
            "model.pretrained = 'nowhere': nowhere is not a run directory: no such",
        ),
        (
            ("model.pretrained=SOURCE", "model.embedding_size=5", "model.units=6"),
            "nothing can be copied: its model.embedding_size is 4, here 5, model.units is 4, here 6; give "
            "--set model.embedding_size=4 --set model.units=4",
        ),
        (
            ("model.pretrained=SOURCE", "text.tokens=char"),
            "nothing can be copied: its text.tokens is 'word', here 'char'; give a language model of char",
        ),
        (
            ("model.pretrained=CLASSIFIER",),
            "its task is classification; give a run of 'textrnn train generation'",
        ),
        (
            ("model.pretrained=SOURCE", "model.embeddings=learn"),
            "contradicts embeddings = 'learn'; leave out one of the two",
        ),
    ],
    ids=["missing", "size", "tokens", "task", "embeddings"],
)
def test_mistakes(
    command: Command,
    reviews: Path,
    tmp_path: Path,
    source: Run,
    run: Path,
    chosen: tuple[str, ...],
    said: str,
) -> None:
    """Each is one line, before a run is made."""
    sizes = ("model.units=4", "model.embedding_size=4", "training.epochs=1")
    paths = [own.replace("SOURCE", str(source.path)).replace("CLASSIFIER", str(run)) for own in chosen]

    result = command(
        "train", "classification", reviews, "--run", tmp_path / "new", *overrides(*sizes, *paths)
    )

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert not (tmp_path / "new").exists()


def test_texts_that_share_no_word(
    configured: Configured, reviews: Path, tmp_path: Path, jsonl: Callable[..., None]
) -> None:
    """A language model of another language is refused."""
    jsonl(tmp_path / "data/train.jsonl", [{"text": f"xyzzy{i} plugh{i}"} for i in range(9)])
    language_model(
        tmp_path / "data", tmp_path / "source", "training.epochs=1", "data.validation_fraction=0.4"
    )
    config = configured(f"model.pretrained={tmp_path / 'source'}")

    with pytest.raises(UserError, match=r"nothing can be copied: 0 of .* tokens are in its vocabulary"):
        train("classification", str(reviews), config, run=tmp_path / "run")

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("form", ["more.txt", "more.jsonl"])
def test_language_models_of_texts_without_labels(
    configured: Configured, reviews: Path, tmp_path: Path, form: str
) -> None:
    """`train generation` reads what `data.unlabelled` names."""
    texts = [json.loads(line)["text"] for line in (reviews / "train.jsonl").read_text().splitlines()]
    lines = texts if form == "more.txt" else [json.dumps({"text": text}) for text in texts]
    (tmp_path / form).write_text("".join(f"{line}\n" for line in lines))
    found = language_model(tmp_path / form, tmp_path / "source", "data.validation_fraction=0.3")
    config = configured(*STILL, f"model.pretrained={found.path}")

    train("classification", str(reviews), config, run=tmp_path / "run")

    number = int(copied(tmp_path / "run").copied[0].split()[4])
    assert number > 0.7 * len(vocabulary(tmp_path / "run"))


def run_of_task(task: str, folder: Path, jsonl: Callable[..., None], pairs: Path, *chosen: str) -> Path:
    """Train a small network of a task, which learns its language model first."""
    data = pairs
    if task == "tagging":
        data = folder / "data"
        rows = [{"tokens": ["Red", f"sky{i % 7}", "is"], "upos": ["ADJ", "NOUN", "VERB"]} for i in range(60)]
        jsonl(data / "train.jsonl", rows[:40])
        jsonl(data / "validation.jsonl", rows[40:])
    config = load_config(
        task,
        overrides=[
            *(LEARN, "model.units=4", "model.embedding_size=5", "training.epochs=1"),
            *(f"data.directory={folder / 'cache'}", *STILL, *chosen),
        ],
    )
    assert train(task, str(data), config, run=folder / "run").finished
    return folder / "run"


@pytest.mark.parametrize(
    ("task", "chosen"),
    [
        ("tagging", ("model.character_units=3",)),
        ("translation", ("text.vocabulary_size=60",)),
        ("translation", ("text.vocabulary_size=60", "text.shared=true", "text.tokens=char")),
    ],
    ids=["tagging", "translation", "translation with a shared vocabulary"],
)
def test_every_task_learns_a_language_model(
    task: str, chosen: tuple[str, ...], tmp_path: Path, jsonl: Callable[..., None], pairs: Path
) -> None:
    """The encoder starts from a model of its own tokens; weights of features of characters are 0 at first."""
    path = run_of_task(task, tmp_path, jsonl, pairs, *chosen)
    model, of_source = keras_model(path), keras_model(path / "pretraining")
    training = get_task(task).training
    own, words = vocabulary(path), vocabulary(path / "pretraining")

    assert sorted(own) == sorted(set(words) - ({b"[END]"} - set(own)))
    table, of_table = training.embedding(model).embeddings.numpy(), of_source.embedding.embeddings.numpy()
    for i, token in enumerate(own):
        if token:
            np.testing.assert_array_equal(table[i], of_table[words.index(token)])
    for layer, expected in zip(
        kernels(training.encoder(model).forward), kernels(of_source.recurrent), strict=True
    ):
        np.testing.assert_array_equal(layer[: len(expected)], expected)
        np.testing.assert_allclose(layer[len(expected) :], 0, atol=1e-20)
    assert len(kernels(training.encoder(model).forward)[0]) == 5 + 6 * (task == "tagging")
    assert copied(path).run == str(path / "pretraining")
    if task == "tagging":
        (file,) = tmp_path.glob("cache/encoded/tagging-*/train-texts-*/ids")
        first = [words[i].decode() for i in np.fromfile(file, np.int32)[:8]]
        assert first == ["red", "sky0", "is", "[END]", "red", "sky1", "is", "[END]"]
    assert read_run_manifest(path / "pretraining").complete


def test_the_language_model_reads_the_texts(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """It learns from training texts and texts without labels, not from copies of held-out texts."""
    held_out = [json.loads(line)["text"] for line in (reviews / "test.jsonl").read_text().splitlines()]
    (tmp_path / "more.txt").write_text(
        "".join(f"{text}\n" for text in ("the plot and the acting", *held_out))
    )
    config = configured(LEARN, f"data.unlabelled={tmp_path / 'more.txt'}")

    train("classification", str(reviews), config, run=tmp_path / "run")

    manifest = read_run_manifest(tmp_path / "run/pretraining")
    assert manifest.examples == {"train": 41, "validation": 12}
    lines = [
        json.loads(line) for line in (tmp_path / "run/pretraining/metrics.jsonl").read_text().splitlines()
    ]
    losses = [line["validation_loss"] for line in lines if "best" in line]
    assert losses[-1] < losses[0] - 0.02
    found = evaluate(tmp_path / "run")
    assert found["accuracy"] > 0


def test_learning_is_resumed_exactly(
    configured: Configured, reviews: Path, tmp_path: Path, stop_at: StopAt
) -> None:
    """A training that is stopped in the language model, and again after it, ends with the same weights."""
    config = configured(*EXACT, LEARN)

    def run(name: str, **options: Any) -> bool:
        return train("classification", str(reviews), config, run=tmp_path / name, **options).finished

    assert not run("stopped", **stop_at(epoch=2, step=1))
    assert (tmp_path / "stopped/pretraining/checkpoints/state.npz").exists()
    assert not (tmp_path / "stopped/checkpoints/state.npz").exists()
    assert not run("stopped", resume=True, **stop_at(epoch=1, step=4))
    assert read_run_manifest(tmp_path / "stopped").pretrained is not None
    stopped = weights(tmp_path / "stopped/pretraining")
    shutil.rmtree(tmp_path / "stopped/pretraining")
    assert run("stopped", resume=True)
    assert run("whole")

    assert same(weights(tmp_path / "whole/pretraining"), stopped)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


def test_a_run_may_be_deleted_once_a_training_has_begun(
    command: Command, configured: Configured, reviews: Path, tmp_path: Path, source: Run, stop_at: StopAt
) -> None:
    """Resuming, evaluating, exporting and predicting do not need it; its path is in no export."""
    shutil.copytree(source.path, tmp_path / "source")
    config = configured(*EXACT, f"model.pretrained={tmp_path / 'source'}")

    def run(name: str, **options: Any) -> bool:
        return train("classification", str(reviews), config, run=tmp_path / name, **options).finished

    assert run("whole")
    assert not run("stopped", **stop_at(epoch=1, step=1))
    shutil.rmtree(tmp_path / "source")
    assert run("stopped", resume=True)
    assert run("stopped", resume=True)

    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    assert evaluate(tmp_path / "stopped")["examples"] == 14
    exported = export_quickly(tmp_path / "stopped", output=tmp_path / "export")
    assert str(tmp_path / "source") not in (exported / "assets.extra/manifest.json").read_text()
    of_run, of_export = (
        command("predict", model, "-", stdin="a good plot\n") for model in (tmp_path / "stopped", exported)
    )
    assert of_run.exit_code == 0
    assert of_run.stdout == of_export.stdout


def test_another_language_model_is_refused(
    configured: Configured, reviews: Path, tmp_path: Path, source: Run, stop_at: StopAt
) -> None:
    """A training is not resumed if the weights that it started from were replaced."""
    shutil.copytree(source.path, tmp_path / "source")
    config = configured(f"model.pretrained={tmp_path / 'source'}")
    train("classification", str(reviews), config, run=tmp_path / "run", **stop_at(epoch=1, step=1))
    shutil.rmtree(tmp_path / "source")
    language_model(reviews, tmp_path / "source", "seed=1")

    with pytest.raises(UserError, match=r"cannot be resumed: the weights of model\.pretrained have changed"):
        train("classification", str(reviews), config, run=tmp_path / "run", resume=True)


def test_the_preset(command: Command, reviews: Path, tmp_path: Path) -> None:
    """`--preset pretrained` does both in one command; the language model serves other runs, too."""
    small = overrides("model.units=4", "model.embedding_size=4", "training.epochs=1")

    first = command(
        "train", "classification", reviews, "--preset", "pretrained", "--run", tmp_path / "run", *small
    )
    again = overrides(f"model.pretrained={tmp_path / 'run/pretraining'}", "seed=1")
    second = command("train", "classification", reviews, "--run", tmp_path / "second", *small, *again)

    assert (first.exit_code, second.exit_code) == (0, 0), first.stderr + second.stderr
    assert "run/pretraining: learning a language model of " in first.stderr
    assert copied(tmp_path / "second").model == copied(tmp_path / "run").model
    assert copied(tmp_path / "second").copied[0] == copied(tmp_path / "run").copied[0]
