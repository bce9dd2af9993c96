"""One graph with an implementation for each kind of host.

Keras chooses cuDNN or not when a graph is traced, so that what was traced on one machine is slow or broken on
another. Here a graph holds both implementations of a layer, as two functions that declare that they implement
the same thing, and for which device. The graph calls the one for the CPU. On a host with a GPU TensorFlow's
implementation selector replaces the call by the other one, before the graph first runs: in Python, in a TF1
session and in TensorFlow Serving alike.

The selector gives up unless every output of such a function is used, none of its arguments is a constant, and
no two calls share a name.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def for_each_device(
    on_cpu: Callable[..., Any], on_gpu: Callable[..., Any], arguments: list[tf.Tensor]
) -> Any:
    """Call the first function, such that a host with a GPU calls the second one."""
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


def either(
    condition: tf.Tensor,
    then: Callable[..., Any],
    otherwise: Callable[..., Any],
    arguments: Sequence[tf.Tensor],
) -> Any:
    """Call one of two functions, as `tf.cond` does.

    TensorFlow makes a switch for every argument and a merge for every output of `tf.cond`: for one short text
    these take half as long as the layer.
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
