"""Tags of tokens: schemes that encode spans, transitions that they allow, and scores of spans."""

from data.tags.detection import Detection, Place, Places, SchemeDetector
from data.tags.schemes import OUTSIDE, Scheme, Span, convert, parse_tag, spans
from data.tags.span_scores import Score, SpanScores
from data.tags.transitions import transitions

__all__ = [
    "OUTSIDE",
    "Detection",
    "Place",
    "Places",
    "Scheme",
    "SchemeDetector",
    "Score",
    "Span",
    "SpanScores",
    "convert",
    "parse_tag",
    "spans",
    "transitions",
]
