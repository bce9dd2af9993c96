"""What the report of a run says of a classifier: confusions, certainty, mistakes, and doubtful labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from app.page.blocks import Block, MarkedText, Paragraph, Section, Table
from app.tasks.labels import label_ids, label_sets
from app.tasks.report_blocks import (
    SHOWN,
    certainty_blocks,
    confusion_figure,
    confusion_table,
    score_table,
)
from data.prepared import Dataset

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

MOST_ROWS = 5000
"""Examples that are looked at one by one."""
EXPLAINED = 6
LONGEST = 400
"""Characters that are shown of a text."""


class Rows(NamedTuple):
    """Examples with their predictions."""

    texts: Sequence[str]
    targets: np.ndarray
    """int [N], classes; -1: unseen. With several labels bool [N, C]."""
    probabilities: np.ndarray
    """float [N, C]."""
    names: Sequence[str]


def classes_report(
    predictor: Predictor, dataset: Dataset, split: str, result: Mapping[str, Any]
) -> list[Section]:
    """Return the sections of a classifier of one label."""
    rows = _rows(predictor, dataset, split, label_ids)
    return [
        Section("Confusions", list(_confusions(result))),
        Section("Classes", [score_table(result["per_class"], "label", "examples")]),
        Section("Certainty", list(certainty_blocks(result))),
        Section("Mistakes", list(_mistakes(rows, predictor))),
        Section("Doubtful labels", list(_doubtful(rows))),
    ]


def label_sets_report(
    predictor: Predictor, dataset: Dataset, split: str, result: Mapping[str, Any]
) -> list[Section]:
    """Return the sections of a classifier of any number of labels."""
    rows = _rows(predictor, dataset, split, label_sets)
    return [
        Section("Labels", [score_table(result["per_class"], "label", "examples")]),
        Section("Certainty", list(certainty_blocks(result))),
        Section("Mistakes", list(_wrong_sets(rows, result, predictor))),
    ]


def _rows(predictor: Predictor, dataset: Dataset, split: str, read: Any) -> Rows:
    labels = predictor.info.preprocessing.labels
    texts: list[bytes] = []
    targets, probabilities = [], []
    for batch in dataset.batches(split):
        outputs = predictor.run_texts("serving_default", batch["text"])
        texts += list(batch["text"])
        targets.append(read(batch, dataset, labels))
        probabilities.append(outputs["probabilities"])
        if len(texts) >= MOST_ROWS:
            break
    return Rows(
        [text.decode(errors="replace") for text in texts[:MOST_ROWS]],
        np.concatenate(targets)[:MOST_ROWS],
        np.concatenate(probabilities)[:MOST_ROWS],
        [label.decode() for label in labels],
    )


def _confusions(result: Mapping[str, Any]) -> Iterator[Block]:
    counts = np.array(result["confusion"], float)
    names = list(result["per_class"])
    yield confusion_figure(counts, names, "class", "Predicted classes of each true class.")
    pairs = [
        (int(counts[i, j]), names[i], names[j]) for i, j in zip(*np.nonzero(counts), strict=True) if i != j
    ]
    if pairs:
        yield confusion_table(sorted(pairs, reverse=True), "examples")


def _mistakes(rows: Rows, predictor: Predictor) -> Iterator[Block]:
    predicted = rows.probabilities.argmax(axis=1)
    confidence = rows.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != rows.targets)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")]

    def table(places: np.ndarray, caption: str) -> Table:
        return Table(
            ["text", "true", "predicted", "probability"],
            [
                [
                    _cut(rows.texts[i]),
                    _name(rows, int(rows.targets[i])),
                    rows.names[predicted[i]],
                    f"{confidence[i]:.3f}",
                ]
                for i in places[:SHOWN].tolist()
            ],
            texts=3,
            caption=caption,
        )

    uncertain = np.argsort(confidence, kind="stable")
    if len(wrong):
        yield table(worst, "Most confident mistakes")
    else:
        yield Paragraph("All predictions are right.")
    yield table(uncertain, "Least certain texts")
    if "explain" in predictor.signatures:
        explained, what = (
            (worst, "most confident mistakes") if len(wrong) else (uncertain, "least certain texts")
        )
        yield Paragraph(
            f"The words of the {what}: blue ones speak for the predicted label, orange ones against it."
        )
        for i in explained[:EXPLAINED].tolist():
            yield _explained(
                rows.texts[i],
                predictor,
                rows.names[predicted[i]]
                + ("" if predicted[i] == rows.targets[i] else f", but {_name(rows, int(rows.targets[i]))}"),
            )


def _explained(text: str, predictor: Predictor, note: str = "") -> MarkedText:
    """Return a text with the importance of each token for the label that `explain` explains.

    Args:
        text: to explain.
        predictor: has the signature `explain`.
        note: shown beside the text; empty: the label.
    """
    outputs = predictor.run_texts("explain", [text.encode()])
    length = int(outputs["length"][0])
    starts, ends, weights = (outputs[name][0][:length] for name in ("start", "end", "importance"))
    largest = float(np.abs(weights).max(initial=1e-9))
    parts: list[tuple[str, float]] = []
    reached = 0
    for start, end, weight in zip(starts.tolist(), ends.tolist(), weights.tolist(), strict=True):
        if start > LONGEST:
            parts.append(("…", 0.0))
            break
        if start < reached:
            continue
        parts += [(text[reached:start], 0.0), (text[start:end], weight / largest)]
        reached = end
    return MarkedText([part for part in parts if part[0]], note or outputs["label"][0].decode())


def _doubtful(rows: Rows) -> Iterator[Block]:
    found = doubtful(rows.probabilities, rows.targets)
    yield Paragraph(
        "Labels that are probably wrong: the model gives another label at least the probability that it "
        "gives to examples with that label on average (confident learning, Northcutt et al. 2021)."
    )
    if not len(found):
        yield Paragraph("There are none.")
        return
    predicted = rows.probabilities.argmax(axis=1)
    yield Table(
        ["text", "label in the data", "model", "probability of the label"],
        [
            [
                _cut(rows.texts[i]),
                rows.names[rows.targets[i]],
                rows.names[predicted[i]],
                f"{rows.probabilities[i, rows.targets[i]]:.3f}",
            ]
            for i in found[:SHOWN].tolist()
        ],
        texts=3,
        more=len(found) - len(found[:SHOWN]),
    )


def doubtful(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the examples whose labels are probably wrong, the most doubtful first.

    Northcutt et al. 2021, "Confident learning", section 3.1: an example counts to a class if the class has at
    least the mean probability that it has among the examples of its label; of several the most probable.

    Args:
        probabilities: float [N, C], of a model that was not trained on the examples.
        targets: int [N]; -1 for a class that the model does not know.

    Returns:
        int [M], indices.
    """
    classes = probabilities.shape[1]
    thresholds = np.array(
        [
            probabilities[targets == own, own].mean() if (targets == own).any() else np.inf
            for own in range(classes)
        ]
    )
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = confident.argmax(axis=1)
    is_doubtful = (confident.max(axis=1) >= 0) & (best != targets) & (targets >= 0)
    places = np.flatnonzero(is_doubtful)
    own = probabilities[places, targets[places]]
    found: np.ndarray = places[np.argsort(own, kind="stable")]
    return found


