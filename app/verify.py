"""`textrnn verify`: an export proves itself before it is shipped."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.artifacts import replay
from app.artifacts.files import checksums
from app.artifacts.golden import GOLDEN, MAIN
from app.artifacts.operations import forbidden_operations
from app.artifacts.saved_model import SAVED_MODEL, described_signatures
from app.artifacts.warmup import read_warmup
from app.prediction.loading import EXPORT_MANIFEST, find_export
from app.tasks import TASKS
from app.verification.kernels import kernels, portability_problem
from data.errors import UserError

SMALLEST_GOLDEN_SET = 40
"""Texts."""
TIMEOUT = 1800
"""Seconds that the process which replays the golden set may take."""


@dataclass
class Check:
    """One thing that was looked at."""

    name: str
    said: str = ""
    """What was found, in a few words."""
    problems: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether it is as it should be."""
        return not self.problems


@dataclass(frozen=True)
class Report:
    """All that was looked at."""

    path: Path
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether the export can be shipped."""
        return all(check.passed for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The object of `verify --json`."""
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
        """What is printed: a line for each check, what is wrong below it, and the kernels as a table."""
        found = []
        for check in self.checks:
            found.append(f"{'ok' if check.passed else 'FAILED':8}{check.name:12}{check.said}".rstrip())
            found += [f"{'':20}{problem}" for problem in check.problems]
            for signature, row in check.details.get("signatures", {}).items():
                found.append(f"{'':20}{signature:18}CPU host: {row['cpu']:32}GPU host: {row['gpu']}")
        return found


def verify(path: Path, *, replay: bool = True) -> Report:
    """Looks at everything that can be known of an export on this machine.

    What the export is made of is looked at first, and nothing in it is run before its operations are known to
    compute answers alone. The golden set is replayed in a process of its own, without this project.

    Args:
        path: a version that `export` wrote, or the directory that holds versions, of which the newest counts.
        replay: whether the golden set is asked; without it nothing of the export is run.

    Raises:
        UserError: there is no SavedModel.
    """
    found = find_export(path)
    if found is None:
        raise UserError(
            f"{path}: no SavedModel, nor a directory of versions; expected what 'textrnn export' wrote"
        )
    path, manifest = found, _manifest(found)
    checks = [
        _check("manifest", _of_manifest, manifest),
        _check("checksums", _of_files, path, manifest),
        _check("operations", _of_operations, path),
        _check("signatures", _of_signatures, path, manifest),
        _check("kernels", _of_kernels, path, manifest),
        _check("warm-up", _of_warmup, path, manifest),
    ]
    if replay:
        trusted = next(check for check in checks if check.name == "operations").passed
        checks += _replayed(path, manifest) if trusted else [_not_run()]
    return Report(path, checks)


def _check(name: str, look: Callable[..., None], *arguments: Any) -> Check:
    check = Check(name)
    try:
        look(check, *arguments)
    except UserError as error:
        check.problems.append(str(error))
    return check


