"""The life of a job, told as what happens and what the scheduler then wants done."""

import pytest

from builders.scheduling import Desk, answer, note, order, sent, state, task
from gradloom.jobs import JobState
from gradloom_coordinator.commands import (
    CloseRound,
    DropPartial,
    MergePartial,
    ReleaseJob,
    SendTasks,
    StartPlanning,
    StartRounds,
)
from gradloom_coordinator.events import (
    CancelRequested,
    JobBroken,
    JobFinished,
    JobForgotten,
    JobPlanned,
    JobSubmitted,
    RoundReady,
)
from gradloom_coordinator.limits import Limits
from gradloom_coordinator.rounds import Refusal
from gradloom_coordinator.scheduler import Scheduler

EVEN = "4 shards over 2 workers in equal shares"


def test_a_job_from_its_submission_to_its_end() -> None:
    desk = Desk()
    desk.join("a", "b")
    assert desk.tell(JobSubmitted("job", "balanced")) == [
        state(JobState.PLANNING, "looking at the files"),
        StartPlanning("job"),
    ]
    assert desk.tell(JobPlanned("job", (10, 10, 10, 10))) == [
        state(JobState.RUNNING, "40 rows in 4 shards"),
        StartRounds("job"),
    ]
    assert desk.tell(RoundReady("job", 1)) == [
        note(f"placed: {EVEN}"),
        SendTasks("a", "job", 1, (order(0, 2),), EVEN),
        SendTasks("b", "job", 1, (order(2, 4),), EVEN),
    ]
    assert desk.tell(answer("b", task(2, 4))) == [MergePartial("b", task(2, 4))]
    assert desk.tell(answer("a", task(0, 2))) == [MergePartial("a", task(0, 2)), CloseRound("job", 1)]
    assert desk.tell(RoundReady("job", 2)) == [
        SendTasks("a", "job", 2, (order(0, 2),), EVEN),
        SendTasks("b", "job", 2, (order(2, 4),), EVEN),
    ]
    desk.answer_all()
    assert desk.tell(JobFinished("job", "converged")) == [
        state(JobState.COMPLETED, "converged"),
        ReleaseJob("job"),
    ]
    assert desk.tick() == []


def test_unequal_shards_become_the_nodes_of_the_tree_that_hold_them() -> None:
    desk = Desk()
    desk.join("a", "b")
    commands = desk.start([60, 10, 10, 10, 10])
    assert sent(commands) == [("a", task(0, 1)), ("b", task(1, 2)), ("b", task(2, 3)), ("b", task(3, 5))]


def test_round_robin_sends_single_shards_because_neighbours_part() -> None:
    desk = Desk()
    desk.join("a", "b")
    commands = desk.start([10] * 4, policy="round_robin")
    assert sent(commands) == [
        ("a", task(0, 1)),
        ("a", task(2, 3)),
        ("b", task(1, 2)),
        ("b", task(3, 4)),
    ]


def test_a_job_without_workers_waits_and_says_so_once() -> None:
    desk = Desk()
    assert desk.start([10] * 2) == [note("waiting: there is no worker that takes work")]
    assert desk.tick(1.0) == []
    assert desk.tick(60.0) == []
    assert sent(desk.join("a")) == [("a", task(0, 2))]
    assert desk.tell(answer("a", task(0, 2)))[-1] == CloseRound("job", 1)


def test_jobs_beyond_the_limit_wait_for_their_turn() -> None:
    desk = Desk(Scheduler(Limits(max_running_jobs=2)))
    for name in ("one", "two"):
        assert StartPlanning(name) in desk.tell(JobSubmitted(name, "balanced"))
    for name in ("three", "four"):
        assert desk.tell(JobSubmitted(name, "balanced")) == []
    assert desk.tell(JobBroken("one", "no such file")) == [
        state(JobState.FAILED, "no such file", "one"),
        ReleaseJob("one"),
        state(JobState.PLANNING, "looking at the files", "three"),
        StartPlanning("three"),
    ]
    desk.tell(JobPlanned("two", (5,)))
    assert StartPlanning("four") in desk.tell(CancelRequested("two", "enough"))


def test_two_jobs_share_the_workers() -> None:
    desk = Desk()
    desk.join("a")
    desk.start([10], "one")
    desk.start([20], "two")
    assert desk.in_hand("a") == [task(0, 1, job="one"), task(0, 1, job="two")]
    assert desk.tell(answer("a", task(0, 1, job="two")))[-1] == CloseRound("two", 1)
    assert desk.tell(answer("a", task(0, 1, job="one")))[-1] == CloseRound("one", 1)


