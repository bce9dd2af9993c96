"""Special tokens and their ids, and the kinds of tokens."""

from __future__ import annotations

from typing import Literal

TokenKind = Literal["word", "char", "byte", "subword"]
Truncation = Literal["end", "middle"]

PADDING = b""
UNKNOWN = b"[UNK]"
SPECIAL_TOKENS = (PADDING, UNKNOWN)
END = b"[END]"
SEQUENCE_TOKENS = (*SPECIAL_TOKENS, END)
"""Special tokens of a vocabulary of texts that are generated: `END` precedes and ends each text."""
PADDING_ID = 0
UNKNOWN_ID = 1
END_ID = 2
NEWLINE = "␤".encode()
"""The token of a line break among `word` tokens."""
