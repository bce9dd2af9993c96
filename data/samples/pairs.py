"""`sample:pairs`: English sentences and their German translations, by a small grammar of both languages.

    The man has looked for this old key.        Der Mann hat diesen alten Schlüssel gesucht.
    If the man looks at the lamp, ...           Wenn der Mann die Lampe ansieht, ...
    The girls do not buy a red coat.            Die Mädchen kaufen keinen roten Mantel.
    ... the coats because they are red.         ... die Mäntel, weil sie rot sind.

Every source has exactly one correct target, so that exact match is a metric. Single words do not determine
it. German articles, pronouns and adjectives agree with the gender, number and case of their noun, and "it"
with the noun that it refers to (the object of the main clause). The verb is second in a main clause and
last in a subordinate clause; its other parts are at the end ("looks at": "sieht ... an", "wants to buy":
"will ... kaufen"). "not ... a" becomes "kein", and "do" has no translation.

Sentences of "validation" and "test" consist of words that occur in "train", but each has a combination of
adjective and noun that does not.

Scores on the test split, seed 0, of a dictionary that replaces each English word by its most frequent German
form, in the English order:

    exact match           0.000
    BLEU (sacrebleu)     12.6
    chrF (sacrebleu)     66.6
"""

from __future__ import annotations

from random import Random
from typing import Literal, NamedTuple

from data.samples.example import Example

Case = Literal["nominative", "accusative"]
Gender = Literal["masculine", "feminine", "neuter", "plural"]
Tense = Literal["present", "perfect", "wish"]
Order = Literal["second", "first", "last"]
"""Position of the finite verb in a German clause."""


class Noun(NamedTuple):
    """A noun; its German nominative and accusative are the same."""

    english: str
    english_plural: str
    german: str
    german_plural: str
    gender: Gender


class Adjective(NamedTuple):
    """An adjective; the German one has no ending."""

    english: str
    german: str


class Verb(NamedTuple):
    """A transitive verb: third person singular, infinitive (also the plural), participle."""

    english: tuple[str, str, str]
    particle: str
    """Word after the English verb, e.g. the "for" of "look for"."""
    german: tuple[str, str, str]
    """Without the prefix, except in the participle."""
    prefix: str = ""
    """Separable prefix, which is at the end of a German main clause."""


class Speech(NamedTuple):
    """A verb with a "that" clause: its singular and plural."""

    english: tuple[str, str]
    german: tuple[str, str]


class Phrase(NamedTuple):
    """A noun phrase."""

    noun: Noun
    is_plural: bool
    determiner: Literal["the", "this", "a"]
    adjective: Adjective | None = None
    relative: Relative | None = None


class Relative(NamedTuple):
    """A relative clause: "that sees OTHER", or "that OTHER sees"."""

    verb: Verb
    other: Phrase
    noun_is_subject: bool


class Clause(NamedTuple):
    """A statement."""

    subject: Phrase
    verb: Verb
    object: Phrase
    tense: Tense
    is_negated: bool
    adverb: tuple[str, str] | None = None
    """At the end in English, after the finite verb or the subject in German."""


