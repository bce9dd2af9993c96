from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pydantic
import pytest

from app.config import (
    FREE_ON_RESUME,
    TaskConfig,
    differences,
    dump_config,
    get_config_class,
    load_config,
    presets,
)
from app.config.differences import value_of
from app.config.keys import Key, keys_of
from app.tasks import TASKS
from data.errors import UserError

KEYS = {task: keys_of(get_config_class(task)) for task in TASKS}
SETTABLE = [(task, path) for task in TASKS for path in KEYS[task] if path not in ("task", "format")]
EXCLUSIVE = {"data.label_separator", "data.label_columns"}
"""Keys that contradict the other value of `data.labels`, and each other."""
ALONE = {"training.sampled_softmax", "decision.precision", "model.pretrained"}
"""Keys that contradict another value of a key: of label smoothing, of coverage, and of embeddings."""
OTHERS = {path for keys in KEYS.values() for path in keys}
FOREIGN = [(task, path) for task in TASKS for path in sorted(OTHERS - set(KEYS[task]))]


def another(key: Key) -> tuple[str, Any]:
    """Return an allowed value that is not the default: as it is typed, and as it is parsed."""
    if key.choices:
        other = next(choice for choice in key.choices if choice != key.default)
        return str(other), other
    if isinstance(key.default, bool):
        return str(not key.default).lower(), not key.default
    if isinstance(key.default, int):
        return str(key.default + 1), key.default + 1
    if isinstance(key.default, float):
        return "0.0625", 0.0625
    if key.path == "model.character_ngrams":
        return "2-4", "2-4"
    if key.path == "card.language":
        return "en,de", "en,de"
    return "a name with spaces", "a name with spaces"


def test_the_keys_of_the_contract() -> None:
    """Each task has the keys that scripts rely on."""
    common = {
        *("task", "format", "seed", "data.directory", "data.validation_fraction", "data.test_fraction"),
        *("data.split", "data.encoding", "data.delimiter", "data.header"),
        *("text.lowercase", "text.vocabulary_size", "text.min_count"),
        *("model.cell", "model.units", "model.layers", "model.activation", "model.dropout"),
        *("model.recurrent_dropout", "model.embedding_size", "model.embeddings", "model.word_dropout"),
        *("training.epochs", "training.batch_size", "training.learning_rate", "training.schedule"),
        *("training.warmup", "training.optimizer", "training.clip_norm", "training.clip_value"),
        *("training.weight_decay", "training.label_smoothing", "training.early_stopping_patience"),
        *("training.early_stopping_metric", "training.mixed_precision", "training.deterministic"),
        *(
            "training.steps_per_checkpoint",
            "training.kernels",
            "training.tracker",
            "training.ema",
            "model.locked_dropout",
        ),
        "training.strategy",
        *("card.license", "card.language"),
    }
    encoder = {"model.bidirectional", "model.merge_mode", "model.pretrained"}
    taught = {"training.distillation_weight", "training.distillation_temperature"}
    labelled = {"data.text_column", "data.label_column"}
    length = {"text.tokens", "text.max_length", "text.truncate"}
    expected = {
        "classification": {
            *(*common, *encoder, *labelled, *length, *taught),
            *("model.pooling", "model.rare_word_dropout", "training.class_weights"),
            *("data.labels", "data.label_separator", "data.label_columns", "data.unlabelled"),
            *("training.adversarial", "training.perturbation", "training.virtual_adversarial"),
            *("training.r_drop", "training.mixup"),
            *("model.ngrams", "model.ngram_vocabulary_size", "model.character_ngrams", "model.calibrated"),
            *("decision.precision", "decision.coverage", "decision.out_of_scope"),
        },
        "tagging": {
            *(
                *common,
                *encoder,
                *labelled,
                "data.tag_column",
                "data.token_column",
                "model.rare_word_dropout",
            ),
            *("model.character_features", "model.character_embedding_size", "model.character_units"),
            *("model.crf", "model.tag_scheme", "model.token_features", "text.tokenizer", *taught),
            "model.calibrated",
            *("training.exchange_spans", "training.adversarial", "training.perturbation"),
        },
        "generation": {
            *(*common, *labelled, "text.tokens", "training.sequence_length"),
            *("model.weight_dropout", "model.tie_embeddings", "training.sampled_softmax"),
        },
        "translation": {
            *(*common, *encoder, *length, "data.source", "data.target", "text.shared"),
            *("model.attention", "model.input_feeding", "model.tie_embeddings", "training.r_drop"),
            *(
                "decoding.beam",
                "decoding.length_penalty",
                "decoding.coverage_penalty",
                "decoding.bleu_tokenizer",
            ),
        },
    }

    assert {task: set(keys) for task, keys in KEYS.items()} == expected
    assert len(OTHERS - {"task", "format"}) == 94


