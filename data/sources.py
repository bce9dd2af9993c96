"""DATA as it is typed: a sample, a name of the TensorFlow Datasets catalogue, a folder or a file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import UserError, did_you_mean
from data.readers import BadRow, Field, Row, format_of, read_rows
from data.samples import SAMPLES

SPLITS = ("train", "validation", "test")
SPLIT_ALIASES = {"valid": "validation", "dev": "validation", "val": "validation"}
SAMPLE_SEED = 0
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Part:
    """The rows of one file, or of one split of a sample."""

    where: str
    """For messages: a path, or the sample's name."""
    rows: Callable[[], Iterator[Row | BadRow]]


@dataclass(frozen=True)
class Source:
    """Rows that are not prepared yet."""

    name: str
    """Short, lower case, of letters, digits and `_`."""
    parts: Mapping[str, Part]
    """By split; a single file has one part, `all`, which is split by the hash of its rows."""
    digest: Callable[[], str]
    """sha256 of the content."""


@dataclass(frozen=True)
class CatalogueName:
    """`tfds:NAME[/CONFIG][:VERSION]`."""

    name: str


def split_of(row_hash: int, shares: Sequence[tuple[str, float]]) -> str:
    """The split of a row, by its hash alone, so that equal rows stay together.

    Args:
        row_hash: 64 bits, as `row_hash` gives.
        shares: splits and their shares, which add up to 1.
    """
    position = row_hash / 2**64
    for name, share in shares:
        if position < share:
            return name
        position -= share
    return shares[-1][0]


def row_hash(values: Mapping[str, str]) -> int:
    """64 bits of a row's content, the same on every machine."""
    content = json.dumps(values, sort_keys=True, ensure_ascii=False).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def _identifier(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if name[:1].isalpha() else f"data_{name}".rstrip("_")


def _sha256(paths: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for split, path in sorted(paths.items()):
        try:
            kind = f"{split}/{format_of(path)}/{path.suffix == '.gz'}/{path.stat().st_size}\n"
            digest.update(kind.encode())
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def _files(name: str, paths: Mapping[str, Path], fields: Sequence[Field]) -> Source:
    parts = {
        split: Part(str(path), lambda path=path: read_rows(path, fields))  # type: ignore[misc]
        for split, path in paths.items()
    }
    return Source(_identifier(name), parts, lambda: _sha256(paths))


def _folder(folder: Path, fields: Sequence[Field], formats: Sequence[str]) -> Source:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = path.name.split(".")[0].lower()
        split = SPLIT_ALIASES.get(stem, stem)
        if not path.is_file() or split not in SPLITS or format_of(path) not in formats:
            continue
        if split in found:
            raise UserError(f"{folder}: two files for {split}: {found[split].name} and {path.name}; keep one")
        found[split] = path
    if "train" not in found:
        expected = ", ".join(f"train.{name}" for name in formats)
        present = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise UserError(
            f"{folder}: no training file; expected one of {expected} (or .gz); there is {present}"
        )
    return _files(folder.resolve().name, found, fields)


def _sample(name: str) -> Source:
    if name not in SAMPLES:
        raise UserError(
            f"unknown sample {name!r}; there is {', '.join(SAMPLES)}{did_you_mean(name, SAMPLES)}"
        )
    splits = SAMPLES[name](SAMPLE_SEED)

    def part(split: str) -> Part:
        rows = splits[split]
        return Part(
            f"sample:{name} {split}",
            lambda: (Row(line, dict(values)) for line, values in enumerate(rows, 1)),
        )

    return Source(
        f"sample_{name}",
        {split: part(split) for split in splits},
        lambda: hashlib.sha256(json.dumps(splits, sort_keys=True).encode()).hexdigest(),
    )


def open_source(data: str, fields: Sequence[Field], formats: Sequence[str]) -> Source | CatalogueName:
    """Finds what DATA names; reads no rows yet.

    Args:
        data: `sample:NAME`, `tfds:NAME`, a folder or a file.
        fields: what the task needs of a row.
        formats: the file formats that the task reads, e.g. `["jsonl", "csv"]`.

    Raises:
        UserError: nothing is there, or not in a form that the task reads.
    """
    scheme, colon, name = data.partition(":")
    if colon and scheme == "sample":
        return _sample(name)
    if colon and scheme == "tfds":
        return CatalogueName(name)
    path = Path(data)
    if data and path.is_dir():
        return _folder(path, fields, formats)
    if path.is_file():
        if format_of(path) not in formats:
            raise UserError(
                f"{path}: {format_of(path) or 'no'} format; expected "
                f"{', '.join('.' + name for name in formats)} (or .gz)"
            )
        return _files(path.name.split(".")[0], {"all": path}, fields)
    samples = ", ".join(f"sample:{name}" for name in SAMPLES)
    raise UserError(
        f"unknown dataset {data!r}: no such file or folder; expected one, or {samples}, or tfds:NAME "
        "(see 'textrnn datasets list')"
    )
