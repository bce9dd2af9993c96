"""Files of any of Beam's filesystems, such as `gs://` and `s3://`, on the local disk."""

from __future__ import annotations

import atexit
import functools
import posixpath
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from data.errors import UserError


def absolute(path: str) -> str:
    """Return a path or pattern of the local disk as an absolute one, and others as they are."""
    return str(Path(path).absolute()) if FileSystems.get_scheme(path) is None else path


def matched(option: str, patterns: Sequence[str]) -> list[list[str]]:
    """Return the files that match each pattern.

    Args:
        option: that gave the patterns, for messages.
        patterns: of paths, in any of Beam's filesystems.

    Raises:
        UserError: a filesystem is not known, or cannot be read.
    """
    found = []
    for pattern in patterns:
        try:
            (result,) = FileSystems.match([pattern])
        except (BeamIOError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{option} {pattern}: cannot be read: {reason}") from None
        found.append(sorted(each.path for each in result.metadata_list))
    return found


@contextmanager
def local_file(file: str) -> Iterator[Path]:
    """Yield the path of a file on this machine: its own, or that of a temporary copy with the same name."""
    if FileSystems.get_scheme(file) is None:
        yield Path(file)
        return
    with tempfile.TemporaryDirectory(prefix="textrnn-") as folder:
        path = Path(folder, posixpath.basename(file))
        _copy(file, path)
        yield path


@functools.cache
def local_folder(folder: str) -> Path:
    """Return the path of a folder on this machine: its own, or that of a copy for the life of the process.

    Raises:
        UserError: the folder is not on this machine, and has no files or cannot be read.
    """
    if FileSystems.get_scheme(folder) is None:
        return Path(folder)
    folder = folder.rstrip("/")
    (files,) = matched("--model", [f"{folder}/**"])
    if not files:
        raise UserError(f"--model {folder}: no such folder, or it is empty")
    copy = Path(tempfile.mkdtemp(prefix="textrnn-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    for file in files:
        path = copy / posixpath.relpath(file, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        _copy(file, path)
    return copy


def _copy(file: str, path: Path) -> None:
    # The readers decompress by content, and the export has checksums of its files as they are.
    with (
        FileSystems.open(file, compression_type=CompressionTypes.UNCOMPRESSED) as source,
        path.open("wb") as target,
    ):
        shutil.copyfileobj(source, target)
