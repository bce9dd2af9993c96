"""Many to many, of another length: what a text is in another language, or in other words."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.tasks.base import Answers, Arrays, Losses, Plan, RowBatch, Task, Vocabularies, evaluated, perplexity
from data.batching import Batch, Feed, RowFeed
from data.encoding import Encoded, UniqueTokens
from data.errors import UserError
from data.formats import Field, Row, Value, read_csv, read_jsonl, read_tsv
from data.prepared import Dataset

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.artifacts.run import Run
    from app.config import Config
    from app.prediction.predictor import Predictor

SHARED, SOURCE, TARGET = "vocabulary", "vocabulary", "target_vocabulary"
TARGET_PREFIX = "target_"
MOST_TRANSLATED = 1000
"""About so many validation rows are translated after an epoch."""
DIGITS = 6


class Translation(Task):
    """Translation, summarisation: an encoder, attention, a decoder."""

    name = "translation"
    formats: Mapping[str, Any] = {"jsonl": read_jsonl, "csv": read_csv, "tsv": read_tsv}
    metric = "accuracy"
    validation_names = ("accuracy", "perplexity", "bleu")
    tokens_to_learn_from = 9_000_000
    read_sequences = ("source", "target")

    def check_config(self, config: Config) -> None:
        """At least one layer."""
        if config.model.layers < 1:
            raise UserError("model.layers = 0: expected at least 1 for translation")

    def fields(self, config: Config) -> tuple[Field, ...]:
        """A text in both languages."""
        data = config.data
        return (
            Field("source", "text", data.source, "--set data.source=NAME"),
            Field("target", "text", data.target, "--set data.target=NAME"),
        )

    def parallel(self, config: Config) -> tuple[str, ...]:
        """The files of both languages."""
        return (config.data.source, config.data.target)

    def described(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The source."""
        return {"text": values["source"]}

    def plan(self, dataset: Dataset, config: Config, training: Callable[[], Iterator[RowBatch]]) -> Plan:
        """Two sequences, `source` and `target`, of one vocabulary or of two."""
        from app.tasks.tokenizing import TextCutter, text_cutter
        from models.text.tokens import SEQUENCE_TOKENS

        def cutter(names: Sequence[str], prefix: str = "") -> TextCutter:
            def texts() -> Iterator[np.ndarray]:
                for batch in training():
                    yield from (batch[name] for name in names)

            return text_cutter(config, texts, special=SEQUENCE_TOKENS, prefix=prefix, collapse=True)

        if config.text.shared:
            source = target = cutter(["source", "target"])
            rules = {SHARED: source.rule}
        else:
            source, target = cutter(["source"]), cutter(["target"], TARGET_PREFIX)
            rules = {SOURCE: source.rule, TARGET: target.rule}

        def cut(batch: RowBatch) -> tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]:
            return {"source": source.cut(batch["source"]), "target": target.cut(batch["target"])}, {}

        vocabulary_of = {"source": SOURCE, "target": SHARED if config.text.shared else TARGET}
        return Plan(cut, vocabulary_of, rules, {**source.learned, **target.learned})

    def vocabularies(self, encoded: Encoded, dataset: Dataset, config: Config) -> dict[str, list[bytes]]:
        """Those of both languages."""
        return dict(encoded.vocabularies)

    def feed(self, encoded: Encoded, split: str, vocabularies: Vocabularies, config: Config) -> Feed:
        """Pairs of like length; a pair with a side beyond `text.max_length` has no right target left."""
        from models.text.tokens import END_ID

        rows = encoded.splits[split]
        source, target = rows.sequences["source"], rows.sequences["target"]
        most = config.text.max_length or np.iinfo(np.int64).max
        # As long as the limit may be longer: both sides were cut there.
        kept = np.flatnonzero((source.counts < most) & (target.counts < most))
        if not len(kept):
            raise UserError(
                f"text.max_length = {most}: every {split} row has a side of as many tokens or more; "
                "give a larger one, or 0 for no limit"
            )

        def make(indices: np.ndarray) -> Batch:
            own = kept[indices]
            ids, lengths = source.batch(own)
            counts = target.counts[own]
            following = np.zeros((len(own), int(counts.max()) + 1), np.int32)
            for place, (index, count) in enumerate(zip(own, counts, strict=True)):
                following[place, :count] = target.row(int(index))
                following[place, count] = END_ID
            before = np.pad(following[:, :-1], [(0, 0), (1, 0)], constant_values=END_ID)
            arrays = {
                "source": ids,
                "source_lengths": lengths,
                "before": before,
                "following": following,
                "lengths": (counts + 1).astype(np.int32),
            }
            return Batch(arrays, len(own), int(lengths.sum() + counts.sum()))

        return RowFeed(
            target.lengths[kept] + source.lengths[kept], make, batch_size=config.training.batch_size
        )

    def build_model(self, config: Config, encoded: Encoded, vocabularies: Vocabularies) -> keras.Model:
        """A `models.seq2seq.Seq2Seq`."""
        from models.seq2seq import Seq2Seq
        from models.settings import Seq2SeqSettings

        built = Seq2Seq(
            Seq2SeqSettings.of(config.model),
            source_vocabulary_size=len(vocabularies[SOURCE]),
            target_vocabulary_size=len(_target(vocabularies)),
            shared=config.text.shared,
        )
        built.build()
        return built

    def embedding(self, model: keras.Model) -> keras.layers.Embedding:
        """The source's."""
        return model.source_embedding

    def register_model(self) -> None:
        """A `models.seq2seq.Seq2Seq`."""
        importlib.import_module("models.seq2seq")

    def losses(
        self,
        model: keras.Model,
        batch: Mapping[str, tf.Tensor],
        carried: Sequence[tf.Variable],
        *,
        label_smoothing: float,
    ) -> Losses:
        """The mean over the targets' tokens, their ends among them; a hit had the highest score."""
        import tensorflow as tf

        nats, hits, tokens = _read(model, batch, training=True, label_smoothing=label_smoothing)
        return Losses(tf.reduce_sum(nats) / tokens, hits, tokens)

    def evaluator(
        self, model: keras.Model, feed: Feed, vocabularies: Vocabularies, config: Config
    ) -> Callable[[], dict[str, float]]:
        """Loss (nats a token), perplexity, accuracy, and BLEU of greedy translations of some rows."""
        import tensorflow as tf

        from app.tasks.translation.search import Translator

        translator = Translator(model, vocabularies, config)

        def step(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            nats, hits, tokens = _read(model, batch, training=False)
            ids, lengths, _ = translator.search(batch["source"], batch["source_lengths"], width=1)
            return {
                "nats": tf.reduce_sum(nats),
                "hits": hits,
                "tokens": tokens,
                "found": translator.write(ids[:, 0], lengths[:, 0]),
                "right": translator.write(batch["following"], batch["lengths"] - 1),
            }

        def figures(_: Sequence[Arrays], outputs: Sequence[Arrays]) -> dict[str, float]:
            nats, hits, tokens = (sum(float(o[n]) for o in outputs) for n in ("nats", "hits", "tokens"))
            found, right = ([t.decode() for o in outputs for t in o[n]] for n in ("found", "right"))
            loss = nats / tokens
            return {
                "loss": loss,
                "perplexity": perplexity(loss),
                "accuracy": hits / tokens,
                "bleu": validation_bleu(found, right),
            }

        return evaluated(step, _Shortened(feed), figures)

    def signatures(
        self, module: tf.Module, model: keras.Model, vocabularies: Vocabularies, config: Config
    ) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """`serving_default`: `text` → `text`, `score`; `search`: the same with the options of the search.

        With attention also `attention`: `text` → `source`, `target`, their lengths, `attention`, `text`.
        """
        import tensorflow as tf

        from app.tasks.translation.search import Translator

        translator = module.translator = Translator(model, vocabularies, config)
        decoding = config.decoding

        def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return translator(text, decoding.beam, decoding.length_penalty, decoding.coverage_penalty)

        def attention(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return translator.attention(
                text, decoding.beam, decoding.length_penalty, decoding.coverage_penalty
            )

        def search(
            text: tf.Tensor, width: tf.Tensor, length_penalty: tf.Tensor, coverage_penalty: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            return translator(text, tf.maximum(width, 1), length_penalty, coverage_penalty)

        texts = tf.TensorSpec([None], tf.string, "text")
        options = [
            tf.TensorSpec([], tf.int32, "width"),
            tf.TensorSpec([], tf.float32, "length_penalty"),
            tf.TensorSpec([], tf.float32, "coverage_penalty"),
        ]
        signatures = {
            self.signature: tf.function(serving_default, input_signature=[texts], autograph=False),
            "search": tf.function(search, input_signature=[texts, *options], autograph=False),
        }
        if config.model.attention != "none":
            signatures["attention"] = tf.function(attention, input_signature=[texts], autograph=False)
        return signatures

    def examples(self, signature: str, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
        """The texts, and the options of a `search` that follows two translations at a time."""
        return super().examples(signature, texts) | {
            "width": np.array(2, np.int32),
            "length_penalty": np.array(1, np.float32),
            "coverage_penalty": np.array(0.2, np.float32),
        }

    def answer(self, predictor: Predictor, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """The translations, with the predictor's own beam if it has one."""
        return self.lines(_translated(predictor, [row.text().encode() for row in rows]))

    def lines(self, answers: Answers) -> list[dict[str, Any]]:
        """`text` and `score` of each row."""
        return [
            {"text": text.decode(errors="replace"), "score": round(float(score), DIGITS)}
            for text, score in zip(answers["text"], answers["score"], strict=True)
        ]

    def evaluate(
        self, predictor: Predictor, run: Run, dataset: Dataset, rows: Iterable[RowBatch]
    ) -> dict[str, Any]:
        """BLEU and chrF of what is found, its mean score; loss and perplexity of what is right."""
        nats = tokens = hits = 0.0
        judge = _judge(predictor.model, run)
        found: list[str] = []
        right: list[str] = []
        scores: list[float] = []
        for batch in rows:
            for line in self.lines(_translated(predictor, batch["source"])):
                found.append(line["text"])
                scores.append(line["score"])
            right += [text.decode(errors="replace") for text in batch["target"]]
            more = judge(batch["source"], batch["target"])
            nats, hits, tokens = nats + more[0], hits + more[1], tokens + more[2]
        loss = nats / max(tokens, 1)
        return {
            "examples": len(found),
            "loss": loss,
            "perplexity": perplexity(loss),
            "accuracy": hits / max(tokens, 1),
            **_bleu(found, right),
            "exact_match": float(np.mean([a == b for a, b in zip(found, right, strict=True)])),
            "mean_score": float(np.mean(scores)),
            "beam": predictor.beam or run.config.decoding.beam,
        }


class _Shortened:
    """A feed of which only some batches are read in evaluation."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.batch = feed.batch
        self.epoch = feed.epoch

    def whole(self) -> Sequence[Any]:
        """An even choice of the batches, of short rows and of long ones."""
        entries = self.feed.whole()
        rows = sum(len(entry) for entry in entries)
        return entries[:: max(round(rows / MOST_TRANSLATED), 1)]


def _target(vocabularies: Vocabularies) -> Sequence[bytes]:
    return vocabularies.get(TARGET, vocabularies[SHARED])


def _read(
    model: keras.Model, batch: Mapping[str, tf.Tensor], *, training: bool, label_smoothing: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Nats of each row float [B], hits and tokens in sum."""
    import tensorflow as tf

    from models.losses import number_correct, token_cross_entropy

    logits = model(batch["source"], batch["source_lengths"], batch["before"], training=training)
    targets = batch["following"]
    real = tf.sequence_mask(batch["lengths"], tf.shape(targets)[1])
    nats = tf.reduce_sum(token_cross_entropy(logits, targets, real, label_smoothing), axis=1)
    tokens = tf.reduce_sum(tf.cast(batch["lengths"], tf.float32))
    return nats, number_correct(logits, targets, real), tokens


def _translated(predictor: Predictor, texts: Sequence[bytes] | np.ndarray) -> Answers:
    """The answers to texts, with the search's options of the run or the predictor's own width."""
    lengths = np.array([len(text) for text in texts])
    if predictor.beam is None:
        return predictor.run(predictor.task.signature, {"text": texts}, lengths)
    import tensorflow as tf

    decoding = predictor.manifest["decoding"]
    options = {
        "width": tf.constant(predictor.beam),
        "length_penalty": tf.constant(float(decoding["length_penalty"])),
        "coverage_penalty": tf.constant(float(decoding["coverage_penalty"])),
    }
    return predictor.run("search", {"text": texts}, lengths, options=options)


def _judge(model: Any, run: Run) -> Callable[[np.ndarray, np.ndarray], tuple[float, float, float]]:
    """Nats, hits and tokens of right translations, all of their tokens."""
    import tensorflow as tf

    from app.prediction.predictor import BATCH_SIZE
    from app.tasks.translation.search import Translator
    from data.batching import sorted_batches

    translator = Translator(model, run.vocabularies(), run.config)
    specs = [tf.TensorSpec([None], tf.string)] * 2

    def step(source: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, ...]:
        nats, hits, tokens = _read(model, translator.pair(source, target), training=False)
        return tf.reduce_sum(nats), hits, tokens

    graph = tf.function(step, input_signature=specs, autograph=False)

    def judge(sources: np.ndarray, targets: np.ndarray) -> tuple[float, float, float]:
        sums = np.zeros(3)
        lengths = np.array([len(a) + len(b) for a, b in zip(sources, targets, strict=True)])
        for rows in sorted_batches(lengths, batch_size=BATCH_SIZE):
            sums += [
                float(v) for v in graph(*(tf.constant(side[rows], tf.string) for side in (sources, targets)))
            ]
        return float(sums[0]), float(sums[1]), float(sums[2])

    return judge


def validation_bleu(found: Sequence[str], right: Sequence[str]) -> float:
    """BLEU that tells epochs apart: of shorter sequences where no translation has four words.

    There it would be 0 for the best model, and more for a worse one that says too much.
    """
    from sacrebleu.metrics.bleu import BLEU

    return float(BLEU(effective_order=True).corpus_score(found, [right]).score)


def _bleu(found: Sequence[str], right: Sequence[str]) -> dict[str, Any]:
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015), 0 to 100, by sacrebleu (Post 2018)."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    bleu, chrf = BLEU(), CHRF()
    return {
        "bleu": bleu.corpus_score(found, [right]).score,
        "chrf": chrf.corpus_score(found, [right]).score,
        "signatures": {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())},
    }


TASK = Translation()
