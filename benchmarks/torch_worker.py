"""PyTorch as a careful user writes it: batches sorted by length in pools, padded, not packed.

Packed sequences are ten times slower on a CPU. It runs in an environment with PyTorch and NumPy, see
`answering`.
"""

from __future__ import annotations

import collections
import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from answering import Parts, Turn, answer, seconds, turn_of_layers, turn_of_texts
from torch.nn.utils.rnn import pad_sequence

POOL_BATCHES = 50
PUNCTUATION = re.compile(r'[!"#$%&()*+,\-./:;<=>?@\[\]\\^_`{|}~\']')
Encoded = list[tuple[torch.Tensor, int]]


def words(text: str) -> list[str]:
    """Return the words of a text as Keras's `TextVectorization` does by default."""
    return PUNCTUATION.sub("", text.lower()).split()


class Texts:
    """Texts with labels, and the vocabulary of the training split."""

    def __init__(self, folder: str, *, vocabulary: int, max_length: int) -> None:
        """Read the training split of a folder."""
        lines = Path(folder, "train.jsonl").read_text(encoding="utf-8").splitlines()
        self.rows = [json.loads(line) for line in lines]
        labels = sorted({row["label"] for row in self.rows})
        self._labels = {label: i for i, label in enumerate(labels)}
        self.classes = len(labels)
        counts = collections.Counter(word for row in self.rows for word in words(row["text"]))
        self._vocabulary = {word: i + 2 for i, (word, _) in enumerate(counts.most_common(vocabulary - 2))}
        self._max_length = max_length

    def encode(self) -> Encoded:
        """Return the token ids and the class of each text."""
        return [(torch.tensor(self._ids(row["text"])), self._labels[row["label"]]) for row in self.rows]

    def _ids(self, text: str) -> list[int]:
        found = [self._vocabulary.get(word, 1) for word in words(text)]
        return found[: self._max_length] or [1]


class Classifier(torch.nn.Module):
    """Embedding, a bidirectional LSTM, pooling over the time steps, and a dense layer."""

    def __init__(
        self, *, vocabulary: int, embedding: int, units: int, classes: int, mean: bool = False
    ) -> None:
        """Create the layers.

        Args:
            vocabulary: number of token ids.
            embedding: width of an embedding.
            units: of each direction.
            classes: number of classes.
            mean: whether the mean of the steps is used besides the maximum.
        """
        super().__init__()
        self.mean = mean
        self.embedding = torch.nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.recurrent = torch.nn.LSTM(embedding, units, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear((4 if mean else 2) * units, classes)

    def load(self, path: str) -> None:
        """Read the weights of a classifier of textrnn."""
        weights = np.load(path)
        values = {
            "embedding.weight": weights["embedding"],
            "head.weight": weights["head_kernel"].T,
            "head.bias": weights["head_bias"],
        }
        for own, suffix in (("forward", ""), ("backward", "_reverse")):
            bias = weights[f"{own}_bias"]
            values[f"recurrent.weight_ih_l0{suffix}"] = weights[f"{own}_kernel"].T
            values[f"recurrent.weight_hh_l0{suffix}"] = weights[f"{own}_recurrent_kernel"].T
            values[f"recurrent.bias_ih_l0{suffix}"] = bias
            values[f"recurrent.bias_hh_l0{suffix}"] = np.zeros_like(bias)
        self.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in values.items()})

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits [B, classes] for ids [B, T] and lengths [B]; None if there is no padding."""
        sequences = self.recurrent(self.embedding(ids))[0]
        if lengths is not None:
            padding = torch.arange(ids.shape[1])[None] >= lengths[:, None]
            sequences = sequences.masked_fill(padding[..., None], float("-inf"))
        pooled = [sequences.max(1).values]
        if self.mean:
            pooled.append(sequences.mean(1))
        return self.head(torch.cat(pooled, dim=1))


def batches(data: Encoded, size: int, order: random.Random | None) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield ids [B, T], lengths [B] and classes [B], in a random order or in that of the lengths."""
    indices = list(range(len(data)))
    if order:
        order.shuffle(indices)
    pool = size * POOL_BATCHES if order else len(indices)
    indices = [
        i
        for start in range(0, len(indices), pool)
        for i in sorted(indices[start : start + pool], key=lambda i: len(data[i][0]))
    ]
    groups = [indices[start : start + size] for start in range(0, len(indices), size)]
    if order:
        order.shuffle(groups)
    for group in groups:
        ids = [data[i][0] for i in group]
        lengths = torch.tensor([len(row) for row in ids])
        yield pad_sequence(ids, batch_first=True), lengths, torch.tensor([data[i][1] for i in group])


