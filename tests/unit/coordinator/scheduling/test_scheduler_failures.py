"""Tasks fail: they wait, go elsewhere, and after enough tries the job ends and says what, where and why."""

import itertools
from dataclasses import replace

import pytest

from builders.scheduling import Desk, answer, failure, note, order, retry, sent, state, task
from gradloom.canonical import Range
from gradloom.jobs import JobState, RetryReason
from gradloom_coordinator.scheduling.commands import (
    AnnounceRetry,
    AnnounceState,
    CloseRound,
    ReleaseJob,
    SendTasks,
    WakeAt,
)
from gradloom_coordinator.scheduling.events import (
    JobSubmitted,
    StreamBroken,
    TaskRef,
    WorkerLeft,
    WorkerResumed,
)
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.retries import LOST_WORKER, NO_USE_TRYING_AGAIN, backoff_s
from gradloom_coordinator.scheduling.scheduler import Scheduler

LIMITS = Limits(backoff_base_s=0.5, backoff_limit_s=4.0)
TRIED_AGAIN = sorted(set(RetryReason) - NO_USE_TRYING_AGAIN - LOST_WORKER)


def desk_of_two() -> Desk:
    """a computes the first of two shards, b the second."""
    desk = Desk.of("a", "b", limits=LIMITS)
    desk.start([10, 10])
    return desk


def fail_next(desk: Desk, lo: int, reason: RetryReason = RetryReason.EXCEPTION) -> tuple[str, TaskRef]:
    """Wait until the task that holds shard ``lo`` is in somebody's hands, and fail it."""
    for _ in range(100):
        held = [
            (worker, ref)
            for worker in sorted(desk.scheduler.state.workers)
            for ref in desk.in_hand(worker)
            if ref.range.lo <= lo < ref.range.hi
        ]
        if held:
            worker, ref = held[0]
            desk.tell(failure(worker, ref, reason))
            return worker, ref
        desk.tick_while_alive(0.1, *desk.scheduler.state.workers)
    raise AssertionError(f"shard {lo} is with nobody")


@pytest.mark.parametrize("reason", TRIED_AGAIN)
def test_a_failed_task_backs_off_and_goes_to_another_worker(reason: RetryReason) -> None:
    desk = desk_of_two()
    told, wake = desk.tell(failure("b", task(1, 2), reason, "it broke"))
    assert told == retry("b", task(1, 2), reason, "it broke")
    assert isinstance(wake, WakeAt)
    assert 0.0 < wake.at <= 1.0
    desk.now = wake.at - 1e-9
    assert desk.tick() == []
    desk.now = wake.at
    assert desk.tick() == [SendTasks("a", "job", 1, (order(1, 2, 2),), "nobody had it")]
    desk.answer_all()
    assert desk.job().retries == 1
    assert (desk.job().share("b").retries, desk.job().share("a").retries) == (1, 0)


def test_the_only_worker_gets_its_failed_task_again() -> None:
    desk = Desk(Scheduler(LIMITS))
    desk.join("a")
    desk.start([10])
    desk.tell(failure("a", task(0, 1)))
    assert sent(desk.tick(1.0)) == [("a", task(0, 1, 2))]


def test_backoff_doubles_up_to_its_limit_with_a_jitter_that_is_always_the_same() -> None:
    tasks = [task(i, i + 1) for i in range(200)]
    for failures, longest in [(1, 1.0), (2, 2.0), (3, 4.0), (9, 4.0)]:
        waits = [backoff_s(LIMITS, ref, failures) for ref in tasks]
        assert all(0.0 <= wait < longest for wait in waits)
        assert max(waits) > 0.9 * longest
        assert min(waits) < 0.1 * longest
        assert waits == [backoff_s(LIMITS, ref._replace(), failures) for ref in tasks]


def test_after_four_failures_the_job_fails_and_says_everything() -> None:
    desk = desk_of_two()
    blamed = [fail_next(desk, 1) for _ in range(4)]
    assert [worker for worker, _ in blamed[:2]] == ["b", "a"]
    assert [ref.attempt for _, ref in blamed] == [1, 2, 3, 4]
    assert desk.job().state is JobState.FAILED
    assert desk.job().reason == (
        f"shards 1 (10 rows) failed 4 times; the last time on worker {blamed[-1][0]} (exception): ValueError: no"
    )


def test_the_fourth_failure_ends_the_job_at_once() -> None:
    desk = Desk.of("a", "b", limits=replace(LIMITS, max_attempts=1))
    desk.start([10] * 2)
    text = "shards 1 (10 rows) failed 1 times; the last time on worker b (nonfinite): NaN"
    assert desk.tell(failure("b", task(1, 2), RetryReason.NONFINITE, "NaN")) == [
        state(JobState.FAILED, text),
        ReleaseJob("job"),
    ]
    assert desk.in_hand("a") == []


def test_failures_are_counted_anew_in_each_round() -> None:
    desk = desk_of_two()
    for _ in range(3):
        fail_next(desk, 1)
    desk.tick_while_alive(4.0, "a", "b")
    desk.answer_all()
    desk.next_round()
    for _ in range(3):
        fail_next(desk, 1)
    assert desk.job().state is JobState.RUNNING