BEINGS = (
    Noun("man", "men", "Mann", "Männer", "masculine"),
    Noun("teacher", "teachers", "Lehrer", "Lehrer", "masculine"),
    Noun("dog", "dogs", "Hund", "Hunde", "masculine"),
    Noun("woman", "women", "Frau", "Frauen", "feminine"),
    Noun("cat", "cats", "Katze", "Katzen", "feminine"),
    Noun("queen", "queens", "Königin", "Königinnen", "feminine"),
    Noun("child", "children", "Kind", "Kinder", "neuter"),
    Noun("girl", "girls", "Mädchen", "Mädchen", "neuter"),
    Noun("horse", "horses", "Pferd", "Pferde", "neuter"),
)
THINGS = (
    Noun("key", "keys", "Schlüssel", "Schlüssel", "masculine"),
    Noun("coat", "coats", "Mantel", "Mäntel", "masculine"),
    Noun("letter", "letters", "Brief", "Briefe", "masculine"),
    Noun("lamp", "lamps", "Lampe", "Lampen", "feminine"),
    Noun("flower", "flowers", "Blume", "Blumen", "feminine"),
    Noun("bottle", "bottles", "Flasche", "Flaschen", "feminine"),
    Noun("book", "books", "Buch", "Bücher", "neuter"),
    Noun("picture", "pictures", "Bild", "Bilder", "neuter"),
    Noun("car", "cars", "Auto", "Autos", "neuter"),
)
ADJECTIVES = (
    *(Adjective("old", "alt"), Adjective("small", "klein"), Adjective("strange", "seltsam")),
    Adjective("beautiful", "schön"),
)
BEINGS_ADJECTIVES = (
    *ADJECTIVES,
    *(Adjective("young", "jung"), Adjective("clever", "klug"), Adjective("friendly", "freundlich")),
)
THINGS_ADJECTIVES = (
    *ADJECTIVES,
    *(Adjective("new", "neu"), Adjective("red", "rot"), Adjective("heavy", "schwer")),
)
VERBS = (
    Verb(("sees", "see", "seen"), "", ("sieht", "sehen", "gesehen")),
    Verb(("looks", "look", "looked"), "for", ("sucht", "suchen", "gesucht")),
    Verb(("looks", "look", "looked"), "at", ("sieht", "sehen", "angesehen"), "an"),
    Verb(("finds", "find", "found"), "", ("findet", "finden", "gefunden")),
    Verb(("paints", "paint", "painted"), "", ("malt", "malen", "gemalt")),
    Verb(("forgets", "forget", "forgotten"), "", ("vergisst", "vergessen", "vergessen")),
    Verb(("carries", "carry", "carried"), "away", ("trägt", "tragen", "weggetragen"), "weg"),
    Verb(("brings", "bring", "brought"), "back", ("bringt", "bringen", "zurückgebracht"), "zurück"),
    Verb(("takes", "take", "taken"), "along", ("nimmt", "nehmen", "mitgenommen"), "mit"),
)
# Verbs whose object may be a thing.
THINGS_VERBS = (
    *VERBS,
    Verb(("buys", "buy", "bought"), "", ("kauft", "kaufen", "gekauft")),
    Verb(("sells", "sell", "sold"), "", ("verkauft", "verkaufen", "verkauft")),
)
SPEECHES = (
    Speech(("says", "say"), ("sagt", "sagen")),
    Speech(("knows", "know"), ("weiß", "wissen")),
    Speech(("hopes", "hope"), ("hofft", "hoffen")),
)
ADVERBS = (
    *(("today", "heute"), ("now", "jetzt"), ("every day", "jeden Tag")),
    *(("in the evening", "am Abend"), ("at home", "zu Hause")),
)
CONJUNCTIONS = (("because", "weil"), ("if", "wenn"), ("although", "obwohl"), ("while", "während"))

# Forms for masculine, feminine, neuter and plural nouns, by determiner and case.
GENDERS: tuple[Gender, ...] = ("masculine", "feminine", "neuter", "plural")
ARTICLES: dict[tuple[str, Case], tuple[str, str, str, str]] = {
    ("the", "nominative"): ("der", "die", "das", "die"),
    ("the", "accusative"): ("den", "die", "das", "die"),
    ("this", "nominative"): ("dieser", "diese", "dieses", "diese"),
    ("this", "accusative"): ("diesen", "diese", "dieses", "diese"),
    ("a", "nominative"): ("ein", "eine", "ein", ""),
    ("a", "accusative"): ("einen", "eine", "ein", ""),
    ("no", "accusative"): ("keinen", "keine", "kein", "keine"),
}
ENDINGS: dict[tuple[str, Case], tuple[str, str, str, str]] = {
    ("the", "nominative"): ("e", "e", "e", "en"),
    ("the", "accusative"): ("en", "e", "e", "en"),
    ("this", "nominative"): ("e", "e", "e", "en"),
    ("this", "accusative"): ("en", "e", "e", "en"),
    ("a", "nominative"): ("er", "e", "es", "e"),
    ("a", "accusative"): ("en", "e", "es", "e"),
    ("no", "accusative"): ("en", "e", "es", "en"),
}
PRONOUNS = ("er", "sie", "es", "sie")

