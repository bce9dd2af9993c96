"""Headers and bodies of HTTP requests, and clients that disconnect."""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import zlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from starlette.types import Receive, Scope

from app.serving.errors import Code, Refused
from app.serving.options import Limits

GONE = 499
"""Status of a request whose client has disconnected; occurs in logs only."""


def _gunzip(body: bytes, most: int) -> bytes:
    if not body:
        raise EOFError
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:  # there may be several members
        return file.read(most)


def _inflate(body: bytes, most: int) -> bytes:
    try:
        reader = zlib.decompressobj()
        whole = reader.decompress(body, most)
    except zlib.error:  # some clients send the data without the header of zlib
        reader = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        whole = reader.decompress(body, most)
    if len(whole) < most and (not reader.eof or reader.unused_data):
        raise EOFError
    return whole


CODINGS = {"gzip": _gunzip, "deflate": _inflate}
"""Functions from a body and a size to so many bytes of its content, by content coding."""
MOST_CODINGS = 3
"""Codings that are applied to one body, one after the other."""
_CLIENT_ID = re.compile(rb"[!-~]{1,128}")


class RequestHeaders(NamedTuple):
    """What the server reads of the headers of a request."""

    identifier: str = ""
    """Id that the client has given it."""
    codings: tuple[str, ...] = ()
    """Content codings of the body in lower case, in the order in which they were applied."""
    length: int = 0
    """Size of the body in bytes as declared; 0 if unknown."""


def read_headers(scope: Scope) -> RequestHeaders:
    """Return the headers of a request that matter."""
    found = RequestHeaders()
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _CLIENT_ID.fullmatch(value):
            found = found._replace(identifier=value.decode())
        elif name == b"content-encoding":
            codings = (coding.strip().lower() for coding in value.decode("latin-1").split(","))
            own = (coding.removeprefix("x-") for coding in codings if coding not in ("", "identity"))
            found = found._replace(codings=(*found.codings, *own))
        elif name == b"content-length" and value.isdigit():
            # Python parses no integer of thousands of digits; no limit has more than 19.
            found = found._replace(length=int(value[:19]))
    return found


class HttpError(Exception):
    """A request that fails for a reason for which HTTP has a status code that gRPC lacks."""

    def __init__(self, status: int, message: str, code: Code = Code.INVALID_ARGUMENT, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        """Further headers of the response."""


class BodyReader:
    """Reads bodies up to a size and a time limit."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def read(self, receive: Receive, headers: RequestHeaders) -> bytes:
        """Return the body of a request, its content codings not undone.

        The rest of a body that is too large is read and dropped by the server, so that the client receives
        the response and not a closed connection.

        Args:
            receive: of ASGI.
            headers: of the request.

        Raises:
            HttpError: the body is too large or too slow or has a coding that is not supported, or the client
                has disconnected.
        """
        limit, timeout = self._limits.body_bytes, self._limits.timeout
        _check_codings(headers.codings)
        if headers.length > limit:
            raise self._too_large()
        parts, size = [], 0
        try:
            async with asyncio.timeout(timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _gone()
                    part: bytes = message.get("body", b"")
                    size += len(part)
                    if size > limit:
                        raise self._too_large()
                    parts.append(part)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            reason = f"the request body did not arrive within {timeout} seconds"
            raise HttpError(408, reason, Code.DEADLINE_EXCEEDED) from None

    def decoded(self, body: bytes, codings: Sequence[str]) -> bytes:
        """Return a body without its content codings.

        Args:
            body: as sent.
            codings: in the order in which they were applied.

        Raises:
            HttpError: the content is too large.
            Refused: the body does not have the coding.
        """
        for coding in reversed(codings):
            body = self._undone(body, coding)
        return body

    def _undone(self, body: bytes, coding: str) -> bytes:
        try:
            whole = CODINGS[coding](body, self._limits.body_bytes + 1)
        except (zlib.error, OSError, EOFError):
            raise Refused(Code.INVALID_ARGUMENT, f"the request body is not valid {coding}") from None
        if len(whole) > self._limits.body_bytes:
            raise self._too_large()
        return whole

    def _too_large(self) -> HttpError:
        return HttpError(413, f"the request body is larger than {self._limits.body_bytes} bytes")


def _check_codings(codings: Sequence[str]) -> None:
    allowed = ", ".join(CODINGS)
    for coding in codings:
        if coding not in CODINGS:
            message = f"the content coding {coding[:40]!r} is not supported, expected {allowed} or none"
            raise HttpError(415, message, accept_encoding=allowed)
    if len(codings) > MOST_CODINGS:
        message = f"the body has {len(codings)} content codings, at most {MOST_CODINGS} are allowed"
        raise HttpError(415, message, accept_encoding=allowed)


class Connection:
    """Calls functions when a client disconnects: cheaper than a task for each request that waits for that."""

    STATE = "connection"
    """Name in the state of an ASGI scope."""

    def __init__(self) -> None:
        self.lost = False
        self.when_lost: set[Callable[[], object]] = set()

    def lose(self) -> None:
        """Call all functions."""
        self.lost = True
        for call in tuple(self.when_lost):
            call()


async def until_gone(work: Coroutine[Any, Any, bytes], receive: Receive, scope: Scope) -> bytes:
    """Return the result of some work; cancel the work when the client disconnects.

    Args:
        work: of the current task.
        receive: of ASGI; it is used if the scope has no `Connection`.
        scope: of ASGI.

    Raises:
        HttpError: the client has disconnected.
    """
    task, gone = asyncio.current_task(), False
    assert task is not None

    def leave() -> None:
        nonlocal gone
        gone = True
        task.cancel()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        leave()

    connection: Connection | None = scope.get("state", {}).get(Connection.STATE)
    watching = None
    if connection is None:
        watching = asyncio.create_task(watch())
    elif connection.lost:
        work.close()
        raise _gone()
    else:
        connection.when_lost.add(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone:  # the server is stopping
            raise
        task.uncancel()
        raise _gone() from None
    finally:
        if connection is not None:
            connection.when_lost.discard(leave)
        if watching is not None:
            watching.cancel()


def _gone() -> HttpError:
    return HttpError(GONE, "the client has disconnected", Code.CANCELLED)
