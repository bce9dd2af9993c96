"""A program: trainings on one and on three CPU devices, in a process whose TensorFlow has three.

Usage: `python mirrored_trainings.py FOLDER REVIEWS`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

from app.config import TaskConfig, load_config
from app.config.keys import keys_of
from app.train import train

DEVICES = 3
EXACT = (
    *("training.epochs=1", "training.batch_size=7", "training.steps_per_checkpoint=1", "training.ema=0.5"),
    *("model.units=4", "model.embedding_size=4", "model.dropout=0", "model.word_dropout=0"),
    *("model.rare_word_dropout=0", "model.ngrams=0", "model.character_units=4", "text.tokenizer=rules"),
    *("training.sequence_length=8", "training.learning_rate=0.01"),
)
"""Nothing is random, so that devices compute what one does; there are fewer streams of `generation` than rows
of other batches, and their number is no multiple of the devices."""
RANDOM = (
    *("training.deterministic=true", "training.epochs=2", "training.batch_size=7", "model.cell=gru"),
    *("training.steps_per_checkpoint=1", "model.units=4", "model.embedding_size=4", "model.ngrams=0"),
    *("model.dropout=0.5", "model.recurrent_dropout=0.2", "training.mixup=0.4", "training.r_drop=1"),
    *("training.virtual_adversarial=1", "training.strategy=mirrored"),
)


def configured(task: str, *overrides: str) -> TaskConfig:
    """Return a configuration of those overrides that the task has."""
    known = keys_of(type(load_config(task)))
    return load_config(task, overrides=[own for own in overrides if own.partition("=")[0] in known])


def main(folder: Path, reviews: str) -> None:
    """Write a run of each task and strategy, and runs that were stopped and resumed."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)
    tasks = {
        "classification": reviews,
        "tagging": str(folder / "tags"),
        "generation": str(folder / "texts"),
        "translation": str(folder / "pairs"),
    }
    for task, data in tasks.items():
        for strategy in ("single", "mirrored"):
            config = configured(task, *EXACT, f"training.strategy={strategy}")
            train(task, data, config, run=folder / f"{task}-{strategy}")
    # Fewer rows in the last batch than devices.
    for strategy in ("single", "mirrored"):
        config = configured(
            "classification", *EXACT, "training.batch_size=13", f"training.strategy={strategy}"
        )
        train("classification", reviews, config, run=folder / f"few-{strategy}")
    random = configured("classification", *RANDOM)
    train("classification", reviews, random, run=folder / "whole")
    stops = iter([False] * 8)
    train("classification", reviews, random, run=folder / "parts", should_stop=lambda: next(stops, True))
    train("classification", reviews, random, run=folder / "parts", resume=True)
    mirrored = configured("classification", *EXACT, "training.epochs=2", "training.strategy=mirrored")
    train("classification", reviews, mirrored, run=folder / "fewer", should_stop=lambda: True)
    single = configured("classification", *EXACT, "training.epochs=2")
    train("classification", reviews, single, run=folder / "fewer", resume=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
