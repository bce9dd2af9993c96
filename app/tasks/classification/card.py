"""What the model card of a classifier says."""

from __future__ import annotations

from app.artifacts.preprocessing import Preprocessing
from app.tasks.card import TaskCard, layers
from app.tasks.classification.config import ClassificationConfig
from app.tasks.classification.facts import ClassificationFacts

TEXT = "This was very good, I would do it again!"


def classification_card(
    preprocessing: Preprocessing[ClassificationFacts], config: ClassificationConfig
) -> TaskCard:
    """Return the sentences of a classifier, of one label or of any number of labels."""
    number, model = len(preprocessing.labels), config.model
    several = preprocessing.facts.several_labels
    network = (
        f"Token embeddings of {model.embedding_size} values, {layers(model)}, {model.pooling} pooling over "
        f"the text, and a dense layer with a score for each of {number} labels"
    )
    if model.ngrams:
        network += (
            f"; next to it a linear model of n-grams of up to {model.ngrams} tokens, whose scores are added"
        )
    limits = [
        "It knows its labels only, and gives one of them to any text, also to one that fits none."
        if not several
        else "It knows its labels only."
    ]
    if config.decision.rejects:
        limits = ["It knows its labels only. A text of which it is not certain enough gets no label."]
    return TaskCard(
        pipeline="text-classification",
        purpose=f"It gives a text {'any number' if several else 'one'} of {number} labels.",
        network=f"{network}.",
        limits=limits,
        command=f"echo '{TEXT}' | textrnn predict MODEL",
        call=f'predict(["{TEXT}"])',
        inputs={"text": TEXT},
    )
