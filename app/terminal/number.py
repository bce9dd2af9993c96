"""Numbers on the command line: never NaN or infinity, which ranges of click let through."""

from __future__ import annotations

import math
from typing import Any

import click

from app.bounds import LARGEST_FLOAT, Bounds
from data.errors import UserError


class Number(click.FloatRange):
    """A finite number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        """Return the number."""
        number = super().convert(value, param, context)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, context)
        return number


def bounded(bounds: Bounds) -> click.ParamType[Any]:
    """Return the type of an option whose values are within bounds."""
    base: type[Any] = click.IntRange if isinstance(bounds.default, int) else click.FloatRange
    convert_number = click.INT if isinstance(bounds.default, int) else click.FLOAT

    class Bounded(base):
        """A range whose errors are those of the bounds."""

        def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
            number = convert_number.convert(value, param, context)
            try:
                return bounds.checked("", number)
            except UserError as error:
                self.fail(str(error).removeprefix(": "), param, context)

    most = None if bounds.maximum == LARGEST_FLOAT else bounds.maximum
    return Bounded(min=bounds.minimum, max=most, min_open=bounds.above)
