"""The Python API: train, load, evaluate, export and serve models.

TensorFlow is imported when a function needs it, so that `import textrnn` is fast.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from app.prediction.kernels import AUTO, KERNELS
from app.training.events import Epoch, Event, Message, Step, TrainedRun, Watcher
from data.errors import UserError

if TYPE_CHECKING:
    from app.config import TaskConfig
    from app.prediction.predictor import Predictor

__all__ = [
    "Epoch",
    "Event",
    "Message",
    "Model",
    "Step",
    "TrainedRun",
    "UserError",
    "Watcher",
    "distill",
    "evaluate",
    "export",
    "inspect",
    "load",
    "serve",
    "train",
    "training_steps",
    "tune",
]

PathName = str | PathLike[str]


def train(
    task: str,
    data: PathName,
    *,
    run: PathName | None = None,
    config: PathName | TaskConfig | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] | None = None,
    resume: bool = False,
    from_run: PathName | None = None,
    manual_directory: PathName | None = None,
    report: bool = True,
    watcher: Watcher | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainedRun:
    """Train a model.

    It prints nothing and handles no signals, and so works in a notebook and in any thread. Train one model at
    a time in a process.

    Args:
        task: `classification`, `tagging`, `generation` or `translation`.
        data: `sample:NAME`, `tfds:NAME`, a folder or a file.
        run: run directory to create; None: `runs/TASK-NAME-DATE-TIME`.
        config: TOML file, or a loaded configuration.
        preset: name of a preset of the task.
        overrides: configuration values by their key, e.g. `{"model.cell": "gru"}`, or `KEY=VALUE` strings.
        resume: continue the training in `run` from its last state; with more epochs also a finished one.
        from_run: a finished run to start from: its weights, and without `config` and `preset` its
            configuration, except for the section data.
        manual_directory: raw files of a `tfds:` dataset.
        report: also write `report.html`, a page about the run, when training is finished.
        watcher: called with each event: `Step`, `Epoch` or `Message`.
        should_stop: called after each event; if it returns True, the state is saved and training stops.

    Returns:
        `path` of the run directory, whether training is `finished`, and the metrics of the `best` epoch.

    Raises:
        UserError: arguments, data or configuration are not valid.
    """
    from app.train import train as run_training

    watcher = watcher or _ignore
    trained = run_training(
        task,
        str(data),
        _config(task, config, preset, overrides, from_run, run),
        run=_path(run),
        resume=resume,
        from_run=_path(from_run),
        manual_directory=_path(manual_directory),
        watcher=watcher,
        should_stop=should_stop or _never,
    )
    for message in _report(trained, manual_directory) if report else ():
        watcher(message)
    return trained


def training_steps(
    task: str,
    data: PathName,
    *,
    run: PathName | None = None,
    config: PathName | TaskConfig | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] | None = None,
    resume: bool = False,
    from_run: PathName | None = None,
    manual_directory: PathName | None = None,
    report: bool = True,
) -> Generator[Event, None, TrainedRun]:
    """Train a model as `train` does, and yield each event.

    To stop early, leave the loop and call `close()` on the generator: the state is saved, and training can be
    resumed.
    """
    from app.train import training_steps as steps

    events = steps(
        task,
        str(data),
        _config(task, config, preset, overrides, from_run, run),
        run=_path(run),
        resume=resume,
        from_run=_path(from_run),
        manual_directory=_path(manual_directory),
    )
    return _with_report(events, manual_directory) if report else events


def tune(
    task: str,
    data: PathName,
    *,
    budget: float,
    run: PathName | None = None,
    search: Sequence[str] = (),
    config: PathName | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] | None = None,
    manual_directory: PathName | None = None,
    watcher: Watcher | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, Any] | None:
    """Search the hyper-parameters of a task on some data within a time, and keep the best run.

    Args:
        task: as of `train`.
        data: as of `train`.
        budget: seconds of the whole search; those of earlier calls in `run` count.
        run: folder of the search; one that exists is continued; None: `runs/tune-TASK-DATE-TIME`. The best
            run is in it as `best`.
        search: changes of what is searched: `KEY=LOW..HIGH`, `KEY=LOW..HIGH:log`, `KEY=A,B,C`, or `KEY=` for
            a key that is not searched.
        config: TOML file.
        preset: name of a preset of the task.
        overrides: configuration values, which are not searched, as of `train`.
        manual_directory: raw files of a `tfds:` dataset.
        watcher: called with each event of the trainings.
        should_stop: called after each event; if it returns True, the search stops, and can be continued.

    Returns:
        what `textrnn tune --json` prints; None if it was stopped.

    Raises:
        UserError: Optuna is not installed, or arguments, data or configuration are not valid.
    """
    from app.tune import tune as run_search

    return run_search(
        task,
        str(data),
        budget=budget,
        run=_path(run),
        search=search,
        config_file=_path(config),
        preset=preset,
        overrides=_assignments(overrides),
        manual_directory=_path(manual_directory),
        watcher=watcher or _ignore,
        should_stop=should_stop or _never,
    )


def distill(
    teachers: Sequence[PathName],
    *,
    run: PathName,
    config: PathName | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] | None = None,
    resume: bool = False,
    manual_directory: PathName | None = None,
    report: bool = True,
    watcher: Watcher | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainedRun:
    """Train one network on the data of several runs and on the mean of their probabilities.

    Args:
        teachers: finished runs of classification or tagging on the same data.
        run: run directory of the student to create.
        config: TOML file with the configuration of the student.
        preset: named configuration of the student; without a file and a preset it has that of the first
            teacher.
        overrides: configuration values of the student, as of `train`.
        resume: continue an earlier distillation in `run`.
        manual_directory: raw files of a `tfds:` dataset.
        report: as of `train`.
        watcher: as of `train`.
        should_stop: as of `train`.

    Raises:
        UserError: the runs cannot teach together, or as of `train`.
    """
    from app.distill import distill as run_distillation

    watcher = watcher or _ignore
    trained = run_distillation(
        [Path(teacher) for teacher in teachers],
        Path(run),
        config_file=_path(config),
        preset=preset,
        overrides=_assignments(overrides),
        resume=resume,
        manual_directory=_path(manual_directory),
        watcher=watcher,
        should_stop=should_stop or _never,
    )
    for message in _report(trained, manual_directory) if report else ():
        watcher(message)
    return trained


def load(path: PathName, *, kernels: str = AUTO) -> Model:
    """Load a model.

    Args:
        path: a run directory, an export, or one version of an export.
        kernels: recurrent kernels: `native` (on a CPU), `tensorflow` (of an export: its graph as it is), or
            `auto`: native on a host without a GPU where they can run.

    Raises:
        UserError: it is none of these, its files were changed, or training is not finished.
    """
    from app.prediction.loading import load_predictor

    return Model(Path(path), load_predictor(Path(path), _kernels(kernels)))


class Model:
    """A loaded model: a run or an export."""

    def __init__(self, path: Path, predictor: Predictor) -> None:
        """Use `load` instead."""
        self.path = path
        self._predictor = predictor

    def __repr__(self) -> str:
        return f"<textrnn.Model {self.task} {str(self.path)!r}>"

    @property
    def task(self) -> str:
        """Name of the task."""
        return self._predictor.info.task

    @property
    def labels(self) -> list[str]:
        """Labels that the model was trained with; empty if it has none."""
        return [label.decode() for label in self._predictor.info.preprocessing.labels]

    def predict(
        self, texts: Sequence[str], *, beam: int | None = None, reject_below: float = 0.0
    ) -> list[dict[str, Any]]:
        """Predict the labels, the tags, the translation or (of a language model) the loss of each text.

        Args:
            texts: any number of strings.
            beam: beam width of a translator; None: the one in its configuration.
            reject_below: labels with a lower score become None, from 0 to 1.

        Returns:
            a dictionary for each text, as `textrnn predict` prints it.

        Raises:
            UserError: a beam width is given for a model without beam search.
        """
        from app.predict import predictions
        from app.prediction.loading import with_beam
        from data.formats import Row

        _check_texts(texts)
        rows = [Row(line, {"text": text}) for line, text in enumerate(texts, 1)]
        return list(predictions(with_beam(self._predictor, beam), rows, reject_below))

    def generate(self, prompts: str | Sequence[str] = "", **options: Any) -> list[dict[str, Any]]:
        """Generate a text after each prompt with a language model.

        Args:
            prompts: one prompt or several; an empty one starts a document.
            options: `length`, `temperature`, `top_k`, `top_p`, `repetition_penalty`, `seed`, `beam`,
                `length_penalty`, `stop` (strings), `label`. The i-th prompt uses the seed plus i.

        Returns:
            for each prompt a dictionary with `prompt`, the `text` after it, and its `score`.

        Raises:
            UserError: the model does not generate text, or an option is not valid.
        """
        from app.tasks.generation.sampling import SAMPLING, Options, generate

        prompts = [prompts] if isinstance(prompts, str) else prompts
        _check_texts(prompts)
        if unknown := sorted(options.keys() - Options.__dataclass_fields__.keys()):
            known = ", ".join(Options.__dataclass_fields__)
            raise UserError(f"unknown option {unknown[0]!r} of generate; expected one of {known}")
        if "stop" in options:
            stop = options["stop"]
            if not isinstance(stop, Iterable):
                raise UserError(f"stop: expected a string or a list of strings, got {stop!r}")
            options["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        if options.get("beam") and (ignored := sorted(options.keys() & set(SAMPLING))):
            raise UserError(f"{ignored[0]} has no effect in beam search; leave out beam or {ignored[0]}")
        if "length_penalty" in options and not options.get("beam"):
            raise UserError("length_penalty has an effect in beam search only; give beam, or leave it out")
        generated = generate(self._predictor, prompts, Options(**options)) if prompts else []
        return [
            {"prompt": prompt, "text": made.text, "score": made.score}
            for prompt, made in zip(prompts, generated, strict=True)
        ]

    def score(self, texts: Sequence[str], targets: Sequence[str] | None = None) -> list[dict[str, float]]:
        """Compute the loss of texts under a language model, or of translations under a translator.

        Args:
            texts: texts; of a translator the source texts.
            targets: the translation of each text; for a translator only.

        Returns:
            for each text a dictionary with the `loss` in nats (per token for a language model, the sum for a
            translator) and the number of `tokens`; for a translator also how many are `correct`.

        Raises:
            UserError: the model does not score texts.
        """
        from app.tasks import get_task

        _check_texts(texts)
        if targets is not None:
            _check_texts(targets)
            if len(targets) != len(texts):
                raise UserError(f"{len(texts)} texts, {len(targets)} targets: give a target for each text")
        predictions = get_task(self.task).predictions
        return predictions.score(self._predictor, texts, targets) if texts else []

    def evaluate(
        self,
        data: PathName | None = None,
        *,
        split: str = "test",
        baseline: bool = True,
        overrides: Mapping[str, Any] | Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Evaluate the model; see `textrnn.evaluate`."""
        from app.evaluate import evaluate as run_evaluation

        return run_evaluation(
            self._predictor,
            data=None if data is None else str(data),
            split=split,
            with_baseline=baseline,
            overrides=_assignments(overrides),
        )

    def export(self, output: PathName | None = None, *, version: int | None = None) -> Path:
        """Export the model, which must be a run; see `textrnn.export`."""
        return export(self.path, output=output, version=version)


