"""Small data in each of the shapes of docs/data.md, by the name of its row."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
from collections.abc import Callable
from typing import Any

import zstandard

Files = dict[str, bytes]
COUNT = 40
WORDS = ("fine", "dull", "good", "poor", "nice", "weak")
NUMBERS = (("one", "eins"), ("two", "zwei"), ("six", "sechs"), ("ten", "zehn"))


def text(i: int, first: str = "A fine film.") -> str:
    """Return the text of a row."""
    return f"A {WORDS[i % 6]} film {i}." if i else first


def label(i: int) -> str:
    """Return the label of a row."""
    return ("positive", "negative")[i % 2]


def _each(row: Callable[[int], str], count: int = COUNT) -> bytes:
    return "".join(f"{row(i)}\n" for i in range(count)).encode()


def _json(count: int = COUNT, **values: Callable[[int], object]) -> bytes:
    return _each(
        lambda i: json.dumps({name: of(i) for name, of in values.items()}, ensure_ascii=False), count
    )


def _table(header: str, row: Callable[[int], str], count: int = COUNT) -> bytes:
    return f"{header}\n".encode() + _each(row, count)


def _csv(count: int = COUNT) -> bytes:
    return _table("text,label", lambda i: f"{text(i)},{label(i)}", count)


def _jsonl(count: int = COUNT) -> bytes:
    return _json(count, text=text, label=label)


def _arrow(count: int = COUNT, *, parquet: bool = False) -> bytes:
    import pyarrow
    import pyarrow.parquet

    rows = range(count)
    table = pyarrow.table({"text": [text(i) for i in rows], "label": [label(i) for i in rows]})
    file = io.BytesIO()
    if parquet:
        pyarrow.parquet.write_table(table, file)
    else:
        with pyarrow.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    return file.getvalue()


def _array() -> bytes:
    rows = [json.dumps({"text": text(i), "label": label(i)}) for i in range(COUNT)]
    return ("[" + ",\n ".join(rows) + "]\n").encode()


def _lists() -> bytes:
    rows = range(COUNT)
    return json.dumps({"text": [text(i) for i in rows], "label": [label(i) for i in rows]}).encode()


def _pos_neg(folder: str, names: Callable[[str, int], str]) -> Files:
    return {f"{folder}/{names(('pos', 'neg')[i % 2], i)}": text(i).encode() for i in range(COUNT)}


def _imdb() -> Files:
    def name(split: str) -> Callable[[str, int], str]:
        return lambda own, i: f"{split}/{own}/{i // 2}_{9 if own == 'pos' else 2}.txt"

    return _pos_neg("reviews", name("train")) | {
        f"reviews/test/{('pos', 'neg')[i % 2]}/{i // 2}_8.txt": text(i + 100).encode() for i in range(8)
    }


def _tagged(i: int) -> list[tuple[str, str, str, str]]:
    """Return form, part of speech, chunk and entity of each token."""
    city = ("Oslo", "Rome", "Lima")[i % 3]
    return [
        (city, "NNP", "I-NP", "B-LOC"),
        ("is", "VBZ", "I-VP", "O"),
        (WORDS[i % 6], "JJ", "I-ADJP", "O"),
        (str(i), "CD", "I-NP", "O"),
        (".", ".", "O", "O"),
    ]


def _token(start: int, token: str, tag: str) -> dict[str, Any]:
    return {"start": start, "end": start + len(token), "tag": tag}


def _placed(tagged: Any) -> list[dict[str, Any]]:
    """Return tokens that are separated by single spaces, with their places."""
    ends = itertools.accumulate((len(token[0]) + 1 for token in tagged), initial=0)
    return [_token(start, token[0], token[3]) for start, token in zip(ends, tagged, strict=False)]


def _sentences(line: Callable[[int, tuple[str, str, str, str]], str]) -> bytes:
    return _each(lambda i: "\n".join(line(n, token) for n, token in enumerate(_tagged(i), 1)) + "\n")


def _conllu() -> bytes:
    def sentence(i: int) -> str:
        words = ("Dogs", "run", ".") if not i else (f"Dogs{i}", "bark", ".")
        rows = zip(words, ("dog", "run", "."), ("NOUN", "VERB", "PUNCT"), strict=True)
        return "".join(
            f"{n}\t{form}\t{lemma}\t{tag}\t_\t_\t0\troot\t_\t_\n"
            for n, (form, lemma, tag) in enumerate(rows, 1)
        )

    return _each(sentence)


def _bio() -> bytes:
    def sentence(i: int) -> str:
        return f"New York\tB-LOC\nis\tO\n{WORDS[i % 6]}\tO\n{i}\tO\n"

    return _each(sentence)


def _requests() -> Files:
    def tokens(i: int) -> str:
        return f"play some jazz{i or ''}" if i % 2 == 0 else f"book the room{i}"

    def tags(i: int) -> str:
        return "O O B-genre" if i % 2 == 0 else "O O B-place"

    def intent(i: int) -> str:
        return ("PlayMusic", "BookPlace")[i % 2]

    lists = {"seq.in": tokens, "seq.out": tags, "label": intent}
    return {f"requests/train/{name}": _each(row) for name, row in lists.items()}


def _english(i: int) -> str:
    return f"A dog runs{' ' * bool(i)}{' '.join(NUMBERS[(i >> 2 * k) % 4][0] for k in range(3)) * bool(i)}."


def _german(i: int) -> str:
    return (
        f"Ein Hund rennt{' ' * bool(i)}{' '.join(NUMBERS[(i >> 2 * k) % 4][1] for k in range(3)) * bool(i)}."
    )


def _bad_or_war(i: int) -> list[str]:
    return [["drama", "war"], ["drama"], ["war"]][i % 3]


SHAPES: dict[str, Callable[[], Files]] = {
    "JSON lines": lambda: {"reviews.jsonl": _jsonl()},
    "JSON lines, other suffix": lambda: {"reviews.ndjson": _jsonl()},
    "JSON array": lambda: {"reviews.json": _array()},
    "JSON object of lists": lambda: {"reviews.json": _lists()},
    "table": lambda: {"reviews.csv": _csv()},
    "table, other columns": lambda: {
        "reviews.csv": _table("id,stars,review", lambda i: f"{i},{'good' if i % 2 else 'bad'},{text(i)}")
    },
    "table, semicolons, Windows-1252": lambda: {
        "reviews.csv": _table("text;label", lambda i: f"{text(i, 'Très bon film.')};{label(i)}")
        .decode()
        .encode("windows-1252")
    },
    "table, vertical bars, UTF-16": lambda: {
        "reviews.csv": _table("text|label", lambda i: f"{text(i)}|{label(i)}").decode().encode("utf-16")
    },
    "table without header": lambda: {"reviews.tsv": _each(lambda i: f"{label(i)}\t{text(i)}")},
    "two text columns": lambda: {
        "reviews.csv": _table("title,body,label", lambda i: f"Film {i},{text(i)},{label(i)}")
    },
    "compressed file": lambda: {
        "reviews.csv.gz": gzip.compress(_csv()),
        "reviews.csv.bz2": bz2.compress(_csv()),
        "reviews.csv.xz": lzma.compress(_csv()),
        "reviews.csv.zst": zstandard.compress(_csv()),
    },
    "Parquet": lambda: {"reviews.parquet": _arrow(parquet=True)},
    "Arrow": lambda: {"reviews.arrow": _arrow()},
    "download of the Hugging Face hub": lambda: {
        "reviews/README.md": b"# Reviews\n",
        "reviews/data/train-00000-of-00002.parquet": _arrow(parquet=True),
        "reviews/data/train-00001-of-00002.parquet": _arrow(parquet=True),
        "reviews/data/test-00000-of-00001.parquet": _arrow(9, parquet=True),
    },
    "files of splits": lambda: {
        f"reviews/{split}.csv": _csv(count)
        for split, count in (("train", 40), ("validation", 9), ("test", 7))
    },
    "numbered pieces of splits": lambda: {
        f"reviews/{name}.jsonl": _jsonl(count)
        for name, count in (("train-1", 40), ("train-2", 30), ("test", 7))
    },
    "folder for each class and split": _imdb,
    "folder for each class": lambda: (
        _pos_neg("reviews", lambda own, i: f"{own}/{i // 2}_{9 if own == 'pos' else 2}.txt")
        | {"reviews/neg/1_2.txt": b"A dull film."}
    ),
    "fastText": lambda: {"reviews.txt": _each(lambda i: f"__label__{label(i)} {text(i)}")},
    "line-aligned texts and labels": lambda: {
        "reviews/train_text.txt": _each(text),
        "reviews/train_labels.txt": _each(label),
    },
    "several labels, fastText": lambda: {
        "films.ft": _each(lambda i: f"{' '.join(f'__label__{name}' for name in _bad_or_war(i))} {text(i)}")
    },
    "several labels, JSON lists": lambda: {"films.jsonl": _json(text=text, genres=_bad_or_war)},
    "several labels, one cell": lambda: {
        "films.csv": _table("text,label", lambda i: f"{text(i)},{';'.join(_bad_or_war(i))}")
    },
    "several labels, a column each": lambda: {
        "films.csv": _table(
            "text,drama,war",
            lambda i: f"{text(i)},{int('drama' in _bad_or_war(i))},{int('war' in _bad_or_war(i))}",
        )
    },
    "CoNLL-U": lambda: {"corpus.conllu": _conllu()},
    "CoNLL": lambda: {"names.conll": _sentences(lambda n, token: " ".join(token))},
    "CoNLL, other columns": lambda: {
        "names.conll": _sentences(lambda n, token: f"{n} {token[0]} {token[3]} {token[1]}")
    },
    "tokens and tags separated by tabs": lambda: {"names.bio": _bio()},
    "tokens by their offsets in JSON lines": lambda: {
        "names.jsonl": _json(
            text=lambda i: " ".join(t[0] for t in _tagged(i)) if i else "Oslo.",
            tokens=lambda i: _placed(_tagged(i)) if i else [_token(0, "Oslo", "B-LOC"), _token(4, ".", "O")],
        )
    },
    "tokens and tags in JSON lines": lambda: {
        "names.jsonl": _json(
            tokens=lambda i: [t[0] for t in _tagged(i)] if i else ["Oslo", "."],
            tags=lambda i: [t[3] for t in _tagged(i)] if i else ["B-LOC", "O"],
        )
    },
    "line-aligned tokens, tags and labels": _requests,
    "one text": lambda: {"plays.txt": _each(lambda i: f"{text(i, 'To be, or not to be')}\n", 200)},
    "texts with labels": lambda: {
        "poems.jsonl": _json(
            text=lambda i: text(i, "The sea is calm."), label=lambda i: ("calm", "wild")[i % 2]
        )
    },
    "line-aligned texts": lambda: {"corpus/train.en": _each(_english), "corpus/train.de": _each(_german)},
    "pairs in JSON lines": lambda: {"pairs.jsonl": _json(source=_english, target=_german)},
    "pairs in a table without header": lambda: {"pairs.tsv": _each(lambda i: f"{_english(i)}\t{_german(i)}")},
    "generated sample": dict,
    "TensorFlow Datasets": dict,
}
"""From the name of a row of the table to files."""
