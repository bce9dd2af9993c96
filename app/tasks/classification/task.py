"""Many to one: sentiment, topic, the intent of a message."""

from __future__ import annotations

from app.tasks.base import Task
from app.tasks.classification.examples import ClassificationExamples
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.classification.predictions import ClassificationPredictions
from app.tasks.classification.search import SPACE
from app.tasks.classification.training import ClassificationTraining

TASK = Task(
    name="classification",
    facts=ClassificationFacts,
    examples=ClassificationExamples(),
    training=ClassificationTraining(),
    predictions=ClassificationPredictions(),
    search=SPACE,
)
