"""Tags of tokens: schemes that encode spans, transitions that they allow, and scores of spans."""

from data.tags.schemes import Scheme, SchemeDetector, SchemeError, Span, convert, spans
from data.tags.span_scores import Score, SpanScores
from data.tags.transitions import transitions

__all__ = [
    "Scheme",
    "SchemeDetector",
    "SchemeError",
    "Score",
    "Span",
    "SpanScores",
    "convert",
    "spans",
    "transitions",
]
