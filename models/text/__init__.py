"""Text to token ids, in the graph: the one function that training, prediction and the SavedModel share.

Only core TensorFlow string operations are used, so that a SavedModel needs no extra library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from models.text.subwords import SPACE, SubwordTokenizer

TokenKind = Literal["word", "char", "byte", "subword"]
Truncation = Literal["end", "middle"]

PADDING = b""
UNKNOWN = b"[UNK]"
SPECIAL_TOKENS = (PADDING, UNKNOWN)
END = b"[END]"
SEQUENCE_TOKENS = (*SPECIAL_TOKENS, END)
"""Of vocabularies whose texts are written token by token: each begins behind an END and ends with one."""
PADDING_ID = 0
UNKNOWN_ID = 1
END_ID = 2
NEWLINE = "␤".encode()
"""Stands for a line break where words are tokens."""
MOST_CHARACTERS = 32
"""Of a word form that are read: a longer one loses its middle."""

_APOSTROPHE = "['’]"
# Scripts that are written without spaces between words: each letter stands alone.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# A letter of a spaced script: "not (not a letter, or of an unspaced script)".
_LETTER = rf"[^\P{{L}}{_UNSPACED}]"
# Zero-width (non-)joiners belong into words of Persian and of Indic scripts.
_WORD = rf"(?:{_LETTER}|[\p{{M}}\p{{N}}_\x{{200C}}\x{{200D}}])+"
_TOKEN = "|".join(
    (
        r"\p{N}+(?:[.,:/]\p{N}+)+",  # 3.14  1,000  10:30  7/10
        rf"{_WORD}(?:{_APOSTROPHE}{_WORD})*",
        rf"[{_UNSPACED}]\p{{M}}*",
        r"[\x{1F1E6}-\x{1F1FF}]{2}",  # a flag is a pair of regional indicators
        r"\p{So}[\p{Sk}\p{M}]*(?:\x{200D}\p{So}[\p{Sk}\p{M}]*)*",  # emoji, skin tones, joined families
        r"\.\.+",
        r"--+",
        r"\S",  # any other sign is a token of its own: nothing is lost
    )
)
_BOUNDARY = "\x02"  # stands behind a token where offsets count: it takes no place that a text could need
_MARKUP = (
    r"(?i)</?(?:a|b|br|blockquote|code|div|em|h[1-6]|hr|i|li|ol|p|pre|span|strong|table|td|th|tr|u|ul)"
    r"(?:\s+[a-z-]+\s*=[^<>]*)?\s*/?>"
)
_SEPARATOR = rf"{_MARKUP}|[\p{{Z}}\p{{Cc}}\x{{FEFF}}]+"


def lower(texts: tf.Tensor) -> tf.Tensor:
    """Lower-cases UTF-8 strings of any shape, alike on every host; U+0000 becomes a space.

    `tf.strings.lower(encoding="utf-8")` follows the host's locale for I and İ (Turkish, Azeri) and for
    Ì, Í, Ĩ, Į (Lithuanian), and it stops at U+0000: all these are settled before it is called.
    """
    texts = tf.strings.regex_replace(tf.strings.lower(texts), r"\x00", " ")
    for capital in "İÌÍĨĮ":
        texts = tf.strings.regex_replace(texts, capital, capital.lower())
    return tf.strings.lower(texts, encoding="utf-8")


def tokenize(
    texts: tf.Tensor,
    *,
    tokens: TokenKind = "word",
    lowercase: bool = True,
    max_length: int = 0,
    truncate: Truncation = "end",
    subwords: SubwordTokenizer | None = None,
    lines: bool = False,
) -> tf.RaggedTensor:
    """Cuts texts into tokens.

    `word`: words, numbers and signs as a person would count them; English contractions apart
    (`don't` → `do` `n't`), a typographic apostrophe read as a plain one, markup such as `<br />`
    is a separator, in scripts without spaces each letter is a token. `char`: Unicode code points.
    `byte`: the bytes as they stand. `subword`: pieces of words, as learned from a training text.

    Invalid UTF-8 becomes U+FFFD, but in `byte`.

    Args:
        texts: string [B].
        tokens: the kind of token.
        lowercase: whether case is dropped (for bytes: of ASCII letters only).
        max_length: the most tokens of a text that are kept; 0 keeps all.
        truncate: what a longer text loses: its `end`, or its `middle` (a review's verdict often
            stands at its end).
        subwords: cuts `subword` tokens.
        lines: whether a line break is a token, `NEWLINE`, of `word` tokens too.

    Returns:
        string [B, (tokens)]; an empty text has no tokens.
    """
    if tokens == "word":
        # What `tf.strings.split` does, but for a row's length, for which it takes ten operations.
        split = tf.raw_ops.StringSplitV2(input=_words(texts, lowercase, lines), sep="")
        rows, position = tf.unstack(split.indices, axis=1)
        none = tf.zeros([0], tf.int64)
        lengths = tf.raw_ops.DenseBincount(input=rows, size=split.shape[0], weights=none)
        return _truncated(split.values, rows, position, lengths, max_length, truncate)
    pieces = _cut(texts, tokens, lowercase, subwords)
    if not max_length:
        return pieces
    rows, lengths = pieces.value_rowids(), pieces.row_lengths()
    position = tf.range(tf.size(rows, tf.int64)) - tf.gather(pieces.row_starts(), rows)
    return _truncated(pieces.flat_values, rows, position, lengths, max_length, truncate)


def _truncated(
    flat: tf.Tensor,
    rows: tf.Tensor,
    position: tf.Tensor,
    lengths: tf.Tensor,
    max_length: int,
    truncate: Truncation,
) -> tf.RaggedTensor:
    """Rows of at most `max_length` tokens, of all tokens, their rows and their places there.

    A text takes little of a model's time; slices of ragged tensors would take more than the model.
    """
    if max_length:
        tail = max_length // 2 if truncate == "middle" else 0
        kept = position < max_length - tail
        if tail:
            kept |= position >= tf.gather(lengths, rows) - tail
        flat, lengths = tf.boolean_mask(flat, kept), tf.minimum(lengths, max_length)
    return tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False)


def unique_tokens(texts: tf.Tensor, **options: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The distinct tokens of texts, for learning a vocabulary.

    Args:
        texts: string [B].
        options: of `tokenize`.

    Returns:
        distinct tokens string [U]; for each token of all texts its position among them, int32 [N];
        the number of tokens of each text, int64 [B].
    """
    pieces = tokenize(texts, **options)
    distinct, positions = tf.unique(pieces.flat_values)
    return distinct, positions, pieces.row_lengths()


