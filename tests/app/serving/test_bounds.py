"""Every numeric input of every signature is checked at every door, and clamped in the graph."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from asking import Answer
from click.testing import Result
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import textrnn
from app.artifacts.examples import examples
from app.artifacts.manifests import SignatureManifest
from app.bounds import LARGEST_FLOAT, LARGEST_INTEGER, Bounds
from app.serving.errors import Refused
from app.serving.grpc_api import grpc_server
from app.serving.logs import Log
from app.serving.metrics import Metrics
from app.serving.options import Limits
from app.serving.repository import Repository
from app.serving.rest import application
from app.tasks import get_task
from app.tasks.generation.bounds import OPTIONS
from app.tasks.generation.sampling import Options

Ask = Callable[..., Answer]
Inputs = dict[str, np.ndarray]
SIGNATURES = [
    *(("generation", name) for name in ("serving_default", "generate", "beam", "resume", "score_pieces")),
    ("translation", "search"),
]
SHARED = ("generate", "beam", "search")
"""Signatures with inputs that apply to all rows, which the row format does not have."""
TEXTS = [b"to be", b"one two"]


def bad_values(bounds: Bounds) -> dict[str, Any]:
    """Return values that an input must not have, as JSON can say them."""
    if isinstance(bounds.default, int):
        found = {
            "negative": -1,
            "lowest": -(2**31),
            "huge": 2**31,
            "vast": 10**30,
            "nan": math.nan,
            "half": 1.5,
        }
        if bounds.maximum < LARGEST_INTEGER:
            found |= {"above": int(bounds.maximum) + 1}
    else:
        found = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "huge": 1e39, "-huge": -3e38}
        if bounds.maximum < LARGEST_FLOAT:
            found |= {"above": float(np.nextafter(np.float32(bounds.maximum), np.float32(np.inf)))}
    if bounds.minimum > 0 or bounds.above:
        found |= {"zero": 0 if isinstance(bounds.default, int) else 0.0}
    return found | {"text": "1", "true": True, "null": None, "nested": [[[1]]]}


def as_array(value: Any, dtype: np.dtype[Any]) -> np.ndarray | None:
    """Return a value as the type of an input; None where that type cannot have it."""
    if isinstance(value, bool | str | list | None) or (dtype.kind == "i" and not isinstance(value, int)):
        return None
    with np.errstate(over="ignore"):
        array = np.array(value, np.float64).astype(dtype) if dtype.kind == "f" else np.array(value, object)
    return array.astype(dtype) if dtype.kind == "f" or -(2**31) <= value < 2**31 else None


class Doors:
    """A server of the tiny models."""

    def __init__(self, repository: Repository, ask: Ask, stub: Any) -> None:
        self.repository = repository
        self.ask = ask
        self.stub = stub
        self.app = application(repository, limits=Limits(), metrics=Metrics(), log=Log(io.StringIO()))

    def good(self, task: str, signature: str) -> tuple[Inputs, SignatureManifest]:
        """Return inputs of a signature, and its manifest."""
        with self.repository.acquire(task) as servable:
            signatures, manifests = servable.predictor.signatures, servable.manifest.signatures
            made = examples(get_task(task).predictions.sample_inputs, signatures, manifests)
            return made[signature](TEXTS), manifests[signature]

    def rest(self, task: str, signature: str, body: dict[str, Any]) -> Answer:
        """Send a request over REST."""
        text = json.dumps({"signature_name": signature, **body})
        return self.ask(self.app, "POST", f"/v1/models/{task}:predict", text)

    def grpc(self, task: str, signature: str, inputs: Inputs) -> str:
        """Return the error of a request over gRPC."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = task, signature
        for key, value in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        with pytest.raises(grpc.RpcError) as error:
            self.stub.Predict(request, timeout=20)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        return str(error.value.details())


@pytest.fixture(scope="module")
def doors(tiny: Repository, ask: Ask) -> Iterator[Doors]:
    """Return all doors of a server."""
    server = grpc_server(tiny, limits=Limits(), metrics=Metrics(), log=Log(io.StringIO()), threads=2)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Doors(tiny, ask, prediction_service_pb2_grpc.PredictionServiceStub(channel))
    server.stop(0).wait()


def plain(inputs: Inputs) -> dict[str, Any]:
    """Return inputs as JSON has them."""
    return {
        name: [item.decode() for item in value] if value.dtype == object else value.tolist()
        for name, value in inputs.items()
    }


def with_value(array: np.ndarray, value: Any) -> Any:
    """Return an array as lists whose last value is another one."""
    if not array.ndim:
        return value
    flat = np.empty(array.shape, object)
    flat[...] = array
    flat.reshape(-1)[-1] = value
    return flat.tolist()


def numeric(inputs: Inputs, manifest: SignatureManifest) -> Iterator[tuple[str, str, Any, Bounds]]:
    """Yield each input with each value that is not allowed."""
    for name, bounds in manifest.bounds.items():
        for kind, value in bad_values(bounds).items():
            yield name, kind, value, bounds


