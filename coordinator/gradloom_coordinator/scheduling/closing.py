"""When a round is over, by the synchrony of its job, and which answers come too late. Pure.

See ``gradloom.synchrony`` for what each kind guarantees.
"""

from gradloom.canonical import Range
from gradloom.jobs import WorkerState
from gradloom.steps import Step
from gradloom.synchrony import SynchronyKind
from gradloom_coordinator.scheduling.events import TaskRef, WorkerId
from gradloom_coordinator.scheduling.rounds import Refusal, Round
from gradloom_coordinator.scheduling.state import ClusterState, Job, Worker

MAX_STALENESS_PER_WORKER = 2
"""An asynchronous answer that is more updates old than so many times the workers is dropped: it would rather harm."""


def is_over(job: Job, round_: Round, answered: Worker) -> bool:
    """Whether the round ends with the answer that has just been counted.

    Costs a look at every missing chunk in rounds that may end early, and nothing in synchronous ones.
    """
    if round_.complete:
        return True
    if round_.step is not Step.TRAIN:
        return False
    match job.synchrony.kind:
        case SynchronyKind.SYNCHRONOUS | SynchronyKind.LOCAL:
            return False
        case SynchronyKind.BACKUP:
            few = round_.n_shards - round_.shards_counted <= job.synchrony.number
            return few and not any(behind(job, chunk.range) for chunk in round_.missing())
        case SynchronyKind.BOUNDED:
            return _has_done_its_share(job, round_, answered) and not any(
                behind(job, chunk.range) >= job.synchrony.number for chunk in round_.missing()
            )
        case SynchronyKind.ASYNCHRONOUS:
            return _has_done_its_share(job, round_, answered)


def behind(job: Job, shards: Range) -> int:
    """Rounds since all of these shards were counted last."""
    return max(job.behind[shards.lo : shards.hi], default=0)


def note_missing(job: Job, round_: Round) -> None:
    """Remember at the end of a round which shards it was closed without."""
    if round_.complete:
        job.behind = []
        return
    before = job.behind or [0] * round_.n_shards
    job.behind = [n + 1 for n in before]
    for chunk in round_.chunks.values():
        if chunk.counted:
            job.behind[chunk.range.lo : chunk.range.hi] = [0] * chunk.range.size


def refusal_of(state: ClusterState, worker_id: WorkerId, task: TaskRef) -> Refusal | None:
    """Why an answer is not counted; None = it is. A sign of life from its worker changes nothing about it."""
    job, worker = state.jobs.get(task.job), state.workers.get(worker_id)
    if job is None or not job.works or job.round is None:
        return Refusal.UNKNOWN_JOB
    if job.round.over or (task.round != job.round.number and task not in job.round.in_hand):
        return Refusal.LATE
    if is_too_stale(job, task, len(state.workers)):
        return Refusal.STALE
    if worker is None or worker.state is WorkerState.AWAY:
        return Refusal.WORKER_GONE
    chunk = job.round.chunks.get(task.range)
    if chunk is None:
        return Refusal.FOREIGN
    return Refusal.DUPLICATE if chunk.counted else None


def is_too_stale(job: Job, task: TaskRef, n_workers: int) -> bool:
    """Whether an answer is too old to be counted."""
    assert job.round is not None
    staleness = job.round.number - task.round
    return (
        job.synchrony.kind is SynchronyKind.ASYNCHRONOUS and staleness > MAX_STALENESS_PER_WORKER * n_workers
    )


def _has_done_its_share(job: Job, round_: Round, worker: Worker) -> bool:
    if not round_.rows_answered:
        return False  # a step needs a gradient of something
    return not round_.queued_rows.get(worker.id) and not any(task.job == job.id for task in worker.tasks)
