"""What a server counts of its requests and answers, to be compared with the model's own data.

Answers, their certainty and the length of written texts are counted for each row. Tokens are counted for a
sample: of all texts since the metrics were last read, `SAMPLE` are kept, each with the same probability, and
tokenized when the metrics are read. The work does not grow with the number of requests.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.artifacts.manifests import ExportManifest
from app.prediction.predictor import Predictor
from app.tasks.monitoring import COUNTS, Monitoring

SAMPLE = 64
"""Most texts whose tokens are counted each time that the metrics are read."""
LONGEST_SAMPLED = 20_000
"""Bytes of a text; a longer one is not sampled."""
MOST_ANSWERS = 100
"""Most answers with a series of their own, the most frequent ones of the reference; the rest are one."""
OTHER = "other"
PROBABILITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_MODEL = ("model", "version", "signature")


class DriftMetrics:
    """The metrics of all models of a server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def metric(kind: Any, name: str, text: str, *labels: str, **options: Any) -> Any:
            found = kind(f"textrnn_{name}", text, (*_MODEL, *labels), registry=registry, **options)
            self._all.append(found)
            return found

        self._all: list[Any] = []
        self.answers = metric(Counter, "answers", "Answers: labels, or tags of tokens.", "answer")
        self.certainty = metric(
            Histogram, "certainty", "Probability of the answer to a text.", buckets=PROBABILITIES
        )
        self.characters = metric(
            Histogram, "answer_characters", "Characters of the text that was written.", buckets=LENGTHS
        )
        self.tokens = metric(Histogram, "sampled_tokens", "Tokens of a sampled text.", buckets=LENGTHS)
        self.unknown = metric(
            Counter, "sampled_unknown_tokens", "Tokens of sampled texts that are out of vocabulary."
        )
        self.own_answers = metric(
            Gauge, "reference_answer_share", "Share of an answer to the model's validation texts.", "answer"
        )
        self.own_certainty = metric(
            Gauge, "reference_certainty", "Mean probability of the answers to the model's validation texts."
        )
        self.own_characters = metric(
            Gauge, "reference_answer_characters", "Mean length of the answers to validation texts."
        )
        self.own_unknown = metric(
            Gauge, "reference_unknown_share", "Share of unknown tokens in the model's validation texts."
        )
        self.own_tokens = metric(
            Gauge, "reference_tokens", "Quantiles of the tokens of a validation text.", "quantile"
        )
        self._lock = threading.Lock()
        self._watched: dict[tuple[str, str], Drift] = {}

    def watch(self, drift: Drift) -> None:
        """Count the tokens of a version whenever the metrics are read, and show its reference."""
        with self._lock:
            self._watched[drift.model, drift.version] = drift
        drift.show_reference()

    def retired(self, model: str, version: int) -> None:
        """Remove all series of a version."""
        with self._lock:
            self._watched.pop((model, str(version)), None)
        for metric in self._all:
            metric.remove_by_labels({"model": model, "version": str(version)})

    def collect(self) -> None:
        """Count the tokens of the texts that were sampled since the last time."""
        with self._lock:
            watched = list(self._watched.values())
        for drift in watched:
            drift.count_tokens()


class Drift:
    """What is counted of one version of a model."""

    def __init__(
        self,
        metrics: DriftMetrics,
        monitoring: Monitoring,
        manifest: ExportManifest,
        predictor: Predictor,
        *,
        model: str,
        version: int,
    ) -> None:
        """Create it.

        Args:
            metrics: of the server.
            monitoring: of the task.
            manifest: of the export.
            predictor: of the same export.
            model: its name.
            version: its number.
        """
        self.model, self.version = model, str(version)
        self._metrics = metrics
        self._monitoring = monitoring
        self._reference = manifest.reference
        self._counts = predictor.signatures.get(COUNTS)
        self._of = (model, self.version, monitoring.signature)
        own = manifest.reference.answers if manifest.reference else {}
        known = [name for key in monitoring.answers for name in manifest.preprocessing.get(key, [])]
        ranked = sorted(dict.fromkeys([*own, *known]), key=lambda name: -own.get(name, 0.0))
        self._answers = {name: metrics.answers.labels(*self._of, name) for name in ranked[:MOST_ANSWERS]}
        self._other = metrics.answers.labels(*self._of, OTHER) if len(ranked) > MOST_ANSWERS else None
        self._lock = threading.Lock()
        self._seen = 0
        self._sample: list[bytes] = []
        self._random = random.Random()

    def watches(self, signature: str, outputs: Collection[str]) -> bool:
        """Return whether the answers of a signature with these outputs are counted."""
        return signature == self._monitoring.signature and self._monitoring.outputs <= set(outputs)

    def show_reference(self) -> None:
        """Set the gauges of the model's own data; an export without them has none."""
        found, metrics = self._reference, self._metrics
        if found is None:
            return
        if found.answers:
            shown = {name: found.answers.get(name, 0.0) for name in self._answers}
            if self._other is not None:
                shown[OTHER] = max(1 - sum(shown.values()), 0.0)
            for name, share in shown.items():
                metrics.own_answers.labels(*self._of, name).set(share)
        for gauge, value in (
            (metrics.own_certainty, found.certainty),
            (metrics.own_characters, found.characters),
            (metrics.own_unknown, found.unknown),
        ):
            if value is not None:
                gauge.labels(*self._of).set(value)
        for quantile, tokens in found.tokens.items():
            metrics.own_tokens.labels(*self._of, quantile).set(tokens)

    def count(self, inputs: Mapping[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
        """Count a request that was answered, and sample from its texts."""
        found = self._monitoring.observe(outputs)
        for name, number in found.answers.items():
            counter = self._answers.get(name, self._other)
            if counter is not None:
                counter.inc(number)
        for histogram, values in (
            (self._metrics.certainty, found.certainty),
            (self._metrics.characters, found.characters),
        ):
            if values is not None:
                observe = histogram.labels(*self._of).observe
                for value in values.tolist():
                    observe(value)
        if self._counts is not None:
            self._draw(inputs[self._monitoring.text].tolist())

    def _draw(self, texts: Sequence[bytes]) -> None:
        """Keep a uniform sample of all texts: algorithm R of Vitter (1985)."""
        with self._lock:
            for text in texts:
                if len(text) > LONGEST_SAMPLED:
                    continue
                self._seen += 1
                if len(self._sample) < SAMPLE:
                    self._sample.append(text)
                elif (place := self._random.randrange(self._seen)) < SAMPLE:
                    self._sample[place] = text

    def count_tokens(self) -> None:
        """Count the tokens of the sample, and begin another one."""
        with self._lock:
            texts, self._sample, self._seen = self._sample, [], 0
        if not texts or self._counts is None:
            return
        found = {name: value.numpy() for name, value in self._counts(text=tf.constant(texts)).items()}
        observe = self._metrics.tokens.labels(*self._of).observe
        for tokens in found["tokens"].tolist():
            observe(tokens)
        self._metrics.unknown.labels(*self._of).inc(int(found["unknown"].sum()))
