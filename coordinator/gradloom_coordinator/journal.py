"""The events of one job, numbered upwards, for anybody who watches: pushed, and resumable from any number.

The numbers have no gaps but where the coordinator was restarted: events that were shown and not yet written are
lost then, and their numbers must not come again.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from itertools import takewhile

from gradloom.errors import EventsGone
from gradloom.jobs import JobEvent, JobHappening, StateChanged

MAX_EVENTS = 100_000
"""Kept of a job that has not ended; the oldest go first."""
MAX_EVENTS_AFTERWARDS = 5_000
"""Kept of one that has."""
RESTART_GAP = 100_000
"""More than the events that may wait to be written when a coordinator dies."""


class Journal:
    """What has happened to one job."""

    def __init__(self, before: Iterable[JobEvent] = ()) -> None:
        """``before``: what was written before the coordinator was restarted."""
        self._events: deque[JobEvent] = deque(before, maxlen=MAX_EVENTS)
        self._last = self._events[-1].sequence if self._events else 0
        if self._events and not self.closed:
            self._last += RESTART_GAP
        self._news = asyncio.Event()

    def add(self, at: float, what: JobHappening) -> JobEvent:
        """Note an event and wake the watchers."""
        self._last += 1
        event = JobEvent(self._last, at, what)
        self._events.append(event)
        if self.closed:
            self._events = deque(self._events, maxlen=MAX_EVENTS_AFTERWARDS)
        news, self._news = self._news, asyncio.Event()
        news.set()
        return event

    async def follow(self, after_sequence: int, *, until_now: bool = False) -> AsyncIterator[JobEvent]:
        """Events from the one after ``after_sequence``, as they happen, up to the one of a final state.

        ``until_now``: only those that there are already. 0 = from the oldest that is kept. Raises EventsGone if later
        ones that were asked for are no longer kept.
        """
        while True:
            news = self._news
            for event in self._after(after_sequence):
                after_sequence = event.sequence
                yield event
                if isinstance(event.what, StateChanged) and event.what.state.final:
                    return
            if until_now or (self.closed and after_sequence >= self._last):
                return
            if news is self._news:
                await news.wait()

    @property
    def closed(self) -> bool:
        """Whether the job's end has been told."""
        last = self._events[-1].what if self._events else None
        return isinstance(last, StateChanged) and last.state.final

    def _after(self, sequence: int) -> list[JobEvent]:
        if not self._events or sequence >= self._last:
            return []
        first = self._events[0].sequence
        if 0 < sequence < first - 1:
            raise EventsGone(f"events before {first} are no longer kept; the last is {self._last}")
        # the newest are at the right end: a watcher that keeps up takes one, not a walk over all
        newer = list(takewhile(lambda event: event.sequence > sequence, reversed(self._events)))
        return newer[::-1]
