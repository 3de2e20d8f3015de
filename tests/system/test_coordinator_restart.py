"""A coordinator that is killed comes back and loses nothing: the jobs, their events, their bits."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from builders.durable import kept_checkpoints, until, until_durable
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.jobs import JobEvent, JobState, JobView, Note, RoundCompleted, StateChanged

pytestmark = pytest.mark.system

LIMIT_S = 60.0
COME_BACK_LIMIT_S = 10.0
"""Far above what it takes: the machine that tests may be busy."""
CASES: dict[str, dict[str, object]] = {
    "lbfgs": {"solver": "lbfgs", "tolerance": 0.0, "dtype": "float64", "max_rounds": 60},
    "batches": {"solver": "adam", "batch_size": 4096, "max_rounds": 150},
}


@pytest.fixture(scope="module", autouse=True)
def often() -> Iterator[None]:
    """Checkpoints often enough that a short job has some."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADLOOM_CHECKPOINT_EVERY", "0.1")
        yield


@pytest.fixture(scope="module")
def cluster(often: None) -> Iterator[LocalCluster]:
    with LocalCluster(workers=2) as running:
        yield running


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with cluster.client() as one:
        yield one


def submit(client: Client, data: Path, case: str = "batches", token: str | None = None) -> Job:
    return client.submit(
        "logistic",
        data=str(data),
        target="60",
        shards=16,
        test_fraction=0.1,
        seed=3,
        settings=CASES[case],
        client_token=token,
    )


@pytest.fixture(scope="module")
def reference(slow_data: Path, cluster: LocalCluster) -> dict[str, str]:
    with cluster.client() as client:
        return {case: completed(submit(client, slow_data, case)).parameters_sha256 for case in CASES}


def completed(job: Job) -> JobView:
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    return view


def until_round(events: Iterator[JobEvent], wanted: int) -> list[JobEvent]:
    """The events up to the one of this round."""
    seen = []
    for event in events:
        seen.append(event)
        if isinstance(event.what, RoundCompleted) and event.what.round >= wanted:
            return seen
    raise AssertionError(f"the job ended before round {wanted}")


def notes(events: list[JobEvent]) -> list[str]:
    return [event.what.text for event in events if isinstance(event.what, Note)]


def crash(cluster: LocalCluster) -> float:
    """Kill the coordinator and start it again; when it was killed."""
    cluster.kill_coordinator()
    at = time.time()
    cluster.restart_coordinator()
    return at


@pytest.mark.parametrize("case", list(CASES))
def test_killed_in_the_middle_it_goes_on_to_the_same_bits_and_who_watches_misses_nothing(
    case: str, cluster: LocalCluster, client: Client, slow_data: Path, reference: dict[str, str]
) -> None:
    job = submit(client, slow_data, case)
    events = job.watch()
    before = until_round(events, 10)
    until_durable(cluster, job, after_round=1)
    killed_at = crash(cluster)
    after = list(events)
    view = job.view()
    assert (view.state, view.parameters_sha256) == (JobState.COMPLETED, reference[case])
    assert all(one.sequence < next_.sequence for one, next_ in pairwise(before + after))
    came_back = [
        text for text in notes(after) if text.startswith("the coordinator came back; goes on from round")
    ]
    assert len(came_back) == 1
    new_rounds = [e for e in after if isinstance(e.what, RoundCompleted) and e.at > killed_at]
    assert isinstance(new_rounds[0].what, RoundCompleted)
    assert new_rounds[0].what.round > 1, "it does not begin anew"
    took_s = new_rounds[0].at - killed_at
    assert took_s < COME_BACK_LIMIT_S
    assert job.model().parameters_sha256 == reference[case]
    assert view.scores.keys() == {"test_accuracy", "test_log_loss", "test_roc_auc"}


def test_killed_again_and_again_it_still_ends_with_the_same_bits(
    cluster: LocalCluster, client: Client, slow_data: Path, reference: dict[str, str]
) -> None:
    job = submit(client, slow_data)
    events = job.watch()
    for wanted in (5, 40, 80):
        until_round(events, wanted)
        crash(cluster)
    assert completed(job).parameters_sha256 == reference["batches"]


