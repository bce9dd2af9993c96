"""The page at `/`: a model is tried in the browser, on the same origin as its REST interface.

What it shows is what `textrnn predict` prints, since both ask the task for it; beside that it asks for the
words that mattered to a classifier, and for what a translator looked at. `:generate` writes texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.serving.errors import Code, Refused
from app.serving.options import Limits
from app.serving.servables import Repository, Servable
from app.serving.tensors import parse

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""By path: the packaged file and its type."""
HEADERS = {
    # Nothing of another host is loaded, and nothing that stands in the page itself is run.
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
DIGITS = 6
Row = Mapping[str, Any]
"""A signature's outputs of one text."""


def routes(repository: Repository, *, limits: Limits) -> list[Route]:
    """The page's files, and what it asks for: `GET /page/models`, `POST /page/models/NAME/answer`.

    Args:
        repository: the models.
        limits: of a request's body and its text.
    """

    async def models(_: Request) -> Response:
        return _json({"models": await run_in_threadpool(lambda: list(_facts(repository, limits)))})

    async def answer(request: Request) -> Response:
        document = parse(await _body(request, limits.body_bytes))
        return _json(await run_in_threadpool(_answer, repository, request.path_params["name"], document))

    return [
        *(Route(path, _file(*file), methods=["GET"]) for path, file in FILES.items()),
        Route("/page/models", models, methods=["GET"]),
        Route("/page/models/{name}/answer", answer, methods=["POST"]),
    ]


def _file(name: str, media_type: str) -> Callable[[Request], Response]:
    content = files("app.serving").joinpath("page", name).read_bytes()

    def send(_: Request) -> Response:
        return Response(content, headers=HEADERS, media_type=media_type)

    return send


def _json(document: Mapping[str, Any]) -> Response:
    # In ASCII: an answer may repeat half of a surrogate pair, which UTF-8 cannot hold.
    return Response(json.dumps(document), headers=HEADERS, media_type="application/json")


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise Refused(Code.INVALID_ARGUMENT, f"The request body is larger than {most} bytes")
    return bytes(body)


def _facts(repository: Repository, limits: Limits) -> Iterator[dict[str, Any]]:
    """What the page says of each model that is there."""
    for name in repository.names:
        with suppress(Refused), repository.acquire(name) as servable:
            manifest = servable.manifest
            yield {
                "name": name,
                "task": servable.task,
                "version": servable.version,
                "dataset": manifest["dataset"],
                "parameters": manifest["parameters"],
                "bytes": sum(file.stat().st_size for file in servable.path.rglob("*") if file.is_file()),
                "labels": manifest.get("labels", []),
                "explains": _explainer(servable) is not None,
                "most_length": limits.length,
            }


def _answer(repository: Repository, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """What a model says to a text, and if asked for why.

    Args:
        repository: the models.
        name: of one.
        document: `text`, and `explain` if the explanation is wanted.

    Returns:
        `model`, `version`, `answer`; `explanation` if it is wanted and there is one.

    Raises:
        Refused: no such model, no text, or none that this model answers.
    """
    text, explain = document.get("text"), document.get("explain", False)
    if not isinstance(text, str) or not isinstance(explain, bool):
        raise Refused(Code.INVALID_ARGUMENT, "expected text, a string, and explain, true or false")
    try:
        inputs = {"text": np.array([text.encode()], object)}
    except UnicodeEncodeError:
        raise Refused(Code.INVALID_ARGUMENT, "text: expected Unicode, got half of a surrogate pair") from None
    with repository.acquire(name) as servable:
        if servable.task == "generation":
            raise Refused(Code.INVALID_ARGUMENT, f"{name} writes texts: ask :generate")
        answers = servable.signatures[servable.predictor.task.signature](inputs)
        (line,) = servable.predictor.task.lines(answers)
        found = {"model": name, "version": servable.version, "answer": line}
        if explain and (explainer := _explainer(servable)):
            row = {key: array[0] for key, array in servable.signatures[explainer.signature](inputs).items()}
            found["explanation"] = explainer.listed(row)
        return found


def _explainer(servable: Servable) -> Explainer | None:
    """None: an export of this kind, or of its time, explains nothing."""
    found = EXPLAINERS.get(servable.task)
    return found if found and found.signature in servable.signatures else None


def _importances(row: Row) -> dict[str, Any]:
    length = int(row["length"])
    return {
        "label": row["label"].decode(),
        "tokens": [
            {
                "text": text.decode(errors="replace"),
                "start": int(start),
                "end": int(end),
                "importance": round(float(importance), DIGITS),
            }
            for text, start, end, importance in zip(
                *(row[key][:length] for key in ("tokens", "start", "end", "importance")), strict=True
            )
        ],
    }


def _attention(row: Row) -> dict[str, Any]:
    source_length, target_length = int(row["source_length"]), int(row["target_length"])
    return {
        "source": [token.decode(errors="replace") for token in row["source"][:source_length]],
        # The end of a translation, which is its last token, is no word to show.
        "target": [token.decode(errors="replace") for token in row["target"][: max(target_length - 1, 0)]],
        "attention": [
            [round(float(weight), DIGITS) for weight in weights[:source_length]]
            for weights in row["attention"][: max(target_length - 1, 0)]
        ],
    }


class Explainer(NamedTuple):
    """How an answer is explained."""

    signature: str
    listed: Callable[[Row], dict[str, Any]]
    """From the signature's outputs of one row to what the page reads."""


EXPLAINERS = {
    "classification": Explainer("explain", _importances),
    "translation": Explainer("attention", _attention),
}
"""By task."""
