"""Text to subwords and back, in the graph: the most probable pieces of a unigram language model.

Only core TensorFlow operations are used, so that a SavedModel needs no extra library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

SPACE = "\u2581"  # replaces a space in pieces
_SIGN = r"[\p{Z}\p{Cc}]"
# Where pieces end at the latest. The space is free as a separator: by then each space is a mark.
_WORD = rf"{SPACE}?[^{SPACE}\p{{Z}}\p{{Cc}}]+|{SPACE}|{_SIGN}"
_UNKNOWN_PENALTY = np.float32(10)  # as in SentencePiece
_CODE_POINTS = 1 << 21
_ROOT = 0
_NOWHERE = -1


class SubwordTokenizer(tf.Module):
    """Splits texts into the pieces whose probabilities have the greatest product (Kudo 2018, section 3.2).

    A space is added at the start of a text, a space is encoded as U+2581, and no piece crosses the
    start of a word: a word is its space and what follows up to the next white space, and any
    other white space is a word of its own. Within a word the pieces are those of SentencePiece's own
    search, in the same arithmetic. A character that no piece holds is penalised, and a run of such
    characters in a word is one piece, which no vocabulary knows: it counts as one unknown token.
    """

    def __init__(self, pieces: Sequence[bytes], scores: Sequence[float], *, collapse: bool = False) -> None:
        """Build the trie of the pieces.

        Args:
            pieces: distinct, in UTF-8, not empty.
            scores: the log probability of each, rounded to float32.
            collapse: whether to strip white space at both ends of a text and to replace its other runs by a
                space.
        """
        super().__init__(name="subword_tokenizer")
        if not pieces or len(pieces) != len(scores) or len(set(pieces)) < len(pieces) or b"" in pieces:
            raise ValueError(
                "a subword vocabulary has distinct pieces of at least a character and a score for each, got "
                f"{len(pieces)} pieces, {len(set(pieces) - {b''})} of them distinct, and {len(scores)} scores"
            )
        self.collapse = collapse
        keys, self._node_scores = _trie(pieces, scores)
        self._unknown_score = np.min(np.asarray(scores, np.float32)) - _UNKNOWN_PENALTY
        self._longest = max(len(piece.decode()) for piece in pieces)
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(keys, tf.int64), tf.range(1, 1 + len(keys), dtype=tf.int64)
            ),
            default_value=_NOWHERE,
        )

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        r"""Split texts into pieces.

        Args:
            texts: string [B]; invalid UTF-8 becomes U+FFFD.

        Returns:
            string [B, (pieces)]; an empty text has none.
            `["Ein Hund bellt\n"] -> [["▁Ein", "▁Hund", "▁bell", "t", "\n"]]`
        """
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        if self.collapse:
            texts = tf.strings.strip(tf.strings.regex_replace(texts, rf"{_SIGN}+", " "))
        texts = tf.where(texts == "", texts, tf.strings.regex_replace(" " + texts, " ", SPACE))
        words = tf.strings.split(tf.strings.regex_replace(texts, _WORD, r"\0 "), " ")
        words = tf.ragged.boolean_mask(words, words != "")  # split adds an empty one at each end of a text
        distinct, positions = tf.unique(tf.concat([words.flat_values, [SPACE]], axis=0))  # never empty
        with tf.device("/CPU:0"):  # many small steps, and strings, which a GPU does not have
            pieces = tf.gather(self._search(distinct), positions[:-1])
        return words.with_flat_values(pieces).merge_dims(1, 2)

    def detokenize(self, pieces: tf.RaggedTensor) -> tf.Tensor:
        """Return the texts of pieces: string [B, (pieces)] → [B].

        This undoes `tokenize` exactly, except for `collapse`, invalid UTF-8, and a text's own U+2581, which
        becomes a space.
        """
        texts = tf.strings.regex_replace(tf.strings.reduce_join(pieces, axis=1), SPACE, " ")
        return tf.strings.regex_replace(texts, "^ ", "")

    def _search(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Return the pieces of words: [W] → [W, (pieces)], W at least 1, no word empty.

        All words are searched in parallel, character by character. With the longest ones first, those that
        have an i-th character are the first ones at each step. The result of a step is packed after the
        previous one without padding, and a very long word among short ones costs no more than its length.
        """
        characters = tf.strings.unicode_decode(words, "UTF-8")
        order = tf.argsort(characters.row_lengths(), direction="DESCENDING", stable=True)
        characters = tf.gather(characters, order)
        word = characters.value_rowids()
        place = tf.range(tf.size(word, tf.int64)) - tf.gather(characters.row_starts(), word)
        active = tf.math.bincount(tf.cast(place, tf.int32), dtype=tf.int64)  # words that reach each step
        packed = tf.gather(tf.cumsum(active, exclusive=True), place) + word
        scores, unknown = self._scores(characters, packed)
        starts = _starts(characters, tf.gather(_best_lengths(scores, active), packed))
        alone = starts & tf.concat([starts[1:], [True]], axis=0) & unknown
        starts &= ~(alone & tf.concat([[False], alone[:-1]], axis=0) & (place > 0))
        at = tf.where(starts)[:, 0]
        pieces = tf.strings.unicode_encode(
            tf.RaggedTensor.from_row_starts(characters.flat_values, at, validate=False), "UTF-8"
        )
        by_word = tf.RaggedTensor.from_value_rowids(
            pieces, tf.gather(word, at), characters.nrows(), validate=False
        )
        return tf.gather(by_word, tf.math.invert_permutation(order))

    def _scores(self, characters: tf.RaggedTensor, packed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the scores of all pieces that occur anywhere in words.

        Args:
            characters: code points int32 [W, (N)], C in all.
            packed: int64 [C], the position of each character in the order of the search.

        Returns:
            float [C, L] by the last character of a piece, in the order of the search, and by its length, the
            longest first; -inf where there is none. Whether each character is no piece, bool [C].
        """
        codes = tf.cast(characters.flat_values, tf.int64)
        count = tf.size(codes, tf.int64)
        left = tf.gather(characters.row_limits(), characters.value_rowids()) - tf.range(count)

        def body(
            length: tf.Tensor, at: tf.Tensor, nodes: tf.Tensor, columns: tf.TensorArray
        ) -> tuple[Any, ...]:
            last = at + tf.cast(length, tf.int64)
            nodes = self.table.lookup(nodes * _CODE_POINTS + tf.gather(codes, last))
            found = nodes != _NOWHERE
            at, last, nodes = (tf.boolean_mask(each, found) for each in (at, last, nodes))
            column = tf.tensor_scatter_nd_update(
                tf.fill([count], -np.float32(np.inf)),
                tf.gather(packed, last)[:, tf.newaxis],
                tf.gather(self._node_scores, nodes),
            )
            longer = tf.gather(left, at) > tf.cast(length, tf.int64) + 1
            return (
                length + 1,
                tf.boolean_mask(at, longer),
                tf.boolean_mask(nodes, longer),
                columns.write(length, column),
            )

        *_, columns = tf.while_loop(
            lambda length, *_: length < self._longest,
            body,
            (0, tf.range(count), tf.fill([count], tf.constant(_ROOT, tf.int64)), _array(self._longest)),
        )
        scores = tf.transpose(columns.stack()[::-1])
        unknown = tf.math.is_inf(scores[:, -1:])
        scores = tf.concat([scores[:, :-1], tf.where(unknown, self._unknown_score, scores[:, -1:])], axis=1)
        return scores, tf.gather(unknown[:, 0], packed)


def _trie(pieces: Sequence[bytes], scores: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the prefixes of pieces as numbered nodes, the root 0.

    Returns:
        for each other node, from 1, its parent's number and its last character in one number; for each
        node the score of the piece that ends there, -inf if none does.
    """
    nodes: dict[int, int] = {}
    node_scores = [-np.inf]
    for piece, score in zip(pieces, scores, strict=True):
        node = _ROOT
        for character in piece.decode():
            key = node * _CODE_POINTS + ord(character)
            node = nodes.setdefault(key, len(nodes) + 1)
            if node == len(node_scores):
                node_scores.append(-np.inf)
        node_scores[node] = score
    return np.array(list(nodes), np.int64), np.array(node_scores, np.float32)


def _array(size: int | tf.Tensor, dtype: tf.DType = tf.float32) -> tf.TensorArray:
    """Return an array of vectors of any length."""
    return tf.TensorArray(dtype, size, dynamic_size=True, infer_shape=False, element_shape=[None])


def _best_lengths(scores: tf.Tensor, active: tf.Tensor) -> tf.Tensor:
    """Return the last piece of the best segmentation of each prefix of a word, by Viterbi's search.

    Of equally good ways it takes the one whose last piece is the longest, as SentencePiece does.

    Args:
        scores: float [C, L], as `SubwordTokenizer._scores` gives them.
        active: int64 [N], how many words have an i-th character.

    Returns:
        how many characters the last piece has, int64 [C], in the order of the search.
    """
    longest = tf.shape(scores, tf.int64)[1]
    lengths = tf.range(longest, 0, -1)

    def body(i: tf.Tensor, at: tf.Tensor, window: tf.Tensor, found: tf.TensorArray) -> tuple[Any, ...]:
        count = active[i]
        totals = window[:count] + scores[at : at + count]
        best = tf.reduce_max(totals, axis=1, keepdims=True)
        length = tf.reduce_max(tf.where(totals == best, lengths, 0), axis=1)
        return i + 1, at + count, tf.concat([window[:count, 1:], best], axis=1), found.write(i, length)

    # The best totals of a word's beginnings that are one to L characters shorter, the shortest first.
    window = tf.concat(
        [tf.fill([active[0], longest - 1], -np.float32(np.inf)), tf.zeros([active[0], 1])], axis=1
    )
    steps = tf.size(active)
    *_, found = tf.while_loop(
        lambda i, *_: i < steps,
        body,
        (0, tf.constant(0, tf.int64), window, _array(steps, tf.int64)),
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([]),
            tf.TensorShape([None, None]),
            tf.TensorShape(None),
        ),
    )
    return found.concat()


def _starts(characters: tf.RaggedTensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return where the pieces of words start, found from their ends.

    Args:
        characters: [W, (N)], C in all.
        lengths: int64 [C], how long the best piece is that ends with each character.

    Returns:
        bool [C].
    """
    first = tf.gather(characters.row_starts(), characters.value_rowids())

    def body(i: tf.Tensor, last: tf.Tensor, found: tf.TensorArray) -> tuple[Any, ...]:
        start = last - tf.gather(lengths, last) + 1
        more = start > tf.gather(first, start)
        return i + 1, tf.boolean_mask(start, more) - 1, found.write(i, start)

    *_, found = tf.while_loop(
        lambda i, last, found: tf.size(last) > 0,
        body,
        (0, characters.row_limits() - 1, _array(0, tf.int64)),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None]), tf.TensorShape(None)),
    )
    starts = found.concat()[:, tf.newaxis]
    nowhere = tf.zeros([tf.size(lengths)], tf.bool)
    return tf.tensor_scatter_nd_update(nowhere, starts, tf.fill([tf.shape(starts)[0]], True))
