"""Chosen worlds: one thing goes wrong, at the worst moment."""

from collections.abc import Callable
from itertools import count

import pytest

from gradloom.jobs import JobState, RetryReason
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.rounds import Refusal
from simulation.network import End
from simulation.plan import STRICT, JobPlan, Plan, Trouble, WorkerPlan
from simulation.world import World

ROWS = (100,) * 12
JOB = JobPlan("job", ROWS, submitted_at=0.1)
FOUR = tuple(WorkerPlan(f"w{i}") for i in range(4))
ONE_SLOW = (*FOUR[:3], WorkerPlan("w3", rows_per_second=40.0))


def world(*workers: WorkerPlan, jobs: tuple[JobPlan, ...] = (JOB,), trouble: Trouble | None = None) -> World:
    plan = Plan(workers or FOUR, jobs, trouble or Trouble(), checkpoint_every=1)
    return World(1, plan)


def said(there: World, *kinds: type) -> list[e.Event | c.Command]:
    return [entry for entry in there.log if isinstance(entry, kinds)]


def notes(there: World) -> list[str]:
    return [entry.text for entry in there.log if isinstance(entry, c.AnnounceNote)]


def retries(there: World) -> list[c.AnnounceRetry]:
    return [entry for entry in there.log if isinstance(entry, c.AnnounceRetry)]


def copies(there: World) -> list[c.SendTasks]:
    return [
        entry for entry in there.log if isinstance(entry, c.SendTasks) and entry.reason.startswith("copies")
    ]


def is_over(there: World) -> bool:
    return bool(there.storage.jobs) and not there.storage.unfinished()


def before_number(n: int, is_meant: Callable[[c.Command], bool]) -> Callable[[c.Command], bool]:
    """Die before the n-th command that is meant."""
    numbers = count()
    return lambda command: is_meant(command) and next(numbers) == n


# ---- the coordinator's death


@pytest.mark.parametrize("big", [False, True])
def test_the_coordinator_may_die_between_any_two_commands(big: bool) -> None:
    """One world, once for each of its commands."""
    job = JobPlan("job", ROWS[:8], max_rounds=2, submitted_at=0.1, big=big)
    undisturbed = world(*ONE_SLOW[1:], jobs=(job,))
    undisturbed.until(lambda: is_over(undisturbed))
    n_commands = sum(isinstance(entry, c.Command) for entry in undisturbed.log)
    assert n_commands > 60
    for n in range(n_commands):
        there = world(*ONE_SLOW[1:], jobs=(job,))
        there.die_before = before_number(n, lambda _: True)
        there.run()
        assert there.deaths_of_coordinator == 1, f"command {n}"
        assert there.storage.jobs["job"].state is JobState.COMPLETED


@pytest.mark.parametrize("kind", [c.MergePartial, c.CloseRound, c.SendTasks, c.ReleaseJob, c.StartRounds])
def test_a_coordinator_that_dies_again_and_again_still_gets_there(kind: type[c.Command]) -> None:
    there = world()
    deaths = count(1)
    there.die_before = lambda command: (
        isinstance(command, kind) and next(deaths) % 5 == 0 and there.clock.now < 9
    )
    there.run()
    assert there.storage.jobs["job"].state is JobState.COMPLETED


def test_without_a_checkpoint_training_begins_again() -> None:
    there = world()
    there.until(lambda: len(said(there, c.CloseRound)) == 3)
    there.storage.jobs["job"].checkpoints.clear()
    there.kill_coordinator()
    there.finish()
    assert len(said(there, c.CloseRound)) == 3 + 4, "a profile and three rounds, all over again"


# ---- stealing and copies


@pytest.mark.parametrize("notice_s", [0.001, 0.5, None])
def test_the_victim_of_a_steal_dies_before_it_answers(notice_s: float | None) -> None:
    there = world(*ONE_SLOW)
    there.until(lambda: bool(said(there, c.TakeBack)))
    there.workers["w3"].die("before it answers", notice_s)
    there.finish()
    assert {retry.worker for retry in retries(there)} <= {"w3"}
    assert notice_s is None or retries(there), "nobody was asked to compute what it had"


