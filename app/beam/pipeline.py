"""The job: files are matched and read, their examples predicted, and the predictions written in shards."""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
from apache_beam.io import fileio
from apache_beam.io.parquetio import WriteToParquet
from apache_beam.metrics import MetricsFilter
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

from app.beam.failures import FAILED, NAMESPACE
from app.beam.handler import ExportHandler, load_checked
from app.beam.places import absolute, matched
from app.beam.routing import Route
from app.beam.rows import ReadRows
from app.beam.schema import complete, schema_of
from app.beam.tfrecords import TFRECORD
from app.predict import reading
from app.prediction.kernels import AUTO
from app.tasks import get_task
from app.terminal.printable import json_line
from data.errors import UserError

JSONL, PARQUET = OUTPUT_FORMATS = ("jsonl", "parquet")
COUNTERS = ("files", "failed_files", "rows", "failed_rows", "bytes", "batches")
_USER_ERROR = re.compile(r"UserError: (.+?)(?: \[while running [^\]]*\])?$", re.MULTILINE)


@dataclass(frozen=True)
class Output:
    """Where and how predictions are written."""

    prefix: str
    """Shards are named `PREFIX-00000-of-00004.jsonl`; in any of Beam's filesystems."""
    format: str = JSONL
    """One of `OUTPUT_FORMATS`."""
    shards: int = 0
    """Number of files; 0: the runner decides."""
    errors: str | None = None
    """Prefix of the shards with what could not be predicted; None: the prefix with `.errors` at the end."""
    with_source: bool = False
    """Whether each prediction has the `file` and the `line` of its example."""

    def failed(self) -> str:
        """Return the prefix of the files with failures."""
        return self.errors or f"{self.prefix}.errors"


def predict(
    model: str,
    patterns: Sequence[str],
    output: Output,
    pipeline_options: Sequence[str] = (),
    *,
    format_name: str | None = None,
    text_column: str | None = None,
    overrides: Sequence[str] = (),
    reject_below: float = 0.0,
    width: int | None = None,
    kernels: str = AUTO,
) -> dict[str, Any]:
    """Run a job that predicts every example of some files, and wait for its end.

    The predictions are those of `textrnn predict`, in no order.

    Args:
        model: an export, or the parent directory of its versions; in a filesystem that the workers read.
        patterns: of the files, in any of Beam's filesystems.
        output: where the predictions are written.
        pipeline_options: as on the command line, such as `--runner=FlinkRunner`.
        format_name: format of the files: a name of `textrnn predict`, or `tfrecord`; None: by their names and
            contents.
        text_column: column of the text; None: as in training.
        overrides: `KEY=VALUE` of columns and layout, if not as in training.
        reject_below: labels with a lower score are None.
        width: beam width; None: the configured one.
        kernels: one of `app.prediction.kernels.KERNELS`.

    Returns:
        the counters of the job, by name; `batch_rows` are the numbers of examples in a batch.

    Raises:
        UserError: the model, the files, the output or an option are not as they must be, or the job failed.
    """
    options = checked_options(pipeline_options)
    model, patterns = absolute(model), [*map(absolute, patterns)]
    output = replace(output, prefix=absolute(output.prefix), errors=absolute(output.failed()))
    predictor = load_checked(model, kernels, width)
    if reject_below:
        get_task(predictor.info.task).predictions.require_scores(predictor)
    read = reading(
        predictor,
        format_name=None if format_name == TFRECORD else format_name,
        text_column=text_column,
        overrides=overrides,
    )
    for pattern, files in zip(patterns, matched("--input", patterns), strict=True):
        if not files:
            raise UserError(
                f"--input {pattern}: no file matches; give a file, or a pattern such as 'data/*.csv'"
            )
    _check_output(output)

    pipeline = beam.Pipeline(options=options)
    rows = (
        pipeline
        | "Patterns" >> beam.Create(list(patterns))
        | "Match" >> fileio.MatchAll()
        | "Path" >> beam.Map(lambda found: found.path)
        | "Distribute files" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(ReadRows(read, format_name)).with_outputs(FAILED, main="rows")
    )
    handler = ExportHandler(model, kernels=kernels, width=width, reject_below=reject_below)
    lines = (
        rows["rows"]
        | "Distribute rows" >> beam.Reshuffle()
        | "Predict" >> RunInference(handler)
        | "Route" >> beam.ParDo(Route(with_source=output.with_source)).with_outputs(FAILED, main="lines")
    )
    if output.format == PARQUET:
        schema = schema_of(predictor, with_source=output.with_source)
        complete_lines = lines["lines"] | "Complete" >> beam.Map(complete, schema.names)
        _ = complete_lines | "Write" >> WriteToParquet(
            output.prefix,
            schema,
            codec="zstd",
            use_compliant_nested_type=True,
            num_shards=output.shards,
            file_name_suffix=f".{PARQUET}",
        )
    else:
        _write_lines(lines["lines"], "Write", output.prefix, output.shards)
    failures = (rows[FAILED], lines[FAILED]) | "Failures" >> beam.Flatten()
    _write_lines(failures, "Write failures", output.failed(), shards=1)
    return _counters(_run(pipeline))


