"""The tagger, its loss and its validation metrics."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.metrics import RECURRENT_LOSS, TOKEN_F1, Metric
from app.tasks.base import Arrays, Losses, NamedAxis, Training, evaluated, head_axes
from app.tasks.calibration import choose_weights
from app.tasks.tagging.boundaries import CHARACTERS, TEXTS, edge_spans, rules_spans, spans_in_common
from app.tasks.tagging.branches import SCORES, Branches
from app.tasks.tagging.config import TaggingConfig
from app.tasks.tagging.facts import LEARNED_SCHEME, TaggingFacts
from app.tasks.tagging.features import fit_features
from app.tasks.tagging.scores import TagScore, metrics
from app.tasks.tagging.span_ends import inside_tags, learned_tags
from app.tasks.teaching import taught
from data.batching import Batches
from data.tags import Score, transitions

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.tasks.inspection import Inspection

ARGUMENTS = ("token_ids", "lengths", "word_types", "characters", "character_lengths", "word_features")
"""Inputs of the network, in order."""
ENCODED = ARGUMENTS[:-1]
"""Those of them that the recurrent layers depend on."""
UNSCALED = "unscaled_label_logits"
"""Output of a calibrated network with labels."""
TAGS, LABELS = "tags", "labels"
"""Names of a teacher's probabilities."""


