"""HTTP/1.1 of the server, with limits of size and time for request headers, which uvicorn has not."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.serving.http_body import Connection
from app.serving.json_body import write_error
from app.serving.options import Limits

LINGER = 2.0
"""Seconds for a client to read an error and close the connection, while what it still sends is dropped. A
connection that is closed with unread data is reset, and the client may lose the error."""
NOT_HTTP = "the request is not valid HTTP"


def limited_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Return the protocol of a server with the header limits of `limits`."""

    class Limited(LimitedProtocol):
        header_bytes = limits.header_bytes
        header_timeout = limits.header_timeout

    return Limited


class LimitedProtocol(HttpToolsProtocol):
    """A connection that is closed when a header is too large (431) or too slow (408)."""

    header_bytes: int
    header_timeout: float

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_header = False
        self._began = False
        self._unread = 0
        """Bytes of packets that did not complete a header."""
        self._size = 0
        """Bytes of the target, names and values so far."""
        self._timer: TimerHandle | None = None
        self._refused = False
        self._connection = Connection()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._cancel_timer()
        super().connection_lost(exc)
        self._connection.lose()

    def data_received(self, data: bytes) -> None:
        """Parse a packet."""
        if self._refused:
            return
        self._began = False
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._in_header and not self._began:
            self._unread += len(data)
            if self._unread > self.header_bytes:
                self._refuse(431, self._too_large)
                return
        if self._in_header or self.cycle is None or self.cycle.response_complete:
            self._expect_header()

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self.scope["state"][Connection.STATE] = self._connection
        self._in_header = self._began = True
        self._unread = self._size = 0

    def on_url(self, url: bytes) -> None:
        """Count the target."""
        self._size += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._size += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, if its header is not too large."""
        self._in_header = False
        self._cancel_timer()
        if self._size > self.header_bytes:
            raise ValueError(self._too_large)  # the parser stops and calls `send_400_response`
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that cannot be parsed."""
        if self._size > self.header_bytes:
            self._refuse(431, self._too_large)
        else:
            self._refuse(400, NOT_HTTP)

    @property
    def _too_large(self) -> str:
        return f"the request header is larger than {self.header_bytes} bytes"

    def _expect_header(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.header_timeout, self._late)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._in_header:
            self._refuse(408, f"the request header did not arrive within {self.header_timeout:g} seconds")
        elif self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        """Send an error, and close the connection when the client has, or soon."""
        self._refused = True
        self._cancel_timer()
        self._unset_keepalive_if_required()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # the response to the request before is sent, then it closes
            return
        body = write_error(message)
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(
            body
        )
        self.transport.write(STATUS_LINE[status] + head + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.close)


class WholeResponses:
    """An application that sends HTTP/1.0 clients, which know no chunks, a stream as one body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or scope["http_version"] != "1.0":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                headers = [header for header in start["headers"] if header[0] != b"content-length"]
                headers.append((b"content-length", b"%d" % len(body)))
                await send({**start, "headers": headers})
                await send({**message, "body": bytes(body)})

        await self._app(scope, receive, collect)
