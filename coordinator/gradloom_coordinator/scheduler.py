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
from itertools import accumulate

from gradloom.canonical import Range, cover, is_node
from gradloom.jobs import JobState, RetryReason, WorkerState
from gradloom_coordinator import commands as c
from gradloom_coordinator import events as e
from gradloom_coordinator.commands import Command, TaskOrder
from gradloom_coordinator.events import Event, JobId, TaskRef, WorkerId
from gradloom_coordinator.limits import Limits, pays_to_replace
from gradloom_coordinator.policies import POLICIES, WorkerSpeed
from gradloom_coordinator.policies.placement import counted
from gradloom_coordinator.retries import LOST_WORKER, Failure, judge
from gradloom_coordinator.rounds import Refusal, Round
from gradloom_coordinator.state import ClusterState, Job, Waiting, Worker

MIN_COMPUTE_S = 1e-6
"""Shorter than any task: what is said to have taken less is measured as this."""


@dataclass(slots=True)
class Scheduler:
    """The one owner of workers, jobs, rounds and tasks."""

    limits: Limits = field(default_factory=Limits)
    state: ClusterState = field(default_factory=ClusterState)

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take in one event at ``now`` (seconds, monotonic); what is to be done, in order."""
        match event:
            case e.PartialArrived():
                return self._accept(event, now)
            case e.PartialOffered():
                return self._consider_offer(event, now)
            case e.HeartbeatReceived():
                return self._hear(event.worker, now)
            case e.Tick():
                return self._look_after_time(now)
            case e.RoundReady():
                return self._open_round(event, now)
            case e.WorkerJoined():
                return self._join(event, now)
            case e.WorkerLeft():
                lost = self._lose(event.worker, RetryReason.WORKER_LOST, event.detail, now, left=True)
                return lost + self._hand_out_all(now)
            case e.StreamBroken():
                lost = self._lose(event.worker, RetryReason.STREAM_RESET, event.detail, now)
                return lost + self._hand_out_all(now)
            case e.Stalled():
                return self._forgive(event.seconds)
            case e.TaskFailed():
                return self._task_failed(event, now)
            case e.JobSubmitted():
                return self._submit(event)
            case e.JobPlanned():
                return self._planned(event)
            case e.JobFinished():
                return self._end(event.job, JobState.COMPLETED, event.reason)
            case e.JobBroken():
                return self._end(event.job, JobState.FAILED, event.reason)
            case e.JobForgotten():
                return self._forget_job(event.job)
            case e.CancelRequested():
                return self._end(event.job, JobState.CANCELLED, event.reason or "cancelled by request")

    # ---- jobs

    def _submit(self, event: e.JobSubmitted) -> list[Command]:
        assert event.job not in self.state.jobs
        self.state.jobs[event.job] = Job(event.job, event.placement)
        return self._start_queued()

    def _start_queued(self) -> list[Command]:
        active = sum(job.state in (JobState.PLANNING, JobState.RUNNING) for job in self.state.jobs.values())
        queued = [job for job in self.state.jobs.values() if job.state is JobState.QUEUED]
        commands: list[Command] = []
        for job in queued[: self.limits.max_running_jobs - active]:
            commands += [self._step(job, JobState.PLANNING, "looking at the files"), c.StartPlanning(job.id)]
        return commands

    def _planned(self, event: e.JobPlanned) -> list[Command]:
        job = self.state.jobs.get(event.job)
        if job is None or job.state is not JobState.PLANNING:
            return []
        job.shard_rows = event.shard_rows
        job.rows_before = tuple(accumulate(event.shard_rows, initial=0))
        reason = f"{sum(event.shard_rows)} rows in {counted(len(event.shard_rows), 'shard')}"
        return [self._step(job, JobState.RUNNING, reason), c.StartRounds(job.id)]

    def _end(self, job_id: JobId, to: JobState, reason: str) -> list[Command]:
        job = self.state.jobs.get(job_id)
        if job is None or job.state.final:
            return []
        commands: list[Command] = [self._step(job, to, reason)]
        job.round, job.placement, job.orders, job.shard_rows, job.rows_before = None, None, {}, (), ()
        job.waiting.clear()
        for worker in self.state.workers.values():
            self._forget_tasks(worker, [task for task in worker.tasks if task.job == job_id])
        return [*commands, c.ReleaseJob(job_id), *self._start_queued()]

    def _forget_job(self, job_id: JobId) -> list[Command]:
        job = self.state.jobs.pop(job_id)
        assert job.state.final, f"job {job_id} is {job.state}"
        return []

    def _step(self, job: Job, to: JobState, reason: str) -> Command:
        job.step(to, reason)
        return c.AnnounceState(job.id, to, reason)

    # ---- workers

    def _join(self, event: e.WorkerJoined, now: float) -> list[Command]:
        assert event.worker not in self.state.workers
        self.state.workers[event.worker] = Worker(event.worker, joined_at=now, heard_at=now)
        self._forget_placements()
        notes: list[Command] = [
            c.AnnounceNote(job.id, f"worker {event.worker} joined") for job in self.state.running()
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

    def _forgive(self, seconds: float) -> list[Command]:
        for worker in self.state.workers.values():
            worker.heard_at += seconds
        return []

    def _lose(
        self, worker_id: WorkerId, reason: RetryReason, detail: str, now: float, *, left: bool = False
    ) -> list[Command]:
        """Forget a worker and make what it had wait; handing that out is left to the caller.

        Its first task is what it was computing, if it has tasks of one job only: those of several are computed in
        the order in which their broadcasts came.
        """
        worker = self.state.workers.pop(worker_id, None)
        if worker is None:
            return []
        self._forget_placements()
        commands: list[Command] = [
            c.AnnounceNote(job.id, f"worker {worker_id} is gone: {detail}") for job in self.state.running()
        ]
        one_job = len({task.job for task in worker.tasks}) == 1
        for position, task in enumerate(worker.tasks):
            why = reason if position == 0 or reason in LOST_WORKER else RetryReason.WORKER_LOST
            died = position == 0 and one_job and not left
            commands += self._try_again(worker, task, why, detail, now, died=died)
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
        return [c.EndSession(worker.id, detail), *self._lose(worker.id, reason, detail, now)]

    # ---- rounds

    def _open_round(self, event: e.RoundReady, now: float) -> list[Command]:
        job = self.state.jobs.get(event.job)
        if job is None or job.state is not JobState.RUNNING:
            return []
        assert job.round is None or (job.round.closed and job.round.number < event.round)
        job.round = Round(event.round, len(job.shard_rows))
        if job.placement is None or self._lopsided(job):
            return self._place_all(job, now)
        return self._send_placed(job, now)

    def _place_all(self, job: Job, now: float) -> list[Command]:
        takers = self._takers(job)
        n_shards = len(job.shard_rows)
        if not takers:
            job.waiting = [Waiting(Range(0, n_shards), 1, now)]
            return self._say_starved(job)
        placement = POLICIES[job.policy](range(n_shards), job.shard_rows, takers)
        assert job.round is not None
        job.placement, job.placement_judged_in_round, job.starved = placement, job.round.number, False
        for worker_id in job.shares.keys() | placement.shards.keys():
            job.share(worker_id).shards = len(placement.shards.get(worker_id, ()))
        job.orders = {
            worker: tuple(TaskOrder(node, 1) for node in cover(shards, n_shards))
            for worker, shards in placement.shards.items()
        }
        return [c.AnnounceNote(job.id, f"placed: {placement.reason}"), *self._send_placed(job, now)]

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
            or job.round.number - job.placement_judged_in_round < self.limits.replace_every_rounds
        ):
            return False
        speeds = {w: job.share(w).rows_per_second for w in job.placement.shards}
        if any(speed <= 0 for speed in speeds.values()):
            return False
        job.placement_judged_in_round = job.round.number
        return pays_to_replace(self.limits, job.placement, job.shard_rows, speeds)

    def _give(
        self, job: Job, worker: Worker, orders: tuple[TaskOrder, ...], reason: str, now: float
    ) -> Command:
        assert job.round is not None
        for order in orders:
            worker.tasks[TaskRef(job.id, job.round.number, order.range, order.attempt)] = now
        worker.rest()
        return c.SendTasks(worker.id, job.id, job.round.number, orders, reason)

    def _hand_out_all(self, now: float) -> list[Command]:
        return [command for job in self.state.running() for command in self._hand_out_waiting(job, now)]

    def _hand_out_waiting(self, job: Job, now: float) -> list[Command]:
        due = [waiting for waiting in job.waiting if waiting.not_before <= now]
        if not due:
            return []
        takers = self._takers(job)
        if not takers:
            return self._say_starved(job)
        job.waiting = [waiting for waiting in job.waiting if waiting.not_before > now]
        job.starved = False
        commands: list[Command] = []
        for avoid in sorted({waiting.avoid for waiting in due}, key=sorted):
            others = [taker for taker in takers if taker.worker not in avoid]
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
        return [c.AnnounceNote(job.id, "waiting: there is no worker that takes work")]

    # ---- answers

    def _consider_offer(self, event: e.PartialOffered, now: float) -> list[Command]:
        commands = self._hear(event.worker, now)
        refusal = self._refusal(event.worker, event.task)
        if refusal is None:
            return [*commands, c.AcceptOffer(event.worker, event.task)]
        return commands + self._drop(event.worker, event.task, refusal, now)

    def _accept(self, event: e.PartialArrived, now: float) -> list[Command]:
        commands = self._hear(event.worker, now)
        refusal = self._refusal(event.worker, event.task)
        if refusal is not None:
            return commands + self._drop(event.worker, event.task, refusal, now)
        worker, job = self.state.workers[event.worker], self.state.jobs[event.task.job]
        assert job.round is not None
        counted = job.round.count(event.task.range)
        assert counted, "what is not refused is missing"
        self._credit(job, worker, event)
        worker.answered_at = now
        job.round.answered_by.add(worker.id)
        only_copy = event.task in worker.tasks and not job.round.sent_twice
        self._forget_tasks(worker, [event.task])
        commands.append(c.MergePartial(event.worker, event.task))
        if not only_copy:
            commands += self._supersede(job, event.task.range, now)
        if job.round.closed:
            commands.append(c.CloseRound(job.id, job.round.number))
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

    def _drop(self, worker_id: WorkerId, task: TaskRef, refusal: Refusal, now: float) -> list[Command]:
        worker = self.state.workers.get(worker_id)
        if worker is not None and task in worker.tasks:
            worker.answered_at = now
            self._forget_tasks(worker, [task])
        return [c.DropPartial(worker_id, task, refusal)]

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

    def _credit(self, job: Job, worker: Worker, event: e.PartialArrived) -> None:
        rows = min(
            event.rows, job.rows_in(event.task.range)
        )  # what a worker says of itself is not believed blindly
        share = job.share(worker.id)
        worker.rows += rows
        share.rows += rows
        share.busy_s += event.busy_s
        if rows:
            speed = rows / max(event.compute_s, MIN_COMPUTE_S)
            share.rows_per_second = self._average(share.rows_per_second, speed)
            worker.rows_per_second = self._average(worker.rows_per_second, speed)

    def _average(self, old: float, new: float) -> float:
        memory = self.limits.speed_memory if old else 0.0
        return memory * old + (1 - memory) * new

    # ---- failures

    def _task_failed(self, event: e.TaskFailed, now: float) -> list[Command]:
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
        job = self.state.jobs.get(task.job)
        if job is None or job.state is not JobState.RUNNING:
            return []
        if job.round is None or job.round.number != task.round:
            return []
        failure = Failure(task, job.rows_in(task.range), worker.id, reason, detail, died)
        verdict = judge(self.limits, job.round, failure)
        if verdict.job_fails_because:
            return self._end(job.id, JobState.FAILED, verdict.job_fails_because)
        job.retries += 1
        job.share(worker.id).retries += 1
        job.round.sent_twice = True
        again = Waiting(task.range, task.attempt + 1, now + verdict.backoff_s, verdict.avoid)
        job.waiting.append(again)
        return [c.AnnounceRetry(job.id, worker.id, task.range, again.attempt, reason, detail)]

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

    def _takers(self, job: Job) -> list[WorkerSpeed]:
        workers = sorted(self.state.workers.values(), key=lambda worker: worker.id)
        return [WorkerSpeed(w.id, job.share(w.id).rows_per_second) for w in workers if w.takes_work]


def _overlap(a: Range, b: Range) -> bool:
    return a.lo < b.hi and b.lo < a.hi
