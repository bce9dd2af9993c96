"""Single JSON values as values of a tensor, and back."""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from app.serving.errors import Code, Refused
from app.serving.json_body import TOO_BIG, invalid, json_type, shown

Convert = Callable[[Any], Any]

_INTEGERS = (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64)


@functools.cache
def converter(dtype: tf.DType) -> Convert:
    """Return the function from a JSON value to one for NumPy; it raises `Refused` for another type."""
    if dtype == tf.string:
        return to_string

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
            return lossless(value, exact, largest, dtype.name)
        if type(value) is not float:
            raise _type_error(value, dtype)
        if largest < abs(value) < math.inf:
            raise _lossy(value, dtype.name)
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
        raise Refused(Code.UNIMPLEMENTED, f"JSON has no values of the type {dtype.name}")

    return unknown


def lossless(value: int, exact: int, largest: float, target: str) -> float:
    """Convert an integer to a float. Integers of 64 bits must be exact; longer ones count as decimals."""
    if -(2**63) <= value < 2**64:
        if abs(value) > exact:
            raise _lossy(value, target)
        return float(value)
    try:
        number = float(value)
    except OverflowError:
        raise invalid(TOO_BIG) from None
    if abs(number) > largest:
        raise _lossy(value, target)
    return number


def to_string(value: Any) -> bytes:
    """Return the bytes of a JSON string, or of an object `{"b64": …}`."""
    if type(value) is str:
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise invalid("a string has half of a surrogate pair") from None
    if is_base64(value):
        text = "".join(value["b64"].split())
        if "=" not in text:
            text += "=" * (-len(text) % 4)
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise invalid("the value of 'b64' is not base64") from None
    raise _type_error(value, tf.string)


def is_base64(value: Any) -> bool:
    """Whether a value is an object `{"b64": …}`."""
    return type(value) is dict and len(value) == 1 and type(value.get("b64")) is str


def is_object(value: Any) -> bool:
    """Whether a value is an object, but not an encoded string."""
    return type(value) is dict and not is_base64(value)


def from_string(value: bytes) -> str | dict[str, str]:
    """Return bytes as a JSON string if they are UTF-8, else as `{"b64": …}`."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return to_base64(value)


def to_base64(value: bytes) -> dict[str, str]:
    """Return bytes as `{"b64": …}`."""
    return {"b64": base64.b64encode(value).decode()}


def object_array(values: list[Any]) -> np.ndarray:
    """Return values as an array of Python objects."""
    # np.array() would make a fixed-width array, which drops zero bytes at the end.
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _type_error(value: Any, dtype: tf.DType) -> Refused:
    return invalid(f"expected a value of the type {dtype.name}, got {json_type(value)}: {shown(value)}")


def _lossy(value: float, target: str) -> Refused:
    return invalid(f"{shown(value)} cannot be converted to {target} without loss of precision")
