"""How things stand at the moment of a look: gauges of the scheduler's state and of jobs, and what jobs count.

Read on the event loop, which owns all of it; what comes out are copies. No clock: the times are passed in.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gradloom.jobs import JobState, WorkerState, WorkerView
from gradloom.synchrony import SynchronyKind
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling.blame import Cause
from gradloom_coordinator.scheduling.events import JobId, WorkerId
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.meters import Reading, Tally
from gradloom_coordinator.scheduling.state import ClusterState, Job, Worker

SHOWN_S = 300.0
"""Series of a worker that is gone, or of a job that has ended, are shown for so long."""
TRIES_LEFT_S = 60.0
"""How long a failure makes the retry budget small."""
SLOTS = 1.0
"""A worker computes one task at a time."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at everything."""

    state: ClusterState
    runs: Mapping[JobId, JobRun]
    views: Sequence[WorkerView]
    """The workers that are here or may come back."""
    limits: Limits
    now: float
    """By the scheduler's clock."""
    epoch: float
    """When that clock was 0, by the epoch."""


def shown_jobs(runs: Mapping[JobId, JobRun], now: float) -> list[JobRun]:
    """Those that go on, and those that have ended a short while ago."""
    return [
        run
        for run in runs.values()
        if not run.state.final or (run.ended is not None and now - run.ended <= SHOWN_S)
    ]


def standing(look: Look) -> list[Reading]:
    """Every family that is not counted as things happen."""
    runs = shown_jobs(look.runs, look.now)
    measures, state = look.state.measures, look.state
    for worker in state.workers:
        measures.begin_worker(worker)
    for run in runs:
        shares = state.jobs[run.job_id].shares if run.job_id in state.jobs else {}
        measures.begin_job(run.job_id, (name for name in shares if name in state.workers))
        if run.job_id in state.jobs:
            measures.tasks.set(state.jobs[run.job_id].counts.succeeded, run.job_id, "succeeded")
    return [*_workers(look), *_jobs(look, runs), *_scheduling(look, runs), *_training(look, runs)]


def _gauges(*families: Tally) -> Iterator[Reading]:
    return (family.reading("gauge") for family in families)


def _workers(look: Look) -> Iterable[Reading]:
    state = look.state
    up = Tally("worker_up", "1 while the worker is connected; 0 for a while after it is gone.", "worker")
    info = Tally("worker_info", "What a worker is: always 1.", "worker", "node", "version", "cores")
    age = Tally("worker_heartbeat_age_seconds", "Time since the last sign of life.", "worker")
    slots = Tally("worker_slots", "Tasks that a worker computes at a time.", "worker")
    inflight = Tally("worker_inflight_tasks", "Tasks in a worker's hands.", "worker")
    backlog = Tally(
        "worker_occupancy_seconds", "What it has in hand and in its queue will probably take.", "worker"
    )
    shards = Tally("worker_shards", "Shards that are placed on a worker.", "worker")
    speed = Tally(
        "worker_throughput_rows_per_second", "Moving average of a worker's own computing.", "worker"
    )
    slowdown = Tally(
        "worker_slowdown_ratio",
        "Its time per row against the median of all, in the last round; 0 = unknown.",
        "worker",
    )
    straggler = Tally("worker_straggler", "1 if it was slow in the last round, by why.", "worker", "cause")
    for view in look.views:
        worker = state.workers[view.worker]
        up.set(worker.state is not WorkerState.AWAY, view.worker)
        info.set(1.0, view.worker, view.host, view.version, f"{view.cores:g}")
        age.set(view.heartbeat_age_s, view.worker)
        slots.set(SLOTS, view.worker)
        inflight.set(len(worker.tasks), view.worker)
        backlog.set(worker.expected_s + _queued_s(state, worker), view.worker)
        shards.set(view.shards, view.worker)
        speed.set(worker.rows_per_second, view.worker)
        slowdown.set(worker.slowdown_ratio, view.worker)
        for cause in Cause:
            straggler.set(worker.straggler.startswith(cause), view.worker, cause)
    for gone in state.departed:
        up.set(0.0, gone)
    came_at = state.measures.came_at.reading("gauge")
    by_epoch = {labels: look.epoch + at for labels, at in came_at.values.items()}
    yield from _gauges(
        _by_state(state), up, info, age, slots, inflight, backlog, shards, speed, slowdown, straggler
    )
    yield Reading("gauge", came_at.name, came_at.help, came_at.labels, by_epoch, {})