def queued(desk: Desk) -> None:
    desk.scheduler.limits = Limits(max_running_jobs=0)
    desk.tell(JobSubmitted("job", "balanced"))


def planning(desk: Desk) -> None:
    desk.tell(JobSubmitted("job", "balanced"))


def running(desk: Desk) -> None:
    desk.start([10] * 4)


def between_rounds(desk: Desk) -> None:
    desk.start([10] * 4)
    desk.answer_all()


def starved(desk: Desk) -> None:
    desk.start([10] * 4)
    desk.tick(60.0)


@pytest.mark.parametrize("in_state", [queued, planning, running, between_rounds, starved])
def test_a_job_is_cancelled_in_any_state_and_its_workers_are_free(in_state: object) -> None:
    assert callable(in_state)
    desk = Desk()
    desk.join("a", "b")
    in_state(desk)
    assert desk.tell(CancelRequested("job", "a better idea")) == [
        state(JobState.CANCELLED, "a better idea"),
        ReleaseJob("job"),
    ]
    assert desk.tell(CancelRequested("job", "again")) == []
    assert all(not worker.tasks for worker in desk.scheduler.state.workers.values())
    assert desk.tick(0.1) == []


def test_cancelling_without_a_reason_says_that_somebody_did() -> None:
    desk = Desk()
    desk.tell(JobSubmitted("job", "balanced"))
    assert state(JobState.CANCELLED, "cancelled by request") in desk.tell(CancelRequested("job", ""))


def test_what_comes_for_a_cancelled_job_changes_nothing() -> None:
    desk = Desk()
    desk.join("a", "b")
    desk.start([10] * 4)
    desk.tell(CancelRequested("job", ""))
    dropped = DropPartial("a", task(0, 2), Refusal.UNKNOWN_JOB)
    assert desk.tell(answer("a", task(0, 2))) == [dropped]
    for late in (
        JobPlanned("job", (1,)),
        RoundReady("job", 2),
        JobFinished("job", "done"),
        JobBroken("job", "no"),
    ):
        assert desk.tell(late) == []
    assert desk.job().state is JobState.CANCELLED


def test_a_round_may_not_open_before_the_last_is_closed() -> None:
    desk = Desk()
    desk.join("a")
    desk.start([10])
    with pytest.raises(AssertionError):
        desk.tell(RoundReady("job", 2))


def test_what_each_worker_did_is_added_up() -> None:
    desk = Desk()
    desk.join("a", "b")
    desk.start([10] * 4)
    desk.answer_all(rows=20, seconds={"a": 2.0, "b": 4.0})
    desk.next_round()
    desk.answer_all(rows=20, seconds={"a": 2.0, "b": 4.0})
    shares = desk.job().shares
    assert (shares["a"].rows, shares["a"].busy_s) == (40, 8.0)
    assert (shares["b"].rows, shares["b"].busy_s) == (40, 16.0)
    assert [desk.worker(name).rows_per_second for name in ("a", "b")] == [10.0, 5.0]


def test_speed_is_a_moving_average_that_trusts_the_past() -> None:
    desk = Desk(Scheduler(Limits(speed_memory=0.75)))
    desk.join("a")
    desk.start([200])
    desk.answer_all(rows=100)
    desk.next_round()
    desk.answer_all(rows=200)
    assert desk.worker("a").rows_per_second == pytest.approx(0.75 * 100 + 0.25 * 200)


def test_a_worker_is_not_believed_more_rows_than_its_shards_have() -> None:
    desk = Desk()
    desk.join("a")
    desk.start([10, 20])
    desk.answer_all(rows=2**64 - 1)
    assert (desk.job().shares["a"].rows, desk.worker("a").rows) == (30, 30)


def test_speed_is_measured_for_each_job_by_itself() -> None:
    desk = Desk()
    desk.join("a", "b")
    desk.start([10] * 4)
    desk.answer_all(rows=20, seconds={"a": 0.001, "b": 4.0})
    desk.start([10] * 4, job="other")
    assert desk.job("other").placement.shards == {"a": (0, 1), "b": (2, 3)}


def test_what_is_said_of_a_forgotten_job_changes_nothing() -> None:
    desk = Desk()
    desk.start([10])
    desk.tell(CancelRequested("job", ""))
    assert desk.tell(JobForgotten("job")) == []
    assert "job" not in desk.scheduler.state.jobs
    late = (
        JobPlanned("job", (10,)),
        RoundReady("job", 2),
        JobBroken("job", "too late"),
        JobFinished("job", ""),
    )
    assert [desk.tell(event) for event in late] == [[]] * 4
