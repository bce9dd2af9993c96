from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from toy_exports import FOREVER, write_version

from app.serving.grpc_api import grpc_server
from app.serving.logs import Log
from app.serving.metrics import Metrics
from app.serving.options import Limits
from app.serving.repository import Repository

Predict = Callable[..., predict_pb2.PredictResponse]


class Served(NamedTuple):
    """A server of a toy with the versions 1 and 2, and of a classifier."""

    prediction: prediction_service_pb2_grpc.PredictionServiceStub
    model: model_service_pb2_grpc.ModelServiceStub
    logged: io.StringIO
    metrics: Metrics


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, exported: Path) -> Iterator[Served]:
    """Return stubs of a server."""
    folder = tmp_path_factory.mktemp("models")
    for version in (1, 2):
        write_version(folder / "toy", version)
    shutil.copytree(exported, folder / "reviews/7")
    (folder / "broken/3").mkdir(parents=True)
    logged, metrics = io.StringIO(), Metrics()
    limits = Limits(rows=10, length=FOREVER, body_bytes=10_000)
    names = ("toy", "reviews", "broken")
    repository = Repository(
        {name: folder / name for name in names},
        keep=2,
        labels={("toy", "stable"): 1},
        limits=limits,
        metrics=metrics,
        log=Log(logged),
    )
    repository.poll()
    server = grpc_server(repository, limits=limits, metrics=metrics, log=Log(logged))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
            logged,
            metrics,
        )
    server.stop(0).wait()
    repository.close()


@pytest.fixture
def predict(served: Served) -> Predict:
    """Return a function that asks the toy."""

    def ask(
        name: str = "toy",
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        only: tuple[str, ...] = (),
        timeout: float = 20,
        **inputs: Any,
    ) -> predict_pb2.PredictResponse:
        request = predict_pb2.PredictRequest(output_filter=only)
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        for key, value in inputs.items():
            proto = value if isinstance(value, TensorProto) else tf.make_tensor_proto(value)
            request.inputs[key].CopyFrom(proto)
        return served.prediction.Predict(request, timeout=timeout)

    return ask


def refused(action: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as error:
        action()
    return error.value.code().name, error.value.details()


# Predict


def test_predict(predict: Predict) -> None:
    """Tensors go in and come out as in TensorFlow Serving, with the version that answered."""
    found = predict(text=[b"a", "é".encode(), b"\xff"])

    assert (found.model_spec.name, found.model_spec.signature_name) == ("toy", "serving_default")
    assert found.model_spec.version.value == 2
    assert sorted(found.outputs) == ["text", "version"]
    assert list(found.outputs["text"].string_val) == [b"A", "é".encode(), b"\xff"]
    assert list(found.outputs["version"].int_val) == [2, 2, 2]
    assert tf.make_ndarray(found.outputs["version"]).tolist() == [2, 2, 2]


def test_floats(served: Served, predict: Predict, exported: Path) -> None:
    """Matrices keep shape, dtype and value."""
    signature = tf.saved_model.load(str(exported)).signatures["serving_default"]
    expected = signature(text=tf.constant([b"good", b"dull"]))
    found = predict("reviews", text=[b"good", b"dull"])
    probabilities = tf.make_ndarray(found.outputs["probabilities"])

    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected["probabilities"].numpy(), atol=1e-6)
    assert tf.make_ndarray(found.outputs["classes"]).tolist() == expected["classes"].numpy().tolist()


def test_choice_of_version(predict: Predict) -> None:
    """A version is chosen by number or by label."""
    assert predict(text=[b"a"], version=1).model_spec.version.value == 1
    assert predict(text=[b"a"], label="stable").outputs["version"].int_val == [1]
    assert refused(lambda: predict(text=[b"a"], version=9)) == (
        "NOT_FOUND",
        "version 9 of model 'toy' is not available",
    )
    assert refused(lambda: predict(text=[b"a"], label="new")) == (
        "INVALID_ARGUMENT",
        "model 'toy' has no version label 'new'",
    )
    assert refused(lambda: predict("none", text=[b"a"])) == (
        "NOT_FOUND",
        "model 'none' not found",
    )
    assert refused(lambda: predict("", text=[b"a"]))[0] == "INVALID_ARGUMENT"


def test_signatures(predict: Predict) -> None:
    """A signature is chosen by name."""
    inputs = {"text": [b"a"], "length": np.array([7], np.int32), "stop": np.array([], object)}

    assert predict(signature="slow", **inputs).outputs["steps"].int_val == [7]
    assert refused(lambda: predict(signature="fast", **inputs)) == (
        "FAILED_PRECONDITION",
        "signature 'fast' not found; the model has serving_default, slow",
    )


