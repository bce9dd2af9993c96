"""The number of threads of the native kernels: that of TensorFlow's own operations."""

from __future__ import annotations

import os

import tensorflow as tf

from models.kernels.cpus import available_cpus


def native_threads() -> int:
    """Return how many threads one call of a native kernel may use.

    It is the number that TensorFlow is set to use within one operation, by
    `tf.config.threading.set_intra_op_parallelism_threads` or by TF_NUM_INTRAOP_THREADS; else the number of
    CPUs that this process may use.
    """
    return tf.config.threading.get_intra_op_parallelism_threads() or _of_environment() or available_cpus()


def _of_environment() -> int:
    try:
        return max(0, int(os.environ.get("TF_NUM_INTRAOP_THREADS", "")))
    except ValueError:
        return 0
