"""Who somebody is, and what they may do, as tables."""

import pytest

from gradloom.errors import NotAllowed, Unauthenticated
from gradloom.roles import Role, least, suffices
from gradloom.tokens import Token
from gradloom_coordinator.access.identity import (
    Asks,
    Denied,
    How,
    Identity,
    Shown,
    decide,
    identify,
)

NOW = 1000.0
TOKENS, TLS, BOTH = Asks(tokens=True, tls=False), Asks(tokens=False, tls=True), Asks(tokens=True, tls=True)
JOBS, CLUSTER, WORKER = (
    "/gradloom.v1.JobService/",
    "/gradloom.v1.ClusterService/",
    "/gradloom.v1.WorkerService/",
)


def token(role: Role, expires: float | None = None, name: str = "ann") -> Token:
    return Token(name, role, "0" * 64, 1.0, expires)


def shown(
    role: Role | None = None, certificate: str = "", unit: str = "", expires: float | None = None
) -> Shown:
    found = None if role is None else token(role, expires)
    return Shown(found is not None, found, certificate, unit)


def who(asks: Asks, what: Shown) -> Identity:
    found = identify(asks, what, NOW)
    assert isinstance(found, Identity), found
    return found


@pytest.mark.parametrize(
    "what", [Shown(), shown(Role.VIEWER), Shown(has_token=True), shown(None, "w", "worker")]
)
def test_a_cluster_that_asks_nobody_lets_everybody_do_everything(what: Shown) -> None:
    found = identify(Asks(tokens=False, tls=False), what, NOW)
    assert isinstance(found, Identity)
    assert (found.how, found.role) == (How.OPEN, Role.ADMIN)
    assert decide(found, WORKER + "Session") is None
    assert decide(found, "/no.such/Method") is None


@pytest.mark.parametrize(
    ("asks", "what", "kind", "words"),
    [
        (TOKENS, Shown(), "token", "this cluster wants a token"),
        (TOKENS, Shown(has_token=True), "token", "is not known to this cluster"),
        (TOKENS, shown(Role.ADMIN, expires=NOW), "token", "has expired"),
        (TLS, Shown(), "certificate", "has no common name"),
        (BOTH, Shown(), "certificate", "has no common name"),
        (BOTH, Shown(True, None, "ann", "admin"), "token", "is not known to this cluster"),
        (BOTH, shown(Role.ADMIN, "ann", "admin", expires=NOW - 1), "token", "has expired"),
    ],
)
def test_who_is_not_known_is_told_why(asks: Asks, what: Shown, kind: str, words: str) -> None:
    found = identify(asks, what, NOW)
    assert isinstance(found, Denied)
    assert found.kind == kind
    assert type(found.error) is Unauthenticated
    assert words in found.error.message


@pytest.mark.parametrize(
    ("asks", "what", "name", "role", "how"),
    [
        (TOKENS, shown(Role.VIEWER), "ann", Role.VIEWER, How.TOKEN),
        (TOKENS, shown(Role.VIEWER, expires=NOW + 1), "ann", Role.VIEWER, How.TOKEN),
        (TLS, shown(None, "bob", "operator"), "bob", Role.OPERATOR, How.CERTIFICATE),
        (TLS, shown(None, "bob", "accounting"), "bob", None, How.CERTIFICATE),
        (TLS, shown(None, "bob", "coordinator"), "bob", None, How.CERTIFICATE),
        (TLS, shown(Role.ADMIN, "bob", "viewer"), "bob", Role.VIEWER, How.CERTIFICATE),
        (BOTH, shown(None, "bob", "operator"), "bob", Role.OPERATOR, How.CERTIFICATE),
        (BOTH, shown(Role.ADMIN, "gate", ""), "ann", Role.ADMIN, How.TOKEN),
        (BOTH, shown(Role.ADMIN, "bob", "viewer"), "ann", Role.VIEWER, How.BOTH),
        (BOTH, shown(Role.VIEWER, "bob", "admin"), "ann", Role.VIEWER, How.BOTH),
        (BOTH, shown(Role.ADMIN, "w1", "worker"), "ann", None, How.BOTH),
        (BOTH, shown(Role.WORKER, "w1", "worker"), "ann", Role.WORKER, How.BOTH),
    ],
)
def test_who_is_known(asks: Asks, what: Shown, name: str, role: Role | None, how: How) -> None:
    found = who(asks, what)
    assert (found.name, found.role, found.how) == (name, role, how)


VIEWS = [JOBS + "GetJob", JOBS + "WatchJob", JOBS + "Query", CLUSTER + "Explain", JOBS + "GetModel"]
STEERS = [JOBS + "SubmitJob", JOBS + "PauseJob", JOBS + "Upload", CLUSTER + "DrainWorker"]
HARMS = [CLUSTER + "InjectFault", CLUSTER + "ListAudit"]
WORKS = [WORKER + "Session", WORKER + "Bulk"]


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (Role.VIEWER, VIEWS),
        (Role.OPERATOR, VIEWS + STEERS),
        (Role.ADMIN, VIEWS + STEERS + HARMS),
        (Role.WORKER, WORKS),
        (None, []),
    ],
)
def test_what_each_role_may_do(role: Role | None, allowed: list[str]) -> None:
    identity = Identity("ann", role, How.TOKEN)
    for method in VIEWS + STEERS + HARMS + WORKS:
        assert (decide(identity, method) is None) == (method in allowed), method


def test_a_refusal_says_which_role_is_needed_and_what_one_has() -> None:
    denied = decide(Identity("ann", Role.VIEWER, How.BOTH), JOBS + "PauseJob")
    assert denied is not None
    assert denied.kind == "role"
    assert type(denied.error) is NotAllowed
    assert denied.error.message == (
        "PauseJob needs the role operator; 'ann' has the role viewer (by its token and certificate together)"
    )


def test_whoever_is_known_may_ask_who_they_are_and_nobody_may_call_what_has_no_row() -> None:
    for role in (*Role, None):
        identity = Identity("ann", role, How.TOKEN)
        assert decide(identity, CLUSTER + "WhoAmI") is None
        assert decide(identity, JOBS + "NewAndForgotten") is not None


@pytest.mark.parametrize("one", Role)
@pytest.mark.parametrize("other", Role)
def test_two_roles_together_allow_what_both_allow(one: Role, other: Role) -> None:
    both = least(one, other)
    for needed in Role:
        assert suffices(both, needed) == (suffices(one, needed) and suffices(other, needed))
