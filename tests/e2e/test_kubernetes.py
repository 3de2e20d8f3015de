"""A real Kubernetes cluster: whichever one KUBECONFIG names. Everything happens in a namespace of its own, which goes.

    export KUBECONFIG=~/.kube/config
    pytest tests/e2e -p no:xdist

Its nodes must have the images of this version (``kind load docker-image ...``), or GRADLOOM_E2E_REGISTRY names where
they are pulled from.
"""

import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from builders.manifests import K8S, WHY_NOT, render
from gradloom import Client, LocalCluster
from gradloom.handles import Job
from gradloom.jobs import JobState, JobView, RoundCompleted, WorkerState, WorkerView

START_LIMIT_S = 300
"""Images may have to be pulled."""
JOB_LIMIT_S = 300.0
COMMAND_LIMIT_S = 60
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
SHORT: dict[str, object] = {"solver": "lbfgs", "max_rounds": 30}
LONG: dict[str, object] = {"solver": "adam", "batch_size": 512, "max_rounds": 6000, "tolerance": 0.0}
"""Long enough that pods can be deleted meanwhile; the same settings give the same bits."""
WORKERS = "app.kubernetes.io/name=gradloom,app.kubernetes.io/component=worker"
KERNELS = {"OPENBLAS_CORETYPE": "Haswell"} if platform.machine() in ("x86_64", "AMD64") else {}
"""The same ones here and there, or the last bits may differ."""


@cache
def why_not() -> str:
    """Why there is no cluster to test on; empty if there is one."""
    if not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG names no cluster"
    if shutil.which("kubectl") is None:
        return "kubectl is not installed"
    asked = subprocess.run(
        ["kubectl", "auth", "can-i", "create", "namespaces", "--request-timeout=20s"],
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
    )
    answer = (asked.stdout + asked.stderr).strip().splitlines() or ["it says nothing"]
    return "" if asked.returncode == 0 else f"the cluster of KUBECONFIG can't be used: {answer[-1]}"


