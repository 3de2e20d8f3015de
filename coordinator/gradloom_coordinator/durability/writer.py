"""Writes to the database in a thread of its own: the event loop only queues.

What is queued while one transaction runs goes into the next one; round events wait a moment for company, so that
a thousand of them cost few commits. A database that is away, locked or full is tried again until it is back: what
was queued is kept, in order, and ``on_health`` is told the reason, so that nothing new comes meanwhile.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from gradloom.errors import Conflict, GradloomError, Unavailable
from gradloom.jobs import Note
from gradloom_coordinator.durability.changes import Change, EventAdded
from gradloom_coordinator.durability.databases import Fenced
from gradloom_coordinator.durability.store import Store

log = logging.getLogger(__name__)

COMPANY_S = 0.1
"""How long a change that nobody waits for may wait for others."""
MAX_WAITING = 10_000
"""Changes in the queue from which on the database counts as too slow: the jobs pause until it has caught up."""
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0

Done = asyncio.Future[str]
"""Of somebody who waits: what was left out, empty = nothing."""


class Keeping(Protocol):
    """Where changes go."""

    @property
    def trouble(self) -> str:
        """Why nothing can be written now; empty = it can."""
        ...

    def put(self, *changes: Change, soon: bool = False) -> None:
        """Queue changes; they are written in one transaction, after all that were put before.

        ``soon``: without waiting for others.
        """
        ...

    async def flush(self, limit_s: float) -> None:
        """Wait until all that was put is durable.

        Raises Unavailable with the reason if that takes too long, GradloomError if the database refuses some of it.
        """
        ...


class Forgetful:
    """Keeps nothing: for a coordinator whose jobs may end with it."""

    trouble = ""

    def put(self, *changes: Change, soon: bool = False) -> None:
        """Nothing."""

    async def flush(self, limit_s: float) -> None:
        """Nothing."""


def ignore(_: str) -> None:
    """Nothing more than is done anyhow."""


class Writer:
    """The one that writes; started within an event loop, which hears of its health.

    ``on_fenced`` is called in the thread each time that the database refuses a write because another coordinator has
    begun since.
    """

    def __init__(
        self,
        store: Store,
        on_health: Callable[[str], None],
        observe_s: Callable[[float], None],
        on_fenced: Callable[[str], None] = ignore,
    ) -> None:
        self.trouble = ""
        self._store = store
        self._on_health = on_health
        self._observe_s = observe_s
        self._on_fenced = on_fenced
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Change, ...] | Done] = deque()
        self._news = threading.Event()
        self._hurry = threading.Event()
        self._closing = threading.Event()
        self._left_out = ""
        """Why the last change that nobody has waited for yet could not be written."""
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    def put(self, *changes: Change, soon: bool = False) -> None:
        """Queue changes; they are written in one transaction, after all that were put before.

        ``soon``: without waiting for others. Mere notes are left out while MAX_WAITING wait for a database in trouble.
        """
        if self.trouble and len(self._queue) > MAX_WAITING and all(map(_can_be_missed, changes)):
            return
        self._queue.append(changes)
        if soon:
            self._hurry.set()
        if not self._news.is_set():
            self._news.set()
        if len(self._queue) > MAX_WAITING and not self.trouble:
            self._tell(f"the database {self._store.name} is too slow: {MAX_WAITING} changes wait for it")

    async def flush(self, limit_s: float) -> None:
        """Wait until all that was put is durable.

        Raises Unavailable with the reason if that takes too long, GradloomError if the database refuses some of it.
        """
        done = self._last_in_line()
        self._hurry.set()
        self._news.set()
        try:
            left_out = await asyncio.wait_for(asyncio.shield(done), limit_s)
        except TimeoutError:
            why = self.trouble or f"the database {self._store.name} took more than {limit_s:g} s"
            raise Unavailable(why) from None
        if left_out:
            raise GradloomError(left_out)

    def _last_in_line(self) -> Done:
        """What comes after all that was put; shared by who asks while nothing is put, however often they give up."""
        with suppress(IndexError):
            if isinstance(last := self._queue[-1], asyncio.Future):
                return last
        done = self._loop.create_future()
        self._queue.append(done)
        return done

    async def close(self, limit_s: float) -> bool:
        """Write what is queued, for at most so long, and end; False if the thread still waits for the database."""
        self._closing.set()
        self._hurry.set()
        self._news.set()
        await asyncio.to_thread(self._thread.join, limit_s)
        if self._thread.is_alive():
            silent = f"the database {self._store.name} did not answer for {limit_s:g} s"
            log.error("the last changes were not written: %s", self.trouble or silent)
            return False
        return True

    # ---- in the thread

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._hurry.wait(COMPANY_S)
            self._news.clear()
            self._hurry.clear()
            closing = self._closing.is_set()  # after the clears: who closes sets it before them
            batch = [self._queue.popleft() for _ in range(len(self._queue))]
            if not self._write(batch):
                return
            if closing:
                return

    def _write(self, batch: list[tuple[Change, ...] | Done]) -> bool:
        """Write a batch, however often it takes; whether it was written before we had to end."""
        pause = FIRST_PAUSE_S
        changes = [change for item in batch if isinstance(item, tuple) for change in item]
        while not self._try(changes):
            if self._closing.wait(pause):
                return False
            pause = min(2 * pause, MAX_PAUSE_S)
        waiting, left_out = [item for item in batch if not isinstance(item, tuple)], self._left_out
        if waiting:
            self._left_out = ""
        self._loop.call_soon_threadsafe(self._written, waiting, left_out)
        return True

    def _try(self, changes: list[Change]) -> bool:
        start = time.perf_counter()
        try:
            if changes:
                self._store.apply(changes)
        except (Unavailable, Conflict) as error:
            if isinstance(error, Fenced):
                self._on_fenced(error.message)
            self._loop.call_soon_threadsafe(self._tell, error.message)
            return False
        except Exception as error:
            if len(changes) > 1:  # what is written twice counts once: find the one that can't be
                return all(self._try([change]) for change in changes)
            log.exception("a defect: this can't be written, and is left out: %s", changes[0])
            kind = type(changes[0]).__name__
            self._left_out = f"the database {self._store.name} does not take this {kind}: {error}"
        self._observe_s(time.perf_counter() - start)
        return True

    # ---- in the event loop

    def _written(self, waiting: list[Done], left_out: str) -> None:
        for done in waiting:
            if not done.done():
                done.set_result(left_out)
        if self.trouble and len(self._queue) < MAX_WAITING // 2:
            self._tell("")

    def _tell(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.log(logging.ERROR if trouble else logging.INFO, "%s", trouble or "the database is back")
            self.trouble = trouble
            self._on_health(trouble)


def _can_be_missed(change: Change) -> bool:
    return isinstance(change, EventAdded) and isinstance(change.event.what, Note)
