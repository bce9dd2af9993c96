"""Sources of examples: a sample, a dataset of the TensorFlow Datasets catalogue, a folder or a file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import UserError, did_you_mean
from data.formats import FORMATS, BadRow, Field, Options, Row, Shape, formats_of, sniff, suffix_of
from data.formats.parallel import read_parallel
from data.samples import SAMPLES
from data.splits import ALL_SPLITS, SPLIT_ALIASES, SPLITS

SAMPLE_SEED = 0
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Part:
    """A file, line-aligned files, or a split of a sample."""

    where: str
    """Path or name, for messages."""
    rows: Callable[[], Iterator[tuple[str, Row | BadRow]]]
    """Returns an iterator over the rows, each with the path of its file, or the name of the sample."""


@dataclass(frozen=True)
class Source:
    """Examples that are not prepared yet."""

    name: str
    """Lower-case letters, digits and `_`."""
    parts: Mapping[str, Part]
    """By split. A single file has one part, `all`, which `data.splits` divides."""
    digest: Callable[[], str]
    """Computes the sha256 of the content."""
    by_position: bool = False
    """Whether the part `all` is one text, which is divided by position."""
    several_labels: bool = False
    """Whether a row holds any number of labels, as a list of JSON does."""
    key: str = "text"
    """Name of the first field, whose hash decides the split of a row of `all`."""
    layout: tuple[str, ...] = ()
    """Sentences: which files are which split, and how they are written."""
    ignored: tuple[str, ...] = ()
    """Sentences: which files are not read, and what to do."""


@dataclass(frozen=True)
class CatalogueName:
    """`tfds:NAME[/CONFIG][:VERSION]`."""

    name: str


def _identifier(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if name[:1].isalpha() else f"data_{name}".rstrip("_")


def _sha256(files: Mapping[str, Sequence[Path]]) -> str:
    digest = hashlib.sha256()
    for split, path in sorted((split, path) for split, paths in files.items() for path in paths):
        try:
            kind = f"{split}/{suffix_of(path)}/{path.suffix == '.gz'}/{path.stat().st_size}\n"
            digest.update(kind.encode())
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def _placed(where: str, rows: Callable[[], Iterator[Row | BadRow]]) -> Part:
    return Part(where, lambda: ((where, row) for row in rows()))


def _files(
    name: str,
    files: Mapping[str, Sequence[Path]],
    fields: Sequence[Field],
    shapes: Collection[Shape],
    options: Options,
) -> Source:
    """Return a source of files; several files of a split are line-aligned, one for each field."""
    several: list[bool] = []

    def part(paths: Sequence[Path]) -> Part:
        where = " and ".join(map(str, paths))
        if len(paths) > 1:
            return _placed(where, lambda: read_parallel(paths, fields))
        (path,) = paths
        file = sniff(path, fields, shapes, options)
        assert file is not None
        several.append(file.layout.several_labels)
        return _placed(where, file.rows)

    parts = {split: part(paths) for split, paths in files.items()}
    single = files.get(ALL_SPLITS, ())
    file = sniff(single[0], fields, shapes, options) if len(single) == 1 else None
    return Source(
        _identifier(name),
        parts,
        lambda: _sha256(files),
        by_position=file is not None and FORMATS[file.layout.format].shape == "document",
        several_labels=any(several),
        key=fields[0].name,
    )


def _in_folder(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Return the file of each split that has one of the suffixes."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = path.name.split(".")[0].lower()
        split = SPLIT_ALIASES.get(stem, stem)
        if not path.is_file() or split not in SPLITS or suffix_of(path) not in suffixes:
            continue
        if split in found:
            raise UserError(f"{folder}: two files for {split}: {found[split].name} and {path.name}; keep one")
        found[split] = path
    return found


def _folder(
    folder: Path,
    fields: Sequence[Field],
    shapes: Collection[Shape],
    parallel: Sequence[str],
    options: Options,
) -> Source:
    name = folder.resolve().name
    found = _in_folder(folder, formats_of(shapes))
    if "train" in found:
        return _files(name, {split: (path,) for split, path in found.items()}, fields, shapes, options)
    sides = {language: _in_folder(folder, [language.lower()]) for language in parallel}
    if any("train" in side for side in sides.values()):
        splits = set().union(*sides.values())
        for split in sorted(splits):
            for language, side in sides.items():
                if split not in side:
                    raise UserError(
                        f"{folder}: {split}.{language} is missing, the other side of {split}; "
                        f"there is {_present(folder)}"
                    )
        pairs = {split: tuple(side[split] for side in sides.values()) for split in splits}
        return _files(name, pairs, fields, shapes, options)
    expected = ", ".join(f"train.{suffix}" for suffix in formats_of(shapes, fields))
    if parallel:
        expected += ", or " + " and ".join(f"train.{language}" for language in parallel)
    raise UserError(
        f"{folder}: no training file; expected one of {expected} (or .gz); there is {_present(folder)}"
    )


def _present(folder: Path) -> str:
    return ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"


def _file(
    path: Path,
    fields: Sequence[Field],
    shapes: Collection[Shape],
    parallel: Sequence[str],
    options: Options,
) -> Source:
    name = path.name.split(".")[0]
    if sniff(path, fields, shapes, options):
        return _files(name, {ALL_SPLITS: (path,)}, fields, shapes, options)
    if suffix_of(path) in [side.lower() for side in parallel]:
        stem = path.name.removesuffix(".gz").rpartition(".")[0]
        pair = []
        for side in parallel:
            others = [path.with_name(f"{stem}.{side}{compressed}") for compressed in ("", ".gz")]
            found = [path] if side.lower() == suffix_of(path) else [p for p in others if p.is_file()]
            if not found:
                raise UserError(
                    f"{path.with_name(f'{stem}.{side}')}: no such file; it is the other side of {path}"
                )
            pair.append(found[0])
        return _files(name, {ALL_SPLITS: pair}, fields, shapes, options)
    expected = ", ".join("." + suffix for suffix in (*formats_of(shapes, fields), *parallel))
    raise UserError(f"{path}: {suffix_of(path) or 'no'} format; expected {expected} (or .gz)")


def _sample(name: str, fields: Sequence[Field]) -> Source:
    if name not in SAMPLES:
        raise UserError(
            f"unknown sample {name!r}; there is {', '.join(SAMPLES)}{did_you_mean(name, SAMPLES)}"
        )
    splits = SAMPLES[name](SAMPLE_SEED)
    present = splits["train"][0]
    for field in fields:
        if field.name not in present and not field.optional:
            raise UserError(
                f"sample:{name} has no {field.name}, only {', '.join(present)}; it is for another task"
            )
    names = [field.name for field in fields if field.name in present]

    def part(split: str) -> Part:
        rows = splits[split]
        return _placed(
            f"sample:{name} {split}",
            lambda: (Row(line, {key: values[key] for key in names}) for line, values in enumerate(rows, 1)),
        )

    return Source(
        f"sample_{name}",
        {split: part(split) for split in splits},
        lambda: hashlib.sha256(json.dumps(splits, sort_keys=True).encode()).hexdigest(),
        several_labels=isinstance(present.get("label"), tuple),
    )


def open_source(
    data: str,
    fields: Sequence[Field],
    shapes: Collection[Shape],
    parallel: Sequence[str] = (),
    options: Options | None = None,
) -> Source | CatalogueName:
    """Return the source that DATA names; no rows are read yet.

    Args:
        data: `sample:NAME`, `tfds:NAME`, a folder or a file.
        fields: the fields that the task needs of a row.
        shapes: the shapes of files that the task reads, as in `data.formats`.
        parallel: suffixes of line-aligned files, one for each of `fields`: `["en", "de"]`.
        options: what the user says about files.

    Raises:
        UserError: there is no such data, or its format cannot hold what the task needs.
    """
    options = options or Options()
    scheme, colon, name = data.partition(":")
    if colon and scheme == "sample":
        return _sample(name, fields)
    if colon and scheme == "tfds":
        return CatalogueName(name)
    path = Path(data)
    if data and path.is_dir():
        return _folder(path, fields, shapes, parallel, options)
    if path.is_file():
        return _file(path, fields, shapes, parallel, options)
    samples = ", ".join(f"sample:{name}" for name in SAMPLES)
    raise UserError(
        f"unknown dataset {data!r}: no such file or folder; expected a path, {samples}, or tfds:NAME; "
        "'textrnn datasets list' prints all names"
    )
