"""The gRPC server: PredictionService and ModelService of TensorFlow Serving's API."""

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

from app.serving.calls import out_of_memory
from app.serving.errors import Code, Refused
from app.serving.logs import Log, request_id
from app.serving.metrics import Metrics
from app.serving.options import Limits
from app.serving.repository import Repository
from app.serving.servable import Servable, unknown_signature
from app.serving.signature import DEFAULT_SIGNATURE, TEXT_FEATURE, Signature

THREADS = 256
"""Concurrent requests, most of which wait for their batch; further requests are refused."""

NO_DEADLINE = 10**8
"""Seconds: gRPC reports a deadline in about three hundred years for a call without one."""

Response = TypeVar("Response", bound=Message)

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
    """What is recorded about a request."""

    id: str
    method: str
    deadline: float
    servable: Servable | None = None
    signature: str = ""
    rows: int = 0


class Services:
    """What both services share: status codes, metrics and logs."""

    def __init__(self, repository: Repository, limits: Limits, metrics: Metrics, log: Log) -> None:
        self.repository = repository
        self.limits = limits
        self._metrics = metrics
        self._log = log

    def respond(
        self, method: str, context: grpc.ServicerContext, work: Callable[[Call], Response]
    ) -> Response:
        """Handle a request; an exception becomes its gRPC status."""
        began = time.monotonic()
        left = context.time_remaining()
        timeout = self.limits.timeout if left is None or left > NO_DEADLINE else left
        call = Call(_request_id(context), method, began + timeout)
        code, refused = "OK", Refused(Code.INTERNAL, "internal error")
        more: dict[str, Any] = {}
        try:
            return work(call)
        except Refused as error:
            code, refused = error.code.name, error
        except MemoryError:
            refused = out_of_memory()
            code = refused.code.name
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
        """Hold the version that a request names."""
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
        """Call any signature: tensors in, tensors out."""
        return self._services.respond("Predict", context, lambda call: self._predict(call, request))

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
        """Classify the feature `text` of each example."""
        return self._services.respond("Classify", context, lambda call: self._classify(call, request))

    def _classify(
        self, call: Call, request: classification_pb2.ClassificationRequest
    ) -> classification_pb2.ClassificationResponse:
        with self._services.servable(call, request.model_spec) as servable:
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            if name not in servable.signatures:
                raise Refused(Code.INVALID_ARGUMENT, unknown_signature(servable, name))
            signature = servable.signatures[name]
            call.signature = name
            if not {"classes", "probabilities"} <= signature.outputs.keys():
                raise Refused(Code.INVALID_ARGUMENT, f"signature {name!r} does not classify")
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
        """Return the signatures of a version."""
        return self._services.respond("GetModelMetadata", context, lambda call: self._metadata(call, request))

    def _metadata(
        self, call: Call, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _check_spec(request)
        if not request.metadata_field:
            message = "the request has no metadata_field; expected 'signature_def'"
            raise Refused(Code.INVALID_ARGUMENT, message)
        for field in request.metadata_field:
            if field != "signature_def":
                raise Refused(
                    Code.INVALID_ARGUMENT,
                    f"metadata_field {field!r} is not supported; expected 'signature_def'",
                )
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
        """Return the status of the versions of a model."""
        return self._services.respond("GetModelStatus", context, lambda call: self._status(request))

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
            # A status without an error is sent as an empty message, not left out.
            status.status.error_code = 0 if error_code is None else int(error_code)
            status.status.error_message = error_message
            status.status.SetInParent()
        return response


def grpc_server(
    repository: Repository, *, limits: Limits, metrics: Metrics, log: Log, threads: int = THREADS
) -> grpc.Server:
    """Return a server of both services; it has no port yet and is not started.

    Args:
        repository: the models.
        limits: largest requests.
        metrics: count requests.
        log: receives a line for each request.
        threads: concurrent requests.
    """
    server = grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
        maximum_concurrent_rpcs=threads,
        options=[
            ("grpc.max_receive_message_length", limits.body_bytes),
            ("grpc.max_send_message_length", -1),
            # A second server on the same port must fail instead of sharing it.
            ("grpc.so_reuseport", 0),
        ],
    )
    services = Services(repository, limits, metrics, log)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(services), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(services), server)
    return server


# Tensors


def read_inputs(request: predict_pb2.PredictRequest, limits: Limits) -> dict[str, np.ndarray]:
    """Return the tensors of a request as arrays.

    Raises:
        Refused: a tensor is not valid.
    """
    return {name: _array(name, proto, limits) for name, proto in request.inputs.items()}


def _array(name: str, proto: TensorProto, limits: Limits) -> np.ndarray:
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    try:
        if proto.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
            raise ValueError("its shape is not fully known")
        count = math.prod(sizes)
        # Values that repeat the last one may be left out: a few bytes could allocate any amount of memory.
        if count > max(limits.rows, proto.ByteSize()):
            raise ValueError(f"it has fewer values than its shape {sizes} needs")
        dtype = tf.as_dtype(proto.dtype)
        array: np.ndarray = tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy()
        return np.asarray(array, object if dtype == tf.string else None)
    except (TypeError, ValueError) as error:
        message = str(error)
    except (tf.errors.OpError, AttributeError):
        message = "its values do not match its type and shape"
    raise Refused(Code.INVALID_ARGUMENT, f"input {name!r} is not a valid tensor: {message}")


def tensor_proto(array: np.ndarray) -> TensorProto:
    """Return an array as a tensor with a field of values, not bytes, as TensorFlow Serving sends it."""
    dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    proto = TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, _VALUES[dtype]).extend(array.ravel().tolist())
    return proto


def _filtered(names: Iterable[str], signature: Signature) -> list[str]:
    """Return the names of the requested outputs; all if a request names none."""
    wanted = list(names)
    for i, name in enumerate(wanted):
        if name not in signature.outputs:
            raise Refused(
                Code.INVALID_ARGUMENT,
                f"output {name!r} not found; the signature has {', '.join(sorted(signature.outputs))}",
            )
        if name in wanted[:i]:
            raise Refused(Code.INVALID_ARGUMENT, f"output {name!r} is requested twice")
    return wanted or list(signature.outputs)


def _texts(request: classification_pb2.ClassificationRequest) -> np.ndarray:
    kind = request.input.WhichOneof("kind")
    if kind is None:
        raise Refused(Code.INVALID_ARGUMENT, "the request has no examples")
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
                f"example {i}: expected the feature {TEXT_FEATURE!r} with one string",
            )
        texts[i] = values[0]
    return texts


def _spec(servable: Servable, signature: str) -> ModelSpec:
    spec = ModelSpec(name=servable.name, signature_name=signature)
    spec.version.value = servable.version
    return spec


def _check_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise Refused(Code.INVALID_ARGUMENT, "the request has no model_spec")


def _request_id(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata():
        if key == "x-request-id" and isinstance(value, str) and 0 < len(value) <= 128:
            return value
    return request_id()
