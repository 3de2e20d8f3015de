"""Why a job, a worker or a task is as it is: sentences made of the reasons that were recorded. Pure."""

from collections.abc import Iterable

from gradloom.errors import NotFound
from gradloom.jobs import JobState, WorkerState
from gradloom_coordinator.scheduling.events import WorkerId
from gradloom_coordinator.scheduling.policies.placement import counted
from gradloom_coordinator.scheduling.rounds import Chunk, Round
from gradloom_coordinator.scheduling.state import ClusterState, Job, Worker

PLACES_SHOWN = 20


def explain(state: ClusterState, subject: str, now: float) -> tuple[str, ...]:
    """What is known of a job id, a worker's name, or ``JOB:SHARD``. Raises NotFound."""
    if subject in state.jobs:
        return tuple(_job(state, state.jobs[subject], now))
    if subject in state.workers:
        return tuple(_worker(state, state.workers[subject], now))
    job, colon, shard = subject.rpartition(":")
    if colon and job in state.jobs and shard.isascii() and shard.isdigit():
        return tuple(_task(state.jobs[job], int(shard)))
    jobs = ", ".join(list(state.jobs)[-3:]) or "none"
    workers = ", ".join(sorted(state.workers)[:3]) or "none"
    raise NotFound(
        f"{subject!r} is no job, worker or JOB:SHARD of this coordinator; its last jobs: {jobs}; workers: {workers}"
    )


def _job(state: ClusterState, job: Job, now: float) -> Iterable[str]:
    yield f"Job {job.id} is {job.state}: {job.reason}."
    if job.pause_because and job.state is not JobState.PAUSED:
        yield f"It will stand still when its round is over: {job.pause_because}."
    if job.placement is not None and job.plan is not None:
        yield f"Its shards are placed by {job.plan.policy}: {job.placement.reason}."
        yield from _places(job)
    if job.replan_because:
        yield f"They are placed anew with the next round, if that pays: {job.replan_because}."
    if job.open_round is not None:
        yield from _round(job.open_round, now)
    if job.starved:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(job.required_labels.items()))
        yield f"No worker{f' with {labels}' if labels else ''} takes work of it."
    if job.retries:
        yield f"{counted(job.retries, 'task')} had to be tried again."
    counts, copies = job.counts, job.copies
    if counts.helped or counts.stolen or counts.moved_shards:
        yield (
            f"Workers have helped others with {counted(counts.helped, 'chunk')}, {counts.stolen} were given up for "
            f"others, and {counted(counts.moved_shards, 'shard')} moved."
        )
    if copies.launched:
        yield f"Of {copies.launched} copies of slow tasks {copies.won} won, {copies.cancelled} were cancelled."
    for worker in state.workers.values():
        if worker.straggler and worker.id in job.shares:
            yield f"Worker {worker.id} is slow: {worker.straggler}."


def _places(job: Job) -> Iterable[str]:
    assert job.placement is not None
    shares = sorted(job.placement.shards.items())
    for worker, shards in shares[:PLACES_SHOWN]:
        rows = sum(job.shard_rows[i] for i in shards)
        speed = job.share(worker).lasting_rows_per_second
        pace = f", at {speed:,.0f} rows/s" if speed else ""
        yield f"{worker} has {counted(len(shards), 'shard')} with {rows:,} rows{pace}."
    if len(shares) > PLACES_SHOWN:
        yield f"So do {len(shares) - PLACES_SHOWN} other workers."


def _round(round_: Round, now: float) -> Iterable[str]:
    yield (
        f"Its round {round_.number & 0xFFFFFFFF} ({round_.step.value}) is open for {now - round_.opened_at:.2f} s: "
        f"{round_.shards_counted} of {round_.n_shards} shards are counted."
    )
    holders: dict[WorkerId, int] = {}
    for worker in round_.in_hand.values():
        holders[worker] = holders.get(worker, 0) + 1
    if holders:
        waits = ", ".join(
            f"{worker} ({counted(number, 'task')})" for worker, number in sorted(holders.items())
        )
        yield f"It waits for {waits}."
    if round_.orphans:
        yield f"{counted(len(round_.orphans), 'task')} of it are with nobody."
    if round_.delayed:
        yield f"{counted(len(round_.delayed), 'task')} that failed wait to be tried again."


