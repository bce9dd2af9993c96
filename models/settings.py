"""Hyper-parameters of the networks: typed, frozen and checked, without importing TensorFlow.

Each network takes one of these objects. An application can use the same class, or a subclass, as a section of
its configuration. A new hyper-parameter of a recurrent layer is a field here and its use in
`models.layers.recurrent.recurrent_layer`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from models.layers.cells import CELLS
from models.layers.poolings import POOLINGS

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class OneOf:
    """Annotation of a string that must be a key of a dictionary, looked up at the time of validation."""

    names: Mapping[str, object]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Add the check to the schema of a string."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, name: str) -> str:
        if name not in self.names:
            near = difflib.get_close_matches(name, list(self.names), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"one of {', '.join(self.names)}{hint}")
        return name


class Settings(BaseModel):
    """Base class: immutable, strict types, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def of(cls, section: object) -> Self:
        """Return the fields of this class, by name, of an object that has at least these attributes."""
        return cls(**{name: getattr(section, name) for name in cls.model_fields})


class RecurrentSettings(Settings):
    """A stack of forward recurrent layers."""

    cell: Annotated[str, OneOf(CELLS)] = Field("lstm", description="type of recurrent cell")
    units: Positive = Field(64, description="size of the hidden state of each direction")
    layers: Count = Field(1, description="number of recurrent layers; 0: no recurrence")
    activation: Literal["tanh", "relu", "sigmoid"] = Field(
        "tanh", description="activation of the recurrent layers"
    )
    dropout: Share = Field(0.5, description="dropout rate of embeddings and of layer outputs")
    locked_dropout: bool = Field(
        False,
        description="drop the same features of all tokens of a text (variational dropout; Gal and Ghahramani "
        "2016), in place of other ones at each token",
    )
    recurrent_dropout: Share = Field(0.0, description="dropout rate of the hidden state between time steps")

    @model_validator(mode="after")
    def _supported_by_the_cell(self) -> Self:
        refusal = CELLS[self.cell].refusal(self)
        if refusal:
            raise ValueError(f"the cell {self.cell!r} does not support {refusal}")
        return self


class BidirectionalSettings(RecurrentSettings):
    """A stack of recurrent layers in one direction or both."""

    bidirectional: bool = Field(True, description="add a backward direction to each layer")
    merge_mode: Literal["concat", "sum", "mul", "ave"] = Field(
        "concat", description="how the outputs of both directions are combined"
    )


class CalibratedSettings(Settings):
    """Setting of networks that predict a class, or labels."""

    calibrated: bool = Field(
        False,
        description="scale the logits of labels so that the probabilities fit the validation split "
        "(temperature scaling; Guo et al. 2017); a classifier with n-grams always does",
    )


class ClassifierSettings(CalibratedSettings, BidirectionalSettings):
    """Settings of `models.classifier.Classifier`."""

    embedding_size: Positive = Field(64, description="size of the token embeddings")
    word_dropout: Share = Field(0.2, description="probability that a token is replaced by [UNK] in training")
    pooling: Annotated[str, OneOf(POOLINGS)] = Field(
        "max_mean", description="how the outputs of all time steps become one vector"
    )
    ngrams: Annotated[int, Field(ge=0, le=5)] = Field(
        0,
        description="tokens of the longest n-gram of a linear model beside the recurrent network, whose "
        "logits are added (Cheng et al. 2016); 1: words alone; 0: no such model",
    )


class TaggerSettings(CalibratedSettings, BidirectionalSettings):
    """Settings of `models.tagger.Tagger`."""

    embedding_size: Positive = Field(64, description="size of the word embeddings")
    word_dropout: Share = Field(0.2, description="probability that a word is replaced by [UNK] in training")
    character_features: Literal["none", "recurrent", "convolution"] = Field(
        "recurrent", description="encoder of the characters of each word"
    )
    character_embedding_size: Positive = Field(32, description="size of the character embeddings")
    character_units: Positive = Field(
        50, description="size of the character encoder: units of each direction, or number of filters"
    )
    crf: bool = Field(False, description="score tag sequences with a linear-chain CRF instead of a softmax")
    tag_scheme: Literal["bio", "bioes"] = Field(
        "bio",
        description="scheme in which tags of spans are learned, whichever one the data has; predictions are "
        "BIO. bioes: the last token of a span has a tag of its own (Ratinov and Roth 2009)",
    )
    token_features: Count = Field(
        0,
        description="maximum number of features (words, affixes, shapes, neighbours; Huang et al. 2015) of a "
        "linear model beside the network, whose scores of tags are added; those of most tokens; 0: no model",
    )


class LanguageModelSettings(RecurrentSettings):
    """Settings of `models.language_model.LanguageModel`."""

    layers: Positive = Field(1, description="number of recurrent layers")
    embedding_size: Positive = Field(64, description="size of the token embeddings")
    word_dropout: Share = Field(0.2, description="probability that a token is replaced by [UNK] in training")
    weight_dropout: Share = Field(0.0, description="dropout rate of the recurrent weights (DropConnect)")
    tie_embeddings: bool = Field(True, description="share the weights of the embedding and the output layer")


class Seq2SeqSettings(BidirectionalSettings):
    """Settings of `models.seq2seq.Seq2Seq`."""

    layers: Positive = Field(1, description="number of recurrent layers of the encoder and of the decoder")
    embedding_size: Positive = Field(64, description="size of the token embeddings")
    word_dropout: Share = Field(0.2, description="probability that a token is replaced by [UNK] in training")
    attention: Literal["additive", "multiplicative", "none"] = Field(
        "additive", description="attention of the decoder over the source"
    )
    input_feeding: bool = Field(
        True, description="pass the attentional state of each step to the next step (Luong et al. 2015)"
    )
    tie_embeddings: bool = Field(
        True, description="share the weights of the target embedding and the output layer"
    )