def _write_lines(lines: beam.PCollection, name: str, prefix: str, shards: int) -> None:
    """Write dictionaries as JSON lines."""
    text = lines | f"{name}: JSON" >> beam.Map(json_line)
    _ = text | name >> beam.io.WriteToText(prefix, f".{JSONL}", num_shards=shards, skip_if_empty=True)


def checked_options(arguments: Sequence[str]) -> PipelineOptions:
    """Return the options of a runner.

    Raises:
        UserError: an argument is neither an option nor the value of one, such as a second file where a shell
            has expanded a pattern, or a value is not allowed.
    """
    parsers: list[argparse.ArgumentParser] = []
    options = PipelineOptions(list(arguments))
    with _one_line_errors():
        options.get_all_options(retain_unknown_options=True, add_extra_args_fn=parsers.append)
        _, unknown = parsers[0].parse_known_args(list(arguments))
    for before, argument in itertools.pairwise(["", *unknown]):
        if not argument.startswith("-") and (not before.startswith("--") or "=" in before):
            raise UserError(
                f"{argument!r} is neither an option nor the value of one; quote a pattern, as in "
                "--input 'data/*.csv', and repeat --input for several"
            )
    return options


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn the exit of an argument parser, with its usage, into one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit:
        raise UserError(said.getvalue().strip().rpartition("error: ")[2]) from None


def _check_output(output: Output) -> None:
    """Require that there are no shards of an earlier job, which would be taken for those of this one."""
    for option, prefix, suffix in (
        ("--output", output.prefix, output.format),
        ("--errors", output.failed(), JSONL),
    ):
        ((*files,),) = matched(option, [f"{prefix}-*-of-*.{suffix}"])
        if files:
            raise UserError(f"{option} {prefix}: {files[0]} exists; delete it, or give another prefix")


def _run(pipeline: beam.Pipeline) -> PipelineResult:
    """Run a job to its end.

    Raises:
        UserError: it failed. The log of the runner says more.
    """
    try:
        result = pipeline.run()
        state = result.wait_until_finish()
    except Exception as error:
        # A worker in another process sends its traceback as text.
        said = f"UserError: {error}" if isinstance(error, UserError) else str(error)
        if found := _USER_ERROR.findall(said):
            raise UserError(found[-1]) from None
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"the job failed: {lines[-1]}") from error
    if state != PipelineState.DONE:
        raise UserError(f"the job ended as {state}; see the log of the runner")
    return result


def _counters(result: PipelineResult) -> dict[str, Any]:
    found = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    values = {each.key.metric.name: each.result for each in found["counters"]}
    counters: dict[str, Any] = {name: values.get(name, 0) for name in COUNTERS}
    for each in found["distributions"]:
        own = each.result
        counters[each.key.metric.name] = {"min": own.min, "mean": round(own.mean, 1), "max": own.max}
    return counters
