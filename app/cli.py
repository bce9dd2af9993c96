"""The command line: each command parses its options, calls one function and prints the result.

TensorFlow is imported inside the commands, so that help is printed immediately.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from app.bounds import BEAM_WIDTH, LARGEST_INTEGER
from app.prediction.kernels import AUTO, KERNELS
from app.serving.options import Batching, Limits, affordable_bytes
from app.tasks import TASKS
from app.tasks.generation.bounds import OPTIONS
from app.terminal.duration import Duration
from app.terminal.limits import OUT_OF_MEMORY, exhausted
from app.terminal.number import Number, bounded
from app.terminal.printable import json_line, one_line, printable
from app.terminal.streams import drop_output, finish_output, prepare_streams, print_path
from data.errors import UserError
from data.formats import formats_of

if TYPE_CHECKING:
    from app.training.events import TrainedRun

DIRECTORY = click.Path(path_type=Path)
PREDICTED_FORMATS = list(formats_of(("records", "sentences", "lines")))
"""Suffixes of the formats that `predict` reads; txt: a text on each line."""
INTERRUPTED = 130
COUNT = click.IntRange(min=1, max=LARGEST_INTEGER)
LONGEST = 365 * 24 * 3600
"""Seconds that a time may have: timers overflow for much larger ones."""


class OneLineErrors(click.Command):
    """A command that reports errors in one line, `Error: …`, with status 2 for usage errors and 1 else."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line and exit."""
        prepare_streams()
        try:
            result = super().main(*args, **(options | {"standalone_mode": False}))
            finish_output()
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            status = error.exit_code
        except click.ClickException as error:
            _fail(" ".join(error.format_message().split()))
            status = error.exit_code
        except UserError as error:
            _fail(str(error))
            status = 1
        except (click.Abort, KeyboardInterrupt):
            _fail("interrupted")
            status = INTERRUPTED
        except BrokenPipeError:  # the reader of a pipe has exited: nobody reads an error message
            drop_output()
            status = 1
        except OSError as error:  # e.g. a full disk, or a directory without write permission
            _fail(f"{error.filename or 'input/output'}: {error.strerror or error}")
            status = 1
        else:
            status = result if isinstance(result, int) else 0
        with suppress(OSError):  # the error has been reported
            finish_output()
        sys.exit(status)

    def invoke(self, context: click.Context) -> Any:
        """Run a command; report that the memory or the disk is full as a user error."""
        try:
            return super().invoke(context)
        except Exception as error:
            if (reason := exhausted(error)) is None:
                raise
            advice = SMALLER.get(context.invoked_subcommand or "", "shorten the longest texts")
            raise UserError(f"{reason}; {advice}" if reason == OUT_OF_MEMORY else reason) from None


class OneLineErrorsGroup(OneLineErrors, click.Group):
    """A group of commands that reports errors so."""

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return a command, whose name may have two words: `tune lr`."""
        name = " ".join(args[:2])
        if name in self.commands:
            return name, self.commands[name], args[2:]
        return super().resolve_command(context, args)


SMALLER = {
    "distill": "give a smaller --set training.batch_size=N, or shorten the longest texts",
    "train": "give a smaller --set training.batch_size=N, or shorten the longest texts",
    "tune": "give smaller values of --search training.batch_size=A,B, or shorten the longest texts",
    "tune lr": "give a smaller --set training.batch_size=N, or shorten the longest texts",
    "generate": "give a smaller --length, --samples or --beam",
}
"""What to do about too little memory, by command."""


def _fail(message: str) -> None:
    _note(f"Error: {message}")


def _note(message: str) -> None:
    """Print a message to stderr, in one line."""
    with suppress(OSError):  # stderr is full, or its reader has exited: there is no other place for it
        sys.stderr.write(f"{one_line(message)}\n")
        sys.stderr.flush()


def _print(text: str, end: str = "\n") -> None:
    """Print a result to stdout."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


def _shown(text: str) -> str:
    """Return a generated text as stdout gets it: unchanged, or on a terminal with escapes."""
    return printable(text) if sys.stdout.isatty() else text


def _quiet() -> None:
    from app.terminal.quiet import quiet

    quiet()


def config_options(command: Any) -> Any:
    """Add the options that select a configuration."""
    for option in (
        click.option(
            "--set",
            "overrides",
            metavar="KEY=VALUE",
            multiple=True,
            help="Set a configuration key; may be repeated.",
        ),
        click.option(
            "--preset",
            metavar="NAME",
            help="Use the values of a named configuration, e.g. fast.",
        ),
        click.option(
            "--config",
            "config_file",
            type=DIRECTORY,
            metavar="FILE.toml",
            help="Read keys from a TOML file, e.g. the config.toml of a run; --set overrides it.",
        ),
    ):
        command = option(command)
    return command


