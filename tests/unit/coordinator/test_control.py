"""What people do to a live job and to workers: written down, done in the right round, and there after a restart."""

from dataclasses import replace

import pytest

from builders.scheduling import Desk, cancelled, notes, sent
from builders.stored import stored_job
from gradloom.algorithms.algorithm import Progress
from gradloom.errors import InvalidInput, NotFound
from gradloom.jobs import JobState, JobView, SteeringRecord, WorkerState
from gradloom.specs import DataSpec, JobSpec, ScheduledChange
from gradloom.steered import replay_of, rescheduled, timetable
from gradloom_coordinator.durability.changes import CheckpointKept, Steered, StoredJob
from gradloom_coordinator.durability.restoring import restored_run
from gradloom_coordinator.explaining import explain
from gradloom_coordinator.runs import Hold
from gradloom_coordinator.scheduling.events import ExcludeRequested, ReadmitRequested, Tick
from gradloom_coordinator.steering import check_schedule, undone

ADAM = JobSpec("logistic", DataSpec(("/rows.npy",), target="1"), {"solver": "adam"})
ME = "ann@here"


def record(at_round: int, field: str, new: str, at: float = 1.0, old: str = "") -> Steered:
    return Steered("job", at_round, ME, at, field, old, new)


# ---- what was done, as a schedule


def test_changes_become_a_schedule_and_pauses_do_not() -> None:
    records = [
        record(3, "settings.learning_rate", "0.1"),
        record(5, "paused", "paused by ann"),
        record(5, "paused", ""),
        record(9, "synchrony", "bounded:2"),
    ]
    assert timetable(records) == (
        ScheduledChange(3, "settings.learning_rate", "0.1"),
        ScheduledChange(9, "synchrony", "bounded:2"),
    )


def test_what_was_changed_before_a_rollback_holds_from_the_checkpoint_on() -> None:
    records = [
        record(3, "settings.learning_rate", "0.1"),
        record(12, "settings.learning_rate", "0.2"),
        record(15, "rollback", "10"),
        record(13, "settings.learning_rate", "0.3"),
    ]
    assert [(one.at_round, one.value) for one in timetable(records)] == [(3, "0.1"), (11, "0.2"), (13, "0.3")]


def test_a_newer_change_takes_the_place_of_one_that_was_to_come_later() -> None:
    """The coordinator had died after the first was made, and went on from an earlier round."""
    records = [record(53, "settings.learning_rate", "0.1"), record(52, "settings.learning_rate", "0.2")]
    assert timetable(records) == (ScheduledChange(52, "settings.learning_rate", "0.2"),)


def test_what_a_schedule_had_changed_before_a_rollback_holds_from_the_checkpoint_on() -> None:
    schedule = (ScheduledChange(50, "synchrony", "backup:1"), ScheduledChange(90, "synchrony", "synchronous"))
    back = Steered("job", 56, ME, 1.0, "rollback", "55", "30")
    assert [one.at_round for one in rescheduled(schedule, [back])] == [31, 90]
    early = Steered("job", 41, ME, 1.0, "rollback", "40", "30")
    assert [one.at_round for one in rescheduled(schedule, [early])] == [50, 90]


def test_a_replay_is_the_job_as_it_was_submitted_with_its_changes() -> None:
    changes = (SteeringRecord(4, ME, 1.0, "synchrony", "synchronous", "backup:1"),)
    view = JobView(
        "job",
        replace(ADAM, synchrony="backup:1"),
        JobState.COMPLETED,
        "",
        0.0,
        submitted=ADAM,
        steering=changes,
    )
    assert replay_of(view) == replace(ADAM, schedule=(ScheduledChange(4, "synchrony", "backup:1"),))


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (ScheduledChange(0, "placement", "random"), "schedule: round 0 is not allowed after round 1"),
        (ScheduledChange(2, "placement", "randon"), "placement: 'randon' is not known"),
        (ScheduledChange(2, "share_weight", "much"), "share_weight: 'much' is not allowed"),
        (ScheduledChange(2, "settings.learning_rate", "-1"), "learning_rate: '-1' is not allowed"),
        (ScheduledChange(2, "settings.solver", "lbfgs"), "'settings.solver' can't be changed on a live job"),
        (ScheduledChange(2, "seed", "7"), "'seed' can't be changed on a live job of logistic"),
    ],
)
def test_a_schedule_that_can_t_be_kept_is_refused_before_it_begins(
    change: ScheduledChange, refusal: str
) -> None:
    with pytest.raises(InvalidInput, match=refusal):
        check_schedule(replace(ADAM, schedule=(change,)))
    check_schedule(replace(ADAM, schedule=(ScheduledChange(2, "settings.learning_rate", "0.5"),)))


def test_what_a_schedule_changes_in_one_round_it_changes_at_once() -> None:
    momentum = replace(ADAM, settings={"solver": "momentum", "momentum": "0.9", "batch_size": "64"})
    together = (
        ScheduledChange(5, "synchrony", "asynchronous"),
        ScheduledChange(5, "settings.momentum", "0"),
    )
    check_schedule(replace(momentum, schedule=together))
    with pytest.raises(InvalidInput, match="asynchronous"):
        check_schedule(replace(momentum, schedule=together[:1]))


