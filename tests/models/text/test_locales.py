from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from models.text.normalize import lower
from models.text.preprocessor import Preprocessor
from models.text.tokens import SPECIAL_TOKENS

# What some language lowers in its own way.
CAPITALS = ["I", "İ", "ISPARTA", "I\u0301", "I\u0307", "Ì", "Í", "Ĩ", "J\u0301", "Į\u0301", "Ĳ", "ΟΔΟΣ", "É"]
LOWERED = list(dict.fromkeys(text.lower().encode() for text in CAPITALS))
LOCALES = ["C", "POSIX", "C.UTF-8", "tr_TR.UTF-8", "lt_LT.UTF-8"]

# One process a locale, forked where TensorFlow is imported but has not yet looked at the locale.
IN_EACH_LOCALE = """
import json, os, sys
import tensorflow as tf

path, texts, locales = json.loads(sys.argv[1])
for locale in locales:
    if os.fork() == 0:
        os.environ["LC_ALL"] = locale
        exported = tf.saved_model.load(path)
        ids, lengths = exported.ids(tf.constant(texts))
        print(json.dumps({
            "plain": [text.decode() for text in tf.strings.lower(texts, encoding="utf-8").numpy()],
            "lower": [text.decode() for text in exported.lower(tf.constant(texts)).numpy()],
            "ids": ids.numpy().tolist(),
            "lengths": lengths.numpy().tolist(),
        }), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def in_each_locale(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the results of `lower` and a preprocessor in fresh processes with TensorFlow only."""
    path = str(tmp_path_factory.mktemp("text") / "exported")
    signature = [tf.TensorSpec([None], tf.string)]
    exported = tf.Module()
    exported.preprocessor = Preprocessor([*SPECIAL_TOKENS, *LOWERED])
    exported.ids = tf.function(exported.preprocessor.__call__, input_signature=signature)
    exported.lower = tf.function(lower, input_signature=signature)
    tf.saved_model.save(exported, path)
    result = subprocess.run(
        [sys.executable, "-I", "-c", IN_EACH_LOCALE, json.dumps([path, CAPITALS, LOCALES])],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=Path(path).parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(zip(LOCALES, map(json.loads, result.stdout.splitlines()), strict=True))


def test_locales_differ(in_each_locale: dict[str, Any]) -> None:
    """TensorFlow's own lower-casing depends on the locale of the host."""
    plain = {locale: result["plain"][0] for locale, result in in_each_locale.items()}

    assert plain["C"] == "i"
    assert plain["tr_TR.UTF-8"] == "ı"
    assert in_each_locale["lt_LT.UTF-8"]["plain"] != in_each_locale["C"]["plain"]


@pytest.mark.parametrize("locale", LOCALES)
def test_locale_does_not_matter(in_each_locale: dict[str, Any], locale: str) -> None:
    """Text is lower-cased by the rules of Unicode, in any locale."""
    result = in_each_locale[locale]

    assert result["lower"] == [text.lower() for text in CAPITALS]


@pytest.mark.parametrize("locale", LOCALES)
def test_exported_preprocessor(in_each_locale: dict[str, Any], locale: str) -> None:
    """A SavedModel returns the same ids without this package, in any locale."""
    ids = [len(SPECIAL_TOKENS) + LOWERED.index(text.lower().encode()) for text in CAPITALS]

    assert in_each_locale[locale]["ids"] == [[i] for i in ids]
    assert in_each_locale[locale]["lengths"] == [1] * len(CAPITALS)
