"""Names of the tasks and the modules that implement them.

Importing this module imports no task, so that help is printed without TensorFlow.
"""

from __future__ import annotations

TASKS = {
    "classification": "app.tasks.classification.task",
    "tagging": "app.tasks.tagging.task",
    "generation": "app.tasks.generation.task",
    "translation": "app.tasks.translation.task",
}
"""Module of each task. It defines `TASK`; the module `config` of the same package defines `CONFIG`, the class
of the task's configuration, and its folder `presets` may hold TOML files."""
