"""The cluster as it was last seen, and the next moment after news. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gradloom.callers import CallerView
from gradloom.cli.phases import Trail, lately, longer
from gradloom.jobs import AlgorithmDescription, JobView, WorkerPhases, WorkerView
from gradloom.watching import ClusterView

REMEMBER_S = 600.0
"""How long a worker that left stays in sight."""
SILENT_S = 7.0
"""A coordinator says something every two seconds; one that has been silent for so long is in trouble."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The cluster as it was last seen."""

    number: int = 0
    """Grows with all news; the same number = the same moment."""
    at: float = 0.0
    """Seconds since the epoch, when the cluster last said something; 0 = it never has."""
    trouble: str = ""
    """Why it says nothing; empty = it does."""
    trouble_since: float = 0.0
    unwelcome: bool = False
    """Whether the trouble is that it does not know who we are."""
    workers: tuple[WorkerView, ...] = ()
    left: Mapping[str, float] = field(default_factory=dict)
    """Workers that were there and are not now, with when they were missed."""
    trails: Mapping[str, Trail] = field(default_factory=dict)
    """Where the time of the workers went of late."""
    jobs: tuple[JobView, ...] = ()
    algorithms: tuple[AlgorithmDescription, ...] = ()
    myself: CallerView | None = None
    """Whom the cluster takes us for; None = it has not said."""

    def job(self, job_id: str) -> JobView | None:
        """A job by its id, if it was there."""
        return next((job for job in self.jobs if job.job_id == job_id), None)

    def phases(self, worker: str) -> WorkerPhases | None:
        """Where a worker's time went in the last seconds; None = it has not said."""
        return lately(self.trails.get(worker, ()))

    def silent_for(self, now: float) -> float:
        """Seconds without a word from a cluster that is not known to be in trouble; 0 = all is well."""
        silence = now - self.at
        return silence if self.at and not self.trouble and silence > SILENT_S else 0.0


def after_meeting(last: Moment, myself: CallerView, algorithms: tuple[AlgorithmDescription, ...]) -> Moment:
    """The next moment when the cluster has said who we are and what it knows."""
    return replace(last, number=last.number + 1, myself=myself, algorithms=algorithms)


def after_news(last: Moment, seen: ClusterView, now: float) -> Moment:
    """The next moment when the cluster has said how it stands."""
    here = {worker.worker for worker in seen.workers}
    missing = {worker.worker: now for worker in last.workers} | dict(last.left)
    left = {name: at for name, at in missing.items() if name not in here and now - at < REMEMBER_S}
    trails = {
        worker.worker: longer(last.trails.get(worker.worker, ()), worker.phases) for worker in seen.workers
    }
    return replace(
        last,
        number=last.number + 1,
        at=now,
        trouble="",
        trouble_since=0.0,
        unwelcome=False,
        workers=seen.workers,
        left=left,
        trails=trails,
        jobs=seen.jobs,
    )


def after_silence(last: Moment, trouble: str, now: float, *, unwelcome: bool = False) -> Moment:
    """The next moment when it does not speak with us: what was known stays."""
    since = last.trouble_since if last.trouble else now
    return replace(last, number=last.number + 1, trouble=trouble, trouble_since=since, unwelcome=unwelcome)
