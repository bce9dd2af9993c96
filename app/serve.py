"""`textrnn serve`: serve exports over REST and gRPC until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc
import uvicorn
import uvloop
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.artifacts.manifests import read_export_manifest
from app.artifacts.saved_model import SAVED_MODEL
from app.prediction.kernels import AUTO
from app.serving.grpc_api import grpc_server
from app.serving.http_protocol import WholeResponses, limited_protocol
from app.serving.logs import Log
from app.serving.metrics import Metrics
from app.serving.options import Batching, Limits
from app.serving.repository import Repository
from app.serving.rest import application
from app.serving.servable import versions_of
from app.serving.threads import limit_threads
from data.errors import UserError, did_you_mean

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open."""
DRAIN = 0.5
"""Seconds in which responses carry `connection: close` before idle connections are closed. A request that is
sent while its connection is being closed would be lost."""
FAREWELL = 2.0
"""Seconds after the grace period for sending errors to clients whose requests are dropped."""
_NAME = r"[^/:=\s]+"


def models_of(exports: Sequence[str], name: str | None = None) -> dict[str, Path]:
    """Return the directory of each model by name.

    `models_of(["exports/reviews", "words=exports/tags/3"])` names the first `reviews`, the second `words`.

    Args:
        exports: `DIR` or `NAME=DIR`; the directory of a model or of one version of it.
        name: of the model, if there is one export.

    Raises:
        UserError: a directory is not an export, or a name occurs twice or is not valid in a URL.
    """
    if name is not None and len(exports) != 1:
        raise UserError(f"--name {name} needs exactly one EXPORT; with several, give NAME=DIR for each")
    models: dict[str, Path] = {}
    for export in exports:
        given, is_named, directory = export.partition("=")
        if not is_named or Path(export).exists():
            given, directory = "", export
        path = Path(directory)
        _check_export(path)
        model = name or given or _own_name(path)
        if not re.fullmatch(_NAME, model):
            raise UserError(
                f"the model name {model!r} is not valid in a URL (it has white space, '/', ':' or '='); "
                "give NAME=DIR"
            )
        if model in models:
            raise UserError(f"two models have the name {model!r}: {models[model]} and {path}; give NAME=DIR")
        models[model] = path
    return models


def _own_name(path: Path) -> str:
    """Return the name of the model's directory, also if the path is one of its versions."""
    path = path.resolve()
    is_version = (path / SAVED_MODEL).is_file() and path.name.isdecimal()
    return path.parent.name if is_version else path.name


def _check_export(path: Path) -> None:
    if not path.is_dir():
        raise UserError(f"{path}: no such directory. Pass a directory created by 'textrnn export'.")
    found = versions_of(path)
    if not found:
        raise UserError(
            f"{path} is not an export: it has no version directory. "
            "Pass a directory created by 'textrnn export'."
        )
    read_export_manifest(found[max(found)])


def labels_of(labels: Sequence[str], models: Sequence[str]) -> dict[tuple[str, str], int]:
    """Return the version of each label, by model and label.

    `labels_of(["stable=3"], ["reviews"])` is `{("reviews", "stable"): 3}`.

    Args:
        labels: `LABEL=VERSION`, or `NAME:LABEL=VERSION` if there are several models.
        models: their names.

    Raises:
        UserError: a label has another form, or names a model that is not served.
    """
    found: dict[tuple[str, str], int] = {}
    for text in labels:
        match = re.fullmatch(rf"(?:({_NAME}):)?({_NAME})=(\d+)", text, re.ASCII)
        if match is None:
            raise UserError(f"--label {text}: expected [NAME:]LABEL=VERSION, e.g. stable=3")
        model, label, version = match.groups()
        if model is None and len(models) > 1:
            raise UserError(f"--label {text}: name the model, e.g. {models[0]}:{text}")
        model = model or models[0]
        if model not in models:
            raise UserError(f"--label {text}: unknown model {model!r}{did_you_mean(model, models)}")
        found[model, label] = int(version)
    return found


def _checked_origins(origins: Sequence[str]) -> Sequence[str]:
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^\s/?#@,*]+", origin):
            raise UserError(
                f"--cors-origin {origin}: expected a scheme and a host, e.g. https://example.com or "
                "http://localhost:3000, without a path; or * for all"
            )
    return origins


