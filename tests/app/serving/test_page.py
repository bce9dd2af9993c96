"""The page: what it is told, and what a person sees and can do with it in a browser."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import uvicorn

from app.predict import predictions as predicted
from app.serving.logs import Log
from app.serving.metrics import Metrics
from app.serving.options import Limits
from app.serving.repository import Repository
from app.serving.rest import application
from app.serving.servable import Servable
from app.tasks.generation.sampling import Options, generate
from data.formats import Row

Json = dict[str, Any]
Asking = Callable[..., Any]

HTML = "a <b>good</b> film &amp; <img src=x onerror=alert(1)> fine"
TASKS = ("classification", "tagging", "translation", "generation")


def served(repository: Any) -> Any:
    """Return the whole HTTP application."""
    return application(repository, limits=Limits(), metrics=Metrics(), log=Log(io.StringIO()))


def line(servable: Servable, text: str) -> Json:
    """Return what `textrnn predict` prints for a text."""
    (found,) = predicted(servable.predictor, [Row(1, {"text": text})])
    return found


# What the page is told


@pytest.fixture
def answer(tiny: Repository, ask: Asking) -> Callable[..., tuple[int, Json]]:
    """Return a function that asks for an answer as the page does."""

    def post(name: str, document: Any, repository: Any = tiny) -> tuple[int, Json]:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        found = ask(served(repository), "POST", f"/page/models/{name}/answer", body)
        return found.status, found.json

    return post


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/page.js", "text/javascript; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ],
)
def test_files(tiny: Repository, ask: Asking, path: str, media_type: str) -> None:
    """The files are sent with their types and the strict policy, and name no other host."""
    found = ask(served(tiny), "GET", path)

    assert (found.status, found.headers[b"content-type"].decode()) == (200, media_type)
    policy = found.headers[b"content-security-policy"].decode()
    assert policy.startswith("default-src 'self'; ")
    assert "unsafe" not in policy
    assert found.headers[b"x-content-type-options"] == b"nosniff"
    names = set(re.findall(rb"(?:https?:)?//[a-z][\w.]+", found.body))
    assert names <= {b"http://www.w3.org"}  # the name of a language, not a host that is asked


def test_no_code_in_the_page() -> None:
    """Scripts and styles stand in their files, and none of them makes HTML out of text."""
    page = files("app.serving").joinpath("page")
    html, script = (page.joinpath(name).read_text() for name in ("index.html", "page.js"))

    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|javascript:", html)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script
    )


def test_models(tiny: Repository, ask: Asking) -> None:
    """The page knows of each model that is there: task, version, size, labels, whether it explains."""
    found = ask(served(tiny), "GET", "/page/models").json["models"]

    assert [model["name"] for model in found] == list(TASKS)
    assert [model["task"] for model in found] == list(TASKS)
    assert [model["explains"] for model in found] == ["explain", None, "attention", None]
    assert [model["has_states"] for model in found] == [True, True, False, False]
    assert [model["calibrated"] for model in found] == [True, True, False, False]
    assert [model["tokens"] for model in found] == ["word", "word", "subword", "char"]
    assert found[0]["labels"] == ["negative", "positive"]
    assert found[3]["labels"] == ["play", "sonnet"]
    assert [model["generates"] for model in found] == [False, False, False, True]
    for model in found:
        with tiny.acquire(model["name"]) as servable:
            sizes = sum(path.stat().st_size for path in servable.path.rglob("*.*") if path.is_file())
            assert sizes <= model["bytes"] < 2 * sizes
            for name in ("parameters", "dataset"):
                assert model[name] == getattr(servable.manifest, name)
        assert (model["version"], model["most_length"]) == (1, 10_000)


def test_models_that_are_not_there(ask: Asking, tmp_path: Any) -> None:
    """A model without a version is left out."""
    empty = Repository({"later": tmp_path}, metrics=Metrics(), log=Log(io.StringIO()))

    assert ask(served(empty), "GET", "/page/models").json == {"models": []}


@pytest.mark.parametrize(
    "text",
    [
        "a good film.",
        "",
        HTML,
        "one two.",
        "Nina Simone now",
        "ÄÖ 👍🏽 不好",
        "play Nina \t\u2003 Simone\nnow",
    ],
)
@pytest.mark.parametrize("task", TASKS[:3])
def test_answers(tiny: Repository, answer: Callable[..., tuple[int, Json]], task: str, text: str) -> None:
    """The page is told what `textrnn predict` prints."""
    status, found = answer(task, {"text": text})

    with tiny.acquire(task) as servable:
        assert found.keys() == {"model", "version", "answer"}
        assert (status, found["model"], found["version"]) == (200, task, 1)
        expected = line(servable, text)
        assert json.dumps(found["answer"]).replace(" ", "") == json.dumps(expected).replace(" ", "")


def test_spans_keep_their_white_space(tiny: Repository, answer: Callable[..., tuple[int, Json]]) -> None:
    """The text of a span is that of the input, unusual white space included, as `predict` prints it."""
    text = "play Nina \t\u2003 Simone\nnow"
    _, found = answer("tagging", {"text": text})

    (artist,) = [span for span in found["answer"]["spans"] if span["label"] == "artist"]
    assert artist["text"] == "Nina \t\u2003 Simone"


def test_importances(tiny: Repository, answer: Callable[..., tuple[int, Json]]) -> None:
    """A classifier's explanation lists each token, where it stands, and what it does for the label."""
    text = "A good film, dull & fine."
    _, found = answer("classification", {"text": text, "explain": True})
    explanation, label = found["explanation"], found["answer"]["label"]

    assert explanation["label"] == label
    assert [text[token["start"] : token["end"]] for token in explanation["tokens"]] == (
        ["A", "good", "film", ",", "dull", "&", "fine", "."]
    )
    with tiny.acquire("classification") as servable:
        outputs = servable.signatures["explain"]({"text": np.array([text.encode()], object)})
    np.testing.assert_allclose(
        [token["importance"] for token in explanation["tokens"]], outputs["importance"][0], atol=1e-6
    )
    assert any(token["importance"] for token in explanation["tokens"])
    assert explanation["tokens"][5]["importance"] == 0  # an unknown word


