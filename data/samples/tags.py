"""`sample:tags`: requests to an assistant, with their slots and their intent.

    I want Little Paris songs on Friday.        artist: Little Paris    date: on Friday
    I want Little Paris weather on Friday.      city: Little Paris      date: on Friday
    A table for seven, no, eight, at nine.      count: eight            time: nine
    I don't need a table for six, I need        song: Midnight in Lincoln
        Midnight in Lincoln by Nina Austin.     artist: Nina Austin

A word alone does not determine its slot. Bands, songs, restaurants and towns have names of the same words,
and the same numbers are times and numbers of guests. The context of a name decides, often the words after
it ("songs", "weather"). A filling that is corrected has no slot, and neither has the half of a request that
says what is *not* wanted; "not" may be far before or after it. The intent is that of the other half, so
that words alone do not determine it either. A fifth of the requests is in lower case.

A name of two words or more occurs in one split only. So the names of "validation" and "test" are new, but
they consist of words that occur in "train".

On the test split, seed 0:

                                               token accuracy   span F1   intent accuracy
    each word's most frequent tag, and
      logistic regression on counts of words             0.804     0.211             0.767
    logistic regression on five neighbouring
      words, and on counts of words and pairs            0.898     0.659             0.807
    LSTM, 48 units                                       0.951     0.816             0.997
    bidirectional LSTM, 48 units                         0.995     0.982             0.997

Words are in lower case. The LSTMs have embeddings of size 32, predict the intent from the maximum of their
outputs over time, and are trained for 15 epochs in batches of 32 with Adam at a learning rate of 0.005.
"""

from __future__ import annotations

from itertools import product
from random import Random

from data.samples.example import Example

# Names of towns, which are also part of the names of bands, singers, songs and restaurants.
PLACES = (
    *("Paris", "London", "Austin", "Jackson", "Florence", "Sydney", "Chelsea", "Phoenix"),
    *("Orlando", "Victoria", "Memphis", "Lincoln", "Madison", "Geneva", "Valencia", "Dallas"),
)
# Before a place: a town or a band. Before a thing: a band or a restaurant.
MODIFIERS = ("Little", "New", "Old", "East", "Silver", "Blue", "Black", "Golden")
THINGS = ("Lantern", "Garden", "River", "Dragon", "Harbour", "Orchid", "Tiger", "Moon")
FIRST_NAMES = ("Ella", "Johnny", "Nina", "Marvin", "Ruby", "Oscar")
CUISINES = ("Thai", "Italian", "Mexican", "Indian", "Greek", "Korean", "Turkish", "Lebanese")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
HOURS = (*NUMBERS, "noon", "midnight")

# The words of names, by slot.
NAMES: dict[str, tuple[tuple[tuple[str, ...], ...], ...]] = {
    "city": ((MODIFIERS, PLACES),),
    "artist": (
        (MODIFIERS, PLACES),
        (MODIFIERS, THINGS),
        (FIRST_NAMES, PLACES),
        (PLACES, ("and the",), tuple(f"{thing}s" for thing in THINGS)),
    ),
    "restaurant": ((MODIFIERS, THINGS), (CUISINES, THINGS), (PLACES, ("Kitchen", "Garden", "Grill"))),
    "song": (
        (("Midnight", "Noon", "Seven", "Rain", "Snow", *DAYS), ("in",), PLACES),
        (tuple(number.capitalize() for number in NUMBERS), tuple(f"{day}s" for day in DAYS)),
        (CUISINES, ("Morning", "Moon", "Weekend", "Rain")),
    ),
}
SINGLE_WORD_NAMES = {"city": PLACES, "artist": PLACES}
# How often a name of a band or town is a single word, which all splits share.
SINGLE_WORD_SHARE = 0.3

