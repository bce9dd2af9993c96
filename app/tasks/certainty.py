"""Figures of how true the probabilities of labels are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from app.page.blocks import Block, Figure, Paragraph
from app.page.figures import COLOURS, figure


def certainty_blocks(result: Mapping[str, Any], prefix: str = "") -> Iterator[Block]:
    """Yield how true the probabilities of labels are.

    Args:
        result: of `evaluate`.
        prefix: of the names of the metrics.
    """
    bins, curve = result[f"{prefix}reliability"], result.get(f"{prefix}risk_coverage", [])
    error = result[f"{prefix}expected_calibration_error"]
    yield Paragraph(
        f"Expected calibration error {error:.4f}. Where the points lie on the line, the model is right as "
        "often as it says."
    )

    def reliability(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=COLOURS[2], ls=":")
        sizes = np.array([own["examples"] for own in bins], float)
        axes.scatter(
            [own["confidence"] for own in bins],
            [own["accuracy"] for own in bins],
            s=20 + 180 * sizes / max(sizes.max(initial=1), 1),
            color=COLOURS[0],
            alpha=0.7,
        )
        axes.set(xlabel="probability", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.05))

    def both(axes: Any) -> None:
        reliability(axes[0])
        axes[1].plot(
            [100 * own["coverage"] for own in curve],
            [100 * own["risk"] for own in curve],
            color=COLOURS[1],
            marker=".",
        )
        axes[1].set(xlabel="share of the texts that get a label, %", ylabel="wrong labels, %", ylim=(0, None))

    if curve:
        yield Figure(
            figure(both, panels=2),
            "Left: probability and truth; larger points are more texts. Right: wrong labels if only the most "
            "certain texts get one.",
        )
    else:
        yield Figure(figure(reliability, width=3.6), "Probability and truth; larger points are more texts.")
