"""The HTTP server: the REST API under `/v1/`, health, metrics and the web page.

Requests under `/v1/` are handled by a plain ASGI application, because they must be cheap; the others by
Starlette's router. Routes, status codes and JSON shapes are modelled on TensorFlow Serving's REST API.
"""

from __future__ import annotations

import asyncio
import re
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.json_text import dumps
from app.serving.calls import out_of_memory
from app.serving.errors import Code, Refused
from app.serving.http_body import GONE, BodyReader, HttpError, RequestHeaders, read_headers, until_gone
from app.serving.json_body import parse, signature_name, write_error
from app.serving.json_examples import read_examples, string_feature, write_classes
from app.serving.json_tensors import read_tensors, write_tensors
from app.serving.logs import request_id
from app.serving.page import routes
from app.serving.servable import unknown_signature
from app.serving.signature import DEFAULT_SIGNATURE, TEXT_FEATURE
from app.serving.streaming import Streaming

if TYPE_CHECKING:
    from app.serving.logs import Log
    from app.serving.metrics import Metrics
    from app.serving.options import Limits
    from app.serving.repository import Repository
    from app.serving.servable import Servable
    from app.serving.signature import Signature

LARGE = 2**14
"""Size in bytes from which a body is parsed in a thread: it would block the event loop for about 1 ms."""
LARGE_ANSWER = 2**11
"""Number of output values from which a response is encoded in a thread."""
THREADS = 4
MOST_LOGGED = 10_000
"""Bytes of a body that are logged, if texts are logged."""
INTERNAL_ERROR = "internal error"
CORS_HEADERS = ("authorization", "content-encoding", "content-type", "x-request-id")
"""Headers that pages of other origins may send."""
METRICS_PATHS = ("/monitoring/prometheus/metrics", "/metrics")

Result = TypeVar("Result")

_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_POST = re.compile(rf"{_MODEL}:(classify|regress|predict|generate)", re.IGNORECASE | re.ASCII)
_GET = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?",
    re.IGNORECASE | re.ASCII,
)


@dataclass
class Call:
    """A request under `/v1/`, and what is recorded about it."""

    id: str
    deadline: float
    name: str = ""
    version: int | None = None
    label: str | None = None
    method: str = ""
    served: Servable | None = None
    signature: str = ""
    rows: int = 0
    status: int = 200
    code: str = "OK"
    more: dict[str, Any] = field(default_factory=dict)
    """Further values for the log."""
    started: float = field(default_factory=time.perf_counter)


