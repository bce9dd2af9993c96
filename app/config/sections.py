"""Sections that the configurations of several tasks share, as small classes to combine by inheritance.

A task's configuration has only the keys that the task uses: it subclasses `TaskConfig` and combines these
classes, with its own defaults, in `app/tasks/<task>/config.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import platformdirs
from pydantic import AfterValidator, BeforeValidator, model_validator
from pydantic import Field as Key

from data.formats.layout import Options
from data.splits import Splitting
from models.settings import Count, Positive, RecurrentSettings, Settings, Share

FORMAT: Literal[1] = 1
"""Version of the keys; a file of another one is refused."""

LEARN = "learn"
"""The value of `model.embeddings` and `model.pretrained` for what is learned before training."""

NonNegative = Annotated[float, Key(ge=0)]


class Section(Settings):
    """Base class of all sections: immutable, strict types, no unknown keys."""


# Section data


def _name(value: Any) -> Any:
    """Return a truth value by its name: TOML has `true` in place of "true"."""
    return str(value).lower() if isinstance(value, bool) else value


class DataConfig(Section):
    """Which examples are used."""

    directory: str = Key("", description="folder of prepared datasets; empty: the user's cache directory")
    encoding: str = Key(
        "",
        description="character encoding of the files, such as latin-1; empty: detect it from their content",
    )
    delimiter: str = Key(
        "", description="character between the columns of a table; empty: detect comma, semicolon, tab or |"
    )
    header: Annotated[Literal["auto", "true", "false"], BeforeValidator(_name)] = Key(
        "auto", description="whether the first row of a table names its columns; auto: detect it"
    )
    split: Literal["hash", "random", "stratified"] = Key(
        "hash",
        description="how examples without a split get one: hash: by their text alone; random: also by the "
        "seed; stratified: with the same share of each label in every split",
    )
    test_fraction: Annotated[float, Key(ge=0, lt=1)] = Key(
        0.1, description="share of the examples of a single file that are the test split"
    )
    validation_fraction: Annotated[float, Key(gt=0, lt=1)] = Key(
        0.1,
        description="share of the examples that are held out for validation if the data has no such split",
    )


class TextColumn(DataConfig):
    """Data with one text in each example."""

    text_column: str = Key(
        "text",
        description="column of the text, by name or by number from 1; several, as in title,body, are joined",
    )


# Section text


class TextConfig(Section):
    """How a text becomes token ids."""

    lowercase: bool = Key(True, description="convert text to lower case")
    vocabulary_size: Annotated[int, Key(ge=3)] = Key(
        30_000, description="maximum number of vocabulary entries, special tokens included"
    )
    min_count: Positive = Key(
        1, description="minimum number of occurrences in the training data of a token in the vocabulary"
    )

    def tokenizing(self) -> dict[str, Any]:
        """Return the options of `models.text.tokenize`."""
        return {"tokens": "word", "lowercase": self.lowercase, "max_length": 0, "truncate": "end"}


class TokenizedText(TextConfig):
    """Text of which the kind of token is chosen."""

    tokens: Literal["word", "char", "byte", "subword"] = Key("word", description="kind of token")

    def tokenizing(self) -> dict[str, Any]:
        """Return the options of `models.text.tokenize`."""
        return super().tokenizing() | {"tokens": self.tokens}


class TruncatedText(TokenizedText):
    """Text of limited length."""

    max_length: Count = Key(400, description="maximum number of tokens of a text; 0: no limit")
    truncate: Literal["end", "middle"] = Key(
        "middle", description="where tokens are removed from a text that is longer than max_length"
    )

    def tokenizing(self) -> dict[str, Any]:
        """Return the options of `models.text.tokenize`."""
        return super().tokenizing() | {"max_length": self.max_length, "truncate": self.truncate}


# Section model


class ModelConfig(RecurrentSettings):
    """Keys of every network."""

    embedding_size: Positive = Key(64, description="size of the token embeddings")
    embeddings: str = Key(
        "",
        description="GloVe or word2vec text file with initial values of the embeddings; learn: learned from "
        "the texts before training; empty: random values",
    )


class EncoderConfig(ModelConfig):
    """Keys of networks that encode a whole text."""

    pretrained: str = Key(
        "",
        description="run of 'textrnn train generation' whose embeddings and recurrent layers the network "
        "starts from (Dai and Le 2015); learn: a language model is learned from the texts before training; "
        "empty: random values",
    )

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.pretrained and self.embeddings:
            raise ValueError(
                f"pretrained = {self.pretrained!r} contradicts embeddings = {self.embeddings!r}; leave out "
                "one of the two"
            )
        return self


class RareWordDropout(Section):
    """Word dropout that depends on the frequency of a token."""

    rare_word_dropout: Annotated[float, Key(ge=0, le=1)] = Key(
        4e-6,
        description="relative frequency at which a token is replaced by [UNK] in half of its occurrences in "
        "training; rarer tokens more often; 0: off",
    )


# Section training


class TrainingConfig(Section):
    """How the weights are trained."""

    epochs: Count = Key(
        0, description="maximum number of epochs; 0: 2 to 30, depending on the number of training tokens"
    )
    batch_size: Positive = Key(64, description="number of examples in a batch")
    learning_rate: Annotated[float, Key(gt=0)] = Key(3e-3, description="maximum learning rate")
    schedule: Literal["constant", "cosine", "plateau"] = Key(
        "cosine",
        description="learning-rate schedule: constant, cosine decay after a linear warm-up, or reduce on "
        "plateau",
    )
    warmup: Share = Key(0.05, description="share of all steps that the warm-up of the cosine schedule takes")
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = Key(
        "adam", description="optimizer; sgd has a momentum of 0.9"
    )
    clip_norm: NonNegative = Key(1.0, description="maximum global norm of the gradient; 0: no limit")
    clip_value: NonNegative = Key(
        0.0,
        description="maximum absolute value of a gradient element; if set, clip_norm is not applied; 0: off",
    )
    weight_decay: NonNegative = Key(
        0.0,
        description="decoupled weight decay of any optimizer, applied to all weights, also biases and "
        "embeddings; 0: off",
    )
    label_smoothing: Share = Key(
        0.0, description="share of the target probability that is spread evenly over all classes"
    )
    ema: Share = Key(
        0.0,
        description="decay of the exponential moving average of the weights, e.g. 0.999, which is validated "
        "and kept in place of the weights of the last step; 0: off",
    )
    early_stopping_patience: Count = Key(
        5,
        description="epochs in which neither early_stopping_metric nor the validation loss improved, nor the "
        "loss of the recurrent branch of a network with a linear model, after which training stops; 0: no "
        "early stopping",
    )
    early_stopping_metric: str = Key(
        "accuracy", description="validation metric that selects the best epoch, whose weights are kept"
    )
    mixed_precision: bool = Key(False, description="compute in bfloat16, for recent GPUs; slower on CPUs")
    deterministic: bool = Key(
        False, description="deterministic operations: the same seed gives the same weights, bit for bit"
    )
    kernels: Literal["auto", "native", "keras"] = Key(
        "auto",
        description="what computes the recurrent layers; native: compiled kernels for CPUs; keras: Keras's "
        "layers; auto: native on CPUs where they can run, and keras to resume a run that has used it",
    )
    strategy: Literal["single", "mirrored", "multi_worker"] = Key(
        "single",
        description="which devices share the rows of a batch; single: one device; mirrored: all GPUs of this "
        "process, or all its CPU devices; multi_worker: those of all processes that TF_CONFIG names",
    )
    steps_per_checkpoint: Count = Key(
        500, description="steps between two checkpoints within an epoch; 0: one checkpoint after each epoch"
    )
    tracker: Literal["none", "mlflow"] = Key(
        "none",
        description="experiment tracker that gets configuration and metrics besides the run directory; "
        "mlflow: at MLFLOW_TRACKING_URI, by default the file mlflow.db",
    )


class Distillation(Section):
    """How the networks of `textrnn distill` are taught."""

    distillation_weight: Annotated[float, Key(ge=0, le=1)] = Key(
        0.5,
        description="share of the teachers' probabilities in the loss of textrnn distill; that of the true "
        "labels is the rest; without teachers it has no effect",
    )
    distillation_temperature: Annotated[float, Key(gt=0)] = Key(
        2.0,
        description="temperature that softens the probabilities of teachers and student in textrnn distill "
        "(Hinton et al. 2015); without teachers it has no effect",
    )


# Regularizers that not all tasks have


class RDrop(Section):
    """Consistency of two passes."""

    r_drop: NonNegative = Key(
        0.0,
        description="weight of the divergence between two passes with different dropout (Liang et al. 2021), "
        "e.g. 1; 0: off",
    )


class AdversarialTraining(Section):
    """A loss with perturbed embeddings."""

    adversarial: NonNegative = Key(
        0.0,
        description="weight of the loss with token embeddings that are perturbed against it (Miyato et al. "
        "2017), e.g. 1; 0: off",
    )
    perturbation: Annotated[float, Key(gt=0)] = Key(
        0.3,
        description="norm of the perturbation of all token embeddings of a text together, as a multiple of "
        "the norm of one of them",
    )


class VirtualAdversarialTraining(AdversarialTraining):
    """A divergence of predictions with perturbed embeddings."""

    virtual_adversarial: NonNegative = Key(
        0.0,
        description="weight of the divergence that a perturbation of the token embeddings causes, whatever "
        "the labels (Miyato et al. 2017), e.g. 1; 0: off",
    )


# Section card


def _languages(text: str) -> str:
    if text and not re.fullmatch(r"[a-z]{2,3}(-\w+)*( *, *[a-z]{2,3}(-\w+)*)*", text):
        raise ValueError("codes of languages, such as en or en,de; empty: not stated")
    return text


class CardConfig(Section):
    """What the model card states that nothing else tells."""

    license: str = Key(
        "",
        description="licence of the model, as its card (RUN/README.md) states it: an identifier such as "
        "apache-2.0, or any name; empty: not stated",
    )
    language: Annotated[str, AfterValidator(_languages)] = Key(
        "",
        description="languages of the texts, as the model card states them: codes of ISO 639 such as en or "
        "en,de; empty: not stated",
    )


# The whole


class TaskConfig(Section):
    """Everything that a run of a task depends on; each task has a subclass."""

    EARLIER: ClassVar[Mapping[str, Any]] = {}
    """Values, by section, of keys that a run of an earlier version lacks, if they are not the defaults."""

    task: str = Key(description="task that the configuration is for")
    format: Literal[1] = Key(FORMAT, description="version of the configuration format")
    seed: Annotated[int, Key(ge=0, lt=2**31)] = Key(
        0, description="random seed of initial weights, dropout and the order of examples"
    )
    data: DataConfig
    text: TextConfig
    model: ModelConfig
    training: TrainingConfig
    card: CardConfig = CardConfig()

    def tokenizing(self) -> dict[str, Any]:
        """Return the options of `models.text.tokenize`."""
        return self.text.tokenizing()

    def options(self) -> Options:
        """Return what the user says about files."""
        return Options(self.data.encoding, self.data.delimiter, self.data.header)

    def splitting(self) -> Splitting:
        """Return how examples that have no split get one."""
        data = self.data
        return Splitting(data.split, data.validation_fraction, data.test_fraction, self.seed)

    def data_directory(self) -> Path:
        """Return the folder of prepared datasets."""
        return Path(self.data.directory or platformdirs.user_cache_dir("textrnn")).expanduser()
