"""What a worker's process does, moment by moment: one clock that is always in exactly one phase.

The compute thread switches it while a task is computed, the event loop otherwise; so the seconds of all phases add up
to the time that has passed since the start.
"""

import threading
from collections.abc import Callable, Mapping
from enum import StrEnum


class Doing(StrEnum):
    """The phases, as the metrics name them."""

    QUEUE = "queue"
    """A task is handed to the compute thread."""
    LOAD = "load"
    DECODE = "decode"
    """A task waits until the message of its round is here and read."""
    COMPUTE = "compute"
    ENCODE = "encode"
    SEND = "send"
    """Nothing is computed, and answers are on their way."""
    BARRIER_WAIT = "barrier_wait"
    """It has its part of a job done and waits for others."""
    IDLE = "idle"


class PhaseClock:
    """Seconds spent in each phase."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._phase = Doing.IDLE
        self._since = clock()
        self._seconds = dict.fromkeys(Doing, 0.0)

    def switch(self, phase: Doing) -> None:
        """From now on it is this phase."""
        with self._lock:
            now = self._clock()
            self._seconds[self._phase] += now - self._since
            self._phase, self._since = phase, now

    def seconds(self) -> Mapping[Doing, float]:
        """Of every phase, up to now."""
        with self._lock:
            running = {self._phase: self._seconds[self._phase] + self._clock() - self._since}
            return self._seconds | running
