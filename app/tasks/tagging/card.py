"""What the model card of a tagger says."""

from __future__ import annotations

from app.artifacts.preprocessing import Preprocessing
from app.tasks.card import TaskCard, layers
from app.tasks.tagging.config import TaggingConfig
from app.tasks.tagging.facts import TaggingFacts

TEXT = "When does the next train leave for the airport?"


def tagging_card(preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig) -> TaskCard:
    """Return the sentences of a tagger, with or without labels of whole texts."""
    tags, labels, model = preprocessing.vocabularies["tags"], preprocessing.labels, config.model
    parts = [f"Word embeddings of {model.embedding_size} values"]
    if model.character_features != "none":
        parts.append(f"a {_encoder(model.character_features)} encoder of the characters of each word")
    parts.append(layers(model))
    parts.append(f"a dense layer with a score for each of {len(tags)} tags")
    if model.crf:
        parts.append("a linear-chain CRF over the tags")
    network = f"{', '.join(parts[:-1])}, and {parts[-1]}"
    if model.token_features:
        network += "; next to it a linear model of the features of words, whose scores are added"
    if labels:
        network += f"; a second dense layer over the text has a score for each of {len(labels)} labels"
    return TaskCard(
        pipeline="token-classification",
        purpose=f"It splits a text into tokens and gives each one of {len(tags)} tags"
        + (f", and the text one of {len(labels)} labels." if labels else "."),
        network=f"{network}.",
        limits=["It knows its tags only. Spans do not overlap and are not nested."],
        command=f"echo '{TEXT}' | textrnn predict MODEL",
        call=f'predict(["{TEXT}"])',
        inputs={"text": TEXT},
    )


def _encoder(kind: str) -> str:
    return {"convolution": "convolutional"}.get(kind, kind)
