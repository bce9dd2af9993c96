"""Predictions and failures are written to different files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from app.beam.failures import NAMESPACE, failure
from app.beam.handler import Predicted


class Route(beam.DoFn):
    """From predicted examples to lines, and to the examples without a prediction, tagged `FAILED`."""

    def __init__(self, *, with_source: bool) -> None:
        """Initialize.

        Args:
            with_source: whether lines have `file` and `line`.
        """
        self._with_source = with_source
        self._failed_rows = Metrics.counter(NAMESPACE, "failed_rows")

    def process(self, predicted: Predicted) -> Iterator[Any]:
        """Yield the line of an example."""
        file, line, own = predicted
        if "error" in own:
            self._failed_rows.inc()
            yield failure(file, line, own["error"])
        else:
            yield {"file": file, "line": line, **own} if self._with_source else own
