"""A live job is paused, stepped, changed, set back and run again; workers are shut out and drained: real processes."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builders.shell import Shell
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.errors import Conflict, InvalidInput, NotFound
from gradloom.jobs import JobEvent, JobState, Note, RoundCompleted, StateChanged, WorkerState, WorkerView

pytestmark = pytest.mark.system

LIMIT_S = 60.0


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with cluster.client() as one:
        yield one


def submit(client: Client, data: Path, max_rounds: int = 100_000, **settings: object) -> Job:
    given = {"solver": "adam", "batch_size": 256, "max_rounds": max_rounds, "tolerance": 0.0, **settings}
    return client.submit("logistic", data=str(data), target="60", shards=8, settings=given)


@pytest.fixture
def job(client: Client, slow_data: Path) -> Iterator[Job]:
    """A job that goes on until it is cancelled."""
    job = submit(client, slow_data)
    yield job
    if not job.view().state.final:
        job.cancel("seen enough")


def workers_when(client: Client, so: Callable[[dict[str, WorkerView]], bool]) -> dict[str, WorkerView]:
    """The workers by name, once they are so."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        views = {view.worker: view for view in client.workers()}
        if so(views):
            return views
    raise AssertionError(f"the workers are {list(views)} after {LIMIT_S:g} s")


class Following:
    """The events of a job, waited for one after the other."""

    def __init__(self, job: Job) -> None:
        self._events = job.watch(timeout_s=LIMIT_S)

    def note(self, text: str) -> JobEvent:
        for event in self._events:
            if isinstance(event.what, Note) and text in event.what.text:
                return event
        raise AssertionError(f"nobody said {text!r} within {LIMIT_S:g} s")

    def state(self, state: JobState) -> str:
        for event in self._events:
            if isinstance(event.what, StateChanged) and event.what.state is state:
                return event.what.reason
        raise AssertionError(f"the job was not {state} within {LIMIT_S:g} s")

    def round(self, number: int) -> RoundCompleted:
        for event in self._events:
            if isinstance(event.what, RoundCompleted) and event.what.round >= number:
                return event.what
        raise AssertionError(f"round {number} did not come within {LIMIT_S:g} s")


def test_a_job_stands_still_between_two_rounds_until_it_is_resumed(job: Job) -> None:
    following = Following(job)
    following.round(3)
    job.pause("lunch")
    reason = following.state(JobState.PAUSED)
    assert reason.startswith("paused by ")
    assert reason.endswith(": lunch")
    view = job.view()
    assert (view.state, view.reason) == (JobState.PAUSED, reason)
    job.step(2)
    following.state(JobState.RUNNING)
    assert "that" in following.state(JobState.PAUSED)
    assert job.view().rounds == view.rounds + 2
    job.resume()
    following.state(JobState.RUNNING)
    following.round(view.rounds + 5)
    assert [one.field for one in job.view().steering] == ["paused", "paused", "paused"]
    with pytest.raises(InvalidInput, match=r"rounds: 0 is not allowed; it must lie in \[1, "):
        job.step(0)


def test_a_pause_outlives_the_coordinator(slow_data: Path) -> None:
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        job = submit(client, slow_data)
        following = Following(job)
        following.round(3)
        job.pause()
        following.state(JobState.PAUSED)
        cluster.kill_coordinator()
        cluster.restart_coordinator()
        following.note("the coordinator came back")
        assert following.state(JobState.PAUSED).startswith("paused by ")
        job.resume()
        following.state(JobState.RUNNING)
        job.cancel("seen enough")


