"""The hidden state after each token of a text, as exports have it in their signature `states`.

`text` string [B] → `tokens` string [B, T]; `start`, `end` int32 [B, T], in characters; `length` int32 [B];
`states` float [B, T, N], the output of N units of the top recurrent layer after each token; `units` string
[B, N], their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from app.tasks.base import Explanation

if TYPE_CHECKING:
    import keras

    from models.layers.recurrent import RecurrentStack

MOST_UNITS = 32
DIGITS = 4


def shown_units(stack: RecurrentStack, head: keras.layers.Dense) -> dict[str, int]:
    """Return the index of each unit that `states` has, by its name; none without recurrent layers.

    Of each direction they are those that the output depends on most, in their order: `{"forward 3": 2, …}`.
    The directions of a layer that are not concatenated have no units of their own: `unit 3`.

    Args:
        stack: the recurrent layers.
        head: the dense layer that reads their output.
    """
    from models.hidden_units import unit_weights

    if stack.output_size is None:
        return {}
    size = stack.settings.units
    weights = unit_weights(head.kernel.numpy(), stack.output_size)
    names = ["unit" if stack.settings.bidirectional else "forward"]
    if stack.output_size > size:
        names = ["forward", "backward"]
    found: dict[str, int] = {}
    for place, name in enumerate(names):
        own = weights[place * size : (place + 1) * size]
        best = np.sort(np.argsort(-own, kind="stable")[: MOST_UNITS // len(names)])
        found |= {f"{name} {i + 1}": place * size + i for i in best.tolist()}
    return found


def _to_json(row: Mapping[str, Any]) -> dict[str, Any]:
    length = int(row["length"])
    columns = (row[key][:length].tolist() for key in ("tokens", "start", "end"))
    return {
        "tokens": [
            {"text": text.decode(errors="replace"), "start": start, "end": end}
            for text, start, end in zip(*columns, strict=True)
        ],
        "units": [unit.decode() for unit in row["units"]],
        "states": np.round(row["states"][:length].T, DIGITS).tolist(),
    }


STATES = Explanation("states", _to_json)
