"""Moments in JSON, as all commands write them but those that hand on what a service says."""

from datetime import UTC, datetime


def iso_time(at: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC; None stays None."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
