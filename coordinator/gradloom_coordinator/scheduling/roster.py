"""Which workers there are, and which of them are given work: they join, fall silent, break off, come back, drain,
fail too often, and leave. No I/O, no clock.

What a worker had in hand when it stopped is made to wait here; handing it out again is left to the dealer.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gradloom.jobs import JobState, RetryReason, WorkerState
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.commands import Command
from gradloom_coordinator.scheduling.events import JobId, TaskRef, WorkerId
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.measures import Came, Lost
from gradloom_coordinator.scheduling.retries import LOST_WORKER, Failure, Verdict, judge
from gradloom_coordinator.scheduling.rounds import Chunk
from gradloom_coordinator.scheduling.state import ClusterState, Given, Job, Worker
from gradloom_coordinator.scheduling.trust import Trust

MAX_REMEMBERED = 10_000
"""Names of workers whose failures are remembered."""


@dataclass(slots=True)
class Roster:
    """Takes workers in and out."""

    limits: Limits
    state: ClusterState
    fail_job: Callable[[JobId, str], list[Command]]

    # ---- coming

    def join(self, event: e.WorkerJoined, now: float) -> list[Command]:
        """A worker with an empty cache."""
        assert event.worker not in self.state.workers
        worker = Worker(
            event.worker,
            joined_at=now,
            heard_at=now,
            host=event.host,
            labels=event.labels,
            cores=event.cores,
            memory_bytes=event.memory_bytes,
            lacks=event.lacks,
            trust=self._trust(event.worker),
        )
        self.state.workers[event.worker] = worker
        self.state.hosts[worker.host] += 1
        self._came(worker, Came.JOINED)
        if self.state.departed.pop(worker.id, None) is not None:
            self._came(worker, Came.RESTARTED)
        self.replan_all(f"{event.worker} joined")
        notes = self._tell_all(f"worker {event.worker} joined")
        return notes + self._back_to_work(worker, now)

    def resume(self, event: e.WorkerResumed, now: float) -> list[Command]:
        """A worker that was away: its cache is warm, and what it has been computing may still be of use."""
        worker = self.state.workers.get(event.worker)
        if worker is None or worker.state is not WorkerState.AWAY:
            return []
        worker.heard_at, worker.answered_at = now, now
        self._came(worker, Came.RESUMED)
        self.state.measures.recovery.observe(now - worker.away_since, "stream")
        if worker.blamed is not None:
            worker.blamed.died -= {(worker.id, worker.joined_at)}
            worker.blamed = None
        worker.step(WorkerState.IDLE)
        self.replan_all(f"{worker.id} is back")
        notes = self._tell_all(f"worker {worker.id} is back after {now - worker.away_since:.1f} s")
        excluded = self._back_to_work(worker, now)
        if event.computing is not None and not excluded:
            self._still_computing(worker, event.computing, now)
        return notes + excluded

    def _still_computing(self, worker: Worker, ref: TaskRef, now: float) -> None:
        job = self.state.jobs.get(ref.job)
        round_ = job.open_round if job is not None else None
        if job is None or round_ is None or round_.number != ref.round or ref in round_.in_hand:
            return
        chunk = round_.chunks.get(ref.range)
        if chunk is None or chunk.counted:
            return
        if chunk in round_.orphans:
            round_.orphans.remove(chunk)
        elif not chunk.holders:
            return  # it is in a queue or held back: given to somebody soon, and whoever answers first counts
        worker.take(ref, Given(chunk, now, chunk.rows, self.limits.lead_s))
        round_.in_hand[ref] = worker.id

    def hear(self, worker_id: WorkerId, now: float) -> bool:
        """A sign of life; whether that makes a suspect take work again."""
        worker = self.state.workers.get(worker_id)
        if worker is None or worker.state is WorkerState.AWAY:
            return False
        worker.heard_at = now
        if worker.state is not WorkerState.SUSPECT:
            return False
        worker.step(WorkerState.BUSY if worker.tasks else WorkerState.IDLE)
        self.replan_all(f"{worker.id} is heard again")
        if not worker.tasks:
            self._back_to_work(worker, now)  # it fell silent over its probe
        return True

    def _trust(self, name: WorkerId) -> Trust:
        if name not in self.state.trust and len(self.state.trust) >= MAX_REMEMBERED:
            del self.state.trust[next(iter(self.state.trust))]
        return self.state.trust.setdefault(name, Trust())

    def _back_to_work(self, worker: Worker, now: float) -> list[Command]:
        """Whoever is excluded stays so, whatever session it comes with, and needs a probe or a person to be let in."""
        if worker.trust.barred:
            worker.step(WorkerState.EXCLUDED, worker.trust.barred)
            return []
        if not worker.trust.excluded_until:
            return []
        worker.step(WorkerState.EXCLUDED, "failed too often")
        if worker.trust.excluded_until > now:
            return [c.WakeAt(worker.trust.excluded_until)]
        self._probe(worker)
        return []

    def _probe(self, worker: Worker) -> None:
        worker.step(WorkerState.PROBING, "one task decides")
        self.state.hungry[worker.id] = None

    # ---- falling silent, leaving

    def suspect(self, worker: Worker) -> None:
        """It was not heard for a while: nothing new for it, and what it was not given yet is for others."""
        worker.step(WorkerState.SUSPECT, "no sign of life")
        self._came(worker, Came.SUSPECTED)
        self._put_aside(worker, "is not heard")

    def drain(self, event: e.WorkerDraining) -> list[Command]:
        """It finishes what it computes and leaves."""
        worker = self.state.workers.get(event.worker)
        if worker is None or worker.state in (WorkerState.AWAY, WorkerState.DRAINING):
            return []
        worker.step(WorkerState.DRAINING, event.reason)
        self._came(worker, Came.DRAINED)
        self._put_aside(worker, "drains")
        return self._tell_all(f"worker {worker.id} drains: {event.reason}")

    def break_off(self, worker_id: WorkerId, detail: str, now: float) -> list[Command]:
        """Its stream broke: others take over at once; it may come back with its cache and its results."""
        worker = self.state.workers.get(worker_id)
        if worker is None or worker.state is WorkerState.AWAY:
            return []
        commands = self._tell_all(f"worker {worker_id} broke off: {detail}")
        commands += self._take_all(worker, RetryReason.STREAM_RESET, detail, now, died=True)
        self._came(worker, Came.BROKE_OFF)
        self.state.measures.detection.observe(now - worker.heard_at)
        worker.step(WorkerState.AWAY, detail)
        worker.away_since = now
        self._put_aside(worker, "broke off")
        return [*commands, c.WakeAt(now + self.limits.resume_grace_s)]

    def lose(
        self, worker_id: WorkerId, reason: RetryReason, detail: str, now: float, *, died: bool
    ) -> list[Command]:
        """Forget a worker; ``died`` = it was lost over what it computed, for all we know."""
        worker = self.state.workers.get(worker_id)
        if worker is None:
            return []
        commands = self._tell_all(f"worker {worker_id} is gone: {detail}")
        commands += self._take_all(worker, reason, detail, now, died=died)
        self._forget(worker, reason if died else None)
        return commands

    def look_after_time(self, now: float) -> list[Command]:
        """Suspect and give up the silent and the hung, forget those that stayed away, let the excluded try again."""
        commands: list[Command] = []
        nobody_works = not any(worker.takes_work for worker in self.state.workers.values())
        for worker in list(self.state.workers.values()):
            match worker.state:
                case WorkerState.AWAY:
                    if now >= worker.away_since + self.limits.resume_grace_s:
                        self._forget(worker, None)
                        commands.append(c.ForgetWorker(worker.id))
                    continue
                case WorkerState.EXCLUDED if not worker.trust.barred:
                    if now >= worker.trust.excluded_until or nobody_works:
                        self._probe(worker)
            commands += self._look_after(worker, now)
        return commands

    def _look_after(self, worker: Worker, now: float) -> list[Command]:
        silent_s = now - worker.heard_at
        if silent_s > self.limits.lost_after_s:
            detail = f"no sign of life for {silent_s:.1f} s"
            return self._give_up(worker, RetryReason.HEARTBEAT_TIMEOUT, detail, now)
        if overdue := self._overdue(worker, now):
            return self._give_up(worker, RetryReason.DEADLINE, overdue, now)
        if silent_s > self.limits.suspect_after_s and worker.takes_work:
            self.suspect(worker)
        return []

    def _overdue(self, worker: Worker, now: float) -> str:
        """Says so if a worker's task takes too long: what it computes can't be stopped from outside."""
        if not worker.tasks or now - worker.computes_since <= self.limits.task_timeout_s:
            return ""
        return f"shards {next(iter(worker.tasks)).range} took more than {self.limits.task_timeout_s:g} s"

    def _give_up(self, worker: Worker, reason: RetryReason, detail: str, now: float) -> list[Command]:
        since = worker.computes_since if reason is RetryReason.DEADLINE else worker.heard_at
        self.state.measures.detection.observe(now - since)
        return [c.EndSession(worker.id, detail), *self.lose(worker.id, reason, detail, now, died=True)]

    def _forget(self, worker: Worker, lost_by: RetryReason | None) -> None:
        """``lost_by``: why it was given up; None = it left, or has not come back since its stream broke."""
        lost_by = RetryReason.STREAM_RESET if worker.state is WorkerState.AWAY else lost_by
        self._came(worker, Came.LEFT if lost_by is None else Came.LOST, lost_by or "")
        self.state.departed[worker.id] = self.state.now, lost_by is not None
        self._put_aside(worker, "is gone")
        del self.state.workers[worker.id]
        self.state.hosts[worker.host] -= 1
        if not self.state.hosts[worker.host]:
            del self.state.hosts[worker.host]
        for job in self.state.jobs.values():
            job.forget_holder(worker.id)

    def _came(self, worker: Worker, event: Came, reason: str = "") -> None:
        self.state.measures.happened(worker.id, event, self.state.now, reason)

    def _put_aside(self, worker: Worker, why: str) -> None:
        """It is given nothing for now."""
        self.state.hungry.pop(worker.id, None)
        for job in self.state.jobs.values():
            if job.round is not None:
                job.round.orphan_queue(worker.id)
            if job.placement is not None and worker.id in job.placement.shards:
                job.replan_because = f"{worker.id} {why}"

    def replan_all(self, why: str) -> None:
        """Have every job's shards placed anew when its next round opens, if that pays."""
        for job in self.state.jobs.values():
            if job.plan is not None:
                job.replan_because = why

    # ---- failures

    def _take_all(
        self, worker: Worker, reason: RetryReason, detail: str, now: float, *, died: bool
    ) -> list[Command]:
        """Its first task is what it was computing, if it has tasks of one job only: those of several are computed
        in the order in which their broadcasts came."""
        one_job = len({task.job for task in worker.tasks}) == 1
        commands: list[Command] = []
        for position, task in enumerate(list(worker.tasks)):
            if task in worker.tasks:  # else its job has just failed
                why = reason if position == 0 or reason in LOST_WORKER else RetryReason.WORKER_LOST
                computing = position == 0 and one_job and died
                worker.blamed = worker.tasks[task].chunk if computing else worker.blamed
                commands += self.try_again(worker, task, why, detail, now, died=computing)
        if died and commands and worker.trust.failed(self.limits) and self._others_take_work(worker):
            commands += self._exclude(worker, now)
        return commands

    def try_again(
        self, worker: Worker, task: TaskRef, reason: RetryReason, detail: str, now: float, *, died: bool
    ) -> list[Command]:
        """A task came to nothing: its chunk waits for another try, or its job ends when there have been enough."""
        job = self.state.jobs[task.job]
        assert job.round is not None
        chunk = self.state.discard(worker, task, reason).chunk
        if chunk.lost_at is None and reason in LOST_WORKER:
            chunk.lost_at = now
        failure = Failure(task, job.rows_in(task.range), worker.id, worker.joined_at, reason, detail, died)
        verdict = judge(self.limits, chunk, failure)
        self._count_failure(job, chunk, failure, verdict, now)
        if verdict.job_fails_because:
            return self.fail_job(job.id, verdict.job_fails_because)
        job.retries += 1
        job.share(worker.id).retries += 1
        retry = c.AnnounceRetry(job.id, worker.id, task.range, chunk.order.attempt, reason, detail)
        if chunk.holders:
            return [retry]  # its copy is still being computed
        if not verdict.backoff_s:
            job.round.orphans.append(chunk)
            return [retry]
        job.round.hold_back(chunk, now + verdict.backoff_s)
        return [retry, c.WakeAt(now + verdict.backoff_s)]

    def _count_failure(self, job: Job, chunk: Chunk, failure: Failure, verdict: Verdict, now: float) -> None:
        measures, left = self.state.measures, self.limits.max_attempts - chunk.failures
        if verdict.job_fails_because:
            measures.quarantined.add(failure.reason)
        else:
            measures.retries.add(job.id, failure.worker, failure.reason)
        if verdict.backoff_s:
            measures.backoff.observe(verdict.backoff_s)
        if failure.reason is RetryReason.NONFINITE:
            measures.nonfinite.add(job.id)
        job.counts.fewest_tries_left = min(left, self.limits.max_deaths - len(chunk.died)), now

    def failed(self, worker: Worker, job: Job, chunk: Chunk, now: float) -> list[Command]:
        """A task failed on a worker: exclude it if that was once too often and others do better.

        What has failed on other workers too is the chunk's fault; where other workers fail too it is the job's, as when
        it diverges; and the last worker is never excluded.
        """
        if job.round is not None:
            job.round.failed_on.add(worker.id)
            if job.round.failed_on - {worker.id}:
                return []
        if worker.state is WorkerState.DRAINING or chunk.avoid - {worker.id}:
            return []
        enough = worker.trust.failed(self.limits)
        if not enough and worker.state is not WorkerState.PROBING:
            return []
        return self._exclude(worker, now) if self._others_take_work(worker) else []

    def _others_take_work(self, worker: Worker) -> bool:
        return any(other.takes_work for other in self.state.workers.values() if other is not worker)

    def _exclude(self, worker: Worker, now: float) -> list[Command]:
        seconds = worker.trust.exclude(self.limits, now)
        text = f"worker {worker.id} is excluded for {seconds:.0f} s: it failed too often"
        commands = [*self._tell_all(text), c.WakeAt(now + seconds)]
        if worker.state not in (WorkerState.IDLE, WorkerState.BUSY, WorkerState.SUSPECT, WorkerState.PROBING):
            return commands
        return commands + self._shut_out(worker, f"failed too often: no work for {seconds:.0f} s")

    def _shut_out(self, worker: Worker, reason: str) -> list[Command]:
        """Whatever it has in hand is for others."""
        unfinished = tuple(worker.tasks)
        for task in unfinished:
            given = self.state.discard(worker, task, Lost.EXCLUDED)
            job = self.state.jobs[task.job]
            if job.round is not None and not given.chunk.holders:
                job.round.orphans.append(given.chunk)
        worker.step(WorkerState.EXCLUDED, reason)
        self._came(worker, Came.EXCLUDED)
        self._put_aside(worker, "is excluded")
        if not unfinished:
            return []
        return [c.CancelTasks(worker.id, unfinished, "the worker is excluded")]

    def bar(self, event: e.ExcludeRequested) -> list[Command]:
        """A person excludes a worker of this name, until a person lets it in again."""
        self._trust(event.worker).barred = event.reason
        worker = self.state.workers.get(event.worker)
        if worker is None or worker.state in (WorkerState.AWAY, WorkerState.DRAINING):
            return []
        if worker.state is WorkerState.EXCLUDED:
            worker.reason = event.reason
            return []
        commands = self._tell_all(f"worker {worker.id} is excluded: {event.reason}")
        return commands + self._shut_out(worker, event.reason)

    def readmit(self, event: e.ReadmitRequested, now: float) -> list[Command]:
        """A person lets a worker in that is excluded, whoever excluded it."""
        trust = self._trust(event.worker)
        trust.barred = ""
        trust.excluded_until, trust.failures_in_a_row, trust.exclusions = 0.0, 0, 0
        worker = self.state.workers.get(event.worker)
        if worker is None or worker.state is not WorkerState.EXCLUDED:
            return []
        worker.step(WorkerState.IDLE)
        if now - worker.heard_at > self.limits.suspect_after_s:
            self.suspect(worker)
        self._came(worker, Came.READMITTED)
        self.replan_all(f"{worker.id} is let back in")
        return self._tell_all(f"worker {worker.id} is let back in: {event.reason}")

    def succeeded(self, worker: Worker) -> list[Command]:
        """An answer was counted; a probe that succeeds lets the worker back in."""
        worker.trust.succeeded()
        if worker.state is not WorkerState.PROBING:
            return []
        worker.trust.readmitted()
        self._came(worker, Came.READMITTED)
        worker.step(WorkerState.BUSY if worker.tasks else WorkerState.IDLE)
        self.replan_all(f"{worker.id} is let back in")
        return self._tell_all(f"worker {worker.id} is let back in: its probe succeeded")

    def _tell_all(self, text: str) -> list[Command]:
        return [
            c.AnnounceNote(job.id, text)
            for job in self.state.jobs.values()
            if job.works or job.state is JobState.PAUSED
        ]