def evaluate(
    path: PathName | Sequence[PathName],
    *,
    data: PathName | None = None,
    split: str = "test",
    baseline: bool = True,
    beam: int | None = None,
    kernels: str = AUTO,
    manual_directory: PathName | None = None,
    overrides: Mapping[str, Any] | Sequence[str] | None = None,
) -> dict[str, Any]:
    """Evaluate a model on a split of its data, or of other data.

    Args:
        path: a run directory, an export, or one version of an export; or several run directories that differ
            in their seeds.
        data: other data than the model was trained on.
        split: `train`, `validation`, `test` or `all`.
        baseline: also train and evaluate a simple model to compare with.
        beam: beam width of a translator; None: the one in its configuration.
        kernels: see `load`.
        manual_directory: raw files of a `tfds:` dataset.
        overrides: how the files of `data` are read, if not as in training, e.g.
            `{"data.label_column": "stars", "data.delimiter": ";"}`, or `KEY=VALUE` strings.

    Returns:
        the metrics, as `textrnn evaluate --json` prints them.
    """
    from app.evaluate import evaluate as run_evaluation
    from app.evaluate import evaluate_runs
    from app.prediction.loading import load_predictor

    options: dict[str, Any] = {
        "data": None if data is None else str(data),
        "split": split,
        "with_baseline": baseline,
        "beam": beam,
        "manual_directory": _path(manual_directory),
        "overrides": _assignments(overrides),
    }
    paths = [Path(path)] if isinstance(path, str | PathLike) else [Path(own) for own in path]
    if len(paths) == 1:
        return run_evaluation(load_predictor(paths[0], _kernels(kernels)), **options)
    return evaluate_runs(paths, **options, kernels=_kernels(kernels))


