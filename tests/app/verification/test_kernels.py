from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from app.tasks.monitoring import COUNTS
from app.verification.kernels import SignatureKernels, kernels, portability_problem
from data.errors import UserError
from models.kernels.portable import run, run_both
from models.layers.cells import CELLS, get_cell

UNITS, WIDTH = 3, 2
SPECS = [tf.TensorSpec([None, None, WIDTH], tf.float32, "x"), tf.TensorSpec([None], tf.int32, "lengths")]
Body = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def on(cpu: dict[str, int], gpu: dict[str, int], swappable: int) -> SignatureKernels:
    """Return what is expected of a signature, kernels that it does not call left out."""
    none = {"CudnnRNNV3": 0, "BlockLSTMV2": 0, "loop": 0}
    return SignatureKernels(swappable, none | cpu, none | gpu)


class Holder(tf.Module):
    """Layers, their weights as raw variables, and functions over them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: dict[str, keras.layers.RNN] = {}
        for name, options in {"gru": {}, "lstm": {}, "relu": {"activation": "relu"}}.items():
            layer = (get_cell(name).layer if name in CELLS else keras.layers.GRU)(
                UNITS, return_sequences=True, **options
            )
            layer.build((None, None, WIDTH))
            self.layers[name] = layer
        self.weights = [weight.value for layer in self.layers.values() for weight in layer.weights]

    def total(self, name: str) -> Body:
        """Return a function from sequences to the sum of a layer's outputs."""
        return lambda x, lengths: tf.reduce_sum(run(self.layers[name], x, lengths)[0], axis=[1, 2])

    def bodies(self) -> dict[str, Body]:
        """Return functions that call a layer from all sorts of places."""
        layers, lstm = self.layers, self.total("lstm")
        inner = tf.function(lstm, input_signature=SPECS, autograph=False)

        def looped(x: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
            start = (0, tf.zeros(tf.shape(lengths)))
            return tf.while_loop(
                lambda i, _: i < 3, lambda i, sums: (i + 1, sums + lstm(x + float(1), lengths)), start
            )[1]

        def chosen(x: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
            branches = [
                lambda: lstm(x, lengths),
                lambda: lstm(-x, lengths),
                lambda: tf.cast(lengths, tf.float32),
            ]
            return tf.switch_case(lengths[0], branches)

        def unused(x: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
            lstm(x, lengths)
            return tf.cast(lengths, tf.float32)

        return {
            **{name: self.total(name) for name in self.layers},
            # both directions in one call
            "both": lambda x, lengths: tf.reduce_sum(run_both((layers["gru"],) * 2, x, lengths), axis=[1, 2]),
            "nested": lambda x, lengths: inner(x, lengths) + inner(-x, lengths),
            "looped": looped,
            "chosen": chosen,
            "unused": unused,
            "none": lambda x, lengths: tf.reduce_sum(x, axis=[1, 2]),
        }


EXPECTED = {
    "gru": on({"loop": 1}, {"CudnnRNNV3": 1}, 1),
    # few rows in one operation, many in a loop
    "lstm": on({"BlockLSTMV2": 1, "loop": 1}, {"CudnnRNNV3": 1}, 1),
    # cuDNN has no such cell
    "relu": on({"loop": 1}, {"loop": 1}, 0),
    "nested": on({"BlockLSTMV2": 2, "loop": 2}, {"CudnnRNNV3": 2}, 2),
    "both": on({"loop": 2}, {"CudnnRNNV3": 2}, 2),
    # a loop around a layer, as of a decoder
    "looped": on({"BlockLSTMV2": 1, "loop": 2}, {"CudnnRNNV3": 1, "loop": 1}, 1),
    "chosen": on({"BlockLSTMV2": 2, "loop": 2}, {"CudnnRNNV3": 2}, 2),
    "unused": on({}, {}, 0),
    "none": on({}, {}, 0),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SavedModel with a signature for each function."""
    folder = tmp_path_factory.mktemp("saved")
    holder = Holder()
    signatures = {
        name: tf.function(body, input_signature=SPECS, autograph=False)
        for name, body in holder.bodies().items()
    }
    tf.saved_model.save(holder, str(folder), signatures=signatures)
    return folder


@pytest.fixture(scope="module")
def found(saved: Path) -> dict[str, SignatureKernels]:
    """Return the kernels of these signatures."""
    return kernels(saved)


def test_signatures(found: dict[str, SignatureKernels]) -> None:
    """All signatures are there, and what initialises the model is none."""
    assert list(found) == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_kernels(found: dict[str, SignatureKernels], name: str) -> None:
    """Each host runs its own kernels, wherever in the graph a layer is called."""
    assert found[name] == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_nothing_is_wrong_with_them(found: dict[str, SignatureKernels], name: str) -> None:
    """With the number of layers known loops are not held against them, of decoders, nor of unusual cells."""
    layers = 0 if name in ("relu", "unused", "none") else 1

    assert portability_problem(found[name], layers) is None


def change(saved: Path, target: Path, how: Callable[[Any], object]) -> Path:
    """Return a SavedModel whose graph was changed; it has the signature of one LSTM alone."""
    content = saved_model_pb2.SavedModel.FromString((saved / "saved_model.pb").read_bytes())
    graph = content.meta_graphs[0]
    for name in [name for name in graph.signature_def if name != "lstm"]:
        del graph.signature_def[name]
    how(graph)
    (target / "saved_model.pb").write_bytes(content.SerializeToString())
    return target


def implementations(graph: Any, device: bytes) -> list[Any]:
    """Return the functions for a device."""
    return [f for f in graph.graph_def.library.function if f.attr["api_preferred_device"].s == device]


def without_cudnn(graph: Any) -> None:
    """Forget the implementations for a GPU."""
    for function in implementations(graph, b"GPU"):
        graph.graph_def.library.function.remove(function)


def apart(graph: Any) -> None:
    """Make the two implementations ones of different things."""
    for function in implementations(graph, b"GPU"):
        function.attr["api_implements"].s += b"_other"


def for_another_device(graph: Any) -> None:
    """Say of the implementations for a GPU that they are for the CPU."""
    for function in implementations(graph, b"GPU"):
        function.attr["api_preferred_device"].s = b"CPU"


@pytest.mark.parametrize("how", [without_cudnn, apart])
def test_no_implementation_for_a_gpu(saved: Path, tmp_path: Path, how: Callable[[Any], object]) -> None:
    """Without a second implementation of the same thing nothing is swapped."""
    found = kernels(change(saved, tmp_path, how))

    assert found == {"lstm": on({"BlockLSTMV2": 1, "loop": 1}, {"BlockLSTMV2": 1, "loop": 1}, 0)}
    assert "has 0 CudnnRNNV3" in (portability_problem(found["lstm"], 1) or "")
    assert "runs a loop on every host" in (portability_problem(found["lstm"]) or "")


def test_an_implementation_for_the_wrong_device(saved: Path, tmp_path: Path) -> None:
    """Where both say that they are for the CPU, it may be the wrong one that runs there."""
    found = kernels(change(saved, tmp_path, for_another_device))

    assert found["lstm"].swappable == 0
    assert "where that fails" in (portability_problem(found["lstm"], 1) or "")


class Clumsy(tf.Module):
    """A swappable function that TensorFlow never swaps, since an argument of it is a constant."""

    def __init__(self) -> None:
        super().__init__()
        attributes = {"api_implements": "clumsy"}

        def on_cpu(x: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
            return x * scale

        def on_gpu(x: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
            return scale * cudnn(x)

        self.on_cpu, self.on_gpu = (
            tf.function(function, experimental_attributes=attributes | {"api_preferred_device": device})
            for function, device in ((on_cpu, "CPU"), (on_gpu, "GPU"))
        )

    @tf.function(input_signature=SPECS[:1])
    def served(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        scale = tf.constant(2.0)
        other = self.on_gpu.get_concrete_function(x, scale)
        other.add_to_graph(tf.compat.v1.get_default_graph())
        return {"y": self.on_cpu(x, scale)}


def cudnn(x: tf.Tensor) -> tf.Tensor:
    """Return what cuDNN makes of sequences [B, T, WIDTH]."""
    state = tf.zeros([tf.shape(x)[0], 1, WIDTH])
    return tf.raw_ops.CudnnRNNV3(
        input=x,
        input_h=state,
        input_c=0.0,
        params=tf.zeros([2 * WIDTH * (WIDTH + 1)]),
        sequence_lengths=tf.fill(tf.shape(x)[:1], tf.shape(x)[1]),
        rnn_mode="rnn_tanh",
        time_major=False,
    ).output


def test_a_call_that_is_not_swapped(tmp_path: Path) -> None:
    """Two implementations are no proof: what counts is that the call is replaced."""
    clumsy = Clumsy()
    tf.saved_model.save(clumsy, str(tmp_path), signatures=clumsy.served)

    found = kernels(tmp_path)["serving_default"]

    assert found == on({}, {}, 1)
    problem = portability_problem(found)
    assert problem is not None
    assert "0 times on a host with a GPU: expected all 1 of its GPU implementations" in problem
    assert portability_problem(found, 1) is not None


def test_cudnn_alone(tmp_path: Path) -> None:
    """What Keras traces on a machine with a GPU fails on one without."""
    module = tf.Module()
    module.served = tf.function(lambda x: {"y": cudnn(x)}, input_signature=SPECS[:1])
    tf.saved_model.save(module, str(tmp_path), signatures=module.served)

    found = kernels(tmp_path)["serving_default"]

    assert found == on({"CudnnRNNV3": 1}, {"CudnnRNNV3": 1}, 0)
    for expected in (None, 0, 1):
        assert "once on a host without a GPU, where that fails" in (
            portability_problem(found, expected) or ""
        )


def test_a_stock_export(tmp_path: Path) -> None:
    """What Keras traces on a machine without a GPU runs a loop for ever, on every host."""
    model = keras.Sequential([keras.layers.Embedding(5, 2), keras.layers.LSTM(3)])
    model.build((None, None))
    model.export(tmp_path, verbose=False)

    found = kernels(tmp_path)["serving_default"]

    assert found == on({"loop": 1}, {"loop": 1}, 0)
    assert portability_problem(found) == "runs a loop on every host, once, and cuDNN on none"
    assert "expected 1" in (portability_problem(found, 1) or "")


@pytest.mark.parametrize(
    ("swappable", "expected", "fine"),
    [
        (2, 2, True),
        (4, 2, True),  # a signature may read a text twice
        (2, None, True),
        (0, 0, True),
        (0, None, False),
        (0, 2, False),
        (1, 2, False),
        (3, 2, False),
        (2, 0, False),
    ],
)
def test_the_number_of_layers(swappable: int, expected: int | None, fine: bool) -> None:
    """Every layer that cuDNN has is swapped, and nothing else."""
    kernels_found = on({"loop": 1}, {"CudnnRNNV3": swappable, "loop": 1}, swappable)

    assert (portability_problem(kernels_found, expected) is None) == fine


# What is no SavedModel


def nothing(saved: Path, target: Path) -> None:
    """Leave the directory empty."""


def for_training(saved: Path, target: Path) -> None:
    """Have only a graph that is not for serving."""
    change(saved, target, lambda graph: graph.meta_info_def.tags.append("train"))


def of_unknown_operations(saved: Path, target: Path) -> None:
    """Use an operation that TensorFlow does not have."""

    def rename(graph: Any) -> None:
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                node.op = node.op.replace("BlockLSTMV2", "Custom")

    change(saved, target, rename)


def without_an_output(saved: Path, target: Path) -> None:
    """Answer with a tensor that is not there."""
    change(
        saved, target, lambda graph: setattr(graph.signature_def["lstm"].outputs["output_0"], "name", "no:0")
    )


def damaged(saved: Path, target: Path) -> None:
    """Hold something else."""
    (target / "saved_model.pb").write_bytes(b"\x00damaged")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, "no SavedModel"),
        (damaged, "cannot be parsed as a SavedModel"),
        (for_training, "no graph to serve"),
        (of_unknown_operations, "the graph of signature 'lstm' is not valid: .*Custom"),
        (without_an_output, "the graph of signature 'lstm' is not valid"),
    ],
)
def test_refused(saved: Path, tmp_path: Path, make: Callable[[Path, Path], None], message: str) -> None:
    """What can't be served is refused in one line."""
    make(saved, tmp_path)

    with pytest.raises(UserError, match=message) as error:
        kernels(tmp_path)
    assert "\n" not in str(error.value)


# Of tasks


@pytest.mark.parametrize(
    ("case", "layers"),
    [
        (("tagging", "model.crf=true", "model.character_features=convolution"), 2),
        (("translation", "text.tokens=byte", "model.cell=simple", "model.attention=multiplicative"), 2),
    ],
    ids=lambda case: case[0] if isinstance(case, tuple) else "",
)
def test_tasks(untrained: Callable[..., Path], case: tuple[str, ...], layers: int) -> None:
    """Each signature runs the kernels of the host in all layers, however often; that of counts has none."""
    found = kernels(untrained(*case, labels=case[0] == "tagging"))
    assert not found.pop(COUNTS).swappable

    problems = {name: portability_problem(row, layers) for name, row in found.items()}
    assert {name: problem for name, problem in problems.items() if problem} == {}
    assert "serving_default" in found
    assert all(row.swappable for row in found.values())