@pytest.mark.parametrize("reason", sorted(NO_USE_TRYING_AGAIN))
def test_what_would_fail_again_fails_the_job_at_once(reason: RetryReason) -> None:
    desk = desk_of_two()
    sentence = "part-3.csv: line 12 has 4 columns, 5 are needed"
    assert desk.tell(failure("b", task(1, 2), reason, sentence)) == [
        state(JobState.FAILED, sentence),
        ReleaseJob("job"),
    ]


def test_the_failure_of_a_task_that_nobody_has_in_hand_is_old_news() -> None:
    desk = desk_of_two()
    desk.tell(answer("a", task(0, 1)))
    assert desk.tell(failure("a", task(0, 1))) == []
    assert desk.tell(failure("gone", task(1, 2))) == []
    assert desk.tell(failure("b", task(1, 2, 7))) == []
    assert desk.in_hand("b") == [task(1, 2)]


def test_shards_on_which_three_workers_were_lost_are_given_to_no_other() -> None:
    desk = Desk.of("a", "b", "c", "d", limits=LIMITS)
    desk.start([10], policy="round_robin")
    desk.tell(StreamBroken("a", "reset"), StreamBroken("b", "reset"))
    assert desk.job().state is JobState.RUNNING
    desk.tell(StreamBroken("c", "killed by the kernel"))
    assert desk.job().state is JobState.FAILED
    assert desk.job().reason == (
        "quarantined: 3 workers were lost while they computed shards 0 (10 rows); "
        "the last was c: killed by the kernel"
    )
    assert desk.in_hand("d") == []


def test_workers_whose_streams_broke_and_that_come_back_have_not_died() -> None:
    desk = Desk.of("a", "b", "c", "d", limits=LIMITS)
    desk.start([10])
    for worker in "abcdabcd":
        if desk.in_hand(worker):
            desk.tell(StreamBroken(worker, "reset"), WorkerResumed(worker))
    assert desk.job().state is JobState.RUNNING
    assert desk.round().chunks[Range(0, 1)].died == frozenset()


def test_tasks_that_a_lost_worker_had_not_begun_are_not_blamed() -> None:
    desk = Desk.of("keeps on", "x", limits=LIMITS)
    desk.start([10] * 4, policy="round_robin")
    assert desk.in_hand("x") == [task(1, 2), task(3, 4)]
    desk.tell(StreamBroken("x", "reset"))
    chunks = desk.round().chunks
    assert chunks[Range(1, 2)].died == {("x", 0.0)}
    assert chunks[Range(3, 4)].died == frozenset()


def test_a_worker_that_dies_and_comes_back_under_its_name_has_died_again() -> None:
    desk = Desk.of("a", limits=LIMITS)
    desk.start([10])
    for _ in range(2):
        desk.tell(StreamBroken("a", "killed"))
        desk.now += LIMITS.resume_grace_s
        desk.tick()
        desk.join("a")
    commands = desk.tell(StreamBroken("a", "killed"))
    [failed] = [command for command in commands if isinstance(command, AnnounceState)]
    assert failed.reason.startswith("quarantined: 3 workers were lost while they computed shards 0")


def test_lost_workers_are_no_failures_of_the_task() -> None:
    desk = Desk.of("a", limits=replace(LIMITS, max_deaths=99))
    desk.start([10])
    for lost, joined in itertools.pairwise("abcdefgh"):
        desk.tell(StreamBroken(lost, "reset"))
        desk.join(joined)
    assert desk.job().state is JobState.RUNNING
    assert desk.in_hand("h") == [task(0, 1, 8)]


def test_a_retry_is_the_same_chunk_whoever_gets_it() -> None:
    """That is what makes the bits the same: only the round's chunks are computed, however they are dealt."""
    desk = Desk.of("a", "b", "c")
    desk.start([10] * 9)
    chunks = set(desk.round().chunks)
    lost = {ref.range for ref in desk.in_hand("b")}
    commands = desk.tell(StreamBroken("b", "reset"))
    announced = {command.range for command in commands if isinstance(command, AnnounceRetry)}
    assert announced == lost
    again = desk.answer_all()
    assert {ref.range for _, ref in [*sent(commands), *sent(again)]} >= lost
    assert {ref.range for _, ref in sent(again)} <= chunks
    assert set(desk.round().chunks) == chunks
    assert CloseRound("job", 1) in again


def test_what_failed_here_is_asked_back_or_tried_here_again_only_when_nobody_else_can() -> None:
    desk = desk_of_two()
    desk.tell(failure("b", task(1, 2)))
    desk.tell(WorkerLeft("a", "SIGTERM"))
    assert ("b", task(1, 2, 2)) in sent(desk.tick(1.0))


def test_a_job_that_fails_with_its_worker_lets_the_next_one_start() -> None:
    desk = Desk(Scheduler(Limits(max_deaths=1, max_running_jobs=1)))
    desk.join("a")
    desk.start([10])
    desk.tell(JobSubmitted("next", "balanced"))
    commands = desk.tell(StreamBroken("a", "reset"))
    assert commands[0] == note("worker a broke off: reset")
    assert state(JobState.PLANNING, "looking at the files", "next") in commands
