"""Configuration of generation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field as Key
from pydantic import model_validator

from app.config.sections import ModelConfig, TaskConfig, TextColumn, TokenizedText, TrainingConfig
from app.tasks.generation.scores import METRICS
from models.settings import Count, LanguageModelSettings, OneOf, Positive


class GenerationDataConfig(TextColumn):
    """Texts, and perhaps labels that the model is conditioned on."""

    label_column: str = Key(
        "", description="column of the label that the model is conditioned on; empty: no condition"
    )
    test_fraction: Annotated[float, Key(ge=0, lt=1)] = Key(
        0.05,
        description="share of the characters of a single text, or of the examples, that are the test split",
    )
    validation_fraction: Annotated[float, Key(gt=0, lt=1)] = Key(
        0.05,
        description="share of the characters of a text, or of the examples, that are held out for validation "
        "if the data has no such split",
    )


class GenerationModelConfig(LanguageModelSettings, ModelConfig):
    """The language model."""


class GenerationTrainingConfig(TrainingConfig):
    """How the language model is trained."""

    early_stopping_metric: Annotated[str, OneOf({metric.name: metric for metric in METRICS})] = Key(
        "loss", description="validation metric that selects the best epoch, whose weights are kept"
    )
    batch_size: Positive = Key(16, description="number of token streams in a batch")
    sequence_length: Positive = Key(
        64,
        description="tokens of each stream in a training step: the length of truncated backpropagation "
        "through time",
    )
    sampled_softmax: Count = Key(
        0,
        description="tokens of the vocabulary that the training loss of a batch is computed from, beside the "
        "right ones (sampled softmax; Jean et al. 2015), e.g. 2000 of 30,000 words; 0: all",
    )

    @model_validator(mode="after")
    def _without_label_smoothing(self) -> Self:
        if self.sampled_softmax and self.label_smoothing:
            raise ValueError(
                f"label_smoothing = {self.label_smoothing:g} needs all tokens, which sampled_softmax = "
                f"{self.sampled_softmax} leaves out; set one of the two to 0"
            )
        return self


class GenerationConfig(TaskConfig):
    """Everything that a language model depends on."""

    task: Literal["generation"] = "generation"
    data: GenerationDataConfig = GenerationDataConfig()
    text: TokenizedText = TokenizedText(tokens="char", lowercase=False, vocabulary_size=5000)
    model: GenerationModelConfig = GenerationModelConfig(
        units=512, dropout=0.3, word_dropout=0.0, tie_embeddings=False
    )
    training: GenerationTrainingConfig = GenerationTrainingConfig(learning_rate=2e-3, warmup=0.01)


CONFIG = GenerationConfig
