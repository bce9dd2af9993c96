"""Regular expressions (RE2) of word tokens, and the function that separates the tokens of a text."""

from __future__ import annotations

from typing import Literal, NamedTuple

import tensorflow as tf

from models.text.invisible import ATTACHED, EMOJI_JOINER, INVISIBLE, SKIN_TONES, SYMBOL, TAGGED_FLAG

WordRules = Literal[1, 2]
WORD_RULES: WordRules = 2
"""The version of the rules of word tokens. A model keeps the version that it was trained with."""

APOSTROPHE = "['’]"
WHITE_SPACE = r"\p{Z}\t-\r\x1C-\x1F\x{85}"
"""White space, as the inside of a character class."""
MARKUP = (
    r"(?i)</?(?:a|b|br|blockquote|code|div|em|h[1-6]|hr|i|li|ol|p|pre|span|strong|table|td|th|tr|u|ul)"
    r"(?:\s+[a-z-]+\s*=[^<>]*)?\s*/?>"
)
ESCAPE = "⁂"
"""Begins the name of a character that would have another meaning in a token."""

SOUTH_EAST_ASIAN = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# Letters that are of no script in Unicode: the Japanese long vowel mark and repeat marks.
_JAPANESE = r"\x{3006}\x{3031}-\x{3035}\x{303C}\x{30FC}\x{FF70}"
EAST_ASIAN = rf"\p{{Han}}\p{{Hiragana}}\p{{Katakana}}{_JAPANESE}"
_UNSPACED = EAST_ASIAN + SOUTH_EAST_ASIAN
"""Scripts without spaces between words: each letter is a token."""
# Visible format characters: signs before Arabic, Syriac and Kaithi numbers, and joiners of hieroglyphs.
_FORMAT = r"\x{600}-\x{605}\x{6DD}\x{70F}\x{890}\x{891}\x{8E2}\x{110BD}\x{110CD}\x{13430}-\x{1343F}"
_BETWEEN = rf"[{INVISIBLE}]*"
_MARK = rf"[^\P{{M}}{INVISIBLE}]"
# A letter of a spaced script: "not (not a letter, or of an unspaced script, or invisible)".
WORD_CHARACTER = rf"(?:[^\P{{L}}{_UNSPACED}{INVISIBLE}]|{_MARK}|[\p{{N}}_{_FORMAT}])"
UNSPACED_LETTER = rf"[^\P{{L}}{INVISIBLE}]"


def _run(first: str, then: str | None = None) -> str:
    """Return the pattern of a character and any number of others, perhaps with invisible ones between."""
    return rf"{first}(?:{_BETWEEN}{then or first})*"


_WORD = _run(WORD_CHARACTER)
_NUMBER = _run(r"\p{N}")
_EMOJI = rf"(?:{TAGGED_FLAG}|{SYMBOL})(?:{_BETWEEN}(?:[{SKIN_TONES}]|{_MARK}))*"
_TOKEN = "|".join(
    (
        rf"{_NUMBER}(?:{_BETWEEN}[.,:/]{_BETWEEN}{_NUMBER})+",  # 3.14  1,000  10:30  7/10
        rf"{_WORD}(?:{_BETWEEN}{APOSTROPHE}{_BETWEEN}{_WORD})*",
        _run(rf"[{_UNSPACED}]", _MARK),
        rf"[\x{{1F1E6}}-\x{{1F1FF}}]{_BETWEEN}[\x{{1F1E6}}-\x{{1F1FF}}]",  # a flag: two regional indicators
        rf"{_EMOJI}(?:{EMOJI_JOINER}{_EMOJI})*",  # emoji, skin tones, joined families
        rf"\.(?:{_BETWEEN}\.)+",
        rf"-(?:{_BETWEEN}-)+",
        _run(rf"[^\s{INVISIBLE}]", _MARK),  # any other character is a separate token: nothing is lost
    )
)


class _Patterns(NamedTuple):
    """How tokens are separated; of `suffix` and `contraction`, `%s` is the mark after each token."""

    token: str
    suffix: str
    """A separate apostrophe, and a word that is an English suffix with it."""
    contraction: str
    """The parts of an English contraction."""


def _patterns(token: str, between: str, after: str) -> _Patterns:
    t = APOSTROPHE
    ending = "(?:s|m|d|{})".format("|".join(f"{a}{between}{b}" for a, b in ("ll", "re", "ve")))
    negation = f"n{between}{t}{between}t"
    suffix = f"{t}{between}{ending}"
    letter = rf"[^\P{{L}}{INVISIBLE}]|{_MARK}" if between else r"[\p{L}\p{M}]"
    return _Patterns(
        token,
        rf"(?i)({t}{after})%s({between}{ending}{after})%s",
        rf"(?i)({letter})({between}(?:{negation}|{suffix}){after})({between}{suffix}{after})?%s",
    )


# The first rules: invisible characters are tokens, and only (non-)joiners belong into words.
_UNSPACED_1 = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD_1 = rf"(?:[^\P{{L}}{_UNSPACED_1}]|[\p{{M}}\p{{N}}_\x{{200C}}\x{{200D}}])+"
_TOKEN_1 = "|".join(
    (
        r"\p{N}+(?:[.,:/]\p{N}+)+",
        rf"{_WORD_1}(?:{APOSTROPHE}{_WORD_1})*",
        rf"[{_UNSPACED_1}]\p{{M}}*",
        r"[\x{1F1E6}-\x{1F1FF}]{2}",
        r"\p{So}[\p{Sk}\p{M}]*(?:\x{200D}\p{So}[\p{Sk}\p{M}]*)*",
        r"\.\.+",
        r"--+",
        r"\S",
    )
)
_BY_RULES = {
    1: _patterns(_TOKEN_1, "", ""),
    2: _patterns(rf"(?:{_TOKEN})[{ATTACHED}]*", _BETWEEN, f"[{ATTACHED}]*"),
}
# With all invisible characters around a token, which may be spaced from it.
_WHOLE = _patterns(rf"(?:[{INVISIBLE}]+ ?)*(?:{ESCAPE}[a-z0]|{_TOKEN}){_BETWEEN}", _BETWEEN, _BETWEEN)


def separate_tokens(
    texts: tf.Tensor, mark: str, *, rules: WordRules = WORD_RULES, whole: bool = False
) -> tf.Tensor:
    """Put `mark` after every token; the parts of a contraction become separate tokens.

    Args:
        texts: string [B], with single spaces as white space.
        mark: no part of the texts.
        rules: of words.
        whole: whether all invisible characters are parts of tokens; those after the last token have no mark.
    """
    patterns = _WHOLE if whole else _BY_RULES[rules]
    # \\0, not a group: RE2 is then 8 times faster.
    texts = tf.strings.regex_replace(texts, patterns.token, rf"\0{mark}")
    # Both match words that already end with a mark, since RE2's \b knows ASCII letters only. A single mark
    # means that the two were adjacent.
    texts = tf.strings.regex_replace(texts, patterns.suffix % (mark, mark), rf"\1\2{mark}")
    return tf.strings.regex_replace(texts, patterns.contraction % mark, rf"\1{mark}\2{mark}\3{mark}")