def _apart(texts: tf.Tensor, mark: str) -> tf.Tensor:
    """Sets `mark` behind every token; contractions become tokens of their own."""
    # \\0, not a group: RE2 is then 8 times faster.
    texts = tf.strings.regex_replace(texts, _TOKEN, rf"\0{mark}")
    # Both read words that are already cut, each with a mark behind it: RE2's \b knows ASCII letters only.
    # One mark alone: the two stood together.
    suffix, t = r"(?:s|m|d|ll|re|ve)", _APOSTROPHE
    texts = tf.strings.regex_replace(texts, rf"(?i)({t}){mark}({suffix}){mark}", rf"\1\2{mark}")
    contraction = rf"(?i)([\p{{L}}\p{{M}}])(n{t}t|{t}{suffix})({t}{suffix})?{mark}"
    return tf.strings.regex_replace(texts, contraction, rf"\1{mark}\2{mark}\3{mark}")


class Located(NamedTuple):
    """Tokens and where they stand in their text: ragged [B, (tokens)]."""

    tokens: tf.RaggedTensor
    """string, exactly as in the text."""
    start: tf.RaggedTensor
    """int32, in characters."""
    end: tf.RaggedTensor
    """int32, in characters; exclusive."""


def locate(texts: tf.Tensor) -> Located:
    """Cuts texts into words as `tokenize` does, but as they stand: `text[start:end]` is the token.

    No case is dropped, markup is text, a typographic apostrophe stays one, and bytes that are no UTF-8
    count as `normalize` reads them.

    Args:
        texts: string [B].

    `locate(["I don't"]) -> [["I", "do", "n't"]], [[0, 2, 4]], [[1, 4, 7]]`
    """
    texts = normalize(texts, lowercase=False)
    blank = tf.strings.regex_replace(texts, r"[\p{Z}\p{Cc}\x{FEFF}]", " ")  # each one, so that places stay
    pieces = tf.strings.split(_apart(blank, _BOUNDARY), _BOUNDARY)
    tokens = tf.strings.regex_replace(pieces.flat_values, "^ +", "")
    widths = pieces.with_flat_values(tf.strings.length(pieces.flat_values, unit="UTF8_CHAR"))
    ends = tf.cumsum(widths.flat_values)
    before = tf.gather(tf.concat([[0], ends], 0), pieces.row_starts())
    ends -= tf.gather(before, pieces.value_rowids())
    starts = ends - tf.strings.length(tokens, unit="UTF8_CHAR")
    real = pieces.with_flat_values(tf.not_equal(tokens, ""))
    return Located(
        *(tf.ragged.boolean_mask(pieces.with_flat_values(flat), real) for flat in (tokens, starts, ends))
    )


