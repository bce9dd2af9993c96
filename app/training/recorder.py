"""What training writes to the run directory: metrics, state, best model, TensorBoard logs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import tensorflow as tf

from app.artifacts.files import remove_partial_files, replaced, write_text
from app.artifacts.run import CHECKPOINTS, METRICS, MODEL, TENSORBOARD, complete_run
from app.json_text import dumps
from app.training.events import Epoch, Event, Message, Step
from app.training.fit import Fit
from app.training.state import PREVIOUS, restore_state, save_state

NO_TENSORBOARD = "no TensorBoard logs are written; for these: pip install 'textrnn[tensorboard]'"


def recorded(
    fit: Fit,
    run: Path,
    begin: Callable[[Recorder], Iterable[Message]],
    after_epoch: Callable[[], str],
    should_stop: Callable[[], bool],
) -> Generator[Event, None, bool]:
    """Train to the end, or until it is asked to stop, and write the course to a run directory.

    Closing the generator saves the state.

    Args:
        fit: the training; it continues from the last state in the run directory, if there is one.
        run: the directory.
        begin: called before the first step; yields messages.
        after_epoch: called after each epoch, with the weights that are validated; returns a message or "".
        should_stop: as of `app.train.train`.

    Returns:
        whether the training is finished; the run is then complete.
    """
    with Recorder(fit, run) as recorder:
        if damage := recorder.restore():
            yield Message(damage)
        if recorder.missing:
            yield Message(recorder.missing)
        yield from begin(recorder)
        for event in fit.events():
            recorder.add(event)
            try:
                yield event
                if isinstance(event, Epoch):
                    with fit.average.applied():
                        text = after_epoch()
                    if text:
                        yield Message(text)
            except GeneratorExit:
                recorder.save()
                raise
            if should_stop() and not fit.state.finished:
                recorder.save()
                return False
        recorder.finish()
    complete_run(run)
    return True


class Recorder:
    """Writes the course of a training to its run directory."""

    def __init__(self, fit: Fit, run: Path) -> None:
        """Prepare; nothing is written yet."""
        self.fit = fit
        self.run = run
        self._summaries: Any = None
        self.missing = "" if find_spec("tensorboard") else NO_TENSORBOARD
        """A message about what is not written because a package is not installed, if there is any."""

    def __enter__(self) -> Self:
        if not self.missing:
            self._summaries = tf.summary.create_file_writer(str(self.run / TENSORBOARD))
        return self

    def __exit__(self, *_: object) -> None:
        if self._summaries is not None:
            self._summaries.close()

    def restore(self) -> str:
        """Continue from the last state in the run directory, if there is one.

        Returns:
            a message if the last state is damaged, so that the one before it is used.

        Raises:
            UserError: no state can be read, or it does not belong to this training.
        """
        for directory in (self.run, self.run / CHECKPOINTS):
            remove_partial_files(directory)
        state, message = restore_state(self.run, self.fit.variables)
        if state is not None:
            self.fit.resume(state)
        self._write_metrics()
        return message

    def save(self) -> None:
        """Write the state, so that training can be resumed here."""
        save_state(self.run, self.fit.variables, self.fit.state)

    def finish(self) -> None:
        """Delete the state before the last one: a finished training does not need it."""
        (self.run / PREVIOUS).unlink(missing_ok=True)

    def add(self, event: Step | Epoch) -> None:
        """Write what an event has to be recorded, if anything."""
        if event.record is None:
            return
        if isinstance(event, Epoch) and event.best:
            with self.fit.average.applied(), replaced(self.run / MODEL) as partial:
                self.fit.model.save(partial)
        self._write_metrics()
        if isinstance(event, Epoch):
            self._write_summaries(event.record)
        self.save()

    def _write_metrics(self) -> None:
        lines = (f"{dumps(line)}\n" for line in self.fit.state.history)
        write_text(self.run / METRICS, "".join(lines))

    def _write_summaries(self, record: Any) -> None:
        if self._summaries is None:
            return
        with self._summaries.as_default():
            for name, value in record.items():
                if name not in ("epoch", "step"):
                    tf.summary.scalar(name, value, step=record["step"])