def _by_state(state: ClusterState) -> Tally:
    workers = Tally("workers", "Workers by state; lost: within the last five minutes.", "state")
    for known in WorkerState:
        workers.begin(known)
    for worker in state.workers.values():
        workers.add(worker.state)
    workers.add("lost", by=sum(was_lost for _, was_lost in state.departed.values()))
    return workers


def _queued_s(state: ClusterState, worker: Worker) -> float:
    rounds = ((job, job.open_round) for job in state.active.values())
    return sum(
        job.seconds_for(worker.id, round_.queued_rows.get(worker.id, 0)) or 0.0
        for job, round_ in rounds
        if round_ is not None
    )


def _jobs(look: Look, runs: Iterable[JobRun]) -> Iterable[Reading]:
    jobs = Tally("jobs", "Jobs by state, those that have ended included as long as they are kept.", "state")
    state = Tally("job_state", "1 for the state that a job is in.", "job_id", "state")
    info = Tally("job_info", "What a job is: always 1.", "job_id", "algorithm", "policy")
    mode = Tally("synchrony_info", "When its rounds are over: always 1.", "job_id", "mode")
    marks = Tally(
        "job_event_timestamp_seconds",
        "When something last happened to a job, by the epoch.",
        "job_id",
        "event",
        "what",
    )
    for known in JobState:
        jobs.begin(known)
    for run in look.runs.values():
        jobs.add(run.state)
    for run in runs:
        spec = run.spec
        for known in JobState:
            state.set(run.state is known, run.job_id, known)
        info.set(1.0, run.job_id, spec.algorithm, spec.placement or "balanced")
        mode.set(1.0, run.job_id, (spec.synchrony or "synchronous").partition(":")[0])
        marks.set(run.created_at, run.job_id, "submitted", "")
        if run.ended is not None:
            marks.set(look.epoch + run.ended, run.job_id, "ended", run.state)
        if run.checkpoints:
            marks.set(run.checkpoints[0].created_at, run.job_id, "checkpoint", "")
        for change in run.steering:
            marks.set(change.at, run.job_id, "steered", change.field)
    return _gauges(jobs, state, info, mode, marks)


def _scheduling(look: Look, runs: Iterable[JobRun]) -> Iterable[Reading]:
    tasks = Tally("tasks", "Tasks of open rounds.", "job_id", "state")
    imbalance = Tally(
        "load_imbalance_ratio",
        "Longest time a worker was busy in a round over the mean of all; 0 = unknown.",
        "job_id",
    )
    budget = Tally(
        "retry_budget_remaining", "Tries left to the shards that failed most often of late.", "job_id"
    )
    blocked = Tally("ssp_blocked_workers", "Workers that wait because of a bound on staleness.")
    steals = Tally("steals", "Tasks taken over: from a queue, or given up by a worker.", "job_id", "result")
    copies = Tally("speculative_tasks", "Copies of late tasks.", "job_id", "result")
    saved = Tally("speculative_saved_seconds", "What copies have saved, at least.", "job_id")
    wasted = Tally("speculative_wasted_seconds", "What was computed twice, or copied in vain.", "job_id")
    rows = Tally("worker_rows", "Rows computed on, again in each round.", "worker", "job_id")
    blocked.set(sum(_blocked(look.state, job) for job in look.state.active.values()))
    for job in (look.state.jobs[run.job_id] for run in runs if run.job_id in look.state.jobs):
        _task_states(job, tasks)
        for worker, part in job.shares.items():
            if worker in look.state.workers or worker in look.state.departed:
                rows.set(part.rows, worker, job.id)
        imbalance.set(job.counts.imbalance, job.id)
        budget.set(_tries_left(look, job), job.id)
        steals.set(job.counts.helped, job.id, "helped")
        steals.set(job.counts.stolen, job.id, "given_up")
        for result in ("launched", "won", "lost", "cancelled"):
            copies.set(getattr(job.copies, result), job.id, result)
        saved.set(job.copies.saved_s, job.id)
        wasted.set(job.copies.wasted_s + job.copies.cancelled_s, job.id)
    yield from _gauges(tasks, imbalance, budget, blocked)
    yield from (family.reading() for family in (steals, copies, saved, wasted, rows))


