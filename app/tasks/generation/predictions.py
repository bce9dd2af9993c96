"""Losses of given texts: as JSON, and evaluated on whole documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.metrics import perplexity, token_scores
from app.page.blocks import Section
from app.tasks.base import Evaluation, ExampleBatch, OutputArrays, Predictions, Split, by_row
from app.tasks.card import TaskCard
from app.tasks.generation.baseline import ngram_baseline
from app.tasks.generation.card import generation_card
from app.tasks.generation.config import GenerationConfig
from app.tasks.generation.facts import GenerationFacts
from app.tasks.generation.monitoring import MONITORING
from app.tasks.generation.scores import bits_per_character
from app.tasks.labels import label_ids
from data.errors import UserError
from data.formats import CONTINUES
from data.prepared import Dataset

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.prediction.predictor import Predictor
    from app.tasks.inspection import Inspection
    from app.tasks.signature import Signature

TIMED_PROMPT, TIMED_LENGTH = 20, 100
"""Characters of the prompt, and tokens after it, of a text whose time is measured."""
EXAMPLE_LENGTH = 12
"""Tokens that sample inputs ask for."""


class GenerationPredictions(Predictions[GenerationConfig, GenerationFacts]):
    """Predictions of a language model."""

    signature = "score"
    baseline_name = "n-gram baseline"
    monitoring = MONITORING
    answered = f"a text of {TIMED_LENGTH} tokens"

    def signatures(
        self,
        module: tf.Module,
        model: keras.Model,
        preprocessing: Preprocessing[GenerationFacts],
        config: GenerationConfig,
    ) -> dict[str, Signature]:
        """Return the signatures of `app.tasks.generation.signatures`."""
        from app.tasks.generation.signatures import GenerationSignatures

        module.generation = GenerationSignatures(model, preprocessing, config)
        found: dict[str, Signature] = module.generation.all()
        return found

    def score(
        self, predictor: Predictor, texts: Sequence[str], targets: Sequence[str] | None
    ) -> list[dict[str, float]]:
        """Return for each text the mean `loss` in nats per token, and the number of `tokens`."""
        if targets is not None:
            raise UserError("a generation model scores texts without targets")
        return by_row(predictor.run_texts(self.signature, [text.encode() for text in texts]))

    def sample_inputs(self, signature: str, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Return the texts as prompts, continued greedily, or as texts whose loss is computed.

        Labels are empty, which no model knows: the model generates without one.
        """
        rows = len(texts)
        return super().sample_inputs(signature, texts) | {
            "prompt": np.array(texts, object),
            "length": np.full(rows, EXAMPLE_LENGTH, np.int32),
            "temperature": np.zeros(rows, np.float32),
            "top_k": np.full(rows, 5, np.int32),
            "top_p": np.full(rows, 0.9, np.float32),
            "repetition_penalty": np.full(rows, 1.1, np.float32),
            "seed": np.arange(rows, dtype=np.int32),
            # As many as rows: TensorFlow Serving's batching takes the first dimension of each input for them.
            "stop": np.array([b"\n\n"] * rows, object),
            "label": np.array([b""] * rows, object),
            "ids": np.zeros((rows, 0), np.int32),
            "begins": np.zeros(rows, bool),
            "ends": np.ones(rows, bool),
            "previous": np.zeros(rows, np.int32),
            "width": np.array(2, np.int32),
            "length_penalty": np.array(1, np.float32),
        }

    def card(self, preprocessing: Preprocessing[GenerationFacts], config: GenerationConfig) -> TaskCard:
        """Return the sentences of `app.tasks.generation.card`."""
        return generation_card(preprocessing, config)

    def answer(self, predictor: Predictor, text: str) -> object:
        """Continue the beginning of a text."""
        from app.tasks.generation.sampling import Options, generate

        return list(generate(predictor, [text[:TIMED_PROMPT]], Options(length=TIMED_LENGTH)))

    def to_json(self, outputs: OutputArrays) -> list[dict[str, Any]]:
        """Return `loss` (nats per token), `perplexity` and `tokens` of each text."""
        return [
            {
                "loss": round(float(loss), 6),
                "perplexity": round(perplexity(float(loss)), 4),
                "tokens": int(tokens),
            }
            for loss, tokens in zip(outputs["loss"], outputs["tokens"], strict=True)
        ]

    def evaluate(
        self, predictor: Predictor, dataset: Dataset, examples: Iterable[ExampleBatch]
    ) -> Evaluation:
        """Return loss, perplexity and bits per character; each document is read whole, from its start."""
        facts, labels = predictor.info.preprocessing.facts, predictor.info.preprocessing.labels
        assert isinstance(facts, GenerationFacts)
        in_pieces = CONTINUES in dataset.columns
        ends = facts.documents_end and not in_pieces
        sums = np.zeros(3)
        count = characters = 0
        state: dict[str, np.ndarray] = {}
        for batch in examples:
            texts = batch["text"]
            inputs: dict[str, Any] = {"text": list(texts), "ends": np.full(len(texts), ends)}
            if labels:
                ids = label_ids(batch, dataset, labels)
                inputs["label"] = [labels[i] if i >= 0 else b"" for i in ids]
            count += len(texts)
            characters += sum(len(text.decode(errors="replace")) for text in texts)
            if in_pieces:
                for i in range(len(texts)):
                    own = {name: values[i : i + 1] for name, values in inputs.items()}
                    begins = not state or not batch[CONTINUES][i]
                    outputs = _score(predictor, own, state, begins=begins)
                    state = {name: value for name, value in outputs.items() if _is_state(name)}
                    sums += _sums(outputs)
            else:
                sums += _sums(_score(predictor, inputs, {}, begins=True))
        nats, correct, tokens = (float(value) for value in sums)
        return Evaluation(
            {
                "examples": count,
                "tokens": int(tokens),
                "characters": characters,
                **token_scores(nats, correct, tokens),
                "bits_per_character": bits_per_character(nats, characters),
            }
        )

    def report(
        self,
        predictor: Predictor,
        inspection: Inspection[GenerationConfig, GenerationFacts],
        dataset: Dataset,
        split: str,
        result: Mapping[str, Any],
    ) -> list[Section]:
        """Return losses by position, likely and unlikely stretches, and sampled texts."""
        from app.tasks.generation.inspection import GenerationInspection
        from app.tasks.generation.report import generation_report

        assert isinstance(inspection, GenerationInspection)
        return generation_report(predictor, inspection, dataset, split)

    def baseline(self, train: Split, test: Split, predictor: Predictor) -> Evaluation:
        """Evaluate an interpolated n-gram model of the same tokens."""
        return ngram_baseline(train, test, predictor)


def _is_state(name: str) -> bool:
    return name == "previous" or name.startswith("state_")


def _score(
    predictor: Predictor, inputs: dict[str, Any], state: dict[str, np.ndarray], *, begins: bool
) -> OutputArrays:
    """Call `score_pieces`; without a state all rows begin a document."""
    rows = len(inputs["text"])
    if not state:
        # The states of documents that begin are not read; `begin` knows their shapes.
        prompt = {"prompt": [b""]} | ({"label": [b""]} if "label" in inputs else {})
        shapes = predictor.run("begin", prompt)
        state = {
            name: np.zeros((rows, *value.shape[1:]), value.dtype)
            for name, value in shapes.items()
            if _is_state(name)
        }
        state["previous"] = np.zeros(rows, np.int32)
    return predictor.run("score_pieces", {**inputs, **state, "begins": np.full(rows, begins)})


def _sums(outputs: OutputArrays) -> list[float]:
    return [float(outputs[name].sum(dtype=np.float64)) for name in ("nats", "correct", "tokens")]
