"""The scheme of the tags of a dataset."""

from __future__ import annotations

import pytest

from data.tags import Detection, Place, Places, SchemeDetector
from data.tags.spelling import corrected


def detect(*sentences: str) -> Detection:
    """Return what is detected of sentences of tags, which are separated by spaces."""
    detector = SchemeDetector()
    for sentence in sentences:
        detector.add(sentence.split())
    return detector.detect()


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        (["DET NOUN VERB PUNCT", "X"], "plain"),
        (["I V S", "S V O"], "plain"),  # letters of schemes, but no B and no type
        (["B V", "I O"], "plain"),
        (["NN -LRB- O-B B-", "I-"], "plain"),
        (["B-x NN I-y"], "plain"),  # without an O, tags of another kind make them all plain
        (["N V O D", "N V O B-x"], "plain"),  # most tags are no spans
        (["O O", "O"], "plain"),
        ([], "plain"),
        ([""], "plain"),
        (["B-PER I-PER O B-LOC", "O O"], "BIO"),
        (["B-PER B-PER", "B-fromloc.city_name I-fromloc.city_name O"], "BIO"),
        (["B I O B B"], "BIO"),
        (["B-x-y I-x-y", "B-y"], "BIO"),
        (["I-PER O", "I-PER B-PER I-PER I-LOC"], "IOB1"),
        (["I-PER I-PER O"], "IOB1"),
        (["B-PER E-PER O S-PER S-PER B-LOC I-LOC I-LOC E-LOC"], "BIOES"),
        (["S-PER O"], "BIOES"),
        (["B E S S B I E"], "BIOES"),
        (["B-PER L-PER O U-PER B-LOC I-LOC L-LOC"], "BILOU"),
        (["B E S B M E"], "BMES"),
        (["B-PER M-PER E-PER W-LOC"], "BMEWO"),
    ],
)
def test_tags_without_exceptions(sentences: list[str], scheme: str) -> None:
    """The scheme is detected from the tags alone."""
    found = detect(*sentences)

    assert found.scheme == scheme
    assert found.exceptions == found.unreadable == Places()


@pytest.mark.parametrize(
    ("sentences", "scheme", "place", "reason"),
    [
        # Two spans begin with B-, one does not: BIO with one exception.
        (["B-PER O B-LOC", "O I-LOC"], "BIO", (1, 1), "'I-LOC' after 'O': in BIO, a span begins with"),
        (["B-PER O B-LOC", "I-LOC"], "BIO", (1, 0), "'I-LOC' at the start of a sentence: in BIO"),
        (["B-PER O B-LOC I-PER"], "BIO", (0, 3), "'I-PER' after 'B-LOC': in BIO, a span begins with 'B-PER'"),
        # Two spans begin with I-, and one B- parts nothing: IOB1 with one exception.
        (["I-PER O I-LOC", "I-PER B-LOC"], "IOB1", (1, 1), "'B-LOC' after 'I-PER': in IOB1, B- only begins"),
        (["I-PER O I-LOC", "O B-LOC"], "IOB1", (1, 1), "'B-LOC' after 'O': in IOB1"),
        (["S-PER O", "B-PER I-PER O"], "BIOES", (1, 1), "'I-PER' before 'O': in BIOES, it is followed by"),
        (["S-PER O", "B-PER"], "BIOES", (1, 0), "'B-PER' before the end of the sentence: in BIOES"),
        (["S-PER O", "B-PER I-LOC E-LOC"], "BIOES", (1, 1), "'I-LOC' after 'B-PER': in BIOES, a span begins"),
        (["S-PER O", "B-PER E-PER E-PER"], "BIOES", (1, 2), "'E-PER' after 'E-PER': in BIOES"),
        (["U-PER O", "B-PER U-PER"], "BILOU", (1, 0), "'B-PER' before 'U-PER': in BILOU, it is followed by"),
        (["B-PER E-PER", "U-PER"], "BIOES", (1, 0), "BIOES has no tag 'U-PER'"),
        # One stray letter does not make the others wrong.
        (["I-PER O I-LOC I-LOC"] * 100 + ["O S-PER"], "IOB1", (100, 1), "IOB1 has no tag 'S-PER'"),
        (["B-PER I-PER O"] * 100 + ["O B-PER E-PER"], "BIO", (100, 2), "BIO has no tag 'E-PER'"),
        (["B-PER O", "O B-PER"] * 100 + ["U-PER"], "BIO", (200, 0), "BIO has no tag 'U-PER'"),
        (["B-X L-X O U-X"] * 100 + ["O L-X O"], "BILOU", (100, 1), "'L-X' after 'O': in BILOU"),
        (["B-X E-X O S-X"] * 100 + ["O M-X"], "BIOES", (100, 1), "BIOES has no tag 'M-X'"),
    ],
)
def test_an_exception(sentences: list[str], scheme: str, place: tuple[int, int], reason: str) -> None:
    """The scheme is the one with the fewest exceptions, and these have their places."""
    found = detect(*sentences)

    assert found.scheme == scheme
    (exception,) = found.exceptions.first
    assert found.exceptions.total == 1
    assert (exception.sentence, exception.token) == place
    assert exception.reason.startswith(reason)