def export(
    run: PathName,
    *,
    output: PathName | None = None,
    version: int | None = None,
    with_training_text: bool = False,
) -> Path:
    """Export a run as a SavedModel that takes strings.

    Args:
        run: a finished run.
        output: directory of the model; None: `exports/NAME`.
        version: version to create; None: the next one.
        with_training_text: include the longest training text in the test inputs of the export.

    Returns:
        the new directory, `OUTPUT/VERSION`.
    """
    from app.export import export as run_export

    return run_export(Path(run), output=_path(output), version=version, with_training_text=with_training_text)


def inspect(
    path: PathName, texts: str | Sequence[str] = (), *, output: PathName | None = None
) -> dict[str, Any]:
    """Measure how far back a network remembers, or look at what it does with texts.

    Args:
        path: a run directory; with texts also an export, of which there is less.
        texts: one text or several; none: the network is measured on a sample of its validation examples.
        output: PNG or SVG file to write; for at most one text.

    Returns:
        what `textrnn inspect --json` prints.

    Raises:
        UserError: it is neither a run nor an export, an export has no layers to look into, the data of the
            training is not there any more, a text has no tokens, or the file cannot be drawn.
    """
    from app.inspect import inspect_network, inspect_texts, texts_as_json
    from app.inspection import draw
    from app.pictures import check_picture

    chosen = [texts] if isinstance(texts, str) else list(texts)
    _check_texts(chosen)
    picture = _path(output)
    if picture is not None:
        if len(chosen) > 1:
            raise UserError(f"output: a picture shows one text, got {len(chosen)}; call inspect for each")
        check_picture(picture)
    if not chosen:
        network = inspect_network(Path(path))
        if picture is not None:
            draw.draw_network(network, picture)
        return network.as_json()
    views = inspect_texts(Path(path), chosen)
    if picture is not None:
        draw.draw_text(views[0], picture)
    return texts_as_json(views)


