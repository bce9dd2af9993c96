"""`textrnn info`: versions, devices, threads, and which kernels run here and why."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

from app.artifacts.files import versions
from app.training.kernels import COMPILING


def information(note: Callable[[str], object] = lambda text: None) -> dict[str, Any]:
    """Return the JSON object of `info --json`. The native kernels are compiled if they have to be.

    Args:
        note: called with a message before something that takes time.
    """
    import tensorflow as tf

    from models.kernels.choice import choose, needs_compiling
    from models.kernels.cpus import available_cpus
    from models.kernels.native.library import library
    from models.kernels.native.threads import native_threads

    if needs_compiling("auto"):
        note(COMPILING)
    choice = choose("auto")
    path = library().path if choice.kernels == "native" else None
    threading = tf.config.threading
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "cpus": {"available": available_cpus(), "of_machine": os.cpu_count() or 1},
        "devices": [device.name.split(":", 1)[1] for device in tf.config.list_physical_devices()],
        "threads": {
            "intra_op": threading.get_intra_op_parallelism_threads(),
            "inter_op": threading.get_inter_op_parallelism_threads(),
            "native": native_threads(),
        },
        "kernels": {
            "name": choice.kernels,
            "reason": choice.reason,
            "instruction_set": choice.instruction_set,
            "library": None if path is None else str(path),
        },
    }
