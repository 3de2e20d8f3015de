"""A database that goes away and a disk that is full: jobs stand still, say why, and go on to the same bits."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders.postgres import Postgres, programs, running_postgres
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.errors import Unavailable
from gradloom.jobs import JobEvent, JobState, Note, RoundCompleted, StateChanged

pytestmark = pytest.mark.system

LIMIT_S = 60.0
DISK_BYTES = 1024 * 1024


def submit(client: Client, data: Path) -> Job:
    settings = {"solver": "adam", "batch_size": 256, "max_rounds": 400}
    return client.submit("logistic", data=str(data), target="60", shards=16, seed=3, settings=settings)


def completed(job: Job) -> str:
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    return view.parameters_sha256


@pytest.fixture(scope="module")
def reference(slow_data: Path) -> str:
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        return completed(submit(client, slow_data))


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    binaries = programs()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed; tests/install_packages.sh does it")
    with running_postgres(binaries) as server:
        yield server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={DISK_BYTES}".encode()
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, options) != 0:
        pytest.skip(f"a small disk can't be mounted here: {os.strerror(ctypes.get_errno())}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=LIMIT_S)


def until(events: Iterator[JobEvent], state: JobState) -> str:
    """The reason of the next step to this state."""
    for event in events:
        if isinstance(event.what, StateChanged) and event.what.state is state:
            return event.what.reason
    raise AssertionError(f"the job ended without being {state}")


def until_round(events: Iterator[JobEvent], wanted: int) -> None:
    for event in events:
        if isinstance(event.what, RoundCompleted) and event.what.round >= wanted:
            return
    raise AssertionError(f"the job ended before round {wanted}")


def test_a_coordinator_on_postgresql_is_killed_and_goes_on(
    postgres: Postgres, slow_data: Path, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADLOOM_CHECKPOINT_EVERY", "0.1")
    kept = {"GRADLOOM_STORE_URL": postgres.new_database()}
    with LocalCluster(workers=2, environment=kept) as cluster, cluster.client() as client:
        job = submit(client, slow_data)
        events = job.watch()
        until_round(events, 30)
        cluster.kill_coordinator()
        cluster.restart_coordinator()
        said = [event.what.text for event in events if isinstance(event.what, Note)]
        assert any(text.startswith("the coordinator came back; goes on from round") for text in said)
        assert completed(job) == reference
        assert not (cluster.data_dir / "gradloom.db").exists()


def test_a_database_that_is_lost_pauses_the_jobs_until_it_is_back(
    postgres: Postgres, slow_data: Path, reference: str
) -> None:
    kept = {"GRADLOOM_STORE_URL": postgres.new_database()}
    with LocalCluster(workers=2, environment=kept) as cluster, cluster.client() as client:
        job = submit(client, slow_data)
        events = job.watch()
        until_round(events, 5)
        postgres.stop()
        try:
            assert "the database postgresql" in until(events, JobState.PAUSED)
            with pytest.raises(Unavailable, match=r"the database postgresql.* can't be used"):
                submit(client, slow_data)
            assert job.view().state is JobState.PAUSED
        finally:
            postgres.start()
        assert until(events, JobState.RUNNING) == "the database can be written to again"
        assert completed(job) == reference
        assert completed(submit(client, slow_data)) == reference


def test_a_full_disk_pauses_the_job_until_there_is_room(
    small_disk: Path, slow_data: Path, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADLOOM_CHECKPOINT_EVERY", "0.1")
    kept = {"GRADLOOM_CHECKPOINT_URI": str(small_disk)}
    with LocalCluster(workers=2, environment=kept) as cluster, cluster.client() as client:
        job = submit(client, slow_data)
        events = job.watch()
        until_round(events, 5)
        ballast = small_disk / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(b"x" * 2 * DISK_BYTES)
        reason = until(events, JobState.PAUSED)
        assert f"no checkpoint can be written to {small_disk}: " in reason
        assert "No space left on device" in reason
        ballast.unlink()
        assert until(events, JobState.RUNNING) == "the checkpoints can be written to again"
        assert completed(job) == reference
