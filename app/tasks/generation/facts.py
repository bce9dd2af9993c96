"""What is known of the documents of a language model."""

from __future__ import annotations

from app.artifacts.preprocessing import Facts


class GenerationFacts(Facts):
    """Facts of a language model."""

    documents_end: bool
    """Whether an end token follows each document; false if the training text is a single document."""
