"""The coordinator's end of one worker's two streams: what waits to be written, and what the worker has been given."""

import asyncio
from dataclasses import dataclass, field

from gradloom.steps import Step
from gradloom.streams import FrameOutbox, Outbox
from gradloom.v1 import worker_pb2
from gradloom_coordinator.collector import Upload
from gradloom_coordinator.commands import TaskOrder
from gradloom_coordinator.events import JobId, TaskRef, WorkerId


@dataclass(slots=True)
class Incoming:
    """A big partial on its way in."""

    task: TaskRef
    partial: worker_pb2.Partial
    upload: Upload | None = None
    """None until the scheduler has said that it is wanted."""


@dataclass(slots=True)
class Given:
    """What a worker has been given for one job."""

    step: Step | None = None
    shards: set[int] = field(default_factory=set)
    orders: tuple[TaskOrder, ...] = ()
    """The last orders; their shards are in ``shards``."""
    tasks: bytes = b""
    """The same as the tasks of a serialized Compute."""
    broadcast_round: int = 0


@dataclass(slots=True)
class WorkerLink:
    """One connected worker, as the edge knows it."""

    worker: WorkerId
    token: str
    hello: worker_pb2.Hello
    session: Outbox = field(default_factory=Outbox)
    bulk: FrameOutbox = field(default_factory=FrameOutbox)
    given: dict[JobId, Given] = field(default_factory=dict)
    incoming: dict[int, Incoming] = field(default_factory=dict)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    close_reason: str = ""

    def close(self, reason: str) -> None:
        """Have both streams end; of several reasons the first one counts."""
        if not self.closing.is_set():
            self.close_reason = reason
            self.closing.set()

    def forget_job(self, job: JobId) -> None:
        """The job is over."""
        self.bulk.drop_job(job)
        self.given.pop(job, None)
        for transfer_id in [t for t, incoming in self.incoming.items() if incoming.task.job == job]:
            del self.incoming[transfer_id]
