"""Decides who computes what. No I/O, no clock, no arrays: ids, sizes, and times that are passed in.

Theory of operation
-------------------
The runtime tells the scheduler what happened (``events``) and carries out what it answers (``commands``).

A job's life is the table ``state.JOB_STEPS``. While it runs, its rounds follow one another: ``RoundReady`` opens
one, the placement of the job says which worker computes which shards, each worker is sent the nodes of the
canonical tree that cover its shards, and ``CloseRound`` is given once every shard has been counted.

A shard of an open round is at any moment counted, in some worker's hands, or waiting. Whatever takes a task out of
a worker's hands without an answer (a lost worker, a failure, a deadline) makes its missing shards wait, with a
typed reason; whatever brings a worker, or lets a backoff end, hands waiting shards out again. The answer of a task
counts however late it comes, as long as its shards are missing.

Two laws: nothing but ``Round.count`` decides what is counted, and every command that moves work says why.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gradloom.canonical import Range, cover, is_node
from gradloom.jobs import JobState, RetryReason, WorkerState
from gradloom_coordinator.commands import (
    AcceptOffer,
    AnnounceNote,
    AnnounceRetry,
    AnnounceState,
    CloseRound,
    Command,
    DropPartial,
    EndSession,
    MergePartial,
    ReleaseJob,
    SendTasks,
    StartPlanning,
    StartRounds,
    TaskOrder,
)
from gradloom_coordinator.events import (
    CancelRequested,
    Event,
    HeartbeatReceived,
    JobBroken,
    JobFinished,
    JobForgotten,
    JobId,
    JobPlanned,
    JobSubmitted,
    PartialArrived,
    PartialOffered,
    RoundReady,
    StreamBroken,
    TaskFailed,
    TaskRef,
    Tick,
    WorkerId,
    WorkerJoined,
    WorkerLeft,
)
from gradloom_coordinator.limits import Limits, backoff_s, pays_to_replace
from gradloom_coordinator.policies import POLICIES, WorkerSpeed
from gradloom_coordinator.rounds import Refusal, Round
from gradloom_coordinator.state import ClusterState, Job, Waiting, Worker

NO_USE_TRYING_AGAIN = frozenset({RetryReason.BAD_DATA, RetryReason.SHARD_CHANGED})
LOST_WORKER = frozenset({RetryReason.WORKER_LOST, RetryReason.HEARTBEAT_TIMEOUT, RetryReason.STREAM_RESET})


@dataclass(slots=True)
class Scheduler:
    """The one owner of workers, jobs, rounds and tasks."""

    limits: Limits = field(default_factory=Limits)
    state: ClusterState = field(default_factory=ClusterState)

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take in one event at ``now`` (seconds, monotonic); what is to be done, in order."""
        match event:
            case PartialArrived():
                return self._accept(event, now)
            case PartialOffered():
                return self._consider_offer(event, now)
            case HeartbeatReceived():
                return self._hear(event.worker, now)
            case Tick():
                return self._look_after_time(now)
            case RoundReady():
                return self._open_round(event, now)
            case WorkerJoined():
                return self._join(event, now)
            case WorkerLeft():
                return self._gone(event.worker, RetryReason.WORKER_LOST, event.detail, now)
            case StreamBroken():
                return self._gone(event.worker, RetryReason.STREAM_RESET, event.detail, now)
            case TaskFailed():
                return self._task_failed(event, now)
            case JobSubmitted():
                return self._submit(event, now)
            case JobPlanned():
                return self._planned(event)
            case JobFinished():
                return self._end(event.job, JobState.COMPLETED, event.reason)
            case JobBroken():
                return self._end(event.job, JobState.FAILED, event.reason)
            case JobForgotten():
                return self._forget_job(event.job)
            case CancelRequested():
                return self._end(event.job, JobState.CANCELLED, event.reason or "cancelled by request")

    # ---- jobs

    def _submit(self, event: JobSubmitted, now: float) -> list[Command]:
        assert event.job not in self.state.jobs
        self.state.jobs[event.job] = Job(event.job, event.placement, now)
        return self._start_queued()

    def _start_queued(self) -> list[Command]:
        active = sum(job.state in (JobState.PLANNING, JobState.RUNNING) for job in self.state.jobs.values())
        queued = [job for job in self.state.jobs.values() if job.state is JobState.QUEUED]
        commands: list[Command] = []
        for job in queued[: self.limits.max_running_jobs - active]:
            commands += [self._step(job, JobState.PLANNING, "looking at the files"), StartPlanning(job.id)]
        return commands

    def _planned(self, event: JobPlanned) -> list[Command]:
        job = self.state.jobs[event.job]
        if job.state is not JobState.PLANNING:
            return []
        job.shard_rows = event.shard_rows
        reason = f"{sum(event.shard_rows)} rows in {len(event.shard_rows)} shards"
        return [self._step(job, JobState.RUNNING, reason), StartRounds(job.id)]

    def _end(self, job_id: JobId, to: JobState, reason: str) -> list[Command]:
        job = self.state.jobs[job_id]
        if job.state.final:
            return []
        commands: list[Command] = [self._step(job, to, reason)]
        job.round, job.orders = None, {}
        job.waiting.clear()
        for worker in self.state.workers.values():
            self._forget_tasks(worker, [task for task in worker.tasks if task.job == job_id])
        return [*commands, ReleaseJob(job_id), *self._start_queued()]

    def _forget_job(self, job_id: JobId) -> list[Command]:
        job = self.state.jobs.pop(job_id)
        assert job.state.final, f"job {job_id} is {job.state}"
        return []

    def _step(self, job: Job, to: JobState, reason: str) -> Command:
        job.step(to, reason)
        return AnnounceState(job.id, to, reason)

    # ---- workers

    def _join(self, event: WorkerJoined, now: float) -> list[Command]:
        assert event.worker not in self.state.workers
        self.state.workers[event.worker] = Worker(event.worker, joined_at=now, heard_at=now)
        self._forget_placements()
        notes: list[Command] = [
            AnnounceNote(job.id, f"worker {event.worker} joined") for job in self.state.running()
        ]
        return notes + self._hand_out_all(now)

    def _hear(self, worker_id: WorkerId, now: float) -> list[Command]:
        worker = self.state.workers.get(worker_id)
        if worker is None:
            return []
        worker.heard_at = now
        if worker.state is not WorkerState.SUSPECT:
            return []
        worker.rest()
        self._forget_placements()
        return self._hand_out_all(now)

    def _gone(self, worker_id: WorkerId, reason: RetryReason, detail: str, now: float) -> list[Command]:
        return self._lose(worker_id, reason, detail, now) + self._hand_out_all(now)

    def _lose(self, worker_id: WorkerId, reason: RetryReason, detail: str, now: float) -> list[Command]:
        """Forget a worker and make what it had wait; handing that out is left to the caller."""
        worker = self.state.workers.pop(worker_id, None)
        if worker is None:
            return []
        self._forget_placements()
        commands: list[Command] = [
            AnnounceNote(job.id, f"worker {worker_id} is gone: {detail}") for job in self.state.running()
        ]
        for position, task in enumerate(worker.tasks):
            at_fault = position == 0  # the others had not been started
            why = reason if at_fault or reason in LOST_WORKER else RetryReason.WORKER_LOST
            commands += self._try_again(worker, task, why, detail, now, died=at_fault)
        return commands

    def _look_after_time(self, now: float) -> list[Command]:
        commands: list[Command] = []
        for worker in list(self.state.workers.values()):
            silent_s = now - worker.heard_at
            if silent_s > self.limits.lost_after_s:
                detail = f"no sign of life for {silent_s:.1f} s"
                commands += self._give_up(worker, RetryReason.HEARTBEAT_TIMEOUT, detail, now)
            elif overdue := self._overdue(worker, now):
                commands += self._give_up(worker, RetryReason.DEADLINE, overdue, now)
            elif silent_s > self.limits.suspect_after_s and worker.takes_work:
                worker.step(WorkerState.SUSPECT)
                self._forget_placements()
        # only now, so that what one lost worker had is not handed to the next one that is lost too
        return commands + self._hand_out_all(now)

    def _overdue(self, worker: Worker, now: float) -> str:
        """Says so if a worker's task takes too long: what it computes can't be stopped from outside."""
        task, given_at = next(iter(worker.tasks.items()), (None, now))
        if task is None or now - max(given_at, worker.answered_at) <= self.limits.task_timeout_s:
            return ""
        return f"shards {task.range} took more than {self.limits.task_timeout_s:g} s"

    def _give_up(self, worker: Worker, reason: RetryReason, detail: str, now: float) -> list[Command]:
        return [EndSession(worker.id, detail), *self._lose(worker.id, reason, detail, now)]

    # ---- rounds

    def _open_round(self, event: RoundReady, now: float) -> list[Command]:
        job = self.state.jobs[event.job]
        if job.state is not JobState.RUNNING:
            return []
        assert job.round is None or (job.round.closed and job.round.number < event.round)
        job.round = Round(event.round, len(job.shard_rows), now)
        if job.placement is None or self._lopsided(job):
            return self._place_all(job, now)
        return self._send_placed(job, now)

    def _place_all(self, job: Job, now: float) -> list[Command]:
        takers = self._takers()
        n_shards = len(job.shard_rows)
        if not takers:
            job.waiting = [Waiting(Range(0, n_shards), 1, now)]
            return self._say_starved(job)
        placement = POLICIES[job.policy](range(n_shards), job.shard_rows, takers)
        assert job.round is not None
        job.placement, job.placed_in_round, job.starved = placement, job.round.number, False
        job.orders = {
            worker: tuple(TaskOrder(node, 1) for node in cover(shards, n_shards))
            for worker, shards in placement.shards.items()
        }
        return [AnnounceNote(job.id, f"placed: {placement.reason}"), *self._send_placed(job, now)]

    def _send_placed(self, job: Job, now: float) -> list[Command]:
        assert job.placement is not None
        return [
            self._give(job, self.state.workers[worker], orders, job.placement.reason, now)
            for worker, orders in job.orders.items()
        ]

    def _lopsided(self, job: Job) -> bool:
        """Whether measured speeds say that placing anew would shorten the rounds by enough."""
        assert job.placement is not None
        assert job.round is not None
        if (
            job.policy != "balanced"
            or job.round.number - job.placed_in_round < self.limits.replace_every_rounds
        ):
            return False
        speeds = {w: self.state.workers[w].rows_per_second for w in job.placement.shards}
        if any(speed <= 0 for speed in speeds.values()):
            return False
        job.placed_in_round = job.round.number
        return pays_to_replace(self.limits, job.placement, job.shard_rows, speeds)

    def _give(
        self, job: Job, worker: Worker, orders: tuple[TaskOrder, ...], reason: str, now: float
    ) -> Command:
        assert job.round is not None
        for order in orders:
            worker.tasks[TaskRef(job.id, job.round.number, order.range, order.attempt)] = now
        worker.rest()
        return SendTasks(worker.id, job.id, job.round.number, orders, reason)

    def _hand_out_all(self, now: float) -> list[Command]:
        return [command for job in self.state.running() for command in self._hand_out_waiting(job, now)]

    def _hand_out_waiting(self, job: Job, now: float) -> list[Command]:
        due = [waiting for waiting in job.waiting if waiting.not_before <= now]
        if not due:
            return []
        takers = self._takers()
        if not takers:
            return self._say_starved(job)
        job.waiting = [waiting for waiting in job.waiting if waiting.not_before > now]
        job.starved = False
        commands: list[Command] = []
        for avoid in sorted({waiting.avoid for waiting in due}):
            others = [taker for taker in takers if taker.worker != avoid]
            again = [waiting for waiting in due if waiting.avoid == avoid]
            commands += self._hand_out(job, again, others or takers, now)
        return commands

    def _hand_out(self, job: Job, due: list[Waiting], takers: list[WorkerSpeed], now: float) -> list[Command]:
        attempts = {i: waiting.attempt for waiting in due for i in range(*waiting.range)}
        placement = POLICIES[job.policy](sorted(attempts), job.shard_rows, takers)
        commands: list[Command] = []
        for worker, shards in placement.shards.items():
            nodes = cover(shards, len(job.shard_rows))
            orders = tuple(TaskOrder(node, max(attempts[i] for i in range(*node))) for node in nodes)
            commands.append(self._give(job, self.state.workers[worker], orders, placement.reason, now))
        return commands

    def _say_starved(self, job: Job) -> list[Command]:
        if job.starved:
            return []
        job.starved = True
        return [AnnounceNote(job.id, "waiting: there is no worker that takes work")]

    # ---- answers

    def _consider_offer(self, event: PartialOffered, now: float) -> list[Command]:
        commands = self._hear(event.worker, now)
        refusal = self._refusal(event.worker, event.task)
        if refusal is None:
            return [*commands, AcceptOffer(event.worker, event.task)]
        return commands + self._drop(event.worker, event.task, refusal)

    def _accept(self, event: PartialArrived, now: float) -> list[Command]:
        commands = self._hear(event.worker, now)
        refusal = self._refusal(event.worker, event.task)
        if refusal is not None:
            return commands + self._drop(event.worker, event.task, refusal)
        worker, job = self.state.workers[event.worker], self.state.jobs[event.task.job]
        assert job.round is not None
        counted = job.round.count(event.task.range)
        assert counted, "what is not refused is missing"
        self._credit(job, worker, event)
        worker.answered_at = now
        only_copy = event.task in worker.tasks and job.retries == 0  # nothing was ever sent twice
        self._forget_tasks(worker, [event.task])
        commands.append(MergePartial(event.worker, event.task))
        if not only_copy:
            commands += self._supersede(job, event.task.range, now)
        if job.round.closed:
            commands.append(CloseRound(job.id, job.round.number))
        return commands

    def _refusal(self, worker_id: WorkerId, task: TaskRef) -> Refusal | None:
        job, worker = self.state.jobs.get(task.job), self.state.workers.get(worker_id)
        if job is None or job.state is not JobState.RUNNING or job.round is None:
            return Refusal.UNKNOWN_JOB
        if task.round != job.round.number or job.round.closed:
            return Refusal.LATE
        if worker is None:
            return Refusal.WORKER_GONE
        if task not in worker.tasks and not is_node(task.range, job.round.n_shards):
            return Refusal.FOREIGN
        return Refusal.DUPLICATE if job.round.counted(task.range) else None

    def _drop(self, worker_id: WorkerId, task: TaskRef, refusal: Refusal) -> list[Command]:
        worker = self.state.workers.get(worker_id)
        if worker is not None:
            self._forget_tasks(worker, [task])
        return [DropPartial(worker_id, task, refusal)]

    def _supersede(self, job: Job, counted: Range, now: float) -> list[Command]:
        """Take back other copies of what has just been counted; shards of theirs that still miss wait again."""
        copies = [Waiting(task.range, task.attempt, now) for task in self._take_back(job, counted)]
        copies += [waiting for waiting in job.waiting if _overlap(waiting.range, counted)]
        job.waiting = [waiting for waiting in job.waiting if waiting not in copies]
        for copy in copies:
            rest = [i for i in range(*copy.range) if not self._is_counted(job, i)]
            job.waiting += [replace(copy, range=node) for node in cover(rest, len(job.shard_rows))]
        return self._hand_out_waiting(job, now)

    def _take_back(self, job: Job, counted: Range) -> list[TaskRef]:
        taken: list[TaskRef] = []
        for worker in self.state.workers.values():
            copies = [task for task in worker.tasks if task.job == job.id and _overlap(task.range, counted)]
            self._forget_tasks(worker, copies)
            taken += copies
        return taken

    def _is_counted(self, job: Job, shard: int) -> bool:
        assert job.round is not None
        return job.round.counted(Range(shard, shard + 1))

    def _credit(self, job: Job, worker: Worker, event: PartialArrived) -> None:
        worker.rows += event.rows
        share = job.share(worker.id)
        share.rows += event.rows
        share.busy_s += event.busy_s
        if event.rows and event.compute_s > 0:
            speed, memory = event.rows / event.compute_s, self.limits.speed_memory
            old = worker.rows_per_second or speed
            worker.rows_per_second = memory * old + (1 - memory) * speed

    # ---- failures

    def _task_failed(self, event: TaskFailed, now: float) -> list[Command]:
        commands = self._hear(event.worker, now)
        worker = self.state.workers.get(event.worker)
        if worker is None or event.task not in worker.tasks:
            return commands  # taken back before it failed
        worker.answered_at = now
        self._forget_tasks(worker, [event.task])
        commands += self._try_again(worker, event.task, event.reason, event.message, now, died=False)
        return commands + self._hand_out_waiting(self.state.jobs[event.task.job], now)

    def _try_again(
        self, worker: Worker, task: TaskRef, reason: RetryReason, detail: str, now: float, *, died: bool
    ) -> list[Command]:
        """Make a task's missing shards wait for another try, or end the job when there have been enough."""
        job = self.state.jobs[task.job]
        if job.state is not JobState.RUNNING or job.round is None or job.round.number != task.round:
            return []
        if reason in NO_USE_TRYING_AGAIN:
            return self._end(job.id, JobState.FAILED, detail)
        where = f"shards {task.range} ({sum(job.shard_rows[slice(*task.range)])} rows)"
        if died and job.round.died_on(task.range) >= self.limits.max_deaths:
            deaths = f"{self.limits.max_deaths} workers were lost while they computed {where}"
            return self._end(job.id, JobState.FAILED, f"{deaths}; the last was {worker.id}: {detail}")
        failures = job.round.failed(task.range) if reason not in LOST_WORKER else 0
        if failures >= self.limits.max_attempts:
            text = (
                f"{where} failed {failures} times; the last time on worker {worker.id} ({reason}): {detail}"
            )
            return self._end(job.id, JobState.FAILED, text)
        job.retries += 1
        job.share(worker.id).retries += 1
        not_before = now + backoff_s(self.limits, task, failures)
        avoid = "" if reason in LOST_WORKER else worker.id
        job.waiting.append(Waiting(task.range, task.attempt + 1, not_before, avoid))
        return [AnnounceRetry(job.id, worker.id, task.range, task.attempt + 1, reason, detail)]

    # ---- small things

    def _forget_tasks(self, worker: Worker, tasks: Iterable[TaskRef]) -> None:
        for task in tasks:
            worker.tasks.pop(task, None)
        if worker.state is not WorkerState.SUSPECT:
            worker.rest()

    def _forget_placements(self) -> None:
        """Have every job's shards placed anew when its next round opens."""
        for job in self.state.running():
            job.placement = None

    def _takers(self) -> list[WorkerSpeed]:
        workers = sorted(self.state.workers.values(), key=lambda worker: worker.id)
        return [WorkerSpeed(w.id, w.rows_per_second) for w in workers if w.takes_work]


def _overlap(a: Range, b: Range) -> bool:
    return a.lo < b.hi and b.lo < a.hi
