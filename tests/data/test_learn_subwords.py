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
    """Return the scores of pieces that are learnt from a stream."""
    return {
        piece.decode(): score for piece, score in learn_subwords(iter(texts), vocabulary_size=size, **options)
    }


def test_frequent_pieces() -> None:
    """Frequent words become pieces, with their space before them, and each character is one."""
    pieces = learn(sentences(200))

    assert len(pieces) == 60
    assert {"▁Haus", "▁Straße", "Straße", "αβγ"} <= pieces.keys()
    assert set("".join(WORDS)) | {SPACE} <= pieces.keys()
    assert list(pieces.values()) == sorted(pieces.values(), reverse=True)
    assert max(pieces.values()) < 0
    assert all(score == np.float32(score) for score in pieces.values())


def test_pieces_stay_within_words() -> None:
    """A space stands at the start of a piece alone, however often two words stand together."""
    pieces = learn([f"{text} New York" for text in sentences(200)], 100)

    assert "▁York" in pieces
    assert not [piece for piece in pieces if SPACE in piece[1:]]


def test_white_space_is_a_piece_by_itself() -> None:
    """Newlines and the like are pieces of their own and in no others, with the lowest score."""
    pieces = learn(["ab\nab\tab\u00a0ab"] * 20)

    assert {"\n", "\t", "\u00a0"} <= pieces.keys()
    assert pieces["\n"] == min(pieces.values())
    assert not [piece for piece in pieces if len(piece) > 1 and piece.split() != [piece]]


def test_text_is_taken_as_it_is() -> None:
    """Neither case nor compatibility characters nor composed letters are changed."""
    pieces = learn(["ﬁn Ａ ① É e\u0301 fin A 1"] * 5)

    assert {"ﬁ", "Ａ", "①", "É", "\u0301"} <= pieces.keys()


def test_str_and_bytes_are_the_same() -> None:
    """Bytes are read as UTF-8, and what is not UTF-8 as U+FFFD."""
    texts = sentences(50)

    assert learn([text.encode() for text in texts]) == learn(texts)
    assert "\ufffd" in learn([b"caf\xe9 caf\xe9"])


def test_same_twice() -> None:
    """The same texts give the same pieces and scores, drawn from a larger stream too."""
    texts = sentences(300)

    assert learn(texts) == learn(texts)
    assert learn(texts, sample_size=40) == learn(texts, sample_size=40)


def test_sample() -> None:
    """No more texts than asked for are learnt from, drawn evenly from the whole stream."""
    texts = [f"{chr(0x4E00 + i)}{chr(0x4E00 + i)} x" for i in range(400)]
    first, second = (
        {ord(piece) - 0x4E00 for piece in learn(texts, 800, sample_size=80, seed=seed) if piece >= "\u4e00"}
        for seed in (0, 1)
    )

    assert len(first) == len(second) == 80
    assert first != second
    assert 20 < len([i for i in first if i >= 200]) < 60


def test_stream_is_read_once() -> None:
    """Texts come from an iterator and are dropped where they are not in the sample."""
    read: list[int] = []

    def stream() -> Iterator[str]:
        for i, text in enumerate(sentences(100)):
            read.append(i)
            yield text

    learn_subwords(stream(), vocabulary_size=60, sample_size=10)

    assert read == list(range(100))


def test_little_text_gives_fewer_pieces() -> None:
    """A vocabulary larger than the text can fill is no error."""
    assert learn(["a"], 8000).keys() == {"a", SPACE}


def test_long_texts() -> None:
    """A text far longer than a sentence counts in full, with or without spaces."""
    at_the_end = " ".join(["filler"] * 3000 + ["zebra"] * 500)
    pieces = learn([at_the_end, "0123" * 4000])

    assert any("zebra" in piece for piece in pieces)
    assert any("0123" in piece for piece in pieces)


def test_large_alphabet() -> None:
    """Characters take half of the vocabulary at most, the most frequent ones."""
    common = [chr(0x4E00 + i) for i in range(30)]
    texts = ["".join(common)] * 3 + [chr(0x5E00 + i) for i in range(500)]
    pieces = learn(texts, 100)

    assert set(common) <= pieces.keys()
    assert 40 <= len([piece for piece in pieces if len(piece) == 1]) <= 51


def test_rare_characters_of_a_large_alphabet() -> None:
    """With more than a thousand characters, one in ten thousand that is rarest is left out."""
    frequent = [chr(0x4E00 + i) for i in range(1100)]
    texts = ["".join(frequent)] * 20 + ["ж", "щ"]
    pieces = learn(texts, 4000)

    assert len(set(frequent) & pieces.keys()) > 1090
    assert not {"ж", "щ"} & pieces.keys()
    assert {"ж", "щ"} <= learn([*sentences(3000), "ж", "щ"], 200).keys()


def test_reserved_characters() -> None:
    """What SentencePiece reserves does not take the text around it away."""
    assert learn(["▅ Haus", "▁ Hund"]).keys() >= set("HausHund")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=5), st.integers(SMALLEST_VOCABULARY, 40))
def test_any_text(texts: list[str], size: int) -> None:
    """Any text with a character to learn gives distinct pieces, no more than asked for, in valid UTF-8."""
    try:
        pieces = learn_subwords([*texts, "x"], vocabulary_size=size)
    except UnicodeEncodeError:  # a lone surrogate is no text
        assert any("\ud800" <= character <= "\udfff" for character in "".join(texts))
        return
    assert len(pieces) == len(dict(pieces)) <= size
    assert all(piece.decode() for piece, _ in pieces)


@pytest.mark.parametrize("texts", [[], ["", " "], ["\n\t", "\u3000"]])
def test_no_text(texts: list[str]) -> None:
    """Without a character to learn, a person is told."""
    with pytest.raises(UserError, match="no text to learn subwords from"):
        learn(texts)


def test_too_small() -> None:
    """A vocabulary that holds next to nothing is refused."""
    with pytest.raises(UserError, match="at least 16 pieces, got 15"):
        learn(["a"], 15)


def test_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is written to the terminal."""
    learn(sentences(50))

    assert capfd.readouterr() == ("", "")