manual_dir_option = click.option(
    "--manual-dir",
    type=DIRECTORY,
    metavar="DIR",
    help="Directory of raw files of a tfds: dataset, which are then not downloaded.",
)
beam_option = click.option(
    "--beam",
    type=bounded(BEAM_WIDTH),
    metavar="N",
    help="Beam width of translation; 1: greedy decoding. [default: decoding.beam of the model]",
)
kernels_option = click.option(
    "--kernels",
    type=click.Choice(KERNELS),
    default=AUTO,
    help="Recurrent kernels: native (on a CPU), tensorflow (an export's graph as it is), or auto: native "
    "on a host without a GPU where they can run.",
)
format_option = click.option(
    "--format",
    "format_name",
    type=click.Choice(PREDICTED_FORMATS),
    help="Format of INPUT; txt: a text on each line. [default: by name and content of a file; txt for stdin]",
)
text_column_option = click.option(
    "--text-column",
    metavar="NAME",
    help="Column of the text in INPUT, by name or by number from 1. [default: as in training]",
)
reject_option = click.option(
    "--reject-below",
    type=click.FloatRange(0, 1),
    metavar="P",
    default=0.0,
    help="Give no label, but null, where the score is lower than P. [default: the threshold of the model]",
)
report_option = click.option(
    "--report/--no-report",
    default=True,
    help="When training is finished, also write RUN/report.html, a page about the run.",
)
baseline_option = click.option(
    "--baseline/--no-baseline", default=True, help="Also train and evaluate a simple baseline model."
)
reading_option = click.option(
    "--set",
    "overrides",
    metavar="data.KEY=VALUE",
    multiple=True,
    help="Name a column or the layout of other files, e.g. data.text_column or data.encoding; may be "
    "repeated. [default: columns as in training; the layout is detected]",
)
task_option = click.option(
    "--task", default="classification", type=click.Choice(list(TASKS)), help="Task that DATA is for."
)


