"""Which room somebody gets, on a cluster that nobody can reach."""

import pytest

from gradloom.callers import CallerView
from gradloom.client import Client
from gradloom.errors import Conflict, NotAllowed
from gradloom.roles import Role
from gradloom_dashboard.feed import ClusterSource, Feed
from gradloom_dashboard.moment import Moment, after_silence
from gradloom_dashboard.room import Room


def room(limit: Role = Role.OPERATOR, role: str = "", *, over: bool = False) -> Room:
    """One whose feed does not listen."""
    client = Client("127.0.0.1:1")
    myself = CallerView("ann", role, "token", None) if role else None
    return Room(Feed(ClusterSource(client), myself=myself), client, limit, lambda: over)


@pytest.mark.parametrize(
    ("limit", "role", "may"),
    [
        (Role.OPERATOR, "", True),
        (Role.OPERATOR, "operator", True),
        (Role.OPERATOR, "admin", True),
        (Role.OPERATOR, "viewer", False),
        (Role.OPERATOR, "worker", False),
        (Role.OPERATOR, "a role of tomorrow", False),
        (Role.VIEWER, "admin", False),
        (Role.VIEWER, "", False),
    ],
)
def test_who_may_steer(limit: Role, role: str, may: bool) -> None:
    found = room(limit, role)
    assert found.may_steer is may
    found.close()


async def test_nothing_is_done_for_who_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Client] = []
    for refusing in (room(Role.VIEWER), room(over=True)):
        error = await refusing.act(done.append, "done")
        assert error is not None
        assert not isinstance(error, Conflict)
        refusing.close()
    viewers = room(Role.VIEWER)
    assert isinstance(await viewers.act(done.append, ""), NotAllowed)
    viewers.close()
    assert done == []
    assert viewers.closed


def test_rows_are_made_once_for_a_moment() -> None:
    found = room()
    first = found.worker_rows(Moment(1))
    assert found.worker_rows(Moment(1)) is first
    assert found.worker_rows(after_silence(Moment(1), "away", 2.0)) is not first
    assert found.job_rows(Moment(1)) is found.job_rows(Moment(1))
    found.close()
