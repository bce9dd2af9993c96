"""A signature of a served model: validates requests and passes them on to the calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from app.artifacts.manifests import SignatureManifest
from app.bounds import problem
from app.serving.batching import Batcher
from app.serving.calls import Pending
from app.serving.errors import Code, Refused
from app.serving.options import Limits
from data.batching import row_costs

DEFAULT_SIGNATURE = "serving_default"
TEXT_FEATURE = "text"
"""Feature of an example that holds the text."""
CAPPED = ("length", "width")
"""Inputs that `Limits` has a value for."""


Observe = Callable[[Mapping[str, np.ndarray], dict[str, np.ndarray]], None]
"""Takes inputs and outputs of a request by name."""


class TensorInfo(NamedTuple):
    """An input or output of a signature."""

    dtype: tf.DType
    shape: tuple[int | None, ...]
    """None for a dimension of any size."""
    tensor_name: str
    """Name in the graph of the SavedModel."""


class Signature:
    """One function of a served model: arrays in, arrays out, callable from any thread.

    Args:
        name: of the signature.
        definition: of the SavedModel.
        calls: runs the calls.
        manifest: which inputs apply to all rows, which are limited, and which values they may have.
        limits: largest requests.
        observe: called with inputs and outputs of each request that is answered.
    """

    def __init__(
        self,
        name: str,
        definition: SignatureDef,
        calls: Batcher,
        manifest: SignatureManifest,
        limits: Limits,
        observe: Observe | None = None,
    ) -> None:
        self.name = name
        self.method_name: str = definition.method_name
        self.inputs: Mapping[str, TensorInfo] = tensor_infos(definition.inputs)
        self.outputs: Mapping[str, TensorInfo] = tensor_infos(definition.outputs)
        self._calls = calls
        self._limits = limits
        self._observe = observe
        self._row_inputs = [n for n, info in self.inputs.items() if info.shape and n not in manifest.shared]
        self._bounds = manifest.bounds
        self._limited = [n for n in manifest.limited if n in self.inputs]
        self._dtypes = {n: np.dtype(info.dtype.as_numpy_dtype) for n, info in self.inputs.items()}

    @property
    def waiting(self) -> int:
        """Rows that are queued or running."""
        return self._calls.queue.rows

    def __call__(
        self, inputs: Mapping[str, np.ndarray], deadline: float | None = None
    ) -> dict[str, np.ndarray]:
        """Run a request; the calling thread waits.

        Args:
            inputs: by name; strings are object arrays of bytes.
            deadline: on the clock `time.monotonic()`; None: the timeout of the limits from now.

        Returns:
            outputs by name; strings as in the inputs.

        Raises:
            Refused: the inputs do not match the signature, exceed a limit, or the call fails or is late.
        """
        return self._observed(inputs, self._submit(inputs).result(self._until(deadline)))

    async def answer(
        self, inputs: Mapping[str, np.ndarray], deadline: float | None = None
    ) -> dict[str, np.ndarray]:
        """Run a request as a call does, without a waiting thread. Cancelling the task drops the request."""
        return self._observed(inputs, await self._submit(inputs).wait(self._until(deadline)))

    def warm(self, inputs: Mapping[str, np.ndarray] | None = None) -> None:
        """Run one request through each graph of the signature, so that no client waits for its first run.

        Args:
            inputs: None: one small row. Limits do not apply.

        Raises:
            Refused: a value is out of its bounds, or the call fails.
        """
        arrays = dict(inputs or {name: _small(info) for name, info in self.inputs.items()})
        self._check_bounds(arrays)
        self._calls.warm(arrays)

    def close(self) -> None:
        """Cancel queued and running calls."""
        self._calls.close()

    def _observed(
        self, inputs: Mapping[str, np.ndarray], outputs: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        if self._observe is not None:
            self._observe(inputs, outputs)
        return outputs

    def _until(self, deadline: float | None) -> float:
        return time.monotonic() + self._limits.timeout if deadline is None else deadline

    def _submit(self, inputs: Mapping[str, np.ndarray]) -> Pending:
        return self._calls.submit(dict(inputs), *self._checked(inputs))

    def _checked(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Refuse inputs that do not match; return the cost and the size of each row: int64 [rows]."""
        if inputs.keys() != self.inputs.keys():
            raise _invalid(_other_names(inputs, self.inputs))
        for name, info in self.inputs.items():
            value = inputs[name]
            if value.dtype != self._dtypes[name]:
                dtype = tf.string if value.dtype == object else tf.as_dtype(value.dtype)
                if dtype != info.dtype:
                    raise _invalid(f"input {name!r} has the type {dtype.name}, expected {info.dtype.name}")
            if not _fits(value.shape, info.shape):
                raise _invalid(
                    f"input {name!r} has the shape {_shape(value.shape)}, expected {_shape(info.shape)}"
                )
        self._check_bounds(inputs)
        rows = self._checked_rows(inputs)
        for name, info in self.inputs.items():
            if info.dtype == tf.string:
                self._check_strings(name, inputs[name])
        copies, steps = 1, np.zeros(rows, np.int64) if self._limited else None
        for name in self._limited:
            most = getattr(self._limits, name)
            highest = int(inputs[name].max()) if inputs[name].size else 0
            option = " (--max-length)" if name == "length" else ""
            if highest > most:
                raise _invalid(f"input {name!r} is {highest}, at most {most} is allowed{option}")
            if name in self._row_inputs:
                steps += np.maximum(inputs[name], 0)
            else:
                copies = max(copies, highest)
        sizes = self._row_sizes(inputs, rows, copies)
        return sizes if steps is None else (sizes + steps) * copies, sizes

    def _row_sizes(self, inputs: Mapping[str, np.ndarray], rows: int, copies: int) -> np.ndarray:
        """Refuse rows that are too large; return the size of each: int64 [rows].

        Args:
            inputs: arrays of the types and shapes of the signature.
            rows: their number.
            copies: beams that each row is repeated for.
        """
        costs: Any = 0
        of_all = 0
        for name, info in self.inputs.items():
            if not info.shape or not (info.dtype == tf.string or None in info.shape[1:]):
                continue  # the model decides how large it is
            own = row_costs({name: inputs[name]})
            if name in self._row_inputs:
                costs = costs + own
            elif (of_all := int(own.sum())) - 1 > self._limits.text_bytes:
                raise _invalid(
                    f"input {name!r} has {of_all - 1} bytes, at most {self._limits.text_bytes} are allowed "
                    "(--max-text)"
                )
        sizes: np.ndarray = np.maximum(costs, np.ones(rows, np.int64))
        size, most = int(sizes.max()) - 1, self._limits.text_bytes
        if size * copies > most:
            times = f" times {copies} beams" if copies > 1 else ""
            raise _invalid(
                f"row {int(sizes.argmax())} has {size} bytes{times}, with one byte between two strings; "
                f"at most {most} are allowed (--max-text)"
            )
        return sizes + of_all if of_all else sizes

    def _check_strings(self, name: str, strings: np.ndarray) -> None:
        flat = strings.ravel().tolist()
        if set(map(type, flat)) - {bytes} and not all(isinstance(value, bytes) for value in flat):
            raise _invalid(f"input {name!r} has values that are not strings")
        longest = max(map(len, flat), default=0)
        if longest > self._limits.text_bytes:
            raise _invalid(
                f"input {name!r} has a string of {longest} bytes, at most {self._limits.text_bytes} are "
                "allowed (--max-text)"
            )

    def _check_bounds(self, inputs: Mapping[str, np.ndarray]) -> None:
        if (message := problem(self._bounds, inputs)) is not None:
            raise _invalid(message)

    def _checked_rows(self, inputs: Mapping[str, np.ndarray]) -> int:
        counts = {name: len(inputs[name]) for name in self._row_inputs}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name}: {count}" for name, count in counts.items())
            raise _invalid(f"all inputs must have the same number of rows; got {found}")
        rows = max(counts.values(), default=1)
        if not rows:
            raise _invalid("the request has no rows, expected at least 1")
        if rows > self._limits.rows:
            raise _invalid(
                f"the request has {rows} rows, at most {self._limits.rows} are allowed (--max-rows)"
            )
        return rows


