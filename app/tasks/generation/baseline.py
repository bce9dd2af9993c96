"""The baseline of language models: an interpolated n-gram model of the same tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from app.metrics import perplexity
from app.tasks.base import Evaluation, ExampleBatch, Split
from app.tasks.generation.config import GenerationConfig
from app.tasks.generation.facts import GenerationFacts
from app.tasks.generation.ngrams import Text, orders, text_of
from app.tasks.generation.scores import bits_per_character
from data.encoding import EncodedSplit, TokenizedBatch, UniqueTokens, VocabularyRule, encode, load_encoded
from data.formats import CONTINUES
from data.streams import documents

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

HIGHEST_ORDER = 10
MOST_BASELINE_TOKENS = 4_000_000
"""The baseline holds its n-grams in memory; of a longer training text it uses the first tokens."""


def ngram_baseline(train: Split, test: Split, predictor: Predictor) -> Evaluation:
    """Evaluate an n-gram model with modified Kneser-Ney smoothing, see `app.tasks.generation.ngrams`.

    Its order is that of the lowest loss on the validation examples. It has the tokens, the vocabulary and the
    documents of the network, and does not know their labels.

    Args:
        train: the examples to learn from.
        test: the examples to evaluate on.
        predictor: gives configuration and facts.

    Returns:
        loss (nats per token), perplexity, bits per character, the order, and the number of training tokens.
    """
    from models.text.tokens import SEQUENCE_TOKENS, UNKNOWN_ID

    config, facts = predictor.info.config, predictor.info.preprocessing.facts
    assert isinstance(config, GenerationConfig)
    assert isinstance(facts, GenerationFacts)
    characters = 0

    def counted(batches: Iterable[ExampleBatch]) -> Iterator[ExampleBatch]:
        nonlocal characters
        for batch in batches:
            characters += sum(len(text.decode(errors="replace")) for text in batch["text"])
            yield batch

    splits = {
        "train": train,
        "validation": (train[0], train[0].batches("validation")),
        "test": (test[0], counted(test[1])),
    }
    rule = VocabularyRule(
        SEQUENCE_TOKENS, UNKNOWN_ID, most=config.text.vocabulary_size, min_count=config.text.min_count
    )
    with TemporaryDirectory() as temporary:
        encode(
            _tokenized(splits, config, facts),
            vocabulary_of={"tokens": "vocabulary"},
            rules={"vocabulary": rule},
            directory=Path(temporary),
        )
        encoded = load_encoded(Path(temporary))
        start = len(encoded.vocabularies["vocabulary"])
        learned, *texts = (
            _text(encoded.splits[name], start, most)
            for name, most in (("train", MOST_BASELINE_TOKENS), ("validation", None), ("test", None))
        )
        tokens = int(np.count_nonzero(learned.real))
    never = 1 if facts.documents_end else 2  # padding, and the end of a text that has none
    best, found = np.inf, {}
    models = orders(learned, texts, start=start, possible=start - never, highest=HIGHEST_ORDER)
    for order, (of_validation, of_test) in enumerate(models, 1):
        loss = -float(np.log(of_validation).mean())
        if loss >= best:
            break
        best = loss
        nats = -float(np.log(of_test).sum())
        found = {
            "loss": nats / max(len(of_test), 1),
            "perplexity": perplexity(nats / max(len(of_test), 1)),
            "bits_per_character": bits_per_character(nats, characters),
            "order": order,
            "tokens": len(of_test),
            "training_tokens": tokens,
        }
    return Evaluation(found)


def _tokenized(
    splits: dict[str, Split], config: GenerationConfig, facts: GenerationFacts
) -> Iterator[TokenizedBatch]:
    """Yield the tokens of the network, with an end token after each document where it has one."""
    import tensorflow as tf

    from app.tasks.generation.examples import with_ends
    from app.tasks.tokenizing import tokenizer_options
    from models.text.tokenize import unique_tokens

    options: dict[str, Any] = tokenizer_options(config, facts, joins=True) | {"lines": True}
    graph = tf.function(
        lambda texts: unique_tokens(texts, **options),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )
    for name, (dataset, batches) in splits.items():
        in_pieces = CONTINUES in dataset.columns
        for batch in batches:
            distinct, places, lengths = (t.numpy() for t in graph(tf.constant(batch["text"], tf.string)))
            tokens: UniqueTokens = (distinct, places, lengths)
            if facts.documents_end and not in_pieces:
                tokens = with_ends(*tokens)
            continues = batch.get(CONTINUES, np.zeros(len(lengths), bool))
            yield TokenizedBatch(name, {"tokens": tokens}, {CONTINUES: continues})


def _text(rows: EncodedSplit, start: int, most: int | None) -> Text:
    tokens = rows.sequences["tokens"]
    bounds = documents(tokens.counts, rows.columns[CONTINUES])
    last = int(bounds[-1]) if most is None else min(int(bounds[-1]), most)
    ids = tokens.span(0, last)
    return text_of(ids, np.minimum(bounds, last), order=HIGHEST_ORDER, start=start)
