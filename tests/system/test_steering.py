"""How a live job is scheduled is changed while it trains, on real workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from builders.shell import Shell
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.errors import Conflict, InvalidInput, Outdated
from gradloom.jobs import JobEvent, JobState, JobView, Note, RoundCompleted, StateChanged

pytestmark = pytest.mark.system

LIMIT_S = 60.0


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with cluster.client() as one:
        yield one


def submit(client: Client, data: Path, solver: str = "adam", max_rounds: int = 100_000) -> Job:
    settings = {"solver": solver, "max_rounds": max_rounds, "tolerance": 0.0}
    if solver != "lbfgs":
        settings["batch_size"] = 256
    return client.submit("logistic", data=str(data), target="60", shards=8, settings=settings)


@pytest.fixture
def job(client: Client, slow_data: Path) -> Iterator[Job]:
    """A job that goes on until it is cancelled."""
    job = submit(client, slow_data)
    yield job
    if not job.view().state.final:
        job.cancel("seen enough")


class Following:
    """The events of a job, waited for one after the other."""

    def __init__(self, job: Job) -> None:
        self._events = job.watch(timeout_s=LIMIT_S)

    def until_note(self, text: str) -> JobEvent:
        for event in self._events:
            if isinstance(event.what, Note) and text in event.what.text:
                return event
        raise AssertionError(f"nobody said {text!r} within {LIMIT_S:g} s")

    def rounds(self, n: int) -> None:
        """Wait for so many more."""
        for event in self._events:
            assert not (isinstance(event.what, StateChanged) and event.what.state.final), event.what
            n -= isinstance(event.what, RoundCompleted)
            if n == 0:
                return
        raise AssertionError(f"{n} more rounds did not come within {LIMIT_S:g} s")


def completed(job: Job) -> JobView:
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    return view


def test_placement_and_synchrony_are_switched_while_the_job_trains(client: Client, slow_data: Path) -> None:
    job = submit(client, slow_data, max_rounds=400)
    following = Following(job)
    following.rounds(3)
    for change, said in (
        ({"placement": "random"}, "placement: balanced -> random, from the next round on"),
        ({"synchrony": "bounded:2"}, "synchrony: synchronous -> bounded:2, from the next round on"),
        ({"placement": "local"}, "placement: random -> local, from the next round on"),
        ({"synchrony": "backup:1"}, "synchrony: bounded:2 -> backup:1, from the next round on"),
        ({"synchrony": "asynchronous"}, "synchrony: backup:1 -> asynchronous, from the next round on"),
        ({"synchrony": "synchronous"}, "synchrony: asynchronous -> synchronous, from the next round on"),
        ({"speculation": False}, "speculation: on -> off, from now on"),
        ({"share_weight": 2.0}, "share_weight: 1.0 -> 2.0, from now on"),
    ):
        view = job.update(**change)
        ((name, value),) = change.items()
        assert getattr(view.spec, name) == ("off" if value is False else value)
        following.until_note(said)
        if name == "placement":
            following.until_note(f"the policy is {value} now")
        following.rounds(5)
    view = completed(job)
    assert view.rounds == 400
    assert view.loss is not None
    assert view.loss < 0.4


def test_what_a_job_can_t_be_changed_to_is_refused_with_the_reason(
    client: Client, job: Job, slow_data: Path
) -> None:
    with pytest.raises(InvalidInput, match=r"'randon' is not known.*'random'"):
        job.update(placement="randon")
    with pytest.raises(InvalidInput, match="local:H is a setting of the algorithm"):
        job.update(synchrony="local:8")
    with pytest.raises(InvalidInput, match="update_mask: it is empty"):
        job.update()
    other = submit(client, slow_data, "lbfgs")
    try:
        with pytest.raises(InvalidInput, match="asynchronous does not suit logistic"):
            other.update(synchrony="asynchronous")
    finally:
        other.cancel("seen enough")
    with pytest.raises(Conflict, match="is cancelled and can't be changed any more"):
        other.update(placement="random")
    assert job.view().spec.placement == ""


def test_two_people_do_not_change_a_job_past_each_other(job: Job) -> None:
    mine = yours = job.view().etag
    new = job.update(placement="random", etag=mine).etag
    with pytest.raises(Outdated, match=f"its etag is {new}, not {yours}"):
        job.update(placement="local", etag=yours)
    assert job.update(placement="local", etag=new).spec.placement == "local"


def test_the_command_changes_a_live_job(cluster: LocalCluster, job: Job, shell: Shell) -> None:
    at = ("--cluster", cluster.address)
    said = shell.json("set", job.id, "synchrony=bounded:2", "speculation=off", *at, "--json")
    assert (said["spec"]["synchrony"], said["spec"]["speculation"]) == ("bounded:2", "off")
    assert shell.json("show", job.id, *at, "--json")["etag"] == said["etag"]
    assert shell.run("set", job.id, "synchrony=bonded", *at).status == 2


def test_a_change_outlives_the_coordinator(slow_data: Path) -> None:
    with LocalCluster(workers=2) as cluster, cluster.client() as client:
        job = submit(client, slow_data)
        following = Following(job)
        following.rounds(3)
        before = job.update(synchrony="bounded:2", placement="random", share_weight=0.3)
        cluster.kill_coordinator()
        cluster.restart_coordinator()
        after = job.view()
        assert (after.spec, after.etag) == (before.spec, before.etag)
        following.until_note("the coordinator came back")
        following.rounds(5)
        again = job.update(synchrony="synchronous", etag=after.etag)
        following.until_note("synchrony: bounded:2 -> synchronous")
        following.rounds(5)
        assert (again.spec.synchrony, again.spec.placement) == ("synchronous", "random")
        job.cancel("seen enough")