def test_output_filter(predict: Predict) -> None:
    """A request gets the outputs that it names."""
    assert list(predict(text=[b"a"], only=("version",)).outputs) == ["version"]
    assert refused(lambda: predict(text=[b"a"], only=("score",))) == (
        "INVALID_ARGUMENT",
        "output 'score' not found; the signature has text, version",
    )
    assert refused(lambda: predict(text=[b"a"], only=("text", "text"))) == (
        "INVALID_ARGUMENT",
        "output 'text' is requested twice",
    )


def test_encodings(predict: Predict) -> None:
    """A tensor may hold its values, their bytes, or the last one for all that follow."""

    def steps(proto: TensorProto) -> list[int]:
        found = predict(signature="slow", text=[b"a", b"b"], length=proto, stop=np.array([], object))
        return list(found.outputs["steps"].int_val)

    values = TensorProto(dtype="DT_INT32", int_val=[3, 5])
    content = TensorProto(dtype="DT_INT32", tensor_content=np.array([3, 5], "<i4").tobytes())
    repeated = TensorProto(dtype="DT_INT32", int_val=[4])
    for proto in (values, content, repeated):
        proto.tensor_shape.dim.add(size=2)

    assert [steps(proto) for proto in (values, content, repeated)] == [[5, 5], [5, 5], [4, 4]]


def shaped(*sizes: int, **fields: Any) -> TensorProto:
    proto = TensorProto(**{"dtype": "DT_STRING", **fields})
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


UNKNOWN_RANK = TensorProto(dtype="DT_STRING", string_val=[b"a"])
UNKNOWN_RANK.tensor_shape.unknown_rank = True
BROKEN_TENSORS = {
    "nothing": TensorProto(),
    "no rank": UNKNOWN_RANK,
    "open shape": shaped(-1, string_val=[b"a"]),
    "a huge shape": shaped(2**40, string_val=[b"a"]),
    "a shape beyond all numbers": shaped(2**62, 2**62, string_val=[b"a"]),
    "bytes that do not fit": shaped(2, dtype="DT_INT32", tensor_content=b"\0" * 7),
    "an unknown dtype": shaped(1, dtype=99),
    "a dtype of handles": shaped(1, dtype="DT_RESOURCE"),
    "a variant": shaped(1, dtype="DT_VARIANT"),
    "a reference": shaped(1, dtype="DT_STRING_REF"),
    "quantized": shaped(1, dtype="DT_QINT8", int_val=[1]),
    "a scalar": shaped(string_val=[b"a"]),
    "a matrix": shaped(1, 1, string_val=[b"a"]),
    "no rows": shaped(0),
    "too many rows": shaped(11, string_val=[b"a"] * 11),
    "another dtype": shaped(1, dtype="DT_FLOAT", float_val=[1]),
}


@pytest.mark.parametrize("name", BROKEN_TENSORS)
def test_broken_tensors(predict: Predict, name: str) -> None:
    """What is no tensor of the signature is the client's mistake, never the server's."""
    code, message = refused(lambda: predict(text=BROKEN_TENSORS[name]))

    assert code == "INVALID_ARGUMENT"
    assert message


def test_broken_requests(served: Served, predict: Predict) -> None:
    """Other names, no model, a message that is too large."""
    assert refused(lambda: predict(txt=[b"a"])) == (
        "INVALID_ARGUMENT",
        "the inputs do not match the signature, which takes text; missing: text; unknown: txt",
    )
    assert refused(lambda: predict(text=[1.0])) == (
        "INVALID_ARGUMENT",
        "input 'text' has the type float32, expected string",
    )
    assert refused(lambda: served.prediction.Predict(predict_pb2.PredictRequest()))[0] == "INVALID_ARGUMENT"
    assert refused(lambda: predict(text=[b"a" * 20_000]))[0] == "RESOURCE_EXHAUSTED"


def test_deadline_of_the_client(served: Served, predict: Predict) -> None:
    """The server stops when the client has stopped waiting."""
    inputs = {"text": [b"a"], "length": np.array([FOREVER], np.int32), "stop": np.array([], object)}
    before = served.logged.getvalue().count("DEADLINE_EXCEEDED")

    assert refused(lambda: predict(signature="slow", timeout=0.3, **inputs))[0] == "DEADLINE_EXCEEDED"
    for _ in range(5):  # more than can run at a time
        refused(lambda: predict(signature="slow", timeout=0.1, **inputs))
    inputs["length"] = np.array([1], np.int32)
    assert predict(signature="slow", **inputs).outputs["steps"].int_val == [1]
    assert served.logged.getvalue().count("DEADLINE_EXCEEDED") > before


# Classify, metadata, status


def classified(served: Served, *texts: bytes, name: str = "reviews", how: str = "list") -> Any:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = name
    holder = request.input.example_list if how == "list" else request.input.example_list_with_context
    for text in texts:
        holder.examples.add().features.feature["text"].bytes_list.value.append(text)
    if how == "context":
        del holder.examples[:]
        holder.examples.add()
        holder.context.features.feature["text"].bytes_list.value.append(texts[0])
    return served.prediction.Classify(request, timeout=20)


