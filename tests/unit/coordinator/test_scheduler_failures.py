"""Tasks fail: they wait, go elsewhere, and after enough tries the job ends and says what, where and why."""

import itertools
from dataclasses import replace

import pytest

from builders.scheduling import Desk, answer, failure, note, order, retry, sent, state, task
from gradloom.jobs import JobState, RetryReason
from gradloom_coordinator.commands import AnnounceRetry, CloseRound, ReleaseJob, SendTasks
from gradloom_coordinator.events import JobSubmitted, StreamBroken, TaskRef
from gradloom_coordinator.limits import Limits
from gradloom_coordinator.retries import LOST_WORKER, NO_USE_TRYING_AGAIN, backoff_s
from gradloom_coordinator.scheduler import Scheduler

LIMITS = Limits(backoff_base_s=0.5, backoff_limit_s=4.0)
TRIED_AGAIN = sorted(set(RetryReason) - NO_USE_TRYING_AGAIN - LOST_WORKER)


def desk_of_two() -> Desk:
    desk = Desk(Scheduler(LIMITS))
    desk.join("a", "b")
    desk.start([10, 10, 10, 12])
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
    assert desk.tell(failure("b", task(2, 4), reason, "it broke")) == [
        retry("b", task(2, 4), reason, "it broke")
    ]
    [waiting] = desk.job().waiting
    assert 0.0 <= waiting.not_before <= 1.0
    desk.now = waiting.not_before - 1e-9
    assert desk.tick() == []
    desk.now = waiting.not_before
    assert desk.tick() == [
        SendTasks("a", "job", 1, (order(2, 4, 2),), "2 shards over 1 worker in equal shares")
    ]
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
    blamed = [fail_next(desk, 2) for _ in range(4)]
    assert [worker for worker, _ in blamed] == ["b", "a", "a", "b"]
    assert [ref.attempt for _, ref in blamed] == [1, 2, 3, 4]
    assert desk.job().state is JobState.FAILED
    assert desk.job().reason == (
        "shards 2 (10 rows) failed 4 times; the last time on worker b (exception): ValueError: no"
    )


def test_the_fourth_failure_ends_the_job_at_once() -> None:
    desk = Desk(Scheduler(replace(LIMITS, max_attempts=1)))
    desk.join("a", "b")
    desk.start([10] * 4)
    text = "shards 2-3 (20 rows) failed 1 times; the last time on worker b (nonfinite): NaN"
    assert desk.tell(failure("b", task(2, 4), RetryReason.NONFINITE, "NaN")) == [
        state(JobState.FAILED, text),
        ReleaseJob("job"),
    ]
    assert desk.in_hand("a") == []


def test_failures_are_counted_anew_in_each_round() -> None:
    desk = desk_of_two()
    for _ in range(3):
        fail_next(desk, 2)
    desk.tick_while_alive(4.0, "a", "b")
    desk.answer_all()
    desk.next_round()
    for _ in range(3):
        fail_next(desk, 2)
    assert desk.job().state is JobState.RUNNING


@pytest.mark.parametrize("reason", sorted(NO_USE_TRYING_AGAIN))
def test_what_would_fail_again_fails_the_job_at_once(reason: RetryReason) -> None:
    desk = desk_of_two()
    sentence = "part-3.csv: line 12 has 4 columns, 5 are needed"
    assert desk.tell(failure("b", task(2, 4), reason, sentence)) == [
        state(JobState.FAILED, sentence),
        ReleaseJob("job"),
    ]


def test_the_failure_of_a_task_that_nobody_has_in_hand_is_old_news() -> None:
    desk = desk_of_two()
    desk.tell(answer("a", task(0, 2)))
    assert desk.tell(failure("a", task(0, 2))) == []
    assert desk.tell(failure("gone", task(2, 4))) == []
    assert desk.tell(failure("b", task(2, 4, 7))) == []
    assert desk.in_hand("b") == [task(2, 4)]


def test_shards_on_which_three_workers_were_lost_are_given_to_no_other() -> None:
    desk = Desk(Scheduler(LIMITS))
    desk.join("a", "b", "c", "d")
    desk.start([10], policy="round_robin")
    desk.tell(StreamBroken("a", "reset"), StreamBroken("b", "reset"))
    assert desk.job().state is JobState.RUNNING
    desk.tell(StreamBroken("c", "killed by the kernel"))
    assert desk.job().state is JobState.FAILED
    assert desk.job().reason == (
        "3 workers were lost while they computed shards 0 (10 rows); the last was c: killed by the kernel"
    )
    assert desk.in_hand("d") == []


def test_tasks_that_a_lost_worker_had_not_begun_are_not_blamed() -> None:
    desk = Desk(Scheduler(LIMITS))
    desk.join("keeps on", "x")
    desk.start([10] * 4, policy="round_robin")
    assert desk.in_hand("x") == [task(1, 2), task(3, 4)]
    desk.tell(StreamBroken("x", "reset"))
    ledger = desk.job().round
    assert ledger is not None
    assert ledger.deaths == {1: {"x"}}


def test_lost_workers_are_no_failures_of_the_task() -> None:
    desk = Desk(Scheduler(replace(LIMITS, max_deaths=99)))
    desk.join("a")
    desk.start([10])
    for lost, joined in itertools.pairwise("abcdefgh"):
        desk.tell(StreamBroken(lost, "reset"))
        desk.join(joined)
    assert desk.job().state is JobState.RUNNING
    assert desk.in_hand("h") == [task(0, 1, 8)]


def test_a_retry_covers_the_same_shards_with_nodes_of_the_same_tree() -> None:
    """That is what makes the bits the same: only whole nodes are computed, however they are dealt."""
    desk = Desk()
    desk.join("a", "b", "c")
    desk.start([10] * 9)
    lost = {i for ref in desk.in_hand("b") for i in range(*ref.range)}
    commands = desk.tell(StreamBroken("b", "reset"))
    again = [ref for _, ref in sent(commands)]
    assert {i for ref in again for i in range(*ref.range)} == lost
    assert {worker for worker, _ in sent(commands)} == {"a", "c"}
    announced = [command for command in commands if isinstance(command, AnnounceRetry)]
    assert {i for told in announced for i in range(*told.range)} == lost
    assert CloseRound("job", 1) in desk.answer_all()


def test_a_job_that_fails_with_its_worker_lets_the_next_one_start() -> None:
    desk = Desk(Scheduler(Limits(max_deaths=1, max_running_jobs=1)))
    desk.join("a")
    desk.start([10])
    desk.tell(JobSubmitted("next", "balanced"))
    commands = desk.tell(StreamBroken("a", "reset"))
    assert commands[0] == note("worker a is gone: reset")
    assert state(JobState.PLANNING, "looking at the files", "next") in commands
