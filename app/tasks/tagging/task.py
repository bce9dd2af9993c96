"""Many to many, of equal length: a tag for each token of a text, and perhaps a label for the whole."""

from __future__ import annotations

import importlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.tasks.base import Answers, Arrays, Losses, Plan, RowBatch, Task, Vocabularies, evaluated
from app.tasks.labels import check_labels, check_labels_known, label_ids, label_names
from app.tasks.tagging.scores import RawScore, TagScore
from data.batching import Batch, Feed, RowFeed
from data.encoding import Encoded, UniqueTokens, VocabularyRule
from data.errors import UserError
from data.formats import Field, Row, Value, read_conll, read_conllu, read_jsonl
from data.prepared import Dataset, Scan, Watch
from data.tags import Scheme, SchemeDetector, SchemeError, convert, spans, transitions

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.artifacts.run import Run
    from app.config import Config
    from app.prediction.predictor import Predictor

PLAIN = b"plain"
LEARNED_SCHEME: Scheme = "BIO"
DESCRIBED_AT_ONCE = 50_000
UNLIMITED = 1 << 31
NOTHING_TO_TAG = "neither a text nor 'tokens'; name the text's column with --text-column NAME"


class _SchemeWatch(Watch):
    """Refuses tags that contradict the scheme of the others, with file and line."""

    def __init__(self) -> None:
        self._detector = SchemeDetector()
        self._lines: list[int] = []
        self._files: list[tuple[int, str]] = []

    def row(self, where: str, row: Row) -> None:
        if not self._files or self._files[-1][1] != where:
            self._files.append((len(self._lines), where))
        self._lines.append(row.line)
        self._detector.add(row.tokens("tags"))

    def finish(self) -> None:
        try:
            self._detector.scheme()
        except SchemeError as error:
            where = next(w for first, w in reversed(self._files) if first <= error.sentence)
            line = self._lines[error.sentence]
            raise UserError(f"{where}:{line}: token {error.token + 1}: {error.reason}") from None


