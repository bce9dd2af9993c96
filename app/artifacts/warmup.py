"""Warm-up requests of an export.

The first run of a graph is many times slower than the next ones: it is optimized for the host, and kernels
are chosen. TensorFlow Serving runs the warm-up requests of a model before it is available
(https://www.tensorflow.org/tfx/serving/saved_model_warmup). If one fails, it refuses the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from app.artifacts.examples import Examples
from app.artifacts.files import replaced
from data.errors import UserError

WARMUP = Path("assets.extra", "tf_serving_warmup_requests")
MOST_RECORDS = 1000
"""Limit of TensorFlow Serving, which refuses a model with more."""
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Batch sizes that servers and clients commonly use."""

SHORT = (
    "Thanks.",
    "This was very good, I would do it again!",
    "When does the next train leave for the airport?",
    "Das war nicht schön…",
)
LONG = " ".join(SHORT * 12)
"""About 270 words."""


def warmup_requests(
    name: str, signatures: Mapping[str, Examples], batch_sizes: Sequence[int] = BATCH_SIZES
) -> list[PredictRequest]:
    """Return requests for each signature: one of short texts for each batch size, and one of a long text.

    A signature that takes a scalar gets none: with batching, TensorFlow Serving requires one row for each
    text in every input, and would refuse the model for such a request.

    Args:
        name: of the model.
        signatures: functions from texts to inputs, by the name of the signature.
        batch_sizes: numbers of rows.

    Returns:
        the requests, sorted by signature.
    """
    short = [[SHORT[i % len(SHORT)].encode() for i in range(rows)] for rows in sorted(batch_sizes)]
    found = []
    for signature, inputs in sorted(signatures.items()):
        for texts in (*short, [LONG.encode()]):
            arrays = inputs(texts)
            if all(array.shape for array in arrays.values()):
                found.append(_request(name, signature, arrays))
    return found


def _request(name: str, signature: str, arrays: Mapping[str, np.ndarray]) -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, array in arrays.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
    return request


def write_warmup(directory: Path, requests: Iterable[PredictRequest]) -> None:
    """Write requests to the file that TensorFlow Serving reads, completely or not at all.

    Args:
        directory: of the SavedModel.
        requests: at most `MOST_RECORDS`.

    Raises:
        ValueError: there are more.
    """
    listed = list(requests)
    if len(listed) > MOST_RECORDS:
        raise ValueError(f"at most {MOST_RECORDS} warm-up requests; got {len(listed)}")
    path = directory / WARMUP
    path.parent.mkdir(exist_ok=True)
    with replaced(path) as beside, tf.io.TFRecordWriter(str(beside)) as writer:
        for request in listed:
            log = PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString(deterministic=True))  # the same file each time


def read_warmup(directory: Path) -> list[PredictRequest]:
    """Return the warm-up requests of a model; none if it has no such file.

    Raises:
        UserError: the file is damaged or has other content.
    """
    path = directory / WARMUP
    if not path.is_file():
        return []
    requests = []
    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            log = PredictionLog.FromString(record)
            if log.WhichOneof("log_type") != "predict_log":
                raise ValueError("not a request")
            requests.append(log.predict_log.request)
    except (tf.errors.OpError, DecodeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as warm-up requests") from error
    return requests
