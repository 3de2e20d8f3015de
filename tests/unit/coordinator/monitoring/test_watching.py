"""Those who watch a cluster: told at once, not too often, and never more than how it stands now."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from builders.rooms import a_worker
from gradloom.errors import Overloaded
from gradloom.jobs import JobView, WorkerView
from gradloom.watching import ClusterChange
from gradloom_coordinator.monitoring import watching as module
from gradloom_coordinator.monitoring.watching import Watching


@dataclass
class Cluster:
    """Is looked at; each look may find another number of rows."""

    rows: int = 0
    looks: int = 0
    fails: bool = False
    names: list[str] = field(default_factory=lambda: ["worker-0"])
    looked_again: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self) -> tuple[list[WorkerView], list[JobView]]:
        self.looks += 1
        if self.looks == 2:
            self.looked_again.set()
        if self.fails:
            raise RuntimeError("it can't be looked at")
        return [a_worker(name, rows=self.rows) for name in self.names], []


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(module, "MIN_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "MAX_SHARE", 1e9)
    monkeypatch.setattr(module, "REFRESH_S", 60.0)
    return Cluster()


async def told(changes: AsyncIterator[ClusterChange]) -> ClusterChange:
    async with asyncio.timeout(20):
        return await anext(changes)


def rows_in(change: ClusterChange) -> list[int]:
    return [worker.rows for worker in change.workers]


async def test_nobody_watches_and_nothing_is_looked_at(cluster: Cluster) -> None:
    watching = Watching(cluster)
    watching.news()
    await asyncio.sleep(0)
    assert cluster.looks == 0
    async with aclosing(watching.follow()) as changes:
        await told(changes)
    looks = cluster.looks
    watching.news()
    await asyncio.sleep(0)
    assert cluster.looks == looks, "the last one has gone"


async def test_everybody_is_told_the_same_by_one_look(cluster: Cluster) -> None:
    watching = Watching(cluster)
    async with aclosing(watching.follow()) as one, aclosing(watching.follow()) as other:
        first, second = await told(one), await told(other)
        assert first is second
        assert (first.anew, rows_in(first), cluster.looks) == (True, [0], 1)
        cluster.rows = 7
        watching.news()
        first, second = await told(one), await told(other)
        assert first is second
        assert (first.anew, rows_in(first), cluster.looks) == (False, [7], 2)
    watching.close()


async def test_much_news_is_told_as_one(cluster: Cluster) -> None:
    watching = Watching(cluster)
    async with aclosing(watching.follow()) as changes:
        await told(changes)
        for cluster.rows in range(1, 1001):
            watching.news()
        assert rows_in(await told(changes)) == [1000]
        assert cluster.looks == 2


async def test_who_reads_slowly_is_told_only_how_it_stands_now(cluster: Cluster) -> None:
    watching = Watching(cluster)
    async with aclosing(watching.follow()) as slow, aclosing(watching.follow()) as quick:
        assert rows_in(await told(slow)) == [0]
        await told(quick)
        for cluster.rows in range(1, 6):
            watching.news()
            assert rows_in(await told(quick)) == [cluster.rows]
        late = await told(slow)
        assert (late.anew, rows_in(late), late.sequence) == (False, [5], 6)


async def test_news_that_change_nothing_are_not_told(cluster: Cluster) -> None:
    watching = Watching(cluster)
    async with aclosing(watching.follow()) as changes:
        await told(changes)
        watching.news()
        waiting = asyncio.ensure_future(told(changes))
        await asyncio.wait_for(cluster.looked_again.wait(), 20)
        assert not waiting.done()
        cluster.names.append("worker-1")
        watching.news()
        assert [worker.worker for worker in (await waiting).workers] == ["worker-1"]


async def test_silence_is_broken_now_and_then(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 0.02)
    watching = Watching(cluster)
    async with aclosing(watching.follow()) as changes:
        await told(changes)
        quiet = await told(changes)
        assert (quiet.sequence, quiet.workers, quiet.anew) == (1, (), False)


async def test_the_end_of_the_coordinator_ends_all_streams(cluster: Cluster) -> None:
    watching = Watching(cluster)
    async with aclosing(watching.follow()) as changes:
        await told(changes)
        waiting = asyncio.ensure_future(anext(changes, None))
        await asyncio.sleep(0)
        watching.close()
        async with asyncio.timeout(20):
            assert await waiting is None
    assert [change async for change in watching.follow()] == []


async def test_a_look_that_fails_is_tried_again(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    watching = Watching(cluster)
    async with aclosing(watching.follow()) as changes:
        await told(changes)
        cluster.fails = True
        watching.news()
        await asyncio.wait_for(cluster.looked_again.wait(), 20)
        cluster.fails, cluster.rows = False, 3
        watching.news()
        assert rows_in(await told(changes)) == [3]
    assert "the cluster could not be looked at" in caplog.text


async def test_too_many_are_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WATCHERS", 1)
    watching = Watching(cluster)
    async with aclosing(watching.follow()) as changes:
        await told(changes)
        with pytest.raises(Overloaded, match="1 watch the cluster already, as many as may"):
            await anext(watching.follow())
    async with aclosing(watching.follow()) as changes:
        assert (await told(changes)).anew


async def test_looking_takes_a_small_share_of_the_time(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    pause = asyncio.sleep

    async def paused(seconds: float) -> None:
        pauses.append(seconds)
        await pause(0)

    monkeypatch.setattr(module, "MAX_SHARE", 1e-12)
    monkeypatch.setattr(module.asyncio, "sleep", paused)
    watching = Watching(cluster)
    async with aclosing(watching.follow()) as changes:
        await told(changes)
    assert pauses[0] > 60.0
