"""Predicted tags: as JSON with character offsets, evaluated, and compared with a linear model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.page.blocks import Section
from app.tasks.base import Evaluation, ExampleBatch, OutputArrays, Predictions, Split, Unlabelled
from app.tasks.calibration import certainty
from app.tasks.card import TaskCard
from app.tasks.labels import label_ids
from app.tasks.monitoring import COUNTS
from app.tasks.states import STATES
from app.tasks.tagging.baseline import linear_baseline
from app.tasks.tagging.card import tagging_card
from app.tasks.tagging.config import TaggingConfig
from app.tasks.tagging.examples import learned, tag_names, tokens_field, words_of
from app.tasks.tagging.facts import TaggingFacts
from app.tasks.tagging.known_tags import require_comparable_tags
from app.tasks.tagging.monitoring import MONITORING
from app.tasks.tagging.raw_scores import RawScore
from app.tasks.tagging.scores import TagScore
from app.tasks.tagging.token_places import token_places
from data.formats import Field, Row
from data.prepared import Dataset
from data.tags import spans

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.prediction.predictor import Predictor
    from app.tasks.inspection import Inspection
    from app.tasks.signature import Signature

DIGITS = 6
NOTHING_TO_TAG = "neither a text nor 'tokens'; name the column of the text with --text-column NAME"


class TaggingPredictions(Predictions[TaggingConfig, TaggingFacts]):
    """Predictions of a tagger."""

    described = ("labels", "tags")
    baseline_name = "linear baseline"
    monitoring = MONITORING
    states = STATES
    optional_output = MappingProxyType(
        {
            "tokens": [{"words": [{"text": "", "tag": ""}]}],
            "spans": [{"label": "", "start": 0, "end": 0, "text": ""}],
        }
    )

    def signatures(
        self,
        module: tf.Module,
        model: keras.Model,
        preprocessing: Preprocessing[TaggingFacts],
        config: TaggingConfig,
    ) -> dict[str, Signature]:
        """Return the signatures of `app.tasks.tagging.signatures`."""
        from app.tasks.tagging.signatures import signatures

        return signatures(module, model, preprocessing, config)

    def decided(self, model: keras.Model, config: TaggingConfig) -> TaggingConfig:
        """Return the configuration with the tokenizer that was chosen."""
        from app.tasks.tagging.training import tokenizer_of

        return config.model_copy(
            update={"text": config.text.model_copy(update={"tokenizer": tokenizer_of(model)})}
        )

    def sample_inputs(self, signature: str, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Return the texts, or their parts between white space as `tokens`, with `O` as each tag."""
        if signature in (self.signature, "states", COUNTS):
            return super().sample_inputs(signature, texts)
        rows = [text.split() for text in texts]
        tokens = np.full((len(rows), max(map(len, rows))), b"", object)
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = row
        return {"tokens": tokens, "tags": np.where(tokens == b"", b"", b"O").astype(object)}

    def input_fields(self, config: TaggingConfig, text_column: str | None) -> tuple[Field, ...]:
        """Return a text and tokens; `predict` rejects a record that has neither."""
        (text,) = super().input_fields(config, text_column)
        return (
            Field("text", "text", text.column, text.option, optional=True),
            tokens_field(config, optional=True),
        )

    def predict(self, predictor: Predictor, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return tokens with their tags, and spans, and the words of multiword tokens.

        Given tokens have the places that they have in the given text. Without a text, or if one of them is
        not in it, they are joined as words usually are: with spaces, except at punctuation, and between
        letters of scripts without spaces.
        """
        lines: dict[int, dict[str, Any]] = {
            i: {"error": NOTHING_TO_TAG, "line": row.line} for i, row in enumerate(rows) if not row.values
        }
        given = [i for i, row in enumerate(rows) if "tokens" in row.values]
        texts = [i for i, row in enumerate(rows) if "text" in row.values and "tokens" not in row.values]
        if texts:
            outputs = predictor.run_texts(self.signature, [rows[i].text().encode() for i in texts])
            for i, line in zip(texts, self.to_json(outputs), strict=True):
                _cover(line, rows[i].text())
                lines[i] = line
        if given:
            tokens = [rows[i].tokens() for i in given]
            outputs = _tag(predictor, [[token.encode() for token in row] for row in tokens])
            spaces = _spaces(tokens)
            for place, row in enumerate(tokens):
                text, starts, ends = _places(row, spaces[place], rows[given[place]])
                tags = [tag.decode() for tag in outputs["tags"][place][: len(row)]]
                own = {name: values[place] for name, values in outputs.items()}
                lines[given[place]] = _line(row, starts, ends, tags, own)
                _cover(lines[given[place]], text)
        _add_words(lines.values(), _facts(predictor))
        return [lines[i] for i in range(len(rows))]

    def unlabelled(self, predictor: Predictor, rows: Sequence[Row]) -> list[Unlabelled]:
        """Return tokens with their predicted tags; those of low probability are uncertain.

        The uncertainty is the negative log-probability of the tags, in nats per token.
        """
        examples: list[tuple[str, dict[str, Any]]] = []
        for row, line in zip(rows, self.predict(predictor, rows), strict=True):
            tokens, tags = ([own[name] for own in line.get("tokens", ())] for name in ("text", "tag"))
            if tokens:
                label = {"label": line["label"]} if "label" in line else {}
                text = row.text() if "text" in row.values else " ".join(tokens)
                examples.append((text, {"tokens": tokens, "tags": tags, **label}))
        if not examples:
            return []
        inputs = {
            name: [[value.encode() for value in example[name]] for _, example in examples]
            for name in ("tokens", "tags")
        }
        outputs = predictor.run("score", inputs)
        uncertainties = outputs["loss"] / np.maximum(outputs["scored"], 1)
        return [
            Unlabelled(text, example, max(float(uncertainty), 0.0))
            for (text, example), uncertainty in zip(examples, uncertainties, strict=True)
        ]

    def require_scores(self, predictor: Predictor) -> None:
        """Require that texts have labels beside their tags."""
        if not predictor.info.preprocessing.labels:
            super().require_scores(predictor)

    def card(self, preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig) -> TaskCard:
        """Return the sentences of `app.tasks.tagging.card`."""
        return tagging_card(preprocessing, config)

    def to_json(self, outputs: OutputArrays) -> list[dict[str, Any]]:
        """Return `tokens` with `text`, `start`, `end` and `tag`; `spans`; with labels `label` and `score`."""
        found = []
        for i, length in enumerate(outputs["length"]):
            own = {name: values[i] for name, values in outputs.items()}
            tokens, tags = ([t.decode() for t in own[name][:length]] for name in ("tokens", "tags"))
            starts, ends = (own[name][:length].tolist() for name in ("start", "end"))
            found.append(_line(tokens, starts, ends, tags, own))
        return found

    def evaluate(
        self, predictor: Predictor, dataset: Dataset, examples: Iterable[ExampleBatch]
    ) -> Evaluation:
        """Return metrics on the given tokens, and under `raw_text` those on raw texts, if there are any."""
        facts, labels = _facts(predictor), predictor.info.preprocessing.labels
        require_comparable_tags(dataset, predictor.info.preprocessing.vocabularies["tags"], facts)
        given, raw = TagScore(facts), RawScore(facts)
        of_labels: list[tuple[float, bool]] = []
        for batch in examples:
            outputs = _tag(predictor, batch["tokens"])
            gold = [learned(row, facts.tag_scheme) for row in tag_names(batch, dataset)]
            truth = None
            if labels and "label" in batch:
                truth = [labels[i] if i >= 0 else None for i in label_ids(batch, dataset, labels)]
            given.add_loss(*_loss(predictor, batch["tokens"], gold))
            for i, tags in enumerate(gold):
                correct = None if truth is None else outputs["label"][i] == truth[i]
                if correct is not None:
                    of_labels.append((float(outputs["score"][i]), bool(correct)))
                given.add(tags, [tag.decode() for tag in outputs["tags"][i][: len(tags)]], correct)
            if "text" in batch:
                self._add_raw(predictor, batch, gold, raw)
        words = {"words": given.words} if given.words > given.tokens else {}
        result: dict[str, Any] = {
            "examples": given.examples,
            "tokens": given.tokens,
            **words,
            **given.metrics(),
        }
        if of_labels:
            scores, are_correct = map(np.array, zip(*of_labels, strict=True))
            result |= {f"label_{name}": value for name, value in certainty(scores, are_correct).items()}
        if raw.examples:
            result["raw_text"] = raw.metrics()
            name, raw_name = ("span_f1", "span_f1") if facts.has_spans else ("accuracy", "tag_f1")
            result["raw_text"]["gap"] = result[name] - result["raw_text"][raw_name]
            result["raw_text"]["tokenizer"] = _tokenizer(predictor)
        return Evaluation(result, given.outcomes())

    def _add_raw(
        self, predictor: Predictor, batch: ExampleBatch, gold: Sequence[Sequence[str]], raw: RawScore
    ) -> None:
        own = np.flatnonzero([bool(text) for text in batch["text"]])
        if not len(own):
            return
        found = self.to_json(predictor.run_texts(self.signature, batch["text"][own]))
        words = list(words_of(batch))
        for i, line in zip(own.tolist(), found, strict=True):
            tokens = [token.decode(errors="replace") for token in batch["tokens"][i]]
            raw.add(batch["text"][i].decode(errors="replace"), tokens, gold[i], words[i], line)

    def report(
        self,
        predictor: Predictor,
        inspection: Inspection[TaggingConfig, TaggingFacts],
        dataset: Dataset,
        split: str,
        result: Mapping[str, Any],
    ) -> list[Section]:
        """Return types, confusions, mistakes and raw text."""
        from app.tasks.tagging.report import tagging_report

        return tagging_report(predictor, dataset, split, result)

    def baseline(self, train: Split, test: Split, predictor: Predictor) -> Evaluation | None:
        """Evaluate a linear-chain CRF on the given tokens, and logistic regression for labels."""
        return linear_baseline(train, test, _facts(predictor), predictor)


def _facts(predictor: Predictor) -> TaggingFacts:
    facts = predictor.info.preprocessing.facts
    assert isinstance(facts, TaggingFacts)
    return facts


def _cover(line: Mapping[str, Any], text: str) -> None:
    """Give the spans of a prediction their texts, with the white space of the text."""
    for span in line["spans"]:
        span["text"] = text[span["start"] : span["end"]]


def _spaces(tokens: Sequence[Sequence[str]]) -> list[list[bool]]:
    """Return whether a space precedes each token of texts that are only known as tokens."""
    import tensorflow as tf

    from models.text.joins import spaces_by_rule

    flat = tf.constant([token.encode(errors="replace") for row in tokens for token in row], tf.string)
    lengths = tf.constant([len(row) for row in tokens], tf.int64)
    found: list[list[bool]] = spaces_by_rule(tf.RaggedTensor.from_row_lengths(flat, lengths)).to_list()
    return found


def _places(tokens: Sequence[str], spaces: Sequence[bool], row: Row) -> tuple[str, list[int], list[int]]:
    """Return the given text, or the joined tokens, and the starts and the ends of tokens."""
    places = token_places(row.text(), tokens) if "text" in row.values else [None]
    found = [place for place in places if place]
    if len(found) == len(places):
        return row.text(), [start for start, _ in found], [end for _, end in found]
    parts = [" " * space + token for space, token in zip(spaces, tokens, strict=True)]
    ends = list(itertools.accumulate(len(part) for part in parts))
    return "".join(parts), [end - len(token) for end, token in zip(ends, tokens, strict=True)], ends


def _add_words(lines: Iterable[dict[str, Any]], facts: TaggingFacts) -> None:
    """Give each token of several words its words."""
    for line in lines:
        for token in line.get("tokens", ()):
            if words := facts.words(token["text"], token["tag"]):
                token["words"] = [word._asdict() for word in words]


def _tokenizer(predictor: Predictor) -> str:
    config = predictor.info.config
    assert isinstance(config, TaggingConfig)
    # An export that does not say it is older than the learned tokenizer.
    return "learned" if config.text.tokenizer == "learned" else "rules"


def _tag(predictor: Predictor, tokens: Sequence[Sequence[bytes]] | np.ndarray) -> OutputArrays:
    return predictor.run("tokens", {"tokens": tokens})


def _loss(
    predictor: Predictor, tokens: Sequence[Sequence[bytes]] | np.ndarray, gold: Sequence[Sequence[str]]
) -> tuple[float, int]:
    """Return the summed loss in nats of given tags, and the number of tokens that it is a sum over.

    The loss of a tag that the model does not know is infinite: examples with one are left out of both.
    """
    kept = [i for i, row in enumerate(gold) if row]
    if not kept:
        return 0.0, 0
    inputs = {
        "tokens": [list(tokens[i]) for i in kept],
        "tags": [[tag.encode() for tag in gold[i]] for i in kept],
    }
    outputs = predictor.run("score", inputs)
    return float(outputs["loss"].sum(dtype=np.float64)), int(outputs["scored"].sum())


def _line(
    tokens: Sequence[str],
    starts: Sequence[int],
    ends: Sequence[int],
    tags: Sequence[str],
    outputs: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the JSON object of one text."""
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
            for span in (spans(tags) if _encode_spans(tags) else ())
        ],
    }
    if "label" in outputs:
        found |= {"label": outputs["label"].decode(), "score": round(float(outputs["score"]), DIGITS)}
    return found


def _covered(tokens: Sequence[str], starts: Sequence[int], first: int, last: int) -> str:
    """Return the text that tokens cover; white space between them becomes spaces."""
    text = ""
    for i in range(first, last):
        text = text.ljust(starts[i] - starts[first]) + tokens[i]
    return text


def _encode_spans(tags: Sequence[str]) -> bool:
    return all(tag == "O" or tag.startswith(("B-", "I-")) or tag in ("B", "I") for tag in tags)
