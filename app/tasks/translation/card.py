"""What the model card of a translator says."""

from __future__ import annotations

from app.artifacts.preprocessing import Preprocessing
from app.tasks.card import TaskCard, layers
from app.tasks.translation.config import TranslationConfig
from app.tasks.translation.facts import TranslationFacts

TEXT = "When does the next train leave?"


def translation_card(preprocessing: Preprocessing[TranslationFacts], config: TranslationConfig) -> TaskCard:
    """Return the sentences of a translator."""
    model = config.model
    return TaskCard(
        pipeline="translation",
        purpose=f"It translates texts from {config.data.source} to {config.data.target}.",
        network=f"An encoder with embeddings of {model.embedding_size} values and {layers(model)}, and a "
        f"decoder of the same cell with {_attention(model.attention)} what the encoder has read; a beam "
        f"search of width {config.decoding.beam} chooses the text.",
        limits=[
            "It translates each text alone, without what came before it.",
            "It may leave out or repeat parts of a text, most of all of one longer than those of training.",
        ],
        command=f"echo '{TEXT}' | textrnn predict MODEL",
        call=f'predict(["{TEXT}"])',
        inputs={"text": TEXT},
    )


def _attention(kind: str) -> str:
    return "no attention to" if kind == "none" else f"{kind} attention to"
