"""Which workers are here or may come back, and what each of them is told; ``answers`` has what they answer.

A worker whose stream breaks is known until the scheduler forgets it: a Hello with its token resumes the session under
the same name. Of two streams with one token the newer counts. A resumed link has been given nothing: setup, shards and
broadcasts are sent anew as they are needed.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count

from gradloom.algorithms import versions
from gradloom.errors import Conflict, NotFound, Overloaded
from gradloom.faults import Fault
from gradloom.jobs import WorkerPhases, WorkerView
from gradloom.settings import CoordinatorSettings
from gradloom.v1 import worker_pb2
from gradloom.wire.cluster import phases_from_proto
from gradloom.wire.faults import fault_to_proto
from gradloom_coordinator.access.ownership import check_owner
from gradloom_coordinator.answers import plausible
from gradloom_coordinator.links import WorkerLink
from gradloom_coordinator.monitoring.message_counts import MessageCounts
from gradloom_coordinator.monitoring.views import worker_view
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.meters import Reading, Tally
from gradloom_coordinator.scheduling.state import ClusterState
from gradloom_coordinator.sending import send_tasks, task_key, task_ref

log = logging.getLogger(__name__)

MAX_NAME = 100

WorkerCommand = c.SendTasks | c.TakeBack | c.CancelTasks | c.DrainWorker | c.ForgetWorker | c.EndSession


@dataclass(frozen=True, slots=True)
class Record:
    """A worker that is here, or may come back."""

    worker: e.WorkerId
    token: str
    hello: worker_pb2.Hello
    heard_at: float
    """When the Hello came; seconds since the epoch."""
    owner: str
    """The identity that it joined under; empty = nobody was asked."""


class Attendance:
    """The workers of one coordinator."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        state: ClusterState,
        runs: Mapping[e.JobId, JobRun],
        dispatch: Callable[[e.Event], None],
    ) -> None:
        self.links: dict[e.WorkerId, WorkerLink] = {}
        """The workers that are here."""
        self._known: dict[e.WorkerId, Record] = {}
        self._phases: dict[e.WorkerId, WorkerPhases] = {}
        """What workers last said of their time."""
        self._settings = settings
        self._state = state
        self._runs = runs
        self._dispatch = dispatch
        self.messages = MessageCounts()
        self._stalls = 0
        """Of links that are gone."""

    def views(self, now: float) -> list[WorkerView]:
        """The workers as people see them, by name; those that may come back included."""
        known = [record for _, record in sorted(self._known.items()) if record.worker in self._state.workers]
        return [
            worker_view(
                r.worker, r.hello, r.heard_at, self._phases.get(r.worker), self._state, self._runs, now
            )
            for r in known
        ]

    def heard(self, link: WorkerLink, heartbeat: worker_pb2.Heartbeat) -> None:
        """A sign of life."""
        if heartbeat.HasField("phases"):
            self._phases[link.worker] = phases_from_proto(heartbeat.phases)
        self._dispatch(e.HeartbeatReceived(link.worker))

    def readings(self) -> list[Reading]:
        """The streams, and what went through them, for the metrics."""
        links = self.links.values()
        streams = Tally("grpc_streams_active", "Streams of workers that are open.")
        streams.set(sum(1 + link.has_bulk for link in links))
        stalls = Tally("flow_control_stalls", "How often frames waited for the other side to have room.")
        stalls.add(by=self._stalls + sum(link.bulk.stalls for link in links))
        return [streams.reading("gauge"), stalls.reading(), *self.messages.readings()]

    # ---- coming and going

    def join(self, hello: worker_pb2.Hello, owner: str = "") -> WorkerLink:
        """Welcome a worker: back into its session, or under a unique name. Raises Overloaded when all is full.

        Raises NotAllowed for a session or a name of another ``owner``, the identity of whoever says Hello.
        """
        record = self._with_token(hello.resume_token)
        if held := record or self._known.get(hello.name[:MAX_NAME]):
            check_owner(held.worker, held.owner, owner)
        if record is not None and record.worker in self._state.workers:
            return self._resume(record, hello)
        self._forget_predecessor(hello)
        if len(self._known) >= self._settings.max_workers:
            raise Overloaded(f"the cluster holds {len(self._known)} workers, as many as it may")
        link = self._open(
            Record(self._free_name(hello.name), uuid.uuid4().hex, hello, time.time(), owner), resumed=False
        )
        log.info("worker %s joined from %s", link.worker, hello.host)
        joined = e.WorkerJoined(
            link.worker,
            hello.host,
            dict(hello.labels),
            max(plausible(hello.cores), 0.01),
            hello.memory_bytes,
            frozenset(versions()) - set(hello.algorithms),
        )
        self._dispatch(joined)
        return link

    def _resume(self, record: Record, hello: worker_pb2.Hello) -> WorkerLink:
        if older := self.links.get(record.worker):
            self.leave(older, "its worker has resumed the session on a newer stream", goodbye=False)
        link = self._open(replace(record, hello=hello, heard_at=time.time()), resumed=True)
        log.info("worker %s is back", link.worker)
        computing = task_ref(hello.computing) if hello.HasField("computing") else None
        self._dispatch(e.WorkerResumed(link.worker, computing))
        return link

    def _open(self, record: Record, *, resumed: bool) -> WorkerLink:
        link = WorkerLink(record.worker, record.token)
        self._known[record.worker] = record
        self.links[record.worker] = link
        if not resumed:
            self._phases.pop(record.worker, None)
        welcome = worker_pb2.Welcome(
            worker=record.worker,
            session_token=record.token,
            heartbeat_interval_seconds=self._settings.heartbeat_interval_s,
            resumed=resumed,
        )
        link.say(worker_pb2.CoordinatorMessage(welcome=welcome))
        return link

    def _forget_predecessor(self, hello: worker_pb2.Hello) -> None:
        """A worker that was started anew on its host takes the name of the one that died there, at once."""
        before = self._known.get(hello.name[:MAX_NAME])
        if before is None or before.worker in self.links or before.hello.host != hello.host:
            return
        if before.hello.pid != hello.pid:
            del self._known[before.worker]
            self._gone(before.worker)
            self._dispatch(e.WorkerLeft(before.worker, "its process was started anew"))

    def _free_name(self, wished: str) -> str:
        wished = wished[:MAX_NAME] or "worker"
        return next(n for n in chain([wished], (f"{wished}-{i}" for i in count(2))) if n not in self._known)

    def leave(self, link: WorkerLink, detail: str, *, goodbye: bool) -> None:
        """A worker's session is over, or broken and may be resumed."""
        if self.links.get(link.worker) is not link:
            return
        del self.links[link.worker]
        self._stalls += link.bulk.stalls
        link.close(detail)
        if goodbye:
            del self._known[link.worker]
            self._gone(link.worker)
            log.info("worker %s has left: %s", link.worker, detail)
            self._dispatch(e.WorkerLeft(link.worker, detail))
        else:
            log.info("worker %s broke off: %s", link.worker, detail)
            self._dispatch(e.StreamBroken(link.worker, detail))

    def link_with_token(self, token: str, owner: str = "") -> WorkerLink | None:
        """The session that a bulk stream of the same ``owner`` belongs to."""
        record = self._with_token(token)
        return self.links.get(record.worker) if record is not None and record.owner == owner else None

    def _with_token(self, token: str) -> Record | None:
        return next((record for record in self._known.values() if record.token == token), None)

    def _gone(self, worker: e.WorkerId) -> None:
        """A worker is gone for good, and what it held back of its gradients with it."""
        self._phases.pop(worker, None)
        for run in self._runs.values():
            if not run.state.final and run.traffic.worker_gone(worker):
                log.warning(
                    "job %s: worker %s took with it what it had not sent of its gradients", run.job_id, worker
                )

    # ---- what the scheduler wants

    def execute(self, command: WorkerCommand) -> None:
        """Carry out a command about a worker or its tasks. Raises whatever goes wrong."""
        match command:
            case c.SendTasks():
                self._send_tasks(command)
            case c.TakeBack():
                self._take_back(command)
            case c.CancelTasks():
                self._cancel(command)
            case c.DrainWorker():
                if link := self.links.get(command.worker):
                    link.say(worker_pb2.CoordinatorMessage(drain=worker_pb2.Drain(reason=command.reason)))
            case c.ForgetWorker():
                self._known.pop(command.worker, None)
                self._gone(command.worker)
            case c.EndSession():
                self._known.pop(command.worker, None)
                self._gone(command.worker)
                if ended := self.links.pop(command.worker, None):
                    self._stalls += ended.bulk.stalls
                    ended.close(command.reason)

    def _send_tasks(self, command: c.SendTasks) -> None:
        link, run = self.links.get(command.worker), self._runs[command.job]
        if link is not None and run.broadcast is not None:
            send_tasks(link, run, command.tasks)

    def _take_back(self, command: c.TakeBack) -> None:
        if link := self.links.get(command.worker):
            take_back = worker_pb2.TakeBack(tasks=map(task_key, command.tasks))
            link.say(worker_pb2.CoordinatorMessage(take_back=take_back))

    def _cancel(self, command: c.CancelTasks) -> None:
        if link := self.links.get(command.worker):
            link.refuse(command.tasks)
            cancel = worker_pb2.Cancel(tasks=map(task_key, command.tasks))
            link.say(worker_pb2.CoordinatorMessage(cancel=cancel))

    def release(self, job: e.JobId) -> None:
        """The job has ended: its workers forget it."""
        for link in self.links.values():
            if job in link.given:
                link.release(job)

    def inject(self, worker: e.WorkerId, fault: Fault) -> None:
        """Have a worker do harm to itself. Raises NotFound, Conflict."""
        record, link = self._known.get(worker), self.links.get(worker)
        if record is None:
            here = ", ".join(sorted(self.links)) or "none"
            raise NotFound(f"worker: {worker!r} is not known; connected now: {here}")
        if not record.hello.allow_chaos:
            raise Conflict(
                f"worker {worker} takes no faults; start it with --allow-chaos or GRADLOOM_ALLOW_CHAOS=1"
            )
        if link is None:
            raise Conflict(f"worker {worker} is away; try again when it is back")
        link.say(worker_pb2.CoordinatorMessage(inject=fault_to_proto(fault)))

    def given_up(self, link: WorkerLink, tasks: Iterable[worker_pb2.TaskKey]) -> None:
        """A worker gave tasks back before it had started them."""
        self._dispatch(e.TasksGivenUp(link.worker, tuple(map(task_ref, tasks))))
