"""The formats: each module of this package that defines `FORMAT`."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Collection, Sequence
from pathlib import Path

from data.formats.base import Format, Shape
from data.formats.fields import Field
from data.formats.opening import suffix_of

_ORDER = ("json", "table", "arrow")
"""Formats that messages name first."""


@functools.cache
def all_formats() -> dict[str, Format]:
    """Return the formats by name. A suffix belongs to only one format of a shape."""
    folder = [str(Path(__file__).parent)]
    modules = [
        importlib.import_module(f"data.formats.{found.name}") for found in pkgutil.iter_modules(folder)
    ]
    formats: list[Format] = [module.FORMAT for module in modules if hasattr(module, "FORMAT")]
    formats.sort(key=lambda format: (*(format.name != name for name in _ORDER), format.name))
    return {format.name: format for format in formats}


def formats_of(shapes: Collection[Shape], fields: Sequence[Field] = ()) -> dict[str, Format]:
    """Return the formats of some shapes that can hold the fields, by suffix, in the order of the shapes."""
    return {
        suffix: format
        for shape in shapes
        for format in all_formats().values()
        if format.shape == shape and format.missing(fields) is None
        for suffix in format.suffixes
    }


def find_format(path: Path, shapes: Collection[Shape]) -> Format | None:
    """Return the format of a file by its suffix, or None if it has none of the shapes."""
    return formats_of(shapes).get(suffix_of(path))
