"""What the reports of several tasks show: scores of classes, confusions, and calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from app.page.blocks import Block, Figure, Paragraph, Table
from app.page.figures import COLOURS, figure

SHOWN = 12
"""Rows of a table of confusions."""


def score_table(scores: Mapping[str, Mapping[str, Any]], what: str, unit: str) -> Table:
    """Return precision, recall and F1 of each class, the lowest F1 first.

    Args:
        scores: `precision`, `recall`, `f1` and `support` of each class.
        what: what the classes are.
        unit: what `support` counts.
    """
    ranked = sorted(scores.items(), key=lambda item: item[1]["f1"])
    return Table(
        [what, "precision", "recall", "F1", unit],
        [
            [name, *(f"{own[key]:.3f}" for key in ("precision", "recall", "f1")), f"{own['support']:,}"]
            for name, own in ranked
        ],
        caption="Lowest F1 first",
    )


def confusion_figure(counts: np.ndarray, names: Sequence[str], what: str, caption: str) -> Figure:
    """Return the matrix of predicted classes by true class.

    Args:
        counts: float [C, C], true by predicted.
        names: of the classes.
        what: what a class is.
        caption: of the figure.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = float(np.clip(0.16 * len(names) + 2.2, 3.2, 15))

    def draw(axes: Any) -> None:
        image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
        ticks = range(len(names))
        font = 9 if len(names) <= 20 else 6
        shown = [_short(name) for name in names]
        # Names may have dollar signs, which are no formula.
        axes.set_xticks(ticks, shown, rotation=90, fontsize=font, parse_math=False)
        axes.set_yticks(ticks, shown, fontsize=font, parse_math=False)
        axes.set(xlabel="predicted", ylabel="true")
        axes.grid(visible=False)
        axes.figure.colorbar(image, ax=axes, label=f"share of the true {what}", shrink=0.6)
        if len(names) <= 12:
            for i, row in enumerate(counts):
                for j, count in enumerate(row):
                    shade = "black" if shares[i, j] > 0.5 else "white"
                    axes.text(j, i, f"{count:.0f}", ha="center", va="center", color=shade)

    return Figure(figure(draw, width=size + 1, height=size), caption)


def confusion_table(pairs: Sequence[tuple[int, str, str]], unit: str) -> Table:
    """Return the most frequent confusions.

    Args:
        pairs: number, true and predicted class, the most frequent first.
        unit: what the numbers count.
    """
    return Table(
        ["true", "predicted", unit],
        [[true, predicted, f"{count:,}"] for count, true, predicted in pairs[:SHOWN]],
        texts=2,
        caption="Most frequent confusions",
        more=len(pairs) - len(pairs[:SHOWN]),
    )


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}…"


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
