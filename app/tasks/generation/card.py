"""What the model card of a language model says."""

from __future__ import annotations

from app.artifacts.preprocessing import Preprocessing
from app.tasks.card import TaskCard, layers
from app.tasks.generation.config import GenerationConfig
from app.tasks.generation.facts import GenerationFacts

PROMPT = "Once upon a time"
LENGTH = 60


def generation_card(preprocessing: Preprocessing[GenerationFacts], config: GenerationConfig) -> TaskCard:
    """Return the sentences of a language model, with or without labels."""
    model = config.model
    kind = "character" if config.text.tokens == "char" else config.text.tokens
    labels = preprocessing.labels
    output = "the embeddings again, which give" if model.tie_embeddings else "a dense layer, which gives"
    return TaskCard(
        pipeline="text-generation",
        purpose=f"It continues a text, {kind} by {kind}"
        + (f", in the manner of one of {len(labels)} labels." if labels else "."),
        network=f"Embeddings of {model.embedding_size} values, {layers(model)}, and {output} a score to each "
        f"of {len(preprocessing.vocabulary):,} next tokens.",
        limits=[
            "It follows no instructions and knows no facts: what it writes resembles its training text, and "
            "may be false, offensive or a copy of that text."
        ],
        command=f"textrnn generate MODEL --prompt '{PROMPT}' --length {LENGTH}",
        call=f'generate("{PROMPT}", length={LENGTH})',
        inputs={
            "prompt": PROMPT,
            "length": LENGTH,
            "temperature": 0.8,
            "top_k": 0,
            "top_p": 1.0,
            "seed": 0,
        },
    )
