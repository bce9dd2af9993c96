"""Metrics of translations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.metrics import ACCURACY, BLEU, LOSS, PERPLEXITY, Metric
from app.tasks.translation.bleu import bleu

METRICS: tuple[Metric, ...] = (ACCURACY, PERPLEXITY, BLEU, LOSS)
"""The metrics that may select the best epoch."""


def corpus_scores(predicted: Sequence[str], references: Sequence[str], tokenizer: str) -> dict[str, Any]:
    """Compute BLEU, chrF (Popović 2015), both 0 to 100, and the share of exact matches.

    Args:
        predicted: translations.
        references: one for each.
        tokenizer: as of `bleu`.
    """
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    score, signature = bleu(predicted, references, tokenizer)
    return {
        "bleu": score,
        "chrf": float(chrf.corpus_score(predicted, [references]).score),
        "exact_match": float(np.mean([a == b for a, b in zip(predicted, references, strict=True)])),
        "signatures": {"bleu": signature, "chrf": str(chrf.get_signature())},
    }
