"""TensorFlow Serving's gRPC, for the stock stubs: PredictionService and ModelService."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.apis.model_pb2 import ModelSpec

from app.serving.errors import Code, Refused
from app.serving.logs import Log, request_id
from app.serving.metrics import Metrics
from app.serving.options import Limits
from app.serving.servables import (
    CLASSIFY,
    DEFAULT_SIGNATURE,
    TEXT_FEATURE,
    Repository,
    Servable,
    Signature,
)

THREADS = 256
"""Requests at a time: most of them wait for their batch. What comes beyond is refused."""

NO_DEADLINE = 10**8
"""Seconds: a call without a deadline has one in some three hundred years."""

Answer = TypeVar("Answer", bound=Message)

_VALUES = {
    tf.string: "string_val",
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.bool: "bool_val",
}


@dataclass
class Call:
    """What is known of a request while it is answered."""

    id: str
    method: str
    deadline: float
    servable: Servable | None = None
    signature: str = ""
    rows: int = 0


class Services:
    """What the services share: codes, counters and logs of a request."""

    def __init__(self, repository: Repository, limits: Limits, metrics: Metrics, log: Log) -> None:
        self.repository = repository
        self.limits = limits
        self._metrics = metrics
        self._log = log

    def answer(self, method: str, context: grpc.ServicerContext, work: Callable[[Call], Answer]) -> Answer:
        """Does the work of a request; what is refused, and any error, becomes its gRPC status."""
        began = time.monotonic()
        left = context.time_remaining()
        timeout = self.limits.timeout if left is None or left > NO_DEADLINE else left
        call = Call(_request_id(context), method, began + timeout)
        code, refused = "OK", Refused(Code.INTERNAL, "Internal error")
        more: dict[str, Any] = {}
        try:
            return work(call)
        except Refused as error:
            code, refused = error.code.name, error
        except Exception:
            code, more = refused.code.name, {"traceback": traceback.format_exc()}
        finally:
            seconds = time.monotonic() - began
            model = call.servable.name if call.servable else ""
            facts = {"model": model, "signature": call.signature, "rows": call.rows}
            self._metrics.request(api="grpc", code=code, seconds=seconds, **facts)  # type: ignore[arg-type]
            version = call.servable.version if call.servable else None
            self._log(
                "request",
                api="grpc",
                id=call.id,
                method=method,
                version=version,
                status=code,
                ms=round(1000 * seconds, 3),
                **facts,
                **more,
            )
        context.abort(grpc.StatusCode[refused.code.name], refused.message)
        raise AssertionError("abort raises")

    @contextmanager
    def servable(self, call: Call, spec: ModelSpec) -> Iterator[Servable]:
        """The version that a request means."""
        choice = spec.WhichOneof("version_choice")
        version = spec.version.value if choice == "version" else None
        label = spec.version_label if choice == "version_label" else None
        with self.repository.acquire(spec.name, version=version, label=label) as servable:
            call.servable = servable
            yield servable


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify and GetModelMetadata."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Any signature: tensors in, tensors out."""
        return self._services.answer("Predict", context, lambda call: self._predict(call, request))

    def _predict(self, call: Call, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        with self._services.servable(call, request.model_spec) as servable:
            signature = servable.signature(request.model_spec.signature_name)
            call.signature = signature.name
            wanted = _filtered(request.output_filter, signature)
            inputs = read_inputs(request, self._services.limits)
            call.rows = max((len(value) for value in inputs.values() if value.ndim), default=0)
            outputs = signature(inputs, call.deadline)
            response = predict_pb2.PredictResponse(model_spec=_spec(servable, signature.name))
            for output in wanted:
                response.outputs[output].CopyFrom(tensor_proto(outputs[output]))
            return response

    def Classify(
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """The feature `text` of each example through a classifier."""
        return self._services.answer("Classify", context, lambda call: self._classify(call, request))

    def _classify(
        self, call: Call, request: classification_pb2.ClassificationRequest
    ) -> classification_pb2.ClassificationResponse:
        with self._services.servable(call, request.model_spec) as servable:
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            if name not in servable.signatures:
                message = f"No signature was found with the name: {name}"
                raise Refused(Code.INVALID_ARGUMENT, message)
            signature = servable.signatures[name]
            call.signature = name
            if not {"classes", "probabilities"} <= signature.outputs.keys():
                raise Refused(
                    Code.INVALID_ARGUMENT,
                    f"Expected classification signature method_name to be {CLASSIFY}. "
                    f"Was: {signature.method_name}",
                )
            texts = _texts(request)
            call.rows = len(texts)
            outputs = signature({TEXT_FEATURE: texts}, call.deadline)
            response = classification_pb2.ClassificationResponse(model_spec=_spec(servable, name))
            for labels, scores in zip(outputs["classes"], outputs["probabilities"], strict=True):
                row = response.result.classifications.add()
                for label, score in zip(labels, scores, strict=True):
                    row.classes.add(label=label.decode(errors="replace"), score=score)
            return response

    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version."""
        return self._services.answer("GetModelMetadata", context, lambda call: self._metadata(call, request))

    def _metadata(
        self, call: Call, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _check_spec(request)
        if not request.metadata_field:
            message = "GetModelMetadataRequest must specify at least one metadata_field"
            raise Refused(Code.INVALID_ARGUMENT, message)
        for field in request.metadata_field:
            if field != "signature_def":
                raise Refused(Code.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
        with self._services.servable(call, request.model_spec) as servable:
            response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=_spec(servable, ""))
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
            response.metadata["signature_def"].Pack(signatures)
            return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """How it is with the versions of a model."""
        return self._services.answer("GetModelStatus", context, lambda call: self._status(request))

    def _status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        _check_spec(request)
        spec = request.model_spec
        choice = spec.WhichOneof("version_choice")
        states = self._services.repository.status(
            spec.name,
            version=spec.version.value if choice == "version" else None,
            label=spec.version_label if choice == "version_label" else None,
        )
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, state, error_code, error_message in states:
            status = response.model_version_status.add(version=version, state=int(state))
            # An empty one is OK, and is there nonetheless.
            status.status.error_code = 0 if error_code is None else int(error_code)
            status.status.error_message = error_message
            status.status.SetInParent()
        return response


def grpc_server(
    repository: Repository, *, limits: Limits, metrics: Metrics, log: Log, threads: int = THREADS
) -> grpc.Server:
    """A server of both services, that has no port yet and is not started.

    Args:
        repository: the models.
        limits: what a request may ask for.
        metrics: that requests are counted in.
        log: a line for each request.
        threads: requests at a time.
    """
    server = grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
        maximum_concurrent_rpcs=threads,
        options=[
            ("grpc.max_receive_message_length", limits.body_bytes),
            ("grpc.max_send_message_length", -1),
            # A second server must not share the port unseen.
            ("grpc.so_reuseport", 0),
        ],
    )
    services = Services(repository, limits, metrics, log)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(services), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(services), server)
    return server


# Tensors


def read_inputs(request: predict_pb2.PredictRequest, limits: Limits) -> dict[str, np.ndarray]:
    """The tensors of a request as arrays.

    Raises:
        Refused: a tensor is none.
    """
    return {name: _array(name, proto, limits) for name, proto in request.inputs.items()}


def _array(name: str, proto: TensorProto, limits: Limits) -> np.ndarray:
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    try:
        if proto.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
            raise ValueError("it has no definite shape")
        count = math.prod(sizes)
        # A tensor may leave out what repeats its last value: a few bytes could ask for any amount of memory.
        if count > max(limits.rows, proto.ByteSize()):
            raise ValueError(f"it holds fewer values than its shape says, {sizes}")
        dtype = tf.as_dtype(proto.dtype)
        array: np.ndarray = tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy()
        return np.asarray(array, object if dtype == tf.string else None)
    except (TypeError, ValueError) as error:
        message = str(error)
    except (tf.errors.OpError, AttributeError):
        message = "its values do not fit its type and shape"
    raise Refused(Code.INVALID_ARGUMENT, f"input {name!r} can't be read as a tensor: {message}")


def tensor_proto(array: np.ndarray) -> TensorProto:
    """An array as TensorFlow Serving writes it: a field of values, not bytes."""
    dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    proto = TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, _VALUES[dtype]).extend(array.ravel().tolist())
    return proto


def _filtered(names: Iterable[str], signature: Signature) -> list[str]:
    """The outputs that a request wants; all, where it names none."""
    wanted = list(names)
    for i, name in enumerate(wanted):
        if name not in signature.outputs:
            raise Refused(
                Code.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{{{','.join(sorted(signature.outputs))}}}.",
            )
        if name in wanted[:i]:
            raise Refused(Code.INVALID_ARGUMENT, f"duplicate output tensor alias: {name}")
    return wanted or list(signature.outputs)


def _texts(request: classification_pb2.ClassificationRequest) -> np.ndarray:
    kind = request.input.WhichOneof("kind")
    if kind is None:
        raise Refused(Code.INVALID_ARGUMENT, "Input is empty.")
    filled = getattr(request.input, kind)
    context: Mapping[str, Any] = filled.context.features.feature if kind.endswith("context") else {}
    texts = np.empty(len(filled.examples), object)
    for i, example in enumerate(filled.examples):
        feature = example.features.feature
        found = feature[TEXT_FEATURE] if TEXT_FEATURE in feature else context.get(TEXT_FEATURE)
        values = [] if found is None else found.bytes_list.value
        if len(values) != 1:
            raise Refused(
                Code.INVALID_ARGUMENT,
                f"example {i} has {len(values)} strings as its feature {TEXT_FEATURE!r}, expected 1",
            )
        texts[i] = values[0]
    return texts


def _spec(servable: Servable, signature: str) -> ModelSpec:
    spec = ModelSpec(name=servable.name, signature_name=signature)
    spec.version.value = servable.version
    return spec


def _check_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise Refused(Code.INVALID_ARGUMENT, "Missing ModelSpec")


def _request_id(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata():
        if key == "x-request-id" and isinstance(value, str) and 0 < len(value) <= 128:
            return value
    return request_id()
