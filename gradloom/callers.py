"""Who calls a cluster, and what they have changed, as clients are told."""

from collections.abc import Mapping
from dataclasses import dataclass

MAX_AUDIT = 10_000
"""Records of the audit log that one call may ask for."""


@dataclass(frozen=True, slots=True)
class CallerView:
    """Whom the coordinator takes a caller for."""

    name: str
    """Empty = it asks nobody for a name."""
    role: str
    """viewer, operator, admin or worker; empty = none."""
    how: str
    """How it knows: token, certificate, both, or open (it asks nobody)."""
    expires: float | None
    """When the token ends, in seconds since the epoch; None = never, or there is none."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One call that changed something, or was to. ``at`` in seconds since the epoch."""

    at: float
    who: str
    role: str
    how: str
    """As in CallerView."""
    peer: str
    """Where the call came from, as gRPC names it: ``ipv4:10.0.0.7:41234``."""
    method: str
    """Without its service."""
    subject: str
    """The job or the worker; empty = neither."""
    fields: Mapping[str, str]
    """What was asked for; no secrets."""
    result: str
    """``ok``, or the name of an error."""
    detail: str
    """What the error said."""
