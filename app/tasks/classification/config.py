"""Configuration of classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, model_validator
from pydantic import Field as Key

from app.config.sections import (
    Distillation,
    EncoderConfig,
    NonNegative,
    RareWordDropout,
    RDrop,
    Section,
    TaskConfig,
    TextColumn,
    TrainingConfig,
    TruncatedText,
    VirtualAdversarialTraining,
)
from app.metrics import Metric, MetricsByName
from app.tasks.classification.label_set_scores import metrics as label_set_metrics
from app.tasks.classification.scores import metrics
from models.settings import ClassifierSettings, OneOf, Positive, Share


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
        description="file or folder of texts without labels, for model.embeddings = learn, "
        "model.pretrained = learn and training.virtual_adversarial: a text in each line, or a table or JSON "
        "with text_column; empty: none",
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


def _lengths(text: str) -> str:
    shortest, *more = text.split("-")
    longest = more[0] if more else shortest
    digits = len(more) < 2 and shortest.isdecimal() and longest.isdecimal()
    if text and not (digits and 1 <= int(shortest) <= int(longest)):
        raise ValueError("a length, or the shortest and the longest, such as 3-5; empty: none")
    return text


class ClassificationModelConfig(RareWordDropout, ClassifierSettings, EncoderConfig):
    """The classifier."""

    calibrated: bool = Key(True, description=ClassifierSettings.model_fields["calibrated"].description)
    ngrams: Annotated[int, Key(ge=0, le=5)] = Key(
        2, description=ClassifierSettings.model_fields["ngrams"].description
    )
    ngram_vocabulary_size: Positive = Key(
        2**18, description="maximum number of n-grams of two tokens or more, those that occur in most texts"
    )
    character_ngrams: Annotated[str, AfterValidator(_lengths)] = Key(
        "3-5",
        description="lengths of the character n-grams that words of similar form share in the linear model, "
        "such as 3-5 (Bojanowski et al. 2017); empty: none",
    )


class DecisionConfig(Section):
    """When a text gets no label, since the classifier is not certain enough."""

    precision: Share = Key(
        0.0,
        description="share of right labels that the labelled validation texts must have: the texts of the "
        "lowest probabilities get no label, no more of them than needed; 0: every text gets one",
    )
    coverage: Annotated[float, Key(gt=0, le=1)] = Key(
        1.0,
        description="share of the validation texts that get a label, those of the highest probabilities; 1: "
        "every text gets one",
    )
    out_of_scope: str = Key(
        "",
        description="label that means none of the others: evaluate reports how well it is found; a text "
        "without a label counts as one with it; empty: none",
    )

    @property
    def rejects(self) -> bool:
        """Whether some texts get no label."""
        return self.precision > 0 or self.coverage < 1

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.precision and self.coverage < 1:
            raise ValueError(
                f"precision = {self.precision:g} contradicts coverage = {self.coverage:g}: both choose one "
                "threshold; leave out one of the two"
            )
        return self


class ClassificationTrainingConfig(Distillation, RDrop, VirtualAdversarialTraining, TrainingConfig):
    """How the classifier is trained."""

    early_stopping_metric: Annotated[str, OneOf(MetricsByName(_metrics))] = Key(
        "accuracy",
        description="validation metric that selects the best epoch, whose weights are kept; accuracy means "
        "micro_f1 if examples have several labels",
    )
    class_weights: Literal["none", "balanced"] = Key(
        "none", description="weights of the classes in the loss; balanced: inverse to their frequency"
    )
    mixup: NonNegative = Key(
        0.0,
        description="α of the distribution Beta(α, α) of the shares in which pooled vectors and targets of "
        "two texts are mixed (mixup; Zhang et al. 2018), e.g. 0.4; 0: off",
    )


class ClassificationConfig(TaskConfig):
    """Everything that a classifier depends on."""

    EARLIER: ClassVar[Mapping[str, Any]] = {"model": {"ngrams": 0, "calibrated": False}}

    task: Literal["classification"] = "classification"
    data: ClassificationDataConfig = ClassificationDataConfig()
    text: TruncatedText = TruncatedText()
    model: ClassificationModelConfig = ClassificationModelConfig()
    training: ClassificationTrainingConfig = ClassificationTrainingConfig()
    decision: DecisionConfig = DecisionConfig()


CONFIG = ClassificationConfig
