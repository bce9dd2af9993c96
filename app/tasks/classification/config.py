"""Configuration of classification."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field as Key
from pydantic import model_validator

from app.config.sections import (
    ModelConfig,
    RareWordDropout,
    TaskConfig,
    TextColumn,
    TrainingConfig,
    TruncatedText,
)
from app.metrics import Metric, MetricsByName
from app.tasks.classification.label_set_scores import metrics as label_set_metrics
from app.tasks.classification.scores import metrics
from models.settings import ClassifierSettings, OneOf


def _metrics() -> tuple[Metric, ...]:
    return tuple(dict.fromkeys((*metrics(), *label_set_metrics())))


class ClassificationDataConfig(TextColumn):
    """Texts and labels."""

    label_column: str = Key("label", description="column of the label, by name or by number from 1")
    labels: Literal["auto", "one", "several"] = Key(
        "auto",
        description="number of labels of an example: one, or several, which is any number; auto: several if "
        "the data has lists of labels, or if label_columns or label_separator is set",
    )
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

    unlabelled: str = Key(
        "",
        description="file or folder of texts without labels, for model.embeddings = learn: a text in each "
        "line, or a table or JSON with text_column; empty: none",
    )

    @property
    def several_labels(self) -> bool:
        """Whether an example has any number of labels, as far as it is known without the data."""
        return self.labels == "several" or bool(self.label_columns or self.label_separator)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.labels == "one" and self.several_labels:
            name = "label_columns" if self.label_columns else "label_separator"
            raise ValueError(
                f"labels = 'one' contradicts {name} = {getattr(self, name)!r}; leave out one of the two"
            )
        if self.label_columns and self.label_separator:
            raise ValueError(
                f"label_columns = {self.label_columns!r} contradicts label_separator = "
                f"{self.label_separator!r}; leave out one of the two"
            )
        return self


class ClassificationModelConfig(RareWordDropout, ClassifierSettings, ModelConfig):
    """The classifier."""


class ClassificationTrainingConfig(TrainingConfig):
    """How the classifier is trained."""

    early_stopping_metric: Annotated[str, OneOf(MetricsByName(_metrics))] = Key(
        "accuracy",
        description="validation metric that selects the best epoch, whose weights are kept; accuracy means "
        "micro_f1 if examples have several labels",
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
