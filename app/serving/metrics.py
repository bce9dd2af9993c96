"""What a server counts, in the text format of Prometheus."""

from __future__ import annotations

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

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class QueueLength(NamedTuple):
    """How many rows of a signature are accepted and not yet answered."""

    model: str
    version: int
    signature: str
    rows: int


class Metrics:
    """Counters of one server; a registry of its own, so that a process can have several."""

    CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        call = ("api", "model", "signature")
        self._requests = Counter(
            "textrnn_requests", "Requests that were answered.", (*call, "code"), registry=self.registry
        )
        self._seconds = Histogram(
            "textrnn_request_seconds",
            "Time from a request to its answer.",
            call,
            buckets=SECONDS,
            registry=self.registry,
        )
        self._rows = Counter("textrnn_rows", "Rows that were answered.", call, registry=self.registry)
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
            "textrnn_version_available", "Versions that answer.", ("model", "version"), registry=self.registry
        )
        ProcessCollector(registry=self.registry)

    def request(self, *, api: str, model: str, signature: str, code: str, seconds: float, rows: int) -> None:
        """Counts a request.

        Args:
            api: rest or grpc.
            model: its name; empty where there is none of the name that was asked for.
            signature: likewise.
            code: OK, or the name of an `app.serving.errors.Code`.
            seconds: until the answer.
            rows: of the request.
        """
        self._requests.labels(api, model, signature, code).inc()
        self._seconds.labels(api, model, signature).observe(seconds)
        if code == "OK":
            self._rows.labels(api, model, signature).inc(rows)

    def batch(self, model: str, signature: str, rows: int) -> None:
        """Counts a call of a model."""
        self._batches.labels(model, signature).observe(rows)

    def load(self, model: str, version: int, *, loaded: bool) -> None:
        """Counts an attempt to load a version."""
        self._loads.labels(model, "loaded" if loaded else "failed").inc()
        if loaded:
            self._versions.labels(model, version).set(1)

    def retired(self, model: str, version: int) -> None:
        """A version answers no longer."""
        self._versions.remove(model, str(version))

    def watch_queues(self, lengths: Callable[[], Iterable[QueueLength]]) -> None:
        """Shows the queues' lengths of the moment, whenever the metrics are read."""
        self.registry.register(_Queues(lengths))

    def exposition(self) -> bytes:
        """All metrics as text; its type is `CONTENT_TYPE`."""
        return generate_latest(self.registry)


class _Queues(Collector):
    def __init__(self, lengths: Callable[[], Iterable[QueueLength]]) -> None:
        self._lengths = lengths

    def collect(self) -> Iterator[Metric]:
        labels = ("model", "version", "signature")
        family = GaugeMetricFamily(
            "textrnn_queue_rows", "Rows that are accepted and not yet answered.", labels=labels
        )
        for length in self._lengths():
            family.add_metric([length.model, str(length.version), length.signature], length.rows)
        yield family
