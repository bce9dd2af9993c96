"""The programs that are compared: their environments, and how their workers are started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rounds import Worker

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / ".bench"
"""Has a folder for each peer with an environment of its own, and the worktrees of earlier versions."""
TITLES = {
    "textrnn": "textrnn",
    "textrnn-keras": "textrnn, Keras's layers",
    "textrnn-graph": "textrnn, kernels of the graph",
    "before": "textrnn before",
    "keras": "Keras",
    "torch": "PyTorch",
    "onnx": "ONNX Runtime",
}
"""Programs with their titles. A colon after a name starts a note: `torch:ids given`."""
OWN_ENVIRONMENTS = ("torch", "onnx")
TRAINING_KERNELS = {"textrnn": "auto", "textrnn-keras": "keras", "before": None}
"""Value of `training.kernels`; None leaves it out, for versions without it."""
EXPORT_KERNELS = {"textrnn": "auto", "textrnn-graph": "tensorflow", "before": None}
"""Value of `--kernels` for an export."""
LAYER_KERNELS = {"textrnn": "native", "textrnn-keras": "keras", "textrnn-graph": "portable"}


def title(program: str) -> str:
    """Return the title of a program: `title("torch:ids given") -> "PyTorch, ids given"`."""
    name, _, note = program.partition(":")
    return f"{TITLES[name]}, {note}" if note else TITLES[name]


@dataclass(frozen=True)
class Programs:
    """The programs that take part."""

    chosen: frozenset[str]
    """Names in `TITLES`."""
    earlier: Path | None
    """Checkout of the earlier version."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Programs that cannot run, with the reason."""

    @classmethod
    def find(cls, wanted: frozenset[str], commit: str | None) -> Programs:
        """Return those of the wanted programs that can run here.

        Args:
            wanted: names in `TITLES`.
            commit: of the earlier version, which is checked out into a worktree of its own.
        """
        missing = {}
        for name in OWN_ENVIRONMENTS:
            if not (ENVIRONMENTS / name / "ready").is_file():
                missing[name] = "its environment could not be installed, see `make bench`"
        if commit is None:
            missing["before"] = "no earlier version is given with --before"
        found = wanted - missing.keys()
        earlier = _checkout(commit) if commit is not None and "before" in found else None
        return cls(found, earlier, {name: why for name, why in missing.items() if name in wanted})

    def start(self, program: str, job: Mapping[str, Any]) -> Worker:
        """Start the worker of a program with a job."""
        name = program.partition(":")[0]
        is_own = name in OWN_ENVIRONMENTS
        python = ENVIRONMENTS / name / "bin" / "python" if is_own else Path(sys.executable)
        script = f"{name if is_own or name == 'keras' else 'textrnn'}_worker.py"
        package = self.earlier if name == "before" else ROOT
        environment = {} if is_own else {"PYTHONPATH": str(package)}
        return Worker([python, Path(__file__).with_name(script)], job, environment)


def _checkout(commit: str) -> Path:
    """Return a checkout of a commit, made if it is missing."""
    git = ["git", "-C", str(ROOT)]
    name = subprocess.run(
        [*git, "rev-parse", "--short=12", f"{commit}^{{commit}}"], check=True, capture_output=True, text=True
    ).stdout.strip()
    path = ENVIRONMENTS / f"before-{name}"
    if not path.is_dir():
        subprocess.run([*git, "worktree", "prune"], check=True)
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(path), name], check=True)
    return path
