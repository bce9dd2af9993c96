from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.text.subwords import SPACE, SubwordTokenizer

# Parts of random texts. Repeated parts can be split in several equally good ways.
SEEN = {
    "en": ["the", "runner", "running", "ran", "house", "mmmm", "hahaha", "don't", "U.S."],
    "de": ["Häuser", "Straßenbahn", "Bahn", "Straße", "läuft"],
    "el": ["Ελλάδα", "καλημέρα", "κόσμε"],
    "zh": ["我", "喜欢", "学习", "中文", "学"],
    "signs": ["😀", "👍🏽", "...", "1,000", "e\u0301", "\u200d"],
}
UNSEEN = ["日本語", "жук", "ñ", "🤖", "\U0010fffd", "\ufffd"]
PIECES = {"▁": -2.0, "▁a": -2.5, "a": -3.0, "aa": -6.0, "b": -4.0, "ab": -5.5, "▁ab": -6.5, "\n": -7.0}

Processor = sentencepiece.SentencePieceProcessor


def texts_of(generator: np.random.Generator, words: Sequence[str], count: int) -> list[str]:
    """Return texts of words, some of them joined, with single and more spaces between them."""
    return [
        "".join(
            word + generator.choice(["", " ", "  "], p=[0.3, 0.65, 0.05])
            for word in generator.choice(words, generator.integers(1, 12))
        )
        for _ in range(count)
    ]


def library(pieces: dict[str, float]) -> Processor:
    """Return the SentencePiece model of these pieces."""
    kinds = {"<unk>": (0.0, 2)} | {piece: (score, 1) for piece, score in pieces.items()}
    content = b"".join(
        _field(1, _field(1, piece.encode()) + _field(2, score) + _field(3, kind))
        for piece, (score, kind) in kinds.items()
    )
    trainer, normalizer = _field(3, 1), _field(1, b"identity") + _field(4, 0)
    return Processor(model_proto=content + _field(2, trainer) + _field(3, normalizer))


def _field(number: int, value: bytes | float | int) -> bytes:
    """Return a field of a message of Protocol Buffers; the library's own classes need a newer runtime.

    Numbers are those of sentencepiece_model.proto: a model has pieces (1), the specifications of trainer (2)
    and normalizer (3); a piece has a text (1), a score (2) and a type (3: 1 normal, 2 unknown).
    """
    if isinstance(value, bytes):
        assert len(value) < 128
        return bytes([number << 3 | 2, len(value)]) + value
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value)
    return bytes([number << 3, value])


def tokenizer(pieces: dict[str, float], collapse: bool = False) -> SubwordTokenizer:
    return SubwordTokenizer([piece.encode() for piece in pieces], list(pieces.values()), collapse=collapse)


def pieces_of(made: SubwordTokenizer, texts: Sequence[str | bytes]) -> list[list[str]]:
    """Return the pieces of texts."""
    return listed(made.tokenize(tf.constant(texts, tf.string)))


def listed(pieces: tf.RaggedTensor) -> list[list[str]]:
    return [[piece.decode() for piece in row] for row in pieces.to_list()]


@pytest.fixture(scope="module")
def learnt() -> dict[str, float]:
    """Return pieces that SentencePiece learned from several languages."""
    words = [word for several in SEEN.values() for word in several]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts_of(np.random.default_rng(0), words, 300)),
        model_writer=written,
        model_type="unigram",
        vocab_size=200,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    model = Processor(model_proto=written.getvalue())
    return {model.id_to_piece(i): model.get_score(i) for i in range(1, model.get_piece_size())}


def test_same_as_sentencepiece(learnt: dict[str, float]) -> None:
    """Pieces are those of SentencePiece, for known and unknown words of several scripts."""
    words = [word for several in SEEN.values() for word in several] + UNSEEN
    texts = texts_of(np.random.default_rng(1), words, 300)
    texts += ["", " ", "   ", "a", *UNSEEN, "жжж жж", "mmmmmmmmmmm", "hahahahahahahaha" * 20]
    found = pieces_of(tokenizer(learnt), texts)

    assert found == library(learnt).encode(texts, out_type=str)
    assert any(len(piece) > 8 and piece in learnt for row in found for piece in row)
    assert any(len(piece) > 3 and piece not in learnt for row in found for piece in row)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["", SPACE]), st.text("abж好😀", max_size=4)).map("".join).filter(len),
        # Few values that are sums of each other, and not in float32: many splits of a word tie, or nearly.
        st.sampled_from([-0.1, -0.2, -0.3, -0.7, -1.0, 0.2, -12.3]),
        min_size=1,
        max_size=12,
    ),
    st.lists(st.text("abж好😀", min_size=1, max_size=12), min_size=1, max_size=4),
)
def test_any_vocabulary(pieces: dict[str, float], words: list[str]) -> None:
    """With any pieces and scores, each word is split as SentencePiece splits it."""
    assert pieces_of(tokenizer(pieces), words) == library(pieces).encode(words, out_type=str)


