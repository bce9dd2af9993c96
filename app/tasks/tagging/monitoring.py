"""What is watched of a served tagger: the tags of its tokens, and how certain the label of the text is."""

from __future__ import annotations

from collections.abc import Sequence

from app.tasks.base import ExampleBatch, OutputArrays
from app.tasks.monitoring import Monitoring, Observed, counted


def _observe(outputs: OutputArrays) -> Observed:
    tags = outputs["tags"]
    return Observed(counted(tags[tags != b""]), outputs.get("score"))


def _texts(examples: ExampleBatch) -> Sequence[bytes]:
    """Return the tokens of each example with a space between two, which is what clients send, or nearly."""
    return [b" ".join(tokens) for tokens in examples["tokens"]]


MONITORING = Monitoring(_observe, _texts, frozenset({"tags"}), answers=("tags",))
