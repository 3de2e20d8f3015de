"""The events of a job: numbered upwards, pushed to who watches, resumable from any number."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gradloom.errors import EventsGone
from gradloom.jobs import JobEvent, JobState, Note, StateChanged
from gradloom_coordinator import journal as module
from gradloom_coordinator.journal import Journal

DONE = StateChanged(JobState.COMPLETED, "done")


async def read(journal: Journal, after: int = 0) -> list[tuple[int, str]]:
    async with asyncio.timeout(10):
        return [(event.sequence, str(event.what)) async for event in journal.follow(after)]


def journal_of(n_notes: int) -> Journal:
    journal = Journal()
    for i in range(n_notes):
        journal.add(float(i), Note(str(i + 1)))
    return journal


async def test_what_has_happened_is_told_at_once_and_what_happens_as_it_does() -> None:
    journal = journal_of(2)
    events = journal.follow(0)
    async with asyncio.timeout(10):
        assert [(await anext(events)).sequence for _ in range(2)] == [1, 2]
        waiting = asyncio.ensure_future(read(journal, after=2))
        await asyncio.sleep(0)
        assert not waiting.done()
        journal.add(9.0, Note("news"))
        event = await anext(events)
        assert (event.sequence, event.at, event.what) == (3, 9.0, Note("news"))
        journal.add(10.0, DONE)
        assert [event.sequence async for event in events] == [4]
        assert [number for number, _ in await waiting] == [3, 4]


async def test_what_there_is_by_now_is_told_without_waiting() -> None:
    journal = journal_of(3)
    async with asyncio.timeout(10):
        assert [event.sequence async for event in journal.follow(1, until_now=True)] == [2, 3]
        assert [event.sequence async for event in journal.follow(3, until_now=True)] == []
        assert [event.sequence async for event in journal_of(0).follow(0, until_now=True)] == []


async def test_a_watch_ends_with_the_final_state() -> None:
    journal = journal_of(1)
    journal.add(1.0, DONE)
    assert await read(journal) == [(1, str(Note("1"))), (2, str(DONE))]
    assert await read(journal, after=2) == []


async def test_watchers_do_not_disturb_each_other() -> None:
    journal = journal_of(1)
    watchers = [asyncio.ensure_future(read(journal, after)) for after in (0, 0, 1)]
    await asyncio.sleep(0)
    journal.add(1.0, Note("2"))
    await asyncio.sleep(0)
    journal.add(2.0, DONE)
    numbers = [[number for number, _ in await watcher] for watcher in watchers]
    assert numbers == [[1, 2, 3], [1, 2, 3], [2, 3]]


async def test_a_broken_watch_is_resumed_without_gap_or_repetition() -> None:
    journal = journal_of(5)
    journal.add(5.0, DONE)
    assert [number for number, _ in await read(journal, after=3)] == [4, 5, 6]


async def test_events_that_are_no_longer_kept_are_refused_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 3)
    journal = journal_of(5)
    with pytest.raises(EventsGone, match="events before 3 are no longer kept; the last is 5"):
        await read(journal, after=1)
    journal.add(5.0, DONE)
    assert [number for number, _ in await read(journal, after=3)] == [4, 5, 6]


async def test_after_a_restart_old_events_are_told_and_no_number_comes_again() -> None:
    before = journal_of(5)
    kept = [event async for event in first_of(before, 5)]
    journal = Journal(kept[1:])  # the first is no longer kept
    events = journal.follow(2)
    async with asyncio.timeout(10):
        assert [(await anext(events)).sequence for _ in range(3)] == [3, 4, 5]
        lost = journal.follow(7)  # 6 and 7 were shown and not written
        journal.add(9.0, Note("the coordinator came back"))
        new = await anext(events)
        assert new.sequence > 5 + module.RESTART_GAP
        assert await anext(lost) == new
        journal.add(10.0, DONE)
        assert [event.sequence async for event in events] == [new.sequence + 1]


async def test_a_job_that_had_ended_before_a_restart_is_told_to_its_end() -> None:
    journal = journal_of(2)
    journal.add(2.0, DONE)
    kept = [event async for event in journal.follow(0)]
    assert await read(Journal(kept)) == await read(journal)
    assert await read(Journal(kept), after=3) == []


async def first_of(journal: Journal, n: int) -> AsyncIterator[JobEvent]:
    """The first events of a job that goes on."""
    events = journal.follow(0)
    for _ in range(n):
        yield await anext(events)
