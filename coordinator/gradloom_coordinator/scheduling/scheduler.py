"""Decides who computes what. No I/O, no clock, no arrays: ids, sizes, and times that are passed in.

Theory of operation
-------------------
The runtime tells the scheduler what happened (``events``) and carries out what it answers (``commands``).

A job's life is the table ``state.JOB_STEPS``. While it runs, its rounds follow one another: ``RoundReady`` opens
one, the ``Placer`` says which worker owns which shards and into which chunks its share is cut, the ``Dealer`` hands
the chunks out bit by bit, and ``CloseRound`` is given once every shard has been counted.

Which workers are given work is the ``Roster``'s business. Whatever takes a chunk out of a worker's hands without an
answer makes it wait, with a typed reason; whatever brings a worker, frees one, or lets a backoff end, hands it out
again. An answer counts however late it comes and whoever sends it, as long as its chunk is missing.

Two laws: nothing but ``Round.count`` decides what is counted, and every command that moves work says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from types import MappingProxyType

from gradloom.canonical import Range
from gradloom.jobs import JobState, RetryReason
from gradloom.synchrony import SynchronyKind
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.accounts import Accounts
from gradloom_coordinator.scheduling.closing import is_over, note_missing, refusal_of
from gradloom_coordinator.scheduling.commands import Command
from gradloom_coordinator.scheduling.dealing import Dealer
from gradloom_coordinator.scheduling.events import Event, JobId, TaskRef, WorkerId
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.measures import Lost
from gradloom_coordinator.scheduling.placing import Placer
from gradloom_coordinator.scheduling.policies.placement import counted
from gradloom_coordinator.scheduling.roster import Roster
from gradloom_coordinator.scheduling.rounds import Chunk, Refusal, Round
from gradloom_coordinator.scheduling.state import ClusterState, Job


@dataclass(slots=True)
class Scheduler:
    """The one owner of workers, jobs, rounds and tasks."""

    limits: Limits = field(default_factory=Limits)
    state: ClusterState = field(default_factory=ClusterState)
    _roster: Roster = field(init=False)
    _placer: Placer = field(init=False)
    _dealer: Dealer = field(init=False)
    _accounts: Accounts = field(init=False)
    _freed: bool = False
    """Whether workers lost tasks that nobody needs any more: other jobs may have work for them."""

    def __post_init__(self) -> None:
        self._roster = Roster(self.limits, self.state, self._fail)
        self._placer = Placer(self.limits, self.state)
        self._dealer = Dealer(self.limits, self.state)
        self._accounts = Accounts(self.limits, self.state)

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take in one event at ``now`` (seconds, monotonic); what is to be done, in order."""
        self.state.now = now
        match event:
            case e.PartialArrived():
                return self._accept(event, now)
            case e.PartialOffered():
                return self._consider_offer(event, now)
            case e.HeartbeatReceived():
                if not self._roster.hear(event.worker, now):
                    return []
                return self._dealer.feed_one(event.worker, now) + self._hand_out(now)
            case e.Tick():
                commands = self._roster.look_after_time(now) + self._hand_out(now)
                return commands + self._dealer.look_again(now)
            case e.RoundReady():
                return self._round_ready(event, now)
            case e.TaskFailed():
                return self._task_failed(event, now)
            case e.TasksGivenUp():
                return self._given_up(event, now)
            case e.Stalled():
                return self._forgive(event.seconds)
            case (
                e.WorkerJoined()
                | e.WorkerResumed()
                | e.WorkerLeft()
                | e.StreamBroken()
                | e.WorkerDraining()
                | e.DrainRequested()
                | e.ExcludeRequested()
                | e.ReadmitRequested()
            ):
                return self._about_a_worker(event, now)
            case _:
                return self._about_a_job(event, now)

    def _about_a_worker(
        self,
        event: e.WorkerJoined
        | e.WorkerResumed
        | e.WorkerLeft
        | e.StreamBroken
        | e.WorkerDraining
        | e.DrainRequested
        | e.ExcludeRequested
        | e.ReadmitRequested,
        now: float,
    ) -> list[Command]:
        match event:
            case e.WorkerJoined():
                commands = self._roster.join(event, now) + self._dealer.feed_one(event.worker, now)
            case e.WorkerResumed():
                commands = self._roster.resume(event, now) + self._dealer.feed_one(event.worker, now)
            case e.WorkerLeft():
                reason = RetryReason.WORKER_LOST
                commands = self._roster.lose(event.worker, reason, event.detail, now, died=False)
            case e.StreamBroken():
                commands = self._roster.break_off(event.worker, event.detail, now)
            case e.WorkerDraining():
                commands = self._roster.drain(event)
            case e.ExcludeRequested():
                commands = self._roster.bar(event)
            case e.ReadmitRequested():
                commands = self._roster.readmit(event, now) + self._dealer.feed_one(event.worker, now)
            case e.DrainRequested():
                known = event.worker in self.state.workers
                return [c.DrainWorker(event.worker, event.reason)] if known else []
        return commands + self._hand_out(now)

    def _about_a_job(
        self,
        event: e.JobSubmitted
        | e.JobPlanned
        | e.JobFinished
        | e.JobServes
        | e.JobBroken
        | e.JobForgotten
        | e.CancelRequested
        | e.JobChanged
        | e.PauseRequested
        | e.ResumeRequested,
        now: float,
    ) -> list[Command]:
        match event:
            case e.JobSubmitted():
                return self._submit(event)
            case e.JobPlanned():
                return self._planned(event)
            case e.JobFinished():
                self._freed = True
                return self._end(event.job, JobState.COMPLETED, event.reason) + self._hand_out(now)
            case e.JobServes():
                return self._serve(event)
            case e.JobBroken():
                return self._fail(event.job, event.reason) + self._hand_out(now)
            case e.JobForgotten():
                return self._forget_job(event.job)
            case e.CancelRequested():
                reason = event.reason or "cancelled by request"
                return self._end(event.job, JobState.CANCELLED, reason) + self._hand_out(now)
            case e.JobChanged():
                return self._change(event)
            case e.PauseRequested():
                return self._pause(event)
            case e.ResumeRequested():
                return self._resume(event, now)

    # ---- jobs

    def _submit(self, event: e.JobSubmitted) -> list[Command]:
        assert event.job not in self.state.jobs
        self.state.jobs[event.job] = Job(
            event.job,
            event.placement,
            algorithm=event.algorithm,
            share_weight=event.share_weight,
            required_labels=event.required_labels,
            speculation=event.speculation,
            synchrony=event.synchrony,
            synchrony_next=event.synchrony,
        )
        return self._start_queued()

    def _start_queued(self) -> list[Command]:
        active = sum(job.state in (JobState.PLANNING, JobState.RUNNING) for job in self.state.jobs.values())
        queued = [
            job for job in self.state.jobs.values() if job.state is JobState.QUEUED and not job.pause_because
        ]
        commands: list[Command] = []
        for job in queued[: max(0, self.limits.max_running_jobs - active)]:
            commands += [self._step(job, JobState.PLANNING, "looking at the files"), c.StartPlanning(job.id)]
        return commands

    def _planned(self, event: e.JobPlanned) -> list[Command]:
        job = self.state.jobs.get(event.job)
        if job is None or job.state is not JobState.PLANNING:
            return []
        job.shard_rows = event.shard_rows
        job.rows_before = tuple(accumulate(event.shard_rows, initial=0))
        # as if it had been served like the others: a new job does not have the workers to itself for a while
        job.charged_s = self.state.least_charged()
        reason = f"{sum(event.shard_rows)} rows in {counted(len(event.shard_rows), 'shard')}"
        return [self._step(job, JobState.RUNNING, reason), c.StartRounds(job.id)]

    def _change(self, event: e.JobChanged) -> list[Command]:
        job = self.state.jobs.get(event.job)
        if job is None or job.state.final:
            return []
        if event.placement is not None and event.placement != job.policy:
            job.policy, job.replan_because = event.placement, f"the policy is {event.placement} now"
        if event.synchrony is not None:
            job.synchrony_next = event.synchrony
        if event.speculation is not None:
            job.speculation = event.speculation
        if event.share_weight is not None:
            job.share_weight = event.share_weight
        return []

    def _pause(self, event: e.PauseRequested) -> list[Command]:
        job = self.state.jobs.get(event.job)
        if job is None or job.state.settled or job.pause_because:
            return []
        job.pause_because = event.reason
        return []

    def _resume(self, event: e.ResumeRequested, now: float) -> list[Command]:
        job = self.state.jobs.get(event.job)
        if job is None or not job.pause_because:
            return []
        job.pause_because = ""
        if job.state is not JobState.PAUSED:
            return self._start_queued()
        assert job.held_round is not None
        held, job.held_round = job.held_round, None
        job.charged_s = max(job.charged_s, self.state.least_charged())
        return [self._step(job, JobState.RUNNING, event.reason), *self._round_ready(held, now)]

    def _serve(self, event: e.JobServes) -> list[Command]:
        job = self.state.jobs.get(event.job)
        if job is None or job.state is not JobState.RUNNING:
            return []
        job.pause_because = ""
        return [self._step(job, JobState.SERVING, event.reason), *self._start_queued()]

    def _fail(self, job_id: JobId, reason: str) -> list[Command]:
        return self._end(job_id, JobState.FAILED, reason)

    def _end(self, job_id: JobId, to: JobState, reason: str) -> list[Command]:
        job = self.state.jobs.get(job_id)
        if job is None or job.state.final:
            return []
        if job.state is JobState.SERVING and to is JobState.CANCELLED:  # what was trained is there, and stays
            to, reason = JobState.COMPLETED, f"stopped serving: {reason}"
        commands: list[Command] = [self._step(job, to, reason)]
        for worker in self.state.workers.values():
            for task in [task for task in worker.tasks if task.job == job_id]:
                self.state.discard(worker, task, Lost.JOB_OVER)
                self._freed = True
        job.round, job.plan, job.held_round, job.shard_rows, job.rows_before = None, None, None, (), ()
        job.held, job.holders = {}, {}
        return [*commands, c.ReleaseJob(job_id), *self._start_queued()]

    def _forget_job(self, job_id: JobId) -> list[Command]:
        job = self.state.jobs.pop(job_id)
        self.state.traces.forget(job_id)
        assert job.state.final, f"job {job_id} is {job.state}"
        return []

    def _step(self, job: Job, to: JobState, reason: str) -> Command:
        job.step(to, reason)
        if (book := self.state.traces.of(job.id)) is not None:
            book.stepped(to, self.state.now)
        if job.works:
            self.state.active[job.id] = job
        else:
            self.state.active.pop(job.id, None)
        return c.AnnounceState(job.id, to, reason)

    def _forgive(self, seconds: float) -> list[Command]:
        for worker in self.state.workers.values():
            worker.heard_at += seconds
            worker.away_since += seconds
        return []

    # ---- rounds

    def _round_ready(self, event: e.RoundReady, now: float) -> list[Command]:
        job = self.state.jobs.get(event.job)
        if job is None or not job.works:
            return []
        assert job.round is None or (job.round.over and job.round.number < event.round)
        carried = job.round.in_hand if job.round is not None else {}
        if job.pause_because:
            job.held_round = event
            called_off = self._dealer.call_off(carried)
            paused = self._step(job, JobState.PAUSED, job.pause_because)
            return [*called_off, paused, *self._start_queued(), *self._dealer.feed(now)]
        job.synchrony = job.synchrony_next
        commands: list[Command] = []
        if job.synchrony.exact or event.step is not job.step_now:
            commands += self._dealer.call_off(carried)
        if event.step is not job.step_now:
            self._accounts.begin_step(job, event.step)
        self._limit_credit(job)
        before, job.round = job.round, Round(event.round, event.step, len(job.shard_rows), now)
        self.state.traces.begin(job.id, job.copies, now).opened(
            event.round, event.step, event.training_round, now
        )
        missed = (
            {} if before is None or before.complete else {chunk.range: chunk for chunk in before.missing()}
        )
        return commands + self._deal_out(job, now, carried, missed)

    def _limit_credit(self, job: Job) -> None:
        """A job that wanted nothing for a while, between two rounds, does not have the workers to itself for it."""
        job.charged_s = max(job.charged_s, self.state.least_charged(but=job) - self.limits.max_credit_s)

    def _deal_out(
        self,
        job: Job,
        now: float,
        carried: Mapping[TaskRef, WorkerId] = MappingProxyType({}),
        missed: Mapping[Range, Chunk] = MappingProxyType({}),
    ) -> list[Command]:
        """Cut the open round's chunks, if there is a worker to cut them for, and hand out the first of them.

        ``carried``: what workers still compute from rounds that ended without it; ``missed``: all that they lack.
        """
        commands = self._placer.review(job)
        if job.plan is None:
            return commands + self._dealer.call_off(carried)
        return commands + self._dealer.open(job, carried, missed, now)

    def _hand_out(self, now: float) -> list[Command]:
        """Give out whatever waits and may be tried now, in rounds that waited for their first worker too."""
        commands: list[Command] = []
        for job in self.state.running():
            if job.open_round is None:
                continue
            if not job.open_round.chunks:
                commands += self._deal_out(job, now)
            else:
                job.open_round.release_due(now)
            if job.open_round is not None and job.open_round.orphans:
                commands += self._placer.say_if_starved(job)
        orphans_only, self._freed = not self._freed, False
        return commands + self._dealer.feed(now, orphans_only=orphans_only)

    # ---- answers

    def _consider_offer(self, event: e.PartialOffered, now: float) -> list[Command]:
        again = self._roster.hear(event.worker, now)
        refusal = refusal_of(self.state, event.worker, event.task)
        if refusal is not None:
            return self._drop(event.worker, event.task, refusal, now)
        fed = self._dealer.feed_one(event.worker, now) if again else []
        return [c.AcceptOffer(event.worker, event.task), *fed]

    def _accept(self, event: e.PartialArrived, now: float) -> list[Command]:
        self._roster.hear(event.worker, now)
        refusal = refusal_of(self.state, event.worker, event.task)
        if refusal is not None:
            return self._drop(event.worker, event.task, refusal, now)
        worker, job = self.state.workers[event.worker], self.state.jobs[event.task.job]
        assert job.round is not None
        round_, chunk = job.round, job.round.chunks[event.task.range]
        self._accounts.credit(job, worker, event, now)
        round_.count(chunk)
        round_.answered_by.add(worker.id)
        staleness = round_.number - event.task.round
        commands: list[Command] = [c.MergePartial(event.worker, event.task, staleness)]
        freed = [worker]
        if round_.copies_in_hand:
            commands += self._accounts.settle_copies(job, worker, chunk, now)
        # a worker may answer an earlier try than the one it has
        for name, ref in list(chunk.holders.items()):
            holder = self.state.workers[name]
            self._accounts.let_go(holder, ref, counted=holder is worker)
            if holder is not worker:
                commands.append(c.CancelTasks(name, (ref,), f"{worker.id} was faster"))
                freed.append(holder)
        commands += self._roster.succeeded(worker)
        if is_over(job, round_, worker):
            commands += self._close(job, round_, now)
        for each in freed:
            each.answered_at = now
            commands += self._dealer.deal(each, now)
        return commands + self._hand_out(now) if self._freed else commands

    def _close(self, job: Job, round_: Round, now: float) -> list[Command]:
        """End a round; what is still in hand is carried into the next one, or called off where none may be late."""
        self._accounts.close(job, now)
        note_missing(job, round_)
        round_.over = True
        commands: list[Command] = []
        if job.synchrony.kind is SynchronyKind.BACKUP:
            commands += self._dealer.call_off(round_.in_hand)
            self._freed = True
        return [*commands, c.CloseRound(job.id, round_.number, round_.n_shards - round_.shards_counted)]

    def _drop(self, worker_id: WorkerId, task: TaskRef, refusal: Refusal, now: float) -> list[Command]:
        commands: list[Command] = [c.DropPartial(worker_id, task, refusal)]
        worker = self.state.workers.get(worker_id)
        if worker is None or task not in worker.tasks:
            return commands + self._dealer.feed_one(worker_id, now)  # it may have been a suspect until now
        chunk, job = self.state.discard(worker, task, refusal).chunk, self.state.jobs[task.job]
        worker.answered_at = now
        if not chunk.counted and not chunk.holders and job.open_round is not None:
            job.open_round.orphans.append(chunk)
        return commands + self._dealer.deal(worker, now) + self._hand_out(now)

    # ---- failures

    def _task_failed(self, event: e.TaskFailed, now: float) -> list[Command]:
        self._roster.hear(event.worker, now)
        worker = self.state.workers.get(event.worker)
        if worker is None or event.task not in worker.tasks:  # taken back before it failed
            return self._dealer.feed_one(event.worker, now)
        chunk = worker.tasks[event.task].chunk
        commands = self._roster.try_again(worker, event.task, event.reason, event.message, now, died=False)
        worker.answered_at = now
        commands += self._roster.failed(worker, self.state.jobs[event.task.job], chunk, now)
        return commands + self._dealer.deal(worker, now) + self._hand_out(now)

    def _given_up(self, event: e.TasksGivenUp, now: float) -> list[Command]:
        """Tasks that their worker has not started are for others; nobody has failed."""
        worker = self.state.workers.get(event.worker)
        if worker is None:
            return []
        for task in event.tasks:
            if task not in worker.tasks:
                continue
            job, given = self.state.jobs[task.job], self.state.take_from(worker, task)
            job.charged_s -= given.expected_s / job.share_weight  # nothing was computed for it
            if job.round is not None and not given.chunk.holders:
                job.counts.stolen += 1
                job.round.orphans.append(given.chunk)
        return self._hand_out(now) + self._dealer.deal(worker, now)
