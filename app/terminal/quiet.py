"""Keeps the libraries' own chatter from stderr, which belongs to progress and to errors a user can mend."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from app.terminal.lean_imports import lean_imports


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Close stderr for TensorFlow's import: its C++ code logs before the level has an effect."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def quiet() -> None:
    """To be called before TensorFlow is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    lean_imports(_silent_stderr)
