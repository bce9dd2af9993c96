"""Configuration of translation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Key

from app.config.sections import (
    DataConfig,
    EncoderConfig,
    NonNegative,
    RDrop,
    Section,
    TaskConfig,
    TrainingConfig,
    TruncatedText,
)
from app.tasks.translation.bleu import BleuTokenizer
from app.tasks.translation.scores import METRICS
from models.settings import OneOf, Positive, Seq2SeqSettings


class TranslationDataConfig(DataConfig):
    """Pairs of texts."""

    source: str = Key("source", description="column of the source text, or ending of the file with it")
    target: str = Key("target", description="column of the target text, or ending of the file with it")


class TranslationTextConfig(TruncatedText):
    """How source and target texts become token ids."""

    max_length: Annotated[int, Key(ge=0)] = Key(
        200,
        description="maximum number of tokens of a text; longer pairs are not used in training; 0: no limit",
    )
    shared: bool = Key(
        False, description="use one vocabulary and one embedding for the source and the target language"
    )


class TranslationModelConfig(Seq2SeqSettings, EncoderConfig):
    """The encoder-decoder network."""

    embeddings: str = Key(
        "",
        description="GloVe or word2vec text file with initial values of the source embeddings; learn: "
        "learned from the source texts before training; empty: random values",
    )


class TranslationTrainingConfig(RDrop, TrainingConfig):
    """How the network is trained."""

    early_stopping_metric: Annotated[str, OneOf({metric.name: metric for metric in METRICS})] = Key(
        "bleu", description="validation metric that selects the best epoch, whose weights are kept"
    )


class DecodingConfig(Section):
    """Beam search for the best translation."""

    beam: Positive = Key(5, description="beam width; 1: greedy decoding")
    length_penalty: NonNegative = Key(
        1.0, description="length-penalty exponent (Wu et al. 2016); larger values favour longer outputs"
    )
    coverage_penalty: NonNegative = Key(
        0.0,
        description="coverage-penalty weight (Wu et al. 2016); larger values favour outputs that attend to "
        "every source token",
    )
    bleu_tokenizer: BleuTokenizer = Key(
        "auto",
        description="tokenizer of sacrebleu for BLEU; auto: by the script of the target texts, zh for "
        "Chinese, char for others without spaces, ja-mecab and ko-mecab if they are installed, else 13a",
    )


class TranslationConfig(TaskConfig):
    """Everything that a translation model depends on."""

    task: Literal["translation"] = "translation"
    data: TranslationDataConfig = TranslationDataConfig()
    text: TranslationTextConfig = TranslationTextConfig(
        tokens="subword", lowercase=False, vocabulary_size=4000, truncate="end"
    )
    model: TranslationModelConfig = TranslationModelConfig(
        units=256, embedding_size=256, dropout=0.3, word_dropout=0.1, attention="multiplicative"
    )
    training: TranslationTrainingConfig = TranslationTrainingConfig(
        batch_size=96, learning_rate=2e-3, label_smoothing=0.1
    )
    decoding: DecodingConfig = DecodingConfig()


CONFIG = TranslationConfig
