"""What waits to be written to one gRPC stream: messages in order, or frames as far as credit goes.

The typed session and the raw bulk stream of a worker each have a queue of their own on either side, so that a big
tensor never delays a heartbeat.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

Write = Callable[[bytes], Awaitable[None]]
Heard = Callable[[], None]
"""Called when the last of what was queued has been written."""


def nobody() -> None:
    """Nobody wants to hear of it."""


class Outbox:
    """Messages that wait for one stream, in order."""

    def __init__(self, written: Heard = nobody) -> None:
        self._messages: deque[bytes] = deque()
        self._ready = asyncio.Event()
        self._written = written
        self.pending = False
        """Whether something is queued or being written."""

    def put(self, message: bytes) -> None:
        """Queue a message."""
        self.pending = True
        self._messages.append(message)
        self._ready.set()

    async def drain_to(self, write: Write) -> None:
        """Write messages as they come, until cancelled."""
        while True:
            while self._messages:
                await write(self._messages.popleft())
            self._ready.clear()
            self.pending = False
            self._written()
            await self._ready.wait()


@dataclass(slots=True)
class Transfer:
    """A big tensor bundle on its way to the other side."""

    job: str
    transfer_id: int
    frames: Iterator[bytes]
    frames_left: int
    credit: int
    """Frames that may be written before the other side allows more."""


class FrameOutbox:
    """Frames that wait for one bulk stream: control first, then transfers in order, as far as credit goes."""

    def __init__(self, written: Heard = nobody) -> None:
        self._control: deque[bytes] = deque()
        self._transfers: dict[int, Transfer] = {}
        self._ready = asyncio.Event()
        self._written = written
        self.pending = False
        """Whether a transfer is queued, with credit or without, or being written."""
        self.stalls = 0
        """How often everything that was left to write waited for credit."""

    def control(self, frame: bytes) -> None:
        """Queue a credit or a refusal."""
        self._control.append(frame)
        self._ready.set()

    def start(self, transfer: Transfer) -> None:
        """Queue a transfer."""
        self.pending = True
        self._transfers[transfer.transfer_id] = transfer
        self._ready.set()

    def grant(self, transfer_id: int, frames: int) -> None:
        """The other side has room for more frames."""
        if transfer := self._transfers.get(transfer_id):
            transfer.credit += frames
            self._ready.set()

    def drop(self, transfer_id: int) -> None:
        """The other side does not want a transfer."""
        self._transfers.pop(transfer_id, None)
        self._ready.set()

    def drop_job(self, job: str) -> None:
        """Send nothing more of a job's transfers."""
        self._transfers = {i: transfer for i, transfer in self._transfers.items() if transfer.job != job}
        self._ready.set()

    async def drain_to(self, write: Write) -> None:
        """Write frames as credit allows, until cancelled."""
        while True:
            while (frame := self._next()) is not None:
                await write(frame)
            self._ready.clear()
            self.stalls += bool(self._transfers)
            if self.pending and not self._transfers:
                self.pending = False
                self._written()
            await self._ready.wait()

    def _next(self) -> bytes | None:
        if self._control:
            return self._control.popleft()
        transfer = next((t for t in self._transfers.values() if t.credit > 0), None)
        if transfer is None:
            return None
        transfer.credit -= 1
        transfer.frames_left -= 1
        if transfer.frames_left == 0:
            del self._transfers[transfer.transfer_id]
        return next(transfer.frames)
