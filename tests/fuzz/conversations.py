"""Whole conversations: a stranger speaks as a worker, message after message, with the real coordinator behind it."""

import asyncio
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from fuzz.target import Target
from fuzz.wire import worker_seeds
from gradloom.algorithms import versions
from gradloom.errors import GradloomError
from gradloom.settings import CoordinatorSettings
from gradloom.v1 import worker_pb2
from gradloom.wire import PROTOCOL_VERSION
from gradloom.wire.frames import credit_frame, data_frame, refusal_frame
from gradloom_coordinator.runtime import Coordinator
from gradloom_coordinator.worker_servicer import WorkerServicer

HELLO = worker_pb2.WorkerMessage(
    hello=worker_pb2.Hello(
        protocol_version=PROTOCOL_VERSION, name="w", host="h", cores=1.0, algorithms=versions()
    )
)
MOST_MESSAGES = 30


class Refused(Exception):
    """A call was ended with a status."""


class FakeContext:
    """What a servicer sees of a call whose other side says what it wants, and then nothing more."""

    def __init__(self, messages: list[Any], token: str = "") -> None:
        self._messages = iter(messages)
        self._token = token
        self.written: list[bytes] = []

    async def read(self) -> Any:
        await asyncio.sleep(0)
        return next(self._messages, grpc.aio.EOF)

    async def write(self, message: bytes) -> None:
        self.written.append(message)

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("gradloom-session", self._token),)

    def peer(self) -> str:
        return "ipv4:203.0.113.9:1"

    def set_code(self, _: object) -> None: ...

    def set_details(self, _: str) -> None: ...

    async def abort(self, code: object, details: str) -> None:
        raise Refused(details)

    async def abort_with_status(self, status: object) -> None:
        raise Refused(str(status))


def pieces(data: bytes) -> Iterator[bytes]:
    """Bytes cut by lengths that stand before each piece."""
    at = 0
    for _ in range(MOST_MESSAGES):
        if at + 2 > len(data):
            return
        (length,) = struct.unpack_from("<H", data, at)
        yield data[at + 2 : at + 2 + length]
        at += 2 + length


class _Broken(logging.Handler):
    """Hears of sessions that broke over something that nobody expected."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, GradloomError | Refused):
            self.errors.append(error)


def conversation(data: bytes) -> None:
    """Hello, then whatever the bytes say: messages on the session, frames on the bulk stream of the same worker."""
    messages, frames = [HELLO], []
    for piece in pieces(data):
        if piece[:1] == b"\xff":
            frames.append(piece[1:])
        else:
            messages.append(worker_pb2.WorkerMessage.FromString(piece))
    broken, log = _Broken(), logging.getLogger("gradloom_coordinator")
    log.addHandler(broken)
    propagate, log.propagate = log.propagate, False
    try:
        asyncio.run(_talk(messages, frames))
    finally:
        log.removeHandler(broken)
        log.propagate = propagate
    if broken.errors:
        raise broken.errors[0]


async def _talk(messages: list[Any], frames: list[bytes]) -> None:
    coordinator = Coordinator(CoordinatorSettings(durable=False, data_dir=Path("/nonexistent")))
    servicer = WorkerServicer(coordinator)
    session = FakeContext(messages)
    speaking = asyncio.create_task(servicer.session(None, session))
    await asyncio.sleep(0)
    for record in list(coordinator.attendance._known.values()):
        await servicer.bulk(None, FakeContext(frames, record.token))
    await speaking
    assert session.written, "Hello is answered, whatever comes after it"
    coordinator._scheduler.state.check()


def together(*parts: bytes) -> bytes:
    return b"".join(struct.pack("<H", len(part)) + part for part in parts)


def seeds() -> list[bytes]:
    frames = [
        b"\xff" + one
        for one in (credit_frame(1, 3), refusal_frame(1), data_frame(1, [memoryview(b"abc")], 3, 0))
    ]
    return [together(*worker_seeds()), together(*worker_seeds()[1:], *frames)]


TARGETS = (Target("conversation", conversation, (DecodeError,), seeds, 24 << 20),)