@click.group(
    cls=OneLineErrorsGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.version_option(package_name="textrnn", prog_name="textrnn")
def main() -> None:
    """Train, evaluate, export and serve recurrent text models.

    \b
    Example, from a table of texts and labels to a SavedModel:
      textrnn train classification reviews.csv --run runs/reviews
      textrnn evaluate runs/reviews
      textrnn export runs/reviews --output exports/reviews
      textrnn predict exports/reviews/1 new_reviews.txt
    """


@main.command()
@click.argument("task", metavar="TASK", type=click.Choice(list(TASKS)))
@click.argument("data", metavar="DATA")
@click.option(
    "--run",
    type=DIRECTORY,
    metavar="DIR",
    help="Run directory to create. [default: runs/TASK-NAME-DATE-TIME]",
)
@config_options
@click.option(
    "--resume",
    is_flag=True,
    help="Resume the training in the run directory --run: interrupted, or finished with fewer epochs.",
)
@click.option(
    "--from",
    "from_run",
    type=DIRECTORY,
    metavar="RUN",
    help="Start from the weights of a finished run, and from its configuration, except for keys of data, if "
    "neither --config nor --preset is given.",
)
@manual_dir_option
@click.option(
    "--seeds",
    type=COUNT,
    metavar="N",
    help="Train N models, one after the other, whose seeds are seed, seed + 1 and so on; their run "
    "directories are those of --run with -0, -1 and so on at the end.",
)
@report_option
@click.option(
    "--print-config", is_flag=True, help="Print the configuration with a description of each key, and exit."
)
def train(
    task: str,
    data: str,
    run: Path | None,
    config_file: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    resume: bool,
    from_run: Path | None,
    manual_dir: Path | None,
    seeds: int | None,
    report: bool,
    print_config: bool,
) -> int:
    """Train a model for TASK on DATA and write a run directory.

    TASK is classification, tagging, generation or translation. DATA is sample:NAME (generated), tfds:NAME
    (TensorFlow Datasets), a folder with train.EXT and perhaps validation.EXT and test.EXT, or a single file.
    Keys of the configuration are set with --set SECTION.KEY=VALUE; --print-config lists them.

    \b
    Examples:
      textrnn train classification sample:reviews --run runs/demo
      textrnn train classification intents.csv --set data.label_column=intent --set model.cell=gru
      textrnn train classification intents.csv --run runs/intents --resume
      textrnn train classification intents.csv --run runs/intents --seeds 3
      textrnn train classification more_intents.csv --from runs/intents --run runs/more
      textrnn train tagging corpus.conllu --run runs/tags
      textrnn train generation plays.txt --run runs/plays
      textrnn train translation corpus/ --set data.source=en --set data.target=de
    """
    _quiet()
    from app.config import dump_config, load_config

    if from_run is None:
        config = load_config(task, file=config_file, preset=preset, overrides=overrides)
    else:
        from app.training.warm_start import warm_start_config

        config = warm_start_config(
            task, from_run, run=run, config_file=config_file, preset=preset, overrides=overrides
        )
    if print_config:
        _print(dump_config(config), end="")
        return 0
    from app import api
    from app.train import with_seeds

    status = 0
    for own_config, own_run in [(config, run)] if seeds is None else with_seeds(config, run, seeds):
        status = status or _show_training(
            partial(
                api.train,
                task,
                data,
                config=own_config,
                run=own_run,
                resume=resume,
                from_run=from_run,
                manual_directory=manual_dir,
                report=report,
            )
        )
    return status


def _show_training(train: Callable[..., TrainedRun]) -> int:
    """Train, print what happens and the path of the run, and return the status."""
    from app.terminal.signals import stop_signals
    from app.training.display import TrainingDisplay

    with stop_signals() as should_stop, TrainingDisplay() as display:
        trained = train(watcher=display, should_stop=should_stop)
    if trained.follower:
        _note(f"{trained.follower}: {'done' if trained.finished else 'interrupted'}; the chief has the run")
        return 0 if trained.finished else INTERRUPTED
    if not trained.finished:
        _note(f"{trained.path}: interrupted; run the same command with --resume to continue")
        return INTERRUPTED
    metrics = {k: v for k, v in trained.best.items() if k == "epoch" or k.startswith("validation_")}
    shown = ", ".join(f"{k.removeprefix('validation_')} {v:.4g}" for k, v in metrics.items())
    _note(f"{trained.path}: done; best epoch on the validation split: {shown}")
    print_path(trained.path)
    return 0


@main.command()
@click.argument("task", metavar="TASK", type=click.Choice(list(TASKS)))
@click.argument("data", metavar="DATA")
@click.option(
    "--vary",
    multiple=True,
    required=True,
    metavar="KEY=A,B",
    help="Values of a key of the configuration; give it again for another key.",
)
@click.option(
    "--output",
    type=DIRECTORY,
    metavar="DIR",
    required=True,
    help="Folder of the runs, of compare.json and compare.svg; finished runs in it are not repeated.",
)
@click.option(
    "--seeds", type=COUNT, default=1, show_default=True, metavar="N", help="Seeds of each combination."
)
@click.option(
    "--split",
    type=click.Choice(["validation", "test"]),
    default="validation",
    show_default=True,
    help="Split of the metric.",
)
@config_options
@manual_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def compare(
    task: str,
    data: str,
    vary: tuple[str, ...],
    output: Path,
    seeds: int,
    split: str,
    config_file: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    manual_dir: Path | None,
    as_json: bool,
) -> int:
    """Train models for TASK on DATA with all combinations of values, and print one table.

    The table has the metric with its standard error over the seeds, the time of a training, the number of
    parameters, and the time of one text. The same command continues after an interruption.

    \b
    Examples:
      textrnn compare classification reviews.csv --vary model.cell=simple,gru,lstm --output compared
      textrnn compare tagging corpus.conllu --vary model.bidirectional=true,false --seeds 5 --output tagged
      textrnn compare classification sample:memory --vary model.cell=simple,gru,lstm \\
        --set model.bidirectional=false --set model.pooling=last --set model.ngrams=0 --output memory
    """
    _quiet()
    from app.compare import PICTURE, draw
    from app.compare import compare as run_comparison
    from app.pictures import check_picture
    from app.terminal.signals import stop_signals
    from app.terminal.tables import show_combinations
    from app.training.display import TrainingDisplay

    picture = output / PICTURE
    check_picture(picture)
    with stop_signals() as should_stop, TrainingDisplay() as display:
        table = run_comparison(
            task,
            data,
            vary,
            output=output,
            seeds=seeds,
            split=split,
            config_file=config_file,
            preset=preset,
            overrides=overrides,
            manual_directory=manual_dir,
            watcher=display,
            note=_note,
            should_stop=should_stop,
        )
    if table is None:
        _note(f"{output}: interrupted; run the same command again to continue")
        return INTERRUPTED
    if as_json:
        _print(json_line(table))
    else:
        show_combinations(table)
    draw(table, picture)
    return 0


@main.command()
@click.argument("task", metavar="TASK", type=click.Choice(list(TASKS)))
@click.argument("data", metavar="DATA")
@click.option(
    "--budget",
    type=Duration(),
    required=True,
    metavar="TIME",
    help="Time of the whole search, such as 30m, 90s or 1h30m; that of earlier calls counts.",
)
@click.option(
    "--run",
    type=DIRECTORY,
    metavar="DIR",
    help="Folder of the search; one that exists is continued. [default: runs/tune-TASK-DATE-TIME]",
)
@click.option(
    "--search",
    multiple=True,
    metavar="KEY=VALUES",
    help="Search a key from LOW..HIGH, LOW..HIGH:log or A,B,C, in place of the values of the task; KEY= "
    "leaves it out; may be repeated.",
)
@config_options
@manual_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def tune(
    task: str,
    data: str,
    budget: float,
    run: Path | None,
    search: tuple[str, ...],
    config_file: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    manual_dir: Path | None,
    as_json: bool,
) -> int:
    """Search the hyper-parameters of TASK on DATA within a time, and keep the best run in DIR/best.

    The first training has the configuration as it is; the next ones have other values of some keys, those of
    the task and of --search. Trainings that are worse than most others are stopped early. The metric is that
    of the validation split, training.early_stopping_metric. The same command with --run continues after an
    interruption, and with a longer --budget also after the end.

    \b
    Examples:
      textrnn tune classification reviews.csv --budget 5m --run runs/tuned
      textrnn tune classification reviews.csv --budget 5m --set model.ngrams=0 --search model.units=64,128,256
      textrnn tune tagging corpus.conllu --budget 5m --search training.learning_rate=1e-4..1e-2:log
      textrnn evaluate runs/tuned/best
    """
    _quiet()
    from datetime import datetime

    from app.pictures import check_picture
    from app.terminal.signals import stop_signals
    from app.terminal.tables import show_trials
    from app.training.display import TrainingDisplay
    from app.tune import PICTURE, default_folder
    from app.tune import tune as run_search
    from app.tuning.draw import BEST, draw

    folder = run or default_folder(task, datetime.now())
    check_picture(folder / PICTURE)
    with stop_signals() as should_stop, TrainingDisplay() as display:
        table = run_search(
            task,
            data,
            budget=budget,
            run=folder,
            search=search,
            config_file=config_file,
            preset=preset,
            overrides=overrides,
            manual_directory=manual_dir,
            watcher=display,
            note=_note,
            should_stop=should_stop,
        )
    if table is None:
        _note(f"{folder}: interrupted; run the same command with --run {folder} to continue")
        return INTERRUPTED
    if as_json:
        _print(json_line(table))
    else:
        show_trials(table)
        _note(f"{folder / BEST}: the best run")
    draw(table, folder / PICTURE)
    return 0


@main.command("tune lr")
@click.argument("task", metavar="TASK", type=click.Choice(list(TASKS)))
@click.argument("data", metavar="DATA")
@click.option(
    "--from",
    "lowest",
    type=Number(min=0, min_open=True),
    default=1e-6,
    metavar="RATE",
    help="Learning rate of the first step.",
)
@click.option(
    "--to",
    "highest",
    type=Number(min=0, min_open=True),
    default=1.0,
    metavar="RATE",
    help="Learning rate of the last step.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=10, max=LARGEST_INTEGER),
    default=200,
    metavar="N",
    help="Training steps.",
)
@click.option("--output", type=DIRECTORY, metavar="FILE", help="Also draw the losses, to a PNG or SVG file.")
@config_options
@manual_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print all steps as JSON.")
def tune_lr(
    task: str,
    data: str,
    lowest: float,
    highest: float,
    steps: int,
    output: Path | None,
    config_file: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    manual_dir: Path | None,
    as_json: bool,
) -> int:
    """Find a learning rate for TASK on DATA: a learning-rate range test (Smith 2017).

    The learning rate grows exponentially from step to step until the loss diverges. The suggested rate is
    that at which the smoothed loss falls most. Nothing is kept of the trained network.

    \b
    Examples:
      textrnn tune lr classification reviews.csv
      textrnn tune lr tagging corpus.conllu --set training.optimizer=sgd --to 10 --output rates.svg
      textrnn train classification reviews.csv --set training.learning_rate=0.004
    """
    _quiet()
    from app.pictures import check_picture
    from app.range_test import draw, range_test
    from app.terminal.signals import stop_signals
    from app.terminal.tables import show_rates
    from app.training.display import TrainingDisplay

    if output is not None:
        check_picture(output)
    with stop_signals() as should_stop, TrainingDisplay() as display:
        found = range_test(
            task,
            data,
            lowest=lowest,
            highest=highest,
            steps=steps,
            config_file=config_file,
            preset=preset,
            overrides=overrides,
            manual_directory=manual_dir,
            watcher=display,
            should_stop=should_stop,
        )
    if found is None:
        _note("interrupted")
        return INTERRUPTED
    if output is not None:
        draw(found, output)
    if as_json:
        _print(json_line(found))
    else:
        show_rates(found)
    return 0


@main.command()
@click.argument("teachers", metavar="RUN...", nargs=-1, required=True, type=DIRECTORY)
@click.option(
    "--run", type=DIRECTORY, metavar="STUDENT", required=True, help="Run directory of the student to create."
)
@config_options
@click.option("--resume", is_flag=True, help="Resume the distillation in the run directory --run.")
@report_option
@manual_dir_option
def distill(
    teachers: tuple[Path, ...],
    run: Path,
    config_file: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    resume: bool,
    report: bool,
    manual_dir: Path | None,
) -> int:
    """Train one network on the data of several runs and on the mean of their probabilities.

    RUN... are finished runs of classification or tagging on the same data, such as those of train --seeds.
    The student has the configuration of the first one, unless --config, --preset or --set say otherwise, and
    is a run like any other. Keys are training.distillation_weight and training.distillation_temperature.

    \b
    Examples:
      textrnn distill runs/reviews-0 runs/reviews-1 runs/reviews-2 --run runs/student
      textrnn distill runs/reviews-* --run runs/small --set model.units=32
      textrnn distill runs/reviews-* --run runs/student --resume
    """
    _quiet()
    from app import api

    return _show_training(
        partial(
            api.distill,
            teachers,
            run=run,
            config=config_file,
            preset=preset,
            overrides=overrides,
            resume=resume,
            manual_directory=manual_dir,
            report=report,
        )
    )


@main.command()
@click.argument("models", metavar="MODEL [RUN]...", nargs=-1, required=True, type=DIRECTORY)
@click.option(
    "--data", metavar="DATA", help="DATA to evaluate on. [default: the data that the model was trained on]"
)
@click.option(
    "--split", default="test", metavar="NAME", help="Split to evaluate on: train, validation, test or all."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@baseline_option
@beam_option
@kernels_option
@reading_option
@manual_dir_option
def evaluate(
    models: tuple[Path, ...],
    data: str | None,
    split: str,
    as_json: bool,
    baseline: bool,
    beam: int | None,
    kernels: str,
    overrides: tuple[str, ...],
    manual_dir: Path | None,
) -> None:
    """Compute metrics of a model on a split of its data, or of other data.

    MODEL is a run directory or an export. Several runs that differ in their seed only are evaluated as one
    model: metrics of each, mean and standard error. The main metrics have bootstrap 95 % intervals, and so
    has the difference from the baseline: where that contains 0, there is "no difference".

    \b
    Examples:
      textrnn evaluate runs/reviews
      textrnn evaluate runs/reviews-0 runs/reviews-1 runs/reviews-2
      textrnn evaluate runs/reviews --data newer.csv --split all --json
      textrnn evaluate runs/reviews --data others.csv --set data.label_column=stars
    """
    _quiet()
    from app.evaluate import evaluate as run_evaluation
    from app.evaluate import evaluate_runs
    from app.prediction.loading import load_predictor
    from app.terminal.tables import show_evaluation, show_runs

    options: dict[str, Any] = {
        "data": data,
        "split": split,
        "with_baseline": baseline,
        "beam": beam,
        "manual_directory": manual_dir,
        "overrides": overrides,
    }
    if len(models) == 1:
        result = run_evaluation(load_predictor(models[0], kernels, note=_note), **options)
    else:
        result = evaluate_runs(models, **options, kernels=kernels, note=_note)
    if as_json:
        _print(json_line(result))
    elif len(models) == 1:
        show_evaluation(result)
    else:
        show_runs(result)


@main.command()
@click.argument("model", metavar="MODEL", type=DIRECTORY)
@click.argument("input_file", metavar="[INPUT|-]", default="-")
@click.option(
    "--output", type=DIRECTORY, metavar="FILE", help="Write the predictions to FILE. [default: stdout]"
)
@format_option
@text_column_option
@reject_option
@reading_option
@beam_option
@kernels_option
def predict(
    model: Path,
    input_file: str,
    output: Path | None,
    format_name: str | None,
    text_column: str | None,
    reject_below: float,
    overrides: tuple[str, ...],
    beam: int | None,
    kernels: str,
) -> int:
    """Predict for each example of INPUT, or of stdin, and print one JSON object for each, in the same order.

    MODEL is a run directory or an export. INPUT is a file of a format that the model trains on, a file with a
    text on each line (.txt), or a folder of .txt files with one text each, whose names are printed as "file".
    Labels, tags and targets are ignored. For an example that can't be parsed, {"error", "line"} is printed,
    and the exit status is 1.

    \b
    Examples:
      textrnn predict runs/reviews new_reviews.txt
      textrnn predict exports/reviews/1 new.csv --text-column review --output predictions.jsonl
      textrnn predict runs/reviews old.csv --set data.encoding=latin-1
      textrnn predict runs/reviews test/
      textrnn predict runs/tags corpus.conllu
      echo "What a film!" | textrnn predict exports/reviews
    """
    _quiet()
    from app.predict import predict as run_prediction
    from app.prediction.loading import load_predictor, with_beam

    failed = run_prediction(
        with_beam(load_predictor(model, kernels, note=_note), beam),
        None if input_file == "-" else Path(input_file),
        output=output,
        format_name=format_name,
        text_column=text_column,
        overrides=overrides,
        reject_below=reject_below,
        note=_note,
    )
    if failed:
        _note(f"{failed} of the examples could not be parsed; their output is an 'error'")
    return 1 if failed else 0


@main.command()
@click.argument("run", metavar="RUN", type=DIRECTORY)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="validation",
    show_default=True,
    help="Split that metrics and examples are of.",
)
@baseline_option
@manual_dir_option
def report(run: Path, split: str, baseline: bool, manual_dir: Path | None) -> None:
    """Write RUN/report.html, one page about a finished run, and print its path.

    It has the metrics of the model and of the baseline, the configuration, learning curves, gradients,
    memory, mistakes, certainty and the data. It needs no other file and no network.

    \b
    Examples:
      textrnn report runs/reviews
      textrnn report runs/reviews --split test --no-baseline
    """
    _quiet()
    from app.report import report as write_report

    print_path(write_report(run, split=split, with_baseline=baseline, manual_directory=manual_dir))


@main.command()
@click.argument("run", metavar="RUN", type=DIRECTORY)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default=None,
    help="Split of the metrics. [default: the one that was measured before, else validation]",
)
@baseline_option
@click.option(
    "--measure/--no-measure", default=True, help="Measure the model; else write what is known already."
)
@click.option(
    "--set",
    "overrides",
    metavar="card.KEY=VALUE",
    multiple=True,
    help="State the licence or the languages of the model; may be repeated.",
)
@manual_dir_option
def card(
    run: Path,
    split: str | None,
    baseline: bool,
    measure: bool,
    overrides: tuple[str, ...],
    manual_dir: Path | None,
) -> None:
    """Measure a finished run, write its model card, RUN/README.md, and print the path of the card.

    A card with the metrics of training is written by 'textrnn train'. This command adds 95 % intervals, the
    baseline, calibration, the time of a text, and how far the network remembers. What was measured before is
    not measured again. An export carries the card of its run.

    \b
    Examples:
      textrnn card runs/reviews --split test
      textrnn card runs/reviews --no-measure --set card.license=apache-2.0 --set card.language=en
    """
    _quiet()
    from app.card import card as write_card

    path = write_card(
        run,
        split=split,
        with_baseline=baseline,
        measure=measure,
        overrides=overrides,
        manual_directory=manual_dir,
    )
    print_path(path)


