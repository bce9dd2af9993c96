"""Hyper-parameters of a run for the HPARAMS tab of TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from app.artifacts.run import TENSORBOARD

SUFFIX = ".hparams"
"""End of the name of the file."""


def write_hparams(run: Path, values: Mapping[str, bool | float | str], *, metric: str) -> None:
    """Write the hyper-parameters of a run next to its TensorBoard logs, once, if TensorBoard is installed.

    `tensorboard --logdir FOLDER` then compares all runs of a folder.

    Args:
        run: its directory; the training has ended.
        values: by key, those that differ between runs.
        metric: name of the validation metric that runs are compared by.
    """
    logs = run / TENSORBOARD
    if not find_spec("tensorboard") or any(logs.glob(f"*{SUFFIX}")):
        return
    import tensorflow as tf
    from tensorboard.plugins.hparams import api

    writer = tf.summary.create_file_writer(str(logs), filename_suffix=SUFFIX)
    with writer.as_default():
        api.hparams_config(
            hparams=[api.HParam(key) for key in values],
            metrics=[api.Metric(f"validation_{metric}", display_name=f"validation {metric}")],
        )
        api.hparams(dict(values), trial_id=run.name)
    writer.close()
