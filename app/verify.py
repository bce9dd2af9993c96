"""`textrnn verify`: check an export before it is shipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.prediction.loading import find_export
from app.verification.checks import Check, native_check, replay_checks, static_checks
from data.errors import UserError


@dataclass(frozen=True)
class Report:
    """All checks of an export."""

    path: Path
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return the object of `verify --json`."""
        return {
            "export": str(self.path),
            "passed": self.passed,
            "checks": [
                {
                    "name": check.name,
                    "passed": check.passed,
                    "said": check.said,
                    "problems": check.problems,
                    **check.details,
                }
                for check in self.checks
            ],
        }

    def lines(self) -> list[str]:
        """Return the printed report: a line for each check, its problems, and a table of kernels."""
        found = []
        for check in self.checks:
            found.append(f"{'ok' if check.passed else 'FAILED':8}{check.name:12}{check.said}".rstrip())
            found += [f"{'':20}{problem}" for problem in check.problems]
            for signature, row in check.details.get("signatures", {}).items():
                found.append(f"{'':20}{signature:18}CPU host: {row['cpu']:32}GPU host: {row['gpu']}")
        return found


def verify(path: Path, *, replay: bool = True) -> Report:
    """Check an export on this machine: checksums, operations, kernels, and replay of its golden outputs.

    Files and graph are checked first. The graph is run only if all its operations are allowed, in a separate
    process that cannot import this project. If the outputs are the golden ones, the graph with native kernels
    is run here.

    Args:
        path: a version that `export` wrote, or the directory of several versions; the newest is used.
        replay: whether to replay the golden set; without it the graph is not run.

    Raises:
        UserError: there is no SavedModel.
    """
    found = find_export(path)
    if found is None:
        raise UserError(
            f"{path}: no SavedModel, nor a directory of versions. "
            "Pass a directory created by 'textrnn export'."
        )
    checks = static_checks(found)
    if replay:
        trusted = next(check for check in checks if check.name == "operations").passed
        checks += replay_checks(found, trusted=trusted)
        if checks[-1].passed:
            checks.append(native_check(found))
    return Report(found, checks)