@main.command()
@click.argument("model", metavar="MODEL", type=DIRECTORY)
@click.argument("input_file", metavar="[INPUT|-]", default="-")
@click.option(
    "--count", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="Number of texts."
)
@click.option(
    "--output", type=DIRECTORY, metavar="FILE", help="Write the examples to FILE. [default: stdout]"
)
@format_option
@text_column_option
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Random seed."
)
@reading_option
@kernels_option
def suggest(
    model: Path,
    input_file: str,
    count: int,
    output: Path | None,
    format_name: str | None,
    text_column: str | None,
    seed: int,
    overrides: tuple[str, ...],
    kernels: str,
) -> None:
    """Print the texts of INPUT, or of stdin, whose labels the model would learn most from.

    They are uncertain and differ from each other. Each is a JSON object that becomes a training example when
    its "label" is filled in, or its predicted "tags" or "target" are corrected. MODEL is a run directory or
    an export.

    \b
    Examples:
      textrnn suggest runs/reviews unlabelled.txt --count 100 --output to_label.jsonl
      textrnn suggest runs/tags sentences.txt
    """
    _quiet()
    from app.artifacts.files import open_output
    from app.prediction.loading import load_predictor
    from app.suggest import suggest as choose

    lines = choose(
        load_predictor(model, kernels, note=_note),
        None if input_file == "-" else Path(input_file),
        count=count,
        format_name=format_name,
        text_column=text_column,
        overrides=overrides,
        seed=seed,
        note=_note,
    )
    if output is None:
        for line in lines:
            _print(json_line(line))
        return
    with open_output(output) as file:
        file.write("".join(f"{json_line(line)}\n" for line in lines).encode())


