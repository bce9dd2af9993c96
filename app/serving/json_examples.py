"""Bodies of classify and regress requests: examples with named features, and lists of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from app.json_text import dumps
from app.serving.json_body import Document, invalid, json_type
from app.serving.json_tensors import plain
from app.serving.json_values import converter, is_base64, lossless, object_array, to_string

Feature = list[bytes] | list[float] | list[int]


def read_examples(document: Document) -> list[dict[str, Feature]]:
    """Return the examples of a request; each has the features of `context` as well.

    Raises:
        Refused: INVALID_ARGUMENT.
    """
    context = _features(document["context"]) if "context" in document else {}
    examples = document.get("examples")
    if type(examples) is not list or not examples:
        raise invalid("expected the key 'examples' with a non-empty array of objects")
    return [{**context, **_features(example)} for example in examples]


def string_feature(examples: Iterable[Mapping[str, Feature]], name: str) -> np.ndarray:
    """Return a feature that has one string in each example.

    Args:
        examples: as `read_examples` returns them; other features are ignored.
        name: of the feature.

    Returns:
        bytes object [examples].

    Raises:
        Refused: INVALID_ARGUMENT; an example has no value, several, or another type.
    """
    strings = []
    for index, example in enumerate(examples):
        values = example.get(name, [])
        if len(values) != 1 or type(values[0]) is not bytes:
            raise invalid(f"example {index}: expected the feature {name!r} with one string")
        strings.append(values[0])
    return object_array(strings)


def write_classes(labels: np.ndarray, scores: np.ndarray) -> bytes:
    """Return the body of the response to a classify request.

    Args:
        labels: bytes object [examples, classes].
        scores: float [examples, classes].
    """
    named = zip(plain("", labels), plain("", scores), strict=True)
    results = [list(zip(*pair, strict=True)) for pair in named]
    return dumps({"results": results}, ensure_ascii=False).encode()


def _features(example: Any) -> dict[str, Feature]:
    if type(example) is not dict:
        raise invalid(f"an example must be an object, got {json_type(example)}")
    return {
        name: _feature(name, content if type(content) is list else [content])
        for name, content in example.items()
    }


def _feature(name: str, content: list[Any]) -> Feature:
    values: list[Any] = [_feature_value(name, part) for part in content]
    if len({type(value) for value in values}) > 1:
        raise invalid(f"feature {name!r} has values of several types")
    return values


def _feature_value(name: str, value: Any) -> bytes | float | int:
    if type(value) is str or is_base64(value):
        return to_string(value)
    if type(value) is float:
        return float(converter(tf.float32)(value))
    if type(value) is bool:
        return int(value)
    if type(value) is not int:
        raise invalid(f"feature {name!r} has a value that is {json_type(value)}")
    if 2**63 <= value < 2**64:
        raise invalid(f"feature {name!r} has a value beyond int64")
    return value if -(2**63) <= value < 2**63 else lossless(value, 0, float(tf.float32.max), "float32")
