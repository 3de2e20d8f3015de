"""Who has logged in, for how long, and what ends it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gradloom.callers import CallerView
from gradloom.errors import GradloomError, NotAllowed, TooManyCalls, Unauthenticated, Unavailable
from gradloom.roles import Role
from gradloom_dashboard import visits as module
from gradloom_dashboard.moment import Moment
from gradloom_dashboard.room import Room
from gradloom_dashboard.visits import MAX_TOKEN, PER_S, TRIES, VISIT_FOR_S, Visits


@dataclass
class Place:
    """A cluster, its rooms, and a clock."""

    now: float = 1000.0
    callers: dict[str, CallerView] = field(default_factory=dict)
    trouble: GradloomError | None = None
    rooms: "list[FakeRoom]" = field(default_factory=list)

    def ask(self, token: str) -> CallerView:
        if self.trouble is not None:
            raise self.trouble
        if token not in self.callers:
            raise Unauthenticated("the token is not known to this cluster")
        return self.callers[token]

    def open(self, token: str, known: CallerView) -> "FakeRoom":
        self.rooms.append(FakeRoom(self, token))
        return self.rooms[-1]

    def visits(self) -> Visits:
        return Visits(self.open, lambda: self.now)  # type: ignore[arg-type]


class FakeRoom:
    """Stands for a room: closes, and asks who we are."""

    def __init__(self, place: Place, token: str) -> None:
        self.place, self.token, self.closed = place, token, False
        self.client = self.feed = self
        self.moment = Moment()

    def for_visit(self, is_over: Callable[[], bool]) -> Room:
        return Room(self.feed, self.client, Role.OPERATOR, is_over, has_login=True)  # type: ignore[arg-type]

    def whoami(self) -> CallerView:
        return self.place.ask(self.token)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def place() -> Place:
    return Place(callers={"ann-token": CallerView("ann", "operator", "token", None)})


def test_two_browsers_of_one_person_share_a_room_until_both_have_left(place: Place) -> None:
    visits = place.visits()
    one, other = visits.enter("ann-token", place.ask), visits.enter("ann-token", place.ask)
    assert one != other
    assert len(place.rooms) == 1
    first, second = visits.room(one), visits.room(other)
    assert first is not None
    assert second is not None
    assert first.feed is second.feed
    assert "ann-token" not in one + repr(vars(visits)["_visits"])
    visits.leave(one)
    assert visits.room(one) is None
    assert (first.closed, second.closed, place.rooms[0].closed) == (True, False, False)
    assert isinstance(asyncio.run(first.act(lambda client: None, "")), Unauthenticated)
    visits.leave(other)
    visits.leave(other)
    assert place.rooms[0].closed
    assert visits.room("") is visits.room("never") is None


def test_a_visit_ends_after_a_time_and_with_its_token(place: Place) -> None:
    place.callers["short"] = CallerView("bob", "viewer", "token", place.now + 60)
    visits = place.visits()
    ann, bob = visits.enter("ann-token", place.ask), visits.enter("short", place.ask)
    place.now += 60
    assert visits.room(bob) is None
    assert visits.room(ann) is not None
    visits.check()
    assert [room.closed for room in place.rooms] == [False, True]
    place.now += VISIT_FOR_S
    visits.check()
    assert place.rooms[0].closed


def test_a_token_that_is_revoked_or_lowered_ends_its_visits(place: Place) -> None:
    visits = place.visits()
    name = visits.enter("ann-token", place.ask)
    place.trouble = Unavailable("it is away")
    visits.check()
    assert visits.room(name) is not None, "a coordinator that is away revokes nothing"
    place.trouble = None
    place.callers["ann-token"] = CallerView("ann", "worker", "token", None)
    visits.check()
    assert visits.room(name) is None
    assert place.rooms[0].closed


@pytest.mark.parametrize(
    ("caller", "kind", "words"),
    [
        (
            CallerView("w", "worker", "token", None),
            NotAllowed,
            "needs the role viewer; 'w' has the role worker",
        ),
        (CallerView("", "admin", "open", None), Unauthenticated, "asks nobody for a token"),
        (CallerView("room", "admin", "certificate", None), Unauthenticated, "asks nobody for a token"),
    ],
)
def test_who_may_not_look_is_not_let_in(
    place: Place, caller: CallerView, kind: type[Exception], words: str
) -> None:
    place.callers["other"] = caller
    with pytest.raises(kind, match=words):
        place.visits().enter("other", place.ask)
    assert place.rooms == []


@pytest.mark.parametrize("token", ["", "x" * (MAX_TOKEN + 1), "tökən", "a\nb"])
def test_what_can_be_no_token_is_not_even_asked_about(place: Place, token: str) -> None:
    place.trouble = AssertionError("nobody is to be asked")  # type: ignore[assignment]
    with pytest.raises(Unauthenticated, match="no token"):
        place.visits().enter(token, place.ask)


def test_guessing_is_slowed_down(place: Place) -> None:
    visits = place.visits()
    for _ in range(TRIES):
        with pytest.raises(Unauthenticated):
            visits.enter("guess", place.ask)
    with pytest.raises(TooManyCalls):
        visits.enter("ann-token", place.ask)
    place.now += PER_S
    visits.enter("ann-token", place.ask)


def test_there_are_only_so_many_visits(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VISITS", 2)
    visits = place.visits()
    first, *others = (visits.enter("ann-token", place.ask) for _ in range(3))
    assert visits.room(first) is None
    assert all(visits.room(name) is not None for name in others)
    visits.close()
    assert place.rooms[0].closed
