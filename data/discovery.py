"""What is in a folder: which files are which split, and which are not read.

A folder is one of these, also inside a folder `data` or inside its only folder:

- files of splits, in one piece (`train.csv`) or in several (`train-00000-of-00004.parquet`, `train/*.jsonl`)
- line-aligned files, one for each field (`train.en` and `train.de`, `train_text.txt` and `train_labels.txt`,
  `train/seq.in`, `train/seq.out` and `train/label`)
- a folder for each class (`train/pos/*.txt` and `train/neg/*.txt`, or `pos/*.txt` and `neg/*.txt`)
- one file of any name, or its pieces, which the program divides into splits
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import UserError
from data.formats import FORMATS, Field, Shape, formats_of
from data.splits import ALL_SPLITS, SPLIT_ALIASES, SPLITS

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
UNLABELLED = ("unsup", "unsupervised", "unlabelled", "unlabeled")
TEXT_SUFFIXES = ("", "txt", "text")
"""Suffixes of the files of a folder for each class."""
_SPLIT_NAMES = (*SPLITS, *SPLIT_ALIASES)
_OTHER_NAMES = {
    "eval": "validation",
    "evaluate": "validation",
    "evaluation": "validation",
    "validate": "validation",
    "development": "validation",
    "heldout": "validation",
    "tst": "test",
    "trn": "train",
}
"""Names that are perhaps meant as a split, which the user has to say."""
_NUMBER = (
    r"(?:[-_. ]*(?:part|shard|chunk|split)?[-_. (]*(?P<number>\d+)\)?"
    r"(?:[-_. ]*of[-_. ]*\d+)?(?:-[0-9a-f]{16})?)?"
)
_SPLIT_NAME = re.compile(
    rf"(?:(?P<prefix>.+)[-_. ])??(?P<split>{'|'.join(_SPLIT_NAMES)}){_NUMBER}", re.IGNORECASE
)
_PIECE_NAME = re.compile(rf"(?P<prefix>.*?){_NUMBER}", re.IGNORECASE)
_DOCUMENTATION = re.compile(
    r"(readme|licen[cs]e|copying|changelog|citation|notice|authors|requirements)\b|.*\.(md|py)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Files:
    """The pieces of a split, in order."""

    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Lists:
    """Line-aligned files of a split, by the name of their field."""

    paths: Mapping[str, Path]


@dataclass(frozen=True)
class Classes:
    """Files with one text each, by label."""

    paths: Mapping[str, tuple[Path, ...]]


Content = Files | Lists | Classes


@dataclass
class Found:
    """What is in a folder."""

    folder: Path
    """Where it was found: the folder itself, or one within it."""
    parts: dict[str, Content] = field(default_factory=dict)
    """By split, or `all`."""
    ignored: list[str] = field(default_factory=list)
    """Sentences."""


@dataclass(frozen=True)
class _Name:
    """A file's name in parts: `films_train-2.csv.gz` is `films`, `train`, 2, `csv`."""

    path: Path
    prefix: str
    split: str
    alias: str
    number: int | None
    suffix: str


def bare_name(path: Path) -> str:
    """Return the name of a file without the suffix of its compression."""
    name = path.name
    for compression in COMPRESSIONS:
        if name.lower().endswith(compression):
            return name[: -len(compression)]
    return name


def list_names(field: Field) -> tuple[str, ...]:
    """Return the names of a list of the values of a field, in lower case: `label -> label, labels`."""
    names = [field.column, *field.other_columns, field.name]
    names += {"tokens": ["seq.in"], "tags": ["seq.out"]}.get(field.kind, [])
    names += [name + "s" for name in names if not name.endswith("s")]
    return tuple(dict.fromkeys(name.lower() for name in names))


def discover(
    folder: Path,
    fields: Sequence[Field],
    *,
    readable: Callable[[Path], bool],
    shapes: Collection[Shape],
    parallel: Sequence[str] = (),
) -> Found:
    """Return which files of a folder are which split.

    Args:
        folder: exists.
        fields: that the task needs.
        readable: returns whether the format of a file is known.
        shapes: of the files that the task reads.
        parallel: suffixes of line-aligned files, one for each of `fields`.

    Raises:
        UserError: there are no training examples, or two files for a split.
    """
    search = _Search(fields, readable, shapes, parallel)
    found = search.look(folder)
    if found is None:
        for inner in _inner_folders(folder):
            if (found := search.look(inner)) is not None:
                break
    if found is None or not ({"train", ALL_SPLITS} & set(found.parts)):
        raise UserError(
            f"{folder}: no training file; expected one of {search.expected()}; there is {present(folder)}"
        )
    return found