@pytest.mark.parametrize(("task", "path"), SETTABLE)
def test_every_key_is_set_by_its_path(task: str, path: str) -> None:
    """`--set` changes the key that it names, whatever its type, and no other."""
    key = KEYS[task][path]
    typed, value = another(key)

    config = load_config(task, overrides=[f"{path}={typed}"])

    assert value_of(config, path) == value != key.default
    assert [k.path for k in KEYS[task].values() if value_of(config, k.path) != k.default] == [path]


@pytest.mark.parametrize(("task", "path"), FOREIGN)
def test_keys_of_other_tasks(task: str, path: str) -> None:
    """A key of another task is refused; the message names its tasks and keys that this task has."""
    owners = ", ".join(other for other in TASKS if path in KEYS[other])
    section = path.partition(".")[0]
    typed, _ = another(next(KEYS[other][path] for other in TASKS if path in KEYS[other]))

    with pytest.raises(UserError) as raised:
        load_config(task, overrides=[f"{path}={typed}"])

    begin, separator, names = str(raised.value).partition(f"; {task} has ")
    assert begin == f"{path} is a key of {owners}"
    assert separator
    if section in ("decoding", "decision"):
        assert names == f"no section [{section}]"
    else:
        assert {name for name in names.split(", ") if name != "…"} <= set(KEYS[task])


@pytest.mark.parametrize(
    ("task", "override", "message"),
    [
        (
            "classification",
            "model.crf=true",
            "model.crf is a key of tagging; classification has model.pooling, model.ngrams, "
            "model.ngram_vocabulary_size, …",
        ),
        (
            "generation",
            "model.rare_word_dropout=0.1",
            "model.rare_word_dropout is a key of classification, tagging; "
            "generation has model.word_dropout, model.weight_dropout, model.tie_embeddings, …",
        ),
        (
            "classification",
            "decoding.beam=9",
            "decoding.beam is a key of translation; classification has no section [decoding]",
        ),
    ],
)
def test_message_of_a_key_of_another_task(task: str, override: str, message: str) -> None:
    """The keys that come nearest are named: similar names, then those that the other task lacks."""
    with pytest.raises(UserError) as raised:
        load_config(task, overrides=[override])

    assert str(raised.value) == message


@pytest.mark.parametrize("task", TASKS)
def test_every_key_has_a_description(task: str) -> None:
    """Each key has a description, which is next to it in the file."""
    lines = dump_config(load_config(task)).splitlines()

    for key in KEYS[task].values():
        assert key.description
        assert any(
            line.startswith(f"{key.name} = ") and line.endswith(f"  # {key.description}") for line in lines
        )


@pytest.mark.parametrize("task", TASKS)
def test_the_file_begins_with_task_and_format(task: str) -> None:
    """The first lines of a written configuration name its task and format."""
    first, second, *_ = dump_config(load_config(task)).splitlines()

    assert first.startswith(f'task = "{task}"  # ')
    assert second.startswith("format = 1  # ")


@pytest.mark.parametrize("task", TASKS)
def test_defaults_survive_the_file(task: str, tmp_path: Path) -> None:
    """A written configuration is read back equal, by its own task name or by the caller's."""
    (tmp_path / "config.toml").write_text(dump_config(load_config(task)), encoding="utf-8")

    for name in (task, None):
        assert load_config(name, file=tmp_path / "config.toml", require_format=True) == load_config(task)


@pytest.mark.parametrize("task", TASKS)
def test_changed_values_survive_the_file(task: str, tmp_path: Path) -> None:
    """A configuration in which every key was changed is read back equal."""
    changes = [
        f"{path}={another(KEYS[of][path])[0]}"
        for of, path in SETTABLE
        if of == task and path not in {*EXCLUSIVE, *ALONE}
    ]
    config = load_config(task, overrides=changes)

    (tmp_path / "config.toml").write_text(dump_config(config), encoding="utf-8")

    assert load_config(task, file=tmp_path / "config.toml") == config
    assert len(differences(load_config(task), config)) == len(changes) - len(FREE_ON_RESUME)


@pytest.mark.parametrize("path", sorted(EXCLUSIVE))
def test_exclusive_keys_survive_the_file(path: str, tmp_path: Path) -> None:
    """A key that excludes others is read back equal."""
    config = load_config(overrides=[f"{path}=a,b"])

    (tmp_path / "config.toml").write_text(dump_config(config), encoding="utf-8")

    assert load_config(file=tmp_path / "config.toml") == config
    assert value_of(config, path) == "a,b"


