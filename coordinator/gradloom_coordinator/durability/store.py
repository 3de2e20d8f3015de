"""The database: jobs, what happened to them, where their checkpoints are. SQLite in a file, or PostgreSQL by URL.

One connection, used by one thread at a time; it holds a lock, so that no second coordinator works on the same
jobs, or shares it with others that go by a lease: then ``epoch`` names the lease that every write depends on. Each
``apply`` is one transaction. What is applied twice counts once, because a connection that breaks during a commit does
not say whether it took place.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
)

from gradloom.errors import Unavailable
from gradloom_coordinator.durability import tables as t
from gradloom_coordinator.durability.changes import Change, StoredJob
from gradloom_coordinator.durability.databases import (
    Fenced,
    engine_of,
    first_line,
    make_tables,
    meta,
    store_url,
    take_lock,
)
from gradloom_coordinator.durability.locks import lock_file
from gradloom_coordinator.durability.store_changes import write
from gradloom_coordinator.durability.store_jobs import excluded_workers, stored_jobs

__all__ = ["Store", "store_url"]

OURS = (DataError, IntegrityError)
"""What is wrong with a value. All else that a driver says is about the database: it is away, locked, full, damaged."""


class Store:
    """One database. Every method raises Unavailable if it can't be reached, is locked or is full."""

    def __init__(self, url: URL, epoch: int | None = None) -> None:
        self.name = url.render_as_string(hide_password=True)
        self._engine = engine_of(url)
        self._file = url.database if url.get_backend_name() == "sqlite" else None
        self._lock: IO[bytes] | None = None
        self._connection: Connection | None = None
        self._leased = epoch is not None
        self._starts = epoch
        """The start that is ours; None until it is counted."""

    def open(self) -> int:
        """Make the tables that are missing, and count this start; 1 = the first one ever.

        Raises Conflict if another coordinator uses the database, VersionMismatch if a newer one has.
        """
        with self._transaction() as connection:
            make_tables(connection, self.name)
            if self._starts is None:
                counted = update(t.meta).where(t.meta.c.key == "starts").values(value=t.meta.c.value + 1)
                connection.execute(counted)
            self._check_still_ours(connection)
            starts = meta(connection, "starts")
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
        """Write all changes in their order, or none. Raises Fenced if another coordinator has begun since."""
        with self._transaction() as connection:
            self._check_still_ours(connection)
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
        except Fenced:
            self._drop_connection()  # and the lock with it: it is another's
            raise
        except SQLAlchemyError as error:
            self._drop_connection()
            if isinstance(error, OURS) or not isinstance(error, DBAPIError):
                raise
            raise Unavailable(f"the database {self.name} can't be used: {first_line(error)}") from error

    def _connected(self) -> Connection:
        if self._connection is None:
            if self._file is not None and self._lock is None:
                self._lock = lock_file(Path(f"{self._file}.lock"), self.name)
            connection = self._engine.connect()
            if self._file is None:
                take_lock(connection, self.name, shared=self._leased)
            self._connection = connection
        return self._connection

    def _check_still_ours(self, connection: Connection) -> None:
        """In the transaction that writes, so that nobody can begin in between.

        The lock goes with a connection that breaks, and a lease with the time: another coordinator may have written.
        """
        if self._starts is None or self._file is not None:
            return
        if meta(connection, "starts", keep=True) != self._starts:
            raise Fenced(f"another coordinator has worked on {self.name} since; restart this one")

    def _drop_connection(self) -> None:
        """A connection that failed may hold half a transaction, or nothing at all."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.invalidate()
            connection.close()
