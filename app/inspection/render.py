"""Tables of a network and of a text for a terminal, in colour where it has any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text as Styled

from app.terminal.console import make_console
from app.terminal.printable import json_line, one_line

if TYPE_CHECKING:
    from app.inspection.context import Context
    from app.inspection.memory import Decay
    from app.inspection.network import NetworkView
    from app.inspection.parts import Part
    from app.inspection.states import LayerStates
    from app.inspection.text import Explained, TextView

WIDEST = 1000
BAR = 30
"""Widest bar, in characters."""
MOST_UNITS = 48
"""Most units of a heat map: those that change most."""
MOST_TOKENS = 4
"""Most tokens that are named for one of several outputs."""
FOR, AGAINST = "rgb(0,114,178)", "rgb(213,94,0)"
SHADES = " ░▒▓█"


def show_network(view: NetworkView) -> None:
    """Print the memory, the layers, their gates and their matrices."""
    console = _console()
    console.print(f"{view.task} · {view.where} · {view.rows:,} validation examples\n")
    curves = {f"{name}, back": own for name, own in view.memory.back.items()}
    curves |= {} if view.memory.ahead is None else {"ahead": view.memory.ahead}
    for name, decay in curves.items():
        console.print(f"gradient of the {view.what} by distance: {name}")
        console.print(_bars(decay))
    console.print("predictions that stay the same if only the last tokens are read")
    console.print(_context(view.context))
    for layer in view.layers:
        for name, decay in layer.gradients.items():
            symbol = "c" if name == "memory" else "h"
            console.print(f"{layer.name}: ∂h_T/∂{symbol}_t by the distance T - t")
            console.print(_bars(decay))
    _show_gates(console, view)
    _show_matrices(console, view)
    for sentence in view.sentences():
        console.print(sentence)


def show_text(view: TextView) -> None:
    """Print the prediction of a text, the influence of its tokens, and what the layers hold."""
    console = _console()
    console.print(json_line(view.prediction))
    if len(view.explained) == 1:
        _show_influence(console, view, view.explained[0])
    elif view.explained:
        _show_outputs(console, view)
    if view.prefixes and not any(
        own == view.tokens for explained in view.explained for own in explained.tokens.values()
    ):
        _show_next(console, view.prefixes)
    for layer in view.layers:
        _show_states(console, layer)


def _console() -> Console:
    """Return a console that does not cut the lines of a table: a long line is better."""
    console = make_console()
    console.width = max(console.width, WIDEST)
    return console


def _bars(decay: Decay) -> Table:
    """Return the norms at some distances, with bars relative to the largest one."""
    from app.inspection.memory import DISTANCES

    table = _table("distance", "norm", "", left=(2,))
    largest = float(decay.norms.max(initial=0.0)) or 1.0
    for distance in DISTANCES:
        if distance < len(decay.norms):
            norm = float(decay.norms[distance])
            table.add_row(str(distance), f"{norm:.3g}", Styled(_bar(norm / largest), FOR))
    return table


def _context(context: Context) -> Table:
    """Return the shares of equal predictions by the number of tokens that are read."""
    table = _table("tokens", "same", "", left=(2,))
    for tokens, same in zip(context.tokens, context.same, strict=True):
        table.add_row(str(tokens), f"{same:.1%}", Styled(_bar(float(same)), FOR))
    return table


def _bar(share: float) -> str:
    """Return a bar for a share from 0 to 1, in eighths of a character."""
    eighths = round(share * BAR * 8)
    return f"{'█' * (eighths // 8)}{('', *'▏▎▍▌▋▊▉')[eighths % 8]}"


def _show_gates(console: Console, view: NetworkView) -> None:
    if any(layer.gates for layer in view.layers):
        table = _table("gate", "mean", "below 0.05", "above 0.95")
        for layer in view.layers:
            for name, own in layer.gates.items():
                table.add_row(
                    f"{layer.name} {name}", f"{own.mean:.2f}", f"{own.closed:.1%}", f"{own.open:.1%}"
                )
        console.print(table)
        console.print()


def _show_matrices(console: Console, view: NetworkView) -> None:
    if any(view.matrices.values()):
        table = _table("recurrent matrix", "spectral radius", "spectral norm", "Frobenius norm")
        for layer, matrices in view.matrices.items():
            for name, own in matrices.items():
                table.add_row(f"{layer} {name}", *(f"{value:.3f}" for value in own))
        console.print(table)
        console.print()


def _show_influence(console: Console, view: TextView, explained: Explained) -> None:
    """Print a row for each token: its influence, and what is predicted from the parts at it."""
    of = f" on {explained.output}" if explained.output else ""
    console.print(f"\ninfluence of each token{of}, in log-odds")
    for name, values in explained.influence.items():
        tokens = explained.tokens[name]
        console.print(_coloured(tokens, values))
        own_parts = tokens == view.tokens
        columns = ["token", "influence", ""]
        columns += ["read up to here", ""] if own_parts and view.prefixes else []
        columns += ["read from here on", ""] if own_parts and view.suffixes else []
        columns += ["if unknown", ""] if own_parts and view.without else []
        table = _table(*columns, left=(2, 3, 5, 7))
        largest = float(np.abs(values).max(initial=0.0)) or 1.0
        for i, (token, value) in enumerate(zip(tokens, values, strict=True)):
            style = FOR if value >= 0 else AGAINST
            cells: list[str | Styled] = [
                one_line(token), f"{value:+.3f}", Styled(_bar(abs(value) / largest), style)
            ]  # fmt: skip
            for parts in (view.prefixes, view.suffixes, view.without):
                if own_parts and parts:
                    cells += [one_line(parts[i].prediction), f"{parts[i].probability:.0%}"]
            table.add_row(*cells)
        console.print(table)
    if explained.difference is not None:
        total = sum(float(own.sum()) for own in explained.influence.values())
        console.print(
            f"sum {total:+.4f}; the score of the text less that of unknown tokens {explained.difference:+.4f}"
        )
    if view.decisive is not None:
        part = view.without[view.decisive]
        console.print(
            f"most depends on token {view.decisive + 1}, {one_line(part.token)}: if it were unknown, the "
            f"prediction would be {one_line(part.prediction)}, {part.probability:.0%}"
        )


def _show_outputs(console: Console, view: TextView) -> None:
    """Print a row for each output: what is predicted from parts, and the tokens with the most influence."""
    console.print("\noutput of each token, and the tokens with the most influence on it, in log-odds")
    later = ["read from here on", ""] if view.suffixes else []
    table = _table("token", "output", "read up to here", "", *later, "influence", left=(1, 2, 4, 6))
    for i, own in enumerate(view.explained):
        cells: list[str | Styled] = [one_line(own.token), one_line(own.output)]
        for parts in (view.prefixes, view.suffixes):
            if parts:
                cells += [one_line(parts[i].prediction), f"{parts[i].probability:.0%}"]
        ((name, values),) = own.influence.items()
        most = np.argsort(-np.abs(values), kind="stable")[:MOST_TOKENS]
        named = [
            (
                f"{one_line(own.tokens[name][place])} {values[place]:+.2f} ",
                FOR if values[place] >= 0 else AGAINST,
            )
            for place in most
        ]
        table.add_row(*cells, Styled.assemble(*named))
    console.print(table)


def _show_next(console: Console, prefixes: Sequence[Part]) -> None:
    """Print what is predicted after each token of an output sequence."""
    console.print()
    table = _table("written up to here", "next token", "", left=(1,))
    for part in prefixes:
        table.add_row(one_line(part.token), one_line(part.prediction), f"{part.probability:.0%}")
    console.print(table)


def _coloured(tokens: Sequence[str], values: np.ndarray) -> Styled:
    """Return a text whose tokens have a background: blue for the output, orange against it."""
    largest = float(np.abs(values).max(initial=0.0)) or 1.0
    found = Styled()
    for token, value in zip(tokens, values, strict=True):
        share = abs(float(value)) / largest
        full = (0, 114, 178) if value >= 0 else (213, 94, 0)
        red, green, blue = (round(255 + (own - 255) * share) for own in full)
        ink = "white" if share > 0.5 else "black"
        found.append(one_line(token), f"{ink} on rgb({red},{green},{blue})")
        found.append(" ")
    return found


def _show_states(console: Console, layer: LayerStates) -> None:
    """Print a heat map of the hidden state, a row for each token, and the means of the gates."""
    hidden = layer.states["hidden"]
    units = np.sort(np.argsort(-hidden.std(axis=0), kind="stable")[:MOST_UNITS])
    order = " (reads from the end)" if layer.backward else ""
    of = f", the {len(units)} units that change most" if len(units) < hidden.shape[1] else ""
    console.print(f"\n{layer.name}{order}: hidden state{of}; blue above 0, orange below")
    table = _table("token", "hidden state", *layer.gates, left=(1,))
    largest = float(np.abs(hidden).max()) or 1.0
    for i, token in enumerate(layer.tokens):
        cells = Styled()
        for value in hidden[i, units]:
            shade = SHADES[min(int(abs(value) / largest * len(SHADES)), len(SHADES) - 1)]
            cells.append(shade, FOR if value >= 0 else AGAINST)
        means = (f"{own[i].mean():.2f}" for own in layer.gates.values())
        table.add_row(one_line(token), cells, *means)
    console.print(table)


def _table(*columns: str, left: Sequence[int] = ()) -> Table:
    """Return a table; numbers are on the right, the first column and those of `left` on the left."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 or i in left else "right", no_wrap=True)
    return table
