"""TensorFlow Serving's JSON to arrays and back, from what a signature says of its inputs.

The wording of the errors is that of its `json_tensor.cc`, and of RapidJSON, which reads JSON there. It
differs in that a name may stand only once in an object, and that text which is not UTF-8 is no JSON here.
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from app.serving.errors import Code, Refused

if TYPE_CHECKING:
    from app.serving.servables import TensorInfo

MOST_DIMENSIONS = 64
"""NumPy has no more."""
MOST_SHOWN = 200
"""Characters of a value that an error repeats."""
BYTES_SUFFIX = "_bytes"
"""At the end of an output's name: its strings are written in base64."""

Document = dict[str, Any]
Feature = list[bytes] | list[float] | list[int]
Convert = Callable[[Any], Any]


def parse(body: bytes) -> Document:
    """The JSON object that a body holds; `NaN`, `Infinity` and `-Infinity` are numbers.

    Raises:
        Refused: it holds none.
    """
    if not body:
        raise _invalid("JSON Parse error: The document is empty")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _parse_error("Invalid encoding in string.", error.start) from None
    try:
        document = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        reason, offset = _rapidjson(error), len(text[: error.pos].encode())
        raise _parse_error(reason, offset) from None
    except RecursionError:
        raise _invalid("JSON Parse error: Nested too deeply") from None
    except ValueError:  # Python reads no integer of thousands of digits.
        raise _invalid(f"JSON Parse error: {_TOO_BIG}") from None
    if type(document) is not dict:
        raise _invalid(f"JSON Value: {_shown(document)} Is not object")
    return document


def signature_name(document: Document) -> str:
    """The signature that a request names; empty where it names none.

    Raises:
        Refused: the name is no string.
    """
    name = document.get("signature_name", "")
    if type(name) is not str:
        raise _invalid(
            f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a string "
            "value."
        )
    return name


def read_tensors(
    document: Document, inputs: Mapping[str, TensorInfo], signature: str = ""
) -> tuple[dict[str, np.ndarray], bool]:
    """The inputs of a predict request, in the row format (`instances`) or the column format (`inputs`).

    Ranks and sizes are those of the request: whether the signature can take them is not looked at.

    Args:
        document: of the request.
        inputs: what the signature takes.
        signature: its name, for an error.

    Returns:
        arrays by the name of the input, strings as objects of bytes; whether they came as rows.

    Raises:
        Refused: INVALID_ARGUMENT; or UNIMPLEMENTED: JSON has nothing for a type that the signature takes.
    """
    if not inputs:
        raise _invalid(f"Failed to get input map for signature: {signature or 'DEFAULT'}")
    if "instances" in document:
        if "inputs" in document:
            raise _invalid(
                f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of 'inputs' or "
                "'instances' keys to exist "
            )
        instances = document["instances"]
        if type(instances) is not list:
            # "Excepting" is TensorFlow Serving's own.
            raise _invalid(f"JSON Value: {_shown(document)} Excepting 'instances' to be an list/array")
        if not instances:
            raise _invalid(f"JSON Value: {_shown(document)} No values in 'instances' array")
        return _from_rows(instances, inputs), True
    if "inputs" in document:
        return _from_columns(document["inputs"], inputs), False
    raise _invalid("Missing 'inputs' or 'instances' key")


