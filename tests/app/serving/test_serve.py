from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from click.testing import Result
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from toy_exports import write_version

from app.serve import labels_of, models_of
from data.errors import UserError

Command = Callable[..., Result]
SECONDS = 60


class Server:
    """`textrnn serve` in a process of its own."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "app", "serve", "--rest-port", "0", "--grpc-port", "0"]
        self.process = subprocess.Popen(
            [*command, *(str(argument) for argument in arguments)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            for line in stderr:
                self.lines.append(json.loads(line))

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """Return the line of an event, as soon as it has come `count` times."""
        end = time.monotonic() + SECONDS
        while True:
            found = [line for line in self.lines if line["event"] == event]
            if len(found) >= count:
                return found[-1]
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < end, self.lines
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(SECONDS)
        self._reader.join()
        return status


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server."""
    started: list[Server] = []

    def begin(*arguments: object) -> Server:
        started.append(Server(*arguments))
        return started[-1]

    yield begin
    for server in started:
        server.process.kill()
        server.process.wait()


def test_a_server(start: Callable[..., Server], tmp_path: Path) -> None:
    """REST and gRPC answer alike, a new version comes while they do, and SIGTERM waits for what is begun."""
    model = tmp_path / "toy"
    write_version(model, 1)
    server = start(model, "--poll", "0.2", "--max-length", 2**31 - 1)
    ready = server.wait_for("ready")
    assert ready["models"] == ["toy"]
    client = httpx.Client(base_url=ready["rest"], timeout=SECONDS)
    channel = grpc.insecure_channel(ready["grpc"])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    assert client.get("/readyz").status_code == 200
    asked = client.post("/v1/models/toy:predict", json={"instances": ["a", "b"]})
    assert asked.json() == {"predictions": [{"text": "A", "version": 1}, {"text": "B", "version": 1}]}
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto([b"a"]))
    assert stub.Predict(request, timeout=SECONDS).outputs["text"].string_val == [b"A"]

    write_version(model, 2)
    server.wait_for("retired")
    assert client.post("/v1/models/toy:predict", json={"instances": ["a"]}).json() == {
        "predictions": [{"text": "A", "version": 2}]
    }

    steps = 300_000  # takes a second or more
    slow = {"text": ["a"], "length": [steps], "stop": ["!"]}
    answers: dict[str, Any] = {}

    def over_rest() -> None:
        body = {"signature_name": "slow", "inputs": slow}
        answers["rest"] = httpx.post(f"{ready['rest']}/v1/models/toy:predict", json=body, timeout=SECONDS)

    def over_grpc() -> None:
        request.model_spec.signature_name = "slow"
        for name, value in slow.items():
            array = np.array(value, np.int32) if name == "length" else value
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        answers["grpc"] = stub.Predict(request, timeout=SECONDS)

    threads = [threading.Thread(target=target) for target in (over_rest, over_grpc)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + SECONDS
    while 'version="2"} 2.0' not in _queue(client, "slow"):
        assert time.monotonic() < end
    assert not answers
    status = server.stop()
    for thread in threads:
        thread.join()

    assert status == 0
    assert answers["rest"].json() == {"outputs": {"steps": [steps], "text": ["a!"]}}
    assert answers["grpc"].outputs["steps"].int_val == [steps]
    assert server.lines[-1]["event"] == "stopped"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{ready['rest']}/healthz")
    channel.close()
    client.close()


def test_kept_connections_lose_nothing(start: Callable[..., Server], tmp_path: Path) -> None:
    """Clients that ask without a pause on connections they keep are told to close them, with an answer."""
    write_version(tmp_path / "toy", 1)
    server = start(tmp_path / "toy")
    host, port = server.wait_for("ready")["rest"].removeprefix("http://").split(":")
    body = json.dumps({"instances": ["a"]})
    begun = threading.Barrier(9)
    told: list[str | None] = []

    def ask() -> None:
        connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
        for turn in range(100_000):
            connection.request("POST", "/v1/models/toy:predict", body)
            response = connection.getresponse()
            assert json.loads(response.read()) == {"predictions": [{"text": "A", "version": 1}]}
            if turn == 0:
                begun.wait(SECONDS)
            if response.getheader("connection") == "close":
                told.append("close")
                return

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    begun.wait(SECONDS)
    assert server.stop() == 0
    for client in clients:
        client.join()

    assert told == ["close"] * 8


def _queue(client: httpx.Client, signature: str) -> str:
    lines = client.get("/metrics").text.splitlines()
    return "\n".join(line for line in lines if line.startswith("textrnn_queue_rows") and signature in line)


def test_the_end_of_the_grace(start: Callable[..., Server], tmp_path: Path) -> None:
    """A request that takes longer than the grace does not keep the server; Ctrl-C ends it as well."""
    write_version(tmp_path / "toy", 1)
    server = start(f"words={tmp_path / 'toy/1'}", "--grace", "0.5", "--max-length", 2**31 - 1)
    ready = server.wait_for("ready")
    assert ready["models"] == ["words"]
    body = {"signature_name": "slow", "inputs": {"text": ["a"], "length": [2**31 - 1], "stop": ["!"]}}

    answers: list[httpx.Response] = []

    def ask() -> None:
        address = f"{ready['rest']}/v1/models/words:predict"
        answers.append(httpx.post(address, json=body, timeout=SECONDS))

    asking = threading.Thread(target=ask)
    asking.start()
    with httpx.Client(base_url=ready["rest"]) as client:
        while " 1.0" not in _queue(client, "slow"):
            time.sleep(0.05)
    assert server.stop(signal.SIGINT) == 0
    asking.join()
    assert answers[0].status_code == 503
    assert answers[0].json() == {"error": "the server is stopping"}


# The command line


def test_mistakes(command: Command, exported: Path, run: Path, tmp_path: Path) -> None:
    """What can't be served is told in a line before anything is started."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "other/1").mkdir(parents=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, message in {
            (tmp_path / "nowhere",): "no such directory. Pass a directory created by 'textrnn export'.",
            (tmp_path / "empty",): "is not an export: it has no version directory",
            (tmp_path / "other",): "is not an export: it has no assets.extra/manifest.json",
            (run,): "is not an export: it has no version directory",
            (exported, exported.parent): "two models have the name 'reviews'",
            (f"a={exported}", f"a={exported}"): "two models have the name 'a'",
            (f"a:b={exported}",): "the model name 'a:b' is not valid in a URL",
            (exported, f"b={exported}", "--name", "c"): "--name c needs exactly one EXPORT",
            (exported, "--label", "stable"): "expected [NAME:]LABEL=VERSION",
            (exported, "--label", "revies:stable=1"): "did you mean 'reviews'?",
            (exported, "--rest-port", port): f"--rest-port {port} of 127.0.0.1: Address already in use",
            (exported, "--rest-port", 0, "--grpc-port", port): f"--grpc-port {port} of 127.0.0.1",
        }.items():
            result = command("serve", *arguments)
            assert result.exit_code == 1, arguments
            assert message in result.stderr, result.stderr
            assert len(result.stderr.splitlines()) == 1


def test_missing_packages(command: Command, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages of serving one is told how to get them."""
    monkeypatch.delitem(sys.modules, "app.serve")
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    result = command("serve", exported)
    assert result.exit_code == 1
    assert result.stderr == "Error: serve needs uvicorn; pip install 'textrnn[serve]'\n"


def test_names_of_models(exported: Path) -> None:
    """A model has the name that it is given, or that of its directory, not of its version."""
    model = exported.parent

    assert models_of([str(exported)]) == {"reviews": exported}
    assert models_of([str(model)]) == {"reviews": model}
    assert models_of([str(model)], "films") == {"films": model}
    assert models_of([f"a={model}", str(exported)]) == {"a": model, "reviews": exported}


def test_labels() -> None:
    """A label is of the only model, or of the one that it names."""
    assert labels_of(["stable=3", "reviews:new=12"], ["reviews"]) == {
        ("reviews", "stable"): 3,
        ("reviews", "new"): 12,
    }
    assert labels_of(["b:stable=3"], ["a", "b"]) == {("b", "stable"): 3}
    with pytest.raises(UserError, match="name the model"):
        labels_of(["stable=3"], ["a", "b"])
