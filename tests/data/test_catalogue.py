"""Which features of a catalogue dataset a task reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.catalogue import map_columns
from data.errors import UserError
from data.formats import CONTINUES, Field
from data.prepared import prepare
from data.sources import CatalogueName

features = tfds.features
TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
TOKENS = Field("tokens", "tokens", "tokens", "--set data.token_column=NAME")
TAGS = Field("tags", "tags", "upos", "--set data.tag_column=NAME", ("tags",))
TAGGING = (
    TOKENS,
    TAGS,
    Field("text", "text", "text", "--set data.text_column=NAME", optional=True),
    Field("label", "label", "label", "--set data.label_column=NAME", optional=True),
)


def sides(source: str = "source", target: str = "target") -> tuple[Field, Field]:
    """Return the fields of a translation."""
    return (
        Field("source", "text", source, "--set data.source=NAME"),
        Field("target", "text", target, "--set data.target=NAME"),
    )


def tagged(*names: str, **more: Any) -> Any:
    """Return features of tokens, of tags by each of the names, and others."""
    tags = {name: features.Sequence(features.ClassLabel(names=["O", "X"])) for name in names}
    return features.FeaturesDict({"tokens": features.Sequence(features.Text()), **tags, **more})


CONLL2003 = tagged("chunks", "ner", "pos", id=features.Text())
TRANSLATION = features.Translation(languages=["de", "en"])


def refusal(features: Any, fields: tuple[Field, ...], supervised: tuple[str, ...] = ()) -> str:
    """Return the message of features that do not fit."""
    with pytest.raises(UserError) as caught:
        map_columns("some/data", features, fields, supervised)
    return str(caught.value)


def test_the_only_feature_of_a_kind() -> None:
    """It needs no name, whatever it is called."""
    found = map_columns(
        "some/data",
        features.FeaturesDict(
            {
                "id": features.Tensor(shape=(), dtype=np.int64),
                "review": features.Text(),
                "stars": features.ClassLabel(num_classes=5),
            }
        ),
        (TEXT, LABEL),
    )

    assert found == {"text": "review", "label": "stars"}


def test_lists_are_told_from_single_values() -> None:
    """A sequence of texts is no text, one of labels no label, and one of numbers neither."""
    mixed = tagged(
        "ner",
        label=features.ClassLabel(num_classes=3),
        numbers=features.Sequence(np.int64),
        a=features.Text(),
    )

    assert map_columns("some/data", mixed, (TOKENS, TAGS)) == {"tokens": "tokens", "tags": "ner"}
    assert map_columns("some/data", mixed, (TEXT, LABEL)) == {"text": "a", "label": "label"}


def test_one_kind_of_tags() -> None:
    """Tokens and their only tags are found; what is optional is taken by its own name alone."""
    assert map_columns("some/data", tagged("ner", id=features.Text()), TAGGING) == {
        "tokens": "tokens",
        "tags": "ner",
    }
    assert map_columns("some/data", tagged("ner", text=features.Text()), TAGGING) == {
        "tokens": "tokens",
        "tags": "ner",
        "text": "text",
    }


def test_several_kinds_of_tags() -> None:
    """Nobody can tell which are meant: the message lists the features and says how to name one."""
    assert refusal(CONLL2003, TAGGING) == (
        "tfds:some/data: no tags feature 'upos'; it has tokens (Sequence of Text), "
        "chunks (Sequence of ClassLabel), ner (Sequence of ClassLabel), pos (Sequence of ClassLabel), "
        "id (Text); "
        "name one with --set data.tag_column=NAME"
    )


@pytest.mark.parametrize("name", ["ner", "pos", "chunks"])
def test_tags_that_are_named(name: str) -> None:
    """The one that the user names is taken."""
    tags = Field("tags", "tags", name, "--set data.tag_column=NAME")

    assert map_columns("some/data", CONLL2003, (TOKENS, tags)) == {"tokens": "tokens", "tags": name}


def test_a_feature_by_another_of_its_names() -> None:
    """A field may go by several names; they count before the only feature does."""
    assert map_columns("some/data", tagged("tags", "upos"), (TOKENS, TAGS))["tags"] == "upos"
    assert map_columns("some/data", tagged("ner", "tags"), (TOKENS, TAGS))["tags"] == "tags"


def test_a_name_that_is_mistyped_is_not_guessed() -> None:
    """Who names a feature gets that one or none, though there be only one of its kind."""
    tags = Field("tags", "tags", "nre", "--set data.tag_column=NAME")

    assert "no tags feature 'nre'" in refusal(tagged("ner"), (TOKENS, tags))


def test_a_feature_of_another_kind_is_not_taken() -> None:
    """Though it have the right name."""
    wrong = features.FeaturesDict({"text": features.Sequence(features.Text()), "body": features.Text()})

    assert map_columns("some/data", wrong, (TEXT,)) == {"text": "body"}
    named = (Field("text", "text", "text", "--x"), Field("tokens", "tokens", "body", "--y"))
    assert "no tokens feature 'body'" in refusal(wrong, named)


@pytest.mark.parametrize(
    ("supervised", "expected"),
    [(("de", "en"), {"source": "de", "target": "en"}), (("en", "de"), {"source": "en", "target": "de"})],
)
def test_a_translation(supervised: tuple[str, str], expected: dict[str, str]) -> None:
    """What the catalogue calls input and target is the source and the target."""
    assert map_columns("some/data", TRANSLATION, sides(), supervised) == expected


def test_a_translation_the_other_way() -> None:
    """The languages that the user names count, in the order in which they are named."""
    assert map_columns("some/data", TRANSLATION, sides("en", "de"), ("de", "en")) == {
        "source": "en",
        "target": "de",
    }


def test_a_translation_of_unknown_direction() -> None:
    """Without the catalogue's word, or with a language that is not there, nothing is guessed."""
    for fields, supervised, column in (
        (sides(), (), "source"),
        (sides("fr", "de"), ("de", "en"), "fr"),
        (sides(), ("de", "fr"), "source"),
    ):
        assert refusal(TRANSLATION, fields, supervised) == (
            f"tfds:some/data: no text feature {column!r}; it has de (Text), en (Text); "
            "name one with --set data.source=NAME"
        )


