"""Which kernels a training runs."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.artifacts.manifests import RunManifest
from app.config import TaskConfig
from app.training.events import Message
from data.errors import UserError

if TYPE_CHECKING:
    from models.kernels.choice import Choice

COMPILING = "compiling the native kernels, once; this takes some seconds"


def choose_kernels(model: Any, config: TaskConfig, before: str | None) -> Generator[Message, None, Choice]:
    """Choose the kernels of a new network, and yield what takes time or is missing.

    Args:
        model: a network, before it is part of a graph.
        config: of the training.
        before: kernels of the run that is resumed, as its manifest names them; None: a new run.

    Raises:
        UserError: `training.kernels` is `native`, and they cannot run.
    """
    from models.kernels.choice import KERAS, choose, needs_compiling

    asked = config.training.kernels
    if asked == "auto" and before == KERAS.name:
        return KERAS
    if asked != "keras" and not model.has_native_kernels():
        if asked == "native":
            raise _impossible(
                "they compute none of the layers of this model: only LSTM, GRU and SimpleRNN in float32"
            )
        return KERAS
    if needs_compiling(asked):
        yield Message(COMPILING)
    try:
        choice = choose(asked)
    except ValueError as error:
        raise _impossible(str(error)) from None
    if choice.is_fallback:
        yield Message(f"no native kernels: {choice.reason}; Keras's layers run, which are slower")
    model.use_kernels(choice.kernels)
    return choice


def _impossible(reason: str) -> UserError:
    return UserError(
        f"training.kernels = 'native': {reason}; set training.kernels to auto, or to keras for Keras's layers"
    )


def other_kernels(before: str, now: str) -> str:
    """Return what it means that a training continues with other kernels, or an empty string.

    Args:
        before: kernels so far, as in the manifest.
        now: from now on.
    """
    if before == now:
        return ""
    return (
        f"kernels were {before}, are {now}: the weights will not be those of an uninterrupted training, bit "
        "for bit"
    )


def check_kernels(run: Path, manifest: RunManifest, config: TaskConfig, choice: Choice) -> None:
    """Require the kernels that a deterministic training has run with so far.

    Raises:
        UserError: others run now.
    """
    if config.training.deterministic and manifest.kernels != choice.name:
        raise UserError(
            f"{run}: cannot be resumed exactly: it was trained with {manifest.kernels} kernels, and "
            f"{choice.name} would run now: {choice.reason}"
        )
