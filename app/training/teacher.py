"""Probabilities of teachers for the training examples: computed once, kept in the run of the student.

They are arrays on disk, mapped into memory: float32 [examples, C] in `examples.NAME.npy`, and of outputs with
a row for each token [tokens of all examples, K] in `tokens.NAME.npy`. The order of the examples is that of
the indices of batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.artifacts.files import verify_checksums
from app.artifacts.manifests import RunManifest, Teacher
from app.artifacts.run import MODEL, TEACHER, Run, open_run
from app.config import TaskConfig
from app.config.sections import Distillation
from app.prediction.exchange import runs_natively
from app.prediction.kernels import AUTO
from app.prediction.loading import load_keras_model
from app.tasks.base import Task, graph_of
from app.tasks.teaching import PREFIX, TEMPERATURE, WEIGHT
from app.training.encode import encode_and_batch
from data.batching import Batch, Batches, ExampleBatches, made_ahead
from data.errors import UserError
from data.prepared import Dataset

OF_EXAMPLES, OF_TOKENS = "examples", "tokens"
"""What the rows of a file are."""


def open_teachers(paths: Sequence[Path]) -> list[Run]:
    """Open the runs that teach together.

    Raises:
        UserError: there is none, they are not finished runs of one task, or were trained on other examples.
    """
    if not paths:
        raise UserError("give at least one run that teaches")
    first, *others = runs = [open_run(path) for path in paths]
    for run in others:
        where = f"{run.path} cannot teach together with {first.path}"
        if run.task != first.task:
            raise UserError(f"{where}: its task is {run.task}, not {first.task}; give runs of one task")
        if run.manifest.dataset_hash != first.manifest.dataset_hash:
            raise UserError(
                f"{where}: it was trained on other examples: dataset_hash is {run.manifest.dataset_hash!r}, "
                f"not {first.manifest.dataset_hash!r}; give runs of the same data and split"
            )
    return runs


def write_probabilities(
    directory: Path, teachers: Sequence[Run], task: Task[Any, Any], dataset: Dataset, config: TaskConfig
) -> None:
    """Write the mean of the teachers' probabilities for each training example.

    Args:
        directory: exists, and is empty.
        teachers: finished runs, as of `open_teachers`.
        task: of the teachers and of the student.
        dataset: that the student is trained on.
        config: of the student; gives the temperature and the data directory.

    Raises:
        UserError: the teachers were trained on other examples, or the student cannot learn from them.
    """
    arrays: dict[str, np.memmap] = {}
    for teacher in teachers:
        if teacher.manifest.dataset_hash != dataset.hash:
            raise UserError(
                f"{teacher.path} cannot teach here: it was trained on other examples: dataset_hash is "
                f"{teacher.manifest.dataset_hash!r}, not {dataset.hash!r}; leave [data] as it was"
            )
        if reason := task.training.cannot_learn(config, teacher.config):
            raise UserError(f"{teacher.path} cannot teach here: {reason}")
        model = load_keras_model(teacher)
        if runs_natively(teacher.path, AUTO, lambda note: None):
            model.use_kernels("native")
        kept = teacher.preprocessing(task.facts) if teacher.manifest.from_run else None
        found = encode_and_batch(dataset, task, teacher.config, config.data_directory(), kept=kept)
        batches = _of_examples(found.batches["train"])
        _add(arrays, directory, task, model, batches, config, share=1 / len(teachers))
    for array in arrays.values():
        array.flush()


def _add(
    arrays: dict[str, np.memmap],
    directory: Path,
    task: Task[Any, Any],
    model: Any,
    batches: ExampleBatches,
    config: TaskConfig,
    *,
    share: float,
) -> None:
    """Add the share of one teacher to the arrays, which the first one creates."""
    temperature = _settings(config).distillation_temperature
    starts = _starts(batches.lengths)
    graph = None

    def step(batch: Any) -> Any:
        return task.training.teach(model, batch, temperature)

    entries = batches.whole()
    for entry, batch in zip(entries, made_ahead(batches.batch, entries), strict=True):
        graph = graph or graph_of(step, batch.arrays)
        for name, value in graph(batch.arrays).items():
            rows, own, length, kind = entry, value.numpy(), len(batches.lengths), OF_EXAMPLES
            if own.ndim == 3:
                own = own[_real(batches.lengths[entry], own.shape[1])]
                rows, length, kind = _tokens(starts, batches.lengths, entry), int(starts[-1]), OF_TOKENS
            if name not in arrays:
                arrays[name] = np.lib.format.open_memmap(
                    directory / f"{kind}.{name}.npy", "w+", np.float32, (length, own.shape[-1])
                )
            arrays[name][rows] += np.float32(share) * own


def described_teacher(run: Run) -> Teacher:
    """Return what the manifest of a student says about a run that teaches it."""
    manifest = run.manifest
    return Teacher(
        run=str(run.path.resolve()),
        seed=manifest.seed,
        parameters=manifest.parameters,
        model=manifest.files[MODEL],
    )


def check_teachers(run: Path, manifest: RunManifest, teachers: Sequence[Run]) -> None:
    """Require that a student is continued with the teachers that it has.

    Args:
        run: directory of the student.
        manifest: of it.
        teachers: of the command; none leaves them as they are.

    Raises:
        UserError: they are others, or the student has none.
    """
    if not teachers:
        return
    if not manifest.teachers:
        raise UserError(
            f"{run}: cannot be resumed: it was trained without teachers; continue it with 'textrnn train'"
        )
    before = [teacher.model for teacher in manifest.teachers]
    if [teacher.manifest.files[MODEL] for teacher in teachers] != before:
        names = ", ".join(teacher.run for teacher in manifest.teachers)
        raise UserError(f"{run}: cannot be resumed with other teachers than it has: {names}, in this order")


class TaughtBatches:
    """The training batches of a student: those of its task, with the probabilities of its teachers."""

    def __init__(self, batches: Batches, run: Path, manifest: RunManifest, config: TaskConfig) -> None:
        """Open what `write_probabilities` wrote.

        Args:
            batches: training batches of the student.
            run: its directory.
            manifest: of it.
            config: of it.

        Raises:
            UserError: a file is missing or was changed.
        """
        directory = run / TEACHER
        verify_checksums(directory, manifest.teacher_files)
        self._batches = _of_examples(batches)
        self._lengths = self._batches.lengths
        self._starts = _starts(self._lengths)
        names = {file: Path(file).stem.split(".") for file in manifest.teacher_files}
        self._arrays = [
            (kind, name, np.load(directory / file, mmap_mode="r")) for file, (kind, name) in names.items()
        ]
        self._scalars = {
            WEIGHT: np.array(_settings(config).distillation_weight, np.float32),
            TEMPERATURE: np.array(_settings(config).distillation_temperature, np.float32),
        }

    def epoch(self, seed: int, epoch: int) -> list[np.ndarray]:
        """Return the example indices of each step."""
        return self._batches.epoch(seed, epoch)

    def whole(self) -> list[np.ndarray]:
        """Return the example indices of each batch of one pass."""
        return self._batches.whole()

    def batch(self, entry: np.ndarray) -> Batch:
        """Return a batch with the teachers' probabilities: [B, C] of examples, [B, T, K] of tokens."""
        batch = self._batches.batch(entry)
        arrays = {**batch.arrays, **self._scalars}
        for kind, name, array in self._arrays:
            if kind == OF_EXAMPLES:
                arrays[PREFIX + name] = array[entry]
                continue
            real = _real(self._lengths[entry], int(self._lengths[entry].max()))
            values = np.zeros((*real.shape, array.shape[-1]), np.float32)
            values[real] = array[_tokens(self._starts, self._lengths, entry)]
            arrays[PREFIX + name] = values
        return Batch(arrays, batch.rows, batch.tokens)


def _of_examples(batches: Batches) -> ExampleBatches:
    assert isinstance(batches, ExampleBatches)
    return batches


def _settings(config: TaskConfig) -> Distillation:
    assert isinstance(config.training, Distillation)
    return config.training


def _starts(lengths: np.ndarray) -> np.ndarray:
    """Return the place of the first token of each example among all tokens, and the number of all."""
    return np.concatenate([[0], np.cumsum(lengths)])


def _real(lengths: np.ndarray, width: int) -> np.ndarray:
    real: np.ndarray = np.arange(width) < lengths[:, np.newaxis]
    return real


def _tokens(starts: np.ndarray, lengths: np.ndarray, entry: np.ndarray) -> np.ndarray:
    """Return the places of the tokens of examples among all tokens, one example after the other."""
    return np.concatenate([np.arange(starts[i], starts[i] + lengths[i]) for i in entry])
