"""Pretrained word vectors: GloVe and word2vec text files."""

from __future__ import annotations

import itertools
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from data.errors import UserError
from data.formats import open_text

LINES_LOOKED_AT = 100
"""Number of lines from which the size of the vectors is known."""

_BINARY = re.compile("[\x00-\x08\x0e-\x1f]")

Line = tuple[int, list[str]]
"""The number of a line, from 1, and its cells: the words of a token, and numbers."""


def read_vectors(path: Path, vocabulary: Sequence[bytes], *, size: int) -> dict[int, np.ndarray]:
    """Return the vectors of the tokens of a vocabulary from a text file with a token and its vector per line.

    A header of two numbers, as in files of word2vec, is skipped. Of a token that occurs twice, the first
    vector is used. Vectors of other tokens are not kept in memory.

    Args:
        path: the file, or its `.gz`.
        vocabulary: tokens in the order of their ids.
        size: length of a vector.

    Returns:
        token id to vector, float32 [size].

    Raises:
        UserError: the file cannot be read, a line is not a vector, or the vectors have another size.
    """
    ids = {token.decode(errors="surrogateescape"): i for i, token in enumerate(vocabulary) if token}
    try:
        with open_text(path) as text:
            lines = _lines(path, text)
            first = list(itertools.islice(lines, LINES_LOOKED_AT))
            header = _header(first)
            if header is not None:
                del first[0]
            _check_size(path, first, header, size)
            return _vectors(path, itertools.chain(first, lines), ids, size, header)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"model.embeddings = {str(path)!r}: {getattr(error, 'strerror', None) or error}"
        ) from None


def _lines(path: Path, text: Iterator[str]) -> Iterator[Line]:
    for number, line in enumerate(text, 1):
        if number <= LINES_LOOKED_AT and _BINARY.search(line):
            raise UserError(
                f"{path}: a binary file; expected text with a token and its vector on each line; unpack an "
                "archive, and save vectors of word2vec or fastText in the text format"
            )
        if line.strip():
            yield number, line.replace("\t", " ").rstrip().split(" ")


def _header(lines: Sequence[Line]) -> tuple[int, int] | None:
    """Return the number of vectors and their size from the first line of a file of word2vec."""
    if lines and len(lines[0][1]) == 2 and all(cell.isdecimal() for cell in lines[0][1]):
        count, size = map(int, lines[0][1])
        return count, size
    return None


def _check_size(path: Path, lines: Sequence[Line], header: tuple[int, int] | None, size: int) -> None:
    """Refuse vectors of another size than the embedding has.

    The size is that of most lines: a token may have spaces and numbers in it, and a line may be cut off.
    """
    if not lines:
        return
    found = _most_frequent(_numbers(cells) for _, cells in lines)
    width = _most_frequent(len(cells) - 1 for _, cells in lines)
    if header is not None and header[1] not in (found, width):
        raise UserError(
            f"{path}:1: the header says that the vectors have size {header[1]}, but they have size {found}; "
            "correct the header, or delete it"
        )
    if width == size:  # perhaps with a cell that is not a number, which is refused by its line
        return
    if not found:
        raise UserError(f"{path}:{lines[0][0]}: not a word vector; expected a token and its numbers")
    if found != size:
        raise UserError(
            f"{path}: the vectors have size {found}, but model.embedding_size is {size}; "
            f"give --set model.embedding_size={found}"
        )


def _most_frequent(numbers: Iterable[int]) -> int:
    return Counter(numbers).most_common(1)[0][0]


def _numbers(cells: Sequence[str]) -> int:
    """Return how many numbers there are at the end of a line, after its token."""
    return sum(1 for _ in itertools.takewhile(_is_number, reversed(cells[1:])))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _vectors(
    path: Path, lines: Iterator[Line], ids: dict[str, int], size: int, header: tuple[int, int] | None
) -> dict[int, np.ndarray]:
    vectors: dict[int, np.ndarray] = {}
    count = 0
    for number, cells in lines:
        count += 1
        if len(cells) <= size:
            problem = f"{path}:{number}: {len(cells) - 1} numbers; the other vectors have {size}; "
            if next(lines, None) is None:
                raise UserError(f"{problem}the last line is cut off; get the file again, or delete the line")
            raise UserError(f"{problem}correct or delete the line")
        index = ids.get(" ".join(cells[:-size]))  # A few tokens of GloVe contain spaces.
        if index is None or index in vectors:
            continue
        try:
            with np.errstate(over="ignore"):
                vector = np.array(cells[-size:], np.float32)
        except ValueError as error:
            raise UserError(
                f"{path}:{number}: not a word vector ({error}); correct or delete the line"
            ) from None
        if not np.isfinite(vector).all():
            bad = cells[int(np.flatnonzero(~np.isfinite(vector))[0]) - size]
            raise UserError(
                f"{path}:{number}: the vector has the value {bad}; expected finite numbers; correct or "
                "delete the line"
            )
        vectors[index] = vector
    if header is not None and count < header[0]:
        raise UserError(
            f"{path}: the header says that there are {header[0]:,} vectors, but there are {count:,}; the "
            "file is cut off; get it again, or delete the first line to use what there is"
        )
    return vectors
