"""`textrnn train`: from DATA to a finished run directory."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.allocator import keep_freed_memory
from app.artifacts.files import MANIFEST, versions
from app.artifacts.lock import locked
from app.artifacts.manifests import Pretrained, RunManifest
from app.artifacts.preprocessing import Preprocessing
from app.artifacts.run import (
    METRICS,
    PRETRAINING,
    Run,
    change_run,
    create_run,
    open_run,
    read_run_manifest,
    start_run,
)
from app.artifacts.samples import keep_sample, read_samples
from app.config import TaskConfig
from app.config.sections import LEARN
from app.tasks import get_task
from app.tasks.opening import learns_from_unlabelled, open_data, open_unlabelled, pretrained_from
from app.training.events import Event, Message, TrainedRun, Watcher, watched
from app.training.pretrained import open_language_model
from app.training.strategy import (
    SINGLE,
    check_equal,
    check_replicas,
    check_strategy,
    connected,
    described_replicas,
    other_replicas,
)
from app.training.tracker import TRACKERS
from app.training.warm_start import open_warm_start
from app.training.workers import MULTI_WORKER
from data.embeddings import read_vectors
from data.errors import UserError
from data.prepared import Dataset, prepare

if TYPE_CHECKING:
    import keras

    from app.tasks.base import Task
    from app.tasks.inspection import Inspection
    from app.training.encode import TrainingData
    from app.training.workers import Alone
    from data.batching import Batches

FEWEST_EPOCHS, MOST_EPOCHS = 2, 30
MOST_SEEDS = 2**31
NOWHERE = Path("/dev/null/run")
"""In place of the run directory of a worker that has none: it can't exist."""
EXAMPLES_FOLLOWED = 512
"""Validation examples from which those are drawn whose gradients are followed back through the text."""


def default_run(task: str, dataset: str, now: datetime) -> Path:
    """Return `runs/<task>-<dataset>-<date>-<time>`."""
    return Path("runs", f"{task}-{dataset}-{now:%Y%m%d}-{now:%H%M%S}")


def with_seeds(config: TaskConfig, run: Path | None, number: int) -> list[tuple[TaskConfig, Path]]:
    """Return configurations that differ in their seeds, each with its run directory, `RUN-0`, `RUN-1`, ….

    Raises:
        UserError: there is no name for the runs, or a seed is too large.
    """
    if run is None:
        raise UserError("--seeds needs --run, the beginning of the names of the run directories")
    if config.training.strategy == MULTI_WORKER:
        raise UserError(
            f"--seeds: a process trains once with training.strategy = {MULTI_WORKER!r}; give each seed a "
            "command of its own, with --set seed=N"
        )
    if config.seed + number > MOST_SEEDS:
        raise UserError(
            f"--seeds {number}: the last seed would be {config.seed + number - 1}; the largest is "
            f"{MOST_SEEDS - 1}; give a smaller --set seed=N"
        )
    return [
        (config.model_copy(update={"seed": config.seed + i}), run.with_name(f"{run.name}-{i}"))
        for i in range(number)
    ]


def resolve_epochs(config: TaskConfig, tokens: int, *, to_learn_from: int) -> TaskConfig:
    """Set `training.epochs` if it is 0: more epochs for a short training text, fewer for a long one.

    Args:
        config: with or without a number of epochs.
        tokens: number of tokens of the training text.
        to_learn_from: tokens that all epochs together should have.
    """
    if config.training.epochs:
        return config
    return _with_epochs(config, min(max(round(to_learn_from / max(tokens, 1)), FEWEST_EPOCHS), MOST_EPOCHS))


def _with_epochs(config: TaskConfig, epochs: int) -> TaskConfig:
    return config.model_copy(update={"training": config.training.model_copy(update={"epochs": epochs})})


