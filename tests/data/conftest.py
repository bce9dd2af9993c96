"""Fixtures of the tests of datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest
import requests


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every request over the network fail."""

    def send(*args: Any, **options: Any) -> NoReturn:
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(requests.Session, "send", send)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two training examples and one test example."""
    path = tmp_path / "Films"
    path.mkdir()
    path.joinpath("train.csv").write_text("text,label\nfine,pos\n\npoor,neg\n")
    path.joinpath("test.jsonl").write_text('{"text": "ä 中", "label": "pos"}\n')
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return the directory of prepared datasets, which does not exist yet."""
    return tmp_path / "prepared"
