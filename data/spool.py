"""Examples in temporary files, so that they are read from their source only once."""

from __future__ import annotations

import marshal
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from data.assignment import INDEXED, LEFT_OUT, Assignment
from data.formats import CONTINUES, Row, Value
from data.splits import SPLITS, Shares

_BLOCK_EXAMPLES = 1 << 16
"""Number of examples whose part, labels and hash are written at once."""
_BLOCK_ROWS = 256
_BLOCK_CHARACTERS = 1 << 20
"""Numbers of rows and characters that are written at once."""
_LENGTH = struct.Struct("<Q")


_Stored = tuple[int, dict[str, Value]]
"""Line and values of an example."""


class _Divided(NamedTuple):
    """A part that is divided by position."""

    part: int
    field: str
    ends: list[tuple[int, int]]
    """Codes of the splits, and the characters where they end."""


class Spool:
    """Examples of all parts of a source, in order, with the splits that they get at the end.

    The files have no names, so that none is left when the process is killed. In memory are one byte for each
    example, and the place of each file of the source.
    """

    def __init__(self, directory: Path) -> None:
        """Initialize.

        Args:
            directory: for the temporary files; is created.
        """
        self._directory = directory
        self._stack = ExitStack()
        self._waiting: list[tuple[int, int, int]] = []
        self._block: list[_Stored] = []
        self._characters = 0
        self._starts: list[tuple[int, str]] = []
        self._count = 0
        self._codes = np.zeros(0, np.uint8)
        self._divided: _Divided | None = None

    def __enter__(self) -> Spool:
        """Create the files."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._rows, self._index = (self._file() for _ in range(2))
        return self

    def __exit__(self, *error: object) -> None:
        """Delete the files."""
        self._stack.close()

    def _file(self) -> BinaryIO:
        file = tempfile.TemporaryFile("w+b", buffering=1 << 20, dir=self._directory)  # noqa: SIM115
        return cast(BinaryIO, self._stack.enter_context(file))

    def __len__(self) -> int:
        """Return the number of examples."""
        return self._count

    def add(self, part: int, where: str, row: Row, *, labels: int, text_hash: int) -> None:
        """Append an example.

        Args:
            part: number of its part of the source.
            where: path of its file.
            row: the example.
            labels: number of its set of labels.
            text_hash: of its first field.
        """
        if not self._starts or self._starts[-1][1] != where:
            self._starts.append((self._count, where))
        self._block.append((row.line, row.values))
        self._characters += sum(map(_size, row.values.values()))
        if len(self._block) == _BLOCK_ROWS or self._characters >= _BLOCK_CHARACTERS:
            self._write_rows()
        self._waiting.append((part, labels, text_hash))
        self._count += 1
        if len(self._waiting) == _BLOCK_EXAMPLES:
            self._write_index()

    def _write_rows(self) -> None:
        content = marshal.dumps(self._block)
        self._rows.write(_LENGTH.pack(len(content)) + content)
        self._block, self._characters = [], 0

    def _write_index(self) -> None:
        self._index.write(np.array(self._waiting, INDEXED).tobytes())
        self._waiting = []

    def index(self) -> Iterator[np.ndarray]:
        """Yield parts, labels and hashes of all examples in blocks: `INDEXED` [examples of the block]."""
        self._write_index()
        position = 0
        while True:
            self._index.seek(position)
            content = self._index.read(_BLOCK_EXAMPLES * INDEXED.itemsize)
            if not content:
                return
            position += len(content)
            yield np.frombuffer(content, INDEXED)

    def assign(self, assignment: Assignment) -> None:
        """Give each example its split."""
        self._codes = assignment.codes

    @property
    def codes(self) -> np.ndarray:
        """The split of each example, as a position in `SPLITS`: uint8 [examples]."""
        return self._codes

    def divide(self, part: int, field: str, shares: Shares, characters: int) -> None:
        """Divide the texts of a part by position.

        Args:
            part: its number.
            field: the name of the text.
            shares: of the splits, in order.
            characters: number of characters of its texts.
        """
        ends: list[tuple[int, int]] = []
        total = 0.0
        for name, share in shares:
            total = round(total + share, 12)
            ends.append((SPLITS.index(name), round(characters * total)))
        self._divided = _Divided(part, field, ends)

    def rows(self) -> Iterator[tuple[str, str, Row]]:
        """Yield (split, where, row) of all examples in order, except those that are left out."""
        starts = iter([*self._starts[1:], (self._count, "")])
        where = self._starts[0][1] if self._starts else ""
        end, following = next(starts)
        rows = self._pieces() if self._divided else self._decoded()
        for position, code, values in rows:
            while position >= end:
                where = following
                end, following = next(starts)
            yield SPLITS[code], where, Row(*values)

    def read(self, split: str) -> Iterator[dict[str, Value]]:
        """Yield the values of the examples of a split in order."""
        own = SPLITS.index(split)
        if self._divided:
            return (values[1] for _, code, values in self._pieces() if code == own)
        return (values[1] for _, _, values in self._decoded(own))

    def _decoded(self, split: int | None = None) -> Iterator[tuple[int, int, _Stored]]:
        """Yield position, code and content of the examples of a split; None: of all splits."""
        codes = memoryview(self._codes.data)
        first = 0
        for block in self._blocks():
            for position, (code, row) in enumerate(
                zip(codes[first : first + len(block)], block, strict=True), first
            ):
                if code == split or (split is None and code != LEFT_OUT):
                    yield position, code, row
            first += len(block)

    def _blocks(self) -> Iterator[list[_Stored]]:
        if self._block:
            self._write_rows()
        position = 0
        while True:
            self._rows.seek(position)
            length = self._rows.read(_LENGTH.size)
            if not length:
                return
            (size,) = _LENGTH.unpack(length)
            yield marshal.loads(self._rows.read(size))  # noqa: S302 - this process has written it
            position += _LENGTH.size + size

    def _pieces(self) -> Iterator[tuple[int, int, _Stored]]:
        """Yield as `_decoded`, with the texts of the divided part in the splits of their positions.

        Each split begins a new text.
        """
        divided = self._divided
        assert divided is not None
        parts = np.concatenate([np.zeros(0, np.uint8), *(block["part"] for block in self.index())]).tobytes()
        done, place, begun = 0, 0, -1
        for position, code, (line, values) in self._decoded():
            if parts[position] != divided.part:
                yield position, code, (line, values)
                continue
            text = str(values[divided.field])
            while text:
                split, end = divided.ends[place]
                own, text = text[: end - done], text[end - done :]
                done += len(own)
                if own:
                    continues = begun == split and bool(values.get(CONTINUES))
                    begun = split
                    yield position, split, (line, {**values, divided.field: own, CONTINUES: continues})
                if text:
                    place += 1


def _size(value: Value) -> int:
    return 1 if isinstance(value, bool) else len(value)
