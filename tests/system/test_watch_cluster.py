"""A cluster that is watched: everything first, then what changes, through a restart and for whoever reads slowly."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from builders.shell import Shell
from gradloom import Client, LocalCluster
from gradloom.cli.phases import wall_seconds
from gradloom.client import Job
from gradloom.errors import Unavailable
from gradloom.jobs import JobState, WorkerState
from gradloom.v1 import cluster_service_pb2, cluster_service_pb2_grpc
from gradloom.watching import ClusterView

pytestmark = pytest.mark.system
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A coordinator that takes checkpoints often, and two workers."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADLOOM_CHECKPOINT_EVERY", "0.2")
        with LocalCluster(workers=2) as running:
            yield running


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address, user="ann@lab") as one:
        yield one


@pytest.fixture
def job(client: Client, slow_data: Path) -> Iterator[Job]:
    settings = {"solver": "gradient_descent", "max_rounds": 100_000, "tolerance": 0}
    job = client.submit("logistic", data=str(slow_data), target="60", shards=8, settings=settings)
    yield job
    job.cancel("seen enough")


def the_job(view: ClusterView, job: Job) -> JobState | None:
    return next((one.state for one in view.jobs if one.job_id == job.id), None)


def test_views_show_workers_and_jobs_as_they_change(client: Client, job: Job, shell: Shell) -> None:
    doing, phases, last_seen = None, None, 0
    for view in client.watch_cluster(LIMIT_S):
        assert view.sequence >= last_seen
        last_seen = view.sequence
        assert [worker.worker for worker in view.workers] == ["worker-0", "worker-1"]
        current = next((one for one in view.jobs if one.job_id == job.id), None)
        working = [worker for worker in view.workers if worker.activity and worker.activity.round]
        doing = doing or (working[0].activity if working else None)
        phases = view.workers[0].phases
        if doing and phases and phases.compute and current and current.rounds > 5 and current.last_worker:
            break
    assert doing is not None
    assert (doing.job_id, doing.step, doing.speculative) == (job.id, "train", False)
    assert 0 <= doing.lo < doing.hi <= 8
    assert phases is not None
    assert 0 < phases.compute < wall_seconds(phases)
    assert current is not None
    assert current.last_worker.startswith("worker-")
    assert sum(share.rounds_last for share in current.workers) > 0
    shown = shell.json("workers", "--cluster", client.address)
    assert shown[0]["phases"]["compute"] > 0
    assert set(shown[0]["activity"] or ()) in (set(), {*doing.__dataclass_fields__})


def test_a_change_is_told_at_once(client: Client, job: Job) -> None:
    views = client.watch_cluster(LIMIT_S)
    assert any(the_job(view, job) is JobState.RUNNING for view in views)
    job.pause()
    assert any(the_job(view, job) is JobState.PAUSED for view in views)
    client.exclude("worker-1", "its fan is loud")
    assert any(
        worker.state is WorkerState.EXCLUDED and "its fan is loud" in worker.reason
        for view in views
        for worker in view.workers
    )
    client.readmit("worker-1")


def test_watching_goes_on_when_the_coordinator_was_killed(
    client: Client, job: Job, cluster: LocalCluster
) -> None:
    views = client.watch_cluster(2 * LIMIT_S)
    before = next(view for view in views if the_job(view, job) is JobState.RUNNING)
    job_rounds = next(one.rounds for one in before.jobs if one.job_id == job.id)
    cluster.kill_coordinator()
    cluster.restart_coordinator()
    after = next(view for view in views if view.sequence < before.sequence or len(view.workers) < 2)
    assert the_job(after, job) in (JobState.RUNNING, JobState.PAUSED)
    whole = next(view for view in views if len(view.workers) == 2)
    assert whole.at > before.at
    assert any(one.rounds > job_rounds for view in views for one in view.jobs if one.job_id == job.id)


def test_a_stop_ends_the_streams_cleanly(cluster: LocalCluster) -> None:
    with grpc.insecure_channel(cluster.address) as channel:
        stub = cluster_service_pb2_grpc.ClusterServiceStub(channel)
        call = stub.WatchCluster(cluster_service_pb2.WatchClusterRequest(), timeout=LIMIT_S)
        assert next(call).anew
        cluster.restart_coordinator()
        assert not any(response.anew for response in call)
        assert call.code() is grpc.StatusCode.OK


def test_who_does_not_read_holds_nobody_up(cluster: LocalCluster, client: Client, job: Job) -> None:
    with grpc.insecure_channel(cluster.address) as channel:
        stub = cluster_service_pb2_grpc.ClusterServiceStub(channel)
        lazy = [
            stub.WatchCluster(cluster_service_pb2.WatchClusterRequest(), timeout=LIMIT_S) for _ in range(10)
        ]
        seen = [view.sequence for view in itertools.islice(client.watch_cluster(LIMIT_S), 8)]
        assert len(set(seen)) > 1
        assert all(next(call).anew for call in lazy)
        for call in lazy:
            call.cancel()


def test_a_cluster_that_is_not_there_is_said_to_be() -> None:
    with Client("127.0.0.1:1", timeout_s=0.5) as nobody, pytest.raises(Unavailable, match=r"within 0\.5 s"):
        next(nobody.watch_cluster())


def test_top_shows_where_the_time_goes(cluster: LocalCluster, job: Job, shell: Shell) -> None:
    shown = shell.text("top", "--cluster", cluster.address)
    assert all(word in shown for word in ("worker-0", "does", "time", job.id))
