"""Mutual TLS with real processes: a job's bits, renewal under a running cluster, and what strangers are told."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from builders.certificates import cluster_tls, folder_of, issued, now, serial_of, variables
from builders.durable import until
from builders.guarded import guarded
from builders.proxy import proxy_to
from builders.shell import GRADLOOM, Shell, running_up
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.errors import NotTrusted
from gradloom.jobs import JobState, RoundCompleted
from gradloom.tls import ClusterTls, TlsFiles

pytestmark = pytest.mark.system

LIMIT_S = 60.0
ROOT = Path(__file__).parents[2]
COORDINATOR = str(Path(sys.executable).with_name("gradloom-coordinator"))
WORKER = str(Path(sys.executable).with_name("gradloom-worker"))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ClusterTls:
    return cluster_tls(tmp_path_factory.mktemp("tls") / "certs")


@pytest.fixture(scope="module")
def secured(tls: ClusterTls) -> Iterator[LocalCluster]:
    with LocalCluster(workers=1, tls=tls) as running:
        yield running


def submit(client: Client, data: Path) -> Job:
    settings = {"solver": "adam", "batch_size": 4096, "max_rounds": 150}
    return client.submit("logistic", data=str(data), target="60", shards=8, seed=3, settings=settings)


def sha_of(job: Job) -> str:
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    return view.parameters_sha256


@contextmanager
def worker_at(address: str, files: TlsFiles, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker process; returns once it is welcomed, and ends it."""
    words = ["--coordinator", address, "--name", "proxied", "--metrics-port", "-1", "--announce"]
    environment = {**os.environ, **variables(files), "OPENBLAS_NUM_THREADS": "1"}
    with (
        log.open("wb") as stderr,
        subprocess.Popen([WORKER, *words], stdout=subprocess.PIPE, stderr=stderr, env=environment) as process,
    ):
        try:
            assert process.stdout is not None
            assert b"proxied" in process.stdout.readline(), log.read_text()
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(LIMIT_S)


