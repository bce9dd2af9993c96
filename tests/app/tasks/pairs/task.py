"""Classification of sentence pairs: entailment, paraphrase, question and answer."""

from __future__ import annotations

from typing import Any

from app.tasks.base import Task, Training
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.classification.training import ClassificationTraining
from app.tasks.inspection import Inspection
from pairs.examples import PairExamples
from pairs.predictions import PairPredictions


class PairTraining(ClassificationTraining):
    """Training of a classifier, whose gradients are not followed back through single texts."""

    reads_whole_texts = False

    def inspection(self, *arguments: Any) -> Inspection[Any, Any]:
        """Refuse, as a task does that does not say how its network is looked into."""
        return Training.inspection(self, *arguments)


TASK = Task(
    name="pairs",
    facts=ClassificationFacts,
    examples=PairExamples(),
    training=PairTraining(),
    predictions=PairPredictions(),
)
