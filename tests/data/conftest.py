"""Fixtures of the tests of datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
import requests

from data.formats import Field, Row
from data.scan import scan
from data.sources import Source
from data.splits import Splitting
from data.spool import Spool


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


SplitRows = Callable[..., dict[str, list[Row]]]


@pytest.fixture
def split_rows(tmp_path_factory: pytest.TempPathFactory) -> SplitRows:
    """Return a function from a source to the rows of each split."""

    def rows(source: Source, fields: Sequence[Field] = (), splitting: Splitting | None = None) -> Any:
        found: dict[str, list[Row]] = {}
        with Spool(tmp_path_factory.mktemp("spool")) as spool:
            problems = scan(source, fields, splitting or Splitting(), spool).problems
            assert not problems, problems[0].sentence()
            for split, _, row in spool.rows():
                found.setdefault(split, []).append(row)
        return found

    return rows
