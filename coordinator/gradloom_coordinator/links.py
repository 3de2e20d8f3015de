"""The coordinator's end of one worker's two streams: what waits to be written, and what the worker has been given."""

import asyncio
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from gradloom.codecs import Account
from gradloom.streams import FrameOutbox, Outbox
from gradloom.tensors import Tensors
from gradloom.v1 import worker_pb2
from gradloom.wire.frames import refusal_frame
from gradloom_coordinator.collector import Upload
from gradloom_coordinator.scheduling.events import JobId, TaskRef, WorkerId


@dataclass(slots=True)
class Incoming:
    """A big partial on its way in."""

    task: TaskRef
    partial: worker_pb2.Partial
    upload: Upload | None = None
    """None until the scheduler has said that it is wanted."""
    accepted_at: float = 0.0
    """Monotonic; when the first credit was given."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """A partial that is here, until the scheduler has said whether it counts."""

    tensors: Tensors | None
    """None if its frames were merged as they came."""
    account: Account
    holds_back: bool


@dataclass(slots=True)
class Given:
    """What a worker has been given for one job."""

    setup: bytes | None = None
    """The message itself: another one is another object."""
    shards: set[int] = field(default_factory=set)
    broadcast_round: int = 0
    broadcast_arrived: bool = False
    """Whether it has answered a task that came with this round's message, on this link: so that is there."""
    _waiting: set[TaskRef] = field(default_factory=set)
    """Tasks that came with it, as long as none of them is answered."""

    def sent(self, round_number: int, tasks: Iterable[TaskRef]) -> None:
        """Tasks were sent, of a round whose message went before them on this link."""
        if round_number != self.broadcast_round:
            self.broadcast_round, self.broadcast_arrived = round_number, False
            self._waiting.clear()
        if not self.broadcast_arrived:
            self._waiting.update(tasks)

    def answered(self, task: TaskRef) -> bool:
        """An answer came; whether the message of its round is there for sure.

        An answer that is said again after a break proves nothing of what was sent since then.
        """
        if task in self._waiting:
            self.broadcast_arrived = True
            self._waiting.clear()
        return self.broadcast_arrived and task.round == self.broadcast_round


@dataclass(slots=True)
class WorkerLink:
    """One connected worker, as the edge knows it."""

    worker: WorkerId
    token: str
    session: Outbox = field(default_factory=Outbox)
    bulk: FrameOutbox = field(default_factory=FrameOutbox)
    given: dict[JobId, Given] = field(default_factory=dict)
    incoming: dict[int, Incoming] = field(default_factory=dict)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    close_reason: str = ""
    has_bulk: bool = False
    """Whether its bulk stream is here."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an upload ends, or the streams."""

    def say(self, message: worker_pb2.CoordinatorMessage) -> None:
        """Queue a message of the typed session."""
        self.session.put(message.SerializeToString())

    def close(self, reason: str) -> None:
        """Have both streams end; of several reasons the first one counts."""
        if not self.closing.is_set():
            self.close_reason = reason
            self.closing.set()
            self.changed.set()

    def refuse(self, tasks: Collection[TaskRef]) -> None:
        """Have the big partials of these tasks sent no further."""
        for transfer_id in [t for t, incoming in self.incoming.items() if incoming.task in tasks]:
            del self.incoming[transfer_id]
            self.bulk.control(refusal_frame(transfer_id))
        self.changed.set()

    def release(self, job: JobId) -> None:
        """The job is over: the worker forgets it, and so do we."""
        self.refuse([incoming.task for incoming in self.incoming.values() if incoming.task.job == job])
        self.say(worker_pb2.CoordinatorMessage(release=worker_pb2.Release(job_id=job)))
        self.bulk.drop_job(job)
        self.given.pop(job, None)

    async def uploads_end(self, limit_s: float) -> None:
        """Wait until every big partial that is wanted is here, the streams are gone, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not self.closing.is_set() and any(i.upload for i in self.incoming.values()):
                    self.changed.clear()
                    await self.changed.wait()
