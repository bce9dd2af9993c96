"""The examples of files, read by the readers of `textrnn predict`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError
from apache_beam.metrics import Metrics

from app.beam.failures import NAMESPACE, failure
from app.beam.places import local_file
from app.beam.tfrecords import TFRECORD, is_tfrecord, read_tfrecords
from app.prediction.inputs import Reading, open_input
from data.errors import UserError
from data.formats import BadRow, Row, Value

Example = tuple[str, int, dict[str, Value]]
"""File, line and values of an example."""

_LOG = logging.getLogger(__name__)


class ReadRows(beam.DoFn):
    """From the path of a file to its examples, and to the rows that cannot be read, tagged `FAILED`.

    A file is read from beginning to end by one worker: a quotation mark may close on another line. A file
    that cannot be opened, or that is damaged, is a failure without a line; the examples before the damage
    count.
    """

    def __init__(self, reading: Reading, format_name: str | None) -> None:
        """Initialize.

        Args:
            reading: how the model reads files.
            format_name: of the files, perhaps `tfrecord`; None: by their names and contents.
        """
        self._reading = reading
        self._format_name = format_name
        self._files = Metrics.counter(NAMESPACE, "files")
        self._failed_files = Metrics.counter(NAMESPACE, "failed_files")
        self._rows = Metrics.counter(NAMESPACE, "rows")
        self._failed_rows = Metrics.counter(NAMESPACE, "failed_rows")

    def process(self, file: str) -> Iterator[Any]:
        """Yield the examples of a file."""
        self._files.inc()
        try:
            with local_file(file) as path:
                for row in self._read(file, path):
                    self._rows.inc()
                    if isinstance(row, Row):
                        yield file, row.line, row.values
                    else:
                        self._failed_rows.inc()
                        yield failure(file, row.line, row.reason)
        except (UserError, OSError, BeamIOError) as error:
            self._failed_files.inc()
            yield failure(file, None, str(error).removeprefix(f"{file}: "))

    def _read(self, file: str, path: Path) -> Iterator[Row | BadRow]:
        is_records = is_tfrecord(path.name) if self._format_name is None else self._format_name == TFRECORD
        try:
            if is_records:
                yield from read_tfrecords(path, self._reading.fields)
                return
            given = open_input(path, self._reading)
            for sentence in given.notes:
                _LOG.warning("%s", sentence.replace(str(path), file))
            yield from (row for _, row in given.rows)
        except UserError as error:
            raise UserError(str(error).replace(str(path), file)) from None
