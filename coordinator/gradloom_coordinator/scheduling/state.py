"""What the scheduler knows: workers and jobs, the tables of their legal steps, and what must always hold.

No I/O, no clock, no arrays: ids, sizes and times that were passed in.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gradloom.canonical import Range
from gradloom.jobs import JobState, WorkerState
from gradloom.steps import Step
from gradloom.synchrony import SYNCHRONOUS, Synchrony
from gradloom_coordinator.scheduling.copies import CopyLedger
from gradloom_coordinator.scheduling.events import JobId, RoundReady, TaskRef, WorkerId
from gradloom_coordinator.scheduling.measures import REFUSED, Measures
from gradloom_coordinator.scheduling.plans import Plan
from gradloom_coordinator.scheduling.policies import Placement
from gradloom_coordinator.scheduling.rounds import Chunk, Round
from gradloom_coordinator.scheduling.tracing import Traces
from gradloom_coordinator.scheduling.trust import Trust

JOB_STEPS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.PLANNING, JobState.CANCELLED}),
    JobState.PLANNING: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(
        {JobState.PAUSED, JobState.SERVING, JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.PAUSED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.SERVING: frozenset({JobState.COMPLETED, JobState.FAILED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}
_W = WorkerState
WORKER_STEPS: Mapping[WorkerState, frozenset[WorkerState]] = {
    _W.IDLE: frozenset({_W.BUSY, _W.SUSPECT, _W.AWAY, _W.DRAINING, _W.EXCLUDED}),
    _W.BUSY: frozenset({_W.IDLE, _W.SUSPECT, _W.AWAY, _W.DRAINING, _W.EXCLUDED}),
    _W.SUSPECT: frozenset({_W.IDLE, _W.BUSY, _W.AWAY, _W.DRAINING, _W.EXCLUDED}),
    _W.AWAY: frozenset({_W.IDLE, _W.EXCLUDED}),
    _W.DRAINING: frozenset({_W.AWAY}),
    _W.EXCLUDED: frozenset({_W.IDLE, _W.PROBING, _W.AWAY, _W.DRAINING}),
    _W.PROBING: frozenset({_W.IDLE, _W.BUSY, _W.EXCLUDED, _W.AWAY, _W.DRAINING, _W.SUSPECT}),
}
"""A lost worker is in no state: it is forgotten."""


@dataclass(slots=True, eq=False)
class Given:
    """A task in a worker's hands."""

    chunk: Chunk
    at: float
    rows: int
    expected_s: float
    """What it will probably take; also what its job was charged for it."""
    is_copy: bool = False
    reason: str = ""
    """Why it was given to this worker."""
    asked_back_at: float | None = None
    spent_s: float = 0.0
    """Of its worker's time, once it was discarded."""


@dataclass(slots=True, eq=False)
class Worker:
    """One worker, connected or away for a moment."""

    id: WorkerId
    joined_at: float
    heard_at: float
    host: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    cores: float = 1.0
    memory_bytes: int = 0
    lacks: frozenset[str] = frozenset()
    """Algorithms that it can't compute."""
    trust: Trust = field(default_factory=Trust)
    state: WorkerState = WorkerState.IDLE
    reason: str = ""
    """Why it is in its state, in words."""
    tasks: dict[TaskRef, Given] = field(default_factory=dict)
    """In the order they were given. The first is the one being computed."""
    expected_s: float = 0.0
    """Of all that is in its hands."""
    rows_per_second: float = 0.0
    """Moving average of its own computing, whatever the job; for people."""
    speeds: dict[str, float] = field(default_factory=dict)
    """The same by algorithm: what a new job starts with."""
    rows: int = 0
    answered_at: float = 0.0
    """When it last answered a task."""
    away_since: float = 0.0
    blamed: Chunk | None = None
    """What it was computing when its stream broke: it has not died of it, should it come back."""
    transit_s: float = 0.0
    """Moving average of a task's way there and its answer's way back."""
    slowdown_ratio: float = 0.0
    straggler: str = ""
    """Why it is a straggler, in words that begin with the cause; empty = it is none."""

    def step(self, to: WorkerState, reason: str = "") -> None:
        """Take a legal step; staying is legal."""
        assert to == self.state or to in WORKER_STEPS[self.state], f"worker {self.id}: {self.state} -> {to}"
        self.state, self.reason = to, reason

    def rest(self) -> None:
        """Be idle or busy by what is in hand, where that is what its state is about."""
        if self.state in (WorkerState.IDLE, WorkerState.BUSY):
            self.state = WorkerState.BUSY if self.tasks else WorkerState.IDLE

    @property
    def takes_work(self) -> bool:
        """Whether new tasks may be given to it."""
        return self.state in (WorkerState.IDLE, WorkerState.BUSY, WorkerState.PROBING)

    @property
    def computes_since(self) -> float:
        """When it began with the first of its tasks; only while it has one."""
        return max(next(iter(self.tasks.values())).at, self.answered_at)

    def take(self, ref: TaskRef, given: Given) -> None:
        """A task is in its hands from now on."""
        self.tasks[ref] = given
        self.expected_s += given.expected_s
        given.chunk.holders[self.id] = ref
        self.rest()

    def let_go(self, ref: TaskRef) -> Given:
        """A task is in its hands no longer."""
        given = self.tasks.pop(ref)
        self.expected_s = self.expected_s - given.expected_s if self.tasks else 0.0
        del given.chunk.holders[self.id]
        self.rest()
        return given


