"""The baseline of taggers: a linear-chain CRF for tags, and logistic regression for labels."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.tasks.base import Evaluation, Split
from app.tasks.labels import label_ids
from app.tasks.linear_baseline import logistic_regression, tfidf
from app.tasks.tagging.examples import learned, tag_names
from app.tasks.tagging.facts import TaggingFacts
from app.tasks.tagging.scores import TagScore

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

ITERATIONS = 50
"""Steps of L-BFGS."""
MOST_WORK = 2_000_000_000
"""Most tokens × squared number of tags, to which the time of a step is proportional. Of more training
examples the baseline uses the first ones."""
MOST_TOKENS = 2**21
"""Their features are in memory, so that there are also at most about so many tokens."""
AFFIXES = 4
"""Characters of the longest prefix and suffix."""


def linear_baseline(train: Split, test: Split, facts: TaggingFacts, predictor: Predictor) -> Evaluation:
    """Train and evaluate a CRF (Lafferty et al. 2001), and for labels a logistic regression.

    Returns:
        accuracy; span F1 if tags encode spans; label accuracy and exact matches if both splits have labels.
    """
    import pycrfsuite
    from sklearn.pipeline import make_pipeline

    preprocessing = predictor.info.preprocessing
    labels = preprocessing.labels if "label" in test[0].names else ()
    trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
    trainer.set_params({"c1": 0.1, "c2": 0.01, "max_iterations": ITERATIONS})
    texts: list[bytes] = []
    targets: list[np.ndarray] = []
    tokens_left = min(MOST_WORK // len(preprocessing.vocabularies["tags"]) ** 2, MOST_TOKENS)
    for batch in train[1]:
        for tokens, tags in zip(batch["tokens"], tag_names(batch, train[0]), strict=True):
            if len(tokens):
                trainer.append(token_features(_decoded(tokens)), learned(tags, facts.tag_scheme))
                tokens_left -= len(tokens)
        if labels:
            texts += map(b" ".join, batch["tokens"])
            targets.append(label_ids(batch, train[0], labels))
        if tokens_left <= 0:
            break
    tagger = pycrfsuite.Tagger()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tags.crfsuite"
        trainer.train(str(file))
        tagger.open(str(file))  # which reads all of it
    labeller = None
    if labels:
        labeller = make_pipeline(tfidf(), logistic_regression(predictor))
        labeller.fit(texts, np.concatenate(targets))
    score = TagScore(facts)
    for batch in test[1]:
        correct: Sequence[bool | None] = [None] * len(batch["tokens"])
        if labeller is not None:
            truth = label_ids(batch, test[0], labels)
            correct = (labeller.predict(list(map(b" ".join, batch["tokens"]))) == truth).tolist()
        for tokens, tags, own in zip(batch["tokens"], tag_names(batch, test[0]), correct, strict=True):
            found = tagger.tag(token_features(_decoded(tokens)))
            score.add(learned(tags, facts.tag_scheme), found, own)
    metrics = score.metrics()
    names = ("accuracy", "span_f1", "label_accuracy", "exact_match")
    kept = {name: metrics[name] for name in names if name in metrics}
    return Evaluation(kept, score.outcomes())


def _decoded(tokens: Sequence[bytes]) -> list[str]:
    return [token.decode(errors="replace") for token in tokens]


def _shape(token: str) -> str:
    """Return the shape of a token: `_shape("Covid-19") -> "Xx-d"`."""
    kinds = ("d" if c.isdecimal() else "X" if c.isupper() else "x" if c.isalpha() else c for c in token)
    return "".join(kind for kind, _ in itertools.groupby(kinds))


def token_features(tokens: Sequence[str]) -> list[list[str]]:
    """Return the features of each token: its word, affixes and shape, and the words next to it.

    `token_features(["An", "Ant"])[1] -> ["word=Ant", "lower=ant", "shape=Xx", "prefix=a", …, "pair=an ant"]`
    """
    lower = [token.lower() for token in tokens]
    shapes = [_shape(token) for token in tokens]
    found = []
    for i, (token, low) in enumerate(zip(tokens, lower, strict=True)):
        own = ["bias", f"word={token}", f"lower={low}", f"shape={shapes[i]}"]
        for size in range(1, min(AFFIXES, len(low)) + 1):
            own += [f"prefix={low[:size]}", f"suffix={low[-size:]}|"]
        for name, place in (("before", i - 1), ("after", i + 1)):
            if 0 <= place < len(tokens):
                near = lower[place]
                own += [f"{name}={near}", f"{name}:suffix={near[-3:]}", f"{name}:shape={shapes[place]}"]
                own.append(f"{name}:pair={low} {near}")
            else:
                own.append(f"{name}:none")
        found.append(own)
    return found