@pytest.mark.parametrize(("task", "signature"), SIGNATURES)
def test_every_number_has_bounds(doors: Doors, task: str, signature: str) -> None:
    """No numeric input is left out, and the inputs of the warm-up are within the bounds."""
    inputs, manifest = doors.good(task, signature)

    assert {name for name, value in inputs.items() if value.dtype.kind in "if"} == set(manifest.bounds)
    assert all(bounds.problem(name, inputs[name]) is None for name, bounds in manifest.bounds.items())


@pytest.mark.parametrize(("task", "signature"), SIGNATURES)
def test_rest_by_column(doors: Doors, task: str, signature: str) -> None:
    """A value that is not allowed gets 400 and a message that names the input."""
    inputs, manifest = doors.good(task, signature)
    inputs |= {"ids": np.zeros((2, 1), np.int32)} if "ids" in inputs else {}
    columns = plain(inputs)
    before = doors.rest(task, signature, {"inputs": columns})
    assert before.status == 200, before.body

    for name, kind, value, bounds in numeric(inputs, manifest):
        answer = doors.rest(task, signature, {"inputs": columns | {name: with_value(inputs[name], value)}})
        assert answer.status == 400, (name, kind, answer.body)
        message = answer.json["error"]
        if as_array(value, inputs[name].dtype) is not None and math.isfinite(value) and abs(value) < 1e38:
            assert message.startswith(f"{name}: expected {bounds.expected}, got "), (name, kind, message)
    assert doors.rest(task, signature, {"inputs": columns}).body == before.body


@pytest.mark.parametrize(("task", "signature"), [case for case in SIGNATURES if case[1] not in SHARED])
def test_rest_by_row(doors: Doors, task: str, signature: str) -> None:
    """The row format has the same bounds."""
    inputs, manifest = doors.good(task, signature)
    inputs |= {"ids": np.zeros((2, 1), np.int32)} if "ids" in inputs else {}
    columns = plain(inputs)
    for name, kind, value, _ in numeric(inputs, manifest):
        changed = columns | {name: with_value(inputs[name], value)}
        rows = [dict(zip(changed, row, strict=True)) for row in zip(*changed.values(), strict=True)]
        answer = doors.rest(task, signature, {"instances": rows})
        assert answer.status == 400, (name, kind, answer.body)


@pytest.mark.parametrize(("task", "signature"), SIGNATURES)
def test_grpc(doors: Doors, task: str, signature: str) -> None:
    """GRPC has the same bounds and the same text, and refuses other types and ranks."""
    inputs, manifest = doors.good(task, signature)
    inputs |= {"ids": np.zeros((2, 1), np.int32)} if "ids" in inputs else {}

    for name, kind, value, bounds in numeric(inputs, manifest):
        array = as_array(value, inputs[name].dtype)
        if array is None:
            continue
        changed = inputs[name].copy()
        changed.reshape(-1)[-1] = array
        message = doors.grpc(task, signature, inputs | {name: changed})
        assert message.startswith(f"{name}: expected {bounds.expected}, got "), (name, kind, message)
    for name in manifest.bounds:
        other = inputs[name].astype(np.float64 if inputs[name].dtype.kind == "f" else np.int64)
        assert "has the type" in doors.grpc(task, signature, inputs | {name: other})
        assert "has the shape" in doors.grpc(task, signature, inputs | {name: inputs[name][np.newaxis]})


@pytest.mark.parametrize(("task", "signature"), SIGNATURES)
def test_the_graph_itself(doors: Doors, task: str, signature: str) -> None:
    """Without any door, the nearest allowed value takes the place of another one: outputs stay finite."""
    inputs, manifest = doors.good(task, signature)
    inputs |= {"ids": np.zeros((2, 1), np.int32)} if "ids" in inputs else {}
    with doors.repository.acquire(task) as servable:
        function = servable.predictor.signatures[signature]
    for name, kind, value, bounds in numeric(inputs, manifest):
        array = as_array(value, inputs[name].dtype)
        if array is None or (name, kind) == ("length", "huge"):
            continue
        changed = inputs[name].copy()
        changed.reshape(-1)[-1] = array
        outputs = function(**{key: tf.constant(own) for key, own in (inputs | {name: changed}).items()})
        for key, output in outputs.items():
            if output.dtype.is_floating:
                assert np.isfinite(output.numpy()).all(), (name, kind, key, bounds)


def test_one_bad_row_leaves_the_others_alone(doors: Doors) -> None:
    """In the graph a row with a value that is not allowed does not change the others of its batch."""
    inputs, _ = doors.good("generation", "serving_default")
    with doors.repository.acquire("generation") as servable:
        function = servable.predictor.signatures["serving_default"]
    good = function(**{key: tf.constant(value) for key, value in inputs.items()})
    bad = {
        "temperature": np.array([0, np.nan], np.float32),
        "top_p": np.array([0.9, -np.inf], np.float32),
        "top_k": np.array([5, -7], np.int32),
        "seed": np.array([0, -1], np.int32),
    }

    found = function(**{key: tf.constant(value) for key, value in (inputs | bad).items()})

    assert found["text"][0] == good["text"][0]
    assert np.isfinite(found["log_probability"].numpy()).all()


