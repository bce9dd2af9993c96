"""`:generate`: streams a text token by token as server-sent events.

Each token is an event `data: {"text": …, "index": …}`. The concatenated texts are what `textrnn generate`
prints for the same seed. The text of an event is empty if the token may begin a stop string, is a part of a
character, or ends the text. The last event is `data: {"done": true, "reason": …, "log_probability": …}`.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.types import Receive, Send

from app.json_text import dumps
from app.serving.errors import Code, Refused
from app.serving.json_body import parse
from app.serving.options import Limits
from app.serving.repository import Repository
from app.serving.servable import Servable
from app.serving.steps import Steps
from app.tasks.generation.bounds import OPTIONS
from app.tasks.generation.sampling import Arrays, Ending, ModelCall, Options, pieces
from data.errors import UserError, did_you_mean

MOST_STOPS = 16
"""Stop strings of one request."""
KEYS = (
    "prompt",
    "length",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
    "seed",
    "stop",
    "label",
)


@dataclass
class Streamed:
    """The outcome of a request."""

    servable: Servable
    tokens: int = 0
    reason: str = "gone"
    """Why the stream ended: `length`, `end`, `stop`; `gone`: the client disconnected; `error`."""
    code: Code = Code.INTERNAL
    """Of an error."""
    error: str = ""
    """Traceback of an error that is one of the program."""


class Streaming:
    """Streams texts, a bounded number of them concurrently. Their next tokens are sampled in shared calls.

    Args:
        repository: the models.
        limits: largest requests, and the number of streams.
    """

    def __init__(self, repository: Repository, *, limits: Limits) -> None:
        self.repository = repository
        self.limits = limits
        self.running = 0

    async def __call__(
        self,
        body: bytes,
        receive: Receive,
        send: Send,
        *,
        name: str,
        version: int | None = None,
        label: str | None = None,
        identifier: str = "",
    ) -> Streamed:
        """Handle a request whose body has been read.

        Args:
            body: a JSON object with some of `KEYS`.
            receive: of ASGI; returns when the client disconnects.
            send: of ASGI.
            name: of the model.
            version: of the model; None: the newest one.
            label: of a version, instead of its number.
            identifier: id of the request, which the response repeats.

        Returns:
            the outcome, once the response is complete or the client has disconnected.

        Raises:
            Refused: before anything is sent.
        """
        document = parse(body)
        if self.running >= self.limits.streams:
            raise Refused(
                Code.RESOURCE_EXHAUSTED,
                f"the server is already generating {self.running} texts (--max-streams); try again later",
            )
        self.running += 1
        try:
            with self.repository.acquire(name, version=version, label=label) as servable:
                prompt, options = read_options(document, servable, self.limits)
                assert servable.steps is not None
                text = _Text(pieces(servable.predictor, prompt, options, tokens=1), servable.steps)
                streamed = Streamed(servable)
                await self._write(streamed, text, receive, send, identifier)
                return streamed
        finally:
            self.running -= 1

    async def _write(
        self,
        streamed: Streamed,
        text: _Text,
        receive: Receive,
        send: Send,
        identifier: str,
    ) -> None:
        # Runs the prompt: an error before the first event is still sent as an error response.
        first = await text.next(self.limits.timeout)
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            (b"x-request-id", identifier.encode()),
        ]
        gone = asyncio.create_task(_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            piece: str | Ending = first
            while isinstance(piece, str) and not gone.done():
                await self._send(send, {"text": piece, "index": streamed.tokens})
                streamed.tokens += 1
                piece = await text.next(self.limits.timeout)
            if isinstance(piece, Ending):
                streamed.reason = piece.reason
                last = {"done": True, "reason": piece.reason, "log_probability": piece.log_probability}
                await self._send(send, last)
        except (OSError, TimeoutError):
            pass  # the client has disconnected or does not read
        except Refused as error:
            streamed.reason, streamed.code = "error", error.code
            await self._send(send, {"error": error.message})
        except Exception:
            streamed.reason, streamed.error = "error", traceback.format_exc()
            await self._send(send, {"error": "internal error"})
        finally:
            gone.cancel()
        if streamed.reason != "gone":
            await send({"type": "http.response.body", "body": b""})

    async def _send(self, send: Send, event: Mapping[str, Any]) -> None:
        body = f"data: {dumps(event, ensure_ascii=False)}\n\n".encode()
        async with asyncio.timeout(self.limits.timeout):
            await send({"type": "http.response.body", "body": body, "more_body": True})


class _Text:
    """A text that is being generated.

    Args:
        work: generates it.
        steps: run its calls.
    """

    def __init__(self, work: Generator[ModelCall | str, Arrays | None, Ending], steps: Steps) -> None:
        self._work = work
        self._steps = steps

    async def next(self, timeout: float) -> str | Ending:
        """Return the next piece, or how the text has ended.

        Args:
            timeout: seconds for each call.

        Raises:
            Refused: a call is refused, late, or fails.
        """
        outputs = None
        while True:
            try:
                found = self._work.send(outputs)
            except StopIteration as stopped:
                ending: Ending = stopped.value
                return ending
            if isinstance(found, str):
                return found
            outputs = await self._steps(found, time.monotonic() + timeout)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def read_options(document: Mapping[str, Any], servable: Servable, limits: Limits) -> tuple[str, Options]:
    """Return the prompt and the options of a request; defaults are those of `Options`.

    Raises:
        Refused: a value is not valid, or the model does not generate texts.
    """
    if servable.steps is None:
        raise _invalid(f"a model for {servable.task} does not generate texts")
    if unknown := sorted(document.keys() - set(KEYS)):
        raise _invalid(f"unknown key{did_you_mean(unknown[0], KEYS)}; expected some of {', '.join(KEYS)}")
    known = servable.manifest.preprocessing.get("labels", [])
    label = document.get("label")
    if label is not None and label not in known:
        allowed = f"one of {', '.join(known)}" if known else "none: the model was trained without labels"
        raise _invalid(f"label: expected {allowed}")
    stops = document.get("stop", [])
    stops = [stops] if isinstance(stops, str) else stops
    if not isinstance(stops, list) or len(stops) > MOST_STOPS:
        raise _invalid(f"stop: expected a string or an array of at most {MOST_STOPS}")
    numbers = {key: _number(key, document[key], limits) for key in OPTIONS if key in document}
    numbers.setdefault("length", min(Options.length, limits.length))
    return _text("prompt", document.get("prompt", ""), limits), Options(
        **numbers, stop=tuple(_text("stop", stop, limits) for stop in stops), label=label
    )


def _text(key: str, value: Any, limits: Limits) -> str:
    if not isinstance(value, str):
        raise _invalid(f"{key}: expected a string")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise _invalid(f"{key} has half of a surrogate pair, expected Unicode") from None
    if size > limits.text_bytes:
        raise _invalid(f"{key}: expected at most {limits.text_bytes} bytes, got {size}")
    return value


def _number(key: str, value: Any, limits: Limits) -> Any:
    bounds = OPTIONS[key]
    if key == "length":
        bounds = replace(bounds, maximum=limits.length)
    try:
        return bounds.checked(key, value)
    except UserError as error:
        raise _invalid(str(error)) from None


def _invalid(message: str) -> Refused:
    return Refused(Code.INVALID_ARGUMENT, message)
