"""The choice between the native kernels and Keras's layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from models.kernels.native import library as native

KERNELS = ("auto", "native", "keras")
"""What can be asked for; `auto`: the native kernels on a CPU where they can run, else Keras's layers."""


@dataclass(frozen=True)
class Choice:
    """Which kernels run."""

    kernels: Literal["native", "keras"]
    reason: str
    """One line: what runs, or why the native kernels do not."""
    instruction_set: str | None = None
    """Of the native kernels: `avx512`, `avx2` or `baseline`."""
    is_fallback: bool = False
    """Whether Keras's layers run because the native kernels cannot."""

    @property
    def name(self) -> str:
        """What decides the last bits of a result, e.g. `native avx512` or `keras`."""
        return " ".join(filter(None, (self.kernels, self.instruction_set)))


KERAS = Choice("keras", "asked for")


def choose(kernels: str) -> Choice:
    """Return which kernels run on this machine. The library is compiled if it has to be.

    Args:
        kernels: one of `KERNELS`.

    Raises:
        ValueError: it is none of these, or `native`, and they cannot run; the message says why.
    """
    if kernels not in KERNELS:
        raise ValueError(f"unknown kernels {kernels!r}; expected one of {', '.join(KERNELS)}")
    if kernels == "keras":
        return KERAS
    if kernels == "auto" and _has_gpu():
        return Choice("keras", "TensorFlow has a GPU, where Keras's layers run cuDNN")
    found = native.library()
    if found.available:
        return Choice("native", found.reason, found.instruction_set)
    if kernels == "native":
        raise ValueError(f"the native kernels are not available: {found.reason}")
    return Choice("keras", found.reason, is_fallback=True)


def needs_compiling(kernels: str) -> bool:
    """Return whether `choose` would compile the library now, which takes some seconds."""
    is_wanted = kernels == "native" or (kernels == "auto" and not _has_gpu())
    return is_wanted and native.needs_compiling()


def _has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))
