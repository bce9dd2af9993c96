"""`textrnn train --from RUN`: networks that start from the weights of a finished run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from trained import epoch_lines, export_quickly, overrides, same, weights

from app.api import distill, load
from app.api import train as api_train
from app.artifacts.manifests import Pretrained
from app.artifacts.run import open_run, read_run_manifest
from app.config import TaskConfig, load_config
from app.evaluate import evaluate
from app.prediction.loading import load_keras_model
from app.tasks import get_task
from app.train import train
from app.training.events import Message
from app.training.warm_start import warm_start_config
from data.errors import UserError
from data.samples import topics as sample_topics
from models.text.tokens import SPECIAL_TOKENS

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
StopAt = Callable[..., dict[str, Any]]
Jsonl = Callable[..., None]

SMALL = ("model.units=4", "model.embedding_size=5", "training.batch_size=8")
LEARNING = ("training.learning_rate=0.05", "training.epochs=2")
STILL = ("training.learning_rate=1e-30", "training.schedule=constant", "training.epochs=1")
TAGGER = ("model.character_units=3", "model.crf=true", "model.tag_scheme=bioes")
EXACT = ("training.deterministic=true", "training.epochs=3", "training.learning_rate=0.01")


def started(task: str, data: Path, run: Path, source: Path, *chosen: str, **options: Any) -> bool:
    """Train from a run; return whether the training is finished."""
    config = warm_start_config(task, source, run=run, overrides=chosen)
    return train(task, str(data), config, run=run, from_run=source, **options).finished


def keras_model(run: Path) -> Any:
    """Return the network of a run."""
    return load_keras_model(open_run(run))


def vocabulary(run: Path, name: str = "vocabulary") -> list[bytes]:
    """Return a vocabulary of a run."""
    opened = open_run(run)
    return list(opened.preprocessing(get_task(opened.task).facts).vocabularies[name])


def kept(run: Path) -> list[str]:
    """Return what the manifest of a run says about the run that it started from."""
    found = read_run_manifest(run).from_run
    assert found is not None
    return found.copied


def by_name(names: Sequence[Any], rows: np.ndarray) -> dict[Any, list[float]]:
    """Return the rows of a weight by their names."""
    assert len(names) == len(rows)
    return dict(zip(names, rows.tolist(), strict=True))


def sentences(words: Sequence[str], tags: Sequence[str], number: int) -> list[dict[str, Any]]:
    """Return examples of spans: the i-th word has the i-th tag, in changing order."""
    rows = []
    for i in range(number):
        places = [(i + k) % len(words) for k in range(2 + i % 3)]
        spans = [f"B-{tags[place]}" if tags[place] != "O" else "O" for place in places]
        rows.append({"tokens": [words[place] for place in places], "tags": spans, "label": f"odd{i % 2}"})
    return rows


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> Path:
    """Return a classifier."""
    path = tmp_path_factory.mktemp("source") / "run"
    config = load_config("classification", overrides=[*SMALL, *LEARNING, "model.ngrams=1"])
    assert train("classification", str(reviews), config, run=path).finished
    return path


def data_of(kind: str, folder: Path, jsonl: Jsonl, reviews: Path, pairs: Path) -> tuple[str, Path]:
    """Return a task, and small data for it."""
    if kind == "translation":
        return kind, pairs
    if kind == "generation":
        return kind, reviews
    if kind == "several labels":
        rows = sample_topics(0)
        jsonl(folder / "train.jsonl", rows["train"][:60])
        jsonl(folder / "validation.jsonl", rows["validation"][:20])
        return "classification", folder
    if kind == "classification":
        return kind, reviews
    rows = sentences(["Ann", "Rome", "is", "in"], ["PER", "LOC", "O", "O"], 40)
    jsonl(folder / "train.jsonl", rows[:30])
    jsonl(folder / "validation.jsonl", rows[30:])
    return "tagging", folder


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        ("classification", ("model.ngrams=2", "model.layers=2")),
        ("classification", ("text.tokens=subword", "text.vocabulary_size=60", "model.cell=gru")),
        ("several labels", ("model.ngrams=2",)),
        ("tagging", (*TAGGER, "model.token_features=50")),
        ("generation", ("data.label_column=label", "model.embedding_size=4")),
        ("generation", ("model.tie_embeddings=false", "text.tokens=char")),
        ("translation", ("text.tokens=word",)),
        ("translation", ("text.shared=true", "text.vocabulary_size=60", "model.tie_embeddings=false")),
    ],
    ids=[
        *("classification", "subwords", "several labels", "tagging"),
        *("labelled texts", "characters", "translation", "translation with a shared vocabulary"),
    ],
)
def test_the_same_data_begins_where_the_run_ended(
    kind: str, chosen: tuple[str, ...], tmp_path: Path, jsonl: Jsonl, reviews: Path, pairs: Path
) -> None:
    """Without further improvement the validation metrics are those of the best epoch of the run."""
    task, data = data_of(kind, tmp_path / "data", jsonl, reviews, pairs)
    of_data = [own for own in chosen if own.startswith("data.")]
    config = load_config(task, overrides=[*SMALL, *LEARNING, *chosen])
    assert train(task, str(data), config, run=tmp_path / "source").finished

    assert started(task, data, tmp_path / "run", tmp_path / "source", *STILL, *of_data)

    (best,) = [line for line in epoch_lines(tmp_path / "source") if line["best"]][-1:]
    (first,) = epoch_lines(tmp_path / "run")
    for name, value in best.items():
        if name.startswith("validation_"):
            assert first[name] == pytest.approx(value, abs=1e-5), name
    assert kept(tmp_path / "run")[-1] == "all layers are kept"
    assert not any(" new" in own or "left out" in own for own in kept(tmp_path / "run"))
    assert vocabulary(tmp_path / "run") == vocabulary(tmp_path / "source")


def test_new_words_and_labels(tmp_path: Path, reviews: Path, jsonl: Jsonl, source: Path) -> None:
    """Old words stay, also those that the new data lacks; weights of words and labels follow their names."""
    rows = [
        {"text": f"the plot is {word} zebra", "label": label}
        for word, label in (("good", "negative"), ("okay", "mixed")) * 12
    ]
    jsonl(tmp_path / "data/train.jsonl", rows[:16])
    jsonl(tmp_path / "data/validation.jsonl", rows[16:])
    messages: list[str] = []

    assert started(
        *("classification", tmp_path / "data", tmp_path / "run", source, *STILL),
        watcher=lambda event: messages.append(event.text) if isinstance(event, Message) else None,
    )

    before, model = keras_model(source), keras_model(tmp_path / "run")
    old, new = vocabulary(source), vocabulary(tmp_path / "run")
    assert new == [*old, b"zebra", b"okay"]
    table, of_source = model.embedding.embeddings.numpy(), before.embedding.embeddings.numpy()
    np.testing.assert_array_equal(table[: len(old)], of_source)
    own, theirs = (
        by_name(vocabulary(run, "labels"), network.head.kernel.numpy().T)
        for run, network in ((tmp_path / "run", model), (source, before))
    )
    assert own.keys() == {b"negative", b"mixed"}
    assert own[b"negative"] == theirs[b"negative"]
    assert kept(tmp_path / "run") == [
        f"tokens: {len(old) - len(SPECIAL_TOKENS)} kept, 2 new ('zebra', 'okay')",
        "labels: 1 kept, 1 new ('mixed'), 1 left out ('positive')",
        "all layers are kept",
    ]
    assert read_run_manifest(tmp_path / "run").from_run == Pretrained(
        run=str(source), model=open_run(source).manifest.files["model.keras"], copied=kept(tmp_path / "run")
    )
    assert f"{source}: {'; '.join(kept(tmp_path / 'run'))}" in messages
    assert read_run_manifest(source).from_run is None


def test_the_limit_of_the_vocabulary_holds_for_new_words(tmp_path: Path, jsonl: Jsonl, source: Path) -> None:
    """The words of the run are kept even where they are more."""
    rows = [{"text": f"zebra{i % 3} plot", "label": "positive" if i % 2 else "negative"} for i in range(24)]
    jsonl(tmp_path / "data/train.jsonl", rows[:16])
    jsonl(tmp_path / "data/validation.jsonl", rows[16:])
    old = vocabulary(source)

    for name, size, added in (("small", 5, 0), ("larger", len(old) + 2, 2)):
        run = tmp_path / name
        started(*("classification", tmp_path / "data", run, source, *STILL, f"text.vocabulary_size={size}"))
        assert vocabulary(run)[: len(old)] == old
        assert len(vocabulary(run)) == len(old) + added


def test_subwords_stay(tmp_path: Path, jsonl: Jsonl, reviews: Path) -> None:
    """New data is split into the pieces of the run; pieces that it lacks stay."""
    chosen = ("text.tokens=subword", "text.vocabulary_size=60", "model.layers=0")
    config = load_config("classification", overrides=[*SMALL, *STILL, *chosen])
    train("classification", str(reviews), config, run=tmp_path / "source")
    rows = [{"text": f"zebra zebras {i}", "label": str(i % 2)} for i in range(24)]
    jsonl(tmp_path / "data/train.jsonl", rows[:16])
    jsonl(tmp_path / "data/validation.jsonl", rows[16:])

    started("classification", tmp_path / "data", tmp_path / "run", tmp_path / "source", *STILL)

    before, now = (
        open_run(tmp_path / name).preprocessing(get_task("classification").facts)
        for name in ("source", "run")
    )
    assert now.facts.subwords == before.facts.subwords
    assert list(now.vocabulary)[: len(before.vocabulary)] == list(before.vocabulary)


def test_new_tags(tmp_path: Path, jsonl: Jsonl) -> None:
    """Scores of tags and of their transitions follow the names of tags, characters those of characters."""
    first = sentences(["Ann", "Rome", "is"], ["PER", "LOC", "O"], 40)
    second = sentences(["Öl", "Rome", "is", "May"], ["PRODUCT", "LOC", "O", "DATE"], 40)
    for name, rows in (("first", first), ("second", second)):
        jsonl(tmp_path / name / "train.jsonl", rows[:30])
        jsonl(tmp_path / name / "validation.jsonl", rows[30:])
    config = load_config("tagging", overrides=[*SMALL, *LEARNING, *TAGGER])
    train("tagging", str(tmp_path / "first"), config, run=tmp_path / "source")

    started("tagging", tmp_path / "second", tmp_path / "run", tmp_path / "source", *STILL)

    before, model = keras_model(tmp_path / "source"), keras_model(tmp_path / "run")
    old, new = (vocabulary(tmp_path / name, "tags") for name in ("source", "run"))
    assert sorted(new) == [b"B-DATE", b"B-LOC", b"B-PRODUCT", b"O"]
    assert kept(tmp_path / "run")[:3] == [
        "tokens: 3 kept, 2 new ('öl', 'may')",
        "characters: 8 kept, 5 new ('l', 'Ö', 'M', 'a', 'y')",
        kept(tmp_path / "run")[2],
    ]
    assert kept(tmp_path / "run")[2].startswith("tags: 2 kept, 2 new (")
    both = [(new.index(tag), old.index(tag)) for tag in (b"B-LOC", b"O")]
    own, theirs = ([i for i, _ in both], [i for _, i in both])
    np.testing.assert_array_equal(model.head.kernel.numpy()[:, own], before.head.kernel.numpy()[:, theirs])
    found = model.crf.transitions.numpy()
    np.testing.assert_array_equal(
        found[np.ix_(own, own)], before.crf.transitions.numpy()[np.ix_(theirs, theirs)]
    )
    assert np.abs(found[new.index(b"B-DATE")]).max() < 1e-20
    spelled = by_name(
        vocabulary(tmp_path / "run", "characters"), model.character_encoder.embedding.embeddings.numpy()
    )
    of_source = by_name(
        vocabulary(tmp_path / "source", "characters"), before.character_encoder.embedding.embeddings.numpy()
    )
    assert {name: spelled[name] for name in of_source} == of_source
    for layer, expected in zip(model.recurrent.weights, before.recurrent.weights, strict=True):
        np.testing.assert_array_equal(layer, expected)


def test_layers_that_do_not_fit(tmp_path: Path, reviews: Path, source: Path) -> None:
    """A further layer, and a head of another width, begin at random, which is said."""
    started(
        *("classification", reviews, tmp_path / "run", source, *STILL, "model.layers=2", "model.pooling=last")
    )

    assert kept(tmp_path / "run")[2] == (
        "new, with random values: recurrent/forward_1/lstm_cell, recurrent/backward_1/lstm_cell, head"
    )
    before, model = keras_model(source), keras_model(tmp_path / "run")
    for layer in ("forward", "backward"):
        np.testing.assert_array_equal(
            getattr(model.recurrent, layer)[0].cell.kernel, getattr(before.recurrent, layer)[0].cell.kernel
        )


def test_resuming_is_exact_and_needs_no_source(
    command: Command, tmp_path: Path, jsonl: Jsonl, reviews: Path, source: Path, stop_at: StopAt
) -> None:
    """Once the training has begun, the run that it started from may be deleted; its path is in no export."""
    shutil.copytree(source, tmp_path / "source")
    shutil.copytree(reviews, tmp_path / "data")
    rows = [{"text": f"a zebra {i}", "label": ("fresh", "positive")[i % 2]} for i in range(8)]
    with (tmp_path / "data/train.jsonl").open("a") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)

    def run(name: str, **options: Any) -> bool:
        data, path = tmp_path / "data", tmp_path / name
        return started("classification", data, path, tmp_path / "source", *EXACT, **options)

    assert run("whole")
    assert not run("stopped", **stop_at(epoch=2, step=1))
    shutil.rmtree(tmp_path / "source")
    assert run("stopped", resume=True)
    assert run("stopped", resume=True)

    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    assert vocabulary(tmp_path / "whole") == vocabulary(tmp_path / "stopped")
    assert epoch_lines(tmp_path / "whole") == epoch_lines(tmp_path / "stopped")
    assert evaluate(tmp_path / "stopped")["examples"] == 14
    exported = export_quickly(tmp_path / "stopped", output=tmp_path / "export")
    assert str(tmp_path / "source") not in (exported / "assets.extra/manifest.json").read_text()
    of_run, of_export = (
        command("predict", model, "-", stdin="a good zebra\n") for model in (tmp_path / "stopped", exported)
    )
    assert of_run.exit_code == 0
    assert of_run.stdout == of_export.stdout


def test_other_weights_are_refused_on_resume(
    tmp_path: Path, reviews: Path, source: Path, run: Path, stop_at: StopAt
) -> None:
    """A training belongs to the weights that it started from, and to none if it did not start from a run."""
    started("classification", reviews, tmp_path / "run", source, **stop_at(epoch=1, step=1))
    with pytest.raises(UserError, match=r"it started from other weights than those of --from "):
        started("classification", reviews, tmp_path / "run", run, resume=True)

    config = load_config("classification", overrides=[*SMALL, *LEARNING])
    train("classification", str(reviews), config, run=tmp_path / "own", **stop_at(epoch=1, step=1))
    with pytest.raises(UserError, match=r"it did not start from another run; leave out --from"):
        started("classification", reviews, tmp_path / "own", source, resume=True)


@pytest.mark.parametrize(
    ("task", "chosen", "said"),
    [
        ("classification", (), "--from nowhere: nowhere is not a run directory: no such directory"),
        (
            "classification",
            ("model.units=6", "model.cell=gru"),
            "its model.cell is 'lstm', here 'gru', model.units is 4, here 6; give --set model.cell=lstm "
            "--set model.units=4",
        ),
        (
            "classification",
            ("text.tokens=char",),
            "its text.tokens is 'word', here 'char'; give a run of char",
        ),
        ("classification", ("model.embeddings=learn",), "contradicts model.embeddings = 'learn'; leave out"),
        ("classification", ("model.pretrained=learn",), "contradicts model.pretrained = 'learn'; leave out"),
        ("generation", ("model.embedding_size=7",), "its model.embedding_size is 5, here 7; give --set"),
    ],
    ids=["missing", "shape", "tokens", "embeddings", "pretrained", "another task"],
)
def test_mistakes(
    command: Command,
    reviews: Path,
    tmp_path: Path,
    source: Path,
    task: str,
    chosen: tuple[str, ...],
    said: str,
) -> None:
    """Each is one line, before a run is made."""
    start = source if chosen else "nowhere"

    result = command("train", task, reviews, "--from", start, "--run", tmp_path / "new", *overrides(*chosen))

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_run_of_another_task(tmp_path: Path, reviews: Path, jsonl: Jsonl, source: Path) -> None:
    """The embeddings and both directions of a classifier go to a tagger and back, one to a language model."""
    _, data = data_of("tagging", tmp_path / "data", jsonl, reviews, reviews)
    rows = [{"tokens": ["the", "plot", "is", "good"], "tags": ["O", "B-X", "O", "O"]}] * 4
    with (data / "train.jsonl").open("a") as file:
        file.writelines(f"{json.dumps({**row, 'label': 'odd0'})}\n" for row in rows)
    started("tagging", data, tmp_path / "tagger", source, *STILL, "training.batch_size=8")
    started("classification", reviews, tmp_path / "back", tmp_path / "tagger", *STILL)
    started("generation", reviews, tmp_path / "language", source, *STILL)

    of_source, tagger, back, language = map(
        keras_model, (source, *(tmp_path / name for name in ("tagger", "back", "language")))
    )
    assert kept(tmp_path / "tagger") == [
        "copied the embeddings of 5 of 7 tokens",
        "copied both directions of recurrent layer 1",
    ]
    assert kept(tmp_path / "language")[1:] == ["copied recurrent layer 1"]
    words, of_tagger = vocabulary(source), vocabulary(tmp_path / "tagger")
    for word in (b"the", b"plot", b"good"):
        np.testing.assert_array_equal(
            tagger.embedding.embeddings[of_tagger.index(word)],
            of_source.embedding.embeddings[words.index(word)],
        )
    for direction in ("forward", "backward"):
        expected = getattr(of_source.recurrent, direction)[0].cell
        with_characters, without = (getattr(model.recurrent, direction)[0].cell for model in (tagger, back))
        np.testing.assert_array_equal(with_characters.kernel[:5], expected.kernel)
        np.testing.assert_allclose(with_characters.kernel[5:], 0, atol=1e-20)
        np.testing.assert_array_equal(without.kernel, expected.kernel)
        np.testing.assert_array_equal(without.recurrent_kernel, expected.recurrent_kernel)
    np.testing.assert_array_equal(
        language.recurrent[0].cell.kernel, of_source.recurrent.forward[0].cell.kernel
    )


def test_the_configuration(
    command: Command, configured: Configured, tmp_path: Path, reviews: Path, stop_at: StopAt
) -> None:
    """It is that of the run, without its data and other starts; --set, --config and --preset win."""
    config = configured(
        *(
            "model.pretrained=learn",
            "data.test_fraction=0.3",
            "training.weight_decay=0.01",
            "text.min_count=2",
        )
    )
    train("classification", str(reviews), config, run=tmp_path / "source")

    def printed(*arguments: str) -> TaskConfig:
        options = ("--from", tmp_path / "source", "--print-config", *arguments)
        result = command("train", "classification", reviews, *options)
        assert result.exit_code == 0, result.stderr
        (tmp_path / "config.toml").write_text(result.stdout)
        return load_config(file=tmp_path / "config.toml")

    found = printed(*overrides("model.dropout=0.1", "data.text_column=body", "seed=7"))
    assert (found.model.embeddings, found.seed) == ("", 7)
    assert found.model == config.model.model_copy(update={"pretrained": "", "dropout": 0.1})
    assert found.text == config.text
    assert found.training == config.training
    default = load_config("classification")
    assert found.data == default.data.model_copy(update={"text_column": "body"})
    assert printed("--preset", "fast") == load_config("classification", preset="fast")


def test_the_command_and_the_function(command: Command, tmp_path: Path, reviews: Path, source: Path) -> None:
    """Both train the same network."""
    chosen = overrides("training.epochs=1", "training.deterministic=true")

    result = command(
        "train", "classification", reviews, "--from", source, "--run", tmp_path / "command", *chosen
    )
    trained = api_train(
        "classification",
        reviews,
        from_run=source,
        run=tmp_path / "function",
        overrides={"training.epochs": 1, "training.deterministic": True},
        report=False,
    )

    assert result.exit_code == 0, result.stderr
    assert f"{source}: tokens: " in result.stderr
    assert trained.finished
    assert same(weights(tmp_path / "command"), weights(tmp_path / "function"))


def test_it_teaches_with_its_own_vocabulary(tmp_path: Path, jsonl: Jsonl, source: Path) -> None:
    """A student learns the probabilities that the teacher predicts, though the data lacks its first words."""
    rows = [
        {"text": f"the {word} is zebra{i % 3}", "label": ("positive", "negative")[i % 2]}
        for i, word in enumerate(("plot", "acting", "ending") * 8)
    ]
    jsonl(tmp_path / "data/train.jsonl", rows[:16])
    jsonl(tmp_path / "data/validation.jsonl", rows[16:])
    started("classification", tmp_path / "data", tmp_path / "teacher", source, *LEARNING)

    distill(
        [tmp_path / "teacher"],
        run=tmp_path / "student",
        overrides={"training.distillation_temperature": 1.0, "training.epochs": 1},
    )

    (file,) = (tmp_path / "student/teacher").glob("*.npy")
    labels = [label.decode() for label in vocabulary(tmp_path / "teacher", "labels")]
    predicted = load(tmp_path / "teacher").predict([row["text"] for row in rows[:16]])
    expected = [[own["probabilities"][label] for label in labels] for own in predicted]
    np.testing.assert_allclose(np.load(file), expected, atol=1e-5)
