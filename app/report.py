"""`textrnn report`: one page about a run, for people who would rather look than read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.files import MANIFEST, write_text
from app.artifacts.run import METRICS, Run
from app.artifacts.samples import read_samples
from app.config import load_config
from app.config.differences import value_of
from app.config.keys import keys_of
from app.evaluate import evaluate_dataset
from app.inspection.context import measure_context
from app.inspection.draw import context_panel, memory_panel
from app.inspection.memory import measure_memory
from app.inspection.opened import EXAMPLES_READ, open_to_inspect, sample, unknown_share
from app.page.blocks import Block, Figure, MarkedText, Paragraph, Section, Table
from app.page.figures import COLOURS, figure, logarithmic
from app.page.render import render
from app.prediction.remembering import remembering
from app.tasks import get_task
from app.tasks.opening import open_dataset
from app.training.events import TrainedRun
from data.errors import UserError
from data.excerpts import evenly, excerpt
from data.prepared import Dataset

if TYPE_CHECKING:
    import keras

    from app.tasks.inspection import Inspection, Vectors

REPORT = "report.html"
MOST_LABELS = 100
MOST_SAMPLES = 8
"""Epochs whose samples are shown."""
MOST_LENGTHS = 20_000
"""Texts whose lengths are counted."""
BARS = 40
"""Of a histogram."""
LONG = 120
"""Training steps of more seconds are told in minutes."""
REMEMBERED = 20_000
"""Rows whose outputs are kept, so that they are not computed again for lists of examples."""
LARGEST_EXCERPT = 2**21
"""Most bytes of the examples of the report that training writes."""


def report_of_training(trained: TrainedRun, manual_directory: Path | None = None) -> str:
    """Write the report of a training that has ended, of a bounded number of examples and without a baseline.

    A run that is not finished gets none, and a report that is newer than the run is kept.

    Args:
        trained: result of `app.train.train`.
        manual_directory: raw files of a catalogue dataset.

    Returns:
        a sentence for the user: where the report is, or why there is none; empty if nothing was to do.
    """
    path = trained.path / REPORT
    if not trained.finished or trained.follower or _is_newer(path, trained.path / MANIFEST):
        return ""
    try:
        report(trained.path, with_baseline=False, whole=False, manual_directory=manual_directory)
    except Exception as error:  # whatever it is, the model is trained
        first_line = str(error).strip().partition("\n")[0]
        reason = first_line if isinstance(error, UserError) else f"{type(error).__name__}: {first_line}"
        return f"{path} is not written: {reason}"
    return f"{path}: learning curves, mistakes and more"


def _is_newer(path: Path, other: Path) -> bool:
    return path.exists() and path.stat().st_mtime_ns >= other.stat().st_mtime_ns


def report(
    run: Path,
    *,
    split: str = "validation",
    with_baseline: bool = True,
    whole: bool = True,
    manual_directory: Path | None = None,
) -> Path:
    """Write the report of a finished run into its directory, and return its path.

    Args:
        run: a run directory.
        split: that metrics and examples are of.
        with_baseline: also train and evaluate the baseline, or take what `evaluate` has computed before.
        whole: take all examples of the split; else at most `Predictions.most_reported`.
        manual_directory: raw files of a catalogue dataset.

    Raises:
        UserError: it is no finished run, its data is not there any more, the split has no examples, or
            Matplotlib is not installed.
    """
    network = open_to_inspect(run)
    opened, predictor = network.run, remembering(network.predictor, REMEMBERED)
    task = get_task(opened.task)
    dataset = open_dataset(predictor.info, None, manual_directory)
    total = dataset.size(split)
    if not total:
        raise UserError(f"{dataset.name}: the {split} split has no examples")
    if not whole:
        dataset = excerpt(dataset, split, most=task.predictions.most_reported, largest=LARGEST_EXCERPT)
    result = evaluate_dataset(predictor, dataset, split, with_baseline=with_baseline)
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    epochs = [line for line in lines if "best" in line]
    vectors = sample(network.inspection, next(iter(dataset.batches("validation", size=EXAMPLES_READ))))
    sections = [
        Section("Result", [*_result(result), *([] if whole else _bounds(dataset, split, total))]),
        Section("Configuration", list(_configuration(opened))),
        Section("Training", list(_training(opened, epochs))),
        Section("Gradients", list(_gradients(opened, epochs))),
        Section("Memory", list(_memory(network.inspection, vectors))),
        *task.predictions.report(predictor, network.inspection, dataset, split, result),
        Section("Samples by epoch", list(_samples(run))),
        Section("Data", [*_data(opened, dataset, split), *_unknown(vectors)]),
        Section("Layers", list(_layers(network.inspection.model))),
    ]
    versions = opened.manifest.versions
    subtitle = (
        f"{opened.task} on {opened.manifest.dataset}, {split} split of {result['examples']:,} examples; "
        f"seed {opened.config.seed}, textrnn {versions['textrnn']}, TensorFlow {versions['tensorflow']}"
    )
    path = run / REPORT
    write_text(path, render(f"Report of {run.name}", subtitle, sections))
    return path


def _bounds(dataset: Dataset, split: str, total: int) -> Iterator[Block]:
    """Yield what the report of a training leaves out."""
    size = dataset.size(split)
    of, also = (
        (f"{size:,} of the {total:,}", "takes all of them and")
        if size < total
        else (f"all {total:,}", "also")
    )
    yield Paragraph(
        f"This page was written by 'textrnn train' and is about {of} examples of the {split} split. "
        f"'textrnn report' {also} compares with the baseline of the task."
    )


def _result(result: Mapping[str, Any]) -> Iterator[Block]:
    baseline = result.get("baseline") or {}
    others = {f"{name} alone": own for name, own in result.get("branches", {}).items()}
    if baseline and "error" not in baseline:
        others[baseline["name"]] = baseline
    intervals = result.get("intervals", {})
    rows = [
        [
            name.replace("_", " "),
            f"{value:.4f}",
            " to ".join(f"{limit:.4f}" for limit in intervals.get(name, ())) or "–",
            *(f"{own[name]:.4f}" if name in own else "–" for own in others.values()),
        ]
        for name, value in result.items()
        if isinstance(value, float)
    ]
    yield Table(["metric", "model", "95 % interval", *others], rows)
    for name, own in result.get("comparison", {}).items():
        better = "better" if own["difference"] > 0 else "worse"
        verdict = f"The model is {better}" if own["different"] else "There is no difference"
        low, high = own["interval"]
        yield Paragraph(
            f"{verdict} in {name.replace('_', ' ')}: {result[name]:.4f} against {baseline[name]:.4f} of the "
            f"{baseline['name']}; the 95 % interval of the difference is {low:+.4f} to {high:+.4f}."
        )


def _configuration(run: Run) -> Iterator[Block]:
    default = load_config(run.task)
    rows = [
        [path, _shown(value_of(run.config, path)), _shown(value_of(default, path))]
        for path in keys_of(type(run.config))
        if value_of(run.config, path) != value_of(default, path) and path != "training.epochs"
    ]
    if rows:
        yield Table(["key", "value", "default"], rows, texts=3)
    else:
        yield Paragraph("All keys have their defaults.")
    yield Paragraph(
        f"{run.manifest.parameters:,} parameters; at most {run.config.training.epochs} epochs, "
        f"kernels: {run.manifest.kernels or 'keras'}."
    )


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) or "(empty)"


def _training(run: Run, epochs: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    if not epochs:
        return
    metric = f"validation_{run.config.training.early_stopping_metric}"
    best = max((line for line in epochs if line["best"]), key=lambda line: line["epoch"])
    rates = np.array([line.get("examples_per_second") or np.nan for line in epochs])
    examples = run.config.training.batch_size * np.diff([line["step"] for line in epochs], prepend=0)
    times = np.cumsum(examples / rates)
    unit, seconds = ("minutes", 60) if times[-1] > LONG else ("seconds", 1)
    times /= seconds

    def draw(axes: Any) -> None:
        steps = [line["step"] for line in epochs]
        axes[0].plot(steps, [line["loss"] for line in epochs], ".-", label="training", color=COLOURS[0])
        losses = [line["validation_loss"] for line in epochs]
        axes[0].plot(steps, losses, ".--", label="validation", color=COLOURS[1])
        axes[0].axvline(best["step"], color=COLOURS[2], ls=":", label="kept epoch")
        axes[0].set(xlabel="step", ylabel="loss, nats")
        axes[0].legend()
        axes[1].plot(times, [line.get(metric, np.nan) for line in epochs], color=COLOURS[1], marker=".")
        axes[1].axvline(times[epochs.index(best)], color=COLOURS[2], ls=":")
        name = metric.removeprefix("validation_").replace("_", " ")
        name += ", nats" if name == "loss" else ""
        axes[1].set(xlabel=f"time in training steps, {unit}", ylabel=f"validation {name}", xlim=(0, None))
        for own in axes:
            own.xaxis.get_major_locator().set_params(nbins=5)

    yield Figure(
        figure(draw, panels=2),
        f"Loss by step, and the metric that selects the epoch by time. Epoch {best['epoch']} of "
        f"{epochs[-1]['epoch']} was kept.",
    )
    evaluated = sum(line.get("evaluation_seconds", 0) for line in epochs) / seconds
    rest = (
        f" Evaluating the validation split after each epoch took {evaluated:.1f} {unit}." if evaluated else ""
    )
    yield Paragraph(
        f"Training steps took {times[-1]:.1f} {unit}, at a median of {np.nanmedian(rates):,.0f} examples a "
        f"second.{rest}"
    )


def _gradients(run: Run, epochs: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    measured = [line for line in epochs if line.get("gradient_norm") is not None]
    if not measured:
        return
    norm = run.config.training.clip_norm

    def draw(axes: Any) -> None:
        numbers = [line["epoch"] for line in measured]
        means, largest = ([line[f"gradient_norm{end}"] for line in measured] for end in ("", "_max"))
        axes[0].plot(numbers, means, ".-", label="mean", color=COLOURS[0])
        axes[0].plot(numbers, largest, ".--", label="maximum", color=COLOURS[1])
        if norm:
            axes[0].axhline(norm, color=COLOURS[2], ls=":", label="clipped above")
        axes[0].set(xlabel="epoch", ylabel="norm of the gradient")
        logarithmic(axes[0])
        axes[0].legend()
        axes[1].plot(
            numbers, [100 * line["clipped_share"] for line in measured], color=COLOURS[0], marker="."
        )
        axes[1].set(xlabel="epoch", ylabel="steps with a clipped gradient, %", ylim=(0, 105))
        for own in axes:
            own.xaxis.get_major_locator().set_params(integer=True)

    yield Figure(figure(draw, panels=2), "The gradient before it is clipped, over the steps of each epoch.")


def _memory(inspection: Inspection[Any, Any], vectors: Vectors) -> Iterator[Block]:
    """Yield what `inspect` measures: how far back an output sees."""
    memory, context = measure_memory(inspection, vectors), measure_context(inspection, vectors)
    yield Paragraph(" ".join([*memory.sentences(), context.sentence()]))
    rows = len(vectors.lengths[inspection.main])
    yield Figure(
        figure(lambda axes: memory_panel(axes, memory)),
        f"The gradient of the {inspection.what} with respect to the vectors of tokens, by their distance, on "
        f"{rows:,} texts of the validation split. A small change of a token with a small gradient has no "
        "effect.",
    )
    yield Figure(
        figure(lambda axes: context_panel(axes, context)),
        "The same texts without their first tokens: how many predictions stay what they were.",
    )


def _samples(run: Path) -> Iterator[Block]:
    samples = list(read_samples(run).items())
    for place in evenly(len(samples), MOST_SAMPLES) if samples else ():
        epoch, text = samples[place]
        yield MarkedText([(text, 0.0)], f"epoch {epoch}")


def _data(run: Run, dataset: Dataset, split: str) -> Iterator[Block]:
    rows = [[name, f"{number:,}"] for name, number in run.manifest.examples.items()]
    yield Table(["split", "examples"], rows, caption=f"Dataset {dataset.name}, hash {dataset.hash[:12]}")
    for sentence in run.manifest.layout:
        yield Paragraph(sentence)
    task = get_task(run.task)
    first = task.examples.fields(run.config)[0]
    field, unit = first.name, "words" if first.kind == "text" else first.kind
    where = "a text" if field in ("text", unit) else f"a {field} text"
    lengths: list[int] = []
    labels: Counter[str] = Counter()
    names = dataset.names.get("label", ())
    for batch in dataset.batches(split):
        if len(lengths) < MOST_LENGTHS:
            lengths += [len(value.split() if isinstance(value, bytes) else value) for value in batch[field]]
        if names:
            labels.update(names[i] for row in batch["label"] for i in np.atleast_1d(row) if i >= 0)
    longest = max(lengths, default=0)
    most = int(np.ceil(np.percentile(lengths, 99))) if lengths else 0
    width = max(most // BARS, 1)

    def draw(axes: Any) -> None:
        edges = np.arange(min(lengths), most + width + 1, width) - 0.5
        axes.hist(np.minimum(lengths, most), bins=edges, color=COLOURS[0])
        rest = f", those above {most:,} in the last bar" if longest > most else ""
        axes.set(xlabel=f"{unit} in {where}{rest}", ylabel="examples")

    if lengths:
        yield Figure(
            figure(draw, height=2.2),
            f"Lengths in the {split} split; the median is {np.median(lengths):.0f} {unit}.",
        )
    if labels:
        shown = labels.most_common(MOST_LABELS)
        total = sum(labels.values())
        yield Table(
            ["label", "examples", "share of labels"],
            [[name, f"{number:,}", f"{100 * number / total:.1f} %"] for name, number in shown],
            caption=f"Labels of the {split} split",
            more=len(labels) - len(shown),
        )


def _unknown(vectors: Vectors) -> Iterator[Block]:
    """Yield how much of the texts the network does not know."""
    share = unknown_share(vectors)
    if share is not None:
        rows = len(next(iter(vectors.lengths.values())))
        yield Paragraph(
            f"{100 * share:.2f} % of the tokens of {rows:,} texts of the validation split are out of "
            "vocabulary: to the network they are all the same token."
        )


def _layers(model: keras.Model) -> Iterator[Block]:
    rows = [
        [weight.path, " × ".join(map(str, weight.shape)) or "1", f"{int(np.prod(weight.shape)):,}", kind]
        for kind, weights in (
            ("trained", model.trainable_variables),
            ("computed", model.non_trainable_variables),
        )
        for weight in weights
        if not weight.path.startswith("seed_generator") and "seed_generator" not in weight.path
    ]
    yield Table(["weights", "shape", "values", ""], rows)
