"""`textrnn suggest`: the unlabelled texts whose labels a model would learn most from."""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.predict import CHUNK, reading
from app.prediction.inputs import open_input
from app.prediction.predictor import LARGEST_CHUNK, Predictor
from app.tasks import get_task
from app.tasks.base import Unlabelled
from app.terminal.progress import bar
from data.batching import bounded
from data.errors import UserError
from data.formats import BadRow, Row

CANDIDATES = 10
"""The most uncertain texts that a choice is made of, for each that is wanted."""
MOST_CANDIDATES = 20_000
FEWEST_SHARE = 0.5
"""Of the uncertainty of the last of the most uncertain texts, as many as are wanted."""


def suggest(
    predictor: Predictor,
    source: Path | None,
    *,
    count: int = 50,
    format_name: str | None = None,
    text_column: str | None = None,
    overrides: Sequence[str] = (),
    seed: int = 0,
    note: Callable[[str], object] = lambda sentence: None,
) -> list[dict[str, Any]]:
    """Choose the texts that should be labelled next: uncertain ones that differ from each other.

    Of the most uncertain texts, as many clusters as texts are wanted are made by k-means, weighted by the
    uncertainty; the text nearest to the centre of each is chosen (Zhdanov 2019, "Diverse mini-batch active
    learning"). No text is chosen only since it differs: those that are less than half as uncertain as the
    last of the most uncertain ones are left out.

    Args:
        predictor: a model of a task with labels, tags or targets.
        source: a file or a folder; None reads stdin.
        count: number of texts that are wanted.
        format_name: as of `app.predict.predict`, like the next two.
        text_column: column of the text.
        overrides: `KEY=VALUE` of columns and layout.
        seed: of k-means.
        note: called with a sentence about what is left out.

    Returns:
        an example for each text, the most uncertain first: its fields, what the model predicts for it, and
        `uncertainty`, from 0.

    Raises:
        UserError: the task has nothing to label, or as of `app.predict.predict`.
    """
    given = open_input(
        source,
        reading(predictor, format_name=format_name, text_column=text_column, overrides=overrides),
    )
    for sentence in given.notes:
        note(sentence)
    best: list[tuple[float, int, Unlabelled]] = []
    seen: set[str] = set()
    unreadable = repeated = 0
    predictions = get_task(predictor.info.task).predictions
    most = min(CANDIDATES * count, max(MOST_CANDIDATES, count))
    with bar("predicting", None) as advance:
        for chunk in _chunks(row for _, row in given.rows):
            good = [row for row in chunk if isinstance(row, Row)]
            unreadable += len(chunk) - len(good)
            for found in predictions.unlabelled(predictor, good) if good else ():
                if found.text in seen:
                    repeated += 1
                    continue
                seen.add(found.text)
                entry = found.uncertainty, -len(seen), found
                (heapq.heappush if len(best) < most else heapq.heappushpop)(best, entry)
            advance(len(chunk))
    if not best:
        raise UserError(f"{source or 'stdin'}: no text to choose from; give texts without labels")
    if repeated:
        note(f"{repeated} texts occur more than once and are counted once")
    if unreadable:
        note(f"{unreadable} of the examples could not be parsed and are left out")
    if len(best) < count:
        note(f"there are only {len(best)} texts; all of them are printed")
    candidates = [found for *_, found in sorted(best, reverse=True)]
    return [
        {**own.example, "uncertainty": round(own.uncertainty, 6)} for own in diverse(candidates, count, seed)
    ]


def _chunks(rows: Iterator[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    return bounded(rows, _size, most=CHUNK, largest=LARGEST_CHUNK)


def _size(row: Row | BadRow) -> int:
    return sum(len(str(value)) for value in row.values.values()) if isinstance(row, Row) else 0


def diverse(candidates: Sequence[Unlabelled], count: int, seed: int) -> list[Unlabelled]:
    """Return different texts among uncertain ones.

    Args:
        candidates: the most uncertain first.
        count: number of texts that are wanted.
        seed: of k-means.
    """
    least = FEWEST_SHARE * candidates[min(count, len(candidates)) - 1].uncertainty
    candidates = [own for own in candidates if own.uncertainty >= least]
    if len(candidates) <= count:
        return candidates
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    from app.tasks.linear_baseline import tfidf

    try:
        features = tfidf().fit_transform([own.text.encode(errors="replace") for own in candidates])
    except ValueError:  # of scikit-learn, if there are no words at all
        return list(candidates[:count])
    weights = np.array([own.uncertainty for own in candidates])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct texts than clusters
        clusters = KMeans(count, n_init=1, random_state=seed).fit(features, sample_weight=weights + 1e-6)
    distances = clusters.transform(features)[np.arange(len(candidates)), clusters.labels_]
    chosen: dict[int, int] = {}
    for place in np.argsort(distances, kind="stable").tolist():
        chosen.setdefault(int(clusters.labels_[place]), place)
    places = set(chosen.values())
    # Equal vectors leave clusters empty: the most uncertain texts fill them.
    places |= set([place for place in range(len(candidates)) if place not in places][: count - len(places)])
    return [candidates[place] for place in sorted(places)]