@pytest.mark.parametrize("damage", ["torn", "gone", "all"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_to_none_if_it_must(
    damage: str, cluster: LocalCluster, client: Client, slow_data: Path, reference: dict[str, str]
) -> None:
    job = submit(client, slow_data)
    events = job.watch()
    until_round(events, 30)
    until(lambda: len(kept_checkpoints(cluster, job)) > 1, "there are two")
    cluster.kill_coordinator()
    files = kept_checkpoints(cluster, job)
    if damage == "gone":
        files[0].unlink()
    else:
        for file in files if damage == "all" else files[:1]:
            file.write_bytes(file.read_bytes()[:1000])
    cluster.restart_coordinator()
    said = notes(list(events))
    assert any("can't be used" in text for text in said)
    goes_on = "starts again with round 1" if damage == "all" else "goes on from round"
    assert any(text.startswith(f"the coordinator came back; {goes_on}") for text in said)
    assert completed(job).parameters_sha256 == reference["batches"]


def test_killed_at_once_after_the_submission_was_acknowledged(
    cluster: LocalCluster, client: Client, slow_data: Path, reference: dict[str, str]
) -> None:
    job = submit(client, slow_data, token="mine")
    crash(cluster)
    assert submit(client, slow_data, token="mine").id == job.id
    assert completed(job).parameters_sha256 == reference["batches"]


def test_killed_during_the_profile(
    cluster: LocalCluster, client: Client, slow_data: Path, reference: dict[str, str]
) -> None:
    job = submit(client, slow_data, "lbfgs")
    for event in job.watch():
        if isinstance(event.what, StateChanged) and event.what.state is JobState.RUNNING:
            break
    crash(cluster)
    assert completed(job).parameters_sha256 == reference["lbfgs"]


def test_killed_at_its_end_while_the_result_is_assessed_or_stored(
    cluster: LocalCluster, client: Client, slow_data: Path, reference: dict[str, str]
) -> None:
    job = submit(client, slow_data)
    until_round(job.watch(), 150)
    crash(cluster)
    view = completed(job)
    assert view.parameters_sha256 == job.model().parameters_sha256 == reference["batches"]
    assert view.scores


def test_queued_jobs_keep_their_places(
    cluster: LocalCluster, client: Client, slow_data: Path, reference: dict[str, str]
) -> None:
    jobs = [submit(client, slow_data) for _ in range(4)]
    assert [job.view().state for job in jobs[2:]] == [JobState.QUEUED] * 2
    crash(cluster)
    assert [view.job_id for view in client.jobs()][:4] == [job.id for job in reversed(jobs)]
    assert {completed(job).parameters_sha256 for job in jobs} == {reference["batches"]}


def test_a_cancelled_job_stays_cancelled_and_an_ended_one_keeps_its_model(
    cluster: LocalCluster, client: Client, slow_data: Path, reference: dict[str, str]
) -> None:
    done, unwanted = submit(client, slow_data), submit(client, slow_data)
    as_it_ended = completed(done)
    unwanted = submit(client, slow_data)
    until_round(unwanted.watch(), 3)
    unwanted.cancel("a change of mind")
    crash(cluster)
    view = unwanted.view()
    assert (view.state, view.reason) == (JobState.CANCELLED, "a change of mind")
    assert done.view() == as_it_ended
    assert done.model().parameters_sha256 == reference["batches"]
    assert [event.what.state for event in done.watch() if isinstance(event.what, StateChanged)][-1].final
    assert unwanted.cancel().state is JobState.CANCELLED
    until(lambda: not (cluster.data_dir / "checkpoints" / unwanted.id).exists(), "its checkpoints go")


def test_a_coordinator_that_is_told_to_stop_takes_a_last_checkpoint(
    slow_data: Path, monkeypatch: pytest.MonkeyPatch, reference: dict[str, str]
) -> None:
    monkeypatch.setenv("GRADLOOM_CHECKPOINT_EVERY", "100000")
    with LocalCluster(workers=2) as cluster, cluster.client() as client:
        job = submit(client, slow_data)
        events = job.watch()
        until_round(events, 20)
        cluster.coordinator.send_signal(signal.SIGTERM)
        assert cluster.coordinator.wait(LIMIT_S) == 0
        cluster.restart_coordinator()
        (came_back,) = [text for text in notes(list(events)) if "came back" in text]
        assert int(came_back.split("round ")[1].split()[0]) >= 20
        assert completed(job).parameters_sha256 == reference["batches"]


def test_a_second_coordinator_on_the_same_folder_is_refused(cluster: LocalCluster) -> None:
    command = [sys.executable, "-m", "gradloom_coordinator", "--port", "0", "--metrics-port", "-1"]
    second = subprocess.run(
        [*command, "--data-dir", str(cluster.data_dir)],
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert second.returncode == 2
    assert f"error: another coordinator works on {cluster.data_dir}; stop it first" in second.stderr
