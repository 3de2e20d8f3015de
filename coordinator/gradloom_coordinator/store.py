"""The database: jobs, what happened to them, where their checkpoints are. SQLite in a file, or PostgreSQL by URL.

One connection, used by one thread at a time; it holds a lock, so that no second coordinator works on the same
jobs. Each ``apply`` is one transaction. What is applied twice counts once, because a connection that breaks during
a commit does not say whether it took place.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, select, text, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
)

from gradloom.errors import Conflict, InvalidInput, Unavailable, VersionMismatch
from gradloom_coordinator import tables as t
from gradloom_coordinator.changes import Change, StoredJob
from gradloom_coordinator.locks import lock_file
from gradloom_coordinator.store_changes import insert_into, write
from gradloom_coordinator.store_jobs import excluded_workers, stored_jobs

LOCK_KEY = 0x6772616C6F6F6D
"""Of PostgreSQL's advisory lock: one coordinator a database."""
LOCK_PATIENCE_S = 5.0
"""The server may take a moment to notice that the last coordinator is dead."""
ANSWER_LIMIT_S = 5
"""How long the database may take for one statement, or for a connection."""
BUSY_PAUSE_S = 0.1
OURS = (DataError, IntegrityError)
"""What is wrong with a value. All else that a driver says is about the database: it is away, locked, full, damaged."""


class Store:
    """One database. Every method raises Unavailable if it can't be reached, is locked or is full."""

    def __init__(self, url: URL) -> None:
        self.name = url.render_as_string(hide_password=True)
        self._engine = _engine(url)
        self._file = url.database if url.get_backend_name() == "sqlite" else None
        self._lock: IO[bytes] | None = None
        self._connection: Connection | None = None
        self._starts: int | None = None
        """The start that is ours; None until it is counted."""

    def open(self) -> int:
        """Make the tables that are missing, and count this start; 1 = the first one ever.

        Raises Conflict if another coordinator uses the database, VersionMismatch if a newer one has.
        """
        with self._transaction() as connection:
            t.metadata.create_all(connection)
            first = [{"key": "schema_version", "value": t.SCHEMA_VERSION}, {"key": "starts", "value": 0}]
            connection.execute(insert_into(connection, t.meta).on_conflict_do_nothing(), first)
            found = _meta(connection, "schema_version")
            if found > t.SCHEMA_VERSION:
                raise VersionMismatch(
                    f"{self.name} has tables of version {found}, this release knows up to {t.SCHEMA_VERSION};"
                    " a newer gradloom is needed"
                )
            counted = update(t.meta).where(t.meta.c.key == "starts").values(value=t.meta.c.value + 1)
            connection.execute(counted)
            starts = _meta(connection, "starts")
        self._starts = starts
        return starts

    def load(self) -> list[StoredJob]:
        """All jobs in the order of their submission. Raises VersionMismatch for what this release can't read."""
        with self._transaction() as connection:
            return stored_jobs(connection)

    def load_excluded(self) -> dict[str, str]:
        """The workers that people have excluded, with the reason."""
        with self._transaction() as connection:
            return excluded_workers(connection)

    def apply(self, changes: Iterable[Change]) -> None:
        """Write all changes in their order, or none."""
        with self._transaction() as connection:
            write(connection, changes)

    def close(self) -> None:
        """Let go of the connection and of the lock. Closing twice does nothing."""
        self._drop_connection()
        self._engine.dispose()
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            connection = self._connected()
            with connection.begin():
                yield connection
        except SQLAlchemyError as error:
            self._drop_connection()
            if isinstance(error, OURS) or not isinstance(error, DBAPIError):
                raise
            raise Unavailable(f"the database {self.name} can't be used: {_first_line(error)}") from error

    def _connected(self) -> Connection:
        if self._connection is None:
            if self._file is not None and self._lock is None:
                self._lock = lock_file(Path(f"{self._file}.lock"), self.name)
            connection = self._engine.connect()
            if self._file is None:
                self._take_advisory_lock(connection)
            self._connection = connection
            self._check_still_ours(connection)
        return self._connection

    def _check_still_ours(self, connection: Connection) -> None:
        """The lock goes with a connection that breaks: another coordinator may have had it and have written."""
        if self._starts is None or _meta(connection, "starts") == self._starts:
            connection.rollback()
            return
        self._drop_connection()
        raise Conflict(f"another coordinator has worked on {self.name} since; restart this one")

    def _take_advisory_lock(self, connection: Connection) -> None:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}).scalar():
            if time.monotonic() >= deadline:
                connection.close()
                raise Conflict(f"another coordinator works on {self.name}; stop it first")
            time.sleep(BUSY_PAUSE_S)
        connection.commit()

    def _drop_connection(self) -> None:
        """A connection that failed may hold half a transaction, or nothing at all."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.invalidate()
            connection.close()


def store_url(given: str, data_dir: Path) -> URL:
    """The database that a setting names; empty = a file in the data folder. Raises InvalidInput."""
    if not given:
        return URL.create("sqlite", database=str(data_dir / "gradloom.db"))
    try:
        url = make_url(given)
    except ArgumentError:
        raise InvalidInput("store_url", "it can't be read; write postgresql://user@host/database") from None
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg") or url.database in (None, "", ":memory:"):
        shown = url.render_as_string(hide_password=True)
        raise InvalidInput(
            "store_url", f"{shown!r} is not allowed; sqlite:///FILE and postgresql://USER@HOST/DATABASE are"
        )
    return url


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": ANSWER_LIMIT_S})
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    limit_ms = 1000 * ANSWER_LIMIT_S
    connect_args = {
        "connect_timeout": ANSWER_LIMIT_S,
        "tcp_user_timeout": limit_ms,
        "options": f"-c statement_timeout={limit_ms}",
    }
    try:
        return create_engine(url, connect_args=connect_args)
    except ModuleNotFoundError as error:
        raise InvalidInput(
            "store_url", f"PostgreSQL needs {error.name}; run: pip install 'gradloom[postgres]'"
        ) from None


def _prepare_sqlite(connection: Any, _: object) -> None:
    """What is acknowledged must outlive a power cut, hence FULL; readers beside us need the WAL."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _meta(connection: Connection, key: str) -> int:
    return int(connection.execute(select(t.meta.c.value).where(t.meta.c.key == key)).scalar_one())


def _first_line(error: SQLAlchemyError) -> str:
    said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return said.splitlines()[0] if said else type(error).__name__
