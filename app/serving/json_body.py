"""The JSON object of a request body, and the errors that are reported about it."""

from __future__ import annotations

import json
import math
from typing import Any

from app.json_text import dumps
from app.serving.errors import Code, Refused

MOST_SHOWN = 200
"""Characters of a value that an error message repeats."""

Document = dict[str, Any]


def parse(body: bytes) -> Document:
    """Parse a body that must be a JSON object in UTF-8.

    JSON has no `NaN` and no `Infinity`. A name may occur only once in an object.

    Raises:
        Refused: it is not.
    """
    if not body:
        raise invalid("the request body is empty, expected a JSON object")
    try:
        document = _DECODER.decode(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise invalid(f"the request body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise invalid(f"the request body is not JSON: {error}") from None
    except RecursionError:
        raise invalid("the request body is not JSON: nested too deeply") from None
    except ValueError:  # Python parses no integer of thousands of digits
        raise invalid(TOO_BIG) from None
    if type(document) is not dict:
        raise invalid(f"expected a JSON object, got {json_type(document)}: {shown(document)}")
    return document


def signature_name(document: Document) -> str:
    """Return the signature that a request names; empty if it names none.

    Raises:
        Refused: the name is not a string.
    """
    name = document.get("signature_name", "")
    if type(name) is not str:
        raise invalid(f"'signature_name' must be a string, got {json_type(name)}: {shown(name)}")
    return name


def write_error(message: str) -> bytes:
    """Return the body of an error response."""
    # In ASCII: a message may repeat half of a surrogate pair, which UTF-8 cannot encode.
    return dumps({"error": message}).encode()


def invalid(message: str) -> Refused:
    """Return the exception for a request that is not valid."""
    return Refused(Code.INVALID_ARGUMENT, message)


def json_type(value: Any) -> str:
    """Return the name of the JSON type of a value."""
    names = {type(None): "null", bool: "a boolean", dict: "an object", list: "an array", str: "a string"}
    return names.get(type(value), "a number")


def shown(value: Any) -> str:
    """Return the start of a value as JSON, for an error message."""
    text = ""
    for part in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        text += part[: MOST_SHOWN + 1]
        if len(text) > MOST_SHOWN:
            return f"{text[:MOST_SHOWN]}…"
    return text


TOO_BIG = "a number is too large for a double"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in members if names.count(name) > 1)
        raise invalid(f"the name {shown(twice)} occurs more than once in an object")
    return members


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise invalid(TOO_BIG)
    return number


def _constant(name: str) -> None:
    raise invalid(f"{name} is not JSON, expected a finite number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_constant)
