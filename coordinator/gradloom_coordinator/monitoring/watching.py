"""Tells those who watch the cluster what changes: one look for all of them, and only while somebody watches.

News make it look at once, but never more often than ``MIN_PAUSE_S`` apart, and never for more than ``MAX_SHARE`` of the
event loop's time. Heartbeats are no news; times that only pass are told every ``REFRESH_S``.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress

from gradloom import __version__
from gradloom.errors import Overloaded
from gradloom.jobs import JobView, WorkerView
from gradloom.watching import ClusterChange
from gradloom_coordinator.monitoring.picture import Picture, parts

log = logging.getLogger(__name__)

MIN_PAUSE_S = 0.25
REFRESH_S = 2.0
MAX_SHARE = 0.02
"""Of the event loop's time that may go into looking: a huge cluster is looked at less often."""
MAX_WATCHERS = 256

Look = Callable[[], tuple[Iterable[WorkerView], Iterable[JobView]]]
"""The workers, and the jobs from the oldest on."""


class Watching:
    """All who watch one coordinator."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._picture = Picture(__version__)
        self._watchers = 0
        self._looking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._told = asyncio.Event()
        self._tellings = 0
        self._closed = False

    def news(self) -> None:
        """Something has changed; without watchers it costs nothing."""
        if self._watchers:
            self._news.set()

    def close(self) -> None:
        """End all streams; nobody can watch any more."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
        self._wake()

    async def follow(self) -> AsyncGenerator[ClusterChange, None]:
        """Everything, then what changes, until ``close``; who reads slowly is told less often. Raises Overloaded."""
        if self._watchers >= MAX_WATCHERS:
            raise Overloaded(f"{self._watchers} watch the cluster already, as many as may")
        self._watchers += 1
        try:
            async with aclosing(self._follow()) as changes:
                async for change in changes:
                    yield change
        finally:
            self._watchers -= 1
            if not self._watchers and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _follow(self) -> AsyncGenerator[ClusterChange, None]:
        if self._looking is None and not self._closed:
            self._looking = asyncio.create_task(self._keep_looking())
            heard = self._tellings
        else:
            heard = self._tellings - 1
        seen = 0
        while not self._closed:
            if heard == self._tellings:
                await self._told.wait()
                continue
            heard, change = self._tellings, self._picture.since(seen)
            seen = change.sequence
            for part in parts(change):
                yield part

    async def _keep_looking(self) -> None:
        refresh_at = 0.0
        while True:
            began, spent_s = time.monotonic(), time.thread_time()
            refresh = began >= refresh_at
            self._news.clear()
            if refresh:
                refresh_at = began + REFRESH_S
            if self._looked(refresh=refresh) or refresh:
                self._wake()
            spent_s = time.thread_time() - spent_s
            await asyncio.sleep(max(MIN_PAUSE_S, spent_s / MAX_SHARE))
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, refresh_at - time.monotonic())):
                    await self._news.wait()

    def _looked(self, *, refresh: bool) -> bool:
        try:
            workers, jobs = self._look()
            return self._picture.take(workers, jobs, time.time(), refresh=refresh)
        except Exception:  # those who watch see what was known; the next look may do
            log.exception("the cluster could not be looked at")
            return False

    def _wake(self) -> None:
        self._tellings += 1
        told, self._told = self._told, asyncio.Event()
        told.set()