def normalize(texts: tf.Tensor, lowercase: bool) -> tf.Tensor:
    """Valid UTF-8, in lower case or as it stands: string [B] → string [B].

    What is no UTF-8 becomes as many U+FFFD as Python's `decode(errors="replace")` makes of it.
    """
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    return lower(texts) if lowercase else texts


def _cut(
    texts: tf.Tensor, tokens: TokenKind, lowercase: bool, subwords: SubwordTokenizer | None
) -> tf.RaggedTensor:
    if tokens == "byte":
        return tf.strings.bytes_split(tf.strings.lower(texts) if lowercase else texts)
    texts = normalize(texts, lowercase)
    if tokens == "char":
        return tf.strings.unicode_split(texts, "UTF-8")
    if subwords is None:
        raise ValueError("subword tokens need a SubwordTokenizer; got none")
    return subwords.tokenize(texts)


def _words(texts: tf.Tensor, lowercase: bool, lines: bool) -> tf.Tensor:
    """Texts with a space between any two tokens: string [B] → string [B]."""
    texts = normalize(texts, lowercase)
    if lines:
        texts = tf.strings.regex_replace(texts, "\n", f" {NEWLINE.decode()} ")
    texts = tf.strings.regex_replace(texts, _SEPARATOR, " ")
    texts = tf.strings.regex_replace(texts, "’", "'")
    return _apart(texts, " ")


# Tokens that stand close to the one before them, and to the one behind them, where words are written out.
_CLOSES = r"(?i)[.,!?;:%)\]}…]|\.\.+|n't|'(?:s|m|d|ll|re|ve)"
_OPENS = r"[(\[{$£€]"


def detokenize(pieces: tf.RaggedTensor, tokens: TokenKind) -> tf.Tensor:
    """Writes tokens as a text that goes on behind another: string [B, (tokens)] → [B].

    `char`, `byte`: as they stand. `subword`: a text's first space, if it has one, is kept. `word`: a space
    before each token, but punctuation and contractions stand close; case and markup are gone. More tokens
    never change what those before them are written as: a text can be shown while it grows.
    """
    if tokens in ("char", "byte"):
        return tf.strings.reduce_join(pieces, axis=1)
    if tokens == "subword":
        return tf.strings.regex_replace(tf.strings.reduce_join(pieces, axis=1), SPACE, " ")
    flat, row = pieces.flat_values, pieces.value_rowids()
    breaks = tf.equal(flat, NEWLINE)
    opens = breaks | tf.strings.regex_full_match(flat, _OPENS)
    # Of the first token of all nothing stands before; of no tokens at all there is not even this one.
    behind_opening = tf.concat([[False], opens[:-1] & tf.equal(row[1:], row[:-1])], 0)[: tf.size(flat)]
    close = breaks | tf.strings.regex_full_match(flat, _CLOSES) | behind_opening
    written = tf.strings.join([tf.where(close, "", " "), tf.where(breaks, "\n", flat)])
    return tf.strings.reduce_join(pieces.with_flat_values(written), axis=1)


