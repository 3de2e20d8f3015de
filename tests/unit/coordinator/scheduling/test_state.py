"""The tables of legal steps, and that the invariants are noticed when they are broken."""

import itertools
from collections.abc import Callable

import pytest

from builders.scheduling import Desk, task
from gradloom.canonical import Range
from gradloom.jobs import JobState, WorkerState
from gradloom_coordinator.scheduling.state import JOB_STEPS, WORKER_STEPS, Job, Worker

J, W = JobState, WorkerState
LEGAL_JOB_STEPS = {
    (J.QUEUED, J.PLANNING),
    (J.QUEUED, J.CANCELLED),
    (J.PLANNING, J.RUNNING),
    (J.PLANNING, J.FAILED),
    (J.PLANNING, J.CANCELLED),
    (J.RUNNING, J.PAUSED),
    (J.RUNNING, J.SERVING),
    (J.RUNNING, J.COMPLETED),
    (J.RUNNING, J.FAILED),
    (J.RUNNING, J.CANCELLED),
    (J.SERVING, J.COMPLETED),
    (J.SERVING, J.FAILED),
    (J.PAUSED, J.RUNNING),
    (J.PAUSED, J.FAILED),
    (J.PAUSED, J.CANCELLED),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(J, J)))
def test_a_job_takes_exactly_the_legal_steps(before: JobState, after: JobState) -> None:
    job = Job("job", "balanced", state=before)
    if (before, after) in LEGAL_JOB_STEPS:
        job.step(after, "why")
        assert (job.state, job.reason) == (after, "why")
    else:
        with pytest.raises(AssertionError, match=f"job job: {before} -> {after}"):
            job.step(after, "why")


def test_the_tables_name_every_state_and_final_states_lead_nowhere() -> None:
    assert set(JOB_STEPS) == set(JobState)
    assert set(WORKER_STEPS) == set(WorkerState)
    assert {state for state, steps in JOB_STEPS.items() if not steps} == {s for s in JobState if s.final}


TAKES_WORK = {W.IDLE, W.BUSY, W.PROBING}
ILLEGAL_WORKER_STEPS = {
    *((W.DRAINING, after) for after in W if after not in (W.AWAY, W.DRAINING)),
    *((W.AWAY, after) for after in W if after not in (W.IDLE, W.EXCLUDED, W.AWAY)),
    *((W.EXCLUDED, after) for after in (W.BUSY, W.SUSPECT)),
    *((before, W.PROBING) for before in (W.IDLE, W.BUSY, W.SUSPECT)),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(W, W)))
def test_a_worker_takes_exactly_the_legal_steps(before: WorkerState, after: WorkerState) -> None:
    worker = Worker("w", 0.0, 0.0, state=before)
    if (before, after) in ILLEGAL_WORKER_STEPS:
        with pytest.raises(AssertionError, match=f"worker w: {before} -> {after}"):
            worker.step(after)
    else:
        worker.step(after, "why")
        assert (worker.state, worker.reason) == (after, "why")
        assert worker.takes_work is (after in TAKES_WORK)


def busy_desk() -> Desk:
    """a has shards 0 and 1 in hand, b 2 and 3."""
    desk = Desk.of("a", "b")
    desk.start([10] * 4)
    return desk


def break_by_losing_a_task(desk: Desk) -> None:
    worker = desk.worker("a")
    worker.let_go(task(0, 1))


def break_by_counting_in_hand(desk: Desk) -> None:
    desk.round().count(desk.round().chunks[Range(0, 1)])


def break_by_forgetting_the_state(desk: Desk) -> None:
    desk.worker("a").state = WorkerState.IDLE


def break_by_ending_under_the_workers(desk: Desk) -> None:
    desk.job().state = JobState.COMPLETED


def break_by_opening_a_round_too_early(desk: Desk) -> None:
    desk.worker("a").tasks[task(0, 1, round=2)] = desk.worker("a").tasks.pop(task(0, 1))


def break_by_going_away_with_tasks(desk: Desk) -> None:
    desk.worker("a").state = WorkerState.AWAY


def break_by_queueing_for_one_that_takes_no_work(desk: Desk) -> None:
    desk.worker("b").state = WorkerState.SUSPECT
    desk.round().queues["b"].append(desk.round().chunks[Range(3, 4)])


def break_by_leaving_it_to_nobody(desk: Desk) -> None:
    desk.answer("a")
    desk.answer("a")
    holder = desk.worker("b")
    desk.round().orphans.append(desk.scheduler.state.take_from(holder, task(2, 3)).chunk)


def break_by_being_hungry_while_silent(desk: Desk) -> None:
    desk.scheduler.state.hungry["a"] = None
    desk.worker("a").state = WorkerState.SUSPECT


def break_by_a_wrong_sum(desk: Desk) -> None:
    desk.worker("a").expected_s += 1.0


@pytest.mark.parametrize(
    ("breaking", "says"),
    [
        (break_by_losing_a_task, "round 1: shards .* are with nobody"),
        (break_by_counting_in_hand, "a works on shards that are counted"),
        (break_by_forgetting_the_state, "a is idle"),
        (break_by_ending_under_the_workers, "a works for job, which is completed"),
        (break_by_opening_a_round_too_early, "a: an old round"),
        (break_by_going_away_with_tasks, "a is away and has tasks"),
        (break_by_queueing_for_one_that_takes_no_work, "a chunk is in two places"),
        (break_by_leaving_it_to_nobody, "shards 2 of job lie about while a has nothing to do"),
        (break_by_being_hungry_while_silent, "a is hungry, but suspect"),
        (break_by_a_wrong_sum, None),
    ],
)
def test_a_broken_invariant_is_noticed(breaking: Callable[[Desk], None], says: str | None) -> None:
    desk = busy_desk()
    breaking(desk)
    with pytest.raises(AssertionError, match=says):
        desk.scheduler.state.check()
