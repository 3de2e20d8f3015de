"""The lease in PostgreSQL: one row, taken and renewed in short transactions on a connection of its own.

Everything here blocks, each statement for little more than a third of the lease's time. The connection also holds a
share of the lock that a coordinator without a lease takes for itself alone: the two kinds never work on one database
together.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, func, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gradloom.errors import InvalidInput, Unavailable
from gradloom_coordinator.durability import tables as t
from gradloom_coordinator.durability.databases import (
    ANSWER_LIMIT_S,
    Fenced,
    engine_of,
    first_line,
    make_tables,
    take_lock,
)
from gradloom_coordinator.durability.store_changes import insert_into
from gradloom_coordinator.leadership.lease import RENEWALS, Acquire, Lease, Tenure, Wait, bid

LEADER = "leader"
"""The row's name."""
NOBODY = {"name": LEADER, "holder": "", "address": "", "epoch": 0, "reason": "", "expires_at": 0.0}
_now = func.extract("epoch", func.clock_timestamp())


class LeaseTable:
    """The lease as one coordinator sees it. Raises Unavailable if the database can't be reached.

    ``holder`` tells this process from all others, ``address`` is where it would lead. Raises InvalidInput if the
    database is not PostgreSQL.
    """

    def __init__(self, url: URL, holder: str, address: str, ttl_s: float) -> None:
        self.name = url.render_as_string(hide_password=True)
        if url.get_backend_name() != "postgresql":
            raise InvalidInput(
                "lease",
                f"{self.name} can't be shared by coordinators; store_url must name a PostgreSQL database",
            )
        self._holder, self._address, self._ttl_s = holder, address, ttl_s
        self._engine = engine_of(url, answer_limit_s=min(ttl_s / RENEWALS, ANSWER_LIMIT_S))
        self._connection: Connection | None = None

    def prepare(self) -> None:
        """Make the tables that are missing.

        Raises Conflict if a coordinator without a lease uses the database, VersionMismatch if a newer one has.
        """
        with self._transaction() as connection:
            make_tables(connection, self.name)
            # a row that is not there can't be locked: of two that bid first, both would win
            connection.execute(insert_into(connection, t.leases).values(NOBODY).on_conflict_do_nothing())

    def bid(self, asked_at: float) -> Tenure | Wait:
        """Take the lease if it is free; ``asked_at`` is now, by the clock of the Tenure. Else when to look again."""
        with self._transaction() as connection:
            lease, now = self._read(connection)
            answer = bid(lease, now, self._ttl_s)
            if isinstance(answer, Wait):
                return answer
            return Tenure(self._take(connection, answer), self._ttl_s, asked_at, answer.reason)

    def renew(self, epoch: int) -> None:
        """Have the lease of this epoch last longer. Raises Fenced if another coordinator has led since."""
        with self._transaction() as connection:
            mine = (t.leases.c.name == LEADER) & (t.leases.c.epoch == epoch)
            renewal = update(t.leases).where(mine).values(expires_at=_now + self._ttl_s)
            if connection.execute(renewal).rowcount == 0:
                lease, _ = self._read(connection)
                raise Fenced(
                    f"this coordinator has lost its lease; the leader is {lease.address if lease else 'gone'}"
                )

    def release(self, epoch: int) -> None:
        """Let another one lead at once."""
        with self._transaction() as connection:
            mine = (t.leases.c.name == LEADER) & (t.leases.c.epoch == epoch)
            connection.execute(update(t.leases).where(mine).values(expires_at=_now))

    def close(self) -> None:
        """Let go of the connection. Closing twice does nothing."""
        self._drop_connection()
        self._engine.dispose()

    def _read(self, connection: Connection) -> tuple[Lease | None, float]:
        row = connection.execute(select(t.leases).where(t.leases.c.name == LEADER).with_for_update()).one()
        lease = Lease(row.holder, row.address, row.epoch, row.expires_at) if row.epoch else None
        return lease, float(connection.execute(select(_now)).scalar_one())

    def _take(self, connection: Connection, answer: Acquire) -> int:
        """The epoch is the count of starts, which stands where every write looks; it waits for writes under way."""
        counted = update(t.meta).where(t.meta.c.key == "starts").values(value=t.meta.c.value + 1)
        epoch = int(connection.execute(counted.returning(t.meta.c.value)).scalar_one())
        row = {
            "holder": self._holder,
            "address": self._address,
            "epoch": epoch,
            "reason": answer.reason,
            "expires_at": _now + self._ttl_s,
        }
        connection.execute(update(t.leases).where(t.leases.c.name == LEADER).values(row))
        return epoch

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            if self._connection is None:
                connection = self._engine.connect()
                take_lock(connection, self.name, shared=True, patience_s=self._ttl_s / RENEWALS)
                self._connection = connection
            with self._connection.begin():
                yield self._connection
        except SQLAlchemyError as error:
            self._drop_connection()
            if not isinstance(error, DBAPIError):
                raise
            raise Unavailable(f"the database {self.name} can't be used: {first_line(error)}") from error

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.invalidate()
            connection.close()
