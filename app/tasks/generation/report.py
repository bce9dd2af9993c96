"""What the report of a run says of a language model: which tokens it foresees, and texts that it writes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from app.page.blocks import Block, Figure, MarkedText, Paragraph, Section
from app.page.figures import COLOURS, figure
from data.prepared import Dataset

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor
    from app.tasks.generation.inspection import GenerationInspection
    from app.tasks.generation.token_losses import Window

TEMPERATURES = (0.5, 0.8, 1.0)
LENGTH = 300
"""Tokens of a sample."""
MOST_TEXTS = 256
MOST_BYTES = 2**20
MOST_WINDOWS, LONGEST = 64, 256
"""Windows whose losses are measured, and their tokens."""
POSITIONS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Bounds of the groups of positions that a loss is the mean of."""
CONTEXT, STRETCH = 16, 100
"""Tokens of a window before its first stretch, and of a stretch."""
SHOWN = 3
HIGHEST = 8.0
"""Loss in nats that is shown in the full colour: a probability of 1 in 3,000."""
FEWEST = 4
"""Fewest windows that a mean is taken over."""


class Stretch(NamedTuple):
    """Some tokens of a window, and how well they were foreseen."""

    window: Window
    start: int

    @property
    def losses(self) -> np.ndarray:
        """Of its tokens, in nats."""
        return self.window.losses[self.start : self.start + STRETCH]

    @property
    def pieces(self) -> list[bytes]:
        """Its tokens."""
        return self.window.pieces[self.start : self.start + STRETCH]


def generation_report(
    predictor: Predictor, inspection: GenerationInspection, dataset: Dataset, split: str
) -> list[Section]:
    """Return the sections of a language model."""
    from app.tasks.generation.token_losses import windows

    read = windows(inspection, _texts(dataset, split), number=MOST_WINDOWS, longest=LONGEST)
    return [
        Section("Loss by position", list(_by_position(read))),
        Section("Likely and unlikely text", list(_stretches(read, inspection))),
        Section("Samples", list(_samples(predictor))),
    ]


def _texts(dataset: Dataset, split: str) -> list[bytes]:
    """Return some texts from the start of a split."""
    found: list[bytes] = []
    for batch in dataset.batches(split, size=MOST_TEXTS):
        for text in batch["text"]:
            if found and (len(found) == MOST_TEXTS or sum(map(len, found)) + len(text) > MOST_BYTES):
                return found
            found.append(text[:MOST_BYTES])
    return found


def _by_position(read: Sequence[Window]) -> Iterator[Block]:
    """Yield the mean loss of tokens by the number of tokens that were read before them."""
    if not read:
        return
    places = np.concatenate([np.arange(len(window.losses)) for window in read])
    losses = np.concatenate([window.losses for window in read])
    rows = []
    for first, end in itertools.pairwise(POSITIONS):
        own = losses[(places >= first) & (places < end)]
        if len(own) >= min(FEWEST, len(read)) and len(own):
            rows.append((first, float(own.mean())))

    def draw(axes: Any) -> None:
        axes.plot([first for first, _ in rows], [loss for _, loss in rows], color=COLOURS[0], marker=".")
        axes.set_xscale("symlog", linthresh=1)
        ticks = [first for first, _ in rows if first.bit_count() < 2]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel="tokens read before", ylabel="mean loss of a token, nats", ylim=(0, None))

    yield Paragraph(
        f"The mean loss is {rows[0][1]:.2f} nats for the first token and {rows[-1][1]:.2f} nats after "
        f"{rows[-1][0]} tokens or more. Where the curve becomes flat, a longer text does not help the model."
    )
    yield Figure(
        figure(draw, height=2.6),
        f"Loss by the number of tokens that the model has read, on {len(read)} passages of the text.",
    )


def _stretches(read: Sequence[Window], inspection: GenerationInspection) -> Iterator[Block]:
    """Yield the passages that the model foresees best and worst."""
    from app.tasks.generation.token_losses import shown

    found = [
        Stretch(window, start)
        for window in read
        for start in range(min(CONTEXT, len(window.losses) // 2), len(window.losses), STRETCH)
    ]
    whole = [own for own in found if len(own.losses) == STRETCH] or found
    ranked = sorted(whole, key=lambda own: float(own.losses.mean()))
    if not ranked:
        return
    yield Paragraph(
        "The stronger the colour of a token, the less the model expected it after those before it."
    )
    few = min(SHOWN, (len(ranked) + 1) // 2)
    for what, chosen in (("likely", ranked[:few]), ("unlikely", ranked[few:][::-1][:few])):
        for own in chosen:
            texts = shown(own.pieces, inspection.preprocessor)
            weights = np.minimum(own.losses / HIGHEST, 1.0)
            yield MarkedText(
                [(text, -float(weight)) for text, weight in zip(texts, weights, strict=True)],
                f"{what}: mean loss {own.losses.mean():.2f} nats per token",
            )


def _samples(predictor: Predictor) -> Iterator[Block]:
    sizes = len(TEMPERATURES)
    outputs = predictor.run(
        "serving_default",
        {
            "prompt": [b""] * sizes,
            "length": np.full(sizes, LENGTH, np.int32),
            "temperature": np.array(TEMPERATURES, np.float32),
            "top_k": np.zeros(sizes, np.int32),
            "top_p": np.ones(sizes, np.float32),
            "seed": np.arange(sizes, dtype=np.int32),
        },
    )
    for temperature, text in zip(TEMPERATURES, outputs["text"], strict=True):
        yield MarkedText([(text.decode(errors="replace"), 0.0)], f"temperature {temperature:g}")
