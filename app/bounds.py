"""Bounds of the numbers that a signature takes: one set for all doors, and for the graph itself."""

from __future__ import annotations

import numbers
import reprlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

LARGEST_INTEGER = 2**31 - 1
LARGEST_FLOAT = (2 - 2.0**-23) * 2.0**127
"""Of float32."""


@dataclass(frozen=True)
class Bounds:
    """The values that an input may have. NaN and infinity are never among them."""

    minimum: int | float
    maximum: int | float
    default: int | float
    """Value of who gives none. Its type is that of the input: integer or float."""
    above: bool = False
    """Whether the minimum itself is not allowed."""

    @property
    def expected(self) -> str:
        """What is allowed, for messages: `an integer from 0 to 5`, `a number above 0, at most 1`."""
        kind = "an integer" if isinstance(self.default, int) else "a number"
        if self.above:
            return f"{kind} above {self.minimum:g}, at most {self.maximum:g}"
        if self.maximum == LARGEST_FLOAT:
            return f"{kind} of at least {self.minimum:g}"
        if isinstance(self.default, int):
            return f"{kind} from {self.minimum} to {self.maximum}"
        return f"{kind} from {self.minimum:g} to {self.maximum:g}"

    def problem(self, name: str, values: np.ndarray) -> str | None:
        """Return an error message about the first value that is not allowed; None if all are allowed.

        Args:
            name: of the input.
            values: integers or floats of any shape.
        """
        wrong = ~self._allows(values)
        return self.message(name, values[wrong][0]) if wrong.any() else None

    def message(self, name: str, value: Any) -> str:
        """Return the error message about a value."""
        return f"{name}: expected {self.expected}, got {_shown(value)}"

    def checked(self, name: str, value: Any) -> Any:
        """Return a value as an integer or a float of Python.

        Args:
            name: for the message.
            value: a number of Python or NumPy.

        Raises:
            UserError: it is not allowed, or of another type.
        """
        whole = isinstance(self.default, int)
        kind: Any = numbers.Integral if whole else numbers.Real
        convert: Any = int if whole else float
        if isinstance(value, bool) or not isinstance(value, kind):
            raise UserError(self.message(name, value))
        try:
            number = convert(value)
            single = number if whole else struct.unpack("f", struct.pack("f", number))[0]  # as in the graph
        except OverflowError:
            raise UserError(self.message(name, value)) from None
        if not self._allows(single):
            raise UserError(self.message(name, value))
        return number

    def _allows(self, values: Any) -> Any:
        """Return whether a number, or each one of an array, is within the bounds; NaN compares as false."""
        low = values > self.minimum if self.above else values >= self.minimum
        return low & (values <= self.maximum)

    def clamp(self, value: tf.Tensor) -> tf.Tensor:
        """Replace NaN by the default, and each other value that is not allowed by the nearest one that is."""
        import tensorflow as tf

        if value.dtype.is_floating:
            value = tf.where(tf.math.is_nan(value), tf.cast(self.default, value.dtype), value)
        low, high = (tf.constant(limit, value.dtype) for limit in (self.minimum, self.maximum))
        return tf.minimum(tf.maximum(value, low), high)


BEAM_WIDTH = Bounds(minimum=1, maximum=1000, default=5)
"""The memory of a search is proportional to its width."""
LENGTH_PENALTY = Bounds(minimum=-10.0, maximum=10.0, default=1.0)
"""Of beam search: a score is divided by the length to this power, which must not overflow."""


def problem(bounds: Mapping[str, Bounds], inputs: Mapping[str, np.ndarray]) -> str | None:
    """Return an error message about the first input that is out of its bounds; None if there is none."""
    for name, own in bounds.items():
        if name in inputs and (found := own.problem(name, inputs[name])) is not None:
            return found
    return None


def _shown(value: Any) -> str:
    if hasattr(value, "dtype") and isinstance(value, numbers.Real):  # of NumPy
        value = int(value) if isinstance(value, numbers.Integral) else float(f"{value:.6g}")
    try:
        return reprlib.repr(value)
    except ValueError:  # Python prints no integer of thousands of digits
        return "a longer number"
