"""Classification of sentence pairs: entailment, paraphrase, question and answer."""

from __future__ import annotations

from app.tasks.base import Task
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.classification.training import ClassificationTraining
from pairs.examples import PairExamples
from pairs.predictions import PairPredictions


class PairTraining(ClassificationTraining):
    """Training of a classifier, whose gradients are not followed back through single texts."""

    reads_whole_texts = False


TASK = Task(
    name="pairs",
    facts=ClassificationFacts,
    examples=PairExamples(),
    training=PairTraining(),
    predictions=PairPredictions(),
)
