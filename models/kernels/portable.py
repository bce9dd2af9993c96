"""Recurrent layers for inference, with a kernel for each kind of host in one graph.

Keras chooses cuDNN or not when a graph is traced, so that what was traced on one machine is slow or broken on
another. Here both implementations of a layer lie in the graph, as two functions that say that they implement
the same thing, and for which device. The first one, for the CPU, is called. On a host with a GPU TensorFlow's
implementation selector replaces the call by the other one, before the graph first runs: in Python, in a TF1
session and in TensorFlow Serving alike.

What keeps the selector from giving up is kept to here: every output of such a function is used, none of its
arguments is a constant, and no two calls share a name.

On a CPU:

* an LSTM over few rows runs `BlockLSTMV2`, which reads all steps in one operation;
* all else runs a loop that reads a few steps a turn, the product of inputs and weights a turn at a time,
  which stays in the cache. For many rows this beats `BlockLSTMV2`, which keeps every gate of every step.

On a GPU, `CudnnRNNV3` where cuDNN has the cell: with the activations of the papers and with a bias. Other
cells run the loop on every host.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

BLOCK_ROWS = 32
"""Up to which `BlockLSTMV2` is the faster one on a CPU, for 64 to 256 units."""
LARGEST_BLOCK = 2**21
"""Rows × steps × units up to which it is run: it keeps seven times as many numbers, 56 MiB then."""
FEW_OUTPUTS = 4
"""Of a dense layer, up to which products and sums of its own are faster for one row than oneDNN's product of
matrices, whose call alone takes 20 µs."""
STEPS_A_TURN = 4
"""That a loop reads; more make a larger graph and waste more steps at a text's end."""

Step = Callable[[tf.Tensor, Sequence[tf.Tensor]], list[tf.Tensor]]
Weights = tuple[tf.Tensor, ...]


class Kernels(NamedTuple):
    """How a kind of cell is computed."""

    step: Callable[[Any, Weights], Step]
    """One step of a loop, of inputs that were already multiplied with their weights."""
    input_bias: Callable[[tf.Tensor], tf.Tensor]
    """The part of the bias that is added to that product."""
    cudnn_mode: Callable[[Any], str | None]
    """The name of the cell in cuDNN; None: it has none like it."""
    cudnn_parameters: Callable[[Weights], tf.Tensor]
    """The weights as cuDNN reads them."""
    states: int
    """Tensors of a state."""


def has_cudnn_kernel(layer: keras.layers.RNN) -> bool:
    """Whether a host with a GPU runs cuDNN for this layer."""
    return _kernels(layer).cudnn_mode(layer.cell) is not None


def prepare(layer: keras.layers.RNN) -> None:
    """Stacks the two matrices of an LSTM in one variable, as `BlockLSTMV2` reads them in each call.

    Once a layer's weights are what they shall be: the variable does not follow them.
    """
    if _kernels(layer).cudnn_mode(layer.cell) == "lstm":
        layer.stacked_kernel = tf.Variable(_stacked(layer.cell), trainable=False, name="stacked_kernel")


def run(
    layer: keras.layers.RNN,
    sequences: tf.Tensor,
    lengths: tf.Tensor,
    state: Sequence[tf.Tensor] | None = None,
    *,
    wants_state: bool = False,
) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
    """Runs a layer as it is in inference: without dropout.

    The results must all be used; gradients are not to be asked for.

    Args:
        layer: a built `keras.layers.SimpleRNN`, `GRU` or `LSTM`.
        sequences: float32 [B, T, D], right-padded.
        lengths: int32 [B], each from 1 to T.
        state: what the layer starts with, float32 [B, U] each: h, and for an LSTM c; None for zeros.
        wants_state: whether the state behind each row's last step is wanted.

    Returns:
        outputs float32 [B, T, U], meaningless beyond a row's length; the state, or nothing.
    """
    # Of an LSTM: its h can be read off the outputs, its c can not.
    wants_memory = wants_state and _kernels(layer).states == 2
    ((outputs, *memory),) = _run([layer], [sequences], lengths, state, wants_memory)
    return outputs, (_last(outputs, lengths), *memory) if wants_state else ()


