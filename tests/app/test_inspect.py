"""The command `inspect`, of runs and exports of each task."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from trained import export_quickly

import textrnn
from app.config import load_config
from app.inspect import inspect_texts
from app.inspection.attention import attention
from app.inspection.draw import draw_attention
from app.inspection.influence import TOLERANCE
from app.inspection.opened import open_to_inspect
from app.inspection.unrolling import unroll
from app.pictures import DOTS_PER_INCH, LONGEST_SIDE
from app.prediction.loading import load_predictor
from app.prediction.predictor import Predictor
from app.train import train

Command = Callable[..., Result]
Once = Callable[[str, Callable[[Path], object]], Path]

TEXT = "one five two six three one four."
TINY = ("model.units=4", "model.embedding_size=4", "training.epochs=1")


def png_size(path: Path) -> tuple[int, int]:
    """Return width and height of a PNG in pixels, from its header."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert content[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


@pytest.fixture(scope="module")
def predictor(translator: Path) -> Predictor:
    """Return the predictor of the learned translator."""
    return load_predictor(translator)


@pytest.fixture(scope="module")
def translator_export(once: Once, translator: Path) -> Path:
    """Return the export of the learned translator."""
    folder = once("inspected", lambda folder: export_quickly(translator, output=folder / "translator"))
    return folder / "translator" / "1"


def small_run(once: Once, task: str, data: str, *overrides: str) -> Path:
    """Return the run of a tiny network."""
    config = load_config(task, overrides=[*TINY, *overrides])
    folder = once(f"inspected {task}", lambda folder: train(task, data, config, run=folder / "run"))
    return folder / "run"


@pytest.fixture(scope="module")
def tagger(once: Once) -> Path:
    """Return the run of a tiny tagger that reads in both directions."""
    return small_run(once, "tagging", "sample:tags", "model.cell=gru", "model.layers=1")


@pytest.fixture(scope="module")
def language_model(once: Once) -> Path:
    """Return the run of a tiny language model with two layers."""
    return small_run(once, "generation", "sample:text", "model.layers=2", "model.cell=lstm")


@pytest.fixture(scope="module")
def no_attention(once: Once, pairs: Path) -> Path:
    """Return the run of a tiny translator without attention."""
    sizes = ("model.attention=none", "training.batch_size=100", "text.vocabulary_size=60")
    return small_run(once, "translation", str(pairs), *sizes)


def as_json(result: Result) -> dict[str, Any]:
    """Return the object that a command printed."""
    assert (result.exit_code, result.stderr) == (0, "")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


