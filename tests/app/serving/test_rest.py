"""The REST of TensorFlow Serving around a model that is a few lines of NumPy."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from asking import Answer, asked, request
from google.protobuf import text_format
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from app.serving import rest
from app.serving.errors import Code, Refused
from app.serving.options import Limits
from app.serving.repository import State, VersionStatus
from app.serving.signature import TensorInfo
from app.serving.streaming import Streamed

PREDICT = "tensorflow/serving/predict"
SECRET = "mysecret"
Ask = Callable[..., Answer]

SIGNATURE_DEF = """
inputs { key: "text" value {
  name: "serving_default_text:0" dtype: DT_STRING tensor_shape { dim { size: -1 } } } }
outputs { key: "length" value { name: "Call:0" dtype: DT_INT32 tensor_shape { dim { size: -1 } } } }
method_name: "tensorflow/serving/predict"
"""


class Lengths:
    """`text` → `length`, in bytes."""

    name = "serving_default"
    method_name = PREDICT
    inputs: Mapping[str, TensorInfo] = {"text": TensorInfo(tf.string, (None,), "serving_default_text:0")}
    outputs: Mapping[str, TensorInfo] = {"length": TensorInfo(tf.int32, (None,), "Call:0")}

    def __init__(self) -> None:
        self.deadlines: list[float | None] = []
        self.wait: Callable[[], Awaitable[Any]] = lambda: asyncio.sleep(0)

    async def answer(
        self, inputs: Mapping[str, np.ndarray], deadline: float | None = None
    ) -> dict[str, np.ndarray]:
        self.deadlines.append(deadline)
        await self.wait()
        return {"length": np.array([len(text) for text in inputs["text"]], np.int32)}


class Classes:
    """`text` → `classes`, `probabilities`: even or odd, by the length."""

    name = "serving_default"
    method_name = PREDICT
    inputs = Lengths.inputs
    outputs: Mapping[str, TensorInfo] = {
        "classes": TensorInfo(tf.string, (None, 2), "Call:0"),
        "probabilities": TensorInfo(tf.float32, (None, 2), "Call:1"),
    }

    async def answer(
        self, inputs: Mapping[str, np.ndarray], deadline: float | None = None
    ) -> dict[str, np.ndarray]:
        odd = np.array([len(text) % 2 for text in inputs["text"]])
        names = np.empty((len(odd), 2), object)
        names[:] = [b"even", b"odd"]
        scores = np.stack([0.9 - 0.8 * odd, 0.1 + 0.8 * odd], axis=1)
        return {"classes": names, "probabilities": scores.astype(np.float32)}


class Models:
    """Versions 1 and 2 of `lengths`, where `stable` is 1, and `a/b`, a classifier."""

    ready = True

    def __init__(self) -> None:
        self.lengths = Lengths()
        self.acquired: list[tuple[str, int | None, str | None]] = []
        self.open = 0

    @contextmanager
    def acquire(self, name: str, *, version: int | None = None, label: str | None = None) -> Iterator[Any]:
        self.acquired.append((name, version, label))
        if name not in ("lengths", "a/b"):
            raise Refused(Code.NOT_FOUND, f"model {name!r} not found")
        signature = self.lengths if name == "lengths" else Classes()
        definition = text_format.Parse(SIGNATURE_DEF, SignatureDef())
        self.open += 1
        try:
            yield SimpleNamespace(
                name=name,
                version=version or 2,
                signatures={"serving_default": signature, "again": signature},
                signature_defs={"serving_default": definition},
            )
        finally:
            self.open -= 1

    def status(
        self, name: str, *, version: int | None = None, label: str | None = None
    ) -> list[VersionStatus]:
        if name != "lengths":
            raise Refused(Code.NOT_FOUND, f"no version of model {name!r} found")
        states = [
            VersionStatus(2, State.LOADING, Code.UNAVAILABLE, "not whole yet"),
            VersionStatus(1, State.AVAILABLE),
        ]
        return [state for state in states if version in (None, state.version) and label in (None, "stable")]


class Counts:
    """In the place of the metrics."""

    CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def watch_streams(self, running: Callable[[], int]) -> None:
        self.streams = running

    def streamed(self, model: str, tokens: int) -> None:
        self.tokens = {model: tokens}

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def request(self, **labels: Any) -> None:
        self.requests.append(labels)

    def exposition(self) -> bytes:
        return b"requests_total 1\n"


class Lines(list[dict[str, Any]]):
    """In the place of the log."""

    texts = False

    def __call__(self, event: str, **facts: Any) -> None:
        self.append({"event": event, **facts})


class Server:
    """An application and what it is made of."""

    def __init__(self, **limits: Any) -> None:
        self.models, self.counts, self.lines = Models(), Counts(), Lines()
        made: Any = rest.application
        self.app = made(self.models, limits=Limits(**limits), metrics=self.counts, log=self.lines)


@pytest.fixture
def server() -> Server:
    return Server()


PACKED = {"Content-Encoding": "gzip"}
ONE = '{"instances": ["a", "bcd"]}'


@pytest.mark.parametrize(
    ("target", "asked_for"),
    [
        ("/v1/models/lengths:predict", ("lengths", None, None)),
        ("/v1/models/lengths/versions/1:predict", ("lengths", 1, None)),
        ("/v1/models/lengths/versions/0001:predict", ("lengths", 1, None)),
        ("/v1/models/lengths/labels/stable:predict", ("lengths", None, "stable")),
        ("/v1/models/lengths/labels/st%61ble:predict", ("lengths", None, "stable")),
        ("/v1/models/leng%74hs:predict", ("lengths", None, None)),
        ("/V1/Models/lengths/Versions/2:predict", ("lengths", 2, None)),
    ],
)
def test_predict_on_a_version(server: Server, ask: Ask, target: str, asked_for: tuple[Any, ...]) -> None:
    answer = ask(server.app, "POST", target, ONE)
    assert (answer.status, answer.json) == (200, {"predictions": [1, 3]})
    assert server.models.acquired == [asked_for]
    assert server.models.open == 0


def test_formats_and_signatures(server: Server, ask: Ask) -> None:
    target = "/v1/models/lengths:predict"
    assert ask(server.app, "POST", target, '{"inputs": {"text": ["", "ü"]}}').json == {"outputs": [0, 2]}
    named = '{"signature_name": "again", "instances": [{"b64": "AAA="}]}'
    assert ask(server.app, "POST", target, named).json == {"predictions": [2]}
    for empty in ('{"signature_name": "", "instances": ["a"]}', '\ufeff{"instances": ["a"]}'):
        assert ask(server.app, "POST", target, empty).json == {"predictions": [1]}


MALFORMED = [
    ("GET", "/v1/foo"),
    ("POST", "/v1/foo"),
    ("GET", "/v1/models/lengths/version/50:predict"),
    ("POST", "/v1/models/lengths/version/50:regress"),
    ("POST", "/v1/models/lengths/versions/HELLO:regress"),
    ("POST", "/v1/models/lengths/versions/-1:predict"),
    ("POST", "/v1/models/lengths/versions/:predict"),
    ("POST", "/v1/models/lengths/versions/1/labels/stable:predict"),
    ("POST", "/v1/models/lengths:predicts"),
    ("POST", "/v1/models/lengths:PREDICT"),
    ("POST", "/v1/models/lengths:predict/"),
    ("POST", "/v1/models/lengths:predict?x=1"),
    ("POST", "/v1/models/lengths:predict\n"),
    ("POST", "/v1/models/lengths/versions/²:predict"),
    ("POST", "/v1/models/:predict"),
    ("POST", "/v1//models/lengths:predict"),
    ("GET", "/v1/models/lengths/metadata/"),
    ("GET", "/v1/models/lengths/versions/x/metadata"),
    ("GET", "/v1/"),
]


@pytest.mark.parametrize(("method", "target"), MALFORMED)
def test_malformed_requests(server: Server, ask: Ask, method: str, target: str) -> None:
    answer = ask(server.app, method, target, ONE)
    shown = target.encode().decode("latin-1")
    assert (answer.status, answer.json) == (400, {"error": f"there is no such endpoint: {method} {shown}"})
    assert server.models.acquired == []


@pytest.mark.parametrize(
    ("method", "target", "status", "message"),
    [
        ("GET", "/v1/models", 400, "the request names no model"),
        ("GET", "/v1/models/versions/1", 400, "the request names no model"),
        ("GET", "/v1/models/metadata", 404, "no version of model 'metadata' found"),
        ("GET", "/v1/models/no", 404, "no version of model 'no' found"),
        ("GET", "/v1/models/lengths?x", 404, "no version of model 'lengths?x' found"),
        ("GET", "/v1/models/no/metadata", 404, "model 'no' not found"),
        ("POST", "/v1/models/no:predict", 404, "model 'no' not found"),
        ("POST", "/v1/models/no:classify", 404, "model 'no' not found"),
        ("POST", "/v1/models/no:regress", 404, "model 'no' not found"),
        (
            "POST",
            f"/v1/models/lengths/versions/{2**64 - 1}:predict",
            400,
            f"version {2**64 - 1} is too large",
        ),
        (
            "GET",
            f"/v1/models/lengths/versions/{2**63}",
            400,
            f"version {2**63} is too large",
        ),
    ],
)
def test_what_is_not_there(
    server: Server, ask: Ask, method: str, target: str, status: int, message: str
) -> None:
    answer = ask(server.app, method, target, '{"instances": [1], "examples": [{}]}')
    assert (answer.status, answer.json) == (status, {"error": message})


def test_a_version_of_thousands_of_digits(server: Server, ask: Ask) -> None:
    answer = ask(server.app, "POST", f"/v1/models/lengths/versions/{5000 * '9'}:predict", ONE)
    assert answer.status == 400
    assert answer.json["error"].startswith("version 999")


@pytest.mark.parametrize(
    ("method", "body", "message"),
    [
        ("predict", "", "the request body is empty, expected a JSON object"),
        (
            "predict",
            "instances = [1, 2]",
            "the request body is not JSON: Expecting value: line 1 column 1 (char 0)",
        ),
        (
            "predict",
            '{"signature_name": "no", "instances": 5}',
            "signature 'no' not found; the model has again, serving_default",
        ),
        (
            "predict",
            '{"instances": [1]}',
            "instances[0]: expected a value of the type string, got a number: 1",
        ),
        (
            "classify",
            "{}",
            "expected the key 'examples' with a non-empty array of objects",
        ),
        (
            "classify",
            '{"signature_name": "no", "examples": [{"text": "a"}]}',
            "signature 'no' not found; the model has again, serving_default",
        ),
        (
            "classify",
            '{"examples": [{"text": "a"}]}',
            "signature 'serving_default' does not classify",
        ),
        ("regress", "[", "the request body is not JSON: Expecting value: line 1 column 2 (char 1)"),
        (
            "regress",
            '{"signature_name": "no", "examples": [{"text": "a"}]}',
            "signature 'no' not found; the model has again, serving_default",
        ),
        (
            "regress",
            '{"examples": [{"text": "a"}]}',
            "signature 'serving_default' is not a regression",
        ),
    ],
)
def test_invalid_bodies(server: Server, ask: Ask, method: str, body: str, message: str) -> None:
    answer = ask(server.app, "POST", f"/v1/models/lengths:{method}", body)
    assert (answer.status, answer.json) == (400, {"error": message})
    assert server.models.open == 0


def test_the_body_is_read_before_the_model_is_looked_for(server: Server, ask: Ask) -> None:
    assert ask(server.app, "POST", "/v1/models/no:predict", "{").status == 400


def test_classify_gives_every_class_with_its_probability(server: Server, ask: Ask) -> None:
    target, even, odd = (
        "/v1/models/a%2Fb:classify",
        [["even", 0.9], ["odd", 0.1]],
        [["even", 0.1], ["odd", 0.9]],
    )
    body = '{"examples": [{"text": "ab"}, {"text": ["c"], "other": [1.5]}, {"text": {"b64": "AA=="}}]}'
    assert ask(server.app, "POST", target, body).json == {"results": [even, odd, odd]}
    body = '{"signature_name": "again", "context": {"text": "abcd"}, "examples": [{}, {"text": "x"}]}'
    assert ask(server.app, "POST", target, body).json == {"results": [even, odd]}
    answer = ask(server.app, "POST", target, '{"examples": [{"words": "ab"}]}')
    assert (answer.status, answer.json["error"]) == (
        400,
        "example 0: expected the feature 'text' with one string",
    )


def test_status(server: Server, ask: Ask) -> None:
    second = {
        "version": "2",
        "state": "LOADING",
        "status": {"error_code": "UNAVAILABLE", "error_message": "not whole yet"},
    }
    first = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for target, states in (
        ("/v1/models/lengths", [second, first]),
        ("/v1/models/lengths/versions/1", [first]),
        ("/v1/models/lengths/labels/stable", [second, first]),
        ("/v1/models/lengths/labels/other", []),
        ("/v1/models/lengths/METADATA", [second, first]),
    ):
        answer = ask(server.app, "GET", target)
        assert (answer.status, answer.json) == (200, {"model_version_status": states})
        assert server.lines[-1]["method"] == "status"


def test_metadata(server: Server, ask: Ask) -> None:
    def tensor(dtype: str, name: str) -> dict[str, Any]:
        shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
        return {"dtype": dtype, "tensor_shape": shape, "name": name}

    answer = ask(server.app, "GET", "/v1/models/lengths/versions/1/metadata")
    assert answer.json == {
        "model_spec": {"name": "lengths", "signature_name": "", "version": "1"},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    "serving_default": {
                        "inputs": {"text": tensor("DT_STRING", "serving_default_text:0")},
                        "outputs": {"length": tensor("DT_INT32", "Call:0")},
                        "method_name": PREDICT,
                        "defaults": {},
                    }
                }
            }
        },
    }


@pytest.mark.parametrize("code", Code)
def test_refusals_have_the_status_of_their_code(server: Server, ask: Ask, code: Code) -> None:
    async def wait() -> None:
        raise Refused(code, "because")

    server.models.lengths.wait = wait
    answer = ask(server.app, "POST", "/v1/models/lengths:predict", ONE)
    assert (answer.status, answer.json) == (code.http, {"error": "because"})
    assert server.counts.requests[-1]["code"] == code.name
    assert server.models.open == 0


def test_a_failure_tells_the_client_nothing_and_the_log_all(server: Server, ask: Ask) -> None:
    async def wait() -> None:
        raise ValueError("wires crossed")

    server.models.lengths.wait = wait
    answer = ask(server.app, "POST", "/v1/models/lengths:predict", ONE)
    assert (answer.status, answer.json) == (500, {"error": "internal error"})
    assert "wires crossed" in server.lines[-1]["traceback"]
    server.models.lengths.wait = lambda: asyncio.sleep(0)
    assert ask(server.app, "POST", "/v1/models/lengths:predict", ONE).status == 200
    assert "traceback" not in server.lines[-1]


def test_the_deadline_counts_from_the_arrival(ask: Ask) -> None:
    server = Server(timeout=5.0)
    before = time.monotonic()
    ask(server.app, "POST", "/v1/models/lengths:predict", ONE)
    assert before + 5 <= server.models.lengths.deadlines[0] <= time.monotonic() + 5


def test_requests_wait_side_by_side(server: Server) -> None:
    async def main() -> None:
        go_on = asyncio.Event()
        server.models.lengths.wait = go_on.wait
        target = "/v1/models/lengths:predict"
        bodies = [f'{{"inputs": ["{i * "x"}"]}}' for i in range(300)]
        asking = [asyncio.create_task(asked(server.app, "POST", target, body)) for body in bodies]
        while server.models.open < 300:
            await asyncio.sleep(0)
        health = await asked(server.app, "GET", "/healthz")
        assert health is not None
        assert health.status == 200
        go_on.set()
        answers = await asyncio.gather(*asking)
        assert [answer.json for answer in answers if answer] == [{"outputs": [i]} for i in range(300)]

    asyncio.run(main())


def test_a_client_that_goes_is_not_waited_for(server: Server) -> None:
    """Its work is cancelled, its version let go; a server that ends is another thing."""

    async def main() -> None:
        server.models.lengths.wait = asyncio.Event().wait
        target, leave = "/v1/models/lengths:predict", asyncio.Event()
        messages = [*request(ONE.encode()), leave, {"type": "http.disconnect"}]
        asking = asyncio.create_task(asked(server.app, "POST", target, messages))
        staying = asyncio.create_task(asked(server.app, "POST", target, ONE))
        while server.models.open < 2:
            await asyncio.sleep(0)
        leave.set()
        for _ in range(100):
            await asyncio.sleep(0)
        assert asking.done()
        assert asking.result() is None
        assert (server.lines[-1]["status"], server.models.open) == (499, 1)
        staying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staying
        assert server.models.open == 0
        server.models.lengths.wait = lambda: asyncio.sleep(0)
        again = await asked(server.app, "POST", target, ONE)
        assert again is not None
        assert again.json == {"predictions": [1, 3]}

    asyncio.run(main())


def test_what_takes_long_is_done_in_threads(
    server: Server, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, list[str]] = {}

    def noted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            name = threading.current_thread().name
            threads.setdefault(function.__name__, []).append("here" if name == "MainThread" else name[:4])
            return function(*arguments)

        return call

    for function in (rest.parse, rest.read_tensors, rest.read_examples, rest.write_tensors):
        monkeypatch.setattr(rest, function.__name__, noted(function))
    long_text = rest.LARGE * "a"
    for rows in (["a"], [long_text], 2100 * ["a"]):
        assert (
            ask(server.app, "POST", "/v1/models/lengths:predict", json.dumps({"instances": rows})).status
            == 200
        )
    assert threads == {
        "parse": ["here", "rest", "here"],
        "read_tensors": ["here", "rest", "here"],
        "write_tensors": ["here", "here", "rest"],
    }
    for method in ("classify", "regress"):
        threads.clear()
        for text in ("a", long_text):
            ask(server.app, "POST", f"/v1/models/a%2Fb:{method}", json.dumps({"examples": [{"text": text}]}))
        assert threads == {"parse": ["here", "rest"], "read_examples": ["here", "rest"]}


class TestBodies:
    target = "/v1/models/lengths:predict"

    def test_a_body_in_parts(self, server: Server, ask: Ask) -> None:
        answer = ask(server.app, "POST", self.target, request(ONE.encode(), parts=5))
        assert answer.json == {"predictions": [1, 3]}

    def test_the_type_of_the_content_is_of_no_matter(self, server: Server, ask: Ask) -> None:
        for kind in ("application/x-www-form-urlencoded", "text/plain", "nonsense"):
            assert ask(server.app, "POST", self.target, ONE, {"Content-Type": kind}).status == 200

    def test_a_body_up_to_the_limit(self, ask: Ask) -> None:
        server = Server(body_bytes=len(ONE))
        assert ask(server.app, "POST", self.target, ONE).status == 200
        for body in (ONE.encode() + b" ", request(ONE.encode() + b" ", parts=3)):
            answer = ask(server.app, "POST", self.target, body)
            assert (answer.status, answer.json) == (
                413,
                {"error": f"the request body is larger than {len(ONE)} bytes"},
            )
        assert len(server.models.acquired) == 1

    def test_a_body_that_claims_too_much_is_not_waited_for(self, ask: Ask) -> None:
        server = Server(body_bytes=100)
        for length in ("101", "9" * 5000):
            assert ask(server.app, "POST", self.target, [], {"Content-Length": length}).status == 413

    def test_compressed_bodies(self, server: Server, ask: Ask) -> None:
        packed, headers = gzip.compress(ONE.encode()), PACKED
        assert ask(server.app, "POST", self.target, packed, headers).json == {"predictions": [1, 3]}
        for broken in (packed[:-1], packed[:5], b"", ONE.encode(), packed + b"x"):
            answer = ask(server.app, "POST", self.target, broken, headers)
            assert (answer.status, answer.json) == (
                400,
                {"error": "the request body is not valid gzip"},
            )
        assert ask(server.app, "POST", self.target, packed).status == 400

    def test_a_compressed_body_may_not_grow_over_the_limit(self, ask: Ask) -> None:
        server, headers = Server(body_bytes=20_000), PACKED
        for blanks, status in ((19_000, 200), (10_000_000, 413)):
            packed = gzip.compress(ONE.encode() + blanks * b" ")
            tracemalloc.start()
            assert ask(server.app, "POST", self.target, packed, headers).status == status
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert most < 1_000_000

    def test_a_body_that_does_not_come(self, ask: Ask) -> None:
        server = Server(timeout=0.05)
        answer = ask(server.app, "POST", self.target, request(ONE.encode(), parts=2)[:1])
        assert answer.status == 408

    def test_a_client_that_goes_gets_no_answer(self, server: Server, ask: Ask) -> None:
        messages = [*request(ONE.encode(), parts=2)[:1], {"type": "http.disconnect"}]
        assert ask(server.app, "POST", self.target, messages) is None
        assert server.lines[-1]["status"] == 499
        assert server.models.acquired == []
        assert ask(server.app, "POST", self.target, ONE).status == 200


def test_headers(server: Server, ask: Ask) -> None:
    answer = ask(server.app, "POST", "/v1/models/lengths:predict", ONE, {"X-Request-Id": "abc-1"})
    assert answer.headers[b"content-type"] == b"application/json"
    assert answer.headers[b"content-length"] == str(len(answer.body)).encode()
    assert answer.headers[b"x-request-id"] == b"abc-1"
    assert server.lines[-1]["id"] == "abc-1"
    for sent in ({}, {"X-Request-Id": "a b"}, {"X-Request-Id": 200 * "a"}):
        own = [ask(server.app, "GET", "/v1/foo", headers=sent).headers[b"x-request-id"] for _ in range(2)]
        assert own[0] != own[1]
        assert own[0] not in (b"", b"a b", 200 * b"a")


def test_requests_are_counted_and_logged_without_their_text(server: Server, ask: Ask) -> None:
    ask(server.app, "POST", "/v1/models/lengths/versions/1:predict", f'{{"instances": ["{SECRET}", "b"]}}')
    ask(server.app, "POST", "/v1/models/lengths:predict", f'{{"instances": [1], "x": "{SECRET}"}}')
    ask(server.app, "POST", f"/v1/models/{SECRET}:predict", f'{{"signature_name": "{SECRET}"}}')
    first, second, third = server.counts.requests
    assert first.pop("seconds") > 0
    assert first == {
        "api": "rest",
        "model": "lengths",
        "signature": "serving_default",
        "code": "OK",
        "rows": 2,
    }
    assert (second["model"], second["code"], second["rows"]) == ("lengths", "INVALID_ARGUMENT", 0)
    assert (third["model"], third["signature"], third["code"]) == ("", "", "NOT_FOUND")
    assert [line["status"] for line in server.lines] == [200, 400, 404]
    assert {line["method"] for line in server.lines} == {"predict"}
    assert (server.lines[0]["version"], server.lines[0]["rows"]) == (1, 2)
    assert SECRET not in json.dumps([server.counts.requests, server.lines])


def test_texts_are_logged_where_that_was_asked_for(server: Server, ask: Ask) -> None:
    server.lines.texts = True
    body = f'{{"instances": ["{SECRET}", 1]}}'
    answer = ask(server.app, "POST", "/v1/models/lengths:predict", gzip.compress(body.encode()), PACKED)
    assert (server.lines[0]["body"], server.lines[0]["error"]) == (body, answer.json["error"])
    ask(server.app, "POST", "/v1/models/lengths:predict", 20_000 * b"\xff")
    assert server.lines[1]["body"] == rest.MOST_LOGGED * "\ufffd"


def test_a_failure_beside_the_models_is_logged(server: Server, ask: Ask) -> None:
    server.counts.exposition = lambda: 1 // 0  # type: ignore[method-assign]

    async def app(*arguments: Any) -> None:
        with pytest.raises(ZeroDivisionError):  # Starlette raises it again, once it is answered.
            await server.app(*arguments)

    answer = ask(app, "GET", "/metrics")
    assert (answer.status, answer.json) == (500, {"error": "internal error"})
    assert (server.lines[-1]["event"], server.lines[-1]["path"]) == ("failed", "/metrics")
    assert "ZeroDivisionError" in server.lines[-1]["traceback"]


def test_threads_end_with_the_server(server: Server, ask: Ask) -> None:
    before = set(threading.enumerate())
    assert ask(server.app, "GET", "/v1/models/lengths").status == 200
    started = set(threading.enumerate()) - before
    assert started
    sent: list[str] = []

    async def main() -> None:
        messages = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, str]:
            return {"type": next(messages)}

        async def send(message: dict[str, str]) -> None:
            sent.append(message["type"])

        await server.app({"type": "lifespan"}, receive, send)

    asyncio.run(main())
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()


def test_health(server: Server, ask: Ask) -> None:
    assert ask(server.app, "GET", "/readyz").status == 200
    server.models.ready = False
    assert ask(server.app, "GET", "/readyz").status == 503
    assert ask(server.app, "GET", "/healthz").status == 200


def test_metrics_are_where_prometheus_looks(server: Server, ask: Ask) -> None:
    for target in ("/monitoring/prometheus/metrics", "/metrics"):
        answer = ask(server.app, "GET", target)
        assert (answer.status, answer.body) == (200, b"requests_total 1\n")
        assert answer.headers[b"content-type"] == Counts.CONTENT_TYPE.encode()


def test_all_other_paths(server: Server, ask: Ask) -> None:
    for method, target, status in (
        ("GET", "/v1", 404),
        ("GET", "/v2/models", 404),
        ("POST", "/healthz", 405),
    ):
        answer = ask(server.app, method, target)
        assert answer.status == status
        assert set(answer.json) == {"error"}


class Texts:
    """In the place of `Streaming`: what it was asked, and how it shall end."""

    ends: Callable[[], Streamed]
    asked: list[dict[str, Any]]

    def __init__(self, _: Any, *, limits: Limits) -> None:
        self.pool = SimpleNamespace(shutdown=lambda **_: None)

    async def __call__(self, body: bytes, receive: Any, send: Any, **what: Any) -> Streamed:
        Texts.asked.append({"body": body, **what})
        streamed = Texts.ends()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"data: {}\n\n"})
        return streamed


@pytest.fixture
def streaming(monkeypatch: pytest.MonkeyPatch) -> Server:
    Texts.asked = []
    monkeypatch.setattr(rest, "Streaming", Texts)
    return Server()


SERVABLE: Any = SimpleNamespace(name="plays", version=3)


class TestGenerate:
    target = "/v1/models/plays/labels/best:generate"

    def test_a_text_is_streamed(self, streaming: Server, ask: Ask) -> None:
        Texts.ends = lambda: Streamed(SERVABLE, tokens=7, reason="length")
        answer = ask(streaming.app, "POST", self.target, '{"prompt": "a"}', {"X-Request-Id": "x"})
        assert answer.body == b"data: {}\n\n"
        asked_for = {"name": "plays", "version": None, "label": "best", "identifier": "x"}
        assert Texts.asked == [{"body": b'{"prompt": "a"}', **asked_for}]
        line = streaming.lines[-1]
        assert (line["model"], line["version"], line["tokens"], line["reason"]) == ("plays", 3, 7, "length")
        assert (line["status"], streaming.counts.requests[-1]["signature"]) == (200, "generate")

    def test_the_body_may_be_compressed(self, streaming: Server, ask: Ask) -> None:
        Texts.ends = lambda: Streamed(SERVABLE, reason="end")
        ask(streaming.app, "POST", self.target, gzip.compress(b"{}"), PACKED)
        assert Texts.asked[0]["body"] == b"{}"

    @pytest.mark.parametrize(
        ("reason", "status", "code"), [("gone", 499, "CANCELLED"), ("error", 500, "INTERNAL")]
    )
    def test_how_it_ended_is_logged(
        self, streaming: Server, ask: Ask, reason: str, status: int, code: str
    ) -> None:
        Texts.ends = lambda: Streamed(SERVABLE, reason=reason, error="line 1")
        assert ask(streaming.app, "POST", self.target, "{}").body == b"data: {}\n\n"
        assert (streaming.lines[-1]["status"], streaming.counts.requests[-1]["code"]) == (status, code)
        assert streaming.lines[-1].get("traceback") == ("line 1" if reason == "error" else None)

    def test_a_refusal_is_answered_as_any_other(self, streaming: Server, ask: Ask) -> None:
        def refuse() -> Streamed:
            raise Refused(Code.RESOURCE_EXHAUSTED, "too many texts")

        Texts.ends = refuse
        answer = ask(streaming.app, "POST", self.target, "{}")
        assert (answer.status, answer.json) == (429, {"error": "too many texts"})
        assert ask(streaming.app, "GET", self.target).status == 405


def test_the_page_is_there(server: Server, ask: Ask) -> None:
    answer = ask(server.app, "GET", "/")
    assert answer.status == 200
    assert answer.headers[b"content-type"].startswith(b"text/html")
    assert server.models.acquired == []
    answer = ask(server.app, "POST", "/page/models/no/answer", "[]")
    assert (answer.status, set(answer.json)) == (400, {"error"})
