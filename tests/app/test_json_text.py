"""JSON that every reader of RFC 8259 reads."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from app.artifacts.manifests import RunManifest, read_manifest, write_manifest
from app.json_text import dumps
from app.terminal.printable import json_line


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        ([1.5, math.inf], [1.5, None]),
        ({"a": {"b": (-math.inf, "NaN")}}, {"a": {"b": [None, "NaN"]}}),
        ({math.nan: 1}, {"nan": 1}),
        ({1: [2, True, None, "ä"]}, {"1": [2, True, None, "ä"]}),
    ],
)
def test_numbers_that_are_not_finite(value: Any, expected: Any) -> None:
    """They become null, at any depth; all other values are as `json` writes them."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    for write in (dumps, json_line):
        assert json.loads(write(value), parse_constant=refuse) == expected


def test_what_utf8_lacks() -> None:
    """Half of a surrogate pair is escaped, also where other letters are not."""
    text = dumps({"ä\udcff": "😀"}, ensure_ascii=False)
    assert text == '{"ä\\udcff": "😀"}'
    assert json.loads(text.encode()) == {"ä\udcff": "😀"}


@pytest.mark.parametrize("name", [b"data/\xff.csv", b"\xe9t\xe9", "été".encode()])
def test_a_manifest_names_any_file(tmp_path: Path, name: bytes) -> None:
    """The name of a data file need not be valid UTF-8."""
    manifest = RunManifest(
        task="classification",
        dataset="x",
        dataset_hash="0",
        data=os.fsdecode(name),
        versions={},
        seed=0,
        parameters=1,
        examples={"train": 1},
        layout=[os.fsdecode(name)],
    )
    write_manifest(tmp_path / "manifest.json", manifest)
    assert read_manifest(tmp_path / "manifest.json", RunManifest) == manifest