PYTHON = [
    (name, value)
    for name, bounds in OPTIONS.items()
    for kind, value in (bad_values(bounds) | {"number": 10**400, "array": np.array([1, 2])}).items()
    if (name, kind) not in (("length", "huge"),)
]


@pytest.fixture(scope="module")
def writer(tiny: Repository) -> textrnn.Model:
    """Return a tiny language model."""
    with tiny.acquire("generation") as servable:
        return textrnn.Model(servable.path, servable.predictor)


def test_python(writer: textrnn.Model) -> None:
    """From Python an option that is not allowed is one error in one line, with the same text."""
    for name, value in PYTHON:
        more = {"beam": 2} if name == "length_penalty" else {}
        with pytest.raises(textrnn.UserError) as error:
            writer.generate("to be", **{"length": 3, **more, name: value})
        assert str(error.value).startswith(f"{name}: expected {OPTIONS[name].expected}, got "), (name, value)
        assert "\n" not in str(error.value)
    for value in (-1, True, 1.0, 1001, "2"):
        with pytest.raises(textrnn.UserError, match=r"^beam: expected an integer from 1 to 1000, got "):
            writer.generate("to be", beam=value)
    for name, value in (("stop", 5), ("stop", [5]), ("label", 5)):
        with pytest.raises(textrnn.UserError, match=f"^{name}: expected "):
            writer.generate("to be", **{name: value})
    of_numpy = {"length": np.int64(3), "temperature": np.float32(0), "seed": np.uint8(2)}
    (one,) = writer.generate("to be", **of_numpy, top_p=1)
    assert one == writer.generate("to be", length=3, temperature=0.0, seed=2)[0]


@pytest.mark.parametrize("beam", [0, -1, 1001, 2**40, True, 1.0, math.nan, "2"])
def test_the_beam_of_a_translator(tiny: Repository, beam: Any) -> None:
    """The width of a translator has the same bounds."""
    with tiny.acquire("translation") as servable:
        model = textrnn.Model(servable.path, servable.predictor)
    with pytest.raises(textrnn.UserError, match=r"^beam: expected an integer from 1 to 1000, got "):
        model.predict(["one"], beam=beam)


def test_the_command_line(command: Callable[..., Result]) -> None:
    """Before anything is loaded, one line says what is allowed; the exit status is 2."""
    integers = ("-1", "nan", "1e3", "2147483648", "x", "9" * 5000)
    numbers = ("nan", "inf", "-inf", "-11", "1e39", "x")
    for name, bounds in OPTIONS.items():
        option = f"--{name.replace('_', '-')}"
        for value in integers if isinstance(bounds.default, int) else numbers:
            result = command("generate", "no-model", "--beam", "2", option, value)
            assert result.exit_code == 2, (option, value)
            assert result.stderr.startswith(f"Error: Invalid value for '{option}': "), (option, value)
            assert result.stderr.count("\n") == 1
    for arguments in (("generate", "no-model"), ("predict", "no-model"), ("evaluate", "no-model")):
        for value in ("0", "-1", "1001", "nan"):
            result = command(*arguments, "--beam", value)
            assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    for option in ("--timeout", "--poll", "--grace", "--batch-timeout"):
        for value in ("nan", "inf", "-inf", "-1", "1e300"):
            result = command("serve", "no-export", option, value)
            assert result.exit_code == 2, (option, value)
    for option in ("--max-body", "--max-batch-size", "--max-queue", "--max-length"):
        for value in ("0", "-1", str(2**31), "1.5", "nan"):
            result = command("serve", "no-export", option, value)
            assert result.exit_code == 2, (option, value)


def test_streamed_text(doors: Doors) -> None:
    """`:generate` has the bounds of the signatures."""
    for name, bounds in OPTIONS.items():
        if name == "length_penalty":
            continue
        for kind, value in bad_values(bounds).items():
            answer = doors.ask(
                doors.app, "POST", "/v1/models/generation:generate", json.dumps({"prompt": "a", name: value})
            )
            assert answer.status == 400, (name, kind)
            assert "got" in answer.json["error"] or "is not JSON" in answer.json["error"]
    body = json.dumps({"prompt": "a", "length_penalty": 1})
    assert doors.ask(doors.app, "POST", "/v1/models/generation:generate", body).status == 400


def test_defaults_are_those_of_the_bounds() -> None:
    """An option that is not given has the default of its bounds."""
    assert {name: getattr(Options(), name) for name in OPTIONS} == {k: b.default for k, b in OPTIONS.items()}


def test_warmup_requests_are_within_the_bounds(tiny: Repository, tmp_path: Path) -> None:
    """A warm-up request with a value that is not allowed is refused like any other."""
    with tiny.acquire("generation") as servable:
        signature = servable.signatures["serving_default"]
        made = examples(
            get_task("generation").predictions.sample_inputs,
            servable.predictor.signatures,
            servable.manifest.signatures,
        )
        inputs = made["serving_default"]([b"a"]) | {"temperature": np.array([np.nan], np.float32)}
    with pytest.raises(Refused, match=r"^temperature: expected a number of at least 0, got nan$"):
        signature.warm(inputs)
