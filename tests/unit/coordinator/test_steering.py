"""A live job is steered: what may change, what is refused, and that runtime, scheduler and database agree on it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders.stored import stored_job
from gradloom.errors import Conflict, InvalidInput, Outdated, Unavailable, VersionMismatch
from gradloom.jobs import JobState, JobView, Note, StateChanged
from gradloom.settings import CoordinatorSettings
from gradloom.specs import DataSpec, JobSpec
from gradloom.synchrony import parse_synchrony
from gradloom_coordinator.durability.changes import Change, Steered
from gradloom_coordinator.durability.restoring import restored_run
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.runtime import Coordinator
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.steering import Alteration, alterations, altered, changed, etag_of, steerable_fields

ADAM = JobSpec("logistic", DataSpec(("/rows.npy",), target="1"), {"solver": "adam"})
LBFGS = replace(ADAM, settings={})
LOCAL = replace(ADAM, settings={"solver": "adam", "local_steps": "8"}, synchrony="local:8")


# ---- what may change


def test_changes_are_told_in_words_with_defaults_written_out() -> None:
    wanted = JobSpec(
        "", DataSpec(()), placement="random", synchrony="bounded(staleness=3)", speculation="off"
    )
    found = alterations(ADAM, replace(wanted, share_weight=2.5), ("synchrony", "placement", "speculation"))
    assert [str(one) for one in found] == [
        "placement: balanced -> random, from the next round on",
        "synchrony: synchronous -> bounded:3, from the next round on",
        "speculation: on -> off, from now on",
    ]


def test_what_can_be_steered_is_told_with_what_is_in_force() -> None:
    found = {one.field: one.value for one in steerable_fields(replace(ADAM, share_weight=2.5))}
    assert found["placement"] == "balanced"
    assert found["share_weight"] == "2.5"
    assert "settings.learning_rate" in found
    assert "settings.solver" not in found
    for field in found:  # one that is told is never refused as such: at most its value is
        settings = {field.removeprefix("settings."): "x"} if field.startswith("settings.") else {}
        assert refused_field(replace(ADAM, settings={**ADAM.settings, **settings}), field) != "update_mask"


def refused_field(wanted: JobSpec, field: str) -> str:
    try:
        alterations(ADAM, wanted, (field,))
    except InvalidInput as refusal:
        return refusal.field
    return ""


def test_nothing_is_told_of_an_algorithm_that_is_not_installed() -> None:
    assert steerable_fields(replace(ADAM, algorithm="of_a_package_that_is_gone")) == ()


def test_what_is_so_already_is_no_change() -> None:
    wanted = JobSpec("", DataSpec(()), placement="balanced", synchrony="synchronous")
    assert alterations(ADAM, wanted, ("placement", "synchrony", "speculation", "share_weight")) == ()


def test_what_was_kept_makes_the_same_specification_again() -> None:
    wanted = replace(ADAM, placement="local", synchrony="backup:2", speculation="off", share_weight=0.1)
    paths = ("placement", "synchrony", "speculation", "share_weight")
    found = alterations(ADAM, wanted, paths)
    assert altered(ADAM, found) == wanted
    assert (
        altered(ADAM, [Steered("job", 1, "me", 1.0, one.field, one.old, one.new) for one in found]) == wanted
    )
    assert changed("job", wanted, found) == e.JobChanged(
        "job", "local", parse_synchrony("backup:2"), speculation=False, share_weight=0.1
    )


def test_only_what_changes_is_told_to_the_scheduler() -> None:
    heavier = [Alteration("share_weight", "1.0", "4.0")]
    assert changed("job", altered(ADAM, heavier), heavier) == e.JobChanged("job", share_weight=4.0)


def test_a_field_of_a_later_release_is_not_guessed_at() -> None:
    with pytest.raises(VersionMismatch, match="learning_rate"):
        altered(ADAM, [Alteration("learning_rate", "0.1", "0.01")])


def test_an_etag_stands_for_the_specification() -> None:
    assert etag_of(ADAM) == etag_of(replace(ADAM))
    assert etag_of(ADAM) != etag_of(replace(ADAM, placement="random"))


@pytest.mark.parametrize(
    ("spec", "wanted", "paths", "refusal"),
    [
        (ADAM, {}, (), "update_mask: it is empty; it must name one or more of: placement, synchrony"),
        (
            ADAM,
            {},
            ("placement", "seed"),
            "update_mask: 'seed' can't be changed on a live job of logistic; allowed: pl",
        ),
        (ADAM, {"placement": "randon"}, ("placement",), "placement: 'randon' is not known.*'random'"),
        (ADAM, {"synchrony": "bonded"}, ("synchrony",), "synchrony: 'bonded' is not allowed"),
        (ADAM, {"speculation": "maybe"}, ("speculation",), "speculation: 'maybe' is not allowed"),
        (ADAM, {"share_weight": -1.0}, ("share_weight",), "share_weight: -1.0 is not allowed"),
        (ADAM, {"synchrony": "local:8"}, ("synchrony",), "synchronous to local:8: local:H is a setting"),
        (
            LOCAL,
            {"synchrony": "bounded:2"},
            ("synchrony",),
            "from local:8 to bounded:2: local:H is a setting",
        ),
        (LBFGS, {"synchrony": "asynchronous"}, ("synchrony",), "asynchronous does not suit logistic"),
    ],
)
def test_what_can_t_be_is_refused_with_its_reason(
    spec: JobSpec, wanted: dict[str, object], paths: Sequence[str], refusal: str
) -> None:
    with pytest.raises(InvalidInput, match=refusal):
        alterations(spec, replace(JobSpec("", DataSpec(())), **wanted), paths)  # type: ignore[arg-type]


# ---- a coordinator


class Database:
    """Remembers changes in order; what is put is durable once somebody has waited for it."""

    def __init__(self) -> None:
        self.trouble = ""
        self.changes: list[Change] = []
        self.durable = 0

    def put(self, *changes: Change, soon: bool = False) -> None:
        self.changes += changes

    async def flush(self, limit_s: float) -> None:
        await asyncio.sleep(0)
        self.durable = len(self.changes)

    @property
    def steered(self) -> list[Steered]:
        return [change for change in self.changes[: self.durable] if isinstance(change, Steered)]


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def coordinator(tmp_path: Path, database: Database) -> Coordinator:
    one = Coordinator(CoordinatorSettings(data_dir=tmp_path))
    one.jobs.keep_with(database, 1)
    return one


@pytest.fixture
async def run(coordinator: Coordinator, tmp_path: Path) -> JobRun:
    """A job that waits for workers with its first round."""
    np.save(tmp_path / "rows.npy", np.arange(20.0).reshape(10, 2))
    spec = replace(ADAM, data=DataSpec((str(tmp_path / "rows.npy"),), "1"))
    view = await coordinator.submit(spec, "token")
    run = coordinator.records.named(view.job_id)
    await until_state(run, JobState.RUNNING)
    return run


async def until_state(run: JobRun, state: JobState) -> None:
    async with asyncio.timeout(20):
        async for event in run.journal.follow(0):
            if isinstance(event.what, StateChanged) and event.what.state is state:
                return


async def change(coordinator: Coordinator, run: JobRun, etag: str = "", **wanted: object) -> JobView:
    spec = replace(JobSpec("", DataSpec(())), **wanted)  # type: ignore[arg-type]
    return await coordinator.control.change(run.job_id, spec, tuple(wanted), etag, "ipv4:1.2.3.4:5")


def notes(run: JobRun) -> list[str]:
    return [event.what.text for event in run.journal._after(0) if isinstance(event.what, Note)]


async def test_a_change_is_durable_told_and_shown(
    coordinator: Coordinator, run: JobRun, database: Database
) -> None:
    before = coordinator.view(run)
    view = await change(coordinator, run, before.etag, synchrony="bounded:3", share_weight=2.0)
    assert [(one.field, one.old, one.new, one.who, one.at_round) for one in database.steered] == [
        ("synchrony", "synchronous", "bounded:3", "ipv4:1.2.3.4:5", 1),
        ("share_weight", "1.0", "2.0", "ipv4:1.2.3.4:5", 1),
    ]
    assert notes(run)[-2:] == [
        "synchrony: synchronous -> bounded:3, from the next round on (ipv4:1.2.3.4:5)",
        "share_weight: 1.0 -> 2.0, from now on (ipv4:1.2.3.4:5)",
    ]
    assert (view.spec.synchrony, view.spec.share_weight) == ("bounded:3", 2.0)
    assert view.etag not in ("", before.etag)
    job = coordinator._scheduler.state.jobs[run.job_id]
    assert (job.synchrony_next, job.share_weight) == (parse_synchrony("bounded:3"), 2.0)


async def test_an_old_etag_is_refused_naming_both_and_a_repeat_is_not(
    coordinator: Coordinator, run: JobRun, database: Database
) -> None:
    old = coordinator.view(run).etag
    new = (await change(coordinator, run, old, placement="random")).etag
    with pytest.raises(Outdated, match=f"its etag is {new}, not {old}"):
        await change(coordinator, run, old, placement="local")
    assert run.spec.placement == "random"
    assert (await change(coordinator, run, old, placement="random")).etag == new
    assert len(database.steered) == 1


async def test_the_job_of_a_token_is_the_one_that_was_submitted_whatever_was_changed(
    coordinator: Coordinator, run: JobRun
) -> None:
    submitted = run.spec
    await change(coordinator, run, placement="random")
    assert (await coordinator.submit(submitted, "token")).job_id == run.job_id


async def test_an_ended_job_is_not_changed(coordinator: Coordinator, run: JobRun, database: Database) -> None:
    await coordinator.cancel(run.job_id, "enough")
    with pytest.raises(Conflict, match="is cancelled and can't be changed any more"):
        await change(coordinator, run, placement="random")
    assert database.steered == []


async def test_a_change_that_can_t_be_kept_is_refused_and_nothing_changes(
    coordinator: Coordinator, run: JobRun, database: Database
) -> None:
    database.trouble = "the disk is full"
    with pytest.raises(Unavailable, match="the disk is full"):
        await change(coordinator, run, placement="random")
    assert run.spec.placement == ""
    assert not any("placement" in note for note in notes(run))


async def test_after_a_restart_the_job_goes_by_what_was_changed(run: JobRun) -> None:
    steering = (
        Steered(run.job_id, 3, "me", 1.0, "synchrony", "synchronous", "bounded:3"),
        Steered(run.job_id, 9, "me", 2.0, "synchrony", "bounded:3", "backup:1"),
        Steered(run.job_id, 9, "me", 2.0, "share_weight", "1.0", "0.1"),
    )
    stored = replace(stored_job(run.job_id, run.submitted), steering=steering)
    again = restored_run(stored, 1.7e9, 1.0)
    assert (again.spec.synchrony, again.spec.share_weight) == ("backup:1", 0.1)
    assert again.submitted == run.submitted
