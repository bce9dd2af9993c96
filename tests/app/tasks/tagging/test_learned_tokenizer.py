"""The tokenizer that is learned with a tagger: its targets, training, choice, export and resuming."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tagging_data import PLAIN, TINY, Command, Jsonl, best_line, evaluated, printed, settings, trained
from trained import epoch_lines, export_quickly, same, weights

from app.artifacts.run import open_run
from app.config import load_config
from app.prediction.loading import load_keras_model
from app.tasks.tagging.boundaries import text_boundaries
from app.train import train
from models.text.boundaries import located_tokens, read_characters, token_edges
from models.text.code_points import class_table

LEARNED = (*PLAIN, "training.epochs=6", "training.batch_size=16", "text.tokenizer=auto")
WORDS = ("dog", "cat", "sun", "map", "tree")


def _rows(number: int, seed: int) -> list[dict[str, Any]]:
    """Return sentences with tokens that the rules split otherwise, and of which a part has no text."""
    random_ = random.Random(seed)
    rows = []
    for _ in range(number):
        words = [random_.choice(WORDS) for _ in range(4)]
        tokens = [
            f"{words[0]}-{words[1]}",
            f"{random_.randint(1, 9)} 000",
            "l'",
            words[2],
            f"{words[3]}s",
            ".",
        ]
        text = f"{tokens[0]} {tokens[1]} l'{tokens[3]} {tokens[4]}."
        rows.append({"text": text, "tokens": tokens, "tags": ["N", "NUM", "DET", "N", "N", "PUNCT"]})
    return rows


@pytest.fixture(scope="module")
def corpus(jsonl: Jsonl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of such sentences; the tokens of some are not in their text."""
    folder = tmp_path_factory.mktemp("corpus")
    lost = {"text": "xyz", "tokens": ["a", "b"], "tags": ["N", "N"]}
    empty = {"text": "", "tokens": ["dog"], "tags": ["N"]}
    for seed, (split, number) in enumerate((("train", 160), ("validation", 16), ("test", 16))):
        jsonl(folder / f"{split}.jsonl", [*_rows(number, seed), lost, empty])
    return folder


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run in which the tokenizer was learned."""
    return trained(
        corpus, tmp_path_factory.mktemp("learned") / "run", *LEARNED, "training.deterministic=true"
    )


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return its export."""
    return export_quickly(run, output=tmp_path_factory.mktemp("exported") / "learned")


CORPORA = [
    ("", []),
    ("It isn't.", ["It", "is", "n't", "."]),
    ("l'homme a 20 000 €", ["l'", "homme", "a", "20 000", "€"]),
    ("我们喜欢读书。", ["我们", "喜欢", "读书", "。"]),
    ("a\r\nb\u00a0\tc \u3000d", ["a", "b", "c", "d"]),
    (
        "co\u00adop 👩\u200d👩\u200d👧🇩🇪❤\ufe0f!",
        ["co\u00adop", "👩\u200d👩\u200d👧", "🇩🇪", "❤\ufe0f", "!"],
    ),
    ("e\u0301a ก็ดี", ["e\u0301", "a", "ก็", "ดี"]),
    ("a\ufffdb\x1fc", ["a", "\ufffd", "b", "c"]),
    (" x\u200b\u200dy ", ["x\u200b\u200dy"]),
    ("\ufeffa b", ["a", "b"]),
    ("\u200e \u200fc,\u2060d\u200b", ["c", ",", "d"]),
    ("我们\u200b喜欢\u00ad 。", ["我们", "喜欢", "。"]),
]


@pytest.mark.parametrize(("text", "tokens"), CORPORA)
def test_the_boundaries_of_a_corpus_give_its_tokens(text: str, tokens: list[str]) -> None:
    """Decisions that are as in the corpus give exactly its tokens, at their positions."""
    points, boundaries = text_boundaries(text, tokens)
    characters = read_characters(tf.constant([text]), class_table())
    edges = token_edges(characters.visible, tf.constant(boundaries > 0))
    found, starts, ends = (rows.to_list()[0] for rows in located_tokens(characters, *edges))

    np.testing.assert_array_equal(characters.visible.code_points, points)
    assert [token.decode() for token in found] == tokens
    assert [text[start:end] for start, end in zip(starts, ends, strict=True)] == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("du pain", ["de", "le", "pain"]), ("a b c", ["a", "c"]), ("a b", ["a"]), ("xa", ["a"])],
)
def test_a_text_without_its_tokens_is_not_scored(text: str, tokens: list[str]) -> None:
    """Where a token is not in the text, or a word of the text is no token, nothing is learned."""
    assert (text_boundaries(text, tokens)[1] == -1).all()


def test_it_learns_what_the_rules_get_wrong(command: Command, run: Path) -> None:
    """The better tokenizer is chosen on validation texts, printed in the metrics, and used."""
    best = best_line(run)
    metrics = evaluated(command, run)["raw_text"]

    assert best["validation_rules_token_f1"] < 0.8
    assert best["validation_token_f1"] == best["validation_learned_token_f1"] > 0.99
    assert metrics["tokenizer"] == "learned"
    assert metrics["token_f1"] > 0.9  # two of the examples have no tokens that can be found


