"""The configuration of a trained model for files that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence

from app.config.keys import get_config_class, keys_of
from app.config.load import config_from, parse_override
from app.config.sections import TaskConfig
from data.errors import UserError, did_you_mean

LAYOUT = ("encoding", "delimiter", "header")
"""Keys of the section data that hold for the files of the training only."""
TRAINING = ("directory", "split", "test_fraction", "validation_fraction")
"""Keys of the section data that do not say how files are read."""


def reading_keys(task: str) -> list[str]:
    """Return the keys that say how files are read: their layout, and the column of each field."""
    keys = keys_of(get_config_class(task)).values()
    return [key.path for key in keys if key.section == "data" and key.name not in TRAINING]


def for_other_data(config: TaskConfig, overrides: Sequence[str] = ()) -> TaskConfig:
    """Return the configuration of a model for other files than those that it was trained on.

    Columns are those of the training; encoding, delimiter and header are detected anew.

    Args:
        config: of the model.
        overrides: `KEY=VALUE`, with the keys of `reading_keys`.

    Raises:
        UserError: a key is another one, or a value is not valid.
    """
    values = config.model_dump()
    defaults = type(config).model_validate({}).data
    values["data"] |= {name: getattr(defaults, name) for name in LAYOUT}
    allowed = reading_keys(config.task)
    for override in overrides:
        path, value = parse_override(override, config.task, "data.encoding=latin-1")
        if (key := ".".join(path)) not in allowed:
            raise UserError(
                f"--set {override}: a trained model takes the keys that say how files are read: "
                f"{', '.join(allowed)}{did_you_mean(key, allowed)}"
            )
        values["data"][path[-1]] = value
    return config_from(config.task, values, "--set")
