"""Hard texts for the golden set."""

from __future__ import annotations

LONG = 10_000
"""Number of tokens of the longest text."""


def hard_texts(tokens: str, longest: bytes = b"") -> dict[str, bytes]:
    """Return at least forty texts by names that say what is hard about them.

    Args:
        tokens: kind of the model's tokens: word, char, byte or subword.
        longest: the longest training text, if it is to be included.
    """
    texts = {
        "empty": "",
        "one space": " ",
        "white space": " \t\r\n\u00a0\u2003\u3000 ",
        "line breaks": "\n\n\r\n",
        "one letter": "a",
        "one digit": "7",
        "one full stop": ".",
        "punctuation alone": "?!… — “„” ;;",
        "one word": "good",
        "one word, capitals": "GOOD",
        "plain": "The soup is dull, but the bread is very charming.",
        "the same, shouted": "THE SOUP IS DULL, BUT THE BREAD IS VERY CHARMING!!!",
        "words out of any vocabulary": "zxqvbn wkrptl qqqqqj xvzkk",
        "the names of special tokens": "[UNK] [PAD] [END] <unk> <pad> </s> <s>",
        "a very long word": "x" * 5000,
        "a very long word of marks": "-" * 3000,
        "one word, often": "very " * 300,
        "contractions": "I don't, can't, won't; it's o'clock — rock'n'roll’s",
        "numbers": "3.14159 1,000,000 -5 1e400 0x1F ٣٤٥ ½ ²",
        "an address": "https://example.org/a?b=c&d=%20#e someone@example.org",
        "markup": "<br /><b>bold</b> &amp; &#39;quoted&#39; <script>alert(1)</script>",
        "quotation marks and backslashes": '"\\" \\n \\u0041 \' ` $HOME %s {0}',
        "emoji": "😀😀 so good 👍",
        "emoji with skin tones and joiners": "👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🧑🏿‍🚀",
        "flags": "🇩🇪🇬🇷🇯🇵",
        "combining marks": "e\u0301 n\u0303 a\u0308\u0304 Z\u0351\u036b\u0343\u036a\u0302A\u034e\u0321L",
        "combining marks alone": "\u0301\u0302\u0303",
        "composed and decomposed": "\u00e9 e\u0301 \ufb01 \u2126 \u212b",
        "right to left": "الحبكة جيدة، لكن الممثلين سيئون",
        "right to left, Hebrew, with points": "שָׁלוֹם עוֹלָם",
        "both directions": "The word שלום means \u202eecaep\u202c, سلام!",
        "Chinese": "剧情很好，但是演员不行。",
        "Japanese": "このスープは「まずい」です。ｶﾀｶﾅ",
        "Korean": "수프는 맛이 없지만 빵은 맛있어요.",
        "Thai": "ซุปไม่อร่อยแต่ขนมปังอร่อยมาก",
        "Hindi": "सूप अच्छा नहीं है, लेकिन रोटी अच्छी है।",
        "Greek": "Η σούπα είναι κακή, ΟΜΩΣ το ψωμί…",
        "Turkish": "İSTANBUL'da ılık çorba",
        "Cyrillic": "Суп невкусный, а хлеб ПРЕКРАСНЫЙ",
        "letters beyond the first plane": "𝕳𝖊𝖑𝖑𝖔 𐍈 𓀀 𠜎",
        "invisible characters": "go\u200bod bad\u00adly \ufeffmark \u2060 \u180e",
        "control characters": "a\x00b\x01c\x07\x08\x1b[31m\x7f\x85",
        "not characters": "\ufffe \uffff \U0010ffff \ue000",
    }
    found = {name: text.encode() for name, text in texts.items()}
    found["bytes that are no UTF-8"] = b"good \xff\xfe caf\xe9 \x80\x80"
    found["cut in the middle of a character"] = "schön 😀".encode()[:-2]
    found["surrogates and overlong forms"] = b"\xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80"
    found[f"{LONG:,} tokens"] = _long(tokens)
    if longest:
        found["the longest of the training data"] = longest
    return found


def _long(tokens: str) -> bytes:
    if tokens in ("char", "byte"):
        return (b"To be, or not to be? " * LONG)[:LONG]
    words = b"the soup is dull , but bread can be charming".split()
    return b" ".join(words[i % len(words)] for i in range(LONG))
