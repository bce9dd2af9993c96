from __future__ import annotations

import io
import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.serving.logs import Log, request_id
from app.serving.metrics import Metrics, QueueLength

Sample = tuple[str, tuple[tuple[str, str], ...]]


def samples(metrics: Metrics) -> dict[Sample, float]:
    """Return what a Prometheus server would read."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def labelled(name: str, **labels: str) -> Sample:
    return name, tuple(sorted(labels.items()))


def test_requests() -> None:
    """Requests are counted by their end, their time by signature, their rows where they were answered."""
    metrics = Metrics()
    of = {"api": "rest", "model": "reviews", "signature": "serving_default"}
    metrics.request(**of, code="OK", seconds=0.02, rows=3)
    metrics.request(**of, code="OK", seconds=0.2, rows=4)
    metrics.request(**of, code="INVALID_ARGUMENT", seconds=0.001, rows=900)
    found = samples(metrics)

    assert found[labelled("textrnn_requests_total", **of, code="OK")] == 2
    assert found[labelled("textrnn_requests_total", **of, code="INVALID_ARGUMENT")] == 1
    assert found[labelled("textrnn_rows_total", **of)] == 7
    assert found[labelled("textrnn_request_seconds_count", **of)] == 3
    assert found[labelled("textrnn_request_seconds_sum", **of)] == pytest.approx(0.221)
    assert found[labelled("textrnn_request_seconds_bucket", **of, le="0.025")] == 2


def test_batches_and_queues() -> None:
    """The sizes of calls are counted; the lengths of queues are those of the moment."""
    metrics = Metrics()
    rows = 5
    metrics.watch_queues(lambda: [QueueLength("reviews", 2, "score", rows)])
    for size in (1, 64, 64):
        metrics.batch("reviews", "score", size)
    queue = labelled("textrnn_queue_rows", model="reviews", version="2", signature="score")

    assert samples(metrics)[queue] == 5
    rows = 0
    found = samples(metrics)
    assert found[queue] == 0
    of = {"model": "reviews", "signature": "score"}
    assert found[labelled("textrnn_batch_rows_sum", **of)] == 129
    assert found[labelled("textrnn_batch_rows_bucket", **of, le="32.0")] == 1


def test_versions() -> None:
    """One sees which versions answer, and how often one could not be loaded."""
    metrics = Metrics()
    metrics.load("reviews", 1, loaded=True)
    metrics.load("reviews", 2, loaded=False)
    metrics.load("reviews", 3, loaded=True)
    metrics.retired("reviews", 1)
    found = samples(metrics)

    available = [key for key in found if key[0] == "textrnn_version_available"]
    assert available == [labelled("textrnn_version_available", model="reviews", version="3")]
    assert found[labelled("textrnn_loads_total", model="reviews", result="failed")] == 1
    assert found[labelled("textrnn_loads_total", model="reviews", result="loaded")] == 2


def test_servers_do_not_share_metrics() -> None:
    """A process can have several servers."""
    one, other = Metrics(), Metrics()
    one.batch("reviews", "score", 1)

    assert b"reviews" in one.exposition()
    assert b"reviews" not in other.exposition()
    assert b"process_resident_memory_bytes" in other.exposition()
    assert Metrics.CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_logs() -> None:
    """An event is a line of JSON, whatever its facts hold."""
    stream = io.StringIO()
    log = Log(stream)
    log("request", id=request_id(), text="two\nlines, \u2028 é")
    log("stopped")

    first, second = stream.getvalue().strip("\n").split("\n")
    assert json.loads(first)["text"] == "two\nlines, \u2028 é"
    assert json.loads(first)["event"] == "request"
    assert list(json.loads(second)) == ["time", "event"]
    assert request_id() != request_id()
