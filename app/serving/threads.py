"""The threads of TensorFlow in a server."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import tensorflow as tf

from models.kernels.cpus import available_cpus

SWITCH_INTERVAL = 0.001
"""Seconds after which a thread of Python that computes lets others run; the default is 0.005. A call that has
ended waits so long for the event loop."""


def limit_threads() -> None:
    """Give TensorFlow as many threads as this process may use CPUs, unless the user has set their number.

    TensorFlow counts the CPUs of the machine, or of the affinity, not the quota of a container. Call this
    before TensorFlow is used; later it changes nothing.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    threads, settings = available_cpus(), tf.config.threading
    with suppress(RuntimeError):  # TensorFlow has been used: its threads have been started
        if not (settings.get_intra_op_parallelism_threads() or os.environ.get("TF_NUM_INTRAOP_THREADS")):
            settings.set_intra_op_parallelism_threads(threads)
        if not (settings.get_inter_op_parallelism_threads() or os.environ.get("TF_NUM_INTEROP_THREADS")):
            settings.set_inter_op_parallelism_threads(threads)