@pytest.mark.parametrize("name", ['a "quoted" name', "back\\slash", "# no comment", "Größe", "1", "true", ""])
def test_any_string_survives(tmp_path: Path, name: str) -> None:
    """A string is taken as it is typed, needs no quotation marks, and survives the file."""
    config = load_config(overrides=[f"data.label_column={name}"])

    (tmp_path / "config.toml").write_text(dump_config(config), encoding="utf-8")

    assert value_of(config, "data.label_column") == name
    assert load_config(file=tmp_path / "config.toml") == config


def test_quotation_marks_are_allowed() -> None:
    """A string may also be typed as in TOML."""
    config = load_config(overrides=['model.cell="gru"', "data.text_column='body = text'"])

    assert (config.model.cell, value_of(config, "data.text_column")) == ("gru", "body = text")


def test_precedence(tmp_path: Path) -> None:
    """Later sources override earlier ones: defaults, preset, file, then each `--set` in turn."""
    file = tmp_path / "my.toml"
    file.write_text("[model]\nunits = 17\nlayers = 3\n")
    preset = load_config("classification", preset="fast")
    changed = {"model.units": 17, "model.layers": 4, "model.dropout": 0.2}

    config = load_config(
        "classification",
        file=file,
        preset="fast",
        overrides=["model.layers=4", "model.dropout=0.1", "model.dropout=0.2"],
    )

    assert preset.model.units not in (17, load_config().model.units)
    keys = KEYS["classification"]
    assert {path: value_of(config, path) for path in keys} == {
        path: changed.get(path, value_of(preset, path)) for path in keys
    }


def test_presets() -> None:
    """Each task has the presets that its documentation names; each loads and changes something."""
    assert {task: presets(task) for task in TASKS} == {
        "classification": ["best", "deep", "fast", "pretrained"],
        "tagging": ["best", "fast"],
        "generation": ["fast", "words"],
        "translation": ["fast"],
    }
    for task in TASKS:
        for name in presets(task):
            assert differences(load_config(task), load_config(task, preset=name))


def test_defaults_of_the_tasks() -> None:
    """The defaults of each task are those that its published results were trained with."""
    paths = ("model.units", "model.layers", "model.dropout", "training.learning_rate", "text.vocabulary_size")

    assert {task: tuple(value_of(load_config(task), path) for path in paths) for task in TASKS} == {
        "classification": (64, 1, 0.5, 3e-3, 30_000),
        "tagging": (200, 2, 0.5, 2e-3, 30_000),
        "generation": (512, 1, 0.3, 2e-3, 5_000),
        "translation": (256, 1, 0.3, 2e-3, 4_000),
    }
    assert load_config() == load_config("classification")


def test_a_configuration_is_immutable() -> None:
    """A configuration and its sections are frozen."""
    config = load_config()

    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.seed = 1
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.model.units = 1


def test_loading_has_no_lasting_effect() -> None:
    """Values of one call do not leak into the next."""
    load_config("classification", preset="deep", overrides=["model.units=3"])

    assert load_config("classification").model.units == 64
    assert load_config("classification", preset="deep").model.units != 3


@pytest.mark.parametrize(
    "override",
    [
        "seed=-1",
        "seed=2147483648",
        "seed=true",
        "data.validation_fraction=0",
        "data.validation_fraction=1",
        "text.lowercase=1",
        "text.lowercase=yes",
        "text.max_length=-1",
        "text.min_count=0",
        "model.units=0",
        "model.units=3.0",
        "model.units=many",
        "model.units=[3]",
        "model.units.x=3",
        "model.layers=-1",
        "model.dropout=1",
        "model.dropout=-0.1",
        "model.cell=3",
        "training.learning_rate=0",
        "training.learning_rate=nan",
        "training.learning_rate=inf",
        "training.batch_size=0",
        "training.clip_norm=-1",
        "training.schedule=linear",
        "training.deterministic=",
        "task=tagging",
        "format=2",
    ],
)
def test_values_that_are_not_allowed(override: str) -> None:
    """A value of the wrong type or out of range is refused with its key."""
    path = override.partition("=")[0].removesuffix(".x")

    with pytest.raises(UserError, match=rf"^{path} = .*: expected "):
        load_config(overrides=[override])


@pytest.mark.parametrize("task", ["generation", "translation"])
def test_tasks_that_need_a_layer(task: str) -> None:
    """Generation and translation have no network without recurrent layers."""
    with pytest.raises(UserError, match=r"^model\.layers = 0: expected greater than or equal to 1$"):
        load_config(task, overrides=["model.layers=0"])


