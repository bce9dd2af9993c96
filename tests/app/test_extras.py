from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.extras import extra
from app.inspect import draw
from data.errors import UserError


def test_a_missing_package_of_an_extra_is_one_line() -> None:
    """The error names the command, the package and the extra."""
    expected = r"inspect needs matplotlib; pip install 'textrnn\[plots\]'"

    with pytest.raises(UserError, match=expected), extra("plots", "inspect"):
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib.pyplot")


def test_a_missing_module_of_another_kind_is_a_defect() -> None:
    """Only packages of the extra are the user's to install."""
    with pytest.raises(ModuleNotFoundError), extra("plots", "inspect"):
        raise ModuleNotFoundError("No module named 'numpie'", name="numpie")


def test_inspect_asks_for_matplotlib_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib nothing is loaded."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(UserError, match="inspect needs matplotlib"):
        draw(tmp_path / "run", "A dog.", tmp_path / "attention.png")  # type: ignore[arg-type]
