"""What the checks of examples say about tags and tokens."""

from __future__ import annotations

import pytest

from app.config import load_config
from app.tasks import get_task
from data.formats import Row
from data.scan import ExampleValidator

EXAMPLES = get_task("tagging").examples
CONFIG = load_config("tagging")


def row(line: int, tags: str) -> Row:
    """Return an example of tags, which are separated by spaces."""
    names = tuple(tags.split())
    return Row(line, {"tokens": ("x",) * len(names), "tags": names})


def checked(*sentences: str) -> ExampleValidator:
    """Return the validator of tags after sentences in two files of ten lines each."""
    validator = EXAMPLES.validator(CONFIG)
    for i, tags in enumerate(sentences):
        split = "train" if i < 10 else "test"
        validator.add(split, f"{split}.conll", row(i % 10 + 1, tags))
    return validator


def sentences_of(validator: ExampleValidator) -> list[str]:
    """Return the errors and warnings of a validator with all places."""
    return [finding.sentence(100) for finding in validator.problems() + validator.warnings()]


@pytest.mark.parametrize(
    ("sentences", "note"),
    [
        (["B-PER I-PER O", "O"], "tags: BIO (0 exceptions)"),
        (["I-PER O", "I-PER B-PER"], "tags: IOB1 (0 exceptions)"),
        (["B-PER I-PER O", "O I-PER", "B-PER"], "tags: BIO (1 exception)"),
        (["B-PER I-PER O", "O I-PER I-LOC", "B-PER 0"] * 2, "tags: BIO (6 exceptions)"),
        (["DET NOUN", "VERB O"], "tags: plain, 4 distinct"),
        (["S-X O S-Y"], "tags: BIOES (0 exceptions)"),
    ],
)
def test_the_scheme_is_always_said(sentences: list[str], note: str) -> None:
    """The note has the scheme and the number of its exceptions, or that tags are plain."""
    assert checked(*sentences).notes() == [note]


def test_tags_without_mistakes_have_no_findings() -> None:
    """Neither spans nor parts of speech are odd."""
    assert sentences_of(checked("B-PER I-PER O", "O B-LOC")) == []
    assert sentences_of(checked("DET NOUN", "VERB PUNCT")) == []


def test_many_contradictions_are_errors_with_all_places() -> None:
    """Each has its file, its line and its token."""
    found = checked("B-PER", "O I-PER", *["B-PER O"] * 8, "B-LOC I-PER O", "O", "I-LOC")

    assert [finding.sentence(5) for finding in found.problems()] == [
        "3 tags contradict BIO, the scheme that fits the other 10 best ("
        "train.conll:2: token 2: 'I-PER' after 'O': in BIO, a span begins with 'B-PER', "
        "test.conll:1: token 2: 'I-PER' after 'B-LOC': in BIO, a span begins with 'B-PER', "
        "test.conll:3: token 1: 'I-LOC' at the start of a sentence: in BIO, a span begins with 'B-LOC'); "
        "correct the tags"
    ]
    assert found.warnings() == []


@pytest.mark.parametrize(
    ("good", "stray", "reason"),
    [
        ("I-PER I-PER O", "O S-PER", "token 2: IOB1 has no tag 'S-PER'; its letters are B, I and O"),
        ("B-X I-X B-X", "O I-X", "token 2: 'I-X' after 'O': in BIO, a span begins with 'B-X'"),
        ("S-X B-X E-X", "E-X", "token 1: 'E-X' at the start of a sentence: in BIOES, a span begins with"),
    ],
)
def test_few_contradictions_are_a_warning(good: str, stray: str, reason: str) -> None:
    """Less than one of a hundred tags does not prevent training."""
    found = checked(*[good] * 100, stray)

    assert found.problems() == []
    (warning,) = found.warnings()
    assert warning.places[0].startswith(f"test.conll:1: {reason}")
    assert warning.total == 1


def test_tags_that_are_no_spans_are_errors() -> None:
    """All of them are listed, with what is probably meant."""
    found = checked("B-PER I-PER O", "B-PER 0 B_PER", "PERSON O", "B-PER I O")

    (problem,) = found.problems()
    assert problem.what == "4 tags are not written as in BIO, as the others are"
    assert list(problem.places) == [
        "train.conll:2: token 2: '0' is no tag of a span; write 'O'",
        "train.conll:2: token 3: 'B_PER' is no tag of a span; write 'B-PER'",
        "train.conll:3: token 1: 'PERSON' is neither O nor a letter and a type, such as B-PER or I-PER",
        "train.conll:4: token 2: 'I' has no type, but others have one, as 'B-PER'",
    ]


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        (
            "B_PER I_PER O",
            "the tags are plain, though they look like spans: 'B_PER', 'I_PER'; "
            "write them as 'B-PER', 'I-PER', or there are no scores of spans",
        ),
        (
            "PER-B PER-I o o",
            "the tags are plain, though they look like spans: 'o', 'PER-B', 'PER-I'; "
            "write them as 'O', 'B-PER', 'I-PER', or there are no scores of spans",
        ),
        (
            "PER O O O LOC",
            "the tags are plain, though most are 'O': 'PER', 'LOC'; if they are types of spans, write "
            "'B-PER' for the first token of a span and 'I-PER' for the others, "
            "or there are no scores of spans",
        ),
        (
            "0 0 3 4 0",
            "the tags are numbers: '0', '3', '4'; if they are ids, as ner_tags of the Hugging Face hub, "
            "write the names in their place, or there are no scores of spans",
        ),
    ],
)
def test_plain_tags_that_are_perhaps_spans(tags: str, sentence: str) -> None:
    """They are a warning, which says how to write them."""
    assert sentences_of(checked(tags, tags)) == [sentence]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("B_PER I_PER O", "B-PER I-PER O"),
        ("PER-B PER-I o", "B-PER I-PER O"),
        ("b/per i/per other", "B-per I-per O"),
        ("PER PER O O O", "B-PER I-PER O O O"),
        ("1 2 0 0 0", "B-PER I-PER O O O"),
    ],
)
def test_the_advice_about_spans_works(before: str, after: str) -> None:
    """Written as advised, the tags have a scheme and no warning."""
    assert sentences_of(checked(before)) != []
    assert checked(after).notes() == ["tags: BIO (0 exceptions)"]
    assert sentences_of(checked(after)) == []


