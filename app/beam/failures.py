"""What cannot be predicted, and the names under which a job counts it."""

from __future__ import annotations

import apache_beam as beam

NAMESPACE = "textrnn"
"""Of the metrics of a job."""
FAILED = "failed"
"""Tag of an output with what cannot be predicted."""


def failure(file: str, line: int | None, reason: str) -> beam.pvalue.TaggedOutput:
    """Return what the output of failures says: `file`, `line` (None: the whole file) and `error`."""
    return beam.pvalue.TaggedOutput(FAILED, {"file": file, "line": line, "error": reason})
