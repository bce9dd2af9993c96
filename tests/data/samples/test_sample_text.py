from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import re
from collections import Counter, defaultdict

import pytest

from data.samples import SAMPLES, text
from data.samples.text import PEOPLE, PLAYERS, THINGS

SPLITS = {"train": 400, "validation": 20, "test": 20}
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]
PRONOUNS = {player.name: player.pronoun for player in PLAYERS}


@pytest.fixture(scope="module")
def splits() -> dict[str, list[str]]:
    return {split: [row["text"] for row in rows] for split, rows in text(0).items()}


@pytest.fixture(scope="module")
def plays(splits: dict[str, list[str]]) -> list[str]:
    return [play for split in splits.values() for play in split]


def players_of(play: str) -> list[str]:
    """Return the players in the first line of a play."""
    return re.split(", | and ", re.fullmatch(r"In the \w+: (.*)\.", play.split("\n")[0])[1])


def spoken_lines(play: str) -> list[str]:
    """Return the spoken lines."""
    return [line for line in play.split("\n")[1:-1] if not line.startswith("(The clock")]


def lost_thing(play: str) -> tuple[str, str]:
    """Return the colour and the name of the lost thing of a play."""
    return re.search(r"I have lost my (\w+) (\w+)\.", play).groups()


def test_text_is_a_registered_sample() -> None:
    """`sample:text` is found by its name."""
    assert SAMPLES["text"] is text


def test_sizes(splits: dict[str, list[str]]) -> None:
    """There are 400 training plays, about 250,000 characters, and 20 each for validation and test."""
    assert {split: len(plays) for split, plays in splits.items()} == SPLITS
    assert 200_000 < sum(map(len, splits["train"])) < 250_000


def test_same_seed_same_examples() -> None:
    """The examples depend only on the seed; Python's global generator is not used."""
    before = random.getstate()

    assert text(0) == text(0)
    assert random.getstate() == before


def test_examples_are_the_same_on_every_machine() -> None:
    """Seed 0 results in the examples of the scores in the module's docstring.

    A change to the generator changes this hash: measure anew, and write both down together.
    """
    assert hashlib.sha256(json.dumps(text(0)).encode()).hexdigest() == (
        "f32ee38adcb0892920a2c647be6362db648cbf49d810c503907bc06b95aea514"
    )


def test_other_seed_other_examples(plays: list[str]) -> None:
    """Another seed results in other plays, not only in another order."""
    assert set(plays).isdisjoint(row["text"] for rows in text(1).values() for row in rows)


@pytest.mark.parametrize("seed", [0, 1])
def test_no_play_occurs_twice(seed: int) -> None:
    """No play occurs twice, neither in a split nor in two splits."""
    plays = [row["text"] for rows in text(seed).values() for row in rows]

    assert len(set(plays)) == len(plays) == 440


def test_signs_are_few_and_known(splits: dict[str, list[str]]) -> None:
    """Plays are ASCII with fewer than 50 distinct characters, all of which occur in "train"."""
    known = set("".join(splits["train"]))

    assert len(known) < 50
    assert all(sign.isascii() for sign in known)
    assert set("".join(splits["validation"] + splits["test"])) <= known


def test_players_take_turns(plays: list[str]) -> None:
    """The players speak repeatedly in the order of the first line."""
    for play in plays:
        players = players_of(play)
        speakers = [re.match(r"\w+", line)[0] for line in spoken_lines(play)]
        assert speakers == [players[turn % len(players)] for turn in range(len(speakers))], play
    assert {len(players_of(play)) for play in plays} == {2, 3}


def test_the_player_who_is_asked_speaks_next(plays: list[str]) -> None:
    """A question names the player who speaks next."""
    questions = 0
    for play in plays:
        lines = [*spoken_lines(play), ""]
        for line, following in itertools.pairwise(lines):
            if line.endswith("?"):
                questions += 1
                assert following.startswith(re.search(r", (\w+)\?", line)[1]), play
    assert questions > 400


def test_the_end_names_the_beginning(plays: list[str]) -> None:
    """The last line has the players, the place and the lost thing of the first two."""
    for play in plays:
        colour, thing = lost_thing(play)
        place, names = re.match(r"In the (\w+): (.*)\.", play).groups()
        assert play.endswith(f"\n{names} leave the {place} without the {colour} {thing}."), play


