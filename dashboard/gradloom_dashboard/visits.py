"""Who has logged in. Each visit stands for a token, which is kept here, in memory, and nowhere else.

The coordinator says who a token stands for and what it may do, again and again: one that is revoked ends its visits.
A browser is given the random name of a visit, in a cookie that no script can read.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gradloom.callers import CallerView
from gradloom.errors import GradloomError, NotAllowed, TooManyCalls, Unauthenticated
from gradloom.roles import Role, suffices
from gradloom_dashboard.room import Room

VISIT_FOR_S = 12 * 3600.0
CHECK_EVERY_S = 5.0
MAX_VISITS = 500
"""The oldest end when there are more."""
MAX_TOKEN = 512
TRIES, PER_S = 20, 60.0
"""So many logins may be tried in so many seconds, by all together."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Visit:
    """One browser that has logged in."""

    token: str = field(repr=False)
    until: float
    room: Room
    """Its own, beside others of the same token."""


class Visits:
    """All visits of one control room, and a room for each token. Any thread may ask."""

    def __init__(self, open_room: Callable[[str, CallerView], Room], now: Callable[[], float]) -> None:
        """``open_room`` gives the room of a token and whom it stands for; it begins to listen."""
        self._open_room, self._now = open_room, now
        self._lock = threading.Lock()
        self._visits: dict[str, Visit] = {}
        self._rooms: dict[str, Room] = {}
        self._tries: deque[float] = deque()

    def enter(self, token: str, ask: Callable[[str], CallerView]) -> str:
        """Let somebody in; the name of the visit. ``ask`` has the coordinator say whom a token stands for.

        Raises Unauthenticated, NotAllowed, TooManyCalls, Unavailable.
        """
        self._count_a_try()
        if not token or len(token) > MAX_TOKEN or not token.isascii() or not token.isprintable():
            raise Unauthenticated("this is no token")
        known = ask(token)
        _check(known)
        name, now = secrets.token_urlsafe(32), self._now()
        until = now + VISIT_FOR_S if known.expires is None else min(now + VISIT_FOR_S, known.expires)
        with self._lock:
            if token not in self._rooms:
                self._rooms[token] = self._open_room(token, known)
            room = self._rooms[token].for_visit(lambda: self.room(name) is None)
            self._visits[name] = Visit(token, until, room)
            while len(self._visits) > MAX_VISITS:
                self._visits.pop(next(iter(self._visits)))
        self._tidy()
        log.warning("%s (%s) has logged in", known.name, known.role)
        return name

    def room(self, name: str) -> Room | None:
        """The room of a visit; None = there is none, or its time is over."""
        with self._lock:
            visit = self._visits.get(name)
            return None if visit is None or visit.until <= self._now() else visit.room

    def leave(self, name: str) -> None:
        """End a visit. Ending one that is over does nothing."""
        with self._lock:
            self._visits.pop(name, None)
        self._tidy()

    def check(self) -> None:
        """End the visits whose time is over, and those whose token is no longer good."""
        with self._lock:
            rooms = list(self._rooms.items())
        refused = {token for token, room in rooms if _is_refused(room)}
        with self._lock:
            self._visits = {name: visit for name, visit in self._visits.items() if visit.token not in refused}
        self._tidy()

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            self._visits.clear()
        self._tidy()

    def _tidy(self) -> None:
        """Close the rooms that nobody visits."""
        with self._lock:
            now = self._now()
            self._visits = {name: visit for name, visit in self._visits.items() if visit.until > now}
            visited = {visit.token for visit in self._visits.values()}
            left = [self._rooms.pop(token) for token in list(self._rooms) if token not in visited]
        for room in left:
            room.close()

    def _count_a_try(self) -> None:
        with self._lock:
            now = self._now()
            while self._tries and self._tries[0] <= now - PER_S:
                self._tries.popleft()
            if len(self._tries) >= TRIES:
                raise TooManyCalls("too many have tried to log in just now; try again in a minute", PER_S)
            self._tries.append(now)


def _check(known: CallerView) -> None:
    if known.how not in ("token", "both"):
        raise Unauthenticated(
            "this cluster asks nobody for a token, so nobody can log in; start the coordinator with --tokens-file"
        )
    if known.role not in list(Role) or not suffices(Role(known.role), Role.VIEWER):
        raise NotAllowed(
            f"who looks needs the role viewer; {known.name!r} has the role {known.role or 'none'}"
        )


def _is_refused(room: Room) -> bool:
    if room.feed.moment.trouble and not room.feed.moment.unwelcome:
        return False  # it is away: that would be a long wait
    try:
        _check(room.client.whoami())
    except (Unauthenticated, NotAllowed):
        return True
    except GradloomError:  # away for a moment; it will say once it is back
        return False
    return False
