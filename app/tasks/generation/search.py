"""What `textrnn tune` searches for language models. Tokens stay as they are: losses of other ones differ."""

from __future__ import annotations

from app.tasks.search import Choices, Range, Space

SPACE: Space = {
    "training.learning_rate": Range(5e-4, 1e-2, log=True),
    "training.batch_size": Choices((8, 16, 32)),
    "training.sequence_length": Choices((35, 64, 128)),
    "model.cell": Choices(("lstm", "gru")),
    "model.units": Choices((128, 256, 512)),
    "model.embedding_size": Choices((32, 64, 128, 256)),
    "model.dropout": Range(0.0, 0.6),
    "model.word_dropout": Range(0.0, 0.3),
    "model.weight_dropout": Range(0.0, 0.5),
}
