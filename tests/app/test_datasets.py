from __future__ import annotations

from pathlib import Path

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


def test_names_are_filtered() -> None:
    """A part of a name is enough, in either case."""
    assert set(list_all("IMDB_rev")) == {"tfds:imdb_reviews"}