def new_model(
    task: Task[Any, Any],
    config: TaskConfig,
    preprocessing: Preprocessing[Any],
    token_counts: np.ndarray,
    learned: Callable[[], np.ndarray] | None = None,
) -> keras.Model:
    """Return a model with random weights from the seed, and word vectors if configured.

    The global generators of Python and NumPy are seeded while the model is built, and restored afterwards.
    Those of Keras and TensorFlow stay seeded.

    Args:
        task: of the model.
        config: resolved.
        preprocessing: of the run.
        token_counts: int64 [vocabulary], occurrences in the training examples.
        learned: returns the vectors of `model.embeddings = "learn"`, float32 [vocabulary, embedding_size]; 0
            keeps the random value.
    """
    model = random_model(task, config, preprocessing, token_counts)
    if config.model.embeddings == LEARN:
        assert learned is not None
        embedding, start = task.training.embedding(model), learned()
        embedding.embeddings.assign(np.where(start, start, embedding.embeddings.numpy()))
    elif config.model.embeddings:
        path = Path(config.model.embeddings).expanduser()
        vectors = read_vectors(path, list(preprocessing.vocabulary), size=config.model.embedding_size)
        if not vectors:
            raise UserError(f"{path}: none of its words is in the vocabulary of the training text")
        embedding = task.training.embedding(model)
        table = embedding.embeddings.numpy()
        for index, vector in vectors.items():
            table[index] = vector
        embedding.embeddings.assign(table)
    return model


def random_model(
    task: Task[Any, Any], config: TaskConfig, preprocessing: Preprocessing[Any], token_counts: np.ndarray
) -> keras.Model:
    """Return a model with random weights alone; arguments are those of `new_model`."""
    import keras

    keras.utils.clear_session(free_memory=False)  # names of variables count from 1, as in a new process
    before = keras.config.dtype_policy(), random.getstate(), np.random.get_state()
    try:
        keras.utils.set_random_seed(config.seed)
        keras.config.set_dtype_policy("mixed_bfloat16" if config.training.mixed_precision else "float32")
        model = task.training.build_model(config, preprocessing, token_counts)
    except ValueError as error:  # settings that a cell or a layer does not support together
        raise UserError(f"[model]: {error}") from None
    finally:
        policy, state, numpy_state = before
        keras.config.set_dtype_policy(policy)
        random.setstate(state)
        np.random.set_state(numpy_state)
    return model


