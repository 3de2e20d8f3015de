"""The events of one job, numbered without gaps, for anybody who watches: pushed, and resumable from any number."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from gradloom.errors import EventsGone
from gradloom.jobs import JobEvent, JobHappening, StateChanged

MAX_EVENTS = 100_000
"""Kept of a job that has not ended; the oldest go first."""
MAX_EVENTS_AFTERWARDS = 5_000
"""Kept of one that has."""


class Journal:
    """What has happened to one job."""

    def __init__(self) -> None:
        self._events: deque[JobEvent] = deque(maxlen=MAX_EVENTS)
        self._last = 0
        self._news = asyncio.Event()

    def add(self, at: float, what: JobHappening) -> None:
        """Note an event and wake the watchers."""
        self._last += 1
        self._events.append(JobEvent(self._last, at, what))
        if self._closed:
            self._events = deque(self._events, maxlen=MAX_EVENTS_AFTERWARDS)
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def follow(self, after_sequence: int) -> AsyncIterator[JobEvent]:
        """Events from the one after ``after_sequence``, as they happen, up to the one of a final state.

        0 = from the oldest that is kept. Raises EventsGone if later ones that were asked for are no longer kept.
        """
        while True:
            news = self._news
            for event in self._after(after_sequence):
                after_sequence = event.sequence
                yield event
                if isinstance(event.what, StateChanged) and event.what.state.final:
                    return
            if self._closed and after_sequence >= self._last:
                return
            if news is self._news:
                await news.wait()

    @property
    def _closed(self) -> bool:
        last = self._events[-1].what if self._events else None
        return isinstance(last, StateChanged) and last.state.final

    def _after(self, sequence: int) -> list[JobEvent]:
        if not self._events or sequence >= self._last:
            return []
        first = self._events[0].sequence
        if 0 < sequence < first - 1:
            raise EventsGone(f"events before {first} are no longer kept; the last is {self._last}")
        # the newest are at the right end: a watcher that keeps up takes one, not a walk over all
        wanted = min(len(self._events), self._last - sequence)
        return [self._events[i] for i in range(-wanted, 0)]
