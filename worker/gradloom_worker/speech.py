"""What a worker has to say to its coordinator during one session."""

from gradloom.streams import FrameOutbox, Heard, Outbox, nobody
from gradloom.v1 import worker_pb2


class Streams:
    """What is written to the coordinator during one session."""

    def __init__(self, written: Heard = nobody) -> None:
        self.session = Outbox(written)
        self.bulk = FrameOutbox(written)

    @property
    def pending(self) -> bool:
        """Whether something is still to be written."""
        return self.session.pending or self.bulk.pending

    def send(self, message: worker_pb2.WorkerMessage) -> None:
        """Queue a message of the typed session."""
        self.session.put(message.SerializeToString())
