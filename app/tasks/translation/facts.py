"""What is known of the texts of a translation model."""

from __future__ import annotations

from app.artifacts.preprocessing import Facts


class TranslationFacts(Facts):
    """Facts of a translation model."""

    bleu_tokenizer: str = ""
    """sacrebleu's tokenizer for BLEU; empty in older runs: by the script of the references."""