@main.command()
@click.argument("model", metavar="MODEL", type=DIRECTORY)
@click.option("--prompt", metavar="TEXT", help="Text to continue. [default: the start of a document]")
@click.option(
    "--label",
    metavar="NAME",
    help="Label to condition on, if the model was trained with labels. [default: no label]",
)
@click.option(
    "--length",
    type=bounded(OPTIONS["length"]),
    metavar="N",
    default=500,
    help="Maximum number of tokens to generate.",
)
@click.option(
    "--temperature",
    type=bounded(OPTIONS["temperature"]),
    metavar="F",
    default=1.0,
    help="Sampling temperature: logits are divided by it; 0: greedy decoding.",
)
@click.option(
    "--top-k",
    type=bounded(OPTIONS["top_k"]),
    metavar="N",
    default=0,
    help="Sample from the N most probable tokens; 0: all.",
)
@click.option(
    "--top-p",
    type=bounded(OPTIONS["top_p"]),
    metavar="F",
    default=1.0,
    help="Sample from the most probable tokens whose probabilities sum to F (nucleus sampling); 1: all.",
)
@click.option(
    "--repetition-penalty",
    type=bounded(OPTIONS["repetition_penalty"]),
    metavar="F",
    default=1.0,
    help="Penalty on tokens that are among the last 64; 1: none, larger values repeat less.",
)
@click.option(
    "--beam", type=bounded(BEAM_WIDTH), metavar="N", help="Beam search of width N instead of sampling."
)
@click.option(
    "--length-penalty",
    type=bounded(OPTIONS["length_penalty"]),
    metavar="F",
    default=1.0,
    help="Length-penalty exponent of --beam; larger values favour longer texts.",
)
@click.option(
    "--seed",
    type=bounded(OPTIONS["seed"]),
    metavar="N",
    default=0,
    help="Random seed of sampling.",
)
@click.option(
    "--samples",
    type=COUNT,
    metavar="N",
    default=1,
    help="Number of texts to generate; the i-th one, from 0, uses seed SEED + i.",
)
@click.option(
    "--stop",
    "stops",
    metavar="TEXT",
    multiple=True,
    help="Stop at this string, which is not printed; may be repeated.",
)
@click.option("--stream", "streams", is_flag=True, help="Print the text while it is generated.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object for each text: prompt, text, score (log probability).",
)
@kernels_option
@click.pass_context
def generate(
    context: click.Context,
    model: Path,
    prompt: str | None,
    label: str | None,
    length: int,
    temperature: float,
    top_k: int,
    top_p: float,
    repetition_penalty: float,
    beam: int | None,
    length_penalty: float,
    seed: int,
    samples: int,
    stops: tuple[str, ...],
    streams: bool,
    as_json: bool,
    kernels: str,
) -> None:
    """Generate text with a language model.

    MODEL is a run directory or an export. Text is sampled from the model, or searched for with --beam.

    \b
    Examples:
      textrnn generate runs/plays --prompt "ROMEO:" --length 300 --temperature 0.8 --seed 1
      textrnn generate runs/reviews --label positive --samples 3 --top-p 0.9
      textrnn generate exports/plays/1 --prompt "To be" --stream
    """
    if prompt == "":
        raise UserError("--prompt is empty; give a text, or leave the option out to start a document")
    if streams and (beam or samples > 1 or as_json):
        raise click.UsageError("--stream prints one sampled text; it excludes --beam, --samples and --json")
    _check_beam_options(context, beam, samples)
    _quiet()
    from app.generate import output
    from app.prediction.loading import load_predictor
    from app.tasks.generation.sampling import Options

    options = Options(
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        beam=beam or 0,
        length_penalty=length_penalty,
        stop=stops,
        label=label,
    )
    predictor = load_predictor(model, kernels, note=_note)
    pieces = output(predictor, prompt or "", options, samples=samples, streams=streams, as_json=as_json)
    for piece in pieces:
        _print(_shown(piece), end="")


