"""Vocabularies: selection of their tokens, and their file format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


def most_frequent(
    tokens: Sequence[bytes], counts: np.ndarray, *, most: int, min_count: int = 1
) -> np.ndarray:
    """Return the positions of the most frequent tokens, the most frequent first, ties by their bytes.

    Args:
        tokens: distinct tokens.
        counts: int64 [len(tokens)], occurrences of each in the training text.
        most: maximum number of tokens that are kept.
        min_count: rarer tokens are left out.

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
    def unescaped(match: re.Match[str]) -> str:
        code = match.group()
        return _ESCAPES.get(code) or chr(0xDC00 + int(code[2:], 16))

    text = re.sub(r"\\\\|\\n|\\r|\\x[89a-f][0-9a-f]", unescaped, line)
    return text.encode("utf-8", errors="surrogateescape")


def write_vocabulary(path: Path, tokens: Sequence[bytes]) -> None:
    r"""Write one token per line as UTF-8, with the escapes `\\`, `\n`, `\r`, and `\xNN` for invalid bytes."""
    path.write_bytes("".join(f"{_escape(token)}\n" for token in tokens).encode())


def read_vocabulary(path: Path) -> list[bytes]:
    """Return the tokens of a file that was written by `write_vocabulary`, in order."""
    return [_unescape(line) for line in path.read_bytes().decode().split("\n")[:-1]]