def train(
    task_name: str,
    data: str,
    config: TaskConfig,
    *,
    run: Path | None = None,
    resume: bool = False,
    manual_directory: Path | None = None,
    now: datetime | None = None,
    teachers: Sequence[Run] = (),
    from_run: Path | None = None,
    watcher: Watcher = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedRun:
    """Train a model to the end, or until it is asked to stop.

    It prints nothing, handles no signals, and works in any thread.

    Args:
        task_name: one of `app.tasks.TASKS`.
        data: DATA as given by the user.
        config: `training.epochs` may be 0, for a number that fits the data.
        run: the run directory; None: `default_run`.
        resume: continue an earlier training in `run` from its last state.
        manual_directory: raw files of a catalogue dataset.
        now: the time, for the name of the run.
        teachers: finished runs of the task on the same data, whose probabilities are learned too.
        from_run: a finished run whose weights training starts from, of any task.
        watcher: called with each event.
        should_stop: called after each event; True saves the state and stops.

    Raises:
        UserError: data, configuration or run directory are not valid; nothing was written to `run`.
    """
    steps = training_steps(
        task_name, data, config, run=run, resume=resume, manual_directory=manual_directory, now=now,
        teachers=teachers, from_run=from_run, should_stop=should_stop,
    )  # fmt: skip
    with closing(steps):
        return watched(steps, watcher)


def training_steps(
    task_name: str,
    data: str,
    config: TaskConfig,
    *,
    run: Path | None = None,
    resume: bool = False,
    manual_directory: Path | None = None,
    now: datetime | None = None,
    teachers: Sequence[Run] = (),
    from_run: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Event, None, TrainedRun]:
    """Train as `train` does, and yield each event.

    Closing the generator saves the state, so that training can be resumed. From then on the process keeps
    freed memory, see `app.allocator.keep_freed_memory`.

    Of several workers, see `app.training.workers`, all but the chief yield messages only, and leave the run
    directory to it.
    """
    task = get_task(task_name)
    check_strategy(task, config, teachers)
    workers = yield from connected(config.training.strategy, should_stop)
    if not workers.is_chief:
        run, resume = None, False
    try:
        return (
            yield from _begun(
                task,
                data,
                config,
                run,
                resume,
                manual_directory,
                now,
                teachers,
                from_run,
                should_stop,
                workers,
            )
        )
    except UserError as error:
        workers.report(error)
        raise


def _begun(
    task: Task[Any, Any],
    data: str,
    config: TaskConfig,
    run: Path | None,
    resume: bool,
    manual_directory: Path | None,
    now: datetime | None,
    teachers: Sequence[Run],
    from_run: Path | None,
    should_stop: Callable[[], bool],
    workers: Alone,
) -> Generator[Event, None, TrainedRun]:
    """Check the run directory and prepare the data of `training_steps`, and train."""
    if run is not None and run.exists() and not resume:
        if not (run / MANIFEST).is_file():
            raise UserError(f"{run} exists and is not a run directory; give another --run")
        raise UserError(f"{run} exists; continue it with --resume, or give another --run")
    if resume and run is None:
        raise UserError("--resume needs --run, the run directory to continue")
    if run is not None and run.exists():
        _check_task(run, read_run_manifest(run), task.name)
    if (
        config.model.embeddings not in ("", LEARN)
        and not Path(config.model.embeddings).expanduser().is_file()
    ):
        raise UserError(f"model.embeddings = {config.model.embeddings!r}: No such file or directory")
    TRACKERS[config.training.tracker].check()
    source = open_language_model(config, run)
    start = open_warm_start(task.name, config, from_run, run)
    examples = task.examples
    rows, fields, config = open_data(data, task, config)
    dataset = prepare(
        rows,
        fields,
        directory=config.data_directory(),
        manual_directory=manual_directory,
        splitting=config.splitting(),
        check=examples.check,
        warn=examples.warn,
        validator=examples.validator(config),
    )
    unlabelled = None
    if opened := open_unlabelled(task, config):
        unlabelled = prepare(opened.source, opened.fields, directory=config.data_directory())
    check_equal(workers, config, dataset.hash, unlabelled.hash if unlabelled else "")
    run = run or (
        default_run(task.name, dataset.name, now or datetime.now()) if workers.is_chief else NOWHERE
    )
    if run.exists() and not resume:
        raise UserError(f"{run} exists; give another --run")
    keep_freed_memory()
    with ExitStack() as held, _op_determinism(config.training.deterministic):
        return (
            yield from _train(
                task,
                dataset,
                unlabelled,
                data,
                config,
                run,
                teachers,
                source,
                start,
                should_stop,
                workers,
                held,
            )
        )


def _train(
    task: Task[Any, Any],
    dataset: Dataset,
    unlabelled: Dataset | None,
    data: str,
    config: TaskConfig,
    run: Path,
    teachers: Sequence[Run],
    source: Run | None,
    start: Run | None,
    should_stop: Callable[[], bool],
    workers: Alone,
    held: ExitStack,
) -> Generator[Event, None, TrainedRun]:
    import tensorflow as tf

    from app.training.encode import UNLABELLED, encode_and_batch
    from app.training.fit import Fit
    from app.training.following import followed
    from app.training.gradients import GradientWatch
    from app.training.kernels import check_kernels, choose_kernels, other_kernels
    from app.training.pretrained import check_pretrained, copy_encoder, has_begun, read_language_model
    from app.training.recorder import Recorder, recorded
    from app.training.resuming import (
        check_same,
        config_of_run,
        described_changes,
        remaining,
        with_epochs_of,
    )
    from app.training.selection import selecting_metric
    from app.training.teacher import TaughtBatches, check_teachers, described_teacher, write_probabilities
    from app.training.unlabelled import JoinedBatches
    from app.training.warm_start import copy_source, kept_preprocessing, read_source
    from app.training.word_vectors import learned_vectors

    # Data that cannot be learned from is refused before the run directory is created.
    kept = kept_preprocessing(task, start, run)
    found = encode_and_batch(dataset, task, config, config.data_directory(), unlabelled, kept)
    encoded, preprocessing, batches = found.encoded, found.preprocessing, found.batches
    examples = task.examples
    token_counts = examples.token_counts(encoded, preprocessing, config)
    resumed = run.exists()
    if resumed:
        before = config_of_run(run)
        config = with_epochs_of(before, config)
    config = resolve_epochs(
        config, examples.epoch_tokens(encoded), to_learn_from=examples.tokens_to_learn_from
    )
    metric = selecting_metric(task.training.metrics(preprocessing), config)
    if resumed:
        manifest = read_run_manifest(run)
        check_same(run, manifest, before, config, dataset, data, unlabelled=unlabelled)
        check_teachers(run, manifest, teachers)
        check_pretrained(run, manifest, source)
    is_finished = resumed and not remaining(run, manifest, before, config)
    is_finished, epochs = workers.conclude([is_finished, config.training.epochs])
    if is_finished:
        return _summary(run, finished=True) if workers.is_chief else TrainedRun(run, True, {}, workers.name)
    config = _with_epochs(config, epochs)
    if resumed:
        held.enter_context(locked(run))
    begun = has_begun(run)
    weights = read_language_model(source) if source and not begun else None
    of_start = read_source(start, task) if start else None

    def new_network() -> tuple[keras.Model, Pretrained | None]:
        vectors = partial(learned_vectors, found, task, config)
        model = new_model(task, config, preprocessing, token_counts, vectors)
        if weights is None:
            return model, None
        return model, copy_encoder(weights, task, model, preprocessing.vocabulary, config)

    model, pretrained = new_network()
    started = copy_source(of_start, task, model, preprocessing, config) if of_start else None
    notes = [*dataset.notes, *(warning.sentence() for warning in found.warnings)]
    for note in notes if workers.is_chief else ():  # the chief says it for all
        yield Message(note)
    if unlabelled:
        texts = encoded.splits.get(UNLABELLED, ())
        yield Message(f"{task.examples.unlabelled(config)}: {len(texts):,} texts without labels")
    choice = yield from choose_kernels(model, config, manifest.kernels if resumed else None)
    copies = []
    for device in workers.devices(several=config.training.strategy != SINGLE)[1:]:
        with tf.device(device):
            copies.append((device, random_model(task, config, preprocessing, token_counts)))
        copies[-1][1].use_kernels(choice.kernels)

    def new_fit(train_batches: Batches) -> Fit:
        return Fit(
            task,
            model,
            config,
            metric=metric,
            train=train_batches,
            validation=batches["validation"],
            preprocessing=preprocessing,
            workers=workers,
            copies=copies,
            should_stop=(lambda: False) if workers.number == 1 else should_stop,
        )

    if not workers.is_chief:
        finished = yield from followed(new_fit(batches["train"]))
        return TrainedRun(run, finished, {}, workers.name)
    replicas = workers.number * (1 + len(copies))
    if resumed:
        check_kernels(run, manifest, config, choice)
        check_replicas(run, manifest, config, replicas)
    else:
        manifest = RunManifest(
            task=task.name,
            dataset=dataset.name,
            dataset_hash=dataset.hash,
            data=_absolute(data),
            versions=versions(),
            kernels=choice.name,
            strategy=config.training.strategy,
            replicas=replicas,
            seed=config.seed,
            parameters=model.count_params(),
            unlabelled_hash=unlabelled.hash if unlabelled else "",
            layout=list(dataset.layout),
            examples={name: len(split) for name, split in encoded.splits.items()},
            teachers=[described_teacher(teacher) for teacher in teachers],
            pretrained=pretrained,
            from_run=started,
        )
        write_teacher = None
        if teachers:
            yield Message(f"{run}: computing the probabilities of {_teachers(len(teachers))}")
            write_teacher = partial(
                write_probabilities, teachers=teachers, task=task, dataset=dataset, config=config
            )
        create_run(run, config, manifest, preprocessing, found.longest, write_teacher)
        held.enter_context(locked(run))
        manifest = read_run_manifest(run)
    if pretrained_from(config) == LEARN and not begun:
        learned = yield from _learn_language_model(task, found, config, run, should_stop)
        if learned is None:
            return TrainedRun(run, finished=False, best={})
        weights = read_language_model(learned)
        model, pretrained = new_network()
        model.use_kernels(choice.kernels)
        manifest = start_run(run, pretrained)
    for other in filter(None, (pretrained, started)):
        yield Message(f"{other.run}: {'; '.join(other.copied)}")
    train_batches = batches["train"]
    if manifest.teachers:
        train_batches = TaughtBatches(train_batches, run, manifest, config)
    if UNLABELLED in encoded.splits and learns_from_unlabelled(config):
        others = encoded.splits[UNLABELLED].sequences["tokens"]
        train_batches = JoinedBatches(train_batches, others, batch_size=config.training.batch_size)
    fit = new_fit(train_batches)
    if config.training.strategy != SINGLE:
        yield Message(f"{run}: {described_replicas(fit.replicas.number, workers.number)}")

    def begin(recorder: Recorder) -> Iterator[Message]:
        yield Message(
            f"{run}: resuming at epoch {fit.state.epoch + 1}, step {fit.state.step + 1}"
            if resumed
            else f"{run}: {_described(preprocessing, token_counts, manifest)}"
        )
        if resumed:
            others = [
                other_kernels(manifest.kernels, choice.name),
                other_replicas(manifest.replicas, fit.replicas.number),
            ]
            for change in described_changes(before, config, others, fit.state, fit.learning_rate):
                change_run(run, config, choice.name, fit.replicas.number, change)
                yield Message(f"{run}: {change}")
        if not (fit.state.epoch or fit.state.step):
            for step in task.training.start(model, batches["train"], preprocessing, config):
                yield Message(f"{run}: {step}")
            if pretrained or started:  # from now on the other run may be deleted
                recorder.save()
        elif not fit.state.step and fit.state.epoch not in read_samples(
            run
        ):  # interrupted before it was kept
            with fit.average.applied():
                sample()

    def sample() -> str:
        text = sampled(fit.state.epoch)
        if text:
            keep_sample(run, fit.state.epoch, text)
        return text

    said = task.training.after_epoch(model, preprocessing, config)
    sampled = task.training.sampler(model, preprocessing, config)
    watch = GradientWatch(config, *_whole_texts(task, model, preprocessing, config, dataset))

    def after_epoch() -> str:
        sentences = watch.after_epoch(fit.state.history[-1], fit.usual_norm)
        text = sample()
        lines = [f"  | {line}" for line in text.split("\n") if text]
        return "\n".join(line for line in (said(), *lines, *sentences) if line)

    stops = should_stop if workers.number == 1 else lambda: fit.stops
    finished = yield from recorded(fit, run, begin, after_epoch, stops)
    if finished:
        yield from with_card(run)
    return _summary(run, finished=finished)


def with_card(run: Path) -> Iterator[Message]:
    """Write the model card of a finished run; a failure is a message: the run is complete without it."""
    from app.model_card.render import write_card

    try:
        write_card(run)
    except Exception as error:
        reason = " ".join(f"{error or type(error).__name__}".split())
        yield Message(f"{run}: the model card was not written: {reason}; 'textrnn card {run}' writes it")


def _learn_language_model(
    task: Task[Any, Any],
    found: TrainingData,
    config: TaskConfig,
    run: Path,
    should_stop: Callable[[], bool],
) -> Generator[Event, None, Run | None]:
    """Train the language model of `model.pretrained = "learn"`, or continue its training.

    Args:
        task: of the network that starts from it.
        found: its texts.
        config: of the network.
        run: its run directory; the language model is a run in it.
        should_stop: as of `train`.

    Returns:
        the finished run of the language model; None: it was asked to stop.
    """
    from app.training.fit import Fit
    from app.training.kernels import check_kernels, choose_kernels
    from app.training.pretrained import LANGUAGE_MODELS
    from app.training.pretraining import language_model_data
    from app.training.recorder import Recorder, recorded
    from app.training.selection import selecting_metric

    path, learner, network = run / PRETRAINING, get_task(LANGUAGE_MODELS), read_run_manifest(run)
    resumed = path.exists()
    if resumed and read_run_manifest(path).complete:
        return open_run(path)
    data = language_model_data(found, task, config)
    preprocessing = data.preprocessing
    config = resolve_epochs(data.config, data.tokens, to_learn_from=learner.examples.tokens_to_learn_from)
    model = new_model(learner, config, preprocessing, data.token_counts)
    choice = yield from choose_kernels(model, config, network.kernels)
    if resumed:
        check_kernels(path, read_run_manifest(path), config, choice)
    else:
        manifest = RunManifest(
            task=learner.name,
            dataset=network.dataset,
            dataset_hash=network.dataset_hash,
            data=network.data,
            versions=versions(),
            kernels=choice.name,
            seed=config.seed,
            parameters=model.count_params(),
            unlabelled_hash=network.unlabelled_hash,
            layout=network.layout,
            examples=data.texts,
        )
        create_run(path, config, manifest, preprocessing, found.longest)
    metric = selecting_metric(learner.training.metrics(preprocessing), config)
    fit = Fit(
        learner,
        model,
        config,
        metric=metric,
        train=data.train,
        validation=data.validation,
        preprocessing=preprocessing,
    )

    def begin(recorder: Recorder) -> Iterator[Message]:
        what = f"a language model of {data.tokens:,} tokens of {data.texts['train']:,} texts"
        yield Message(
            f"{path}: learning {what}"
            if not resumed
            else f"{path}: resuming at epoch {fit.state.epoch + 1}, step {fit.state.step + 1}"
        )

    finished = yield from recorded(fit, path, begin, str, should_stop)
    return open_run(path) if finished else None


def _whole_texts(
    task: Task[Any, Any],
    model: keras.Model,
    preprocessing: Preprocessing[Any],
    config: TaskConfig,
    dataset: Dataset,
) -> tuple[Inspection[Any, Any] | None, dict[str, np.ndarray]]:
    """Return how outputs that should depend on whole texts are looked into, and some validation examples."""
    if not (task.training.reads_whole_texts and config.model.layers):
        return None, {}
    examples = next(iter(dataset.batches("validation", size=EXAMPLES_FOLLOWED)))
    return task.training.inspection(model, preprocessing, config), examples


@contextmanager
def _op_determinism(deterministic: bool) -> Iterator[None]:
    """Switch deterministic operations of TensorFlow on, and off again if they were off before."""
    if not deterministic:
        yield
        return
    import tensorflow as tf

    # TensorFlow's public API can only switch them on.
    from tensorflow.python.framework import config as framework

    before = framework.is_op_determinism_enabled()
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        if not before:
            framework.disable_op_determinism()


def _described(preprocessing: Preprocessing[Any], token_counts: np.ndarray, manifest: RunManifest) -> str:
    from models.text.tokens import UNKNOWN_ID

    return (
        f"{manifest.examples['train']:,} training examples, "
        f"{len(preprocessing.vocabulary):,} tokens in the vocabulary "
        f"({token_counts[UNKNOWN_ID] / max(token_counts.sum(), 1):.1%} of the text is out of vocabulary), "
        f"{manifest.parameters:,} parameters"
    )


def _teachers(number: int) -> str:
    return "a teacher" if number == 1 else f"{number} teachers"


def _absolute(data: str) -> str:
    """Return DATA so that it can be found from another working directory."""
    return str(Path(data).resolve()) if Path(data).exists() else data


def _check_task(run: Path, manifest: RunManifest, task: str) -> None:
    if manifest.task != task:
        raise UserError(f"{run}: cannot be resumed: its task is {manifest.task}, not {task}")


def _summary(run: Path, *, finished: bool) -> TrainedRun:
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    best = [line for line in lines if line.get("best")]
    return TrainedRun(run, finished, best[-1] if best else {})
