"""The web page at `/`, on which the served models can be tried.

It shows what `textrnn predict` prints, and an explanation if the task has one. Models that generate texts are
called through `:generate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
import tensorflow as tf
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.json_text import dumps
from app.serving.errors import Code, Refused
from app.serving.http_body import BodyReader, read_headers
from app.serving.json_body import parse
from app.serving.options import Limits
from app.serving.repository import Repository
from app.serving.servable import Servable
from app.serving.signature import Signature
from app.tasks import get_task
from app.tasks.base import Explanation
from data.errors import UserError
from data.formats import Row

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Packaged file and media type by path."""
HEADERS = {
    # Nothing is loaded from other hosts, and no inline script is run.
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def routes(repository: Repository, *, limits: Limits) -> list[Route]:
    """Return the routes of the page's files and of its requests.

    The requests are `GET /page/models` and `POST /page/models/NAME/answer`.

    Args:
        repository: the models.
        limits: largest requests.
    """
    reader = BodyReader(limits)

    async def models(_: Request) -> Response:
        return _json({"models": await run_in_threadpool(lambda: list(_facts(repository, limits)))})

    async def answer(request: Request) -> Response:
        headers = read_headers(request.scope)
        body = await reader.read(request.receive, headers)
        document = parse(await run_in_threadpool(reader.decoded, body, headers.codings))
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
    # In ASCII: a response may repeat half of a surrogate pair, which UTF-8 cannot encode.
    return Response(dumps(document), headers=HEADERS, media_type="application/json")


def _facts(repository: Repository, limits: Limits) -> Iterator[dict[str, Any]]:
    """Return what the page shows about each available model."""
    for name in repository.names:
        with suppress(Refused), repository.acquire(name) as servable:
            manifest, explainer = servable.manifest, _explainer(servable)
            yield {
                "name": name,
                "task": servable.task,
                "version": servable.version,
                "dataset": manifest.dataset,
                "parameters": manifest.parameters,
                "bytes": sum(file.stat().st_size for file in servable.path.rglob("*") if file.is_file()),
                "labels": manifest.preprocessing.get("labels", []),
                "generates": servable.generates,
                "explains": explainer.signature if explainer else None,
                "most_length": limits.length,
            }


def _answer(repository: Repository, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `textrnn predict` prints for a text, and on request an explanation.

    Args:
        repository: the models.
        name: of a model.
        document: `text`, and `explain`: true for an explanation.

    Returns:
        `model`, `version`, `answer`; `explanation` if it is requested and the model has one.

    Raises:
        Refused: there is no such model or text, or the prediction fails.
    """
    text, explain = document.get("text"), document.get("explain", False)
    if not isinstance(text, str) or not isinstance(explain, bool):
        raise Refused(Code.INVALID_ARGUMENT, "expected text, a string, and explain, true or false")
    try:
        inputs = {"text": np.array([text.encode()], object)}
    except UnicodeEncodeError:
        raise Refused(Code.INVALID_ARGUMENT, "text has half of a surrogate pair, expected Unicode") from None
    with repository.acquire(name) as servable:
        if servable.generates:
            raise Refused(Code.INVALID_ARGUMENT, f"{name} generates texts: use :generate")
        found = {"model": name, "version": servable.version, "answer": _prediction(servable, text)}
        if explain and (explainer := _explainer(servable)):
            outputs = servable.signatures[explainer.signature](inputs)
            row = {key: array[0] for key, array in outputs.items()}
            found["explanation"] = explainer.to_json(row)
        return found


def _prediction(servable: Servable, text: str) -> dict[str, Any]:
    """Return the prediction for a text, computed with the limits and the batching of the server."""

    def call(signature: Signature, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = signature({name: value.numpy() for name, value in inputs.items()})
        return {name: tf.constant(value) for name, value in outputs.items()}

    calls = {name: partial(call, signature) for name, signature in servable.signatures.items()}
    predictor = replace(servable.predictor, signatures=calls)
    try:
        (line,) = get_task(servable.task).predictions.predict(predictor, [Row(1, {"text": text})])
    except (KeyError, UserError):
        message = f"{servable.name} takes inputs other than one text: use :predict"
        raise Refused(Code.INVALID_ARGUMENT, message) from None
    return line


def _explainer(servable: Servable) -> Explanation | None:
    """Return how predictions are explained; None if the task or the export has no explanation."""
    found = get_task(servable.task).predictions.explanation
    return found if found and found.signature in servable.signatures else None