def test_a_schedule_has_a_limit() -> None:
    many = tuple(ScheduledChange(n, "placement", "random") for n in range(1, 1002))
    with pytest.raises(InvalidInput, match="1001 changes are not allowed; at most 1000 are"):
        check_schedule(replace(ADAM, schedule=many))


def test_a_checkpoint_is_undone_by_a_later_rollback_to_an_earlier_round() -> None:
    kept = CheckpointKept("job", 20, "uri", "sha", created_at=5.0)
    assert undone(kept, [record(22, "rollback", "10", at=6.0)])
    assert not undone(kept, [record(22, "rollback", "10", at=4.0)])
    assert not undone(kept, [record(22, "rollback", "20", at=6.0)])


# ---- after a restart


def stored(*steering: Steered, checkpoints: tuple[CheckpointKept, ...] = ()) -> StoredJob:
    return replace(stored_job("job", ADAM), checkpoints=checkpoints, steering=steering)


def test_changes_are_seen_at_once_but_hold_again_from_their_rounds_on() -> None:
    rate = "settings.learning_rate"
    run = restored_run(stored(record(3, rate, "0.1"), record(9, rate, "0.2")), 1.7e9, 1.0)
    assert run.spec.settings["learning_rate"] == "0.2"
    assert run.in_force == ADAM
    assert run.due_changes() == ()
    run.progress = _at(4)
    assert run.due_changes() == (ScheduledChange(3, rate, "0.1"),)
    run.progress = _at(8)
    assert run.due_changes() == (ScheduledChange(9, rate, "0.2"),)
    assert run.due_changes() == ()


def test_a_job_that_a_person_has_paused_stays_so_until_it_is_resumed() -> None:
    paused, resumed = record(3, "paused", "paused by ann"), record(3, "paused", "", old="paused by ann")
    assert restored_run(stored(paused), 1.7e9, 1.0).holds == {Hold.PERSON: "paused by ann"}
    assert restored_run(stored(paused, resumed), 1.7e9, 1.0).holds == {}


def test_checkpoints_that_were_rolled_back_over_are_not_gone_on_from() -> None:
    old, new = (CheckpointKept("job", n, f"uri-{n}", "sha", created_at=float(n)) for n in (10, 20))
    run = restored_run(
        stored(record(22, "rollback", "10", at=21.0, old="21"), checkpoints=(new, old)), 1.7e9, 1.0
    )
    assert run.checkpoints == [old]


def _at(iteration: int) -> Progress:
    return Progress(iteration, 100)


# ---- workers


def test_a_worker_that_a_person_excludes_gets_nothing_until_it_is_readmitted() -> None:
    desk = Desk.of("a", "b")
    desk.start([10, 10, 10, 10])
    assert desk.in_hand("a")
    said = desk.tell(ExcludeRequested("a", "excluded by ann: its fan is broken"))
    assert notes(said) == ["worker a is excluded: excluded by ann: its fan is broken"]
    assert cancelled(said)
    assert {worker for worker, _ in sent(said)} <= {"b"}
    desk.tick_while_alive(1000.0, "a", "b")
    assert desk.worker("a").state is WorkerState.EXCLUDED, "no probe lets it in"
    desk.tell(ReadmitRequested("a", "by ann"))
    assert desk.worker("a").takes_work


def test_the_last_worker_may_be_excluded_by_a_person_and_the_job_waits() -> None:
    desk = Desk.of("a")
    desk.start([10, 10])
    said = desk.tell(ExcludeRequested("a", "excluded by ann"), Tick())
    assert sent(said) == []
    said = desk.tell(ReadmitRequested("a", "by ann"))
    assert [worker for worker, _ in sent(said)] == ["a"] * len(sent(said)) != []


def test_a_worker_that_is_not_here_is_excluded_when_it_comes() -> None:
    desk = Desk.of("b")
    desk.tell(ExcludeRequested("a", "excluded by ann"))
    desk.join("a")
    assert (desk.worker("a").state, desk.worker("a").reason) == (WorkerState.EXCLUDED, "excluded by ann")


# ---- why


def said_of(desk: Desk, subject: str) -> str:
    return " ".join(explain(desk.scheduler.state, subject, desk.now))


def test_a_job_a_worker_and_a_task_are_explained_from_recorded_reasons() -> None:
    desk = Desk.of("a", "b")
    desk.start([10, 10, 10, 10])
    desk.now = 2.5
    job, worker, task = (said_of(desk, subject) for subject in ("job", "a", "job:0"))
    assert "Job job is running: 40 rows in 4 shards." in job
    assert "Its shards are placed by balanced: " in job
    assert "is open for 2.50 s: 0 of 4 shards are counted." in job
    assert "It waits for a (" in job
    assert "Worker a on a host of its own is busy." in worker
    assert "of job job in hand for 2.50 s" in worker
    assert task.startswith("Shard 0 of job job is in the task of shards 0")
    assert "Worker a computes it, try 1." in task
    desk.tell(ExcludeRequested("a", "excluded by ann"))
    assert "Worker a on a host of its own is excluded: excluded by ann." in said_of(desk, "a")


@pytest.mark.parametrize("subject", ["nobody", "job:99", "job:x", ""])
def test_what_is_unknown_can_t_be_explained(subject: str) -> None:
    desk = Desk.of("a")
    desk.start([10, 10])
    with pytest.raises(NotFound):
        explain(desk.scheduler.state, subject, 0.0)
