"""Features of catalogue datasets as fields of a task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from data.catalogue import map_columns
from data.errors import UserError
from data.formats import CONTINUES, Field
from data.prepared import prepare
from data.sources import CatalogueName
from data.splits import Splitting

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
    """Return features of tokens, tags by each of the names, and others."""
    tags = {name: features.Sequence(features.ClassLabel(names=["O", "X"])) for name in names}
    return features.FeaturesDict({"tokens": features.Sequence(features.Text()), **tags, **more})


CONLL2003 = tagged("chunks", "ner", "pos", id=features.Text())
TRANSLATION = features.Translation(languages=["de", "en"])


def refusal(features: Any, fields: tuple[Field, ...], supervised: tuple[str, ...] = ()) -> str:
    """Return the error message about features."""
    with pytest.raises(UserError) as caught:
        map_columns("some/data", features, fields, supervised)
    return str(caught.value)


def test_the_only_feature_of_a_kind() -> None:
    """It is used without being named."""
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


def test_sequences_and_single_values_differ() -> None:
    """A sequence of texts is not a text, and a sequence of labels is not a label."""
    mixed = tagged(
        "ner",
        label=features.ClassLabel(num_classes=3),
        numbers=features.Sequence(np.int64),
        a=features.Text(),
    )

    assert map_columns("some/data", mixed, (TOKENS, TAGS)) == {"tokens": "tokens", "tags": "ner"}
    assert map_columns("some/data", mixed, (TEXT, LABEL)) == {"text": "a", "label": "label"}


def test_sets_of_labels() -> None:
    """Where only sets of labels are there, the error says how to read them, and so they are read."""
    topics = features.FeaturesDict(
        {"text": features.Text(), "topics": features.Sequence(features.ClassLabel(names=["a", "b"]))}
    )
    several = Field("label", "labels", "label", "--set data.label_column=NAME")

    assert refusal(topics, (TEXT, LABEL)).endswith(
        "name one with --set data.label_column=NAME, and if it has several labels for each example, give "
        "--set data.labels=several"
    )
    assert map_columns("some/data", topics, (TEXT, several)) == {"text": "text", "label": "topics"}


def test_one_kind_of_tags() -> None:
    """Tokens and the only tags are found; optional features are found by name only."""
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
    """The message lists the features and the option that names one."""
    assert refusal(CONLL2003, TAGGING) == (
        "tfds:some/data: no tags feature 'upos'; it has tokens (Sequence of Text), "
        "chunks (Sequence of ClassLabel), ner (Sequence of ClassLabel), pos (Sequence of ClassLabel), "
        "id (Text); "
        "name one with --set data.tag_column=NAME"
    )


@pytest.mark.parametrize("name", ["ner", "pos", "chunks"])
def test_tags_that_are_named(name: str) -> None:
    """The named feature is used."""
    tags = Field("tags", "tags", name, "--set data.tag_column=NAME")

    assert map_columns("some/data", CONLL2003, (TOKENS, tags)) == {"tokens": "tokens", "tags": name}


def test_a_feature_by_another_of_its_names() -> None:
    """The names of a field have priority over its type."""
    assert map_columns("some/data", tagged("tags", "upos"), (TOKENS, TAGS))["tags"] == "upos"
    assert map_columns("some/data", tagged("ner", "tags"), (TOKENS, TAGS))["tags"] == "tags"


def test_a_name_that_is_mistyped_is_not_guessed() -> None:
    """A named feature must exist, even if there is only one of its type."""
    tags = Field("tags", "tags", "nre", "--set data.tag_column=NAME")

    assert "no tags feature 'nre'" in refusal(tagged("ner"), (TOKENS, tags))


def test_a_feature_of_another_kind_is_not_taken() -> None:
    """A feature of another type is not used, even if it has the right name."""
    wrong = features.FeaturesDict({"text": features.Sequence(features.Text()), "body": features.Text()})

    assert map_columns("some/data", wrong, (TEXT,)) == {"text": "body"}
    named = (Field("text", "text", "text", "--x"), Field("tokens", "tokens", "body", "--y"))
    assert "no tokens feature 'body'" in refusal(wrong, named)


@pytest.mark.parametrize(
    ("supervised", "expected"),
    [(("de", "en"), {"source": "de", "target": "en"}), (("en", "de"), {"source": "en", "target": "de"})],
)
def test_a_translation(supervised: tuple[str, str], expected: dict[str, str]) -> None:
    """The catalogue's input and target are the source and the target."""
    assert map_columns("some/data", TRANSLATION, sides(), supervised) == expected


def test_a_translation_the_other_way() -> None:
    """Named languages are the source and the target in the given order."""
    assert map_columns("some/data", TRANSLATION, sides("en", "de"), ("de", "en")) == {
        "source": "en",
        "target": "de",
    }


def test_a_translation_of_unknown_direction() -> None:
    """Without input and target in the catalogue, the languages must be named and must exist."""
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
    """A dataset with a single text is not a translation."""
    message = refusal(features.FeaturesDict({"sentence": features.Text()}), sides())

    assert message.startswith("tfds:some/data: no text feature 'source'; it has sentence (Text); ")


def test_the_input_of_another_task_is_ignored() -> None:
    """A text and a label are found by type; a flag is optional."""
    reviews = features.FeaturesDict({"text": features.Text(), "label": features.ClassLabel(num_classes=2)})
    flag = Field(CONTINUES, "flag", CONTINUES, "", optional=True)

    assert map_columns("some/data", reviews, (TEXT, flag), ("text", "label")) == {"text": "text"}


def metadata(folder: Path, name: str, config: str, version: str, features: Any) -> Path:
    """Write the metadata of a downloaded dataset with five training examples."""
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
    """Tokens and tags are sequences of any length; a tag is the id of a name."""
    ner = Field("tags", "tags", "ner", "--set data.tag_column=NAME")
    folder = metadata(
        tmp_path / "known",
        "conll2003",
        "conll2003",
        "1.0.0",
        tfds.builder("conll2003", data_dir=tmp_path).info.features,
    )

    def aligned(*args: Any, **options: Any) -> Any:
        rows = [{"tokens": ["a"] * i, "ner": list(range(i))} for i in range(5)]
        signature = {
            "tokens": tf.TensorSpec([None], tf.string),
            "ner": tf.TensorSpec([None], tf.int64),
        }
        return tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=signature)

    mocked = tfds.testing.mock_data(num_examples=5, data_dir=str(folder), as_dataset_fn=aligned)
    with mocked:
        dataset = prepare(
            CatalogueName("conll2003"),
            (TOKENS, ner),
            directory=tmp_path / "prepared",
            splitting=Splitting(validation=1e-9),
        )
        batches = list(dataset.batches("train", 3))

    assert dataset.names["tags"][:3] == ("O", "B-PER", "I-PER")
    assert [len(batch["tokens"]) for batch in batches] == [3, 2]
    for batch in batches:
        for tokens, tags in zip(batch["tokens"], batch["tags"], strict=True):
            assert all(isinstance(token, bytes) for token in tokens)
            assert all(0 <= tag < len(dataset.names["tags"]) for tag in tags)


def test_sentence_pairs_of_the_catalogue(tmp_path: Path) -> None:
    """The features of a translation are its languages, the source first."""
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
