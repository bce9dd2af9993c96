"""One training, from prepared data to a complete run directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from app.artifacts.files import versions
from app.artifacts.lock import locked
from app.artifacts.manifests import Pretrained, RunManifest
from app.artifacts.run import METRICS, Run, change_run, create_run, read_run_manifest, start_run
from app.artifacts.samples import keep_sample, read_samples
from app.config import TaskConfig
from app.config.sections import LEARN
from app.tasks.base import Task
from app.tasks.opening import learns_from_unlabelled, pretrained_from
from app.training.encode import UNLABELLED, encode_and_batch
from app.training.epochs import resolve_epochs, with_epochs, with_epochs_of
from app.training.events import Event, Message, TrainedRun
from app.training.fit import Fit
from app.training.following import followed
from app.training.gradients import GradientWatch
from app.training.kernels import check_kernels, choose_kernels, other_kernels
from app.training.language_model import learn_language_model
from app.training.network import new_model, random_model
from app.training.pretrained import check_pretrained, copy_encoder, has_begun, read_language_model
from app.training.recorder import Recorder, recorded
from app.training.resuming import check_same, config_of_run, described_changes, remaining
from app.training.selection import selecting_metric
from app.training.strategy import SINGLE, check_replicas, described_replicas, other_replicas
from app.training.teacher import TaughtBatches, check_teachers, described_teacher, write_probabilities
from app.training.unlabelled import JoinedBatches
from app.training.warm_start import copy_source, kept_preprocessing, read_source
from app.training.word_vectors import learned_vectors
from app.training.workers import Alone
from data.batching import Batches
from data.prepared import Dataset
from models.text.tokens import UNKNOWN_ID

if TYPE_CHECKING:
    from app.tasks.inspection import Inspection
    from models.kernels.choice import Choice

EXAMPLES_FOLLOWED = 512
"""Validation examples from which those are drawn whose gradients are followed back through the text."""


@dataclass(frozen=True)
class Opened:
    """What a training starts from. Nothing has been written to the run directory."""

    task: Task[Any, Any]
    data: str
    """DATA as given by the user."""
    config: TaskConfig
    """Resolved, except for the number of epochs."""
    run: Path
    """The run directory; there is one if its training is resumed."""
    dataset: Dataset
    unlabelled: Dataset | None
    teachers: Sequence[Run]
    language_model: Run | None
    """Run whose encoder is copied."""
    start: Run | None
    """Run whose weights training starts from."""
    workers: Alone
    should_stop: Callable[[], bool]


@dataclass
class _Network:
    """A network that is ready to be trained."""

    model: keras.Model
    choice: Choice
    """Of kernels."""
    copies: list[tuple[str | None, keras.Model]]
    """Networks like it on the other devices of this process."""
    pretrained: Pretrained | None
    """The language model whose encoder it has."""
    started: Any
    """What it has of the run that it starts from."""


class Session:
    """The training of `Opened`, in the order in which things are decided, written and said.

    What cannot be trained is refused before the run directory is created.
    """

    def __init__(self, opened: Opened) -> None:
        """Read the data.

        Raises:
            UserError: it cannot be learned from.
        """
        self.opened, self.task, self.run, self.workers = opened, opened.task, opened.run, opened.workers
        kept = kept_preprocessing(self.task, opened.start, self.run)
        config, examples = opened.config, self.task.examples
        self.found = encode_and_batch(
            opened.dataset, self.task, config, config.data_directory(), opened.unlabelled, kept
        )
        self.preprocessing = self.found.preprocessing
        self.token_counts = examples.token_counts(self.found.encoded, self.preprocessing, config)
        self.before = config_of_run(self.run) if self.run.exists() else None
        """Configuration of the run that is resumed."""
        self.config = resolve_epochs(
            with_epochs_of(self.before, config) if self.before else config,
            examples.epoch_tokens(self.found.encoded),
            to_learn_from=examples.tokens_to_learn_from,
        )
        self.metric = selecting_metric(self.task.training.metrics(self.preprocessing), self.config)

    def events(self, completed: Callable[[Path], Iterable[Message]]) -> Generator[Event, None, TrainedRun]:
        """Train to the end, or until it is asked to stop.

        Args:
            completed: called with the run directory when it is complete.
        """
        is_finished = self.before is not None and not self._remains(self.before)
        is_finished, epochs = self.workers.conclude([is_finished, self.config.training.epochs])
        if is_finished:
            return self._ended(finished=True)
        self.config = with_epochs(self.config, epochs)
        with ExitStack() as held:
            if self.before:
                held.enter_context(locked(self.run))
            to_learn = pretrained_from(self.config) == LEARN and not has_begun(self.run)
            network = yield from self._new_network()
            if not self.workers.is_chief:
                finished = yield from followed(self._fit(network, self.found.batches["train"]))
                return self._ended(finished=finished)
            replicas = self.workers.number * (1 + len(network.copies))
            if self.before:
                manifest = read_run_manifest(self.run)
                check_kernels(self.run, manifest, self.config, network.choice)
                check_replicas(self.run, manifest, self.config, replicas)
            else:
                yield from self._create(network, replicas)
                held.enter_context(locked(self.run))
            if to_learn:
                learned = yield from learn_language_model(
                    self.task, self.found, self.config, self.run, self.opened.should_stop
                )
                if learned is None:
                    return TrainedRun(self.run, finished=False, best={})
                network.model, network.pretrained = self._with_encoder(read_language_model(learned))
                network.model.use_kernels(network.choice.kernels)
                start_run(self.run, network.pretrained)
            for other in filter(None, (network.pretrained, network.started)):
                yield Message(f"{other.run}: {'; '.join(other.copied)}")
            finished = yield from self._record(network)
            if finished:
                yield from completed(self.run)
            return self._ended(finished=finished)

    def _remains(self, before: TaskConfig) -> bool:
        """Return whether a run, to which all that is asked for must fit, has something left to train."""
        opened, manifest = self.opened, read_run_manifest(self.run)
        check_same(
            self.run, manifest, before, self.config, opened.dataset, opened.data, unlabelled=opened.unlabelled
        )
        check_teachers(self.run, manifest, opened.teachers)
        check_pretrained(self.run, manifest, opened.language_model)
        return remaining(self.run, manifest, before, self.config)

    def _new_network(self) -> Generator[Message, None, _Network]:
        """Build the network and its copies, and yield what is to be said about data and kernels."""
        opened, config = self.opened, self.config
        of_start = read_source(opened.start, self.task) if opened.start else None
        weights = None
        if opened.language_model and not has_begun(self.run):
            weights = read_language_model(opened.language_model)
        model, pretrained = self._with_encoder(weights)
        started = None
        if of_start:
            started = copy_source(of_start, self.task, model, self.preprocessing, config)
        notes = [*opened.dataset.notes, *(warning.sentence() for warning in self.found.warnings)]
        for note in notes if self.workers.is_chief else ():  # the chief says it for all
            yield Message(note)
        if opened.unlabelled:
            texts = self.found.encoded.splits.get(UNLABELLED, ())
            yield Message(f"{self.task.examples.unlabelled(config)}: {len(texts):,} texts without labels")
        before = read_run_manifest(self.run).kernels if self.before else None
        choice = yield from choose_kernels(model, config, before)
        copies: list[tuple[str | None, keras.Model]] = []
        for device in self.workers.devices(several=config.training.strategy != SINGLE)[1:]:
            with tf.device(device):
                copy = random_model(self.task, config, self.preprocessing, self.token_counts)
            copy.use_kernels(choice.kernels)
            copies.append((device, copy))
        return _Network(model, choice, copies, pretrained, started)

    def _with_encoder(self, weights: Any) -> tuple[keras.Model, Pretrained | None]:
        """Return a new network with the encoder of a language model; None: of none."""
        vectors = partial(learned_vectors, self.found, self.task, self.config)
        model = new_model(self.task, self.config, self.preprocessing, self.token_counts, vectors)
        if weights is None:
            return model, None
        vocabulary = self.preprocessing.vocabulary
        return model, copy_encoder(weights, self.task, model, vocabulary, self.config)

    def _create(self, network: _Network, replicas: int) -> Iterator[Message]:
        """Create the run directory."""
        opened, config = self.opened, self.config
        splits = self.found.encoded.splits
        manifest = RunManifest(
            task=self.task.name,
            dataset=opened.dataset.name,
            dataset_hash=opened.dataset.hash,
            data=_absolute(opened.data),
            versions=versions(),
            kernels=network.choice.name,
            strategy=config.training.strategy,
            replicas=replicas,
            seed=config.seed,
            parameters=network.model.count_params(),
            unlabelled_hash=opened.unlabelled.hash if opened.unlabelled else "",
            layout=list(opened.dataset.layout),
            examples={name: len(split) for name, split in splits.items()},
            teachers=[described_teacher(teacher) for teacher in opened.teachers],
            pretrained=network.pretrained,
            from_run=network.started,
        )
        write_teacher = None
        if number := len(opened.teachers):
            teachers = "a teacher" if number == 1 else f"{number} teachers"
            yield Message(f"{self.run}: computing the probabilities of {teachers}")
            write_teacher = partial(
                write_probabilities,
                teachers=opened.teachers,
                task=self.task,
                dataset=opened.dataset,
                config=config,
            )
        create_run(self.run, config, manifest, self.preprocessing, self.found.longest, write_teacher)

    def _fit(self, network: _Network, batches: Batches) -> Fit:
        return Fit(
            self.task,
            network.model,
            self.config,
            metric=self.metric,
            train=batches,
            validation=self.found.batches["validation"],
            preprocessing=self.preprocessing,
            workers=self.workers,
            copies=network.copies,
            should_stop=(lambda: False) if self.workers.number == 1 else self.opened.should_stop,
        )

    def _batches(self) -> Batches:
        """Return the training batches, with what is learned from teachers or texts without labels."""
        batches, config, splits = self.found.batches["train"], self.config, self.found.encoded.splits
        manifest = read_run_manifest(self.run)
        if manifest.teachers:
            batches = TaughtBatches(batches, self.run, manifest, config)
        if UNLABELLED in splits and learns_from_unlabelled(config):
            others = splits[UNLABELLED].sequences["tokens"]
            batches = JoinedBatches(batches, others, batch_size=config.training.batch_size)
        return batches

    def _record(self, network: _Network) -> Generator[Event, None, bool]:
        """Train, and write the course to the run directory; return whether the training is finished."""
        run, task, model, config = self.run, self.task, network.model, self.config
        fit = self._fit(network, self._batches())
        if config.training.strategy != SINGLE:
            yield Message(f"{run}: {described_replicas(fit.replicas.number, self.workers.number)}")
        said = task.training.after_epoch(model, self.preprocessing, config)
        sampled = task.training.sampler(model, self.preprocessing, config)
        watch = GradientWatch(config, *self._whole_texts(model))

        def sample() -> str:
            text = sampled(fit.state.epoch)
            if text:
                keep_sample(run, fit.state.epoch, text)
            return text

        def begin(recorder: Recorder) -> Iterator[Message]:
            if self.before:
                yield from self._resumed(self.before, fit, network)
            else:
                yield Message(f"{run}: {self._described()}")
            if not (fit.state.epoch or fit.state.step):
                batches = self.found.batches["train"]
                for step in task.training.start(model, batches, self.preprocessing, config):
                    yield Message(f"{run}: {step}")
                if network.pretrained or network.started:  # from now on the other run may be deleted
                    recorder.save()
            elif not fit.state.step and fit.state.epoch not in read_samples(run):
                with fit.average.applied():  # the training was interrupted before it was kept
                    sample()

        def after_epoch() -> str:
            sentences = watch.after_epoch(fit.state.history[-1], fit.usual_norm)
            text = sample()
            lines = [f"  | {line}" for line in text.split("\n") if text]
            return "\n".join(line for line in (said(), *lines, *sentences) if line)

        stops = self.opened.should_stop if self.workers.number == 1 else lambda: fit.stops
        return (yield from recorded(fit, run, begin, after_epoch, stops))

    def _resumed(self, before: TaskConfig, fit: Fit, network: _Network) -> Iterator[Message]:
        """Record what differs from now on, and yield it."""
        run, manifest, choice = self.run, read_run_manifest(self.run), network.choice
        yield Message(f"{run}: resuming at epoch {fit.state.epoch + 1}, step {fit.state.step + 1}")
        others = [
            other_kernels(manifest.kernels, choice.name),
            other_replicas(manifest.replicas, fit.replicas.number),
        ]
        for change in described_changes(before, self.config, others, fit.state, fit.learning_rate):
            change_run(run, self.config, choice.name, fit.replicas.number, change)
            yield Message(f"{run}: {change}")

    def _whole_texts(self, model: keras.Model) -> tuple[Inspection[Any, Any] | None, dict[str, np.ndarray]]:
        """Return how outputs that should depend on whole texts are looked into, and validation examples."""
        training = self.task.training
        if not (training.reads_whole_texts and self.config.model.layers):
            return None, {}
        examples = next(iter(self.opened.dataset.batches("validation", size=EXAMPLES_FOLLOWED)))
        return training.inspection(model, self.preprocessing, self.config), examples

    def _described(self) -> str:
        manifest, counts = read_run_manifest(self.run), self.token_counts
        return (
            f"{manifest.examples['train']:,} training examples, "
            f"{len(self.preprocessing.vocabulary):,} tokens in the vocabulary "
            f"({counts[UNKNOWN_ID] / max(counts.sum(), 1):.1%} of the text is out of vocabulary), "
            f"{manifest.parameters:,} parameters"
        )

    def _ended(self, *, finished: bool) -> TrainedRun:
        if not self.workers.is_chief:
            return TrainedRun(self.run, finished, {}, self.workers.name)
        lines = [json.loads(line) for line in (self.run / METRICS).read_text().splitlines()]
        best = [line for line in lines if line.get("best")]
        return TrainedRun(self.run, finished, best[-1] if best else {})


def _absolute(data: str) -> str:
    """Return DATA so that it can be found from another working directory."""
    return str(Path(data).resolve()) if Path(data).exists() else data
