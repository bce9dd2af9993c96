"""Training of language models: what a run stores, samples, windows, resuming."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generation_data import Model, Models, configured, play

from app.artifacts.samples import keep_sample, read_samples
from app.evaluate import evaluate
from app.train import train
from data.errors import UserError


def test_a_sample_after_each_epoch(models: Models) -> None:
    """After each epoch a generated sample is printed to stderr, below the metrics of the epoch."""
    lines = models("char").messages.splitlines()
    epochs = [i for i, line in enumerate(lines) if line.startswith("epoch ")]

    assert len(epochs) == 3
    for begin, end in itertools.pairwise([*epochs, len(lines) - 1]):
        sample = lines[begin + 1 : end]
        assert all(line.startswith("  | ") for line in sample)
        assert sum(len(line) - 3 for line in sample) == 200 + 1


def test_samples_are_kept(models: Models, tmp_path: Path) -> None:
    """The sample of each epoch is in the run; an epoch that is repeated replaces its own and later ones."""
    run = models("char")
    samples = read_samples(run.path)

    assert list(samples) == [1, 2, 3]
    assert all(f"  | {line}" in run.messages.split("\n") for line in samples[2].split("\n"))
    for epoch, text in ((1, "a\n\u2028b"), (2, "c"), (3, "d"), (2, "e")):
        keep_sample(tmp_path, epoch, text)
    assert read_samples(tmp_path) == {1: "a\n\u2028b", 2: "e"}


def test_files_of_a_run(models: Models) -> None:
    """A run stores whether its documents end, its labels, and its subwords with their probabilities."""
    facts = {
        kind: json.loads((models(kind).path / "preprocessing.json").read_text())["facts"]
        for kind in ("char", "word", "subword")
    }

    assert [facts[kind]["documents_end"] for kind in facts] == [False, True, False]
    assert (models("word").path / "labels.txt").read_text() == "sea\nwood\n"
    assert not (models("char").path / "labels.txt").exists()
    assert not facts["char"]["subwords"]
    assert all(score < 0 for _, score in facts["subword"]["subwords"]["vocabulary"])


@pytest.mark.parametrize(
    "options",
    [
        ("training.sequence_length=1", "training.batch_size=300"),
        ("training.sequence_length=100000", "training.batch_size=3"),
    ],
    ids=["of one token, more streams than tokens", "longer than the text"],
)
def test_windows_of_any_length(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Windows may have any length, and there may be any number of streams."""
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


def state(run: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a training's state."""
    with np.load(run / "checkpoints/state.npz") as saved:
        return {name: saved[name] for name in saved.files if name != "progress"}


def test_exact_resume(char: Model, tmp_path: Path, stop_at: Callable[..., dict[str, Any]]) -> None:
    """Training that is stopped within an epoch and resumed ends with the same state, bit for bit.

    Weight dropout, locked dropout and averaged weights are on (Merity et al. 2018).
    """
    config = configured(
        "training.deterministic=true",
        "training.epochs=2",
        "training.batch_size=8",
        "model.dropout=0.2",
        "model.weight_dropout=0.2",
        "model.locked_dropout=true",
        "training.ema=0.9",
        "training.early_stopping_patience=0",
    )
    data = str(char.data)
    whole = train("generation", data, config, run=tmp_path / "whole")
    stopped = train("generation", data, config, run=tmp_path / "run", **stop_at(epoch=2, step=3))
    middle = state(tmp_path / "run")
    carried = [name for name in middle if "carried" in name]
    resumed = train("generation", data, config, run=tmp_path / "run", resume=True)

    expected, found = state(whole.path), state(resumed.path)
    assert (whole.finished, stopped.finished, resumed.finished) == (True, False, True)
    assert len(carried) == 1
    assert middle[carried[0]].shape == (8, 16)
    assert np.abs(middle[carried[0]]).max() > 0.1
    assert not np.array_equal(middle[carried[0]], expected[carried[0]])
    assert found.keys() == expected.keys() == middle.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name
    assert list(read_samples(whole.path)) == [1, 2]
    assert read_samples(resumed.path) == read_samples(whole.path)


def test_exact_resume_with_a_sampled_softmax(
    models: Models, tmp_path: Path, stop_at: Callable[..., dict[str, Any]]
) -> None:
    """The samples of a step are drawn from the state: a resumed training draws the same ones."""
    config = configured("training.deterministic=true", "training.epochs=2", "training.sampled_softmax=9")
    data = str(models("char").data)
    whole = train("generation", data, config, run=tmp_path / "whole")
    train("generation", data, config, run=tmp_path / "run", **stop_at(epoch=2, step=3))
    resumed = train("generation", data, config, run=tmp_path / "run", resume=True)

    expected, found = state(whole.path), state(resumed.path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name


def test_validation_has_the_full_softmax(models: Models, tmp_path: Path) -> None:
    """The validation loss is that of the whole vocabulary, as with `evaluate`; the training loss is not."""
    run = tmp_path / "run"
    best = train(
        "generation", str(models("char").data), configured("training.sampled_softmax=3"), run=run
    ).best

    whole = evaluate(run, split="validation", with_baseline=False)["loss"]
    # The validation is read in pieces, each after a bounded context; evaluate reads it whole.
    assert best["validation_loss"] == pytest.approx(whole, rel=0.01)
    assert best["loss"] < 0.8 * whole


def test_more_samples_than_tokens(models: Models, tmp_path: Path) -> None:
    """Samples must be fewer than the vocabulary; the message says how many it has."""
    with pytest.raises(UserError) as raised:
        train(
            "generation",
            str(models("char").data),
            configured("training.sampled_softmax=5000"),
            run=tmp_path / "run",
        )

    assert re.fullmatch(
        r"training\.sampled_softmax = 5000 is not less than the vocabulary of \d+ tokens; give a smaller "
        r"number, or 0 for the full softmax",
        str(raised.value),
    )
    assert not (tmp_path / "run").exists()


def test_no_label_smoothing_of_samples() -> None:
    """Label smoothing is refused together with a sampled softmax."""
    with pytest.raises(
        UserError, match=r"label_smoothing = 0\.1 needs all tokens, which sampled_softmax = 50"
    ):
        configured("training.sampled_softmax=50", "training.label_smoothing=0.1")