SAMPLING_OPTIONS = ("temperature", "top_k", "top_p", "repetition_penalty", "seed")


def _check_beam_options(context: click.Context, beam: int | None, samples: int) -> None:
    """Refuse options that have no effect with or without beam search."""

    def given(name: str) -> bool:
        return context.get_parameter_source(name) is ParameterSource.COMMANDLINE

    if beam is None:
        if given("length_penalty"):
            raise click.UsageError("--length-penalty applies to beam search; add --beam N, or leave it out")
        return
    ignored = [name for name in SAMPLING_OPTIONS if given(name)] + ["samples"] * (samples > 1)
    if ignored:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in ignored)
        raise click.UsageError(f"{names}: not used by beam search; leave out either --beam or {names}")


@main.command()
@click.argument("model", metavar="MODEL", type=DIRECTORY)
@click.argument("texts", metavar="[TEXT...]", nargs=-1)
@click.option(
    "--output", type=DIRECTORY, metavar="FILE", help="Image file to write, PNG or SVG; for at most one TEXT."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(model: Path, texts: tuple[str, ...], output: Path | None, as_json: bool) -> None:
    """Show how far back a network remembers, or what it does with a TEXT.

    Without TEXT, gradients are measured on a sample of the validation examples: of an output with respect to
    the tokens before it, and of the last hidden state of each recurrent layer with respect to the states
    before it. Gates and recurrent matrices of each layer are shown, too.

    With TEXT, it shows the prediction, the influence of each token on it, the predictions from parts of the
    text, and hidden states and gates after each token. --output then writes the attention weights of a
    translator, and all this of other models.

    MODEL is a run directory. Of an export there is only the influence of the tokens, or the attention.

    \b
    Examples:
      textrnn inspect runs/reviews
      textrnn inspect runs/reviews "Not a good film." --output influence.png
      textrnn inspect runs/english-german "A dog runs over the grass." --output attention.png
    """
    if output is not None and len(texts) > 1:
        raise click.UsageError("--output takes one TEXT; run the command once for each")
    _quiet()
    from app.inspect import inspect_network, inspect_texts, texts_as_json
    from app.inspection import draw, render
    from app.pictures import check_picture

    if output is not None:
        check_picture(output)
    if not texts:
        network = inspect_network(model, note=_note)
        if output is not None:
            draw.draw_network(network, output)
        if as_json:
            _print(json_line(network.as_json()))
        else:
            render.show_network(network)
        return
    views = inspect_texts(model, texts, note=_note)
    if output is not None:
        draw.draw_text(views[0], output)
    if as_json:
        _print(json_line(texts_as_json(views)))
    else:
        for view in views:
            render.show_text(view)


@main.command()
@click.argument("export", metavar="EXPORT", type=DIRECTORY)
@click.option("--no-replay", is_flag=True, help="Check files and graph only; do not run the model.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(export: Path, no_replay: bool, as_json: bool) -> None:
    """Check an export on this machine.

    It checks file checksums, graph operations and kernels for each device, and it replays the golden outputs
    that were recorded at export. The exit status is 0 if all checks pass, else 1.

    \b
    Examples:
      textrnn verify exports/reviews
      textrnn verify exports/reviews/3 --json
    """
    _quiet()
    from app.verify import verify as run_verification

    report = run_verification(export, replay=not no_replay)
    if as_json:
        _print(json_line(report.as_json()))
    else:
        for line in report.lines():
            _print(line)
    if not report.passed:
        raise click.exceptions.Exit(1)


@main.command()
@click.argument("run", metavar="RUN", type=DIRECTORY)
@click.option(
    "--output",
    type=DIRECTORY,
    metavar="DIR",
    help="Directory of the model's versions. [default: exports/NAME]",
)
@click.option(
    "--version",
    type=click.IntRange(min=1, max=2**63 - 1),
    metavar="N",
    help="Number of the version. [default: the next one]",
)
@click.option(
    "--with-training-text",
    is_flag=True,
    help="Include the longest training text, verbatim, in the test inputs that 'verify' replays.",
)
def export(run: Path, output: Path | None, version: int | None, with_training_text: bool) -> None:
    """Export a run as a SavedModel that takes raw strings, to OUTPUT/VERSION/.

    The export contains preprocessing, model and decoding, and loads without this program.

    \b
    Example:
      textrnn export runs/reviews --output exports/reviews
    """
    _quiet()
    from app import api

    path = api.export(run, output=output, version=version, with_training_text=with_training_text)
    print_path(path)


@main.command()
@click.argument("exports", metavar="EXPORT...", nargs=-1, required=True)
@click.option(
    "--name", metavar="NAME", help="Model name, if there is one EXPORT. [default: the directory name]"
)
@click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", help="Address to listen on; 0.0.0.0: all interfaces."
)
@click.option(
    "--rest-port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=8501,
    help="REST port; 0: any free port.",
)
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=8500,
    help="gRPC port; 0: any free port.",
)
@click.option(
    "--label",
    "labels",
    metavar="[NAME:]LABEL=VERSION",
    multiple=True,
    help="Label of a version, e.g. stable=3. That version is also served. May be repeated.",
)
@click.option(
    "--keep",
    type=COUNT,
    metavar="N",
    default=1,
    help="Number of newest versions to serve of each model.",
)
@click.option(
    "--poll",
    type=Number(min=0, max=LONGEST, min_open=True),
    metavar="SECONDS",
    default=1.0,
    help="Seconds between scans of the directories for new versions.",
)
@click.option(
    "--grace",
    type=Number(min=0, max=LONGEST),
    metavar="SECONDS",
    default=30.0,
    help="Seconds to finish in-flight requests after SIGTERM.",
)
@click.option(
    "--timeout",
    type=Number(min=0, max=LONGEST, min_open=True),
    metavar="SECONDS",
    default=Limits.timeout,
    help="Request timeout in seconds, for requests without a deadline.",
)
@click.option(
    "--max-batch-size",
    type=COUNT,
    metavar="N",
    default=Batching.max_batch_size,
    help="Maximum number of rows in a batch.",
)
@click.option(
    "--batch-timeout",
    type=Number(min=0, max=LONGEST),
    metavar="MS",
    default=Batching.timeout * 1000,
    help="Milliseconds that a row waits for further rows of its batch.",
)
@click.option(
    "--max-queue",
    type=COUNT,
    metavar="N",
    default=Batching.max_queue,
    help="Maximum number of queued rows of a signature; further requests are refused.",
)
@click.option(
    "--max-queue-bytes",
    type=COUNT,
    metavar="BYTES",
    default=Batching.max_queue_bytes,
    help="Maximum size of the queued rows of a signature; further requests are refused.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(min=2),
    metavar="BYTES",
    help="Maximum size of the batches of long rows that run at the same time: rows x longest row in bytes. "
    "[default: 32 KB for each GB of memory, at most 128 KB for each core]",
)
@click.option(
    "--max-rows",
    type=COUNT,
    metavar="N",
    default=Limits.rows,
    help="Maximum number of rows in a request.",
)
@click.option(
    "--max-text",
    type=COUNT,
    metavar="BYTES",
    default=Limits.text_bytes,
    help="Maximum size of a row in bytes: its strings with one byte between two, times the beam width.",
)
@click.option(
    "--max-body",
    type=COUNT,
    metavar="BYTES",
    default=Limits.body_bytes,
    help="Maximum size of an HTTP body or a gRPC message, in bytes.",
)
@click.option(
    "--max-length",
    type=COUNT,
    metavar="N",
    default=Limits.length,
    help="Maximum number of tokens to generate for a row.",
)
@click.option(
    "--max-streams",
    type=COUNT,
    metavar="N",
    default=Limits.streams,
    help="Maximum number of texts that are streamed at the same time; further requests are refused.",
)
@click.option(
    "--cors-origin",
    "cors_origins",
    metavar="ORIGIN",
    multiple=True,
    help="Web origin whose pages may send requests, e.g. https://example.com; *: all. May be repeated. "
    "[default: none]",
)
@click.option(
    "--max-values",
    type=COUNT,
    metavar="N",
    default=Limits.values,
    help="Maximum number of output values of a request, padding included.",
)
@kernels_option
@click.option("--log-text", is_flag=True, help="Include request texts in the logs.")
def serve(
    exports: tuple[str, ...],
    name: str | None,
    host: str,
    rest_port: int,
    grpc_port: int,
    labels: tuple[str, ...],
    keep: int,
    poll: float,
    grace: float,
    timeout: float,
    max_batch_size: int,
    batch_timeout: float,
    max_queue: int,
    max_queue_bytes: int,
    max_bytes: int | None,
    max_rows: int,
    max_text: int,
    max_body: int,
    max_length: int,
    max_streams: int,
    cors_origins: tuple[str, ...],
    max_values: int,
    kernels: str,
    log_text: bool,
) -> None:
    """Serve exports over TensorFlow Serving's REST and gRPC interfaces.

    EXPORT is the directory of a model or of one of its versions, or NAME=DIR to give it another name. New
    versions in a model's directory are loaded while the server runs, and old ones are unloaded. Logs are JSON
    lines on stderr.

    \b
    Examples:
      textrnn serve exports/reviews
      textrnn serve reviews=exports/reviews tags=exports/tags --label reviews:stable=3
      curl localhost:8501/v1/models/reviews:predict -d '{"instances": ["What a film!"]}'
    """
    _quiet()
    from app import api

    api.serve(
        exports,
        name=name,
        host=host,
        rest_port=rest_port,
        grpc_port=grpc_port,
        labels=labels,
        keep=keep,
        poll=poll,
        grace=grace,
        limits=Limits(
            rows=max_rows,
            text_bytes=max_text,
            body_bytes=max_body,
            length=max_length,
            streams=max_streams,
            timeout=timeout,
            values=max_values,
        ),
        batching=Batching(
            max_batch_size=max_batch_size,
            max_bytes=max_bytes or affordable_bytes(),
            timeout=batch_timeout / 1000,
            max_queue=max_queue,
            max_queue_bytes=max_queue_bytes,
        ),
        kernels=kernels,
        log_texts=log_text,
        cors_origins=cors_origins,
    )


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(as_json: bool) -> None:
    """Print versions, devices, threads, and which kernels run on this machine and why.

    \b
    Examples:
      textrnn info
      textrnn info --json
    """
    _quiet()
    from app.info import information

    found = information(_note)
    if as_json:
        _print(json_line(found))
    else:
        from app.terminal.tables import show_information

        show_information(found)


