from __future__ import annotations

import io
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from asking import Answer
from prometheus_client.parser import text_string_to_metric_families
from tiny_exports import ROWS, write_exports

from app.artifacts.manifests import EXPORT_MANIFEST, Reference, read_export_manifest
from app.serving.drift import LONGEST_SAMPLED, MOST_ANSWERS, OTHER, SAMPLE, Drift
from app.serving.logs import Log
from app.serving.metrics import Metrics
from app.serving.options import Limits
from app.serving.repository import Repository
from app.serving.rest import application
from app.tasks import get_task
from app.tasks.monitoring import COUNTS

Ask = Callable[..., Answer]
Samples = dict[tuple[str, str, str], float]


@pytest.fixture(scope="module")
def exports(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    return once("tiny", write_exports) / "exports"


def loaded(models: dict[str, Path]) -> tuple[Repository, Metrics]:
    metrics = Metrics()
    repository = Repository(models, metrics=metrics, log=Log(io.StringIO()))
    repository.poll()
    assert repository.ready
    return repository, metrics


def samples(text: bytes) -> Samples:
    """Return the values by metric, model, and the one label that is not of the model."""
    own = {"model", "version", "signature", "api", "code"}
    return {
        (
            sample.name,
            sample.labels.get("model", ""),
            " ".join(v for k, v in sample.labels.items() if k not in own),
        ): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def predict(task: str, text: str) -> tuple[str, str, str]:
    row: object = text
    if task == "generation":
        row = {"prompt": text, "length": 5, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 1}
    return "POST", f"/v1/models/{task}:predict", json.dumps({"instances": [row]})


TEXTS = {
    "classification": "a good film zzz",
    "tagging": "play zzz now",
    "translation": "one two.",
    "generation": "to be",
}


def test_a_server_counts(exports: Path, ask: Ask) -> None:
    """Each task counts its answers and a sample of its tokens, beside the values of its own data."""
    repository, metrics = loaded({task: exports / task for task in ROWS})
    app = application(repository, limits=Limits(), metrics=metrics, log=Log(io.StringIO()))
    answers = {task: ask(app, *predict(task, text)) for task, text in TEXTS.items()}
    assert {answer.status for answer in answers.values()} == {200}
    found = samples(ask(app, "GET", "/metrics").body)

    label = answers["classification"].json["predictions"][0]["label"]
    score = answers["classification"].json["predictions"][0]["score"]
    assert found["textrnn_answers_total", "classification", label] == 1
    assert found["textrnn_certainty_sum", "classification", ""] == pytest.approx(score)
    assert found["textrnn_sampled_tokens_sum", "classification", ""] == 4
    assert found["textrnn_sampled_unknown_tokens_total", "classification", ""] == 1
    shares = [found["textrnn_reference_answer_share", "classification", k] for k in ("positive", "negative")]
    assert sum(shares) == pytest.approx(1)
    assert found["textrnn_reference_unknown_share", "classification", ""] == 0

    tags = answers["tagging"].json["predictions"][0]["tags"]
    assert sum(
        v for (name, model, _), v in found.items() if (name, model) == ("textrnn_answers_total", "tagging")
    ) == len(tags)
    assert found["textrnn_sampled_unknown_tokens_total", "tagging", ""] == 1
    assert found["textrnn_reference_tokens", "tagging", "0.5"] == 3

    written = answers["translation"].json["predictions"][0]["text"]
    assert found["textrnn_answer_characters_sum", "translation", ""] == len(written)
    assert ("textrnn_reference_answer_characters", "translation", "") in found
    assert found["textrnn_sampled_tokens_count", "generation", ""] == 1
    assert ("textrnn_reference_answer_characters", "generation", "") not in found
    assert b"zzz" not in metrics.exposition()
    assert samples(metrics.exposition())["textrnn_sampled_tokens_count", "generation", ""] == 1
    repository.stop()


def test_a_retired_version_has_no_series(exports: Path) -> None:
    """Its reference would be shown for ever."""
    repository, metrics = loaded({"classification": exports / "classification"})
    assert b'textrnn_reference_unknown_share{model="classification"' in metrics.exposition()
    metrics.retired("classification", 1)
    own = ("textrnn_reference", "textrnn_answer", "textrnn_certainty", "textrnn_sampled")
    assert not [name for name, *_ in samples(metrics.exposition()) if name.startswith(own)]
    repository.stop()


def test_an_export_of_an_earlier_version(exports: Path, tmp_path: Path, ask: Ask) -> None:
    """Without a reference it is served, and has no gauges."""
    old = tmp_path / "1"
    shutil.copytree(next((exports / "classification").iterdir()), old)
    manifest = json.loads((old / EXPORT_MANIFEST).read_text())
    del manifest["reference"]
    (old / EXPORT_MANIFEST).write_text(json.dumps(manifest))
    repository, metrics = loaded({"classification": old})
    app = application(repository, limits=Limits(), metrics=metrics, log=Log(io.StringIO()))
    assert ask(app, *predict("classification", "fine")).status == 200

    found = {name for name, *_ in samples(metrics.exposition())}
    assert "textrnn_answers_total" in found
    assert not [name for name in found if name.startswith("textrnn_reference")]
    repository.stop()


def test_bounds(exports: Path) -> None:
    """The number of series and the work of a scrape have a bound, and a text of a client stays in none."""
    path = next((exports / "classification").iterdir())
    labels = [f"label {i:03}" for i in range(300)]
    shares = {label: (i + 1) / 45_150 for i, label in enumerate(labels)}
    manifest = read_export_manifest(path)
    preprocessing = manifest.preprocessing | {"labels": labels}
    own = Reference(split="validation", examples=9, answers=shares, unknown=0.1, tokens={"0.5": 2.0})
    repository, _ = loaded({"classification": path})
    with repository.acquire("classification") as servable:
        metrics = Metrics()
        drift = Drift(
            metrics.drift,
            get_task("classification").predictions.monitoring,
            manifest.with_(preprocessing=preprocessing, reference=own),
            servable.predictor,
            model="many",
            version=7,
        )
    assert COUNTS in servable.predictor.signatures
    metrics.drift.watch(drift)
    rows = [b"long " * LONGEST_SAMPLED, *[b"a good film"] * 199, *[b"fine"] * 100]
    outputs = {"label": np.array([label.encode() for label in labels], object), "score": np.full(300, 0.5)}
    drift.count({"text": np.array(rows, object)}, outputs)
    found = samples(metrics.exposition())

    answers = {key[2]: value for key, value in found.items() if key[0] == "textrnn_answers_total"}
    assert len(answers) == MOST_ANSWERS + 1
    assert answers[OTHER] == 200
    assert answers["label 299"] == 1
    assert found["textrnn_reference_answer_share", "many", OTHER] == pytest.approx(sum(range(201)) / 45_150)
    assert found["textrnn_sampled_tokens_count", "many", ""] == SAMPLE
    assert SAMPLE < found["textrnn_sampled_tokens_sum", "many", ""] < 3 * SAMPLE
    repository.stop()


DEPLOY = Path(__file__).parents[3] / "deploy"


def expressions() -> list[str]:
    """Return the expressions of the dashboard and of the alerts."""
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    variables = [variable.get("definition", "") for variable in dashboard["templating"]["list"]]
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*variables, *targets, *(rule["expr"] for group in rules["groups"] for rule in group["rules"])]


def test_the_dashboard_and_the_alerts_read_what_there_is(exports: Path, ask: Ask) -> None:
    """Each metric and each of its labels is one that a server shows after requests."""
    repository, metrics = loaded({task: exports / task for task in ("classification", "translation")})
    app = application(repository, limits=Limits(), metrics=metrics, log=Log(io.StringIO()))
    for task in ("classification", "translation"):
        assert ask(app, *predict(task, TEXTS[task])).status == 200
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(ask(app, "GET", "/metrics").body.decode()):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    repository.stop()

    read = expressions()
    assert len(read) > 20
    for expression in read:
        assert expression.count("(") == expression.count(")")
        for name, selected in re.findall(r"(textrnn_\w+)(?:\{([^}]*)\})?", expression):
            assert name in labels, name
            assert set(re.findall(r"(\w+)\s*(?:=~|!=|=)", selected)) <= labels[name], expression


def test_ports_and_probes(exports: Path, ask: Ask) -> None:
    """Kubernetes and Prometheus ask paths that the server has, on ports that it listens on."""
    deployment, service, scaler = yaml.safe_load_all((DEPLOY / "kubernetes-serving.yaml").read_text())
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    options = dict(itertools.pairwise(container["args"]))
    (scrape,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    annotations = template["metadata"]["annotations"]
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]

    assert ports == {"rest": int(options["--rest-port"]), "grpc": int(options["--grpc-port"])}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports.keys()
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert {probe["port"] for probe in probes} == {"rest"}
    assert annotations["prometheus.io/port"] == str(ports["rest"])
    (target,) = scrape["static_configs"][0]["targets"]
    assert target.endswith(f":{ports['rest']}")
    repository, metrics = loaded({"classification": exports / "classification"})
    app = application(repository, limits=Limits(), metrics=metrics, log=Log(io.StringIO()))
    for path in {probe["path"] for probe in probes} | {
        annotations["prometheus.io/path"],
        scrape["metrics_path"],
    }:
        assert ask(app, "GET", path).status == 200
    repository.stop()


def test_the_compose_file_mounts_what_there_is() -> None:
    """The settings of Prometheus are the files beside it."""
    compose = yaml.safe_load((DEPLOY / "compose.monitoring.yaml").read_text())
    mounts = [
        volume.split(":")[0] for service in compose["services"].values() for volume in service["volumes"]
    ]
    files = [mount for mount in mounts if mount.startswith("./")]

    assert {mount for mount in mounts if not mount.startswith("./")} == compose["volumes"].keys()
    assert files
    for file in files:
        assert (DEPLOY / file).is_file()
    rules = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["rule_files"]
    assert all(f"./{name}" in files for name in rules)