def test_the_victim_of_a_steal_is_cut_off_before_it_answers_and_comes_back() -> None:
    there = world(*ONE_SLOW)
    there.until(lambda: bool(said(there, c.TakeBack)))
    stream = there.workers["w3"].stream
    assert stream is not None
    stream.cut({End.WORKER: 0.1, End.COORDINATOR: 0.2}, "connection reset")
    there.finish()
    assert said(there, e.WorkerResumed)


def test_both_copies_of_a_speculative_task_answer() -> None:
    there = world(*ONE_SLOW)
    there.until(lambda: bool(copies(there)))
    # what the slow one answers and that nobody needs it cross each other
    there.network.partitioned_until["w3"] = there.clock.now + 2.9
    there.finish()
    [first, *_] = copies(there)
    merged = [entry.task for entry in there.log if isinstance(entry, c.MergePartial)]
    assert len({(task.round, task.range) for task in merged}) == len(merged)
    dropped = {entry.reason for entry in there.log if isinstance(entry, c.DropPartial)}
    assert dropped & {Refusal.DUPLICATE, Refusal.LATE}, first


def test_both_holders_of_a_copied_task_die() -> None:
    there = world(*ONE_SLOW)
    there.until(lambda: bool(copies(there)))
    there.workers["w3"].die("killed", 0.001)
    there.workers[copies(there)[0].worker].die("killed", 0.3)
    there.finish()
    assert {retry.reason for retry in retries(there)} == {RetryReason.STREAM_RESET}


# ---- streams


def test_a_worker_whose_stream_breaks_keeps_its_name_and_its_result_counts_once() -> None:
    there = world(WorkerPlan("w0"))
    there.until(lambda: len(said(there, c.MergePartial)) == 3)
    stream = there.workers["w0"].stream
    assert stream is not None
    stream.cut({End.WORKER: 0.3, End.COORDINATOR: 0.0}, "connection reset")
    there.finish()
    assert [entry.worker for entry in said(there, e.WorkerResumed) if isinstance(entry, e.WorkerResumed)] == [
        "w0"
    ]
    assert len(said(there, e.WorkerJoined)) == 1


def test_a_worker_notices_the_break_alone_and_takes_its_old_session_over() -> None:
    there = world(WorkerPlan("w0"))
    there.until(lambda: len(said(there, c.MergePartial)) == 3)
    stream = there.workers["w0"].stream
    assert stream is not None
    stream.cut({End.WORKER: 0.1, End.COORDINATOR: None}, "connection reset")
    there.finish()
    assert len(said(there, e.StreamBroken)) == 1 + 1, "and once more as the world ends"
    assert len(said(there, e.WorkerResumed)) == 1


def test_a_crashed_worker_that_comes_back_at_once_is_another_worker() -> None:
    there = world(jobs=(JobPlan("job", ROWS, max_rounds=40),))
    there.until(lambda: len(said(there, c.MergePartial)) == 3)
    there.workers["w0"].die("killed", None)
    there.finish()
    joined = [entry.worker for entry in there.log if isinstance(entry, e.WorkerJoined)]
    assert len(joined) == 5
    assert joined[-1].startswith("w0")


# ---- leaving


def test_a_rolling_restart_of_all_workers_costs_no_retry() -> None:
    there = world(jobs=(JobPlan("job", ROWS, max_rounds=8, submitted_at=0.1),))
    for i, worker in enumerate(FOUR):
        there.until(lambda i=i: len(said(there, c.CloseRound)) > i)  # type: ignore[misc]
        process = there.workers[worker.name]
        there.until(lambda p=process: p.session.running is not None)  # type: ignore[misc]
        process.terminate()
    there.finish()
    assert len(said(there, e.WorkerLeft)) == 4
    assert retries(there) == []


