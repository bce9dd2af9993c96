from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import app
import data
import models

FOLDERS = {package.__name__: Path(package.__file__ or "").parent for package in (app, data, models)}


def imported(path: Path) -> Iterator[str]:
    """Yield the full names of the modules that a file imports, wherever in it, also for types only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield node.module or ""


@pytest.mark.parametrize(("package", "others"), [("data", {"app", "models"}), ("models", {"app", "data"})])
def test_packages_are_apart(package: str, others: set[str]) -> None:
    """`data` and `models` never import each other, nor the application, which knows both."""
    files = sorted(FOLDERS[package].rglob("*.py"))

    assert len(files) >= 5
    for path in files:
        wrong = {name for name in imported(path) if name.partition(".")[0] in others}
        assert not wrong, f"{path} imports {', '.join(sorted(wrong))}"


def test_the_application_knows_both() -> None:
    """The walk over the imports finds them: `app` imports both."""
    names = {name.partition(".")[0] for path in FOLDERS["app"].rglob("*.py") for name in imported(path)}

    assert {"app", "data", "models", "tensorflow"} <= names


def test_data_does_without_keras() -> None:
    """`data` reads and writes rows and ids: it has no use for a network."""
    for path in sorted(FOLDERS["data"].rglob("*.py")):
        assert not {"keras", "tensorflow"} & {name.partition(".")[0] for name in imported(path)}, path