@main.group()
def datasets() -> None:
    """List, check and prepare datasets.

    \b
    Example:
      textrnn datasets check reviews.csv --set data.label_column=stars
    """


@datasets.command("list")
@click.argument("match", metavar="[MATCH]", default="")
def list_datasets(match: str) -> None:
    """List the names of samples and of TensorFlow Datasets that contain MATCH.

    Without MATCH, all names are listed.

    \b
    Example:
      textrnn datasets list imdb
    """
    _quiet()
    from app.datasets import list_all

    for name in list_all(match):
        _print(name)


def _other_task(data: str, task: str) -> str:
    """Return what to do if no example of DATA can be read because it is for another task than the default."""
    given = click.get_current_context().get_parameter_source("task") is not ParameterSource.DEFAULT
    if given or not Path(data).exists():
        return ""
    others = ", ".join(name for name in TASKS if name != task)
    return f"without --task, DATA is read for {task}; name another with --task ({others})"


@datasets.command("check")
@click.argument("data", metavar="DATA")
@task_option
@config_options
@manual_dir_option
@click.option("--all", "all_places", is_flag=True, help="List all places of each finding, and all classes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_dataset(
    data: str,
    task: str,
    config_file: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    manual_dir: Path | None,
    all_places: bool,
    as_json: bool,
) -> int:
    """Check DATA as train does, and for duplicates, leaks between splits and suspicious columns.

    Errors are what train refuses; they make the exit status 1. Warnings do not prevent training.

    \b
    Examples:
      textrnn datasets check intents.csv --set data.label_column=intent
      textrnn datasets check corpus/ --task tagging --all
    """
    _quiet()
    from app.config import load_config
    from app.datasets import check

    config = load_config(task, file=config_file, preset=preset, overrides=overrides)
    report = check(data, task, config, manual_dir)
    if as_json:
        _print(json_line(report.as_json()))
    else:
        from app.terminal.tables import show_check

        show_check(report, all_places=all_places)
    if not any(split.rows for split in report.splits.values()) and (advice := _other_task(data, task)):
        _note(advice)
    return 1 if report.problems else 0


@datasets.command("prepare")
@click.argument("data", metavar="DATA")
@task_option
@config_options
@manual_dir_option
def prepare_dataset(
    data: str,
    task: str,
    config_file: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    manual_dir: Path | None,
) -> None:
    """Convert DATA to a prepared dataset on disk, as train does.

    It is stored under the hash of its content, in data.directory. The path is printed.

    \b
    Examples:
      textrnn datasets prepare reviews.jsonl.gz
      textrnn datasets prepare tfds:imdb_reviews --manual-dir downloads/
    """
    _quiet()
    from app.config import load_config
    from app.datasets import prepare

    config = load_config(task, file=config_file, preset=preset, overrides=overrides)
    try:
        dataset = prepare(data, task, config, manual_dir)
    except UserError as error:
        if advice := _other_task(data, task):
            raise UserError(f"{error}; {advice}") from None
        raise
    for split, size in dataset.sizes.items():
        click.echo(f"{split}\t{size}", err=True)
    print_path(Path(dataset.builder.data_path))
