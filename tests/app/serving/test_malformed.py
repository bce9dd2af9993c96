"""Requests that no model can answer: each gets a 4xx that says why, and the server lives on."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from asking import Answer, request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.serving.logs import Log
from app.serving.metrics import Metrics
from app.serving.options import Limits
from app.serving.repository import Repository
from app.serving.rest import application

Ask = Callable[..., Answer]
Case = tuple[str, str, bytes | str | list[dict[str, Any]], dict[str, str], int]

PREDICT = "/v1/models/reviews:predict"
CLASSIFY = "/v1/models/reviews:classify"
REGRESS = "/v1/models/reviews:regress"
GENERATE = "/v1/models/reviews:generate"
GOOD = '{"instances": ["The soup is charming.", {"b64": "VGhlIHNvdXAgaXMgZHVsbC4="}]}'
GZIP = {"Content-Encoding": "gzip"}
DEEP = 100_000

NO_JSON: tuple[bytes | str, ...] = (
    "",
    " ",
    "\n\t\r ",
    "\x00",
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    "{}{}",
    '{"instances"',
    '{"instances":',
    '{"instances": [',
    '{"instances": ["a"',
    '{"instances": ["a"]',
    '{"instances": ["a]}',
    '{"instances": ["a",]}',
    '{"instances": [,"a"]}',
    '{"instances": ["a" "b"]}',
    '{"instances": ["a"],}',
    '{"instances": ["a"]} x',
    '{"instances": ["a"]}}',
    '{"instances" ["a"]}',
    '{instances: ["a"]}',
    "{'instances': ['a']}",
    '{"instances": [a]}',
    '{"instances": ["a\nb"]}',
    '{"instances": ["a\x01b"]}',
    '{"instances": ["\\a"]}',
    '{"instances": ["\\u12"]}',
    '{"instances": ["\\uzzzz"]}',
    '{"instances": ["\\',
    '{"instances": [01]}',
    '{"instances": [+1]}',
    '{"instances": [.5]}',
    '{"instances": [1.]}',
    '{"instances": [1e]}',
    '{"instances": [-]}',
    '{"instances": [0x10]}',
    '{"instances": [nan]}',
    '{"instances": [True]}',
    '{"instances": [None]}',
    '{"instances": [undefined]}',
    '{"instances": [/* a */ "a"]}',
    '// a\n{"instances": ["a"]}',
    '{"instances": ["a"], "instances": ["b"]}',
    '{"instances": [{"text": "a", "text": "b"}]}',
    '{"inputs": {"text": "a", "text": "b"}}',
    '{"instances": [{"b64": "YQ==", "b64": "Yg=="}]}',
    "instances=a",
    "instances=%5B%22a%22%5D&signature_name=serving_default",
    "<instances><text>a</text></instances>",
    "--x\r\nContent-Disposition: form-data; name=instances\r\n\r\na\r\n--x--",
    DEEP * "[",
    DEEP * '{"a":',
    DEEP * '{"instances":[',
    '{"instances": ' + DEEP * "[" + DEEP * "]" + "}",
    '{"instances": [1e999]}',
    '{"instances": [' + 10_000 * "9" + "]}",
    '{"x": -1e400, "instances": ["a"]}',
    b'{"instances": ["\xff"]}',
    b'{"instances": ["\xc3"]}',
    b'{"instances": ["\xc0\xaf"]}',
    b'{"instances": ["\xed\xa0\x80"]}',
    b'{"instances": ["\xf5\x80\x80\x80"]}',
    b'{"\xff": 1, "instances": ["a"]}',
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD.encode(),
    GOOD.encode("utf-16"),
    GOOD.encode("utf-16-le"),
    GOOD.encode("utf-32"),
    GOOD.encode("latin-1") + b"\xfc",
    gzip.compress(GOOD.encode()),
    bytes(range(256)),
    1000 * b"\x00",
)

NO_OBJECT = (
    "null",
    "true",
    "1",
    "1.5",
    "NaN",
    "-Infinity",
    '"text"',
    "[]",
    '["a"]',
    '[{"instances": ["a"]}]',
)

NO_INPUTS = (
    "{}",
    '{"instance": ["a"]}',
    '{"Instances": ["a"]}',
    '{"signature_name": "serving_default"}',
    '{"signature_name": 5, "instances": ["a"]}',
    '{"signature_name": null, "instances": ["a"]}',
    '{"signature_name": ["serving_default"], "instances": ["a"]}',
    '{"signature_name": "no", "instances": ["a"]}',
    '{"signature_name": "__saved_model_init_op", "instances": ["a"]}',
    '{"signature_name": "Serving_default", "instances": ["a"]}',
    '{"signature_name": "\\ud800", "instances": ["a"]}',
    '{"signature_name": "\\u0000", "instances": ["a"]}',
    '{"instances": ["a"], "inputs": ["a"]}',
    '{"instances": null}',
    '{"instances": "a"}',
    '{"instances": 1}',
    '{"instances": true}',
    '{"instances": {}}',
    '{"instances": {"text": ["a"]}}',
    '{"instances": []}',
    '{"instances": [{}]}',
    '{"instances": [[]]}',
    '{"instances": [1]}',
    '{"instances": [1.5]}',
    '{"instances": [null]}',
    '{"instances": [true]}',
    '{"instances": [NaN]}',
    '{"instances": ["a", 1]}',
    '{"instances": ["a", null]}',
    '{"instances": ["a", []]}',
    '{"instances": ["a", ["b"]]}',
    '{"instances": [["a"], "b"]}',
    '{"instances": [["a"]]}',
    '{"instances": [["a"], ["b", "c"]]}',
    '{"instances": [[["a"]]]}',
    '{"instances": ["a", {"text": "b"}]}',
    '{"instances": [{"text": "a"}, "b"]}',
    '{"instances": [{"text": "a"}, {"b64": "Yg=="}]}',
    '{"instances": [{"text": "a"}, {}]}',
    '{"instances": [{"text": "a"}, null]}',
    '{"instances": [{"text": ["a"]}]}',
    '{"instances": [{"text": 1}]}',
    '{"instances": [{"text": null}]}',
    '{"instances": [{"text": {"text": "a"}}]}',
    '{"instances": [{"Text": "a"}]}',
    '{"instances": [{"text": "a", "other": "b"}]}',
    '{"instances": [{"": "a"}]}',
    '{"instances": [{"b64": 1}]}',
    '{"instances": [{"b64": null}]}',
    '{"instances": [{"b64": "A"}]}',
    '{"instances": [{"b64": "===="}]}',
    '{"instances": [{"b64": "AA=A"}]}',
    '{"instances": [{"b64": "_-__"}]}',
    '{"instances": [{"b64": "ü"}]}',
    '{"instances": [{"b64": "\\ud800"}]}',
    '{"instances": [{"b64": "AAAA", "x": 1}]}',
    '{"instances": ["\\ud800"]}',
    '{"instances": ["a\\udc00b"]}',
    '{"instances": ["\\ud800\\ud800"]}',
    '{"inputs": null}',
    '{"inputs": 1}',
    '{"inputs": "a"}',
    '{"inputs": {"b64": "YQ=="}}',
    '{"inputs": []}',
    '{"inputs": {}}',
    '{"inputs": [["a"]]}',
    '{"inputs": [1]}',
    '{"inputs": ["a", ["b"]]}',
    '{"inputs": [["a"], "b"]}',
    '{"inputs": {"text": "a"}}',
    '{"inputs": {"text": []}}',
    '{"inputs": {"text": [[]]}}',
    '{"inputs": {"text": [["a"]]}}',
    '{"inputs": {"text": {"a": "b"}}}',
    '{"inputs": {"text": null}}',
    '{"inputs": {"texts": ["a"]}}',
    '{"inputs": [{"text": "a"}]}',
    '{"inputs": ' + 65 * "[" + '"a"' + 65 * "]" + "}",
    '{"inputs": ' + 900 * "[" + '"a"' + 900 * "]" + "}",
    '{"inputs": ' + 900 * '{"a":' + "1" + 900 * "}" + "}",
    json.dumps({"instances": 1025 * ["a"]}),
    json.dumps({"instances": ["a", 1_000_001 * "a"]}),
    json.dumps({"instances": 100_000 * [[]]}),
    json.dumps({"inputs": {"text": 1025 * [""]}}),
)

NO_EXAMPLES = (
    "{}",
    '{"instances": ["a"]}',
    '{"examples": null}',
    '{"examples": "a"}',
    '{"examples": {}}',
    '{"examples": {"text": "a"}}',
    '{"examples": []}',
    '{"examples": ["a"]}',
    '{"examples": [null]}',
    '{"examples": [1]}',
    '{"examples": [["a"]]}',
    '{"examples": [[{"text": "a"}]]}',
    '{"examples": [{}]}',
    '{"examples": [{"text": null}]}',
    '{"examples": [{"text": 1}]}',
    '{"examples": [{"text": 1.5}]}',
    '{"examples": [{"text": true}]}',
    '{"examples": [{"text": []}]}',
    '{"examples": [{"text": ["a", "b"]}]}',
    '{"examples": [{"text": ["a", 1]}]}',
    '{"examples": [{"text": [["a"]]}]}',
    '{"examples": [{"text": {"b64": "A"}}]}',
    '{"examples": [{"text": {"a": "b"}}]}',
    '{"examples": [{"text": "\\ud800"}]}',
    '{"examples": [{"text": "a"}, {"texts": "b"}]}',
    '{"examples": [{"text": "a", "x": null}]}',
    '{"examples": [{"text": "a", "x": [1, 1.5]}]}',
    '{"examples": [{"text": "a", "x": 18446744073709551615}]}',
    '{"examples": [{"text": "a", "x": 1e300}]}',
    '{"examples": [{"text": "a", "x": 1' + 400 * "0" + "}]}",
    '{"context": [], "examples": [{"text": "a"}]}',
    '{"context": {"text": null}, "examples": [{}]}',
    '{"signature_name": 1, "examples": [{"text": "a"}]}',
    '{"signature_name": "no", "examples": [{"text": "a"}]}',
    json.dumps({"examples": 1025 * [{"text": "a"}]}),
    json.dumps({"examples": [{"text": 1_000_001 * "a"}]}),
)

NO_PROMPT = (
    '{"prompt": "a"}',
    '{"prompt": 1}',
    "[]",
    "",
    '{"prompt": "a", "length": -1}',
    '{"signature_name": "generate"}',
)

NO_PATH = (
    ("GET", PREDICT, 405),
    ("PUT", PREDICT, 405),
    ("PATCH", PREDICT, 405),
    ("DELETE", PREDICT, 405),
    ("OPTIONS", PREDICT, 405),
    ("TRACE", PREDICT, 405),
    ("NONSENSE", PREDICT, 405),
    ("post", PREDICT, 405),
    ("POST", f"{PREDICT}/", 400),
    ("POST", f"{PREDICT}?a=b", 400),
    ("POST", f"{PREDICT}#a", 400),
    ("POST", f"{PREDICT}%20", 400),
    ("POST", f"{PREDICT}:predict", 400),
    ("POST", "/v1/models/reviews:Predict", 400),
    ("POST", "/v1/models/reviews:explain", 400),
    ("POST", "/v1/models/reviews:", 400),
    ("POST", "/v1/models/reviews", 405),
    ("POST", "/v1/models/reviews/predict", 400),
    ("POST", "/v1/models/:predict", 400),
    ("POST", "/v1/models//versions/1:predict", 400),
    ("POST", "/v1/models/reviews/versions/:predict", 400),
    ("POST", "/v1/models/reviews/versions/one:predict", 400),
    ("POST", "/v1/models/reviews/versions/-1:predict", 400),
    ("POST", "/v1/models/reviews/versions/1.0:predict", 400),
    ("POST", "/v1/models/reviews/versions/1/2:predict", 400),
    ("POST", f"/v1/models/reviews/versions/{2**63}:predict", 400),
    ("POST", f"/v1/models/reviews/versions/{2**64}:predict", 400),
    ("POST", f"/v1/models/reviews/versions/{10_000 * '9'}:predict", 400),
    ("POST", "/v1/models/reviews/versions/2:predict", 404),
    ("POST", "/v1/models/reviews/versions/0:predict", 404),
    ("POST", f"/v1/models/reviews/versions/{2**63 - 1}:predict", 404),
    ("POST", "/v1/models/reviews/labels/:predict", 400),
    ("POST", "/v1/models/reviews/labels/no:predict", 400),
    ("POST", "/v1/models/reviews/labels/%00:predict", 400),
    ("POST", "/v1/models/reviews/labels/a/b:predict", 400),
    ("POST", "/v1/models/reviews/versions/1/labels/a:predict", 400),
    ("POST", "/v1/models/no:predict", 404),
    ("POST", "/v1/models/Reviews:predict", 404),
    ("POST", "/v1/models/reviews%20:predict", 404),
    ("POST", "/v1/models/%FF:predict", 404),
    ("POST", "/v1/models/%:predict", 404),
    ("POST", "/v1/models/%2e%2e%2freviews:predict", 404),
    ("POST", f"/v1/models/{20_000 * 'a'}:predict", 404),
    ("POST", "/v1/models/../models/reviews:predict", 400),
    ("POST", "/v1", 404),
    ("POST", "/v1/", 400),
    ("POST", "/v2/models/reviews/infer", 404),
    ("GET", "/v1/models", 400),
    ("GET", "/v1/models/", 400),
    ("GET", "/v1/models/no", 404),
    ("GET", "/v1/models/no/metadata", 404),
    ("GET", "/v1/models/reviews/versions/7", 404),
    ("GET", "/v1/models/reviews/versions/7/metadata", 404),
    ("GET", "/v1/models/reviews/labels/no", 400),
    ("GET", "/v1/models/reviews/labels/no/metadata", 400),
    ("GET", "/v1/models/reviews/versions/", 400),
    ("GET", f"/v1/models/reviews/versions/{2**63}/metadata", 400),
    ("GET", "/v1/models/reviews/metadata/x", 400),
    ("GET", "/nothing/here", 404),
    ("POST", "/healthz", 405),
)

BAD_HEADERS: tuple[tuple[bytes | list[dict[str, Any]], dict[str, str], int], ...] = (
    (GOOD.encode(), GZIP, 400),
    (b"", GZIP, 400),
    (gzip.compress(GOOD.encode())[:-4], GZIP, 400),
    (gzip.compress(GOOD.encode())[:10], GZIP, 400),
    (gzip.compress(GOOD.encode()) + b"more", GZIP, 400),
    (gzip.compress(b""), GZIP, 400),
    (gzip.compress(b"{"), GZIP, 400),
    (gzip.compress(gzip.compress(GOOD.encode())), GZIP, 400),
    (gzip.compress(100_000_000 * b" "), GZIP, 413),
    (gzip.compress(GOOD.encode()), {"Content-Encoding": "br"}, 415),
    (gzip.compress(GOOD.encode()), {}, 400),
    ([], {"Content-Length": str(2**40)}, 413),
    (request(GOOD.encode()[:-1], parts=7), {}, 400),
)


def cases() -> list[Case]:
    """Return all requests: method, target, body, headers, status."""
    every: list[Case] = []
    for target in (PREDICT, CLASSIFY, REGRESS, GENERATE):
        bodies = NO_JSON + NO_OBJECT if target == PREDICT else NO_JSON[::7] + NO_OBJECT
        every += [("POST", target, body, {}, 400) for body in bodies]
    every += [("POST", PREDICT, body, {}, 400) for body in NO_INPUTS]
    every += [("POST", target, body, {}, 400) for target in (CLASSIFY, REGRESS) for body in NO_EXAMPLES]
    every += [("POST", GENERATE, body, {}, 400) for body in NO_PROMPT]
    every += [(method, target, GOOD, {}, status) for method, target, status in NO_PATH]
    every += [("POST", PREDICT, body, headers, status) for body, headers, status in BAD_HEADERS]
    return every


@dataclass
class Served:
    """A server of a classifier, with and without a socket."""

    app: Any
    port: int
    lines: io.StringIO
    expected: Any

    def check(self, ask: Ask) -> None:
        """Refuse to go on unless a good request gets the right answer."""
        answer = ask(self.app, "POST", PREDICT, GOOD)
        assert answer.status == 200, answer.body
        assert answer.json == self.expected


@pytest.fixture(scope="module")
def served(exported: Path, ask: Ask) -> Iterator[Served]:
    from app.prediction.loading import load_predictor

    metrics, lines = Metrics(), io.StringIO()
    log, limits = Log(lines), Limits(body_bytes=10_000_000)
    repository = Repository({"reviews": exported.parent}, limits=limits, metrics=metrics, log=log)
    repository.poll()
    app = application(repository, limits=limits, metrics=metrics, log=log)
    config = uvicorn.Config(app, port=0, log_level="critical", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    predicted = load_predictor(exported).run_texts(
        "serving_default", [b"The soup is charming.", b"The soup is dull."]
    )
    expected = {
        "predictions": [
            {
                "classes": [name.decode() for name in classes],
                "label": label.decode(),
                "probabilities": pytest.approx(probabilities.tolist(), abs=1e-6),
                "score": pytest.approx(float(score), abs=1e-6),
            }
            for classes, label, probabilities, score in zip(
                *(predicted[key] for key in ("classes", "label", "probabilities", "score")), strict=True
            )
        ]
    }
    found = Served(app, port, lines, expected)
    found.check(ask)
    yield found
    server.should_exit = True
    thread.join(30)
    repository.close()


def error_of(answer: Answer) -> str:
    """Return what an answer says went wrong; it says nothing else."""
    assert answer.headers[b"content-type"] == b"application/json"
    assert set(answer.json) == {"error"}
    message = answer.json["error"]
    assert isinstance(message, str)
    assert message
    return message


def test_there_are_many_ways_to_be_wrong(served: Served, ask: Ask) -> None:
    every = cases()
    assert len(every) >= 250
    wrong = []
    for method, target, body, headers, status in every:
        answer = ask(served.app, method, target, body, headers)
        error_of(answer)
        if answer.status != status:
            wrong.append((method, target[:80], str(body)[:80], answer.status, answer.body[:200]))
    assert not wrong
    served.check(ask)
    assert "traceback" not in served.lines.getvalue()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "the request body is empty"),
        ('{"instances": [1]}', "instances[0]: expected a value of the type string, got a number: 1"),
        ('{"signature_name": "no", "instances": ["a"]}', "signature 'no' not found"),
        ('{"instances": [{"text": "a", "x": 1}]}', "instances[0]: expected exactly the keys text"),
        ('{"inputs": {"texts": ["a"]}}', "'inputs' has no key 'text'"),
        ('{"instances": []}', "'instances' must be a non-empty array"),
        ('{"inputs": []}', "the request has no rows"),
        ('{"inputs": "a"}', "has the shape []"),
        ('{"instances": [["a"]]}', "has the shape [1,1]"),
        (json.dumps({"instances": 1025 * ["a"]}), "the request has 1025 rows, at most 1024"),
        (json.dumps({"instances": [1_000_001 * "a"]}), "has a string of 1000001 bytes, at most 160000"),
        (100_000 * "[", "nested too deeply"),
    ],
)
def test_the_error_says_what_is_wrong(served: Served, ask: Ask, body: str, message: str) -> None:
    assert message in error_of(ask(served.app, "POST", PREDICT, body))


QUICK = settings(
    derandomize=True,
    deadline=None,
    max_examples=100,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
KEYS = st.sampled_from(
    ["instances", "inputs", "examples", "context", "signature_name", "text", "b64", "prompt"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


def refused_or_answered(answer: Answer) -> None:
    """Check that an answer is one or the other."""
    if answer.status == 200:
        assert set(answer.json) <= {"predictions", "outputs", "results"}
    else:
        assert answer.status in (400, 404, 405, 413), answer.body
        error_of(answer)


@QUICK
@given(st.data())
def test_damaged_bodies(served: Served, ask: Ask, data: st.DataObject) -> None:
    """A good body of which bytes were cut, doubled or overwritten."""
    body = bytearray(GOOD.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(start + 3, len(body))))
        body[start:end] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"}", b"[", b"]", b","])
        )
    refused_or_answered(ask(served.app, "POST", PREDICT, bytes(body)))


@QUICK
@given(st.sampled_from([PREDICT, CLASSIFY, REGRESS, GENERATE]), st.dictionaries(KEYS, VALUES, max_size=3))
def test_any_json(served: Served, ask: Ask, target: str, document: dict[str, Any]) -> None:
    refused_or_answered(ask(served.app, "POST", target, json.dumps(document)))


@QUICK
@given(st.sampled_from(["GET", "POST", "PUT", "HEAD"]), st.binary(max_size=12), st.binary(max_size=6))
def test_any_path(served: Served, ask: Ask, method: str, middle: bytes, end: bytes) -> None:
    middle, end = middle.replace(b"#", b""), end.replace(b"#", b"")
    refused_or_answered(ask(served.app, method, b"/v1/models/" + middle + b":predict" + end, GOOD))


def test_nothing_of_all_that_has_harmed(served: Served, ask: Ask) -> None:
    served.check(ask)
    lines = [json.loads(line) for line in served.lines.getvalue().splitlines()]
    assert max(line["status"] for line in lines if line["event"] == "request") < 500
    assert "soup" not in served.lines.getvalue()


# What only a socket can carry


def raw(port: int, data: bytes, *, finish: bool = False) -> bytes:
    """Send bytes and return all that comes back until the server closes, or has answered once."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        if finish:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received = (received + part).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            head, separator, body = received.partition(b"\r\n\r\n")
            length = next(
                (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0"
            )
            if separator and len(body) >= int(length.split(b":")[1]):
                break
        return received


def post(body: bytes, *headers: str, length: int | str | None = None) -> bytes:
    """Return a request as it is sent."""
    claimed = len(body) if length is None else length
    lines = [f"POST {PREDICT} HTTP/1.1", "Host: localhost", f"Content-Length: {claimed}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


CHUNKED = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
NO_HTTP = (
    b"\r\n\r\n\r\n\x00",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"hello\r\n\r\n",
    b"POST\r\n\r\n",
    f"POST {PREDICT}\r\n\r\n".encode(),
    f"POST {PREDICT} HTTP/9.9\r\nHost: localhost\r\n\r\n".encode(),
    f"POST {PREDICT} HTTP/1.1\r\nNo colon\r\n\r\n".encode(),
    f"POST {PREDICT} HTTP/1.1\r\nA\x00b: c\r\n\r\n".encode(),
    "POST /v1/models/ü:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode(),
    post(GOOD.encode(), length="x"),
    post(GOOD.encode(), length=-1),
    post(GOOD.encode(), length=2**70),
    post(GOOD.encode(), "Content-Length: 3"),
    post(GOOD.encode(), "Transfer-Encoding: chunked"),
    CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"5\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"-1\r\n\r\n",
    b'{"instances": ["a"]}\r\n\r\n',
)
CUT_OFF = (
    b"P",
    b"POST ",
    post(GOOD.encode())[:60],
    post(GOOD.encode(), length=len(GOOD) + 1),
    post(b"", length=5),
    post(GOOD.encode(), "Content-Encoding: gzip", length=1000),
    CHUNKED,
    CHUNKED + b"5\r\n{",
    CHUNKED + b"2\r\n{}\r\n",
)


@pytest.mark.parametrize("data", NO_HTTP, ids=range(len(NO_HTTP)))
def test_what_is_no_http(served: Served, data: bytes) -> None:
    assert raw(served.port, data).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("data", CUT_OFF, ids=range(len(CUT_OFF)))
def test_requests_that_are_cut_off_get_no_answer(served: Served, data: bytes) -> None:
    assert raw(served.port, data, finish=True) in (b"", b"HTTP/1.1 400 Bad Request\r\n")


def test_a_body_that_is_shorter_than_the_json(served: Served) -> None:
    received = raw(served.port, post(GOOD.encode(), length=len(GOOD) - 1))
    assert received.startswith(b"HTTP/1.1 400 ")


def test_a_body_over_the_limit_is_refused_before_or_after_it_was_sent(served: Served) -> None:
    assert raw(served.port, post(b"", length=20_000_000)).startswith(b"HTTP/1.1 413 ")
    assert raw(served.port, post(12_000_000 * b" ")).startswith(b"HTTP/1.1 413 ")
    chunks = 12 * (b"f4240\r\n" + 1_000_000 * b" " + b"\r\n")
    assert raw(served.port, CHUNKED + chunks + b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_a_compressed_one_and_one_with_expect(served: Served) -> None:
    body = GOOD.encode()
    halves = b"".join(b"%x\r\n%b\r\n" % (len(half), half) for half in (body[:30], body[30:]))
    packed = gzip.compress(body)
    for data in (
        CHUNKED + halves + b"0\r\n\r\n",
        post(packed, "Content-Encoding: gzip"),
        post(body, "Content-Type: application/x-www-form-urlencoded"),
        post(body, "Expect: 100-continue"),
    ):
        assert b'"predictions": ' in raw(served.port, data).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"), (
            data
        )


def test_a_second_request_on_the_same_connection(served: Served, ask: Ask) -> None:
    """After a refusal the connection lives on; after all of the above the server does."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        for body, status in ((b"{", b"400"), (GOOD.encode(), b"200")):
            connection.sendall(post(body))
            received = b""
            while not received.endswith(b"}"):
                received += connection.recv(65536)
            assert received.startswith(b"HTTP/1.1 " + status)
    served.check(ask)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_examples_of_tensorflow_serving(served: Served) -> None:
    """`curl -d` sends `application/x-www-form-urlencoded`."""
    url = f"http://localhost:{served.port}/v1/models/"

    def curl(*arguments: str) -> tuple[str, Any]:
        command = ["curl", "--silent", "--write-out", "\\n%{http_code} %{content_type}", *arguments]
        output = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        body, _, facts = output.rpartition("\n")
        return facts, json.loads(body)

    facts, answer = curl("-d", '{"instances": ["a good film"]}', "-X", "POST", f"{url}reviews:predict")
    assert facts == "200 application/json"
    assert set(answer["predictions"][0]) == {"classes", "label", "probabilities", "score"}
    facts, answer = curl(
        "-d", '{"examples": [{"text": "a good film"}]}', "-X", "POST", f"{url}reviews:classify"
    )
    assert [label for label, _ in answer["results"][0]] == ["negative", "positive"]
    assert sum(score for _, score in answer["results"][0]) == pytest.approx(1)
    facts, answer = curl(f"{url}reviews")
    assert answer == {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    facts, answer = curl("-d", '{"instances": [1.0,5.0]}', "-X", "POST", f"{url}half:predict")
    assert (facts, answer) == (
        "404 application/json",
        {"error": "model 'half' not found"},
    )
