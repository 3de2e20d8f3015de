"""The contract of the store, held by SQLite and by a real PostgreSQL alike."""

import errno
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, select, text, update
from sqlalchemy.engine import URL

from builders.postgres import Postgres
from gradloom.data.manifest import Columns, DataFile, Manifest, Piece, ShardPlan
from gradloom.errors import Conflict, InvalidInput, Unavailable, VersionMismatch
from gradloom.jobs import JobEvent, JobState, JobView, Note, RoundCompleted, StateChanged
from gradloom.specs import DataSpec, JobSpec
from gradloom_coordinator.durability import changes as c
from gradloom_coordinator.durability import databases, store_changes, store_jobs
from gradloom_coordinator.durability import tables as t
from gradloom_coordinator.durability.changes import StoredJob
from gradloom_coordinator.durability.store import Store, store_url

SPEC = JobSpec(
    "logistic",
    DataSpec(("/data/ü.parquet", "s3://b/*.csv"), "late", ("a", "b")),
    {"l2": "0.1", "solver": "adam"},
    test_fraction=0.2,
    seed=2**62 + 1,
    share_weight=2.5,
    required_labels={"zone": "a"},
    speculation="off",
)
MANIFEST = Manifest(
    (DataFile("/data/a.csv", "csv", 10, 2**40, "f00"),),
    Columns(("a", "b"), "late", None),
    (ShardPlan(0, 0, 4, (Piece(0, 0, 4, 10, 99, 1),)), ShardPlan(1, 4, 6, (Piece(0, 4, 6),))),
)
ROUND = RoundCompleted(3, 10, 0.1, None, None, 0.01, 1e-3, 1e6, 2, 5.0)


@pytest.fixture
def store(database: URL) -> Iterator[Store]:
    with closing(Store(database)) as opened:
        opened.open()
        yield opened


def added(job: str, token: str = "") -> c.JobAdded:
    return c.JobAdded(job, SPEC, token, 1.7e9)


def note(job: str, sequence: int, said: str = "so") -> c.EventAdded:
    return c.EventAdded(job, JobEvent(sequence, 1.7e9 + sequence, Note(said)))


def view(job: str, state: JobState = JobState.COMPLETED) -> JobView:
    return JobView(
        job, SPEC, state, "converged", 1.7e9, 12, 20, 0.25, {"test_accuracy": 0.9}, 1.5, 1e6, 10, 2
    )


def job_in(store: Store, job: str) -> StoredJob:
    return next(stored for stored in store.load() if stored.job == job)


def test_a_new_database_is_empty_and_its_starts_are_counted(database: URL) -> None:
    for start in (1, 2, 3):
        with closing(Store(database)) as store:
            assert store.open() == start
            assert store.load() == []


def test_a_job_comes_back_as_it_was_submitted_after_another_start(store: Store, database: URL) -> None:
    store.apply([added("one", "token")])
    store.close()
    with closing(Store(database)) as again:
        again.open()
        (job,) = again.load()
    assert (job.job, job.spec, job.client_token, job.created_at) == ("one", SPEC, "token", 1.7e9)
    assert (job.state, job.manifest, job.started_at, job.view) == (JobState.QUEUED, None, None, None)


def test_jobs_come_in_the_order_of_their_submission(store: Store) -> None:
    names = ["z", "a", "m", "b"]
    for name in names:
        store.apply([added(name)])
    assert [job.job for job in store.load()] == names


def test_the_life_of_a_job_is_kept_step_by_step(store: Store) -> None:
    store.apply([added("one"), c.JobStepped("one", JobState.PLANNING, "looking")])
    assert (job_in(store, "one").state, job_in(store, "one").reason) == (JobState.PLANNING, "looking")
    store.apply([c.JobPlaced("one", MANIFEST, 1.75e9), c.JobStepped("one", JobState.RUNNING, "10 rows")])
    running = job_in(store, "one")
    assert (running.state, running.manifest, running.started_at) == (JobState.RUNNING, MANIFEST, 1.75e9)
    store.apply([c.JobEnded(view("one"), "/models/one.safetensors", 1.8e9)])
    ended = job_in(store, "one")
    assert (ended.state, ended.reason, ended.view) == (JobState.COMPLETED, "converged", view("one"))
    assert (ended.model_path, ended.manifest) == ("/models/one.safetensors", None)


def test_words_that_no_database_takes_are_stored_without_their_odd_signs(store: Store) -> None:
    odd = replace(view("one"), reason="caf\udce9\0.csv")
    clean = replace(odd, reason="caf?.csv")
    store.apply([added("one", "to\0ken"), c.JobStepped("one", JobState.RUNNING, odd.reason)])
    assert (job_in(store, "one").reason, job_in(store, "one").client_token) == ("caf?.csv", "token")
    store.apply([c.JobEnded(clean, "/models/\0one", 1.8e9)])
    assert (job_in(store, "one").view, job_in(store, "one").model_path) == (clean, "/models/one")


