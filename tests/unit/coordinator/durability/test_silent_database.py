"""A PostgreSQL that takes what it is asked and never answers: nobody waits for it without end."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from builders.postgres import Postgres, sessions, stopped
from builders.proxy import proxy_to
from gradloom.errors import Unavailable
from gradloom.settings import CoordinatorSettings
from gradloom.specs import DataSpec, JobSpec
from gradloom_coordinator.durability import changes as c
from gradloom_coordinator.durability import databases, durable
from gradloom_coordinator.durability.durable import Durable
from gradloom_coordinator.durability.locks import lock_file
from gradloom_coordinator.durability.store import Store, store_url
from gradloom_coordinator.durability.writer import Writer
from gradloom_coordinator.leadership import lease_table, standby
from gradloom_coordinator.leadership.lease import Tenure
from gradloom_coordinator.leadership.lease_table import LeaseTable
from gradloom_coordinator.leadership.standby import Standby

LIMIT_S = 30.0
ANSWER_LIMIT_S = 0.5
JOB = c.JobAdded("job", JobSpec("logistic", DataSpec(("/data",), "y")), "", 1.7e9)
SILENT = r"can't be used: it has not answered for 0\.55 s"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "ANSWER_LIMIT_S", ANSWER_LIMIT_S)


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.new_database()


def as_leader(url: URL) -> Store:
    """A store of one that leads: the lock that it leaves behind keeps nobody out."""
    with closing(LeaseTable(url, "one", "one:1", 60.0)) as table:
        table.prepare()
        answer = table.bid(0.0)
    assert isinstance(answer, Tenure)
    return Store(url, answer.epoch)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(as_leader(store_url(url, Path()))) as opened:
        opened.open()
        yield opened


def test_a_session_that_stands_still_is_given_up_for_another_one(url: str, store: Store) -> None:
    with stopped(*sessions(url)):
        with pytest.raises(Unavailable, match=SILENT):
            store.apply([JOB])
        store.apply([JOB])
        assert [job.job for job in store.load()] == ["job"]


def test_a_session_that_stands_still_does_not_keep_a_store_from_being_closed(url: str, store: Store) -> None:
    with stopped(*sessions(url)):
        store.close()


def test_a_network_that_swallows_everything_is_given_up(url: str, postgres: Postgres) -> None:
    with proxy_to(postgres.socket) as proxy:
        host, _, port = proxy.address.rpartition(":")
        far = store_url(url, Path()).set(host=host, port=int(port), query={})
        with closing(as_leader(far)) as store:
            store.open()
            proxy.swallow()
            with pytest.raises(Unavailable, match=SILENT):
                store.apply([JOB])
            with pytest.raises(Unavailable, match="connection timeout expired"):
                store.apply([JOB])
            proxy.mend()
            store.apply([JOB])


async def test_an_end_waits_for_the_last_writes_no_longer_than_a_limit(
    url: str, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "LAST_WRITES_S", 0.1)
    writing = threading.Event()

    class Told(Store):
        def apply(self, changes: object) -> None:
            writing.set()
            store.apply(changes)  # type: ignore[arg-type]

    told = Told(store_url(url, Path()), 1)
    writer = Writer(told, lambda _: None, lambda _: None)
    held = Durable(lock_file(tmp_path / "lock", "x"), told, writer)
    with stopped(*sessions(url)):
        writer.put(JOB, soon=True)
        assert await asyncio.to_thread(writing.wait, LIMIT_S)
        await held.close()
        assert writer._thread.is_alive(), "its connection is left to it"
        assert "the last changes were not written: the database postgresql" in caplog.text
        assert "did not answer for 0.1 s" in caplog.text
        held.lock = lock_file(tmp_path / "lock", "x")  # free for the next one
        held.lock.close()
    await asyncio.to_thread(writer._thread.join, LIMIT_S)
    assert not writer._thread.is_alive()


async def test_a_standby_that_is_told_to_stop_does_not_wait_for_the_database(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_table, "ANSWER_LIMIT_S", LIMIT_S)
    monkeypatch.setattr(standby, "STOP_LIMIT_S", 0.1)
    bid, close = LeaseTable.bid, LeaseTable.close
    asking, over, freezing = threading.Event(), threading.Event(), ExitStack()

    def of_a_frozen_session(table: LeaseTable, asked_at: float) -> object:
        freezing.enter_context(stopped(*sessions(url)))
        asking.set()
        try:
            return bid(table, asked_at)
        finally:
            close(table)
            over.set()

    def not_under_a_thread(_: LeaseTable) -> None:
        raise AssertionError("a thread uses its connection")

    monkeypatch.setattr(LeaseTable, "bid", of_a_frozen_session)
    monkeypatch.setattr(LeaseTable, "close", not_under_a_thread)
    settings = CoordinatorSettings(lease=True, checkpoint_uri="/somewhere", store_url=url, lease_ttl_s=300.0)
    stop = asyncio.Event()
    with freezing:
        turn = asyncio.create_task(Standby(settings).turn(stop, lambda _: None))
        assert await asyncio.to_thread(asking.wait, LIMIT_S)
        stop.set()
        assert await turn is None
        assert not over.is_set()
    assert await asyncio.to_thread(over.wait, LIMIT_S)
    assert "does not answer; this standby ends without it" in caplog.text
