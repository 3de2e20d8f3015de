"""Whose call is being answered: known from the door inwards to whatever runs for it."""

from contextvars import ContextVar
from dataclasses import dataclass

from gradloom.callers import CallerView
from gradloom_coordinator.access.identity import OPEN, Identity


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and from where."""

    identity: Identity = OPEN
    peer: str = ""
    """As gRPC names it: ``ipv4:10.0.0.7:41234``."""
    says: str = ""
    """Who they say they are; believed where nobody is asked."""

    @property
    def name(self) -> str:
        """What they are called in events and logs."""
        if not self.identity.is_open:
            return self.identity.name
        return self.says or self.peer

    @property
    def role(self) -> str:
        """In a word; empty = none."""
        return self.identity.role or ""

    def view(self) -> CallerView:
        """As the caller is told."""
        identity = self.identity
        expires = identity.token.expires if identity.token is not None else None
        return CallerView(identity.name, self.role, identity.how, expires)

    @property
    def key(self) -> str:
        """Tells callers apart that share what is limited."""
        return self.identity.name or host_of(self.peer)


CALLER: ContextVar[Caller] = ContextVar("caller", default=Caller())  # noqa: B039 - it is frozen
"""Of the call that this task answers."""


def host_of(peer: str) -> str:
    """The machine that a call comes from."""
    kind, _, rest = peer.partition(":")
    return rest.rpartition(":")[0] if kind in ("ipv4", "ipv6") else kind
