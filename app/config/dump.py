"""A configuration as TOML."""

from __future__ import annotations

import tomli_w

from app.config.differences import value_of
from app.config.keys import keys_of
from app.config.sections import TaskConfig


def dump_config(config: TaskConfig) -> str:
    """Return the whole configuration as TOML, with the description of each key; `load_config` reads it."""
    lines: list[str] = []
    section = ""
    for key in keys_of(type(config)).values():
        if key.section != section:
            section = key.section
            lines += ["", f"[{section}]"]
        assignment = tomli_w.dumps({key.name: value_of(config, key.path)}).rstrip()
        lines.append(f"{assignment}  # {key.description}")
    return "\n".join(lines) + "\n"