def write_tensors(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """The body of the answer to a predict request.

    A single output drops its name; several are sorted by it. Strings of outputs named `…_bytes`, and those
    that are not UTF-8, are written as `{"b64": …}`.

    Args:
        outputs: arrays by name.
        rows: whether the request came as rows.

    Raises:
        Refused: INVALID_ARGUMENT; rows were asked for and the outputs have none, or not the same ones.
    """
    if rows:
        _check_rows(outputs)
    values = {name: _plain(name, array) for name, array in sorted(outputs.items())}
    answer: Any = values
    if len(values) == 1:
        (answer,) = values.values()
    elif rows:
        answer = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return _encoded({"predictions" if rows else "outputs": answer})


def read_examples(document: Document) -> list[dict[str, Feature]]:
    """The examples of a classify or regress request, each with the features of the `context` as well.

    Raises:
        Refused: INVALID_ARGUMENT.
    """
    context = _features(document["context"]) if "context" in document else {}
    if "examples" not in document:
        raise _invalid(
            f"JSON Value: {_shown(document)} When method is classify, key 'examples' is expected and was not "
            "found"
        )
    examples = document["examples"]
    if type(examples) is not list:
        raise _invalid(f"JSON Value: {_shown(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise _invalid(f"JSON Value: {_shown(document)} 'examples' value is an empty array")
    return [{**context, **_features(example)} for example in examples]


def string_feature(examples: Iterable[Mapping[str, Feature]], name: str) -> np.ndarray:
    """A feature of which each example has one string, as `tf.io.parse_example` would read it.

    Args:
        examples: as `read_examples` gives them; others of their features are ignored.
        name: of the feature.

    Returns:
        bytes object [examples].

    Raises:
        Refused: INVALID_ARGUMENT; an example has none, more, or something else.
    """
    strings = []
    for index, example in enumerate(examples):
        values = example.get(name)
        if not values:
            raise _invalid(f"Feature: {name} (data type: string) is required but could not be found.")
        if type(values[0]) is not bytes:
            reason = f"Data types don't match. Data type: {_kind(values[0])} but expected type: string"
        elif len(values) != 1:
            reason = f"Number of bytes values != expected.  Values size: {len(values)} but output shape: []"
        else:
            strings.append(values[0])
            continue
        raise _invalid(f"Key: {name}, Index: {index}.  {reason}")
    return _objects(strings)


def write_classes(labels: np.ndarray, scores: np.ndarray) -> bytes:
    """The body of the answer to a classify request.

    Args:
        labels: bytes object [examples, classes].
        scores: float [examples, classes].
    """
    named = zip(_plain("", labels), _plain("", scores), strict=True)
    return _encoded({"results": [list(zip(*pair, strict=True)) for pair in named]})


def write_error(message: str) -> bytes:
    """The body of an answer that is an error."""
    # In ASCII: a message may repeat half of a surrogate pair, which UTF-8 cannot hold.
    return json.dumps({"error": message}).encode()


# Reading JSON

_TOO_BIG = "Number too big to be stored in double."


def _invalid(message: str) -> Refused:
    return Refused(Code.INVALID_ARGUMENT, message)


def _parse_error(reason: str, offset: int) -> Refused:
    return _invalid(f"JSON Parse error: {reason} at offset: {offset}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in members if names.count(name) > 1)
        raise _invalid(f"JSON Parse error: Name {_shown(twice)} stands more than once in an object")
    return members


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _invalid(f"JSON Parse error: {_TOO_BIG}")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite)
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)
_REASONS = (
    ("Extra data", "The document root must not be followed by other values."),
    ("Expecting property name", "Missing a name for object member."),
    ("Expecting ':'", "Missing a colon after a name of object member."),
    ("Unterminated string", "Missing a closing quotation mark in string."),
    ("Invalid \\u", "Incorrect hex digit after \\u escape in string."),
    ("Invalid \\", "Invalid escape character in string."),
    ("Invalid control", "Invalid encoding in string."),
)


def _rapidjson(error: json.JSONDecodeError) -> str:
    """What RapidJSON says where Python says this."""
    if error.msg.startswith("Expecting ','"):
        return f"Missing a comma or {_open_bracket(error.doc[: error.pos])}"
    if not error.doc.strip(" \t\n\r"):
        return "The document is empty."
    return next((said for start, said in _REASONS if error.msg.startswith(start)), "Invalid value.")


def _open_bracket(text: str) -> str:
    still_open = []
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in "[{":
            still_open.append(match[0])
        elif match[0] in "]}":
            still_open.pop()
    return "] after an array element." if still_open[-1] == "[" else "} after an object member."


def _shown(value: Any) -> str:
    """The start of a value as JSON, laid out as RapidJSON does, for the client that has sent it."""
    text = ""
    for part in json.JSONEncoder(ensure_ascii=False, indent=4).iterencode(value):
        text += part[: MOST_SHOWN + 1]
        if len(text) > MOST_SHOWN:
            return f"{text[:MOST_SHOWN]}…"
    return text


# From JSON to arrays


def _from_rows(instances: list[Any], inputs: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    objects = _is_object(instances[0])
    if not objects and len(inputs) > 1:
        raise _invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as "
            "per tensorinfo_map"
        )
    columns = {name: _Column(info.dtype) for name, info in inputs.items()}
    if not objects:
        (column,) = columns.values()
        for index, element in enumerate(instances):
            if _is_object(element):
                raise _invalid(f"Expecting value/list but got object at item {index} of input list")
            try:
                column.append(element)
            except Refused as error:
                raise _in_element(error, str(index)) from None
        return {name: column.array() for name, column in columns.items()}
    for index, element in enumerate(instances):
        if not _is_object(element):
            raise _invalid(f"Expecting object but got list at item {index} of input list")
        for name, value in element.items():
            try:
                if name not in columns:
                    raise _invalid(f"JSON object: does not have named input: {name}")
                columns[name].append(value)
            except Refused as error:
                raise _in_element(error, f"{index} key: {name}") from None
        if len(element) != len(columns):
            raise _invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {_shown(element)} "
                f"keys must be equal to: {','.join(sorted(inputs))}"
            )
    return {name: column.array() for name, column in columns.items()}