SPLIT_SIZES = {"train": 3000, "validation": 300, "test": 300}
# Share of combinations of adjective and noun that do not occur in "train".
HELD_OUT_SHARE = 0.2


def pairs(seed: int = 0) -> dict[str, list[Example]]:
    """Return the splits of `sample:pairs`: "train" (3,000 examples), "validation" and "test" (300 each).

    An example is `{"source": ..., "target": ...}`. No source occurs twice in the dataset.

    The examples depend only on `seed`:

        >>> pairs(0)["test"][3]["target"]
        'Jetzt bringt das junge Mädchen keine Katze zurück.'
    """
    generator = Random(seed)
    combinations = [(adjective, noun) for noun in (*BEINGS, *THINGS) for adjective in _adjectives(noun)]
    held_out = set(generator.sample(combinations, round(HELD_OUT_SHARE * len(combinations))))
    seen: set[str] = set()
    return {
        split: _split(generator, size, held_out, split != "train", seen)
        for split, size in SPLIT_SIZES.items()
    }


class Translation(NamedTuple):
    """A sentence in both languages, and its noun phrases."""

    english: str
    german: str
    phrases: tuple[Phrase, ...]


def _split(
    generator: Random,
    size: int,
    held_out: set[tuple[Adjective, Noun]],
    is_new: bool,
    seen: set[str],
) -> list[Example]:
    """Return `size` examples whose sources are not in `seen`, and add their sources to it.

    Each has a combination of `held_out` if `is_new`, and no such combination otherwise.
    """
    examples: list[Example] = []
    while len(examples) < size:
        english, german, phrases = generator.choice(SENTENCES)(generator)
        combinations = {(phrase.adjective, phrase.noun) for phrase in _all_phrases(phrases)}
        source = _write(english)
        if is_new != combinations.isdisjoint(held_out) and source not in seen:
            seen.add(source)
            examples.append({"source": source, "target": _write(german)})
    return examples


def _all_phrases(phrases: tuple[Phrase, ...]) -> list[Phrase]:
    """Return the phrases and those of their relative clauses."""
    return [*phrases, *(phrase.relative.other for phrase in phrases if phrase.relative)]


def _write(tokens: str) -> str:
    """Return the text of a sentence: `"the dog , that ran , ." -> "The dog, that ran."`."""
    text = " ".join(tokens.split())
    for before, after in ((" , ,", " ,"), (" , .", " ."), (" , ?", " ?")):
        text = text.replace(before, after)
    for mark in ",.?":
        text = text.replace(f" {mark}", mark)
    return text[0].upper() + text[1:]


# Each of these functions returns a sentence in both languages, with spaces around punctuation marks.


def _statement(generator: Random) -> Translation:
    """Return a statement, perhaps with a relative clause."""
    clause = _with_relative(generator, _clause(generator))
    return Translation(f"{_english(clause)} .", f"{_german(clause)} .", (clause.subject, clause.object))


def _fronted(generator: Random) -> Translation:
    """Return a statement that begins with an adverb, so that the German subject is after the verb."""
    clause = _clause(generator)._replace(adverb=None)
    adverb, german_adverb = generator.choice(ADVERBS)
    english, german = f"{adverb} {_english(clause)} .", f"{german_adverb} {_german(clause, 'first')} ."
    return Translation(english, german, (clause.subject, clause.object))


def _question(generator: Random) -> Translation:
    """Return a yes-no question."""
    clause = _clause(generator)._replace(is_negated=False)
    english, german = f"{_english_question(clause)} ?", f"{_german(clause, 'first')} ?"
    return Translation(english, german, (clause.subject, clause.object))


def _condition(generator: Random) -> Translation:
    """Return a main clause with a subordinate clause before or after it."""
    main, subordinate = _clause(generator), _clause(generator)
    conjunction, german_conjunction = generator.choice(CONJUNCTIONS)
    german_subordinate = f"{german_conjunction} {_german(subordinate, 'last')}"
    if generator.random() < 0.5:
        english = f"{conjunction} {_english(subordinate)} , {_english(main)} ."
        german = f"{german_subordinate} , {_german(main, 'first')} ."
    else:
        english = f"{_english(main)} {conjunction} {_english(subordinate)} ."
        german = f"{_german(main)} , {german_subordinate} ."
    return Translation(english, german, (main.subject, main.object, subordinate.subject, subordinate.object))


