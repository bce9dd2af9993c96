"""Runs and exports that earlier versions wrote are read, or refused by name."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

import textrnn
from app.tasks import TASKS

STORED = Path(__file__).parent / "stored"
ARCHIVES = sorted(STORED.glob("*.tar.xz"), key=lambda path: path.name)


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name.split(".")[0])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a stored run, its export and its predictions."""
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _close(found: Any, expected: Any) -> bool:
    """Return whether JSON values are equal; numbers may differ by rounding of another processor."""
    if isinstance(expected, float):
        return bool(found == pytest.approx(expected, abs=1e-4, rel=1e-3))
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_close(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(_close, found, expected))
    return bool(found == expected)


@pytest.mark.parametrize("kernels", ["auto", "tensorflow"])
@pytest.mark.parametrize("kind", ["run", "export"])
def test_predictions_are_the_same(stored: Path, kind: str, kernels: str) -> None:
    """A stored run and its export give the predictions that were stored with them, whichever kernels run."""
    expected = json.loads((stored / "expected.json").read_text())

    found = textrnn.load(stored / kind, kernels=kernels).predict(expected["texts"])

    assert _close(found, expected["predictions"])


def test_every_task_and_format_is_stored() -> None:
    """There is an archive of the present format for each task."""
    assert {path.name for path in ARCHIVES} >= {f"{task}-1.tar.xz" for task in TASKS}


@pytest.mark.parametrize(
    ("kind", "manifest"), [("run", "manifest.json"), ("export", "1/assets.extra/manifest.json")]
)
@pytest.mark.parametrize("version", [None, 0, 2])
def test_other_formats_are_refused_by_name(
    stored: Path, tmp_path: Path, kind: str, manifest: str, version: int | None
) -> None:
    """A run or an export of another format, or of the time before formats, is refused in one line."""
    path = stored / kind / manifest
    before = path.read_text()
    changed = json.loads(before)
    del changed["format"]
    if version is not None:
        changed["format"] = version
    path.write_text(json.dumps(changed))
    try:
        with pytest.raises(textrnn.UserError, match=re.escape(f"format {version or 0} is not supported")):
            textrnn.load(stored / kind)
    finally:
        path.write_text(before)
