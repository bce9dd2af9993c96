"""The native operation in place of the portable kernels of a saved graph.

A graph that `models.kernels.devices` built has two functions for each call of recurrent layers, one for each
kind of host. The one for a GPU names the cell, as cuDNN calls it. The one for a CPU takes the same arguments,
and is replaced here by a function that calls the native operation once for all directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.framework import function_pb2, tensor_shape_pb2, types_pb2

from models.kernels.native import library

CUDNN = "CudnnRNNV3"
IMPLEMENTS, DEVICE = "api_implements", "api_preferred_device"


class Cell(NamedTuple):
    """How the native operation calls a cell."""

    name: str
    activation: str
    weights: int
    """Arrays that a layer has in a saved graph."""


CELLS = {
    b"": Cell("lstm", "tanh", 2),  # a default is not saved
    b"lstm": Cell("lstm", "tanh", 2),
    b"gru": Cell("gru", "tanh", 3),
    b"rnn_tanh": Cell("simple", "tanh", 3),
    b"rnn_relu": Cell("simple", "relu", 3),
}
"""By the name that cuDNN has for it."""


class Portable(NamedTuple):
    """A call of recurrent layers, as `models.kernels.portable` saves it."""

    cell: Cell
    sequences: int
    """1, or one for each direction, the second one reversed."""
    states: int
    """0, or as many as the cell has."""
    wants_memory: bool
    """Whether the c of an LSTM is returned, too."""


def native_functions(
    functions: Iterable[function_pb2.FunctionDef],
) -> dict[str, function_pb2.FunctionDef]:
    """Return a function with the native operation for each function that it can replace, by name.

    The operation must be loaded, see `models.kernels.native.library`.
    """
    pairs: dict[bytes, dict[bytes, list[function_pb2.FunctionDef]]] = {}
    for function in functions:
        if IMPLEMENTS in function.attr:  # asking for what is not there would write it there
            devices = pairs.setdefault(function.attr[IMPLEMENTS].s, {})
            devices.setdefault(function.attr[DEVICE].s, []).append(function)
    found = {}
    for devices in pairs.values():
        for of_gpu in devices.get(b"GPU", [])[:1]:
            for function in devices.get(b"CPU", []):
                if call := _portable(function, of_gpu):
                    found[function.signature.name] = _native(function, call)
    return found


def _portable(function: function_pb2.FunctionDef, of_gpu: function_pb2.FunctionDef) -> Portable | None:
    """Return what a function computes; None: it is not one that the native operation can replace."""
    modes = [node.attr["rnn_mode"].s for node in of_gpu.node_def if node.op == CUDNN]
    types = [argument.type for argument in function.signature.input_arg]
    if types.count(types_pb2.DT_INT32) != 1 or not set(modes) <= CELLS.keys() or len(set(modes)) != 1:
        return None
    cell, directions = CELLS[modes[0]], len(modes)
    sequences = types.index(types_pb2.DT_INT32)
    states = len(types) - sequences - 1 - directions * cell.weights
    outputs = len(function.signature.output_arg)
    wants_memory = directions == 1 and outputs == 2 and cell.name == "lstm"
    if (
        {*types} != {types_pb2.DT_INT32, types_pb2.DT_FLOAT}
        or sequences not in (1, directions)
        or states not in (0, 2 if cell.name == "lstm" else 1)
        or not (wants_memory or outputs == sequences)
        or not all(_shape(function, i).is_fully_defined() for i in range(sequences + 1 + states, len(types)))
    ):
        return None
    return Portable(cell, sequences, states, wants_memory)


def _shape(function: function_pb2.FunctionDef, argument: int) -> tf.TensorShape:
    shapes = function.arg_attr[argument].attr["_output_shapes"].list.shape
    return tf.TensorShape(shapes[0] if shapes else tensor_shape_pb2.TensorShapeProto(unknown_rank=True))


def _native(function: function_pb2.FunctionDef, call: Portable) -> function_pb2.FunctionDef:
    """Return a function of the same name, with the same arguments and results."""
    specs = [
        tf.TensorSpec(_shape(function, i), argument.type)
        for i, argument in enumerate(function.signature.input_arg)
    ]
    traced = tf.function(lambda *flat: _run(call, flat), autograph=False).get_concrete_function(*specs)
    made = function_pb2.FunctionDef()
    made.CopyFrom(traced.function_def)
    made.signature.name = function.signature.name
    return made


def _run(call: Portable, flat: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    sequences, lengths, rest = flat[: call.sequences], flat[call.sequences], flat[call.sequences + 1 :]
    state = [value[tf.newaxis] for value in rest[: call.states]]
    weights = _weights(call.cell, rest[call.states :])
    if call.sequences == 1:
        return _outputs(call, sequences[0], lengths, state, weights)
    each = zip(sequences, weights, strict=True)
    return [output for x, own in each for output in _outputs(call, x, lengths, state, [own])]


def _outputs(
    call: Portable,
    sequences: tf.Tensor,
    lengths: tf.Tensor,
    state: Sequence[tf.Tensor],
    weights: Sequence[Sequence[tf.Tensor]],
) -> list[tf.Tensor]:
    none = tf.zeros([0])
    kernels, recurrents, biases = zip(*weights, strict=True)
    found: Any = library.operations().textrnn_recurrent(
        x=sequences,
        lengths=lengths,
        hidden=state[0] if state else none,
        memory=state[1] if len(state) > 1 else none,
        masks=none,
        kernels=kernels,
        recurrents=recurrents,
        biases=biases,
        cell=call.cell.name,
        activation=call.cell.activation,
        training=False,
        frozen=True,
    )
    return [found.y, found.last_memory[0]] if call.wants_memory else [found.y]


def _weights(cell: Cell, flat: Sequence[tf.Tensor]) -> list[list[tf.Tensor]]:
    """Return kernel, recurrent kernel and bias of each direction; an LSTM has the first two in one matrix."""
    layers = [list(flat[i : i + cell.weights]) for i in range(0, len(flat), cell.weights)]
    if cell.weights == 3:
        return layers
    units = [bias.shape[0] // 4 for _, bias in layers]
    return [[both[:-own], both[-own:], bias] for (both, bias), own in zip(layers, units, strict=True)]
