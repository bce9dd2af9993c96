from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest

import app.api
import textrnn

DOCS = Path(__file__).parents[1] / "docs/python.md"
TINY = {"model.units": 4, "model.embedding_size": 4, "training.batch_size": 128}


@pytest.fixture(scope="module")
def tiny_defaults(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Let every configuration be that of a tiny model whose data is kept in a temporary folder."""
    cache = tmp_path_factory.mktemp("cache")

    tiny = {**TINY, "data.directory": cache}
    make = app.api._config

    def configured(task: str, config: Any, preset: str | None, overrides: Any, *others: Any) -> Any:
        return make(task, config, preset, {**tiny, **(overrides or {})}, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.api, "_config", configured)
        yield


@pytest.mark.usefixtures("tiny_defaults")
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example of docs/python.md runs, one after the other."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"__name__": "example"}

    assert len(blocks) >= 7
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{DOCS.name}, example {number}", "exec"), names)

    assert names["run"].finished
    assert len(names["losses"]) > 5


@pytest.mark.usefixtures("tiny_defaults")
def test_in_a_thread(tmp_path: Path) -> None:
    """A training works in a thread that is not the main one."""
    found: list[Any] = []
    overrides = {"model.layers": 0, "training.epochs": 1}

    def work() -> None:
        run = textrnn.train("classification", "sample:reviews", run=tmp_path / "run", overrides=overrides)
        found.append(textrnn.load(run.path).predict(["good"]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert [prediction["label"] in ("negative", "positive") for (prediction,) in found] == [True]


def test_the_docs_name_all_functions() -> None:
    """Each public name that is a function or the model is in docs/python.md."""
    text = DOCS.read_text()

    for name in (
        "train",
        "training_steps",
        "load",
        "evaluate",
        "export",
        "serve",
        "Step",
        "Epoch",
        "Message",
    ):
        assert name in textrnn.__all__
        assert name in text
