"""An export runs the native kernels where they can run, and says so where they cannot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import Result

from app.artifacts import replay
from app.artifacts.exchange import load_exchanged
from app.artifacts.files import checksums
from app.artifacts.golden import GOLDEN, MAIN
from app.prediction.exchange import load_signatures
from data.errors import UserError
from models.kernels.native.library import Library
from models.kernels.portable import prepare, run, run_both
from models.layers.cells import get_cell

Command = Callable[..., Result]
UNITS, WIDTH = 6, 3
DISAGREE = r"the native kernels cannot run: .*the golden output"

needs_native = pytest.mark.usefixtures("native_kernels")


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the native kernels."""
    monkeypatch.setattr("models.kernels.native.library.library", lambda: Library(False, "no compiler"))
    monkeypatch.setattr("models.kernels.native.library.needs_compiling", lambda: False)
    monkeypatch.setattr("models.kernels.choice._has_gpu", lambda: False)


@pytest.fixture
def wrong(exported: Path, tmp_path: Path) -> Path:
    """Return a copy of an export whose golden outputs are others than those of its model."""
    copy = Path(shutil.copytree(exported, tmp_path / "wrong"))
    cases = [json.loads(line) for line in (copy / GOLDEN).read_text().splitlines()]
    other = {case["signature"]: case["outputs"] for case in cases if case["name"] == "plain"}
    for case in cases:
        if case["name"] != "plain":
            case["outputs"] = other[case["signature"]]
    (copy / GOLDEN).write_text("".join(json.dumps(case) + "\n" for case in cases))
    manifest = copy / "assets.extra/manifest.json"
    facts = json.loads(manifest.read_text())
    manifest.unlink()
    manifest.write_text(json.dumps(facts | {"files": checksums(copy)}))
    return copy


