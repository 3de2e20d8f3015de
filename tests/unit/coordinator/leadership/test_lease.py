"""Who leads: the pure rules, the row in a real PostgreSQL, and the thread that keeps it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from builders.postgres import Postgres
from gradloom.errors import Conflict, InvalidInput, Unavailable
from gradloom.specs import DataSpec, JobSpec
from gradloom_coordinator.durability import changes as c
from gradloom_coordinator.durability import databases
from gradloom_coordinator.durability import store as store_module
from gradloom_coordinator.durability.databases import Fenced
from gradloom_coordinator.durability.store import Store, store_url
from gradloom_coordinator.durability.store_changes import write
from gradloom_coordinator.leadership import leading as leading_module
from gradloom_coordinator.leadership.leading import LOST, Leading, since_boot
from gradloom_coordinator.leadership.lease import STEP_DOWN_SHARE, Acquire, Lease, Tenure, Wait, bid
from gradloom_coordinator.leadership.lease_table import LeaseTable

TTL_S = 6.0
LONG_S = 60.0
LIMIT_S = 30.0


def added(job: str) -> c.JobAdded:
    return c.JobAdded(job, JobSpec("logistic", DataSpec(("/data",), "y")), "", 1.7e9)


# ---- the rules


def test_who_comes_first_leads() -> None:
    assert bid(None, 100.0, TTL_S) == Acquire("nobody has led here before")


def test_a_lease_that_has_ended_is_taken_and_one_that_holds_is_not() -> None:
    lease = Lease("x", "host:1", 3, 100.0)
    assert bid(lease, 99.5, TTL_S) == Wait(0.5, "standby; the leader is host:1")
    assert bid(lease, 90.0, TTL_S) == Wait(1.0, "standby; the leader is host:1")
    assert bid(lease, 100.0, TTL_S) == Acquire("the lease of host:1 has ended")


@given(
    asked=st.floats(0, 1e6),
    written_after=st.floats(0, 100),
    passed=st.floats(0, 1e4),
    offset=st.floats(-1e6, 1e6),
    ttl_s=st.floats(2, 300),
)
def test_whoever_may_begin_finds_that_the_one_before_has_stopped(
    asked: float, written_after: float, passed: float, offset: float, ttl_s: float
) -> None:
    tenure = Tenure(1, ttl_s, asked)
    now = asked + written_after + passed
    lease = Lease("x", "host:1", 1, offset + asked + written_after + ttl_s)
    if isinstance(bid(lease, offset + now, ttl_s), Acquire):
        assert tenure.is_over(now)


def test_a_lease_is_renewed_long_before_it_ends() -> None:
    tenure = Tenure(1, TTL_S, 100.0)
    assert tenure.renew_in_s(100.5) == pytest.approx(1.5)
    assert tenure.renew_in_s(200.0) == 0.0
    assert not tenure.is_over(104.9)
    assert tenure.is_over(100.0 + TTL_S * (1 - STEP_DOWN_SHARE))


# ---- the row


@pytest.fixture
def url(postgres: Postgres) -> URL:
    return store_url(postgres.new_database(), Path())


@pytest.fixture
def table(url: URL) -> Iterator[Callable[..., LeaseTable]]:
    made: list[LeaseTable] = []

    def make(name: str, ttl_s: float = LONG_S) -> LeaseTable:
        made.append(LeaseTable(url, name, f"{name}:50051", ttl_s))
        made[-1].prepare()
        return made[-1]

    yield make
    for one in made:
        one.close()


def leads(table: LeaseTable) -> int:
    """The epoch of its lease."""
    answer = table.bid(0.0)
    assert isinstance(answer, Tenure)
    return answer.epoch


def end_lease(url: URL) -> None:
    """As if its time had passed."""
    host = url.query["host"]
    with psycopg.connect(f"postgresql://tester@/{url.database}?host={host}") as connection:
        connection.execute("UPDATE leases SET expires_at = 0")


def test_of_two_one_leads_until_it_lets_go(table: Callable[..., LeaseTable]) -> None:
    one, two = table("one"), table("two")
    assert leads(one) == 1
    waits = two.bid(0.0)
    assert isinstance(waits, Wait)
    assert waits.reason == "standby; the leader is one:50051"
    assert 0 < waits.for_s <= LONG_S
    one.renew(1)
    one.release(1)
    assert leads(two) == 2
    with pytest.raises(Fenced, match=r"this coordinator has lost its lease; the leader is two:50051"):
        one.renew(1)
    one.release(1)
    two.renew(2)


def test_of_many_that_bid_at_once_one_wins(table: Callable[..., LeaseTable]) -> None:
    tables = [table(str(i)) for i in range(6)]
    answers: list[Tenure | Wait] = []
    threads = [threading.Thread(target=lambda t=one: answers.append(t.bid(0.0))) for one in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert sorted(isinstance(answer, Tenure) for answer in answers) == [False] * 5 + [True]


def test_tables_are_made_by_several_at_once(url: URL) -> None:
    tables = [LeaseTable(url, str(i), "", LONG_S) for i in range(6)]
    failed: list[Exception] = []

    def prepare(one: LeaseTable) -> None:
        try:
            one.prepare()
        except Exception as error:  # noqa: BLE001 - whatever it is, there must be none
            failed.append(error)

    threads = [threading.Thread(target=prepare, args=(one,)) for one in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    for one in tables:
        one.close()
    assert failed == []


def test_a_lease_needs_a_database_that_several_can_share(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"lease: .*store_url must name a PostgreSQL database"):
        LeaseTable(store_url("", tmp_path), "one", "", LONG_S)


# ---- the fence


def test_who_was_followed_writes_nothing_though_its_connection_is_whole(
    url: URL, table: Callable[..., LeaseTable]
) -> None:
    one, two = table("one"), table("two")
    with closing(Store(url, leads(one))) as old:
        old.open()
        old.apply([added("before")])
        end_lease(url)
        with closing(Store(url, leads(two))) as new:
            assert new.open() == 2
            new.apply([added("after")])
            for _ in range(2):
                with pytest.raises(Fenced, match="another coordinator has worked on"):
                    old.apply([added("late")])
            with pytest.raises(Fenced):
                old.open()
            assert [job.job for job in new.load()] == ["before", "after"]


def test_a_write_under_way_is_whole_before_another_one_leads(
    url: URL, table: Callable[..., LeaseTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = table("one"), table("two")
    inside, go_on = threading.Event(), threading.Event()

    def slow_write(*given: object) -> None:
        inside.set()
        assert go_on.wait(LIMIT_S)
        write(*given)

    epochs: list[int] = []
    with closing(Store(url, leads(one))) as old:
        old.open()
        monkeypatch.setattr(store_module, "write", slow_write)
        writing = threading.Thread(target=old.apply, args=([added("job")],))
        writing.start()
        assert inside.wait(LIMIT_S)
        end_lease(url)
        bidding = threading.Thread(target=lambda: epochs.append(leads(two)))
        bidding.start()
        bidding.join(0.2)
        assert epochs == [], "the write holds the epoch"
        go_on.set()
        for thread in (writing, bidding):
            thread.join(LIMIT_S)
        assert epochs == [2]
        monkeypatch.undo()
        assert [job.job for job in old.load()] == ["job"]


def test_one_that_stands_still_inside_a_write_keeps_nobody_waiting_for_long(
    url: URL, table: Callable[..., LeaseTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "ANSWER_LIMIT_S", 1.0)
    one, two = table("one"), table("two")
    with closing(Store(url, leads(one))) as old:
        old.open()

        def stand_still_and_go_on() -> None:
            with old._transaction() as stands:
                old._check_still_ours(stands)
                end_lease(url)
                assert leads(two) == 2
                write(stands, [added("late")])

        with pytest.raises(Unavailable, match="can't be used"):
            stand_still_and_go_on()
        assert old.load() == []


def test_one_without_a_lease_and_those_with_one_exclude_each_other(
    url: URL, table: Callable[..., LeaseTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "LOCK_PATIENCE_S", 0.2)
    leased = table("one")
    with closing(Store(url)) as alone:
        with pytest.raises(Conflict, match="another coordinator works on"):
            alone.open()
        leased.close()
        alone.open()
        with (
            closing(LeaseTable(url, "two", "", 2.0)) as late,
            pytest.raises(Conflict, match="another coordinator works without a lease on"),
        ):
            late.prepare()


# ---- the thread


class FakeTable:
    """A lease whose renewals go as ``answers`` say, then well."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.renewed = threading.Semaphore(0)
        self.released: list[int] = []

    def renew(self, epoch: int) -> None:
        self.renewed.release()
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer

    def release(self, epoch: int) -> None:
        self.released.append(epoch)

    def close(self) -> None:
        pass


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def leading(table: FakeTable, clock: FakeClock, lost: list[str], ttl_s: float = 0.06) -> Leading:
    told = Tenure(7, ttl_s, clock.now)
    return Leading(table, told, lost.append, clock)  # type: ignore[arg-type]


