"""Preparing datasets of the catalogue."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from data import catalogue
from data.errors import UserError
from data.formats import Field
from data.prepared import Dataset, prepare
from data.sources import CatalogueName

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
FIELDS = (TEXT, LABEL)
IMDB_URL = "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"


def rows(dataset: Dataset, split: str, size: int = 1024) -> list[dict[str, Any]]:
    """Return the examples of a split, with texts as strings."""
    found = []
    for batch in dataset.batches(split, size):
        columns = [
            [v.decode() if isinstance(v, bytes) else v for v in batch[name].tolist()] for name in batch
        ]
        found += [dict(zip(batch, values, strict=True)) for values in zip(*columns, strict=True)]
    return found


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    """Return a data directory with the metadata of `imdb_reviews`, as after its download."""
    path = tmp_path / "metadata"
    builder = tfds.builder("imdb_reviews", data_dir=path)
    own = path / "imdb_reviews" / "plain_text" / "1.0.0"
    own.mkdir(parents=True)
    builder.info.features.save_metadata(own)
    splits = [
        {
            "name": name,
            "shardLengths": ["5"],
            "numBytes": "100",
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        }
        for name in ("train", "test", "unsupervised")
    ]
    info = {"name": "imdb_reviews", "version": "1.0.0", "configName": "plain_text", "fileFormat": "tfrecord"}
    own.joinpath("dataset_info.json").write_text(json.dumps(info | {"splits": splits}))
    return path


def test_a_catalogue_dataset(metadata: Path, directory: Path) -> None:
    """Its text and label are found by their types; splits without labels are left out."""
    with tfds.testing.mock_data(num_examples=5, data_dir=str(metadata)):
        dataset = prepare(CatalogueName("imdb_reviews"), FIELDS, directory=directory)
        batches = list(dataset.batches("train", 3))

    assert dataset.name == "imdb_reviews"
    assert dataset.sizes == {"train": 5, "test": 5}
    assert dataset.names == {"label": ("neg", "pos")}
    assert [len(batch["text"]) for batch in batches] == [3, 2]
    for batch in batches:
        assert set(batch) == {"text", "label"}
        assert all(isinstance(text, bytes) and text for text in batch["text"])
        assert set(batch["label"].tolist()) <= {0, 1}


def test_the_hash_of_a_catalogue_dataset(metadata: Path, directory: Path) -> None:
    """The hash depends on the version, named or default, and the columns."""
    with tfds.testing.mock_data(num_examples=5, data_dir=str(metadata)):
        hashes = [
            prepare(CatalogueName(name), fields, directory=directory).hash
            for name, fields in [
                ("imdb_reviews", FIELDS),
                ("imdb_reviews/plain_text:1.0.0", FIELDS),
                ("imdb_reviews", (TEXT,)),
            ]
        ]

    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("name", ["imbd", "imbd_reviews", "imdb_review/plain_text:1.0.0"])
def test_an_unknown_catalogue_name(directory: Path, name: str) -> None:
    """The message has the most similar name."""
    with pytest.raises(UserError) as caught:
        prepare(CatalogueName(name), FIELDS, directory=directory)
    plain = name.split("/")[0]
    assert str(caught.value) == f"unknown dataset {plain!r} in the catalogue; did you mean 'imdb_reviews'?"


@pytest.mark.parametrize(
    ("name", "known"),
    [("imdb_reviews/plain", "plain_text"), ("imdb_reviews:9.9.9", "1.0.0"), ("", "datasets list")],
)
def test_an_unknown_configuration_or_version(directory: Path, name: str, known: str) -> None:
    """The message lists the known ones, without internal arguments of the call."""
    with pytest.raises(UserError) as caught:
        prepare(CatalogueName(name), FIELDS, directory=directory)
    message = str(caught.value)
    assert known in message
    assert "builder_kwargs" not in message
    assert "\n" not in message


def test_a_catalogue_dataset_without_texts(directory: Path) -> None:
    """The message lists the features, and the option that names one."""
    with pytest.raises(UserError) as caught:
        prepare(CatalogueName("mnist"), FIELDS, directory=directory)
    assert str(caught.value) == (
        "tfds:mnist: no text feature 'text'; it has image (Image), label (ClassLabel); "
        "name one with --set data.text_column=NAME"
    )


def test_a_catalogue_dataset_with_several_texts(directory: Path) -> None:
    """The user must name one of them."""
    with pytest.raises(UserError) as caught:
        prepare(CatalogueName("glue/mrpc"), FIELDS, directory=directory)
    message = str(caught.value)
    assert "sentence1 (Text)" in message
    assert "sentence2 (Text)" in message
    assert message.endswith("name one with --set data.text_column=NAME")


def test_no_network(directory: Path) -> None:
    """The message has the name, URL and checksum of the file, and the option for its folder."""
    with pytest.raises(UserError) as caught:
        prepare(CatalogueName("imdb_reviews"), FIELDS, directory=directory)
    message = str(caught.value)
    assert f"download aclImdb_v1.tar.gz from {IMDB_URL} " in message
    assert "(sha256 c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe)" in message
    assert "--manual-dir" in message
    assert "\n" not in message


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_a_transient_failure_does_not_end_a_download(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    """With a network, a failed download is tried three times at most."""
    calls: list[int] = []

    class Builder:
        url_infos: ClassVar = {IMDB_URL: None}

        def download_and_prepare(self, **options: Any) -> None:
            calls.append(downloader.MAX_RETRIES)
            if len(calls) <= failures:
                raise requests.exceptions.ChunkedEncodingError("connection broken")

    monkeypatch.setattr("data.catalogue._reachable", lambda urls: True)
    before = downloader.MAX_RETRIES
    if failures < 3:
        catalogue._download(Builder(), None)
    else:
        with pytest.raises(requests.RequestException):
            catalogue._download(Builder(), None)

    assert len(calls) == min(failures + 1, 3)
    assert min(calls) > 0
    assert before == downloader.MAX_RETRIES


def test_without_a_network_nothing_is_retried(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """One failed connection is enough for the error."""
    tried: list[int] = []

    def fail(*args: Any, **options: Any) -> NoReturn:
        tried.append(downloader.MAX_RETRIES)
        raise OSError("network is unreachable")

    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("socket.create_connection", fail)
    with pytest.raises(UserError, match="cannot be downloaded"):
        prepare(CatalogueName("imdb_reviews"), FIELDS, directory=directory)
    assert len(tried) == 1


def archive(path: Path) -> str:
    """Write a file with the structure of `imdb_reviews`, two examples of each kind, and return its sha256."""
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for part in ("train/neg", "train/pos", "test/neg", "test/pos", "train/unsup"):
            for number in range(2):
                content = f"{part} {number}".encode()
                info = tarfile.TarInfo(f"aclImdb/{part}/{number}_1.txt")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_raw_files_need_no_network(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A catalogue dataset is prepared from raw files in a folder."""
    path = tmp_path / "raw" / "aclImdb_v1.tar.gz"
    checksum = archive(path)
    info = tfds.download.checksums.UrlInfo(size=path.stat().st_size, checksum=checksum, filename=path.name)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "url_infos", {IMDB_URL: info})
    dataset = prepare(
        CatalogueName("imdb_reviews"), FIELDS, directory=directory, manual_directory=path.parent
    )

    assert dataset.sizes == {"train": 4, "test": 4}
    assert {(row["text"], row["label"]) for row in rows(dataset, "test")} == {
        (f"test/{label} {number}", label_id)
        for label_id, label in enumerate(["neg", "pos"])
        for number in "01"
    }
    assert capsys.readouterr().out == ""


def test_a_raw_file_with_another_content_is_refused(tmp_path: Path, directory: Path) -> None:
    """The message names the file."""
    archive(tmp_path / "raw" / "aclImdb_v1.tar.gz")

    with pytest.raises(UserError, match=r"aclImdb_v1\.tar\.gz") as caught:
        prepare(CatalogueName("imdb_reviews"), FIELDS, directory=directory, manual_directory=tmp_path / "raw")
    assert "\n" not in str(caught.value)


def test_a_folder_of_raw_files_must_exist(tmp_path: Path, directory: Path) -> None:
    """A folder that does not exist is an error, and is not created."""
    with pytest.raises(UserError, match=r"--manual-dir .*nowhere: no such folder"):
        prepare(
            CatalogueName("imdb_reviews"),
            FIELDS,
            directory=directory,
            manual_directory=tmp_path / "nowhere",
        )
    assert not (tmp_path / "nowhere").exists()
