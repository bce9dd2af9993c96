"""Files that are no examples: binary files and placeholders, each with a way to get examples from it."""

from __future__ import annotations

import re

_UNPACK = "unpack it, and give the files in it"
_AS_TEXT = "save its text as a plain text file in UTF-8"
_AS_CSV = "save the sheet as CSV in UTF-8"
_AS_LINES = "save its rows as JSON Lines, e.g. with pandas: to_json(PATH, orient='records', lines=True)"
_ZIP = rb"PK(?:\x03\x04|\x05\x06)"
FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (_ZIP + rb".{26}(?:\[Content_Types\]|_rels|xl/).*xl/", "an Excel file", _AS_CSV),
    (_ZIP + rb".{26}(?:\[Content_Types\]|_rels|word/).*word/", "a Word file", _AS_TEXT),
    (_ZIP + rb".{26}mimetypeapplication/vnd\.oasis\.opendocument\.spreadsheet", "a spreadsheet", _AS_CSV),
    (_ZIP + rb".{26}mimetypeapplication/vnd\.oasis\.opendocument", "an OpenDocument file", _AS_TEXT),
    (_ZIP + rb".{26}[^/]*\.npy", "a NumPy archive", _AS_LINES),
    (_ZIP, "a ZIP archive", _UNPACK),
    (rb".{257}ustar", "a tar archive", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (rb"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (rb"\x1f\x9d", "compressed by compress (.Z)", "decompress it, or compress it with gzip"),
    (rb"\x04\x22\x4d\x18", "compressed by LZ4", "decompress it, or compress it with zstd"),
    (rb"\x1f\x8b|BZh[1-9]1AY&SY|\xfd7zXZ\x00|\x28\xb5\x2f\xfd", "compressed twice", "decompress it once"),
    (rb"%PDF-", "a PDF file", _AS_TEXT),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file", "save it as CSV or plain text in UTF-8"),
    (rb"\{\\rtf", "an RTF file", _AS_TEXT),
    (rb"SQLite format 3\x00", "an SQLite database", "export its table as CSV with a header"),
    (rb"\x93NUMPY", "a NumPy array", _AS_LINES),
    (rb"\x80[\x02-\x05](?:\x95|[c}\]\(K]|ccopy)", "a pickle", _AS_LINES),
    (rb"\x89HDF\r\n", "an HDF5 file", _AS_LINES),
    (rb"Obj\x01", "an Avro file", _AS_LINES),
    (rb"FEA1", "a Feather file of version 1", "save it in version 2 or as Parquet"),
    (rb"ORC", "an ORC file", _AS_LINES),
    (rb"\x89PNG\r\n", "a PNG image", "give files of text"),
    (rb"\xff\xd8\xff", "a JPEG image", "give files of text"),
    (rb"GIF8[79]a", "a GIF image", "give files of text"),
    (rb"\x7fELF", "a program", "give files of text"),
    (
        rb"version https://git-lfs\.github\.com/spec/",
        "a pointer of Git LFS in place of the file",
        "fetch the file with 'git lfs pull'",
    ),
)
"""Patterns of the first bytes, what such a file is, and what to do. ORC also begins text: it needs a zero."""
_TEXT_CONTROLS = frozenset(b"\x01\t\n\x0b\x0c\r\x1b\x1c\x1d\x1e\x1f\x1a\x08")
_CONTROLS = bytes(byte for byte in range(32) if byte not in _TEXT_CONTROLS)
_MOST_CONTROLS = 0.1


def foreign_problem(data: bytes) -> str | None:
    """Return what the file with these first bytes is and what to do, if it cannot have examples."""
    for magic, what, advice in FOREIGN:
        if re.match(magic, data, re.DOTALL) and (what != "an ORC file" or b"\0" in data):
            return f"{what}; {advice}"
    return None


def is_binary(data: bytes) -> bool:
    """Return whether bytes without a known pattern are no text in any encoding: many are control codes."""
    controls = len(data) - len(data.translate(None, _CONTROLS))
    return controls > _MOST_CONTROLS * len(data)
