"""What is watched of a served language model: the length of its texts."""

from __future__ import annotations

from collections.abc import Sequence

from app.tasks.base import ExampleBatch, OutputArrays
from app.tasks.monitoring import Monitoring, Observed, characters


def _observe(outputs: OutputArrays) -> Observed:
    return Observed({}, characters=characters(outputs["text"]))


def _texts(examples: ExampleBatch) -> Sequence[bytes]:
    return list(examples["text"])


# Texts are as long as the client wants them, and sampled: those of other prompts say nothing about them.
MONITORING = Monitoring(_observe, _texts, frozenset({"text"}), text="prompt", repeatable=False)