def test_a_lease_that_is_renewed_lasts_and_is_released_at_the_end() -> None:
    table, lost = FakeTable(Unavailable("away"), None), list[str]()
    one = leading(table, FakeClock(), lost)
    for _ in range(4):
        assert table.renewed.acquire(timeout=LIMIT_S)
    assert one.why_not() == ""
    assert one.release()
    assert (table.released, lost) == ([7], [])


def test_a_lease_that_another_one_has_is_lost_at_once() -> None:
    table, lost = FakeTable(Fenced("the leader is two")), list[str]()
    one = leading(table, FakeClock(), lost)
    one._watch.join(LIMIT_S)
    assert (lost, one.why_not()) == (["the leader is two"], LOST)
    assert not one.release()
    assert table.released == []


def test_a_lease_that_could_not_be_renewed_in_time_is_lost() -> None:
    clock, lost = FakeClock(), list[str]()

    class AndTimePasses(FakeTable):
        def renew(self, epoch: int) -> None:
            if one._trouble:
                clock.now += 0.05
            super().renew(epoch)

    one = leading(AndTimePasses(*[Unavailable("db.example is away")] * 10_000), clock, lost)
    one._watch.join(LIMIT_S)
    assert lost == [
        "this coordinator has lost its lease, it could not be renewed in time: db.example is away"
    ]
    assert one.why_not() == "this coordinator has lost its lease", "strangers need not know the database"


