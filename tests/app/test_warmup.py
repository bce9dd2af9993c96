from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from app.artifacts.examples import examples
from app.artifacts.manifests import SignatureManifest
from app.artifacts.saved_model import described_signatures, read_saved_model
from app.artifacts.warmup import (
    BATCH_SIZES,
    LONG,
    MOST_RECORDS,
    WARMUP,
    read_warmup,
    warmup_requests,
    write_warmup,
)
from app.tasks import get_task
from data.errors import UserError

ODD = [b"", b" \t\n", b"good bad", b"\xff good \x80", b"a\x00b\x00", "schön 👍🏽".encode(), b"bad " * 40]

CASES = {
    "classification": ("classification", "model.pooling=attention", "model.cell=gru"),
    "tagging": ("tagging", "model.crf=true", "model.character_features=convolution"),
    "generation": ("generation", "text.tokens=word", "model.cell=gru"),
    "translation": ("translation", "text.tokens=byte", "model.cell=simple", "model.attention=multiplicative"),
}
# The signatures that have a scalar among their inputs, and so no request.
SCALARS = {"generation": {"beam"}, "translation": {"search"}}
each_task = pytest.mark.parametrize("task", CASES)


FOLLOWS = {"resume": "begin", "score_pieces": "begin"}


class Export:
    """A SavedModel, loaded, and the examples of its signatures."""

    def __init__(self, task: str, path: Path) -> None:
        self.path = path
        self.definitions = {
            name: definition
            for name, definition in read_saved_model(path).meta_graphs[0].signature_def.items()
            if not name.startswith("__")
        }
        self.loaded = tf.saved_model.load(str(path))
        signatures = {
            name: SignatureManifest(**tensors, follows=FOLLOWS.get(name))
            for name, tensors in described_signatures(path).items()
        }
        sample_inputs = get_task(task).predictions.sample_inputs
        self.examples = examples(sample_inputs, self.loaded.signatures, signatures)

    def __call__(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        fed = {name: tf.constant(value) for name, value in inputs.items()}
        return {k: v.numpy() for k, v in self.loaded.signatures[signature](**fed).items()}


@pytest.fixture(scope="module")
def export(untrained: Callable[..., Path]) -> Callable[[str], Export]:
    """Return a function from a task to a model of it."""
    made: dict[str, Export] = {}

    def get(task: str) -> Export:
        if task not in made:
            made[task] = Export(task, untrained(*CASES[task], labels=task != "translation"))
        return made[task]

    return get


# Examples


@each_task
def test_examples_are_what_signatures_take(export: Callable[[str], Export], task: str) -> None:
    """For any texts each signature gets all its inputs and no more, of the right types, and answers."""
    model = export(task)
    assert model.examples.keys() == model.definitions.keys()

    for name, definition in model.definitions.items():
        inputs = model.examples[name](ODD)

        assert inputs.keys() == definition.inputs.keys()
        for key, spec in definition.inputs.items():
            assert tf.as_dtype(inputs[key].dtype) == tf.as_dtype(spec.dtype)
            assert inputs[key].ndim == len(spec.tensor_shape.dim)
            assert inputs[key].shape[:1] in ((), (len(ODD),))
        answers = model(name, inputs)
        assert all(len(answer) == len(ODD) for answer in answers.values())


@each_task
def test_examples_of_one_empty_text(export: Callable[[str], Export], task: str) -> None:
    """One text that says nothing is enough."""
    model = export(task)

    for name in model.definitions:
        assert all(len(answer) == 1 for answer in model(name, model.examples[name]([b""])).values())


def test_examples_hold_the_texts(export: Callable[[str], Export]) -> None:
    """The texts come as they are, zero bytes and all; tokens are what stands between white space."""
    for task, signature, name in (
        ("classification", "explain", "text"),
        ("tagging", "serving_default", "text"),
        ("generation", "score", "text"),
        ("generation", "begin", "prompt"),
        ("translation", "search", "text"),
    ):
        assert export(task).examples[signature](ODD)[name].tolist() == ODD
    tokens = export("tagging").examples["tokens"]([b"to New\n York ", b"", b"\xff b\x00"])["tokens"]
    assert tokens.tolist() == [[b"to", b"New", b"York"], [b"", b"", b""], [b"\xff", b"b\x00", b""]]
    assert export("tagging").examples["tokens"]([b"", b" "])["tokens"].shape == (2, 0)


def test_generation_goes_on(export: Callable[[str], Export]) -> None:
    """What `begin` gives is what `resume` takes: it writes what one call writes, always the likeliest."""
    model = export("generation")
    texts = [b"good", b"bad good"]

    begun = model("begin", model.examples["begin"](texts))
    inputs = model.examples["resume"](texts)
    for name, value in begun.items():
        np.testing.assert_array_equal(inputs[name], value)
    resumed = model("resume", inputs)
    whole = model("generate", model.examples["generate"](texts))
    again = model.examples["generate"](texts) | {"seed": np.array([7, 8], np.int32)}
    assert resumed["text"].tolist() == whole["text"].tolist() == model("generate", again)["text"].tolist()
    assert all(whole["text"])


# Requests


@each_task
def test_requests(export: Callable[[str], Export], task: str, tmp_path: Path) -> None:
    """Each signature gets a request for each number of rows, and a long text; each is answered."""
    model = export(task)
    write_warmup(tmp_path, warmup_requests("reviews", model.examples, batch_sizes=(4, 1)))
    requests = read_warmup(tmp_path)

    assert requests
    assert {request.model_spec.name for request in requests} == {"reviews"}
    sizes: dict[str, list[int]] = {name: [] for name in model.definitions}
    for request in requests:
        name = request.model_spec.signature_name
        arrays = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        (rows,) = {len(array) for array in arrays.values()}
        sizes[name].append(rows)
        assert arrays.keys() == model.definitions[name].inputs.keys()
        assert all(len(answer) == rows for answer in model(name, arrays).values())
    scalars = SCALARS.get(task, set())
    assert sizes == {name: [] if name in scalars else [1, 4, 1] for name in model.definitions}


def texts_alone(texts: Any) -> dict[str, np.ndarray]:
    """Return the inputs of a signature that takes texts."""
    return {"text": np.array(texts, object)}


def with_scalar(texts: Any) -> dict[str, np.ndarray]:
    """Return the inputs of one that takes an option of all rows beside."""
    return {**texts_alone(texts), "width": np.array(3, np.int32)}


def test_numbers_of_rows() -> None:
    """By default a server's numbers of rows, up to 64; short texts, and one of hundreds of words."""
    requests = warmup_requests("m", {"b": texts_alone, "a": texts_alone})

    assert {request.model_spec.name for request in requests} == {"m"}
    assert [request.model_spec.signature_name for request in requests] == ["a"] * 8 + ["b"] * 8
    texts = [tf.make_ndarray(request.inputs["text"]).tolist() for request in requests[:8]]
    assert tuple(map(len, texts[:7])) == BATCH_SIZES == (1, 2, 4, 8, 16, 32, 64)
    assert texts[7] == [LONG.encode()]
    assert len(LONG.split()) > 200
    assert max(len(text) for batch in texts[:7] for text in batch) < 100
    assert all(len(set(batch)) == min(len(batch), 4) for batch in texts)


def test_scalars_get_no_request() -> None:
    """TensorFlow Serving's batching refuses an input without rows, and with it the model."""
    requests = warmup_requests("m", {"search": with_scalar, "serving_default": texts_alone}, (1,))

    assert Counter(request.model_spec.signature_name for request in requests) == {"serving_default": 2}


# The file


def some(count: int) -> Iterator[PredictRequest]:
    """Yield small requests."""
    for i in range(count):
        request = PredictRequest()
        request.model_spec.signature_name = str(i)
        request.inputs["b"].CopyFrom(tf.make_tensor_proto([b"x\x00"]))
        request.inputs["a"].CopyFrom(tf.make_tensor_proto([[1.5, 2.5]]))
        yield request


def test_the_file(tmp_path: Path) -> None:
    """TensorFlow Serving finds records of its log where it looks for them."""
    write_warmup(tmp_path, some(3))

    records = list(tf.data.TFRecordDataset(str(tmp_path / "assets.extra/tf_serving_warmup_requests")))
    logs = [PredictionLog.FromString(record.numpy()) for record in records]
    assert [log.predict_log.request for log in logs] == list(some(3)) == read_warmup(tmp_path)
    assert [path.name for path in (tmp_path / "assets.extra").iterdir()] == ["tf_serving_warmup_requests"]


def test_the_same_file_each_time(tmp_path: Path) -> None:
    """Equal requests make equal files, so that equal exports have equal checksums."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        requests = list(some(5))
        if folder.name == "two":  # put together in another order
            for request in requests:
                inputs = sorted((key, tf.make_ndarray(value)) for key, value in request.inputs.items())
                request.inputs.clear()
                for key, value in inputs:
                    request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        write_warmup(folder, requests)

    assert (folders[0] / WARMUP).read_bytes() == (folders[1] / WARMUP).read_bytes()


def test_most_records(tmp_path: Path) -> None:
    """TensorFlow Serving takes a thousand and refuses more."""
    write_warmup(tmp_path, some(MOST_RECORDS))
    assert len(read_warmup(tmp_path)) == MOST_RECORDS == 1000

    with pytest.raises(ValueError, match=r"at most 1000 .* got 1001"):
        write_warmup(tmp_path, some(MOST_RECORDS + 1))
    assert len(read_warmup(tmp_path)) == MOST_RECORDS


def test_no_file(tmp_path: Path) -> None:
    """A model may have no requests."""
    assert read_warmup(tmp_path) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def no_records(path: Path) -> None:
    path.write_bytes(b"no records at all")


def no_messages(path: Path) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff\xff\xff")


def other_messages(path: Path) -> None:
    log = PredictionLog()
    log.classify_log.request.model_spec.name = "m"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())


@pytest.mark.parametrize("damage", [cut, no_records, no_messages, other_messages])
def test_damaged(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """A file that TensorFlow Serving could not read, or of other requests, is a fault of the export."""
    write_warmup(tmp_path, some(2))
    damage(tmp_path / WARMUP)

    with pytest.raises(UserError, match="cannot be read as warm-up requests"):
        read_warmup(tmp_path)