def _task_states(job: Job, tasks: Tally) -> None:
    round_ = job.open_round
    held = len(round_.in_hand) if round_ is not None else 0
    running = len(set(round_.in_hand.values())) if round_ is not None else 0
    waiting = 0
    if round_ is not None:
        waiting = sum(map(len, round_.queues.values())) + len(round_.orphans) + len(round_.delayed)
    tasks.set(waiting, job.id, "pending")
    tasks.set(held - running, job.id, "assigned")
    tasks.set(running, job.id, "running")


def _tries_left(look: Look, job: Job) -> int:
    if job.counts.fewest_tries_left is None:
        return look.limits.max_attempts
    left, at = job.counts.fewest_tries_left
    return left if look.now - at <= TRIES_LEFT_S else look.limits.max_attempts


def _blocked(state: ClusterState, job: Job) -> int:
    """Workers with nothing to do in an open round whose last chunks may not be waited for any less."""
    round_ = job.open_round
    if round_ is None or job.synchrony.kind is not SynchronyKind.BOUNDED:
        return 0
    if round_.orphans or any(round_.queues.values()):
        return 0
    return sum(
        not worker.tasks and worker.takes_work and job.admits(worker) for worker in state.workers.values()
    )


def _training(look: Look, runs: Iterable[JobRun]) -> Iterable[Reading]:
    round_ = Tally("round", "Rounds of training done.", "job_id")
    progress = Tally("progress_ratio", "Rounds done of those that are allowed; 1 = it has ended.", "job_id")
    eta = Tally("eta_seconds", "Time to the end if every round that is allowed is needed.", "job_id")
    loss = Tally("loss", "Loss after the last round.", "job_id", "split")
    score = Tally("score", "Scores of the model on the rows that were held out.", "job_id", "metric", "split")
    rate = Tally("learning_rate", "Learning rate of the last round.", "job_id")
    gradient = Tally("gradient_norm", "Norm of the gradient in the last round.", "job_id")
    age = Tally("checkpoint_age_seconds", "Age of a job's newest checkpoint.", "job_id")
    goodput = Tally("goodput_ratio", "Time on tasks that counted over all time spent on tasks.", "job_id")
    rework = look.state.measures.rework.summed("job_id")
    for run in runs:
        now = run.progress
        done, most = (now.iteration, now.max_iterations) if now is not None else (0, 0)
        round_.set(done, run.job_id)
        progress.set(1.0 if run.state.settled else done / max(most, 1), run.job_id)
        left = 0 if run.state.settled else most - done
        eta.set(left * run.train_seconds / max(done, 1), run.job_id)
        if now is not None:
            parts = (("train", now.loss), ("validation", now.validation_loss))
            _set_known(((loss, value, split) for split, value in parts), run.job_id)
            _set_known(((rate, now.learning_rate), (gradient, now.gradient_norm)), run.job_id)
        for name, value in run.scores.items():
            split, _, metric = name.partition("_")
            score.set(value, run.job_id, metric, split)
        if run.checkpoints and not run.state.final:
            age.set(look.epoch + look.now - run.checkpoints[0].created_at, run.job_id)
        goodput.set(_goodput(look.state.jobs.get(run.job_id), rework.get(run.job_id, 0.0)), run.job_id)
    return _gauges(round_, progress, eta, loss, score, rate, gradient, age, goodput)


def _set_known(
    values: Iterable[tuple[Tally, float | None] | tuple[Tally, float | None, str]], job: JobId
) -> None:
    for family, value, *labels in values:
        if value is not None:
            family.set(value, job, *labels)


def _goodput(job: Job | None, rework_s: float) -> float:
    counted_s = sum(share.busy_s for share in job.shares.values()) if job is not None else 0.0
    return counted_s / (counted_s + rework_s) if counted_s else 1.0


def tidy(state: ClusterState, runs: Mapping[JobId, JobRun], now: float) -> tuple[set[WorkerId], set[JobId]]:
    """The workers and jobs that nobody needs to see any more; the workers are forgotten here."""
    gone = {worker for worker, (since, _) in state.departed.items() if now - since > SHOWN_S}
    for worker in gone:
        del state.departed[worker]
    ended = {job for job, run in runs.items() if run.ended is not None and now - run.ended > SHOWN_S}
    return gone, ended
