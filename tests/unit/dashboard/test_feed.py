"""The feed of a control room on a cluster that comes and goes, with no thread and no socket."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from builders.rooms import a_job, a_round, a_worker, numbered
from gradloom.errors import EventsGone, GradloomError, NotFound, Unavailable
from gradloom.jobs import AlgorithmDescription, JobEvent, JobState, JobView, StateChanged, WorkerView
from gradloom_dashboard.feed import FOLLOW_FOR_S, KEEP_FOR_S, Feed
from gradloom_dashboard.moment import REMEMBER_S

LOGISTIC = AlgorithmDescription("logistic", 1, "", "{}")


@dataclass
class Cluster:
    """Answers what it was told to."""

    here: list[WorkerView] = field(default_factory=list)
    queue: list[JobView] = field(default_factory=list)
    happened: list[JobEvent] = field(default_factory=list)
    trouble: GradloomError | None = None
    gone_before: int = 0
    asked: list[str] = field(default_factory=list)
    closed: bool = False

    def workers(self) -> list[WorkerView]:
        self._answer("workers")
        return self.here

    def jobs(self) -> list[JobView]:
        self._answer("jobs")
        return self.queue

    def algorithms(self) -> list[AlgorithmDescription]:
        self._answer("algorithms")
        return [LOGISTIC]

    def events(self, job_id: str, after_sequence: int, timeout_s: float) -> Iterator[JobEvent]:
        self._answer(f"events after {after_sequence}")
        if 0 < after_sequence < self.gone_before:
            raise EventsGone("too old")
        yield from (event for event in self.happened if event.sequence > after_sequence)

    def close(self) -> None:
        self.closed = True

    def _answer(self, what: str) -> None:
        self.asked.append(what)
        if self.trouble is not None:
            raise self.trouble


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_look_keeps_what_the_cluster_says() -> None:
    cluster = Cluster([a_worker("worker-0")], [a_job()])
    feed = Feed(cluster, Clock())
    feed.look()
    moment = feed.moment
    assert (moment.number, moment.at, moment.trouble) == (1, 1000.0, "")
    assert moment.workers == (cluster.here[0],)
    assert moment.job("logistic-1") is cluster.queue[0]
    assert moment.job("other") is None
    feed.look()
    assert cluster.asked.count("algorithms") == 1


def test_a_cluster_that_is_away_is_said_to_be_and_what_was_known_stays() -> None:
    cluster, clock = Cluster([a_worker("worker-0")], [a_job()]), Clock()
    feed = Feed(cluster, clock)
    feed.look()
    cluster.trouble = Unavailable("nobody is there")
    for clock.now in (1001.0, 1002.0):
        feed.look()
    moment = feed.moment
    assert (moment.trouble, moment.trouble_since, moment.at) == ("nobody is there", 1001.0, 1000.0)
    assert len(moment.workers) == len(moment.jobs) == 1
    cluster.trouble = None
    feed.look()
    assert (feed.moment.trouble, feed.moment.at) == ("", 1002.0)
    assert cluster.asked.count("algorithms") == 2, "the one that came back may know others"


def test_a_worker_that_left_is_remembered_for_a_while() -> None:
    cluster, clock = Cluster([a_worker("worker-0"), a_worker("worker-1")]), Clock()
    feed = Feed(cluster, clock)
    feed.look()
    cluster.here = cluster.here[:1]
    clock.now = 1001.0
    feed.look()
    clock.now = 1005.0
    feed.look()
    assert feed.moment.left == {"worker-1": 1001.0}
    cluster.here = [*cluster.here, a_worker("worker-1")]
    feed.look()
    assert feed.moment.left == {}
    cluster.here = []
    feed.look()
    clock.now += REMEMBER_S
    feed.look()
    assert feed.moment.left == {}


def followed(cluster: Cluster, clock: Clock) -> Feed:
    """A feed that follows a job by hand; its own threads find nobody to ask."""
    feed = Feed(cluster, clock)
    feed.story("logistic-1")  # no look yet: no thread is begun
    return feed


def test_a_job_is_followed_from_the_last_event_that_was_seen() -> None:
    cluster = Cluster(happened=numbered([StateChanged(JobState.RUNNING, ""), a_round(1)]))
    feed = followed(cluster, Clock())
    assert feed.follow_once("logistic-1")
    told = feed.story("logistic-1")
    assert [point.round for point in told.points] == [1]
    assert feed.story("logistic-1") is told, "nothing has happened: the same value"
    cluster.happened += numbered([a_round(2), StateChanged(JobState.COMPLETED, "")], 3)
    assert not feed.follow_once("logistic-1"), "it has ended"
    assert cluster.asked == ["events after 0", "events after 2"]
    assert [point.round for point in feed.story("logistic-1").points] == [1, 2]


def test_a_job_that_nobody_looks_at_is_followed_no_longer_and_then_forgotten() -> None:
    cluster, clock = Cluster(happened=numbered([a_round(1)])), Clock()
    feed = followed(cluster, clock)
    clock.now += FOLLOW_FOR_S
    assert not feed.follow_once("logistic-1")
    clock.now += KEEP_FOR_S
    feed.story("logistic-2")
    assert feed.story("logistic-1").points == ()


def test_events_that_are_gone_begin_the_story_anew() -> None:
    cluster = Cluster(happened=numbered([a_round(1), a_round(2)]))
    feed = followed(cluster, Clock())
    assert feed.follow_once("logistic-1")
    cluster.happened, cluster.gone_before = numbered([a_round(50)], 90), 90
    assert feed.follow_once("logistic-1")
    assert feed.follow_once("logistic-1")
    assert [point.round for point in feed.story("logistic-1").points] == [50]


def test_a_job_that_is_not_there_is_not_followed() -> None:
    cluster = Cluster(trouble=NotFound("no such job"))
    assert not followed(cluster, Clock()).follow_once("logistic-1")


def test_closing_ends_what_was_asked() -> None:
    cluster = Cluster()
    Feed(cluster).close()
    assert cluster.closed
