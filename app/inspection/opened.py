"""A run whose network is looked into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from app.artifacts.run import Run, open_run
from app.prediction.exchange import runs_natively
from app.prediction.kernels import AUTO
from app.prediction.loading import find_export, info_of, load_keras_model, load_predictor
from app.prediction.predictor import Predictor
from app.tasks import get_task
from app.tasks.inspection import Inspection, Vectors
from app.tasks.opening import open_dataset
from data.errors import UserError
from models.text.tokens import UNKNOWN_ID

ROWS = 256
"""Most validation examples that are measured."""
TOKENS = 65_536
"""Most tokens of all of them."""
LONGEST = 512
"""Most tokens of a row; of a longer text the last ones."""
EXAMPLES_READ = 4096
"""Examples from the start of the validation split of which a sample is drawn."""

Note = Callable[[str], object]


@dataclass(frozen=True)
class Opened:
    """A run, its network with gradients, and a sample of its validation examples."""

    run: Run
    inspection: Inspection[Any, Any]
    note: Note

    @cached_property
    def predictor(self) -> Predictor:
        """The predictor of the run."""
        return load_predictor(self.run.path, note=self.note)

    @cached_property
    def validation(self) -> Vectors:
        """The vectors of a random sample of validation examples, the same each time.

        Raises:
            UserError: the data of the training is not there any more.
        """
        return sample(self.inspection, self._examples())

    @property
    def unknown(self) -> float | None:
        """The share of the tokens of `validation` that are out of vocabulary; None: it is not known.

        Raises:
            UserError: as of `validation`.
        """
        return unknown_share(self.validation)

    def _examples(self) -> dict[str, np.ndarray]:
        info = info_of(self.run, self.run.config, self.inspection.preprocessing)
        dataset = open_dataset(info, None, None)
        found: dict[str, np.ndarray] = next(iter(dataset.batches("validation", size=EXAMPLES_READ)))
        return found


def open_to_inspect(path: Path, *, note: Note = lambda sentence: None) -> Opened:
    """Open a run to look into its network.

    Args:
        path: of a finished run.
        note: called with a sentence about the native kernels.

    Raises:
        UserError: it is an export, or no run.
    """
    if find_export(path) is not None:
        raise UserError(
            f"{path} is an export, which has no layers to look into; pass the run that it was exported from"
        )
    run = open_run(path)
    model = load_keras_model(run)
    if runs_natively(path, AUTO, note):
        model.use_kernels("native")
    task = get_task(run.task)
    return Opened(run, task.training.inspection(model, run.preprocessing(task.facts), run.config), note)


def sample(inspection: Inspection[Any, Any], examples: dict[str, np.ndarray]) -> Vectors:
    """Return the vectors of at most `ROWS` random examples, of at most `TOKENS` tokens in all."""
    found = inspection.sample(examples, ROWS, LONGEST, np.random.default_rng(0))
    total = np.cumsum(sum(lengths.numpy() for lengths in found.lengths.values()))
    return found.rows(np.arange(max(int(np.searchsorted(total, TOKENS)), 1))[: len(total)])


def unknown_share(vectors: Vectors) -> float | None:
    """Return the share of tokens that are out of vocabulary; None: the ids of the tokens are not known."""
    if vectors.ids is None:
        return None
    real = tf.sequence_mask(next(iter(vectors.lengths.values())), vectors.ids.shape[1])
    return float(np.mean(vectors.ids[real] == UNKNOWN_ID))
