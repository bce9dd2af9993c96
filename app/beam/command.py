"""The command `python -m app.beam`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from app.cli import (
    PREDICTED_FORMATS,
    OneLineErrors,
    beam_option,
    kernels_option,
    reading_option,
    reject_option,
    text_column_option,
)
from app.extras import extra
from app.terminal.printable import json_line, one_line
from app.terminal.quiet import quiet

PROGRAM = "python -m app.beam"


@click.command(
    cls=OneLineErrors,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "ignore_unknown_options": True,
        "max_content_width": 100,
    },
)
@click.option("--model", required=True, metavar="EXPORT", help="Export, or the directory of its versions.")
@click.option(
    "--input",
    "patterns",
    required=True,
    multiple=True,
    metavar="PATTERN",
    help="File, or quoted pattern of files, such as 'gs://bucket/reviews/*.csv'; may be repeated.",
)
@click.option(
    "--output",
    "prefix",
    required=True,
    metavar="PREFIX",
    help="Prefix of the files with the predictions: PREFIX-00000-of-00004.jsonl and so on.",
)
@click.option(
    "--output-format",
    type=click.Choice(["jsonl", "parquet"]),
    default="jsonl",
    help="Format of the files with the predictions.",
)
@click.option(
    "--errors",
    metavar="PREFIX",
    help="Prefix of the files with the examples that could not be predicted. [default: OUTPUT.errors]",
)
@click.option(
    "--shards",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Number of files with predictions; 0: the runner decides.",
)
@click.option("--with-source", is_flag=True, help='Add "file" and "line" of the example to each prediction.')
@click.option(
    "--format",
    "format_name",
    type=click.Choice([*PREDICTED_FORMATS, "tfrecord"]),
    help="Format of the files; txt: a text on each line. [default: by the name and content of each file]",
)
@text_column_option
@reject_option
@reading_option
@beam_option
@kernels_option
@click.argument("pipeline_options", nargs=-1, type=click.UNPROCESSED, metavar="[--RUNNER_OPTION VALUE]...")
def main(
    model: str,
    patterns: tuple[str, ...],
    prefix: str,
    output_format: str,
    errors: str | None,
    shards: int,
    with_source: bool,
    beam: int | None,
    pipeline_options: tuple[str, ...],
    **options: Any,
) -> int:
    r"""Predict the examples of many files on a runner of Apache Beam, and write the predictions in shards.

    The predictions are those of textrnn predict, in no order. Files and exports may be in any filesystem of
    Beam. Examples that cannot be predicted are written to files of their own, with "file", "line" and
    "error"; the exit status is then 1. The counters of the job are printed as JSON.

    All other options are those of Beam and its runner, such as --runner and --direct_num_workers.

    \b
    Examples:
      python -m app.beam --model exports/reviews/1 --input 'new/*.csv' --output predictions/new
      python -m app.beam --model exports/reviews/1 --input 'new/*.csv' --output predictions/new \
        --runner DirectRunner --direct_num_workers 4 --direct_running_mode multi_processing
    """
    quiet()
    with extra("beam", PROGRAM), _without_warnings():
        from app.beam.pipeline import Output, predict

    counters = predict(
        model,
        patterns,
        Output(prefix, output_format, shards=shards, errors=errors, with_source=with_source),
        pipeline_options,
        width=beam,
        **options,
    )
    click.echo(json_line(counters))
    failed_rows, failed_files = counters["failed_rows"], counters["failed_files"]
    if failed_rows or failed_files:
        sentence = (
            f"{failed_rows} of the examples could not be predicted, and {failed_files} of the files could "
            f"not be read; see {errors or prefix + '.errors'}-*"
        )
        click.echo(one_line(sentence), err=True)
    return 1 if failed_rows or failed_files else 0


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Drop what Beam logs when it is imported without the packages of Google Cloud."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
