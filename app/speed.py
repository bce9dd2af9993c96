"""The time that one text takes."""

from __future__ import annotations

import statistics
import time

from app.prediction.predictor import Predictor
from app.tasks import get_task
from data.prepared import Dataset

TEXTS = 100
"""Most texts that are timed, one by one."""
LONGEST = 10.0
"""Seconds after which no further text is timed."""


def milliseconds(predictor: Predictor, dataset: Dataset, split: str) -> float:
    """Return the median time of one answer, alone, in ms: see `Predictions.answer`.

    Args:
        predictor: loaded; a first answer is not timed.
        dataset: of the task.
        split: whose first texts are used, at least one.
    """
    task = get_task(predictor.info.task)
    batch = next(iter(dataset.batches(split, size=TEXTS)))
    values = batch[task.examples.fields(predictor.info.config)[0].name]
    texts = [
        (value if isinstance(value, bytes) else b" ".join(value)).decode(errors="replace") for value in values
    ]
    answer = task.predictions.answer
    answer(predictor, texts[0])
    took: list[float] = []
    for text in texts:
        began = time.perf_counter()
        answer(predictor, text)
        took.append(1000 * (time.perf_counter() - began))
        if sum(took) > 1000 * LONGEST:
            break
    return statistics.median(took)