class Tagging(Task):
    """Parts of speech, named entities, slots; with labels, intents and slots from one encoder."""

    name = "tagging"
    formats: Mapping[str, Any] = {
        "conllu": read_conllu,
        "conll": read_conll,
        "bio": read_conll,
        "iob2": read_conll,
        "jsonl": read_jsonl,
    }
    metric = "accuracy"
    validation_names = ("accuracy", "span_f1", "label_accuracy", "exact_match")
    baseline_name = "most frequent tag"
    tokens_to_learn_from = 2_000_000
    read_sequences = ("forms",)

    def fields(self, config: Config) -> tuple[Field, ...]:
        """Tokens and tags; the raw text and a label, where the data has them."""
        data = config.data
        column = data.tag_column
        others = ("tags",) if column == type(data).model_fields["tag_column"].default else ()
        return (
            Field("tokens", "tokens", "tokens", "a column 'tokens'"),
            Field("tags", "tags", column, "--set data.tag_column=NAME", others),
            Field("text", "text", data.text_column, "--set data.text_column=NAME", optional=True),
            Field("label", "label", data.label_column, "--set data.label_column=NAME", optional=True),
        )

    def watch(self, config: Config) -> Watch:
        """Finds tags that contradict their scheme."""
        return _SchemeWatch()

    def described(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The tokens as one text."""
        tokens = values["tokens"]
        assert isinstance(tokens, tuple)
        return {**super().described(values), "text": " ".join(tokens)}

    def check(self, found: Scan) -> None:
        """There are rows, at least two tags, and where there are labels at least two of them."""
        super().check(found)
        tags = found.labels("tags")
        if tags and len(tags.get("train", ())) < 2:
            raise UserError(f"only one tag in the training rows ({next(iter(tags['train']), None)!r})")
        if found.labels():
            check_labels(found)

    def check_known(self, found: Scan, split: str, vocabularies: Vocabularies) -> None:
        """Every label is one of the model's; tags that it lacks count as missed."""
        if "labels" in vocabularies and found.labels():
            check_labels_known(found, split, vocabularies["labels"])

    def plan(self, dataset: Dataset, config: Config, training: Callable[[], Iterator[RowBatch]]) -> Plan:
        """Two sequences, `forms` (tokens as they stand) and `tags` (in BIO if they write spans)."""
        detector = SchemeDetector()
        for batch in training():
            for row in _tags(batch, dataset):
                detector.add(row)
        try:
            scheme = detector.scheme()
        except SchemeError as error:
            raise UserError(f"{dataset.name}: training {error}") from None
        labels = label_names(dataset)

        def cut(batch: RowBatch) -> tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]:
            tags = [[tag.encode() for tag in learned(row, scheme)] for row in _tags(batch, dataset)]
            columns = {"label": label_ids(batch, dataset, labels)} if labels else {}
            return {"forms": _unique(batch["tokens"]), "tags": _unique(tags)}, columns

        rules = {
            "forms": VocabularyRule((), 0, UNLIMITED, training_only=False),
            "tags": VocabularyRule((), 0, UNLIMITED, training_only=False),
        }
        kind = PLAIN if scheme == "plain" else LEARNED_SCHEME.encode()
        return Plan(cut, {"forms": "forms", "tags": "tags"}, rules, {"scheme": [kind]})

    def vocabularies(self, encoded: Encoded, dataset: Dataset, config: Config) -> dict[str, list[bytes]]:
        """Words and characters of the training forms; the tags, their scheme, and the labels."""
        import tensorflow as tf

        from data.vocabulary import most_frequent
        from models.text.tokens import SPECIAL_TOKENS
        from models.text.words import lookup_key

        forms, counts = encoded.vocabularies["forms"], encoded.counts["forms"]
        words: Counter[bytes] = Counter()
        characters: Counter[bytes] = Counter()
        seen = np.flatnonzero(counts)
        for form, count in zip((forms[i] for i in seen), counts[seen], strict=True):
            for character in form.decode(errors="replace"):
                characters[character.encode()] += int(count)
        looked_up = lookup_key(tf.constant([forms[i] for i in seen], tf.string), config.text.lowercase)
        for word, count in zip(looked_up.numpy(), counts[seen], strict=True):
            words[word] += int(count)

        def kept(tokens: Counter[bytes], most: int, min_count: int) -> list[bytes]:
            names = [name for name in tokens if name not in SPECIAL_TOKENS]
            numbers = np.array([tokens[name] for name in names], np.int64)
            best = most_frequent(names, numbers, most=most, min_count=min_count)
            return [*SPECIAL_TOKENS, *(names[i] for i in best)]

        size = config.text.vocabulary_size - len(SPECIAL_TOKENS)
        found = {
            "vocabulary": kept(words, size, config.text.min_count),
            "characters": kept(characters, UNLIMITED, 1),
            "tags": encoded.vocabularies["tags"],
            "scheme": encoded.vocabularies["scheme"],
        }
        if "label" in dataset.names:
            found["labels"] = label_names(dataset)
        return found

    def feed(self, encoded: Encoded, split: str, vocabularies: Vocabularies, config: Config) -> Feed:
        """Sentences of like length; the characters of each distinct form of a batch once."""
        import tensorflow as tf

        rows = encoded.splits[split]
        forms, tags = rows.sequences["forms"], rows.sequences["tags"]
        labels = rows.columns.get("label")
        spelled = encoded.vocabularies["forms"]
        reader = _reader(vocabularies, config)
        parts = [
            [array.numpy() for array in reader.describe(tf.constant(spelled[i : i + DESCRIBED_AT_ONCE]))]
            for i in range(0, len(spelled), DESCRIBED_AT_ONCE)
        ]
        width = max(characters.shape[1] for _, characters, _ in parts)
        word_ids = np.concatenate([words for words, _, _ in parts])
        character_lengths = np.concatenate([lengths for _, _, lengths in parts])
        characters = np.concatenate([np.pad(c, [(0, 0), (0, width - c.shape[1])]) for _, c, _ in parts])
        # A row without tokens has nothing to teach.
        kept = np.flatnonzero(forms.counts)

        def make(indices: np.ndarray) -> Batch:
            ids, lengths = forms.batch(kept[indices])
            real = np.arange(ids.shape[1]) < lengths[:, None]
            distinct, places = np.unique(ids, return_inverse=True)
            read = character_lengths[distinct]
            arrays = {
                "token_ids": np.where(real, word_ids[ids], 0),
                "lengths": lengths,
                "forms": places.reshape(ids.shape).astype(np.int32),
                "characters": characters[distinct, : read.max()],
                "character_lengths": read,
                "tags": tags.batch(kept[indices])[0],
            }
            if labels is not None:
                arrays["labels"] = labels[kept[indices]]
            return Batch(arrays, len(indices), int(lengths.sum()))

        return RowFeed(forms.lengths[kept], make, batch_size=config.training.batch_size)

    def build_model(self, config: Config, encoded: Encoded, vocabularies: Vocabularies) -> keras.Model:
        """A `models.tagger.Tagger`."""
        from models.settings import TaggerSettings
        from models.tagger import Tagger

        model = config.model
        allowed = None
        if vocabularies["scheme"] != [PLAIN]:
            tags = [tag.decode() for tag in vocabularies["tags"]]
            allowed = transitions(tags, LEARNED_SCHEME)
        tagger = Tagger(
            TaggerSettings.of(config.model),
            vocabulary_size=len(vocabularies["vocabulary"]),
            tags=len(vocabularies["tags"]),
            labels=len(vocabularies.get("labels", ())),
            character_vocabulary_size=len(vocabularies["characters"]),
            allowed=allowed,
        )
        tagger.build()
        counts = self.token_counts(encoded, vocabularies, config)
        tagger.word_dropout.drop_rare(counts, model.rare_word_dropout * counts.sum())
        return tagger

    def token_counts(self, encoded: Encoded, vocabularies: Vocabularies, config: Config) -> np.ndarray:
        """How often each word stands in the training rows."""
        import tensorflow as tf

        forms = tf.constant(encoded.vocabularies["forms"], tf.string)
        words = _reader(vocabularies, config).describe(forms)[0].numpy()
        counts = np.bincount(words, encoded.counts["forms"], len(vocabularies["vocabulary"]))
        return counts.astype(np.int64)

    def register_model(self) -> None:
        """A `models.tagger.Tagger`."""
        importlib.import_module("models.tagger")

    def losses(
        self,
        model: keras.Model,
        batch: Mapping[str, tf.Tensor],
        carried: Sequence[tf.Variable],
        *,
        label_smoothing: float,
    ) -> Losses:
        """The mean over tokens, plus with labels their cross-entropy; a hit is a token's highest score.

        Label smoothing applies to tags and labels, with a CRF to labels only.
        """
        import tensorflow as tf

        from models.losses import cross_entropy, number_correct

        outputs = _outputs(model, batch, training=True)
        lengths = batch["lengths"]
        tokens = tf.cast(tf.reduce_sum(lengths), tf.float32)
        nats = model.tag_losses(outputs, batch["tags"], lengths, label_smoothing)
        loss = tf.reduce_sum(nats) / tokens
        if "labels" in batch:
            loss += tf.reduce_mean(cross_entropy(outputs["label_logits"], batch["labels"], label_smoothing))
        real = tf.sequence_mask(lengths, tf.shape(batch["tags"])[1])
        return Losses(loss, number_correct(outputs["emissions"], batch["tags"], real), tokens)

    def evaluator(
        self, model: keras.Model, feed: Feed, vocabularies: Vocabularies, config: Config
    ) -> Callable[[], dict[str, float]]:
        """Loss (nats a token), accuracy of tags; span F1; accuracy of labels, rows that are all right."""
        names = [tag.decode() for tag in vocabularies["tags"]]
        has_spans = vocabularies["scheme"] != [PLAIN]

        def figures(batches: Sequence[Arrays], outputs: Sequence[Arrays]) -> dict[str, float]:
            score = TagScore(has_spans)
            for batch, output in zip(batches, outputs, strict=True):
                score.add_loss(float(output["loss"].sum()), int(batch["lengths"].sum()))
                for i, length in enumerate(batch["lengths"]):
                    gold, found = (
                        [names[t] for t in tags[i, :length]] for tags in (batch["tags"], output["tags"])
                    )
                    right = output["label"][i] == batch["labels"][i] if "labels" in batch else None
                    score.add(gold, found, right)
            return {k: v for k, v in score.figures().items() if k in ("loss", *self.validation_names)}

        return evaluated(lambda batch: _judged(model, batch), feed, figures)

    def signatures(
        self, module: tf.Module, model: keras.Model, vocabularies: Vocabularies, config: Config
    ) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """`serving_default`: `text` → `tokens`, `tags`, `start`, `end`, `length`.

        `tokens`: `tokens` → `tags`, `length`. With labels also `label` and `score`.
        """
        import tensorflow as tf

        from models.text.locate import locate

        reader = module.reader = _reader(vocabularies, config)
        tag_names = tf.constant(list(vocabularies["tags"]))
        label_names = tf.constant(list(vocabularies["labels"])) if "labels" in vocabularies else None

        def tagged(tokens: tf.RaggedTensor) -> dict[str, tf.Tensor]:
            arrays = reader(tokens)
            outputs = _outputs(model, arrays, training=False)
            ids = model.decode(outputs, arrays["lengths"])
            length = tf.cast(tokens.row_lengths(), tf.int32)
            real = tf.sequence_mask(length, tf.shape(ids)[1])
            answers = {"tags": tf.where(real, tf.gather(tag_names, ids), ""), "length": length}
            if label_names is not None:
                p = tf.nn.softmax(tf.cast(outputs["label_logits"], tf.float32))
                answers["label"] = tf.gather(label_names, tf.argmax(p, axis=-1))
                answers["score"] = tf.reduce_max(p, axis=-1)
            return answers

        def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
            located = locate(text)
            answers = tagged(located.tokens)
            width = tf.cast(tf.shape(answers["tags"])[1], tf.int64)
            shape = tf.stack([tf.cast(tf.shape(text)[0], tf.int64), width])
            return {
                **answers,
                "tokens": located.tokens.to_tensor("", shape=shape),
                "start": located.start.to_tensor(0, shape=shape),
                "end": located.end.to_tensor(0, shape=shape),
            }

        def given_tokens(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
            places = tf.range(1, tf.shape(tokens)[1] + 1)
            lengths = tf.reduce_max(tf.where(tf.not_equal(tokens, ""), places, 0), axis=1)
            lengths = tf.maximum(lengths, 0)  # of rows without any column
            return tagged(tf.RaggedTensor.from_tensor(tokens, lengths=lengths))

        texts = tf.TensorSpec([None], tf.string, "text")
        rows = tf.TensorSpec([None, None], tf.string, "tokens")
        return {
            self.signature: tf.function(serving_default, input_signature=[texts], autograph=False),
            "tokens": tf.function(given_tokens, input_signature=[rows], autograph=False),
        }

    def examples(self, signature: str, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
        """The texts, or for `tokens` what stands between their white space."""
        if signature != "tokens":
            return super().examples(signature, texts)
        rows = [text.split() for text in texts]
        tokens = np.full((len(rows), max(map(len, rows))), b"", object)
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = row
        return {"tokens": tokens}

    def input_fields(self, text_column: str) -> tuple[Field, ...]:
        """A text, or tokens; `answer` refuses a row that has neither."""
        return (
            Field("text", "text", text_column, "--text-column NAME", optional=True),
            Field("tokens", "tokens", "tokens", "a column 'tokens'", optional=True),
        )

    def answer(self, predictor: Predictor, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Tokens with their tags, and spans; given tokens count as joined by single spaces."""
        lines: dict[int, dict[str, Any]] = {
            i: {"error": NOTHING_TO_TAG, "line": row.line} for i, row in enumerate(rows) if not row.values
        }
        given = [i for i, row in enumerate(rows) if "tokens" in row.values]
        texts = [i for i, row in enumerate(rows) if "text" in row.values and "tokens" not in row.values]
        if texts:
            found = self.lines(predictor([rows[i].text().encode() for i in texts]))
            for i, line in zip(texts, found, strict=True):
                for span in line["spans"]:  # with the white space that stands there
                    span["text"] = rows[i].text()[span["start"] : span["end"]]
                lines[i] = line
        if given:
            tokens = [rows[i].tokens() for i in given]
            answers = _tag_given(predictor, [[t.encode() for t in row] for row in tokens])
            for place, row in enumerate(tokens):
                ends = list(itertools.accumulate((len(token) + 1 for token in row), initial=-1))[1:]
                starts = [end - len(token) for end, token in zip(ends, row, strict=True)]
                tags = [tag.decode() for tag in answers["tags"][place][: len(row)]]
                own = {name: values[place] for name, values in answers.items()}
                lines[given[place]] = _line(row, starts, ends, tags, own)
        return [lines[i] for i in range(len(rows))]

    def lines(self, answers: Answers) -> list[dict[str, Any]]:
        """`tokens` with `text`, `start`, `end` and `tag`; `spans`; and with labels `label` and `score`."""
        found = []
        for i, length in enumerate(answers["length"]):
            own = {name: values[i] for name, values in answers.items()}
            tokens, tags = ([t.decode() for t in own[name][:length]] for name in ("tokens", "tags"))
            starts, ends = (own[name][:length].tolist() for name in ("start", "end"))
            found.append(_line(tokens, starts, ends, tags, own))
        return found

    def evaluate(
        self, predictor: Predictor, run: Run, dataset: Dataset, rows: Iterable[RowBatch]
    ) -> dict[str, Any]:
        """Figures on the given tokens, and under `raw_text` those on the raw text, where the data has it."""
        vocabularies = run.vocabularies()
        has_spans = vocabularies["scheme"] != [PLAIN]
        scheme: Scheme = LEARNED_SCHEME if has_spans else "plain"
        labels = vocabularies.get("labels")
        loss = _loss_on_tokens(predictor, vocabularies, run.config)
        given, raw = TagScore(has_spans), RawScore(has_spans)
        for batch in rows:
            answers = _tag_given(predictor, batch["tokens"])
            gold = [learned(row, scheme) for row in _tags(batch, dataset)]
            truth = None
            if labels and "label" in batch:
                truth = [labels[i] for i in label_ids(batch, dataset, labels)]
            given.add_loss(*loss(list(batch["tokens"]), gold))
            for i, tags in enumerate(gold):
                right = None if truth is None else answers["label"][i] == truth[i]
                given.add(tags, [tag.decode() for tag in answers["tags"][i][: len(tags)]], right)
            if "text" in batch:
                own = np.flatnonzero([bool(text) for text in batch["text"]])
                if len(own):
                    found = self.lines(predictor(batch["text"][own]))
                    for i, line in zip(own.tolist(), found, strict=True):
                        tokens = [token.decode(errors="replace") for token in batch["tokens"][i]]
                        raw.add(batch["text"][i].decode(errors="replace"), tokens, gold[i], line)
        result: dict[str, Any] = {"examples": given.rows, "tokens": given.tokens, **given.figures()}
        if raw.rows:
            result["raw_text"] = raw.figures()
            name = "span_f1" if has_spans else "accuracy"
            result["raw_text"]["gap"] = (
                result[name] - result["raw_text"]["span_f1" if has_spans else "tag_f1"]
            )
        return result

    def baseline(
        self,
        train: tuple[Dataset, Iterable[RowBatch]],
        test: tuple[Dataset, Iterable[RowBatch]],
        run: Run,
    ) -> dict[str, Any] | None:
        """The most frequent tag of each word in lower case; of an unseen one, that of words seen once."""
        has_spans = run.vocabularies()["scheme"] != [PLAIN]
        scheme: Scheme = LEARNED_SCHEME if has_spans else "plain"
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for batch in train[1]:
            for tokens, tags in zip(batch["tokens"], _tags(batch, train[0]), strict=True):
                for token, tag in zip(tokens, learned(tags, scheme), strict=True):
                    counts[token.decode(errors="replace").lower()][tag] += 1
        rare: Counter[str] = Counter()
        for own in counts.values():
            if own.total() == 1:
                rare.update(own)
        best = {word: max(sorted(own), key=own.__getitem__) for word, own in counts.items()}
        unseen = max(sorted(rare), key=rare.__getitem__) if rare else next(iter(best.values()))
        score = TagScore(has_spans)
        for batch in test[1]:
            for tokens, tags in zip(batch["tokens"], _tags(batch, test[0]), strict=True):
                found = [best.get(token.decode(errors="replace").lower(), unseen) for token in tokens]
                score.add(learned(tags, scheme), found, None)
        figures = score.figures()
        return {name: figures[name] for name in ("accuracy", "span_f1") if name in figures}


def learned(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """Tags as the model learns them: in BIO, if they write spans."""
    return list(tags) if scheme == "plain" else convert(tags, LEARNED_SCHEME)


def _tags(batch: RowBatch, dataset: Dataset) -> Iterator[list[str]]:
    """The tags of each row; refuses a catalogue's rows that have not as many as tokens."""
    names = dataset.names["tags"]
    for row, tokens in zip(batch["tags"], batch["tokens"], strict=True):
        if len(row) != len(tokens):
            raise UserError(f"{dataset.name}: misaligned: a row has {len(tokens)} tokens, {len(row)} tags")
        yield [names[i] for i in row]


def _unique(rows: Sequence[Sequence[bytes]] | np.ndarray) -> UniqueTokens:
    lengths = np.array([len(row) for row in rows], np.int64)
    distinct: dict[bytes, int] = {}
    places = [distinct.setdefault(token, len(distinct)) for row in rows for token in row]
    return list(distinct), np.array(places, np.int64), lengths


def _reader(vocabularies: Vocabularies, config: Config) -> Any:
    from models.text.words import WordEncoder

    return WordEncoder(
        vocabularies["vocabulary"], vocabularies["characters"], lowercase=config.text.lowercase
    )


ARGUMENTS = ("token_ids", "lengths", "forms", "characters", "character_lengths")


def _outputs(model: keras.Model, arrays: Mapping[str, tf.Tensor], *, training: bool) -> dict[str, tf.Tensor]:
    outputs: dict[str, tf.Tensor] = model(*(arrays[name] for name in ARGUMENTS), training=training)
    return outputs


def _judged(model: keras.Model, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Loss of each row's tags, the tags and the label that the model would give."""
    import tensorflow as tf

    outputs = _outputs(model, batch, training=False)
    found = {
        "loss": model.tag_losses(outputs, batch["tags"], batch["lengths"]),
        "tags": model.decode(outputs, batch["lengths"]),
    }
    if "label_logits" in outputs:
        found["label"] = tf.argmax(outputs["label_logits"], axis=-1, output_type=tf.int32)
    return found


def _tag_given(predictor: Predictor, tokens: Sequence[Sequence[bytes]] | np.ndarray) -> Answers:
    return predictor.run("tokens", {"tokens": tokens}, np.array([len(row) for row in tokens]))


def _loss_on_tokens(
    predictor: Predictor, vocabularies: Vocabularies, config: Config
) -> Callable[[Sequence[Sequence[bytes]], Sequence[Sequence[str]]], tuple[float, int]]:
    """The loss in nats of given tokens and their tags, and the number of these tokens.

    It would be infinite for a tag that the model lacks: rows that have one are left out of both.
    """
    import tensorflow as tf

    from app.prediction.predictor import BATCH_SIZE
    from data.batching import sorted_batches

    reader = _reader(vocabularies, config)
    model = predictor.model
    assert model is not None
    ids = {tag.decode(): i for i, tag in enumerate(vocabularies["tags"])}

    def losses(tokens: tf.RaggedTensor, tags: tf.RaggedTensor) -> tf.Tensor:
        arrays = reader(tokens)
        outputs = _outputs(model, arrays, training=False)
        return model.tag_losses(outputs, tags.to_tensor(0, shape=[None, None]), arrays["lengths"])

    specs = [tf.RaggedTensorSpec([None, None], dtype, ragged_rank=1) for dtype in (tf.string, tf.int32)]
    graph = tf.function(losses, input_signature=specs, autograph=False)

    def total(tokens: Sequence[Sequence[bytes]], tags: Sequence[Sequence[str]]) -> tuple[float, int]:
        known = [i for i, row in enumerate(tags) if len(row) and all(tag in ids for tag in row)]
        found = 0.0
        for rows in sorted_batches(np.array([len(tags[i]) for i in known]), batch_size=BATCH_SIZE):
            chosen = [known[i] for i in rows]
            batch = (
                tf.ragged.constant(values, ragged_rank=1, dtype=dtype)
                for values, dtype in (
                    ([list(tokens[i]) for i in chosen], tf.string),
                    ([[ids[tag] for tag in tags[i]] for i in chosen], tf.int32),
                )
            )
            found += float(tf.reduce_sum(graph(*batch)))
        return found, sum(len(tags[i]) for i in known)

    return total


def _line(
    tokens: Sequence[str],
    starts: Sequence[int],
    ends: Sequence[int],
    tags: Sequence[str],
    own: Mapping[str, Any],
) -> dict[str, Any]:
    """The JSON object of one text."""
    found: dict[str, Any] = {
        "tokens": [
            {"text": text, "start": start, "end": end, "tag": tag}
            for text, start, end, tag in zip(tokens, starts, ends, tags, strict=True)
        ],
        "spans": [
            {
                "label": span.label,
                "start": starts[span.start],
                "end": ends[span.end - 1],
                "text": _covered(tokens, starts, span.start, span.end),
            }
            for span in (spans(tags) if _write_spans(tags) else ())
        ],
    }
    if "label" in own:
        found |= {"label": own["label"].decode(), "score": round(float(own["score"]), 6)}
    return found


def _covered(tokens: Sequence[str], starts: Sequence[int], first: int, last: int) -> str:
    """The text under tokens; what stands between them is white space, given as spaces."""
    text = ""
    for i in range(first, last):
        text = text.ljust(starts[i] - starts[first]) + tokens[i]
    return text


def _write_spans(tags: Sequence[str]) -> bool:
    return all(tag == "O" or tag.startswith(("B-", "I-")) or tag in ("B", "I") for tag in tags)


TASK = Tagging()
