"""The search space: that of the task, with what the user says, and checked against the configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from app.config import TaskConfig, get_config_class, load_config
from app.config.differences import value_of
from app.config.keys import Key, keys_of
from app.config.load import parse_override
from app.tasks import get_task
from app.tasks.search import Choices, Dimension, Range, Space
from data.errors import UserError

EXAMPLE = "--search training.learning_rate=1e-4..1e-2:log or --search model.cell=gru,lstm"
NOT_SEARCHED = ("seed", "task", "format", "training.early_stopping_metric")
"""Keys that change what is measured, as those of the section data do."""


def search_space(
    task: str, search: Sequence[str], overrides: Sequence[str], load: Callable[[Sequence[str]], TaskConfig]
) -> dict[str, Dimension]:
    """Return the space of a search.

    It is the space of the task, without the keys that are set and with what `search` adds, replaces or
    removes. A dimension of the task is widened where it lacks the configured value.

    Args:
        task: name of the task.
        search: `KEY=LOW..HIGH`, `KEY=LOW..HIGH:log`, `KEY=A,B,…` or, to remove the key, `KEY=`.
        overrides: `KEY=VALUE` of `--set`.
        load: returns the configuration with more overrides.

    Raises:
        UserError: a key is unknown, cannot be searched, or occurs twice; a value is not valid; or nothing is
            left to search.
    """
    fixed = {".".join(parse_override(override, task)[0]) for override in overrides}
    config = load(())
    space = {
        key: _widened(dimension, value_of(config, key))
        for key, dimension in get_task(task).search.items()
        if key not in fixed
    }
    given: set[str] = set()
    for text in search:
        path, equals, values = text.partition("=")
        path, values = path.strip(), values.strip()
        if not equals or not path:
            raise UserError(f"--search {text!r}: expected KEY=VALUES, e.g. {EXAMPLE}")
        if path in given:
            raise UserError(
                f"--search {text!r}: {path} was given before; give all its values in one --search"
            )
        given.add(path)
        key = _key(task, path, text)
        if values:
            space[path] = _dimension(key, values, text, load)
        else:
            space.pop(path, None)
    if not space:
        raise UserError(f"there is nothing to search: all keys are set or removed; add one, e.g. {EXAMPLE}")
    return space


def start_of(space: Space, config: TaskConfig) -> dict[str, Any]:
    """Return the point of a space that is nearest to a configuration, by key."""
    return {key: _nearest(dimension, value_of(config, key)) for key, dimension in space.items()}


def described(space: Space) -> dict[str, dict[str, Any]]:
    """Return a space as JSON: `low`, `high` and `log`, or `values`, by key."""
    return {
        key: {"values": list(dimension.values)} if isinstance(dimension, Choices) else asdict(dimension)
        for key, dimension in space.items()
    }


def assignments(values: Mapping[str, Any]) -> list[str]:
    """Return values as `KEY=VALUE`: `[model.crf=true]`."""
    return [f"{key}={shown(value)}" for key, value in values.items()]


def shown(value: Any) -> str:
    """Return a value as `--set` takes it: `true`, `0.003`, `gru`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def size(space: Space) -> float:
    """Return the number of points of a space; infinity if it has a range of numbers that are no integers."""
    number = 1.0
    for dimension in space.values():
        match dimension:
            case Choices(values):
                number *= len(values)
            case Range(int(low), int(high)):
                number *= high - low + 1
            case _:
                return float("inf")
    return number


def _key(task: str, path: str, text: str) -> Key:
    found = keys_of(get_config_class(task)).get(path)
    if found is None:
        load_config(task, overrides=[f"{path}=0"])  # raises; the message is that of --set
        raise UserError(f"--search {text!r}: {path} is a section, not a key")
    if path in NOT_SEARCHED or found.section == "data":
        raise UserError(
            f"--search {text!r}: {path} cannot be searched, since it changes what is measured; "
            f"choose its value with --set {path}=…"
        )
    return found


def _dimension(key: Key, values: str, text: str, load: Callable[[Sequence[str]], TaskConfig]) -> Dimension:
    def checked(value: str) -> Any:
        return value_of(load([f"{key.path}={value}"]), key.path)

    found = re.fullmatch(r"(.+?)\.\.(.+?)(:log)?", values)
    if found is None:
        choices = tuple(dict.fromkeys(checked(value.strip()) for value in values.split(",") if value.strip()))
        if len(choices) < 2:
            raise UserError(
                f"--search {text!r}: one value is no search; give several, e.g. {EXAMPLE}, or "
                f"--set {key.path}={values}"
            )
        return Choices(choices)
    if key.annotation not in (int, float):
        raise UserError(f"--search {text!r}: {key.path} is no number; give its values as {key.path}=A,B")
    low, high = (checked(bound.strip()) for bound in found.group(1, 2))
    if key.annotation is float:
        low, high = float(low), float(high)
    if low >= high:
        raise UserError(f"--search {text!r}: {low} is not less than {high}; give {key.path}=LOW..HIGH")
    if found[3] and low <= 0:
        raise UserError(f"--search {text!r}: a logarithmic range begins above 0, not at {low}")
    return Range(low, high, log=bool(found[3]))


def _widened(dimension: Dimension, value: Any) -> Dimension:
    """Return a dimension that has a value."""
    match dimension:
        case Range(low, high):
            return replace(dimension, low=min(low, value), high=max(high, value))
        case Choices(values):
            return dimension if value in values else Choices((*values, value))


def _nearest(dimension: Dimension, value: Any) -> Any:
    match dimension:
        case Range(low, high):
            return min(max(value, low), high)
        case Choices(values):
            return value if value in values else values[0]
