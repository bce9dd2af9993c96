"""Texts that are sent while they are written."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

import app.serving.streaming
from app.prediction.predictor import Predictor
from app.serving.errors import Code, Refused
from app.serving.logs import Log
from app.serving.metrics import Metrics
from app.serving.options import Limits
from app.serving.repository import Repository
from app.serving.rest import application
from app.serving.steps import Steps
from app.serving.streaming import MOST_STOPS, Streamed, Streaming
from app.tasks.generation.sampling import Arrays, Ending, ModelCall, Options, generate

Message = dict[str, Any]


class Client:
    """The other end of a connection: what it was sent, and when it leaves."""

    def __init__(self, leaves_after: int | None = None) -> None:
        """Leave after so many events, or stay."""
        self.leaves_after = leaves_after
        self.sent: list[Message] = []
        self.gone = asyncio.Event()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if len(self.events()) == self.leaves_after:
            self.gone.set()
            await asyncio.sleep(0.05)

    def events(self) -> list[dict[str, Any]]:
        body = b"".join(message.get("body", b"") for message in self.sent[1:]).decode()
        assert not body or body.endswith("\n\n")
        return [json.loads(event.removeprefix("data: ")) for event in body.split("\n\n")[:-1]]


@pytest.fixture(scope="module")
def predictor(tiny: Repository) -> Iterator[Predictor]:
    with tiny.acquire("generation") as servable:
        yield servable.predictor


def streamed(streaming: Streaming, client: Client | None = None, **document: Any) -> tuple[Client, Streamed]:
    """Return what a request is sent, and what became of it."""

    async def ask() -> tuple[Client, Streamed]:
        own = client or Client()
        body = json.dumps(document).encode()
        answer = streaming(body, own.receive, own.send, name="generation", identifier="id-1")
        return own, await asyncio.wait_for(answer, 30)

    return asyncio.run(ask())


@pytest.fixture
def streaming(tiny: Repository) -> Streaming:
    return Streaming(tiny, limits=Limits(length=100, text_bytes=200))


DRAWN: dict[str, dict[str, Any]] = {
    "defaults": {"length": 30},
    "all options": {
        "prompt": "to be",
        "length": 40,
        "temperature": 1.5,
        "top_k": 9,
        "top_p": 0.9,
        "repetition_penalty": 1.3,
        "seed": 7,
        "label": "sonnet",
    },
    "the likeliest": {"prompt": "that", "length": 20, "temperature": 0},
}


@pytest.mark.parametrize("name", DRAWN)
def test_the_text(streaming: Streaming, predictor: Predictor, name: str) -> None:
    """The texts of all events together are the one that is made at once, with its log p; one for a token."""
    options = dict(DRAWN[name])
    client, result = streamed(streaming, **options)
    *pieces, last = client.events()
    prompt = options.pop("prompt", "")
    (whole,) = generate(predictor, [prompt], Options(**options))

    assert "".join(piece["text"] for piece in pieces) == whole.text != ""
    assert [piece["index"] for piece in pieces] == list(range(len(pieces)))
    assert {len(piece["text"]) for piece in pieces[:-1]} == {1}
    assert last == {
        "done": True,
        "reason": result.reason,
        "log_probability": pytest.approx(whole.score, abs=1e-3),
    }
    assert result.reason == ("length" if len(whole.text) == options["length"] else "end")
    assert (result.tokens, result.servable.name) == (len(pieces), "generation")


def test_the_answer(streaming: Streaming) -> None:
    """It is a stream of server-sent events, that nothing between may keep, and ends."""
    client, _ = streamed(streaming, length=3)
    start, *parts = client.sent

    assert start["status"] == 200
    assert dict(start["headers"]) == {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"cache-control": b"no-store",
        b"x-accel-buffering": b"no",
        b"x-request-id": b"id-1",
    }
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    assert all(part["body"].count(b"data: ") == 1 for part in parts[:-1])


def test_how_texts_end(streaming: Streaming, predictor: Predictor) -> None:
    """A text says whether its length was reached, its model ended it, or a stop string came."""
    reasons = {}
    for seed in range(30):
        client, result = streamed(streaming, length=60, seed=seed)
        reasons[result.reason] = seed, "".join(e.get("text", "") for e in client.events())
        if {"length", "end"} <= reasons.keys():
            break
    seed, whole = reasons["length"]
    assert len(whole) == 60
    assert len(reasons["end"][1]) < 60

    for stop in (whole[10:13], ["never there", whole[10:13]]):
        client, result = streamed(streaming, length=60, seed=seed, stop=stop)
        text = "".join(event.get("text", "") for event in client.events())
        assert text == whole[: whole.find(whole[10:13])]
        assert client.events()[-1]["reason"] == result.reason == "stop"
        assert result.tokens < 60


BAD: dict[str, tuple[Any, str]] = {
    "length 0": ({"length": 0}, "length: expected an integer from 1 to 100, got 0"),
    "too long": ({"length": 101}, "length: expected an integer from 1 to 100, got 101"),
    "half a token": ({"length": 1.5}, "length: expected an integer"),
    "a flag": ({"length": True}, "length: expected an integer from 1 to 100"),
    "negative": ({"temperature": -0.1}, "temperature: expected a number of at least 0, got -0.1"),
    "not a number": ({"temperature": True}, "temperature: expected a number"),
    "nan": ({"temperature": float("nan")}, "NaN is not JSON, expected a finite number"),
    "infinite": ({"repetition_penalty": float("inf")}, "Infinity is not JSON"),
    "too large": ({"temperature": 1e39}, "temperature: expected a number"),
    "many digits": ({"temperature": 10**400}, "temperature: expected a number"),
    "none": ({"temperature": None}, "temperature: expected a number"),
    "no share": ({"top_p": 0}, "top_p: expected a number above 0, at most 1, got 0"),
    "more than all": ({"top_p": 1.01}, "top_p: expected a number above 0, at most 1, got 1.01"),
    "top_k": ({"top_k": 2**31}, "top_k: expected an integer from 0 to 2147483647"),
    "seed": ({"seed": 2**31}, "seed: expected an integer from 0 to 2147483647"),
    "penalty": ({"repetition_penalty": 0}, "repetition_penalty: expected a number from 0.01 to 100"),
    "prompt": ({"prompt": ["a"]}, "prompt: expected a string"),
    "long prompt": ({"prompt": "ä" * 101}, "prompt: expected at most 200 bytes, got 202"),
    "surrogate": ({"prompt": "\ud800"}, "prompt has half of a surrogate pair"),
    "stop": ({"stop": [1]}, "stop: expected a string"),
    "stop surrogate": ({"stop": "\udfff"}, "stop has half of a surrogate pair"),
    "stops": ({"stop": ["a"] * (MOST_STOPS + 1)}, "stop: expected a string or an array of at most 16"),
    "label": ({"label": "plya"}, "label: expected one of play, sonnet"),
    "label type": ({"label": ["play"]}, "label: expected one of play, sonnet"),
    "key": ({"temprature": 1}, "unknown key; did you mean 'temperature'?; expected some of prompt, length"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values(streaming: Streaming, name: str) -> None:
    """A value that no text can be written with is refused before anything is sent, and takes no place."""
    document, message = BAD[name]
    client = Client()
    with pytest.raises(Refused) as refused:
        streamed(streaming, client, **document)

    assert refused.value.code is Code.INVALID_ARGUMENT
    assert refused.value.message.startswith(message)
    assert (client.sent, streaming.running) == ([], 0)


def test_not_for_this_model(tiny: Repository) -> None:
    """A model that writes no text, or none of that name, is refused in words, over HTTP too."""
    app = application(tiny, limits=Limits(), metrics=Metrics(), log=Log(io.StringIO()))

    async def asked(name: str, body: bytes) -> tuple[int, dict[str, Any]]:
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            return messages.pop() if messages else await asyncio.Event().wait()  # type: ignore[return-value]

        async def send(message: Message) -> None:
            sent.append(message)

        path = f"/v1/models/{name}:generate"
        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode()}
        await app({**scope, "query_string": b"", "headers": []}, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    assert asyncio.run(asked("classification", b"{}")) == (
        400,
        {"error": "a model for classification does not generate texts"},
    )
    assert asyncio.run(asked("nobody", b"{}"))[0] == 404
    assert asyncio.run(asked("generation", b"[]"))[0] == 400
    assert asyncio.run(asked("generation", b'{"length": 0}')) == (
        400,
        {"error": "length: expected an integer from 1 to 10000, got 0"},
    )


Pieces = Generator[str, None, Ending]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that lets so many calls be made; all texts wait for it."""
    allowed = asyncio.Semaphore(0)
    run = Steps.__call__

    async def waiting(self: Steps, call: ModelCall, deadline: float) -> Arrays:
        await asyncio.wait_for(allowed.acquire(), 20)
        return await run(self, call, deadline)

    def release(calls: int) -> None:
        for _ in range(calls):
            allowed.release()

    monkeypatch.setattr(Steps, "__call__", waiting)
    return release