@dataclass(slots=True)
class Share:
    """What one worker has done for one job."""

    rows: int = 0
    busy_s: float = 0.0
    wait_s: float = 0.0
    """At the ends of rounds, for the others."""
    rounds_last: int = 0
    """Rounds that ended with its answer."""
    waited_for_s: float = 0.0
    """How long all others had waited for it then."""
    retries: int = 0
    shards: int = 0
    """Shards placed on it when they were placed last."""
    rows_per_second: float = 0.0
    """Moving average of its own computing in the present step; 0 until it has answered once. For the next moment."""
    lasting_rows_per_second: float = 0.0
    """The same over whole rounds; 0 until one has ended. For where shards are placed."""
    relative_speed: float = 0.0
    """In the step before, against the average of all; 0 = unknown."""
    slow_rounds: int = 0
    """One bit for each of the last ten rounds, the latest lowest: whether it was slow."""


@dataclass(slots=True)
class Counts:
    """What the scheduler has done for one job, for people."""

    succeeded: int = 0
    """Tasks whose answers counted."""
    helped: int = 0
    """Chunks taken over before their owner had been given them."""
    stolen: int = 0
    """Chunks that a worker gave up before it had started them."""
    moved_shards: int = 0
    last_worker: str = ""
    """Whose answer ended the newest round."""
    last_waited_s: float = 0.0
    """How long all others had waited for it."""
    imbalance: float = 0.0
    """Moving average over rounds: the longest that a worker was busy over the mean of all; 0 = unknown."""
    fewest_tries_left: tuple[int, float] | None = None
    """Of any shards after a failure, and when that was; a moment that is past says nothing of now."""


