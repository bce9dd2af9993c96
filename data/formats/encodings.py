"""Encodings of characters: by byte order mark, by what the user says, or by whether the bytes are UTF-8."""

from __future__ import annotations

import codecs
import encodings.aliases
import re
import unicodedata

from data.errors import UserError, did_you_mean
from data.formats.foreign import is_binary
from data.formats.values import encoding_title

ON_ERROR = "textrnn.surrogates"
"""Handler of `bytes.decode`: an undecodable byte becomes a surrogate, U+DC00 plus the byte."""
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_USUAL = (
    *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "ascii", "windows-1252"),
    *("windows-1250", "windows-1251", "iso-8859-1", "iso-8859-15", "cp437", "cp850", "mac-roman"),
    *("koi8-r", "shift_jis", "euc-jp", "euc-kr", "gb18030", "gbk", "big5"),
)
_GUESSED = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("koi8_r", "shift_jis", "gb18030", "big5", "euc_kr", "euc_jp"),
)
_NOT_OF_FILES = ("unicode-escape", "raw-unicode-escape", "idna", "punycode")
_GUESS_BYTES = 1 << 15
_WIDE_BYTES = 1 << 13
_LEAST_ZEROS = 0.2
_MOST_ODD = 0.01
BINARY = "a binary file; give a file of text, such as .csv or .jsonl in UTF-8"
_CODEC = {"utf-8": "utf-8-sig"}
"""The codec that skips the mark of an encoding."""


def _surrogates(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(ON_ERROR, _surrogates)


def codec_of(encoding: str) -> str:
    """Return the name of the codec that decodes a file of an encoding; it skips a byte order mark."""
    return _CODEC.get(encoding, encoding)


def check_encoding(name: str) -> str:
    """Return the name of an encoding as the user wrote it, in lower case.

    Raises:
        UserError: there is none of this name, or it is no encoding of text.
    """
    lowered = name.strip().lower()
    try:
        codec = codecs.lookup(lowered)
        codec.incrementaldecoder().decode(b"", final=True)
    except (LookupError, TypeError, UnicodeError, ValueError):
        codec = None
    if codec is None or not codec._is_text_encoding or codec.name in _NOT_OF_FILES:
        known = dict.fromkeys((*_USUAL, *encodings.aliases.aliases))
        raise UserError(
            f"data.encoding = {name!r}: no encoding of text is named so; expected a name such as utf-8, "
            f"utf-16, latin-1 or windows-1252{did_you_mean(lowered, known)}"
        )
    return "utf-8" if codec.name in ("utf-8", "utf-8-sig") else lowered


def decide_encoding(data: bytes, *, whole: bool, stated: str = "") -> str:
    """Return the encoding of a file, a name of Python's codecs.

    Args:
        data: first bytes of the file.
        whole: whether they are all.
        stated: what the user says; empty: decide by content.

    Raises:
        UserError: the bytes are no text, or not of this encoding; the message has no path.
    """
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "")
    if stated:
        encoding = check_encoding(stated)
        same = marked and codecs.lookup(encoding).name.startswith(marked)  # the codec that skips the mark
        encoding = marked if same else encoding
        _check_stated(data, encoding, whole)
        return encoding
    if marked:
        return marked
    if b"\0" in data and (wide := _wide_encoding(data)):
        raise UserError(f"{encoding_title(wide)} without a byte order mark; pass --set data.encoding={wide}")
    position = _undecodable(data, "utf-8", whole)
    if is_binary(data) or (position is not None and b"\0" in data):
        raise UserError(BINARY)
    if position is not None and not _is_mostly_utf8(data):
        guess = _guess(data, position)
        looks = f"it looks like {guess}; " if guess else ""
        raise UserError(
            f"{_not(data, position, 'utf-8')}; {looks}name its encoding, e.g. "
            f"--set data.encoding={guess or 'windows-1252'}"
        )
    return "utf-8"


def _not(data: bytes, position: int, encoding: str) -> str:
    line = len(re.findall(rb"\r\n|\n|\r", data[:position])) + 1
    return f"not {encoding_title(encoding)}: byte 0x{data[position]:02x} in line {line:,}"


def _check_stated(data: bytes, encoding: str, whole: bool) -> None:
    """Raise a UserError if text of this encoding cannot begin so."""
    position = _undecodable(data, encoding, whole)
    is_wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    if is_wide and b"\0" not in data and len(data) > 1 and _undecodable(data, "utf-8", whole) is None:
        raise UserError(
            f"not {encoding_title(encoding)}, which data.encoding says: it is UTF-8; "
            "leave data.encoding out, or pass --set data.encoding=utf-8"
        )
    if not is_wide and is_binary(data):
        raise UserError(BINARY)
    if position is not None and (encoding != "utf-8" or not _is_mostly_utf8(data)):
        is_utf8 = _undecodable(data, "utf-8", whole) is None
        better = "utf-8" if is_utf8 else _guess(data, position) or "windows-1252"
        raise UserError(
            f"{_not(data, position, encoding)}, which data.encoding says; "
            f"perhaps --set data.encoding={better}"
        )


def _undecodable(data: bytes, encoding: str, whole: bool) -> int | None:
    """Return the position of the first byte that cannot be decoded, or None."""
    decoder = codecs.getincrementaldecoder(codec_of(encoding))()
    try:
        decoder.decode(data, final=whole)
    except UnicodeDecodeError as error:
        return error.start
    except UnicodeError:  # a mark is missing
        return 0
    return None


def _wide_encoding(data: bytes) -> str:
    """Return the UTF-16 or UTF-32 in which bytes without a mark are text; empty: they are not."""
    data = data[:_WIDE_BYTES]
    few = data.count(0) < _LEAST_ZEROS * len(data)
    if few and _undecodable(data, "utf-8", whole=False) is None:
        return ""
    found: dict[str, float] = {}
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        if _undecodable(data, encoding, whole=False) is None:
            text = data.decode(encoding, "ignore")
            odd = sum(unicodedata.category(c) in ("Cn", "Co", "Cc") and not c.isspace() for c in text)
            ascii_share = sum(c < "\x7f" for c in text) / max(1, len(text))
            if odd <= _MOST_ODD * len(text) and ascii_share:
                found[encoding] = ascii_share
    return max(found, key=lambda encoding: found[encoding], default="")


def _is_mostly_utf8(data: bytes) -> bool:
    """Return whether a file is UTF-8 with a few damaged rows: most bytes above 0x7f are of characters."""
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    return sum(character > "\x7f" for character in text) - damaged > damaged


def _guess(data: bytes, position: int) -> str:
    """Return an encoding in which the bytes are plausible text, or an empty string."""
    from charset_normalizer import from_bytes

    sample = data[max(0, position - _GUESS_BYTES // 2) :][:_GUESS_BYTES]
    matches = from_bytes(sample, cp_isolation=list(_GUESSED))
    best = matches.best()
    if best is None:
        return ""
    # Where the same bytes are as plausible in several encodings, the western one is the most frequent.
    equal = [match for match in matches if (match.chaos, match.coherence) == (best.chaos, best.coherence)]
    western = any("cp1252" in match.could_be_from_charset for match in equal)
    return re.sub(r"^cp(125\d)$", r"windows-\1", "cp1252" if western else best.encoding)