# What can be asked for, in tokens, by intent. A slot takes a name, a time, a date or a number.
WISHES: dict[str, tuple[str, ...]] = {
    "play_music": (
        "{song}",
        "{song} by {artist}",
        "songs by {artist}",
        "{artist} songs",
        "music by {artist} at {time}",
        "some {artist} music {date}",
        "the new album by {artist}",
    ),
    "set_alarm": (
        "an alarm for {time}",
        "an alarm {date} at {time}",
        "an alarm at {time} {date}",
        "{count} alarms for {time}",
        "an alarm that plays {song} at {time}",
        "an alarm for my flight to {city} {date}",
    ),
    "book_table": (
        "a table for {count}",
        "a table for {count} at {time}",
        "a table at {time} for {count}",
        "a table at {restaurant} {date}",
        "a table for {count} at {restaurant} in {city}",
        "{restaurant} for {count} at {time}",
        "{cuisine} food for {count} {date}",
        "{cuisine} food in {city}",
        "{count} seats at {restaurant}",
    ),
    "get_weather": (
        "the weather in {city}",
        "the weather for {city} {date}",
        "{city} weather",
        "the {city} forecast {date}",
        "the forecast for {city} at {time}",
        "the weather of the next {count} days in {city}",
    ),
    "buy_tickets": (
        "tickets for {artist}",
        "{artist} tickets {date}",
        "{count} tickets for {artist}",
        "tickets for {artist} in {city} {date}",
        "{count} seats for {artist} in {city}",
        "{count} seats at the {artist} concert",
    ),
}
# Requests for one thing.
PLAIN = (
    *("{yes}", "I want {yes}", "get me {yes}", "I 'd like {yes}", "can I have {yes}", "I need {yes}"),
    *("{yes} is what I want", "{yes} would be nice"),
)
# Requests for one thing and not another: no word of the other fills a slot.
CONTRASTS = (
    "I want {yes} , not {no}",
    "not {no} but {yes}",
    "I want {no} no more , I want {yes}",
    "I want {yes} , I want {no} no more",
    "I do n't need {no} , I need {yes}",
    "I need {yes} , I do n't need {no}",
    "forget {no} , get me {yes}",
    "get me {yes} , forget {no}",
    "{no} is not what I want , {yes} is",
    "{yes} is what I want , {no} is not",
    "{yes} rather than {no}",
    "instead of {no} , I 'd like {yes}",
    "I 'd like {yes} instead of {no}",
)
TIMES = (
    "{hour}",
    "{hour}",
    "{number} o'clock",
    "{number} in the {part}",
    "half past {number}",
    "quarter to {number}",
    "{digit}:30",
)
DATES = ("on {day}", "on {day}", "next {day}", "on {day} {part}", "today", "tomorrow", "this weekend")
PARTS_OF_DAY = ("morning", "afternoon", "evening")

# Tokens before and after a request.
GREETINGS = ("hey ,", "please ,", "hello ,", "OK ,", "well ,")
THANKS = (", please", ", thanks", "please")
UNSPACED = (",", ".", "?", "!", "n't", "'d")
END_MARKS = (".", ".", "!", "")

CONTRAST_SHARE = 0.5
# Share of slots whose first filling is corrected: "a table for seven, no, eight".
CORRECTION_SHARE = 0.08

SLOTS = ("artist", "song", "restaurant", "city", "cuisine", "date", "time", "count")

SPLIT_SIZES = {"train": 1600, "validation": 300, "test": 300}
# Shares of the names; the requests of a split repeat some of its names.
NAME_SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def tags(seed: int = 0) -> dict[str, list[Example]]:
    """Return the splits of `sample:tags`: "train" (1,600 examples), "validation" and "test" (300 each).

    An example is `{"text": ..., "tokens": (...), "tags": (...), "label": ...}`: the text of the request, its
    words and punctuation marks, a tag "O", "B-SLOT" or "I-SLOT" for each of these, and the intent. Slots are
    those of `SLOTS`, intents the keys of `WISHES`. No text occurs twice in the dataset, not even in another
    case or with another end mark.

    The examples depend only on `seed`:

        >>> example = tags(0)["test"][1]
        >>> example["text"], example["label"]
        ('Get me tickets for East Valencia in Old London this weekend.', 'buy_tickets')
        >>> example["tags"][4:9]
        ('B-artist', 'I-artist', 'O', 'B-city', 'I-city')
    """
    generator = Random(seed)
    names = _split_names(generator)
    seen: set[str] = set()
    return {split: _split(generator, size, names[split], seen) for split, size in SPLIT_SIZES.items()}


Names = dict[str, list[str]]


def _split_names(generator: Random) -> dict[str, Names]:
    """Return names for each split and each slot of names; a name is in one split only.

    A band and a town with the same name are in the same split.
    """
    names: dict[str, Names] = {split: {slot: [] for slot in NAMES} for split in NAME_SHARES}
    splits, shares = list(NAME_SHARES), list(NAME_SHARES.values())
    split_of: dict[str, str] = {}
    for slot, patterns in NAMES.items():
        for pattern in patterns:
            for name in _combinations(pattern):
                if name not in split_of:
                    split_of[name] = generator.choices(splits, shares)[0]
                names[split_of[name]][slot].append(name)
    return names


