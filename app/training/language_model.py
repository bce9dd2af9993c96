"""The training of the language model that a network of another task starts from."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from app.artifacts.files import versions
from app.artifacts.manifests import RunManifest
from app.artifacts.run import PRETRAINING, Run, create_run, open_run, read_run_manifest
from app.config import TaskConfig
from app.tasks import get_task
from app.tasks.base import Task
from app.training.encode import TrainingData
from app.training.epochs import resolve_epochs
from app.training.events import Event, Message
from app.training.fit import Fit
from app.training.kernels import check_kernels, choose_kernels
from app.training.network import new_model
from app.training.pretrained import LANGUAGE_MODELS
from app.training.pretraining import language_model_data
from app.training.recorder import Recorder, recorded
from app.training.selection import selecting_metric


def learn_language_model(
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
        should_stop: as of `app.train.train`.

    Returns:
        the finished run of the language model; None: it was asked to stop.
    """
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
