"""Metrics of the server, in the text format of Prometheus."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.serving.drift import DriftMetrics

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class QueueLength(NamedTuple):
    """Number of rows of a signature that are queued or running."""

    model: str
    version: int
    signature: str
    rows: int


class Metrics:
    """Metrics of one server, in a separate registry, so that a process can have several servers."""

    CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        call = ("api", "model", "signature")
        self._requests = Counter(
            "textrnn_requests", "Requests that were handled.", (*call, "code"), registry=self.registry
        )
        self._seconds = Histogram(
            "textrnn_request_seconds",
            "Time from request to response.",
            call,
            buckets=SECONDS,
            registry=self.registry,
        )
        self._rows = Counter("textrnn_rows", "Rows of successful requests.", call, registry=self.registry)
        self._batches = Histogram(
            "textrnn_batch_rows",
            "Rows in one call of a model.",
            ("model", "signature"),
            buckets=ROWS,
            registry=self.registry,
        )
        self._loads = Counter(
            "textrnn_loads", "Attempts to load a version.", ("model", "result"), registry=self.registry
        )
        self._versions = Gauge(
            "textrnn_version_available",
            "Versions that are available.",
            ("model", "version"),
            registry=self.registry,
        )
        self._streams = Gauge("textrnn_streams", "Texts that are being streamed.", registry=self.registry)
        self._tokens = Counter(
            "textrnn_streamed_tokens", "Tokens of streamed texts.", ("model",), registry=self.registry
        )
        self.drift = DriftMetrics(self.registry)
        # Looking a metric up by its labels takes as long as counting.
        self._of = functools.cache(self._of_request)
        self._sizes = functools.cache(self._batches.labels)
        ProcessCollector(registry=self.registry)

    def request(self, *, api: str, model: str, signature: str, code: str, seconds: float, rows: int) -> None:
        """Count a request.

        Args:
            api: rest or grpc.
            model: its name; empty if there is no model of the requested name.
            signature: likewise.
            code: OK, or the name of an `app.serving.errors.Code`.
            seconds: until the response.
            rows: of the request.
        """
        counter, histogram, row_counter = self._of(api, model, signature, code)
        counter.inc()
        histogram.observe(seconds)
        if row_counter is not None:
            row_counter.inc(rows)

    def _of_request(
        self, api: str, model: str, signature: str, code: str
    ) -> tuple[Counter, Histogram, Counter | None]:
        call = (api, model, signature)
        rows = self._rows.labels(*call) if code == "OK" else None
        return self._requests.labels(*call, code), self._seconds.labels(*call), rows

    def batch(self, model: str, signature: str, rows: int) -> None:
        """Count a call of a model."""
        self._sizes(model, signature).observe(rows)

    def load(self, model: str, version: int, *, loaded: bool) -> None:
        """Count an attempt to load a version."""
        self._loads.labels(model, "loaded" if loaded else "failed").inc()
        if loaded:
            self._versions.labels(model, version).set(1)

    def retired(self, model: str, version: int) -> None:
        """Record that a version is no longer available."""
        self._versions.remove(model, str(version))
        self.drift.retired(model, version)

    def streamed(self, model: str, tokens: int) -> None:
        """Count the tokens of a text that has been streamed."""
        self._tokens.labels(model).inc(tokens)

    def watch_streams(self, running: Callable[[], int]) -> None:
        """Report the number of texts that are being streamed whenever the metrics are read."""
        self._streams.set_function(running)

    def watch_queues(self, lengths: Callable[[], Iterable[QueueLength]]) -> None:
        """Report the current queue lengths whenever the metrics are read."""
        self.registry.register(_Queues(lengths))

    def exposition(self) -> bytes:
        """Return all metrics as text of the type `CONTENT_TYPE`. It may run a model on sampled texts."""
        self.drift.collect()
        return generate_latest(self.registry)


class _Queues(Collector):
    def __init__(self, lengths: Callable[[], Iterable[QueueLength]]) -> None:
        self._lengths = lengths

    def collect(self) -> Iterator[Metric]:
        labels = ("model", "version", "signature")
        family = GaugeMetricFamily("textrnn_queue_rows", "Rows that are queued or running.", labels=labels)
        for length in self._lengths():
            family.add_metric([length.model, str(length.version), length.signature], length.rows)
        yield family
