"""Characters without an appearance of their own, which never make or split a token.

They are the characters of Unicode's property Default_Ignorable_Code_Point, which RE2 does not know, and the
anchors of interlinear annotations: soft hyphens, zero-width spaces and joiners, marks and controls of
direction, variation selectors, tags, Hangul fillers, a byte order mark.
"""

from __future__ import annotations

import re

import tensorflow as tf

_ALWAYS = (
    r"\x{AD}\x{34F}\x{61C}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}\x{200B}\x{200E}\x{200F}"
    r"\x{202A}-\x{202E}\x{2060}-\x{206F}\x{3164}\x{FE00}-\x{FE0F}\x{FEFF}\x{FFA0}\x{FFF0}-\x{FFFB}"
    r"\x{1BCA0}-\x{1BCA3}\x{1D173}-\x{1D17A}\x{E0000}-\x{E001F}\x{E0080}-\x{E0FFF}"
)
_JOINERS = r"\x{200C}\x{200D}"
TAGS = r"\x{E0020}-\x{E007F}"
INVISIBLE = _ALWAYS + _JOINERS + TAGS
"""All invisible characters, as the inside of a character class of RE2."""
ATTACHED = r"\x{34F}\x{17B4}\x{17B5}\x{180B}-\x{180D}\x{180F}\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}"
"""Those that are marks of the character before them, such as variation selectors."""
EMOJI_JOINER = rf"[{_ALWAYS}]*\x{{200D}}[{_ALWAYS}]*"
"""What joins two emoji to one."""
TAGGED_FLAG = rf"\x{{1F3F4}}(?:[{_ALWAYS}]*[\x{{E0020}}-\x{{E007E}}])+[{_ALWAYS}]*\x{{E007F}}"
"""A black flag with the tags of a region, such as England."""
SYMBOL = r"[^\P{So}\x{1F1E6}-\x{1F1FF}]|\x{2194}"
"""The first character of an emoji: a symbol, no regional indicator; and the arrow of a shaking head."""
SKIN_TONES = r"\x{1F3FB}-\x{1F3FF}"

# Letters whose form depends on (non-)joiners next to them: of all scripts but those without such forms, and
# those in which each letter is a token.
_SHAPED = (
    r"[^\P{L}\p{Latin}\p{Greek}\p{Cyrillic}\p{Armenian}\p{Georgian}\p{Hebrew}\p{Hangul}\p{Bopomofo}"
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
)
_EMOJI = rf"(?:{SYMBOL})[{SKIN_TONES}\p{{M}}]*"
_MEANINGFUL = "|".join(
    (
        rf"\x{{1F3F4}}[\x{{E0020}}-\x{{E007E}}]+\x{{E007F}}(?:\x{{200D}}{_EMOJI})*",
        rf"{_EMOJI}(?:\x{{200D}}{_EMOJI})+",
        rf"{_SHAPED}\p{{M}}*(?:[{_JOINERS}]+(?:{_SHAPED}|\p{{M}})\p{{M}}*)+",
    )
)


def ranges(characters: str) -> list[tuple[int, int]]:
    r"""Return the first and the last code point of each range of a character class, written as above.

    `ranges(r"\x{AD}\x{200B}-\x{200D}") -> [(0xAD, 0xAD), (0x200B, 0x200D)]`
    """
    found = re.findall(r"\\x\{(\w+)\}(?:-\\x\{(\w+)\})?", characters)
    return [(int(first, 16), int(last or first, 16)) for first, last in found]


def without_invisible(texts: tf.Tensor) -> tf.Tensor:
    """Return texts without their invisible characters: strings of any shape, valid UTF-8.

    Those that carry meaning are kept: joiners in a sequence of emoji, joiners and non-joiners between letters
    of scripts that are shaped by them (Persian, Hindi, …), and the tags of a flag.
    """
    texts = tf.strings.regex_replace(texts, rf"[{_ALWAYS}]+", "")
    return tf.strings.regex_replace(texts, rf"({_MEANINGFUL})|[{_JOINERS}{TAGS}]+", r"\1")