def _combinations(pattern: tuple[tuple[str, ...], ...]) -> list[str]:
    """Return all names of a pattern: `(("Blue", "New"), ("Moon",)) -> ["Blue Moon", "New Moon"]`."""
    return [" ".join(words) for words in product(*pattern)]


def _split(generator: Random, size: int, names: Names, seen: set[str]) -> list[Example]:
    """Return `size` examples whose texts are not in `seen`, and add their texts to it."""
    examples: list[Example] = []
    while len(examples) < size:
        label = generator.choice(tuple(WISHES))
        tagged, is_question = _request(generator, names, label)
        tokens, slots = zip(*_dress(generator, tagged, is_question), strict=True)
        text = _join(tokens)
        key = text.lower().rstrip(".?!")
        if key not in seen:
            seen.add(key)
            examples.append({"text": text, "tokens": tokens, "tags": slots, "label": label})
    return examples


Tagged = list[tuple[str, str]]


def _request(generator: Random, names: Names, label: str) -> tuple[Tagged, bool]:
    """Return a request's tokens, each with its tag, and whether it is a question."""
    pattern = generator.choice(CONTRASTS if generator.random() < CONTRAST_SHARE else PLAIN)
    tagged: Tagged = []
    for word in pattern.split():
        if word == "{yes}":
            tagged += _wish(generator, names, label)
        elif word == "{no}":
            other = generator.choice([intent for intent in WISHES if intent != label])
            tagged += _outside(_wish(generator, names, other))
        else:
            tagged.append((word, "O"))
    return tagged, pattern.startswith("can")


def _wish(generator: Random, names: Names, intent: str) -> Tagged:
    """Return the tokens of what is asked for, each with its tag."""
    tagged: Tagged = []
    for word in generator.choice(WISHES[intent]).split():
        if not word.startswith("{"):
            tagged.append((word, "O"))
            continue
        slot = word.strip("{}")
        meant, mistaken = _fill(generator, names, slot), _fill(generator, names, slot)
        if generator.random() < CORRECTION_SHARE and meant != mistaken:
            tagged += [*_outside(mistaken), (",", "O"), ("no", "O"), (",", "O")]
        tagged += meant
    return tagged


def _outside(tagged: Tagged) -> Tagged:
    """Return the tokens without their slots."""
    return [(token, "O") for token, _ in tagged]


def _fill(generator: Random, names: Names, slot: str) -> Tagged:
    """Return the tokens that fill a slot, each with its tag."""
    words = _filling(generator, names, slot).split()
    return [(word, f"{'I' if position else 'B'}-{slot}") for position, word in enumerate(words)]


def _filling(generator: Random, names: Names, slot: str) -> str:
    """Return a name, a kind of food, a number, a time or a date."""
    if slot in names:
        if slot in SINGLE_WORD_NAMES and generator.random() < SINGLE_WORD_SHARE:
            return generator.choice(SINGLE_WORD_NAMES[slot])
        return generator.choice(names[slot])
    words = {"number": generator.choice(NUMBERS), "hour": generator.choice(HOURS)}
    words |= {"day": generator.choice(DAYS), "part": generator.choice(PARTS_OF_DAY)}
    words["digit"] = str(generator.randint(1, 12))
    if slot == "cuisine":
        return generator.choice(CUISINES)
    if slot == "count":
        return words["number"]
    return generator.choice(TIMES if slot == "time" else DATES).format(**words)


def _dress(generator: Random, tagged: Tagged, is_question: bool) -> Tagged:
    """Return a request with or without a greeting and thanks, in mixed or lower case."""
    opener = generator.choice(GREETINGS) if generator.random() < 0.2 else ""
    closer = generator.choice(THANKS) if generator.random() < 0.2 else ""
    end = generator.choice(("?", "?", "")) if is_question else generator.choice(END_MARKS)
    before = [(word, "O") for word in opener.split()]
    after = [(word, "O") for word in (*closer.split(), *end.split())]
    dressed = before + tagged + after
    if generator.random() < 0.2:
        return [(word.lower(), tag) for word, tag in dressed]
    (first, tag), *rest = dressed
    return [(first[0].upper() + first[1:], tag), *rest]


def _join(tokens: tuple[str, ...]) -> str:
    """Return the text of tokens: `("Do", "n't", "play", "it", ".") -> "Don't play it."`."""
    return "".join(t if t in UNSPACED else f" {t}" for t in tokens).strip()