def test_settings_are_changed_while_it_trains_and_a_replay_has_the_same_bits(
    client: Client, slow_data: Path
) -> None:
    job = submit(client, slow_data, max_rounds=60)
    following = Following(job)
    following.round(5)
    view = job.update(settings={"learning_rate": 0.2})
    assert view.spec.settings["learning_rate"] == "0.2"
    assert view.submitted is not None
    assert "learning_rate" not in view.submitted.settings
    at_round = view.steering[0].at_round
    assert following.round(at_round).learning_rate == 0.2
    job.update(settings={"batch_size": 64}, synchrony="backup:1")
    job.update(synchrony="synchronous", placement="random")
    first = job.wait(LIMIT_S)
    assert first.state is JobState.COMPLETED, first.reason
    assert [one.field for one in first.steering[:2]] == ["settings.learning_rate", "synchrony"]
    again = job.replay()
    Following(again).note("settings.learning_rate: none -> 0.2, as it was to be from this round on")
    assert again.wait(LIMIT_S).state is JobState.COMPLETED


def test_a_steered_job_has_the_same_bits_when_it_is_replayed_and_when_the_coordinator_is_killed(
    slow_data: Path,
) -> None:
    with LocalCluster(workers=2) as cluster, cluster.client() as client:
        job = submit(client, slow_data, max_rounds=120)
        following = Following(job)
        following.round(10)
        job.update(settings={"learning_rate": 0.05})
        following.round(20)
        job.update(settings={"batch_size": 100})
        following.round(30)
        cluster.kill_coordinator()
        cluster.restart_coordinator()
        steered = job.wait(LIMIT_S)
        again = job.replay().wait(LIMIT_S)
        assert (steered.state, again.state) == (JobState.COMPLETED, JobState.COMPLETED)
        assert steered.parameters_sha256 == again.parameters_sha256 != ""
        plain = submit(client, slow_data, max_rounds=120).wait(LIMIT_S)
        assert plain.parameters_sha256 != steered.parameters_sha256


def test_a_job_is_set_back_to_a_checkpoint(slow_data: Path, tmp_path: Path) -> None:
    with LocalCluster(workers=1, data_dir=tmp_path) as cluster, cluster.client() as client:
        job = submit(client, slow_data)
        following = Following(job)
        following.round(5)
        with pytest.raises(InvalidInput, match="there is no checkpoint of round 999999; those of job"):
            job.rollback(999_999)
        job.rollback(0)
        following.note("it is set back to round 0")
        assert following.round(1).round == 1, "it begins again"
        job.pause()
        following.state(JobState.PAUSED)
        job.rollback(0)
        following.note("it is set back to round 0")
        assert (job.view().state, job.view().rounds) == (JobState.PAUSED, 0)
        job.resume()
        assert following.round(1).round == 1
        for _ in range(3):  # a second request, and a person who does not wait for the first
            job.pause()
            following.state(JobState.PAUSED)
            job.rollback(0)
            job.rollback(0)
            job.resume()
            following.note("it is set back to round 0")
            following.round(2)
        job.cancel("seen enough")


def test_a_rollback_that_was_acknowledged_outlives_the_coordinator_and_what_follows_has_the_same_bits(
    slow_data: Path,
) -> None:
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        job = submit(client, slow_data, max_rounds=150)
        following = Following(job)
        following.round(20)
        job.rollback(0)
        job.update(settings={"learning_rate": 0.05}, synchrony="synchronous")
        cluster.kill_coordinator()
        cluster.restart_coordinator()
        steered = job.wait(LIMIT_S)
        again = job.replay().wait(LIMIT_S)
        assert (steered.state, again.state) == (JobState.COMPLETED, JobState.COMPLETED)
        assert steered.parameters_sha256 == again.parameters_sha256 != ""


def test_more_rounds_that_were_asked_for_are_done_after_a_restart_too(slow_data: Path) -> None:
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        job = submit(client, slow_data, max_rounds=60)
        Following(job).round(5)
        job.update(settings={"max_rounds": 100_000})
        following = Following(job)
        following.round(300)
        cluster.kill_coordinator()
        cluster.restart_coordinator()
        following.note("the coordinator came back; goes on from round")
        following.round(job.view().rounds + 3)
        assert job.view().state is JobState.RUNNING
        job.cancel("seen enough")


