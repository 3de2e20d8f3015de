"""A worker that keeps failing gets no work for a while, and is let back in through one probe."""

import pytest

from builders.scheduling import Desk, answer, failure, note, notes, sent
from gradloom.jobs import JobState, RetryReason, WorkerState
from gradloom_coordinator.scheduling.commands import CancelTasks, Command, WakeAt
from gradloom_coordinator.scheduling.events import (
    StreamBroken,
    TaskRef,
    WorkerJoined,
    WorkerLeft,
    WorkerResumed,
)
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.scheduler import Scheduler
from gradloom_coordinator.scheduling.trust import Trust

LIMITS = Limits(exclude_after=3, exclude_s=10.0, exclude_limit_s=300.0, max_attempts=99, backoff_base_s=0.0)
EXCLUDED = "worker bad is excluded for 10 s: it failed too often"


def desk_with_a_bad_worker(*others: str) -> Desk:
    desk = Desk(Scheduler(LIMITS))
    desk.join("bad", *others)
    desk.start([10] * 40)
    return desk


def fail(desk: Desk, times: int, worker: str = "bad") -> list[Command]:
    commands: list[Command] = []
    for _ in range(times):
        commands = desk.tell(failure(worker, desk.in_hand(worker)[0]))
    return commands


# ---- the ledger


def test_three_failures_in_a_row_are_once_too_often() -> None:
    trust = Trust()
    assert [trust.failed(LIMITS) for _ in range(3)] == [False, False, True]


def test_an_answer_between_them_makes_a_difference() -> None:
    trust = Trust()
    assert [trust.failed(LIMITS), trust.failed(LIMITS)] == [False, False]
    trust.succeeded()
    assert not trust.failed(LIMITS)


def test_exclusions_double_up_to_five_minutes_and_shrink_step_by_step() -> None:
    trust = Trust()
    assert [trust.exclude(LIMITS, 0.0) for _ in range(7)] == [10, 20, 40, 80, 160, 300, 300]
    trust.readmitted()
    trust.readmitted()
    trust.readmitted()
    assert trust.exclude(LIMITS, 1000.0) == 160
    assert trust.excluded_until == 1160.0


# ---- the scheduler


def test_a_worker_that_fails_three_times_is_excluded_and_its_work_goes_to_others() -> None:
    desk = desk_with_a_bad_worker("good")
    fail(desk, 2)
    assert desk.worker("bad").state is WorkerState.BUSY
    unfinished = tuple(desk.in_hand("bad")[1:])
    commands = fail(desk, 1)
    assert note(EXCLUDED) in commands
    assert WakeAt(desk.now + 10.0) in commands
    assert CancelTasks("bad", unfinished, "the worker is excluded") in commands
    assert desk.worker("bad").state is WorkerState.EXCLUDED
    assert desk.worker("bad").reason == "failed too often: no work for 10 s"
    assert desk.in_hand("bad") == []
    desk.answer_all()
    assert desk.round().complete, "the good one does it all"


def test_one_probe_lets_it_back_in() -> None:
    desk = desk_with_a_bad_worker("good")
    fail(desk, 3)
    assert sent(desk.tick_while_alive(9.9, "good", "bad")) == []
    probe = desk.tick_while_alive(0.2, "good", "bad")
    assert [worker for worker, _ in sent(probe)] == ["bad"], "one task, no more"
    assert desk.worker("bad").state is WorkerState.PROBING
    commands = desk.answer("bad")
    assert note("worker bad is let back in: its probe succeeded") in commands
    assert desk.worker("bad").state is WorkerState.BUSY


def test_a_probe_that_fails_excludes_it_for_twice_as_long() -> None:
    desk = desk_with_a_bad_worker("good")
    fail(desk, 3)
    desk.tick_while_alive(10.0, "good", "bad")
    assert note("worker bad is excluded for 20 s: it failed too often") in fail(desk, 1)
    desk.tick_while_alive(19.0, "good", "bad")
    assert desk.worker("bad").state is WorkerState.EXCLUDED
    desk.tick_while_alive(1.0, "good", "bad")
    assert desk.worker("bad").state is WorkerState.PROBING


