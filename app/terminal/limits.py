"""Limits of the machine that a command runs into: memory and disk."""

from __future__ import annotations

import sys

OUT_OF_MEMORY = "out of memory"
_DISK_FULL = "No space left on device"


def exhausted(error: Exception) -> str | None:
    """Return which limit of the machine an exception is about, or None if it is about something else."""
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)  # help is printed without TensorFlow
    if errors is not None and isinstance(error, errors.ResourceExhaustedError):
        return _DISK_FULL if _DISK_FULL in str(error) else OUT_OF_MEMORY
    return None