def test_attention(tiny: Repository, answer: Callable[..., tuple[int, Json]]) -> None:
    """A translator's explanation has a share of each source token for each written one, without the end."""
    _, found = answer("translation", {"text": "one two.", "explain": True})
    explanation = found["explanation"]

    assert "".join(explanation["source"]) == "▁one▁two."
    written = "".join(explanation["target"]).replace("▁", " ")
    assert written.strip() == found["answer"]["text"].strip()
    assert "[END]" not in explanation["target"]
    weights = np.array(explanation["attention"])
    assert weights.shape == (len(explanation["target"]), len(explanation["source"]))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-4)


def test_states(tiny: Repository, answer: Callable[..., tuple[int, Json]]) -> None:
    """The hidden state has a row for each unit and a value for each token, as the signature computes them."""
    text = "A good film, dull & fine."
    _, found = answer("classification", {"text": text, "states": True})
    states = found["states"]
    with tiny.acquire("classification") as servable:
        outputs = servable.signatures["states"]({"text": np.array([text.encode()], object)})

    assert found.keys() == {"model", "version", "answer", "states"}
    assert [text[token["start"] : token["end"]] for token in states["tokens"]] == (
        ["A", "good", "film", ",", "dull", "&", "fine", "."]
    )
    assert states["units"] == [unit.decode() for unit in outputs["units"][0]]
    np.testing.assert_allclose(np.array(states["states"]).T, outputs["states"][0], atol=1e-3)
    assert np.ptp(states["states"], axis=1).max() > 0.01
    empty = answer("classification", {"text": "", "states": True})[1]["states"]
    assert empty["tokens"] == []
    assert all(row == [] for row in empty["states"])


def test_nothing_to_explain(answer: Callable[..., tuple[int, Json]]) -> None:
    """An empty text has no words that could matter; a tagger explains nothing."""
    assert answer("classification", {"text": "", "explain": True})[1]["explanation"]["tokens"] == []
    found = answer("translation", {"text": " ", "explain": True})[1]["explanation"]
    assert found == {"source": [], "target": [], "attention": []}
    assert "explanation" not in answer("tagging", {"text": "rain", "explain": True})[1]


class Older:
    """A repository whose exports are from before there were explanations."""

    def __init__(self, repository: Repository) -> None:
        """Stand before another one."""
        self.repository = repository
        self.names = ["classification", "translation"]

    @contextmanager
    def acquire(self, name: str, **options: Any) -> Iterator[Any]:
        with self.repository.acquire(name, **options) as servable:
            signatures = {"serving_default": servable.signatures["serving_default"]}
            yield dataclasses.replace(servable, signatures=signatures)


def test_older_exports(tiny: Repository, answer: Callable[..., tuple[int, Json]], ask: Asking) -> None:
    """An export without explanations answers, and says that it has none."""
    older = Older(tiny)
    for task in older.names:
        _, found = answer(task, {"text": "one", "explain": True, "states": True}, older)
        assert found.keys() == {"model", "version", "answer"}
    models = ask(served(older), "GET", "/page/models").json["models"]
    assert [model["explains"] for model in models] == [None, None]
    assert [model["has_states"] for model in models] == [False, False]