def run_both(
    layers: tuple[keras.layers.RNN, keras.layers.RNN],
    sequences: tuple[tf.Tensor, tf.Tensor],
    lengths: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs two layers of one kind at once, as those of two directions: each as `run` does, over its rows."""
    (first,), (second,) = _run(list(layers), list(sequences), lengths, None, False)
    return first, second


def dense(layer: keras.layers.Dense, inputs: tf.Tensor) -> tf.Tensor:
    """Runs a dense layer that has a bias and no activation: float [B, D] → [B, units].

    With few units in float32, whatever the layer's dtype.
    """
    if layer.units > FEW_OUTPUTS:
        return layer(inputs)
    inputs, kernel, bias = (tf.cast(value, tf.float32) for value in (inputs, layer.kernel, layer.bias))
    return tf.reduce_sum(inputs[:, :, tf.newaxis] * kernel, axis=1) + bias


def _run(
    layers: list[keras.layers.RNN],
    sequences: list[tf.Tensor],
    lengths: tf.Tensor,
    state: Sequence[tf.Tensor] | None,
    wants_memory: bool,
) -> list[tuple[tf.Tensor, ...]]:
    """For each layer its outputs, and if wanted its c; they start with the same state."""
    kernels = _kernels(layers[0])
    mode = kernels.cudnn_mode(layers[0].cell)
    is_stacked = mode == "lstm"
    weights_of = _stacked_weights if is_stacked else _weights
    arguments = [sequences, lengths, list(state or ()), [weights_of(layer) for layer in layers]]

    def unstacked(weights: Weights) -> Weights:
        if not is_stacked:
            return weights
        both, bias = weights
        return both[: -layers[0].units], both[-layers[0].units :], bias

    def each(
        run_one: Callable[..., tuple[tf.Tensor, ...]],
    ) -> Callable[..., list[tuple[tf.Tensor, ...]]]:
        def run_all(*flat: tf.Tensor) -> list[tuple[tf.Tensor, ...]]:
            inputs, until, start, weights = tf.nest.pack_sequence_as(arguments, flat)
            for value in start:
                value.set_shape([None, layers[0].units])
            zeros = [tf.zeros([tf.size(until), layers[0].units])] * kernels.states
            return [
                run_one(layer.cell, x, until, start or zeros, of_layer)
                for layer, x, of_layer in zip(layers, inputs, weights, strict=True)
            ]

        return run_all

    def loop(
        cell: Any, x: tf.Tensor, until: tf.Tensor, start: list[tf.Tensor], weights: Weights
    ) -> tuple[tf.Tensor, ...]:
        return _loop(kernels, cell, x, until, start, unstacked(weights), wants_memory)

    def block(
        _: Any, x: tf.Tensor, until: tf.Tensor, start: list[tf.Tensor], weights: Weights
    ) -> tuple[tf.Tensor, ...]:
        return _block(x, until, start, weights, wants_memory)

    def cudnn(
        _: Any, x: tf.Tensor, until: tf.Tensor, start: list[tf.Tensor], weights: Weights
    ) -> tuple[tf.Tensor, ...]:
        parameters = kernels.cudnn_parameters(unstacked(weights))
        return _cudnn(mode, x, until, start, parameters, wants_memory)

    def on_cpu(*flat: tf.Tensor) -> Any:
        if not is_stacked:  # no LSTM, or none like BlockLSTMV2
            return each(loop)(*flat)
        sequences, rows = flat[0], tf.size(flat[len(layers)])
        fits = tf.size(sequences) <= LARGEST_BLOCK // layers[0].units * sequences.shape[2]
        return _either(fits & (rows <= BLOCK_ROWS), each(block), each(loop), flat)

    flat = [tf.convert_to_tensor(value) for value in tf.nest.flatten(arguments)]
    found = on_cpu(*flat) if mode is None else _for_each_device(on_cpu, each(cudnn), flat)
    for inputs, layer, (outputs, *memory) in zip(sequences, layers, found, strict=True):
        outputs.set_shape([inputs.shape[0], inputs.shape[1], layer.units])
        for value in memory:
            value.set_shape([inputs.shape[0], layer.units])
    return [tuple(one) for one in found]


def _for_each_device(
    on_cpu: Callable[..., Any], on_gpu: Callable[..., Any], arguments: list[tf.Tensor]
) -> Any:
    """Calls the first function, such that a host with a GPU calls the second."""
    if tf.executing_eagerly():  # no graph, and nothing that would be replaced in it
        return on_cpu(*arguments)
    name = f"textrnn_{uuid.uuid4().hex}"

    def implementation(function: Any, device: str) -> Any:
        attributes = {"api_implements": name, "api_preferred_device": device}
        function.__name__ = f"recurrent_on_{device.lower()}"
        return tf.function(function, autograph=False, experimental_attributes=attributes)

    outputs = implementation(on_cpu, "CPU")(*arguments)
    other = implementation(on_gpu, "GPU").get_concrete_function(*arguments)
    other.add_to_graph(tf.compat.v1.get_default_graph())
    return outputs


def _either(
    condition: tf.Tensor,
    then: Callable[..., Any],
    otherwise: Callable[..., Any],
    arguments: Sequence[tf.Tensor],
) -> Any:
    """`tf.cond`, as a call of one of two functions.

    TensorFlow would make a switch for every argument and a merge for every output of `tf.cond`: for one short
    text those take half as long as the layer.
    """
    if tf.executing_eagerly():
        return then(*arguments) if condition else otherwise(*arguments)
    branches = [
        tf.function(branch, autograph=False).get_concrete_function(*arguments) for branch in (then, otherwise)
    ]
    outputs = tf.raw_ops.StatelessIf(
        cond=condition,
        input=arguments,
        Tout=[output.dtype for output in branches[0].outputs],
        then_branch=branches[0],
        else_branch=branches[1],
        output_shapes=[output.shape for output in branches[0].outputs],
    )
    return tf.nest.pack_sequence_as(branches[0].structured_outputs, outputs)


# On a CPU


def _block(
    inputs: tf.Tensor, lengths: tf.Tensor, state: list[tf.Tensor], weights: Weights, wants_memory: bool
) -> tuple[tf.Tensor, ...]:
    """An LSTM in one operation."""
    stacked_kernel, bias = weights
    hidden, memory = state
    by_step = tf.transpose(inputs, [1, 0, 2])
    no_peephole = tf.zeros([hidden.shape[1]], inputs.dtype)
    found = tf.raw_ops.BlockLSTMV2(
        seq_len_max=tf.shape(by_step, tf.int64)[0],
        x=by_step,
        cs_prev=memory,
        h_prev=hidden,
        w=stacked_kernel,
        wci=no_peephole,
        wcf=no_peephole,
        wco=no_peephole,
        b=bias,
        cell_clip=0.0,
        use_peephole=False,
    )
    outputs = tf.transpose(found.h, [1, 0, 2])
    if not wants_memory:
        return (outputs,)
    rows = tf.range(tf.shape(lengths)[0])
    return outputs, tf.gather_nd(found.cs, tf.stack([lengths - 1, rows], axis=1))


def _loop(
    kernels: Kernels,
    cell: Any,
    inputs: tf.Tensor,
    lengths: tf.Tensor,
    state: list[tf.Tensor],
    weights: Weights,
    wants_memory: bool,
) -> tuple[tf.Tensor, ...]:
    """Any cell, a few steps a turn."""
    units = state[0].shape[1]
    rows, steps = tf.unstack(tf.shape(inputs)[:2])
    turns = (steps + STEPS_A_TURN - 1) // STEPS_A_TURN
    by_step = tf.transpose(inputs, [1, 0, 2])
    by_step = tf.pad(by_step, [[0, turns * STEPS_A_TURN - steps], [0, 0], [0, 0]])
    step = kernels.step(cell, weights)
    kernel = weights[0]
    bias = kernels.input_bias(weights[2]) if len(weights) > 2 else None

    def body(turn: tf.Tensor, written: tf.TensorArray, state: list[tf.Tensor], kept: Any) -> Any:
        start = turn * STEPS_A_TURN
        piece = by_step[start : start + STEPS_A_TURN]
        multiplied = tf.matmul(tf.reshape(piece, [-1, inputs.shape[2]]), kernel)
        if bias is not None:
            multiplied = tf.nn.bias_add(multiplied, bias)
        multiplied = tf.reshape(multiplied, [STEPS_A_TURN, rows, kernel.shape[1]])
        outputs = []
        for i, of_step in enumerate(tf.unstack(multiplied, STEPS_A_TURN)):
            state = step(of_step, state)
            outputs.append(state[0])
            if wants_memory:
                kept = (tf.where((start + i < lengths)[:, tf.newaxis], state[1], kept[0]),)
        return turn + 1, written.write(turn, tf.stack(outputs)), state, kept

    written = tf.TensorArray(inputs.dtype, turns, element_shape=[STEPS_A_TURN, None, units])
    _, written, _, kept = tf.while_loop(
        lambda turn, *_: turn < turns,
        body,
        (tf.constant(0), written, state, (state[1],) if wants_memory else ()),
        maximum_iterations=turns,
    )
    return tf.transpose(written.concat()[:steps], [1, 0, 2]), *kept


def _simple_step(cell: keras.layers.SimpleRNNCell, weights: Weights) -> Step:
    """Elman 1990."""

    def step(of_input: tf.Tensor, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return [cell.activation(of_input + tf.matmul(state[0], weights[1]))]

    return step


def _gru_step(cell: keras.layers.GRUCell, weights: Weights) -> Step:
    """Cho et al. 2014; the reset gate before the product, or behind it as cuDNN has it."""
    kernel = weights[1]
    units = cell.units

    def gates(of_input: tf.Tensor, of_hidden: tf.Tensor) -> list[tf.Tensor]:
        both: list[tf.Tensor] = tf.split(cell.recurrent_activation(of_input + of_hidden), 2, axis=1)
        return both

    def after(of_input: tf.Tensor, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        (h,) = state
        product = tf.matmul(h, kernel)
        if len(weights) > 2:
            product = tf.nn.bias_add(product, weights[2][1])
        of_gates, of_candidate = tf.split(product, [2 * units, units], axis=1)
        for_gates, for_candidate = tf.split(of_input, [2 * units, units], axis=1)
        update, reset = gates(for_gates, of_gates)
        candidate = cell.activation(for_candidate + reset * of_candidate)
        return [candidate + update * (h - candidate)]

    def before(of_input: tf.Tensor, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        (h,) = state
        for_gates, for_candidate = tf.split(of_input, [2 * units, units], axis=1)
        update, reset = gates(for_gates, tf.matmul(h, kernel[:, : 2 * units]))
        candidate = cell.activation(for_candidate + tf.matmul(reset * h, kernel[:, 2 * units :]))
        return [candidate + update * (h - candidate)]

    return after if cell.reset_after else before


def _lstm_step(cell: keras.layers.LSTMCell, weights: Weights) -> Step:
    """Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000)."""

    def step(of_input: tf.Tensor, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        hidden, memory = state
        i, f, candidate, o = tf.split(of_input + tf.matmul(hidden, weights[1]), 4, axis=1)
        squash = cell.recurrent_activation
        memory = squash(f) * memory + squash(i) * cell.activation(candidate)
        return [squash(o) * cell.activation(memory), memory]

    return step


# On a GPU


def _cudnn(
    mode: str | None,
    inputs: tf.Tensor,
    lengths: tf.Tensor,
    state: list[tf.Tensor],
    parameters: tf.Tensor,
    wants_memory: bool,
) -> tuple[tf.Tensor, ...]:
    """Any cell that cuDNN has; it wants no row without steps."""
    found = tf.raw_ops.CudnnRNNV3(
        input=inputs,
        input_h=state[0][:, tf.newaxis],
        input_c=state[1][:, tf.newaxis] if len(state) == 2 else tf.zeros([], inputs.dtype),
        params=parameters,
        sequence_lengths=lengths,
        rnn_mode=mode,
        is_training=False,
        time_major=False,
    )
    return (found.output, found.output_c[:, 0]) if wants_memory else (found.output,)


def _simple_parameters(weights: Weights) -> tf.Tensor:
    kernel, recurrent_kernel, bias = weights
    return _flat([kernel, recurrent_kernel], [bias, tf.zeros_like(bias)])


def _gru_parameters(weights: Weights) -> tf.Tensor:
    """In cuDNN the reset gate comes first, in Keras the update gate."""
    kernel, recurrent_kernel, bias = weights

    def reset_first(gates: list[tf.Tensor]) -> list[tf.Tensor]:
        update, reset, candidate = gates
        return [reset, update, candidate]

    matrices = [
        gate for matrix in (kernel, recurrent_kernel) for gate in reset_first(tf.split(matrix, 3, axis=1))
    ]
    biases = [gate for vector in tf.unstack(bias) for gate in reset_first(tf.split(vector, 3))]
    return _flat(matrices, biases)


def _lstm_parameters(weights: Weights) -> tf.Tensor:
    kernel, recurrent_kernel, bias = weights
    matrices = [*tf.split(kernel, 4, axis=1), *tf.split(recurrent_kernel, 4, axis=1)]
    return _flat(matrices, [bias, tf.zeros_like(bias)])


def _flat(matrices: list[tf.Tensor], biases: list[tf.Tensor]) -> tf.Tensor:
    """All matrices, each transposed, then all biases, one behind the other."""
    parts = [tf.transpose(matrix) for matrix in matrices] + biases
    return tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)


# Which cell has which kernels


def _simple_mode(cell: keras.layers.SimpleRNNCell) -> str | None:
    modes = {keras.activations.tanh: "rnn_tanh", keras.activations.relu: "rnn_relu"}
    return modes.get(cell.activation) if cell.use_bias else None


def _gru_mode(cell: keras.layers.GRUCell) -> str | None:
    return "gru" if _is_classic(cell) and cell.reset_after else None


def _lstm_mode(cell: keras.layers.LSTMCell) -> str | None:
    return "lstm" if _is_classic(cell) else None


def _is_classic(cell: Any) -> bool:
    return bool(
        cell.use_bias
        and cell.activation is keras.activations.tanh
        and cell.recurrent_activation is keras.activations.sigmoid
    )


def _kernels(layer: keras.layers.RNN) -> Kernels:
    return _KERNELS[type(layer.cell)]


def _stacked(cell: keras.layers.LSTMCell) -> tf.Tensor:
    return tf.concat([cell.kernel, cell.recurrent_kernel], axis=0)


def _stacked_weights(layer: keras.layers.RNN) -> Weights:
    stacked = getattr(layer, "stacked_kernel", None)
    return (_stacked(layer.cell) if stacked is None else stacked, layer.cell.bias)


def _weights(layer: keras.layers.RNN) -> Weights:
    cell = layer.cell
    return (cell.kernel, cell.recurrent_kernel, *((cell.bias,) if cell.use_bias else ()))


def _last(outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    return tf.gather(outputs, lengths - 1, axis=1, batch_dims=1)


def _gru_input_bias(bias: tf.Tensor) -> tf.Tensor:
    return bias[0] if bias.shape.rank == 2 else bias


_KERNELS: dict[type, Kernels] = {
    keras.layers.SimpleRNNCell: Kernels(
        _simple_step, lambda bias: bias, _simple_mode, _simple_parameters, states=1
    ),
    keras.layers.GRUCell: Kernels(_gru_step, _gru_input_bias, _gru_mode, _gru_parameters, states=1),
    keras.layers.LSTMCell: Kernels(_lstm_step, lambda bias: bias, _lstm_mode, _lstm_parameters, states=2),
}