METRICS = {
    "classification": ["accuracy", "macro_f1", "loss"],
    "tagging": ["accuracy", "span_f1", "label_accuracy", "exact_match", "loss"],
    "generation": ["accuracy", "perplexity", "loss"],
    "translation": ["accuracy", "perplexity", "bleu", "loss"],
}


@pytest.mark.parametrize("task", TASKS)
def test_metrics_that_select_the_best_epoch(task: str) -> None:
    """A metric of the task is accepted; one of another task is refused with a list of those allowed."""
    path = "training.early_stopping_metric"
    for metric in METRICS[task]:
        assert value_of(load_config(task, overrides=[f"{path}={metric}"]), path) == metric
    for metric in {name for names in METRICS.values() for name in names} - set(METRICS[task]):
        with pytest.raises(UserError) as raised:
            load_config(task, overrides=[f"{path}={metric}"])
        assert str(raised.value).startswith(
            f"{path} = {metric!r}: expected one of {', '.join(METRICS[task])}"
        )


def test_a_section_is_not_a_value() -> None:
    """A section set to a value is refused with the keys that it has."""
    with pytest.raises(UserError) as raised:
        load_config(overrides=["model=5"])

    assert str(raised.value) == (
        "model = 5: expected a section with the keys cell, units, layers, …; "
        "set one of them: --set model.cell=VALUE"
    )


@pytest.mark.parametrize("override", ["model=", "seed.of=3"])
def test_a_value_is_not_a_section(override: str) -> None:
    """A section can't be empty text, nor a value be used as a section."""
    with pytest.raises(UserError, match=f"^{override.split('=')[0].split('.')[0]} = "):
        load_config(overrides=[override])


@pytest.mark.parametrize("override", ["", "=3", " =3", "model.units", "model.units:3"])
def test_overrides_without_key_or_value(override: str) -> None:
    """`--set` needs a key and a value; the message shows an example."""
    with pytest.raises(UserError, match=r"expected KEY=VALUE, e\.g\. --set model\.units=64"):
        load_config(overrides=[override])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("model.unit", "model.units"),
        ("training.learningrate", "training.learning_rate"),
        ("learning_rate", "training.learning_rate"),
        ("batchsize", "training.batch_size"),
        ("model.epochs", "training.epochs"),
        ("text.token", "text.tokens"),
        ("sed", "seed"),
    ],
)
def test_misspelt_keys(typed: str, meant: str) -> None:
    """An unknown key is refused with the nearest key of the task."""
    with pytest.raises(UserError) as raised:
        load_config(overrides=[f"{typed}=1"])

    assert f"unknown key {typed!r}; did you mean {meant!r}?" in str(raised.value)


def test_a_key_far_from_all_others() -> None:
    """If no key is similar, the message says where all keys are listed."""
    with pytest.raises(UserError, match="unknown key 'xyzzy'; see 'textrnn train TASK DATA --print-config'"):
        load_config(overrides=["xyzzy=1"])


def test_all_errors_at_once(tmp_path: Path) -> None:
    """One line names every wrong key of file and overrides, each with its value and what is allowed."""
    file = tmp_path / "my.toml"
    file.write_text(
        "seed = -5\n[text]\ntokens = 'words'\n[model]\nunits = 0\ncells = 'gru'\ncrf = true\n"
        "[training]\nepochs = 1.5\n[decoding]\nbeam = 3\ncoverage_penalty = 1.0\n"
    )

    with pytest.raises(UserError) as raised:
        load_config(file=file, overrides=["training.optimizer=adm"])

    message = str(raised.value)
    assert "\n" not in message
    for part in (
        "seed = -5: expected greater than or equal to 0",
        "text.tokens = 'words': expected one of word, char, byte, subword; did you mean 'word'?",
        "model.units = 0: expected greater than or equal to 1",
        "unknown key 'model.cells'; did you mean 'model.cell'?",
        "model.crf is a key of tagging; classification has model.pooling, model.ngrams, ",
        "training.epochs = 1.5: expected a valid integer",
        "training.optimizer = 'adm': expected one of adam, adamw, sgd, rmsprop; did you mean 'adam'?",
        "decoding.beam is a key of translation; ",
        "decoding.coverage_penalty is a key of translation; ",
    ):
        assert part in message


