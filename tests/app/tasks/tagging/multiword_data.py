"""A small treebank of a language with articles that melt into prepositions, as in French."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

MELTED = {"du": ("de", "le"), "des": ("de", "les"), "au": ("à", "le"), "aux": ("à", "les")}
NOUNS = ("chat", "pain", "mur", "roi", "port", "vin", "chien", "lac")
VERBS = ("parle", "vient", "rêve", "mange")

Line = tuple[str, list[tuple[str, str]]]
"""A token, and its words with their tags; one word is the token itself."""


def sentence(source: random.Random) -> tuple[str, list[Line]]:
    """Return a text and its tokens, a fifth of which are two words."""
    lines: list[Line] = [("Le", [("Le", "DET")]), (noun := source.choice(NOUNS), [(noun, "NOUN")])]
    lines.append((verb := source.choice(VERBS), [(verb, "VERB")]))
    for _ in range(source.choice((1, 2))):
        melted = source.choice(sorted(MELTED))
        prepositions = [(MELTED[melted][0], "ADP"), (MELTED[melted][1], "DET")]
        lines += [(melted, prepositions), (noun := source.choice(NOUNS), [(noun, "NOUN")])]
    text = " ".join(token for token, _ in lines)
    end = source.choice((".", "!"))
    return text + end, [*lines, (end, [(end, "PUNCT")])]


def treebank(folder: Path, *, seed: int = 0, **sizes: int) -> list[tuple[str, list[Line]]]:
    """Write a file of CoNLL-U for each split, and return all sentences."""
    source = random.Random(seed)
    every = []
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in sizes.items():
        own = [sentence(source) for _ in range(size)]
        (folder / f"{split}.conllu").write_text("".join(map(conllu, own)), encoding="utf-8")
        every += own
    return every


def conllu(example: tuple[str, list[Line]]) -> str:
    """Return a sentence in CoNLL-U, its text in SpaceAfter only."""
    _, lines = example
    rows, number = [], 1
    for i, (token, words) in enumerate(lines):
        space = "_" if i < len(lines) - 2 else "SpaceAfter=No"
        if len(words) > 1:
            rows.append([f"{number}-{number + len(words) - 1}", token, *["_"] * 7, space])
        for form, tag in words:
            rows.append(
                [str(number), form, form, tag, "_", "_", "0", "x", "_", "_" if len(words) > 1 else space]
            )
            number += 1
    return "\n".join("\t".join(row) for row in rows) + "\n\n"


def given(example: tuple[str, list[Line]]) -> dict[str, Any]:
    """Return a sentence as `predict` prints it."""
    text, lines = example
    tokens, position = [], 0
    for token, words in lines:
        start = text.index(token, position)
        position = start + len(token)
        tag = "+".join(tag for _, tag in words)
        found: dict[str, Any] = {"text": token, "start": start, "end": position, "tag": tag}
        if len(words) > 1:
            found["words"] = [{"text": form, "tag": own} for form, own in words]
        tokens.append(found)
    return {"tokens": tokens, "spans": []}
