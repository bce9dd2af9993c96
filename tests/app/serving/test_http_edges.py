"""HTTP at its edges, with raw bytes on a socket: slow and large headers, content codings, CORS, methods."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from asking import Answer

from app.serve import serve
from app.serving.http_protocol import WholeResponses, limited_protocol
from app.serving.logs import Log
from app.serving.metrics import Metrics
from app.serving.options import Limits
from app.serving.repository import Repository
from app.serving.rest import application
from data.errors import UserError

Ask = Callable[..., Answer]
LIMITS = Limits(body_bytes=10_000, header_bytes=2_000, header_timeout=0.3)
PREDICT = "/v1/models/none:predict"
GOOD = b'{"instances": ["a"]}'
"""It reaches the repository, which does not have the model: 404."""


@pytest.fixture(scope="module")
def app() -> Any:
    """Return the application of a server without models."""
    repository = Repository({}, limits=LIMITS, metrics=Metrics(), log=Log(io.StringIO()))
    return application(repository, limits=LIMITS, metrics=Metrics(), log=Log(io.StringIO()))


@pytest.fixture(scope="module")
def port(app: Any) -> Iterator[int]:
    """Return the port of a server of it."""
    config = uvicorn.Config(
        app, port=0, http=limited_protocol(LIMITS), ws="none", log_config=None, log_level="critical"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def talk(port: int, *parts: bytes | float) -> bytes:
    """Send bytes, wait seconds in between, and return all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in parts:
            if isinstance(part, bytes):
                connection.sendall(part)
            else:
                time.sleep(part)
        received = b""
        while data := connection.recv(65536):
            received += data
        return received


def status(response: bytes) -> int:
    """Return the status of a response."""
    return int(response.split(b" ", 2)[1])


def post(body: bytes, *headers: str) -> bytes:
    """Return a request after which the connection closes."""
    lines = [f"POST {PREDICT} HTTP/1.1", "Host: a", "Connection: close", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


# Headers


@pytest.mark.parametrize(
    "start",
    [b"G", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ", b"POST /v1/models/a"],
)
def test_a_header_that_does_not_end(port: int, start: bytes) -> None:
    """It gets 408 after a time, and the connection is closed."""
    began = time.monotonic()
    response = talk(port, start)

    assert time.monotonic() - began < 5
    assert status(response) == 408
    assert json.loads(response.partition(b"\r\n\r\n")[2])["error"].endswith(
        "did not arrive within 0.3 seconds"
    )


def test_a_header_that_comes_byte_by_byte(port: int) -> None:
    """Bytes that come slowly do not extend the time."""
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 4
    parts = [part for byte in request for part in (bytes([byte]), 0.02)]
    assert status(talk(port, *parts)) == 408


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"\r\n\r\n"])
def test_a_connection_without_a_request(port: int, sent: bytes) -> None:
    """It is closed too, without a response."""
    assert talk(port, sent) == b""


def test_a_second_request_that_does_not_end(port: int) -> None:
    """The first one is answered, then the connection is closed."""
    response = talk(port, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 0.1, b"GET /healthz HT")

    assert status(response) == 200
    assert b"HTTP/1.1 408 " in response


