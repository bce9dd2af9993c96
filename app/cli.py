"""The command line: it parses, calls one function, and prints.

TensorFlow is imported inside the commands, so that help is printed at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from app.tasks import TASKS
from data.errors import UserError

DIRECTORY = click.Path(path_type=Path)
INTERRUPTED = 130


class OneLineErrors(click.Group):
    """Ends a user's mistake in one line, `Error: …`: status 2 for the command line, 1 for anything else."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Runs the command line and exits."""
        try:
            result = super().main(*args, **(options | {"standalone_mode": False}))
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            status = error.exit_code
        except click.ClickException as error:
            click.echo(f"Error: {' '.join(error.format_message().split())}", err=True)
            status = error.exit_code
        except UserError as error:
            click.echo(f"Error: {error}", err=True)
            status = 1
        except (click.Abort, KeyboardInterrupt):
            click.echo("Error: interrupted", err=True)
            status = INTERRUPTED
        except BrokenPipeError:  # the reader of a pipe has gone: there is no one left to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        except OSError as error:  # a full disk, a directory that may not be written
            click.echo(f"Error: {error.filename or 'input/output'}: {error.strerror or error}", err=True)
            status = 1
        else:
            status = result if isinstance(result, int) else 0
        sys.exit(status)


def _quiet() -> None:
    from app.terminal.quiet import quiet

    quiet()


def config_options(command: Any) -> Any:
    """The options that make a configuration."""
    for option in (
        click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Set a key."),
        click.option("--preset", metavar="NAME", help="Start from a named configuration, e.g. fast."),
        click.option(
            "--config",
            "config_file",
            type=DIRECTORY,
            metavar="FILE.toml",
            help="Read a configuration, e.g. that of a run.",
        ),
    ):
        command = option(command)
    return command


