"""`sample:reviews`: sentiment that depends on the order of the words alone.

Each text has a *twin* in its split: the same words, equally often, and the opposite label.

    The acting is dull, but the plot is very charming.      positive
    The acting is charming, but the plot is very dull.      negative

A text has one adjective of praise and one of blame, and twins swap the two. The grammar determines which
one is the *verdict*, which decides the label, and which one is the *foil*, its contrast. With "but" the
last clause is the verdict, with "although" the main clause. "not", "n't", "never" and "hardly" negate a
verdict. "very", "rather" and "truly" change nothing.

Accuracy on the test split, seed 0:

    logistic regression, counts of words                              0.500
    logistic regression, TF-IDF of words and pairs of words           0.853
    bidirectional LSTM, 32 units, 8 epochs of batches of 64           0.985

The regressions are scikit-learn's with its defaults. The LSTM has embeddings of size 32 and is trained with
Adam at a learning rate of 0.003. After 6 epochs its accuracy is 0.973, which takes 10 epochs at a learning
rate of 0.001.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from data.samples.example import Example


class Subject(NamedTuple):
    """The subject of a review, its parts that are praised or blamed, and opening sentences."""

    whole: str
    parts: tuple[str, ...]
    openers: tuple[str, ...]


SUBJECTS = (
    Subject(
        "film",
        ("acting", "plot", "script", "dialogue", "ending", "music", "cast", "photography"),
        ("we saw it last night", "I watched it twice", "my sister lent me the disc"),
    ),
    Subject(
        "restaurant",
        ("soup", "fish", "bread", "dessert", "coffee", "wine", "service", "menu"),
        ("we went on a Sunday", "I had lunch here with two colleagues", "we had booked a table"),
    ),
    Subject(
        "phone",
        ("screen", "camera", "battery", "keyboard", "speaker", "design", "manual", "charger"),
        ("I bought it in May", "I have used it for three weeks", "mine arrived on Monday"),
    ),
)

# Each goes with every part above, with "very", and with the article "a".
PRAISE = (
    *("good", "pleasant", "lovely", "charming"),
    *("delightful", "nice", "convincing", "satisfying"),
)
BLAME = (
    *("bad", "dull", "poor", "weak"),
    *("disappointing", "forgettable", "mediocre", "lousy"),
)

AFFIRMED = ("is", "is very", "is rather", "is truly")
DENIED = ("isn't", "is not", "is never", "is hardly", "isn't very", "is not at all")

# In the frames of the first two tables, {foil} and {verdict} are clauses ("the plot isn't dull");
# in those of the third they are adjectives.
CONTRASTS = (
    "{foil}, but {verdict}",
    "{foil}; however, {verdict}",
    "although {foil}, {verdict}",
    "even though {foil}, {verdict}",
    "{verdict}, although {foil}",
    "{verdict}, even though {foil}",
)
AGREEMENTS = (
    "{foil} and {verdict}",
    "{foil}, and besides, {verdict}",
    "{foil}. What's more, {verdict}",
)
CORRECTIONS = (
    "the {part} is not {foil}, it is {verdict}",
    "the {part} isn't {foil} but {verdict}",
    "the {part} is {verdict}, not {foil}",
    "the {part} is never {foil}; it's {verdict}",
    "the {part} is more {verdict} than {foil}",
    "I would call the {part} {verdict} rather than {foil}",
    "far from being {foil}, the {part} is {verdict}",
    "I expected a {foil} {whole} and got a {verdict} one",
    "they say the {part} is {foil}, I say it is {verdict}",
    "the {part} was {foil} at first and is {verdict} now",
)

CLOSERS = ("just my two cents", "that's all I can say", "make of that what you will")
END_MARKS = (".", ".", "!", "")

# Share of negated verdicts in patterns that allow both. At one half, the adjective of the verdict alone would
# not predict the label, and a network would stay near chance in its first epochs.
DENIED_SHARE = 0.3

SPLIT_SIZES = {"train": 2000, "validation": 400, "test": 400}


def reviews(seed: int = 0) -> dict[str, list[Example]]:
    """Return the splits of `sample:reviews`: "train" (2,000 examples), "validation" and "test" (400).

    An example is `{"text": ..., "label": ...}`. Half of the labels of a split are "positive", half are
    "negative". Twins are in the same split, so that in each split every word, in lower case, occurs equally
    often with both labels. No text occurs twice in the dataset, not even with another case or end mark.

    The examples depend only on `seed`:

        >>> reviews(0)["test"][3]
        {'text': 'The charger is not nice, it is lousy.', 'label': 'negative'}
    """
    generator = Random(seed)
    seen: set[str] = set()
    return {split: _split(generator, size, seen) for split, size in SPLIT_SIZES.items()}


def _split(generator: Random, size: int, seen: set[str]) -> list[Example]:
    """Return `size` examples whose texts are not in `seen`, and add their texts to it."""
    examples: list[Example] = []
    while len(examples) < size:
        positive, negative = _twins(generator)
        keys = {text.lower().rstrip(".!") for text in (positive, negative)}
        if seen.isdisjoint(keys):
            seen |= keys
            examples.append({"text": positive, "label": "positive"})
            examples.append({"text": negative, "label": "negative"})
    generator.shuffle(examples)
    return examples


def _twins(generator: Random) -> tuple[str, str]:
    """Return a positive and a negative text with the same words."""
    subject = generator.choice(SUBJECTS)
    pattern = generator.choice((_contrast, _agreement, _correction))
    sentence, verdict_is_denied = pattern(generator, subject)
    text = _dress(generator, subject, sentence)
    praise, blame = generator.choice(PRAISE), generator.choice(BLAME)
    verdict_praises = text.format(verdict=praise, foil=blame)
    verdict_blames = text.format(verdict=blame, foil=praise)
    if verdict_is_denied:
        return verdict_blames, verdict_praises
    return verdict_praises, verdict_blames


# The three patterns return a sentence with the slots {foil} and {verdict}, each for an adjective, and whether
# the verdict is negated.


def _contrast(generator: Random, subject: Subject) -> tuple[str, bool]:
    """Return two contrasting clauses: both affirmed or both negated."""
    denied = generator.random() < DENIED_SHARE
    return _join(generator, subject, CONTRASTS, foil_is_denied=denied, verdict_is_denied=denied)


def _agreement(generator: Random, subject: Subject) -> tuple[str, bool]:
    """Return two clauses of the same opinion: one of the two is negated, the other is not."""
    denied = generator.random() < DENIED_SHARE
    return _join(generator, subject, AGREEMENTS, foil_is_denied=not denied, verdict_is_denied=denied)


def _correction(generator: Random, subject: Subject) -> tuple[str, bool]:
    """Return a sentence that corrects one adjective by another."""
    frame, part = generator.choice(CORRECTIONS), generator.choice(subject.parts)
    slots = {"foil": "{foil}", "verdict": "{verdict}"}
    return frame.format(part=part, whole=subject.whole, **slots), False


def _join(
    generator: Random,
    subject: Subject,
    frames: tuple[str, ...],
    *,
    foil_is_denied: bool,
    verdict_is_denied: bool,
) -> tuple[str, bool]:
    """Return a frame filled with two clauses about different parts of the subject."""
    first, second = generator.sample(subject.parts, 2)
    foil_link = generator.choice(DENIED if foil_is_denied else AFFIRMED)
    verdict_link = generator.choice(DENIED if verdict_is_denied else AFFIRMED)
    sentence = generator.choice(frames).format(
        foil=f"the {first} {foil_link} {{foil}}",
        verdict=f"the {second} {verdict_link} {{verdict}}",
    )
    return sentence, verdict_is_denied


def _dress(generator: Random, subject: Subject, sentence: str) -> str:
    """Return the sentence with or without an opening and a closing sentence, in mixed or lower case."""
    sentences = [sentence]
    if generator.random() < 0.4:
        sentences.insert(0, generator.choice(subject.openers))
    if generator.random() < 0.3:
        sentences.append(generator.choice(CLOSERS))
    text = ". ".join(s[0].upper() + s[1:] for s in sentences) + generator.choice(END_MARKS)
    return text.lower() if generator.random() < 0.2 else text
