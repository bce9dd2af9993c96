from __future__ import annotations

import errno
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.training.selection import Selection
from app.training.state import MARK, PREVIOUS, STATE, Totals, TrainingState, restore_state, save_state
from data.errors import UserError


def variables() -> list[Any]:
    """Return variables of each kind."""
    return [
        keras.Variable(np.zeros((2, 3), np.float32), name="weights"),
        keras.Variable(np.zeros(2, np.uint32), dtype="uint32", trainable=False, name="seed"),
        tf.Variable(tf.zeros([2], tf.bfloat16), name="carried"),
    ]


def fill(found: list[Any], value: int) -> None:
    """Set all elements."""
    for variable in found:
        variable.assign(tf.cast(tf.fill(variable.shape, value), variable.dtype))


def values(found: list[Any]) -> list[list[float]]:
    """Return all elements."""
    return [np.asarray(variable).astype(float).ravel().tolist() for variable in found]


STATES = [
    TrainingState(
        epoch=3,
        step=step,
        totals=Totals(loss=0.1 + 0.2, correct=5.0, count=7.0, examples=3, seconds=0.1),
        selection=Selection(best=[0.5, -0.25], best_epoch=2, stale_epochs=1, plateau_epochs=1),
        history=[{"epoch": 1, "loss": 1 / 3, "best": True}],
    )
    for step in (4, 5)
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run to which two states were saved, the first with ones and the second with twos."""
    saved = variables()
    for number, state in enumerate(STATES, 1):
        fill(saved, number)
        save_state(tmp_path, saved, state)
    return tmp_path


def test_restored(run: Path) -> None:
    """Variables of each kind and the progress come back as they were, bit for bit."""
    found = variables()

    state, message = restore_state(run, found)

    assert (state, message) == (STATES[1], "")
    assert values(found) == [[2.0] * 6, [2.0] * 2, [2.0] * 2]


def test_nothing_to_restore(tmp_path: Path) -> None:
    """Where no state was written, nothing changes."""
    found = variables()
    fill(found, 3)

    assert restore_state(tmp_path, found) == (None, "")
    assert values(found)[0] == [3.0] * 6


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_truncated(run: Path, kept: int) -> None:
    """If the last state is truncated, the one before it is restored, and the message says so."""
    (run / STATE).write_bytes((run / STATE).read_bytes()[:kept])
    found = variables()

    state, message = restore_state(run, found)

    assert state == STATES[0]
    assert message.startswith(f"{run / STATE}: cannot be read (")
    assert message.endswith("resuming from the state before it")
    assert values(found)[0] == [1.0] * 6


@pytest.mark.parametrize("place", [0, 5, 30, 0.2, 0.5, 0.9, -100, -45, -39, -33, -32, -1])
def test_one_flipped_bit(run: Path, place: float) -> None:
    """A single bit is noticed wherever it is: in an array, in the archive's directory or in the checksum."""
    content = bytearray((run / STATE).read_bytes())
    content[place if isinstance(place, int) else int(place * len(content))] ^= 4
    (run / STATE).unlink()  # the state before it may be the same file
    (run / STATE).write_bytes(content)

    state, message = restore_state(run, variables())

    assert state == STATES[0]
    assert "resuming from the state before it" in message


def test_state_of_an_earlier_version(run: Path) -> None:
    """A state without a checksum is read; it has no sum of the kept weights either."""
    content = (run / STATE).read_bytes()
    (run / STATE).write_bytes(content[: content.index(MARK)])

    state, message = restore_state(run, variables())

    assert (state, message) == (STATES[1], "")


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot have two names, the state before the last is kept, too."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    saved = variables()
    for state in STATES:
        save_state(tmp_path, saved, state)
    (tmp_path / STATE).write_bytes(b"")

    assert restore_state(tmp_path, saved)[0] == STATES[0]


@pytest.mark.parametrize("links", [True, False])
def test_damaged_again(run: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """A damaged state is not kept as the one before the next: that one can be damaged, too."""
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", Mock(side_effect=OSError(errno.EPERM, "not permitted")))
    saved = variables()
    for _ in range(2):
        (run / STATE).unlink()  # the state before it may be the same file
        (run / STATE).write_bytes(b"PK")
        assert restore_state(run, saved)[0] == STATES[0]
        save_state(run, saved, STATES[1])


def test_missing(run: Path) -> None:
    """So it is if the last state was deleted."""
    (run / STATE).unlink()

    state, message = restore_state(run, variables())

    assert state == STATES[0]
    assert "resuming from the state before it" in message


def test_both_truncated(run: Path) -> None:
    """If none can be read, the message names a file."""
    for name in (STATE, PREVIOUS):
        (run / name).write_bytes(b"PK")

    with pytest.raises(UserError, match=r"previous_state\.npz: cannot be read"):
        restore_state(run, variables())


def test_of_another_model(run: Path) -> None:
    """A complete state of other variables is refused, although there is one before it."""
    with pytest.raises(UserError, match=r"/state\.npz: is not the state of this training"):
        restore_state(run, variables()[:2])
    with pytest.raises(UserError, match="is not the state of this training"):
        restore_state(run, [keras.Variable(np.zeros((4, 4)), name="weights"), *variables()[1:]])
