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
from itertools import count
from pathlib import Path

from gradloom.algorithms import build
from gradloom.data.planning import build_manifest
from gradloom.data.preparation import Split
from gradloom.errors import AlreadyExists, Conflict, GradloomError, InvalidInput, NotFound, Overloaded
from gradloom.jobs import JobState, JobView, Note, RoundCompleted, StateChanged, TaskRetried, WorkerView
from gradloom.settings import CoordinatorSettings
from gradloom.specs import JobSpec, check_spec
from gradloom.tensors import Tensors
from gradloom.v1 import worker_pb2
from gradloom.wire.frames import INITIAL_CREDIT, credit_frame, refusal_frame
from gradloom_coordinator import commands as c
from gradloom_coordinator import events as e
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.limits import Limits
from gradloom_coordinator.links import WorkerLink
from gradloom_coordinator.metrics import CoordinatorMetrics
from gradloom_coordinator.policies import policy_named
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduler import Scheduler
from gradloom_coordinator.sending import send_tasks
from gradloom_coordinator.training import Training
from gradloom_coordinator.views import worker_view

log = logging.getLogger(__name__)

TICK_S = 0.25


class Coordinator:
    """The coordinator's moving parts, apart from gRPC itself."""

    def __init__(self, settings: CoordinatorSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.metrics = CoordinatorMetrics()
        self.links: dict[str, WorkerLink] = {}
        self.runs: dict[str, JobRun] = {}
        self._clock = clock
        limits = Limits(
            suspect_after_s=settings.suspect_after_s,
            lost_after_s=settings.lost_after_s,
            task_timeout_s=settings.task_timeout_s,
        )
        self._scheduler = Scheduler(limits)
        self._tokens: dict[str, str] = {}
        self._inbox: deque[e.Event] = deque()
        self._dispatching = False
        self._arrived: dict[tuple[str, e.TaskRef], Tensors | None] = {}
        self._transfer_ids = count(1)
        self._background: set[asyncio.Task[None]] = set()

    # ---- time and order

    def dispatch(self, event: e.Event) -> None:
        """Hand an event to the scheduler and do what it says; events that this raises follow in order."""
        self._inbox.append(event)
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._inbox:
                for command in self._scheduler.handle(self._inbox.popleft(), self._clock()):
                    self._execute(command)
        finally:
            self._dispatching = False

    async def keep_time(self) -> None:
        """Tell the scheduler that time passes, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.dispatch(e.Tick())
            self.metrics.observe(self._scheduler.state, self.runs, self._clock())

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
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
                self._in_background(self._plan(self.runs[command.job]))
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
        if client_token in self._tokens:
            return self._same_job(self.runs[self._tokens[client_token]], spec, client_token)
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
        job_id = f"{spec.algorithm}-{uuid.uuid4().hex[:8]}"
        run = JobRun(job_id, spec, Journal(), time.time())
        self.runs[job_id] = run
        if client_token:
            self._tokens[client_token] = job_id
        run.journal.add(run.created_at, StateChanged(JobState.QUEUED, "submitted"))
        self._forget_oldest()
        self.dispatch(e.JobSubmitted(job_id, placement))
        return self.view(run)

    def _forget_oldest(self) -> None:
        ended = [run.job_id for run in self.runs.values() if run.state.final]
        for job_id in ended[: -self.settings.max_ended_jobs]:
            del self.runs[job_id]
            self._tokens = {token: job for token, job in self._tokens.items() if job != job_id}
            self.metrics.forget_job(job_id)
            self.dispatch(e.JobForgotten(job_id))

    def _same_job(self, run: JobRun, spec: JobSpec, client_token: str) -> JobView:
        if run.spec != spec:
            raise AlreadyExists(
                f"client_token: {client_token!r} was used for another specification ({run.job_id})"
            )
        return self.view(run)

    def run_named(self, job_id: str) -> JobRun:
        """A job by its id. Raises NotFound."""
        if job_id not in self.runs:
            raise NotFound(f"there is no job {job_id!r}")
        return self.runs[job_id]

    def view(self, run: JobRun) -> JobView:
        """A job as people see it."""
        now = self._clock()
        job = self._scheduler.state.jobs.get(run.job_id)
        if job is not None and not run.state.final:
            run.watch(job, now, frozenset(self._scheduler.state.workers))
        return run.view(now)

    def cancel(self, job_id: str, reason: str) -> JobView:
        """End a job. Raises NotFound, or Conflict if it has completed or failed."""
        run = self.run_named(job_id)
        if run.state in (JobState.COMPLETED, JobState.FAILED):
            raise Conflict(f"job {job_id} has {run.state} and can't be cancelled")
        self.dispatch(e.CancelRequested(job_id, reason))
        return self.view(run)

    def workers(self) -> list[WorkerView]:
        """The connected workers, by name."""
        now, state = self._clock(), self._scheduler.state
        return [worker_view(link, state, now) for _, link in sorted(self.links.items())]

    def model_path(self, job_id: str) -> Path:
        """Where a completed job's model is. Raises NotFound, or Conflict if there is none."""
        run = self.run_named(job_id)
        if run.model_path is None:
            raise Conflict(f"job {job_id} has no model: it is {run.state} ({run.reason})")
        return run.model_path

    # ---- workers

    def heartbeat(self, link: WorkerLink) -> None:
        """A sign of life."""
        self.dispatch(e.HeartbeatReceived(link.worker))

    def join(self, hello: worker_pb2.Hello) -> WorkerLink:
        """Welcome a worker under a unique name. Raises Overloaded when the cluster is full."""
        if len(self.links) >= self.settings.max_workers:
            raise Overloaded(f"the cluster holds {len(self.links)} workers, as many as it may")
        wished = hello.name or "worker"
        name = next(n for n in self._names(wished) if n not in self.links)
        link = WorkerLink(name, uuid.uuid4().hex, hello, self._clock())
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

    def _names(self, wished: str) -> "map[str]":
        return map(lambda i: wished if i == 1 else f"{wished}-{i}", count(1))  # noqa: C417

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
        self, link: WorkerLink, task: e.TaskRef, partial: worker_pb2.Partial, tensors: Tensors | None
    ) -> None:
        """A partial is here with all its bytes; ``tensors`` is None if its frames were merged as they came."""
        self._arrived[link.worker, task] = tensors
        times = partial.times
        busy_s = times.load_seconds + times.compute_seconds + times.encode_seconds
        self.metrics.task_done(link.worker, busy_s)
        self.dispatch(e.PartialArrived(link.worker, task, partial.rows, times.compute_seconds, busy_s))
        self._arrived.pop((link.worker, task), None)

    # ---- commands about tasks

    def _send_tasks(self, command: c.SendTasks) -> None:
        link, run = self.links.get(command.worker), self.runs[command.job]
        if link is not None and run.broadcast is not None:
            send_tasks(link, run, command.tasks)

    def _merge(self, command: c.MergePartial) -> None:
        tensors = self._arrived.pop((command.worker, command.task))
        run = self.runs[command.task.job]
        assert run.collector is not None
        if tensors is None:
            return
        try:
            run.collector.add(command.task.range, tensors)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job ends and says so
            where = f"the sum of shards {command.task.range} does not fit the others"
            self.dispatch(e.JobBroken(run.job_id, f"{where}: {_sentence(error)}"))

    def _accept_offer(self, command: c.AcceptOffer) -> None:
        link, run = self.links[command.worker], self.runs[command.task.job]
        assert run.collector is not None
        for transfer_id, incoming in link.incoming.items():
            if incoming.task == command.task and incoming.upload is None:
                incoming.upload = run.collector.upload(command.task.range, incoming.partial.bundle)
                link.bulk.control(credit_frame(transfer_id, INITIAL_CREDIT))

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
        try:
            algorithm = build(spec.algorithm, spec.settings)
            manifest = await asyncio.to_thread(
                build_manifest,
                data.uris,
                format=data.format or None,
                features=data.features,
                target=data.target or None,
                weight=data.weight or None,
                n_shards=data.shards or None,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the job ends and says so
            self.dispatch(e.JobBroken(run.job_id, _sentence(error)))
            return
        split = Split(spec.seed, algorithm.needs.validation_fraction, spec.test_fraction)
        run.training = Training(algorithm, manifest, split)
        run.rows, run.n_shards = manifest.rows, len(manifest.shards)
        self.dispatch(e.JobPlanned(run.job_id, tuple(shard.rows for shard in manifest.shards)))

    def _next_round(self, run: JobRun) -> None:
        run.prepare_round(next(self._transfer_ids), self._clock())
        self.dispatch(e.RoundReady(run.job_id, run.round))

    def _close_round(self, command: c.CloseRound) -> None:
        run = self.runs[command.job]
        workers = len(self._scheduler.state.jobs[command.job].orders)
        if run.heavy:
            self._in_background(self._close_heavy_round(run, workers))
            return
        try:
            completed = run.close_round(self._clock(), workers)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job ends and says so
            self.dispatch(e.JobBroken(run.job_id, _sentence(error)))
            return
        self._after_round(run, completed)

    async def _close_heavy_round(self, run: JobRun, workers: int) -> None:
        try:
            completed = await asyncio.to_thread(run.close_round, self._clock(), workers)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job ends and says so
            self.dispatch(e.JobBroken(run.job_id, _sentence(error)))
            return
        self._after_round(run, completed)

    def _after_round(self, run: JobRun, completed: RoundCompleted | None) -> None:
        if run.state.final or run.training is None:
            return
        if completed is not None:
            run.journal.add(time.time(), completed)
            self.metrics.round_done(run.job_id, completed)
        if run.training.finished:
            self._in_background(self._store_model(run, run.training))
        else:
            self._next_round(run)

    async def _store_model(self, run: JobRun, training: Training) -> None:
        assert training.model is not None
        folder = self.settings.data_dir / "models"
        path = folder / f"{run.job_id}.safetensors"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(training.model.save, path)
        except Exception as error:  # noqa: BLE001 - a full disk ends the job, not the coordinator
            self.dispatch(
                e.JobBroken(run.job_id, f"the model could not be written to {path}: {_sentence(error)}")
            )
            return
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
        run.state, run.reason = command.state, command.reason
        run.journal.add(time.time(), StateChanged(command.state, command.reason))
        log.info("job %s is %s: %s", command.job, command.state, command.reason)

    def _announce_retry(self, command: c.AnnounceRetry) -> None:
        what = TaskRetried(
            command.reason, command.worker, str(command.range), command.attempt, command.detail
        )
        self.runs[command.job].journal.add(time.time(), what)
        self.metrics.retried(command.reason)
        log.info(
            "job %s: shards %s again (%s): %s", command.job, command.range, command.reason, command.detail
        )


def _sentence(error: Exception) -> str:
    if isinstance(error, GradloomError):
        return error.message
    log.error("unexpected", exc_info=error)
    return f"{type(error).__name__}: {error}"
