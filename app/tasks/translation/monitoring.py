"""What is watched of a served translator: the length of its translations."""

from __future__ import annotations

from collections.abc import Sequence

from app.tasks.base import ExampleBatch, OutputArrays
from app.tasks.monitoring import Monitoring, Observed, characters


def _observe(outputs: OutputArrays) -> Observed:
    return Observed({}, characters=characters(outputs["text"]))


def _texts(examples: ExampleBatch) -> Sequence[bytes]:
    return list(examples["source"])


MONITORING = Monitoring(_observe, _texts, frozenset({"text"}))
