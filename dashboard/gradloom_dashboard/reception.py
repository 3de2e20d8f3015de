"""Who gets which room: everybody the same one where nobody has to log in, else each person one of their own."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from gradloom.callers import CallerView
from gradloom.client import Client
from gradloom.roles import Role
from gradloom.settings import Access
from gradloom_dashboard.feed import PATIENCE_S, ClusterSource, Feed
from gradloom_dashboard.room import Room
from gradloom_dashboard.visits import Visits

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster that is shown, and what this process itself shows it."""

    address: str
    access: Access
    user: str | None
    """Who is said to have changed what where the coordinator asks nobody; None = whom this process belongs to."""
    limit: Role
    """What anybody may do here at most."""

    def client(self, token: str, timeout_s: float = 30.0) -> Client:
        """A client that shows a token. Raises InvalidInput where plain text would leave this machine."""
        tls, insecure = self.access.tls, self.access.insecure
        return Client(
            self.address, timeout_s=timeout_s, user=self.user, tls=tls, token=token, insecure=insecure
        )

    def room(self, token: str, known: CallerView | None = None) -> Room:
        """A room of those who show a token, which begins to listen; ``known``: who has logged in with it."""
        feed = Feed(ClusterSource(self.client(token, PATIENCE_S)), myself=known)
        room = Room(feed, self.client(token), self.limit, lambda: feed.moment.unwelcome and not token)
        feed.start()
        return room

    def ask(self, token: str) -> CallerView:
        """Whom the coordinator takes a token for. Raises GradloomError."""
        with self.client(token, PATIENCE_S) as client:
            return client.whoami()


class Reception:
    """The rooms of one control room."""

    def __init__(
        self, cluster: Cluster, *, require_login: bool, now: Callable[[], float] = time.time
    ) -> None:
        self.cluster = cluster
        self.visits = Visits(cluster.room, now)
        self._own = None if require_login else cluster.room(cluster.access.token)

    def room(self, visit: str) -> Room | None:
        """The room of who shows the name of a visit; None = they have to log in."""
        return self.visits.room(visit) if self._own is None or self._own.closed else self._own

    def admits(self, visit: str) -> bool:
        """Whether who shows the name of a visit may see pages."""
        return self.room(visit) is not None

    def log_in(self, token: str) -> str:
        """Let somebody in; the name of the visit. Raises as ``Visits.enter``."""
        return self.visits.enter(token, self.cluster.ask)

    def check(self) -> None:
        """End the visits that are over."""
        self.visits.check()

    def close(self) -> None:
        """Ask nothing any more."""
        self.visits.close()
        if self._own is not None:
            self._own.close()