@pytest.mark.parametrize(
    ("name", "document", "status", "message"),
    [
        ("classification", b"", 400, "the request body is empty"),
        ("classification", b"[]", 400, "expected a JSON object"),
        ("classification", {}, 400, "expected text, a string"),
        ("classification", {"text": 1}, 400, "expected text, a string"),
        ("classification", {"text": "a", "explain": 1}, 400, "explain and states, true or false"),
        ("classification", {"text": "a", "states": "yes"}, 400, "explain and states, true or false"),
        ("classification", {"text": "\ud800"}, 400, "half of a surrogate pair"),
        ("classification", {"text": "a" * 1_000_001}, 400, ""),
        ("generation", {"text": "a"}, 400, "generation generates texts: use :generate"),
        ("nobody", {"text": "a"}, 404, "nobody"),
    ],
)
def test_bad_requests(
    answer: Callable[..., tuple[int, Json]], name: str, document: Any, status: int, message: str
) -> None:
    """What can't be answered is refused in words."""
    found = answer(name, document)

    assert found[0] == status
    assert message in found[1]["error"]


def test_a_large_body(tiny: Repository, ask: Asking) -> None:
    """A body beyond the limit is not read to its end."""
    app = application(
        tiny,
        limits=dataclasses.replace(Limits(), body_bytes=1000),
        metrics=Metrics(),
        log=Log(io.StringIO()),
    )
    found = ask(app, "POST", "/page/models/tagging/answer", b'{"text": "' + b"a" * 1000 + b'"}')

    assert found.status == 413
    assert found.json == {"error": "the request body is larger than 1000 bytes"}


# In a browser

CHROMIUM = shutil.which("chromium")
in_browser = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")


class Seen:
    """A page that is open."""

    def __init__(self, page: Any, address: str) -> None:
        """Watch what it complains of and whom it asks."""
        self.page = page
        self.address = address
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def open(self, model: str) -> Any:
        self.page.goto(f"{self.address}/#{model}")
        self.page.wait_for_selector("#run:not([disabled])")
        return self.page

    def run(self, text: str) -> None:
        """Type a text and run it by the keyboard, and wait for the end."""
        self.page.fill("#text", text)
        self.page.keyboard.press("Control+Enter")
        self.page.wait_for_selector("#result:not([hidden])")
        self.page.wait_for_selector("#stop", state="hidden")

    def unfold(self, panel: str, content: str) -> None:
        """Open a panel below a prediction if it is closed, and wait for what it shows."""
        if not self.page.evaluate("id => document.querySelector(id).open", panel):
            self.page.click(f"{panel} summary")
        self.page.wait_for_selector(f"{panel} {content}")

    def instead(
        self, answer: Mapping[str, Any], explanation: Mapping[str, Any] | None = None, **more: Any
    ) -> None:
        """Let the server answer this."""
        told = {"version": 1, "answer": answer, **more}
        if explanation:
            told["explanation"] = explanation
        self.page.route("**/answer", lambda route: route.fulfill(json=told))


def saying(page: Any, selector: str, text: str) -> None:
    """Wait until an element says this and nothing else."""
    page.locator(selector, has_text=re.compile(f"^{re.escape(text)}$")).wait_for()