class TaggingTraining(Training[TaggingConfig, TaggingFacts]):
    """Training of a `models.tagger.Tagger`."""

    distills = True

    def metrics(self, preprocessing: Preprocessing[TaggingFacts]) -> tuple[Metric, ...]:
        """Return the loss (nats per token) and accuracy; span F1 for span tags; label metrics for labels.

        If a tokenizer is learned, there is also the F1 of tokens in raw text.
        """
        found = metrics(has_spans=preprocessing.facts.has_spans, has_labels=bool(preprocessing.labels))
        return (*found, TOKEN_F1) if CHARACTERS in preprocessing.vocabularies else found

    def build_model(
        self, config: TaggingConfig, preprocessing: Preprocessing[TaggingFacts], token_counts: np.ndarray
    ) -> keras.Model:
        """Return a `models.tagger.Tagger`."""
        from models.tagger import Tagger

        model = config.model
        tags = preprocessing.vocabularies["tags"]
        allowed = None
        inside: list[int] = []
        if preprocessing.facts.has_spans:
            names, scheme = [tag.decode() for tag in tags], LEARNED_SCHEME
            if model.tag_scheme == "bioes":
                inside = inside_tags(names)
                names, scheme = learned_tags(names, inside), "BIOES"
            allowed = transitions(names, scheme)
        tagger = Tagger(
            config.model,
            vocabulary_size=len(preprocessing.vocabulary),
            tags=len(tags),
            labels=len(preprocessing.labels),
            character_vocabulary_size=len(preprocessing.vocabularies["characters"]),
            allowed=allowed,
            inside=inside,
            alphabet=[
                ord(character.decode()) for character in preprocessing.vocabularies.get(CHARACTERS, ())
            ],
            feature_entries=preprocessing.facts.features,
        )
        tagger.build()
        tagger.word_dropout.drop_rare(token_counts, model.rare_word_dropout * token_counts.sum())
        return tagger

    def start(
        self,
        model: keras.Model,
        batches: Batches,
        preprocessing: Preprocessing[TaggingFacts],
        config: TaggingConfig,
    ) -> Iterator[str]:
        """Fit the linear model of features of tokens, if there is one."""
        if model.token_features is not None:
            yield f"fitting a linear model of {preprocessing.facts.features:,} features of tokens"
            fit_features(model, batches)

    def inspection(
        self, model: keras.Model, preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig
    ) -> Inspection[TaggingConfig, TaggingFacts]:
        """Return how taggers are looked into."""
        from app.tasks.tagging.inspection import TaggingInspection

        return TaggingInspection(model, preprocessing, config)

    def named_axes(
        self, model: keras.Model, preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig
    ) -> Iterator[NamedAxis]:
        """Yield those of the embeddings of words and characters, of tags, and of labels."""
        yield from super().named_axes(model, preprocessing, config)
        vocabularies = preprocessing.vocabularies
        if model.character_encoder is not None:
            table = model.character_encoder.embedding.embeddings
            yield NamedAxis(table, 0, "characters", vocabularies["characters"])
        tags = [tag.decode() for tag in vocabularies["tags"]]
        if model.span_ends:
            tags = learned_tags(tags, inside_tags(tags))
        yield from head_axes(model.head, "tags", tags)
        if model.crf is not None:
            for weight, axis in (
                (model.crf.transitions, 0),
                (model.crf.transitions, 1),
                (model.crf.start, 0),
                (model.crf.end, 0),
            ):
                yield NamedAxis(weight, axis, "tags", tags)
        if preprocessing.labels:
            yield from head_axes(model.label_head, "labels", preprocessing.labels)
        if model.tokenizer is not None:
            characters = vocabularies[CHARACTERS]
            table = model.tokenizer.embedding.embeddings
            special = range(table.shape[0] - len(characters))
            yield NamedAxis(table, 0, "characters of raw text", [*special, *characters])

    def register_model(self) -> None:
        """Import `models.tagger`."""
        importlib.import_module("models.tagger")

    def losses(
        self,
        model: keras.Model,
        batch: Mapping[str, tf.Tensor],
        carried: Sequence[tf.Variable],
        *,
        label_smoothing: float,
    ) -> Losses:
        """Compute the mean loss over tokens, plus the cross-entropy of the labels if there are any.

        If a tokenizer is learned, the mean cross-entropy of its decisions is added.

        Label smoothing applies to tags and labels, with a CRF to labels only.
        """
        import tensorflow as tf

        from models.losses import cross_entropy, number_correct, soft_cross_entropy

        outputs = run_tagger(model, batch, training=True)
        lengths = batch["lengths"]
        tokens = tf.cast(tf.reduce_sum(lengths), tf.float32)
        nats = taught(
            model.tag_losses(outputs, batch["tags"], lengths, label_smoothing),
            batch,
            TAGS,
            lambda probabilities, temperature: model.taught_losses(
                outputs, probabilities, lengths, temperature
            ),
        )
        loss = tf.reduce_sum(nats) / tokens
        others = []
        if "labels" in batch:
            of_labels = taught(
                cross_entropy(outputs["label_logits"], batch["labels"], label_smoothing),
                batch,
                LABELS,
                lambda probabilities, temperature: soft_cross_entropy(
                    outputs["label_logits"], probabilities, temperature
                ),
            )
            others.append(tf.reduce_mean(of_labels))
        if model.tokenizer is not None:
            others.append(
                model.tokenizer.loss(batch["code_points"], batch["text_lengths"], batch["boundaries"])
            )
        for other in others:
            loss += other
        real = tf.sequence_mask(lengths, tf.shape(batch["tags"])[1])
        learned = model.learned_tags(batch["tags"], lengths)
        correct = number_correct(outputs["emissions"], learned, real)
        return Losses(loss, correct, tokens, others=tuple(others))

    def counts(self, batch: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """Return the number of tokens; of texts if they have labels; of decisions of a learned tokenizer."""
        import tensorflow as tf

        found = [tf.reduce_sum(batch["lengths"])]
        if "labels" in batch:
            found.append(tf.size(batch["labels"]))
        if "boundaries" in batch:
            found.append(tf.math.count_nonzero(batch["boundaries"] >= 0, dtype=tf.int32))
        return [tf.cast(number, tf.float32) for number in found]

    def cannot_learn(self, student: TaggingConfig, teacher: TaggingConfig) -> str:
        """Return why a student cannot learn from the probabilities of a teacher: of other tags or tokens."""
        own, other = student.model.tag_scheme, teacher.model.tag_scheme
        if own != other:
            return f"it has model.tag_scheme = {other!r}, the student {own!r}; give the student the same"
        if student.training.exchange_spans:
            return "the student's training.exchange_spans changes the tokens that it saw; set it to 0"
        return ""

    def teach(
        self, model: keras.Model, batch: Mapping[str, tf.Tensor], temperature: float
    ) -> dict[str, tf.Tensor]:
        """Return the probabilities of tags, float32 [B, T, K], and of labels, if there are any, [B, L]."""
        import tensorflow as tf

        outputs = run_tagger(model, batch, training=False)
        found = {TAGS: model.learned_probabilities(outputs, batch["lengths"], temperature)}
        if "label_logits" in outputs:
            found[LABELS] = tf.nn.softmax(tf.cast(outputs["label_logits"], tf.float32) / temperature)
        return found

    def evaluator(
        self,
        model: keras.Model,
        batches: Batches,
        preprocessing: Preprocessing[TaggingFacts],
        config: TaggingConfig,
    ) -> Callable[[], dict[str, float]]:
        """Return a function that computes the metrics of a split.

        First it chooses what fits the split best: the weights of the branches, and the tokenizer.
        """
        names = [tag.decode() for tag in preprocessing.vocabularies["tags"]]
        wanted = [metric.name for metric in self.metrics(preprocessing)]
        rules_f1: float | None = None

        def step(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            import tensorflow as tf

            from models.text.boundaries import token_edges

            outputs = run_tagger(model, batch, training=False)
            if branches is None:
                found = tagged(batch, outputs)
            else:
                found = {name: outputs[name] for name in SCORES}
                alone = {"emissions": outputs[SCORES[0]]}
                found[RECURRENT_LOSS.name] = model.tag_losses(alone, batch["tags"], batch["lengths"])
            if "label_logits" in outputs:
                found["label"] = tf.argmax(outputs["label_logits"], axis=-1, output_type=tf.int32)
            if UNSCALED in outputs:
                found[UNSCALED] = outputs[UNSCALED]
            if model.tokenizer is not None:
                tokenizer = model.tokenizer
                texts = tokenizer.visible(batch["code_points"], batch["text_lengths"])
                decisions = batch["boundaries"] > 0
                found["edges"] = tf.stack(token_edges(texts, tokenizer(texts) >= 0))
                found["gold_edges"] = tf.stack(token_edges(texts, decisions))
            return found

        def tagged(batch: Mapping[str, tf.Tensor], outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return {
                "loss": model.tag_losses(outputs, batch["tags"], batch["lengths"]),
                "tags": model.decode(outputs, batch["lengths"]),
            }

        branches = None if model.token_features is None else Branches(model, tagged)

        def choose_tokenizer(arrays: Sequence[Arrays], outputs: Sequence[Arrays]) -> dict[str, float]:
            nonlocal rules_f1
            learned = rules = Score()
            for batch, output in zip(arrays, outputs, strict=True):
                gold = edge_spans(output["gold_edges"])
                found = edge_spans(output["edges"])
                learned = learned.plus(len(gold), len(found), spans_in_common(gold, found))
                if rules_f1 is None:
                    found = rules_spans(batch)
                    rules = rules.plus(len(gold), len(found), spans_in_common(gold, found))
            rules_f1 = rules.f1 if rules_f1 is None else rules_f1
            is_learned = config.text.tokenizer == "learned" or learned.f1 > rules_f1
            model.tokenizer.choose(is_learned, learned.f1, rules_f1)
            return {
                TOKEN_F1.name: learned.f1 if is_learned else rules_f1,
                "learned_token_f1": learned.f1,
                "rules_token_f1": rules_f1,
            }

        def of_split(arrays: Sequence[Arrays], outputs: Sequence[Arrays]) -> dict[str, float]:
            score = TagScore(preprocessing.facts)
            if branches is not None:
                outputs = branches.join(arrays, outputs)
            if outputs and UNSCALED in outputs[0]:
                logits, targets = (
                    np.concatenate([own[name] for own in several])
                    for name, several in ((UNSCALED, outputs), ("labels", arrays))
                )
                known = targets < logits.shape[1]
                model.label_scale.assign(choose_weights([logits[known]], targets[known]))
            for batch, output in zip(arrays, outputs, strict=True):
                score.add_loss(float(output["loss"].sum()), int(batch["lengths"].sum()))
                for i, length in enumerate(batch["lengths"]):
                    gold, found = (
                        [names[t] for t in tags[i, :length]] for tags in (batch["tags"], output["tags"])
                    )
                    correct = output["label"][i] == batch["labels"][i] if "labels" in batch else None
                    score.add(gold, found, correct)
            validation = {name: value for name, value in score.metrics().items() if name in wanted}
            if branches is not None:
                nats = sum(float(output[RECURRENT_LOSS.name].sum()) for output in outputs)
                validation[RECURRENT_LOSS.name] = nats / score.tokens
            if model.tokenizer is not None:
                validation |= choose_tokenizer(arrays, outputs)
            return validation

        return evaluated(step, batches, of_split, reads=["tags", "lengths", "labels", *TEXTS])

    def after_epoch(
        self, model: keras.Model, preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig
    ) -> Callable[[], str]:
        """Return a function that says which tokenizer is the better one."""

        def chosen() -> str:
            if model.tokenizer is None:
                return ""
            name, learned, rules = model.tokenizer.choice()
            return (
                f"tokenizer: {name} (token F1 on validation texts: learned {learned:.4f}, rules {rules:.4f})"
            )

        return chosen


def run_tagger(
    model: keras.Model, arrays: Mapping[str, tf.Tensor], *, training: bool
) -> dict[str, tf.Tensor]:
    """Run a tagger on its inputs by name."""
    outputs: dict[str, tf.Tensor] = model(*(arrays[name] for name in ARGUMENTS), training=training)
    return outputs


def tokenizer_of(model: keras.Model) -> Literal["learned", "rules"]:
    """Return the tokenizer that a trained tagger uses for raw text."""
    name: Literal["learned", "rules"] = "rules" if model.tokenizer is None else model.tokenizer.choice()[0]
    return name