def test_settings_that_exclude_each_other() -> None:
    """Settings that the cell does not support are refused under the name of their section."""
    with pytest.raises(UserError, match="model: the cell 'mingru' does not support activation = 'relu'"):
        load_config(overrides=["model.cell=mingru", "model.activation=relu"])


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused by its name."""
    (tmp_path / "my.toml").write_bytes(b'[data]\ntext_column = "Gr\xf6\xdfe"\n')

    with pytest.raises(UserError, match=r"my\.toml: not TOML"):
        load_config(file=tmp_path / "my.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('task = "tagging"\nformat = 1\n', "is a configuration of tagging, not of classification"),
        ('task = "taging"\n', "unknown task 'taging'; expected one of classification, tagging, "),
        ("format = 2\n", "format 2 is not supported, only format 1"),
        ("format = 0\n", "format 0 is not supported, only format 1"),
    ],
)
def test_files_of_another_task_or_format(tmp_path: Path, content: str, message: str) -> None:
    """A file that names another task or format is refused, whatever else is in it."""
    file = tmp_path / "my.toml"
    file.write_text(content + "[model]\ncrf = true\n")

    with pytest.raises(UserError) as raised:
        load_config("classification", file=file)

    assert str(raised.value).startswith(f"--config {file}")
    assert message in str(raised.value)


@pytest.mark.parametrize("content", ["", 'task = "classification"\n', "format = 1\n"])
def test_a_run_names_task_and_format(tmp_path: Path, content: str) -> None:
    """A hand-written file may leave out task and format; the configuration of a run may not."""
    file = tmp_path / "config.toml"
    file.write_text(content + "[model]\nunits = 3\n")

    assert load_config("classification", file=file).model.units == 3
    with pytest.raises(UserError) as raised:
        load_config(file=file, require_format=True)
    assert str(raised.value).startswith(f"{file}: names no 'task' and 'format'")


def test_the_file_names_the_task(tmp_path: Path) -> None:
    """Without a task, the configuration is of the task that the file names."""
    file = tmp_path / "my.toml"
    file.write_text('task = "tagging"\n[model]\ncrf = false\n')

    config = load_config(file=file)

    assert isinstance(config, get_config_class("tagging"))
    assert (value_of(config, "model.crf"), config.model.units) == (False, 200)


def test_differences() -> None:
    """Each key that differs is named with both values, sorted by name."""
    before = load_config()
    after = load_config(overrides=["model.units=3", "seed=4", "data.label_column=stars"])

    assert differences(before, before) == []
    assert differences(before, after) == [
        "data.label_column was 'label', is 'stars'",
        f"model.units was {before.model.units}, is 3",
        "seed was 0, is 4",
    ]
    assert differences(before, load_config("tagging")) == ["task was 'classification', is 'tagging'"]


@pytest.mark.parametrize(("task", "path"), SETTABLE)
def test_every_key_makes_a_difference(task: str, path: str) -> None:
    """Each key counts when two configurations are compared, except those that change no computation."""
    other = load_config(task, overrides=[f"{path}={another(KEYS[task][path])[0]}"])

    assert bool(differences(load_config(task), other)) == (path not in FREE_ON_RESUME)


def test_allowed_values_in_words() -> None:
    """The allowed values of a key are listed, or described by type and bounds."""
    keys = KEYS["classification"]

    assert keys["model.cell"].allowed == "simple, gru, lstm, mingru"
    assert keys["training.schedule"].allowed == "constant, cosine, plateau"
    assert keys["model.units"].allowed == "integer ≥ 1"
    assert keys["model.dropout"].allowed == "number ≥ 0 and < 1"
    assert keys["text.lowercase"].allowed == "true or false"
    assert keys["data.text_column"].allowed == "string"
    literals = [key for key in keys.values() if get_origin(key.annotation) is Literal]
    assert all(key.choices == get_args(key.annotation) for key in literals)


def test_data_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Prepared data is in the user's cache, or where `data.directory` says; `~` is the home directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert load_config().data_directory() == tmp_path / "cache" / "textrnn"
    assert load_config(overrides=["data.directory=/data"]).data_directory() == Path("/data")
    assert load_config(overrides=["data.directory=~/data"]).data_directory() == tmp_path / "home" / "data"


@pytest.mark.parametrize("task", TASKS)
def test_tokenizing(task: str) -> None:
    """The options of the tokenizer are those of the task's keys; texts are not truncated without a key."""
    config: TaskConfig = load_config(task)
    options = config.tokenizing()

    for name, value in options.items():
        path = f"text.{name}"
        if path in KEYS[task]:
            assert value == value_of(config, path)
        else:
            assert value == {"tokens": "word", "max_length": 0, "truncate": "end"}[name]
