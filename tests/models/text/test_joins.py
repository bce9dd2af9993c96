"""Word tokens keep how they join: tokenizing and detokenizing are inverse."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from public_data import DATA, skip_without_data

from models.text.detokenize import detokenize
from models.text.invisible import without_invisible
from models.text.tokenize import tokenize

TEXTS = [
    "A well-known e-mail: “don’t!” — it’s at www.shop.org/x?y=1 (or not).",
    "Rock'n'roll 'tis the dogs' C++ #1 $5 5€ 50% a_b @user it 's a*b ***bold*** \"yes\" ,x",
    "<br /><b>Bold</b> &amp; so on",
    "我们喜欢读书。他说：“好。”——真的吗？iPhone 15 演员 （一）",
    "映画は2時間、とても「スーパー」ガッカリした。",
    "หนังเรื่องนี้ดีมาก 5/5 ต่างๆ abcไทย",
    "Das ist „gut“, sagt er: 3,5 °C – so – und 10.000 km/h…",
    "« Très bien ! » dit-il ; l’été, 10 000 €",
    "الحبكة جيِّدة، لكن الممثلين (سيئون)! می‌خواهم",
    "फ़िल्म बहुत अच्छी है। क्‍ष",
    "བོད་སྐད་ 한국어, 텍스트! הסרט 'טוב' ‏100%.",
    "😀😀 good😀 👩🏽‍💻❤️ 🇩🇪🇫🇷 🏴󠁧󠁢󠁥󠁮󠁧󠁿 1️⃣",
    "￭ a￭b ▁x ␤ ⁂ ⁂j ⁂⁂ [UNK] [END] \\n",
    "a\x00b \x01c\x02 d\x1b[0m",
    "co\u00adoperate a \u200b b \u200ec \ufeffd\u200b\u200b \u2060 e \u200b",
    "do\u00adn\u200b't a\u034f.\u200b.\u200b. 3\u200b.\u200b14",
]
FRAGMENTS = [
    *("\n", "\t", "\x00", "\x01", "\x85", "\u00a0", "\u3000", " ", " ", " ", "<br />", "[UNK]"),
    *("\u200c", "\u200d", "\ufeff", "\u00ad", "\u200b", "\u200e", "\ufe0f", "\u034f", "\u3164", "\U000e0067"),
    *("￭", "▁", "⁂", "⁂o", "␤", "j", "o", "s", "0", "'", "’", "'s", "n't", "DON’T", "a", "É", "e\u0301"),
    *("中", "の", "ー", "ไทย", "7", "3.14", "...", "--", "-", "_", "🇩🇪", "👍🏽", "👨‍👩‍👧", "❤️", "1️⃣"),
    *(".", "。", "，", "“", "”", "(", ")", "$", "می‌خواهم", "\u0600", "\u0301", "🏴", "*"),
]
ANY = st.lists(st.one_of(st.text(max_size=4), st.sampled_from(FRAGMENTS)), max_size=8).map("".join)


@functools.cache
def _graph(lowercase: bool, lines: bool) -> Any:
    return tf.function(
        lambda texts: detokenize(
            tokenize(texts, joins=True, lowercase=lowercase, lines=lines), "word", joins=True
        ),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )


def back(texts: list[str], *, lowercase: bool = True, lines: bool = False) -> list[str]:
    """Return texts after `tokenize` and `detokenize`."""
    found = _graph(lowercase, lines)(tf.constant(texts, tf.string))
    return [text.decode() for text in found.numpy()]


def tokens_of(text: str, **options: Any) -> str:
    """Return the tokens of a text, with spaces between them."""
    return " ".join(
        token.decode() for token in tokenize(tf.constant([text]), joins=True, **options).to_list()[0]
    )


def has_tokens(text: str) -> bool:
    """Return whether a text has more than white space and invisible characters."""
    return bool(without_invisible(tf.constant(text)).numpy().decode().strip())


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("lines", [False, True])
def test_texts_come_back(lowercase: bool, lines: bool) -> None:
    """Texts of any script are restored, except for case and runs of white space."""
    found = back(TEXTS, lowercase=lowercase, lines=lines)

    expected = [text.lower() if lowercase else text for text in TEXTS]
    assert [text.split() for text in found] == [text.split() for text in expected]


@settings(max_examples=80, deadline=None)
@given(ANY, st.booleans())
@example("a \u200b\n\u200b b", True)
@example("DON’T\u00a0\u3164", False)
@example("᠋'s", False)
@example("⛚\u200d⁂0", False)
@example("\n\u200b", True)
def test_any_text_comes_back(text: str, lines: bool) -> None:
    """Any text with a token is restored, except for runs of white space; line breaks on request, too."""
    (found,) = back([text], lowercase=False, lines=lines)

    if has_tokens(text):
        assert found.split() == text.split()
        assert not lines or found.count("\n") == text.count("\n")
    else:
        assert found.split() in ([], text.split())


@settings(max_examples=40, deadline=None)
@given(ANY)
@example("a\x00B ⁂0")
def test_any_text_comes_back_in_lower_case(text: str) -> None:
    """With `lowercase`, a text is restored in lower case."""
    (found,) = back([text], lowercase=True)

    if has_tokens(text):
        assert found.casefold().split() == text.replace("İ", "i\u0307").casefold().split()


@settings(max_examples=25, deadline=None)
@given(ANY, st.integers(0, 8))
def test_more_tokens_change_nothing(text: str, shown: int) -> None:
    """The text of the first tokens is the beginning of the text of all."""
    pieces = tokenize(tf.constant([text]), joins=True, lines=True)
    start, whole = (detokenize(each, "word", joins=True).numpy()[0] for each in (pieces[:, :shown], pieces))

    assert whole.startswith(start)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a well-known book", "a well ￭-￭ known book"),
        ("well - known", "well - known"),
        ("www.shop.org", "www .￭ shop .￭ org"),
        ("she said “yes”, he “no”", "she said “ yes ” , he “ no ”"),
        ('"yes" or "no"', '"￭ yes ￭" or "￭ no ￭"'),
        ("it 's", "it ▁'s"),
        ("don’t", "do n’t"),
        ("我们喜欢读书。", "我 们 喜 欢 读 书 。"),
        ("我爱NLP技术", "我 爱 nlp 技 术"),
        ("ดี มาก", "ดี ▁ม า ก"),
        ("good😀😀", "good ￭😀 😀"),
        ("a<br />b", "a ￭<￭ br / ￭>￭ b"),
        ("3.14abc", "3.14 ￭abc"),
        ("￭ ▁ ␤ ⁂", "⁂j ⁂s ⁂n ⁂o"),
        ("co\u00adop a \u200b b", "co\u00adop a \u200b▁b"),
    ],
)
def test_marks(text: str, tokens: str) -> None:
    """A token has a mark only where the text differs from the rule, a word only between two words."""
    assert tokens_of(text) == tokens


def test_line_breaks_have_no_marks() -> None:
    """The token of a line break is the same everywhere."""
    assert tokens_of("(a)\n\n - b-\n.c", lines=True) == "( a ) ␤ ␤ - b ￭- ␤ .￭ c"


def test_previous_token() -> None:
    """The first token joins the token before it."""
    pieces = tf.RaggedTensor.from_row_lengths(tf.constant(["known"] * 5), [1] * 5)
    previous = tf.constant(["￭-￭", "￭-", "the", "(", ""])

    texts = detokenize(pieces, "word", joins=True, previous=previous).numpy().tolist()

    assert texts == [b"known", b" known", b" known", b"known", b" known"]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("我 们 。 他", "我们。他"),
        ("หนัง ดี 5", " หนังดี 5"),
        ("映 画 、 2 時 間", "映画、2時間"),
        ("« oui »", " «oui»"),
        ("“ yes ” , (", " “yes”, ("),
        ("a ￭ b ▁x b▁ ⁂j", " a ￭ b ▁x b▁ ⁂j"),
    ],
)
def test_tokens_without_marks_join_by_the_rule(tokens: str, text: str) -> None:
    """Tokens without joins have the spaces of the rule, and characters of marks are text."""
    pieces = tf.RaggedTensor.from_row_lengths(tf.constant(tokens.split(" ")), [len(tokens.split(" "))])

    assert detokenize(pieces, "word").numpy()[0].decode() == text


def test_rules_of_earlier_models() -> None:
    """The first rules know no joins, and invisible characters are tokens."""
    text = tf.constant(["co\u00adop ❤️"])

    assert tokenize(text, rules=1).to_list() == [[w.encode() for w in ("co", "\u00ad", "op", "❤️")]]
    with pytest.raises(ValueError, match="rules 2"):
        tokenize(text, rules=1, joins=True)


# Public datasets


def _lines(name: str) -> list[str]:
    return (DATA / name).read_text(encoding="utf-8").split("\n")


def _texts() -> Iterator[str]:
    with gzip.open(DATA / "imdb/test.jsonl.gz", "rt", encoding="utf-8") as file:
        yield from (json.loads(line)["text"] for line in file)
    for name in ("sst2", "snips"):
        for line in filter(None, _lines(f"{name}/test.jsonl")):
            row = json.loads(line)
            yield row["text"] if "text" in row else " ".join(row["tokens"])
    for name in ("multi30k/test.de", "multi30k/test.en", "banking77/test.csv"):
        yield from _lines(name)
    yield "\n".join(_lines("tinyshakespeare/input.txt"))
    for name in ("ud_en_ewt", "ud_el_gud"):
        for line in _lines(f"{name}/test.conllu"):
            if line.startswith("# text = "):
                yield line.removeprefix("# text = ")


@pytest.mark.realdata
@skip_without_data
@pytest.mark.parametrize("lowercase", [False, True])
def test_public_texts_come_back(lowercase: bool) -> None:
    """All test rows of the public datasets are restored, except for case and runs of white space."""
    texts = list(_texts())
    for start in range(0, len(texts), 1000):
        batch = texts[start : start + 1000]
        for text, found in zip(batch, back(batch, lowercase=lowercase), strict=True):
            if lowercase:
                found, text = found.casefold(), text.casefold()
            assert found.split() == text.split()
