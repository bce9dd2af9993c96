"""The keys of a task's configuration: path, default, allowed values and description of each."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.config.sections import TaskConfig
from app.tasks.names import TASKS
from models.settings import OneOf

_TYPES: Mapping[Any, str] = {bool: "true or false", int: "integer", float: "number", str: "string"}
_BOUNDS = {
    annotated_types.Ge: ("≥", "ge"),
    annotated_types.Gt: (">", "gt"),
    annotated_types.Le: ("≤", "le"),
    annotated_types.Lt: ("<", "lt"),
}


@dataclass(frozen=True)
class Key:
    """A key of a configuration."""

    path: str
    """E.g. `model.units`."""
    annotation: Any
    """Type of the value, without constraints."""
    default: Any
    description: str
    choices: tuple[Any, ...]
    """All values that are allowed; empty: they are not listed."""
    allowed: str
    """The allowed values in words, e.g. `integer ≥ 1`."""

    @property
    def section(self) -> str:
        """Name of the section; empty for a key outside of sections."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Name within the section."""
        return self.path.rpartition(".")[2]


def get_config_class(task: str) -> type[TaskConfig]:
    """Return the class of a task's configuration."""
    package = TASKS[task].rpartition(".")[0]
    found: type[TaskConfig] = importlib.import_module(f"{package}.config").CONFIG
    return found


def keys_of(config_class: type[TaskConfig]) -> Mapping[str, Key]:
    """Return the keys of a configuration by their paths, in the order of the file."""
    return _keys_of_class(config_class)


def _keys_of_class(config_class: type[TaskConfig]) -> dict[str, Key]:
    defaults = config_class.model_validate({})
    found = {}
    for name, field in config_class.model_fields.items():
        value = getattr(defaults, name)
        if isinstance(value, BaseModel):
            for key, inner in type(value).model_fields.items():
                path = f"{name}.{key}"
                found[path] = _key(path, inner, getattr(value, key), type(value))
        else:
            found[name] = _key(name, field, value, config_class)
    return found


def sections_of(config_class: type[TaskConfig]) -> list[str]:
    """Return the names of the sections of a configuration."""
    return list(dict.fromkeys(key.section for key in keys_of(config_class).values() if key.section))


def _key(path: str, field: FieldInfo, default: Any, owner: type[BaseModel]) -> Key:
    choices = _choices(field)
    return Key(
        path=path,
        annotation=field.annotation,
        default=default,
        description=_description(owner, path.rpartition(".")[2]),
        choices=choices,
        allowed=", ".join(str(choice) for choice in choices) or _type_in_words(field),
    )


def _description(owner: type[BaseModel], name: str) -> str:
    """Return the description of a field: its own, or that of the field that it overrides."""
    for base in owner.__mro__:
        if issubclass(base, BaseModel) and name in base.model_fields:
            description = base.model_fields[name].description
            if description:
                return description
    raise TypeError(f"{owner.__name__}.{name} has no description")


def _choices(field: FieldInfo) -> tuple[Any, ...]:
    for item in field.metadata:
        if isinstance(item, OneOf):
            return tuple(item.names)
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def _type_in_words(field: FieldInfo) -> str:
    assert field.annotation is not None
    bounds = [
        f"{sign} {getattr(item, attribute):,}"
        for item in field.metadata
        for kind, (sign, attribute) in _BOUNDS.items()
        if isinstance(item, kind)
    ]
    return " ".join([_TYPES[field.annotation], " and ".join(bounds)]).strip()
