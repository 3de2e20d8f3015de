"""The pods of the local overlay run as their manifests say: probes, drain, restart, backup; the same model."""

import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from builders.manifests import ROOT, Objects
from builders.pods import Machine, Pod, machine
from gradloom import Client
from k8s.training import LIMIT_S, ended, submit, until_round

pytestmark = pytest.mark.system


def worker_pod(here: Machine, objects: Objects, name: str, coordinator: Pod) -> Pod:
    return here.run(
        objects.containers["worker"], name, GRADLOOM_CLUSTER=f"127.0.0.1:{coordinator.ports['grpc']}"
    )


def test_a_deployment_trains_through_every_restart(
    here: Machine, local: Objects, data: Path, reference: str
) -> None:
    """A worker before its coordinator; one that drains; a coordinator that is moved: all within their grace."""
    coordinator = here.run(local.containers["coordinator"], "coordinator")
    first = worker_pod(here, local, "gradloom-worker-a", coordinator).until_ready()
    coordinator.until_ready()
    second = worker_pod(here, local, "gradloom-worker-b", coordinator).until_ready()
    with Client(f"127.0.0.1:{coordinator.ports['grpc']}") as client:
        assert {worker.worker: worker.host for worker in client.workers()} == {
            "gradloom-worker-a": "node-1",
            "gradloom-worker-b": "node-1",
        }
        job = submit(client, data)
        until_round(job, 5)
        assert first.terminate() == 0
        until_round(job, 10)
        assert coordinator.terminate() == 0
        second.until("readinessProbe", passes=False)
        assert second.passes("livenessProbe"), "it waits for its coordinator, and must not be killed for that"
        here.run(
            local.containers["coordinator"], "coordinator", GRADLOOM_PORT=str(coordinator.ports["grpc"])
        ).until_ready()
        second.until("readinessProbe")
        assert ended(job).parameters_sha256 == reference
    for pod in here.pods:
        lines = [json.loads(line) for line in pod.said.splitlines()]
        assert lines, pod.container.role
        assert all({"time", "level", "message"} <= line.keys() for line in lines)


def test_the_dashboard_is_ready_whether_or_not_there_is_a_coordinator(here: Machine, local: Objects) -> None:
    dashboard = here.run(local.containers["dashboard"], "dashboard", GRADLOOM_CLUSTER="127.0.0.1:1")
    dashboard.until_ready()
    assert dashboard.passes("livenessProbe")
    dashboard.terminate()


def test_a_backup_made_as_the_documentation_says_brings_everything_back(
    here: Machine, local: Objects, data: Path, tmp_path: Path, reference: str
) -> None:
    coordinator = here.run(local.containers["coordinator"], "coordinator").until_ready()
    worker_pod(here, local, "gradloom-worker-a", coordinator).until_ready()
    with Client(f"127.0.0.1:{coordinator.ports['grpc']}") as client:
        job_id = submit(client, data).id
        assert ended(client.job(job_id)).parameters_sha256 == reference
    saved = tmp_path / "gradloom.tar"
    for command in commands_of("Backup and restore", "A backup of a running one"):
        in_pod(command, tmp_path / "state", saved)
    assert coordinator.terminate() == 0

    (tmp_path / "elsewhere").mkdir()
    with machine(tmp_path / "elsewhere", state=tmp_path / "elsewhere", data=data) as there:
        before = there.run(local.containers["coordinator"], "before").until_ready()
        for command in commands_of("Backup and restore", "into a new cluster"):
            if command.startswith("kubectl delete pod"):
                before.kill()
            else:
                in_pod(command, tmp_path / "elsewhere", saved)
        after = there.run(local.containers["coordinator"], "after").until_ready()
        with Client(f"127.0.0.1:{after.ports['grpc']}") as client:
            job = client.job(job_id)
            assert job.view().parameters_sha256 == reference
            assert len(job.model().coefficients.ravel()) == 30


def commands_of(section: str, after: str) -> list[str]:
    """The indented lines that follow some words on the page."""
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    text = page.partition(f"## {section}")[2].partition(after)[2]
    block = re.search(r"(?:^    .*\n)+", text, re.MULTILINE)
    assert block is not None
    return [line.strip() for line in block[0].splitlines()]


def in_pod(command: str, state: Path, saved: Path) -> None:
    """Run what a line gives to ``kubectl exec``, on the folder that is the pod's volume."""
    form = re.fullmatch(
        r"kubectl exec (?:-i )?gradloom-coordinator-0 -- (.*?)(?: ([<>]) gradloom\.tar)?", command
    )
    assert form is not None, command
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    inside = form[1].replace("/var/lib/gradloom", str(state))
    with saved.open({"<": "rb", ">": "wb"}.get(form[2], "rb")) if form[2] else nullcontext() as file:
        streams = {"<": {"stdin": file}, ">": {"stdout": file}}.get(form[2], {})
        done = subprocess.run(
            shlex.split(inside), stderr=subprocess.PIPE, timeout=LIMIT_S, env={"PATH": path}, **streams
        )
    assert done.returncode == 0, done.stderr.decode()
