"""Recurrent text models: train them, load them, and turn them into SavedModels that take strings.

Train a model, and use it:

    import textrnn

    run = textrnn.train("classification", "reviews.csv", run="runs/reviews", overrides={"model.cell": "gru"})
    model = textrnn.load("runs/reviews")  # or the directory of an export
    model.predict(["What a film!"])  # [{"label": "positive", "score": 0.98, "probabilities": {…}}]
    model.evaluate()
    model.export("exports/reviews")

Functions:

- `train` trains a model; `training_steps` does the same as an iterator of events.
- `tune` searches hyper-parameters within a time, and keeps the best run.
- `distill` trains one network on the probabilities of several runs.
- `load` returns a `Model` with `predict`, `generate`, `score`, `evaluate` and `export`, as its task allows.
- `evaluate`, `inspect`, `export` and `serve` take a path, as the commands of the same names do.

A mistake in arguments, data or configuration raises `UserError`, whose text says what to do. Importing this
module is fast: TensorFlow is imported when a function first needs it.
"""

from app.api import (
    Epoch,
    Event,
    Message,
    Model,
    Step,
    TrainedRun,
    UserError,
    Watcher,
    distill,
    evaluate,
    export,
    inspect,
    load,
    serve,
    train,
    training_steps,
    tune,
)

__all__ = [
    "Epoch",
    "Event",
    "Message",
    "Model",
    "Step",
    "TrainedRun",
    "UserError",
    "Watcher",
    "distill",
    "evaluate",
    "export",
    "inspect",
    "load",
    "serve",
    "train",
    "training_steps",
    "tune",
]
