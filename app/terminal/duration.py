"""A time on the command line: `90s`, `30m`, `1h30m`, or a number of seconds."""

from __future__ import annotations

import re
from typing import Any

import click

SECONDS = {"h": 3600, "m": 60, "s": 1}
MOST = 365 * 24 * 3600


class Duration(click.ParamType[float]):
    """A time above 0, converted to seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        """Return the seconds."""
        if isinstance(value, int | float):
            return float(value)
        text = value.strip()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            text += "s"
        number = r"\d+(?:\.\d+)?"
        found = re.fullmatch(rf"(?:({number})h)?(?:({number})m)?(?:({number})s)?", text)
        parts = found.groups() if found else ()
        seconds = sum(float(part) * SECONDS[unit] for part, unit in zip(parts, "hms", strict=False) if part)
        if not 0 < seconds <= MOST:
            self.fail(f"{value!r} is not a time up to a year, such as 30m, 90s or 1h30m.", param, context)
        return seconds
