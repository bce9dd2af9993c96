"""A SavedModel whose portable recurrent kernels are exchanged for the native operation, in memory only."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, function_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from app.artifacts.operations import functions_of_objects
from app.artifacts.saved_model import SAVED_MODEL, functions_in, read_saved_model
from models.kernels.exchange import native_functions

LINKED = ("variables", "assets")


def load_exchanged(directory: Path) -> Any | None:
    """Load a SavedModel with the native operation in its graph. Its files are not changed.

    Args:
        directory: of the SavedModel.

    Returns:
        what `tf.saved_model.load` returns; None: the graph has no function that can be exchanged.

    Raises:
        OSError: the temporary directory cannot be written, or has no links.
    """
    saved = read_saved_model(directory)
    if not sum(_exchange(graph) for graph in saved.meta_graphs):
        return None
    with tempfile.TemporaryDirectory(prefix="textrnn-") as temporary:
        copy = Path(temporary)
        (copy / SAVED_MODEL).write_bytes(saved.SerializeToString())
        for name in LINKED:
            if (directory / name).is_dir():
                (copy / name).symlink_to((directory / name).resolve(), target_is_directory=True)
        return tf.saved_model.load(str(copy))


def _exchange(graph: meta_graph_pb2.MetaGraphDef) -> int:
    """Exchange functions of a graph, and remove those that it no longer needs; return how many were made."""
    functions = graph.graph_def.library.function
    made = native_functions(functions)
    by_name = {function.signature.name: made.get(function.signature.name, function) for function in functions}
    kept = [by_name[name] for name in sorted(_needed(graph, by_name))]
    del functions[:]
    functions.extend(kept)
    return len(made)


def _needed(
    graph: meta_graph_pb2.MetaGraphDef, functions: Mapping[str, function_pb2.FunctionDef]
) -> set[str]:
    """Return the functions that something refers to, except for other implementations of a function."""
    needed: set[str] = set()
    waiting = [*_roots(graph)]
    while waiting:
        name = waiting.pop()
        if name in functions and name not in needed:
            needed.add(name)
            function = functions[name]
            waiting += _named(function.node_def, function.attr)
    return needed


def _roots(graph: meta_graph_pb2.MetaGraphDef) -> Iterator[str]:
    yield from _named(graph.graph_def.node, {})
    yield from functions_of_objects(graph)


def _named(
    nodes: Iterable[node_def_pb2.NodeDef], attributes: Mapping[str, attr_value_pb2.AttrValue]
) -> Iterator[str]:
    """Yield everything in nodes and attributes that may be the name of a function."""
    values = list(attributes.values())
    for node in nodes:
        yield node.op
        values += node.attr.values()
    for value in values:
        yield from functions_in(value)
        yield from (text.decode(errors="replace") for text in (value.s, *value.list.s))
