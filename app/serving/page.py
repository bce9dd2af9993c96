"""The web page at `/`, on which the served models can be tried.

It shows what `textrnn predict` prints, and an explanation and the hidden state if the export has them.
Models that generate texts are called through `:generate`.
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
            manifest, predictions = servable.manifest, get_task(servable.task).predictions
            explainer, states = (_of(servable, own) for own in (predictions.explanation, predictions.states))
            config = servable.predictor.info.config
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
                "has_states": states is not None,
                "calibrated": predictions.calibrated(config),
                "tokens": config.tokenizing()["tokens"],
                "most_length": limits.length,
            }


def _answer(repository: Repository, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `textrnn predict` prints for a text, and on request an explanation and the hidden state.

    Args:
        repository: the models.
        name: of a model.
        document: `text`, and perhaps `explain` and `states`, true for an explanation and for states.

    Returns:
        `model`, `version`, `answer`; `thresholds` by label, of any number of labels; `explanation` and
        `states` if they are requested and the model has them.

    Raises:
        Refused: there is no such model or text, or the prediction fails.
    """
    text, explain, states = document.get("text"), *(document.get(key, False) for key in ("explain", "states"))
    if not isinstance(text, str) or not all(isinstance(wanted, bool) for wanted in (explain, states)):
        message = "expected text, a string, and explain and states, true or false"
        raise Refused(Code.INVALID_ARGUMENT, message)
    try:
        inputs = {"text": np.array([text.encode()], object)}
    except UnicodeEncodeError:
        raise Refused(Code.INVALID_ARGUMENT, "text has half of a surrogate pair, expected Unicode") from None
    with repository.acquire(name) as servable:
        if servable.generates:
            raise Refused(Code.INVALID_ARGUMENT, f"{name} generates texts: use :generate")
        found = {"model": name, "version": servable.version, **_prediction(servable, text)}
        predictions = get_task(servable.task).predictions
        wanted = {"explanation": predictions.explanation} if explain else {}
        wanted |= {"states": predictions.states} if states else {}
        for key, explanation in wanted.items():
            if own := _of(servable, explanation):
                outputs = servable.signatures[own.signature](inputs)
                found[key] = own.to_json({output: array[0] for output, array in outputs.items()})
        return found


def _prediction(servable: Servable, text: str) -> dict[str, Any]:
    """Return the `answer` to a text, computed with the limits and the batching of the server.

    If it is any number of labels, also the `thresholds` of their probabilities, by label.
    """
    thresholds: dict[str, float] = {}

    def call(signature: Signature, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = signature({name: value.numpy() for name, value in inputs.items()})
        if "thresholds" in outputs:
            values = zip(outputs["classes"][0], outputs["thresholds"][0], strict=True)
            thresholds.update({name.decode(): float(value) for name, value in values})
        return {name: tf.constant(value) for name, value in outputs.items()}

    calls = {name: partial(call, signature) for name, signature in servable.signatures.items()}
    predictor = replace(servable.predictor, signatures=calls)
    try:
        (line,) = get_task(servable.task).predictions.predict(predictor, [Row(1, {"text": text})])
    except (KeyError, UserError):
        message = f"{servable.name} takes inputs other than one text: use :predict"
        raise Refused(Code.INVALID_ARGUMENT, message) from None
    return {"answer": line} | ({"thresholds": thresholds} if thresholds else {})


def _of(servable: Servable, explanation: Explanation | None) -> Explanation | None:
    """Return an explanation of a task; None if it has none, or if the export lacks its signature."""
    return explanation if explanation and explanation.signature in servable.signatures else None
