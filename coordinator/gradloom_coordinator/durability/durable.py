"""Binds a coordinator to what outlives it: the folder's lock, the database, the thread that writes to it."""

import asyncio
import logging
from dataclasses import dataclass
from typing import IO

from gradloom.errors import InvalidInput
from gradloom_coordinator.durability.locks import lock_file
from gradloom_coordinator.durability.store import Store, store_url
from gradloom_coordinator.durability.writer import Writer, ignore
from gradloom_coordinator.leadership.leading import Leading
from gradloom_coordinator.runtime import Coordinator
from gradloom_coordinator.scheduling.events import ExcludeRequested

log = logging.getLogger(__name__)

LAST_WRITES_S = 5.0
LET_GO_S = 2.0


@dataclass(slots=True)
class Durable:
    """What a running coordinator holds on to."""

    lock: IO[bytes]
    store: Store | None = None
    """None where nothing is kept."""
    writer: Writer | None = None

    async def close(self) -> None:
        """Write what is queued, and let go of everything; what hangs is left to the end of the process."""
        is_free = True
        if self.writer is not None:
            is_free = await self.writer.close(LAST_WRITES_S)
        if self.store is not None and is_free:  # no connection is taken from under a thread that uses it
            try:
                await asyncio.wait_for(asyncio.to_thread(self.store.close), LET_GO_S)
            except TimeoutError:
                log.error("the database %s does not let go of us", self.store.name)  # noqa: TRY400 - it says all
        self.lock.close()


async def go_on_where_it_ended(coordinator: Coordinator, leading: Leading | None = None) -> Durable:
    """Open the coordinator's database, and hand it the jobs that are there; neither if nothing is to be kept.

    With a lease every write depends on it; one that is refused ends it.

    Raises InvalidInput for a folder or a database that can't be used, Conflict if another coordinator uses them.
    """
    settings = coordinator.settings
    url = store_url(settings.store_url, settings.data_dir)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput("data_dir", f"{settings.data_dir} can't be made: {error.strerror}") from None
    durable = Durable(lock_file(settings.data_dir / "coordinator.lock", str(settings.data_dir)))
    if not settings.durable:
        return durable
    store = durable.store = Store(url) if leading is None else Store(url, leading.epoch)
    try:
        starts = await asyncio.to_thread(store.open)
        stored = await asyncio.to_thread(store.load)
        await coordinator.jobs.check_keys(stored)
        on_fenced = ignore if leading is None else leading.lose
        durable.writer = Writer(store, coordinator.jobs.on_health, coordinator.metrics.store_wrote, on_fenced)
        coordinator.metrics.started_again(starts - 1)
        coordinator.jobs.keep_with(durable.writer, starts)
        for worker, reason in (await asyncio.to_thread(store.load_excluded)).items():
            coordinator.dispatch(ExcludeRequested(worker, reason))
        coordinator.jobs.go_on(stored)
    except BaseException:
        await durable.close()
        raise
    return durable
