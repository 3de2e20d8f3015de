"""Carries out what the scheduler decides: owns the streams, the arrays and the clock. One event loop, one owner.

Everything that happens is handed to the scheduler as an event, in order; everything it answers is done here.
Nothing is decided here but what is the edge's own business: which bytes a worker still lacks.
"""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, count

from gradloom.algorithms import build
from gradloom.data.planning import build_manifest
from gradloom.data.preparation import Split
from gradloom.errors import (
    Conflict,
    GradloomError,
    InvalidInput,
    JobFailed,
    Overloaded,
    Unavailable,
    WireError,
)
from gradloom.jobs import (
    JobState,
    JobView,
    Note,
    RetryReason,
    RoundCompleted,
    StateChanged,
    TaskRetried,
    WorkerView,
)
from gradloom.settings import CoordinatorSettings
from gradloom.specs import JobSpec, check_spec
from gradloom.tensors import Tensors
from gradloom.v1 import worker_pb2
from gradloom.wire.frames import INITIAL_CREDIT, credit_frame, refusal_frame
from gradloom_coordinator import commands as c
from gradloom_coordinator import events as e
from gradloom_coordinator.limits import Limits
from gradloom_coordinator.links import WorkerLink
from gradloom_coordinator.metrics import CoordinatorMetrics
from gradloom_coordinator.policies import policy_named
from gradloom_coordinator.records import JobRecords
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduler import Scheduler
from gradloom_coordinator.sending import send_tasks
from gradloom_coordinator.training import Training
from gradloom_coordinator.views import worker_view

log = logging.getLogger(__name__)

TICK_S = 0.25
STALL_S = 1.0
"""A tick that comes so much too late says that the coordinator itself stood still."""
MAX_NAME = 100


