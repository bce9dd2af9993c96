"""The recurrent kernels that a loaded model runs. This module imports no TensorFlow."""

from __future__ import annotations

AUTO, NATIVE, TENSORFLOW = "auto", "native", "tensorflow"
KERNELS = (AUTO, NATIVE, TENSORFLOW)
"""`native`: the native operation, on a CPU. `tensorflow`: those of a graph that any host runs, as it was
exported. `auto`: the native operation on a host without a GPU where it can run, else those of the graph."""
