from __future__ import annotations

from pathlib import Path

import pytest

from app.config import load_config
from app.datasets import list_all, prepare
from data.sources import CatalogueName, Source, open_source


def test_every_listed_name_can_be_given(tmp_path: Path) -> None:
    """They are samples and catalogue names; a prepared file of the user has no name."""
    config = load_config("classification", overrides=[f"data.directory={tmp_path}"])
    prepare("sample:reviews", "classification", config, None)

    names = list_all("")

    assert "sample:reviews" in names
    assert "tfds:imdb_reviews" in names
    for name in names:
        if not name.startswith("sample:"):
            assert isinstance(open_source(name, (), ()), CatalogueName)
        else:
            assert isinstance(open_source(name, (), ()), Source)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("reviews", "classification"),
        ("topics", "classification"),
        ("tags", "tagging"),
        ("text", "generation"),
        ("pairs", "translation"),
    ],
)
def test_every_sample_is_prepared(name: str, task: str, tmp_path: Path) -> None:
    """Each sample can be read by its task, whatever its fields are called."""
    config = load_config(task, overrides=[f"data.directory={tmp_path}"])
    assert prepare(f"sample:{name}", task, config, None).sizes["train"] > 0


def test_names_are_filtered() -> None:
    """A part of a name is enough, in either case."""
    assert set(list_all("IMDB_rev")) == {"tfds:imdb_reviews"}
