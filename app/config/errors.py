"""Error messages of a configuration: one for each wrong key, with path, value and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic

from app.config.keys import get_config_class, keys_of, sections_of
from app.config.sections import TaskConfig
from app.tasks.names import TASKS

NAMED = 3
"""Keys that a message lists at most."""


def explain(error: pydantic.ValidationError, task: str) -> str:
    """Return all errors of a configuration of a task in one line."""
    config_class = get_config_class(task)
    return "; ".join(line for found in error.errors() for line in _lines(found, task, config_class))


def _lines(error: Any, task: str, config_class: type[TaskConfig]) -> Iterator[str]:
    path = ".".join(str(part) for part in error["loc"])
    value = error["input"]
    if error["type"] == "extra_forbidden":
        for leaf in _leaves(path, value):
            yield _unknown_key(leaf, task, config_class)
        return
    key = keys_of(config_class).get(path)
    message = error["msg"].removeprefix("Input should be ")
    if error["type"] == "model_type":
        names = [key.name for key in keys_of(config_class).values() if key.section == path]
        shown = ", ".join(names[:NAMED])
        message = f"a section with the keys {shown}, …; set one of them: --set {path}.{names[0]}=VALUE"
    elif key is not None and key.choices:
        near = difflib.get_close_matches(str(value), [str(choice) for choice in key.choices], n=1)
        one_of = "one of " if len(key.choices) > 1 else ""
        message = one_of + key.allowed + (f"; did you mean {near[0]!r}?" if near else "")
    yield f"{path} = {value!r}: expected {message}"


def _leaves(path: str, value: Any) -> Iterator[str]:
    """Yield the paths of an unknown key, or of the keys in a section that another task has."""
    sections = {section for task in TASKS for section in sections_of(get_config_class(task))}
    if path in sections and isinstance(value, Mapping) and value:
        yield from (f"{path}.{name}" for name in value)
    else:
        yield path


def _unknown_key(path: str, task: str, config_class: type[TaskConfig]) -> str:
    owners = [other for other in TASKS if path in keys_of(get_config_class(other))]
    if owners:
        return f"{path} is a key of {', '.join(owners)}; {_instead(path, owners, task, config_class)}"
    return f"unknown key {path!r}{_did_you_mean(path, config_class)}"


def _instead(path: str, owners: list[str], task: str, config_class: type[TaskConfig]) -> str:
    """Name the keys of a task that come nearest to a key of other tasks."""
    section = path.rpartition(".")[0]
    own = [key.path for key in keys_of(config_class).values() if key.section == section]
    if not own:
        return f"{task} has no section [{section}]"
    theirs = set.intersection(*(set(keys_of(get_config_class(owner))) for owner in owners))
    similar = difflib.get_close_matches(path, own, n=1, cutoff=0.8)
    particular = [other for other in own if other not in theirs]
    near = list(dict.fromkeys([*similar, *particular])) or own
    return f"{task} has {', '.join(near[:NAMED])}" + (", …" if len(own) > len(near[:NAMED]) else "")


def _did_you_mean(path: str, config_class: type[TaskConfig]) -> str:
    paths = [*keys_of(config_class), *sections_of(config_class)]
    leaf = path.rsplit(".", 1)[-1]
    near = [other for other in paths if other.rsplit(".", 1)[-1] == leaf]
    near += difflib.get_close_matches(path, paths, n=1, cutoff=0.8)
    near += [
        other
        for other in paths
        if difflib.SequenceMatcher(None, leaf, other.rsplit(".", 1)[-1]).ratio() >= 0.75
    ]
    return f"; did you mean {near[0]!r}?" if near else "; see 'textrnn train TASK DATA --print-config'"
