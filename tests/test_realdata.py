"""Training, export and evaluation on public datasets, if they are present: `pytest -m realdata`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from public_data import DATA, skip_without_data

from app.cli import main
from app.config import load_config
from app.datasets import prepare
from app.evaluate import evaluate
from app.export import export
from app.prediction.loading import load_predictor
from app.prediction.predictor import Predictor
from app.train import train
from data.prepared import Dataset
from models.text.locate import locate

pytestmark = [pytest.mark.realdata, skip_without_data]

SMALL = ("model.units=16", "model.embedding_size=16", "training.epochs=3", "training.learning_rate=0.01")
HARD = [
    "",
    "   ",
    "good " * 10_000,
    "👍🏽 👨‍👩‍👧 🇬🇷 !",
    "Δεν μου άρεσε καθόλου, ΑΛΛΑ η μουσική ήταν ωραία.",
    "我很喜欢这部电影。",
    "لم يعجبني الفيلم على الإطلاق",
]


def own(folder: Path, *settings: str) -> list[str]:
    """Return settings with a data directory in a folder."""
    return [f"data.directory={folder / 'cache'}", *settings]


def predicted(predictor: Predictor, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Return the outputs of the main signature."""
    return predictor.run_texts("serving_default", texts)


def _texts() -> list[str]:
    """Return the test texts of SST-2."""
    lines = (DATA / "sst2" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for all files of the tests."""
    return tmp_path_factory.mktemp("realdata")


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """Return a run on SST-2."""
    config = load_config(overrides=own(folder, *SMALL))
    return train("classification", str(DATA / "sst2"), config, run=folder / "sst2").path


def test_run_and_export_agree_on_all_test_texts_and_on_hard_texts(run: Path, folder: Path) -> None:
    """The predictions of run and export differ by less than 1e-5."""
    rows = _texts()
    texts = [text.encode() for text in [*rows, *HARD]] + [b"\xff\xfe not \xe4 text"]
    exported = export(run, output=folder / "export")

    before, after = (predicted(load_predictor(path), texts) for path in (run, exported))

    assert np.abs(before["probabilities"] - after["probabilities"]).max() < 1e-5
    assert (before["label"] == after["label"]).all()
    assert before["probabilities"].std(axis=0).min() > 0.01


def test_the_batch_changes_no_prediction(run: Path) -> None:
    """Each text has the same prediction alone and in a shuffled batch with the longest text."""
    rows = [text.encode() for text in _texts()[:64]]
    texts = [*rows, *(text.encode() for text in HARD)]
    order = np.random.default_rng(0).permutation(len(texts))
    predictor = load_predictor(run)

    alone = np.concatenate([predicted(predictor, [text])["probabilities"] for text in texts])
    whole = replace(predictor, batch_size=len(texts))
    together = predicted(whole, [texts[i] for i in order])["probabilities"]

    assert np.abs(alone[order] - together).max() < 1e-5


def test_a_small_network_on_sst2_is_better_than_chance(run: Path) -> None:
    """The test split has 1,821 examples, and a small network learns something from a few epochs."""
    result = evaluate(run, split="test", with_baseline=False)

    assert result["examples"] == 1821
    assert result["accuracy"] > 0.6


@pytest.mark.parametrize(
    ("name", "sizes", "classes", "setting"),
    [
        ("banking77", {"train": 8959, "validation": 1044, "test": 3080}, 77, "data.label_column=category"),
        ("imdb", {"train": 22594, "validation": 2406, "test": 25000}, 2, "seed=0"),
    ],
)
def test_all_examples_of_a_folder_are_prepared(
    name: str, sizes: dict[str, int], classes: int, setting: str, folder: Path
) -> None:
    """CSV with CRLF and line breaks inside fields, and gzipped JSON lines, lose no example."""
    config = load_config(overrides=own(folder, setting))

    dataset: Dataset = prepare(str(DATA / name), "classification", config, None)

    assert dict(dataset.sizes) == sizes
    assert len(dataset.names["label"]) == classes
    assert sum(len(batch["text"]) for batch in dataset.batches("test")) == sizes["test"]


def test_a_catalogue_dataset_is_prepared_from_its_raw_file(folder: Path) -> None:
    """The raw file is read from `--manual-dir`; its checksum is that of the catalogue."""
    raw = folder / "raw"
    raw.mkdir()
    shutil.copy(DATA / "tinyshakespeare" / "input.txt", raw)
    setting = f"data.directory={folder / 'catalogue'}"

    result = CliRunner().invoke(
        main,
        ["datasets", "prepare", "tfds:tiny_shakespeare", "--manual-dir", str(raw), "--set", setting],
    )

    assert result.exit_code == 0, result.stderr
    assert "train\t1\n" in result.stderr
    assert (Path(result.stdout.strip()) / "dataset_info.json").is_file()


def test_a_raw_file_of_other_content_is_refused(folder: Path) -> None:
    """A file with one changed byte does not have the checksum of the catalogue."""
    raw = folder / "changed"
    raw.mkdir()
    content = (DATA / "tinyshakespeare" / "input.txt").read_bytes()
    (raw / "input.txt").write_bytes(b"f" + content[1:])
    setting = f"data.directory={folder / 'other_catalogue'}"

    result = CliRunner().invoke(
        main,
        ["datasets", "prepare", "tfds:tiny_shakespeare", "--manual-dir", str(raw), "--set", setting],
    )

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: tfds:tiny_shakespeare: ")


@pytest.mark.parametrize("name", ["ud_en_ewt", "ud_el_gud"])
def test_positions_of_the_tokens_of_a_treebank(name: str) -> None:
    """Each token is the text between its positions, in order, with only white space in between."""
    lines = (DATA / name / "test.conllu").read_text(encoding="utf-8").splitlines()
    texts = [line.removeprefix("# text = ") for line in lines if line.startswith("# text = ")]

    located = locate(tf.constant(texts))

    assert len(texts) > 700
    rows = zip(texts, *(column.to_list() for column in located), strict=True)
    for text, tokens, starts, ends in rows:
        assert [text[start:end].encode() for start, end in zip(starts, ends, strict=True)] == tokens
        assert "".join(token.decode() for token in tokens) == "".join(text.split())
