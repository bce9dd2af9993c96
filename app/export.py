"""`textrnn export`: write a SavedModel that takes raw strings and needs no code of this project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from app.artifacts.examples import examples
from app.artifacts.files import CARD, checksums, new_directory, versions, write_text
from app.artifacts.golden import write_golden
from app.artifacts.hard_texts import hard_texts
from app.artifacts.manifests import (
    EXPORT_MANIFEST,
    ExportManifest,
    Reference,
    SignatureManifest,
    write_manifest,
)
from app.artifacts.run import Run, open_run
from app.artifacts.saved_model import described_signatures
from app.artifacts.warmup import warmup_requests, write_warmup
from app.bounds import Bounds
from app.model_card.render import Export, card_text
from app.prediction.loading import Served, build_served, info_of
from app.prediction.predictor import Predictor
from app.tasks import get_task
from app.tasks.monitoring import reference
from app.tasks.opening import open_dataset
from app.tasks.signature import Signature
from data.errors import UserError

VERSION = Bounds(minimum=1, maximum=2**63 - 1, default=1)
"""Of the number of a version, an int64 in the API of TensorFlow Serving."""


def next_version(output: Path) -> int:
    """Return one more than the highest version in a directory; 1 if there is none."""
    present = [int(p.name) for p in output.iterdir() if p.name.isdecimal()] if output.is_dir() else []
    return max(present, default=0) + 1


def export(
    run_path: Path,
    *,
    output: Path | None = None,
    version: int | None = None,
    with_training_text: bool = False,
) -> Path:
    """Write `OUTPUT/<version>/`, the layout that TensorFlow Serving reads.

    Args:
        run_path: a finished run.
        output: directory of the model; None: `exports/<name of the run>`.
        version: number of the version; None: the next one.
        with_training_text: add the longest training text, up to 50 kB verbatim, to the golden set.

    Returns:
        the directory of the version. It is written completely or not at all.

    Raises:
        UserError: there is no finished run, or the version exists.
    """
    run = open_run(run_path)
    output = output or Path("exports", run_path.resolve().name)
    version = next_version(output) if version is None else VERSION.checked("version", version)
    target = output / str(version)
    if target.exists():
        raise UserError(f"{target} exists; give another --version, or none for {next_version(output)}")
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file; expected a directory")
    served, task = build_served(run), get_task(run.task)
    # A TF1 session finds variables only where the module holds tf.Variables, not Keras's own. Variables that
    # no signature uses are left out.
    traced = {name: own.function.get_concrete_function() for name, own in served.signatures.items()}
    served.module.weights = list({id(v): v for of in traced.values() for v in of.variables}.values())
    with new_directory(target) as directory:
        tf.saved_model.save(served.module, str(directory), signatures=traced)
        signatures = signature_manifests(
            served.signatures, described_signatures(directory), cudnn_layers=served.model.cudnn_layers()
        )
        loaded = tf.saved_model.load(str(directory))
        inputs = examples(task.predictions.sample_inputs, loaded.signatures, signatures)
        texts = hard_texts(run.config.tokenizing()["tokens"], run.longest() if with_training_text else b"")
        write_warmup(directory, warmup_requests(output.name, inputs))
        write_golden(directory, signatures, loaded, inputs, texts)
        manifest = _manifest(run, served, version, signatures).with_(
            files=checksums(directory), reference=_reference(run, served, loaded.signatures)
        )
        write_manifest(directory / EXPORT_MANIFEST, manifest)
        size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
        write_text(directory / CARD, card_text(run_path, Export(output.name, version, size)))
    return target


def signature_manifests(
    signatures: Mapping[str, Signature], described: Mapping[str, Mapping[str, Any]], *, cudnn_layers: int
) -> dict[str, SignatureManifest]:
    """Return what the manifest says of each signature.

    Args:
        signatures: of the model.
        described: inputs and outputs of each signature, as `described_signatures` returns them.
        cudnn_layers: recurrent layers of the model, counted per direction.
    """
    return {
        name: SignatureManifest(
            inputs=tensors["inputs"],
            outputs=tensors["outputs"],
            batched=signatures[name].batched,
            shared=[
                key
                for key, (_, shape) in tensors["inputs"].items()
                if not shape or key in signatures[name].shared
            ],
            limited=list(signatures[name].limited),
            follows=signatures[name].follows,
            bounds=dict(signatures[name].bounds),
            cudnn_layers=(cudnn_layers if signatures[name].reads_sequences else 0)
            + signatures[name].own_cudnn_layers,
        )
        for name, tensors in described.items()
    }


def _reference(run: Run, served: Served, signatures: Mapping[str, Any]) -> Reference | None:
    """Return what a server compares its requests with; None if the data of the training is not found."""
    monitoring = get_task(run.task).predictions.monitoring
    if monitoring is None:
        return None
    info = info_of(run, served.config, served.preprocessing)
    try:
        dataset = open_dataset(info, None, None)
    except UserError:
        return None
    return reference(monitoring, Predictor(info, signatures), dataset)


def _manifest(
    run: Run, served: Served, version: int, signatures: dict[str, SignatureManifest]
) -> ExportManifest:
    data = run.manifest.data or ""
    return ExportManifest(
        task=run.task,
        dataset=run.manifest.dataset,
        dataset_hash=run.manifest.dataset_hash,
        data=data if data.startswith(("sample:", "tfds:")) else None,  # a path says nothing on other hosts
        versions=versions(),
        seed=run.manifest.seed,
        parameters=run.manifest.parameters,
        version=version,
        config=served.config.model_dump(
            mode="json", exclude={"data": {"directory", "unlabelled"}, "model": {"embeddings", "pretrained"}}
        ),
        preprocessing=served.preprocessing.described(get_task(run.task).predictions.described),
        signatures=signatures,
    )