def test_events_keep_their_numbers_and_their_order(store: Store) -> None:
    happened = [StateChanged(JobState.RUNNING, "so"), ROUND, Note("ß")]
    events = [JobEvent(5 + i, 1.7e9 + i / 8, what) for i, what in enumerate(happened)]
    store.apply([added("one"), added("other")])
    store.apply([c.EventAdded("one", event) for event in events] + [note("other", 1)])
    assert job_in(store, "one").events == tuple(events)
    assert [event.sequence for event in job_in(store, "other").events] == [1]


def test_what_is_written_twice_counts_once(store: Store) -> None:
    kept = c.CheckpointKept("one", 3, "file:///a", "f00", 1.7e9)
    steered = c.Steered("one", 7, "ann", 1.7e9, "learning_rate", "0.1", "0.01")
    batch = [added("one"), note("one", 1), note("one", 2), kept, steered]
    store.apply(batch)
    store.apply(batch)
    (job,) = store.load()
    assert [event.sequence for event in job.events] == [1, 2]
    assert (job.checkpoints, job.steering) == ((kept,), (steered,))


def test_the_newest_checkpoint_comes_first_and_a_round_has_one(store: Store) -> None:
    first, second, again = (
        c.CheckpointKept("one", round_, f"file:///{at}", "f00", float(at))
        for at, round_ in enumerate((10, 200, 10))
    )
    store.apply([added("one"), first, second])
    assert job_in(store, "one").checkpoints == (second, first)
    store.apply([again, c.CheckpointDropped("one", 200)])
    assert job_in(store, "one").checkpoints == (again,)


def test_a_change_that_can_t_be_written_takes_the_whole_transaction_back(store: Store) -> None:
    bad = c.JobAdded("two", SPEC, None, 1.7e9)  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"(?i)null"):
        store.apply([added("one"), bad])
    assert store.load() == []
    store.apply([added("one")])
    assert [job.job for job in store.load()] == ["one"]


def test_nothing_is_left_of_forgotten_jobs(store: Store, database: URL) -> None:
    kept = [c.CheckpointKept(job, 1, "u", "s", 1.0) for job in ("one", "two", "three")]
    steered = [c.Steered(job, 1, "ann", 1.0, "field", "old", "new") for job in ("one", "two", "three")]
    store.apply([change for job in ("one", "two", "three") for change in (added(job), note(job, 1))])
    store.apply([*kept, *steered, c.JobsForgotten(("one", "three"))])
    assert [job.job for job in store.load()] == ["two"]
    engine = create_engine(database)
    with engine.connect() as connection:
        for table in (t.jobs, t.events, t.checkpoints, t.steering):
            assert connection.execute(select(func.count()).select_from(table)).scalar() == 1
    engine.dispose()


def test_of_many_events_the_oldest_go_and_the_newest_are_at_hand(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_changes, "MAX_EVENTS", 50)
    monkeypatch.setattr(store_changes, "PRUNE_EVERY", 10)
    store.apply([added("one"), added("two"), *(note("two", i) for i in range(1, 6))])
    store.apply([note("one", i) for i in range(1, 105)])
    assert [event.sequence for event in job_in(store, "one").events] == list(range(55, 105))
    assert len(job_in(store, "two").events) == 5
    monkeypatch.setattr(store_jobs, "LOADED_EVENTS", 3)
    assert [event.sequence for event in job_in(store, "one").events] == [102, 103, 104]


def test_the_leap_of_the_numbers_at_a_restart_costs_no_event(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_changes, "MAX_EVENTS", 50)
    monkeypatch.setattr(store_changes, "PRUNE_EVERY", 10)
    store.apply([added("one"), *(note("one", i) for i in range(1, 26))])
    store.apply([note("one", 1000 + i) for i in range(1, 11)])
    assert len(job_in(store, "one").events) == 35
    store.apply([note("one", 2000 + i) for i in range(1, 31)])
    assert [event.sequence for event in job_in(store, "one").events][:2] == [16, 17]


def test_a_second_coordinator_is_refused_until_the_first_has_gone(
    store: Store, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "LOCK_PATIENCE_S", 0.3)
    with closing(Store(database)) as second:
        with pytest.raises(Conflict, match=r"another coordinator works on .*; stop it first"):
            second.open()
        store.close()
        assert second.open() == 2


def test_who_lost_its_place_to_another_coordinator_never_writes_again(postgres: Postgres) -> None:
    url = store_url(postgres.new_database(), Path())
    with closing(Store(url)) as first, closing(Store(url)) as second:
        first.open()
        first.apply([added("one")])
        first._drop_connection()
        first.apply([added("two")])
        first._drop_connection()
        second.open()
        second.close()
        for _ in range(2):
            with pytest.raises(
                Conflict, match=r"another coordinator has worked on .* since; restart this one"
            ):
                first.apply([added("three")])
        with closing(Store(url)) as third:
            assert third.open() == 3
            assert [job.job for job in third.load()] == ["one", "two"]


