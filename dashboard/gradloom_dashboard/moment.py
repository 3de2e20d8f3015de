"""The cluster as it was last seen, and the next moment after a look. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gradloom.jobs import AlgorithmDescription, JobView, WorkerView

REMEMBER_S = 600.0
"""How long a worker that left stays in sight."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The cluster as it was last seen."""

    number: int = 0
    """Grows with every look; the same number = the same moment."""
    at: float = 0.0
    """Seconds since the epoch, when the cluster last answered; 0 = it never has."""
    trouble: str = ""
    """Why it does not answer; empty = it does."""
    trouble_since: float = 0.0
    workers: tuple[WorkerView, ...] = ()
    left: Mapping[str, float] = field(default_factory=dict)
    """Workers that were there and are not now, with when they were missed."""
    jobs: tuple[JobView, ...] = ()
    algorithms: tuple[AlgorithmDescription, ...] = ()

    def job(self, job_id: str) -> JobView | None:
        """A job by its id, if it was there."""
        return next((job for job in self.jobs if job.job_id == job_id), None)


def after_look(
    last: Moment,
    workers: Sequence[WorkerView],
    jobs: Sequence[JobView],
    algorithms: tuple[AlgorithmDescription, ...],
    now: float,
) -> Moment:
    """The next moment when the cluster has answered."""
    here = {worker.worker for worker in workers}
    missing = {worker.worker: now for worker in last.workers} | dict(last.left)
    left = {name: at for name, at in missing.items() if name not in here and now - at < REMEMBER_S}
    return Moment(last.number + 1, now, "", 0.0, tuple(workers), left, tuple(jobs), algorithms)


def after_silence(last: Moment, trouble: str, now: float) -> Moment:
    """The next moment when it has not: what was known stays."""
    since = last.trouble_since if last.trouble else now
    return replace(last, number=last.number + 1, trouble=trouble, trouble_since=since)
