"""ONNX Runtime, for inference. It runs in an environment with onnx and onnxruntime, see `answering`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from answering import Turn, answer, turn_of_layers, turn_of_texts
from onnx import TensorProto, helper, numpy_helper

OPSET, IR = 17, 9
Weights = dict[str, np.ndarray]


def session(
    nodes: Sequence[Any], given: Any, output: str, constants: Weights, threads: int
) -> onnxruntime.InferenceSession:
    """Return a graph of some nodes, ready to run."""
    found = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(list(nodes), "graph", [given], [found], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def lstm_weights(weights: Weights) -> Weights:
    """Return the weights of both directions of an LSTM of Keras as ONNX has them.

    Keras has the gates in the order i, f, c, o, and ONNX i, o, f, c.
    """

    def reordered(value: np.ndarray) -> np.ndarray:
        i, f, c, o = np.split(value, 4, axis=-1)
        return np.concatenate([i, o, f, c], axis=-1)

    found: dict[str, list[np.ndarray]] = {"W": [], "R": [], "B": []}
    for name in ("forward", "backward"):
        bias = reordered(weights[f"{name}_bias"])
        found["W"].append(reordered(weights[f"{name}_kernel"]).T)
        found["R"].append(reordered(weights[f"{name}_recurrent_kernel"]).T)
        found["B"].append(np.concatenate([bias, np.zeros_like(bias)]))
    return {name: np.stack(values) for name, values in found.items()}


def lstm(inputs: str, outputs: str, units: int) -> Any:
    """Return the node of a bidirectional LSTM: [T, B, D] → [T, 2, B, U]."""
    return helper.make_node(
        "LSTM", [inputs, "W", "R", "B"], [outputs], hidden_size=units, direction="bidirectional"
    )


def single(job: dict[str, Any]) -> Turn:
    """Run a classifier with the weights of an export on the ids of one text at a time."""
    weights = dict(np.load(job["weights"]))
    units = job["sizes"]["units"]
    constants = {
        **lstm_weights(weights),
        "embedding": weights["embedding"],
        "head_kernel": weights["head_kernel"],
        "head_bias": weights["head_bias"],
        "batch": np.array([1], np.int64),
        "rows": np.array([-1, 2 * units], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "ids"], ["embedded"]),
        helper.make_node("Unsqueeze", ["embedded", "batch"], ["sequences"]),
        lstm("sequences", "outputs", units),
        helper.make_node("Reshape", ["outputs", "rows"], ["steps"]),
        helper.make_node("ReduceMax", ["steps"], ["maximum"], axes=[0]),
        helper.make_node("ReduceMean", ["steps"], ["mean"], axes=[0]),
        helper.make_node("Concat", ["maximum", "mean"], ["pooled"], axis=1),
        helper.make_node("Gemm", ["pooled", "head_kernel", "head_bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["steps"])
    running = session(nodes, ids, "probabilities", constants, job["threads"])

    def predict(ids: np.ndarray) -> list[float]:
        found: list[float] = running.run(None, {"ids": ids})[0][0].tolist()
        return found

    inputs = {length: np.array(ids, np.int64) for length, ids in job["ids"].items()}
    return turn_of_texts(inputs, predict, job["calls"])


def layer(job: dict[str, Any]) -> Turn:
    """Run a bidirectional LSTM alone, for the cases that do not go backward."""
    random = np.random.default_rng(0)

    def prepared(case: dict[str, Any]) -> Any:
        rows, steps, units = case["rows"], case["steps"], case["units"]
        shapes = {"W": (2, 4 * units, units), "R": (2, 4 * units, units), "B": (2, 8 * units)}
        weights = {k: 0.1 * random.standard_normal(v).astype(np.float32) for k, v in shapes.items()}
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["steps", "rows", units])
        running = session([lstm("x", "y", units)], given, "y", weights, job["threads"])
        x = random.standard_normal((steps, rows, units)).astype(np.float32)
        return lambda: running.run(None, {"x": x})

    return turn_of_layers([case for case in job["cases"] if not case["backward"]], prepared)


if __name__ == "__main__":
    answer({"single": single, "layer": layer})