def ended(program: str, *words: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """A service that refuses to start: its exit status and what it said."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GRADLOOM_")}
    run = subprocess.run(
        [program, *words],
        env={**kept, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return run.returncode, run.stderr


# ---- those who belong


def test_certificates_renewed_under_a_running_job_change_no_bit(
    cluster: LocalCluster,
    secured: LocalCluster,
    tls: ClusterTls,
    slow_data: Path,
    shell: Shell,
    tmp_path: Path,
) -> None:
    with cluster.client() as client:
        plain = sha_of(submit(client, slow_data))
    with (
        secured.client() as client,
        proxy_to(secured.address) as proxy,
        worker_at(proxy.address, tls.worker, tmp_path / "worker.log"),
    ):
        assert sha_of(submit(client, slow_data)) == plain
        first = serial_of(secured.address, tls.client)
        job = submit(client, slow_data)
        for event in job.watch(timeout_s=LIMIT_S):
            if isinstance(event.what, RoundCompleted) and event.what.round == 10:
                break
        job.pause("certificates are renewed")  # so that all that follows is done while it runs
        renewed = shell.json("certs", "renew", "--all", "--new-keys", "--dir", tls.client.ca.parent)
        assert {one["name"] for one in renewed} == {"coordinator", "worker", "admin"}
        proxy.cut()
        job.resume()
        assert sha_of(job) == plain
        assert serial_of(secured.address, tls.client) != first
        assert client.job(job.id).view().state is JobState.COMPLETED
        assert len(client.workers()) == 2
    assert "renewed: TLS with the certificate of worker" in (tmp_path / "worker.log").read_text()
    log = (secured.data_dir / "logs" / "coordinator.log").read_text()
    assert "renewed: TLS with the certificate of coordinator" in log


def test_every_command_takes_options_or_the_environment(
    secured: LocalCluster, tls: ClusterTls, tmp_path: Path
) -> None:
    at = ("--cluster", secured.address)
    files = tls.client
    options = ("--tls-ca", files.ca, "--tls-cert", files.cert, "--tls-key", files.key)
    plain = Shell(tmp_path)
    assert len(plain.json("workers", *at, *options)) == 1
    told = Shell(tmp_path, environment=variables(files))
    assert told.json("jobs", *at) == plain.json("jobs", *at, *options)
    assert [one["name"] for one in told.json("algorithms", *at)]
    without = plain.run("jobs", *at)
    assert without.status == 3
    assert "speaks TLS, and this side does not" in without.err
    half = plain.run("jobs", *at, "--tls-ca", files.ca)
    assert (half.status, "all three files" in half.err) == (2, True)


def test_the_environment_of_one_cluster_does_not_reach_another_of_one_s_own(
    tls: ClusterTls, breast_cancer: Path, tmp_path: Path
) -> None:
    told = Shell(tmp_path, environment=variables(tls.client))
    words = ("train", "logistic", "--data", breast_cancer, "--workers", "1", "--set", "max_rounds=2")
    assert told.json(*words)["state"] == "completed"


def test_up_serves_other_machines_with_certificates_alone(shell: Shell, tmp_path: Path) -> None:
    refused = shell.run("up", "--port", "0", "--host", "0.0.0.0")
    assert refused.status == 2
    assert "gradloom certs init" in refused.err
    made = shell.json("certs", "init", "--dir", tmp_path / "made", "--host", "train.example")
    assert [one["name"] for one in made] == ["ca", "coordinator", "worker", "admin"]
    assert made[1]["hosts"][0] == "train.example"
    lines = shell.text("certs", "env", "admin", "--dir", tmp_path / "made").splitlines()
    exported = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    options = ("--workers", "1", "--host", "0.0.0.0", "--certs", str(tmp_path / "made"))
    with running_up(shell, *options) as (_, said):
        told = Shell(tmp_path, environment=exported)
        assert len(told.json("workers", "--cluster", said["address"])) == 1


# ---- those who do not


def test_a_coordinator_in_plain_text_listens_to_this_machine_alone(tmp_path: Path) -> None:
    words = ("--host", "0.0.0.0", "--port", "0", "--metrics-port", "-1", "--data-dir", str(tmp_path / "data"))
    status, said = ended(COORDINATOR, *words)
    assert status == 2
    assert "0.0.0.0" in said
    assert "--tls-ca" in said
    assert not (tmp_path / "data").exists()


def test_a_coordinator_that_is_told_to_be_insecure_says_so_loudly(tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = ("--host", "0.0.0.0", "--port", "0", "--metrics-port", "-1", "--data-dir", str(tmp_path / "data"))
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [COORDINATOR, *words, "--insecure", "--announce", "--no-durable"],
            stdout=subprocess.PIPE,
            stderr=stderr,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_S)
    assert "WARNING gradloom_coordinator.listening INSECURE: anybody who reaches 0.0.0.0" in log.read_text()


def test_services_with_files_that_are_no_good_do_not_start(tls: ClusterTls, tmp_path: Path) -> None:
    expired = issued(
        folder_of(tmp_path / "old"), "coordinator", "coordinator", at=now() - timedelta(days=200)
    )
    status, said = ended(
        COORDINATOR, "--port", "0", "--data-dir", str(tmp_path / "data"), environment=variables(expired)
    )
    assert (status, "has expired" in said) == (2, True)
    mixed = TlsFiles(tls.worker.ca, tls.worker.cert, tls.client.key)
    status, said = ended(WORKER, "--metrics-port", "-1", environment=variables(mixed))
    assert (status, "does not belong to the certificate of worker" in said) == (2, True)
    status, said = ended(WORKER, "--coordinator", "10.0.0.1:50051", "--metrics-port", "-1")
    assert (status, "10.0.0.1 is another machine" in said) == (2, True)


def test_a_worker_of_another_authority_is_told_what_is_wrong(secured: LocalCluster, tmp_path: Path) -> None:
    stranger = cluster_tls(tmp_path / "other").worker
    words = [WORKER, "--coordinator", secured.address, "--metrics-port", "-1"]
    environment = {**os.environ, **variables(stranger)}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "not connected" in line)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_S)
    assert f"the certificate of the cluster at {secured.address} comes from an authority that" in said


def test_a_client_of_another_authority_is_told_what_is_wrong(secured: LocalCluster, tmp_path: Path) -> None:
    stranger = cluster_tls(tmp_path / "other").client
    with (
        Client(secured.address, tls=stranger) as client,
        pytest.raises(NotTrusted, match="an authority that"),
    ):
        client.jobs()


def test_whoever_is_refused_in_the_handshake_can_be_found_in_the_log(
    tls: ClusterTls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (ROOT / "docs" / "tls.md").read_text().splitlines()
    (find,) = [line.strip() for line in lines if line.startswith("    grep ")]
    strangers = cluster_tls(tmp_path / "strangers")
    monkeypatch.setenv("GRPC_TRACE", "handshaker")
    with guarded(tmp_path) as cluster:
        cluster.start(tls.coordinator, asks_tokens=False)
        context = ssl.create_default_context(cafile=tls.client.ca)
        context.load_cert_chain(strangers.client.cert, strangers.client.key)
        host, _, port = cluster.address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), LIMIT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            ours = f"peer_address=ipv4:127.0.0.1:{wrapped.getsockname()[1]}"
            with suppress(ssl.SSLError):  # until it hangs up: our certificate comes last
                wrapped.recv(1)
        until(lambda: ours in cluster.log("coordinator").partition("error=UNKNOWN")[2], "it is written")
        assert (
            "Handshake failed with error SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
            "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate\n"
        ) in cluster.log("coordinator")
        found = subprocess.run(
            find, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert found.stdout.split() == ["OPENSSL_internal:CERTIFICATE_VERIFY_FAILED", ours]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_shell_takes_the_lines_of_certs_env(
    tls: ClusterTls, secured: LocalCluster, tmp_path: Path
) -> None:
    folder = tmp_path / "a folder"
    shutil.copytree(tls.client.ca.parent, folder)
    script = f'eval "$("{GRADLOOM}" certs env admin --dir "{folder}")" && "{GRADLOOM}" jobs --json'
    run = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": os.environ["PATH"], "GRADLOOM_CLUSTER": secured.address},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (run.returncode, run.stdout[:1]) == (0, "["), run.stderr
