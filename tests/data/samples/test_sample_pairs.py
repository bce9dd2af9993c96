from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import random
import re
from collections import Counter, defaultdict

import pytest

from data.samples import SAMPLES, Example, pairs
from data.samples.pairs import (
    ADVERBS,
    BEINGS,
    BEINGS_ADJECTIVES,
    CONJUNCTIONS,
    SENTENCES,
    SPEECHES,
    THINGS,
    THINGS_ADJECTIVES,
    THINGS_VERBS,
)

SPLITS = {"train": 3000, "validation": 300, "test": 300}
ADJECTIVES = {adjective.english: adjective.german for adjective in BEINGS_ADJECTIVES + THINGS_ADJECTIVES}

Pair = tuple[str, str]


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Pair]]:
    return {split: [(row["source"], row["target"]) for row in rows] for split, rows in pairs(0).items()}


@pytest.fixture(scope="module")
def everything() -> dict[str, str]:
    """Return the targets of the sources of four seeds."""
    return {row["source"]: row["target"] for seed in range(4) for row in all_rows(seed)}


def all_rows(seed: int) -> list[Example]:
    return [row for rows in pairs(seed).values() for row in rows]


def words(text: str) -> list[str]:
    """Return the words and punctuation marks in lower case."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def dictionary() -> dict[str, str]:
    """Return the most frequent German form of each English word, or ""."""
    entries = {noun.english: noun.german for noun in BEINGS + THINGS}
    entries |= {noun.english_plural: noun.german_plural for noun in BEINGS + THINGS}
    entries |= {english: f"{german}e" for english, german in ADJECTIVES.items()}
    for verb in THINGS_VERBS:
        for english, german in zip(verb.english, verb.german, strict=True):
            entries.setdefault(english, german)
        entries.setdefault(verb.particle, verb.prefix)
    for speech in SPEECHES:
        entries |= dict(zip(speech.english, speech.german, strict=True))
    entries |= dict(CONJUNCTIONS)
    entries |= {"today": "heute", "now": "jetzt", "every": "jeden", "day": "Tag", "at": "zu", "home": "Hause"}
    entries |= {"in": "am", "evening": "Abend", "the": "die", "a": "ein", "an": "ein", "this": "dieses"}
    entries |= {"these": "diese", "that": "dass", "not": "nicht", "do": "", "does": "", "to": ""}
    entries |= {"want": "wollen", "wants": "will", "has": "hat", "have": "haben", "it": "es", "is": "ist"}
    return entries | {"they": "sie", "are": "sind"}


def word_by_word(source: str) -> str:
    """Return the translation of each word in its place."""
    entries = dictionary()
    german = " ".join(filter(None, (entries.get(word, word) for word in words(source))))
    german = re.sub(r" ([,.?])", r"\1", german)
    return german[0].upper() + german[1:]


def test_pairs_are_a_registered_sample() -> None:
    """`sample:pairs` is found by its name."""
    assert SAMPLES["pairs"] is pairs


def test_sizes(splits: dict[str, list[Pair]]) -> None:
    """There are 3,000 training pairs and 300 each for validation and test."""
    assert {split: len(rows) for split, rows in splits.items()} == SPLITS


def test_same_seed_same_examples() -> None:
    """The examples depend only on the seed; Python's global generator is not used."""
    before = random.getstate()

    assert pairs(0) == pairs(0)
    assert random.getstate() == before


def test_examples_are_the_same_on_every_machine() -> None:
    """Seed 0 results in the examples of the scores in the module's docstring.

    A change to the generator changes this hash: measure anew, and write both down together.
    """
    assert hashlib.sha256(json.dumps(pairs(0)).encode()).hexdigest() == (
        "1ec45ff1bdaed89f7c0febf979dba91cc84e941cf4a5381fb828b61bb84e30e5"
    )


