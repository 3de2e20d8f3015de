"""Several coordinators on one PostgreSQL: one leads; whatever becomes of it, another goes on to the same bits."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psycopg
import pytest

from builders.coordinators import Coordinators, coordinators
from builders.durable import until
from builders.postgres import Postgres, programs, running_postgres
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.errors import NotLeading
from gradloom.jobs import JobEvent, JobState, RoundCompleted
from gradloom.v1 import job_service_pb2, job_service_pb2_grpc
from gradloom_coordinator.server import LOST_STATUS

pytestmark = pytest.mark.system

LIMIT_S = 60.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    binaries = programs()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed; tests/install_packages.sh does it")
    with running_postgres(binaries) as server:
        yield server


def submit(client: Client, data: Path, rounds: int = 300) -> Job:
    settings = {"solver": "adam", "batch_size": 4096, "max_rounds": rounds}
    return client.submit("logistic", data=str(data), target="60", shards=16, seed=3, settings=settings)


def completed(job: Job) -> str:
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    return view.parameters_sha256


@pytest.fixture(scope="module")
def reference(slow_data: Path) -> str:
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        return completed(submit(client, slow_data))


def until_round(events: Iterator[JobEvent], wanted: int, after: float = 0.0) -> JobEvent:
    """The first event of such a round."""
    for event in events:
        if isinstance(event.what, RoundCompleted) and event.what.round >= wanted and event.at > after:
            return event
    raise AssertionError(f"the job ended before round {wanted}")


def until_checkpoint(running: Coordinators, job: Job) -> None:
    """Wait until the database knows of one that was taken after the first round."""

    def newest() -> int:
        with psycopg.connect(running.url) as connection:
            query = "SELECT coalesce(max(round), 0) FROM checkpoints WHERE job = %s"
            return int(connection.execute(query, (job.id,)).fetchall()[0][0])

    until(lambda: newest() > 1, "a checkpoint is durable")


def in_database(running: Coordinators, table: str, job: str) -> list[tuple[object, ...]]:
    with psycopg.connect(running.url) as connection:
        return connection.execute(f"SELECT * FROM {table} WHERE job = %s", (job,)).fetchall()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_leader_is_killed_and_one_of_two_standbys_goes_on_to_the_same_bits(
    postgres: Postgres,
    slow_data: Path,
    reference: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    with coordinators(postgres.new_database(), tmp_path, "a", "b", "c") as running:
        with running.client() as client:
            before = submit(client, slow_data, rounds=20)
            earlier = completed(before)
            job = submit(client, slow_data)
            events = job.watch()
            until_round(events, 10)
            until_checkpoint(running, job)
            running.signal("a", signal.SIGKILL)
            killed_at = time.time()
            first = until_round(events, 1, after=killed_at)
            record_property("seconds_to_the_first_new_round", first.at - killed_at)
            assert isinstance(first.what, RoundCompleted)
            assert first.what.round > 1, "it does not begin anew"
            leader = running.until_leads("b", "c")
            assert completed(job) == reference
            assert before.model().parameters_sha256 == earlier, "its file was written by the one that died"
        other = ({"b", "c"} - {leader}).pop()
        assert not running.leads(other)
        with (
            Client(running.addresses[other], timeout_s=1.0) as client,
            pytest.raises(NotLeading, match=f"standby; the leader is {running.addresses[leader]}"),
        ):
            client.jobs()


def test_a_leader_that_stood_still_wakes_up_and_writes_nothing(
    postgres: Postgres, slow_data: Path, reference: str, tmp_path: Path
) -> None:
    with coordinators(postgres.new_database(), tmp_path, "a", "b") as running, running.client() as client:
        job = submit(client, slow_data)
        events = job.watch()
        until_round(events, 10)
        until_checkpoint(running, job)
        with grpc.insecure_channel(running.addresses["a"]) as channel:
            grpc.channel_ready_future(channel).result(timeout=LIMIT_S)
            running.signal("a", signal.SIGSTOP)
            stub = job_service_pb2_grpc.JobServiceStub(channel)
            # it waits in the socket of a process that does not run
            asked = stub.GetJob.future(job_service_pb2.GetJobRequest(job_id=job.id), timeout=LIMIT_S)
            running.until_leads("b")
            assert completed(job) == reference
            tables = {name: in_database(running, name, job.id) for name in ("jobs", "events", "steering")}
            shared = files(tmp_path / "common")
            running.signal("a", signal.SIGCONT)
            assert running.status("a") == LOST_STATUS
            with pytest.raises(grpc.RpcError) as refused:
                asked.result()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        # whoever finds it first: the one that renews, or a write that the database refuses
        assert re.search("has lost its lease|another coordinator has worked on", running.log("a"))
        assert {name: in_database(running, name, job.id) for name in tables} == tables
        assert shared.items() <= files(tmp_path / "common").items(), "it overwrites and removes nothing"
        assert job.model().parameters_sha256 == reference
        running.start("a")
        assert not running.leads("a"), "it stands by now"


def test_a_leader_that_is_told_to_stop_lets_the_next_one_lead_at_once(
    postgres: Postgres, slow_data: Path, reference: str, tmp_path: Path
) -> None:
    # waiting for such a lease to end would take longer than this test may
    database = postgres.new_database()
    with coordinators(database, tmp_path, "a", "b", ttl_s=90.0) as running, running.client() as client:
        job = submit(client, slow_data)
        until_round(job.watch(), 10)
        running.signal("a", signal.SIGTERM)
        assert running.status("a") == 0
        running.until_leads("b")
        assert completed(job) == reference


def test_a_leader_whose_lease_the_database_never_answers_for_stops_and_another_one_leads(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.new_database()
    with coordinators(url, tmp_path, "a", workers=0) as running:
        session = lease_session(running)
        running.start("b")
        os.kill(session, signal.SIGSTOP)
        try:
            assert running.status("a") == LOST_STATUS
            running.until_leads("b")
        finally:
            os.kill(session, signal.SIGCONT)
        assert "this coordinator has lost its lease, it could not be renewed in time" in running.log("a")


def lease_session(running: Coordinators) -> int:
    """The process of the server behind the lease of the only coordinator: the first that took the lock."""
    with psycopg.connect(running.url) as connection:
        query = """SELECT pid FROM pg_stat_activity JOIN pg_locks USING (pid)
                   WHERE datname = current_database() AND locktype = 'advisory'
                   ORDER BY backend_start LIMIT 1"""
        ((session,),) = connection.execute(query).fetchall()
    return int(session)


def test_a_leader_without_its_database_stops_and_one_that_waited_goes_on_when_it_is_back(
    slow_data: Path, reference: str, tmp_path: Path
) -> None:
    binaries = programs()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed; tests/install_packages.sh does it")
    with running_postgres(binaries) as postgres:
        url = postgres.new_database()
        with coordinators(url, tmp_path, "a", "b") as running, running.client() as client:
            job = submit(client, slow_data)
            events = job.watch()
            until_round(events, 10)
            until_checkpoint(running, job)
            postgres.stop()
            try:
                assert running.status("a") == LOST_STATUS
                assert "could not be renewed in time: the database postgresql" in running.log("a")
                assert not running.leads("b")
            finally:
                postgres.start()
            running.until_leads("b")
            assert completed(job) == reference
