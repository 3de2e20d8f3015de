"""What the scheduler knows: workers and jobs, the tables of their legal steps, and what must always hold.

No I/O, no clock, no arrays: ids, sizes and times that were passed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gradloom.canonical import Range
from gradloom.jobs import JobState, WorkerState
from gradloom_coordinator.commands import TaskOrder
from gradloom_coordinator.events import JobId, TaskRef, WorkerId
from gradloom_coordinator.policies import Placement
from gradloom_coordinator.rounds import Round

JOB_STEPS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.PLANNING, JobState.CANCELLED}),
    JobState.PLANNING: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}
WORKER_STEPS: Mapping[WorkerState, frozenset[WorkerState]] = {
    WorkerState.IDLE: frozenset({WorkerState.BUSY, WorkerState.SUSPECT}),
    WorkerState.BUSY: frozenset({WorkerState.IDLE, WorkerState.SUSPECT}),
    WorkerState.SUSPECT: frozenset({WorkerState.IDLE, WorkerState.BUSY}),
}
"""A lost worker is in no state: it is forgotten."""


@dataclass(slots=True)
class Worker:
    """One connected worker."""

    id: WorkerId
    joined_at: float
    heard_at: float
    state: WorkerState = WorkerState.IDLE
    tasks: dict[TaskRef, float] = field(default_factory=dict)
    """Tasks in the order they were given, each with the time it was given. The first is the one being computed."""
    rows_per_second: float = 0.0
    """Moving average of its own computing, whatever the job; for people."""
    rows: int = 0
    answered_at: float = 0.0
    """When it last answered a task."""

    def step(self, to: WorkerState) -> None:
        """Take a legal step; staying is legal."""
        assert to == self.state or to in WORKER_STEPS[self.state], f"worker {self.id}: {self.state} -> {to}"
        self.state = to

    def rest(self) -> None:
        """Be idle or busy by what is in hand."""
        self.step(WorkerState.BUSY if self.tasks else WorkerState.IDLE)

    @property
    def takes_work(self) -> bool:
        """Whether new tasks may be given to it."""
        return self.state in (WorkerState.IDLE, WorkerState.BUSY)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Shards that no worker has in hand."""

    range: Range
    attempt: int
    not_before: float
    avoid: frozenset[WorkerId] = frozenset()
    """Workers on which they failed: others are asked first."""


@dataclass(slots=True)
class Share:
    """What one worker has done for one job."""

    rows: int = 0
    busy_s: float = 0.0
    retries: int = 0
    shards: int = 0
    """Shards placed on it when they were placed last."""
    rows_per_second: float = 0.0
    """Moving average of its own computing for this job; 0 until it has answered once."""


@dataclass(slots=True)
class Job:
    """One job on its way."""

    id: JobId
    policy: str
    state: JobState = JobState.QUEUED
    reason: str = "submitted"
    shard_rows: tuple[int, ...] = ()
    rows_before: tuple[int, ...] = ()
    """Rows of all shards below each shard, and at the end of all."""
    round: Round | None = None
    placement: Placement | None = None
    orders: Mapping[WorkerId, tuple[TaskOrder, ...]] = field(default_factory=dict)
    """What each worker is sent when a round opens: the placement as nodes of the canonical tree."""
    placement_judged_in_round: int = 0
    waiting: list[Waiting] = field(default_factory=list)
    shares: dict[WorkerId, Share] = field(default_factory=dict)
    retries: int = 0
    starved: bool = False
    """Whether it has been said that there is no worker."""

    def step(self, to: JobState, reason: str) -> None:
        """Take a legal step."""
        assert to in JOB_STEPS[self.state], f"job {self.id}: {self.state} -> {to}"
        self.state = to
        self.reason = reason

    def rows_in(self, shards: Range) -> int:
        """Rows of these shards."""
        return self.rows_before[shards.hi] - self.rows_before[shards.lo]

    def share(self, worker: WorkerId) -> Share:
        """What a worker has done for this job."""
        return self.shares.setdefault(worker, Share())


@dataclass(slots=True)
class ClusterState:
    """Everything the scheduler owns."""

    workers: dict[WorkerId, Worker] = field(default_factory=dict)
    jobs: dict[JobId, Job] = field(default_factory=dict)

    def running(self) -> list[Job]:
        """The jobs that run."""
        return [job for job in self.jobs.values() if job.state is JobState.RUNNING]

    def check(self) -> None:
        """Assert every invariant; runs after each event under test."""
        for worker in self.workers.values():
            self._check_worker(worker)
        for job in self.jobs.values():
            self._check_job(job)

    def _check_worker(self, worker: Worker) -> None:
        for task in worker.tasks:
            job = self.jobs[task.job]
            assert job.state is JobState.RUNNING, f"{worker.id} works for {job.id}, which is {job.state}"
            assert job.round is not None
            assert job.round.number == task.round, f"{worker.id} works on an old round"
            assert not job.round.counted(task.range), f"{worker.id} works on shards that are counted"
        if worker.state is not WorkerState.SUSPECT:
            assert (worker.state is WorkerState.BUSY) == bool(worker.tasks), f"{worker.id} is {worker.state}"

    def _check_job(self, job: Job) -> None:
        if job.state is not JobState.RUNNING:
            assert not job.waiting, f"{job.id} is {job.state} and waits for {job.waiting}"
            return
        if job.round is None or job.round.closed:
            return
        in_hand = [task.range for w in self.workers.values() for task in w.tasks if task.job == job.id]
        held = in_hand + [waiting.range for waiting in job.waiting]
        job.round.check(held)