def present(folder: Path) -> str:
    """Return the first names in a folder, for messages."""
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join([*names[:8], *(["…"] if len(names) > 8 else [])]) or "nothing"


def entries(folder: Path) -> list[Path]:
    """Return the files and folders in a folder that are not hidden, in natural order: `2` before `10`.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        names = [path.name for path in folder.iterdir() if not path.name.startswith((".", "_"))]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from None
    return [folder / name for name in sorted(names, key=_natural)]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _inner_folders(folder: Path) -> list[Path]:
    folders = [path for path in entries(folder) if path.is_dir()]
    return [path for path in folders if path.name.lower() == "data" or len(folders) == 1]


class _Search:
    """The search for the files of a task."""

    def __init__(
        self,
        fields: Sequence[Field],
        readable: Callable[[Path], bool],
        shapes: Collection[Shape],
        parallel: Sequence[str],
    ) -> None:
        self._readable = readable
        self._suffixes = formats_of(shapes)
        self._able = formats_of(shapes, fields)
        self._known = {suffix for format in FORMATS.values() for suffix in format.suffixes} | {"txt"}
        self._required = [field.name for field in fields if not field.optional]
        self._lists: dict[str, tuple[str, ...]]
        if parallel:
            self._lists = {field.name: (side.lower(),) for field, side in zip(fields, parallel, strict=True)}
        else:
            self._lists = {field.name: list_names(field) for field in fields if field.kind != "flag"}
        self._parallel = parallel
        self._entries = functools.cache(entries)
        texts = [field for field in fields if field.kind == "text" and not field.optional]
        labels = [field for field in fields if field.kind in ("label", "labels") and not field.optional]
        self._classes = len(texts) == len(labels) == 1 and len(self._required) == 2

    def expected(self) -> str:
        """Return what a folder may have, for messages."""
        expected = ", ".join(f"train.{suffix}" for suffix in self._able)
        if self._parallel:
            expected += ", or " + " and ".join(f"train.{side}" for side in self._parallel)
        expected += " (also compressed)"
        if self._classes:
            expected += ", or a folder for each class, such as train/pos/*.txt and train/neg/*.txt"
        return expected

    def look(self, folder: Path) -> Found | None:
        """Return what is in a folder, or None if there are no examples."""
        inside = self._entries(folder)
        found = Found(folder)
        used: set[Path] = set()
        names = self._of_splits(inside)
        for split in SPLITS:
            own = [name for name in names if name.split == split]
            content = self._split(folder, split, own, inside, found)
            if content is not None:
                found.parts[split] = content
                used |= _paths(content)
        if "train" not in found.parts:
            found.parts |= self._whole(folder, inside, found)
            used |= set().union(*map(_paths, found.parts.values()))
        if not found.parts:
            return None
        self._say_what_is_left(found, inside, used)
        return found

    def _parse(self, path: Path) -> _Name | None:
        """Return the parts of the name of a file or folder of a split, or None if it is of none."""
        name = bare_name(path)
        stem, dot, suffix = name.rpartition(".")
        if not dot or (suffix.lower() not in self._known and path.is_dir()):
            stem, suffix = name, ""
        for whole, ending in ((stem, suffix), (stem.split(".")[0], suffix), (name, "")):
            match = _SPLIT_NAME.fullmatch(whole)
            if match and (ending.lower() in self._known or not ending):
                alias = match["split"].lower()
                number = match["number"]
                return _Name(
                    path,
                    match["prefix"] or "",
                    SPLIT_ALIASES.get(alias, alias),
                    alias,
                    None if number is None else int(number),
                    ending.lower(),
                )
        return None

    def _is_data(self, path: Path) -> bool:
        """Return whether a file may have examples."""
        if not path.is_file() or _DOCUMENTATION.match(path.name):
            return False
        return _suffix(path) in self._suffixes or (_suffix(path) in ("", "txt") and self._readable(path))

    def _of_splits(self, inside: Sequence[Path]) -> list[_Name]:
        """Return the files and folders named after a split: those without a prefix, or with the same."""
        names = [name for path in inside if (name := self._parse(path)) is not None]
        names = [name for name in names if name.path.is_dir() or self._can_be_read(name)]
        prefixes = {name.prefix for name in names if name.split == "train"}
        if "" in prefixes or not prefixes:
            prefix = ""
        elif len(prefixes) == 1:
            (prefix,) = prefixes
        else:
            return []
        return [name for name in names if name.prefix == prefix]

    def _can_be_read(self, name: _Name) -> bool:
        path = name.path
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path}: a broken link; remove it or restore its file")
        return path.is_file() and name.suffix in (*self._suffixes, "", "txt") and self._readable(path)

    def _split(
        self, folder: Path, split: str, names: Sequence[_Name], inside: Sequence[Path], found: Found
    ) -> Content | None:
        """Return the files of a split."""
        files = [name for name in names if not name.path.is_dir()]
        choices: list[tuple[str, Content]] = []
        if lists := self._lists_of(split, [path for path in inside if path.is_file()], folder):
            files = [name for name in files if name.path not in set(lists.paths.values())]
            choices.append((" and ".join(path.name for path in lists.paths.values()), lists))
        if files:
            choices.append((files[0].path.name, Files(self._shards(folder, split, files))))
        for name in names:
            if name.path.is_dir() and (content := self._folder_of(name.path, found)) is not None:
                choices.append((f"{name.path.name}/", content))
        if len(choices) > 1:
            raise _two(folder, split, choices[0][0], choices[1][0])
        return choices[0][1] if choices else None

    def _shards(self, folder: Path, split: str, files: Sequence[_Name]) -> tuple[Path, ...]:
        """Return the files of a split, of which several are its numbered pieces."""
        for earlier, later in itertools.pairwise(files):
            alike = (earlier.alias, earlier.suffix) == (later.alias, later.suffix)
            if not alike or earlier.number == later.number:
                raise _two(folder, split, earlier.path.name, later.path.name)
        return tuple(
            name.path for name in sorted(files, key=lambda name: -1 if name.number is None else name.number)
        )

    def _lists_of(self, split: str, files: Sequence[Path], folder: Path) -> Lists | None:
        """Return the line-aligned files of a split, or of a folder of one (`split` is empty)."""
        paths: dict[str, Path] = {}
        for name, endings in self._lists.items():
            for path in files:
                if _list_name(bare_name(path).lower(), split) in endings:
                    if name in paths:
                        raise _two(folder, split, paths[name].name, path.name)
                    paths[name] = path
        missing = [name for name in self._required if name not in paths]
        if not paths or len(self._required) < 2 or len(missing) == len(self._required):
            return None
        if missing:
            if not self._parallel:
                return None
            side = self._lists[missing[0]][0]
            raise UserError(
                f"{folder}: {split}.{side} is missing, the other side of {split}; there is {present(folder)}"
            )
        return Lists(paths)

    def _folder_of(self, folder: Path, found: Found) -> Content | None:
        """Return the files in the folder of a split, or of all examples."""
        inside = self._entries(folder)
        files = [path for path in inside if path.is_file()]
        if lists := self._lists_of("", files, folder):
            return lists
        if classes := self._classes_of(inside, found):
            return classes
        suffixes: dict[str, Path] = {}
        for path in files:
            if self._is_data(path):
                suffixes.setdefault(_suffix(path), path)
        if len(suffixes) > 1:
            first, second = list(suffixes.values())[:2]
            raise UserError(
                f"{folder}: files of two formats: {first.name} and {second.name}; keep those of one format"
            )
        own = tuple(path for path in files if _suffix(path) in suffixes and self._is_data(path))
        return Files(own) if own else None

    def _classes_of(self, inside: Iterable[Path], found: Found) -> Classes | None:
        """Return the folders for the classes."""
        if not self._classes:
            return None
        classes: dict[str, tuple[Path, ...]] = {}
        left: list[Path] = []
        for path in inside:
            if not path.is_dir() or self._parse(path) is not None:
                continue
            texts = tuple(p for p in self._entries(path) if p.is_file() and _suffix(p) in TEXT_SUFFIXES)
            if path.name.lower() in UNLABELLED:
                left.append(path)
            elif texts:
                classes[path.name] = texts
        if not classes:
            return None
        found.ignored += [f"{path}: left out, because its texts have no label" for path in left]
        return Classes(classes)

    def _whole(self, folder: Path, inside: Sequence[Path], found: Found) -> dict[str, Content]:
        """Return examples that are not in splits."""
        if found.parts:  # of other splits: these would be no training examples
            return {}
        files = [path for path in inside if self._is_data(path)]
        if len(files) == 1 or (files and self._are_pieces(files)):
            return {ALL_SPLITS: Files(tuple(files))}
        if not files and (classes := self._classes_of(inside, found)) and len(classes.paths) > 1:
            return {ALL_SPLITS: classes}
        return {}

    def _are_pieces(self, files: Sequence[Path]) -> bool:
        """Return whether the names of files differ only in their numbers."""
        names = [_PIECE_NAME.fullmatch(bare_name(path).rpartition(".")[0]) for path in files]
        prefixes = {(name["prefix"], _suffix(path)) for name, path in zip(names, files, strict=True) if name}
        return len(prefixes) == 1 and all(name and name["number"] for name in names)

    def _say_what_is_left(self, found: Found, inside: Sequence[Path], used: Collection[Path]) -> None:
        """Add a sentence about each file that is perhaps meant to be read, and one about the others."""
        folders = {path.parent for path in used} - {found.folder}
        folders |= {folder.parent for folder in folders} - {found.folder, found.folder.parent}
        listed = [path for folder in sorted(folders) for path in self._entries(folder) if path not in used]
        beside = [path for path in listed if path.is_file()]
        others = []
        for path in [*inside, *beside]:
            if path in used or path in folders or _DOCUMENTATION.match(path.name):
                continue
            if path.is_dir() and path.name.lower() in UNLABELLED:
                continue
            if path.parent == found.folder and (advice := self._advice(path, found)) is not None:
                found.ignored.append(f"{path} is not read: {advice}")
            else:
                others.append(f"{path.relative_to(found.folder)}{'/' * path.is_dir()}")
        if others:
            more = f" and {len(others) - 8} more" if len(others) > 8 else ""
            found.ignored.append(f"{found.folder}: not read: {', '.join(others[:8])}{more}")

    def _advice(self, path: Path, found: Found) -> str | None:
        """Return why a file of examples is not read and which name would be; None: it has no examples."""
        if path.is_dir() or not self._is_data(path):
            return None
        stem = bare_name(path).rpartition(".")[0]
        ending = path.name[len(stem) :]
        meant = next((split for name, split in _OTHER_NAMES.items() if stem.lower() == name), None)
        if meant and meant not in found.parts:
            return f"rename it to {meant}{ending} to use it as the {meant} split"
        pieces = [content for content in found.parts.values() if isinstance(content, Files)]
        if not pieces:
            return None
        if match := re.match(rf"({'|'.join(_SPLIT_NAMES)})(?![a-z])", stem, re.IGNORECASE):
            split = SPLIT_ALIASES.get(match[1].lower(), match[1].lower())
            own = found.parts.get(split)
            if own is None:
                return f"rename it to {match[1]}{ending} to use it as the {split} split"
            if isinstance(own, Files) and _suffix(path) == _suffix(own.paths[0]):
                numbers = [name.number or 1 for other in own.paths if (name := self._parse(other))]
                return f"rename it to {_stem(own.paths[0])}-{max(numbers) + 1}{ending} to add it to {split}"
        return "its name is not that of a split (train, validation or test)"


def _two(folder: Path, split: str, first: str, second: str) -> UserError:
    return UserError(f"{folder}: two files for {split or folder.name}: {first} and {second}; keep one")


def _paths(content: Content) -> set[Path]:
    if isinstance(content, Files):
        return set(content.paths)
    if isinstance(content, Lists):
        return set(content.paths.values())
    return {path for paths in content.paths.values() for path in paths}


def _suffix(path: Path) -> str:
    name = bare_name(path)
    return name.rpartition(".")[2].lower() if "." in name else ""


def _stem(path: Path) -> str:
    """Return the name of a piece of a split without its number: `train-00001-of-00002.csv -> train`."""
    match = _PIECE_NAME.fullmatch(bare_name(path).partition(".")[0])
    return match["prefix"] if match else path.stem


def _list_name(name: str, split: str) -> str:
    """Return what a line-aligned file of a split lists, or an empty text: `train_labels.txt -> labels`."""
    name = name.removesuffix(".txt")
    if not split:
        return name
    for alias in _SPLIT_NAMES:
        if SPLIT_ALIASES.get(alias, alias) == split and name.startswith(
            (f"{alias}.", f"{alias}_", f"{alias}-")
        ):
            return name[len(alias) + 1 :]
    return ""
