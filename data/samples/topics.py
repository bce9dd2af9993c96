"""`sample:topics`: messages to a shop, with the set of the things that they complain about.

    The invoice is correct, the parcel is not.                     delivery
    The invoice is not correct, the parcel is.                     billing
    I thought it was the speaker, but the battery is faulty.       power
    Everything works except the login and the screen. Please       account, display, urgent
        call me today.
    There is nothing wrong with the charger. There is no hurry.    no label

A message names one to three things of different topics. The words say which topics these are, their order
says which of them are complained about: the same words praise one thing and blame the other. The label
`urgent` follows from words, some of which are denied. A message has none to four labels.

On the test split, seed 0:

                                                             micro F1   exact sets
    logistic regressions, counts of words                       0.756        0.493
    logistic regressions, TF-IDF of words and their pairs       0.679        0.343
      and with `C=10` and thresholds chosen on a tenth          0.817        0.573
    bidirectional LSTM, 64 units                                0.932        0.837
      and without word dropout                                  1.000        1.000

The regressions are scikit-learn's, one for each label, with its defaults if nothing else is said. The LSTMs
are trained with `textrnn train classification sample:topics`, 30 epochs, the second one with
`--set model.word_dropout=0`: here every word counts.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from data.samples.example import Example

THINGS: dict[str, tuple[str, ...]] = {
    "account": ("login", "password", "profile"),
    "billing": ("invoice", "payment", "discount"),
    "delivery": ("parcel", "courier", "package"),
    "display": ("screen", "picture", "brightness"),
    "power": ("battery", "charger", "cable"),
    "sound": ("speaker", "microphone", "volume"),
}
"""Topics, which are labels, and their things, which go with every predicate below."""
URGENT = "urgent"


class Frame(NamedTuple):
    """A sentence about things."""

    text: str
    """With the things {0}, {1}, …; {good}, {bad} and {bad_noun} are predicates."""
    faulty: tuple[int, ...]
    """The things that are complained about."""


GOOD = ("is fine", "works", "is perfect", "is not a problem", "isn't wrong", "never fails")
BAD = ("is faulty", "is wrong", "is a problem", "fails", "isn't fine", "never works")

FRAMES: dict[int, tuple[Frame, ...]] = {
    1: (
        Frame("the {0} {good}", ()),
        Frame("there is nothing wrong with the {0}", ()),
        Frame("I have no complaint about the {0}", ()),
        Frame("the {0} {bad}", (0,)),
        Frame("there is something wrong with the {0}", (0,)),
        Frame("I have a complaint about the {0}", (0,)),
        Frame("everything works except the {0}", (0,)),
        Frame("nothing works except the {0}", ()),
    ),
    2: (
        Frame("the {0} {good}, but the {1} {bad}", (1,)),
        Frame("the {0} {bad}, but the {1} {good}", (0,)),
        Frame("the {0} is correct, the {1} is not", (1,)),
        Frame("the {0} is not correct, the {1} is", (0,)),
        Frame("it is the {0} that {bad}, not the {1}", (0,)),
        Frame("it is not the {0} that {bad}, it is the {1}", (1,)),
        Frame("I thought it was the {0}, but the {1} {bad}", (1,)),
        Frame("although the {0} {bad}, the {1} {good}", (0,)),
        Frame("although the {0} {good}, the {1} {bad}", (1,)),
        Frame("I have no complaint about the {0}, only about the {1}", (1,)),
        Frame("I complain about the {0}, and not about the {1}", (0,)),
        Frame("the {0} {bad}, and the {1} too", (0, 1)),
        Frame("neither the {0} nor the {1} works", (0, 1)),
        Frame("everything works except the {0} and the {1}", (0, 1)),
        Frame("both the {0} and the {1} work", ()),
        Frame("the {0} {good}, and the {1} {good}", ()),
    ),
    3: (
        Frame("the {0} and the {1} are fine, the {2} is not", (2,)),
        Frame("the {0} and the {1} are not fine, the {2} is", (0, 1)),
        Frame("the {0} {bad}, the {1} {good}, the {2} {bad}", (0, 2)),
        Frame("the {0} {good}, the {1} {bad}, the {2} {good}", (1,)),
        Frame("the {0} {bad}, unlike the {1} and the {2}", (0,)),
        Frame("unlike the {0}, the {1} and the {2} are faulty", (1, 2)),
        Frame("first the {0} failed, then the {1}, but never the {2}", (0, 1)),
        Frame("neither the {0} nor the {1} works, but the {2} does", (0, 1)),
        Frame("the {0}, the {1} and the {2} are all faulty", (0, 1, 2)),
        Frame("I return it because of the {0}, not because of the {1} or the {2}", (0,)),
    ),
}
FRAME_SHARES = {1: 0.2, 2: 0.5, 3: 0.3}

OPENERS = (
    *("hello", "good morning", "dear team", "I ordered it last week", "my order came on Monday"),
    *("thank you for your mail", "I write for my mother", "I bought it in your shop"),
)
HURRY = (
    *("please call me today", "this is urgent", "I need help at once", "it cannot wait"),
    *("answer as soon as you can, please", "I am in a hurry"),
)
NO_HURRY = (
    *("this is not urgent", "there is no hurry", "it can wait", "please do not call me today"),
    *("answer when you like", "I am not in a hurry"),
)
CLOSERS = ("kind regards", "thank you", "have a nice day", "that is all")
END_MARKS = (".", ".", "!", "")

SPLIT_SIZES = {"train": 3000, "validation": 300, "test": 300}


def topics(seed: int = 0) -> dict[str, list[Example]]:
    """Return the splits of `sample:topics`: "train" (3,000 examples), "validation" and "test" (300).

    An example is `{"text": ..., "label": ...}`, the labels a tuple in alphabetical order, which may be empty.
    No text occurs twice in the dataset, not even with another case or end mark.

    The examples depend only on `seed`:

        >>> topics(0)["test"][0]
        {'text': 'Neither the package nor the cable works', 'label': ('delivery', 'power')}
    """
    generator = Random(seed)
    seen: set[str] = set()
    return {split: _split(generator, size, seen) for split, size in SPLIT_SIZES.items()}


def _split(generator: Random, size: int, seen: set[str]) -> list[Example]:
    """Return `size` examples whose texts are not in `seen`, and add their texts to it."""
    examples: list[Example] = []
    while len(examples) < size:
        text, labels = _message(generator)
        key = text.lower().rstrip(".!")
        if key not in seen:
            seen.add(key)
            examples.append({"text": text, "label": tuple(sorted(labels))})
    return examples


def _message(generator: Random) -> tuple[str, set[str]]:
    """Return a message and its labels."""
    (count,) = generator.choices(list(FRAME_SHARES), list(FRAME_SHARES.values()))
    frame = generator.choice(FRAMES[count])
    named = generator.sample(sorted(THINGS), count)
    sentence = frame.text.replace("{good}", "{{good}}").replace("{bad}", "{{bad}}")
    sentence = sentence.format(*(generator.choice(THINGS[topic]) for topic in named))
    for slot, predicates in (("{good}", GOOD), ("{bad}", BAD)):
        while slot in sentence:
            sentence = sentence.replace(slot, generator.choice(predicates), 1)
    labels = {named[place] for place in frame.faulty}
    sentences = [sentence]
    if generator.random() < 0.4:
        sentences.insert(0, generator.choice(OPENERS))
    if generator.random() < 0.5:
        hurries = generator.random() < 0.5
        sentences.append(generator.choice(HURRY if hurries else NO_HURRY))
        labels |= {URGENT} if hurries else set()
    if generator.random() < 0.3:
        sentences.append(generator.choice(CLOSERS))
    text = ". ".join(s[0].upper() + s[1:] for s in sentences) + generator.choice(END_MARKS)
    return (text.lower() if generator.random() < 0.2 else text), labels
