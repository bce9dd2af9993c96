"""The linear model that classifiers of several labels are compared with."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from app.metrics import MICRO_F1
from app.tasks.base import Evaluation, Split
from app.tasks.classification.label_set_scores import micro_f1_outcomes, predicted, scores
from app.tasks.classification.thresholds import choose_thresholds
from app.tasks.labels import label_sets, with_unseen
from app.tasks.linear_baseline import (
    logistic_regression,
    predictions_and_targets,
    tfidf,
    training_texts,
)
from data.encoding import Texts

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

HELD_OUT = 10
"""Every so many-th training example chooses thresholds, and the model is not fitted on it."""


def label_set_baseline(train: Split, test: Split, predictor: Predictor) -> Evaluation:
    """Evaluate a logistic regression for each label on TF-IDF of word uni- and bigrams.

    Its thresholds are chosen as those of a `Classifier`, on a tenth of the training examples.

    Args:
        train: the examples to learn from.
        test: the examples to evaluate on.
        predictor: gives labels and configuration.
    """
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    labels = predictor.info.preprocessing.labels
    every = with_unseen(labels, test[0])
    texts, targets = training_texts(train, lambda batch: label_sets(batch, train[0], labels))
    held_out = np.arange(len(texts)) % HELD_OUT == HELD_OUT - 1
    model = make_pipeline(
        tfidf(),
        OneVsRestClassifier(logistic_regression(predictor)),
    )

    def probabilities(texts: Texts) -> np.ndarray:
        found = model.predict_proba(texts)
        return np.asarray(found[:, -len(labels) :], np.float32)  # of one label it has two columns

    with warnings.catch_warnings():
        # A label that no example has, or each, needs no regression.
        warnings.filterwarnings("ignore", "Label .* is present in all training examples")
        warnings.filterwarnings("ignore", "Label not .* is present in all training examples")
        try:
            model.fit([texts[i] for i in np.flatnonzero(~held_out)], targets[~held_out])
        except ValueError as error:  # of scikit-learn, if there are no words at all
            return Evaluation({"error": str(error)})
    chosen_on = [texts[i] for i in np.flatnonzero(held_out)]
    thresholds = np.full(len(labels), 0.5, np.float32)
    if chosen_on:
        thresholds = choose_thresholds(probabilities(chosen_on), targets[held_out])
    found, test_targets = predictions_and_targets(
        test, lambda batch: label_sets(batch, test[0], every), probabilities
    )
    known = np.arange(test_targets.shape[1]) < len(labels)
    test_targets = test_targets[:, known | test_targets.any(axis=0)]
    sets = predicted(found >= thresholds, found, test_targets)
    return Evaluation({**scores(sets), "rows": len(texts)}, {MICRO_F1.name: micro_f1_outcomes(sets)})
