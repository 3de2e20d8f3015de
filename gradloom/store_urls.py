"""The URL of the database, as a person writes it. Pure: no database is asked."""

from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from gradloom.errors import InvalidInput


def parse_store_url(given: str) -> URL:
    """The database that is meant, with our driver. Raises InvalidInput if it can't be read or is of no kind we know."""
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
