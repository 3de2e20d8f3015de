"""Certificates, tokens, a lease on PostgreSQL and checkpoints in an object store at once; the leader is killed."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders.certificates import cluster_tls
from builders.coordinators import Access, coordinators, until_checkpoint, until_round
from builders.objects import CREDENTIALS, Objects, objects_server
from builders.postgres import programs, running_postgres
from gradloom import LocalCluster, token_file, tokens
from gradloom.client import Client, Job
from gradloom.errors import NotAllowed, Unauthenticated
from gradloom.jobs import JobState
from gradloom.roles import Role

pytestmark = pytest.mark.system

LIMIT_S = 60.0
CREATED = 1_700_000_000.0
BUCKET = "kept"


@pytest.fixture
def database() -> Iterator[str]:
    binaries = programs()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed; tests/install_packages.sh does it")
    with running_postgres(binaries) as server:
        yield server.new_database()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    with objects_server() as store:
        store.make_bucket(BUCKET)
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{store.address}"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield store


def with_token(folder: Path, name: str, role: Role) -> str:
    text, token = tokens.new_token(name, role, CREATED, None)
    token_file.change(folder / "tokens.json", lambda book: book.with_one(token))
    return text


def access(folder: Path) -> Access:
    worker_token = folder / "worker.token"
    worker_token.write_text(with_token(folder, "crew", Role.WORKER))
    operator = with_token(folder, "otto", Role.OPERATOR)
    return Access(cluster_tls(folder / "certs"), folder / "tokens.json", worker_token, operator)


def submit(client: Client, data: Path) -> Job:
    settings = {"solver": "adam", "batch_size": 4096, "max_rounds": 300}
    return client.submit("logistic", data=str(data), target="60", shards=16, seed=3, settings=settings)


def completed(job: Job) -> str:
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    return view.parameters_sha256


def test_the_leader_of_a_secured_cluster_is_killed_and_the_job_ends_with_the_same_bits(
    database: str, bucket: Objects, slow_data: Path, tmp_path: Path
) -> None:
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        reference = completed(submit(client, slow_data))
    both, viewer = access(tmp_path), with_token(tmp_path, "vera", Role.VIEWER)
    kept = f"s3://{BUCKET}/gradloom"
    with (
        coordinators(database, tmp_path, "a", "b", kept=kept, access=both) as running,
        running.client() as otto,
        running.client(viewer) as vera,
    ):
        job = submit(otto, slow_data)
        until_round(job.watch(), 10)
        until_checkpoint(running, job)
        running.signal("a", signal.SIGKILL)
        running.until_leads("b")
        assert completed(job) == reference
        me = otto.whoami()
        assert (me.name, me.role, me.how) == ("otto", "operator", "both")
        assert vera.job(job.id).model().parameters_sha256 == reference, "it comes out of the bucket"
        with pytest.raises(NotAllowed, match="SubmitJob needs the role operator"):
            submit(vera, slow_data)
        with running.client("gradloom_" + "x" * 43) as stranger, pytest.raises(Unauthenticated):
            stranger.jobs()
    names = bucket.names(BUCKET)
    assert [name for name in names if name.startswith("gradloom/models/")]
