from __future__ import annotations

import ast
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest

import app
from app.config import FREE_ON_RESUME, Config, differences, dump_config, load_config, presets
from app.tasks import TASKS
from data.errors import UserError


def keys(section: type[pydantic.BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the default of each key."""
    for name, field in section.model_fields.items():
        if isinstance(field.default, pydantic.BaseModel):
            yield from keys(type(field.default), f"{prefix}{name}.")
        else:
            yield prefix + name, field


KEYS = dict(keys())


def another(field: Any) -> tuple[str, Any]:
    """Return a value that is allowed and not the default: as it is typed, and as it is read."""
    default = field.default
    if typing.get_origin(field.annotation) is Literal:
        other = next(choice for choice in typing.get_args(field.annotation) if choice != default)
        return other, other
    if isinstance(default, bool):
        return str(not default).lower(), not default
    if isinstance(default, int):
        return str(default + 1), default + 1
    if isinstance(default, float):
        return "0.0625", 0.0625
    return "a name with spaces", "a name with spaces"


def get(config: Config, path: str) -> Any:
    """Return the value of a key."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def test_the_keys_of_the_contract() -> None:
    """The walk over the keys finds those that scripts rely on."""
    assert {
        "seed",
        "data.directory",
        "data.text_column",
        "data.label_column",
        "data.validation_fraction",
        "text.tokens",
        "text.lowercase",
        "text.vocabulary_size",
        "text.max_length",
        "text.min_count",
        "model.cell",
        "model.units",
        "model.layers",
        "model.bidirectional",
        "model.merge_mode",
        "model.pooling",
        "model.embedding_size",
        "model.dropout",
        "model.recurrent_dropout",
        "model.activation",
        "model.embeddings",
        "training.epochs",
        "training.batch_size",
        "training.learning_rate",
        "training.schedule",
        "training.optimizer",
        "training.clip_norm",
        "training.clip_value",
        "training.weight_decay",
        "training.early_stopping_patience",
        "training.class_weights",
        "training.mixed_precision",
        "training.deterministic",
        "training.steps_per_checkpoint",
    } <= KEYS.keys()


@pytest.mark.parametrize("path", KEYS)
def test_every_key_is_set_by_its_path(path: str) -> None:
    """`--set` changes the key that it names, of whatever type, and no other."""
    typed, value = another(KEYS[path])

    config = load_config(overrides=[f"{path}={typed}"])

    assert get(config, path) == value != KEYS[path].default
    assert [other for other in KEYS if get(config, other) != KEYS[other].default] == [path]


@pytest.mark.parametrize("path", KEYS)
def test_every_key_says_what_it_means(path: str) -> None:
    """Each key has a description, which stands beside it in the file."""
    description = KEYS[path].description

    assert description
    assert any(
        line.startswith(f"{path.rsplit('.', 1)[-1]} = ") and line.endswith(f"# {description}")
        for line in dump_config(Config()).splitlines()
    )


def test_defaults_survive_the_file(tmp_path: Path) -> None:
    """What is written to a run is read back equal, and holds every key."""
    (tmp_path / "config.toml").write_text(dump_config(Config()))

    written = tomllib.loads(dump_config(Config()))

    assert load_config(file=tmp_path / "config.toml") == load_config() == Config()
    assert set(written) | {f"{s}.{k}" for s, v in written.items() if isinstance(v, dict) for k in v} == {
        *KEYS,
        *(path.split(".")[0] for path in KEYS),
    }


def test_changed_values_survive_the_file(tmp_path: Path) -> None:
    """So is a configuration of which every key was changed."""
    config = load_config(overrides=[f"{path}={another(field)[0]}" for path, field in KEYS.items()])

    (tmp_path / "config.toml").write_text(dump_config(config))

    assert load_config(file=tmp_path / "config.toml") == config != Config()


@pytest.mark.parametrize("name", ['a "quoted" name', "back\\slash", "# no comment", "Größe", "1", "true", ""])
def test_any_text_survives(tmp_path: Path, name: str) -> None:
    """A text value is taken as it is typed, needs no quotation marks, and survives the file."""
    config = load_config(overrides=[f"data.label_column={name}"])

    (tmp_path / "config.toml").write_text(dump_config(config), encoding="utf-8")

    assert config.data.label_column == name
    assert load_config(file=tmp_path / "config.toml") == config


def test_quotation_marks_are_allowed() -> None:
    """A text may be typed as TOML writes it, too."""
    config = load_config(overrides=['model.cell="gru"', "data.text_column='body = text'"])

    assert (config.model.cell, config.data.text_column) == ("gru", "body = text")


def test_later_ones_win(tmp_path: Path) -> None:
    """A preset beats the defaults, a file the preset, and `--set` the file; the last `--set` counts."""
    file = tmp_path / "my.toml"
    file.write_text("[model]\nunits = 17\nlayers = 3\n")
    preset = load_config("classification", preset="fast")
    decided = {"model.units": 17, "model.layers": 4, "model.dropout": 0.2}

    config = load_config(
        "classification",
        file=file,
        preset="fast",
        overrides=["model.layers=4", "model.dropout=0.1", "model.dropout=0.2"],
    )

    assert preset.model.units not in (17, Config().model.units)
    assert {path: get(config, path) for path in KEYS} == {path: get(preset, path) for path in KEYS} | decided


@pytest.mark.parametrize("task", TASKS)
def test_presets(task: str) -> None:
    """Each preset of a task loads, and changes something; its defaults are none of them."""
    assert "default" not in presets(task)
    for name in presets(task):
        assert differences(load_config(task), load_config(task, preset=name))


def test_the_defaults_of_keys_are_those_of_classification() -> None:
    """So that a configuration without a task is one for texts and labels."""
    assert load_config("classification") == load_config() == Config()
    assert {"deep", "fast"} <= set(presets("classification"))


def test_a_configuration_is_not_changed() -> None:
    """A configuration is frozen, its sections too."""
    config = load_config()

    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.seed = 1
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.model.units = 1


def test_loading_leaves_nothing_behind() -> None:
    """What one call sets, the next does not see."""
    load_config("classification", preset="deep", overrides=["model.units=3"])

    assert load_config("classification") == Config()
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
        "training.learning_rate=0",
        "training.learning_rate=nan",
        "training.learning_rate=inf",
        "training.batch_size=0",
        "training.clip_norm=-1",
        "training.schedule=linear",
        "training.deterministic=",
    ],
)
def test_values_that_are_not_allowed(override: str) -> None:
    """A value of the wrong type, or out of range, is refused by its key."""
    path = override.partition("=")[0].removesuffix(".x")

    with pytest.raises(UserError, match=rf"^{path} = .*: expected "):
        load_config(overrides=[override])


