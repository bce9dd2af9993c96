"""What starts workers on several machines gives each of them the `TF_CONFIG` that it needs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.training.workers import Place, read_place

ROOT = Path(__file__).parents[1]
JOB = ROOT / "deploy" / "kubernetes-training.yaml"
DOCS = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
SHOW = '#!/bin/sh\necho "$TF_CONFIG" > "$SHOWN/$(echo "$TF_CONFIG" | cksum | cut -d " " -f 1)"\n'


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder to which a program `textrnn` writes the `TF_CONFIG` of each call."""
    programs, shown = tmp_path / "bin", tmp_path / "shown"
    for folder in (programs, shown):
        folder.mkdir()
    for name, text in {
        "textrnn": SHOW,
        "scontrol": "#!/bin/sh\nprintf 'node1\\nnode2\\n'\n",
        "srun": '#!/bin/sh\nfor i in 0 1; do SLURM_PROCID=$i "$@"; done\n',
        "ssh": '#!/bin/sh\nmkdir -p project/.venv/bin\nln -sf "$BIN"/* project/.venv/bin\nsh -c "$2"\n',
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SHOWN", str(shown))
    monkeypatch.setenv("BIN", str(programs))
    return shown


def places(shown: Path) -> list[Place]:
    """Return the places that the calls of `textrnn` had, in the order of their ranks."""
    found = [read_place(path.read_text()) for path in shown.iterdir()]
    return sorted(found, key=lambda place: place.rank)


def script(heading: str) -> str:
    """Return the shell script of a section of the docs."""
    match = re.search(rf"^### {heading}\n.*?```sh\n(.*?)```", DOCS, re.MULTILINE | re.DOTALL)
    assert match
    return match[1]


@pytest.mark.parametrize(
    ("heading", "hosts"), [("Plain machines", ("host0", "host1")), ("Slurm", ("node1", "node2"))]
)
def test_scripts_of_the_docs(heading: str, hosts: tuple[str, ...], shown: Path, tmp_path: Path) -> None:
    """Each worker has the addresses of all, and its own index."""
    environment = {**os.environ, "SLURM_JOB_NODELIST": "node[1-2]"}

    subprocess.run(
        ["sh", "-eu", "-c", script(heading)], cwd=tmp_path, env=environment, check=True, timeout=60
    )

    assert [place.rank for place in places(shown)] == [0, 1]
    assert {place.addresses for place in places(shown)} == {tuple(f"{host}:12345" for host in hosts)}


def test_a_job_of_kubernetes(shown: Path) -> None:
    """Service and Job fit together, and the pods' own names are in `TF_CONFIG`."""
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(JOB.read_text(encoding="utf-8")))
    service, job = documents
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (port,) = service["spec"]["ports"]
    name, workers = job["metadata"]["name"], job["spec"]["completions"]

    for index in range(workers):
        given = {own["name"]: own["value"] for own in container["env"]}
        environment = {**os.environ, **given, "JOB_COMPLETION_INDEX": str(index)}
        subprocess.run(container["command"], env=environment, check=True, timeout=60)

    found = places(shown)
    assert [place.rank for place in found] == list(range(workers))
    hosts = [f"{name}-{index}.{pod['subdomain']}" for index in range(workers)]
    assert {place.addresses for place in found} == {tuple(f"{host}:{port['port']}" for host in hosts)}
    assert (service["apiVersion"], service["kind"], job["apiVersion"], job["kind"]) == (
        *("v1", "Service"),
        *("batch/v1", "Job"),
    )
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["parallelism"] == workers
    assert container["ports"] == [{"containerPort": port["port"]}]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
