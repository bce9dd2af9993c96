"""Classification of sentence pairs: entailment, paraphrase, question and answer."""

from __future__ import annotations

from app.tasks.base import Task
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.classification.training import ClassificationTraining
from pairs.examples import PairExamples
from pairs.predictions import PairPredictions

TASK = Task(
    name="pairs",
    facts=ClassificationFacts,
    examples=PairExamples(),
    training=ClassificationTraining(),
    predictions=PairPredictions(),
)
