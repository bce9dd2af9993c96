"""Bodies of HTTP requests, and clients that disconnect."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive

from app.serving.errors import Code, Refused
from app.serving.options import Limits

GONE = 499
"""Status of a request whose client has disconnected; occurs in logs only."""


class BodyError(Exception):
    """A body that did not arrive or is too large; HTTP has status codes for these that gRPC lacks."""

    def __init__(self, status: int, code: Code, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class BodyReader:
    """Reads bodies up to a size and a time limit."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def read(self, receive: Receive, length: int) -> bytes:
        """Return the body of a request.

        The rest of a body that is too large is read and dropped by the server, so that the client receives
        the response and not a closed connection.

        Args:
            receive: of ASGI.
            length: size that the request declares, in bytes; 0 if unknown.

        Raises:
            BodyError: the body is too large or too slow, or the client has disconnected.
        """
        limit, timeout = self._limits.body_bytes, self._limits.timeout
        if length > limit:
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
            raise BodyError(408, Code.DEADLINE_EXCEEDED, reason) from None

    def uncompressed(self, body: bytes) -> bytes:
        """Return the content of a gzipped body.

        Raises:
            BodyError: the content is too large.
            Refused: the body is not gzip.
        """
        reader, limit = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), self._limits.body_bytes
        try:
            whole = reader.decompress(body, limit + 1)
        except zlib.error:
            whole = b""
        if len(whole) > limit:
            raise self._too_large()
        if not reader.eof or reader.unused_data:
            raise Refused(Code.INVALID_ARGUMENT, "the request body is not valid gzip")
        return whole

    def _too_large(self) -> BodyError:
        message = f"the request body is larger than {self._limits.body_bytes} bytes"
        return BodyError(413, Code.INVALID_ARGUMENT, message)


async def until_gone(work: Coroutine[Any, Any, bytes], receive: Receive) -> bytes:
    """Return the result of some work; cancel the work when the client disconnects.

    Raises:
        BodyError: the client has disconnected.
    """
    task, gone = asyncio.current_task(), False
    assert task is not None

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if not gone:  # the server is stopping
            raise
        task.uncancel()
        raise _gone() from None
    finally:
        watching.cancel()


def _gone() -> BodyError:
    return BodyError(GONE, Code.CANCELLED, "the client has disconnected")