def test_predictions(command: Command, run: Path, tmp_path: Path) -> None:
    """Positions count the characters of the text that came in, whatever is in it."""
    texts = [
        "dog-cat  5 000 l'tree suns.",
        "",
        " \t ",
        "\ufeffsun-map 👍🏽\r 7 000\u00a0l'\u00addog",
        "'" * 3,
    ]
    (tmp_path / "in.jsonl").write_text("".join(f'{{"text": {_json(text)}}}\n' for text in texts))
    lines = printed(command, "predict", run, tmp_path / "in.jsonl")

    assert [token["text"] for token in lines[0]["tokens"]] == ["dog-cat", "5 000", "l'", "tree", "suns", "."]
    assert lines[1]["tokens"] == lines[2]["tokens"] == []
    for text, line in zip(texts, lines, strict=True):
        assert all(token["text"] == text[token["start"] : token["end"]] for token in line["tokens"])
        assert "".join("".join(token["text"].split()) for token in line["tokens"]).replace("\u00ad", "") == (
            "".join(text.split()).replace("\ufeff", "").replace("\u00ad", "")
        )


def _json(text: str) -> str:
    import json

    return json.dumps(text)


def test_an_export_gives_the_same(
    command: Command, run: Path, exported: Path, corpus: Path, tmp_path: Path
) -> None:
    """An export has the chosen tokenizer in its graph, says so, and is valid."""
    (tmp_path / "in.txt").write_text("dog-cat 5 000 l'tree suns.\n👩\u200d👩\u200d👧 e\u0301 我们\n\nsun\n")
    texts = ("predict", tmp_path / "in.txt")

    assert printed(command, texts[0], exported, texts[1]) == printed(command, texts[0], run, texts[1])
    assert evaluated(command, exported, "--data", corpus)["raw_text"]["tokenizer"] == "learned"
    result = command("verify", exported)
    assert "ok      kernels" in result.stdout
    assert result.stdout.count("FAILED") == 1  # the golden set, which is left out in tests


def test_resuming(run: Path, corpus: Path, tmp_path: Path) -> None:
    """An interrupted training gives the same tokenizer and the same choice."""
    config = load_config("tagging", overrides=[*TINY, *LEARNED, "training.deterministic=true"])
    again, steps = tmp_path / "run", iter([False] * 14 + [True] + [False] * 1000)
    assert not train("tagging", str(corpus), config, run=again, should_stop=lambda: next(steps)).finished
    assert train("tagging", str(corpus), config, run=again, resume=True).finished

    assert same(weights(again), weights(run))
    assert epoch_lines(again) == epoch_lines(run)


def test_auto_keeps_the_rules_where_they_are_better(
    command: Command, corpus: Path, jsonl: Jsonl, tmp_path: Path
) -> None:
    """With tokens that the rules find, too, and hardly any training, the rules are chosen and exported."""
    for split in ("train", "validation"):
        jsonl(
            tmp_path / f"data/{split}.jsonl",
            [
                {
                    "text": "A dog, isn't it?",
                    "tokens": ["A", "dog", ",", "is", "n't", "it", "?"],
                    "tags": [*"DNPVANP"],
                }
            ]
            * 4,
        )
    result = command(
        *("train", "tagging", tmp_path / "data", "--run", tmp_path / "run"),
        *settings(*TINY, *PLAIN, "text.tokenizer=auto", "training.learning_rate=1e-6"),
    )

    assert result.exit_code == 0, result.stderr
    assert "tokenizer: rules (token F1 on validation texts: learned 0." in result.stderr
    assert "rules 1.0000)" in result.stderr
    model = load_keras_model(open_run(tmp_path / "run"))
    assert model.tokenizer.choice()[0] == "rules"
    (tmp_path / "in.txt").write_text("dog-cat isn't\n")
    (line,) = printed(command, "predict", tmp_path / "run", tmp_path / "in.txt")
    assert [token["text"] for token in line["tokens"]] == ["dog", "-", "cat", "is", "n't"]


def test_without_raw_text_nothing_is_learned(
    command: Command, joint: Path, jsonl: Jsonl, tmp_path: Path
) -> None:
    """Without raw text, and with the rules, a model has no other tokenizer."""
    for split in ("train", "validation"):
        jsonl(tmp_path / f"data/{split}.jsonl", [{"tokens": ["a", "b"], "tags": ["X", "Y"]}] * 4)
    run = trained(tmp_path / "data", tmp_path / "run", *PLAIN, "text.tokenizer=auto")

    assert load_keras_model(open_run(run)).tokenizer is None
    assert load_keras_model(open_run(joint)).tokenizer is None
    assert "validation_token_f1" not in best_line(run)
    assert evaluated(command, joint)["raw_text"]["tokenizer"] == "rules"


@pytest.mark.parametrize("text", [None, "", "other words"])
def test_learned_needs_raw_text(command: Command, jsonl: Jsonl, tmp_path: Path, text: str | None) -> None:
    """Without a text in which the tokens are found, learning a tokenizer is refused with advice."""
    row: dict[str, Any] = {"tokens": ["a", "b"], "tags": ["X", "Y"]} | (
        {} if text is None else {"text": text}
    )
    for split in ("train", "validation"):
        jsonl(tmp_path / f"data/{split}.jsonl", [row] * 4)
    result = command(
        *("train", "tagging", tmp_path / "data", "--run", tmp_path / "run"),
        *settings(*TINY, *PLAIN, "text.tokenizer=learned"),
    )

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith(
        "Error: text.tokenizer = 'learned': no example of the train"
    )
    assert "set text.tokenizer=rules" in result.stderr
    assert not (tmp_path / "run").exists()