@pytest.mark.parametrize(
    "header",
    [
        b"X: " + b"a" * 2_000,
        b"\r\n".join(b"X-%d: a" % i for i in range(500)),
        b"X: " + b"a" * 3_000_000,
        b"X" * 100_000 + b": a",
        b"Cookie: " + b"a=b; " * 1_000,
    ],
)
def test_a_large_header(port: int, header: bytes) -> None:
    """It gets 431 in JSON, however much of it is sent, and the server lives on."""
    response = talk(port, b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n\r\n")

    assert status(response) == 431
    assert json.loads(response.partition(b"\r\n\r\n")[2]) == {
        "error": "the request header is larger than 2000 bytes"
    }
    assert status(talk(port, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")) == 200


def test_a_long_target(port: int) -> None:
    """The target counts."""
    assert status(talk(port, b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\n\r\n")) == 431


def test_a_header_that_is_just_small_enough(port: int) -> None:
    """Below the limit a header is read, in one packet or in several."""
    header = b"GET /healthz HTTP/1.1\r\nConnection: close\r\nX: " + b"a" * 1_900
    assert status(talk(port, header + b"\r\n\r\n")) == 200
    assert status(talk(port, header[:1_000], 0.05, header[1_000:], 0.05, b"\r\n\r\n")) == 200


def test_what_is_not_http(port: int) -> None:
    """The error is JSON like all others."""
    response = talk(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")

    assert status(response) == 400
    assert json.loads(response.partition(b"\r\n\r\n")[2]) == {"error": "the request is not valid HTTP"}


# Versions and bodies


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_versions(port: int, version: str) -> None:
    """HTTP/1.0 closes the connection after the response."""
    close = "" if version == "1.0" else "Connection: close\r\n"
    response = talk(port, f"GET /healthz HTTP/{version}\r\n{close}\r\n".encode())
    assert status(response) == 200
    assert b"\r\nconnection: close\r\n" in response


@pytest.mark.parametrize(("version", "parts"), [("1.0", [b"onetwo"]), ("1.1", [b"one", b"two", b""])])
def test_streams_of_old_clients(version: str, parts: list[bytes]) -> None:
    """HTTP/1.0 has no chunks: a stream is sent as one body with its length."""

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        for part in (b"one", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(WholeResponses(stream)({"type": "http", "http_version": version}, send, send))
    start, *bodies = sent
    assert [body["body"] for body in bodies] == parts
    assert dict(start["headers"]).get(b"content-length") == (b"6" if version == "1.0" else None)


def test_bodies(port: int) -> None:
    """Chunks, `Expect`, and content lengths that are wrong."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (GOOD[:5], GOOD[5:])) + b"0\r\n\r\n"
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n".encode()
    assert status(talk(port, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)) == 404
    expect = talk(port, head + b"Expect: 100-continue\r\nContent-Length: 20\r\n\r\n", 0.1, GOOD)
    assert [line for line in expect.splitlines() if line.startswith(b"HTTP")] == [
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 404 Not Found",
    ]
    large = talk(port, head + b"Expect: 100-continue\r\nContent-Length: 99999\r\n\r\n")
    assert status(large) == 413
    assert status(talk(port, head + b"Content-Length: 5\r\n\r\n" + GOOD)) == 400
    for wrong in (b"Content-Length: -1", b"Content-Length: 1\r\nContent-Length: 2", b"Content-Length: x"):
        assert status(talk(port, head + wrong + b"\r\n\r\n")) == 400


def gzipped(body: bytes = GOOD) -> bytes:
    """Return a body as gzip."""
    return gzip.compress(body, mtime=0)


def raw_deflate(body: bytes = GOOD) -> bytes:
    """Return a body as deflate without a header."""
    maker = zlib.compressobj(wbits=-15)
    return maker.compress(body) + maker.flush()


@pytest.mark.parametrize(
    ("coding", "body", "expected"),
    [
        ("gzip", gzipped(), 404),
        ("GZIP", gzipped(), 404),
        ("GZip ", gzipped(), 404),
        ("x-gzip", gzipped(), 404),
        ("X-GZIP", gzipped(), 404),
        ("identity", GOOD, 404),
        ("", GOOD, 404),
        ("deflate", zlib.compress(GOOD), 404),
        ("Deflate", raw_deflate(), 404),
        ("gzip, identity", gzipped(), 404),
        ("gzip, gzip", gzipped(gzipped()), 404),
        ("deflate, gzip", gzipped(zlib.compress(GOOD)), 404),
        ("gzip", gzipped(GOOD[:5]) + gzipped(GOOD[5:]), 404),
        ("gzip, deflate", gzipped(zlib.compress(GOOD)), 400),
        ("deflate", GOOD, 400),
        ("deflate", zlib.compress(GOOD)[:-5], 400),
        ("deflate", zlib.compress(GOOD) + b"more", 400),
        ("gzip", gzipped() + b"more", 400),
        ("gzip", GOOD, 400),
        ("br", GOOD, 415),
        ("zstd", GOOD, 415),
        ("gzip, br", GOOD, 415),
        ("gzipp", GOOD, 415),
        ("xgzip", GOOD, 415),
        ("\u00e4", GOOD, 415),
        ("gzip, gzip, gzip, gzip", GOOD, 415),
        ("gzip", gzipped(b" " * 10_001), 413),
        ("deflate", zlib.compress(b" " * 10_001), 413),
        ("gzip, gzip", gzipped(gzipped(b" " * 5_000_000)), 413),
        ("gzip", gzipped(b" " * 6_000) + gzipped(b" " * 6_000), 413),
        ("gzip", gzipped(b"") * 400, 400),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else str(value),
)
def test_content_codings(app: Any, ask: Ask, coding: str, body: bytes, expected: int) -> None:
    """Codings are read without regard to case; unknown ones get 415, with those that are known."""
    answer = ask(app, "POST", PREDICT, body, {"Content-Encoding": coding})

    assert answer.status == expected, answer.body
    assert answer.headers.get(b"accept-encoding") == (b"gzip, deflate" if expected == 415 else None)
    assert set(answer.json) == {"error"}


def test_the_page_reads_codings_too(app: Any, ask: Ask) -> None:
    """Requests of the page have the same limits and codings."""
    target = "/page/models/none/answer"
    body = b'{"text": "a"}'
    assert ask(app, "POST", target, gzipped(body), {"Content-Encoding": "GZIP"}).status == 404
    answer = ask(app, "POST", target, body, {"Content-Encoding": "br"})
    assert (answer.status, answer.headers[b"accept-encoding"]) == (415, b"gzip, deflate")
    assert ask(app, "POST", target, b" " * 10_001).status == 413


# Methods


def test_head(port: int, app: Any, ask: Ask) -> None:
    """HEAD is GET without the body, wherever there is GET."""
    for target in (
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/page/models",
        "/v1/models/none",
        "/v1/models/none/metadata",
    ):
        got = ask(app, "GET", target)
        response = talk(port, f"HEAD {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        assert status(response) == got.status, target
        assert response.endswith(b"\r\n\r\n"), target


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("PUT", PREDICT, {"POST"}),
        ("OPTIONS", PREDICT, {"POST"}),
        ("HEAD", PREDICT, {"POST"}),
        ("DELETE", "/v1/models/none", {"GET", "HEAD"}),
        ("POST", "/v1/models/none/metadata", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("OPTIONS", "/metrics", {"GET", "HEAD"}),
        ("GET", "/page/models/none/answer", {"POST"}),
    ],
)
def test_other_methods(app: Any, ask: Ask, method: str, target: str, allowed: set[str]) -> None:
    """A method that a path does not have gets 405, with those that it has."""
    answer = ask(app, method, target, GOOD)
    assert answer.status == 405
    assert set(answer.headers[b"allow"].decode().split(", ")) == allowed


# CORS


def preflight(origin: str, header: str = "content-type") -> dict[str, str]:
    """Return the headers of a preflight request."""
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": header,
    }


def with_origins(*origins: str) -> Any:
    """Return an application that pages of some origins may use."""
    repository = Repository({}, limits=LIMITS, metrics=Metrics(), log=Log(io.StringIO()))
    return application(repository, limits=LIMITS, metrics=Metrics(), log=Log(io.StringIO()), origins=origins)


def test_no_origin_is_allowed_by_default(app: Any, ask: Ask) -> None:
    """Without --cors-origin no page of another origin gets an answer."""
    answer = ask(app, "POST", PREDICT, GOOD, {"Origin": "https://a.example"})
    assert b"access-control-allow-origin" not in answer.headers
    assert ask(app, "OPTIONS", PREDICT, b"", preflight("https://a.example")).status == 405


def test_allowed_origins(ask: Ask) -> None:
    """Each given origin is allowed, for all routes, and no other one."""
    app = with_origins("https://a.example", "http://localhost:3000")
    for origin in ("https://a.example", "http://localhost:3000"):
        answer = ask(app, "OPTIONS", PREDICT, b"", preflight(origin))
        assert answer.status in (200, 204)
        assert answer.headers[b"access-control-allow-origin"] == origin.encode()
        for target in (PREDICT, "/v1/models/none:generate"):
            answer = ask(app, "POST", target, GOOD, {"Origin": origin})
            assert answer.headers[b"access-control-allow-origin"] == origin.encode()
        answer = ask(app, "GET", "/healthz", b"", {"Origin": origin})
        assert answer.headers[b"access-control-expose-headers"] == b"x-request-id"
    for origin in ("https://b.example", "http://a.example", "https://a.example:444", "null"):
        assert ask(app, "OPTIONS", PREDICT, b"", preflight(origin)).status == 400
        answer = ask(app, "POST", PREDICT, GOOD, {"Origin": origin})
        assert b"access-control-allow-origin" not in answer.headers
    assert ask(app, "OPTIONS", PREDICT, b"", preflight("https://a.example", "x-other")).status == 400


def test_all_origins(ask: Ask) -> None:
    """`*` allows all."""
    answer = ask(with_origins("*"), "OPTIONS", PREDICT, b"", preflight("https://any.example"))
    assert answer.headers[b"access-control-allow-origin"] == b"*"


@pytest.mark.parametrize(
    "origin", ["example.com", "https://example.com/", "https://example.com/app", "ftp://a", "https://*.a", ""]
)
def test_what_is_no_origin(origin: str) -> None:
    """A mistake in --cors-origin is one line that says what an origin is."""
    with pytest.raises(UserError, match=r"^--cors-origin .*: expected a scheme and a host, e\.g\. https://"):
        serve({}, rest_port=0, grpc_port=0, cors_origins=[origin])