@pytest.fixture(scope="module")
def address(tiny: Repository) -> Iterator[str]:
    """Return where the models are served."""
    config = uvicorn.Config(served(tiny), port=0, log_level="error", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def seen(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Seen]:
    """Return an open page, its context as a parameter says; it complains of nothing, asks no other host."""
    context = browser.new_context(**getattr(request, "param", {}))
    context.set_default_timeout(20_000)
    found = Seen(context.new_page(), address)
    yield found
    context.close()
    assert found.complaints == []
    assert found.asked
    assert all(url.startswith(f"{address}/") for url in found.asked)


@in_browser
def test_a_classifier(tiny: Repository, seen: Seen) -> None:
    """Each class has its probability as a number and as a bar; the best comes first; facts stand above."""
    page = seen.open("classification")
    seen.run("a good film.")
    with tiny.acquire("classification") as servable:
        expected = line(servable, "a good film.")
    ranked = sorted(expected["probabilities"].items(), key=lambda item: -item[1])

    assert page.inner_text(".verdict").startswith(expected["label"])
    assert [name.inner_text() for name in page.query_selector_all(".bars .name")] == [n for n, _ in ranked]
    shares = [share.inner_text() for share in page.query_selector_all(".bars .share")]
    assert shares == [f"{100 * share:.1f} %" for _, share in ranked]
    widths = page.eval_on_selector_all(
        ".bars .bar",
        "bars => bars.map(b => parseFloat(getComputedStyle(b, '::before').width) / b.clientWidth)",
    )
    assert widths == pytest.approx([share for _, share in ranked], abs=0.01)
    assert page.inner_text("#title") == page.title().removesuffix(" – textrnn") == "classification"
    assert "version 1" in page.inner_text("#facts")
    assert page.inner_text("#status").startswith("Done in ")


@in_browser
@pytest.mark.parametrize(
    ("labels", "verdict", "first"),
    [
        (["sport", "rare"], "sport · rare", ["sport ✓", "rare ✓", "food"]),
        (["<b>"], "<b>", ["<b> ✓", "sport", "food"]),
        ([], "No label", ["sport", "food", "<b>"]),
    ],
)
def test_several_labels(seen: Seen, labels: list[str], verdict: str, first: list[str]) -> None:
    """The chosen labels are named and marked, also one of a low probability; there may be none."""
    page = seen.open("classification")
    probabilities = {"rare": 0.1, "food": 0.4, "sport": 0.9, "<b>": 0.2}
    seen.instead({"labels": labels, "probabilities": probabilities})
    seen.run("a")

    assert page.inner_text(".verdict") == verdict
    assert [name.inner_text() for name in page.query_selector_all(".bars .name")][:3] == first
    assert len(page.query_selector_all(".bars .best")) == len(labels)
    shares = [share.inner_text() for share in page.query_selector_all(".bars .share")]
    assert sorted(shares) == ["10.0 %", "20.0 %", "40.0 %", "90.0 %"]


@in_browser
def test_all_chosen_labels_are_shown(seen: Seen) -> None:
    """Of many labels all chosen ones are shown, more than there would be otherwise, and all on request."""
    page = seen.open("classification")
    probabilities = {f"l{i}": 0.5 - i / 100 for i in range(12)}
    seen.instead({"labels": list(probabilities)[:8], "probabilities": probabilities})
    seen.run("a")

    assert len(page.query_selector_all(".bars li")) == 8
    page.click("#all-classes")
    assert len(page.query_selector_all(".bars li")) == 12


@in_browser
def test_words_that_mattered(seen: Seen) -> None:
    """The words that mattered are shaded in the text as it was typed, be it HTML, and listed."""
    page = seen.open("classification")
    seen.run(HTML)
    page.wait_for_selector("#explanation .said")

    assert page.text_content("#explanation .said") == HTML
    assert not page.query_selector("#explanation img, #explanation b")
    marked = {mark.text_content() for mark in page.query_selector_all("#explanation .said mark")}
    assert marked <= {"a", "good", "film", "fine", "b"}
    assert {"good", "film"} & marked
    numbers = [float(n.inner_text().replace("−", "-")) for n in page.query_selector_all(".ranking .number")]
    assert [abs(n) for n in numbers] == sorted((abs(n) for n in numbers), reverse=True)

    seen.run("fine")
    saying(page, "#explanation .said", "fine")


@in_browser
def test_when_words_that_mattered_are_shown(seen: Seen) -> None:
    """Those of a short text at once, those of a long one on request, and as the user chose from then on."""
    page = seen.open("classification")
    is_open = "document.querySelector('#explanation').open"
    told = len(seen.asked)
    seen.run("good " * 101)
    assert not page.evaluate(is_open)
    assert len(seen.asked) == told + 1
    seen.run("good " * 100)
    page.wait_for_selector("#explanation .said")
    seen.run("good " * 101)
    assert not page.evaluate(is_open)
    page.click("#explanation summary")
    page.wait_for_selector("#explanation .said")
    seen.run("bad " * 101)
    saying(page, "#explanation .said", "bad " * 100 + "bad ")
    page.click("#explanation summary")
    seen.run("fine")
    assert not page.evaluate(is_open)
    assert not page.query_selector("#explanation .said")


CALIBRATED = (
    "Certainty. Of predictions this certain, about {} in 100 are right, on texts like those of training."
)


@in_browser
def test_certainty(seen: Seen) -> None:
    """A bar shows the probability of the prediction, and a sentence what it means."""
    page = seen.open("classification")
    for label, score, meaning in (
        (
            "a",
            0.734,
            CALIBRATED.format(73),
        ),
        (
            "a",
            1.0,
            CALIBRATED.format(99),
        ),
        (None, 0.4, "Certainty. The model gives a label only where it is more certain."),
    ):
        seen.instead({"label": label, "score": score, "probabilities": {"a": score, "b": 1 - score}})
        seen.run("x")
        meter = page.locator("[role=meter]")
        assert meter.get_attribute("aria-valuenow") == f"{100 * score:.1f}"
        width = "m => parseFloat(getComputedStyle(m, '::before').width) / m.clientWidth"
        assert meter.evaluate(width) == pytest.approx(score, abs=0.01)
        assert page.inner_text(".certainty + .quiet") == meaning
        page.unroute("**/answer")


@in_browser
def test_thresholds(seen: Seen) -> None:
    """Each of any number of labels has its probability beside its threshold, also as a mark on its bar."""
    page = seen.open("classification")
    seen.instead(
        {"labels": ["rare"], "probabilities": {"rare": 0.1, "food": 0.4}},
        thresholds={"rare": 0.05, "food": 0.5},
    )
    seen.run("a")

    shares = [share.inner_text() for share in page.query_selector_all(".bars .share")]
    assert shares == ["10.0 % ≥ 5.0 %", "40.0 % < 50.0 %"]
    places = page.eval_on_selector_all(
        ".threshold", "all => all.map(t => t.offsetLeft / t.parentElement.clientWidth)"
    )
    assert places == pytest.approx([0.05, 0.5], abs=0.02)


@in_browser
def test_the_hidden_state(tiny: Repository, seen: Seen) -> None:
    """On request a heat map has a row for each unit and a column for each token, and says so in words."""
    page = seen.open("classification")
    seen.run("a <b>good</b> film.")
    assert not page.query_selector("#states .heat")
    page.click("#states summary")
    page.wait_for_selector("#states .heat")
    with tiny.acquire("classification") as servable:
        outputs = servable.signatures["states"]({"text": np.array([b"a <b>good</b> film."], object)})
    values, units = outputs["states"][0].round(4), [unit.decode() for unit in outputs["units"][0]]

    rows = page.query_selector_all(".heat tbody tr")
    assert [row.query_selector("th").inner_text() for row in rows] == units
    axis, *words = page.eval_on_selector_all(".heat thead th", "all => all.map(c => c.textContent)")
    assert axis == "unit \\ token"
    assert words == ["a", "good", "film", "."]
    strengths = "all => all.map(c => [c.className, parseInt(c.style.getPropertyValue('--strength'))])"
    shown = [
        [-share if sign == "negative" else share for sign, share in row.eval_on_selector_all("td", strengths)]
        for row in rows
    ]
    np.testing.assert_allclose(shown, 100 * values.T / np.abs(values).max(), atol=1)
    unit, token = np.unravel_index(np.abs(values.T).argmax(), values.T.shape)
    alternative = page.get_attribute(".heat", "aria-label")
    assert f"{len(units)} units in rows, 4 tokens in columns" in alternative
    assert f"The strongest is {units[unit]} after “{words[token]}”" in alternative


@in_browser
def test_shades(seen: Seen) -> None:
    """The stronger a word the stronger its shade; a dashed line speaks against; bytes of a letter are one."""
    page = seen.open("classification")
    words = [
        ("so", 0, 2, 1.0),
        ("g", 3, 4, 2.0),
        ("👍", 5, 6, 1.0),
        ("👍", 5, 6, 3.0),
        ("no", 7, 9, -4.0),
        ("x", 10, 11, 0.0),
    ]
    tokens = [{"text": t, "start": s, "end": e, "importance": i} for t, s, e, i in words]
    answer = {"label": "a", "score": 0.5, "probabilities": {"a": 0.5, "b": 0.5}}
    seen.instead(answer, {"label": "a", "tokens": tokens})
    seen.run("so g 👍 no x")
    seen.unfold("#explanation", ".said")
    marks = page.eval_on_selector_all(
        "#explanation .said mark",
        "all => all.map(m => [m.textContent, m.className, m.style.getPropertyValue('--strength'), m.title])",
    )

    assert marks == [
        ["so", "", "25%", "+1.00"],
        ["g", "", "50%", "+2.00"],
        ["👍", "", "100%", "+4.00"],
        ["no", "against", "3.0px", "−4.00"],
    ]
    assert page.text_content("#explanation .said") == "so g 👍 no x"


@in_browser
def test_many_classes(seen: Seen) -> None:
    """Of many classes the best are shown, and all on request."""
    page = seen.open("classification")
    seen.instead({"label": "c0", "score": 0.4, "probabilities": {f"c{i}": 0.4 / (i + 1) for i in range(9)}})
    seen.run("a")

    assert len(page.query_selector_all(".bars li")) == 6
    page.click("#all-classes")
    assert len(page.query_selector_all(".bars li")) == 9
    assert not page.query_selector("#all-classes")


@in_browser
def test_a_prediction_of_another_kind(seen: Seen) -> None:
    """A prediction and an explanation that the page has no view for are shown as JSON."""
    page = seen.open("classification")
    seen.instead({"similarity": 0.5})
    seen.run("a")

    assert json.loads(page.text_content("#result pre")) == {"similarity": 0.5}


@in_browser
def test_a_tagger(tiny: Repository, seen: Seen) -> None:
    """What a tagger says is shown in the text, which stays whole, with the intent above."""
    page = seen.open("tagging")
    seen.run("play Nina Simone now")
    with tiny.acquire("tagging") as servable:
        expected = line(servable, "play Nina Simone now")
    assert page.inner_text(".verdict").startswith(expected["label"])
    assert page.get_attribute("#explanation", "hidden") is not None

    spans = [
        {"label": "artist", "start": 5, "end": 16, "text": "👍na Simone"},
        {"label": "time", "start": 17, "end": 20, "text": "now"},
    ]
    seen.instead({"tokens": [], "spans": spans, "label": "Play", "score": 0.9})
    seen.run("play Ni👍 Simone, now\nor")
    assert page.inner_text(".verdict") == "Play 90.0 %"
    assert page.eval_on_selector_all(".tag", "all => all.map(t => t.firstChild.data)") == [
        "Ni👍 Simone,",
        "now",
    ]
    assert [name.inner_text() for name in page.query_selector_all(".tag .name")] == ["artist", "time"]
    assert (
        len(
            set(page.eval_on_selector_all(".tag", "all => all.map(t => getComputedStyle(t).backgroundColor)"))
        )
        == 2
    )
    whole = page.evaluate(
        "() => { const p = document.querySelector('.tagged').cloneNode(true);"
        " p.querySelectorAll('.name').forEach(n => n.remove()); return p.textContent }"
    )
    assert whole == "play Ni👍 Simone, now\nor"


@in_browser
def test_parts_of_speech(seen: Seen) -> None:
    """Where tags are no spans each token has its own; the same tag has the same colour."""
    page = seen.open("tagging")
    words = [("the", 0, 3, "DET"), ("dog", 4, 7, "NOUN"), ("'s", 7, 9, "PART"), ("bowl", 10, 14, "NOUN")]
    seen.instead(
        {"tokens": [{"text": t, "start": s, "end": e, "tag": n} for t, s, e, n in words], "spans": []}
    )
    seen.run("the dog's bowl")

    assert page.eval_on_selector_all(".tag", "all => all.map(t => t.firstChild.data)") == [
        w[0] for w in words
    ]
    colours = page.eval_on_selector_all(".tag", "all => all.map(t => getComputedStyle(t).backgroundColor)")
    assert colours[1] == colours[3]
    assert len(set(colours)) == 3


@in_browser
def test_a_translator(tiny: Repository, seen: Seen) -> None:
    """The translation is shown, and what was looked at: as shades, for the arrow keys, and as a table."""
    page = seen.open("translation")
    seen.run("one two.")
    with tiny.acquire("translation") as servable:
        expected = line(servable, "one two.")["text"]
    assert page.text_content("#result .said") == expected

    page.goto("about:blank")
    page = seen.open("translation")
    weights = [[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.0, 0.0, 1.0]]
    tokens = {"source": ["▁one", "▁two", "."], "target": ["▁zwei", "▁eins", "."]}
    seen.instead({"text": "zwei eins.", "score": -1.0}, {**tokens, "attention": weights})
    seen.run("one two.")
    page.focus("#explanation summary")
    page.keyboard.press("Enter")
    page.wait_for_selector(".matrix")

    lines = page.eval_on_selector_all(".tokens", "all => all.map(p => p.textContent)")
    assert lines == ["one two.", "zwei eins."]
    strengths = "all => all.map(s => s.style.getPropertyValue('--strength'))"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "zwei"
    for key, word, shades, said in (
        ("Home", "zwei", ["70%", "20%", "10%"], "zwei: one 70 %, two 20 %, . 10 %"),
        ("ArrowRight", "eins", ["5%", "90%", "5%"], "eins: two 90 %"),
        ("End", ".", ["0%", "0%", "100%"], ".: . 100 %"),
        ("ArrowRight", ".", ["0%", "0%", "100%"], ".: . 100 %"),
        ("ArrowLeft", "eins", ["5%", "90%", "5%"], "eins: two 90 %"),
    ):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.textContent") == word
        assert page.eval_on_selector_all(".tokens:not([role]) span", strengths) == shades
        assert page.inner_text("#explanation [role=status]") == said
        assert page.eval_on_selector_all("[aria-selected=true]", "all => all.map(s => s.textContent)") == [
            word
        ]
    page.hover(".tokens .target >> nth=0")
    assert page.inner_text("#explanation [role=status]").startswith("zwei: one 70 %")
    cells = page.eval_on_selector_all(".matrix tbody td", "all => all.map(c => c.getAttribute('aria-label'))")
    assert cells == [f"{100 * weight:.0f} %" for row in weights for weight in row]
    assert page.eval_on_selector_all(".matrix thead th", "all => all.map(c => c.textContent)") == [
        "one",
        "two",
        ".",
    ]


@in_browser
def test_a_text_as_it_is_written(tiny: Repository, seen: Seen) -> None:
    """What the sliders say is what is written, behind the prompt; the end is told."""
    page = seen.open("generation")
    for name, value in (("temperature", "1.2"), ("length", "40"), ("top_k", "12"), ("top_p", "0.9")):
        page.locator(f"#{name}").fill(value)
    page.fill("#seed", "3")
    page.select_option("#label", "sonnet")
    seen.run("to be")
    options = Options(length=40, temperature=1.2, top_k=12, top_p=0.9, seed=3, label="sonnet")
    with tiny.acquire("generation") as servable:
        (made,) = generate(servable.predictor, ["to be"], options)

    assert page.text_content(".written") == f"to be{made.text}"
    assert page.text_content(".written .prompt") == "to be"
    assert re.match(
        r"\d+ tokens: the (length was reached|model ended the text)\.", page.inner_text("#status")
    )
    outputs = [output.inner_text() for output in page.query_selector_all("output")]
    assert outputs == ["1.20", "40", "best 12", "best 90 %"]
    before = page.input_value("#seed")
    page.click("#new-seed")
    assert page.input_value("#seed") != before


@in_browser
@pytest.mark.parametrize("how", ["Escape", "button"])
def test_stopping(seen: Seen, how: str) -> None:
    """Escape and the button stop a text that is being written; what there is stays."""
    page = seen.open("generation")
    events = [f'data: {{"text": "{letter}", "index": {i}}}\n\n' for i, letter in enumerate("abc")]
    page.evaluate(
        """events => {
            window.fetch = async (path, {signal}) => new Response(new ReadableStream({
                start(controller) {
                    events.forEach(event => controller.enqueue(new TextEncoder().encode(event)));
                    signal.addEventListener("abort", () => controller.error(signal.reason));
                },
            }));
        }""",
        events,
    )
    page.fill("#text", "x")
    page.keyboard.press("Control+Enter")
    saying(page, ".written", "xabc")
    assert page.inner_text("#status") == "Generating…"
    assert page.get_attribute("#result", "aria-busy") == "true"
    page.keyboard.press("Escape") if how == "Escape" else page.click("#stop")
    saying(page, "#status", "Stopped.")

    assert page.text_content(".written") == "xabc"
    assert not page.is_visible("#stop")
    assert not page.query_selector(".written.busy")


@in_browser
def test_errors(seen: Seen) -> None:
    """What went wrong stands below the text: nothing typed, refused by the server, no server."""
    page = seen.open("classification")
    page.keyboard.press("Control+Enter")
    assert page.inner_text("#error") == "Type some text first."
    assert page.get_attribute("#text", "aria-invalid") == "true"
    assert page.evaluate("document.activeElement.id") == "text"

    page.fill("#text", "a" * 160_001)
    page.keyboard.press("Control+Enter")
    page.locator("#error", has_text="160000").wait_for()
    page.route("**/answer", lambda route: route.abort())
    page.fill("#text", "a")
    page.keyboard.press("Control+Enter")
    saying(page, "#error", "The server cannot be reached.")
    assert not page.is_visible("#result")
    page.unroute("**/answer")
    seen.run("a")
    assert page.inner_text("#error") == ""
    # The browser itself tells of both failures.
    assert all(complaint.startswith("error: Failed to load resource") for complaint in seen.complaints)
    assert len(seen.complaints) == 2
    seen.complaints.clear()


@in_browser
def test_choosing_a_model(seen: Seen) -> None:
    """Another model is chosen from the list, and begins with a clean page; the address remembers it."""
    page = seen.open("classification")
    seen.run("a good film.")
    page.select_option("#model", "generation")

    assert page.inner_text("#title") == "generation"
    assert page.url.endswith("#generation")
    assert page.is_visible("#options")
    assert not page.is_visible("#result")
    assert not page.is_visible("#explanation")
    page.fill("#seed", "")
    page.select_option("#model", "tagging")
    assert not page.is_visible("#options")
    assert page.inner_text("#run") == "Tag"
    seen.run("rain now")  # whatever the seed says
    assert page.text_content(".tagged")
    page.goto("about:blank")
    assert seen.open("%zz").inner_text("#title") == "classification"


@in_browser
def test_the_keyboard(seen: Seen) -> None:
    """The Tab key reaches every control, in order, each with a name and a ring around it."""
    page = seen.open("generation")
    assert page.evaluate("document.activeElement.id") == "text"
    reached = []
    for key in ("Shift+Tab", *["Tab"] * 9):
        page.keyboard.press(key)
        reached.append(page.evaluate("document.activeElement.id"))
        ring = page.evaluate(
            "(({outlineStyle, outlineWidth}) => [outlineStyle, parseFloat(outlineWidth)])"
            "(getComputedStyle(document.activeElement))"
        )
        assert ring[0] == "solid"
        assert ring[1] >= 2

    assert reached == [
        *("model", "text", "temperature", "length", "top_k", "top_p"),
        *("seed", "new-seed", "label", "run"),
    ]
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input, select, textarea, button")]
            .filter(each => !each.labels?.length && !each.textContent.trim()).map(each => each.id)"""
    )
    assert unnamed == []
    assert page.get_attribute("#error", "role") == "alert"
    assert page.get_attribute("#status", "role") == "status"


# Contrast of text with what is behind it (WCAG 2.2, relative luminance), all layers put upon each other.
CONTRAST = """selector => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
    const over = (colours) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([r, g, b]) => {
        const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const [R, G, B] = [r, g, b].map(v => linear(v / 255));
        return 0.2126 * R + 0.7152 * G + 0.0722 * B;
    };
    return [...document.querySelectorAll(selector)].filter(each => each.checkVisibility()).map(each => {
        const layers = [];
        for (let at = each; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
        const behind = over(layers), front = over([...layers, getComputedStyle(each).color]);
        const [a, b] = [luminance(behind), luminance(front)];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    });
}"""
SCHEMES = [{"color_scheme": "light"}, {"color_scheme": "dark"}]
by_scheme = pytest.mark.parametrize("seen", SCHEMES, indirect=True, ids=["light", "dark"])


@in_browser
@by_scheme
def test_contrast(seen: Seen) -> None:
    """All text stands out from what is behind it, by 4.5 to 1 at least, in both schemes."""
    page = seen.open("classification")
    found: dict[str, list[float]] = {}

    def measure(*selectors: str) -> None:
        for selector in selectors:
            found[selector] = page.evaluate(CONTRAST, selector)
            assert found[selector], f"{selector} is not to be seen"

    page.keyboard.press("Control+Enter")
    measure(
        ".brand",
        "#choice label",
        "select",
        "h1",
        ".facts",
        "label",
        "textarea",
        ".error",
        ".primary",
        ".hint",
    )
    measure("kbd")
    tokens = [
        {"text": t, "start": s, "end": s + 1, "importance": i} for t, s, i in (("a", 0, 1.0), ("b", 2, -1.0))
    ]
    answer = {"label": "a", "score": 0.5, "probabilities": {"a": 0.5, "b": 0.5}}
    seen.instead(answer, {"label": "a", "tokens": tokens})
    seen.run("a b")
    seen.unfold("#explanation", ".ranking")
    measure(
        ".verdict span",
        ".bars span:not(.bar)",
        ".status",
        "summary",
        ".said",
        "mark",
        ".quiet",
        ".ranking span",
        "h2",
    )

    page = seen.open("generation")
    page.reload()
    page.wait_for_selector("#run:not([disabled])")
    measure("output", ".option label", "input[type=number]", "#new-seed")
    seen.run("to")
    measure(".written", ".prompt")

    page.unroute("**/answer")
    page.select_option("#model", "tagging")
    names = [chr(65 + i) for i in range(24)]
    every = [{"text": n, "start": 2 * i, "end": 2 * i + 1, "tag": n} for i, n in enumerate(names)]
    seen.instead({"tokens": every, "spans": []})
    seen.run(" ".join(names))
    measure(".tag", ".tag .name")
    assert len(found[".tag .name"]) == 24

    page.unroute("**/answer")
    page.select_option("#model", "translation")
    attention = {"source": ["▁a", "▁b"], "target": ["▁c"], "attention": [[1.0, 0.0]]}
    seen.instead({"text": "c", "score": 0.0}, attention)
    seen.run("a b")
    seen.unfold("#explanation", ".matrix")
    measure(".tokens span", ".matrix th")

    low = {selector: round(min(ratios), 2) for selector, ratios in found.items() if min(ratios) < 4.5}
    assert low == {}
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark == (paper == "rgb(21, 22, 24)")


@in_browser
@pytest.mark.parametrize("seen", [{"viewport": {"width": 320, "height": 600}}], indirect=True)
def test_a_small_screen(seen: Seen) -> None:
    """Nothing is wider than a screen of 320 pixels, whatever the words; what is wide scrolls inside."""
    widest = "document.documentElement.scrollWidth"
    page = seen.open("generation")
    assert page.evaluate(widest) <= 320
    seen.run("supercalifragilistic" * 20)
    assert page.evaluate(widest) <= 320
    page.select_option("#model", "classification")
    seen.instead({"label": "x" * 90, "score": 0.9, "probabilities": {"x" * 90: 0.9, "y": 0.1}})
    seen.run("w" * 300)
    assert page.evaluate(widest) <= 320

    page.unroute("**/answer")
    page.select_option("#model", "translation")
    words = [f"▁word{i}" for i in range(40)]
    seen.instead(
        {"text": "c", "score": 0.0},
        {"source": words, "target": words, "attention": np.eye(40).tolist()},
    )
    seen.run("a b")
    seen.unfold("#explanation", ".matrix")
    assert page.evaluate(widest) <= 320
    assert page.evaluate("document.querySelector('.scroll').scrollWidth") > 320


@in_browser
def test_right_to_left(seen: Seen) -> None:
    """Text of a script that runs from right to left does so, typed and shown."""
    page = seen.open("classification")
    seen.run("סרט טוב")
    page.wait_for_selector("#explanation .said")
    for selector in ("#text", "#explanation .said"):
        assert page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).direction") == "rtl"
    assert page.evaluate("getComputedStyle(document.body).direction") == "ltr"
