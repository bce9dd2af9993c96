"""Many to many, of unequal length: translation, summarization."""

from __future__ import annotations

from app.tasks.base import Task
from app.tasks.translation.examples import TranslationExamples
from app.tasks.translation.facts import TranslationFacts
from app.tasks.translation.predictions import TranslationPredictions
from app.tasks.translation.search import SPACE
from app.tasks.translation.training import TranslationTraining

TASK = Task(
    name="translation",
    facts=TranslationFacts,
    examples=TranslationExamples(),
    training=TranslationTraining(),
    predictions=TranslationPredictions(),
    search=SPACE,
)
