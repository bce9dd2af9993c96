"""Time the recurrent cells against each other, in training and for a single text.

    python benchmarks/cells.py [--rounds 15]

Each round runs every cell once, so that a change in the speed of the machine concerns all of them alike. The
table has medians in milliseconds, and the ratio to the GRU.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf
from answering import seconds
from rounds import Spread, alternate

from models.layers.cells import CELLS
from models.layers.recurrent import RecurrentStack
from models.settings import BidirectionalSettings

BATCH, STEPS, UNITS = 64, 200, 128
SPECS = [tf.TensorSpec([None, None, UNITS]), tf.TensorSpec([None], tf.int32)]
Call = Callable[[], object]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="number of timed rounds")
    rounds = parser.parse_args().rounds
    calls = {
        (name, kind): partial(milliseconds, make(name))
        for name in CELLS
        for kind, make in (("training", training_step), ("single", single_text))
    }
    times = alternate(calls, rounds, warm_up=2)
    medians = {key: Spread.of(measured).median for key, measured in times.items()}
    print(f"{'':8}{f'train, {BATCH} x {STEPS} x {UNITS}':>26}{f'1 x {STEPS} x {UNITS}, forward':>28}")
    for name in CELLS:
        columns = [
            f"{medians[name, kind]:.1f} ms ({medians[name, kind] / medians['gru', kind]:.2f})"
            for kind in ("training", "single")
        ]
        print(f"{name:8}{columns[0]:>26}{columns[1]:>28}")


def milliseconds(call: Call) -> float:
    """Return how long a call takes."""
    return 1000 * seconds(call)


def _stack(name: str) -> RecurrentStack:
    settings = BidirectionalSettings(cell=name, units=UNITS, layers=1, dropout=0.0, bidirectional=False)
    stack = RecurrentStack(settings)
    stack.build((None, None, UNITS))
    return stack


def _inputs(batch: int) -> tuple[tf.Tensor, tf.Tensor]:
    random = np.random.default_rng(0)
    sequences = random.standard_normal((batch, STEPS, UNITS)).astype(np.float32)
    return tf.constant(sequences), tf.fill([batch], STEPS)


def training_step(name: str) -> Call:
    """Return a forward and backward pass of one layer over a batch."""
    stack, (sequences, lengths) = _stack(name), _inputs(BATCH)

    @tf.function(autograph=False, input_signature=SPECS)
    def step(sequences: tf.Tensor, lengths: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs, _ = stack(sequences, lengths, training=True)
            loss = tf.reduce_sum(outputs)
        found: list[tf.Tensor] = tape.gradient(loss, stack.trainable_variables)
        return found

    return lambda: [gradient.numpy() for gradient in step(sequences, lengths)]


def single_text(name: str) -> Call:
    """Return a forward pass of one layer over one text, with the portable kernels of an export."""
    stack, (sequences, lengths) = _stack(name), _inputs(1)
    stack.make_portable()

    @tf.function(autograph=False, input_signature=SPECS)
    def forward(sequences: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, ...]:
        found: tuple[tf.Tensor, ...] = stack(sequences, lengths)
        return found

    return lambda: [output.numpy() for output in forward(sequences, lengths)]


if __name__ == "__main__":
    main()
