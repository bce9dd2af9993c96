from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from app.serving.calls import Budget
from app.serving.errors import Code, Refused
from app.serving.memory import cgroup_limits
from app.serving.metrics import Metrics
from app.serving.options import Batching, Limits, affordable_bytes
from app.serving.servable import Servable, load_servable
from tests.app.serving.toy_exports import write_version

TEXT = tf.TensorSpec([None], tf.string, "text")
TOKENS = tf.TensorSpec([None, None], tf.string, "tokens")
TAGS = tf.TensorSpec([None, None], tf.string, "tags")
IDS = tf.TensorSpec([None, None], tf.int32, "ids")
STATE = tf.TensorSpec([None, 300], tf.float32, "state")
WIDTH = tf.TensorSpec([], tf.int32, "width")


def padded(rows: tf.Tensor, first: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return the number of elements of the call for each row, and its first element."""
    return {"size": tf.fill([rows], tf.size(first)), "first": first[:, 0]}


def signatures() -> dict[str, Any]:
    """Return functions of all kinds of inputs that clients decide the size of."""

    @tf.function(input_signature=[TEXT], autograph=False)
    def default(text: tf.Tensor) -> dict[str, tf.Tensor]:
        pieces = tf.strings.bytes_split(text)
        longest = tf.fill(tf.shape(text), tf.reduce_max(tf.strings.length(text)))
        return {
            "pieces": pieces.to_tensor(),
            "rows": tf.fill(tf.shape(text), tf.size(text)),
            "longest": longest,
        }

    @tf.function(input_signature=[TOKENS], autograph=False)
    def tokens(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        return padded(tf.shape(tokens)[0], tokens)

    @tf.function(input_signature=[TOKENS, TAGS], autograph=False)
    def score(tokens: tf.Tensor, tags: tf.Tensor) -> dict[str, tf.Tensor]:
        return {**padded(tf.shape(tokens)[0], tokens), "tag": tags[:, 0]}

    @tf.function(input_signature=[TEXT, WIDTH], autograph=False)
    def search(text: tf.Tensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"rows": tf.fill(tf.shape(text), tf.size(text) * width), "text": text}

    @tf.function(input_signature=[IDS, STATE], autograph=False)
    def resume(ids: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"size": tf.fill([tf.shape(ids)[0]], tf.size(ids)), "state": state}

    return {
        "serving_default": default,
        "tokens": tokens,
        "score": score,
        "search": search,
        "resume": resume,
    }


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servable]:
    """Return a model of which a row may have 1,000 bytes, and a call of several rows as many."""
    path = write_version(tmp_path_factory.mktemp("limits") / "toy", 1, signatures=signatures())
    loaded = load_servable(
        "toy",
        1,
        path,
        limits=Limits(rows=100, text_bytes=1000, values=20_000),
        batching=Batching(max_bytes=2000, boundaries=(100,)),
        metrics=Metrics(),
        budget=Budget(2000),
    )
    yield loaded
    loaded.close()


def texts(*sizes: int) -> np.ndarray:
    return np.array([b"x" * size for size in sizes], object)


def array(rows: int, columns: int, value: bytes = b"") -> np.ndarray:
    return np.full((rows, columns), value, object)


TOO_LARGE: dict[str, tuple[str, dict[str, np.ndarray], str]] = {
    "a text": (
        "serving_default",
        {"text": texts(5, 1001)},
        "input 'text' has a string of 1001 bytes, at most 1000 are allowed (--max-text)",
    ),
    "tokens": (
        "tokens",
        {"tokens": array(2, 400, b"ab")},
        "row 0 has 1199 bytes, with one byte between two strings; at most 1000 are allowed (--max-text)",
    ),
    "padding": (
        "tokens",
        {"tokens": array(2, 1002)},
        "row 0 has 1001 bytes, with one byte between two strings; at most 1000 are allowed (--max-text)",
    ),
    "tags": (
        "score",
        {"tokens": array(1, 1, b"a"), "tags": array(1, 2000, b"O")},
        "row 0 has 4001 bytes, with one byte between two strings; at most 1000 are allowed (--max-text)",
    ),
    "token ids": (
        "resume",
        {"ids": np.zeros((1, 1002), np.int32), "state": np.zeros((1, 300), np.float32)},
        "row 0 has 1001 bytes, with one byte between two strings; at most 1000 are allowed (--max-text)",
    ),
    "beams": (
        "search",
        {"text": texts(1, 30), "width": np.array(50, np.int32)},
        "row 1 has 30 bytes times 50 beams, with one byte between two strings; at most 1000 are allowed "
        "(--max-text)",
    ),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_a_row_is_bounded(servable: Servable, case: str) -> None:
    """What a row costs is bounded in every signature; the message names limit, value and option."""
    signature, inputs, message = TOO_LARGE[case]

    with pytest.raises(Refused) as error:
        servable.signatures[signature](inputs)
    assert (error.value.code, error.value.message) == (Code.INVALID_ARGUMENT, message)


def test_the_largest_rows_are_answered(servable: Servable) -> None:
    """A limit can be reached."""
    assert servable.signatures["serving_default"]({"text": texts(1000)})["longest"].tolist() == [1000]
    assert servable.signatures["tokens"]({"tokens": array(1, 1000)})["size"].tolist() == [1000]
    inputs = {"text": texts(20), "width": np.array(50, np.int32)}
    assert servable.signatures["search"](inputs)["rows"].tolist() == [50]


def test_requests_of_every_signature_are_divided(servable: Servable) -> None:
    """No call of several rows is padded to more than half of the budget; the answers are in order."""
    found = servable.signatures["serving_default"]({"text": texts(9, 600, 9, 300, 300)})
    assert found["longest"].tolist() == [9, 600, 9, 300, 300]
    assert found["rows"].tolist() == [2, 1, 2, 2, 2]

    words = array(6, 90)
    words[:, 0] = [b"a", b"b", b"c", b"d", b"e", b"f"]
    found = servable.signatures["tokens"]({"tokens": np.concatenate([words, words])})
    assert max(found["size"]) <= 1000
    assert found["first"].tolist() == [b"a", b"b", b"c", b"d", b"e", b"f"] * 2

    inputs = {"text": texts(*range(1, 21)), "width": np.array(10, np.int32)}
    found = servable.signatures["search"](inputs)
    assert max(found["rows"]) <= 200
    assert found["text"].tolist() == inputs["text"].tolist()

    state = np.arange(50, dtype=np.float32)[:, None].repeat(300, axis=1)
    found = servable.signatures["resume"]({"ids": np.zeros((50, 90), np.int32), "state": state})
    assert max(found["size"]) <= 1000
    assert np.array_equal(found["state"], state)


def test_a_padded_response_is_bounded(servable: Servable) -> None:
    """One long row beside many short ones would pad them all in the response."""
    default = servable.signatures["serving_default"]

    assert default({"text": texts(900, *[1] * 19)})["pieces"].shape == (20, 900)
    with pytest.raises(Refused, match=r"27,\d+ values.*at most 20,000 are allowed \(--max-values\)") as error:
        default({"text": texts(900, *[1] * 29)})
    assert error.value.code is Code.INVALID_ARGUMENT


def test_defaults_follow_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """More memory allows larger calls, as far as there are cores to run them."""
    monkeypatch.setattr("app.serving.memory.resource.getrlimit", lambda _: (4 * 2**30, 4 * 2**30))
    monkeypatch.setattr("app.serving.options.available_cpus", lambda: 16)
    assert affordable_bytes() <= 2**17
    monkeypatch.setattr("app.serving.memory.os.sysconf", lambda name: 2**12 if "SIZE" in name else 2**24)
    monkeypatch.setattr("app.serving.memory.resource.getrlimit", lambda _: (-1, -1))
    monkeypatch.setattr("app.serving.memory.cgroup_limits", lambda: iter(()))
    assert affordable_bytes() == 2**21
    monkeypatch.setattr("app.serving.memory.cgroup_limits", lambda: iter((2**34, 2**40)))
    assert affordable_bytes() == 2**19
    monkeypatch.setattr("app.serving.options.available_cpus", lambda: 2)
    assert affordable_bytes() == 2**18
    assert Batching().threads >= 1


@pytest.mark.parametrize(
    ("lines", "files", "limits"),
    [
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "700", "memory.max": "900"}, [700, 900]),
        ("0::/of/the/host", {"memory.max": "5"}, [5]),
        ("3:cpu:/x\n4:memory:/x", {"memory/x/memory.limit_in_bytes": "6", "x/memory.max": "1"}, [6]),
        ("0::/", {}, []),
    ],
    ids=["version 2", "path of the host", "version 1", "no limit"],
)
def test_limits_of_control_groups(
    tmp_path: Path, lines: str, files: dict[str, str], limits: list[int]
) -> None:
    """A container may have less memory than the machine."""
    (tmp_path / "own").write_text(f"{lines}\n")
    for name, limit in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{limit}\n")

    assert list(cgroup_limits(tmp_path, tmp_path / "own")) == limits
    assert list(cgroup_limits(tmp_path, tmp_path / "nothing")) == []
