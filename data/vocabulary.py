"""Vocabularies: which tokens a model knows, and the file that holds them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


def most_frequent(
    tokens: Sequence[bytes], counts: np.ndarray, *, most: int, min_count: int = 1
) -> np.ndarray:
    """Positions of the tokens that a vocabulary keeps, the most frequent first, ties by their bytes.

    Args:
        tokens: distinct tokens.
        counts: int64 [len(tokens)], how often each stands in the training text.
        most: how many are kept.
        min_count: tokens rarer than this are left out.

    `most_frequent([b"a", b"c", b"b"], [1, 2, 2], most=2) -> [2, 1]`
    """
    kept = [i for i in range(len(tokens)) if counts[i] >= max(min_count, 1)]
    kept.sort(key=lambda i: (-counts[i], tokens[i]))
    return np.array(kept[:most], np.int64)


def _escape(token: bytes) -> str:
    text = token.decode("utf-8", errors="surrogateescape").replace("\\", "\\\\")
    text = text.replace("\n", "\\n").replace("\r", "\\r")
    return text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="backslashreplace")


def _unescape(line: str) -> bytes:
    def plain(match: re.Match[str]) -> str:
        code = match.group()
        return _ESCAPES.get(code) or chr(0xDC00 + int(code[2:], 16))

    text = re.sub(r"\\\\|\\n|\\r|\\x[89a-f][0-9a-f]", plain, line)
    return text.encode("utf-8", errors="surrogateescape")


def write_vocabulary(path: Path, tokens: Sequence[bytes]) -> None:
    r"""Writes a token a line as UTF-8; `\\`, `\n`, `\r`, and `\xNN` for other bytes, are escapes."""
    path.write_bytes("".join(f"{_escape(token)}\n" for token in tokens).encode())


def read_vocabulary(path: Path) -> list[bytes]:
    """The tokens of a file that `write_vocabulary` wrote, in their order."""
    return [_unescape(line) for line in path.read_bytes().decode().split("\n")[:-1]]
