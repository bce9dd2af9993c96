"""The files for TensorFlow Serving say what it understands, and agree with each other."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from app.artifacts.warmup import BATCH_SIZES
from app.serving.options import Batching

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCS = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")

MONITORING_FILES = (
    *("prometheus.yml", "alerts.yml", "grafana-dashboard.json"),
    *("compose.monitoring.yaml", "kubernetes-serving.yaml"),
)
"""For `textrnn serve`."""

INT64, STRING = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"
# Of the server's messages that tensorflow-serving-api leaves out: fields by number, as its sources have them
# (tensorflow_serving/servables/tensorflow/session_bundle_config.proto, config/monitoring_config.proto).
MESSAGES = {
    "BatchingParameters": {
        "max_batch_size": INT64,
        "batch_timeout_micros": INT64,
        "max_enqueued_batches": INT64,
        "num_batch_threads": INT64,
        "thread_pool_name": STRING,
        "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
    },
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": ".PrometheusConfig"},
}


def message(name: str) -> Any:
    """Return an empty message of the server."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="server.proto", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    for message_name, fields in MESSAGES.items():
        described = file.message_type.add(name=message_name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            label, _, kind = kind.rpartition(" ")
            added = described.field.add(name=field, number=number)
            added.label = kinds.LABEL_REPEATED if label else kinds.LABEL_OPTIONAL
            if kind.startswith("."):
                added.type, added.type_name = kinds.TYPE_MESSAGE, kind
            else:
                added.type = {
                    "int64": kinds.TYPE_INT64,
                    "bool": kinds.TYPE_BOOL,
                    "string": kinds.TYPE_STRING,
                }[kind]
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()


def parsed(file: str, into: Any) -> Any:
    """Return a text file as a message; a field that the message lacks is an error."""
    return text_format.Parse((DEPLOY / file).read_text(encoding="utf-8"), into)


Yaml = dict[str, Any] | list[Any] | str | int | bool
PLAIN: dict[str, Yaml] = {"true": True, "false": False}


def scalar(text: str) -> Yaml:
    """Return a value: between double quotes, a number, or a truth; anything else is an error."""
    if re.fullmatch(r'"(?:[^"\\]|\\[\\"])*"', text):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return PLAIN[text] if text in PLAIN else int(text)


def read_yaml(text: str) -> Yaml:
    """Return what is in a file of the part of YAML that means the same to all its readers.

    These are nested mappings, lists of quoted strings, and comments on lines of their own; two blanks for
    each level, and no key twice.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]

    def block(depth: int) -> Yaml:
        indent = "  " * depth
        if lines[0].startswith(f"{indent}- "):
            items = []
            while lines and lines[0].startswith(f"{indent}- "):
                items.append(scalar(lines.pop(0)[len(indent) + 2 :]))
            return items
        mapping: dict[str, Any] = {}
        while lines and lines[0].startswith(indent):
            match = re.fullmatch(rf"{indent}([a-zA-Z_]+):(?: (.+))?", lines.pop(0))
            assert match, "a key, at this level"
            key, value = match.groups()
            assert key not in mapping
            mapping[key] = block(depth + 1) if value is None else scalar(value)
        return mapping

    found = block(0)
    assert not lines
    return found


@pytest.fixture(scope="module")
def service() -> Any:
    """Return the service of the compose file."""
    compose: Any = read_yaml((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert list(compose) == ["services"]
    (service,) = compose["services"].values()
    return service


def flags(service: Any) -> dict[str, str]:
    """Return the options of the server by name."""
    return dict(option.removeprefix("--").split("=", 1) for option in service["command"])


def test_models() -> None:
    """The models, their versions and labels are in a form that the server reads."""
    config = parsed("models.config", ModelServerConfig())

    (model,) = config.model_config_list.config
    assert model.name == "reviews"
    assert model.base_path == f"/models/{model.name}"
    assert model.model_platform == "tensorflow"
    assert model.model_version_policy.latest.num_versions == 2
    assert dict(model.version_labels) == {"stable": 1}
    assert f"/v1/models/{model.name}/labels/stable:predict" in DOCS


def test_batching() -> None:
    """Requests share calls as they do in our own server, and the warm-up requests fit in."""
    config, own = parsed("batching.config", message("BatchingParameters")), Batching()

    assert config.max_batch_size.value == own.max_batch_size == max(BATCH_SIZES)
    assert config.num_batch_threads.value == own.threads
    assert config.batch_timeout_micros.value == own.timeout * 1e6
    assert config.max_enqueued_batches.value * config.max_batch_size.value == own.max_queue
    assert config.HasField("batch_timeout_micros")  # or the server's own default would hold
    assert not config.pad_variable_length_inputs
    assert not config.allowed_batch_sizes


def test_monitoring() -> None:
    """Prometheus finds the metrics where the documentation says."""
    config = parsed("monitoring.config", message("MonitoringConfig")).prometheus_config

    assert config.enable
    assert f"http://127.0.0.1:8501{config.path}\n" in DOCS


@pytest.mark.parametrize(
    "text", ["max_batch_sizes { value: 64 }", "max_batch_size: 64", "model_config_list {}"]
)
def test_the_messages_are_strict(text: str) -> None:
    """A misspelt field, or one of another kind, would be found."""
    with pytest.raises(text_format.ParseError):
        text_format.Parse(text, message("BatchingParameters"))


def test_image(service: Any) -> None:
    """The image has a version, which the documentation names."""
    assert re.fullmatch(r"tensorflow/serving:2\.\d+\.\d+", service["image"])
    assert f"`{service['image']}-gpu`" in DOCS


def test_files_of_the_container(service: Any) -> None:
    """What the server is told to read is mounted, read-only, from files that are there."""
    mounts = [volume.split(":") for volume in service["volumes"]]

    assert all(mode == "ro" for _, _, mode in mounts)
    inside = {target: (DEPLOY / source).resolve() for source, target, _ in mounts}
    assert inside.pop("/models") == ROOT / "exports"
    read = {value for name, value in flags(service).items() if name.endswith("_file")}
    assert read == inside.keys()
    for target, source in inside.items():
        assert source.is_file()
        assert Path(target).name == source.name
        assert f"`deploy/{source.name}`" in DOCS
    others = {path.name for path in DEPLOY.iterdir()} - {source.name for source in inside.values()}
    # the last one is for tests/test_training_jobs.py
    assert others == {"compose.yaml", *MONITORING_FILES, "kubernetes-training.yaml"}


def test_flags(service: Any) -> None:
    """Each is one that the server has, and a label may name a version that is still being loaded."""
    assert flags(service).keys() == {
        "model_config_file",
        "model_config_file_poll_wait_seconds",
        "allow_version_labels_for_unavailable_models",
        "enable_batching",
        "batching_parameters_file",
        "monitoring_config_file",
    }
    assert flags(service)["allow_version_labels_for_unavailable_models"] == "true"
    assert flags(service)["enable_batching"] == "true"


def test_ports(service: Any) -> None:
    """The ports are those of our own server, gRPC on 8500 and REST on 8501, for this machine alone."""
    assert service["environment"] == {"GRPC_PORT": "8500", "PORT": "8501"}
    assert service["ports"] == [f"127.0.0.1:{port}:{port}" for port in ("8500", "8501")]
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", DOCS)) == {"8501"}
    assert "gRPC on port 8500, REST on port 8501" in DOCS


@contextmanager
def answering(state: str) -> Iterator[tuple[int, list[str]]]:
    """Serve the state of a model on a port; list the addresses that are asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f'{{"model_version_status": [{{"version": "1", "state": "{state}"}}]}}'.encode())

        def log_message(self, *arguments: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("state", "status"), [("AVAILABLE", 0), ("LOADING", 1)])
def test_health(service: Any, state: str, status: int) -> None:
    """The container is healthy when the model is available, and not before."""
    kind, *command = service["healthcheck"]["test"]
    assert kind == "CMD"

    with answering(state) as (port, asked):
        command = [part.replace("/8501", f"/{port}") for part in command]
        assert subprocess.run(command, timeout=30, check=False).returncode == status

    assert asked == ["/v1/models/reviews"]


def test_no_server_is_not_healthy(service: Any) -> None:
    """Nor is it while nothing listens."""
    with answering("AVAILABLE") as (port, _):
        pass
    command = [part.replace("/8501", f"/{port}") for part in service["healthcheck"]["test"][1:]]

    assert subprocess.run(command, timeout=30, capture_output=True, check=False).returncode != 0
