"""What waits for a stream: order, control before data, credit, and nobody waits in vain."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from gradloom.streams import FrameOutbox, Outbox, Transfer, Write


class Stream:
    """The far end: takes one message at a time, and lets a test wait for the next."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def write(self, message: bytes) -> None:
        await self._arrived.put(message)

    async def read(self, n: int) -> list[str]:
        async with asyncio.timeout(10):
            return [(await self._arrived.get()).decode() for _ in range(n)]

    async def is_silent(self) -> bool:
        """Whether nothing more is written once every task that could run has run."""
        for _ in range(10):
            await asyncio.sleep(0)
        return self._arrived.empty()


@asynccontextmanager
async def draining(drain: Callable[[Write], Awaitable[None]]) -> AsyncIterator[Stream]:
    stream = Stream()
    task = asyncio.ensure_future(drain(stream.write))
    try:
        yield stream
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def transfer(transfer_id: int, n: int, *, credit: int, job: str = "job") -> Transfer:
    frames = (f"{transfer_id}.{i}".encode() for i in range(n))
    return Transfer(job, transfer_id, frames, n, credit)


async def test_messages_go_out_in_order_whether_put_before_or_while_it_drains() -> None:
    outbox = Outbox()
    outbox.put(b"1")
    outbox.put(b"2")
    async with draining(outbox.drain_to) as stream:
        assert await stream.read(2) == ["1", "2"]
        outbox.put(b"3")
        assert await stream.read(1) == ["3"]
        assert await stream.is_silent()


async def test_an_error_of_the_stream_ends_the_draining() -> None:
    async def broken(_: bytes) -> None:
        raise ConnectionResetError

    outbox = Outbox()
    outbox.put(b"1")
    with pytest.raises(ConnectionResetError):
        await outbox.drain_to(broken)


async def test_control_goes_before_frames_that_waited_longer() -> None:
    outbox = FrameOutbox()
    outbox.start(transfer(1, 2, credit=2))
    outbox.control(b"credit")
    outbox.control(b"refusal")
    async with draining(outbox.drain_to) as stream:
        assert await stream.read(4) == ["credit", "refusal", "1.0", "1.1"]


async def test_frames_go_as_far_as_credit_and_a_grant_wakes_them() -> None:
    outbox = FrameOutbox()
    outbox.start(transfer(1, 4, credit=0))
    async with draining(outbox.drain_to) as stream:
        assert await stream.is_silent()
        outbox.grant(1, 3)
        assert await stream.read(3) == ["1.0", "1.1", "1.2"]
        assert await stream.is_silent()
        outbox.grant(1, 16)
        assert await stream.read(1) == ["1.3"]
        assert await stream.is_silent()


async def test_a_transfer_without_credit_does_not_hold_up_the_next() -> None:
    outbox = FrameOutbox()
    outbox.start(transfer(1, 2, credit=1))
    outbox.start(transfer(2, 2, credit=2))
    async with draining(outbox.drain_to) as stream:
        assert await stream.read(3) == ["1.0", "2.0", "2.1"]
        outbox.grant(1, 1)
        assert await stream.read(1) == ["1.1"]


async def test_a_dropped_transfer_stops_mid_way() -> None:
    outbox = FrameOutbox()
    outbox.start(transfer(1, 3, credit=1))
    async with draining(outbox.drain_to) as stream:
        assert await stream.read(1) == ["1.0"]
        outbox.drop(1)
        outbox.grant(1, 5)
        outbox.start(transfer(2, 1, credit=1))
        assert await stream.read(1) == ["2.0"]
        assert await stream.is_silent()


async def test_dropping_a_job_leaves_the_others_transfers() -> None:
    outbox = FrameOutbox()
    outbox.start(transfer(1, 1, credit=1, job="old"))
    outbox.start(transfer(2, 1, credit=1, job="other"))
    outbox.drop_job("old")
    async with draining(outbox.drain_to) as stream:
        assert await stream.read(1) == ["2.0"]
        assert await stream.is_silent()


async def test_credit_for_a_transfer_that_is_over_is_ignored() -> None:
    outbox = FrameOutbox()
    outbox.start(transfer(1, 1, credit=1))
    async with draining(outbox.drain_to) as stream:
        assert await stream.read(1) == ["1.0"]
        outbox.grant(1, 4)
        outbox.grant(99, 4)
        outbox.drop(99)
        assert await stream.is_silent()


async def test_frames_are_made_only_when_they_are_sent() -> None:
    made: list[int] = []

    def make(i: int) -> bytes:
        made.append(i)
        return str(i).encode()

    outbox = FrameOutbox()
    outbox.start(Transfer("job", 1, map(make, range(3)), 3, credit=1))
    async with draining(outbox.drain_to) as stream:
        await stream.read(1)
        assert await stream.is_silent()
        assert made == [0]


async def test_an_outbox_says_when_its_last_message_is_written() -> None:
    said: asyncio.Queue[bool] = asyncio.Queue()
    outbox = Outbox(lambda: said.put_nowait(outbox.pending))
    outbox.put(b"1")
    outbox.put(b"2")
    assert outbox.pending
    async with draining(outbox.drain_to) as stream, asyncio.timeout(10):
        assert await said.get() is False
        assert await stream.read(2) == ["1", "2"]


async def test_a_transfer_is_pending_until_its_last_frame_is_written_or_nobody_wants_it() -> None:
    said: asyncio.Queue[bool] = asyncio.Queue()
    outbox = FrameOutbox(lambda: said.put_nowait(outbox.pending))
    outbox.start(transfer(1, 2, credit=1))
    async with draining(outbox.drain_to) as stream, asyncio.timeout(10):
        assert await stream.read(1) == ["1.0"]
        assert await stream.is_silent()
        assert outbox.pending
        outbox.grant(1, 1)
        assert await said.get() is False
        for drop in (partial(outbox.drop, 2), partial(outbox.drop_job, "job")):
            outbox.start(transfer(2, 2, credit=0))
            assert outbox.pending
            drop()
            assert await said.get() is False