NETWORKS = {
    "run": ({"tokens"}, ["recurrent/forward_0", "recurrent/backward_0"], {"hidden", "memory"}),
    "tagger": ({"tokens"}, ["recurrent/forward_0", "recurrent/backward_0"], {"hidden"}),
    "language_model": ({"tokens"}, ["recurrent_0", "recurrent_1"], {"hidden", "memory"}),
    "translator": (
        {"source", "target"},
        ["encoder/forward_0", "encoder/backward_0", "decoder_0"],
        {"hidden", "memory"},
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network(command: Command, request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """Memory, layers, gates and matrices of the network of each task, as JSON, in words and as a picture."""
    sequences, layers, states = NETWORKS[kind]
    model = request.getfixturevalue(kind)

    found = as_json(command("inspect", model, "--json", "--output", tmp_path / "network.png"))

    assert found["memory"]["back"].keys() == sequences
    main = "target" if "target" in sequences else "tokens"
    assert 0 < found["memory"]["horizon"] == found["memory"]["back"][main]["half"]
    assert bool(found["memory"]["ahead"]) == (kind == "tagger")
    assert found["context"]["same"][-1] == 1
    assert found["context"]["enough"] in found["context"]["tokens"]
    assert [layer["name"] for layer in found["layers"]] == layers
    for layer in found["layers"]:
        assert layer["direction"] == ("backward" if "backward" in layer["name"] else "forward")
        assert layer["gradients"].keys() == states
        assert layer["gradients"]["hidden"]["norms"][0] == pytest.approx(1, rel=1e-5)
        assert layer["name"] in found["matrices"]
        for gate in layer["gates"].values():
            assert 0 <= gate["closed"] + gate["open"] <= 1
    assert min(png_size(tmp_path / "network.png")) > 500

    shown = command("inspect", model)
    assert shown.exit_code == 0
    for sentence in found["sentences"]:
        assert sentence in shown.stdout
    for layer in layers:
        assert f"{layer}: ∂h_T/∂h_t" in shown.stdout


def test_a_text_of_a_classifier(command: Command, run: Path, tmp_path: Path) -> None:
    """Influences are complete, the last prefix is the whole text, and so is the first suffix."""
    text = "The soup is dull, but the bread is very charming."
    found = as_json(command("inspect", run, text, "--json", "--output", tmp_path / "text.svg"))

    (own,) = found["texts"]
    (output,) = own["outputs"]
    tokens = [token["text"] for token in output["influence"]["tokens"]]
    assert tokens[:3] == ["the", "soup", "is"]
    assert own["tokens"] == tokens
    assert output["output"] == own["prediction"]["label"]
    total = sum(token["influence"] for token in output["influence"]["tokens"])
    assert total == pytest.approx(output["difference"], abs=2 * TOLERANCE)
    for part in (own["prefixes"][-1], own["suffixes"][0]):
        assert part["prediction"] == own["prediction"]["label"]
        assert part["probability"] == pytest.approx(own["prediction"]["score"], abs=1e-4)
    assert own["prefixes"][0]["token"] == own["suffixes"][0]["token"] == "the"
    assert len(own["prefixes"]) == len(own["suffixes"]) == len(tokens)
    for layer in own["layers"]:
        assert np.shape(layer["hidden"]) == np.shape(layer["memory"]) == (len(tokens), 4)
        assert layer["gates"].keys() == {"input", "forget", "output"}
    assert "<svg" in (tmp_path / "text.svg").read_text()


def test_from_python(command: Command, run: Path, tmp_path: Path) -> None:
    """`textrnn.inspect` returns what the command prints."""
    text = "the soup is dull"
    assert textrnn.inspect(run) == as_json(command("inspect", run, "--json"))
    found = textrnn.inspect(run, text, output=tmp_path / "a.svg")
    assert found == as_json(command("inspect", run, text, "--json"))
    assert (tmp_path / "a.svg").stat().st_size > 1000
    with pytest.raises(textrnn.UserError, match="a picture shows one text"):
        textrnn.inspect(run, [text, text], output=tmp_path / "b.svg")


def test_prefixes_are_predictions(command: Command, run: Path) -> None:
    """What is predicted from a prefix or suffix is what is predicted from it as a text of its own."""
    (own,) = as_json(command("inspect", run, "the soup is dull", "--json"))["texts"]
    texts = ["the", "the soup", "the soup is"], ["soup is dull", "is dull", "dull"]
    parts = own["prefixes"][:3], own["suffixes"][1:]
    for chosen, found in zip(texts, parts, strict=True):
        result = command("predict", run, stdin="\n".join(chosen))
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert [line["label"] for line in lines] == [part["prediction"] for part in found]
        expected = [line["score"] for line in lines]
        assert [part["probability"] for part in found] == pytest.approx(expected, abs=1e-4)


def test_a_text_without_a_token(command: Command, run: Path) -> None:
    """What is predicted if a token is unknown is what is predicted with another word in its place."""
    (own,) = as_json(command("inspect", run, "the soup is dull", "--json"))["texts"]
    texts = ("qqq soup is dull", "the qqq is dull", "the soup qqq dull", "the soup is qqq")
    result = command("predict", run, stdin="\n".join(texts))
    lines = [json.loads(line) for line in result.stdout.splitlines()]

    assert [part["token"] for part in own["without"]] == ["the", "soup", "is", "dull"]
    assert [part["prediction"] for part in own["without"]] == [line["label"] for line in lines]
    expected = [line["score"] for line in lines]
    assert [part["probability"] for part in own["without"]] == pytest.approx(expected, abs=1e-4)
    label = own["prediction"]["label"]
    finals = [line["probabilities"][label] for line in lines]
    assert [part["final"] for part in own["without"]] == pytest.approx(finals, abs=1e-4)
    assert finals[own["decisive"]] == min(finals)
    decisive = own["without"][own["decisive"]]
    sentence = f"most depends on token {own['decisive'] + 1}, {decisive['token']}: if it were unknown, "
    assert sentence in command("inspect", run, "the soup is dull").stdout


def test_a_backward_layer_is_shown_in_the_order_of_the_text(run: Path) -> None:
    """After the last token, a layer that reads backwards has seen that token alone."""
    alone, whole = inspect_texts(run, ["charming", "the soup is charming"])
    for first, second in zip(alone.layers, whole.layers, strict=True):
        same = np.allclose(first.states["hidden"][0], second.states["hidden"][-1], atol=1e-6)
        assert same == second.backward


def test_texts_of_a_tagger(command: Command, tagger: Path, tmp_path: Path) -> None:
    """Each token has an output with influences of its own."""
    text = "Book a table for Mary in Paris."
    (own,) = as_json(command("inspect", tagger, text, "--json", "--output", tmp_path / "a.png"))["texts"]

    tokens = [token["text"] for token in own["prediction"]["tokens"]]
    assert [output["token"] for output in own["outputs"]] == own["tokens"] == tokens
    for output in own["outputs"]:
        assert output["error"] < 1e-3
        total = sum(token["influence"] for token in output["influence"]["tokens"])
        assert total == pytest.approx(output["difference"], abs=1e-3)
    assert own["prefixes"][-1]["prediction"] == own["outputs"][-1]["output"]
    assert own["suffixes"][0]["prediction"] == own["outputs"][0]["output"]
    assert "output of each token" in command("inspect", tagger, text).stdout


def test_texts_of_a_language_model(command: Command, language_model: Path, tmp_path: Path) -> None:
    """The output is the next token; the token before the text has no influence, and there is no suffix."""
    found = as_json(command("inspect", language_model, "the cat", "the", "--json"))

    first, second = found["texts"]
    assert (first["text"], second["text"]) == ("the cat", "the")
    (output,) = first["outputs"]
    influences = output["influence"]["tokens"]
    assert [token["text"] for token in influences] == ["∎", *"the cat"]
    assert influences[0]["influence"] == 0
    assert output["error"] < 1e-3
    assert first["suffixes"] == []
    assert first["prefixes"][-1]["prediction"] == output["output"]
    for one, other in zip(first["prefixes"], second["prefixes"], strict=False):
        assert one["prediction"] == other["prediction"]
        assert one["probability"] == pytest.approx(other["probability"], rel=1e-4)
    assert [layer["name"] for layer in first["layers"]] == ["recurrent_0", "recurrent_1"]
    assert command("inspect", language_model, "the", "--output", tmp_path / "a.png").exit_code == 0
    assert png_size(tmp_path / "a.png")[0] > 500


@pytest.mark.parametrize("kind", ["translator", "no_attention"])
def test_texts_of_a_translator(command: Command, request: pytest.FixtureRequest, kind: str) -> None:
    """The influence of the source tokens on the whole translation is complete."""
    model = request.getfixturevalue(kind)
    (own,) = as_json(command("inspect", model, "one five two.", "--json"))["texts"]

    (output,) = own["outputs"]
    influences = output["influence"]["source"]
    assert "".join(token["text"] for token in influences) == "▁one▁five▁two."
    assert output["error"] < 1e-3
    assert sum(token["influence"] for token in influences) == pytest.approx(output["difference"], abs=1e-3)
    source = [token["text"] for token in influences]
    assert [layer["tokens"] for layer in own["layers"]] == [source, source, own["tokens"]]
    assert [part["token"] for part in own["prefixes"]] == own["tokens"]
    assert bool(own["attention"]) == (kind == "translator")
    if kind == "translator":
        assert own["prediction"]["text"] == "zwei fünf eins."
        assert [part["prediction"] for part in own["prefixes"]][:3] == ["▁zwei", "▁fünf", "▁eins"]


def test_an_export_explains_a_class(command: Command, run: Path, exported: Path) -> None:
    """Of an export there are the influences of its signature, near those of the run, and no layers."""
    text = "The soup is charming."
    (own,) = as_json(command("inspect", exported, text, "--json"))["texts"]
    (of_run,) = as_json(command("inspect", run, text, "--json"))["texts"]

    first, second = (found["outputs"][0]["influence"]["tokens"] for found in (own, of_run))
    assert [token["text"] for token in first] == [token["text"] for token in second]
    for one, other in zip(first, second, strict=True):
        assert one["influence"] == pytest.approx(other["influence"], abs=0.02)
    assert own["prediction"] == of_run["prediction"]
    assert own["layers"] == own["prefixes"] == []
    assert "influence of each token on" in command("inspect", exported, text).stdout


def test_an_export_has_no_layers(command: Command, exported: Path) -> None:
    """What an export can't give is refused in one line, which says to pass the run."""
    result = command("inspect", exported)

    assert result.exit_code == 1
    advice = "which has no layers to look into; pass the run that it was exported from"
    assert result.stderr == f"Error: {exported} is an export, {advice}\n"


def test_several_texts_and_one_picture(command: Command, run: Path, tmp_path: Path) -> None:
    """A picture shows one text."""
    result = command("inspect", run, "a", "b", "--output", tmp_path / "a.png")

    assert result.exit_code == 2
    assert result.stderr.startswith("Error: --output takes one TEXT")


def test_weights(predictor: Predictor) -> None:
    """Each target token has a weight for every source token; its weights sum to 1."""
    found = attention(predictor, "one five two.")

    assert "".join(found.source) == "▁one▁five▁two."
    assert "".join(found.target[:-1]) == "▁zwei▁fünf▁eins."
    assert found.target[-1] == "∎"
    assert found.weights.shape == (len(found.target), len(found.source))
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, atol=1e-5)
    assert found.weights.min() >= 0
    assert np.ptp(found.weights, axis=0).max() > 0.05


def test_an_export_has_the_weights_of_its_run(predictor: Predictor, translator_export: Path) -> None:
    """A run and its export give the same tokens, translation and attention weights."""
    of_run, of_export = attention(predictor, TEXT), attention(load_predictor(translator_export), TEXT)

    assert (of_export.source, of_export.target, of_export.text) == (of_run.source, of_run.target, of_run.text)
    np.testing.assert_allclose(of_export.weights, of_run.weights, atol=1e-5)


@pytest.mark.parametrize("kind", ["translator", "translator_export"])
def test_the_plot_of_attention(
    command: Command, request: pytest.FixtureRequest, predictor: Predictor, tmp_path: Path, kind: str
) -> None:
    """The plot of a run or an export has a column per source token and a row per target token."""
    model = request.getfixturevalue(kind)
    for text in ("one.", TEXT):
        output = tmp_path / "plots" / f"{len(text)}.png"
        result = command("inspect", model, text, "--output", output)
        found = attention(predictor, text)

        assert (result.exit_code, result.stderr) == (0, "")
        assert json.loads(result.stdout.splitlines()[0])["text"] == found.text
        width, height = png_size(output)
        assert width == pytest.approx(DOTS_PER_INCH * (1.5 + 0.35 * len(found.source)), abs=2)
        assert height == pytest.approx(DOTS_PER_INCH * (1.2 + 0.3 * len(found.target)), abs=2)
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["32.png", "4.png"]


def test_an_svg(predictor: Predictor, tmp_path: Path) -> None:
    """The suffix of the output selects the format."""
    draw_attention(attention(predictor, "two one."), tmp_path / "plot.SVG")

    assert "<svg" in (tmp_path / "plot.SVG").read_text()


HARD = "one $x^$ $\\frac$ 一 👩‍👩‍👧 \u200b\x01 two"


def test_tokens_that_are_hard_to_draw(predictor: Predictor, run: Path, tmp_path: Path) -> None:
    """Characters that the font lacks, formulas and control characters are drawn without a warning."""
    from app.inspection.draw import draw_text

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_attention(attention(predictor, HARD), tmp_path / "plot.png")
        draw_text(inspect_texts(run, [HARD])[0], tmp_path / "text.png")

    assert min(png_size(tmp_path / "plot.png")) > 100
    assert min(png_size(tmp_path / "text.png")) > 100


def test_a_long_text(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plot of a long text is limited to a number of pixels per side."""
    monkeypatch.setattr("app.pictures.LONGEST_SIDE", 300)

    draw_attention(attention(predictor, "one two three " * 100), tmp_path / "plot.png")

    assert LONGEST_SIDE < 2**16
    assert max(png_size(tmp_path / "plot.png")) == pytest.approx(300, abs=2)


@pytest.mark.parametrize("text", ["", " \n", "\x01", "\u3000"])
@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("translator", "give a sentence to translate"),
        ("translator_export", "give a sentence to translate"),
        ("run", "give a text to classify"),
        ("exported", "give a text with words"),
    ],
)
def test_no_text(
    command: Command, request: pytest.FixtureRequest, tmp_path: Path, text: str, kind: str, advice: str
) -> None:
    """A text without tokens is refused."""
    result = command("inspect", request.getfixturevalue(kind), text, "--output", tmp_path / "plot.png")

    assert result.exit_code == 1
    assert result.stderr == f"Error: the text has no tokens; {advice}\n"
    assert not list(tmp_path.iterdir())


def test_another_suffix(command: Command, translator: Path, tmp_path: Path) -> None:
    """The error names the suffixes that are allowed."""
    result = command("inspect", translator, "one.", "--output", tmp_path / "plot.txt")

    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: --output {tmp_path / 'plot.txt'}: expected a name that ends with .png or .svg\n"
    )


@pytest.mark.parametrize("kind", ["translator", "no_attention"])
def test_the_layers_of_a_decoder(request: pytest.FixtureRequest, kind: str) -> None:
    """The states of its layers, step by step, lead to the attentional states that it computes at once."""
    opened = open_to_inspect(request.getfixturevalue(kind))
    inspection = opened.inspection
    model, vectors = inspection.model, inspection.text("one five two.", opened.predictor).vectors
    state = model.encode_vectors(vectors.values["source"], vectors.lengths["source"])

    *_, layer = inspection.layers(vectors)
    hidden = unroll(layer).states["hidden"]

    if model.attention:
        context, _ = model.attention(hidden, state["keys"], state["memory"], state["lengths"])
    else:
        context = np.repeat(state["context"][:, np.newaxis], hidden.shape[1], axis=1)
    found = model.attentional(np.concatenate([context, hidden], axis=2))
    expected = model.decode_vectors(vectors.values["target"], state)
    np.testing.assert_allclose(found, expected, atol=1e-5)