def test_classify(served: Served, predict: Predict) -> None:
    """A classifier reads the feature `text` of examples, and gives each class its probability."""
    found = classified(served, b"good", b"dull")
    expected = tf.make_ndarray(predict("reviews", text=[b"good", b"dull"]).outputs["probabilities"])

    assert found.model_spec.version.value == 7
    assert [[c.label for c in row.classes] for row in found.result.classifications] == [
        ["negative", "positive"]
    ] * 2
    scores = [[c.score for c in row.classes] for row in found.result.classifications]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    (shared,) = classified(served, b"good", how="context").result.classifications
    np.testing.assert_allclose([c.score for c in shared.classes], scores[0], atol=1e-6)


def test_classify_refuses(served: Served) -> None:
    """Only examples with one text, and only for a classifier."""
    empty = classification_pb2.ClassificationRequest()
    empty.model_spec.name = "reviews"
    no_text = classification_pb2.ClassificationRequest()
    no_text.model_spec.name = "reviews"
    no_text.input.example_list.examples.add().features.feature["text"].float_list.value.append(1)

    assert refused(lambda: served.prediction.Classify(empty)) == (
        "INVALID_ARGUMENT",
        "the request has no examples",
    )
    assert refused(lambda: served.prediction.Classify(no_text)) == (
        "INVALID_ARGUMENT",
        "example 0: expected the feature 'text' with one string",
    )
    assert refused(lambda: classified(served))[0] == "INVALID_ARGUMENT"
    assert refused(lambda: classified(served, b"a", name="toy")) == (
        "INVALID_ARGUMENT",
        "signature 'serving_default' does not classify",
    )


def test_metadata(served: Served) -> None:
    """The signatures are those of the SavedModel."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "toy"
    response = served.prediction.GetModelMetadata(request)
    found = get_model_metadata_pb2.SignatureDefMap()

    assert response.metadata["signature_def"].Unpack(found)
    assert response.model_spec.version.value == 2
    assert {"serving_default", "slow"} <= set(found.signature_def)
    assert found.signature_def["serving_default"].inputs["text"].dtype == tf.string.as_datatype_enum
    for fields, message in (
        ([], "the request has no metadata_field; expected 'signature_def'"),
        (["graph"], "metadata_field 'graph' is not supported; expected 'signature_def'"),
    ):
        del request.metadata_field[:]
        request.metadata_field.extend(fields)
        assert refused(lambda: served.prediction.GetModelMetadata(request)) == ("INVALID_ARGUMENT", message)
    nameless = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    assert refused(lambda: served.prediction.GetModelMetadata(nameless)) == (
        "INVALID_ARGUMENT",
        "the request has no model_spec",
    )


def test_status(served: Served) -> None:
    """Each version has its state, a broken one its error."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "toy"
    found = served.model.GetModelStatus(request).model_version_status

    assert [(s.version, s.state, s.status.error_code) for s in found] == [(2, 30, 0), (1, 30, 0)]
    request.model_spec.version_label = "stable"
    assert [s.version for s in served.model.GetModelStatus(request).model_version_status] == [1]
    request.model_spec.version.value = 5
    assert refused(lambda: served.model.GetModelStatus(request)) == (
        "NOT_FOUND",
        "version 5 of model 'toy' not found",
    )
    broken = get_model_status_pb2.GetModelStatusRequest()
    broken.model_spec.name = "broken"
    (status,) = served.model.GetModelStatus(broken).model_version_status
    assert (status.version, status.state, status.status.error_code) == (3, 50, 9)
    assert "is not an export" in status.status.error_message


# What is kept of a request


def test_logs_and_metrics(served: Served, predict: Predict) -> None:
    """A request leaves a line without its text, and is counted; an unknown model is no label."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto([b"a secret", b"b"]))
    served.prediction.Predict(request, metadata=[("x-request-id", "id-1")])
    refused(lambda: predict("made up by a client", text=[b"a"]))

    lines = [json.loads(line) for line in served.logged.getvalue().splitlines()]
    (line,) = [line for line in lines if line.get("id") == "id-1"]
    assert line.pop("ms") > 0
    assert line.pop("time")
    assert line == {
        "event": "request",
        "api": "grpc",
        "id": "id-1",
        "method": "Predict",
        "model": "toy",
        "version": 2,
        "signature": "serving_default",
        "rows": 2,
        "status": "OK",
    }
    assert "secret" not in served.logged.getvalue()
    found = served.metrics.exposition().decode()
    assert 'textrnn_requests_total{api="grpc",code="NOT_FOUND",model="",signature=""}' in found
    assert "made up" not in found
