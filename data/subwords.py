"""Learning of subword vocabularies."""

from __future__ import annotations

import io
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from data.errors import UserError

# Unicode's separators and control characters, except the space; each occurrence is one token.
_SEPARATOR = re.compile(r"[\x00-\x1f\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
# The character that replaces a space in pieces, and one that SentencePiece rejects in training text.
_RESERVED = "\u2581\u2585"
_CHUNK = 1000  # characters; SentencePiece skips inputs of more than 4,192 bytes
_LARGE_ALPHABET = 1000
_COVERAGE = 0.9999
SMALLEST_VOCABULARY = 16


def learn_subwords(
    texts: Iterable[str | bytes], *, vocabulary_size: int, sample_size: int = 1_000_000, seed: int = 0
) -> list[tuple[bytes, float]]:
    """Learn the pieces of a unigram language model (Kudo 2018) with SentencePiece.

    Text is neither normalized nor lower-cased. A piece never crosses the start of a word. A space becomes
    U+2581 at the start of the next word. Each other white space character that occurs, such as a newline, is
    a piece. The same texts result in the same pieces.

    Single characters are pieces, the most frequent ones for up to half of the vocabulary. If there are more
    than 1,000, the rarest are left out, which are 0.01 % of the text. Characters that are left out are out of
    vocabulary.

    Args:
        texts: str, or UTF-8 whose invalid bytes become U+FFFD; iterated once.
        vocabulary_size: maximum number of pieces; a short text has fewer.
        sample_size: maximum number of chunks of text that are learned from, a uniform sample. A chunk has at
            most 1,000 characters; longer texts are split.
        seed: of the sample.

    Returns:
        pieces and their scores (log probabilities, float32), the most probable first, without special tokens.
        `["der Hund", "der Hut"] -> [("d", -1.6), ("e", -2.1), ("▁Hu", -2.1), ("▁", -2.1), …]`

    Raises:
        UserError: the vocabulary is too small, or there is no text to learn from.
    """
    if vocabulary_size < SMALLEST_VOCABULARY:
        raise UserError(
            f"a subword vocabulary has at least {SMALLEST_VOCABULARY} pieces, got {vocabulary_size}"
        )
    separators: Counter[str] = Counter()
    sample = _sample(_chunks(texts, separators), sample_size, seed)
    spaced = [separator for separator, _ in separators.most_common(vocabulary_size // 4)]
    characters = _characters(sample, vocabulary_size // 2)
    if not characters:
        raise UserError("no text to learn subwords from: all texts are empty or blank")
    pieces = _train(sample, characters, vocabulary_size - len(spaced))
    lowest = min(score for _, score in pieces)
    return [*pieces, *((separator.encode(), lowest) for separator in spaced)]


def _chunks(texts: Iterable[str | bytes], separators: Counter[str]) -> Iterator[str]:
    """Yield chunks of text with white space characters replaced by spaces, and count these characters."""
    for text in texts:
        decoded = text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text
        separators.update(_SEPARATOR.findall(decoded))
        decoded = _SEPARATOR.sub(" ", decoded).strip(" ")
        start = 0
        while len(decoded) - start > _CHUNK:
            end = decoded.rfind(" ", start + 1, start + _CHUNK)
            end = end if end > 0 else start + _CHUNK
            yield decoded[start:end]
            start = end
        if start < len(decoded):
            yield decoded[start:]


def _sample(chunks: Iterable[str], most: int, seed: int) -> list[str]:
    """Return a uniform sample of an iterable (Vitter 1985, algorithm R)."""
    generator = random.Random(seed)
    kept: list[str] = []
    for i, chunk in enumerate(chunks):
        if i < most:
            kept.append(chunk)
        elif (place := int(generator.random() * (i + 1))) < most:
            kept[place] = chunk
    return kept


def _characters(sample: Iterable[str], most: int) -> set[str]:
    """Return the characters that become pieces."""
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
        vocab_size=size + 1,  # One more for SentencePiece's unknown piece, which is not returned.
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        split_by_whitespace=True,
        byte_fallback=False,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=1,  # Floating-point sums of several threads depend on scheduling.
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    return [
        (model.id_to_piece(i).encode(), model.get_score(i))
        for i in range(model.get_piece_size())
        if not model.is_unknown(i)
    ]