def _manifest(path: Path) -> dict[str, Any]:
    """The export's manifest; empty if there is none that can be read."""
    try:
        found = json.loads((path / EXPORT_MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _of_manifest(check: Check, manifest: dict[str, Any]) -> None:
    if not manifest:
        check.problems.append(
            f"no {EXPORT_MANIFEST} of an export: 'textrnn export' did not write this SavedModel"
        )
    elif manifest.get("task") not in TASKS:
        check.problems.append(f"task {manifest.get('task')!r}: expected one of {', '.join(TASKS)}")
    else:
        dataset = manifest.get("dataset")
        check.said = f"{manifest['task']} of {dataset}, {manifest.get('parameters', 0):,} parameters"


def _of_files(check: Check, path: Path, manifest: dict[str, Any]) -> None:
    expected = manifest.get("files", {})
    found = checksums(path)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            check.problems.append(f"{name} is missing")
        elif name not in expected:
            check.problems.append(f"{name} is not in the manifest")
        elif found[name] != expected[name]:
            check.problems.append(f"{name} was changed: its sha256 is not the manifest's")
    check.said = f"sha256 of {len(found)} files"


def _of_operations(check: Check, path: Path) -> None:
    check.problems += forbidden_operations(path)
    check.said = "" if check.problems else "nothing but computing: no files, no Python, no network"


def _of_signatures(check: Check, path: Path, manifest: dict[str, Any]) -> None:
    found = described_signatures(path)
    expected = manifest.get("signatures", {})
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            check.problems.append(f"signature {name!r} is missing")
        elif name not in expected:
            check.problems.append(f"signature {name!r} is not in the manifest")
        elif found[name] != expected[name]:
            check.problems.append(f"signature {name!r} is {found[name]}, in the manifest {expected[name]}")
    check.said = ", ".join(found)


def _of_kernels(check: Check, path: Path, manifest: dict[str, Any]) -> None:
    digest = manifest.get("files", {}).get(SAVED_MODEL)
    if digest and digest != checksums(path).get(SAVED_MODEL):
        # TensorFlow's optimizer ends the process on some graphs that are none.
        raise UserError(f"not looked at, since {SAVED_MODEL} was changed")
    expected = manifest.get("cudnn_layers", {})
    found = kernels(path)
    for name, of_signature in found.items():
        problem = portability_problem(of_signature, expected.get(name))
        if problem:
            check.problems.append(f"{name} {problem}")
    check.details["signatures"] = {
        name: {"cpu": _kernel_names(row.cpu), "gpu": _kernel_names(row.gpu)} for name, row in found.items()
    }
    portable = sum(bool(row.swappable) for row in found.values())
    check.said = f"each host has its own in {portable} of {len(found)} signatures"


def _kernel_names(count: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{number} × {name}" for name, number in count.items() if number) or "no recurrent kernel"
    )


def _of_warmup(check: Check, path: Path, manifest: dict[str, Any]) -> None:
    requests = Counter(request.model_spec.signature_name for request in read_warmup(path))
    for name in sorted(requests.keys() - manifest.get("signatures", {}).keys()):
        check.problems.append(f"a request asks for {name!r}, which is no signature of the export")
    if not requests:
        check.problems.append("no request to warm up with")
    check.said = f"{sum(requests.values())} requests for {len(requests)} signatures"


def _not_run() -> Check:
    return Check("golden set", "not replayed", ["the graph is not run before its operations are all allowed"])


def _replayed(path: Path, manifest: dict[str, Any]) -> list[Check]:
    """What a process without the project finds when it asks the golden set."""
    golden = Check("golden set")
    try:
        cases: Counter[str] = Counter()
        unsettled = 0
        for case in replay.read_cases(str(path / GOLDEN)):
            cases[case["signature"]] += 1
            unsettled += not case["settled"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        golden.problems.append(f"{GOLDEN} can't be read: {error}")
        return [golden]
    if cases[MAIN] < SMALLEST_GOLDEN_SET:
        problem = f"{MAIN} has {cases[MAIN]} answers; expected at least {SMALLEST_GOLDEN_SET}"
        golden.problems.append(problem)
    if not cases:
        return [golden]  # nothing to ask
    golden.problems += [
        f"it has no answer of {name}" for name in manifest.get("signatures", {}) if not cases[name]
    ]
    process = Check("alone")
    with tempfile.TemporaryDirectory() as elsewhere:
        try:
            done = subprocess.run(
                [sys.executable, "-I", replay.__file__, path.resolve(), (path / GOLDEN).resolve()],
                cwd=elsewhere,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            process.problems.append(f"the process that loads it took more than {TIMEOUT} seconds")
            return [process, golden]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        process.problems.append(f"it does not load and answer in a process of its own: {last}")
        return [process, golden]
    found = json.loads(done.stdout)
    process.said = f"loads without this project in TensorFlow {found['tensorflow']} and in a TF1 session"
    process.details = {"gpus": found["gpus"], "ran": found["ran"]}
    process.problems += [f"{name} was imported" for name in found["imported"]]
    if found["gpus"]:
        expected = manifest.get("cudnn_layers", {})
        for name, ran in found["ran"].items():
            if expected.get(name) and not ran.get("CudnnRNNV3 on GPU"):
                process.problems.append(f"{name} ran {ran or 'no recurrent kernel'} on a host with a GPU")
    ways = found["ways"]
    tolerance = {"absolute": replay.ABSOLUTE, "relative": replay.RELATIVE}
    golden.details = {"tolerance": tolerance, "unsettled": unsettled, "ways": ways}
    golden.problems += [problem for way in ways.values() for problem in way["wrong"]]
    largest = max(way["largest_difference"] for way in ways.values())
    golden.said = (
        f"{sum(cases.values())} answers {', '.join(ways)}; numbers to {largest:.0e} "
        f"(allowed: {replay.ABSOLUTE:.0e} + {replay.RELATIVE:.0e} of the value)"
    )
    if unsettled:
        were = "was" if unsettled == 1 else "were"
        golden.said += f"; {unsettled} {were} not compared: rounding decides the answer"
    return [process, golden]
