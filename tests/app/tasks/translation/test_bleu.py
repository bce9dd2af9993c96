"""BLEU: one function for training and `evaluate`, and the tokenizer of the script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sacrebleu
from click.testing import Result

from app.tasks.translation import bleu as module
from app.tasks.translation.bleu import bleu, missing_package, tokenizer_for
from app.tasks.translation.scores import corpus_scores
from data.errors import UserError

Command = Callable[..., Result]

TEXTS = {
    "German": ("13a", ["Der Hund bellt laut.", "Zwei Katzen schlafen."]),
    "Russian": ("13a", ["Собака громко лает.", "Две кошки спят."]),
    "Arabic": ("13a", ["الكلب ينبح بصوت عال.", "قطتان تنامان."]),
    "Hindi": ("13a", ["कुत्ता जोर से भौंकता है।", "दो बिल्लियाँ सो रही हैं।"]),
    "Chinese": ("zh", ["那只狗在大声叫。", "两只猫在睡觉,它们叫 Tom 和 Kim。"]),
    "Japanese": ("char", ["犬が大声で吠えている。", "猫が二匹寝ている。"]),
    "Korean": ("13a", ["개가 크게 짖는다.", "고양이 두 마리가 잔다."]),
    "Thai": ("char", ["สุนัขเห่าเสียงดัง", "แมวสองตัวกำลังนอนหลับ"]),
    "Lao": ("char", ["ໝາເຫົ່າສຽງດັງ"]),
    "Khmer": ("char", ["ឆ្កែព្រុសខ្លាំងៗ"]),
    "Burmese": ("char", ["ခွေးကျယ်ကျယ်ဟောင်သည်"]),
    "numbers": ("13a", ["12 345", "6"]),
    "nothing": ("13a", [""]),
}


@pytest.fixture
def without_analysers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as if no morphological analyser were installed."""
    monkeypatch.setattr(module, "find_spec", lambda name: None)


@pytest.mark.usefixtures("without_analysers")
@pytest.mark.parametrize("language", TEXTS)
def test_the_tokenizer_of_a_script(language: str) -> None:
    """It finds words, or characters where words have no spaces between them; the signature names it."""
    tokenizer, texts = TEXTS[language]

    assert tokenizer_for(texts) == tokenizer
    assert f"tok:{tokenizer}|" in bleu(texts, texts)[1]


@pytest.mark.usefixtures("without_analysers")
@pytest.mark.parametrize("language", [name for name in TEXTS if name not in ("numbers", "nothing")])
def test_a_perfect_translation_has_100(language: str) -> None:
    """Into every script, for training and `evaluate`; half of a translation has less."""
    tokenizer, texts = TEXTS[language]
    found = corpus_scores(texts, texts, tokenizer)

    assert found["bleu"] == pytest.approx(100)
    assert found["chrf"] == pytest.approx(100)
    assert found["exact_match"] == 1
    assert bleu(texts, texts)[0] == pytest.approx(100)
    halves = [text[: len(text) // 2] for text in texts]
    assert 0 <= corpus_scores(halves, texts, tokenizer)["bleu"] < 80


def test_advised_analysers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Japanese and Korean have the analysers that sacrebleu advises if they are installed."""
    monkeypatch.setattr(module, "find_spec", lambda name: object())

    assert tokenizer_for(TEXTS["Japanese"][1]) == "ja-mecab"
    assert tokenizer_for(TEXTS["Korean"][1]) == "ko-mecab"
    assert tokenizer_for(TEXTS["Chinese"][1]) == "zh"


def test_bleu_of_short_texts() -> None:
    """A perfect model has the highest BLEU even if no text has four words."""
    references = ["ein Hund", "zwei"]

    assert bleu(references, references)[0] == pytest.approx(100)
    assert bleu(["ein Hund bellt laut", "zwei"], references)[0] < 60
    assert bleu(["ein", "zwei"], references)[0] < 70


def test_bleu_of_longer_texts_is_that_of_sacrebleu() -> None:
    """The effective order changes nothing where texts have four words."""
    long = ["the cat sat on the mat", "it is here now"]

    assert bleu(long, long[::-1])[0] == sacrebleu.corpus_bleu(long, [long[::-1]]).score
    assert bleu(long, ["the cat sat", "it is here now"])[0] == pytest.approx(
        sacrebleu.corpus_bleu(long, [["the cat sat", "it is here now"]]).score
    )


@pytest.mark.usefixtures("without_analysers")
def test_a_tokenizer_that_is_not_installed(command: Command, pairs: Path, tmp_path: Path) -> None:
    """Training refuses it before the run is made, and says what to install."""
    result = command(
        *("train", "translation", pairs, "--run", tmp_path / "run"),
        *("--set", "decoding.bleu_tokenizer=ja-mecab", "--set", "text.vocabulary_size=60"),
    )

    assert result.exit_code == 1
    assert result.stderr == (
        "Error: decoding.bleu_tokenizer = 'ja-mecab' needs a package that is not installed; pip install "
        "'sacrebleu[ja]', or train with --set decoding.bleu_tokenizer=char\n"
    )
    assert not (tmp_path / "run").exists()
    assert missing_package("ko-mecab") == "sacrebleu[ko]"
    with pytest.raises(UserError, match=r"'ko-mecab' needs .*sacrebleu\[ko\]"):
        bleu(["a"], ["a"], "ko-mecab")
