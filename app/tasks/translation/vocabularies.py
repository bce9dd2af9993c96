"""The vocabularies of both languages."""

from __future__ import annotations

from collections.abc import Sequence

from app.artifacts.preprocessing import Preprocessing
from app.tasks.tokenizing import VOCABULARY
from app.tasks.translation.config import TranslationConfig
from app.tasks.translation.facts import TranslationFacts

TARGET_VOCABULARY = "target_vocabulary"


def target_name(config: TranslationConfig) -> str:
    """Return the name of the vocabulary of the target texts, which may be that of the source texts too."""
    return VOCABULARY if config.text.shared else TARGET_VOCABULARY


def target_vocabulary(
    preprocessing: Preprocessing[TranslationFacts], config: TranslationConfig
) -> Sequence[bytes]:
    """Return the tokens of the target texts."""
    return preprocessing.vocabularies[target_name(config)]