def train(job: dict[str, Any]) -> Turn:
    """Train a classifier: a turn is an epoch, or a number of steps of it."""
    texts = Texts(job["data"], vocabulary=job["vocabulary"], max_length=job["max_length"])
    data, order = texts.encode(), random.Random(0)
    model = _classifier(job, texts)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    loss_of = torch.nn.CrossEntropyLoss()

    def turn() -> Parts:
        examples = tokens = 0
        model.train()
        begun = time.perf_counter()
        for step, (ids, lengths, classes) in enumerate(batches(data, job["batch_size"], order)):
            if step == job.get("steps"):
                break
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(ids, lengths), classes)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            examples, tokens = examples + len(ids), tokens + int(lengths.sum())
        return {"": {"seconds": time.perf_counter() - begun, "examples": examples, "tokens": tokens}}

    turn()
    return turn


def predict(job: dict[str, Any]) -> Turn:
    """Predict the classes of texts; `tokenize` says whether that includes splitting them into words."""
    texts = Texts(job["data"], vocabulary=job["vocabulary"], max_length=job["max_length"])
    data = texts.encode()
    tokens = sum(len(ids) for ids, _ in data)
    model = _classifier(job, texts).eval()

    def turn() -> Parts:
        begun = time.perf_counter()
        with torch.inference_mode():
            rows = texts.encode() if job["tokenize"] else data
            for ids, lengths, _ in batches(rows, job["batch_size"], None):
                model(ids, lengths).softmax(1).numpy()
        took = time.perf_counter() - begun
        return {"": {"seconds": took, "examples": len(data), "tokens": tokens}}

    return turn


def _classifier(job: dict[str, Any], texts: Texts) -> Classifier:
    return Classifier(
        vocabulary=job["vocabulary"], embedding=job["embedding"], units=job["units"], classes=texts.classes
    )


class LanguageModel(torch.nn.Module):
    """Embedding, dropout, an LSTM, dropout, and a dense layer over the vocabulary."""

    def __init__(self, *, vocabulary: int, embedding: int, units: int, dropout: float) -> None:
        """Create the layers."""
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, embedding)
        self.recurrent = torch.nn.LSTM(embedding, units, batch_first=True)
        self.dropout = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(units, vocabulary)

    def forward(self, ids: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """Return logits [S, T, V] for ids [S, T], and the state after them."""
        hidden, state = self.recurrent(self.dropout(self.embedding(ids)), state)
        return self.head(self.dropout(hidden)), state


def characters(job: dict[str, Any]) -> Turn:
    """Train a language model with carried state: a turn is a number of steps."""
    text = Path(job["data"]).read_text(encoding="utf-8")
    text = text[: int(len(text) * 0.9)]
    known = {character: i for i, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([known[character] for character in text])
    streams, steps = job["batch_size"], job["sequence_length"]
    width = (len(ids) - 1) // streams
    inputs = ids[: width * streams].view(streams, width)
    targets = ids[1 : width * streams + 1].view(streams, width)
    model = LanguageModel(
        vocabulary=len(known), embedding=job["embedding"], units=job["units"], dropout=job["dropout"]
    )
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    state, place = None, 0

    def step() -> None:
        nonlocal state, place
        piece = slice(place, place + steps)
        logits, state = model(inputs[:, piece], state)
        state = tuple(value.detach() for value in state)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[:, piece].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        place = (place + steps) % (width - steps)

    def turn() -> Parts:
        took = sum(seconds(step) for _ in range(job["steps"]))
        tokens = job["steps"] * streams * steps
        return {"": {"seconds": took, "examples": job["steps"] * streams, "tokens": tokens}}

    for _ in range(2):
        step()
    return turn


def layer(job: dict[str, Any]) -> Turn:
    """Run a bidirectional LSTM alone: each case has rows, steps, units, and whether it goes backward."""

    def prepared(case: dict[str, Any]) -> Any:
        rows, steps, units = case["rows"], case["steps"], case["units"]
        lstm = torch.nn.LSTM(units, units, batch_first=True, bidirectional=True)
        inputs = torch.randn(rows, steps, units, requires_grad=case["backward"])

        def forward() -> None:
            with torch.inference_mode():
                lstm(inputs)

        def both() -> None:
            lstm.zero_grad(set_to_none=True)
            inputs.grad = None
            lstm(inputs)[0].sum().backward()

        return both if case["backward"] else forward

    return turn_of_layers(job["cases"], prepared)


def single(job: dict[str, Any]) -> Turn:
    """Run a classifier with the weights of an export on the ids of one text at a time."""
    model = Classifier(**job["sizes"], mean=True).eval()
    model.load(job["weights"])

    def predict(ids: torch.Tensor) -> list[float]:
        with torch.inference_mode():
            found: list[float] = model(ids).softmax(1).numpy()[0].tolist()
            return found

    inputs = {length: torch.tensor([ids]) for length, ids in job["ids"].items()}
    return turn_of_texts(inputs, predict, job["calls"])


def threaded(kind: Any) -> Any:
    """Return a kind of job that first sets the number of threads."""

    def prepare(job: dict[str, Any]) -> Turn:
        torch.set_num_threads(job["threads"])
        torch.manual_seed(0)
        turn: Turn = kind(job)
        return turn

    return prepare


if __name__ == "__main__":
    kinds = (train, predict, characters, layer, single)
    answer({kind.__name__: threaded(kind) for kind in kinds})
