"""Where the public datasets are, and a mark that skips tests without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("TEXTRNN_DATA", Path(__file__).parents[2] / "shared" / "data"))
skip_without_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no datasets in {DATA}")
