"""Counts the messages between coordinator and workers where they become bytes: a list index and an addition each."""

from collections.abc import Awaitable, Callable

from gradloom.v1 import worker_pb2
from gradloom_coordinator.scheduling.meters import Reading, Tally

Write = Callable[[bytes], Awaitable[None]]
FRAME = "frame"
_FIELDS = 32
_IN, _OUT = (
    {field.number: field.name for field in message.DESCRIPTOR.fields}
    for message in (worker_pb2.WorkerMessage, worker_pb2.CoordinatorMessage)
)


class MessageCounts:
    """What went through the streams of all workers. The kind of a message is the tag that its bytes begin with."""

    def __init__(self) -> None:
        self._heard, self._said = [0] * _FIELDS, [0] * _FIELDS
        self._heard_frames = self._said_frames = 0
        self._heard_bytes = self._said_bytes = 0

    def read(self, data: bytes) -> worker_pb2.WorkerMessage:
        """A message of a session, from its bytes."""
        self._heard[data[0] >> 3 if data else 0] += 1
        self._heard_bytes += len(data)
        return worker_pb2.WorkerMessage.FromString(data)

    def read_frame(self, data: bytes) -> bytes:
        """A frame of a bulk stream, as it is."""
        self._heard_frames += 1
        self._heard_bytes += len(data)
        return data

    def writing(self, write: Write) -> Write:
        """Write messages of a session."""

        def counted(data: bytes) -> Awaitable[None]:
            self._said[data[0] >> 3 if data else 0] += 1
            self._said_bytes += len(data)
            return write(data)

        return counted

    def writing_frames(self, write: Write) -> Write:
        """Write frames of a bulk stream."""

        def counted(data: bytes) -> Awaitable[None]:
            self._said_frames += 1
            self._said_bytes += len(data)
            return write(data)

        return counted

    def readings(self) -> list[Reading]:
        """As they stand."""
        messages = Tally("grpc_messages", "Messages between coordinator and workers.", "type", "direction")
        size = Tally("grpc_bytes", "Bytes of messages between coordinator and workers.", "direction")
        for direction, names, counts, frames in (
            ("in", _IN, self._heard, self._heard_frames),
            ("out", _OUT, self._said, self._said_frames),
        ):
            for number, name in names.items():
                messages.add(name, direction, by=counts[number])
            messages.add(FRAME, direction, by=frames)
        size.add("in", by=self._heard_bytes)
        size.add("out", by=self._said_bytes)
        return [messages.reading(), size.reading()]
