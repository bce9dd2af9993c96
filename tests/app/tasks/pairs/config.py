"""Configuration of sentence-pair classification."""

from __future__ import annotations

from typing import Literal

from app.config.sections import DataConfig, TaskConfig, TruncatedText
from app.tasks.classification.config import ClassificationModel, ClassificationTraining
from pydantic import Field as Key


class PairData(DataConfig):
    """Two texts and a label."""

    first_column: str = Key("first", description="column of the first text")
    second_column: str = Key("second", description="column of the second text")
    label_column: str = Key("label", description="column of the label")


class PairConfig(TaskConfig):
    """Everything that a classifier of sentence pairs depends on."""

    task: Literal["pairs"] = "pairs"
    data: PairData = PairData()
    text: TruncatedText = TruncatedText()
    model: ClassificationModel = ClassificationModel()
    training: ClassificationTraining = ClassificationTraining()


CONFIG = PairConfig