class Rest:
    """The ASGI application under `/v1/`."""

    def __init__(self, repository: Repository, *, limits: Limits, metrics: Metrics, log: Log) -> None:
        self.repository = repository
        self.limits = limits
        self.metrics = metrics
        self.log = log
        self.streaming = Streaming(repository, limits=limits)
        metrics.watch_streams(lambda: self.streaming.running)
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="rest")
        self.body = BodyReader(limits)
        self.posts: dict[str, Callable[[Call, bytes], Coroutine[Any, Any, bytes]]] = {
            "predict": self.predict,
            "classify": self.classify,
            "regress": self.regress,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        headers = read_headers(scope)
        call = Call(headers.identifier or request_id(), time.monotonic() + self.limits.timeout)
        answer: bytes | None
        more: dict[str, str] = {}
        try:
            answer = await self._answer(call, scope, receive, send, headers)
        except (Refused, HttpError) as error:
            call.status, call.code = error.code.http, error.code.name
            answer = write_error(error.message)
            if isinstance(error, HttpError):
                call.status, more = error.status, error.headers
                answer = None if error.status == GONE else answer
            if self.log.texts:  # the message may repeat parts of them
                call.more["error"] = error.message
        except MemoryError:
            refused = out_of_memory()
            call.status, call.code = refused.code.http, refused.code.name
            answer = write_error(refused.message)
        except Exception:
            call.status, call.code, answer = 500, Code.INTERNAL.name, write_error(INTERNAL_ERROR)
            call.more["traceback"] = traceback.format_exc()
        self._record(call)
        if answer is not None:
            await _send(send, call.status, answer, call.id, more)

    async def _answer(
        self, call: Call, scope: Scope, receive: Receive, send: Send, headers: RequestHeaders
    ) -> bytes | None:
        """Return the body of the response; None if it has been sent."""
        method, target = scope["method"], _target(scope)
        pattern = {"POST": _POST, "GET": _GET, "HEAD": _GET}.get(method)
        match = pattern and pattern.fullmatch(target)
        if match is None:
            if (posted := _POST.fullmatch(target)) or _GET.fullmatch(target):
                allowed = "POST" if posted else "GET, HEAD"
                raise HttpError(405, f"{method} is not allowed here, expected {allowed}", allow=allowed)
            raise Refused(Code.INVALID_ARGUMENT, f"there is no such endpoint: {method} {target}")
        name, version, label, call.method = match.groups(default="")
        call.name, call.label = unquote(name), unquote(label) or None
        if version:
            call.version = _int64(version)
            if call.version is None:
                raise Refused(Code.INVALID_ARGUMENT, f"version {version} is too large")
        if pattern is _GET:
            work = self.metadata if call.method == "metadata" else self.status
            call.method = work.__name__
            return await self._in_thread(work, call)
        # The pattern ignores case, the name of a method does not.
        if call.method not in self.posts and call.method != "generate":
            raise Refused(Code.INVALID_ARGUMENT, f"there is no such endpoint: {method} {target}")
        body = await self.body.read(receive, headers)
        if headers.codings:
            body = await self._in_thread(self.body.decoded, body, headers.codings)
        if self.log.texts:
            call.more["body"] = body[:MOST_LOGGED].decode(errors="replace")
        if call.method == "generate":
            await self._stream(call, body, receive, send)
            return None
        return await until_gone(self.posts[call.method](call, body), receive, scope)

    async def _stream(self, call: Call, body: bytes, receive: Receive, send: Send) -> None:
        streamed = await self.streaming(
            body,
            receive,
            send,
            name=call.name,
            version=call.version,
            label=call.label,
            identifier=call.id,
        )
        call.served, call.rows, call.signature = streamed.servable, 1, call.method
        call.more |= {"tokens": streamed.tokens, "reason": streamed.reason}
        self.metrics.streamed(streamed.servable.name, streamed.tokens)
        if streamed.reason == "gone":
            call.status, call.code = GONE, Code.CANCELLED.name
        elif streamed.reason == "error":
            call.status, call.code = streamed.code.http, streamed.code.name
            if streamed.error:
                call.more["traceback"] = streamed.error

    async def _in_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *arguments)

    async def _run(self, large: bool, work: Callable[..., Result], *arguments: Any) -> Result:
        """Run small work directly, large work in a thread."""
        return await self._in_thread(work, *arguments) if large else work(*arguments)

    async def predict(self, call: Call, body: bytes) -> bytes:
        """Handle `:predict`: any signature, in the row or the column format."""
        large = len(body) > LARGE
        document = await self._run(large, parse, body)
        name = signature_name(document)
        with self.repository.acquire(call.name, version=call.version, label=call.label) as servable:
            signature = _signature(call, servable, name)
            inputs, rows = await self._run(large, read_tensors, document, signature.inputs)
            call.rows = max((len(array) for array in inputs.values() if array.ndim), default=1)
            outputs = await signature.answer(inputs, call.deadline)
            large = sum(array.size for array in outputs.values()) > LARGE_ANSWER
            return await self._run(large, write_tensors, outputs, rows)

    async def classify(self, call: Call, body: bytes) -> bytes:
        """Handle `:classify`: the feature `text` of each example; returns all classes with probabilities."""
        large = len(body) > LARGE
        document = await self._run(large, parse, body)
        name, examples = signature_name(document), await self._run(large, read_examples, document)
        with self.repository.acquire(call.name, version=call.version, label=call.label) as servable:
            signature = _signature(call, servable, name)
            if not {"classes", "probabilities"} <= signature.outputs.keys():
                raise Refused(Code.INVALID_ARGUMENT, f"signature {signature.name!r} does not classify")
            call.rows = len(examples)
            texts = string_feature(examples, TEXT_FEATURE)
            outputs = await signature.answer({TEXT_FEATURE: texts}, call.deadline)
            return write_classes(outputs["classes"], outputs["probabilities"])

    async def regress(self, call: Call, body: bytes) -> bytes:
        """Handle `:regress`, which no model supports."""
        large = len(body) > LARGE
        document = await self._run(large, parse, body)
        name, _ = signature_name(document), await self._run(large, read_examples, document)
        with self.repository.acquire(call.name, version=call.version, label=call.label) as servable:
            signature = _signature(call, servable, name)
            raise Refused(Code.INVALID_ARGUMENT, f"signature {signature.name!r} is not a regression")

    def status(self, call: Call) -> bytes:
        """Return the state of the versions of a model."""
        _check_named(call)
        states = self.repository.status(call.name, version=call.version, label=call.label)
        versions = [
            {
                "version": str(version),
                "state": state.name,
                "status": {
                    "error_code": "OK" if error_code is None else error_code.name,
                    "error_message": error_message,
                },
            }
            for version, state, error_code, error_message in states
        ]
        return _json({"model_version_status": versions})

    def metadata(self, call: Call) -> bytes:
        """Return the signatures of a version."""
        _check_named(call)
        with self.repository.acquire(call.name, version=call.version, label=call.label) as servable:
            call.served = servable
            signatures = {
                name: json_format.MessageToDict(
                    signature, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
                )
                for name, signature in servable.signature_defs.items()
            }
            spec = {"name": servable.name, "signature_name": "", "version": str(servable.version)}
        return _json({"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}})

    def _record(self, call: Call) -> None:
        seconds = time.perf_counter() - call.started
        # Only names of loaded models become labels: clients could send any number of names.
        model = call.served.name if call.served else ""
        self.metrics.request(
            api="rest",
            model=model,
            signature=call.signature,
            code=call.code,
            seconds=seconds,
            rows=call.rows,
        )
        self.log(
            "request",
            api="rest",
            id=call.id,
            method=call.method,
            model=model,
            version=call.served.version if call.served else None,
            signature=call.signature,
            rows=call.rows,
            status=call.status,
            ms=round(1000 * seconds, 3),
            **call.more,
        )


def application(
    repository: Repository, *, limits: Limits, metrics: Metrics, log: Log, origins: Sequence[str] = ()
) -> ASGIApp:
    """Return the ASGI application of a server.

    Args:
        repository: the models.
        limits: largest requests.
        metrics: count requests, and are shown by `/metrics`.
        log: receives a line for each request.
        origins: web origins whose pages may send requests (CORS); `*`: all.
    """
    rest = Rest(repository, limits=limits, metrics=metrics, log=log)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        ready = repository.ready
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    async def exposition(_: Request) -> Response:
        return Response(await asyncio.to_thread(metrics.exposition), media_type=metrics.CONTENT_TYPE)

    async def failed(request: Request, _: Exception) -> Response:
        log("failed", api="http", path=request.url.path, traceback=traceback.format_exc())
        return JSONResponse({"error": INTERNAL_ERROR}, 500)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        rest.pool.shutdown(wait=False, cancel_futures=True)

    others = Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            *(Route(path, exposition) for path in METRICS_PATHS),
            *routes(repository, limits=limits),
        ],
        exception_handlers={
            HTTPException: _http_error,
            HttpError: _own_error,
            Refused: _refused,
            Exception: failed,
        },
        lifespan=lifespan,
    )

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        handler = rest if scope["type"] == "http" and scope["path"][:4].lower() == "/v1/" else others
        await handler(scope, receive, send)

    if not origins:
        return dispatch
    return CORSMiddleware(
        dispatch,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST"),
        allow_headers=CORS_HEADERS,
        expose_headers=("x-request-id",),
    )


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _own_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)
    return JSONResponse({"error": error.message}, error.status, error.headers)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return Response(write_error(error.message), error.code.http, media_type="application/json")


def _target(scope: Scope) -> str:
    """Return path and query as sent: as in TensorFlow Serving, a query is part of the path."""
    target: bytes = scope["raw_path"]
    if query := scope["query_string"]:
        target += b"?" + query
    return target.decode("latin-1")


async def _send(
    send: Send, status: int, body: bytes, identifier: str, more: Mapping[str, str] | None = None
) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", identifier.encode()),
        *((name.encode(), value.encode()) for name, value in (more or {}).items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _signature(call: Call, servable: Servable, name: str) -> Signature:
    call.served = servable
    signature = servable.signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise Refused(Code.INVALID_ARGUMENT, unknown_signature(servable, name))
    call.signature = signature.name
    return signature


def _int64(digits: str) -> int | None:
    digits = digits.lstrip("0") or "0"
    number = int(digits) if len(digits) < 20 else 2**63
    return number if number < 2**63 else None


def _check_named(call: Call) -> None:
    if not call.name:
        raise Refused(Code.INVALID_ARGUMENT, "the request names no model")


def _json(document: dict[str, Any]) -> bytes:
    return dumps(document, indent=1, ensure_ascii=False).encode()
