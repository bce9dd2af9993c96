"""Pretrained word vectors: GloVe and word2vec text files."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.errors import UserError
from data.formats import open_text


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
    vectors: dict[int, np.ndarray] = {}
    try:
        with open_text(path) as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                cells = line.rstrip().split(" ")
                if number == 1 and len(cells) == 2 and all(cell.isdigit() for cell in cells):
                    if int(cells[1]) != size:
                        raise UserError(_other_size(path, int(cells[1]), size))
                    continue
                if len(cells) <= size:
                    raise UserError(_other_size(f"{path}:{number}", len(cells) - 1, size))
                token = " ".join(cells[:-size])  # A few tokens of GloVe contain spaces.
                index = ids.get(token)
                if number == 1 or (index is not None and index not in vectors):
                    vector = np.array(cells[-size:], np.float32)
                    if number == 1 and len(cells) != size + 1:
                        raise UserError(_other_size(path, len(cells) - 1, size))
                    if index is not None:
                        vectors[index] = vector
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"model.embeddings = {str(path)!r}: {getattr(error, 'strerror', None) or error}"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}:{number}: not a word vector ({error})") from None
    return vectors


def _other_size(where: object, found: int, size: int) -> str:
    return (
        f"{where}: the vectors have size {found}, but model.embedding_size is {size}; "
        f"set model.embedding_size={found}"
    )