def test_one_text_is_not_both_sides() -> None:
    """A dataset with a single text is no translation."""
    message = refusal(features.FeaturesDict({"sentence": features.Text()}), sides())

    assert message.startswith("tfds:some/data: no text feature 'source'; it has sentence (Text); ")


def test_what_the_catalogue_calls_the_input_of_another_task_is_let_be() -> None:
    """A text and a label have their places by kind; a flag, which no feature gives, is optional."""
    reviews = features.FeaturesDict({"text": features.Text(), "label": features.ClassLabel(num_classes=2)})
    flag = Field(CONTINUES, "flag", CONTINUES, "", optional=True)

    assert map_columns("some/data", reviews, (TEXT, flag), ("text", "label")) == {"text": "text"}


def metadata(folder: Path, name: str, config: str, version: str, features: Any) -> Path:
    """Write what would be known of a dataset once it was downloaded: five training rows."""
    own = folder / name / config / version
    own.mkdir(parents=True)
    features.save_metadata(own)
    info: dict[str, Any] = {
        "name": name,
        "version": version,
        "configName": config,
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": "train",
                "shardLengths": ["5"],
                "numBytes": "100",
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        ],
    }
    own.joinpath("dataset_info.json").write_text(json.dumps(info))
    return folder


def test_tags_of_the_catalogue(tmp_path: Path) -> None:
    """Rows of tokens and tags are of unequal length; a tag is a number of a name."""
    ner = Field("tags", "tags", "ner", "--set data.tag_column=NAME")
    folder = metadata(
        tmp_path / "known",
        "conll2003",
        "conll2003",
        "1.0.0",
        tfds.builder("conll2003", data_dir=tmp_path).info.features,
    )
    with tfds.testing.mock_data(num_examples=5, data_dir=str(folder)):
        dataset = prepare(CatalogueName("conll2003"), (TOKENS, ner), directory=tmp_path / "prepared")
        batches = list(dataset.batches("train", 3))

    assert dataset.names["tags"][:3] == ("O", "B-PER", "I-PER")
    assert [len(batch["tokens"]) for batch in batches] == [3, 2]
    for batch in batches:
        for tokens, tags in zip(batch["tokens"], batch["tags"], strict=True):
            assert all(isinstance(token, bytes) for token in tokens)
            assert all(0 <= tag < len(dataset.names["tags"]) for tag in tags)


def test_sentence_pairs_of_the_catalogue(tmp_path: Path) -> None:
    """The features of a translation are its languages, source first."""
    folder = metadata(
        tmp_path / "known",
        "ted_hrlr_translate",
        "pt_to_en",
        "1.0.0",
        features.Translation(languages=("pt", "en")),
    )
    with tfds.testing.mock_data(num_examples=5, data_dir=str(folder)):
        dataset = prepare(
            CatalogueName("ted_hrlr_translate/pt_to_en"), sides(), directory=tmp_path / "prepared"
        )
        (batch,) = dataset.batches("train")

    assert dataset.columns == {"source": "pt", "target": "en"}
    assert {name: len(values) for name, values in batch.items()} == {"source": 5, "target": 5}
    assert all(isinstance(text, bytes) and text for values in batch.values() for text in values)
