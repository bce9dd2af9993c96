"""What `textrnn tune` searches for translation. Tokens stay as they are: losses of other ones differ."""

from __future__ import annotations

from app.tasks.search import Choices, Range, Space

SPACE: Space = {
    "training.learning_rate": Range(5e-4, 8e-3, log=True),
    "training.batch_size": Choices((48, 96, 192)),
    "training.label_smoothing": Range(0.0, 0.2),
    "model.cell": Choices(("lstm", "gru")),
    "model.units": Choices((128, 256)),
    "model.embedding_size": Choices((64, 128, 256)),
    "model.layers": Choices((1, 2)),
    "model.dropout": Range(0.1, 0.5),
    "model.word_dropout": Range(0.0, 0.2),
}