@dataclass(slots=True, eq=False)
class Job:
    """One job on its way."""

    id: JobId
    policy: str
    algorithm: str = ""
    share_weight: float = 1.0
    required_labels: Mapping[str, str] = field(default_factory=dict)
    speculation: bool = True
    synchrony: Synchrony = SYNCHRONOUS
    synchrony_next: Synchrony = SYNCHRONOUS
    """From the next round on."""
    state: JobState = JobState.QUEUED
    reason: str = "submitted"
    shard_rows: tuple[int, ...] = ()
    rows_before: tuple[int, ...] = ()
    """Rows of all shards below each shard, and at the end of all."""
    round: Round | None = None
    plan: Plan | None = None
    replan_because: str = ""
    """Why shards are placed anew when the next round opens; empty = they are not."""
    step_now: Step = Step.PROFILE
    pace_s: float = 0.0
    """Moving average over all workers, seconds per row, in the present step; 0 = nobody has answered."""
    load_s_per_row: float = 0.0
    """The same for loading a shard that is not cached."""
    partial_bytes: int = 0
    behind: list[int] = field(default_factory=list)
    """Of each shard: rounds since it was last counted; empty in synchronous jobs."""
    held: dict[WorkerId, set[int]] = field(default_factory=dict)
    """Shards that each worker has in its cache, as far as is known."""
    holders: dict[int, tuple[WorkerId, ...]] = field(default_factory=dict)
    """The same by shard."""
    shares: dict[WorkerId, Share] = field(default_factory=dict)
    retries: int = 0
    starved: bool = False
    """Whether it has been said that there is no worker."""
    charged_s: float = 0.0
    """Work it was given, divided by its weight: the job that was given least comes first."""
    pause_because: str = ""
    held_round: RoundReady | None = None
    """What a paused job goes on with."""
    copies: CopyLedger = field(default_factory=CopyLedger)
    counts: Counts = field(default_factory=Counts)

    def step(self, to: JobState, reason: str) -> None:
        """Take a legal step."""
        assert to in JOB_STEPS[self.state], f"job {self.id}: {self.state} -> {to}"
        self.state = to
        self.reason = reason

    @property
    def works(self) -> bool:
        """Whether its rounds are computed: of training, or of answers to queries."""
        return self.state in (JobState.RUNNING, JobState.SERVING)

    @property
    def open_round(self) -> Round | None:
        """The round, while something of it is missing and the job works."""
        if not self.works or self.round is None or self.round.over:
            return None
        return self.round

    @property
    def placement(self) -> Placement | None:
        """Where the shards are placed."""
        return self.plan.placement if self.plan is not None else None

    def rows_in(self, shards: Range) -> int:
        """Rows of these shards."""
        return self.rows_before[shards.hi] - self.rows_before[shards.lo]

    def share(self, worker: WorkerId) -> Share:
        """What a worker has done for this job."""
        found = self.shares.get(worker)
        return found if found is not None else self.shares.setdefault(worker, Share())

    def admits(self, worker: Worker) -> bool:
        """Whether a worker has the labels that the job requires, and its algorithm."""
        if self.algorithm in worker.lacks:
            return False
        return not self.required_labels or self.required_labels.items() <= worker.labels.items()

    def seconds_for(self, worker: WorkerId, rows: int) -> float | None:
        """What computing so many rows will probably take a worker; None while nobody knows."""
        share = self.shares.get(worker)
        if share is not None and share.rows_per_second > 0:
            return rows / share.rows_per_second
        return rows * self.pace_s if self.pace_s else None

    def holds(self, worker: WorkerId, shards: Range) -> bool:
        """Whether a worker has the first and the last of these shards in its cache."""
        held = self.held.get(worker, ())
        return shards.lo in held and shards.hi - 1 in held

    def hold(self, worker: WorkerId, shards: Range) -> None:
        """A worker has these shards in its cache from now on."""
        held = self.held.setdefault(worker, set())
        for i in range(*shards):
            if i not in held:
                held.add(i)
                self.holders[i] = (*self.holders.get(i, ()), worker)

    def forget_holder(self, worker: WorkerId) -> None:
        """A worker and its cache are gone."""
        for i in self.held.pop(worker, ()):
            self.holders[i] = tuple(holder for holder in self.holders[i] if holder != worker)


@dataclass(frozen=True, slots=True)
class Pick:
    """A chunk for a worker, and why it gets it."""

    job: Job
    chunk: Chunk
    reason: str
    is_copy: bool = False


