"""Exports and files in a filesystem of Beam that is not the local disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.localfilesystem import LocalFileSystem
from beam_jobs import Job
from click.testing import Result

Command = Callable[..., Result]


class BucketFileSystem(LocalFileSystem):
    """A folder as `bucket://`."""

    root: ClassVar[Path]

    @classmethod
    def scheme(cls) -> str:
        return "bucket"

    @classmethod
    def _inside(cls, path: str) -> str:
        return str(cls.root / path.removeprefix("bucket://"))

    def has_dirs(self) -> bool:
        return False  # as an object store

    def join(self, base: str, *paths: str) -> str:
        return "/".join((base.rstrip("/"), *paths))

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        super().mkdirs(self._inside(path))

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for path in sorted(self.root.rglob("*")):
            name = f"bucket://{path.relative_to(self.root).as_posix()}"
            if path.is_file() and name.startswith(dir_or_prefix):
                yield FileMetadata(name, path.stat().st_size)

    def open(self, path: str, *arguments: Any, **options: Any) -> Any:
        return super().open(self._inside(path), *arguments, **options)

    def create(self, path: str, *arguments: Any, **options: Any) -> Any:
        return super().create(self._inside(path), *arguments, **options)

    def rename(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        super().rename([*map(self._inside, source_file_names)], [*map(self._inside, destination_file_names)])

    def exists(self, path: str) -> bool:
        return bool(super().exists(self._inside(path)))

    def size(self, path: str) -> int:
        return int(super().size(self._inside(path)))

    def delete(self, paths: list[str]) -> None:
        super().delete([*map(self._inside, paths)])


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """Return the folder that is `bucket://`."""
    BucketFileSystem.root = tmp_path / "bucket"
    BucketFileSystem.root.mkdir()
    return BucketFileSystem.root


def test_everything_in_a_bucket(
    command: Command, exports: dict[str, Path], job: Job, bucket: Path, tmp_path: Path
) -> None:
    """Export, input and output may all be elsewhere; failures have the addresses of the files."""
    export = exports["classification"]
    shutil.copytree(export, bucket / "exports" / "reviews" / "1")
    (bucket / "in").mkdir()
    (bucket / "in" / "a.csv").write_text('text\n"good,\nvery good"\na,b\n')
    (bucket / "in" / "b.csv").write_text("review\nbad\n")
    (tmp_path / "same.jsonl").write_text(json.dumps({"text": "good,\nvery good"}))

    done = job("bucket://exports/reviews", "bucket://in/*.csv", "--output", "bucket://out/p")

    (written,) = (bucket / "out").glob("p-*.jsonl")
    assert written.read_text() == command("predict", export, tmp_path / "same.jsonl").stdout
    (failed,) = (bucket / "out").glob("p.errors-*.jsonl")
    failures = sorted(map(json.loads, failed.read_text().splitlines()), key=lambda each: str(each["file"]))
    assert [(each["file"], each["line"]) for each in failures] == [
        ("bucket://in/a.csv", 4),
        ("bucket://in/b.csv", None),
    ]
    assert failures[1]["error"].startswith("no column 'text'")
    assert done.counters["rows"] == 2


def test_no_export_in_a_bucket(job: Job, bucket: Path) -> None:
    """A folder that does not exist is reported with its address."""
    done = job("bucket://none", "bucket://in/*.csv")

    assert (done.status, done.stderr) == (1, "Error: --model bucket://none: no such folder, or it is empty\n")