def test_no_call_is_let_in_once_the_time_is_over_though_nobody_has_looked_yet() -> None:
    clock, table = FakeClock(), FakeTable()
    one = leading(table, clock, [], ttl_s=LONG_S)
    assert one.why_not() == ""
    clock.now += LONG_S
    assert one.why_not() == LOST
    assert not one.release()


def test_what_a_refused_write_says_ends_it_too() -> None:
    lost: list[str] = []
    one = leading(FakeTable(), FakeClock(), lost, ttl_s=LONG_S)
    one.lose("another coordinator has worked on it")
    one._watch.join(LIMIT_S)
    assert lost == ["another coordinator has worked on it"]


class HangingTable(FakeTable):
    """Of a database that takes a statement and does not answer before ``answers`` is set."""

    def __init__(self, *, renews: bool = False) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.busy, self.renews = 0, renews

    def renew(self, epoch: int) -> None:
        super().renew(epoch)
        if not self.renews:
            self._hang()

    def release(self, epoch: int) -> None:
        self._hang()
        super().release(epoch)

    def close(self) -> None:
        assert self.busy == 0, "somebody uses the connection"

    def _hang(self) -> None:
        self.busy += 1
        assert self.goes_on.wait(LIMIT_S)
        self.busy -= 1


def test_a_lease_ends_in_time_though_the_database_hangs_and_its_connection_is_left_alone() -> None:
    clock, lost, table = FakeClock(), list[str](), HangingTable()
    one = leading(table, clock, lost)
    assert table.renewed.acquire(timeout=LIMIT_S)
    assert (one.why_not(), lost) == ("", [])
    clock.now += 0.05
    one._watch.join(LIMIT_S)
    assert lost == ["this coordinator has lost its lease, it could not be renewed in time"]
    assert not one.release()
    assert one._thread.is_alive()
    table.goes_on.set()
    one._thread.join(LIMIT_S)
    assert (table.released, len(lost)) == ([], 1), "an answer that comes too late changes nothing"


@pytest.mark.parametrize("renews", [False, True])
def test_letting_go_waits_for_a_database_that_hangs_no_longer_than_a_limit(
    renews: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading_module, "JOIN_LIMIT_S", 0.05)
    table, lost = HangingTable(renews=renews), list[str]()
    one = leading(table, FakeClock(), lost)
    assert table.renewed.acquire(timeout=LIMIT_S)
    assert not one.release(), "who knows whether it was released"
    table.goes_on.set()
    one._thread.join(LIMIT_S)
    assert lost == []


def test_a_lease_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr(time, "clock_gettime", {7: 1234.5}.__getitem__, raising=False)
    assert since_boot() == 1234.5
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    before = time.monotonic()
    assert before <= since_boot() <= time.monotonic()