def test_all_exceptions_are_listed_in_order() -> None:
    """One mistake does not hide the next."""
    found = detect(
        "B-PER", "O I-PER", "B-PER I-LOC", "I-PER B-PER O I-PER", "B-LOC", "B-LOC", "B-LOC", "B-LOC"
    )

    assert found.scheme == "BIO"
    assert found.exceptions.total == 4
    assert [place[:2] for place in found.exceptions.first] == [(1, 1), (2, 1), (3, 0), (3, 3)]


def test_many_exceptions() -> None:
    """Up to one of a hundred tags other than O may contradict the scheme."""
    assert not detect(*["B-PER I-PER O"] * 50, "O I-PER").has_too_many_exceptions
    assert detect(*["B-PER I-PER O"] * 49, "O I-PER").has_too_many_exceptions
    assert detect(*["B-PER O O O O O O O O O"] * 98, "O I-PER").has_too_many_exceptions


@pytest.mark.parametrize(
    ("sentences", "places"),
    [
        (["B-PER I-PER O", "O I O"], [(1, 1, "'I' has no type, but others have one, as 'B-PER'")]),
        (
            ["B-PER O", "O Bper"],
            [(1, 1, "'Bper' is neither O nor a letter and a type, such as B-PER or I-PER")],
        ),
        (
            ["B-PER 0 B_PER"],
            [
                (0, 1, "'0' is no tag of a span; write 'O'"),
                (0, 2, "'B_PER' is no tag of a span; write 'B-PER'"),
            ],
        ),
        (
            ["B-X O", "b-X O o"],
            [(1, 0, "'b-X' is no tag of a span; write 'B-X'"), (1, 2, "'o' is no tag of a span; write 'O'")],
        ),
        (
            ["B-X I-X"] * 5 + ["NN"],
            [(5, 0, "'NN' is neither O nor a letter and a type, such as B-PER or I-PER")],
        ),
    ],
)
def test_tags_that_are_no_spans(sentences: list[str], places: list[tuple[int, int, str]]) -> None:
    """Where most tags encode spans, the others are listed, with what is probably meant."""
    assert detect(*sentences).unreadable == Places(len(places), tuple(Place(*place) for place in places))


@pytest.mark.parametrize(
    ("sentence", "meant"),
    [
        ("B_PER I_PER O", {"B_PER": "B-PER", "I_PER": "I-PER"}),
        ("b-per i-per o", {"b-per": "B-per", "i-per": "I-per", "o": "O"}),
        ("B/PER I/PER OTHER", {"B/PER": "B-PER", "I/PER": "I-PER", "OTHER": "O"}),
        ("PER-B PER-I O", {"PER-B": "B-PER", "PER-I": "I-PER"}),
        ("B:LOC _ B:LOC", {"B:LOC": "B-LOC", "_": "O"}),
        ("B I 0", {"0": "O"}),
    ],
)
def test_plain_tags_that_look_like_spans(sentence: str, meant: dict[str, str]) -> None:
    """The tags of spans that are probably meant are named."""
    found = detect(sentence)

    assert found.scheme == "plain"
    assert {tag: correct for tag, correct, _ in found.misspelled} == meant


@pytest.mark.parametrize(
    "sentence", ["NOUN VERB O", "NN-S V-I B", "S_fin I_x N V", "PER O LOC", "O o", "B V B_x N"]
)
def test_plain_tags_that_are_no_spans(sentence: str) -> None:
    """A few tags that look like those of spans are a coincidence."""
    assert detect(sentence).misspelled == ()


@pytest.mark.parametrize("tag", ["B-PER", "O", "I", "NOUN", "PERSON", "", "-LRB-", "B-"])
def test_tags_without_a_correction(tag: str) -> None:
    """Tags of spans are correct, and tags of another kind are not changed."""
    assert corrected(tag) is None


def test_memory_depends_on_the_distinct_tags_only() -> None:
    """Of many equal exceptions the first are kept, and all are counted."""
    detector = SchemeDetector()
    for _ in range(200):
        detector.add(["B-PER", "O", *["I-LOC", "O"] * 100])
    for _ in range(30_000):
        detector.add(["B-PER"])
    found = detector.detect()

    assert found.scheme == "BIO"
    assert found.exceptions.total == 20_000
    assert len(found.exceptions.first) == 10_000
    assert found.exceptions.first[0] == (0, 2, "'I-LOC' after 'O': in BIO, a span begins with 'B-LOC'")
