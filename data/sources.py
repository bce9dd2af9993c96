"""Sources of examples: a sample, a dataset of the TensorFlow Datasets catalogue, a folder or a file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from data.discovery import Classes, Content, Files, Lists, bare_name, discover, list_names
from data.errors import UserError, did_you_mean
from data.formats import (
    FORMATS,
    BadRow,
    Field,
    File,
    Options,
    Row,
    Shape,
    Value,
    formats_of,
    read_text,
    sniff,
    suffix_of,
)
from data.formats.fields import build_row
from data.formats.parallel import read_parallel
from data.samples import SAMPLES
from data.splits import ALL_SPLITS, SPLITS

SAMPLE_SEED = 0
_BLOCK = 1 << 20
Rows = Iterator[tuple[str, Row | BadRow]]


@dataclass(frozen=True)
class Part:
    """The files of a split, or a split of a sample."""

    where: str
    """Path or name, for messages."""
    rows: Callable[[], Rows]
    """Returns an iterator over the rows, each with the path of its file, or the name of the sample."""


@dataclass(frozen=True)
class Source:
    """Examples that are not prepared yet."""

    name: str
    """Lower-case letters, digits and `_`."""
    parts: Mapping[str, Part]
    """By split. Examples that have no splits are one part, `all`, which `data.assignment` divides."""
    digest: Callable[[], str]
    """Computes the sha256 of the content."""
    key: str
    """Name of the first field, whose hash decides the split of an example that has none."""
    by_position: bool = False
    """Whether the examples are pieces of one text, which is divided by position."""
    several_labels: bool = False
    """Whether the training examples have sets of labels, such as lists in JSON."""
    layout: tuple[str, ...] = ()
    """Sentences: which files are which split, and how they are written."""
    ignored: tuple[str, ...] = ()
    """Sentences: which files are not read, and what to do."""
    options: tuple[str, ...] = ()
    """What the user says about the files."""


@dataclass(frozen=True)
class CatalogueName:
    """`tfds:NAME[/CONFIG][:VERSION]`."""

    name: str


def _identifier(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if name[:1].isalpha() else f"data_{name}".rstrip("_")


def _sha256(files: Sequence[tuple[str, Path]]) -> str:
    """Return a digest of files, each with what it is: its split, and its field or label if it has one."""
    digest = hashlib.sha256()
    for role, path in files:
        try:
            digest.update(f"{role}/{suffix_of(path)}/{path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def _roles(parts: Mapping[str, Content]) -> list[tuple[str, Path]]:
    roles: list[tuple[str, Path]] = []
    for split, content in sorted(parts.items()):
        if isinstance(content, Files):
            roles += [(split, path) for path in content.paths]
        elif isinstance(content, Lists):
            roles += [(f"{split}/{name}", path) for name, path in content.paths.items()]
        else:
            roles += [(f"{split}/{label}", path) for label, paths in content.paths.items() for path in paths]
    return roles


def _placed(where: str, rows: Callable[[], Iterator[Row | BadRow]]) -> Part:
    return Part(where, lambda: ((where, row) for row in rows()))


def _whole_file(paths: Sequence[Path], error: UserError) -> tuple[str, BadRow]:
    """Return what is in place of the rows of a file that cannot be read."""
    message = str(error)
    where = next((str(path) for path in paths if message.startswith(f"{path}: ")), str(paths[0]))
    return where, BadRow(0, message.removeprefix(f"{where}: "))


class _Reader:
    """Makes the parts of a source from files."""

    def __init__(self, fields: Sequence[Field], shapes: Collection[Shape], options: Options) -> None:
        self._fields = fields
        self._shapes = shapes
        self.options = options
        self._sniffed: dict[Path, File | UserError | None] = {}
        self._layout: dict[tuple[Path, str], list[str]] = {}
        self.by_position = self.several_labels = False

    def layout(self) -> tuple[str, ...]:
        """Return a sentence for the files that are written alike."""
        return tuple(
            f"{place}: {', '.join(uses)}{'; ' * bool(described)}{described}"
            for (place, described), uses in self._layout.items()
        )

    def _describe(self, place: Path, described: str, use: str) -> None:
        self._layout.setdefault((place, described), []).append(use)

    def sniff(self, path: Path, *, required: bool = True) -> File | None:
        """Return the file, or None if its format is not known; labels may be missing unless required."""
        if path not in self._sniffed:
            try:
                self._sniffed[path] = sniff(path, self._fields, self._shapes, self.options)
            except UserError as error:
                self._sniffed[path] = error
        found = self._sniffed[path]
        if isinstance(found, UserError) and not required:
            optional = [
                replace(f, optional=True) if f.kind in ("label", "labels") else f for f in self._fields
            ]
            try:
                return sniff(path, optional, self._shapes, self.options)
            except UserError:
                raise found from None
        if isinstance(found, UserError):
            raise found
        return found

    def readable(self, path: Path) -> bool:
        """Return whether the format of a file is known, by its name or by its content."""
        try:
            return self.sniff(path) is not None
        except UserError:
            return suffix_of(path) in formats_of(self._shapes)

    def part(self, split: str, content: Content) -> Part:
        """Return the part of a split.

        Raises:
            UserError: a file of training examples cannot be read, or lacks a column.
        """
        if isinstance(content, Files):
            return self._files(split, content.paths)
        if isinstance(content, Lists):
            return self._lists(split, content)
        return self._classes(split, content)

    def _files(self, split: str, paths: Sequence[Path]) -> Part:
        training = split in ("train", ALL_SPLITS)
        layouts: dict[str, list[Path]] = {}
        for path in paths:
            try:
                file = self.sniff(path, required=training)
            except UserError:
                if training:
                    raise
                continue
            assert file is not None
            layouts.setdefault(file.layout.describe(), []).append(path)
            if training:
                self.by_position |= FORMATS[file.layout.format].shape == "document"
                self.several_labels |= file.layout.several_labels
        for described, own in layouts.items():
            if split == ALL_SPLITS and len(own) == 1:
                self._describe(own[0], described, _used(split))
            else:
                self._describe(own[0].parent, described, f"{_named(own)} = {_used(split)}")

        def rows() -> Rows:
            for path in paths:
                where = str(path)
                try:
                    file = self.sniff(path, required=training)
                    assert file is not None
                    for row in file.rows():
                        yield where, row
                except UserError as error:
                    yield _whole_file([path], error)

        return Part(str(paths[0]) if len(paths) == 1 else str(paths[0].parent), rows)

    def _lists(self, split: str, content: Lists) -> Part:
        fields = [field for field in self._fields if field.name in content.paths]
        paths = [content.paths[field.name] for field in fields]
        where = " and ".join(map(str, paths))
        names = " and ".join(path.name for path in paths)
        self._describe(paths[0].parent, "equal lines belong together", f"{names} = {_used(split)}")

        def rows() -> Rows:
            try:
                for row in read_parallel(paths, fields, self.options):
                    yield where, row
            except UserError as error:
                yield _whole_file(paths, error)

        return Part(where, rows)

    def _classes(self, split: str, content: Classes) -> Part:
        text = next(field for field in self._fields if field.kind == "text")
        label = next(field for field in self._fields if field.kind in ("label", "labels"))
        folder = next(iter(content.paths.values()))[0].parent.parent
        number = sum(map(len, content.paths.values()))
        self._describe(
            folder.parent if split != ALL_SPLITS else folder,
            f"a text in each file, the {len(content.paths):,} folders are its labels",
            f"{number:,} files"
            + (f", {_used(split)}" if split == ALL_SPLITS else f" in {folder.name} = {split}"),
        )

        def rows() -> Rows:
            for name, paths in content.paths.items():
                value = name if label.kind == "label" else [name]
                for path in paths:
                    found = read_text(path, self.options)
                    if isinstance(found, str):
                        values = ((text, ("the text",), (found,)), (label, ("the folder",), (value,)))
                        yield str(path), build_row(1, values)
                    else:
                        yield str(path), found

        return Part(str(folder), rows)


def _named(paths: Sequence[Path]) -> str:
    return paths[0].name if len(paths) == 1 else f"{len(paths):,} files {paths[0].name} to {paths[-1].name}"


def _used(split: str) -> str:
    return "divided into train, validation and test" if split == ALL_SPLITS else split


def _from_files(
    name: str,
    parts: Mapping[str, Content],
    fields: Sequence[Field],
    reader: _Reader,
    ignored: Sequence[str] = (),
) -> Source:
    made = {split: reader.part(split, parts[split]) for split in (*SPLITS, ALL_SPLITS) if split in parts}
    return Source(
        _identifier(name),
        made,
        lambda: _sha256(_roles(parts)),
        fields[0].name,
        by_position=reader.by_position,
        several_labels=reader.several_labels,
        layout=reader.layout(),
        ignored=tuple(ignored),
        options=astuple(reader.options),
    )


def _folder(
    folder: Path, fields: Sequence[Field], shapes: Collection[Shape], parallel: Sequence[str], reader: _Reader
) -> Source:
    found = discover(
        folder,
        fields,
        readable=reader.readable,
        shapes=shapes,
        parallel=parallel,
    )
    return _from_files(folder.resolve().name, found.parts, fields, reader, found.ignored)


def _file(
    path: Path, fields: Sequence[Field], shapes: Collection[Shape], parallel: Sequence[str], reader: _Reader
) -> Source:
    name = path.name.split(".")[0]
    if reader.sniff(path) is not None:
        return _from_files(name, {ALL_SPLITS: Files((path,))}, fields, reader)
    if lists := _other_lists(path, fields, parallel):
        return _from_files(name, {ALL_SPLITS: lists}, fields, reader)
    expected = ", ".join("." + suffix for suffix in (*formats_of(shapes, fields), *parallel))
    raise UserError(f"{path}: {suffix_of(path) or 'no'} format; expected {expected} (also compressed)")


def _other_lists(path: Path, fields: Sequence[Field], parallel: Sequence[str]) -> Lists | None:
    """Return the line-aligned files to which a file belongs: those with the same name and another ending.

    Raises:
        UserError: one of them does not exist.
    """
    if parallel:
        sides = {field.name: [side] for field, side in zip(fields, parallel, strict=True)}
    else:
        sides = {field.name: list(list_names(field)) for field in fields if not field.optional}
    stem, _, ending = bare_name(path).rpartition(".")
    if len(sides) < 2 or not any(ending.lower() in map(str.lower, names) for names in sides.values()):
        return None
    beside = {
        bare_name(other): other for other in sorted(path.parent.iterdir(), reverse=True) if other.is_file()
    }
    paths: dict[str, Path] = {}
    for name, endings in sides.items():
        if ending.lower() in map(str.lower, endings):
            paths[name] = path
            continue
        found = [beside[f"{stem}.{other}"] for other in endings if f"{stem}.{other}" in beside]
        if not found:
            raise UserError(
                f"{path.with_name(f'{stem}.{endings[0]}')}: no such file; it is the other side of {path}"
            )
        paths[name] = found[0]
    return Lists(paths)


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
    used = [field for field in fields if field.name in present]

    def value(field: Field, found: Value) -> Value:
        return (found,) if field.kind == "labels" and isinstance(found, str) else found

    def part(split: str) -> Part:
        rows = splits[split]
        return _placed(
            f"sample:{name} {split}",
            lambda: (
                Row(line, {field.name: value(field, values[field.name]) for field in used})
                for line, values in enumerate(rows, 1)
            ),
        )

    return Source(
        f"sample_{name}",
        {split: part(split) for split in splits},
        lambda: hashlib.sha256(json.dumps(splits, sort_keys=True).encode()).hexdigest(),
        used[0].name if used else "text",
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
    scheme, colon, name = data.partition(":")
    if colon and scheme == "sample":
        return _sample(name, fields)
    if colon and scheme == "tfds":
        return CatalogueName(name)
    path = Path(data)
    reader = _Reader(fields, shapes, options or Options())
    try:
        if data and path.is_dir():
            return _folder(path, fields, shapes, parallel, reader)
        if path.is_file():
            return _file(path, fields, shapes, parallel, reader)
        if path.is_symlink():
            raise UserError(f"{path}: a broken link to {path.readlink()}; give the path of a file or folder")
    except OSError as error:
        raise UserError(f"{data}: cannot be read: {error.strerror}") from None
    samples = ", ".join(f"sample:{name}" for name in SAMPLES)
    raise UserError(
        f"unknown dataset {data!r}: no such file or folder; expected a path, {samples}, or tfds:NAME; "
        "'textrnn datasets list' prints all names"
    )
