"""Predicted classes: as JSON, evaluated, explained, and compared with a linear model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.bootstrap import correct
from app.metrics import ACCURACY
from app.page.blocks import Section
from app.tasks.base import (
    Evaluation,
    ExampleBatch,
    Explanation,
    OutputArrays,
    Predictions,
    Split,
    Unlabelled,
)
from app.tasks.calibration import calibration
from app.tasks.card import TaskCard
from app.tasks.classification.branches import WHOLE, of_branches
from app.tasks.classification.card import classification_card
from app.tasks.classification.config import ClassificationConfig
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.classification.label_set_baseline import label_set_baseline
from app.tasks.classification.label_set_predictions import evaluate_label_sets, label_sets_to_json
from app.tasks.classification.monitoring import MONITORING
from app.tasks.classification.rejection import of_labelled, of_scope
from app.tasks.classification.scores import confusion, per_class, scores
from app.tasks.labels import label_ids, with_unseen
from app.tasks.linear_baseline import (
    logistic_regression,
    predictions_and_targets,
    tfidf,
    training_texts,
)
from app.tasks.states import STATES
from data.errors import UserError
from data.formats import Row
from data.prepared import Dataset

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.prediction.predictor import Predictor
    from app.tasks.inspection import Inspection
    from app.tasks.signature import Signature

DIGITS = 6


def _importances(row: Mapping[str, Any]) -> dict[str, Any]:
    length = int(row["length"])
    columns = (row[key][:length] for key in ("tokens", "start", "end", "importance"))
    return {
        "label": row["label"].decode(),
        "tokens": [
            {
                "text": text.decode(errors="replace"),
                "start": int(start),
                "end": int(end),
                "importance": round(float(importance), DIGITS),
            }
            for text, start, end, importance in zip(*columns, strict=True)
        ],
    }


class ClassificationPredictions(Predictions[ClassificationConfig, ClassificationFacts]):
    """Predictions of a classifier."""

    baseline_name = "linear baseline"
    explanation = Explanation("explain", _importances)
    states = STATES
    monitoring = MONITORING

    def signatures(
        self,
        module: tf.Module,
        model: keras.Model,
        preprocessing: Preprocessing[ClassificationFacts],
        config: ClassificationConfig,
    ) -> dict[str, Signature]:
        """Return the signatures of `app.tasks.classification.signatures`."""
        from app.tasks.classification.signatures import signatures

        return signatures(module, model, preprocessing, config)

    def card(
        self, preprocessing: Preprocessing[ClassificationFacts], config: ClassificationConfig
    ) -> TaskCard:
        """Return the sentences of `app.tasks.classification.card`."""
        return classification_card(preprocessing, config)

    def calibrated(self, config: ClassificationConfig) -> bool:
        """Return whether the logits are scaled: those of a model with n-grams always are."""
        return config.model.calibrated or bool(config.model.ngrams)

    def to_json(self, outputs: OutputArrays) -> list[dict[str, Any]]:
        """Return `label`, `score` and `probabilities`, or `labels` and `probabilities`, of each text.

        The label is None if the score does not reach the threshold of the model.
        """
        if "chosen" in outputs:
            return label_sets_to_json(outputs)
        columns = (outputs[name] for name in ("label", "score", "probabilities", "classes"))
        known = outputs.get("known", np.ones(len(outputs["label"]), bool))
        return [
            {
                "label": label.decode() if is_known else None,
                "score": round(float(score), DIGITS),
                "probabilities": {
                    name.decode(): round(float(p), DIGITS) for name, p in zip(names, row, strict=True)
                },
            }
            for label, score, row, names, is_known in zip(*columns, known, strict=True)
        ]

    def report(
        self,
        predictor: Predictor,
        inspection: Inspection[ClassificationConfig, ClassificationFacts],
        dataset: Dataset,
        split: str,
        result: Mapping[str, Any],
    ) -> list[Section]:
        """Return confusions, certainty, mistakes and doubtful labels."""
        from app.tasks.classification.report import classes_report, label_sets_report

        own = label_sets_report if has_several_labels(predictor) else classes_report
        return own(predictor, dataset, split, result)

    def unlabelled(self, predictor: Predictor, rows: Sequence[Row]) -> list[Unlabelled]:
        """Return texts whose best two classes have similar probabilities, the smaller the margin the higher.

        With several labels it is the mean entropy of the labels, in bits.
        """
        found = []
        for row, line in zip(rows, self.predict(predictor, rows), strict=True):
            probabilities = np.array([*line["probabilities"].values()])
            if "labels" in line:
                predicted = {"label": None, "predicted": line["labels"]}
                uncertainty = float(_entropy(probabilities).mean())
            else:
                predicted = {
                    "label": None,
                    "predicted": max(line["probabilities"], key=line["probabilities"].get),
                }
                second, first = np.sort(np.append(probabilities, 0.0))[-2:]
                uncertainty = 1 - float(first - second)
            found.append(Unlabelled(row.text(), {"text": row.text(), **predicted}, uncertainty))
        return found

    def require_scores(self, predictor: Predictor) -> None:
        """Require that texts have one label."""
        if has_several_labels(predictor):
            raise UserError(
                f"--reject-below: the texts of {predictor.info.where} have any number of labels, each with a "
                "threshold of its own; leave it out"
            )

    def evaluate(
        self, predictor: Predictor, dataset: Dataset, examples: Iterable[ExampleBatch]
    ) -> Evaluation:
        """Return loss (nats per example), metrics, calibration, metrics of each class, and confusions.

        Examples of an unseen class count as wrong; the loss is the mean over the others. Of a model with
        n-grams there are also metrics of each branch. There is no confusion matrix of several labels.
        """
        labels = predictor.info.preprocessing.labels
        if has_several_labels(predictor):
            return evaluate_label_sets(predictor, self.signature, dataset, examples)
        every = with_unseen(labels, dataset)
        found: dict[str, list[np.ndarray]] = {}
        ids = []
        labelled = []
        for batch in examples:
            ids.append(label_ids(batch, dataset, every))
            outputs = predictor.run_texts(self.signature, batch["text"])
            labelled.append(outputs.get("known", np.ones(len(batch["text"]), bool)))
            for name, values in {
                WHOLE: outputs["probabilities"],
                **of_branches(predictor, batch["text"]),
            }.items():
                found.setdefault(name, []).append(values)
        targets = np.concatenate(ids)
        probabilities = np.concatenate(found.pop(WHOLE)).astype(np.float64)
        predicted = probabilities.argmax(axis=-1)
        known = np.flatnonzero(targets < len(labels))
        unseen = Counter(every[i].decode() for i in targets[targets >= len(labels)])
        names = [*(label.decode() for label in labels), *sorted(unseen)]
        targets = _renumbered(targets, every, names)
        result: dict[str, Any] = {"examples": len(targets)}
        if len(known):
            of_target = probabilities[known, targets[known]]
            result["loss"] = float(-np.log(np.maximum(of_target, np.finfo(np.float32).tiny)).mean())
        result |= scores(predicted, targets, len(names))
        result |= calibration(probabilities, targets)
        known_rows = np.concatenate(labelled)
        config = predictor.info.config
        assert isinstance(config, ClassificationConfig)
        decision = config.decision
        if decision.rejects:
            result |= of_labelled(known_rows, predicted == targets)
        if scope := decision.out_of_scope:
            result["out_of_scope"] = of_scope(known_rows, predicted, targets, names, scope)
        if found:
            result["branches"] = {
                name: scores(np.concatenate(own).argmax(axis=-1), targets, len(names))
                for name, own in found.items()
            }
        if unseen:
            result["unseen_labels"] = dict(sorted(unseen.items()))
        result["per_class"] = per_class(predicted, targets, names)
        result["confusion"] = confusion(predicted, targets, len(names))
        return Evaluation(result, {ACCURACY.name: correct(predicted == targets)})

    def baseline(self, train: Split, test: Split, predictor: Predictor) -> Evaluation | None:
        """Evaluate multinomial logistic regression on TF-IDF of word uni- and bigrams.

        With several labels it is one logistic regression for each label.
        """
        if has_several_labels(predictor):
            return label_set_baseline(train, test, predictor)
        from sklearn.pipeline import make_pipeline

        labels = predictor.info.preprocessing.labels
        every = with_unseen(labels, test[0])
        texts, targets = training_texts(train, lambda batch: label_ids(batch, train[0], labels))
        model = make_pipeline(tfidf(), logistic_regression(predictor))
        try:
            model.fit(texts, targets)
        except ValueError as error:  # of scikit-learn, if there are no words at all
            return Evaluation({"error": str(error)})
        found, test_targets = predictions_and_targets(
            test, lambda batch: label_ids(batch, test[0], every), model.predict
        )
        names = [label.decode() for label in every]
        names = [*names[: len(labels)], *(names[i] for i in np.unique(test_targets) if i >= len(labels))]
        test_targets = _renumbered(test_targets, every, names)
        return Evaluation(
            {**scores(found, test_targets, len(names)), "rows": len(texts)},
            {ACCURACY.name: correct(found == test_targets)},
        )


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy in bits of labels that are there with these probabilities."""
    from scipy.special import entr

    entropy: np.ndarray = (entr(probabilities) + entr(1 - probabilities)) / np.log(2)
    return entropy


def has_several_labels(predictor: Predictor) -> bool:
    """Return whether the texts of a classifier have any number of labels."""
    facts = predictor.info.preprocessing.facts
    assert isinstance(facts, ClassificationFacts)
    return facts.several_labels


def _renumbered(targets: np.ndarray, every: Sequence[bytes], names: Sequence[str]) -> np.ndarray:
    """Return ids into `every` as ids into `names`, which has all that occur."""
    places = {name.encode(): place for place, name in enumerate(names)}
    found: np.ndarray = np.array([places.get(name, -1) for name in every], np.int64)[targets]
    return found