class Coordinator:
    """The coordinator's moving parts, apart from gRPC itself."""

    def __init__(self, settings: CoordinatorSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.metrics = CoordinatorMetrics()
        self.links: dict[str, WorkerLink] = {}
        self.records = JobRecords()
        self.runs = self.records.runs
        self._clock = clock
        limits = Limits(
            suspect_after_s=settings.suspect_after_s,
            lost_after_s=settings.lost_after_s,
            task_timeout_s=settings.task_timeout_s,
        )
        self._scheduler = Scheduler(limits)
        self._inbox: deque[e.Event] = deque()
        self._dispatching = False
        self._arrived: dict[tuple[str, e.TaskRef], tuple[Tensors | None, float]] = {}
        self._transfer_ids = count(1)
        self._background: set[asyncio.Task[None]] = set()
        # threads of its own: a dead mount must not take those that updates and models need
        self._planners = ThreadPoolExecutor(limits.max_running_jobs, thread_name_prefix="planning")

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
                for command in self._scheduler.handle(self._inbox.popleft(), self._clock()):
                    try:
                        self._execute(command)
                    except Exception as error:  # noqa: BLE001 - whatever it is, the other jobs go on
                        self._break(_job_of(command), error)
        finally:
            self._dispatching = False

    def _break(self, job_id: str, error: Exception) -> None:
        """End a job over an error; one that is not of our making is logged with its traceback."""
        self.dispatch(e.JobBroken(job_id, _sentence(error)))

    async def keep_time(self) -> None:
        """Tell the scheduler that time passes, until cancelled."""
        while True:
            before = self._clock()
            await asyncio.sleep(TICK_S)
            late_s = self._clock() - before - TICK_S
            try:
                if late_s > STALL_S:
                    log.warning("the coordinator stood still for %.1f s", late_s)
                    self.dispatch(e.Stalled(late_s))
                self.dispatch(e.Tick())
                self.metrics.observe(self._scheduler.state, self.runs, self._clock())
            except Exception:
                log.exception("a tick went wrong; time goes on")

    def _in_background(self, job_id: str, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - whatever it is, the job ends and says so
                self._break(job_id, error)

        task = asyncio.create_task(guarded())
        self._background.add(task)  # the event loop itself keeps only a weak reference
        task.add_done_callback(self._background.discard)

    def _execute(self, command: c.Command) -> None:
        match command:
            case c.SendTasks():
                self._send_tasks(command)
            case c.MergePartial():
                self._merge(command)
            case c.AcceptOffer():
                self._accept_offer(command)
            case c.DropPartial():
                self._drop(command)
            case c.CloseRound():
                self._close_round(command)
            case c.StartPlanning():
                self._in_background(command.job, self._plan(self.runs[command.job]))
            case c.StartRounds():
                self._next_round(self.runs[command.job])
            case c.ReleaseJob():
                self._release(command)
            case c.EndSession():
                if link := self.links.pop(command.worker, None):
                    link.close(command.reason)
            case c.AnnounceState():
                self._announce_state(command)
            case c.AnnounceRetry():
                self._announce_retry(command)
            case c.AnnounceNote():
                self.runs[command.job].journal.add(time.time(), Note(command.text))

    # ---- people

    def submit(self, spec: JobSpec, client_token: str) -> JobView:
        """Check and queue a job. Raises InvalidInput, AlreadyExists or Overloaded."""
        if known := self.records.with_token(client_token, spec):
            return self.view(known)
        check_spec(spec)
        placement = policy_named(spec.placement)
        held_out = build(spec.algorithm, spec.settings).needs.validation_fraction + spec.test_fraction
        if held_out >= 1:
            raise InvalidInput(
                "test_fraction", "together with validation_fraction it leaves no rows to train on"
            )
        queued = sum(run.state is JobState.QUEUED for run in self.runs.values())
        if queued >= self.settings.max_queued_jobs:
            raise Overloaded(f"{queued} jobs wait already; at most {self.settings.max_queued_jobs} may")
        run = self.records.add(spec, client_token, time.time())
        for job_id in self.records.forget_oldest(self.settings.max_ended_jobs):
            self.metrics.forget_job(job_id)
            self.dispatch(e.JobForgotten(job_id))
        self.dispatch(e.JobSubmitted(run.job_id, placement))
        return self.view(run)

    def view(self, run: JobRun) -> JobView:
        """A job as people see it."""
        now = self._clock()
        job = self._scheduler.state.jobs.get(run.job_id)
        if job is not None and not run.state.final:
            run.watch(job, now, frozenset(self._scheduler.state.workers))
        return run.view(now)

    def cancel(self, job_id: str, reason: str) -> JobView:
        """End a job. Raises NotFound, or Conflict if it has completed or failed."""
        run = self.records.named(job_id)
        if run.state in (JobState.COMPLETED, JobState.FAILED):
            raise Conflict(f"job {job_id} has {run.state} and can't be cancelled")
        self.dispatch(e.CancelRequested(job_id, reason))
        return self.view(run)

    def workers(self) -> list[WorkerView]:
        """The connected workers, by name."""
        now, state = self._clock(), self._scheduler.state
        return [worker_view(link, state, now) for _, link in sorted(self.links.items())]

    # ---- workers

    def heartbeat(self, link: WorkerLink) -> None:
        """A sign of life."""
        self.dispatch(e.HeartbeatReceived(link.worker))

    def join(self, hello: worker_pb2.Hello) -> WorkerLink:
        """Welcome a worker under a unique name. Raises Overloaded when the cluster is full."""
        if len(self.links) >= self.settings.max_workers:
            raise Overloaded(f"the cluster holds {len(self.links)} workers, as many as it may")
        wished = hello.name[:MAX_NAME] or "worker"
        name = next(n for n in chain([wished], (f"{wished}-{i}" for i in count(2))) if n not in self.links)
        link = WorkerLink(name, uuid.uuid4().hex, hello)
        self.links[name] = link
        welcome = worker_pb2.Welcome(
            worker=name,
            session_token=link.token,
            heartbeat_interval_seconds=self.settings.heartbeat_interval_s,
        )
        link.session.put(worker_pb2.CoordinatorMessage(welcome=welcome).SerializeToString())
        log.info("worker %s joined from %s", name, hello.host)
        self.dispatch(e.WorkerJoined(name))
        return link

    def leave(self, link: WorkerLink, detail: str, *, goodbye: bool) -> None:
        """A worker's session is over."""
        if self.links.get(link.worker) is link:
            del self.links[link.worker]
            log.info("worker %s is gone: %s", link.worker, detail)
            event = e.WorkerLeft if goodbye else e.StreamBroken
            self.dispatch(event(link.worker, detail))

    def link_with_token(self, token: str) -> WorkerLink | None:
        """The session that a bulk stream belongs to."""
        return next((link for link in self.links.values() if link.token == token), None)

    def arrived(
        self, link: WorkerLink, task: e.TaskRef, partial_: worker_pb2.Partial, tensors: Tensors | None
    ) -> None:
        """A partial is here with all its bytes; ``tensors`` is None if its frames were merged as they came."""
        times = partial_.times
        compute_s = _plausible(times.compute_seconds)
        busy_s = _plausible(times.load_seconds) + compute_s + _plausible(times.encode_seconds)
        self._arrived[link.worker, task] = (tensors, busy_s)
        try:
            self.dispatch(e.PartialArrived(link.worker, task, partial_.rows, compute_s, busy_s))
        finally:
            self._arrived.pop((link.worker, task), None)

    # ---- commands about tasks

    def _send_tasks(self, command: c.SendTasks) -> None:
        link, run = self.links.get(command.worker), self.runs[command.job]
        if link is not None and run.broadcast is not None:
            send_tasks(link, run, command.tasks)

    def _merge(self, command: c.MergePartial) -> None:
        tensors, busy_s = self._arrived.pop((command.worker, command.task))
        run, job = self.runs[command.task.job], self._scheduler.state.jobs[command.task.job]
        assert run.collector is not None
        self.metrics.task_done(command.worker, job.id, job.rows_in(command.task.range), busy_s)
        if tensors is None:
            return
        try:
            run.collector.add(command.task.range, tensors)
        except Exception as error:
            where = f"the sum of shards {command.task.range} does not fit the others"
            raise JobFailed(f"{where}: {_sentence(error)}") from error

    def _accept_offer(self, command: c.AcceptOffer) -> None:
        link, run = self.links[command.worker], self.runs[command.task.job]
        assert run.collector is not None
        for transfer_id, incoming in list(link.incoming.items()):
            if incoming.task != command.task or incoming.upload is not None:
                continue
            try:
                incoming.upload = run.collector.upload(command.task.range, incoming.partial.bundle)
            except WireError as error:
                self.damaged(link, transfer_id, error)
            else:
                link.bulk.control(credit_frame(transfer_id, INITIAL_CREDIT))

    def damaged(self, link: WorkerLink, transfer_id: int, error: WireError) -> None:
        """A big partial can't be what was computed: refuse the rest of it, and have it computed again."""
        incoming = link.incoming.pop(transfer_id, None)
        if incoming is not None:
            link.bulk.control(refusal_frame(transfer_id))
            self.dispatch(e.TaskFailed(link.worker, incoming.task, RetryReason.CHECKSUM, error.message))

    def _drop(self, command: c.DropPartial) -> None:
        self.metrics.dropped(command.reason)
        link = self.links.get(command.worker)
        if link is None:
            return
        for transfer_id in [t for t, incoming in link.incoming.items() if incoming.task == command.task]:
            del link.incoming[transfer_id]
            link.bulk.control(refusal_frame(transfer_id))

    # ---- commands about jobs

    async def _plan(self, run: JobRun) -> None:
        spec, data = run.spec, run.spec.data
        run.started = self._clock()
        algorithm = build(spec.algorithm, spec.settings)
        look_at_files = partial(
            build_manifest,
            data.uris,
            format=data.format or None,
            features=data.features,
            target=data.target or None,
            weight=data.weight or None,
            n_shards=data.shards or None,
        )
        limit_s = self.settings.planning_timeout_s
        try:
            planning = asyncio.get_running_loop().run_in_executor(self._planners, look_at_files)
            manifest = await asyncio.wait_for(planning, limit_s)
        except TimeoutError:
            raise Unavailable(f"looking at the files took more than {limit_s:g} s") from None
        if run.state.final:
            return
        split = Split(spec.seed, algorithm.needs.validation_fraction, spec.test_fraction)
        run.training = Training(algorithm, manifest, split)
        run.rows, run.n_shards = manifest.rows, len(manifest.shards)
        self.dispatch(e.JobPlanned(run.job_id, tuple(shard.rows for shard in manifest.shards)))

    def _next_round(self, run: JobRun) -> None:
        run.prepare_round(next(self._transfer_ids), self._clock())
        self.dispatch(e.RoundReady(run.job_id, run.round))

    def _close_round(self, command: c.CloseRound) -> None:
        run, round_ = self.runs[command.job], self._scheduler.state.jobs[command.job].round
        workers = len(round_.answered_by) if round_ is not None else 0
        if run.heavy:
            self._in_background(run.job_id, self._close_heavy_round(run, workers))
        else:
            self._after_round(run, run.close_round(self._clock(), workers))

    async def _close_heavy_round(self, run: JobRun, workers: int) -> None:
        self._after_round(run, await asyncio.to_thread(run.close_round, self._clock(), workers))

    def _after_round(self, run: JobRun, completed: RoundCompleted | None) -> None:
        if run.state.final or run.training is None:
            return
        if completed is not None:
            run.journal.add(time.time(), completed)
            self.metrics.round_done(run.job_id, completed)
        if run.training.finished:
            self._in_background(run.job_id, self._store_model(run, run.training))
        else:
            self._next_round(run)

    async def _store_model(self, run: JobRun, training: Training) -> None:
        assert training.model is not None
        folder = self.settings.data_dir / "models"
        path = folder / f"{run.job_id}.safetensors"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(training.model.save, path)
        except OSError as error:
            raise JobFailed(f"the model could not be written to {path}: {error}") from error
        if run.state.final:  # cancelled while it was written
            path.unlink(missing_ok=True)
            return
        run.scores = {f"test_{name}": value for name, value in training.scores.items()}
        run.parameters_sha256 = training.model.parameters_sha256
        run.model_path = path
        self.dispatch(e.JobFinished(run.job_id, training.ended_because))

    def _release(self, command: c.ReleaseJob) -> None:
        self.runs[command.job].release()
        release = worker_pb2.CoordinatorMessage(release=worker_pb2.Release(job_id=command.job))
        message = release.SerializeToString()
        for link in self.links.values():
            for transfer_id in [t for t, i in link.incoming.items() if i.task.job == command.job]:
                link.bulk.control(refusal_frame(transfer_id))
            if command.job in link.given:
                link.session.put(message)
            link.forget_job(command.job)

    def _announce_state(self, command: c.AnnounceState) -> None:
        run = self.runs[command.job]
        if command.state.final:
            job = self._scheduler.state.jobs[command.job]
            run.watch(job, self._clock(), frozenset(self._scheduler.state.workers))
            run.ended = self._clock()
        elif command.state is JobState.RUNNING:
            self.metrics.job_started(command.job)
        run.state, run.reason = command.state, command.reason
        run.journal.add(time.time(), StateChanged(command.state, command.reason))
        log.info("job %s is %s: %s", command.job, command.state, command.reason)

    def _announce_retry(self, command: c.AnnounceRetry) -> None:
        what = TaskRetried(
            command.reason, command.worker, str(command.range), command.attempt, command.detail
        )
        self.runs[command.job].journal.add(time.time(), what)
        self.metrics.retried(command.job, command.worker, command.reason)
        log.info(
            "job %s: shards %s again (%s): %s", command.job, command.range, command.reason, command.detail
        )


def _job_of(command: c.Command) -> str:
    match command:
        case c.MergePartial() | c.AcceptOffer() | c.DropPartial():
            return command.task.job
        case c.EndSession():
            return ""
        case _:
            return command.job


def _plausible(seconds: float) -> float:
    """What a worker says that something took, if it can be true."""
    return seconds if 0.0 <= seconds < 1e9 else 0.0


def _sentence(error: Exception) -> str:
    if isinstance(error, GradloomError):
        return error.message
    log.error("unexpected", exc_info=error)
    # names of files may hold bytes that are no text
    return f"{type(error).__name__}: {error}".encode("utf-8", "replace").decode()
