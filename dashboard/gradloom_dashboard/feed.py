"""Watches a cluster for all open pages: one thread that listens to it, one more for each job that a page shows.

The only owner of what is known. Pages read ``moment`` and ``story``, which are values, and never wait for the cluster.
Nothing is asked again and again: the cluster pushes, and is met anew only when it has been away. Until it is back, the
last moment stays, and says so.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Protocol

from gradloom.callers import CallerView
from gradloom.client import Client
from gradloom.errors import EventsGone, GradloomError, NotAllowed, NotFound, Unauthenticated
from gradloom.jobs import AlgorithmDescription, JobEvent
from gradloom.watching import ClusterView
from gradloom_dashboard.moment import Moment, after_meeting, after_news, after_silence
from gradloom_dashboard.story import Story, Told

AGAIN_AFTER_S = 1.0
"""Until a cluster that is away is met again."""
UNWELCOME_AGAIN_S = 30.0
"""The same after it did not let us in: each try counts as one of a stranger."""
PATIENCE_S = 3.0
"""How long a client waits for an answer, and for a stream to come back, before the pages say that it does not."""
STREAM_FOR_S = 30.0
"""How long one stream of events lasts; then it is seen whether anybody still wants it."""
FOLLOW_FOR_S, KEEP_FOR_S = 120.0, 600.0
"""How long a job is followed after the last page has asked for it, and how long what it told is kept."""

log = logging.getLogger(__name__)


class Source(Protocol):
    """Whom a feed listens to. Each may raise GradloomError."""

    def myself(self) -> CallerView:
        """Whom the cluster takes us for."""
        ...

    def algorithms(self) -> list[AlgorithmDescription]:
        """Those that the cluster knows."""
        ...

    def views(self) -> Iterator[ClusterView]:
        """The cluster as it stands, again whenever something has changed."""
        ...

    def events(self, job_id: str, after_sequence: int, timeout_s: float) -> Iterator[JobEvent]:
        """A job's events after one, up to its end or for a time."""
        ...

    def close(self) -> None:
        """End all that was begun."""
        ...


class ClusterSource:
    """A cluster behind a client of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def myself(self) -> CallerView:
        """As Client.whoami."""
        return self._client.whoami()

    def algorithms(self) -> list[AlgorithmDescription]:
        """As Client.algorithms."""
        return self._client.algorithms()

    def views(self) -> Iterator[ClusterView]:
        """As Client.watch_cluster."""
        return self._client.watch_cluster()

    def events(self, job_id: str, after_sequence: int, timeout_s: float) -> Iterator[JobEvent]:
        """As Client.watch_job."""
        return self._client.watch_job(job_id, after_sequence, timeout_s)

    def close(self) -> None:
        """As Client.close."""
        self._client.close()


class Feed:
    """What is known of a cluster, kept up to date by threads of its own; ``start``, then ``close``."""

    def __init__(
        self, source: Source, now: Callable[[], float] = time.time, myself: CallerView | None = None
    ) -> None:
        self._source, self._now = source, now
        self.moment = Moment(myself=myself)
        """Replaced as a whole; reading it needs no lock."""
        self._lock = threading.Lock()
        self._stories: dict[str, Story] = {}
        self._told: dict[str, Told] = {}
        self._wanted: dict[str, float] = {}
        self._followers: dict[str, threading.Thread] = {}
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        """Whether it listens no more."""
        return self._closed.is_set()

    def start(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._keep_listening, name="feed", daemon=True).start()

    def close(self) -> None:
        """Ask nothing any more. Its threads end by themselves."""
        self._closed.set()
        self._source.close()

    def story(self, job_id: str) -> Told:
        """What a job's events have told so far; whoever asks again and again keeps it followed."""
        with self._lock:
            self._wanted[job_id] = self._now()
            self._forget_unwanted()
            story = self._stories.setdefault(job_id, Story())
            if not self._followed(job_id) and self._goes_on(job_id, story):
                name = f"follow-{job_id}"
                follower = threading.Thread(target=self._follow, args=(job_id,), name=name, daemon=True)
                self._followers[job_id] = follower
                follower.start()
            return self._telling(job_id, story)

    def listen(self) -> None:
        """Meet the cluster and take in what it says, until it says no more."""
        try:
            self._meet()
            with closing(_as_generator(self._source.views())) as views:
                sequence = 0
                for view in views:
                    if view.sequence < sequence:  # the coordinator was started anew: it may know others
                        self._meet()
                    sequence = view.sequence
                    self._take(view)
                    if self._closed.is_set():
                        return
        except GradloomError as error:
            self._miss(error)

    def _meet(self) -> None:
        myself = self._source.myself()
        self.moment = after_meeting(self.moment, myself, tuple(self._source.algorithms()))

    def _take(self, view: ClusterView) -> None:
        if self.moment.trouble:
            log.warning("the cluster answers again")
        self.moment = after_news(self.moment, view, self._now())

    def _miss(self, error: GradloomError) -> None:
        if self._closed.is_set():
            return
        if not self.moment.trouble:
            log.warning("the cluster does not answer: %s", error.message)
        unwelcome = isinstance(error, Unauthenticated | NotAllowed)
        self.moment = after_silence(self.moment, error.message, self._now(), unwelcome=unwelcome)

    def _keep_listening(self) -> None:
        while not self._closed.is_set():
            self.listen()
            self._closed.wait(UNWELCOME_AGAIN_S if self.moment.unwelcome else AGAIN_AFTER_S)

    def follow_once(self, job_id: str) -> bool:
        """Take in a job's events for STREAM_FOR_S, or to its end; whether to go on."""
        with self._lock:
            story = self._stories[job_id]
        before = story.seen
        try:
            for event in self._source.events(job_id, before, STREAM_FOR_S):
                with self._lock:
                    story.take(event)
                if self._closed.is_set():
                    break
        except EventsGone:
            with self._lock:
                self._stories[job_id] = Story()
                self._told.pop(job_id, None)
            return True
        except NotFound:
            return False
        except GradloomError:  # ``listen`` says what is wrong
            self._closed.wait(AGAIN_AFTER_S)
        if story.seen == before and not story.ended:
            self._closed.wait(AGAIN_AFTER_S)
        with self._lock:
            wanted = self._now() - self._wanted.get(job_id, 0.0) < FOLLOW_FOR_S
        return wanted and not story.ended and not self._closed.is_set()

    def _follow(self, job_id: str) -> None:
        while self.follow_once(job_id):
            pass

    def _goes_on(self, job_id: str, story: Story) -> bool:
        """Whether there is more to hear; a successor of the coordinator may not know of an end that was told."""
        view = self.moment.job(job_id)
        return view is not None and not (story.ended and view.state.final)

    def _followed(self, job_id: str) -> bool:
        follower = self._followers.get(job_id)
        return follower is not None and follower.is_alive()

    def _forget_unwanted(self) -> None:
        for job_id, at in list(self._wanted.items()):
            if self._now() - at > KEEP_FOR_S and not self._followed(job_id):
                self._wanted.pop(job_id)
                self._stories.pop(job_id, None)
                self._told.pop(job_id, None)
                self._followers.pop(job_id, None)

    def _telling(self, job_id: str, story: Story) -> Told:
        last = self._told.get(job_id)
        if last is None or not story.is_as(last):
            last = self._told[job_id] = story.told()
        return last


def _as_generator(views: Iterator[ClusterView]) -> Generator[ClusterView, None, None]:
    yield from views