def test_a_lock_that_can_t_be_taken_for_another_reason_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with (
        closing(Store(store_url("", tmp_path))) as store,
        pytest.raises(Unavailable, match="No locks available"),
    ):
        store.open()


def test_tables_of_a_newer_release_are_refused(store: Store, database: URL) -> None:
    store.close()
    engine = create_engine(database)
    with engine.begin() as connection:
        connection.execute(update(t.meta).where(t.meta.c.key == "schema_version").values(value=9))
    engine.dispose()
    with (
        closing(Store(database)) as older,
        pytest.raises(VersionMismatch, match="version 9, this release knows"),
    ):
        older.open()


def test_a_job_that_can_t_be_read_is_named(store: Store, database: URL) -> None:
    store.apply([added("strange")])
    store.close()
    engine = create_engine(database)
    with engine.begin() as connection:
        connection.execute(update(t.jobs).values(state="enchanted"))
    engine.dispose()
    with closing(Store(database)) as again:
        again.open()
        with pytest.raises(VersionMismatch, match=r"job strange .*enchanted"):
            again.load()


# ---- what only one of them can suffer


def test_a_locked_file_is_said_to_be_and_works_again_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "ANSWER_LIMIT_S", 0.1)
    url = store_url("", tmp_path)
    with closing(Store(url)) as store:
        store.open()
        engine = create_engine(url)
        with engine.connect() as other:
            other.execute(text("BEGIN IMMEDIATE"))
            with pytest.raises(Unavailable, match="can't be used: database is locked"):
                store.apply([added("one")])
        engine.dispose()
        store.apply([added("one")])
        assert len(store.load()) == 1


def test_a_damaged_file_is_a_database_that_can_t_be_used(tmp_path: Path) -> None:
    url = store_url("", tmp_path)
    with closing(Store(url)) as store:
        store.open()
    (tmp_path / "gradloom.db").write_bytes(b"what was this?" * 1000)
    with closing(Store(url)) as store, pytest.raises(Unavailable, match="file is not a database"):
        store.apply([added("one")])


def test_a_table_that_is_gone_is_a_database_that_can_t_be_used(store: Store, database: URL) -> None:
    engine = create_engine(database)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE jobs"))
    engine.dispose()
    with pytest.raises(Unavailable, match=r"can't be used: .*jobs"):
        store.apply([added("one")])


def test_a_server_that_is_away_is_said_to_be_and_is_connected_to_again(postgres: Postgres) -> None:
    with closing(Store(store_url(postgres.new_database(), Path()))) as store:
        store.open()
        store.apply([added("one")])
        postgres.stop()
        try:
            for _ in range(2):
                with pytest.raises(Unavailable, match=r"the database postgresql.* can't be used"):
                    store.apply([added("two")])
        finally:
            postgres.start()
        store.apply([added("two")])
        assert [job.job for job in store.load()] == ["one", "two"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("mysql://host/db", "is not allowed; sqlite:///FILE and postgresql://"),
        ("sqlite://", "is not allowed"),
        ("sqlite:///:memory:", "is not allowed"),
        ("postgresql://user:secret@host", r"'postgresql\+psycopg://user:\*\*\*@host' is not allowed"),
        ("nonsense", "it can't be read"),
    ],
)
def test_urls_that_mean_no_database_are_refused(given: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"store_url: .*{why}"):
        store_url(given, Path())


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    store = Store(store_url(f"sqlite:///{tmp_path}/nowhere/x.db", tmp_path))
    with (
        closing(store),
        pytest.raises(Unavailable, match=r"nowhere.* can't be made"),
    ):
        store.open()


@pytest.mark.parametrize(
    "hostile", ["'; DROP TABLE jobs; --", '"', "%", "_", "\\", "w%27 OR 1=1", "ü\U0001f600", "a\tb\nc"]
)
def test_whatever_people_type_is_a_value_and_never_a_statement(store: Store, hostile: str) -> None:
    """Names are compared as a whole: no wildcard, no quote and no statement in one touches another job or worker."""
    other = added("job")
    mine = c.JobAdded("mine", replace(SPEC, data=DataSpec((hostile,), hostile)), hostile, 1.7e9)
    excluded = c.Steered("", 0, hostile, 1.7e9, f"excluded:{hostile}", "", hostile)
    store.apply([other, mine, note("job", 1), note("mine", 1, hostile), excluded])
    store.apply([c.JobStepped("mine", JobState.RUNNING, hostile)])
    found = job_in(store, "mine")
    assert (found.spec.data.uris, found.client_token, found.reason) == ((hostile,), hostile, hostile)
    assert [event.what for event in found.events] == [Note(hostile)]
    assert job_in(store, "job").spec == SPEC
    assert store.load_excluded() == {hostile: hostile}
    store.apply([c.JobsForgotten((hostile,))])
    assert len(store.load()) == 2
