"""Configuration of tagging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field as Key

from app.config.sections import (
    AdversarialTraining,
    Distillation,
    EncoderConfig,
    RareWordDropout,
    TaskConfig,
    TextColumn,
    TextConfig,
    TrainingConfig,
)
from app.tasks.tagging.scores import metrics
from models.settings import OneOf, TaggerSettings

METRICS = {metric.name: metric for metric in metrics(has_spans=True, has_labels=True)}


class TaggingDataConfig(TextColumn):
    """Sentences with a tag for each token, and perhaps a label."""

    text_column: str = Key("text", description="column of the raw text of the tokens, if there is one")
    label_column: str = Key("label", description="column of the label of each sentence, if there is one")
    token_column: str = Key(
        "", description="column of the tokens, by name or by number from 1; empty: detect it"
    )
    tag_column: str = Key(
        "upos",
        description="column of the tags, by name or by number from 1; in files without named columns the "
        "default is the last one",
    )


class TaggingTextConfig(TextConfig):
    """How a text becomes tokens and their ids."""

    tokenizer: Literal["auto", "rules", "learned"] = Key(
        "auto",
        description="tokenizer of raw text: rules: that of the other tasks; learned: a small network that "
        "learns the tokens of the data from its raw text; auto: the one that finds more tokens of the "
        "validation examples",
    )


class TaggingModelConfig(RareWordDropout, TaggerSettings, EncoderConfig):
    """The tagger."""


class TaggingTrainingConfig(Distillation, AdversarialTraining, TrainingConfig):
    """How the tagger is trained."""

    exchange_spans: Annotated[float, Key(ge=0, le=1)] = Key(
        0.0,
        description="probability that a span of a training example is replaced by another training span of "
        "the same label (mention replacement, Dai and Adel 2020); needs tags of spans",
    )
    early_stopping_metric: Annotated[str, OneOf(METRICS)] = Key(
        "accuracy",
        description="validation metric that selects the best epoch, whose weights are kept; span_f1 needs "
        "tags of spans, label_accuracy and exact_match need labels",
    )


class TaggingConfig(TaskConfig):
    """Everything that a tagger depends on."""

    EARLIER: ClassVar[Mapping[str, Any]] = {"model": {"token_features": 0, "calibrated": False}}

    task: Literal["tagging"] = "tagging"
    data: TaggingDataConfig = TaggingDataConfig()
    text: TaggingTextConfig = TaggingTextConfig()
    model: TaggingModelConfig = TaggingModelConfig(
        units=200,
        layers=2,
        embedding_size=100,
        word_dropout=0.0,
        rare_word_dropout=5e-6,
        crf=True,
        token_features=1 << 18,
        calibrated=True,
    )
    training: TaggingTrainingConfig = TaggingTrainingConfig(batch_size=32, learning_rate=2e-3)


CONFIG = TaggingConfig