def test_a_client_that_leaves(streaming: Streaming, tiny: Repository) -> None:
    """A client that leaves stops the work, and lets go of the model."""
    before = {(status.version, status.state) for status in tiny.status("generation")}
    client, result = streamed(streaming, Client(leaves_after=3), length=100, temperature=1.0)

    assert (result.reason, result.tokens) == ("gone", 3)
    assert client.sent[-1]["more_body"]
    assert streaming.running == 0
    assert {(status.version, status.state) for status in tiny.status("generation")} == before


def test_a_client_that_reads_no_more(tiny: Repository) -> None:
    """A client that takes nothing off the connection is left after the timeout."""
    streaming = Streaming(tiny, limits=Limits(timeout=0.2))

    class Deaf(Client):
        async def send(self, message: Message) -> None:
            await super().send(message)
            if len(self.sent) > 3:
                await asyncio.Event().wait()

    client, result = streamed(streaming, Deaf(), length=50)

    assert result.reason == "gone"
    assert (len(client.sent), streaming.running) == (4, 0)


def test_so_many_at_once(tiny: Repository, slow: Callable[[int], None]) -> None:
    """No more than so many texts are written at once; other work goes on beside them."""
    streaming = Streaming(tiny, limits=Limits(streams=2))

    async def main() -> list[Streamed]:
        def ask() -> Any:
            client = Client()
            return streaming(b'{"length": 3}', client.receive, client.send, name="generation")

        first = [asyncio.create_task(ask()) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert streaming.running == 2
        with pytest.raises(Refused) as refused:
            await ask()
        assert refused.value.code is Code.RESOURCE_EXHAUSTED
        assert refused.value.code.http == 429
        assert not any(task.done() for task in first)
        slow(100)
        return [*await asyncio.gather(*first), await ask()]

    assert [result.tokens for result in asyncio.run(main())] == [3, 3, 3]
    assert streaming.running == 0


def test_a_failure_in_the_middle(streaming: Streaming, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails after the first token is the last event; the client is told nothing of its inside."""

    def failing(*arguments: Any, **options: Any) -> Pieces:
        yield from ("a", "b")
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(app.serving.streaming, "pieces", failing)
    client, result = streamed(streaming)

    assert client.events() == [
        {"text": "a", "index": 0},
        {"text": "b", "index": 1},
        {"error": "internal error"},
    ]
    assert not client.sent[-1].get("more_body")
    assert (result.reason, streaming.running) == ("error", 0)
    assert "a secret" in result.error


def test_a_failure_at_the_beginning(streaming: Streaming, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails before the first token is answered as other failures are: nothing has been sent."""

    def failing(*arguments: Any, **options: Any) -> Pieces:
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(app.serving.streaming, "pieces", failing)
    client = Client()
    with pytest.raises(ZeroDivisionError):
        streamed(streaming, client)
    assert (client.sent, streaming.running) == ([], 0)


def test_characters_and_bytes(streaming: Streaming, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events hold text in UTF-8, line breaks inside as escapes."""

    def speaking(*arguments: Any, **options: Any) -> Pieces:
        yield from ("ä\n\n", "\u2028👍", "")
        return Ending("end", -1.5)

    monkeypatch.setattr(app.serving.streaming, "pieces", speaking)
    client, _ = streamed(streaming)

    assert [event.get("text") for event in client.events()] == ["ä\n\n", "\u2028👍", "", None]
    assert "👍".encode() in client.sent[2]["body"]


def test_limits_leave_the_default_length(tiny: Repository) -> None:
    """Where no length is asked for, a server of short texts writes short ones."""
    streaming = Streaming(tiny, limits=dataclasses.replace(Limits(), length=4))
    _, result = streamed(streaming, temperature=0)

    assert result.tokens <= 4


def test_texts_share_calls(tiny: Repository, streaming: Streaming, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that began at different times share the calls of their steps; each is as it is alone."""
    documents = [{"length": 20 + seed, "seed": seed, "prompt": "to be"[:seed]} for seed in range(12)]
    alone = [streamed(streaming, **document)[0].events() for document in documents]
    sizes: list[int] = []
    with tiny.acquire("generation") as servable:
        assert servable.steps is not None
        for batcher in servable.steps._batchers.values():
            monkeypatch.setattr(batcher, "_observe", sizes.append)

    async def together() -> list[Client]:
        clients = [Client() for _ in documents]
        tasks = []
        for client, document in zip(clients, documents, strict=True):
            body = json.dumps(document).encode()
            tasks.append(asyncio.create_task(streaming(body, client.receive, client.send, name="generation")))
            await asyncio.sleep(0.002)
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        return clients

    for client, events in zip(asyncio.run(together()), alone, strict=True):
        assert client.events()[:-1] == events[:-1]
        assert client.events()[-1] == events[-1] | {
            "log_probability": pytest.approx(events[-1]["log_probability"], abs=1e-3)
        }
    assert max(sizes) > 2
