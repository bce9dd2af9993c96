"""The checks of `textrnn verify`; each adds what is wrong to a `Check`."""

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

import tensorflow as tf

from app.artifacts import replay
from app.artifacts.exchange import load_exchanged
from app.artifacts.files import checksums
from app.artifacts.golden import GOLDEN, MAIN
from app.artifacts.manifests import EXPORT_MANIFEST, ExportManifest, read_export_manifest
from app.artifacts.operations import forbidden_operations
from app.artifacts.saved_model import SAVED_MODEL, described_signatures
from app.artifacts.warmup import read_warmup
from app.prediction.exchange import disagreement, signatures_of
from app.tasks import TASKS
from app.verification.kernels import kernels, portability_problem
from data.errors import UserError
from models.kernels.choice import choose

SMALLEST_GOLDEN_SET = 40
"""Number of texts that a golden set must have at least."""
TIMEOUT = 1800
"""Seconds that the replay of the golden set may take."""


@dataclass
class Check:
    """The result of one check."""

    name: str
    said: str = ""
    """What was found, in a few words."""
    problems: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no problem was found."""
        return not self.problems


def static_checks(path: Path) -> list[Check]:
    """Check everything about an export that needs no call of its graph.

    Args:
        path: directory of one version.

    Returns:
        a check each of `manifest`, `checksums`, `operations`, `signatures`, `kernels` and `warm-up`.
    """
    manifest: ExportManifest | None = None

    def of_manifest(check: Check) -> None:
        nonlocal manifest
        manifest = read_export_manifest(path)
        _check_manifest(check, manifest)

    def compared(look: Callable[[Check, Path, ExportManifest], None]) -> Callable[[Check], None]:
        def run(check: Check) -> None:
            if manifest is None:
                raise UserError(f"not checked: {EXPORT_MANIFEST} is missing or invalid")
            look(check, path, manifest)

        return run

    return [
        _run("manifest", of_manifest),
        _run("checksums", compared(_check_files)),
        _run("operations", lambda check: _check_operations(check, path)),
        _run("signatures", compared(_check_signatures)),
        _run("kernels", lambda check: _check_kernels(check, path, manifest)),
        _run("warm-up", compared(_check_warmup)),
    ]


def replay_checks(path: Path, *, trusted: bool) -> list[Check]:
    """Replay the golden set of an export in a separate process that cannot import this project.

    Args:
        path: directory of one version.
        trusted: whether all its operations are allowed; otherwise nothing is run.

    Returns:
        the checks `alone`, where a process was started, and `golden set`.
    """
    golden = Check("golden set")
    if not trusted:
        golden.said = "not replayed"
        golden.problems.append("the graph is not run: it has operations that are not allowed")
        return [golden]
    try:
        manifest = read_export_manifest(path)
    except UserError:
        golden.said = "not replayed"
        golden.problems.append(f"not replayed: {EXPORT_MANIFEST} is missing or invalid")
        return [golden]
    return _replayed(golden, path, manifest)


def native_check(path: Path) -> Check:
    """Compare the outputs of the native kernels with the golden set, where they can run.

    Args:
        path: directory of one version; all its operations are allowed.
    """
    check = Check("native")
    choice = choose("auto")
    if choice.kernels != "native":
        check.said = f"not run: {choice.reason}"
        return check
    try:
        loaded = load_exchanged(path)
    except (OSError, ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        check.problems.append(f"the graph cannot be exchanged: {error}")
        return check
    signatures = {} if loaded is None else signatures_of(loaded)
    found = (disagreement(path, name, function) for name, function in signatures.items())
    check.problems += filter(None, found)
    check.said = (
        f"{choice.reason}: golden outputs of {len(signatures)} signatures in batches"
        if signatures
        else "the graph has no layer that the native kernels compute"
    )
    return check


def _run(name: str, look: Callable[[Check], None]) -> Check:
    check = Check(name)
    try:
        look(check)
    except UserError as error:
        check.problems.append(str(error))
    return check


def _check_manifest(check: Check, manifest: ExportManifest) -> None:
    if manifest.task not in TASKS:
        check.problems.append(f"task {manifest.task!r} is unknown; expected one of {', '.join(TASKS)}")
    check.said = f"{manifest.task} model of {manifest.dataset}, {manifest.parameters:,} parameters"


def _check_files(check: Check, path: Path, manifest: ExportManifest) -> None:
    found = checksums(path)
    for name in sorted(manifest.files.keys() | found.keys()):
        if name not in found:
            check.problems.append(f"{name} is missing")
        elif name not in manifest.files:
            check.problems.append(f"{name} is not listed in the manifest")
        elif found[name] != manifest.files[name]:
            check.problems.append(f"{name} was changed: its sha256 differs from the manifest")
    check.said = f"sha256 of {len(found)} files"


def _check_operations(check: Check, path: Path) -> None:
    check.problems += forbidden_operations(path)
    check.said = "" if check.problems else "computation only: no files, no Python, no network"


def _check_signatures(check: Check, path: Path, manifest: ExportManifest) -> None:
    found = described_signatures(path)
    expected = {
        name: {"inputs": signature.inputs, "outputs": signature.outputs}
        for name, signature in manifest.signatures.items()
    }
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            check.problems.append(f"signature {name!r} is missing")
        elif name not in expected:
            check.problems.append(f"signature {name!r} is not listed in the manifest")
        elif found[name] != expected[name]:
            check.problems.append(f"signature {name!r} is {found[name]}, in the manifest {expected[name]}")
    check.said = ", ".join(found)


def _check_kernels(check: Check, path: Path, manifest: ExportManifest | None) -> None:
    digest = manifest.files.get(SAVED_MODEL) if manifest else None
    if digest and digest != checksums(path).get(SAVED_MODEL):
        # TensorFlow's graph optimizer aborts the process on some damaged graphs.
        raise UserError(f"not checked: {SAVED_MODEL} was changed")
    found = kernels(path)
    for name, of_signature in found.items():
        expected = manifest.signatures.get(name) if manifest else None
        problem = portability_problem(of_signature, expected.cudnn_layers if expected else None)
        if problem:
            check.problems.append(f"{name} {problem}")
    check.details["signatures"] = {
        name: {"cpu": _kernel_names(row.cpu), "gpu": _kernel_names(row.gpu)} for name, row in found.items()
    }
    portable = sum(bool(row.swappable) for row in found.values())
    check.said = f"{portable} of {len(found)} signatures use the host's own recurrent kernel (CPU or cuDNN)"


def _kernel_names(count: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{number} × {name}" for name, number in count.items() if number) or "no recurrent kernel"
    )


def _check_warmup(check: Check, path: Path, manifest: ExportManifest) -> None:
    requests = Counter(request.model_spec.signature_name for request in read_warmup(path))
    for name in sorted(requests.keys() - manifest.signatures.keys()):
        check.problems.append(f"a request names the signature {name!r}, which the export does not have")
    if not requests:
        check.problems.append("there are no warm-up requests")
    check.said = f"{sum(requests.values())} requests for {len(requests)} signatures"


def _replayed(golden: Check, path: Path, manifest: ExportManifest) -> list[Check]:
    try:
        cases: Counter[str] = Counter()
        unsettled = 0
        for case in replay.read_cases(str(path / GOLDEN)):
            cases[case["signature"]] += 1
            unsettled += not case["settled"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        golden.problems.append(f"{GOLDEN} cannot be read: {error}")
        return [golden]
    if cases[MAIN] < SMALLEST_GOLDEN_SET:
        golden.problems.append(f"{MAIN} has {cases[MAIN]} cases; expected at least {SMALLEST_GOLDEN_SET}")
    if not cases:
        return [golden]
    golden.problems += [f"there is no case of {name}" for name in manifest.signatures if not cases[name]]
    process = Check("alone")
    try:
        done = _run_replay(path)
    except subprocess.TimeoutExpired:
        process.problems.append(f"the replay took more than {TIMEOUT} seconds")
        return [process, golden]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        process.problems.append(f"loading or calling it in a separate process failed: {last}")
        return [process, golden]
    _check_process(process, found := json.loads(done.stdout), manifest)
    _check_outputs(golden, found["ways"], sum(cases.values()), unsettled)
    return [process, golden]


def _run_replay(path: Path) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as elsewhere:
        return subprocess.run(
            [sys.executable, "-I", replay.__file__, path.resolve(), (path / GOLDEN).resolve()],
            cwd=elsewhere,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )


def _check_process(process: Check, found: Mapping[str, Any], manifest: ExportManifest) -> None:
    process.said = f"loads without this project in TensorFlow {found['tensorflow']} and in a TF1 session"
    process.details = {"gpus": found["gpus"], "ran": found["ran"]}
    process.problems += [f"{name} was imported" for name in found["imported"]]
    if found["gpus"]:
        for name, ran in found["ran"].items():
            expected = manifest.signatures.get(name)
            if expected and expected.cudnn_layers and not ran.get("CudnnRNNV3 on GPU"):
                process.problems.append(f"{name} ran {ran or 'no recurrent kernel'} on a host with a GPU")


def _check_outputs(golden: Check, ways: Mapping[str, Any], cases: int, unsettled: int) -> None:
    tolerance = {"absolute": replay.ABSOLUTE, "relative": replay.RELATIVE}
    golden.details = {"tolerance": tolerance, "unsettled": unsettled, "ways": ways}
    golden.problems += [problem for way in ways.values() for problem in way["wrong"]]
    largest = max(way["largest_difference"] for way in ways.values())
    golden.said = (
        f"{cases} cases replayed {', '.join(ways)}; largest difference {largest:.0e} "
        f"(tolerance {replay.ABSOLUTE:.0e} + {replay.RELATIVE:.0e} of the value)"
    )
    if unsettled:
        golden.said += f"; {unsettled} not compared, because rounding decides them"