def _worker(state: ClusterState, worker: Worker, now: float) -> Iterable[str]:
    reason = f": {worker.reason}" if worker.reason else ""
    yield f"Worker {worker.id} on {worker.host or 'a host of its own'} is {worker.state}{reason}."
    if worker.state is WorkerState.EXCLUDED and not worker.trust.barred:
        yield f"One task decides in {max(0.0, worker.trust.excluded_until - now):.0f} s whether it is let back in."
    if worker.straggler:
        yield f"It is slow: {worker.straggler}."
    elif worker.slowdown_ratio:
        yield f"It takes {worker.slowdown_ratio:.2f} times the median time a row: it is not slow."
    yield f"It was last heard {now - worker.heard_at:.1f} s ago."
    for job in state.running():
        shards = job.placement.shards.get(worker.id, ()) if job.placement is not None else ()
        if shards and job.placement is not None:
            yield f"It has {counted(len(shards), 'shard')} of job {job.id}: {job.placement.reason}."
        elif not job.admits(worker):
            lacks = job.algorithm in worker.lacks
            why = (
                f"it has no algorithm {job.algorithm!r}" if lacks else "it lacks labels that the job requires"
            )
            yield f"It gets nothing of job {job.id}: {why}."
    queued = sum(len(job.open_round.queues.get(worker.id, ())) for job in state.running() if job.open_round)
    if queued and worker.takes_work and not worker.tasks:
        yield f"It leaves {counted(queued, 'task')} of its own to others, who will be through sooner."
    for ref, given in worker.tasks.items():
        copy = "a copy of " if given.is_copy else ""
        yield (
            f"It has had {copy}shards {ref.range} of job {ref.job} in hand for {now - given.at:.2f} s, "
            f"expected to take {given.expected_s:.2f} s: {given.reason or 'it was at it when it came back'}."
        )


def _task(job: Job, shard: int) -> Iterable[str]:
    round_ = job.round
    found = None if round_ is None else _chunk_of(round_, shard)
    if round_ is None or found is None:
        raise NotFound(
            f"shard {shard} of job {job.id} is in no task now: the job is {job.state} ({job.reason})"
        )
    yield f"Shard {shard} of job {job.id} is in the task of shards {found.range}, with {found.rows:,} rows."
    if found.counted:
        yield "It is counted in this round."
    elif found.holders:
        for worker, ref in found.holders.items():
            yield f"Worker {worker} computes it, try {ref.attempt}."
    else:
        queue = next((worker for worker, waiting in round_.queues.items() if found in waiting), "")
        yield (
            f"It waits in the queue of {queue}."
            if queue
            else "It is with nobody, and goes to whoever is free."
        )
    if found.failures:
        yield f"It has failed {counted(found.failures, 'time')}, on {', '.join(sorted(found.avoid)) or 'nobody'}."
    owner = _owner(job, shard)
    if owner and job.placement is not None:
        yield f"Its shard is placed on {owner}: {job.placement.reason}."
    holders = sorted(worker for worker, held in job.held.items() if shard in held)
    if holders:
        yield f"These have the shard in memory: {', '.join(holders)}."


def _chunk_of(round_: Round, shard: int) -> Chunk | None:
    return next((chunk for r, chunk in round_.chunks.items() if r.lo <= shard < r.hi), None)


def _owner(job: Job, shard: int) -> WorkerId | None:
    if job.placement is None:
        return None
    return next((worker for worker, shards in job.placement.shards.items() if shard in shards), None)
