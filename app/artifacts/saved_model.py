"""The graph of a SavedModel on disk, parsed without loading it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorflow.core.framework import attr_value_pb2, function_pb2, node_def_pb2, types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import loader_impl

from data.errors import UserError

SAVED_MODEL = "saved_model.pb"

Library = Mapping[str, function_pb2.FunctionDef]
"""The functions of a graph by name."""


def read_saved_model(directory: Path) -> saved_model_pb2.SavedModel:
    """Parse `saved_model.pb`; nothing in it is run.

    Raises:
        UserError: there is no such file, or it is not a SavedModel.
    """
    if not (directory / SAVED_MODEL).is_file():
        raise UserError(f"{directory}: no SavedModel (it has no {SAVED_MODEL})")
    try:
        saved = loader_impl.parse_saved_model(str(directory))
    except OSError:
        saved = saved_model_pb2.SavedModel()
    if not saved.meta_graphs:
        raise UserError(f"{directory}: {SAVED_MODEL} cannot be parsed as a SavedModel")
    return saved


def described_signatures(path: Path) -> dict[str, Any]:
    """Return inputs and outputs of each signature: type and shape by name, None for any size."""

    def described(tensors: Mapping[str, Any]) -> dict[str, list[Any]]:
        return {
            name: [
                types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower(),
                [None if axis.size < 0 else axis.size for axis in info.tensor_shape.dim],
            ]
            for name, info in sorted(tensors.items())
        }

    signatures: dict[str, Any] = {}
    for graph in read_saved_model(path).meta_graphs:
        for name, definition in sorted(graph.signature_def.items()):
            if not name.startswith("__"):  # initialisation
                inputs, outputs = described(definition.inputs), described(definition.outputs)
                signatures[name] = {"inputs": inputs, "outputs": outputs}
    return signatures


def functions_in(value: attr_value_pb2.AttrValue) -> Iterator[str]:
    """Yield the names of the functions that an attribute refers to, including nested arguments."""
    for function in (value.func, *value.list.func):
        if function.name:
            yield function.name
        for argument in function.attr.values():
            yield from functions_in(argument)


def called(node: node_def_pb2.NodeDef, library: Library) -> Iterator[str]:
    """Yield the functions of the library that a node may run: its operation, or those in its attributes."""
    if node.op in library:
        yield node.op
        return
    for value in node.attr.values():
        yield from (name for name in functions_in(value) if name in library)


def node_of(tensor: str) -> str:
    """Return the node of a tensor or of a control input: `^loop -> loop`, `loop:exit:0 -> loop`."""
    return tensor.removeprefix("^").partition(":")[0]