def serve(
    exports: PathName | Sequence[PathName],
    *,
    labels: Sequence[str] = (),
    name: str | None = None,
    **options: Any,
) -> None:
    """Serve exports with TensorFlow Serving's REST and gRPC APIs until the process is told to stop.

    Args:
        exports: directories of exports, each with or without a name: `DIR` or `NAME=DIR`.
        labels: names for versions: `LABEL=VERSION`, or `NAME:LABEL=VERSION` with several models.
        name: name of the model if there is one only.
        options: those of `app.serve.serve`: `host`, `rest_port`, `grpc_port`, `keep`, …

    Raises:
        UserError: a package of `textrnn[serve]` is missing, a directory is not an export, or a port is used.
    """
    from app.allocator import save_address_space
    from app.extras import extra

    save_address_space()
    with extra("serve", "serve"):
        from app.serve import labels_of, models_of
        from app.serve import serve as run_server
    given = [exports] if isinstance(exports, str | PathLike) else exports
    models = models_of([str(export) for export in given], name)
    run_server(models, labels=labels_of(labels, list(models)), **options)


def _report(trained: TrainedRun, manual_directory: PathName | None) -> Iterator[Message]:
    """Write the report of a training that has ended, and yield what is said of it."""
    from app.report import report_of_training

    if text := report_of_training(trained, _path(manual_directory)):
        yield Message(text)


def _with_report(
    events: Generator[Event, None, TrainedRun], manual_directory: PathName | None
) -> Generator[Event, None, TrainedRun]:
    trained = yield from events
    yield from _report(trained, manual_directory)
    return trained


def _config(
    task: str,
    config: PathName | TaskConfig | None,
    preset: str | None,
    overrides: Mapping[str, Any] | Sequence[str] | None,
    from_run: PathName | None = None,
    run: PathName | None = None,
) -> TaskConfig:
    from app.config import TaskConfig, load_config
    from app.tasks import TASKS

    if task not in TASKS:
        raise UserError(f"unknown task {task!r}; expected one of {', '.join(TASKS)}")
    if isinstance(config, TaskConfig):
        if preset is not None or overrides:
            raise UserError("a loaded configuration cannot be combined with preset or overrides")
        return config
    file, assignments = _path(config), _assignments(overrides)
    if from_run is None:
        return load_config(task, file=file, preset=preset, overrides=assignments)
    from app.training.warm_start import warm_start_config

    return warm_start_config(
        task, Path(from_run), run=_path(run), config_file=file, preset=preset, overrides=assignments
    )


def _kernels(name: str) -> str:
    if name not in KERNELS:
        raise UserError(f"unknown kernels {name!r}; expected one of {', '.join(KERNELS)}")
    return name


def _assignments(overrides: Mapping[str, Any] | Sequence[str] | None) -> Sequence[str]:
    """Return overrides as `KEY=VALUE`."""
    if isinstance(overrides, Mapping):
        return [f"{key}={_toml(key, value)}" for key, value in overrides.items()]
    return overrides or ()


def _toml(key: str, value: Any) -> str:
    """Return a value as it is written in TOML."""
    value = str(value) if isinstance(value, PathLike) else value
    try:
        return tomli_w.dumps({"value": value}).removeprefix("value = ").rstrip("\n")
    except TypeError:
        raise UserError(f"{key} = {value!r}: expected a string, a number, a boolean or a list") from None


def _path(path: PathName | None) -> Path | None:
    return None if path is None else Path(path)


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise UserError("expected a list of strings, not one string")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"text {position} is not a string: {text!r}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"text {position} cannot be encoded as UTF-8: {error.reason}") from None


def _ignore(event: Event) -> None:
    pass


def _never() -> bool:
    return False
