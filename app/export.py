"""`textrnn export`: one SavedModel that takes raw strings and needs nothing of this project."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from app.artifacts.examples import examples
from app.artifacts.files import checksums, new_directory, versions
from app.artifacts.golden import write_golden
from app.artifacts.hard_texts import hard_texts
from app.artifacts.manifests import EXPORT_MANIFEST, ExportManifest, SignatureManifest, write_manifest
from app.artifacts.run import open_run
from app.artifacts.saved_model import described_signatures
from app.artifacts.warmup import warmup_requests, write_warmup
from app.prediction.loading import build_served
from app.tasks import get_task
from data.errors import UserError


def next_version(output: Path) -> int:
    """Return one more than the highest version there; 1 for the first."""
    present = [int(p.name) for p in output.iterdir() if p.name.isdecimal()] if output.is_dir() else []
    return max(present, default=0) + 1


def export(run_path: Path, *, output: Path | None = None, version: int | None = None) -> Path:
    """Writes `OUTPUT/<version>/`, as TensorFlow Serving reads it.

    Args:
        run_path: a finished run.
        output: the model's directory; None: `exports/<name of the run>`.
        version: None for the next one.

    Returns:
        the directory that was written, whole or not at all.

    Raises:
        UserError: no finished run, or the version is there already.
    """
    run = open_run(run_path)
    output = output or Path("exports", run_path.resolve().name)
    version = next_version(output) if version is None else version
    target = output / str(version)
    if target.exists():
        raise UserError(f"{target} exists; give another --version, or none for {next_version(output)}")
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output}: is a file; expected a directory")
    served, task = build_served(run), get_task(run.task)
    # A TF1 session finds variables only where the module holds tf.Variables, not Keras's own; and what no
    # signature reads need not be shipped.
    traced = {name: own.function.get_concrete_function() for name, own in served.signatures.items()}
    served.module.weights = list({id(v): v for of in traced.values() for v in of.variables}.values())
    with new_directory(target) as directory:
        tf.saved_model.save(served.module, str(directory), signatures=traced)
        loaded = tf.saved_model.load(str(directory))
        texts = hard_texts(run.config.tokenizing()["tokens"], run.longest())
        layers = served.model.cudnn_layers()
        signatures = {
            name: SignatureManifest(
                **about,
                batched=served.signatures[name].batched,
                shared=list(served.signatures[name].shared),
                limited=list(served.signatures[name].limited),
                follows=served.signatures[name].follows,
                # `resume` runs no layer over a sequence: it continues from a state.
                cudnn_layers=0 if name == "resume" else layers,
            )
            for name, about in described_signatures(directory).items()
        }
        asked = examples(task.predictions.sample_inputs, loaded.signatures, signatures)
        write_warmup(directory, warmup_requests(output.name, asked))
        write_golden(directory, signatures, loaded, asked, texts)
        data = run.manifest.data or ""
        manifest = ExportManifest(
            task=run.task,
            dataset=run.manifest.dataset,
            dataset_hash=run.manifest.dataset_hash,
            data=data if data.startswith(("sample:", "tfds:")) else None,
            versions=versions(),
            seed=run.manifest.seed,
            parameters=run.manifest.parameters,
            version=version,
            config=run.config.model_dump(mode="json"),
            preprocessing=served.preprocessing.described(task.predictions.described),
            signatures=signatures,
        )
        (directory / EXPORT_MANIFEST).parent.mkdir(exist_ok=True)
        write_manifest(directory / EXPORT_MANIFEST, manifest.with_(files=checksums(directory)))
    return target
