from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.text.word_features import HASHES, WORD_FEATURES, word_features, word_shapes


def equal_features(first: str, second: str) -> set[str]:
    """Return the features that two words have in common."""
    hashes = word_features(tf.constant([first, second])).numpy()
    return {name for name, same in zip(WORD_FEATURES, hashes[0] == hashes[1], strict=True) if same}


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("Covid-19", "Xx-d"),
        ("McCoy", "XxXx"),
        ("ΌΜΩΣ", "X"),
        ("Είναι", "Xx"),
        ("Xdx", "Xx"),
        ("n't", "x'x"),
        ("١٢,5", "d,d"),
        ("电影", "x"),
        ("", ""),
    ],
    ids=["mixed", "twice", "upper", "accent", "letters", "sign", "digits", "han", "empty"],
)
def test_shapes(word: str, shape: str) -> None:
    """Runs of upper case letters, other letters and digits become X, x and d."""
    assert word_shapes(tf.constant([word])).numpy()[0].decode() == shape


def test_features_in_common() -> None:
    """Words have the features in common that their characters say; affixes ignore case."""
    suffixes = {f"suffix{length}" for length in range(1, 5)}
    prefixes = {f"prefix{length}" for length in range(1, 5)}

    assert equal_features("running", "sinning") == {*suffixes, "shape"}
    assert equal_features("unable", "undone") == {"prefix1", "prefix2", "suffix1", "shape"}
    assert equal_features("Paris", "paris") == {"lower", *prefixes, *suffixes}
    assert equal_features("καλή", "πολλή") == {"suffix1", "suffix2", "shape"}
    assert equal_features("a", "b") == {"shape"}
    assert equal_features("", "x") == set()


def test_hashes_are_those_of_every_machine() -> None:
    """Hashes are fixed numbers in their range: an export and its run agree with all later ones."""
    hashes = word_features(tf.constant(["Covid-19", ""])).numpy()

    assert hashes.dtype == np.int32
    assert hashes[:, :3].tolist() == [[7460346, 13770355, 15872072], [2952077, 2077721, 5849421]]
    assert hashes[0, 3:].tolist() == [
        *(10043631, 6803046, 12747002, 15436909, 12086921, 10240172, 12112503, 15676919)
    ]
    assert hashes.min() >= 0
    assert hashes.max() < HASHES
    assert len(np.unique(hashes)) == hashes.size