def tensor_infos(infos: Mapping[str, Any]) -> dict[str, TensorInfo]:
    """Return the inputs or outputs of a signature definition by name, sorted."""
    return {
        name: TensorInfo(
            tf.as_dtype(info.dtype),
            tuple(None if size.size < 0 else size.size for size in info.tensor_shape.dim),
            info.name,
        )
        for name, info in sorted(infos.items())
    }


def _invalid(message: str) -> Refused:
    return Refused(Code.INVALID_ARGUMENT, message)


def _other_names(found: Iterable[str], expected: Iterable[str]) -> str:
    sent, known = set(found), set(expected)
    message = f"the inputs do not match the signature, which takes {', '.join(sorted(known))}"
    if missing := sorted(known - sent):
        message += f"; missing: {', '.join(missing)}"
    if unknown := sorted(sent - known):
        message += f"; unknown: {', '.join(unknown)}"
    return message


def _fits(sizes: Sequence[int], expected: Sequence[int | None]) -> bool:
    return len(sizes) == len(expected) and all(
        want is None or own == want for own, want in zip(sizes, expected, strict=True)
    )


def _shape(sizes: Sequence[int | None]) -> str:
    return "[" + ",".join("?" if size is None else str(size) for size in sizes) + "]"


def _small(info: TensorInfo) -> np.ndarray:
    shape = [size or 1 for size in info.shape]
    if info.dtype == tf.string:
        return np.full(shape, b"a", object)
    return np.ones(shape, info.dtype.as_numpy_dtype)
