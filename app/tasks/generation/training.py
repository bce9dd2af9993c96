"""The language model, its loss and its validation metrics."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.bounds import LARGEST_INTEGER
from app.metrics import Metric, token_scores
from app.tasks.base import Losses, NamedAxis, Training, graph_of, head_axes
from app.tasks.generation.config import GenerationConfig
from app.tasks.generation.facts import GenerationFacts
from app.tasks.generation.scores import METRICS
from data.batching import Batches, made_ahead
from data.errors import UserError
from data.streams import StreamBatches

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.tasks.inspection import Inspection

NO_LABEL_SHARE = 0.1
"""Share of the training windows without their label, so that the model works without one."""
SAMPLE_CHARACTERS, SAMPLE_WORDS = 200, 50
SAMPLE_TEMPERATURE = 0.8


class GenerationTraining(Training[GenerationConfig, GenerationFacts]):
    """Training of a `models.language_model.LanguageModel`."""

    def metrics(self, preprocessing: Preprocessing[GenerationFacts]) -> tuple[Metric, ...]:
        """Return the loss (nats per token), perplexity and accuracy."""
        return METRICS

    def build_model(
        self,
        config: GenerationConfig,
        preprocessing: Preprocessing[GenerationFacts],
        token_counts: np.ndarray,
    ) -> keras.Model:
        """Return a `models.language_model.LanguageModel`."""
        from models.language_model import LanguageModel

        built = LanguageModel(
            config.model,
            vocabulary_size=len(preprocessing.vocabulary),
            labels=len(preprocessing.labels),
        )
        built.build()
        samples = config.training.sampled_softmax
        if samples >= built.vocabulary_size:
            raise UserError(
                f"training.sampled_softmax = {samples} is not less than the vocabulary of "
                f"{built.vocabulary_size} tokens; give a smaller number, or 0 for the full softmax"
            )
        built.sample_softmax(samples)
        return built

    def inspection(
        self, model: keras.Model, preprocessing: Preprocessing[GenerationFacts], config: GenerationConfig
    ) -> Inspection[GenerationConfig, GenerationFacts]:
        """Return how language models are looked into."""
        from app.tasks.generation.inspection import GenerationInspection

        return GenerationInspection(model, preprocessing, config)

    def directions(self, model: keras.Model) -> tuple[Sequence[keras.layers.RNN], Sequence[keras.layers.RNN]]:
        """Return the recurrent layers; none of them is backward."""
        return model.recurrent, ()

    def named_axes(
        self, model: keras.Model, preprocessing: Preprocessing[GenerationFacts], config: GenerationConfig
    ) -> Iterator[NamedAxis]:
        """Yield those of the embedding, of the head, and of the embedding of labels."""
        yield from super().named_axes(model, preprocessing, config)
        if config.model.tie_embeddings:
            yield NamedAxis(model.head.bias, 0, "tokens", preprocessing.vocabulary)
        else:
            yield from head_axes(model.head, "tokens", preprocessing.vocabulary)
        if model.label_embedding is not None:
            labels = [*preprocessing.labels, None]  # the last one means that a text has none
            yield NamedAxis(model.label_embedding.embeddings, 0, "labels", labels)

    def register_model(self) -> None:
        """Import `models.language_model`."""
        importlib.import_module("models.language_model")

    def carried(self, model: keras.Model, batches: Batches) -> list[tf.Variable]:
        """Return the hidden state of each stream after its last window."""
        import tensorflow as tf

        assert isinstance(batches, StreamBatches)
        state = tf.nest.flatten(model.initial_state(batches.streams))
        return [tf.Variable(value, trainable=False, name=f"carried_{i}") for i, value in enumerate(state)]

    def losses(
        self,
        model: keras.Model,
        batch: Mapping[str, tf.Tensor],
        carried: Sequence[tf.Variable],
        *,
        label_smoothing: float,
    ) -> Losses:
        """Compute the mean cross-entropy over the tokens of a window, and carry the hidden state on."""
        import keras
        import tensorflow as tf

        labels = batch.get("labels")
        if labels is not None:
            chance = keras.random.uniform(tf.shape(labels), seed=model.weight_seed)
            labels = tf.where(chance < NO_LABEL_SHARE, model.labels, labels)
        state = tf.nest.pack_sequence_as(model.initial_state(1), [tf.convert_to_tensor(v) for v in carried])
        nats, correct, tokens, state = _read_window(
            model, batch, state, labels, training=True, label_smoothing=label_smoothing
        )
        for variable, value in zip(carried, tf.nest.flatten(state), strict=True):
            variable.assign(tf.stop_gradient(value))
        tokens = tf.maximum(tokens, 1.0)
        return Losses(nats / tokens, correct, tokens)

    def counts(self, batch: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """Return the number of tokens."""
        import tensorflow as tf

        return [tf.reduce_sum(tf.cast(tf.where(batch["counted"], batch["lengths"], 0), tf.float32))]

    def evaluator(
        self,
        model: keras.Model,
        batches: Batches,
        preprocessing: Preprocessing[GenerationFacts],
        config: GenerationConfig,
    ) -> Callable[[], dict[str, float]]:
        """Return a function that computes the metrics of a split."""
        assert isinstance(batches, StreamBatches)
        read = _reader(model, batches)
        return lambda: token_scores(*read())

    def sampler(
        self, model: keras.Model, preprocessing: Preprocessing[GenerationFacts], config: GenerationConfig
    ) -> Callable[[int], str]:
        """Return a function that samples the beginning of a text, another one after each epoch."""
        import tensorflow as tf

        from app.tasks.generation.signatures import GenerationSignatures

        module = GenerationSignatures(model, preprocessing, config)
        generate = module.all()["serving_default"].function
        length = SAMPLE_WORDS if config.text.tokens in ("word", "subword") else SAMPLE_CHARACTERS

        def show(epoch: int) -> str:
            seed = (config.seed + epoch) % LARGEST_INTEGER
            arguments = (tf.constant([v]) for v in (b"", length, SAMPLE_TEMPERATURE, 0, 1.0, seed))
            text: str = generate(*arguments)["text"].numpy()[0].decode(errors="replace")
            return text

        show.keep_alive = module  # type: ignore[attr-defined]  # tables are deleted with their module
        return show


def _read_window(
    model: keras.Model,
    batch: Mapping[str, tf.Tensor],
    state: Any,
    labels: tf.Tensor | None,
    *,
    training: bool,
    label_smoothing: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Any]:
    """Return summed loss in nats, correct tokens and tokens of a window, and the state after it."""
    import tensorflow as tf

    from models.losses import number_correct, token_cross_entropy
    from models.text.tokens import UNKNOWN_ID

    continued = tf.logical_not(batch["fresh"])[:, tf.newaxis]
    state = tf.nest.map_structure(lambda value: tf.where(continued, value, 0.0), state)
    targets = classes = batch["targets"]
    if training:
        logits, classes, state = model.training_scores(batch["inputs"], targets, state, labels)
    else:
        logits, state = model(batch["inputs"], state, labels)
    real = tf.sequence_mask(batch["lengths"], tf.shape(targets)[1]) & batch["counted"][:, tf.newaxis]
    nats = tf.reduce_sum(token_cross_entropy(logits, classes, real, label_smoothing))
    correct = number_correct(logits, classes, real & tf.not_equal(targets, UNKNOWN_ID))
    return nats, correct, tf.reduce_sum(tf.cast(real, tf.float32)), state


def _reader(model: Any, batches: StreamBatches) -> Callable[[], tuple[float, float, float]]:
    """Return a function that reads a whole split: summed loss in nats, correct tokens, tokens."""
    import tensorflow as tf

    entries = batches.whole()
    streams = len(entries[0].start) if entries else 0
    graph: Any = None

    def step(batch: dict[str, tf.Tensor]) -> tuple[Any, ...]:
        names = [name for name in batch if name.startswith("state_")]
        state = tf.nest.pack_sequence_as(model.initial_state(1), [batch[name] for name in sorted(names)])
        return _read_window(model, batch, state, batch.get("labels"), training=False)

    def read() -> tuple[float, float, float]:
        nonlocal graph
        state = tf.nest.flatten(model.initial_state(streams))
        sums = np.zeros(3)
        for batch in made_ahead(batches.batch, entries):
            carried = {f"state_{i:03}": value for i, value in enumerate(state)}
            arrays = {**batch.arrays, **carried}
            graph = graph or graph_of(step, arrays)
            *values, after = graph(arrays)
            sums += [float(value) for value in values]
            state = tf.nest.flatten(after)
        return float(sums[0]), float(sums[1]), float(sums[2])

    return read
