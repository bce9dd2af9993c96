"""The results of the benchmark as rows, and the rows as a table, as JSON and as a plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flops import product
from programs import title
from rounds import Spread, ratios
from workloads import Workload

OWN = "textrnn"
Turns = Mapping[str, Sequence[Mapping[str, Mapping[str, Any]]]]
"""By program: of each round the measurements by part."""


@dataclass(frozen=True)
class Row:
    """What one program reached in one part of a workload."""

    workload: str
    part: str
    program: str
    unit: str
    value: Spread
    speed: Spread | None
    """Speed of textrnn divided by that of this program, in the same rounds; None without textrnn."""
    gflops: float | None
    """10⁹ operations a second of the matrix products, padding not counted; None if they are not counted."""
    share: float | None
    """Part of the machine's rate, which was measured in the same rounds."""

    @property
    def name(self) -> str:
        """Workload and part."""
        return f"{self.workload} {self.part}".strip()

    def described(self) -> dict[str, Any]:
        """Return all values by name, for JSON."""
        return asdict(self)


def rows(workload: Workload, turns: Turns, machine: Sequence[float]) -> Iterator[Row]:
    """Yield the results of a workload, part by part.

    Args:
        workload: what was measured.
        turns: measurements of the programs.
        machine: seconds of the machine's product in the same rounds.
    """
    reference = OWN if OWN in turns else next(iter(turns))
    rate = product() / Spread.of(machine).median / 1e9
    for part in dict.fromkeys(part for found in turns.values() for part in found[0]):
        for program, found in turns.items():
            if part not in found[0]:
                continue
            measured = [one[part] for one in found]
            has_own = part in turns[reference][0]
            own = [one[part] for one in turns[reference]] if has_own else []
            gflops = None
            if workload.flops_of(part):
                gflops = Spread.of(one["tokens"] / one["seconds"] for one in measured).median
                gflops *= workload.flops_of(part) / 1e9
            yield Row(
                workload=workload.title,
                part=part,
                program=program,
                unit=workload.unit,
                value=Spread.of(_value(workload.unit, one) for one in measured),
                speed=ratios(_pace(measured), _pace(own)) if own and reference == OWN else None,
                gflops=gflops,
                share=None if gflops is None else gflops / rate,
            )


def _value(unit: str, measured: Mapping[str, Any]) -> float:
    if unit == "ms":
        return float(1000 * measured["seconds"])
    counted = "tokens" if unit == "characters/s" else "examples"
    return float(measured[counted] / measured["seconds"])


def _pace(measured: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the seconds of an example in each round."""
    return [one["seconds"] / one["examples"] for one in measured]


def table(found: Sequence[Row]) -> str:
    """Return a Markdown table."""
    lines = [
        "| what | program | median | range | textrnn against it | GFLOP/s | share of the product |",
        "|---|---|---|---|---|---|---|",
    ]
    before = ""
    for row in found:
        value, unit = row.value, row.unit
        cells = [
            row.name if row.name != before else "",
            title(row.program),
            f"{_number(value.median)} {unit}",
            f"{_number(value.lowest)} to {_number(value.highest)}",
            "–" if row.speed is None or row.program == OWN else f"{row.speed.median:.2f}",
            "–" if row.gflops is None else f"{row.gflops:.0f}" if row.gflops >= 10 else f"{row.gflops:.1f}",
            "–" if row.share is None else f"{row.share:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
        before = row.name
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def plot(found: Sequence[Row], path: Path) -> None:
    """Draw the share of the product's rate that each program reaches, and the speed against textrnn."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row.name for row in found))
    programs = list(dict.fromkeys(row.program for row in found))
    colours = dict(zip(programs, pyplot.colormaps["tab10"].colors, strict=False))
    figure, (left, right) = pyplot.subplots(1, 2, sharey=True, figsize=(13, 1 + 0.2 * len(found)))
    place, ticks = 0.0, {}
    for name in names:
        own = [row for row in found if row.name == name]
        ticks[name] = place + (len(own) - 1) / 2
        for row in own:
            colour = colours[row.program]
            if row.speed is not None:
                left.barh(place, 1 / row.speed.median, color=colour)
            if row.share is not None:
                right.barh(place, row.share, color=colour)
            place += 1
        place += 1
    left.set_yticks(list(ticks.values()), list(ticks))
    left.invert_yaxis()
    left.axvline(1, color="black", linewidth=0.8)
    left.set_xlabel("speed, textrnn = 1")
    right.set_xlabel("share of the rate of a matrix product")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colours[program]) for program in programs]
    figure.legend(handles, [title(program) for program in programs], loc="upper center", ncols=4)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.8 / figure.get_figheight()))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
