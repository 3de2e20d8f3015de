"""Whether a task that came to nothing is tried again, and when. One pure decision with its reason."""

from dataclasses import dataclass
from zlib import crc32

from gradloom.jobs import RetryReason
from gradloom_coordinator.scheduling.events import TaskRef, WorkerId
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.rounds import Chunk

NO_USE_TRYING_AGAIN = frozenset({RetryReason.BAD_DATA, RetryReason.SHARD_CHANGED})
LOST_WORKER = frozenset({RetryReason.WORKER_LOST, RetryReason.HEARTBEAT_TIMEOUT, RetryReason.STREAM_RESET})


@dataclass(frozen=True, slots=True)
class Failure:
    """A try that came to nothing."""

    task: TaskRef
    rows: int
    worker: WorkerId
    joined_at: float
    """Of its session: a worker that dies and comes back under its name has died twice."""
    reason: RetryReason
    detail: str
    worker_died: bool
    """Whether the worker was lost, and this is what it was computing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the shards."""

    job_fails_because: str
    """Empty = they are tried again."""
    backoff_s: float = 0.0


def judge(limits: Limits, chunk: Chunk, failure: Failure) -> Verdict:
    """Note the failure on the chunk and decide."""
    task, reason = failure.task, failure.reason
    if reason in NO_USE_TRYING_AGAIN:
        return Verdict(failure.detail)
    where = f"shards {task.range} ({failure.rows} rows)"
    if failure.worker_died:
        chunk.died |= {(failure.worker, failure.joined_at)}
        if len(chunk.died) >= limits.max_deaths:
            deaths = f"{limits.max_deaths} workers were lost while they computed {where}"
            return Verdict(f"quarantined: {deaths}; the last was {failure.worker}: {failure.detail}")
    if reason in LOST_WORKER:
        return Verdict("")
    chunk.failures += 1
    chunk.avoid |= {failure.worker}
    if chunk.failures >= limits.max_attempts:
        last = f"the last time on worker {failure.worker} ({reason}): {failure.detail}"
        return Verdict(f"{where} failed {chunk.failures} times; {last}")
    return Verdict("", backoff_s(limits, task, chunk.failures))


def backoff_s(limits: Limits, task: TaskRef, failures: int) -> float:
    """Exponential backoff with full jitter.

    The jitter comes from the task's own name, so that the same events give the same commands.
    """
    longest = min(limits.backoff_limit_s, limits.backoff_base_s * 2.0**failures)
    return longest * crc32(f"{task.job}/{task.round}/{task.range}/{failures}".encode()) / 2**32
