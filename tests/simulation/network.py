"""Streams between workers and the coordinator, as gRPC gives them: ordered, until they break.

A stream has a session and a bulk pipe each way. Each pipe keeps its order; between pipes everything reorders. A
stream that is cut loses what was on its way, and its ends notice at different times or not at all. While a worker is
partitioned from the coordinator nothing arrives; afterwards all of it does, unless the stream was cut meanwhile.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from simulation.clock import Clock
from simulation.messages import Broadcast, Credit, Message, PartialBytes, Refusal
from simulation.transcript import Transcript


class End(Enum):
    """Who is spoken of."""

    WORKER = "worker"
    COORDINATOR = "coordinator"

    @property
    def other(self) -> End:
        return End.COORDINATOR if self is End.WORKER else End.WORKER


@dataclass(frozen=True, slots=True)
class Closed:
    """The last thing on a stream that an end has closed."""

    detail: str


BULK = (PartialBytes, Broadcast, Credit, Refusal)
Listener = Callable[[Message | Closed], None]


@dataclass(slots=True, eq=False)
class Pipe:
    """One direction of a session or bulk stream."""

    under_way: deque[Message | Closed] = field(default_factory=deque)
    last_arrival: float = 0.0


@dataclass(slots=True)
class Network:
    """Delays and partitions; the same for all streams."""

    clock: Clock
    rng: random.Random
    transcript: Transcript
    typical_delay_s: float = 0.002
    spike: float = 0.0
    """Probability that a message takes a hundred times as long."""
    lost_heartbeats: float = 0.0
    partitioned_until: dict[str, float] = field(default_factory=dict)

    def delay_s(self) -> float:
        """Of one message."""
        slow = 100.0 if self.rng.random() < self.spike else 1.0
        return self.rng.expovariate(1.0 / self.typical_delay_s) * slow

    def is_partitioned(self, worker: str) -> bool:
        return self.partitioned_until.get(worker, 0.0) > self.clock.now


@dataclass(slots=True, eq=False)
class Stream:
    """One connection of one worker's process."""

    network: Network
    worker: str
    """Its process, whatever the coordinator calls it."""
    listeners: dict[End, Listener] = field(default_factory=dict)
    whole: bool = True
    _pipes: dict[tuple[End, bool], Pipe] = field(default_factory=dict)

    def send(self, sender: End, message: Message | Closed) -> None:
        """Say something to the other end."""
        if not self.whole or sender not in self.listeners:
            return
        pipe = self._pipes.setdefault((sender, isinstance(message, BULK)), Pipe())
        pipe.under_way.append(message)
        pipe.last_arrival = max(pipe.last_arrival, self.network.clock.now + self.network.delay_s())
        self.network.clock.after(
            pipe.last_arrival - self.network.clock.now, lambda: self._arrive(pipe, sender)
        )

    def _arrive(self, pipe: Pipe, sender: End) -> None:
        if not pipe.under_way:
            return
        if self.network.is_partitioned(self.worker):
            wait_s = self.network.partitioned_until[self.worker] - self.network.clock.now
            self.network.clock.after(wait_s, lambda: self._arrive(pipe, sender))
            return
        message = pipe.under_way.popleft()
        if listener := self.listeners.get(sender.other):
            listener(message)

    def close(self, closer: End, detail: str) -> None:
        """End it in order: what was said before still arrives."""
        self.send(closer, Closed(detail))
        self.listeners.pop(closer, None)

    def cut(self, notice_s: dict[End, float | None], detail: str) -> None:
        """Break it: what is under way is lost, and each end notices after so long, or never (None)."""
        if not self.whole:
            return
        self.network.transcript.add(self.worker, f"its stream is cut: {detail}")
        self.whole = False
        for pipe in self._pipes.values():
            pipe.under_way.clear()
        for end, after_s in notice_s.items():
            if after_s is not None:
                self.network.clock.after(after_s, partial(self._notice, end, detail))

    def _notice(self, end: End, detail: str) -> None:
        if listener := self.listeners.pop(end, None):
            listener(Closed(detail))