def saved(cell: str, folder: Path, **options: object) -> Path:
    """Save layers of a cell: in one direction with and without a state, and in both."""
    layers = [get_cell(cell).layer(UNITS, return_sequences=True, **options) for _ in range(2)]
    for i, layer in enumerate(layers):
        layer.build((None, None, WIDTH))
        layer.set_weights(
            [np.random.default_rng(i).normal(size=w.shape, scale=0.7) for w in layer.get_weights()]
        )
        prepare(layer)
    module = tf.Module()
    module.weights = [weight.value for layer in layers for weight in layer.weights]
    module.weights += [layer.stacked_kernel for layer in layers if hasattr(layer, "stacked_kernel")]
    first, second = layers

    def every(x: tf.Tensor, lengths: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        real = tf.sequence_mask(lengths, tf.shape(x)[1], tf.float32)[:, :, tf.newaxis]
        outputs, after = run(first, x, lengths, tf.unstack(state), wants_state=True)
        found = {"outputs": outputs * real, "both": run_both((first, second), x, lengths) * real}
        found["alone"] = run(second, x, lengths)[0] * real
        return {**found, **{f"state_{i}": value for i, value in enumerate(after)}}

    specs = [
        tf.TensorSpec([None, None, WIDTH], name="x"),
        tf.TensorSpec([None], tf.int32, "lengths"),
        tf.TensorSpec([get_cell(cell).states, None, UNITS], name="state"),
    ]
    signature = tf.function(every, input_signature=specs, autograph=False)
    tf.saved_model.save(module, str(folder), signatures={"every": signature})
    return folder


def operations(loaded: tf.Module) -> set[str]:
    """Return the operations of a loaded graph and of its functions."""
    graph = loaded.signatures["every"].graph.as_graph_def()
    nodes = [node for function in graph.library.function for node in function.node_def]
    return {node.op for node in [*nodes, *graph.node]}


@needs_native
@pytest.mark.parametrize(
    ("cell", "options"), [("lstm", {}), ("gru", {}), ("simple", {}), ("simple", {"activation": "relu"})]
)
def test_each_function_is_exchanged(cell: str, options: dict[str, object], tmp_path: Path) -> None:
    """Outputs and states of the native operation are those of the graph, whose files do not change."""
    folder = saved(cell, tmp_path, **options)
    before = checksums(folder)
    rows, steps = 5, 7
    generator = np.random.default_rng(1)
    inputs = {
        "x": tf.constant(generator.normal(size=(rows, steps, WIDTH)), tf.float32),
        "lengths": tf.constant([7, 1, 3, 7, 2]),
        "state": tf.constant(generator.normal(size=(get_cell(cell).states, rows, UNITS)), tf.float32),
    }

    native = load_exchanged(folder)

    assert native is not None
    found = native.signatures["every"](**inputs)
    for name, expected in tf.saved_model.load(str(folder)).signatures["every"](**inputs).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    assert "TextrnnRecurrent" in operations(native)
    assert not operations(native) & {"BlockLSTMV2", "CudnnRNNV3", "StatelessWhile", "While"}
    assert checksums(folder) == before


@needs_native
def test_other_cells_stay(tmp_path: Path) -> None:
    """A layer that cuDNN does not have is not exchanged."""
    assert load_exchanged(saved("lstm", tmp_path, activation="sigmoid")) is None


@needs_native
def test_a_signature_is_compared_before_its_first_call(exported: Path, wrong: Path) -> None:
    """If its outputs are not the golden ones, the graph is kept, with one sentence, for all signatures."""
    text = tf.constant([b"What a charming soup"])
    notes: list[str] = []
    expected = load_signatures(exported, "tensorflow", note=notes.append)[MAIN](text=text)
    right = load_signatures(exported, "native", note=notes.append)[MAIN](text=text)
    assert notes == []
    signatures = load_signatures(wrong, note=notes.append)
    assert notes == []

    found = [signatures[MAIN](text=text) for _ in range(2)]

    assert len(notes) == 1
    assert notes[0].startswith(f"{wrong}: the kernels of TensorFlow run, not the native ones: {MAIN}, ")
    for name, value in expected.items():
        tf.debugging.assert_near(right[name], value) if value.dtype.is_floating else None
        assert all((outputs[name].numpy() == value.numpy()).all() for outputs in found)


@needs_native
def test_native_kernels_that_disagree_are_refused(wrong: Path) -> None:
    """If native kernels are asked for, wrong outputs are an error: at once, or before the first call."""
    with pytest.raises(UserError, match=DISAGREE):
        load_signatures(wrong, "native", whole=True)
    with pytest.raises(UserError, match=DISAGREE):
        load_signatures(wrong, "native")[MAIN](text=tf.constant([b"a"]))


@needs_native
def test_the_whole_golden_set_is_compared_at_once(
    exported: Path, wrong: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server compares all cases of all signatures while it loads a version."""
    compared: list[int] = []
    original = replay.compared

    def counted(way: str, cases: list[replay.Case], outputs: list[replay.Arrays]) -> dict[str, Any]:
        compared.append(len(cases))
        return original(way, cases, outputs)

    monkeypatch.setattr(replay, "compared", counted)
    notes: list[str] = []
    load_signatures(exported, whole=True, note=notes.append)

    assert sum(compared) >= len((exported / GOLDEN).read_text().splitlines())
    assert notes == []
    load_signatures(wrong, whole=True, note=notes.append)
    assert len(notes) == 1


@pytest.mark.usefixtures("without_library")
def test_without_the_library(command: Command, exported: Path) -> None:
    """Without a library the graph is kept, with one line; if native kernels are asked for, it is an error."""
    kept, native, quiet = (
        command("predict", exported, "--kernels", kernels, stdin="good\n")
        for kernels in ("auto", "native", "tensorflow")
    )

    assert (kept.exit_code, quiet.exit_code, quiet.stderr) == (0, 0, "")
    assert kept.stdout == quiet.stdout
    assert kept.stderr == f"{exported}: the kernels of TensorFlow run, not the native ones: no compiler\n"
    assert (native.exit_code, native.stdout) == (1, "")
    assert native.stderr == f"Error: {exported}: the native kernels are not available: no compiler\n"