def _report(generator: Random) -> Translation:
    """Return a report of what somebody says."""
    speaker, clause = _phrase(generator, BEINGS), _clause(generator)
    verb = generator.choice(SPEECHES)
    said = f"{_english_phrase(speaker)} {verb.english[speaker.is_plural]} that {_english(clause)} ."
    subject = _german_phrase(speaker, "nominative")
    german = f"{subject} {verb.german[speaker.is_plural]} , dass {_german(clause, 'last')} ."
    return Translation(said, german, (speaker, clause.subject, clause.object))


def _reason(generator: Random) -> Translation:
    """Return a statement about a thing with a reason, which has a pronoun for the thing."""
    clause = _clause(generator, THINGS)
    adjective, thing = generator.choice(THINGS_ADJECTIVES), clause.object
    english_reason = f"{'they are' if thing.is_plural else 'it is'} {adjective.english}"
    pronoun, be = PRONOUNS[_column(thing)], "sind" if thing.is_plural else "ist"
    english = f"{_english(clause)} because {english_reason} ."
    german = f"{_german(clause)} , weil {pronoun} {adjective.german} {be} ."
    return Translation(english, german, (clause.subject, clause.object))


SENTENCES = (_statement, _statement, _fronted, _question, _condition, _report, _reason)


def _clause(generator: Random, objects: tuple[Noun, ...] = ()) -> Clause:
    """Return a random clause with one of the objects, or with any object."""
    patient = _phrase(generator, objects or (*BEINGS, *THINGS))
    return Clause(
        subject=_phrase(generator, BEINGS),
        verb=generator.choice(_verbs(patient.noun)),
        object=patient,
        tense=generator.choice(("present", "present", "perfect", "wish")),
        is_negated=generator.random() < 0.25,
        adverb=generator.choice(ADVERBS) if generator.random() < 0.25 else None,
    )


def _phrase(generator: Random, nouns: tuple[Noun, ...]) -> Phrase:
    """Return a random noun with a determiner and perhaps an adjective."""
    noun = generator.choice(nouns)
    return Phrase(
        noun,
        is_plural=generator.random() < 0.4,
        determiner=generator.choice(("the", "the", "this", "a")),
        adjective=generator.choice(_adjectives(noun)) if generator.random() < 0.4 else None,
    )


def _adjectives(noun: Noun) -> tuple[Adjective, ...]:
    """Return the adjectives of a noun."""
    return BEINGS_ADJECTIVES if noun in BEINGS else THINGS_ADJECTIVES


def _verbs(noun: Noun) -> tuple[Verb, ...]:
    """Return the verbs whose object can be a noun."""
    return VERBS if noun in BEINGS else THINGS_VERBS


def _with_relative(generator: Random, clause: Clause) -> Clause:
    """Return the clause, in two of three cases with a relative clause at its subject or object."""
    place = generator.choice(("subject", "object", "nowhere"))
    if place == "nowhere":
        return clause
    phrase = clause.subject if place == "subject" else clause.object
    # A thing is never the subject of a verb.
    noun_is_subject = phrase.noun in BEINGS and generator.random() < 0.5
    verb = generator.choice(VERBS if noun_is_subject else _verbs(phrase.noun))
    phrase = phrase._replace(relative=Relative(verb, _phrase(generator, BEINGS), noun_is_subject))
    if place == "subject":
        return clause._replace(subject=phrase)
    # An adverb at the end would seem to belong to the relative clause.
    return clause._replace(object=phrase, adverb=None)


def _english(clause: Clause) -> str:
    """Return an English statement."""
    singular, infinitive, participle = clause.verb.english
    is_plural = clause.subject.is_plural
    have, do = ("have", "do") if is_plural else ("has", "does")
    if clause.tense == "perfect":
        verb = f"{have} not {participle}" if clause.is_negated else f"{have} {participle}"
    elif clause.tense == "wish":
        want = f"{do} not want" if clause.is_negated else ("want" if is_plural else "wants")
        verb = f"{want} to {infinitive}"
    elif clause.is_negated:
        verb = f"{do} not {infinitive}"
    else:
        verb = infinitive if is_plural else singular
    return f"{_english_phrase(clause.subject)} {verb} {_english_rest(clause)}"


