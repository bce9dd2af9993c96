"""Loading an export with the recurrent kernels that are fast on this machine.

An export is pure TensorFlow. Where the native operation can run, it replaces the portable kernels of the
graph, in memory. The outputs are compared with the golden set of the export, within the tolerance of
`verify`: those of a signature with a few of its cases before its first call, or all of them at once. If they
differ, the graph is loaded again as it is.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from app.artifacts import replay
from app.artifacts.exchange import load_exchanged
from app.artifacts.golden import GOLDEN
from app.prediction.kernels import AUTO, NATIVE, TENSORFLOW
from data.errors import UserError
from models.kernels.choice import choose, needs_compiling

FEW_CASES = 8
"""Cases of the golden set that are compared before the first call of a signature."""
SHORT = 200
"""Maximum size in bytes of the strings of such a case."""

Function = Callable[..., dict[str, tf.Tensor]]
Note = Callable[[str], object]


def runs_natively(path: Path, kernels: str, note: Note) -> bool:
    """Return whether the native kernels run a model in this process.

    Args:
        path: of the model, for messages.
        kernels: one of `app.prediction.kernels.KERNELS`.
        note: called with a sentence if the native kernels are compiled, or cannot run.

    Raises:
        UserError: `native` is impossible.
    """
    if kernels == TENSORFLOW:
        return False
    if needs_compiling(kernels):
        note("the native kernels are compiled, once on this machine")
    try:
        choice = choose(kernels)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    if choice.is_fallback:
        _give_up(path, kernels, choice.reason, note)
    return choice.kernels == NATIVE


def load_signatures(
    path: Path, kernels: str = AUTO, *, whole: bool = False, note: Note = lambda sentence: None
) -> Mapping[str, Function]:
    """Return the signatures of an export by name.

    Args:
        path: directory of one version.
        kernels: one of `app.prediction.kernels.KERNELS`.
        whole: compare the outputs of all signatures with the whole golden set at once; otherwise those of a
            signature with a few cases, before its first call.
        note: called with a sentence if the native kernels are compiled, or do not run although a CPU runs the
            graph.

    Raises:
        UserError: `native` is impossible, or its outputs differ from the golden ones; without `whole`, the
            first call of a signature raises the latter.
    """
    if not runs_natively(path, kernels, note):
        return _as_it_is(path)

    def keep(reason: str) -> Mapping[str, Function]:
        _give_up(path, kernels, reason, note)
        return _as_it_is(path)

    try:
        loaded = load_exchanged(path)
    except (OSError, ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        return keep(f"the graph cannot be exchanged: {_first_line(error)}")
    if loaded is None:
        return keep("the graph has no layer that they compute") if kernels == NATIVE else _as_it_is(path)
    signatures = signatures_of(loaded)
    if not whole:
        unproven = _Unproven(path, signatures, keep)
        return {name: partial(unproven.call, name) for name in signatures}
    for name, function in signatures.items():
        if problem := disagreement(path, name, function):
            return keep(problem)
    return signatures


def _give_up(path: Path, kernels: str, reason: str, note: Note) -> None:
    """Say that the native kernels do not run a model, or refuse it if they were asked for."""
    if kernels == NATIVE:
        raise UserError(f"{path}: the native kernels cannot run: {reason}")
    note(f"{path}: the kernels of TensorFlow run, not the native ones: {reason}")


def disagreement(path: Path, signature: str, function: Function, *, few: bool = False) -> str | None:
    """Compare the outputs of a signature with the golden set of its export.

    Args:
        path: directory of the export.
        signature: its name.
        function: takes its inputs by name.
        few: compare a few short cases only.

    Returns:
        what differs, in one line; None if nothing does, or if the golden set has no case of the signature.
    """
    try:
        cases = [case for case in replay.read_cases(str(path / GOLDEN)) if case["signature"] == signature]
        if not cases:  # such as the plot of attention weights
            return None
        for order in [_few(cases)] if few else replay.batches(cases):
            inputs = {name: tf.constant(value) for name, value in replay.batch(cases, order).items()}
            outputs = {name: value.numpy() for name, value in function(**inputs).items()}
            found = replay.compared("one batch", [cases[i] for i in order], replay.rows_apart(outputs))
            if found["wrong"]:
                return str(found["wrong"][0])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        return f"{GOLDEN} has no case of {signature} that can be read: {_first_line(error)}"
    except tf.errors.OpError as error:
        return f"{signature}: {_first_line(error)}"
    return None


def _few(cases: list[replay.Case]) -> list[int]:
    """Return a few cases of all sizes, without long texts if there are short ones."""
    sizes = [max(map(replay.size, case["rows"].values()), default=0) for case in cases]
    order = sorted(range(len(cases)), key=sizes.__getitem__)
    short = [i for i in order if sizes[i] <= SHORT and cases[i]["settled"]] or order[:1]
    return short[:: math.ceil(len(short) / FEW_CASES)]


class _Unproven:
    """Signatures with native kernels, each of which is compared with the golden set before its first call."""

    def __init__(
        self,
        path: Path,
        signatures: Mapping[str, Function],
        keep: Callable[[str], Mapping[str, Function]],
    ) -> None:
        """Compare nothing yet.

        Args:
            path: directory of the export.
            signatures: by name.
            keep: returns the signatures of the graph as it is, given the reason.
        """
        self._path = path
        self._signatures = signatures
        self._keep = keep
        self._unproven = set(signatures)
        self._lock = threading.Lock()

    def call(self, name: str, /, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Call a signature."""
        if name in self._unproven:
            with self._lock:
                self._prove(name)
        return self._signatures[name](**inputs)

    def _prove(self, name: str) -> None:
        if name not in self._unproven:  # another thread has compared it
            return
        if problem := disagreement(self._path, name, self._signatures[name], few=True):
            self._signatures = self._keep(problem)
            self._unproven.clear()
        self._unproven.discard(name)


def _as_it_is(path: Path) -> Mapping[str, Function]:
    return signatures_of(tf.saved_model.load(str(path)))


def signatures_of(loaded: Any) -> dict[str, Function]:
    """Return the signatures of a loaded SavedModel by name."""
    # A signature does not hold its variables: the default argument does.
    return {
        name: lambda _loaded=loaded, _name=name, **inputs: _loaded.signatures[_name](**inputs)
        for name in loaded.signatures
    }


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