def test_settings_that_can_t_change_are_refused_with_those_that_can(job: Job) -> None:
    with pytest.raises(InvalidInput, match=r"'settings.solver' can't be changed .*settings\.learning_rate"):
        job.update(settings={"solver": "momentum"})
    with pytest.raises(InvalidInput, match="learning_rate: '-1' is not allowed"):
        job.update(settings={"learning_rate": -1})


def test_people_leave_notes_and_ask_why(client: Client, job: Job) -> None:
    following = Following(job)
    following.round(2)
    job.note("the loss looks fine")
    assert following.note("the loss looks fine").what != Note("the loss looks fine"), (
        "who said it stands there"
    )
    why = client.explain(job.id)
    assert why[0].startswith(f"Job {job.id} is running")
    worker = client.workers()[0].worker
    assert client.explain(worker)[0].startswith(f"Worker {worker} on ")
    assert client.explain(f"{job.id}:0")[0].startswith(f"Shard 0 of job {job.id}")
    with pytest.raises(NotFound, match="'nobody' is no job, worker or JOB:SHARD"):
        client.explain("nobody")
    with pytest.raises(InvalidInput, match="text: 0 letters are not allowed"):
        job.note("")


def test_workers_are_shut_out_let_in_and_drained(slow_data: Path) -> None:
    with LocalCluster(workers=2) as cluster, cluster.client() as client:
        job = submit(client, slow_data)
        following = Following(job)
        following.round(3)
        client.exclude("worker-1", "its fan is broken")
        following.note("worker worker-1 is excluded: excluded by ")
        assert workers_when(client, bool)["worker-1"].state is WorkerState.EXCLUDED
        cluster.kill_coordinator()
        cluster.restart_coordinator()
        back = workers_when(client, lambda views: {"worker-1", "worker-0"} <= set(views))
        excluded = back["worker-1"]
        assert (excluded.state, excluded.reason.endswith("its fan is broken")) == (WorkerState.EXCLUDED, True)
        client.readmit("worker-1")
        following.note("worker worker-1 is let back in: by ")
        client.drain("worker-0", "going home")
        following.note("worker worker-0 drains")
        following.note("worker worker-0 is gone")
        with pytest.raises(NotFound, match="'worker-9' is not known; connected now: worker-1"):
            client.drain("worker-9")
        job.cancel("seen enough")


def test_an_ended_job_takes_no_control(client: Client, job: Job) -> None:
    job.cancel("enough")
    for act in (job.pause, job.resume, lambda: job.step(1), lambda: job.rollback(0), lambda: job.note("x")):
        with pytest.raises(Conflict, match="is cancelled and can't be changed any more"):
            act()


def test_the_commands(cluster: LocalCluster, job: Job, shell: Shell) -> None:
    """Most of them while the job stands still: a command that starts needs the processors more than the job does."""
    cluster.add_worker()
    spare = f"worker-{len(cluster.workers) - 1}"
    at = ("--cluster", cluster.address)
    following = Following(job)
    assert shell.run("pause", job.id, "--reason", "lunch", *at).status == 0
    following.state(JobState.PAUSED)
    said = shell.json("set", job.id, "learning_rate=0.02", "policy=random", *at)
    assert said["spec"]["settings"]["learning_rate"] == "0.02"
    assert shell.json("step", job.id, "1", *at)["job_id"] == job.id
    following.state(JobState.RUNNING)
    following.state(JobState.PAUSED)
    assert "noted" in shell.run("note", job.id, "all is well", *at).out
    assert shell.json("note", job.id, "hm", *at) == {"job_id": job.id, "note": "hm"}
    for deed in ("exclude", "readmit", "drain"):
        assert shell.json(deed, spare, *at) == {"worker": spare, "done": deed}
    assert shell.json("why", job.id, *at)[0].startswith(f"Job {job.id} is ")
    shown = shell.run("show", job.id, *at).out
    assert "settings.learning_rate" in shown
    assert "from round" in shown
    assert shell.run("rollback", job.id, "777", *at).status == 2
    assert shell.run("exclude", "worker-9", *at).status == 4
    assert shell.run("resume", job.id, *at).status == 0
    following.state(JobState.RUNNING)
