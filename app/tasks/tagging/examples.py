"""From tokens and tags to batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.tasks.base import ExampleBatch, Examples, Plan
from app.tasks.labels import COLUMN, check_labels, encoded_label_ids, trained_labels, warn_of_labels
from app.tasks.tagging.boundaries import (
    BOUNDARIES,
    CHARACTERS,
    BoundaryBatches,
    alphabet,
    encode_boundaries,
    missing_boundaries,
)
from app.tasks.tagging.config import TaggingConfig
from app.tasks.tagging.exchange import SpanExchange
from app.tasks.tagging.facts import LEARNED_SCHEME, MultiwordTokens, TaggingFacts
from app.tasks.tagging.features import number_of_features
from app.tasks.tagging.token_check import TaggingValidator
from app.tasks.tagging.tokenization import TokenizationValidator
from data.batching import Batch, Batches, ChangingBatches, ExampleBatches, SeededRows
from data.encoding import Encoded, UniqueTokens, VocabularyRule, padded
from data.errors import UserError
from data.findings import Finding
from data.formats import Field
from data.label_warnings import warn_of_tags
from data.multiword import JOINT, Word, unpack
from data.prepared import Dataset
from data.scan import ExampleValidator, Scan
from data.tags import Scheme, SchemeDetector, convert
from data.vocabulary import most_frequent

if TYPE_CHECKING:
    from models.text.words import WordEncoder

DESCRIBED_AT_ONCE = 50_000
"""Word types whose ids are looked up in one call."""
UNLIMITED = 1 << 31
NO_RAW_TEXT = (
    "text.tokenizer = 'learned': no example of the {split} split has a raw text in which its tokens are "
    "found; give data with a text for each example, or set text.tokenizer=rules"
)
WORDS = "token_words"
"""The field of the words of each token."""
NO_TAG = "_"
"""What CoNLL-U has in place of a tag."""
NO_TOKENS = "the {split} split has no tokens, only empty examples; give examples with tokens and tags"


class TaggingExamples(Examples[TaggingConfig, TaggingFacts]):
    """Sentences of tokens with a tag each, and perhaps a label."""

    shapes = ("sentences", "records")
    tokens_to_learn_from = 2_000_000
    read_sequences = ("word_types",)

    def fields(self, config: TaggingConfig) -> tuple[Field, ...]:
        """Return tokens and tags, and the optional text and label."""
        data = config.data
        column = data.tag_column
        # Another column is used only if the user does not choose one.
        others = ("tags",) if column == type(data).model_fields["tag_column"].default else ()
        return (
            tokens_field(config),
            Field("tags", "tags", column, "--set data.tag_column=NAME", others),
            Field("text", "text", data.text_column, "--set data.text_column=NAME", optional=True),
            Field(WORDS, "words", WORDS, "", optional=True),
            Field("label", "label", data.label_column, "--set data.label_column=NAME", optional=True),
        )

    def validator(self, config: TaggingConfig) -> ExampleValidator:
        """Return a validator of the tag scheme, and of the tokens."""
        return TaggingValidator(WORDS)

    def doctor(self, config: TaggingConfig) -> ExampleValidator:
        """Return a comparison of the tokens with those of the tokenizer."""
        return TokenizationValidator()

    def check(self, found: Scan) -> Iterator[Finding]:
        """Require at least two tags, and at least two labels if there are any."""
        tags = found.labels("tags")
        for split in ("train", "validation"):
            if tags and found.examples[split] and not tags.get(split):
                yield Finding(NO_TOKENS.format(split=split), "")
        # `_+_` is the tag of two words without a tag.
        known = {tag: set(tag.split(JOINT)) for tag in tags.get("train", ())}
        if known and (len(known) == 1 or set().union(*known.values()) == {NO_TAG}):
            only = min(known, key=len)
            yield Finding(
                f"the training examples have only one tag, {only!r}",
                "add examples of another tag, or name the right column with --set data.tag_column=NAME",
            )
        if found.labels():
            yield from check_labels(found)
        yield from super().check(found)

    def warn(self, found: Scan) -> Iterator[Finding]:
        """Warn of labels that no training example has, and of tags that are nearly the same."""
        yield from warn_of_labels(found)
        yield from warn_of_tags(found.labels("tags"))

    def plan(
        self,
        dataset: Dataset,
        config: TaggingConfig,
        training: Callable[[], Iterator[ExampleBatch]],
        kept: Preprocessing[TaggingFacts] | None = None,
    ) -> Plan:
        """Return two sequences: `word_types`, unchanged tokens, and `tags`, in BIO if they encode spans.

        If a tokenizer may be learned, there are also those of `encode_boundaries`.
        """
        detector, several = SchemeDetector(), MultiwordTokens()
        for batch in training():
            for tokens, tags, words in zip(
                batch["tokens"], tag_names(batch, dataset), words_of(batch), strict=True
            ):
                detector.add(tags)
                several.add((token.decode(errors="replace") for token in tokens), tags, words)
        found = detector.detect()
        if found.unreadable.total:
            sentence, token, reason = found.unreadable.first[0]
            raise UserError(f"{dataset.name}: training example {sentence + 1}, token {token + 1}: {reason}")
        scheme = found.scheme
        has_labels = "label" in dataset.names
        has_text = "text" in dataset.columns and config.text.tokenizer != "rules"

        def tokenize(batch: ExampleBatch) -> tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]:
            tags = [[tag.encode() for tag in learned(row, scheme)] for row in tag_names(batch, dataset)]
            columns = {COLUMN: batch["label"].astype(np.int32)} if has_labels else {}
            sequences = {"word_types": _unique(batch["tokens"]), "tags": _unique(tags)}
            if has_text:
                sequences |= encode_boundaries(batch["text"], batch["tokens"])
            return sequences, columns

        names = ["word_types", "tags", *((CHARACTERS, BOUNDARIES) if has_text else ())]
        rules = {name: VocabularyRule((), 0, UNLIMITED, training_only=False) for name in names}
        facts: dict[str, Any] = {"tag_scheme": LEARNED_SCHEME}
        if scheme == "plain":
            facts = {"tag_scheme": "plain", **several.facts()}
        return Plan(tokenize, {name: name for name in names}, rules, facts)

    def preprocessing(
        self,
        encoded: Encoded,
        dataset: Dataset,
        config: TaggingConfig,
        kept: Preprocessing[TaggingFacts] | None = None,
    ) -> Preprocessing[TaggingFacts]:
        """Return words and characters of the training examples, the tags and the labels.

        Raises:
            UserError: the examples of a split have no tokens, or no raw text to learn a tokenizer from.
        """
        import tensorflow as tf

        from app.tasks.tokenizing import VOCABULARY, first_tokens
        from models.text.tokens import SPECIAL_TOKENS
        from models.text.words import lookup_key, visible

        for split, rows in encoded.splits.items():
            if not rows.sequences["word_types"].counts.sum():
                raise UserError(NO_TOKENS.format(split=split))
        word_types, counts = encoded.vocabularies["word_types"], encoded.counts["word_types"]
        words: Counter[bytes] = Counter()
        characters: Counter[bytes] = Counter()
        seen = np.flatnonzero(counts)
        shown = visible(tf.constant([word_types[i] for i in seen], tf.string))
        for word, count in zip(shown.numpy(), counts[seen], strict=True):
            for character in word.decode(errors="replace"):
                characters[character.encode()] += int(count)
        looked_up = lookup_key(shown, config.text.lowercase)
        for word, count in zip(looked_up.numpy(), counts[seen], strict=True):
            words[word] += int(count)
        first, first_characters = (
            first_tokens(SPECIAL_TOKENS, name, kept) for name in (VOCABULARY, "characters")
        )
        found = {
            "vocabulary": _vocabulary(words, first, config.text.vocabulary_size, config.text.min_count),
            "characters": _vocabulary(characters, first_characters, UNLIMITED, 1),
            "tags": encoded.vocabularies["tags"],
        }
        if "label" in dataset.names:
            found["labels"] = trained_labels(encoded, dataset)
        if config.text.tokenizer != "rules":
            missing = missing_boundaries(encoded)
            if missing is None:
                found[CHARACTERS] = first_tokens(alphabet(encoded), CHARACTERS, kept)
            elif config.text.tokenizer == "learned":
                raise UserError(NO_RAW_TEXT.format(split=missing))
        preprocessing = Preprocessing(found, TaggingFacts.model_validate(encoded.facts))
        if not config.model.token_features:
            return preprocessing
        *_, features = _described(encoded, word_encoder(preprocessing, config))
        spelled = encoded.splits["train"].sequences["word_types"]
        number = number_of_features(features, spelled, len(found["tags"]), config.model.token_features)
        facts = preprocessing.facts.model_copy(update={"features": number})
        return Preprocessing(found, facts)

    def batches(
        self, encoded: Encoded, split: str, preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig
    ) -> Batches:
        """Return sentences of similar length, with the characters of each word type of a batch once."""
        rows = encoded.splits[split]
        word_types, tags = rows.sequences["word_types"], rows.sequences["tags"]
        labels = encoded_label_ids(encoded, split) if COLUMN in rows.columns else None
        encoder = word_encoder(preprocessing, config)
        word_ids, characters, character_lengths, features = _described(encoded, encoder)
        kept = np.flatnonzero(word_types.counts)  # an example without tokens has no loss
        boundaries = BoundaryBatches(encoded, split) if CHARACTERS in preprocessing.vocabularies else None

        exchange = self._exchange(encoded, preprocessing, config) if split == "train" else None

        def make(entry: np.ndarray | SeededRows) -> Batch:
            indices = kept[entry.indices if isinstance(entry, SeededRows) else entry]
            if exchange is not None and isinstance(entry, SeededRows):
                pairs = exchange.rows(indices, entry.seed)
                (ids, lengths), (tag_ids, _) = map(padded, zip(*pairs, strict=True))
            else:
                (ids, lengths), (tag_ids, _) = word_types.batch(indices), tags.batch(indices)
            real = np.arange(ids.shape[1]) < lengths[:, None]
            distinct, places = np.unique(ids, return_inverse=True)
            spelled_lengths = character_lengths[distinct]
            arrays = {
                "token_ids": np.where(real, word_ids[ids], 0),
                "lengths": lengths,
                "word_types": places.reshape(ids.shape).astype(np.int32),
                "characters": characters[distinct, : spelled_lengths.max()],
                "character_lengths": spelled_lengths,
                "word_features": features[distinct],
                "tags": tag_ids,
            }
            if labels is not None:
                arrays["labels"] = labels[indices]
            if boundaries is not None:
                arrays |= boundaries.arrays(indices)
            return Batch(arrays, len(indices), int(lengths.sum()))

        kind = ExampleBatches if exchange is None else ChangingBatches
        return kind(word_types.lengths[kept], make, batch_size=config.training.batch_size)

    def _exchange(
        self, encoded: Encoded, preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig
    ) -> SpanExchange | None:
        """Return what exchanges spans of training examples; None: they stay as they are."""
        probability = config.training.exchange_spans
        if not probability:
            return None
        if not preprocessing.facts.has_spans:
            raise UserError(
                f"training.exchange_spans = {probability:g}: the tags of the data encode no spans; only tags "
                "of spans, such as B-PER and I-PER, are exchanged: set training.exchange_spans=0"
            )
        sequences = encoded.splits["train"].sequences
        names = [tag.decode() for tag in encoded.vocabularies["tags"]]
        return SpanExchange(sequences["word_types"], sequences["tags"], names, probability)

    def token_counts(
        self, encoded: Encoded, preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig
    ) -> np.ndarray:
        """Return how often each word of the vocabulary occurs in the training examples."""
        return self.occurrences(encoded, "train", preprocessing, config)["word_types"]

    def occurrences(
        self, encoded: Encoded, split: str, preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig
    ) -> dict[str, np.ndarray]:
        """Return how often each word of the vocabulary occurs in a split, of whatever spelling."""
        words = self.vocabulary_ids(encoded, preprocessing, config)
        own = encoded.splits[split].sequences["word_types"].occurrences(len(words))
        counts = np.bincount(words, own, len(preprocessing.vocabulary))
        return {"word_types": counts.astype(np.int64)}

    def vocabulary_ids(
        self, encoded: Encoded, preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig
    ) -> np.ndarray:
        """Return the word of each word type, which is one spelling of it."""
        import tensorflow as tf

        spelled = tf.constant(encoded.vocabularies["word_types"], tf.string)
        words: np.ndarray = word_encoder(preprocessing, config).describe(spelled)[0].numpy()
        return words

    def reads_characters(self, config: TaggingConfig) -> bool:
        """Return whether words have character features."""
        return config.model.character_features != "none"


def _described(encoded: Encoded, encoder: WordEncoder) -> list[np.ndarray]:
    """Return what `WordEncoder.describe` does, for all word types of a dataset."""
    import tensorflow as tf

    spelled = encoded.vocabularies["word_types"]
    parts = [
        [array.numpy() for array in encoder.describe(tf.constant(spelled[i : i + DESCRIBED_AT_ONCE]))]
        for i in range(0, len(spelled), DESCRIBED_AT_ONCE)
    ]
    width = max(characters.shape[1] for _, characters, *_ in parts)
    for part in parts:
        part[1] = np.pad(part[1], [(0, 0), (0, width - part[1].shape[1])])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def tokens_field(config: TaggingConfig, *, optional: bool = False) -> Field:
    """Return the field of the tokens; without a chosen column it may be called `words` or `offsets`, too."""
    column = config.data.token_column
    others = () if column else ("words", "offsets")
    option = "--set data.token_column=NAME"
    return Field("tokens", "tokens", column or "tokens", option, others, optional=optional)


def learned(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """Return tags as the model learns them: in BIO if they encode spans.

    Raises:
        UserError: a tag is none of a span, though others are.
    """
    try:
        return list(tags) if scheme == "plain" else convert(tags, LEARNED_SCHEME)
    except ValueError as error:
        raise UserError(f"{error}, though other tags encode spans; correct the tag") from None


def tag_names(batch: ExampleBatch, dataset: Dataset) -> Iterator[list[str]]:
    """Yield the tags of each example.

    Raises:
        UserError: an example of the catalogue has another number of tags than of tokens.
    """
    names = dataset.names["tags"]
    for row, tokens in zip(batch["tags"], batch["tokens"], strict=True):
        if len(row) != len(tokens):
            raise UserError(
                f"{dataset.name}: misaligned: an example has {len(tokens)} tokens, {len(row)} tags"
            )
        yield [names[i] for i in row]


def words_of(batch: ExampleBatch) -> Iterator[list[tuple[Word, ...]]]:
    """Yield the words of each token of each example; none for a token that is one word."""
    for i, tokens in enumerate(batch["tokens"]):
        packed = batch[WORDS][i] if WORDS in batch else ()
        yield [unpack(own.decode()) for own in packed] if len(packed) else [()] * len(tokens)


def word_encoder(preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig) -> WordEncoder:
    """Return what looks up the ids of words and of their characters."""
    from models.text.words import WordEncoder

    characters = preprocessing.vocabularies["characters"]
    return WordEncoder(
        preprocessing.vocabulary,
        characters,
        lowercase=config.text.lowercase,
        rules=preprocessing.facts.word_rules,
        features=config.model.token_features > 0,
    )


def _vocabulary(tokens: Counter[bytes], first: list[bytes], size: int, min_count: int) -> list[bytes]:
    known = set(first)
    names = [name for name in tokens if name not in known]
    counts = np.array([tokens[name] for name in names], np.int64)
    best = most_frequent(names, counts, most=max(size - len(first), 0), min_count=min_count)
    return [*first, *(names[i] for i in best)]


def _unique(rows: Sequence[Sequence[bytes]] | np.ndarray) -> UniqueTokens:
    lengths = np.array([len(row) for row in rows], np.int64)
    distinct: dict[bytes, int] = {}
    places = [distinct.setdefault(token, len(distinct)) for row in rows for token in row]
    return list(distinct), np.array(places, np.int64), lengths
