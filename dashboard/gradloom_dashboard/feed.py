"""Watches a cluster for all open pages: one thread that looks once a second, one for each job that a page shows.

The only owner of what is known. Pages read ``moment`` and ``story``, which are values, and never wait for the cluster.
A cluster that does not answer is asked again and again; until it does, the last moment stays, and says so.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from gradloom.client import Client
from gradloom.errors import EventsGone, GradloomError, NotFound
from gradloom.jobs import AlgorithmDescription, JobEvent, JobView, WorkerView
from gradloom_dashboard.moment import Moment, after_look, after_silence
from gradloom_dashboard.story import Story, Told

LOOK_EVERY_S = 1.0
LOOK_TIMEOUT_S = 3.0
STREAM_FOR_S = 10.0
"""How long one stream of events lasts; then it is seen whether anybody still wants it."""
FOLLOW_FOR_S, KEEP_FOR_S = 120.0, 600.0
"""How long a job is followed after the last page has asked for it, and how long what it told is kept."""

log = logging.getLogger(__name__)


class Source(Protocol):
    """What a feed asks; ``of_cluster`` makes one. Each may raise GradloomError."""

    def workers(self) -> list[WorkerView]:
        """Those that are connected."""
        ...

    def jobs(self) -> list[JobView]:
        """All, the newest first."""
        ...

    def algorithms(self) -> list[AlgorithmDescription]:
        """Those that the cluster knows."""
        ...

    def events(self, job_id: str, after_sequence: int, timeout_s: float) -> Iterator[JobEvent]:
        """A job's events after one, up to its end or for a time."""
        ...

    def close(self) -> None:
        """End all that was asked."""
        ...


@dataclass(frozen=True, slots=True)
class ClusterSource:
    """A cluster behind a client of its own."""

    client: Client

    def workers(self) -> list[WorkerView]:
        """As Client.workers."""
        return self.client.workers()

    def jobs(self) -> list[JobView]:
        """As Client.jobs."""
        return self.client.jobs()

    def algorithms(self) -> list[AlgorithmDescription]:
        """As Client.algorithms."""
        return self.client.algorithms()

    def events(self, job_id: str, after_sequence: int, timeout_s: float) -> Iterator[JobEvent]:
        """As Job.watch."""
        return self.client.job(job_id).watch(after_sequence, timeout_s)

    def close(self) -> None:
        """As Client.close."""
        self.client.close()


def of_cluster(address: str) -> ClusterSource:
    """A source that soon says when the cluster does not answer."""
    return ClusterSource(Client(address, timeout_s=LOOK_TIMEOUT_S))


class Feed:
    """What is known of a cluster, kept up to date by threads of its own; ``start``, then ``close``."""

    def __init__(self, source: Source, now: Callable[[], float] = time.time) -> None:
        self._source, self._now = source, now
        self.moment = Moment()
        """Replaced as a whole; reading it needs no lock."""
        self._lock = threading.Lock()
        self._stories: dict[str, Story] = {}
        self._told: dict[str, Told] = {}
        self._wanted: dict[str, float] = {}
        self._followers: dict[str, threading.Thread] = {}
        self._closed = threading.Event()
        self._look_now = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._keep_looking, name="feed", daemon=True).start()

    def close(self) -> None:
        """Ask nothing any more. Its threads end by themselves."""
        self._closed.set()
        self._look_now.set()
        self._source.close()

    def nudge(self) -> None:
        """Look at once: somebody has just changed something."""
        self._look_now.set()

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

    def look(self) -> None:
        """Ask the cluster once, and keep what it says."""
        last = self.moment
        try:
            workers, jobs = self._source.workers(), self._source.jobs()
            known = last.algorithms if last.at and not last.trouble else tuple(self._source.algorithms())
            self.moment = after_look(last, workers, jobs, known, self._now())
        except GradloomError as error:
            self.moment = after_silence(last, error.message, self._now())
        if bool(last.trouble) != bool(self.moment.trouble):
            log.warning("the cluster does not answer: %s", self.moment.trouble or "it does again")

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
        except GradloomError:  # ``look`` says what is wrong
            self._closed.wait(LOOK_EVERY_S)
        if story.seen == before and not story.ended:
            self._closed.wait(LOOK_EVERY_S)
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

    def _keep_looking(self) -> None:
        while not self._closed.is_set():
            self.look()
            self._look_now.wait(LOOK_EVERY_S)
            self._look_now.clear()
