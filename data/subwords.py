"""Learns a subword vocabulary: pieces of words, the most useful ones, that write any text."""

from __future__ import annotations

import io
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from data.errors import UserError

# Unicode's separators and control characters, the space apart: each is a token of its own wherever it stands.
_SIGN = re.compile(r"[\x00-\x1f\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
# What marks a space in pieces, and the one character that SentencePiece refuses to see in a text.
_RESERVED = "\u2581\u2585"
_CHUNK = 1000  # characters; SentencePiece leaves out what has more than 4,192 bytes
_LARGE_ALPHABET = 1000
_COVERAGE = 0.9999
SMALLEST_VOCABULARY = 16


def learn_subwords(
    texts: Iterable[str | bytes], *, vocabulary_size: int, sample_size: int = 1_000_000, seed: int = 0
) -> list[tuple[bytes, float]]:
    """Learns the pieces of a unigram language model (Kudo 2018), with SentencePiece.

    Text is taken as it is: no normalisation, no lower-casing. A piece never crosses the start of a word,
    and a space is written as U+2581 at the start of the word behind it. Other white space, such as a
    newline, is a piece by itself if it was seen. The same texts give the same pieces.

    Of an alphabet of more than 1,000 characters, the rarest, of which one in 10,000 characters is, are
    no pieces, and characters never fill more than half of the vocabulary: what is left out will be unknown.

    Args:
        texts: str, or UTF-8 with U+FFFD for what is not; read once, never held as a whole.
        vocabulary_size: the most pieces; little text gives fewer.
        sample_size: the most stretches of text (a text of up to 1,000 characters is one) that are held
            and learnt from, drawn evenly from all.
        seed: of that draw.

    Returns:
        pieces and their scores, log probabilities as float32, the most probable first; no special tokens.
        `["der Hund", "der Hut"] -> [("d", -1.6), ("e", -2.1), ("▁Hu", -2.1), ("▁", -2.1), …]`

    Raises:
        UserError: the vocabulary is too small, or there is no text to learn from.
    """
    if vocabulary_size < SMALLEST_VOCABULARY:
        raise UserError(
            f"a subword vocabulary holds at least {SMALLEST_VOCABULARY} pieces, got {vocabulary_size}"
        )
    signs: Counter[str] = Counter()
    sample = _sample(_chunks(texts, signs), sample_size, seed)
    spaced = [sign for sign, _ in signs.most_common(vocabulary_size // 4)]
    characters = _characters(sample, vocabulary_size // 2)
    if not characters:
        raise UserError("no text to learn subwords from: all texts are empty or blank")
    pieces = _train(sample, characters, vocabulary_size - len(spaced))
    lowest = min(score for _, score in pieces)
    return [*pieces, *((sign.encode(), lowest) for sign in spaced)]


def _chunks(texts: Iterable[str | bytes], signs: Counter[str]) -> Iterator[str]:
    """Stretches of text with spaces for all white space, which is counted."""
    for text in texts:
        decoded = text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text
        signs.update(_SIGN.findall(decoded))
        decoded = _SIGN.sub(" ", decoded).strip(" ")
        start = 0
        while len(decoded) - start > _CHUNK:
            end = decoded.rfind(" ", start + 1, start + _CHUNK)
            end = end if end > 0 else start + _CHUNK
            yield decoded[start:end]
            start = end
        if start < len(decoded):
            yield decoded[start:]


def _sample(chunks: Iterable[str], most: int, seed: int) -> list[str]:
    """At most so many of a stream, each with the same chance (Vitter 1985, algorithm R)."""
    generator = random.Random(seed)
    kept: list[str] = []
    for i, chunk in enumerate(chunks):
        if i < most:
            kept.append(chunk)
        elif (place := int(generator.random() * (i + 1))) < most:
            kept[place] = chunk
    return kept


def _characters(sample: Iterable[str], most: int) -> set[str]:
    """The characters that become pieces."""
    counts: Counter[str] = Counter()
    for chunk in sample:
        counts.update(chunk)
    for character in (" ", *_RESERVED):
        del counts[character]
    wanted = sum(counts.values()) * (_COVERAGE if len(counts) > _LARGE_ALPHABET else 1)
    kept: set[str] = set()
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]:
        if wanted <= 0:
            break
        kept.add(character)
        wanted -= count
    return kept


def _train(sample: list[str], characters: set[str], size: int) -> list[tuple[bytes, float]]:
    import sentencepiece

    others = set().union(*sample) - characters
    table = str.maketrans(dict.fromkeys(others, " "))
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(chunk.translate(table) for chunk in sample),
        model_writer=written,
        model_type="unigram",
        vocab_size=size + 1,  # its own unknown piece is not returned
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        split_by_whitespace=True,
        byte_fallback=False,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=1,  # the sums of more depend on how they share the work
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    return [
        (model.id_to_piece(i).encode(), model.get_score(i))
        for i in range(model.get_piece_size())
        if not model.is_unknown(i)
    ]
