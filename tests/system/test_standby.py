"""Several coordinators on one PostgreSQL: one leads; whatever becomes of it, another goes on to the same bits."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psycopg
import pytest

from builders.coordinators import Coordinators, coordinators, until_checkpoint, until_round
from builders.durable import until
from builders.postgres import Postgres, programs, running_postgres, sessions, stopped, stopped_at_rest
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.errors import NotLeading
from gradloom.jobs import JobState, RoundCompleted
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


def test_a_leader_whose_database_never_answers_stops_and_a_standby_does_when_it_is_told_to(
    tmp_path: Path,
) -> None:
    binaries = programs()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed; tests/install_packages.sh does it")
    with (
        running_postgres(binaries) as postgres,
        coordinators(postgres.new_database(), tmp_path, "a", "b", "c", workers=0) as running,
    ):
        with postgres.frozen():
            assert running.status("a") == LOST_STATUS
            assert "this coordinator has lost its lease, it could not be renewed in time" in running.log("a")
            until(lambda: "it has not answered" in running.log("b"), "a standby notices")
            running.signal("b", signal.SIGTERM)
            assert running.status("b") == 0
            assert not running.leads("c"), "nobody can know"
        running.until_leads("c")


def test_a_standby_whose_session_stands_still_leads_when_it_is_its_turn(
    postgres: Postgres, tmp_path: Path
) -> None:
    with coordinators(postgres.new_database(), tmp_path, "a", workers=0) as running:
        before = sessions(running.url)
        running.start("b")
        until(lambda: len(sessions(running.url)) > len(before), "the standby has asked who leads")
        (its,) = set(sessions(running.url)) - set(before)
        with stopped_at_rest(running.url, its):
            until(lambda: "it has not answered" in running.log("b"), "it notices")
            running.signal("a", signal.SIGKILL)
            running.until_leads("b")


def test_a_leader_whose_sessions_stand_still_goes_on_with_others(
    postgres: Postgres, slow_data: Path, reference: str, tmp_path: Path
) -> None:
    with (
        coordinators(postgres.new_database(), tmp_path, "a", ttl_s=18.0) as running,
        running.client() as client,
    ):
        of_lease, of_store = sessions(running.url)
        job = submit(client, slow_data)
        until_round(job.watch(), 10)
        with stopped_at_rest(running.url, of_store):
            until(lambda: "the database is back" in running.log("a"), "it writes on another connection")
            assert completed(job) == reference
            with stopped_at_rest(running.url, of_lease):
                until(
                    lambda: "the lease is renewed again" in running.log("a"), "it is renewed on another one"
                )
                assert running.leads("a")
        last = submit(client, slow_data)
        until_round(last.watch(), 10)
        with stopped(*sessions(running.url)):
            running.signal("a", signal.SIGTERM)
            assert running.status("a") in (0, LOST_STATUS), "it can't tell whether it let go"
            assert "has not answered" in running.log("a")


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
