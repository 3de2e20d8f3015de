"""What all pages share: the feed, a client that acts, and whether anybody may act at all."""

from collections.abc import Callable
from dataclasses import dataclass

from nicegui import run, ui

from gradloom.client import Client
from gradloom.errors import Conflict, GradloomError
from gradloom_dashboard.feed import Feed


@dataclass(frozen=True, slots=True)
class Room:
    """One control room of one cluster."""

    feed: Feed
    client: Client
    """For what people do; the feed has its own."""
    viewer: bool
    """Whether this room only shows."""

    async def act(self, deed: Callable[[Client], object], said: str) -> GradloomError | None:
        """Do something to the cluster; the error if it was refused, else people are told ``said``."""
        if self.viewer:
            return Conflict("this control room only shows; start it without --viewer to steer")
        error = await run.io_bound(_attempt, deed, self.client)
        self.feed.nudge()
        if error is None and said:
            ui.notify(said, type="positive", position="bottom")
        return error

    async def act_or_tell(self, deed: Callable[[Client], object], said: str) -> bool:
        """The same; a refusal is shown in its own words. Whether it was done."""
        error = await self.act(deed, said)
        if error is not None:
            ui.notify(error.message, type="negative", position="bottom", multi_line=True, close_button=True)
        return error is None


def _attempt(deed: Callable[[Client], object], client: Client) -> GradloomError | None:
    try:
        deed(client)
    except GradloomError as error:
        return error
    return None