def _english_question(clause: Clause) -> str:
    """Return an English question, without its question mark."""
    _, infinitive, participle = clause.verb.english
    have, do = ("have", "do") if clause.subject.is_plural else ("has", "does")
    subject, rest = _english_phrase(clause.subject), _english_rest(clause)
    if clause.tense == "perfect":
        return f"{have} {subject} {participle} {rest}"
    return f"{do} {subject} {'want to ' if clause.tense == 'wish' else ''}{infinitive} {rest}"


def _english_rest(clause: Clause) -> str:
    """Return what follows the English verb."""
    return (
        f"{clause.verb.particle} {_english_phrase(clause.object)} {clause.adverb[0] if clause.adverb else ''}"
    )


def _english_phrase(phrase: Phrase) -> str:
    """Return an English phrase: "the old dog that the man sees"."""
    noun = phrase.noun.english_plural if phrase.is_plural else phrase.noun.english
    words = f"{phrase.adjective.english} {noun}" if phrase.adjective else noun
    if phrase.determiner == "a":
        determiner = "" if phrase.is_plural else "an" if words[0] in "aeiou" else "a"
    elif phrase.determiner == "this":
        determiner = "these" if phrase.is_plural else "this"
    else:
        determiner = "the"
    if not phrase.relative:
        return f"{determiner} {words}"
    verb, other, noun_is_subject = phrase.relative
    number = phrase.is_plural if noun_is_subject else other.is_plural
    parts = [verb.english[number], verb.particle]
    parts = [*parts, _english_phrase(other)] if noun_is_subject else [_english_phrase(other), *parts]
    return f"{determiner} {words} that {' '.join(parts)}"


def _german(clause: Clause, order: Order = "second") -> str:
    """Return a German clause with its finite verb second, first or last."""
    is_plural, verb = clause.subject.is_plural, clause.verb
    finite, rest = verb.german[is_plural], verb.prefix
    if clause.tense == "perfect":
        finite, rest = "haben" if is_plural else "hat", verb.german[2]
    elif clause.tense == "wish":
        finite, rest = "wollen" if is_plural else "will", verb.prefix + verb.german[1]
    has_kein = clause.is_negated and clause.object.determiner == "a"
    negation = "nicht" if clause.is_negated and not has_kein else ""
    subject = _german_phrase(clause.subject, "nominative")
    adverb = clause.adverb[1] if clause.adverb else ""
    middle = f"{adverb} {_german_phrase(clause.object, 'accusative', has_kein)} {negation}"
    if order == "second":
        return f"{subject} {finite} {middle} {rest}"
    if order == "first":
        return f"{finite} {subject} {middle} {rest}"
    # At the end a prefix and its verb are one word, other verbs are two.
    return f"{subject} {middle} {rest}{finite if clause.tense == 'present' else f' {finite}'}"


def _german_phrase(phrase: Phrase, case: Case, has_kein: bool = False) -> str:
    """Return a German phrase: "der alte Hund , den der Mann sieht ,"."""
    kind, column = "no" if has_kein else phrase.determiner, _column(phrase)
    words = [ARTICLES[kind, case][column]]
    if phrase.adjective:
        words.append(phrase.adjective.german + ENDINGS[kind, case][column])
    words.append(phrase.noun.german_plural if phrase.is_plural else phrase.noun.german)
    if phrase.relative:
        verb, other, noun_is_subject = phrase.relative
        pronoun = ARTICLES["the", "nominative" if noun_is_subject else "accusative"][column]
        other_words = _german_phrase(other, "accusative" if noun_is_subject else "nominative")
        finite = verb.prefix + verb.german[phrase.is_plural if noun_is_subject else other.is_plural]
        words += [",", pronoun, other_words, finite, ","]
    return " ".join(words)


def _column(phrase: Phrase) -> int:
    """Return the column of `ARTICLES` and `ENDINGS` for the phrase."""
    return GENDERS.index("plural" if phrase.is_plural else phrase.noun.gender)