class Preprocessor(tf.Module):
    """Strings to token ids: tokens, a fixed vocabulary, truncation and padding."""

    def __init__(
        self,
        vocabulary: Sequence[bytes],
        *,
        tokens: TokenKind = "word",
        lowercase: bool = True,
        max_length: int = 0,
        truncate: Truncation = "end",
        subwords: SubwordTokenizer | None = None,
        lines: bool = False,
    ) -> None:
        """Builds the lookup table.

        Args:
            vocabulary: distinct tokens; an id is a token's position. Starts with `SPECIAL_TOKENS`.
            tokens: as in `tokenize`.
            lowercase: as in `tokenize`.
            max_length: as in `tokenize`.
            truncate: as in `tokenize`.
            subwords: as in `tokenize`.
            lines: as in `tokenize`.
        """
        super().__init__(name="preprocessor")
        if tuple(vocabulary[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
            raise ValueError(f"a vocabulary starts with {SPECIAL_TOKENS}, got {vocabulary[:2]}")
        self.options: dict[str, Any] = {
            "tokens": tokens,
            "lowercase": lowercase,
            "max_length": max_length,
            "truncate": truncate,
            "subwords": subwords,
            "lines": lines,
        }
        first = UNKNOWN_ID  # stands for itself, so that the table is never empty, which TensorFlow refuses
        known = list(vocabulary[first:])
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(known, tf.string), tf.range(first, first + len(known), dtype=tf.int64)
            ),
            default_value=UNKNOWN_ID,
        )

    def __call__(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Token ids of texts.

        Args:
            texts: string [B].

        Returns:
            ids int32 [B, T], right-padded with 0, T at least 1; lengths int32 [B], at least 1: a text
            without tokens counts as one step of padding, so that no row has zero steps.
            `["good film", ""] -> [[7, 9], [0, 0]], [2, 1]`
        """
        return self.look_up(tokenize(texts, **self.options))

    def ids(self, pieces: tf.RaggedTensor) -> tf.RaggedTensor:
        """Token ids of tokens, without padding: string [B, (tokens)] → int32 [B, (tokens)]."""
        return pieces.with_flat_values(tf.cast(self.table.lookup(pieces.flat_values), tf.int32))

    def look_up(self, pieces: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Token ids of tokens: string [B, (tokens)]; the result is that of a call."""
        ids = self.ids(pieces)
        lengths = tf.maximum(tf.cast(ids.row_lengths(), tf.int32), 1)
        longest = tf.maximum(tf.reduce_max(lengths), 1)  # of no rows it is a negative number
        return ids.to_tensor(PADDING_ID, shape=tf.stack([-1, longest])), lengths


class FormReader(tf.Module):
    """Word forms to what a tagger reads of them: the id of the word, and those of its characters."""

    def __init__(
        self, vocabulary: Sequence[bytes], characters: Sequence[bytes], *, lowercase: bool = True
    ) -> None:
        """Builds the lookup tables.

        Args:
            vocabulary: of words; starts with `SPECIAL_TOKENS`.
            characters: that are known; starts with `SPECIAL_TOKENS`.
            lowercase: whether words are looked up in lower case; characters keep theirs.
        """
        super().__init__(name="form_reader")
        self.lowercase = lowercase
        self.words = Preprocessor(vocabulary)
        self.characters = Preprocessor(
            characters, tokens="char", lowercase=False, max_length=MOST_CHARACTERS, truncate="middle"
        )

    def describe(self, forms: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What is read of forms: string [U].

        Returns:
            word ids int32 [U]; character ids int32 [U, C]; their numbers int32 [U], at least 1.
        """
        words = tf.cast(self.words.table.lookup(as_word(forms, self.lowercase)), tf.int32)
        return words, *self.characters(forms)

    def __call__(self, tokens: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        """The arguments of a `models.tagger.Tagger` for tokens: string [B, (tokens)].

        Returns:
            `token_ids` int32 [B, T], `lengths` int32 [B] (at least 1), `forms` int32 [B, T],
            `characters` int32 [U, C], `character_lengths` int32 [U].
        """
        distinct, places = tf.unique(tokens.flat_values)
        # The first form is what a row without tokens reads: never a form of another row.
        places += 1
        words, characters, character_lengths = self.describe(tf.concat([[PADDING], distinct], 0))
        forms = tokens.with_flat_values(places)
        missing = tf.maximum(1 - tf.cast(tf.shape(forms.to_tensor())[1], tf.int32), 0)

        def dense(flat: tf.Tensor) -> tf.Tensor:
            return tf.pad(tokens.with_flat_values(flat).to_tensor(0), [[0, 0], [0, missing]])

        return {
            "token_ids": dense(tf.gather(words, places)),
            "lengths": tf.maximum(tf.cast(tokens.row_lengths(), tf.int32), 1),
            "forms": dense(places),
            "characters": characters,
            "character_lengths": character_lengths,
        }


def as_word(forms: tf.Tensor, lowercase: bool) -> tf.Tensor:
    """The word that a form is looked up as: string [U] → string [U]."""
    return tf.strings.regex_replace(normalize(forms, lowercase), "’", "'")