@dataclass(frozen=True)
class Namespace:
    """gradloom in a namespace."""

    name: str

    def kubectl(self, *words: str, given: bytes | None = None, limit_s: float = COMMAND_LIMIT_S) -> str:
        """Run a command there, and return what it says."""
        command = ["kubectl", "--namespace", self.name, *words]
        done = subprocess.run(command, input=given, capture_output=True, timeout=limit_s)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.decode()}"
        return done.stdout.decode()

    def get(self, *words: str) -> Any:
        """An object, or a list of them."""
        return json.loads(self.kubectl("get", *words, "--output=json"))

    def wait_for(self, workload: str) -> None:
        """Until all of its pods are ready and new."""
        self.kubectl("rollout", "status", workload, f"--timeout={START_LIMIT_S}s", limit_s=START_LIMIT_S + 10)

    def workers(self) -> list[str]:
        """The names of the worker pods that are not about to go."""
        pods = self.get("pods", f"--selector={WORKERS}")["items"]
        return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def scale(self, workers: int) -> None:
        """Change how many workers there are, and wait until they are."""
        self.kubectl("scale", "deployment/gradloom-worker", f"--replicas={workers}")
        self.wait_for("deployment/gradloom-worker")

    def evict(self, pod: str) -> "subprocess.CompletedProcess[str]":
        """Ask as a node that is drained would."""
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.name},
        }
        path = f"/api/v1/namespaces/{self.name}/pods/{pod}/eviction"
        return subprocess.run(
            ["kubectl", "create", "--raw", path, "--filename=-"],
            input=json.dumps(eviction),
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
        )

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client through a port of this machine, which leads to the coordinator's pod as long as that lives."""
        forward = subprocess.Popen(
            ["kubectl", "--namespace", self.name, "port-forward", "service/gradloom-coordinator", ":50051"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert forward.stdout is not None
            said = forward.stdout.readline()
            found = FORWARDING.match(said)
            assert found, said
            with Client(f"127.0.0.1:{found[1]}") as client:
                yield client
        finally:
            forward.terminate()
            forward.wait(COMMAND_LIMIT_S)


def overlay(folder: Path, namespace: str, registry: str) -> Path:
    """overlays/local in another namespace, with images from elsewhere and the kernels that we have here."""
    images = ("gradloom-coordinator", "gradloom-worker", "gradloom-dashboard")
    kernels = [f"{name}={value}" for name, value in KERNELS.items()]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [os.path.relpath(K8S / "overlays" / "local", folder.resolve())],
        "images": [{"name": name, "newName": f"{registry}/{name}"} for name in images] if registry else [],
        "configMapGenerator": [
            {"name": name, "behavior": "merge", "literals": kernels} for name in images[:2] if kernels
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(7)
    X = rng.standard_normal((50_000, 20))
    y = (X @ rng.standard_normal(20) + rng.standard_normal(len(X)) > 0).astype(float)
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, np.column_stack([X, y]))
    return path


@pytest.fixture(scope="module")
def deployed(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """Applied, ready, with data."""
    if why := why_not():
        pytest.skip(why)
    namespace = Namespace(f"gradloom-e2e-{secrets.token_hex(3)}")
    folder = overlay(
        tmp_path_factory.mktemp("overlay"), namespace.name, os.environ.get("GRADLOOM_E2E_REGISTRY", "")
    )
    try:
        namespace.kubectl("apply", "--kustomize", str(folder))
        for workload in (
            "statefulset/gradloom-coordinator",
            "deployment/gradloom-worker",
            "deployment/gradloom-dashboard",
        ):
            namespace.wait_for(workload)
        write = ("exec", "--stdin", "gradloom-coordinator-0", "--", "sh", "-c", "cat > /data/rows.npy")
        namespace.kubectl(*write, given=rows.read_bytes())
        yield namespace
    finally:
        subprocess.run(
            ["kubectl", "delete", "namespace", namespace.name, "--wait=false"], timeout=COMMAND_LIMIT_S
        )


@pytest.fixture(scope="module")
def reference(rows: Path, deployed: Namespace) -> dict[str, str]:
    """The hashes of what a cluster on this machine trains."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in KERNELS.items():
            environment.setenv(name, value)
        with LocalCluster(workers=2) as cluster, cluster.client() as client:
            return {
                "short": completed(submit(client, SHORT, str(rows))).parameters_sha256,
                "long": completed(submit(client, LONG, str(rows))).parameters_sha256,
            }


def submit(client: Client, settings: dict[str, object], data: str = "/data/rows.npy") -> Job:
    return client.submit("logistic", data=data, target="20", shards=8, seed=3, settings=settings)


def completed(job: Job) -> JobView:
    view = job.wait(JOB_LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    return view


def until_round(job: Job, wanted: int) -> None:
    """Wait until a job has done some more of its rounds."""
    for event in job.watch(timeout_s=JOB_LIMIT_S):
        if isinstance(event.what, RoundCompleted) and event.what.round >= wanted:
            return
    raise AssertionError(f"the job ended before round {wanted}")


def until(what: str, holds: Callable[[], bool], limit_s: float = START_LIMIT_S) -> None:
    """Wait for a condition; each look asks the cluster."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.5)


@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_what_is_applied_is_the_local_overlay_in_a_namespace_of_its_own(tmp_path: Path) -> None:
    """Needs no cluster."""
    objects = render(overlay(tmp_path, "gradloom-e2e-0a1b2c", "registry.example.com/lab"), "end to end")
    assert objects.one("Namespace", "gradloom-e2e-0a1b2c")
    assert {one["metadata"].get("namespace") for one in objects.all} == {None, "gradloom-e2e-0a1b2c"}
    for role, container in objects.containers.items():
        assert container.spec["image"] == f"registry.example.com/lab/gradloom-{role}:0.1.0"
    for role in ("coordinator", "worker"):
        assert objects.containers[role].environment.items() >= KERNELS.items()


def test_it_trains_what_a_cluster_on_one_machine_trains(
    deployed: Namespace, reference: dict[str, str]
) -> None:
    with deployed.client() as client:
        assert completed(submit(client, SHORT)).parameters_sha256 == reference["short"]


def test_a_worker_pod_that_is_killed_costs_only_what_it_computed(
    deployed: Namespace, reference: dict[str, str]
) -> None:
    with deployed.client() as client:
        job = submit(client, LONG)
        until_round(job, 50)
        deployed.kubectl("delete", "pod", deployed.workers()[0], "--grace-period=0", "--force")
        assert completed(job).parameters_sha256 == reference["long"]
    deployed.wait_for("deployment/gradloom-worker")


def test_a_worker_pod_that_is_told_to_go_drains(deployed: Namespace, reference: dict[str, str]) -> None:
    with deployed.client() as client:
        job = submit(client, LONG)
        until_round(job, 50)
        deployed.kubectl("delete", "pod", deployed.workers()[0])  # waits until it is gone
        view = completed(job)
        assert view.parameters_sha256 == reference["long"]
        assert view.retries == 0, "what a worker hands back is no failure"
    deployed.wait_for("deployment/gradloom-worker")


def test_a_coordinator_pod_that_is_killed_comes_back_to_its_jobs(
    deployed: Namespace, reference: dict[str, str]
) -> None:
    with deployed.client() as client:
        job_id = submit(client, LONG).id
        until_round(client.job(job_id), 50)
        before = deployed.get("pod", "gradloom-coordinator-0")["metadata"]["uid"]
        deployed.kubectl("delete", "pod", "gradloom-coordinator-0", "--grace-period=0", "--force")
    until("another pod", lambda: uid_of(deployed, "gradloom-coordinator-0") not in ("", before))
    deployed.wait_for("statefulset/gradloom-coordinator")
    with deployed.client() as client:
        assert completed(client.job(job_id)).parameters_sha256 == reference["long"]


def uid_of(deployed: Namespace, pod: str) -> str:
    """Of the pod that has this name now; empty = none."""
    found = [one for one in deployed.get("pods")["items"] if one["metadata"]["name"] == pod]
    return str(found[0]["metadata"]["uid"]) if found else ""


def test_workers_come_and_go_while_a_job_runs(deployed: Namespace, reference: dict[str, str]) -> None:
    with deployed.client() as client:
        job = submit(client, LONG)
        until_round(job, 20)
        deployed.scale(4)
        until("four workers", lambda: len(connected(client)) == 4)
        assert job.view().state is JobState.RUNNING, "this cluster is too fast for LONG"
        deployed.scale(1)
        assert completed(job).parameters_sha256 == reference["long"]
    deployed.scale(2)


def connected(client: Client) -> list[WorkerView]:
    """The workers that are there now."""
    return [worker for worker in client.workers() if worker.state is not WorkerState.AWAY]


def test_the_budget_lets_one_worker_go_at_a_time(deployed: Namespace) -> None:
    deployed.scale(2)
    until("one may go", lambda: allowed(deployed) == 1)
    first, second = deployed.workers()
    taken = deployed.evict(first)
    assert taken.returncode == 0, taken.stderr
    refused = deployed.evict(second)
    assert refused.returncode != 0, "both were evicted at once"
    assert "disruption budget" in refused.stderr
    until("one may go again", lambda: allowed(deployed) == 1)


def allowed(deployed: Namespace) -> int:
    """How many workers may be evicted now."""
    return int(deployed.get("poddisruptionbudget", "gradloom-worker")["status"]["disruptionsAllowed"])


def test_workers_know_their_machines(deployed: Namespace) -> None:
    """Copies of slow tasks go to another node, which takes the node's name."""
    pods = deployed.get("pods", f"--selector={WORKERS}")["items"]
    nodes = {
        pod["metadata"]["name"]: pod["spec"]["nodeName"]
        for pod in pods
        if pod["status"]["phase"] == "Running"
    }
    with deployed.client() as client:
        hosts = {worker.worker: worker.host for worker in connected(client)}
    assert hosts
    assert hosts.items() <= nodes.items()


def test_nothing_was_restarted_by_a_probe_and_logs_are_json(deployed: Namespace) -> None:
    for pod in deployed.get("pods")["items"]:
        for status in pod["status"].get("containerStatuses", ()):
            assert status["restartCount"] == 0, f"{pod['metadata']['name']}: {status['lastState']}"
        if pod["status"]["phase"] == "Running":
            lines = deployed.kubectl("logs", pod["metadata"]["name"]).splitlines()
            assert all("message" in json.loads(line) for line in lines)