def test_other_seed_other_examples(splits: dict[str, list[Pair]]) -> None:
    """Another seed results in other sentences, not only in another order."""
    sources = {source for rows in splits.values() for source, _ in rows}
    other_sources = {row["source"] for row in all_rows(1)}

    assert len(sources & other_sources) < 0.1 * len(sources)


@pytest.mark.parametrize("seed", [0, 1])
def test_no_source_occurs_twice(seed: int) -> None:
    """No source occurs twice, neither in a split nor in two splits."""
    sources = [row["source"] for row in all_rows(seed)]

    assert len(set(sources)) == len(sources) == 3600


def test_a_source_has_one_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same source always has the same target.

    Few words make it arrive there often.
    """
    grammar = importlib.import_module("data.samples.pairs")
    for name in ("BEINGS_ADJECTIVES", "THINGS_ADJECTIVES", "ADVERBS", "CONJUNCTIONS", "SPEECHES"):
        monkeypatch.setattr(grammar, name, getattr(grammar, name)[:1])
    for name in ("BEINGS", "THINGS", "VERBS", "THINGS_VERBS"):
        monkeypatch.setattr(grammar, name, getattr(grammar, name)[:3])
    generator = random.Random(0)
    targets: dict[str, set[str]] = defaultdict(set)
    for _ in range(20_000):
        english, german, _ = generator.choice(SENTENCES)(generator)
        targets[english].add(german)

    assert len(targets) < 19_500
    assert {len(found) for found in targets.values()} == {1}


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_words_are_known(splits: dict[str, list[Pair]], split: str, side: int) -> None:
    """Each word of "validation" and "test" occurs in "train", in both languages."""
    known = {word for pair in splits["train"] for word in words(pair[side])}

    assert {word for pair in splits[split] for word in words(pair[side])} <= known


def combinations(source: str) -> set[Pair]:
    """Return each adjective of a source with the noun after it, in the singular."""
    singular = {noun.english_plural: noun.english for noun in BEINGS + THINGS}
    singular |= {noun.english: noun.english for noun in BEINGS + THINGS}
    tokens = words(source)
    neighbours = itertools.pairwise(tokens)
    return {(a, singular[b]) for a, b in neighbours if a in ADJECTIVES and b in singular}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_combinations_are_new(splits: dict[str, list[Pair]], split: str) -> None:
    """Each sentence of "validation" and "test" has an adjective with a noun as never in "train"."""
    known = set().union(*(combinations(source) for source, _ in splits["train"]))

    assert len(known) > 90
    assert all(combinations(source) - known for source, _ in splits[split])


def test_sentences_are_printed_well(everything: dict[str, str]) -> None:
    """Sentences begin with a capital, end with a punctuation mark, and have no wrong spaces or commas."""
    sentence = re.compile(r"[A-ZÄÖÜ][a-zäöüß]*(,? [A-Za-zÄÖÜäöüß]+)+[.?]")

    for source, target in everything.items():
        assert sentence.fullmatch(source), source
        assert sentence.fullmatch(target), target
        assert source[-1] == target[-1]


GENDERS = {noun.german: noun.gender for noun in BEINGS + THINGS}
PLURALS = {noun.german_plural for noun in BEINGS + THINGS}

# The textbook's tables, as "article, ending" of a phrase with an adjective, that fit each gender.
FITTING = {
    "masculine": {"der e", "den en", "dieser e", "diesen en", "ein er", "einen en", "keinen en"},
    "feminine": {"die e", "diese e", "eine e", "keine e"},
    "neuter": {"das e", "dieses e", "ein es", "kein es"},
    "plural": {"die en", "diese en", "keine en", " e"},
}
ARTICLES = {pair.split(" ")[0] for pairs_ in FITTING.values() for pair in pairs_}


def test_articles_and_adjectives_agree(everything: dict[str, str]) -> None:
    """The article and the ending of the adjective agree with the gender and number of a German noun."""
    articles = "|".join(filter(None, ARTICLES))  # not the "die" of ", die alte Hunde sehen"
    phrase = re.compile(
        rf"(?:(?<!, )\b({articles}) )?({'|'.join(ADJECTIVES.values())})(e[nrs]?) (\w+)",
        re.I,
    )
    found = [match for target in everything.values() for match in phrase.findall(target)]

    assert len(found) > 2000
    for article, _, ending, noun in found:
        fitting = set(FITTING[GENDERS[noun]]) if noun in GENDERS else set()
        if noun in PLURALS:
            fitting |= FITTING["plural"]
        assert f"{article.lower()} {ending}" in fitting, (article, ending, noun)
    assert {f"{a.lower()} {e}" for a, _, e, _ in found} == set().union(*FITTING.values())


def test_subjects_are_nominative_and_objects_accusative(everything: dict[str, str]) -> None:
    """A masculine subject before its verb has "der", an object after it "den"."""
    verb = "|".join(verb.german[0] for verb in THINGS_VERBS)
    clause = re.compile(
        rf"(\w+) (?:\w+ )?(?:Mann|Hund) (?:{verb}) (?:heute |jetzt )?(\w+) (?:\w+ )?(?:Mann|Hund|Brief)\b.*"
    )
    found = [match for target in everything.values() if (match := clause.fullmatch(target))]

    assert len(found) > 5
    for match in found:
        assert match[1] in ("Der", "Dieser", "Ein"), match[0]
        assert match[2] in ("den", "diesen", "einen", "keinen"), match[0]


@pytest.mark.parametrize(("pronoun", "gender"), [("er", "masculine"), ("sie", "feminine"), ("es", "neuter")])
def test_it_refers_to_the_object(everything: dict[str, str], pronoun: str, gender: str) -> None:
    """The pronoun has the gender of the last noun of the main clause's object."""
    targets = [target for target in everything.values() if f", weil {pronoun} " in target]
    targets = [target for target in targets if target.endswith(" ist.")]

    assert len(targets) > 40
    for target in targets:
        main = target.split(", weil")[0].removesuffix(" am Abend")
        nouns = [word for word in main.split() if word in GENDERS]
        assert GENDERS[nouns[-1]] == gender, target


