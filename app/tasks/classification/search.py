"""What `textrnn tune` searches for classifiers."""

from __future__ import annotations

from app.tasks.search import Choices, Range, Space

SPACE: Space = {
    "training.learning_rate": Range(5e-4, 3e-2, log=True),
    "training.batch_size": Choices((32, 64, 128)),
    "training.label_smoothing": Range(0.0, 0.2),
    "model.cell": Choices(("lstm", "gru")),
    "model.units": Choices((32, 64, 128)),
    "model.embedding_size": Choices((32, 64, 128)),
    "model.dropout": Range(0.1, 0.7),
    "model.word_dropout": Range(0.0, 0.5),
    "model.pooling": Choices(("max_mean", "mean", "attention")),
    "model.ngrams": Choices((0, 2, 3)),
}
