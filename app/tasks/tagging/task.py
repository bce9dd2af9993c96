"""Many to many, of equal length: a tag for each token of a text, and perhaps a label for the whole text."""

from __future__ import annotations

from app.tasks.base import Task
from app.tasks.tagging.examples import TaggingExamples
from app.tasks.tagging.facts import TaggingFacts
from app.tasks.tagging.predictions import TaggingPredictions
from app.tasks.tagging.search import SPACE
from app.tasks.tagging.training import TaggingTraining

TASK = Task(
    name="tagging",
    facts=TaggingFacts,
    examples=TaggingExamples(),
    training=TaggingTraining(),
    predictions=TaggingPredictions(),
    search=SPACE,
)
