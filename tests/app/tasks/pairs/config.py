"""Configuration of sentence-pair classification."""

from __future__ import annotations

from typing import Literal

from pydantic import Field as Key

from app.config.sections import DataConfig, TaskConfig, TruncatedText
from app.tasks.classification.config import (
    ClassificationModelConfig,
    ClassificationTrainingConfig,
    DecisionConfig,
)


class PairDataConfig(DataConfig):
    """Two texts and a label."""

    first_column: str = Key("first", description="column of the first text")
    second_column: str = Key("second", description="column of the second text")
    label_column: str = Key("label", description="column of the label")


class PairConfig(TaskConfig):
    """Everything that a classifier of sentence pairs depends on."""

    task: Literal["pairs"] = "pairs"
    data: PairDataConfig = PairDataConfig()
    text: TruncatedText = TruncatedText()
    model: ClassificationModelConfig = ClassificationModelConfig()
    training: ClassificationTrainingConfig = ClassificationTrainingConfig()
    decision: DecisionConfig = DecisionConfig()


CONFIG = PairConfig