@dataclass(slots=True)
class ClusterState:
    """Everything the scheduler owns."""

    workers: dict[WorkerId, Worker] = field(default_factory=dict)
    jobs: dict[JobId, Job] = field(default_factory=dict)
    active: dict[JobId, Job] = field(default_factory=dict)
    """Those that run or serve."""
    hungry: dict[WorkerId, None] = field(default_factory=dict)
    """Workers that could take more than there was when they were last looked at, in that order."""
    hosts: Counter[str] = field(default_factory=Counter)
    """Workers on each host."""
    trust: dict[WorkerId, Trust] = field(default_factory=dict)
    """By name, beyond a session's end: a worker that dies and comes back again and again is known."""
    departed: dict[WorkerId, tuple[float, bool]] = field(default_factory=dict)
    """Those that are gone: since when, and whether they were lost. For people, until it is tidied up."""
    measures: Measures = field(default_factory=Measures)
    traces: Traces = field(default_factory=Traces)
    now: float = 0.0
    """Of the event that is being handled."""

    def running(self) -> list[Job]:
        """The jobs that run or serve."""
        return list(self.active.values())

    def least_charged(self, but: Job | None = None) -> float:
        """What the one of the jobs in training was given that was given least; 0 without any (but for one)."""
        training = (job for job in self.active.values() if job.state is JobState.RUNNING and job is not but)
        return min((job.charged_s for job in training), default=0.0)

    def take_from(self, worker: Worker, task: TaskRef) -> Given:
        """A task is in a worker's hands no longer."""
        job = self.jobs[task.job]
        given = worker.let_go(task)
        if job.round is not None and job.round.in_hand.pop(task, None) is not None:
            job.round.copies_in_hand -= given.is_copy
        job.copies.cancelled += given.is_copy and not given.chunk.counted
        if worker.takes_work:
            self.hungry[worker.id] = None
        return given

    def discard(self, worker: Worker, task: TaskRef, why: str) -> Given:
        """A task is in a worker's hands no longer, and what was computed of it is lost."""
        begun = next(iter(worker.tasks)) == task
        spent_s = max(0.0, self.now - worker.computes_since) if begun else 0.0
        given = self.take_from(worker, task)
        given.spent_s = spent_s
        self.measures.lost(task.job, why, spent_s)
        if (book := self.traces.of(task.job)) is not None:
            label = REFUSED.get(why, why)
            book.lost(worker.id, task, given.at, given.rows, spent_s, label, self.now, is_copy=given.is_copy)
        if given.is_copy and not given.chunk.counted:
            self.jobs[task.job].copies.cancelled_s += spent_s
        return given

    def may_try(self, job: Job, worker: Worker, chunk: Chunk) -> bool:
        """Whether a worker may be given a chunk that may have failed on it before: only if nobody else can be."""
        if worker.id not in chunk.avoid:
            return True
        others = (w for w in self.workers.values() if w.takes_work and w.id not in chunk.avoid)
        return not any(job.admits(other) for other in others)

    def check(self) -> None:
        """Assert every invariant; runs after each event under test."""
        assert self.hosts == Counter(worker.host for worker in self.workers.values())
        for worker in self.workers.values():
            self._check_worker(worker)
        for job in self.jobs.values():
            self._check_job(job)
            assert (job.id in self.active) == job.works
        self._check_nothing_lies_about()

    def _check_worker(self, worker: Worker) -> None:
        for task, given in worker.tasks.items():
            job = self.jobs[task.job]
            assert job.works, f"{worker.id} works for {job.id}, which is {job.state}"
            assert job.round is not None
            assert task.round == job.round.number or not job.synchrony.exact, f"{worker.id}: an old round"
            assert not given.chunk.counted, f"{worker.id} works on shards that are counted"
            assert given.chunk.holders[worker.id] == task
            assert job.round.in_hand[task] == worker.id
        if worker.state in (WorkerState.IDLE, WorkerState.BUSY):
            assert (worker.state is WorkerState.BUSY) == bool(worker.tasks), f"{worker.id} is {worker.state}"
        if worker.state in (WorkerState.AWAY, WorkerState.EXCLUDED):
            assert not worker.tasks, f"{worker.id} is {worker.state} and has tasks"
        assert worker.state is not WorkerState.PROBING or len(worker.tasks) <= 1
        assert worker.id not in self.hungry or worker.takes_work, f"{worker.id} is hungry, but {worker.state}"
        expected_s = sum(given.expected_s for given in worker.tasks.values())
        assert abs(worker.expected_s - expected_s) < 1e-6 * (1 + expected_s)

    def _check_job(self, job: Job) -> None:
        if not job.works:
            assert job.round is None or job.round.over, f"{job.id} is {job.state} in an open round"
            return
        if job.round is None:
            return
        job.round.check()
        holding = {task: w.id for w in self.workers.values() for task in w.tasks if task.job == job.id}
        assert dict(job.round.in_hand) == holding
        assert job.round.copies_in_hand == sum(
            given.is_copy
            for w in self.workers.values()
            for task, given in w.tasks.items()
            if task.job == job.id
        )
        for owner in job.round.queues:
            assert not job.round.queues[owner] or self.workers[owner].takes_work, f"{owner} has a queue"

    def _check_nothing_lies_about(self) -> None:
        """No chunk lies with nobody while a worker has nothing to do."""
        for job in self.jobs.values():
            round_ = job.open_round
            orphans = [chunk for chunk in round_.orphans if not chunk.counted] if round_ is not None else []
            idle = [w for w in self.workers.values() if w.takes_work and not w.tasks and job.admits(w)]
            queues = round_.queues if round_ is not None else {}
            others_work = any(w.tasks for w in self.workers.values())
            for worker in idle:
                assert others_work or not queues.get(worker.id), (
                    f"{worker.id} has nothing to do but its queue"
                )
            for chunk in orphans:
                for worker in idle:
                    assert not self.may_try(job, worker, chunk), (
                        f"shards {chunk.range} of {job.id} lie about while {worker.id} has nothing to do"
                    )