def compared(*examples: tuple[str | None, str]) -> ExampleValidator:
    """Return the validator of tokens after examples: a text or None, and tokens separated by spaces."""
    validator = EXAMPLES.doctor(CONFIG)
    for line, (text, tokens) in enumerate(examples, 1):
        values = {"tokens": tuple(tokens.split(" ")) if tokens else ()}
        validator.add(
            "train", "train.jsonl", Row(line, {**values, **({} if text is None else {"text": text})})
        )
    return validator


def test_tokens_of_a_corpus_that_are_those_of_the_tokenizer() -> None:
    """All are found by their place in the text."""
    found = compared(("I don't know.", "I do n't know ."), ("", ""), ("Oslo (2)", "Oslo ( 2 )"))

    assert found.notes() == ["tokenizer: the rules give 100.0% of 9 tokens of the corpus"]
    assert found.warnings() == []


def test_tokens_of_a_corpus_that_are_others() -> None:
    """The most frequent ones are listed first."""
    found = compared(
        ("Mr. Ö can't", "Mr. Ö can't"), ("dunno, Mr. Ö", "do n't know , Mr. Ö"), ("well-known", "well-known")
    )

    assert found.notes() == ["tokenizer: the rules give 30.0% of 10 tokens of the corpus"]
    (warning,) = found.warnings()
    assert warning.what == (
        "70.0% of the tokens of the corpus are others in raw text by the rules of the tokenizer"
    )
    assert warning.advice.startswith("learn the tokens of the corpus with text.tokenizer=learned")
    assert warning.places[0] == "'Mr.' is 'Mr' '.' (2)"
    assert set(warning.places[1:]) == {
        "\"can't\" is 'ca' \"n't\" (1)",
        "'do' is not in the text (1)",
        '"n\'t" is not in the text (1)',
        "'know' is not in the text (1)",
        "'well-known' is 'well' '-' 'known' (1)",
    }


def test_tokens_without_a_text() -> None:
    """They are joined by spaces, and this is said."""
    found = compared((None, "Rock'n'roll is n't AT&T ."), (None, "ok"))

    assert found.notes()[0].endswith("tokens of the corpus, joined by spaces, as there is no text")
    assert "'AT&T' is 'AT' '&' 'T' (1)" in found.warnings()[0].places
    assert compared().notes() == []
    assert compared().warnings() == []


def findings(*examples: Row) -> ExampleValidator:
    """Return the checks of tags and tokens after examples of a file."""
    validator = EXAMPLES.validator(CONFIG)
    for example in examples:
        validator.add("train", "train.jsonl", example)
    return validator


def with_text(line: int, text: str, tokens: str, words: tuple[str, ...] = ()) -> Row:
    """Return an example with a text."""
    own = tuple(tokens.split(" "))
    values = {"text": text, "tokens": own, "tags": tuple(f"T{i % 2}" for i in range(len(own)))}
    return Row(line, {**values, **({"token_words": words} if words else {})})


@pytest.mark.parametrize(
    ("text", "tokens", "lost"),
    [
        ("dunno why", "do n't know why", ["token 1: 'do'", 'token 2: "n\'t"', "token 3: 'know'"]),
        ('"Go"', "`` Go ''", ["token 1: '``'", "token 3: \"''\""]),
        ("Go on", "on Go", ["token 1: 'on'"]),
        ("Go", "Go on", ["token 2: 'on'"]),
        ("Go away now", "Go now", ["token 2: 'now'"]),
    ],
)
def test_tokens_that_are_not_in_the_text(text: str, tokens: str, lost: list[str]) -> None:
    """They are a warning with file, line and token, which training gives, too."""
    found = findings(with_text(7, "All right", "All right"), with_text(8, text, tokens))

    assert found.problems() == []
    (warning,) = found.warnings()
    assert list(warning.places) == [f"train.jsonl:8: {own}" for own in lost]
    number = "1 token is" if len(lost) == 1 else f"{len(lost)} tokens are"
    assert warning.what == f"{number} not in the text of the example, of {len(tokens.split()) + 2}"


def test_tokens_that_are_in_the_text() -> None:
    """White space within and between tokens may be any; without a text there is nothing to compare."""
    tokens = Row(2, {"tokens": ("10 000", "Euro"), "tags": ("A", "B"), "text": "10\u00a0000  Euro "})
    found = findings(
        tokens, Row(3, {"tokens": ("x", "y"), "tags": ("A", "B")}), Row(4, {**tokens.values, "text": ""})
    )

    assert found.warnings() == []


def test_multiword_tokens_are_counted() -> None:
    """A note says how many there are; without any there is none."""
    words = ("de\tADP\tle\tDET", "")
    found = findings(with_text(1, "du vin", "du vin", words), with_text(2, "du vin", "du vin"))

    assert found.notes()[1:] == [
        "multiword tokens: 1 of 4 tokens are several words, whose tags are joined by '+'"
    ]
    assert len(findings(with_text(1, "du vin", "du vin")).notes()) == 1