@pytest.mark.parametrize(("score", "expected"), [(9.5, ["▁", "ab"]), (10.5, ["▁", "a", "b"])])
def test_penalty_of_unknown_characters(score: float, expected: list[str]) -> None:
    """An unknown character costs 10 more than the least probable piece, as in SentencePiece."""
    pieces = {"▁": -1.0, "ab": -8.0, "a": score}

    assert pieces_of(tokenizer(pieces), ["ab"]) == [expected] == library(pieces).encode(["ab"], out_type=str)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        (" ", ["▁", "▁"]),
        ("a", ["▁a"]),
        ("ab", ["▁ab"]),
        (" a", ["▁", "▁a"]),
        ("a  a", ["▁a", "▁", "▁a"]),
        ("aaa", ["▁a", "aa"]),  # as likely as ▁a a a: the longest last piece wins
        ("a\na", ["▁a", "\n", "a"]),  # no space stood before the second one
        ("\n\na", ["▁", "\n", "\n", "a"]),
        ("a\tb", ["▁a", "\t", "b"]),
        ("a\u00a0\u3000b", ["▁a", "\u00a0", "\u3000", "b"]),
        ("aжжbжa", ["▁a", "жж", "b", "ж", "a"]),  # a run of unknown characters is one token
        ("жж жж", ["▁", "жж", "▁", "жж"]),
        ("a▁b", ["▁a", "▁", "b"]),  # the mark of spaces counts as a space
        (b"a\xff\xfeb", ["▁a", "\ufffd\ufffd", "b"]),
        ("a\x00b", ["▁a", "\x00", "b"]),
    ],
)
def test_pieces(text: str | bytes, pieces: list[str]) -> None:
    """Spaces, other white space and unknown characters are split as documented."""
    assert pieces_of(tokenizer(PIECES), [text]) == [pieces]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [("  a \n\n ab ", ["▁a", "▁ab"]), ("\n \u3000", []), ("", []), ("ab", ["▁ab"])],
)
def test_collapse(text: str, pieces: list[str]) -> None:
    """White space is collapsed before words are split."""
    assert pieces_of(tokenizer(PIECES, collapse=True), [text]) == [pieces]


TEXT = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("ab \n\t"))).map(
    lambda text: text.replace(SPACE, " ")
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, max_size=4))
@example([" ", "", "  a  ", "\n a\r\n", "\ufeffa", "a\x00", "\x00", "\u0085", "\U0010ffff\ufffe"])
def test_nothing_is_lost(texts: list[str]) -> None:
    """The joined pieces are the original text, including all spaces."""
    made = tokenizer(PIECES)
    written = made.detokenize(made.tokenize(tf.constant(texts, tf.string)))

    assert [text.decode() for text in written.numpy()] == texts


def test_detokenize() -> None:
    """Any sequence of pieces can be joined, also one that no text is split into."""
    pieces = tf.ragged.constant([["▁a", "b", "▁", "▁c"], ["b", "▁a"], [], ["▁", "▁a"]])

    assert tokenizer(PIECES).detokenize(pieces).numpy().tolist() == [b"ab  c", b"b a", b"", b" a"]


def test_neighbours_do_not_matter(learnt: dict[str, float]) -> None:
    """The pieces of a text do not depend on other texts or their order."""
    made = tokenizer(learnt)
    texts = ["the Straßenbahn ran", "", "жук", "the the", "hahaha" * 30, "the Straßenbahn ran"]
    together = pieces_of(made, texts)

    assert together == [pieces_of(made, [text])[0] for text in texts]
    assert together[::-1] == pieces_of(made, texts[::-1])


def test_very_long_word(learnt: dict[str, float]) -> None:
    """A word of 10,000 characters among short ones is split as SentencePiece splits it."""
    word = "".join(np.random.default_rng(0).choice([*"abehmnrstuä", "the", "ж"], 8000))[:10_000]
    texts = ["the house", word, *["ran"] * 50]

    in_graph = tf.function(tokenizer(learnt).tokenize)  # as it is used; eager loops are slow

    assert listed(in_graph(tf.constant(texts))) == library(learnt).encode(texts, out_type=str)


def test_no_texts() -> None:
    """A batch without rows has no pieces."""
    made = tokenizer(PIECES)
    pieces = made.tokenize(tf.constant([], tf.string))

    assert pieces.to_list() == []
    assert made.detokenize(pieces).shape == [0]


def test_saved_model(tmp_path: Path) -> None:
    """A SavedModel returns the same pieces and texts in a TF1 session, for any batch size."""
    made = tokenizer(PIECES)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(texts: tf.Tensor) -> dict[str, tf.Tensor]:
        pieces = made.tokenize(texts)
        return {"pieces": pieces.to_tensor(), "texts": made.detokenize(pieces)}

    holder = tf.Module()
    holder.made, holder.serve = made, serve
    tf.saved_model.save(holder, str(tmp_path), signatures=serve)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path)).signature_def[
            "serving_default"
        ]
        outputs = [signature.outputs[name].name for name in ("pieces", "texts")]
        for texts, expected in (
            (["ab aж", ""], [["▁ab", "▁a", "ж"], [""] * 3]),
            (["", ""], [[], []]),
        ):
            pieces, written = session.run(outputs, {signature.inputs["texts"].name: texts})
            assert [[piece.decode() for piece in row] for row in pieces] == expected
            assert [text.decode() for text in written] == texts


@pytest.mark.parametrize(
    ("pieces", "scores", "got"),
    [
        ([], [], "0 pieces, 0 of them distinct, and 0 scores"),
        ([b"a", b"b"], [1.0], "2 pieces, 2 of them distinct, and 1 scores"),
        ([b"a", b"a"], [1.0, 2.0], "2 pieces, 1 of them distinct, and 2 scores"),
        ([b"a", b""], [1.0, 2.0], "2 pieces, 1 of them distinct, and 2 scores"),
    ],
)
def test_no_vocabulary(pieces: list[bytes], scores: list[float], got: str) -> None:
    """An invalid vocabulary is refused with its value."""
    with pytest.raises(ValueError, match=got):
        SubwordTokenizer(pieces, scores)
