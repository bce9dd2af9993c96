"""Metrics of translations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.metrics import ACCURACY, BLEU, LOSS, PERPLEXITY, Metric

METRICS: tuple[Metric, ...] = (ACCURACY, PERPLEXITY, BLEU, LOSS)
"""The metrics that may select the best epoch."""


def validation_bleu(predicted: Sequence[str], references: Sequence[str]) -> float:
    """Compute BLEU with effective order, which tells epochs apart even if no translation has four words.

    Without it BLEU would be 0 for a perfect model of short texts, and higher for a model that says too much.
    """
    from sacrebleu.metrics.bleu import BLEU as SacreBLEU

    return float(SacreBLEU(effective_order=True).corpus_score(predicted, [references]).score)


def corpus_scores(predicted: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Compute BLEU (Papineni et al. 2002) and chrF (Popović 2015), 0 to 100, with sacrebleu (Post 2018)."""
    from sacrebleu.metrics.bleu import BLEU as SacreBLEU
    from sacrebleu.metrics.chrf import CHRF

    bleu, chrf = SacreBLEU(), CHRF()
    return {
        "bleu": bleu.corpus_score(predicted, [references]).score,
        "chrf": chrf.corpus_score(predicted, [references]).score,
        "signatures": {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())},
    }
