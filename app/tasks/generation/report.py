"""What the report of a run says of a language model: texts that it writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from app.page.blocks import Block, MarkedText, Section
from data.prepared import Dataset

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

TEMPERATURES = (0.5, 0.8, 1.0)
LENGTH = 300
"""Tokens of a sample."""


def generation_report(
    predictor: Predictor, dataset: Dataset, split: str, result: Mapping[str, Any]
) -> list[Section]:
    """Return the sections of a language model."""
    return [Section("Samples", list(_samples(predictor)))]


def _samples(predictor: Predictor) -> Iterator[Block]:
    sizes = len(TEMPERATURES)
    outputs = predictor.run(
        "serving_default",
        {
            "prompt": [b""] * sizes,
            "length": np.full(sizes, LENGTH, np.int32),
            "temperature": np.array(TEMPERATURES, np.float32),
            "top_k": np.zeros(sizes, np.int32),
            "top_p": np.ones(sizes, np.float32),
            "seed": np.arange(sizes, dtype=np.int32),
        },
    )
    for temperature, text in zip(TEMPERATURES, outputs["text"], strict=True):
        yield MarkedText([(text.decode(errors="replace"), 0.0)], f"temperature {temperature:g}")