def test_the_verb_is_last_in_subordinate_clauses(everything: dict[str, str]) -> None:
    """A German clause with "dass", "weil", "wenn", ... ends with its finite verb."""
    finite = {prefix + form for *_, (*forms, _), prefix in THINGS_VERBS for form in forms}
    finite |= {"hat", "haben", "will", "wollen", "ist", "sind"}
    conjunctions = {german for _, german in CONJUNCTIONS} | {"dass"}
    clauses = [
        re.split(r"[,.]", clause.strip(" "))[0]
        for target in everything.values()
        for clause in re.split(r", |\.", target)
        if clause.split(" ")[0].lower() in conjunctions
    ]

    assert len(clauses) > 1000
    assert {clause.split()[-1] for clause in clauses} <= finite


def test_the_verb_is_second_after_an_adverb(everything: dict[str, str]) -> None:
    """After an adverb or a subordinate clause at the front, the subject follows the verb."""
    finite = {form for verb in THINGS_VERBS for form in verb.german[:2]} | {"hat", "haben", "will", "wollen"}
    counts: Counter[str] = Counter()
    for target in everything.values():
        for _, adverb in ADVERBS:
            front = adverb[0].upper() + adverb[1:]
            if target.startswith(f"{front} "):
                counts["adverb"] += 1
                assert target.removeprefix(f"{front} ").split()[0] in finite, target
        if target.startswith(("Weil", "Wenn", "Obwohl", "Während")):
            counts["clause"] += 1
            assert target.split(", ")[1].split()[0] in finite, target

    assert counts["adverb"] > 300
    assert counts["clause"] > 150


