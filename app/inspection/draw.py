"""Pictures of a network and of a text, by Matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.inspection.attention import Attention
from app.pictures import picture

if TYPE_CHECKING:
    from app.inspection.context import Context
    from app.inspection.layers import LayerMeasure
    from app.inspection.memory import Memory
    from app.inspection.network import NetworkView
    from app.inspection.states import LayerStates
    from app.inspection.text import Explained, TextView

WIDTH = 8.0
"""Of a picture that has no column for each token, in inches."""
PER_TOKEN = 0.35
LOG_FROM = 20
"""Ratio of the largest norm to the smallest one from which the axis is logarithmic."""
FOR, AGAINST = "#0072b2", "#d55e00"
"""Blue and vermilion, which people who see few colours can tell apart (Okabe and Ito 2008)."""
LINES = (FOR, AGAINST, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

Panel = tuple[float, Callable[[Any], None]]
"""Height in inches, and what draws on the axes."""


def draw_network(view: NetworkView, output: Path) -> None:
    """Write a picture of the memory, the layers and their gates to a PNG or SVG file."""
    panels: list[Panel] = [
        (3.0, lambda axes: memory_panel(axes, view.memory)),
        (2.5, lambda axes: context_panel(axes, view.context)),
    ]
    if view.layers:
        panels.append((3.0, lambda axes: _layers(axes, view.layers)))
    if any(layer.gates for layer in view.layers):
        gates = sum(len(layer.gates) for layer in view.layers)
        panels.append((1.0 + 0.25 * gates, lambda axes: _gates(axes, view.layers)))
    _write(panels, output, WIDTH)


def draw_text(view: TextView, output: Path) -> None:
    """Write a picture of a text to a PNG or SVG file: of a translation its attention weights, if it has any.

    Else the influence of the tokens, the predictions from parts of the text, and for each layer and direction
    the hidden states and the mean of the gates.
    """
    if view.attention is not None:
        draw_attention(view.attention, output)
        return
    panels: list[Panel] = []
    if len(view.explained) == 1:
        panels.append((2.2, lambda axes: _influence(axes, view.explained[0])))
    elif view.explained:
        panels.append((1.0 + 0.3 * len(view.explained), lambda axes: _influences(axes, view.explained)))
    if view.prefixes:
        panels.append((2.2, lambda axes: _parts(axes, view)))
    for layer in view.layers:
        panels.append((2.6, partial(_states, layer)))
        if layer.gates:
            panels.append((2.2, partial(_means, layer)))
    sequences = [view.tokens, *(layer.tokens for layer in view.layers)]
    sequences += [own for explained in view.explained for own in explained.tokens.values()]
    _write(panels, output, max(WIDTH, 2.0 + PER_TOKEN * max(map(len, sequences))))


def draw_attention(found: Attention, output: Path) -> None:
    """Write a plot of attention weights: a column for each source token, a row for each target token."""

    def panel(axes: Any) -> None:
        axes.imshow(found.weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(found.source)), _printable(found.source), rotation=90, parse_math=False)
        axes.set_yticks(range(len(found.target)), _printable(found.target), parse_math=False)
        axes.xaxis.tick_top()

    height = 1.2 + 0.3 * len(found.target)
    _write([(height, panel)], output, 1.5 + PER_TOKEN * len(found.source))


def _write(panels: Sequence[Panel], output: Path, width: float) -> None:
    heights = [height for height, _ in panels]
    with picture(output, width, sum(heights)) as figure:
        rows = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
        for axes, (_, panel) in zip(rows, panels, strict=True):
            panel(axes)


def memory_panel(axes: Any, memory: Memory) -> None:
    """Draw the mean norm of the gradient by distance, with the distances that half of it is within."""
    curves = {
        f"{name} before" if len(memory.back) > 1 else "before": own for name, own in memory.back.items()
    }
    curves |= {} if memory.ahead is None else {"after": memory.ahead}
    for colour, (name, decay) in zip(LINES, curves.items(), strict=False):
        axes.plot(decay.norms, color=colour, label=f"{name}: half within {decay.half:.1f} tokens")
        axes.axvline(decay.half, color=colour, linestyle=":")
    where = "before it" if memory.ahead is None else "before and after it"
    _decay(axes, f"Gradient of an output with respect to the tokens {where}", "distance in tokens")


def context_panel(axes: Any, context: Context) -> None:
    """Draw the share of equal predictions by the number of tokens that are read."""
    axes.plot(context.tokens, 100 * context.same, color=FOR, marker="o", markersize=4)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(0, 105)
    axes.set_title("Predictions that stay the same if only the last tokens are read")
    axes.set_xlabel("tokens that are read")
    axes.set_ylabel("same predictions, %")
    axes.grid(alpha=0.3)


def _layers(axes: Any, layers: Sequence[LayerMeasure]) -> None:
    curves = [(layer, name, decay) for layer in layers for name, decay in layer.gradients.items()]
    for i, (layer, name, decay) in enumerate(curves):
        style = "--" if name == "memory" else "-"
        symbol = "c" if name == "memory" else "h"
        label = rf"{layer.name}: $\partial h_T/\partial {symbol}_t$"
        first = int(name == "memory")  # the last hidden state does not depend on the last c as an input
        distances = range(first, len(decay.norms))
        axes.plot(distances, decay.norms[first:], style, color=LINES[i % len(LINES)], label=label)
    _decay(
        axes, "Gradient of the last hidden state with respect to the states before it", "distance in steps"
    )


def _decay(axes: Any, title: str, distance: str) -> None:
    low, high = axes.dataLim.intervaly
    if high > LOG_FROM * low > 0:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set(title=title, xlabel=distance, ylabel="mean norm of the gradient")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _gates(axes: Any, layers: Sequence[LayerMeasure]) -> None:
    rows = [(f"{layer.name} {name}", own) for layer in layers for name, own in layer.gates.items()]
    places = np.arange(len(rows))
    closed, opened = (np.array([getattr(own, name) for _, own in rows]) for name in ("closed", "open"))
    axes.barh(places, closed, color=AGAINST, label="below 0.05")
    axes.barh(places, 1 - closed - opened, left=closed, color="#dddddd", label="between")
    axes.barh(places, opened, left=1 - opened, color=FOR, label="above 0.95")
    axes.set_yticks(places, [name for name, _ in rows], parse_math=False)
    axes.invert_yaxis()
    axes.set(title="Values of the gates", xlabel="share of the values", xlim=(0, 1))
    axes.legend(fontsize="small", loc="lower right")


def _influence(axes: Any, explained: Explained) -> None:
    ((name, values),) = explained.influence.items()
    axes.bar(range(len(values)), values, color=[FOR if value >= 0 else AGAINST for value in values])
    axes.axhline(0, color="black", linewidth=0.8)
    title = f"Influence on {explained.output}" if explained.output else "Influence on the output"
    axes.set_title(_printable([title])[0], parse_math=False)
    axes.set_ylabel("log-odds")
    _label_tokens(axes, explained.tokens[name])


def _influences(axes: Any, explained: Sequence[Explained]) -> None:
    (name,) = explained[0].influence
    values = np.stack([own.influence[name] for own in explained])
    limit = float(np.abs(values).max()) or 1.0
    image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    outputs = _printable([f"{own.token} {own.output}" for own in explained])
    axes.set_yticks(range(len(outputs)), outputs, parse_math=False)
    axes.set_title("Influence of each token on the tag of each token")
    axes.figure.colorbar(image, ax=axes, label="log-odds")
    _label_tokens(axes, explained[0].tokens[name])


def _parts(axes: Any, view: TextView) -> None:
    for parts, colour, label in (
        (view.prefixes, FOR, "read up to the token"),
        (view.suffixes, AGAINST, "read from the token on"),
    ):
        if parts:
            axes.plot([part.final for part in parts], "o-", color=colour, label=label, markersize=3)
    axes.set(
        title="Probability of what is predicted from the whole text", ylabel="probability", ylim=(0, 1.02)
    )
    axes.legend(fontsize="small")
    _label_tokens(axes, view.tokens)


def _states(layer: LayerStates, axes: Any) -> None:
    values = layer.states["hidden"].T
    limit = float(np.abs(values).max()) or 1.0
    image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    axes.set(title=f"Hidden state of {layer.name}{_reading(layer)}", ylabel="unit")
    axes.figure.colorbar(image, ax=axes)
    _label_tokens(axes, layer.tokens)


def _means(layer: LayerStates, axes: Any) -> None:
    for colour, (name, values) in zip(LINES, layer.gates.items(), strict=False):
        axes.plot(values.mean(axis=1), "o-", color=colour, label=name, markersize=3)
    axes.set(title=f"Gates of {layer.name}, mean over units", ylabel="value", ylim=(0, 1.02))
    axes.legend(fontsize="small")
    _label_tokens(axes, layer.tokens)


def _reading(layer: LayerStates) -> str:
    return ", which reads from the end" if layer.backward else ""


def _label_tokens(axes: Any, tokens: Sequence[str]) -> None:
    axes.set_xticks(range(len(tokens)), _printable(tokens), rotation=90, parse_math=False)
    axes.set_xlim(-0.5, len(tokens) - 0.5)


def _printable(tokens: Sequence[str]) -> list[str]:
    """Return tokens with white space and control characters as escapes."""
    return [token if token.isprintable() else repr(token)[1:-1] for token in tokens]
