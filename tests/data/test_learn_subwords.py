from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from data.subwords import SMALLEST_VOCABULARY, learn_subwords

SPACE = "▁"
WORDS = [
    "Haus",
    "Hund",
    "Hündin",
    "Katze",
    "Katzen",
    "laufen",
    "läuft",
    "spielen",
    "gespielt",
    "Straße",
    "αβγ",
]


def sentences(count: int, seed: int = 0) -> list[str]:
    """Return sentences of a few words, each also in compounds."""
    generator = np.random.default_rng(seed)
    return [
        " ".join("".join(generator.choice(WORDS, generator.integers(1, 3))) for _ in range(6))
        for _ in range(count)
    ]


def learn(texts: list[str] | list[bytes], size: int = 60, **options: int) -> dict[str, float]:
    """Return the scores of the learned pieces."""
    return {
        piece.decode(): score for piece, score in learn_subwords(iter(texts), vocabulary_size=size, **options)
    }


def test_frequent_pieces() -> None:
    """Frequent words become pieces with the preceding space, and each character is a piece."""
    pieces = learn(sentences(200))

    assert len(pieces) == 60
    assert {"▁Haus", "▁Straße", "Straße", "αβγ"} <= pieces.keys()
    assert set("".join(WORDS)) | {SPACE} <= pieces.keys()
    assert list(pieces.values()) == sorted(pieces.values(), reverse=True)
    assert max(pieces.values()) < 0
    assert all(score == np.float32(score) for score in pieces.values())


def test_pieces_stay_within_words() -> None:
    """A space is only at the start of a piece, however often two words occur together."""
    pieces = learn([f"{text} New York" for text in sentences(200)], 100)

    assert "▁York" in pieces
    assert not [piece for piece in pieces if SPACE in piece[1:]]


def test_white_space_is_a_piece_by_itself() -> None:
    """A newline is a separate piece with the lowest score, and not part of other pieces."""
    pieces = learn(["ab\nab\tab\u00a0ab"] * 20)

    assert {"\n", "\t", "\u00a0"} <= pieces.keys()
    assert pieces["\n"] == min(pieces.values())
    assert not [piece for piece in pieces if len(piece) > 1 and piece.split() != [piece]]


def test_text_is_taken_as_it_is() -> None:
    """Text is not normalized: case, compatibility characters and composed letters are kept."""
    pieces = learn(["ﬁn Ａ ① É e\u0301 fin A 1"] * 5)

    assert {"ﬁ", "Ａ", "①", "É", "\u0301"} <= pieces.keys()


def test_str_and_bytes_are_the_same() -> None:
    """Bytes are decoded as UTF-8, and invalid ones as U+FFFD."""
    texts = sentences(50)

    assert learn([text.encode() for text in texts]) == learn(texts)
    assert "\ufffd" in learn([b"caf\xe9 caf\xe9"])


def test_same_twice() -> None:
    """The same texts result in the same pieces and scores, also if they are sampled."""
    texts = sentences(300)

    assert learn(texts) == learn(texts)
    assert learn(texts, sample_size=40) == learn(texts, sample_size=40)


def test_sample() -> None:
    """The sample has the given size, and is uniform over all texts."""
    texts = [f"{chr(0x4E00 + i)}{chr(0x4E00 + i)} x" for i in range(400)]
    first, second = (
        {ord(piece) - 0x4E00 for piece in learn(texts, 800, sample_size=80, seed=seed) if piece >= "\u4e00"}
        for seed in (0, 1)
    )

    assert len(first) == len(second) == 80
    assert first != second
    assert 20 < len([i for i in first if i >= 200]) < 60


def test_stream_is_read_once() -> None:
    """Texts that are not in the sample are not kept in memory."""
    read: list[int] = []

    def stream() -> Iterator[str]:
        for i, text in enumerate(sentences(100)):
            read.append(i)
            yield text

    learn_subwords(stream(), vocabulary_size=60, sample_size=10)

    assert read == list(range(100))


def test_little_text_gives_fewer_pieces() -> None:
    """A short text may result in a smaller vocabulary."""
    assert learn(["a"], 8000).keys() == {"a", SPACE}


def test_long_texts() -> None:
    """A long text is learned from as a whole, with or without spaces."""
    at_the_end = " ".join(["filler"] * 3000 + ["zebra"] * 500)
    pieces = learn([at_the_end, "0123" * 4000])

    assert any("zebra" in piece for piece in pieces)
    assert any("0123" in piece for piece in pieces)


def test_large_alphabet() -> None:
    """Characters are at most half of the vocabulary, the most frequent ones."""
    common = [chr(0x4E00 + i) for i in range(30)]
    texts = ["".join(common)] * 3 + [chr(0x5E00 + i) for i in range(500)]
    pieces = learn(texts, 100)

    assert set(common) <= pieces.keys()
    assert 40 <= len([piece for piece in pieces if len(piece) == 1]) <= 51


def test_rare_characters_of_a_large_alphabet() -> None:
    """With more than 1,000 characters, the rarest ones, 0.01 % of the text, are left out."""
    frequent = [chr(0x4E00 + i) for i in range(1100)]
    texts = ["".join(frequent)] * 20 + ["ж", "щ"]
    pieces = learn(texts, 4000)

    assert len(set(frequent) & pieces.keys()) > 1090
    assert not {"ж", "щ"} & pieces.keys()
    assert {"ж", "щ"} <= learn([*sentences(3000), "ж", "щ"], 200).keys()


def test_reserved_characters() -> None:
    """Text with the reserved characters of SentencePiece is learned from."""
    assert learn(["▅ Haus", "▁ Hund"]).keys() >= set("HausHund")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=5), st.integers(SMALLEST_VOCABULARY, 40))
def test_any_text(texts: list[str], size: int) -> None:
    """Pieces are distinct, valid UTF-8, and not more than the given number, for any text."""
    try:
        pieces = learn_subwords([*texts, "x"], vocabulary_size=size)
    except UnicodeEncodeError:  # a lone surrogate is no text
        assert any("\ud800" <= character <= "\udfff" for character in "".join(texts))
        return
    assert len(pieces) == len(dict(pieces)) <= size
    assert all(piece.decode() for piece, _ in pieces)


@pytest.mark.parametrize("texts", [[], ["", " "], ["\n\t", "\u3000"]])
def test_no_text(texts: list[str]) -> None:
    """Texts without characters are a user error."""
    with pytest.raises(UserError, match="no text to learn subwords from"):
        learn(texts)


def test_too_small() -> None:
    """A vocabulary that is too small is a user error."""
    with pytest.raises(UserError, match="at least 16 pieces, got 15"):
        learn(["a"], 15)


def test_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed."""
    learn(sentences(50))

    assert capfd.readouterr() == ("", "")
