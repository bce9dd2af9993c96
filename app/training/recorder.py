"""What training writes to the run directory: metrics, state, best model, TensorBoard logs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import tensorflow as tf

from app.artifacts.files import remove_partial_files, write_text
from app.artifacts.run import CHECKPOINTS, METRICS, MODEL, TENSORBOARD, complete_run
from app.json_text import dumps
from app.training.best_model import PREVIOUS_MODEL, restore_model, write_model
from app.training.events import Epoch, Event, Message, Step
from app.training.fit import Fit
from app.training.state import PREVIOUS, TrainingState, restore_state, save_state
from app.training.tracker import FAILED, FINISHED, KILLED, TRACKERS
from data.errors import UserError

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

    Raises:
        UserError: a state is damaged, or the directory cannot be written; the last state is as it was.
    """
    with Recorder(fit, run) as recorder:
        for damage in recorder.restore():
            yield Message(damage)
        if recorder.missing:
            yield Message(recorder.missing)
        yield from recorder.tracked(recorder.tracker.begin(fit.state.history))
        yield from begin(recorder)
        for event in fit.events():
            recorder.add(event)
            try:
                yield event
                if event.record is not None:
                    yield from recorder.tracked(recorder.tracker.add(event.record))
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
        self.tracker = TRACKERS[fit.config.training.tracker](fit.config, run)
        self._ended = KILLED
        self._summaries: Any = None
        self._saved: tuple[int, int] | None = None
        self.missing = "" if find_spec("tensorboard") else NO_TENSORBOARD
        """A message about what is not written because a package is not installed, if there is any."""

    def __enter__(self) -> Self:
        if not self.missing:
            self._summaries = tf.summary.create_file_writer(str(self.run / TENSORBOARD))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.tracker.end(FAILED if kind and issubclass(kind, Exception) else self._ended)
        if self._summaries is not None:
            with self._writing(tf.errors.OpError):
                self._summaries.close()

    def restore(self) -> list[str]:
        """Continue from the last state in the run directory, if there is one.

        Returns:
            messages about what is damaged and what is used in its place.

        Raises:
            UserError: no state can be read, it does not belong to this training, or the weights of the best
                epoch are lost and no epoch is left.
        """
        for directory in (self.run, self.run / CHECKPOINTS):
            remove_partial_files(directory)
        state, damage = restore_state(self.run, self.fit.variables)
        messages = [damage] if damage else []
        if state is not None:
            self.fit.resume(state)
            if not restore_model(self.run, state.model):
                messages.append(self._without_best(state))
            self._saved = state.epoch, state.step
        with self._writing():
            self._write_metrics()
        return messages

    def _without_best(self, state: TrainingState) -> str:
        """Let a state continue whose best weights are lost; return a message."""
        lost = (
            f"{self.run / MODEL}: is damaged or missing: the weights of the best epoch, "
            f"{state.selection.best_epoch + 1}, are lost"
        )
        if state.finished:
            raise UserError(f"{lost}; restore the file, give a larger training.epochs, or train a new run")
        state.selection.forget_best()
        state.model = ""
        return f"{lost}; the best epoch from here on is kept"

    @staticmethod
    def tracked(text: str) -> Iterator[Message]:
        """Yield what a tracker says, if it says something."""
        if text:
            yield Message(text)

    def save(self) -> None:
        """Write the state, so that training can be resumed here."""
        with self._writing():
            save_state(self.run, self.fit.variables, self.fit.state)
        self._saved = self.fit.state.epoch, self.fit.state.step

    def finish(self) -> None:
        """Delete what a finished training does not need: the state before the last, and its weights."""
        self._ended = FINISHED
        for name in (PREVIOUS, PREVIOUS_MODEL):
            (self.run / name).unlink(missing_ok=True)

    def add(self, event: Step | Epoch) -> None:
        """Write what an event has to be recorded, if anything."""
        if event.record is None:
            return
        with self._writing():
            if isinstance(event, Epoch) and event.best:
                with self.fit.average.applied():
                    self.fit.state.model = write_model(self.run, self.fit.model.save)
            self._write_metrics()
        if isinstance(event, Epoch):
            with self._writing(tf.errors.OpError):
                self._write_summaries(event.record)
        self.save()

    @contextmanager
    def _writing(self, *others: type[Exception]) -> Iterator[None]:
        """Report that the run directory cannot be written, and from where training can be resumed.

        Args:
            others: errors that say so, beside those of the system.
        """
        kinds: tuple[type[Exception], ...] = (OSError, *others)
        try:
            yield
        except kinds as error:
            reason = getattr(error, "strerror", None) or getattr(error, "message", None) or error
            again = "begins anew"
            if self._saved:
                epoch, step = self._saved
                again = f"continues at epoch {epoch + 1}, step {step + 1}"
            raise UserError(
                f"{self.run}: cannot be written: {reason}; training has stopped; when the cause is "
                f"gone, the same command with --resume {again}"
            ) from None

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
