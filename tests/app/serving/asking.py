"""An ASGI application asked without a server: any bytes may be its path, its headers, its body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What an application has sent."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(body: bytes, *, parts: int = 1) -> list[Message]:
    """Return the messages by which a body comes."""
    size = -(-len(body) // parts) or 1
    chunks = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages[-1]["more_body"] = False
    return messages


async def asked(
    app: Any,
    method: str,
    target: str | bytes,
    body: bytes | str | Sequence[Message | asyncio.Event] = b"",
    headers: dict[str, str] | None = None,
) -> Answer | None:
    """Ask; None if no answer comes.

    Args:
        app: ASGI.
        method: of HTTP.
        target: path and query, as sent.
        body: or the messages by which it comes, and events to wait for before the next one; after the last
            message nothing more comes.
        headers: of the request.
    """
    raw = target.encode() if isinstance(target, str) else target
    path, _, query = raw.partition(b"?")
    messages = list(
        request(body.encode() if isinstance(body, str) else body) if isinstance(body, str | bytes) else body
    )
    sent: list[Message] = []

    async def receive() -> Message:
        while True:
            message = messages.pop(0) if messages else asyncio.Event()
            if isinstance(message, dict):
                return message
            await message.wait()

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
    }
    await app(scope, receive, send)
    if not sent:
        return None
    start, *parts = sent
    assert start["type"] == "http.response.start"
    whole = b"".join(part.get("body", b"") for part in parts)
    return Answer(start["status"], dict(start["headers"]), whole)
