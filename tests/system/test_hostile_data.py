"""Real jobs that ask for what they may not read, on real clusters."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from builders.durable import until
from gradloom import Client, LocalCluster
from gradloom.errors import InvalidInput, JobFailed
from gradloom.specs import DataSpec, JobSpec

pytestmark = pytest.mark.system


def write_csv(path: Path) -> Path:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((200, 3))
    rows = [f"{a},{b},{c},{int(a + b > c)}" for a, b, c in X]
    path.write_text("\n".join(["a,b,c,y", *rows, ""]))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readable")
    write_csv(folder / "good.csv")
    (folder / "etc").symlink_to("/etc")
    (folder / "passwd.csv").symlink_to("/etc/passwd")
    return folder


@pytest.fixture(scope="module")
def guarded(data: Path) -> Iterator[LocalCluster]:
    with LocalCluster(1, data_allow=[str(data)]) as running:
        yield running


@pytest.fixture(scope="module")
def client(guarded: LocalCluster) -> Iterator[Client]:
    with guarded.client() as client:
        yield client


def fit(client: Client, *uris: str) -> object:
    return client.submit("logistic", data=list(uris), target="y", settings={"max_rounds": "2"}).result(60)


def test_what_may_be_read_is_trained_on_and_so_is_what_a_client_sends(client: Client, data: Path) -> None:
    assert fit(client, str(data / "good.csv"))
    assert fit(client, f"file://{data}/g*.csv")
    X = np.random.default_rng(0).standard_normal((50, 2))
    with client.upload(X, (X[:, 0] > 0).astype(int)) as sent:
        job = client.submit("logistic", data=sent.uri, settings={"max_rounds": "2"})
        assert job.result(60)


@pytest.mark.parametrize(
    "uri",
    [
        "/etc/passwd",
        "{data}/../passwd",
        "file:///etc/passwd",
        "simplecache::/etc/passwd",
        "http://localhost/x",
    ],
)
def test_a_name_from_elsewhere_is_refused_when_it_is_submitted(client: Client, data: Path, uri: str) -> None:
    named = uri.format(data=data)
    with pytest.raises(InvalidInput, match=rf"allowed: {data}") as refused:
        client.submit("logistic", data=["/etc/hostname", named], target="y", format="csv")
    assert refused.value.field == "data"
    with pytest.raises(InvalidInput) as refused:  # a hostile client does not make paths absolute first
        client.submit_spec(JobSpec("logistic", DataSpec((named,), target="y", format="csv")))
    assert repr(named) in refused.value.problem


@pytest.mark.parametrize("name", ["passwd.csv", "etc/passwd", "etc", "*.csv", ""])
def test_a_link_that_leads_out_ends_the_job_and_shows_nothing(client: Client, data: Path, name: str) -> None:
    job = client.submit("logistic", data=f"{data}/{name}", target="y", format="csv")
    with pytest.raises(JobFailed, match="leads out of what this process may read") as failed:
        job.result(60)
    assert "root:" not in str(failed.value)


def test_a_worker_reads_nothing_that_its_own_list_forbids(tmp_path: Path) -> None:
    """The coordinator allows more than its only worker: the job ends at once, with the worker's reason."""
    wide, narrow = tmp_path / "wide", tmp_path / "wide" / "narrow"
    narrow.mkdir(parents=True)
    path, inner = write_csv(wide / "good.csv"), write_csv(narrow / "inner.csv")
    with LocalCluster(1, data_allow=[str(wide)]) as cluster, cluster.client() as client:
        (first,) = cluster.workers
        worker = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gradloom_worker",
                "--coordinator",
                cluster.address,
                "--metrics-port",
                "-1",
            ],
            env={**os.environ, "GRADLOOM_WORKER_NAME": "narrow", "GRADLOOM_DATA_ALLOW": str(narrow)},
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: len(client.workers()) == 2, "the second worker is here")
            first.terminate()
            until(
                lambda: [worker.worker for worker in client.workers()] == ["narrow"], "the first one has left"
            )
            assert fit(client, str(inner))
            job = client.submit("logistic", data=str(path), target="y")
            with pytest.raises(
                JobFailed, match=rf"is not below what this process may read; allowed: {narrow}"
            ):
                job.result(60)
            assert job.view().retries == 0
        finally:
            worker.terminate()
            worker.wait(20)


def test_a_service_whose_list_means_nothing_does_not_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for module, arguments in (
        ("gradloom_coordinator", ["--port", "0", "--metrics-port", "-1", "--no-durable"]),
        ("gradloom_worker", ["--coordinator", address, "--metrics-port", "-1"]),
    ):
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments, "--data-allow", "data"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert "data_allow: 'data' is no absolute path" in done.stderr