def test_the_lost_thing_keeps_its_name_and_number(plays: list[str]) -> None:
    """No other thing is named, and verbs and pronouns agree with it, after any relative clause."""
    verbs: Counter[tuple[bool, bool]] = Counter()
    for play in plays:
        colour, thing = lost_thing(play)
        is_plural = thing.endswith("s")
        assert {word for word in re.findall(r"\w+", play) if word in ALL_THINGS} == {thing}
        assert set(re.findall(rf"(\w+) {thing}", play)) <= {"the", "The", colour}
        for people, verb in re.findall(rf"[Tt]he {thing} that the (\w+) \w+ (\w+)", play):
            assert verb == ("are" if is_plural else "is"), play
            verbs[is_plural, people.endswith("s")] += 1
        assert set(re.findall(r"\b(is|are) the ", play)) <= {"are" if is_plural else "is"}
        assert set(re.findall(r"look for (\w+)", play)) <= {"them" if is_plural else "it"}
    assert len(verbs) == 4
    assert min(verbs.values()) > 100


ALL_THINGS = {name for thing in THINGS for name in thing}


def test_verbs_agree_with_people(plays: list[str]) -> None:
    """A verb ends in "s" after a singular subject, also across a relative clause, not after a plural one."""
    for play in plays:
        for people, verb in re.findall(r"that the (\w+) (\w+)", play):
            assert people.endswith("s") != verb.endswith("s"), play
        for people, knows, lives in re.findall(r"The (\w+) who (\w+) the \w+ (\w+) in", play):
            assert people.endswith("s") != knows.endswith("s"), play
            assert people.endswith("s") != lives.endswith("s"), play
        for people, verb in re.findall(r"so the (\w+) (\w+)\.", play):
            assert people.endswith("s") != verb.endswith("s"), play
    assert not any(person.singular.endswith("s") for person in PEOPLE)


def test_signs_are_closed(plays: list[str]) -> None:
    """In each line, brackets and quotation marks are opened as often as closed."""
    for line in (line for play in plays for line in play.split("\n")):
        assert line.count("(") == line.count(")") <= 1, line
        assert line.find("(") <= line.find(")"), line
        assert line.count('"') in (0, 2), line
        assert line[-1] in ".?!)", line


def test_what_is_opened_is_closed(plays: list[str]) -> None:
    """A player who opens something closes it, and is "he" or "she" according to the name."""
    searches = [
        match
        for play in plays
        for match in re.finditer(r"(\w+) \((\w+) opens the \w+ (\w+), .* closes the (\w+) again\)", play)
    ]

    assert len(searches) > 400
    for name, pronoun, opened, closed in (match.groups() for match in searches):
        assert opened == closed
        assert pronoun == PRONOUNS[name]


def test_the_clock_counts(plays: list[str]) -> None:
    """The clock strikes one more each time, after every third spoken line."""
    lengths = set()
    for play in plays:
        strokes = [NUMBERS.index(word) for word in re.findall(r"clock strikes (\w+)\.", play)]
        assert strokes == list(range(strokes[0], strokes[0] + len(strokes))), play
        assert len(strokes) == len(spoken_lines(play)) // 3
        lengths.add(len(strokes))
    assert lengths == {2, 3}


def nats_per_character(splits: dict[str, list[str]], order: int) -> float:
    """Return the test cross-entropy of an n-gram model of characters, with Witten-Bell smoothing."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    texts = {split: ["\1" * (order - 1) + play + "\0" for play in plays] for split, plays in splits.items()}
    for play in texts["train"]:
        for end in range(order - 1, len(play)):
            for start in range(end - order + 1, end + 1):
                counts[play[start:end]][play[end]] += 1
    totals = {context: (followers.total(), len(followers)) for context, followers in counts.items()}
    nats, length = 0.0, 0
    for play in texts["test"]:
        for end in range(order - 1, len(play)):
            probability = 1 / len(counts[""])
            for start in range(end, end - order, -1):
                if play[start:end] not in totals:
                    break
                total, kinds = totals[play[start:end]]
                probability = (counts[play[start:end]][play[end]] + kinds * probability) / (total + kinds)
            nats, length = nats - math.log(probability), length + 1
    return nats / length


def test_short_memories_fail(splits: dict[str, list[str]]) -> None:
    """A 5-gram model is far from the entropy of the grammar, 0.12 nats, and an LSTM's 0.20 nats."""
    assert 0.35 < nats_per_character(splits, order=5) < 0.45
