"""Configuration of classification."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Key

from app.config.sections import (
    ModelConfig,
    RareWordDropout,
    TaskConfig,
    TextColumn,
    TrainingConfig,
    TruncatedText,
)
from app.metrics import MetricsByName
from app.tasks.classification.scores import metrics
from models.settings import ClassifierSettings, OneOf


class ClassificationDataConfig(TextColumn):
    """Texts and labels."""

    label_column: str = Key("label", description="column of the label, by name or by number from 1")
    label_columns: str = Key(
        "",
        description="columns of 0 and 1, one for each label and named after it, e.g. toxic,insult, of "
        "examples with any number of labels; empty: use label_column",
    )
    label_separator: str = Key(
        "",
        description="what separates the labels in the label column of a table, e.g. |, for examples with any "
        "number of labels; empty: each example has one label",
    )


class ClassificationModelConfig(RareWordDropout, ClassifierSettings, ModelConfig):
    """The classifier."""


class ClassificationTrainingConfig(TrainingConfig):
    """How the classifier is trained."""

    early_stopping_metric: Annotated[str, OneOf(MetricsByName(metrics))] = Key(
        "accuracy", description="validation metric that selects the best epoch, whose weights are kept"
    )
    class_weights: Literal["none", "balanced"] = Key(
        "none", description="weights of the classes in the loss; balanced: inverse to their frequency"
    )


class ClassificationConfig(TaskConfig):
    """Everything that a classifier depends on."""

    task: Literal["classification"] = "classification"
    data: ClassificationDataConfig = ClassificationDataConfig()
    text: TruncatedText = TruncatedText()
    model: ClassificationModelConfig = ClassificationModelConfig()
    training: ClassificationTrainingConfig = ClassificationTrainingConfig()


CONFIG = ClassificationConfig
