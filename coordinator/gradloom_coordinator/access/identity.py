"""Who a caller is, from the certificate and the token that it shows, and whether that suffices for a method.

=================  =================  =====================================================================
coordinator has    caller shows       it is
=================  =================  =====================================================================
neither            anything           **open**: everybody who reaches the port may do everything
tokens             a token            who the token stands for
TLS                a certificate      its common name (CN), in the role of its organizational unit (OU)
tokens and TLS     both               who the token stands for; a call must be allowed by **both** roles
tokens and TLS     a certificate      as with TLS alone
=================  =================  =====================================================================

A certificate without a role lets nobody in by itself, and takes nothing from a token. A token that is shown must be a
good one, also beside a certificate that would suffice.
"""

from dataclasses import dataclass
from enum import StrEnum

from gradloom.errors import GradloomError, NotAllowed, Unauthenticated
from gradloom.roles import Role, least, suffices
from gradloom.tokens import Token
from gradloom_coordinator.access.table import RULES, short

MAKE_ONE = "an administrator makes one with: gradloom token create NAME --role ROLE --file FILE"


NAME = "name"
"""The kind of a refusal to a worker that comes under another's name."""


class How(StrEnum):
    """How it is known who somebody is."""

    OPEN = "open"
    TOKEN = "token"  # noqa: S105 - the word
    CERTIFICATE = "certificate"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Asks:
    """What the coordinator asks of its callers."""

    tokens: bool
    tls: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """What a caller shows. ``has_token`` and no ``token``: one that is not known, or not readable."""

    has_token: bool = False
    token: Token | None = None
    name: str = ""
    """Of its certificate; empty = it has none."""
    role: str = ""
    """The organizational unit of its certificate."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller. ``role`` None = none of the roles that there are."""

    name: str
    role: Role | None
    how: How
    token: Token | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody was asked who they are."""
        return self.how is How.OPEN


OPEN = Identity("", Role.ADMIN, How.OPEN)


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a call is refused: nobody knows who calls, or they may not."""

    kind: str
    """``token``, ``certificate``, ``role`` or NAME, for the metrics."""
    error: GradloomError


def identify(asks: Asks, shown: Shown, now: float) -> Identity | Denied:
    """Who a caller is. ``now`` in seconds since the epoch."""
    if not asks.tokens and not asks.tls:
        return OPEN
    if asks.tokens and shown.has_token:
        problem = _problem(shown.token, now)
        if problem:
            return Denied("token", Unauthenticated(f"{problem}; {MAKE_ONE}"))
    token = shown.token if asks.tokens else None
    if token is None and not asks.tls:
        return Denied(
            "token",
            Unauthenticated(
                f"this cluster wants a token: set GRADLOOM_TOKEN or GRADLOOM_TOKEN_FILE; {MAKE_ONE}"
            ),
        )
    if token is None and not shown.name:
        return Denied("certificate", Unauthenticated("the certificate of the caller has no common name (CN)"))
    role = next((role for role in Role if role == shown.role), None)
    if token is None:
        return Identity(shown.name, role, How.CERTIFICATE)
    if not shown.name or role is None:
        return Identity(token.name, token.role, How.TOKEN, token)
    return Identity(token.name, least(token.role, role), How.BOTH, token)


def _problem(token: Token | None, now: float) -> str:
    if token is None:
        return "the token is not known to this cluster: it was revoked, or is that of another one"
    return "the token has expired" if token.expired(now) else ""


def decide(identity: Identity, method: str) -> Denied | None:
    """Whether a caller may use a method, by its full name; None = yes."""
    if identity.is_open:
        return None
    rule = RULES.get(method)
    if rule is None:
        return Denied("role", NotAllowed(f"{short(method)}: no role is allowed to call this"))
    if not rule.asked or rule.role is None or suffices(identity.role, rule.role):
        return None
    return Denied("role", NotAllowed(_refusal(identity, short(method), rule.role)))


def _refusal(identity: Identity, method: str, needed: Role) -> str:
    by = {How.TOKEN: "token", How.CERTIFICATE: "certificate", How.BOTH: "token and certificate together"}
    has = f"has the role {identity.role}" if identity.role is not None else "has no role"
    return f"{method} needs the role {needed}; {identity.name!r} {has} (by its {by[identity.how]})"
