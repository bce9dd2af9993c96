"""Loading of a configuration: defaults of the task, a preset, a TOML file and `KEY=VALUE` overrides."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import pydantic

from app.config.errors import explain
from app.config.keys import get_config_class, keys_of
from app.config.sections import FORMAT, TaskConfig
from app.tasks.names import TASKS
from data.errors import UserError

DEFAULT_TASK = "classification"
MOST_BYTES = 2**20
"""Size of the largest file that is read as a configuration."""


def load_config(
    task: str | None = None,
    *,
    file: Path | None = None,
    preset: str | None = None,
    overrides: Sequence[str] = (),
    require_format: bool = False,
) -> TaskConfig:
    """Load a configuration from defaults, a preset, a file and overrides; later ones take precedence.

    Args:
        task: one of `app.tasks.TASKS`; None: the task that the file names, else classification.
        file: TOML; it may name its `task` and `format`.
        preset: one of `presets(task)`.
        overrides: `KEY=VALUE`, as of `--set`.
        require_format: the file is that of a run, which must name its `task` and `format`.

    Raises:
        UserError: names every key that is unknown or has a wrong value, all at once; or the file is the
            configuration of another task, or of another format.
    """
    from_file = {} if file is None else _read_file(file, task, require_format=require_format)
    task = task or from_file.get("task", DEFAULT_TASK)
    config_class = get_config_class(task)
    values = config_class.model_validate({}).model_dump()
    if require_format:
        _merge(values, config_class.EARLIER)
    if preset is not None:
        _merge(values, _read_preset(task, preset))
    _merge(values, from_file)
    for override in overrides:
        path, value = parse_override(override, task)
        for key in reversed(path):
            value = {key: value}
        _merge(values, value)
    try:
        return config_class.model_validate(values)
    except pydantic.ValidationError as error:
        raise UserError(explain(error, task)) from None


def config_from(task: str, values: dict[str, Any], where: str) -> TaskConfig:
    """Return the configuration of a model from the values in its manifest.

    Args:
        task: one of `app.tasks.TASKS`.
        values: as of `model_dump(mode="json")`.
        where: the file that they are from, for messages.

    Raises:
        UserError: the values are not valid.
    """
    config_class = get_config_class(task)
    merged: dict[str, Any] = {}
    _merge(merged, config_class.EARLIER)
    _merge(merged, values)
    try:
        return config_class.model_validate(merged)
    except pydantic.ValidationError as error:
        raise UserError(f"{where}: {explain(error, task)}") from None


def presets(task: str) -> list[str]:
    """Return the names for `--preset` of a task."""
    return sorted(_preset_files(task))


def _preset_files(task: str) -> dict[str, Traversable]:
    folder = resources.files(TASKS[task].rpartition(".")[0]) / "presets"
    return dict(_toml_files(folder)) if folder.is_dir() else {}


def _toml_files(folder: Traversable) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.name.endswith(".toml"):
            yield entry.name.removesuffix(".toml"), entry


def _read_preset(task: str, name: str) -> dict[str, Any]:
    files = _preset_files(task)
    if name not in files:
        raise UserError(f"unknown preset {name!r}; {task} has {', '.join(sorted(files)) or 'no presets'}")
    return _parse_toml(files[name].read_bytes(), name)


def _read_file(file: Path, task: str | None, *, require_format: bool) -> dict[str, Any]:
    """Read a TOML file and compare its task and format with the expected ones."""
    where = str(file) if require_format else f"--config {file}"
    try:
        with file.open("rb") as opened:
            text = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{where}: {error.strerror}") from None
    if len(text) > MOST_BYTES:  # perhaps a data file, or a device without an end
        raise UserError(f"{where}: not a configuration: larger than {MOST_BYTES} bytes")
    values = _parse_toml(text, str(file))
    if require_format and not {"task", "format"} <= set(values):
        raise UserError(
            f"{file}: names no 'task' and 'format': the run is of an earlier version of textrnn and is not "
            "supported; train it again"
        )
    if values.get("format", FORMAT) != FORMAT:
        raise UserError(f"{where}: format {values['format']!r} is not supported, only format {FORMAT}")
    named = values.get("task", task or DEFAULT_TASK)
    if named not in TASKS:
        raise UserError(f"{where}: unknown task {named!r}; expected one of {', '.join(TASKS)}")
    if task is not None and named != task:
        raise UserError(f"{where} is a configuration of {named}, not of {task}")
    return values


def _parse_toml(text: bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: not TOML: {error}") from None
    except RecursionError:
        raise UserError(f"{where}: not TOML: nested too deeply") from None


def parse_override(assignment: str, task: str, example: str = "model.units=64") -> tuple[list[str], Any]:
    """Return the path of the key and the value of a `KEY=VALUE`.

    Raises:
        UserError: it has another form.
    """
    path, equals, text = assignment.partition("=")
    path = path.strip()
    if not equals or not path:
        raise UserError(f"--set {assignment!r}: expected KEY=VALUE, e.g. --set {example}")
    if any("\ud800" <= letter <= "\udfff" for letter in text):  # bytes of the command line
        raise UserError(f"--set {assignment!r}: the value is not valid UTF-8")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text  # a string needs no quotation marks on the command line
    key = keys_of(get_config_class(task)).get(path)
    if key is not None and key.annotation is str and not isinstance(value, str):
        value = text
    return path.split("."), value


def _merge(into: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value
