"""A cluster as those see it who watch it: what has changed, and what all changes together come to. Pure.

Laws: the changes of one stream, taken in order, give the cluster as it stood when the last of them was made. A change
that says ``anew`` needs none of those before it.
"""

from dataclasses import dataclass, field

from gradloom.jobs import JobView, WorkerView


@dataclass(frozen=True, slots=True)
class ClusterChange:
    """What has changed since the change before."""

    sequence: int
    at: float
    """Seconds since the epoch, by the coordinator's clock."""
    version: str
    """Of the coordinator."""
    anew: bool = False
    """Whether what was told before is to be forgotten: this and what follows is everything."""
    more: bool = False
    """Whether more of the same sequence follows; only then is the picture whole."""
    workers: tuple[WorkerView, ...] = ()
    workers_gone: tuple[str, ...] = ()
    jobs: tuple[JobView, ...] = ()
    """Those that are new in the order of their submission."""
    jobs_gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster as it stands."""

    sequence: int
    """Grows with every change that is seen; after a restart of the coordinator it begins again."""
    at: float
    """Seconds since the epoch, by the coordinator's clock."""
    version: str
    """Of the coordinator."""
    workers: tuple[WorkerView, ...]
    """By name; those that may come back included."""
    jobs: tuple[JobView, ...]
    """The newest first."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """A cluster's workers, and the coordinator's own clock and version."""

    at: float | None
    """Seconds since the epoch, by the coordinator's clock; None = it does not say."""
    version: str
    """Of the coordinator."""
    workers: tuple[WorkerView, ...]
    """By name."""


@dataclass(slots=True)
class Assembly:
    """Puts changes together."""

    _workers: dict[str, WorkerView] = field(default_factory=dict)
    _jobs: dict[str, JobView] = field(default_factory=dict)

    def take(self, change: ClusterChange) -> ClusterView | None:
        """Take in the next change; the cluster as it stands, or None while more of the same change is to come."""
        if change.anew:
            self._workers.clear()
            self._jobs.clear()
        for name in change.workers_gone:
            self._workers.pop(name, None)
        for job_id in change.jobs_gone:
            self._jobs.pop(job_id, None)
        self._workers.update((worker.worker, worker) for worker in change.workers)
        self._jobs.update((job.job_id, job) for job in change.jobs)
        if change.more:
            return None
        workers = tuple(worker for _, worker in sorted(self._workers.items()))
        jobs = tuple(reversed(self._jobs.values()))
        return ClusterView(change.sequence, change.at, change.version, workers, jobs)
