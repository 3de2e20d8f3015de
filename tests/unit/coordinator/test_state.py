"""The tables of legal steps, and that the invariants are noticed when they are broken."""

import itertools

import pytest

from builders.scheduling import Desk, task
from gradloom.canonical import Range
from gradloom.jobs import JobState, WorkerState
from gradloom_coordinator.state import JOB_STEPS, WORKER_STEPS, Job, Waiting, Worker

J, W = JobState, WorkerState
LEGAL_JOB_STEPS = {
    (J.QUEUED, J.PLANNING),
    (J.QUEUED, J.CANCELLED),
    (J.PLANNING, J.RUNNING),
    (J.PLANNING, J.FAILED),
    (J.PLANNING, J.CANCELLED),
    (J.RUNNING, J.COMPLETED),
    (J.RUNNING, J.FAILED),
    (J.RUNNING, J.CANCELLED),
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


@pytest.mark.parametrize(("before", "after"), list(itertools.product(W, W)))
def test_a_worker_may_go_from_any_state_to_any(before: WorkerState, after: WorkerState) -> None:
    worker = Worker("w", 0.0, 0.0, state=before)
    worker.step(after)
    assert worker.state is after
    assert worker.takes_work is (after is not WorkerState.SUSPECT)


def busy_desk() -> Desk:
    desk = Desk()
    desk.join("a", "b")
    desk.start([10] * 4)
    return desk


def break_by_losing_a_task(desk: Desk) -> None:
    desk.worker("a").tasks.clear()
    desk.worker("a").rest()


def break_by_counting_in_hand(desk: Desk) -> None:
    opened = desk.job().round
    assert opened is not None
    opened.count(Range(0, 2))


def break_by_forgetting_the_state(desk: Desk) -> None:
    desk.worker("a").state = WorkerState.IDLE


def break_by_ending_under_the_workers(desk: Desk) -> None:
    desk.job().state = JobState.COMPLETED


def break_by_opening_a_round_too_early(desk: Desk) -> None:
    desk.worker("a").tasks[task(0, 2, round=2)] = 0.0


def break_by_waiting_after_the_end(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.worker(name).tasks.clear()
        desk.worker(name).rest()
    desk.job().state = JobState.FAILED
    desk.job().waiting.append(Waiting(Range(0, 1), 1, 0.0))


@pytest.mark.parametrize(
    ("breaking", "says"),
    [
        (break_by_losing_a_task, "round 1: shard 0 is with nobody"),
        (break_by_counting_in_hand, "a works on shards that are counted"),
        (break_by_forgetting_the_state, "a is idle"),
        (break_by_ending_under_the_workers, "a works for job, which is completed"),
        (break_by_opening_a_round_too_early, "a works on an old round"),
        (break_by_waiting_after_the_end, "job is failed and waits for"),
    ],
)
def test_a_broken_invariant_is_noticed(breaking: object, says: str) -> None:
    desk = busy_desk()
    desk.scheduler.state.check()
    assert callable(breaking)
    breaking(desk)
    with pytest.raises(AssertionError, match=says):
        desk.scheduler.state.check()