def test_an_operator_drains_a_worker() -> None:
    there = world()
    there.until(lambda: len(said(there, c.MergePartial)) == 3)
    there.drain(there.workers["w1"])
    there.finish()
    assert len(said(there, e.WorkerDraining)) == 1
    assert retries(there) == []


# ---- waiting


def test_a_job_without_workers_says_that_it_waits() -> None:
    there = world(WorkerPlan("w0", starts_at=20.0))
    there.run()
    assert "waiting: there is no worker that takes work" in notes(there)


def test_a_job_waits_for_a_worker_with_its_labels() -> None:
    job = JobPlan("job", ROWS, required_labels={"disk": "ssd"})
    there = world(*FOUR, WorkerPlan("w9", labels={"disk": "ssd"}, starts_at=10.0), jobs=(job,))
    there.run()
    assert any("no worker with disk=ssd" in note for note in notes(there))
    assert {entry.worker for entry in there.log if isinstance(entry, c.SendTasks)} == {"w9"}


def test_a_third_job_queues_until_one_of_two_is_through() -> None:
    jobs = tuple(JobPlan(f"job-{i}", ROWS, submitted_at=0.1 * i) for i in range(3))
    there = world(jobs=jobs)
    there.run()
    steps = [(entry.job, entry.state) for entry in there.log if isinstance(entry, c.AnnounceState)]
    ended = min(steps.index((f"job-{i}", JobState.COMPLETED)) for i in range(2))
    assert steps.index(("job-2", JobState.PLANNING)) > ended


# ---- failures


def test_a_shard_that_kills_whoever_computes_it_ends_its_job_and_no_other() -> None:
    jobs = (JobPlan("bad", ROWS, deadly_shards=frozenset({5})), JobPlan("good", ROWS, max_rounds=4))
    there = World(1, Plan(FOUR, jobs, limits=STRICT))
    there.run()
    assert there.storage.jobs["good"].state is JobState.COMPLETED
    assert there.storage.jobs["bad"].state is JobState.FAILED
    assert "quarantined" in there.storage.jobs["bad"].reason
    assert "5" in there.storage.jobs["bad"].reason


def test_a_worker_on_which_everything_fails_is_excluded_and_tried_once_in_a_while() -> None:
    bad = WorkerPlan("bad", failure=1.0)
    job = JobPlan("job", ROWS, max_rounds=30, submitted_at=0.1)
    there = World(1, Plan((*FOUR, bad), (job,), limits=STRICT))
    there.run()
    assert there.storage.jobs["job"].state is JobState.COMPLETED
    excluded = [note for note in notes(there) if "excluded" in note]
    assert len(excluded) >= 2, "10 s, then 20 s"
    assert all("bad" in note for note in excluded)
    given = sum(len(s.tasks) for s in there.log if isinstance(s, c.SendTasks) and s.worker == "bad")
    assert given <= 2 * STRICT.exclude_after + len(excluded), "then one probe each time"


# ---- fairness


@pytest.mark.parametrize("weight", [1.0, 3.0])
@pytest.mark.parametrize("later_s", [0.1, 5.0])
def test_two_jobs_share_the_workers_by_their_weights(weight: float, later_s: float) -> None:
    """While both have work; whichever came first, and whatever the other had been given by then."""
    jobs = (
        JobPlan("first", (200,) * 16, max_rounds=40, submitted_at=0.1),
        JobPlan("second", (200,) * 16, max_rounds=40, submitted_at=later_s, share_weight=weight),
    )
    there = world(jobs=jobs)
    there.until(lambda: there.clock.now > later_s + 10.0)
    before = {job.name: rows_of(there, job.name) for job in jobs}
    there.until(lambda: there.clock.now > later_s + 30.0)
    first, second = (rows_of(there, job.name) - before[job.name] for job in jobs)
    assert 0.7 * weight < second / first < 1.3 * weight, f"{second} rows against {first}"


def rows_of(there: World, job: str) -> int:
    return sum(e_.rows for e_ in there.log if isinstance(e_, e.PartialArrived) and e_.task.job == job)