@pytest.mark.parametrize("override", ["model=3", "model=", "seed.of=3"])
def test_sections_are_no_values(override: str) -> None:
    """A section can't be set to a value, nor a value be used as a section."""
    with pytest.raises(UserError, match=f"^{override.split('=')[0].split('.')[0]} = "):
        load_config(overrides=[override])


@pytest.mark.parametrize("override", ["", "=3", " =3", "model.units", "model.units:3"])
def test_overrides_without_key_or_value(override: str) -> None:
    """`--set` needs a key and a value, and says how they are written."""
    with pytest.raises(UserError, match=r"expected KEY=VALUE, e\.g\. --set model\.units=64"):
        load_config(overrides=[override])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("model.unit", "model.units"),
        ("training.learningrate", "training.learning_rate"),
        ("learning_rate", "training.learning_rate"),
        ("batchsize", "training.batch_size"),
        pytest.param("model.epochs", "training.epochs"),
        ("text.token", "text.tokens"),
        ("sed", "seed"),
    ],
)
def test_misspelt_keys(typed: str, meant: str) -> None:
    """A key that is not known is named with the one that is nearest."""
    with pytest.raises(UserError) as raised:
        load_config(overrides=[f"{typed}=1"])

    assert f"unknown key {typed!r}; did you mean {meant!r}?" in str(raised.value)


def test_a_key_far_from_all_others() -> None:
    """Where no key is near, the message says where all of them are listed."""
    with pytest.raises(UserError, match="unknown key 'xyzzy'; see 'textrnn train --print-config'"):
        load_config(overrides=["xyzzy=1"])


def test_all_errors_at_once(tmp_path: Path) -> None:
    """One line names every wrong key of file and overrides, each with its value and what is allowed."""
    file = tmp_path / "my.toml"
    file.write_text(
        "seed = -5\n[text]\ntokens = 'words'\n[model]\nunits = 0\ncells = 'gru'\n[training]\nepochs = 1.5\n"
    )

    with pytest.raises(UserError) as raised:
        load_config(file=file, overrides=["training.optimizer=adm"])

    message = str(raised.value)
    assert "\n" not in message
    assert len(message.split("; ")) >= 6
    for part in (
        "seed = -5: expected greater than or equal to 0",
        "text.tokens = 'words': expected one of word, char, byte, subword; did you mean 'word'?",
        "model.units = 0: expected greater than or equal to 1",
        "unknown key 'model.cells'; did you mean 'model.cell'?",
        "training.epochs = 1.5: expected a valid integer",
        "training.optimizer = 'adm': expected one of adam, adamw, sgd, rmsprop; did you mean 'adam'?",
    ):
        assert part in message


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused by its name."""
    (tmp_path / "my.toml").write_bytes(b'[data]\ntext_column = "Gr\xf6\xdfe"\n')

    with pytest.raises(UserError, match=r"my\.toml: not TOML"):
        load_config(file=tmp_path / "my.toml")


def test_differences() -> None:
    """Each key that differs is named with both values, in the order of their names."""
    before = load_config()
    after = load_config(overrides=["model.units=3", "seed=4", "data.label_column=stars"])

    assert differences(before, before) == []
    assert differences(before, after) == [
        "data.label_column was 'label', is 'stars'",
        f"model.units was {before.model.units}, is 3",
        "seed was 0, is 4",
    ]


@pytest.mark.parametrize("path", KEYS)
def test_every_key_makes_a_difference(path: str) -> None:
    """Each key counts when two configurations are compared, but those that change no computation."""
    other = load_config(overrides=[f"{path}={another(KEYS[path])[0]}"])

    assert bool(differences(Config(), other)) == (path not in FREE_ON_RESUME)


def test_every_key_is_read() -> None:
    """Each key is used by the program: none is there for show."""
    assert app.__file__
    read = {
        node.attr
        for path in Path(app.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }

    assert [path for path in KEYS if path.rsplit(".", 1)[-1] not in read] == []


def test_where_data_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Prepared data stands in the user's cache, or where `data.directory` says; `~` is the home folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert load_config().data_directory() == tmp_path / "cache" / "textrnn"
    assert load_config(overrides=["data.directory=/data"]).data_directory() == Path("/data")
    assert load_config(overrides=["data.directory=~/data"]).data_directory() == tmp_path / "home" / "data"
