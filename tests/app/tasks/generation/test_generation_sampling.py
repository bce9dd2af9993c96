"""Generated texts: batches, seeds, lengths, sampling options, labels and prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generation_data import HARD, KINDS, WORDS_OF, Command, Model, Models, streamed, texts

from app.tasks.generation.sampling import Options, generate

Exports = Callable[[str], Path]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_changes_nothing(models: Models, kind: str) -> None:
    """A text does not depend on the others of its batch; each has its own seed."""
    prompts = ["", "A", "the cat is red" * 9, "A"]
    together = generate(models(kind).predictor, prompts, Options(length=40, seed=11))

    for i, prompt in enumerate(prompts):
        (alone,) = generate(models(kind).predictor, [prompt], Options(length=40, seed=11 + i))
        assert together[i].text == alone.text
        assert together[i].score == pytest.approx(alone.score, rel=1e-4, abs=1e-4)
    assert together[1].text != together[3].text


def test_seeds(char: Model) -> None:
    """The same seed gives the same text, another seed another text; 0 follows the highest seed."""
    first = texts(char, ["Anna"], seed=3)

    assert texts(char, ["Anna"], seed=3) == first
    assert texts(char, ["Anna"], seed=4) != first
    highest = texts(char, ["Anna", "Anna"], seed=2**31 - 1)
    assert highest[1:] == texts(char, ["Anna"], seed=0)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 33])
def test_length(char: Model, length: int) -> None:
    """A text without an end has exactly the requested length."""
    (text,) = texts(char, ["Anna"], length=length)

    assert len(text) == length
    assert "".join(streamed(char, "Anna", length=length)) == text


def test_documents_end(word: Model) -> None:
    """A model of documents ends its texts; their log-probability includes that of the end."""
    made = generate(word.predictor, [""] * 8, Options(length=300, label="sea"))

    lengths = [len(text.text.split()) for text in made]
    assert max(lengths) < 40
    assert len(set(lengths)) > 1
    for text in made:
        assert text.score == pytest.approx(-word.nats(word.document(text.text), 0).sum(), rel=1e-4)


def test_words_are_written_as_text(word: Model) -> None:
    """Single spaces separate words; none comes first, after a space of the prompt, or before a full stop."""
    bare, open_end, line = (
        texts(word, [prompt], label="sea", temperature=0)[0] for prompt in ("", "ship", "ship\n")
    )

    assert bare[:1].isalpha()
    assert bare.endswith(".")
    assert " ." not in bare
    assert open_end[:1] in (" ", ".")
    assert line[:1] != " "
    assert texts(word, ["ship "], label="sea", temperature=0)[0] == open_end.removeprefix(" ")


def test_characters_keep_their_first_space(char: Model) -> None:
    """A text of characters may begin with a space."""
    found = texts(char, [""] * 400, length=2, temperature=1000)

    assert any(text[0] == " " for text in found)
    assert {len(text) for text in found} == {2}


# Choosing tokens
def test_the_most_probable_tokens(models: Models) -> None:
    """Temperature 0, a beam of 1 and top-k 1 all give the same text."""
    for kind, prompt in (("char", "Anna"), ("word", "ship"), ("byte", "το")):
        greedy = texts(models(kind), [prompt], temperature=0, seed=1)

        assert texts(models(kind), [prompt], beam=1) == greedy
        assert texts(models(kind), [prompt], top_k=1, seed=2) == greedy
        assert texts(models(kind), [prompt], top_p=1e-6, seed=3) == greedy
        assert texts(models(kind), [prompt], seed=1, temperature=3.0) != greedy


@pytest.mark.parametrize(
    "options", [{"top_k": 3}, {"top_p": 0.6}, {"top_k": 4, "top_p": 0.5}, {"temperature": 1e-3}, {}], ids=str
)
def test_sampled_tokens(char: Model, options: dict[str, Any]) -> None:
    """Each token is one that top-k and top-p allow; the log-probability is that without them."""
    prompt = "Ben: The "
    (made,) = generate(char.predictor, [prompt], Options(length=120, seed=4, **options))
    ids = char.ids(prompt + made.text)
    logits = char.logits(ids)[len(prompt) :]
    ids = ids[len(prompt) :]
    own = logits[np.arange(len(ids)), ids]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    better = probabilities > probabilities[np.arange(len(ids)), ids][:, None]
    mass = (probabilities * better).sum(axis=1)

    assert made.score == pytest.approx((own - np.log(np.exp(logits).sum(axis=1))).sum(), rel=1e-4)
    assert better.sum(axis=1).max() < options.get("top_k", 1 if "temperature" in options else 99)
    assert mass.max() <= options.get("top_p", 1.0) + 1e-6
    if "temperature" not in options:
        assert better.sum(axis=1).max() > 0
    if not options:
        assert better.sum(axis=1).max() > 3
        assert mass.max() > 0.7


def test_repetition_penalty(char: Model) -> None:
    """With a repetition penalty a text repeats itself less."""
    plain, penalized = (
        texts(char, ["Anna"], temperature=0, length=60, repetition_penalty=penalty)[0] for penalty in (1, 3)
    )

    assert len(set(penalized)) > len(set(plain)) + 3


def test_beam(word: Model) -> None:
    """A wide beam finds a text at least as probable as the greedy one; a stop string truncates it."""
    wide, narrow = (
        generate(word.predictor, ["ship"], Options(length=20, beam=beam, length_penalty=0.0))[0]
        for beam in (6, 1)
    )
    (stopped,) = texts(word, ["ship"], length=20, beam=6, length_penalty=0.0, stop=(wide.text[-2:],))

    assert wide.score >= narrow.score - 1e-5
    assert stopped == wide.text[:-2]


# Labels


def test_labels(word: Model) -> None:
    """A text that is conditioned on a label has words of that label."""
    for label, own in WORDS_OF.items():
        for text in texts(word, [""] * 10, label=label, temperature=0.7):
            assert text
            assert set(text.replace(".", " ").split()) <= set(own)


def test_without_a_label(word: Model) -> None:
    """A model with labels also generates text without one."""
    found = texts(word, [""] * 20, seed=1)

    assert {word for text in found for word in text.replace(".", " ").split()} > {"ship", "tree"}


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("word", "woods", "--label woods: expected one of sea, wood; did you mean 'wood'?"),
        ("char", "sea", "--label sea: the model was trained without labels"),
    ],
)
def test_unknown_labels(
    command: Command, models: Models, exports: Exports, name: str, label: str, message: str
) -> None:
    """A label that the model does not know is refused."""
    for path in (models(name).path, exports(name)):
        result = command("generate", path, "--label", label)

        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == f"Error: {message}\n"


@pytest.mark.parametrize("kind", KINDS)
def test_hard_prompts(models: Models, kind: str) -> None:
    """Any prompt is continued, with the same text in a batch and in a stream."""
    found = texts(models(kind), list(HARD.values()), length=20, seed=7)

    assert len(HARD["long"]) > 10_000
    for i, prompt in enumerate(HARD.values()):
        assert found[i] or kind == "word"  # a document may end at once
        assert "".join(streamed(models(kind), prompt, length=20, seed=7 + i)) == found[i]


@pytest.mark.parametrize("mode", [(), ("--stream",), ("--json",)])
def test_a_prompt_that_is_not_utf8(command: Command, char: Model, mode: tuple[str, ...]) -> None:
    """Bytes of a prompt that are not UTF-8 are printed as replacement characters."""
    result = command("generate", char.path, "--prompt", HARD["not UTF-8"], "--length", 5, *mode)

    assert result.exit_code == 0
    expected = texts(char, [HARD["not UTF-8"]], length=5)[0]
    if mode == ("--json",):
        line = json.loads(result.stdout)
        assert (line["prompt"], line["text"]) == ("Anna �� caf� �", expected)
    else:
        assert result.stdout == f"Anna �� caf� �{expected}\n"
