"""Carries out what the scheduler decides: owns the streams, the arrays and the clock. One event loop, one owner.

Everything that happens is handed to the scheduler as an event, in order; everything it answers is done here.
Nothing is decided here but what is the edge's own business: which bytes a worker still lacks.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms import build
from gradloom.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    Overloaded,
)
from gradloom.faults import Fault, check_fault
from gradloom.jobs import (
    JobState,
    JobView,
    Note,
    TaskRetried,
    WorkerState,
    WorkerView,
)
from gradloom.nearest.answers import Answer, Question
from gradloom.settings import CoordinatorSettings
from gradloom.specs import JobSpec, check_spec, with_local_steps
from gradloom_coordinator.access.audit import OK, AuditLog
from gradloom_coordinator.access.callers import CALLER
from gradloom_coordinator.access.table import CHANGING
from gradloom_coordinator.alarm import Alarm
from gradloom_coordinator.answers import Answers
from gradloom_coordinator.attendance import Attendance
from gradloom_coordinator.compression.traffic import check_codecs
from gradloom_coordinator.control import Control
from gradloom_coordinator.explaining import explain
from gradloom_coordinator.lifecycle import Lifecycle
from gradloom_coordinator.monitoring.metrics import CoordinatorMetrics
from gradloom_coordinator.monitoring.standing import Look, standing
from gradloom_coordinator.monitoring.traffic_metrics import TrafficMetrics
from gradloom_coordinator.monitoring.watching import Watching
from gradloom_coordinator.operating import Operating
from gradloom_coordinator.readable import check_data
from gradloom_coordinator.records import JobRecords
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.measures import Came
from gradloom_coordinator.scheduling.meters import Reading
from gradloom_coordinator.scheduling.packed_spans import TraceReading
from gradloom_coordinator.scheduling.policies import policy_named
from gradloom_coordinator.scheduling.scheduler import Scheduler
from gradloom_coordinator.steering import check_schedule, check_synchrony
from gradloom_coordinator.uploads import Upload, Uploads
from gradloom_coordinator.wording import sentence_of

log = logging.getLogger(__name__)

TICK_S = 0.25
STALL_S = 1.0
"""A tick that comes so much too late says that the coordinator itself stood still."""
QUIET = (e.Tick, e.HeartbeatReceived)
"""Events that are no news if nothing comes of them."""
UPLOADS_EVERY_S = 30.0
"""How often uploads that nobody needs any more are removed."""


class Coordinator:
    """The coordinator's moving parts, apart from gRPC itself."""

    def __init__(self, settings: CoordinatorSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.records = JobRecords()
        self.runs = self.records.runs
        self._clock = clock
        limits = Limits(
            suspect_after_s=settings.suspect_after_s,
            lost_after_s=settings.lost_after_s,
            task_timeout_s=settings.task_timeout_s,
        )
        self._scheduler = Scheduler(limits)
        self.metrics = CoordinatorMetrics(self._scheduler.state.measures)
        self.metrics.registry.register(TrafficMetrics(self.runs))
        self._inbox: deque[e.Event] = deque()
        self._dispatching = False
        self._alarm = Alarm(clock, self._tick)
        self._ticked: float | None = None
        """When time was looked after last; None until it is done regularly."""
        state = self._scheduler.state
        self.attendance = Attendance(settings, state, self.runs, self.dispatch)
        limit, links = settings.partials_limit_bytes, self.attendance.links
        self.answers = Answers(limit, state, self.runs, links, self.metrics, self.dispatch)
        self.jobs = Lifecycle(settings, self.metrics, self.records, self.dispatch, self._break, clock)
        self.control = Control(self.jobs, self.records, self.dispatch, self.view)
        self.operating = Operating(self.jobs, state, self.dispatch)
        self.watching = Watching(self._look)
        self.audit = AuditLog(settings.data_dir)
        self._uploads = Uploads(settings, clock)

    # ---- time and order

    def dispatch(self, event: e.Event) -> None:
        """Hand an event to the scheduler and do what it says; events that this raises follow in order.

        A command that can't be carried out costs its job, never the other commands.
        """
        self._inbox.append(event)
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._inbox:
                event, began = self._inbox.popleft(), time.perf_counter()
                commands = self._scheduler.handle(event, self._clock())
                self.metrics.decided(self._scheduler.state, event, time.perf_counter() - began)
                if commands or not isinstance(event, QUIET):
                    self.watching.news()
                for command in commands:
                    try:
                        self._execute(command)
                    except Exception as error:  # noqa: BLE001 - whatever it is, the other jobs go on
                        self._break(_job_of(command), error)
        finally:
            self._dispatching = False

    def _break(self, job_id: str, error: Exception) -> None:
        """End a job over an error; one that is not of our making is logged with its traceback."""
        self.dispatch(e.JobBroken(job_id, sentence_of(error)))

    async def keep_time(self) -> None:
        """Tell the scheduler that time passes, until cancelled."""
        self._ticked = self._clock()
        self.metrics.show(self._standing, asyncio.get_running_loop())
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK_S)
            self.metrics.loop_was_late(time.perf_counter() - began - TICK_S)
            try:
                self._tick()
                self.metrics.tidy(self._scheduler.state, self.runs, self._clock())
            except Exception:
                log.exception("a tick went wrong; time goes on")

    async def look_after_uploads(self) -> None:
        """Remove uploads that nobody needs any more, from time to time, until cancelled."""
        while True:
            await asyncio.sleep(UPLOADS_EVERY_S)
            try:
                await self._uploads.sweep(self._data_in_use())
            except Exception:
                log.exception("uploads could not be looked after")

    def _tick(self) -> None:
        """Let time pass; but first say for how long nobody could be heard, whatever kept us."""
        now = self._clock()
        if self._ticked is not None:
            late_s, self._ticked = now - self._ticked - TICK_S, now
            if late_s > STALL_S:
                log.warning("the coordinator stood still for %.1f s", late_s)
                self.dispatch(e.Stalled(late_s))
        self.dispatch(e.Tick())
        self.answers.admit()

    def _standing(self) -> list[Reading]:
        """What the metrics show of this moment."""
        state, now = self._scheduler.state, self._clock()
        views, limits = self.attendance.views(now), self._scheduler.limits
        looked = standing(Look(state, self.runs, views, limits, now, time.time() - now))
        return [*looked, *self.attendance.readings()]

    def _look(self) -> tuple[list[WorkerView], list[JobView]]:
        """What those see who watch."""
        return self.workers(), [self.view(run) for run in self.runs.values()]

    def _execute(self, command: c.Command) -> None:
        match command:
            case c.CloseRound():
                self._close_round(command)
            case c.StartPlanning():
                self.jobs.plan(self.runs[command.job])
            case c.StartRounds():
                self.jobs.start_rounds(self.runs[command.job])
            case c.ReleaseJob():
                self._release(command)
            case c.WakeAt():
                self._alarm.set(command.at)
            case c.AnnounceState():
                self._announce_state(command)
            case c.AnnounceRetry():
                self._announce_retry(command)
            case c.AnnounceNote():
                self.jobs.tell(command.job, Note(command.text))
            case c.MergePartial() | c.AcceptOffer() | c.DropPartial():
                self.answers.execute(command)
            case _:
                self.attendance.execute(command)

    # ---- people

    async def submit(self, spec: JobSpec, client_token: str) -> JobView:
        """Check and queue a job; it is durable then. Raises InvalidInput, AlreadyExists, Overloaded, Unavailable."""
        spec = with_local_steps(spec)
        run = self.records.with_token(client_token, spec)
        if run is None:
            self._check_acceptable(spec)
            run = self.jobs.add(spec, client_token)
        await self.jobs.acknowledge()
        return self.view(run)

    def _check_acceptable(self, spec: JobSpec) -> None:
        check_spec(spec)
        check_data(spec.data, self.jobs.may_read)
        policy_named(spec.placement)
        algorithm = build(spec.algorithm, spec.settings)
        check_synchrony(spec)
        check_codecs(spec)
        check_schedule(spec)
        held_out = algorithm.needs.validation_fraction + spec.test_fraction
        if held_out >= 1:
            raise InvalidInput(
                "test_fraction", "together with validation_fraction it leaves no rows to train on"
            )
        queued = sum(run.state is JobState.QUEUED for run in self.runs.values())
        if queued >= self.settings.max_queued_jobs:
            raise Overloaded(f"{queued} jobs wait already; at most {self.settings.max_queued_jobs} may")

    def view(self, run: JobRun) -> JobView:
        """A job as people see it."""
        now = self._clock()
        job = self._scheduler.state.jobs.get(run.job_id)
        if job is not None and not run.state.final:
            run.watch(job, now, self._present())
        return run.view(now)

    def _present(self) -> frozenset[str]:
        workers = self._scheduler.state.workers.values()
        return frozenset(worker.id for worker in workers if worker.state is not WorkerState.AWAY)

    async def cancel(self, job_id: str, reason: str) -> JobView:
        """End a job for good. Raises NotFound, Conflict if it has completed or failed, or Unavailable."""
        run = self.records.named(job_id)
        if run.state in (JobState.COMPLETED, JobState.FAILED):
            raise Conflict(f"job {job_id} has {run.state} and can't be cancelled")
        self.dispatch(e.CancelRequested(job_id, reason))
        await self.jobs.acknowledge()
        return self.view(run)

    async def query(self, job_id: str, question: Question, X: NDArray[np.float64], limit_s: float) -> Answer:
        """What a job knows of rows (n, d). Raises NotFound, InvalidInput, Conflict, Overloaded, Unavailable."""
        return await self.jobs.serving.query(self.records.named(job_id), question, X, limit_s)

    async def take_upload(self, chunks: AsyncIterator[bytes]) -> Upload:
        """Keep the file that the chunks make. Raises InvalidInput, Overloaded, Unavailable."""
        return await self._uploads.take(chunks)

    async def remove_upload(self, upload_id: str) -> None:
        """Remove an upload once no job uses it. Raises InvalidInput."""
        await self._uploads.remove(upload_id, self._data_in_use())

    def _data_in_use(self) -> set[str]:
        # a job whose end is not durable yet begins again after a restart
        using = (run for run in self.runs.values() if not run.state.final or run.ending is not None)
        return {uri for run in using for uri in run.spec.data.uris}

    def workers(self) -> list[WorkerView]:
        """The workers that are here or may come back, by name."""
        return self.attendance.views(self._clock())

    def trace(self, job_id: str) -> TraceReading:
        """Where a job's time went, as it stands. Raises NotFound."""
        run, state, now = self.records.named(job_id), self._scheduler.state, self._clock()
        if (book := state.traces.of(run.job_id)) is None:
            raise NotFound(
                f"there is no trace of job {job_id}: it has had no round since the coordinator's start, "
                "or other jobs ran since"
            )
        return book.read(time.time() - now, now, self._present())

    def explain(self, subject: str) -> tuple[str, ...]:
        """Why a job, a worker or a task (``JOB:SHARD``) is as it is, in sentences. Raises NotFound."""
        return explain(self._scheduler.state, subject, self._clock())

    def inject(self, worker: e.WorkerId, fault: Fault) -> float:
        """Have a worker do harm to itself; when, by the epoch. Raises InvalidInput, NotFound, Conflict."""
        check_fault(fault)
        self.attendance.inject(worker, fault)
        at = time.time()
        self.metrics.measures.happened(worker, Came.CHAOS, self._clock(), fault.kind)
        log.warning("chaos: worker %s is told: %s", worker, fault)
        for run in self.runs.values():
            if run.state is JobState.RUNNING:
                self.jobs.tell(run.job_id, Note(f"chaos: worker {worker} is told: {fault}"))
        return at

    def called(
        self, method: str, request: object, response: object, failure: BaseException | None, seconds: float
    ) -> None:
        """A person's call is over: count it, and write it down if it was to change something."""
        caller = CALLER.get()
        result = OK if failure is None else type(failure).__name__
        self.metrics.commanded(method, result, seconds, caller.role)
        if method in CHANGING:
            self.audit.write(caller, method, request, response, failure)

    # ---- commands about jobs

    def _close_round(self, command: c.CloseRound) -> None:
        run, round_ = self.runs[command.job], self._scheduler.state.jobs[command.job].round
        workers = len(round_.answered_by) if round_ is not None else 0
        self.jobs.close_round(run, workers)

    def _release(self, command: c.ReleaseJob) -> None:
        self.runs[command.job].release()
        self.attendance.release(command.job)

    def _announce_state(self, command: c.AnnounceState) -> None:
        run = self.runs[command.job]
        if command.state.final:
            job = self._scheduler.state.jobs[command.job]
            run.watch(job, self._clock(), self._present())
        self.jobs.announce_state(run, command.state, command.reason)

    def _announce_retry(self, command: c.AnnounceRetry) -> None:
        what = TaskRetried(
            command.reason, command.worker, str(command.range), command.attempt, command.detail
        )
        self.jobs.tell(command.job, what)
        log.info(
            "job %s: shards %s again (%s): %s", command.job, command.range, command.reason, command.detail
        )


def _job_of(command: c.Command) -> str:
    match command:
        case c.MergePartial() | c.AcceptOffer() | c.DropPartial():
            return command.task.job
        case (
            c.TakeBack() | c.CancelTasks() | c.DrainWorker() | c.ForgetWorker() | c.EndSession() | c.WakeAt()
        ):
            return ""
        case _:
            return command.job