class _Drained:
    """An application whose responses announce that the connection closes while the server stops."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def announce(message: Message) -> None:
            if self.closing and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, announce)


class _Server(uvicorn.Server):
    """Leaves signals to `serve`, which also stops gRPC."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(
    models: Mapping[str, Path],
    *,
    host: str = "127.0.0.1",
    rest_port: int = 8501,
    grpc_port: int = 8500,
    labels: Mapping[tuple[str, str], int] | None = None,
    keep: int = 1,
    poll: float = 1.0,
    grace: float = 30.0,
    limits: Limits | None = None,
    batching: Batching | None = None,
    kernels: str = AUTO,
    log_texts: bool = False,
    cors_origins: Sequence[str] = (),
) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in progress.

    Both ports are open from the start. `/readyz` reports when every model has an available version.

    Args:
        models: directory of each model by name.
        host: address to listen on.
        rest_port: of HTTP; 0: a free port.
        grpc_port: of gRPC; 0: a free port.
        labels: version by model and label.
        keep: number of newest versions of each model that are served.
        poll: seconds between checks for new versions.
        grace: seconds to finish requests in progress after SIGTERM.
        limits: largest requests.
        batching: dynamic batching.
        kernels: one of `app.prediction.kernels.KERNELS`.
        log_texts: whether request texts are logged.
        cors_origins: web origins whose pages may send requests, e.g. `https://example.com`; `*`: all.

    Raises:
        UserError: a port is not available, or an origin is not one.
    """
    limit_threads()
    log, metrics, limits = Log(texts=log_texts), Metrics(), limits or Limits()
    repository = Repository(
        models,
        keep=keep,
        labels=labels,
        limits=limits,
        batching=batching,
        kernels=kernels,
        metrics=metrics,
        log=log,
    )
    rest = application(
        repository, limits=limits, metrics=metrics, log=log, origins=_checked_origins(cors_origins)
    )
    app = _Drained(WholeResponses(rest))
    with _listening(host, rest_port) as rest_socket:
        over_grpc = grpc_server(repository, limits=limits, metrics=metrics, log=log)
        grpc_port = _add_port(over_grpc, host, grpc_port)
        config = uvicorn.Config(
            app,
            http=limited_protocol(limits),
            ws="none",
            access_log=False,
            log_config=None,
            log_level="critical",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=math.ceil(grace + FAREWELL),
        )
        addresses = {
            "rest": f"http://{_address(host, rest_socket.getsockname()[1])}",
            "grpc": _address(host, grpc_port),
        }
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(
                _run(app, _Server(config), rest_socket, over_grpc, repository, log, addresses, poll, grace)
            )


async def _run(
    app: _Drained,
    over_rest: uvicorn.Server,
    rest_socket: socket.socket,
    over_grpc: grpc.Server,
    repository: Repository,
    log: Log,
    addresses: Mapping[str, str],
    poll: float,
    grace: float,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    over_grpc.start()
    repository.start(poll)
    serving = asyncio.create_task(over_rest.serve(sockets=[rest_socket]))
    announcing = asyncio.create_task(_announce(repository, log, addresses))
    await stop.wait()
    log("stopping", grace=grace)
    announcing.cancel()
    repository.stop()
    for listener in over_rest.servers:
        listener.close()
    app.closing = True
    ended = over_grpc.stop(grace + FAREWELL)
    dropping = asyncio.create_task(_drop(repository, grace))
    await asyncio.sleep(min(DRAIN, grace))
    over_rest.should_exit = True
    await serving
    await asyncio.to_thread(ended.wait)
    dropping.cancel()
    await asyncio.to_thread(repository.close)
    log("stopped")


async def _announce(repository: Repository, log: Log, addresses: Mapping[str, str]) -> None:
    """Log the addresses of the server once all models are available."""
    while not repository.ready:
        await asyncio.sleep(0.05)
    log("ready", **addresses, models=repository.names)


async def _drop(repository: Repository, grace: float) -> None:
    """Cancel the requests that are still in progress after the grace period."""
    await asyncio.sleep(grace)
    await asyncio.to_thread(repository.close)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise UserError(
            f"--rest-port {port} of {host}: {error.strerror}; give another port, or 0 for a free one"
        ) from None
    listener.setblocking(False)
    return listener


def _add_port(server: grpc.Server, host: str, port: int) -> int:
    try:
        chosen: int = server.add_insecure_port(_address(host, port))
        return chosen
    except RuntimeError:
        message = f"--grpc-port {port} of {host}: cannot listen; give another port, or 0 for a free one"
        raise UserError(message) from None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
