"""Connections to SQLite and PostgreSQL: what each is set to, who may work on it, and how what goes wrong is said."""

import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gradloom.errors import Conflict, InvalidInput, VersionMismatch
from gradloom.store_urls import parse_store_url
from gradloom_coordinator.durability import tables as t
from gradloom_coordinator.durability.store_changes import insert_into

LOCK_KEY = 0x6772616C6F6F6D
"""Of PostgreSQL's advisory lock: one coordinator a database, or any number that go by a lease."""
TABLES_KEY = LOCK_KEY + 1
"""Of the one that is held while tables are made: two that start at once would both make them."""
LOCK_PATIENCE_S = 5.0
"""The server may take a moment to notice that the last coordinator is dead."""
ANSWER_LIMIT_S = 5
"""How long the database may take for one statement, or for a connection."""
FEWEST_CONNECT_S = 2
"""libpq takes no shorter limit."""
SILENCE_TIMES = 1.1
"""Of that limit: after so long without a word a connection is given up. The server, if it runs, says more before."""
GONE_AFTER_S = 12
"""A coordinator whose machine does not answer for so long is dead to PostgreSQL, which lets go of its locks."""
BUSY_PAUSE_S = 0.1


class Fenced(Conflict):
    """Another coordinator has worked on the database since: this one may write nothing any more, ever."""


def store_url(given: str, data_dir: Path) -> URL:
    """The database that a setting names; empty = a file in the data folder. Raises InvalidInput."""
    if not given:
        return URL.create("sqlite", database=str(data_dir / "gradloom.db"))
    return parse_store_url(given)


def engine_of(url: URL, answer_limit_s: float | None = None) -> Engine:
    """Connections that answer within the limit or fail; None = ANSWER_LIMIT_S. Raises InvalidInput without a driver.

    PostgreSQL also ends a session that stands still in the middle of a transaction for so long: a process that does
    not run keeps nobody waiting for its locks. Nor does a machine that has vanished: the server notices soon.
    """
    limit_s = ANSWER_LIMIT_S if answer_limit_s is None else answer_limit_s
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": limit_s})
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    try:
        engine = create_engine(url, connect_args=_limits(limit_s))
        from gradloom_coordinator.durability.bounded_connection import connect
    except ModuleNotFoundError as error:
        raise InvalidInput(
            "store_url", f"PostgreSQL needs {error.name}; run: pip install 'gradloom[postgres]'"
        ) from None

    def bounded(_: object, __: object, ___: object, arguments: dict[str, Any]) -> object:
        return connect(limit_s * SILENCE_TIMES, arguments)

    event.listen(engine, "do_connect", bounded)
    return engine


def _limits(limit_s: float) -> dict[str, str | int]:
    """What libpq is told, and through it the server."""
    limit_ms = int(1000 * limit_s)
    server = {
        "statement_timeout": limit_ms,
        "idle_in_transaction_session_timeout": limit_ms,
        "tcp_user_timeout": 1000 * GONE_AFTER_S,
        "tcp_keepalives_idle": GONE_AFTER_S // 3,
        "tcp_keepalives_interval": GONE_AFTER_S // 6,
        "tcp_keepalives_count": 4,
    }
    return {
        "connect_timeout": max(FEWEST_CONNECT_S, round(limit_s)),
        "tcp_user_timeout": limit_ms,
        "options": " ".join(f"-c {name}={value}" for name, value in server.items()),
    }


def _prepare_sqlite(connection: Any, _: object) -> None:
    """What is acknowledged must outlive a power cut, hence FULL; readers beside us need the WAL."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def take_lock(connection: Connection, name: str, *, shared: bool, patience_s: float | None = None) -> None:
    """Take PostgreSQL's lock for as long as the connection lives; ``shared`` with others that go by a lease.

    Raises Conflict if it is not to be had within ``patience_s``, None = LOCK_PATIENCE_S. The connection is closed then.
    """
    deadline = time.monotonic() + (LOCK_PATIENCE_S if patience_s is None else patience_s)
    function = func.pg_try_advisory_lock_shared if shared else func.pg_try_advisory_lock
    while not connection.execute(select(function(LOCK_KEY))).scalar():
        if time.monotonic() >= deadline:
            connection.close()
            how = "without a lease " if shared else ""
            raise Conflict(
                f"another coordinator works {how}on {name}; stop it first"
                f" (of one that has vanished nothing is left there after {GONE_AFTER_S} s)"
            )
        time.sleep(BUSY_PAUSE_S)
    connection.commit()


def make_tables(connection: Connection, name: str) -> None:
    """Make those that are missing. Raises VersionMismatch if a newer release has made them."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": TABLES_KEY})
    t.metadata.create_all(connection)
    first = [{"key": "schema_version", "value": t.SCHEMA_VERSION}, {"key": "starts", "value": 0}]
    connection.execute(insert_into(connection, t.meta).on_conflict_do_nothing(), first)
    found = meta(connection, "schema_version")
    if found > t.SCHEMA_VERSION:
        raise VersionMismatch(
            f"{name} has tables of version {found}, this release knows up to {t.SCHEMA_VERSION};"
            " a newer gradloom is needed"
        )


def meta(connection: Connection, key: str, *, keep: bool = False) -> int:
    """A value of the table ``meta``. ``keep``: nobody can change it before this transaction has ended."""
    found = select(t.meta.c.value).where(t.meta.c.key == key)
    return int(connection.execute(found.with_for_update(read=True) if keep else found).scalar_one())


def first_line(error: SQLAlchemyError) -> str:
    """What a driver says, in short."""
    said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return said.splitlines()[0] if said else type(error).__name__
