"""One to many: text from a language model, perhaps conditioned on a label, and the loss of given texts."""

from __future__ import annotations

from app.tasks.base import Task
from app.tasks.generation.examples import GenerationExamples
from app.tasks.generation.facts import GenerationFacts
from app.tasks.generation.predictions import GenerationPredictions
from app.tasks.generation.search import SPACE
from app.tasks.generation.training import GenerationTraining

TASK = Task(
    name="generation",
    facts=GenerationFacts,
    examples=GenerationExamples(),
    training=GenerationTraining(),
    predictions=GenerationPredictions(),
    search=SPACE,
)
