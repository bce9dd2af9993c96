"""Bodies of predict requests and responses: JSON to arrays and back, in the format of TensorFlow Serving."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from app.json_text import dumps
from app.serving.errors import Refused
from app.serving.json_body import Document, invalid, json_type
from app.serving.json_values import Convert, converter, from_string, is_object, object_array, to_base64

if TYPE_CHECKING:
    from app.serving.signature import TensorInfo

MOST_DIMENSIONS = 64
"""Largest rank of a NumPy array."""
BYTES_SUFFIX = "_bytes"
"""End of the name of an output whose strings are written in base64."""


def read_tensors(document: Document, inputs: Mapping[str, TensorInfo]) -> tuple[dict[str, np.ndarray], bool]:
    """Return the inputs of a predict request, in the row format (`instances`) or column format (`inputs`).

    Ranks and sizes are those of the request. Whether they fit the signature is not checked here.

    Args:
        document: of the request.
        inputs: of the signature.

    Returns:
        arrays by the name of the input, strings as objects of bytes; whether the request has rows.

    Raises:
        Refused: INVALID_ARGUMENT; or UNIMPLEMENTED: JSON has no values of a type that the signature takes.
    """
    if not inputs:
        raise invalid("the signature takes no inputs")
    if ("instances" in document) == ("inputs" in document):
        raise invalid("expected exactly one of the keys 'instances' and 'inputs'")
    if "inputs" in document:
        return _from_columns(document["inputs"], inputs), False
    instances = document["instances"]
    if type(instances) is not list or not instances:
        raise invalid("'instances' must be a non-empty array")
    return _from_rows(instances, inputs), True


def write_tensors(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """Return the body of the response to a predict request.

    A single output is written without its name; several are sorted by name. Strings of outputs named
    `…_bytes`, and strings that are not UTF-8, are written as `{"b64": …}`, NaN and infinity as `null`.

    Args:
        outputs: arrays by name.
        rows: whether the request has rows.

    Raises:
        Refused: INVALID_ARGUMENT; the request has rows, and the outputs have none or different numbers.
    """
    if rows:
        _check_rows(outputs)
    values = {name: plain(name, array) for name, array in sorted(outputs.items())}
    found: Any = values
    if len(values) == 1:
        (found,) = values.values()
    elif rows:
        found = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return dumps({"predictions" if rows else "outputs": found}, ensure_ascii=False).encode()


# From JSON to arrays


def _from_rows(instances: list[Any], inputs: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    objects = is_object(instances[0])
    if not objects and len(inputs) > 1:
        raise invalid(f"'instances' must hold objects with the keys {', '.join(sorted(inputs))}")
    columns = {name: _Column(info.dtype) for name, info in inputs.items()}
    names = list(inputs)
    for index, element in enumerate(instances):
        if is_object(element) != objects:
            raise invalid(f"instances[{index}]: objects and plain values cannot be mixed")
        row = element if objects else {names[0]: element}
        if row.keys() != columns.keys():
            raise invalid(f"instances[{index}]: expected exactly the keys {', '.join(sorted(inputs))}")
        for name, value in row.items():
            try:
                columns[name].append(value)
            except Refused as error:
                place = f"instances[{index}].{name}" if objects else f"instances[{index}]"
                raise Refused(error.code, f"{place}: {error.message}") from None
    return {name: column.array() for name, column in columns.items()}


class _Column:
    """The values of one input, row by row; all rows have the same shape."""

    def __init__(self, dtype: tf.DType) -> None:
        self.dtype = dtype
        self.convert = converter(dtype)
        self.values: list[Any] = []
        self.shape: tuple[int, ...] = ()
        self.rows = 0

    def append(self, value: Any) -> None:
        """Add the next row."""
        values, shape = _flat(value, self.convert)
        if not self.rows:
            self.shape = shape
        elif shape != self.shape:
            raise invalid(f"the shape is {list(shape)}, in the first instance {list(self.shape)}")
        self.values += values
        self.rows += 1

    def array(self) -> np.ndarray:
        """Return all rows."""
        return _array(self.values, (self.rows, *self.shape), self.dtype)


def _from_columns(value: Any, inputs: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    if not is_object(value):
        if len(inputs) > 1:
            raise invalid(f"'inputs' must be an object with the keys {', '.join(sorted(inputs))}")
        value = dict.fromkeys(inputs, value)
    arrays = {}
    for name, info in inputs.items():
        if name not in value:
            raise invalid(f"'inputs' has no key {name!r}")
        values, shape = _flat(value[name], converter(info.dtype))
        arrays[name] = _array(values, shape, info.dtype)
    return arrays


def _array(values: list[Any], shape: tuple[int, ...], dtype: tf.DType) -> np.ndarray:
    array = object_array(values) if dtype == tf.string else np.array(values, dtype.as_numpy_dtype)
    return array.reshape(shape)


def _flat(value: Any, convert: Convert) -> tuple[list[Any], tuple[int, ...]]:
    """Return the converted values of nested lists in order, and the shape of the lists."""
    if type(value) is not list:
        return [convert(value)], ()
    shape = []
    first = value
    while type(first) is list:
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > MOST_DIMENSIONS:
        raise invalid(f"arrays are nested more than {MOST_DIMENSIONS} levels deep")
    values = [value]
    for size in shape:
        for part in values:
            if type(part) is not list:
                raise invalid(f"expected an array of {size} values, got {json_type(part)}")
            if len(part) != size:
                raise invalid(f"expected an array of {size} values, got one of {len(part)}")
        values = list(itertools.chain.from_iterable(values))
    if list in set(map(type, values)):
        raise invalid(f"arrays are nested more than {len(shape)} levels deep, unlike the first one")
    return [convert(value) for value in values], tuple(shape)


# From arrays to JSON


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
    shapes = {name: array.shape for name, array in outputs.items()}
    if any(not shape for shape in shapes.values()) or len({shape[0] for shape in shapes.values()}) > 1:
        sizes = ", ".join(f"{name}: {list(shape)}" for name, shape in shapes.items())
        raise invalid(f"the outputs cannot be returned by row, use 'inputs' instead of 'instances' ({sizes})")


def plain(name: str, array: np.ndarray) -> Any:
    """Return an output as nested lists of values that `json` can write."""
    if array.dtype == object:
        write = to_base64 if name.endswith(BYTES_SUFFIX) else from_string
        return object_array([write(value) for value in array.ravel().tolist()]).reshape(array.shape).tolist()
    if array.dtype.kind in "iub" or array.dtype == np.float64:
        return array.tolist()
    if array.dtype in _SHORT_FLOATS:
        return _decimals(array.astype(np.float32))
    raise invalid(f"output {name!r} has the type {array.dtype.name}, which JSON cannot represent")


_SHORT_FLOATS = (np.float32, np.float16, tf.bfloat16.as_numpy_dtype)


def _decimals(array: np.ndarray) -> Any:
    """Return float32 values with six digits if these are exact, else nine: 0.2, not 0.20000000298023224."""
    values: list[float] = array.ravel().tolist()
    short = [float(f"{value:.6g}") for value in values]
    is_exact = (np.array(short, np.float32) == array.ravel()).tolist()
    written = [
        few if exact else float(f"{value:.9g}")
        for few, exact, value in zip(short, is_exact, values, strict=True)
    ]
    return np.array(written, np.float64).reshape(array.shape).tolist()
