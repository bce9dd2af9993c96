"""Replays the golden set of a SavedModel in a process that cannot import this project.

This file is run as a program, `python -I replay.py EXPORT GOLDEN`, and prints one JSON object. It refuses to
import the project, which uses only the functions for arrays of this file.
"""

from __future__ import annotations

import base64
import importlib.abc
import json
import random
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ABSOLUTE, RELATIVE = 1e-4, 1e-3
"""Tolerance of numbers, the sum of both. Strings and integers must be equal."""
LARGEST_BATCH = 250_000
"""Largest batch in bytes of text, padding included. Texts that would make it larger are run in a second
batch, together with as many other texts as fit."""
MOST_LINES = 5
"""Number of differences that are described for each way of calling."""
BATCH, SHUFFLED, ALONE, SESSION = "one batch", "shuffled", "one by one", "a TF1 session"
RECURRENT = ("CudnnRNNV3", "BlockLSTMV2")

Arrays = dict[str, np.ndarray]
Case = dict[str, Any]
"""`name`, `signature`, `settled` (the outputs do not depend on rounding), and as arrays `rows` (inputs of one
row), `shared` (inputs of all rows) and `outputs`."""


def encoded(array: np.ndarray) -> dict[str, Any]:
    """Return an array as JSON; strings are bytes in an array of objects."""
    if array.dtype == object:
        data: Any = [base64.b64encode(value).decode() for value in array.ravel()]
        return {"dtype": "string", "shape": array.shape, "data": data}
    whole = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
    data = base64.b64encode(whole.tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": array.shape, "data": data}


def decoded(value: Mapping[str, Any]) -> np.ndarray:
    """Return the array that `encoded` returned as JSON."""
    if value["dtype"] == "string":
        found = np.empty(len(value["data"]), object)
        found[:] = [base64.b64decode(item) for item in value["data"]]
        return found.reshape(value["shape"])
    dtype = np.dtype(value["dtype"]).newbyteorder("<")
    return np.frombuffer(base64.b64decode(value["data"]), dtype).reshape(value["shape"])


def read_cases(path: str) -> Iterator[Case]:
    """Yield the cases of a golden set, one of each line."""
    with Path(path).open(encoding="utf-8") as file:
        for line in file:
            case = {"settled": True, **json.loads(line)}
            for part in ("rows", "shared", "outputs"):
                case[part] = {name: decoded(value) for name, value in case[part].items()}
            yield case


def padded(parts: list[np.ndarray]) -> np.ndarray:
    """Join rows of several arrays, padded with zeros or empty strings."""
    shape = np.max([part.shape[1:] for part in parts], axis=0).astype(int)
    rows = sum(len(part) for part in parts)
    whole = np.full((rows, *shape), b"" if parts[0].dtype == object else 0, parts[0].dtype)
    start = 0
    for part in parts:
        place: Any = (slice(start, start + len(part)), *(slice(0, size) for size in part.shape[1:]))
        whole[place] = part
        start += len(part)
    return whole


def difference(got: np.ndarray, wanted: np.ndarray, *, slack: float = 1.0) -> float | None:
    """Return the largest difference of two outputs, without padding of the first; None if they differ.

    It is padded at the end of any axis, or at the beginning of the last one. Numbers within `slack` times the
    tolerance do not differ.
    `difference([[1, 2, 0]], [[1, 2]]) -> 0.0`
    """
    if got.ndim != wanted.ndim or any(a < b for a, b in zip(got.shape, wanted.shape, strict=True)):
        return None
    found = (_without_padding(got, wanted.shape, at_end=at_end) for at_end in (True, False))
    gaps = [_gap(own, wanted, slack) for own in found if own is not None]
    return next((gap for gap in gaps if gap is not None), None)


def _without_padding(array: np.ndarray, shape: tuple[int, ...], *, at_end: bool) -> np.ndarray | None:
    """Return the part of an array with this shape; None if something is beyond it."""
    place = [slice(0, size) for size in shape]
    if place and not at_end:
        place[-1] = slice(array.shape[-1] - shape[-1], None)
    nothing = b"" if array.dtype == object else 0
    beyond = array.copy()
    beyond[tuple(place)] = nothing
    return None if np.any(beyond != nothing) else array[tuple(place)]


def _gap(got: np.ndarray, wanted: np.ndarray, slack: float) -> float | None:
    """Return the largest difference of two outputs of the same shape; None if they differ."""
    if wanted.dtype.kind != "f":
        return 0.0 if np.array_equal(got, wanted) else None
    if not np.allclose(got, wanted, rtol=slack * RELATIVE, atol=slack * ABSOLUTE, equal_nan=True):
        return None
    gaps = np.abs(got.astype(float) - wanted)
    return float(np.nanmax(gaps)) if gaps.size and not np.isnan(gaps).all() else 0.0


def compared(way: str, cases: list[Case], outputs: list[Arrays]) -> dict[str, Any]:
    """Compare outputs with the golden ones: their number, the largest difference, and what differs.

    For a case that is not settled, only the names of the outputs are compared.
    """
    largest, wrong = 0.0, []
    for case, output in zip(cases, outputs, strict=True):
        names = sorted(case["outputs"])
        if sorted(output) != names:
            wrong.append(f"{case['signature']}, {case['name']!r}: outputs {sorted(output)}, expected {names}")
            continue
        for name in names if case["settled"] else ():
            gap = difference(output[name], case["outputs"][name])
            if gap is None:
                got, wanted = _shown(output[name]), _shown(case["outputs"][name])
                place = f"{case['signature']}, {case['name']!r}, {way}"
                wrong.append(f"{place}: {name} is {got}, the golden output {wanted}")
            else:
                largest = max(largest, gap)
    more = [f"and {len(wrong) - MOST_LINES} more"] if len(wrong) > MOST_LINES else []
    return {"answers": len(outputs), "largest_difference": largest, "wrong": wrong[:MOST_LINES] + more}


def _shown(array: np.ndarray) -> str:
    values = [v.decode(errors="replace") if isinstance(v, bytes) else v.item() for v in array.ravel()[:4]]
    text = ", ".join(repr(value)[:40] for value in values)
    return f"[{text}{', …' if array.size > len(values) else ''}]"


def rows_apart(outputs: Arrays) -> list[Arrays]:
    """Return the outputs of each row of a batch."""
    rows = range(len(next(iter(outputs.values()))))
    return [{name: value[row : row + 1] for name, value in outputs.items()} for row in rows]


def batches(cases: list[Case]) -> list[list[int]]:
    """Return the cases of each batch: all in one, or the longest ones in a second one."""
    sizes = [max((size(value) for value in case["rows"].values()), default=0) for case in cases]
    largest = max(sizes)
    every = list(range(len(cases)))
    if largest * len(cases) <= LARGEST_BATCH:
        return [every]
    long = [i for i in every if sizes[i] * len(cases) > LARGEST_BATCH]
    others = [i for i in every if i not in long]
    room = max(LARGEST_BATCH // largest - len(long), 1)
    return [others, long + others[:room]] if others else [long]


def size(array: np.ndarray) -> int:
    """Return the size in bytes of the strings of a row."""
    return sum(len(value) + 1 for value in array.ravel()) if array.dtype == object else 0


def batch(cases: list[Case], order: list[int]) -> Arrays:
    """Return the inputs of some cases of one signature as one call."""
    rows = {name: padded([cases[i]["rows"][name] for i in order]) for name in cases[0]["rows"]}
    return {**rows, **cases[0]["shared"]}


def main(export: str, golden: str) -> dict[str, Any]:
    """Run every case alone, in a batch, in a shuffled batch, and in a TF1 session."""

    class Refuse(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
            if name.partition(".")[0] in ("app", "data", "models"):
                raise ImportError(f"{name}: this project must not be imported here")
            if name != "keras" or (spec := PathFinder.find_spec(name, path, target)) is None:
                return None
            spec.loader = self  # TensorFlow asks where Keras is, then does without it
            return spec

        def exec_module(self, module: ModuleType) -> None:
            raise ImportError(f"{module.__name__}: the graph must run without it")

    sys.meta_path.insert(0, Refuse())
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)  # on GPUs: it has three digits
    by_signature: dict[str, list[Case]] = {}
    for case in read_cases(golden):
        by_signature.setdefault(case["signature"], []).append(case)
    ways: dict[str, tuple[list[Case], list[Arrays]]] = {
        way: ([], []) for way in (ALONE, BATCH, SHUFFLED, SESSION)
    }

    def note(way: str, cases: list[Case], outputs: list[Arrays]) -> None:
        ways[way][0].extend(cases)
        ways[way][1].extend(outputs)

    loaded = tf.saved_model.load(export)
    signatures = set(loaded.signatures)
    called = {name: cases for name, cases in by_signature.items() if name in signatures}
    for name, cases in called.items():
        function = loaded.signatures[name]

        def call(inputs: Arrays, function: Any = function) -> Arrays:
            outputs = function(**{key: tf.constant(value) for key, value in inputs.items()})
            return {key: value.numpy() for key, value in outputs.items()}

        note(ALONE, cases, [call({**case["rows"], **case["shared"]}) for case in cases])
        for order in batches(cases):
            for way in (BATCH, SHUFFLED):
                note(way, [cases[i] for i in order], rows_apart(call(batch(cases, order))))
                random.Random(0).shuffle(order)

    del loaded
    ran: dict[str, dict[str, int]] = {}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], export)
        for name, cases in called.items():
            definition = meta.signature_def[name]
            outputs = {key: value.name for key, value in definition.outputs.items()}
            trace = tf.compat.v1.RunMetadata()
            options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
            found_outputs = []
            for i, case in enumerate(cases):
                inputs = {**case["rows"], **case["shared"]}
                feeds = {definition.inputs[key].name: value for key, value in inputs.items()}
                traced = {"options": options, "run_metadata": trace} if i == 0 else {}
                found = session.run(outputs, feeds, **traced)
                found_outputs.append({key: np.asarray(value) for key, value in found.items()})
            note(SESSION, cases, found_outputs)
            ran[name] = _kernels_that_ran(trace)
    return {
        "tensorflow": tf.__version__,
        "gpus": len(tf.config.list_physical_devices("GPU")),
        "ways": {way: compared(way, *noted) for way, noted in ways.items()},
        "ran": ran,
        "imported": sorted({name.partition(".")[0] for name in sys.modules} & {"app", "data", "models"}),
    }


def _kernels_that_ran(trace: Any) -> dict[str, int]:
    """Count the recurrent kernels of a traced call by the kind of device that ran them."""
    count: dict[str, int] = {}
    for device in trace.step_stats.dev_stats:
        for node in device.node_stats:
            for kernel in RECURRENT:
                if f"= {kernel}(" in node.timeline_label or node.node_name.endswith(f":{kernel}"):
                    where = "GPU" if "gpu" in device.device.lower() else "CPU"
                    count[f"{kernel} on {where}"] = count.get(f"{kernel} on {where}", 0) + 1
    return count


if __name__ == "__main__":
    result = main(*sys.argv[1:])
    json.dump(result, sys.stdout)