manual_dir_option = click.option(
    "--manual-dir",
    type=DIRECTORY,
    metavar="DIR",
    help="Raw files of a tfds: dataset, so that they need not be downloaded.",
)
beam_option = click.option(
    "--beam",
    type=click.IntRange(min=1),
    metavar="N",
    help="Translation: texts followed in the search; 1: greedy [default: decoding.beam of the run].",
)
task_option = click.option(
    "--task", default="classification", type=click.Choice(list(TASKS)), help="How rows are read."
)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="textrnn", prog_name="textrnn")
def main() -> None:
    """Trains, evaluates, exports and applies recurrent text models.

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
    "--run", type=DIRECTORY, metavar="DIR", help="Run directory [default: runs/TASK-NAME-DATE-TIME]."
)
@config_options
@click.option("--resume", is_flag=True, help="Go on where an interrupted training stopped.")
@manual_dir_option
@click.option("--print-config", is_flag=True, help="Print the configuration, each key with its meaning.")
def train(
    task: str,
    data: str,
    run: Path | None,
    config_file: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    resume: bool,
    manual_dir: Path | None,
    print_config: bool,
) -> int:
    """Train a model on DATA: sample:NAME, tfds:NAME, a folder or a file.

    \b
    Examples:
      textrnn train classification sample:reviews --run runs/demo
      textrnn train classification intents.csv --set data.label_column=intent --set model.cell=gru
      textrnn train classification intents.csv --run runs/intents --resume
      textrnn train tagging corpus.conllu --run runs/tags
      textrnn train generation plays.txt --run runs/plays
      textrnn train translation corpus/ --set data.source=en --set data.target=de
    """
    _quiet()
    from app.config import dump_config, load_config

    config = load_config(task, file=config_file, preset=preset, overrides=overrides)
    if print_config:
        click.echo(dump_config(config), nl=False)
        return 0
    from app.terminal.signals import stop_signals
    from app.train import train as run_training
    from app.training.display import TrainingDisplay

    with stop_signals() as should_stop, TrainingDisplay() as display:
        trained = run_training(
            task,
            data,
            config,
            run=run,
            resume=resume,
            manual_directory=manual_dir,
            watcher=display,
            should_stop=should_stop,
        )
    if not trained.finished:
        click.echo(f"{trained.path}: interrupted; run the same command with --resume to continue", err=True)
        return INTERRUPTED
    figures = {k: v for k, v in trained.best.items() if k == "epoch" or k.startswith("validation_")}
    shown = ", ".join(f"{k.removeprefix('validation_')} {v:.4g}" for k, v in figures.items())
    click.echo(f"{trained.path}: done; best epoch on the validation split: {shown}", err=True)
    click.echo(str(trained.path))
    return 0


@main.command()
@click.argument("run", metavar="RUN", type=DIRECTORY)
@click.option("--data", metavar="DATA", help="Other data than the run was trained on.")
@click.option("--split", default="test", show_default=True, help="train, validation, test or all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--baseline/--no-baseline", default=True, help="Compare with an honest simple model.")
@beam_option
@manual_dir_option
def evaluate(
    run: Path,
    data: str | None,
    split: str,
    as_json: bool,
    baseline: bool,
    beam: int | None,
    manual_dir: Path | None,
) -> None:
    """Evaluate a run on a split of its data, or of other data.

    \b
    Examples:
      textrnn evaluate runs/reviews
      textrnn evaluate runs/reviews --data newer.csv --split all --json
    """
    _quiet()
    from app.evaluate import evaluate as run_evaluation

    result = run_evaluation(
        run, data=data, split=split, with_baseline=baseline, beam=beam, manual_directory=manual_dir
    )
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        from app.terminal.tables import show_evaluation

        show_evaluation(result)


@main.command()
@click.argument("model", metavar="MODEL", type=DIRECTORY)
@click.argument("input_file", metavar="[INPUT|-]", default="-")
@click.option(
    "--output", type=DIRECTORY, metavar="FILE", help="Write the answers there, whole or not at all."
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["jsonl", "csv", "tsv", "txt"]),
    help="How INPUT is written [default: by its name; txt for stdin]. Answers are JSON lines.",
)
@click.option("--text-column", metavar="NAME", help="Column of the text [default: as in training].")
@beam_option
def predict(
    model: Path,
    input_file: str,
    output: Path | None,
    format_name: str | None,
    text_column: str | None,
    beam: int | None,
) -> int:
    """Answer each line of INPUT with a run or an exported SavedModel.

    One line of JSON comes out for each text that goes in, in the same order. A text that can't be read
    gives {"error", "line"} in its place, and the exit status is 1 at the end.

    \b
    Examples:
      textrnn predict runs/reviews new_reviews.txt
      textrnn predict exports/reviews/1 new.csv --text-column review --output answers.jsonl
      echo "What a film!" | textrnn predict exports/reviews
    """
    _quiet()
    from app.predict import predict as run_prediction
    from app.prediction.loading import load_predictor, with_beam

    failed = run_prediction(
        with_beam(load_predictor(model), beam),
        None if input_file == "-" else Path(input_file),
        output=output,
        format_name=format_name,
        text_column=text_column,
    )
    if failed:
        click.echo(f"{failed} of the lines could not be read; each has an 'error' in its place", err=True)
    return 1 if failed else 0


@main.command()
@click.argument("model", metavar="MODEL", type=DIRECTORY)
@click.option("--prompt", metavar="TEXT", help="What the text follows [default: the start of a document].")
@click.option("--label", metavar="NAME", help="Of a model that was trained with labels: which one.")
@click.option(
    "--length",
    type=click.IntRange(min=1, max=2**31 - 1),
    metavar="N",
    default=500,
    show_default=True,
    help="Most tokens.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    metavar="F",
    default=1.0,
    show_default=True,
    help="Below 1: safer, above: wilder; 0: always the likeliest token.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=0, max=2**31 - 1),
    metavar="N",
    default=0,
    help="Draw from the N likeliest tokens; 0: all.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(min=0, max=1, min_open=True),
    metavar="F",
    default=1.0,
    help="Draw from the likeliest tokens that hold this share of probability; 1: all.",
)
@click.option(
    "--repetition-penalty",
    type=click.FloatRange(min=0, min_open=True),
    metavar="F",
    default=1.0,
    help="Above 1: tokens of the last 64 are less likely.",
)
@click.option("--beam", type=click.IntRange(min=1), metavar="N", help="Search with N beams, draw nothing.")
@click.option(
    "--length-penalty",
    type=float,
    metavar="F",
    default=1.0,
    show_default=True,
    help="Of a search: more for longer texts.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**31 - 1),
    metavar="N",
    default=0,
    show_default=True,
    help="The same seed gives the same text.",
)
@click.option(
    "--samples", type=click.IntRange(min=1), metavar="N", default=1, help="Texts, with seeds N, N+1, …"
)
@click.option("--stop", "stops", metavar="TEXT", multiple=True, help="End the text before this string.")
@click.option("--stream", "streams", is_flag=True, help="Print the text as it grows.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line: prompt, text, score.")
def generate(
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
) -> None:
    """Write text with a language model: a run or an exported SavedModel.

    \b
    Examples:
      textrnn generate runs/plays --prompt "ROMEO:" --length 300 --temperature 0.8 --seed 1
      textrnn generate runs/reviews --label positive --samples 3 --top-p 0.9
      textrnn generate exports/plays/1 --prompt "To be" --stream
    """
    if prompt == "":
        raise UserError("--prompt is empty; give some text, or leave it out to begin a document")
    if streams and (beam or samples > 1 or as_json):
        raise click.UsageError("--stream goes with one sampled text, not with --beam, --samples or --json")
    _quiet()
    from app.generate import Options, stream
    from app.generate import generate as run_generation
    from app.prediction.loading import load_predictor

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
    predictor = load_predictor(model)
    prompt = prompt or ""
    begin = prompt.encode(errors="surrogateescape").decode(errors="replace")  # bytes that are no text
    if streams:
        click.echo(begin, nl=False)
        for piece in stream(predictor, prompt, options):
            click.echo(piece, nl=False)
        click.echo()
        return
    for i, made in enumerate(run_generation(predictor, [prompt] * samples, options)):
        if as_json:
            line = {"prompt": begin, "text": made.text, "score": round(made.score, 6)}
            click.echo(json.dumps(line, ensure_ascii=False))
        else:
            click.echo("\n---\n" * (i > 0) + begin + made.text)


@main.command()
@click.argument("run", metavar="RUN", type=DIRECTORY)
@click.argument("text", metavar="TEXT")
@click.option(
    "--output", type=DIRECTORY, metavar="FILE", default="attention.png", show_default=True, help="PNG or SVG."
)
def inspect(run: Path, text: str, output: Path) -> None:
    """Draw which words a translator looked at while it wrote each word of its answer.

    \b
    Example:
      textrnn inspect runs/english-german "A dog runs over the grass." --output attention.png
    """
    _quiet()
    from app.inspect import draw
    from app.prediction.loading import load_predictor

    click.echo(draw(load_predictor(run), text, output))


@main.command()
@click.argument("export", metavar="EXPORT", type=DIRECTORY)
@click.option("--no-replay", is_flag=True, help="Look at files and graph alone, and run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(export: Path, no_replay: bool, as_json: bool) -> None:
    """Let an export prove itself: its files, operations, kernels and answers, on this machine.

    The exit status is 0 if it can be shipped, else 1.

    \b
    Examples:
      textrnn verify exports/reviews
      textrnn verify exports/reviews/3 --json
    """
    _quiet()
    from app.verify import verify as look

    report = look(export, replay=not no_replay)
    if as_json:
        click.echo(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        for line in report.lines():
            click.echo(line)
    if not report.passed:
        raise click.exceptions.Exit(1)


@main.command()
@click.argument("run", metavar="RUN", type=DIRECTORY)
@click.option("--output", type=DIRECTORY, metavar="DIR", help="Model directory [default: exports/NAME].")
@click.option("--version", type=click.IntRange(min=1), metavar="N", help="[default: the next one]")
def export(run: Path, output: Path | None, version: int | None) -> None:
    """Write a run as a SavedModel that takes raw strings, to OUTPUT/<version>/.

    \b
    Example:
      textrnn export runs/reviews --output exports/reviews
    """
    _quiet()
    from app.export import export as run_export

    click.echo(str(run_export(run, output=output, version=version)))


@main.command()
@click.argument("exports", metavar="EXPORT...", nargs=-1, required=True)
@click.option("--name", metavar="NAME", help="Of the only EXPORT [default: that of its directory].")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0: all.")
@click.option(
    "--rest-port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0: a free one."
)
@click.option(
    "--grpc-port", type=click.IntRange(0, 65535), default=8500, show_default=True, help="0: a free one."
)
@click.option(
    "--label",
    "labels",
    metavar="[NAME:]LABEL=VERSION",
    multiple=True,
    help="A name for a version, e.g. stable=3; that version is served, too.",
)
@click.option(
    "--keep", type=click.IntRange(min=1), default=1, show_default=True, help="Newest versions to serve."
)
@click.option(
    "--poll",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds between looks for new versions.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds that accepted requests have when the server is told to stop.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds for an answer.",
)
@click.option(
    "--max-batch-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Rows of several requests in one call of a model.",
)
@click.option(
    "--batch-timeout",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Milliseconds that a row waits for others.",
)
@click.option(
    "--max-queue",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Rows that may wait; beyond, requests are refused.",
)
@click.option(
    "--max-rows", type=click.IntRange(min=1), default=1024, show_default=True, help="Rows of a request."
)
@click.option(
    "--max-text", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="Bytes of a text."
)
@click.option(
    "--max-body",
    type=click.IntRange(min=1),
    default=64 * 2**20,
    show_default=True,
    help="Bytes of an HTTP body or a gRPC message.",
)
@click.option(
    "--max-length",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Tokens to generate for a row.",
)
@click.option("--log-text", is_flag=True, help="Users' texts may stand in the log.")
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
    max_rows: int,
    max_text: int,
    max_body: int,
    max_length: int,
    log_text: bool,
) -> None:
    """Answer TensorFlow Serving's REST and gRPC from exports: each a DIR, or NAME=DIR.

    New versions in a model's directory are loaded, old ones retired. Logs are JSON lines on stderr.

    \b
    Examples:
      textrnn serve exports/reviews
      textrnn serve reviews=exports/reviews tags=exports/tags --label reviews:stable=3
      curl localhost:8501/v1/models/reviews:predict -d '{"instances": ["What a film!"]}'
    """
    _quiet()
    from app.extras import extra

    with extra("serve", "serve"):
        from app.serve import labels_of, models_of
        from app.serve import serve as run_server
    from app.serving.batching import Batching
    from app.serving.servables import Limits

    models = models_of(exports, name)
    run_server(
        models,
        host=host,
        rest_port=rest_port,
        grpc_port=grpc_port,
        labels=labels_of(labels, list(models)),
        keep=keep,
        poll=poll,
        grace=grace,
        limits=Limits(
            rows=max_rows, text_bytes=max_text, body_bytes=max_body, length=max_length, timeout=timeout
        ),
        batching=Batching(max_batch_size=max_batch_size, timeout=batch_timeout / 1000, max_queue=max_queue),
        log_texts=log_text,
    )


@main.group()
def datasets() -> None:
    """List, check and prepare data.

    \b
    Example:
      textrnn datasets check reviews.csv --set data.label_column=stars
    """


@datasets.command("list")
@click.argument("match", metavar="[MATCH]", default="")
@config_options
def list_datasets(
    match: str, config_file: Path | None, preset: str | None, overrides: tuple[str, ...]
) -> None:
    """List samples, prepared datasets and the catalogue's names, all or those with MATCH inside.

    \b
    Example:
      textrnn datasets list imdb
    """
    _quiet()
    from app.config import load_config
    from app.datasets import list_all

    config = load_config(file=config_file, preset=preset, overrides=overrides)
    for name in list_all(config, match):
        click.echo(name)


@datasets.command("check")
@click.argument("data", metavar="DATA")
@task_option
@config_options
@manual_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_dataset(
    data: str,
    task: str,
    config_file: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    manual_dir: Path | None,
    as_json: bool,
) -> int:
    """Examine DATA as a doctor would: labels, duplicates, leaks between splits, lengths, broken rows.

    The exit status is 1 when something must be mended.

    \b
    Example:
      textrnn datasets check intents.csv --set data.label_column=intent
    """
    _quiet()
    from app.config import load_config
    from app.datasets import check

    config = load_config(task, file=config_file, preset=preset, overrides=overrides)
    report = check(data, task, config, manual_dir)
    if as_json:
        click.echo(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        from app.terminal.tables import show_check

        show_check(report)
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
    """Make DATA ready for training: shards on disk, keyed by the hash of their content.

    \b
    Examples:
      textrnn datasets prepare reviews.jsonl.gz
      textrnn datasets prepare tfds:imdb_reviews --manual-dir downloads/
    """
    _quiet()
    from app.config import load_config
    from app.datasets import prepare

    config = load_config(task, file=config_file, preset=preset, overrides=overrides)
    dataset = prepare(data, task, config, manual_dir)
    for split, size in dataset.sizes.items():
        click.echo(f"{split}\t{size}", err=True)
    click.echo(str(dataset.builder.data_path))
