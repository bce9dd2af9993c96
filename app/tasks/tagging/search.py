"""What `textrnn tune` searches for taggers."""

from __future__ import annotations

from app.tasks.search import Choices, Range, Space

SPACE: Space = {
    "training.learning_rate": Range(5e-4, 1e-2, log=True),
    "training.batch_size": Choices((16, 32, 64)),
    "model.cell": Choices(("lstm", "gru")),
    "model.units": Choices((64, 128, 200)),
    "model.embedding_size": Choices((64, 100, 200)),
    "model.character_units": Choices((25, 50, 100)),
    "model.dropout": Range(0.2, 0.7),
    "model.word_dropout": Range(0.0, 0.4),
    "model.crf": Choices((False, True)),
}
