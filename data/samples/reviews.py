"""`sample:reviews`: sentiment in which the words say nothing and their order says all.

Each text has a *twin* in its split: the same words, each as often, and the opposite label.

    The acting is dull, but the plot is very charming.      positive
    The acting is charming, but the plot is very dull.      negative

A text holds one adjective of praise and one of blame, and twins swap the two. Which of them is the
*verdict*, that decides, and which the *foil*, that it is set against, follows from the grammar:
after "but" the last clause decides, beside an "although" the main clause; "not", "n't", "never" and
"hardly" turn a verdict round; "very", "rather" and "truly" change nothing.

Accuracy on the test split, seed 0:

    logistic regression, counts of words                              0.500
    logistic regression, TF-IDF of words and pairs of words           0.853
    bidirectional LSTM, 32 units, 8 epochs of batches of 64           0.985

The regressions are scikit-learn's, with its defaults. The LSTM reads embeddings of size 32, and
learns with Adam at a rate of 0.003: 0.973 after 6 epochs. A rate of 0.001 takes 10 for as much.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from data.samples.row import Row


class Subject(NamedTuple):
    """What a review is about, the parts of it that are praised or blamed, and its small talk."""

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

# Each fits every part above, takes "very", and begins with a consonant, so that "a" fits it.
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

# How often the verdict is denied, where a pattern leaves it open. At one half, the verdict's
# adjective alone would say nothing there, and a network stays near chance for its first epochs.
DENIED_SHARE = 0.3

SPLIT_SIZES = {"train": 2000, "validation": 400, "test": 400}


def reviews(seed: int = 0) -> dict[str, list[Row]]:
    """Return the splits of `sample:reviews`: "train" (2,000 rows), "validation" and "test" (400).

    A row is `{"text": ..., "label": ...}`, its label "positive" or "negative", half of a split
    each. Twins share a split, so that within it every word, in lower case, occurs equally often
    under both labels. No text occurs twice, within a split or across, and no two differ in case
    and end mark alone.

    The rows follow from `seed` alone:

        >>> reviews(0)["test"][3]
        {'text': 'The charger is not nice, it is lousy.', 'label': 'negative'}
    """
    generator = Random(seed)
    seen: set[str] = set()
    return {split: _split(generator, size, seen) for split, size in SPLIT_SIZES.items()}


def _split(generator: Random, size: int, seen: set[str]) -> list[Row]:
    """Return `size` rows with texts that are not in `seen`, and add their texts to it."""
    rows: list[Row] = []
    while len(rows) < size:
        positive, negative = _twins(generator)
        keys = {text.lower().rstrip(".!") for text in (positive, negative)}
        if seen.isdisjoint(keys):
            seen |= keys
            rows.append({"text": positive, "label": "positive"})
            rows.append({"text": negative, "label": "negative"})
    generator.shuffle(rows)
    return rows


def _twins(generator: Random) -> tuple[str, str]:
    """Return a positive and a negative text of the same words."""
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


# The three patterns return a sentence that still has the slots {foil} and {verdict}, each for an
# adjective, and whether the verdict is denied.


def _contrast(generator: Random, subject: Subject) -> tuple[str, bool]:
    """Set two clauses against each other: both affirmed or both denied."""
    denied = generator.random() < DENIED_SHARE
    return _join(generator, subject, CONTRASTS, foil_is_denied=denied, verdict_is_denied=denied)


def _agreement(generator: Random, subject: Subject) -> tuple[str, bool]:
    """Add a clause to one of the same opinion: one of the two is denied, the other is not."""
    denied = generator.random() < DENIED_SHARE
    return _join(generator, subject, AGREEMENTS, foil_is_denied=not denied, verdict_is_denied=denied)


def _correction(generator: Random, subject: Subject) -> tuple[str, bool]:
    """Replace one adjective by another within a sentence."""
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
    """Fill a frame with two clauses about different parts of the subject."""
    first, second = generator.sample(subject.parts, 2)
    foil_link = generator.choice(DENIED if foil_is_denied else AFFIRMED)
    verdict_link = generator.choice(DENIED if verdict_is_denied else AFFIRMED)
    sentence = generator.choice(frames).format(
        foil=f"the {first} {foil_link} {{foil}}",
        verdict=f"the {second} {verdict_link} {{verdict}}",
    )
    return sentence, verdict_is_denied


def _dress(generator: Random, subject: Subject, sentence: str) -> str:
    """Write the sentence as a person does: with small talk around it, in one case or another."""
    sentences = [sentence]
    if generator.random() < 0.4:
        sentences.insert(0, generator.choice(subject.openers))
    if generator.random() < 0.3:
        sentences.append(generator.choice(CLOSERS))
    text = ". ".join(s[0].upper() + s[1:] for s in sentences) + generator.choice(END_MARKS)
    return text.lower() if generator.random() < 0.2 else text
