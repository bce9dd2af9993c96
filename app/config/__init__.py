"""The configuration of a run: typed, frozen and checked, with its own keys for each task."""

from __future__ import annotations

from app.config.differences import FREE_ON_RESUME, changed_keys, changes_of_course, differences
from app.config.dump import dump_config
from app.config.keys import get_config_class
from app.config.load import config_from, load_config, presets
from app.config.other_data import for_other_data
from app.config.sections import (
    DataConfig,
    ModelConfig,
    TaskConfig,
    TextConfig,
    TrainingConfig,
)

__all__ = [
    "FREE_ON_RESUME",
    "DataConfig",
    "ModelConfig",
    "TaskConfig",
    "TextConfig",
    "TrainingConfig",
    "changed_keys",
    "changes_of_course",
    "config_from",
    "differences",
    "dump_config",
    "for_other_data",
    "get_config_class",
    "load_config",
    "presets",
]
