"""What is measured: the jobs of each program, and the arithmetic of each workload."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from corpora import Corpora
from flops import TRAINING, dense, recurrent
from programs import EXPORT_KERNELS, LAYER_KERNELS, TRAINING_KERNELS, Programs

Job = dict[str, Any]
REVIEWS = 4000
BATCH_SIZE = 64
TUTORIAL = {"vocabulary": 20_000, "embedding": 128, "units": 128, "max_length": 400}
"""Sizes of the classifier of reviews; textrnn calls them by other names."""
DEFAULTS = {"vocabulary": 30_000, "embedding": 64, "units": 64, "max_length": 256}
CHARACTERS = {"embedding": 64, "units": 512, "dropout": 0.3, "batch_size": BATCH_SIZE, "sequence_length": 100}
CHARACTER_VOCABULARY = 67
"""Of Tiny Shakespeare, the special tokens included."""
STEP_TOKENS = 220
SINGLE_LENGTHS = (32, 200)
LAYERS = [
    {"rows": 64, "steps": 200, "units": 128, "calls": 3},
    {"rows": 64, "steps": 220, "units": 64, "calls": 5},
    {"rows": 1, "steps": 32, "units": 128, "calls": 50},
    {"rows": 1, "steps": 200, "units": 128, "calls": 20},
]


@dataclass(frozen=True)
class Workload:
    """Programs that do the same."""

    title: str
    unit: str
    """`docs/s`, `characters/s`, `requests/s`, or `ms` for the time of one call."""
    jobs: Mapping[str, Job]
    """By program."""
    flops: int | Mapping[str, int] = 0
    """Floating-point operations for a token; by part if they differ; 0: not counted."""
    rounds: int | None = None
    """Number of rounds; None: as for the others."""

    def flops_of(self, part: str) -> int:
        """Return the operations for a token of a part."""
        return self.flops if isinstance(self.flops, int) else self.flops[part]


@dataclass(frozen=True)
class Setting:
    """What workloads are made from."""

    corpora: Corpora
    programs: Programs
    folder: Path
    """Of runs and exports."""
    cache: Path
    """Of prepared datasets."""
    threads: int
    quick: bool
    exports: dict[tuple[str, str], Job] = field(default_factory=dict)

    @cached_property
    def reviews(self) -> Path:
        """The folder of reviews."""
        return self.corpora.reviews(REVIEWS)

    def own(self, kernels: Mapping[str, str | None], job: Job) -> dict[str, Job]:
        """Return the jobs of textrnn: the same with each choice of kernels."""
        common = {"folder": str(self.folder), "cache": str(self.cache)}
        return {name: {**common, **job, "kernels": value} for name, value in kernels.items()}

    def export(self, program: str, data: Path, overrides: Mapping[str, Any]) -> Job:
        """Return what the worker says of an export of a trained classifier, which is made once.

        Args:
            program: `before`: its export by the earlier version; else by this one.
            data: folder of the training texts.
            overrides: of the configuration.
        """
        maker = "before" if program == "before" else "textrnn"
        key = maker, str(data)
        if key not in self.exports:
            kernels = {maker: TRAINING_KERNELS[maker]}
            job = {"kind": "export", "data": str(data), "overrides": overrides, "lengths": SINGLE_LENGTHS}
            with self.programs.start(maker, self.own(kernels, job)[maker]) as worker:
                worker.ready()
                self.exports[key] = worker.turn()
        return self.exports[key]

    def exported(self, data: Path, overrides: Mapping[str, Any], job: Job) -> dict[str, Job]:
        """Return the jobs of textrnn with an export, for the programs that take part."""
        return {
            program: own | self.export(program, data, overrides)
            for program, own in self.own(EXPORT_KERNELS, job).items()
            if program in self.programs.chosen
        }


def _overrides(sizes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "text.vocabulary_size": sizes["vocabulary"],
        "text.max_length": sizes["max_length"],
        "model.embedding_size": sizes["embedding"],
        "model.units": sizes["units"],
        "training.batch_size": BATCH_SIZE,
    }


def _flops(sizes: Mapping[str, int]) -> int:
    """Return the operations of a token of a classifier, forward."""
    return recurrent(sizes["embedding"], sizes["units"], directions=2)


def _training(setting: Setting, title: str, data: Path, sizes: Mapping[str, int]) -> Workload:
    examples = len((data / "train.jsonl").read_text(encoding="utf-8").splitlines())
    common = {"kind": "train", "data": str(data), "batch_size": BATCH_SIZE, "examples": examples}
    own = {**common, "task": "classification", "overrides": _overrides(sizes)}
    jobs = setting.own(TRAINING_KERNELS, own)
    jobs["torch"] = {**common, **sizes, "threads": setting.threads}
    return Workload(title, "docs/s", jobs, TRAINING * _flops(sizes))


def train_reviews(setting: Setting) -> Workload:
    """Reviews as in the tutorials, also with the classifier of the tutorials."""
    found = _training(setting, "Training, reviews, 128 units", setting.reviews, TUTORIAL)
    keras = {"kind": "train", "data": str(setting.reviews), "batch_size": BATCH_SIZE, **TUTORIAL}
    return Workload(found.title, found.unit, {**found.jobs, "keras": keras}, found.flops)


def predict_reviews(setting: Setting) -> Workload:
    """Predictions for raw texts: splitting into words is part of it, unless ids are given."""
    data = setting.reviews
    jobs = setting.exported(data, _overrides(TUTORIAL), {"kind": "predict", "data": str(data)})
    common = {"kind": "predict", "data": str(data), "batch_size": BATCH_SIZE, **TUTORIAL}
    torch = {**common, "batch_size": 2 * BATCH_SIZE, "threads": setting.threads}
    jobs["torch"] = {**torch, "tokenize": True}
    jobs["torch:ids given"] = {**torch, "tokenize": False}
    jobs["keras"] = common
    return Workload("Prediction, reviews, 128 units", "docs/s", jobs, _flops(TUTORIAL))


def train_default_reviews(setting: Setting) -> Workload:
    """Reviews with the defaults."""
    return _training(setting, "Training, reviews, defaults", setting.reviews, DEFAULTS)


def train_default_sentences(setting: Setting) -> Workload:
    """Sentences with the defaults."""
    return _training(setting, "Training, sentences, defaults", setting.corpora.sentences(), DEFAULTS)


def train_characters(setting: Setting) -> Workload:
    """A language model of characters with the defaults."""
    steps = 5 if setting.quick else 12
    data = str(setting.corpora.characters())
    common = {"kind": "train", "data": data, "steps": steps, "batch_size": BATCH_SIZE}
    overrides = {
        "model.embedding_size": CHARACTERS["embedding"],
        "model.units": CHARACTERS["units"],
        "model.dropout": CHARACTERS["dropout"],
        "training.batch_size": BATCH_SIZE,
        "training.sequence_length": CHARACTERS["sequence_length"],
    }
    own = {
        **common,
        "task": "generation",
        "overrides": overrides,
        "warm_up": 3,
        "tokens": CHARACTERS["sequence_length"],
    }
    jobs = setting.own(TRAINING_KERNELS, own)
    jobs["torch"] = {**common, **CHARACTERS, "kind": "characters", "threads": setting.threads}
    width, units = int(CHARACTERS["embedding"]), int(CHARACTERS["units"])
    flops = recurrent(width, units) + dense(units, CHARACTER_VOCABULARY)
    return Workload("Training, characters, 512 units", "characters/s", jobs, TRAINING * flops)


def train_tagger(setting: Setting) -> Workload:
    """A tagger of words and their characters with the defaults."""
    data = setting.corpora.tagged(4000)
    path = next(data.glob("train.*"))
    text = path.read_text(encoding="utf-8").strip()
    examples = len(text.split("\n\n")) if path.suffix == ".conllu" else len(text.splitlines())
    job = {
        "kind": "train",
        "task": "tagging",
        "data": str(data),
        "overrides": {},
        "batch_size": BATCH_SIZE,
        "examples": examples,
    }
    return Workload("Training, tagger, defaults", "docs/s", setting.own(TRAINING_KERNELS, job))


def step(setting: Setting) -> Workload:
    """A training step of a classifier over texts without padding."""
    steps = 5 if setting.quick else 15
    data = setting.corpora.equal(BATCH_SIZE * 40, STEP_TOKENS, TUTORIAL["vocabulary"] - 2)
    common = {
        "kind": "train",
        "data": str(data),
        "batch_size": BATCH_SIZE,
        "steps": steps,
        "tokens": STEP_TOKENS,
    }
    own = {**common, "task": "classification", "overrides": _overrides(TUTORIAL), "warm_up": 3}
    jobs = setting.own(TRAINING_KERNELS, own)
    jobs["torch"] = {**common, **TUTORIAL, "threads": setting.threads}
    return Workload("Training step, 64 × 220, 128 units", "docs/s", jobs, TRAINING * _flops(TUTORIAL))


def one_text(setting: Setting) -> Workload:
    """One raw text through an export; the peers get token ids."""
    calls = 50 if setting.quick else 200
    jobs = setting.exported(setting.reviews, _overrides(TUTORIAL), {"kind": "single", "calls": calls})
    peer = next(iter(jobs.values()), None)
    if peer is not None:
        given = {key: peer[key] for key in ("weights", "sizes", "ids")}
        common = {"kind": "single", "calls": calls, "threads": setting.threads, **given}
        jobs |= {f"{name}:ids given": common for name in ("keras", "torch", "onnx")}
    parts = {str(length): _flops(TUTORIAL) for length in SINGLE_LENGTHS}
    return Workload("One text, tokens:", "ms", jobs, parts, rounds=5)


def layers(setting: Setting) -> Workload:
    """A bidirectional LSTM alone."""
    cases, flops = [], {}
    for sizes in LAYERS:
        for backward in (False, True) if sizes["rows"] > 1 else (False,):
            name = f"{sizes['rows']} × {sizes['steps']}, {sizes['units']} units, "
            name += "forward and backward" if backward else "forward"
            cases.append({**sizes, "name": name, "backward": backward})
            flops[name] = recurrent(sizes["units"], sizes["units"], directions=2)
            flops[name] *= TRAINING if backward else 1
    common = {"kind": "layer", "cases": cases, "threads": setting.threads}
    jobs = setting.own(LAYER_KERNELS, common) | dict.fromkeys(("keras", "torch", "onnx"), common)
    return Workload("Layer,", "ms", jobs, flops, rounds=5)


def server(setting: Setting) -> Workload:
    """Requests of one sentence each, from many clients, to a server on the same CPUs."""
    data = setting.corpora.sentences()
    job = {"kind": "serve", "data": str(data), "clients": 64, "seconds": 2 if setting.quick else 4}
    jobs = setting.exported(data, _overrides(DEFAULTS), job)
    return Workload("Server, 64 clients, sentences, defaults", "requests/s", jobs)


WORKLOADS: dict[str, Callable[[Setting], Workload]] = {
    "layers": layers,
    "step": step,
    "reviews": train_reviews,
    "predict": predict_reviews,
    "one-text": one_text,
    "default-reviews": train_default_reviews,
    "default-sentences": train_default_sentences,
    "characters": train_characters,
    "tagger": train_tagger,
    "server": server,
}
"""By the name for `--only`."""
