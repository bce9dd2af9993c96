from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from app.artifacts.operations import ALLOWED, forbidden_operations
from app.artifacts.run import open_run
from app.prediction.loading import build_served, load_predictor

OPERATION = "TextrnnRecurrent"
TEXTS = [b"The soup is dull, but the bread is very charming.", b"", b"charming"]


pytestmark = pytest.mark.usefixtures("native_kernels")


def operations(function: tf.types.experimental.PolymorphicFunction) -> set[str]:
    """Return the types of all operations of a graph, those of its functions among them."""
    graph = function.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for of in graph.library.function for node in of.node_def)]
    return {node.op for node in nodes}


def test_predictions_of_a_run(run: Path) -> None:
    """A run predicts and explains with native kernels, the same as without them."""
    opened = open_run(run)
    native, portable = build_served(opened, native=True), build_served(opened)

    for name in ("serving_default", "explain", "states"):
        function = native.signatures[name].function
        assert OPERATION in operations(function)
        assert OPERATION not in operations(portable.signatures[name].function)
        found, expected = (
            served.signatures[name].function(tf.constant(TEXTS)) for served in (native, portable)
        )
        for output, values in expected.items():
            if values.dtype.is_floating:
                np.testing.assert_allclose(found[output], values, rtol=1e-4, atol=1e-6)
            else:
                np.testing.assert_array_equal(found[output], values)


def test_a_run_is_loaded_with_native_kernels(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`predict` and `evaluate` of a run use them without being asked."""
    chosen: list[bool] = []

    def recorded(*arguments: object, native: bool = False) -> object:
        chosen.append(native)
        return build_served(*arguments, native=native)  # type: ignore[arg-type]

    monkeypatch.setattr("app.prediction.loading.build_served", recorded)
    load_predictor(run)

    assert chosen == [True]


def test_an_export_has_no_native_operation(run: Path, exported: Path) -> None:
    """A run that was trained with native kernels is exported with operations of TensorFlow alone."""
    assert open_run(run).manifest.kernels.startswith("native ")
    assert OPERATION not in ALLOWED
    assert forbidden_operations(exported) == []
