"""What all pages of one person share: the feed, a client that acts, and whether they may act at all."""

from collections.abc import Callable, Sequence

from nicegui import run, ui

from gradloom.client import Client
from gradloom.errors import GradloomError, NotAllowed, Unauthenticated
from gradloom.roles import Role, suffices
from gradloom_dashboard import lanes
from gradloom_dashboard.feed import Feed
from gradloom_dashboard.lanes import Row
from gradloom_dashboard.moment import Moment


class Room:
    """One cluster as one person sees it, or everybody where nobody has to log in. The coordinator has the last word."""

    def __init__(
        self, feed: Feed, client: Client, limit: Role, is_over: Callable[[], bool], *, has_login: bool = False
    ) -> None:
        """``is_over`` says whether those who are in have to log in, for the first time or again."""
        self.feed, self.client = feed, client
        self.has_login = has_login
        """Whether a person has logged in, and may log out."""
        self._limit, self._is_over = limit, is_over
        self._worker_rows: tuple[int, bool, list[Row]] = (-1, False, [])
        self._job_rows: tuple[int, list[Row]] = (-1, [])

    def for_visit(self, is_over: Callable[[], bool]) -> "Room":
        """The same room for one visit, which ends before the room does."""
        return Room(self.feed, self.client, self._limit, is_over, has_login=True)

    @property
    def closed(self) -> bool:
        """Whether nobody is to see anything more in it."""
        return self.feed.closed or self._is_over()

    @property
    def may_steer(self) -> bool:
        """Whether there are controls: unless this room only shows, or the cluster has said that we may not."""
        myself = self.feed.moment.myself
        if not suffices(self._limit, Role.OPERATOR):
            return False
        return myself is None or (myself.role in list(Role) and suffices(Role(myself.role), Role.OPERATOR))

    @property
    def who(self) -> str:
        """As whom the cluster knows us; empty = it asks nobody, or has not said."""
        myself = self.feed.moment.myself
        return myself.name if myself is not None else ""

    def worker_rows(self, moment: Moment) -> Sequence[Row]:
        """The lanes of the workers, made once for all pages."""
        steer = self.may_steer
        if self._worker_rows[:2] != (moment.number, steer):
            self._worker_rows = moment.number, steer, lanes.worker_rows(moment, may_steer=steer)
        return self._worker_rows[2]

    def job_rows(self, moment: Moment) -> Sequence[Row]:
        """The rows of the jobs, made once for all pages."""
        if self._job_rows[0] != moment.number:
            self._job_rows = moment.number, lanes.job_rows(moment.jobs)
        return self._job_rows[1]

    async def act(self, deed: Callable[[Client], object], said: str) -> GradloomError | None:
        """Do something to the cluster; the error if it was refused, else people are told ``said``."""
        if self.closed:
            return Unauthenticated("you are not logged in")
        if not self.may_steer:
            return NotAllowed("this control room only shows: who steers needs the role operator")
        error = await run.io_bound(_attempt, deed, self.client)
        if error is None and said:
            ui.notify(said, type="positive", position="bottom")
        return error

    async def act_or_tell(self, deed: Callable[[Client], object], said: str) -> bool:
        """The same; a refusal is shown in its own words. Whether it was done."""
        error = await self.act(deed, said)
        if error is not None:
            ui.notify(error.message, type="negative", position="bottom", multi_line=True, close_button=True)
        return error is None

    def close(self) -> None:
        """Ask nothing any more; its pages go to the login."""
        self.feed.close()
        self.client.close()


def _attempt(deed: Callable[[Client], object], client: Client) -> GradloomError | None:
    try:
        deed(client)
    except GradloomError as error:
        return error
    return None