def test_prefixes_are_separated_in_main_clauses_only(everything: dict[str, str]) -> None:
    """The prefix is separated in a main clause ("sieht ... an"), not in a subordinate one ("ansieht")."""
    for source, target in everything.items():
        if re.fullmatch(r"(The|This|A) \w+ looks at the \w+\.", source):
            assert re.fullmatch(r"\w+ \w+ sieht (den|die|das) \w+ an\.", target), target
            break
    else:
        pytest.fail("no sentence with 'looks at'")
    assert sum("ansieht" in target for target in everything.values()) > 30
    assert all(re.search(r"(,|\b(dass|weil|wenn|obwohl|während)\b).* ansieht[,.]", target, re.I)
               for target in everything.values() if "ansieht" in target)  # fmt: skip


def test_not_a_is_kein(everything: dict[str, str]) -> None:
    """A negated clause has "kein" before an indefinite object and "nicht" after a definite one."""
    pattern = re.compile(r"The \w+ (?:does|do) not (?:see|find|paint|buy|sell|forget) (the|a|this) \w+\.")
    found = [
        (match[1], target) for source, target in everything.items() if (match := pattern.fullmatch(source))
    ]

    assert {article for article, _ in found} == {"the", "a", "this"}
    for article, target in found:
        assert ("kein" in target) == (article == "a"), target
        assert target.endswith(" nicht.") == (article != "a"), target


def test_relative_pronouns_are_subjects_or_objects(everything: dict[str, str]) -> None:
    """A man "that sees" is "der ... sieht", and one "that somebody sees" is "den ... sieht"."""
    verbs = {form for verb in THINGS_VERBS for form in verb.english[:2]}
    counts: Counter[str] = Counter()
    for source, target in everything.items():
        relative = re.search(r"\b(?:man|teacher|dog|key|coat|letter) that (\w+)", source)
        if relative and source.count(" that ") == 1:
            pronoun = "der" if relative[1] in verbs else "den"
            counts[pronoun] += 1
            assert re.search(rf", {pronoun} .* \w+[,.]", target), target

    assert min(counts["der"], counts["den"]) > 100


def test_english_verbs_agree(everything: dict[str, str]) -> None:
    """A verb ends in "s" after a singular subject, also in relative clauses, and not after a plural one."""
    singular, plural = "|".join(n.english for n in BEINGS), "|".join(n.english_plural for n in BEINGS)
    one = "|".join({verb.english[0] for verb in THINGS_VERBS} | {"wants", "has", "does"})
    several = "|".join({verb.english[1] for verb in THINGS_VERBS} | {"want", "have", "do"})
    agreeing = re.compile(rf"\b(?:({singular})( that)? (?:{one})|({plural})( that)? (?:{several}))\b")
    clashing = rf"\b(?:(?:{singular})THAT (?:{several})|(?:{plural})THAT (?:{one}))\b"
    after_that, next_to = (re.compile(clashing.replace("THAT", that)) for that in (" that", ""))
    statements = [source for source in everything if source.endswith(".")]
    found = [match.groups() for source in statements for match in agreeing.finditer(source)]

    assert sum(bool(groups[1]) for groups in found) > 100
    assert sum(bool(groups[3]) for groups in found) > 100
    assert not [source for source in statements if after_that.search(source)]
    # In "the dogs that see the man buy it" the man stands next to a verb that is not his.
    simple = [source for source in statements if not re.search(rf" that (?:{one}|{several})\b", source)]
    assert sum(" that " in source for source in simple) > 500
    assert not [source for source in simple if next_to.search(source)]


def test_word_by_word_fails(splits: dict[str, list[Pair]]) -> None:
    """A dictionary translates almost no sentence correctly."""
    right = [word_by_word(source) == target for source, target in splits["test"]]

    assert sum(right) / len(right) < 0.02


def test_word_by_word_is_no_straw_man(splits: dict[str, list[Pair]]) -> None:
    """The dictionary has most of the words; only order and agreement are wrong."""
    right = total = 0
    for source, target in splits["test"]:
        common = Counter(words(word_by_word(source))) & Counter(words(target))
        right, total = right + sum(common.values()), total + len(words(target))

    assert 0.5 < right / total < 0.8
