"""A connection to PostgreSQL that waits for no answer without end. Imported only where PostgreSQL is used.

The server's own limits don't help against a server process that stands still, or a network that swallows what it says.
"""

from collections.abc import Generator
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

R = TypeVar("R")

LOOK_EVERY_S = 0.1


class BoundedConnection(psycopg.Connection[Any]):
    """Raises OperationalError, and is closed, once nothing was heard for ``silence_limit_s`` where an answer is due."""

    silence_limit_s: float

    def wait(self, gen: PQGen[R], interval: float = LOOK_EVERY_S, timeout: float | None = None) -> R:
        """What ``gen`` comes to; whatever psycopg asks of the server goes through here."""
        limit_s = self.silence_limit_s if timeout is None else min(timeout, self.silence_limit_s)
        try:
            return super().wait(_in_time(gen, limit_s), min(interval, limit_s))
        except Silent:
            self.close()  # nothing but an answer to this could follow on it
            raise


class Silent(psycopg.OperationalError):
    """The server did not answer."""


def connect(silence_limit_s: float, arguments: dict[str, Any]) -> BoundedConnection:
    """A connection with psycopg's arguments; ``connect_timeout`` among them limits how long that takes."""
    connection = BoundedConnection.connect(**arguments)
    connection.silence_limit_s = silence_limit_s
    return connection


def _in_time(gen: PQGen[R], limit_s: float) -> Generator[Wait, Ready | int, R]:
    """The same conversation, as long as something comes."""
    try:
        wish = next(gen)
        heard_at = monotonic()
        while True:
            ready = yield wish
            wish = gen.send(ready)
            if ready:
                heard_at = monotonic()
            elif monotonic() - heard_at >= limit_s:
                raise Silent(f"it has not answered for {limit_s:g} s")
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