def _in_element(error: Refused, place: str) -> Refused:
    reason = f"{error.code.name}: {error.message}"
    return Refused(error.code, f"Failed to process element: {place} of 'instances' list. Error: {reason}")


class _Column:
    """The values of one input, a row at a time; all rows have one shape."""

    def __init__(self, dtype: tf.DType) -> None:
        self.dtype = dtype
        self.convert = _converter(dtype)
        self.values: list[Any] = []
        self.shape: tuple[int, ...] = ()
        self.rows = 0

    def append(self, value: Any) -> None:
        """Takes the next row."""
        values, shape = _flat(value, self.convert)
        if not self.rows:
            self.shape = shape
        elif shape != self.shape:
            if len(values) != math.prod(self.shape):
                raise _invalid(
                    f"Expecting tensor size: {math.prod(self.shape)} but got: {len(values)}",
                )
            raise _invalid(f"Expecting shape {_brackets(self.shape)} but got: {_brackets(shape)}")
        self.values += values
        self.rows += 1

    def array(self) -> np.ndarray:
        """All rows."""
        return _array(self.values, (self.rows, *self.shape), self.dtype)


def _brackets(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _from_columns(value: Any, inputs: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    if not _is_object(value):
        if len(inputs) > 1:
            raise _invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as "
                "per tensorinfo_map"
            )
        value = dict.fromkeys(inputs, value)
    arrays = {}
    for name, info in inputs.items():
        if name not in value:
            raise _invalid(f"Missing named input: {name} in 'inputs' object.")
        values, shape = _flat(value[name], _converter(info.dtype))
        arrays[name] = _array(values, shape, info.dtype)
    return arrays


def _array(values: list[Any], shape: tuple[int, ...], dtype: tf.DType) -> np.ndarray:
    array = _objects(values) if dtype == tf.string else np.array(values, dtype.as_numpy_dtype)
    return array.reshape(shape)


def _objects(values: list[Any]) -> np.ndarray:
    # np.array() would make a fixed-width array, which drops zero bytes at the end.
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _flat(value: Any, convert: Convert) -> tuple[list[Any], tuple[int, ...]]:
    """The converted values of nested lists in order, and their shape, which the first of each list give."""
    if type(value) is not list:
        return [convert(value)], ()
    shape = []
    first = value
    while type(first) is list:
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    rank = len(shape)
    if rank > MOST_DIMENSIONS:
        raise _invalid(
            f"Encountered list at unexpected level: {MOST_DIMENSIONS} expected < {MOST_DIMENSIONS}"
        )
    values = [value]
    for level, size in enumerate(shape):
        for part in values:
            if type(part) is not list:
                raise _invalid(
                    f"JSON Value: {_shown(part)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {rank}"
                )
            if len(part) != size:
                raise _invalid(
                    f"Encountered list at unexpected size: {len(part)} at level: {level} "
                    f"expected size: {size}"
                )
        values = list(itertools.chain.from_iterable(values))
    if list in set(map(type, values)):
        raise _invalid(f"Encountered list at unexpected level: {rank} expected < {rank}")
    return [convert(value) for value in values], tuple(shape)


def _is_base64(value: Any) -> bool:
    return type(value) is dict and len(value) == 1 and type(value.get("b64")) is str


def _is_object(value: Any) -> bool:
    return type(value) is dict and not _is_base64(value)


_TYPE_NAMES = {tf.float16: "half", tf.float32: "float", tf.float64: "double"}
_INTEGERS = (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64)


def _type_name(dtype: tf.DType) -> str:
    name: str = _TYPE_NAMES.get(dtype, dtype.name)
    return name


def _json_type(value: Any) -> str:
    if type(value) is bool:
        return "True" if value else "False"
    return {type(None): "Null", dict: "Object", list: "Array", str: "String"}.get(type(value), "Number")


def _type_error(value: Any, dtype: tf.DType) -> Refused:
    return _invalid(
        f"JSON Value: {_shown(value)} Type: {_json_type(value)} is not of expected type: {_type_name(dtype)}"
    )


@functools.cache
def _converter(dtype: tf.DType) -> Convert:
    """The function from a JSON value to one for NumPy, which raises `Refused` for what has another type."""
    if dtype == tf.string:
        return _string

    def boolean(value: Any) -> bool:
        if type(value) is not bool:
            raise _type_error(value, dtype)
        return value

    def integer(value: Any) -> int:
        # True is an int for isinstance().
        if type(value) is not int or not lowest <= value <= highest:
            raise _type_error(value, dtype)
        return value

    def decimal(value: Any) -> float:
        if type(value) is int:
            return _lossless(value, exact, largest, _type_name(dtype))
        if type(value) is not float:
            raise _type_error(value, dtype)
        if largest < abs(value) < math.inf:
            raise _lossy(value, _type_name(dtype))
        return value

    if dtype == tf.bool:
        return boolean
    if dtype in _INTEGERS:
        lowest, highest = dtype.min, dtype.max
        return integer
    if dtype in (tf.float32, tf.float64):
        facts = np.finfo(dtype.as_numpy_dtype)
        exact, largest = 2 ** (facts.nmant + 1) - 1, float(facts.max)
        return decimal

    def unknown(value: Any) -> Any:
        message = f"Conversion of JSON Value: {_shown(value)} to type: {_type_name(dtype)}"
        raise Refused(Code.UNIMPLEMENTED, message)

    return unknown


def _lossy(value: float, target: str) -> Refused:
    return _invalid(f"Cannot convert JSON value: {_shown(value)} to {target} without loss of precision.")


def _lossless(value: int, exact: int, largest: float, target: str) -> float:
    """An integer as a float; those of 64 bits must be exact, longer ones were read as decimals."""
    if -(2**63) <= value < 2**64:
        if abs(value) > exact:
            raise _lossy(value, target)
        return float(value)
    try:
        number = float(value)
    except OverflowError:
        raise _invalid(f"JSON Parse error: {_TOO_BIG}") from None
    if abs(number) > largest:
        raise _lossy(value, target)
    return number


def _string(value: Any) -> bytes:
    if type(value) is str:
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise _invalid("JSON Parse error: The surrogate pair in string is invalid.") from None
    if type(value) is dict:
        return _from_base64(value)
    raise _type_error(value, tf.string)


def _from_base64(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise _invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split())
    if "=" not in text:
        text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise _invalid("Unable to base64 decode") from None


# Examples


def _features(example: Any) -> dict[str, Feature]:
    if type(example) is not dict:
        raise _invalid(f"Example must be JSON object but got JSON {_json_type(example)}")
    return {
        name: _feature(name, content if type(content) is list else [content])
        for name, content in example.items()
    }


def _feature(name: str, content: list[Any]) -> Feature:
    values: list[Any] = []
    for part in content:
        value = _feature_value(name, part)
        if values and type(value) is not type(values[0]):
            raise _invalid(f"Unexpected element type in feature: {name} expecting type: {_kind(values[0])}")
        values.append(value)
    return values


def _feature_value(name: str, value: Any) -> bytes | float | int:
    if type(value) is str or _is_base64(value):
        return _string(value)
    if type(value) is float:
        return float(_converter(tf.float32)(value))
    if type(value) is bool:
        return int(value)
    if type(value) is not int:
        raise _invalid(f"Feature: {name} has element with unexpected JSON type: {_json_type(value)}")
    if value >= 2**63 and value < 2**64:
        raise _invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
    return value if -(2**63) <= value < 2**63 else _lossless(value, 0, float(tf.float32.max), "float")


def _kind(value: bytes | float | int) -> str:
    return {bytes: "bytes", float: "float"}.get(type(value), "int64")


# From arrays to JSON


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
    sizes: list[int] = []
    for name, array in outputs.items():
        if not array.ndim:
            raise _invalid(f"Tensor name: {name} has no shape information ")
        if sizes and array.shape[0] != sizes[-1]:
            raise _invalid(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} expecting: {sizes[-1]}"
            )
        sizes.append(array.shape[0])


def _plain(name: str, array: np.ndarray) -> Any:
    """An array as lists of what `json` can write."""
    if array.dtype == object:
        write = _base64 if name.endswith(BYTES_SUFFIX) else _text
        return _objects([write(value) for value in array.ravel().tolist()]).reshape(array.shape).tolist()
    if array.dtype.kind in "iub" or array.dtype == np.float64:
        return array.tolist()
    if array.dtype in _SHORT_FLOATS:
        return _decimals(array.astype(np.float32))
    kind = _type_name(tf.as_dtype(array.dtype))
    raise _invalid(f"Failed to write JSON value for tensor type: {kind}")


_SHORT_FLOATS = (np.float32, np.float16, tf.bfloat16.as_numpy_dtype)


def _decimals(array: np.ndarray) -> Any:
    """Of a float32 six digits where these are the number, nine otherwise: 0.2, not 0.20000000298023224."""
    values = array.ravel()
    short = [float(f"{value:.6g}") for value in values.tolist()]
    for index in np.flatnonzero(np.array(short, np.float32) != values).tolist():
        short[index] = float(f"{values[index]:.9g}")
    return np.array(short, np.float64).reshape(array.shape).tolist()


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _base64(value)


def _base64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