def _wrong_sets(rows: Rows, result: Mapping[str, Any], predictor: Predictor) -> Iterator[Block]:
    thresholds = np.array([result["per_class"][name]["threshold"] for name in rows.names])
    chosen = rows.probabilities >= thresholds
    wrong = np.flatnonzero((chosen != rows.targets).any(axis=1))
    if not len(wrong):
        yield Paragraph("There are none.")
        return
    distance = np.where(chosen != rows.targets, np.abs(rows.probabilities - thresholds), 0).max(axis=1)
    worst = wrong[np.argsort(-distance[wrong], kind="stable")]

    def names(mask: np.ndarray) -> str:
        return ", ".join(rows.names[i] for i in np.flatnonzero(mask).tolist()) or "(none)"

    yield Table(
        ["text", "missed", "too many"],
        [
            [
                _cut(rows.texts[i]),
                names(rows.targets[i] & ~chosen[i]),
                names(chosen[i] & ~rows.targets[i]),
            ]
            for i in worst[:SHOWN].tolist()
        ],
        texts=3,
        caption="Most confident mistakes",
        more=len(worst) - len(worst[:SHOWN]),
    )
    if "explain" in predictor.signatures:
        yield Paragraph(
            "The words of these texts: blue ones speak for the label that is named, the one furthest above "
            "its threshold; orange ones speak against it."
        )
        for i in worst[:EXPLAINED].tolist():
            yield _explained(rows.texts[i], predictor)


def _name(rows: Rows, target: int) -> str:
    return rows.names[target] if target >= 0 else "(unknown label)"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
