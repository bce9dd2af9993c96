"""The golden set: what is asked, and what rounding decides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from app.artifacts.golden import GOLDEN, write_golden
from app.artifacts.manifests import SignatureManifest
from app.artifacts.replay import compared, read_cases

TEXTS = {"sure": b"sure", "a tie": b"a tie", "chaos": b"chaos"}


class Toy(tf.Module):
    """Chooses one of two words, clearly or by less than anybody can compute; computes a number alike."""

    def __init__(self) -> None:
        """Make the weights: two for each text, and an exponent."""
        super().__init__()
        self.weights = [tf.Variable([2.0, 1.0]), tf.Variable([1.0 + 1e-6, 1.0]), tf.Variable(12.0)]

        def choose(text: tf.Tensor) -> dict[str, tf.Tensor]:
            is_tie = tf.equal(text, "a tie")[:, None]
            best = tf.argmax(tf.where(is_tie, self.weights[1], self.weights[0]), axis=1)
            return {"text": tf.gather(["first", "second"], best)}

        def compute(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return {
                "score": tf.where(tf.equal(text, "chaos"), tf.sin(10 ** self.weights[2]), self.weights[2])
            }

        texts = tf.TensorSpec([None], tf.string, "text")
        self.signatures = {
            name: tf.function(function, input_signature=[texts]).get_concrete_function()
            for name, function in (("serving_default", choose), ("score", compute))
        }


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the cases of the toy's golden set by signature and text."""
    folder = tmp_path_factory.mktemp("golden")

    def inputs(texts: Sequence[bytes]) -> dict[str, np.ndarray]:
        return {"text": np.array(texts, object)}

    signature = SignatureManifest(inputs={"text": ["string", [None]]}, outputs={})
    signatures = dict.fromkeys(("serving_default", "score"), signature)
    write_golden(folder, signatures, Toy(), dict.fromkeys(signatures, inputs), TEXTS)
    return {(case["signature"], case["name"]): case for case in read_cases(str(folder / GOLDEN))}


def test_what_rounding_decides_is_known(cases: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Neither a choice between two that are equally likely is settled nor a number that is all rounding."""
    assert {key for key, case in cases.items() if not case["settled"]} == {
        ("serving_default", "a tie"),
        ("score", "chaos"),
    }
    assert len(cases) == 6
    assert cases["serving_default", "a tie"]["outputs"]["text"].tolist() == [b"first"]
    assert cases["score", "sure"]["outputs"]["score"].tolist() == [12]


def test_what_rounding_decides_is_not_compared(cases: dict[tuple[str, str], dict[str, Any]]) -> None:
    """It must be answered; a settled case must be answered alike."""
    other = {"text": np.array([b"second"], object)}

    def wrong(text: str, answer: dict[str, np.ndarray]) -> list[str]:
        found: list[str] = compared("shuffled", [cases["serving_default", text]], [answer])["wrong"]
        return found

    assert wrong("a tie", other) == []
    assert "outputs [], expected ['text']" in wrong("a tie", {})[0]
    assert [problem.partition(" is ")[0] for problem in wrong("sure", other)] == [
        "serving_default, 'sure', shuffled: text"
    ]


def test_a_case_without_a_word_on_it_is_settled(tmp_path: Path) -> None:
    """As in exports of earlier versions."""
    path = tmp_path / "golden.jsonl"
    path.write_text(
        json.dumps({"name": "a", "signature": "b", "rows": {}, "shared": {}, "outputs": {}}) + "\n"
    )

    assert [case["settled"] for case in read_cases(str(path))] == [True]
