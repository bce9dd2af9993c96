"""The configuration: typed, frozen, read from TOML, presets and `--set`, written in full to each run."""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import platformdirs
import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Key

from data.errors import UserError

Share = Annotated[float, Key(ge=0, lt=1)]
Count = Annotated[int, Key(ge=0)]
Positive = Annotated[int, Key(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Which rows are read, and from where."""

    directory: str = Key("", description="where prepared datasets are kept; empty: the user's cache")
    text_column: str = Key("text", description="column that holds the text")
    label_column: str = Key(
        "label", description="column that holds the label; empty, for generation: no condition"
    )
    tag_column: str = Key("upos", description="column of CoNLL-U, or of JSON lines, that holds the tags")
    source: str = Key("source", description="column, or ending of parallel files, to translate from")
    target: str = Key("target", description="column, or ending of parallel files, to translate to")
    validation_fraction: Annotated[float, Key(gt=0, lt=1)] = Key(
        0.1, description="share of the training rows held out where the data has no validation split"
    )


class TextConfig(_Section):
    """How a text becomes token ids."""

    tokens: Literal["word", "char", "byte", "subword"] = Key("word", description="what a token is")
    lowercase: bool = Key(True, description="drop case")
    vocabulary_size: Annotated[int, Key(ge=3)] = Key(
        30000, description="the most tokens that are known, padding and the unknown token included"
    )
    max_length: Count = Key(256, description="tokens of a text that are read; 0: all")
    truncate: Literal["end", "middle"] = Key("middle", description="what a longer text loses")
    min_count: Positive = Key(1, description="tokens that stand fewer times in the training text are unknown")
    shared: bool = Key(True, description="translation: one vocabulary and one embedding for both languages")


class ModelConfig(_Section):
    """The network."""

    cell: Literal["simple", "gru", "lstm"] = Key("lstm", description="kind of recurrent layer")
    units: Positive = Key(64, description="width of the hidden state, of each direction")
    layers: Count = Key(1, description="recurrent layers; 0: none, pooled embeddings to compare with")
    bidirectional: bool = Key(True, description="also read backwards")
    merge_mode: Literal["concat", "sum", "mul", "ave"] = Key(
        "concat", description="how two directions are joined"
    )
    pooling: Literal["last", "max", "mean", "max_mean", "attention"] = Key(
        "max_mean", description="how the steps become one vector"
    )
    embedding_size: Positive = Key(64, description="width of a token's vector")
    embeddings: str = Key("", description="a GloVe or word2vec text file that the embedding starts from")
    dropout: Share = Key(0.5, description="share of features dropped around and between recurrent layers")
    weight_dropout: Share = Key(0.0, description="generation: share of recurrent weights dropped in a step")
    recurrent_dropout: Share = Key(0.0, description="share of the hidden state dropped at each step")
    word_dropout: Share = Key(0.2, description="share of tokens read as unknown in training")
    rare_word_dropout: Annotated[float, Key(ge=0, le=1)] = Key(
        4e-6,
        description="share of the training text that a token makes up when half of it is read as unknown",
    )
    activation: Literal["tanh", "relu", "sigmoid"] = Key("tanh", description="of the recurrent layers")
    character_features: Literal["none", "recurrent", "convolution"] = Key(
        "recurrent", description="tagging: how a token's characters are read beside its word vector"
    )
    character_embedding_size: Positive = Key(32, description="tagging: width of a character's vector")
    character_units: Positive = Key(50, description="tagging: width of what is read from the characters")
    crf: bool = Key(False, description="tagging: a linear-chain CRF in place of a softmax for each token")
    attention: Literal["additive", "multiplicative", "none"] = Key(
        "additive", description="translation: how the decoder looks at the source"
    )
    input_feeding: bool = Key(True, description="translation: each step also sees what it attended to before")
    tie_embeddings: bool = Key(
        True, description="generation, translation: the output matrix is the embedding's"
    )


class TrainingConfig(_Section):
    """How the weights are learned."""

    epochs: Count = Key(
        0, description="passes over the training rows, at most; 0: 2 to 30, the more the shorter the text"
    )
    batch_size: Positive = Key(64, description="rows of a step")
    learning_rate: Annotated[float, Key(gt=0)] = Key(3e-3, description="the highest step size")
    schedule: Literal["constant", "cosine", "plateau"] = Key(
        "cosine", description="how the step size falls: not, along a cosine after a warm-up, or when stuck"
    )
    warmup: Share = Key(0.05, description="share of all steps in which the cosine schedule rises")
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = Key("adam", description="update rule")
    clip_norm: Annotated[float, Key(ge=0)] = Key(
        1.0, description="largest global norm of the gradient; 0: no limit"
    )
    clip_value: Annotated[float, Key(ge=0)] = Key(
        0.0, description="largest element of the gradient, applied instead of clip_norm; 0: no limit"
    )
    weight_decay: Annotated[float, Key(ge=0)] = Key(0.0, description="for adamw: share lost each step × rate")
    label_smoothing: Share = Key(0.0, description="share of the target given to all classes alike")
    early_stopping_patience: Count = Key(5, description="epochs without improvement that end it; 0: never")
    early_stopping_metric: Literal[
        "accuracy", "macro_f1", "span_f1", "label_accuracy", "exact_match", "bleu", "loss"
    ] = Key("accuracy", description="validation metric whose best weights are kept")
    sequence_length: Positive = Key(
        100, description="generation: tokens through which the loss is propagated back in time"
    )
    class_weights: Literal["none", "balanced"] = Key("none", description="balanced: rare classes weigh more")
    mixed_precision: bool = Key(False, description="compute in bfloat16 (for GPUs; slower on CPUs)")
    deterministic: bool = Key(False, description="the same weights, bit for bit, from the same seed")
    steps_per_checkpoint: Count = Key(
        500, description="steps between states written inside an epoch; 0: none"
    )


class DecodingConfig(_Section):
    """How the best translation is searched for."""

    beam: Positive = Key(5, description="translation: texts that are followed at a time; 1: greedy")
    length_penalty: Annotated[float, Key(ge=0)] = Key(1.0, description="translation: more for longer texts")
    coverage_penalty: Annotated[float, Key(ge=0)] = Key(
        0.0, description="translation: more for texts that leave no word of the source out"
    )


class Config(_Section):
    """Everything that a run depends on."""

    seed: Annotated[int, Key(ge=0, lt=2**31)] = Key(
        0, description="of weights, dropout and the order of rows"
    )
    data: DataConfig = DataConfig()
    text: TextConfig = TextConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    decoding: DecodingConfig = DecodingConfig()

    def tokenizing(self) -> dict[str, Any]:
        """How a text is cut: the options of `models.text.tokenize`."""
        text = self.text
        return {
            "tokens": text.tokens,
            "lowercase": text.lowercase,
            "max_length": text.max_length,
            "truncate": text.truncate,
        }

    def data_directory(self) -> Path:
        """Where prepared datasets are kept."""
        return Path(self.data.directory or platformdirs.user_cache_dir("textrnn")).expanduser()


def _keys() -> dict[str, Any]:
    """Every key by its path, with pydantic's description of it."""
    keys: dict[str, Any] = {}
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys.update({f"{name}.{k}": f for k, f in field.annotation.model_fields.items()})
        else:
            keys[name] = field
    return keys


def _nearest(path: str) -> str:
    keys = [*_keys(), *Config.model_fields]
    leaf = path.rsplit(".", 1)[-1]
    near = [key for key in keys if key.rsplit(".", 1)[-1] == leaf]
    near += difflib.get_close_matches(path, keys, n=1, cutoff=0.6)
    near += [
        key for key in keys if difflib.SequenceMatcher(None, leaf, key.rsplit(".", 1)[-1]).ratio() >= 0.75
    ]
    return f"; did you mean {near[0]!r}?" if near else "; see 'textrnn train --print-config'"


def _explain(error: Any) -> str:
    """One line for an error of pydantic: path, value, what is allowed."""
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {path!r}{_nearest(path)}"
    field = _keys().get(path)
    message = error["msg"].removeprefix("Input should be ")
    if field is not None and (choices := get_args(field.annotation)) and isinstance(choices[0], str):
        hint = difflib.get_close_matches(str(error["input"]), choices, n=1)
        message = "one of " + ", ".join(choices) + (f"; did you mean {hint[0]!r}?" if hint else "")
    return f"{path} = {error['input']!r}: expected {message}"


def _parse_override(assignment: str) -> tuple[list[str], Any]:
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {assignment!r}: expected KEY=VALUE, e.g. --set model.units=64")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a string needs no quotation marks on the command line
    field = _keys().get(key.strip())
    if field is not None and field.annotation is str and not isinstance(value, str):
        value = text
    return key.strip().split("."), value


def _merge(into: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


DEFAULT = "default"


def presets(task: str) -> list[str]:
    """Names for `--preset` of a task."""
    folder = resources.files("app") / "tasks" / task / "presets"
    names = sorted(e.name.removesuffix(".toml") for e in folder.iterdir() if e.name.endswith(".toml"))
    return [name for name in names if name != DEFAULT]


def _preset(task: str, name: str) -> dict[str, Any]:
    return _read_toml(
        (resources.files("app") / "tasks" / task / "presets" / f"{name}.toml").read_bytes(), name
    )


def _read_toml(text: bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: not TOML: {error}") from None


def load_config(
    task: str | None = None,
    *,
    file: Path | None = None,
    preset: str | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """The configuration from defaults, a preset, a file and `KEY=VALUE` overrides, later ones winning.

    Args:
        task: whose defaults and presets they are; None: those of the keys.
        file: TOML.
        preset: one of `presets(task)`.
        overrides: as of `--set`.

    Raises:
        UserError: names every key that is unknown or has a wrong value, all at once.
    """
    values: dict[str, Any] = {}
    if task is not None:
        values = _preset(task, DEFAULT)
    if preset is not None:
        known = presets(task) if task else []
        if preset not in known:
            raise UserError(f"unknown preset {preset!r}; there is {', '.join(known) or 'none'}")
        _merge(values, _preset(task or "", preset))
    if file is not None:
        try:
            text = file.read_bytes()
        except OSError as error:
            raise UserError(f"--config {file}: {error.strerror}") from None
        _merge(values, _read_toml(text, str(file)))
    for override in overrides:
        path, value = _parse_override(override)
        change: Any = value
        for key in reversed(path):
            change = {key: change}
        _merge(values, change)
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise UserError("; ".join(_explain(e) for e in error.errors())) from None


def config_from(task: str, values: dict[str, Any], where: str) -> Config:
    """Return the configuration of a model from the values in a manifest."""
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise UserError(f"{where}: " + "; ".join(_explain(e) for e in error.errors())) from None


FREE_ON_RESUME = {"data.directory", "training.steps_per_checkpoint"}
"""Keys that do not change what a training computes."""


def differences(before: Config, after: Config) -> list[str]:
    """The keys that decide a training's course and differ: `model.units was 64, is 32`."""
    found = []
    for path in _keys().keys() - FREE_ON_RESUME:
        old, new = (functools.reduce(getattr, path.split("."), config) for config in (before, after))
        if old != new:
            found.append(f"{path} was {old!r}, is {new!r}")
    return sorted(found)


def dump_config(config: Config) -> str:
    """The whole configuration as TOML, each key with its meaning; `load_config` reads it back."""
    lines: list[str] = []

    def add(section: BaseModel) -> None:
        for name, field in type(section).model_fields.items():
            value = getattr(section, name)
            if not isinstance(value, BaseModel):
                lines.append(f"{tomli_w.dumps({name: value}).rstrip()}  # {field.description}")

    add(config)
    for name in Config.model_fields:
        section = getattr(config, name)
        if isinstance(section, BaseModel):
            lines.append(f"\n[{name}]")
            add(section)
    return "\n".join(lines) + "\n"
