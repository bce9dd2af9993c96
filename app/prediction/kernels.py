"""The recurrent kernels that a loaded export runs. This module imports no TensorFlow."""

from __future__ import annotations

AUTO, NATIVE, TENSORFLOW = "auto", "native", "tensorflow"
KERNELS = (AUTO, NATIVE, TENSORFLOW)
"""`native`: the native operation, on a CPU. `tensorflow`: those of the graph as it was exported. `auto`: the
native operation on a host without a GPU where it can be loaded, else those of the graph."""