def test_the_last_worker_is_never_excluded() -> None:
    desk = desk_with_a_bad_worker()
    for _ in range(9):
        desk.tell(failure("bad", desk.in_hand("bad")[0]))
        desk.tick_while_alive(1.0, "bad")
    assert desk.worker("bad").state is WorkerState.BUSY


def test_the_last_worker_is_not_excluded_for_its_broken_streams_either() -> None:
    desk = desk_with_a_bad_worker()
    for _ in range(5):
        desk.tell(StreamBroken("bad", "reset"), WorkerResumed("bad"))
    assert desk.worker("bad").state is WorkerState.BUSY


def test_when_the_others_leave_an_excluded_worker_may_try_at_once() -> None:
    desk = desk_with_a_bad_worker("good")
    fail(desk, 3)
    desk.tell(WorkerLeft("good", "SIGTERM"))
    assert [worker for worker, _ in sent(desk.tick(0.1))] == ["bad"]
    assert desk.worker("bad").state is WorkerState.PROBING


def test_a_job_that_fails_on_all_workers_is_not_their_fault() -> None:
    desk = Desk(Scheduler(LIMITS))
    desk.join("a", "b", "c")
    desk.start([10] * 30, policy="round_robin")
    for _ in range(3):
        for name in "abc":
            desk.tell(failure(name, desk.in_hand(name)[0], RetryReason.NONFINITE, "it diverges"))
    assert {desk.worker(name).state for name in "abc"} == {WorkerState.BUSY}


def test_what_fails_on_every_worker_is_not_a_workers_fault() -> None:
    desk = Desk(Scheduler(LIMITS))
    desk.join("a", "b", "c")
    desk.start([10])
    for _ in range(9):
        [holder] = [name for name in ("a", "b", "c") if desk.in_hand(name)]
        desk.tell(failure(holder, desk.in_hand(holder)[0]))
        desk.tick_while_alive(1.0, "a", "b", "c")
    assert all(desk.worker(name).state is not WorkerState.EXCLUDED for name in ("a", "b", "c"))
    assert desk.job().state is JobState.RUNNING


@pytest.mark.parametrize("reason", [RetryReason.NONFINITE, RetryReason.CHECKSUM, RetryReason.OUT_OF_MEMORY])
def test_whatever_it_fails_with_counts(reason: RetryReason) -> None:
    desk = desk_with_a_bad_worker("good")
    for _ in range(3):
        desk.tell(failure("bad", desk.in_hand("bad")[0], reason))
    assert desk.worker("bad").state is WorkerState.EXCLUDED


def test_a_worker_is_remembered_by_name_beyond_its_death() -> None:
    desk = desk_with_a_bad_worker("good")
    fail(desk, 3)
    desk.tell(WorkerLeft("bad", "SIGTERM"), WorkerJoined("bad"))
    assert desk.worker("bad").state is WorkerState.EXCLUDED
    assert desk.in_hand("bad") == []
    desk.tell(WorkerLeft("bad", "SIGTERM"))
    desk.tick_while_alive(60.0, "good")
    desk.tell(WorkerJoined("bad"))
    assert desk.worker("bad").state is WorkerState.PROBING, "its time is over, and one task decides"
    assert len(desk.in_hand("bad")) == 1


def test_a_worker_that_dies_over_its_work_three_times_is_excluded_when_it_comes_back() -> None:
    desk = desk_with_a_bad_worker("good")
    for _ in range(2):
        desk.tell(StreamBroken("bad", "killed"), WorkerLeft("bad", "a new process has its name"))
        desk.join("bad")
        assert desk.worker("bad").state is WorkerState.BUSY
    assert EXCLUDED in notes(desk.tell(StreamBroken("bad", "killed")))
    desk.tell(WorkerResumed("bad"))
    assert desk.worker("bad").state is WorkerState.EXCLUDED


def test_what_an_excluded_worker_still_sends_counts() -> None:
    desk = desk_with_a_bad_worker("good")
    held: TaskRef = desk.in_hand("bad")[1]
    fail(desk, 3)
    desk.tell(answer("bad", held))
    assert desk.round().shards_counted == held.range.size
    assert desk.worker("bad").state is WorkerState.EXCLUDED
