"""The thread that writes: nothing is lost, nothing hangs, and the event loop hears how the database is."""

import asyncio
import threading
from collections.abc import Iterable

import pytest

from gradloom.errors import GradloomError, Unavailable
from gradloom.jobs import JobEvent, JobHappening, JobState, Note, StateChanged
from gradloom_coordinator.durability import writer as module
from gradloom_coordinator.durability.changes import Change, EventAdded, JobStepped
from gradloom_coordinator.durability.writer import Writer

LIMIT_S = 20.0


class FakeStore:
    """Takes changes while ``up``; each call of ``apply`` is a transaction."""

    name = "fake"

    def __init__(self) -> None:
        self.up = threading.Event()
        self.up.set()
        self.refused = threading.Event()
        self.hanging = False
        self.reason = "disk full"
        self.transactions: list[list[int]] = []

    def apply(self, changes: Iterable[Change]) -> None:
        numbers = [change.event.sequence for change in changes if isinstance(change, EventAdded)]
        if self.hanging:
            self.up.wait(LIMIT_S)
        elif not self.up.is_set():
            self.refused.set()
            raise Unavailable(f"the database fake can't be used: {self.reason}")
        if 13 in numbers:
            raise ValueError("unlucky")
        self.transactions.append(numbers)

    @property
    def written(self) -> list[int]:
        return [number for numbers in self.transactions for number in numbers]


def change(number: int, what: JobHappening = Note("so")) -> EventAdded:  # noqa: B008 - a frozen value
    return EventAdded("job", JobEvent(number, 0.0, what))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)


class Setup:
    def __init__(self) -> None:
        self.store = FakeStore()
        self.health: asyncio.Queue[str] = asyncio.Queue()
        self.seconds: list[float] = []
        self.writer = Writer(self.store, self.health.put_nowait, self.seconds.append)  # type: ignore[arg-type]

    async def heard(self) -> str:
        async with asyncio.timeout(LIMIT_S):
            return await self.health.get()


async def test_what_is_flushed_has_been_written_in_order_and_in_few_transactions() -> None:
    given = Setup()
    for number in range(100, 1100):
        given.writer.put(change(number))
    await given.writer.flush(LIMIT_S)
    assert given.store.written == list(range(100, 1100))
    assert len(given.store.transactions) < 10
    assert len(given.seconds) >= 1
    await given.writer.close(LIMIT_S)


async def test_what_was_put_last_is_written_before_the_end() -> None:
    given = Setup()
    given.writer.put(change(1), change(2))
    await given.writer.close(LIMIT_S)
    assert given.store.written == [1, 2]


async def test_while_the_database_is_away_nothing_is_lost_and_who_waits_hears_why() -> None:
    given = Setup()
    given.store.up.clear()
    given.writer.put(change(1))
    assert await given.heard() == "the database fake can't be used: disk full"
    given.writer.put(change(2))
    with pytest.raises(Unavailable, match="disk full"):
        await given.writer.flush(0.05)
    given.store.up.set()
    await given.writer.flush(LIMIT_S)
    assert await given.heard() == ""
    assert given.writer.trouble == ""
    assert given.store.written == [1, 2]
    await given.writer.close(LIMIT_S)


async def test_another_reason_is_told_as_well() -> None:
    given = Setup()
    given.store.up.clear()
    given.writer.put(change(1))
    assert "disk full" in await given.heard()
    given.store.reason = "refused"
    assert "refused" in await given.heard()
    assert given.health.empty()
    given.store.up.set()
    assert await given.heard() == ""
    await given.writer.close(LIMIT_S)


async def test_a_database_that_hangs_is_waited_for_no_longer_than_asked() -> None:
    given = Setup()
    given.store.hanging = True
    given.store.up.clear()
    given.writer.put(change(1))
    with pytest.raises(Unavailable, match=r"the database fake took more than 0\.05 s"):
        await given.writer.flush(0.05)
    given.store.up.set()
    await given.writer.close(LIMIT_S)
    assert given.store.written == [1]


async def test_a_database_that_is_too_slow_pauses_the_jobs_until_it_has_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    given = Setup()
    given.store.hanging = True
    given.store.up.clear()
    for number in range(20, 60):
        given.writer.put(change(number, StateChanged(JobState.RUNNING, "so")))
    assert "too slow: 10 changes wait" in await given.heard()
    given.store.hanging = False
    given.store.up.set()
    assert await given.heard() == ""
    await given.writer.close(LIMIT_S)
    assert given.store.written == list(range(20, 60))


async def test_while_it_is_away_neither_notes_nor_people_who_gave_up_pile_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    given = Setup()
    given.store.up.clear()
    given.writer.put(change(1))
    await given.heard()
    for _ in range(20):
        with pytest.raises(Unavailable):
            await given.writer.flush(0.001)
    assert len(given.writer._queue) == 1
    for number in range(20, 60):
        given.writer.put(change(number))
    added = JobStepped("job", JobState.PAUSED, "so")
    given.writer.put(added)
    assert len(given.writer._queue) == 12
    assert given.writer._queue[-1] == (added,)
    given.store.up.set()
    await given.writer.flush(LIMIT_S)
    assert given.store.written == [1, *range(20, 30)]
    await given.writer.close(LIMIT_S)


async def test_a_change_that_can_never_be_written_takes_no_other_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = Setup()
    given.writer.put(change(12))
    given.writer.put(change(13), change(14))
    with pytest.raises(GradloomError, match="the database fake does not take this EventAdded: unlucky"):
        await given.writer.flush(LIMIT_S)
    await given.writer.flush(LIMIT_S)
    assert given.store.written == [12, 14]
    assert "this can't be written, and is left out" in caplog.text
    await given.writer.close(LIMIT_S)


async def test_it_ends_although_the_database_is_away(caplog: pytest.LogCaptureFixture) -> None:
    given = Setup()
    given.store.up.clear()
    given.writer.put(change(1))
    await given.heard()
    async with asyncio.timeout(LIMIT_S):
        await given.writer.close(LIMIT_S)
    assert not given.store.written
