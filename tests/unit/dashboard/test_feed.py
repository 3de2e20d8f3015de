"""The feed of a control room on a cluster that comes and goes, with no thread and no socket."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from builders.rooms import a_job, a_round, a_worker, numbered
from gradloom.callers import CallerView
from gradloom.errors import EventsGone, GradloomError, NotFound, Unauthenticated, Unavailable
from gradloom.jobs import (
    AlgorithmDescription,
    JobEvent,
    JobState,
    JobView,
    StateChanged,
    WorkerPhases,
    WorkerView,
)
from gradloom.watching import ClusterView
from gradloom_dashboard.feed import FOLLOW_FOR_S, KEEP_FOR_S, Feed
from gradloom_dashboard.frame import banner_words
from gradloom_dashboard.moment import REMEMBER_S, SILENT_S, Moment, after_news, after_silence

LOGISTIC = AlgorithmDescription("logistic", 1, "", "{}")


@dataclass
class Cluster:
    """Answers what it was told to."""

    said: list[ClusterView] = field(default_factory=list)
    happened: list[JobEvent] = field(default_factory=list)
    trouble: GradloomError | None = None
    gone_before: int = 0
    asked: list[str] = field(default_factory=list)
    closed: bool = False
    role: str = "operator"

    def myself(self) -> CallerView:
        self._answer("myself")
        return CallerView("ann", self.role, "token", None)

    def algorithms(self) -> list[AlgorithmDescription]:
        self._answer("algorithms")
        return [LOGISTIC]

    def views(self) -> Iterator[ClusterView]:
        self._answer("views")
        yield from self.said
        raise self.trouble or Unavailable("it broke off")

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


def seen(*workers: WorkerView, sequence: int = 1, jobs: tuple[JobView, ...] = ()) -> ClusterView:
    return ClusterView(sequence, 0.0, "0.1.0", workers, jobs)


def test_what_the_cluster_says_is_kept_and_nothing_is_asked_twice() -> None:
    worker, job = a_worker("worker-0"), a_job()
    cluster = Cluster([seen(worker, sequence=n, jobs=(job,)) for n in (1, 2, 3)])
    feed = Feed(cluster, Clock())
    feed.listen()
    moment = feed.moment
    assert (moment.at, moment.workers, moment.trouble) == (1000.0, (worker,), "it broke off")
    assert moment.job("logistic-1") is job
    assert moment.job("other") is None
    assert moment.myself == CallerView("ann", "operator", "token", None)
    assert cluster.asked == ["myself", "algorithms", "views"]


def test_a_coordinator_that_was_started_anew_is_met_anew() -> None:
    cluster = Cluster([seen(sequence=8), seen(sequence=9), seen(sequence=1), seen(sequence=2)])
    Feed(cluster, Clock()).listen()
    assert cluster.asked == ["myself", "algorithms", "views", "myself", "algorithms"]


def test_a_cluster_that_is_away_is_said_to_be_and_what_was_known_stays() -> None:
    cluster, clock = Cluster([seen(a_worker("worker-0"), jobs=(a_job(),))]), Clock()
    feed = Feed(cluster, clock)
    feed.listen()
    cluster.trouble = Unavailable("nobody is there")
    for clock.now in (1001.0, 1002.0):
        feed.listen()
    moment = feed.moment
    assert (moment.trouble, moment.trouble_since, moment.at) == ("nobody is there", 1000.0, 1000.0)
    assert len(moment.workers) == len(moment.jobs) == 1
    assert not moment.unwelcome
    assert after_news(moment, seen(), 1003.0).trouble == ""


def test_a_cluster_that_does_not_know_us_is_told_apart_from_one_that_is_away() -> None:
    cluster = Cluster(trouble=Unauthenticated("it wants a token"))
    feed = Feed(cluster, Clock())
    feed.listen()
    assert feed.moment.unwelcome
    assert banner_words(feed.moment, 1000.0) == (
        "The coordinator does not let this page in. (it wants a token)"
    )
    cluster.trouble = Unavailable("nobody is there")
    feed.listen()
    assert not feed.moment.unwelcome


def test_silence_is_told_before_the_connection_breaks() -> None:
    moment = after_news(Moment(), seen(), 1000.0)
    assert banner_words(moment, 1000.0 + SILENT_S) == ""
    words = banner_words(moment, 1001.0 + SILENT_S)
    assert words.startswith(f"The coordinator has said nothing for {SILENT_S + 1:.0f} s. What you see is of ")
    assert "does not answer" in banner_words(after_silence(moment, "broken", 1002.0), 1020.0)


def test_a_worker_that_left_is_remembered_for_a_while() -> None:
    one, other = a_worker("worker-0"), a_worker("worker-1")
    moment = after_news(Moment(), seen(one, other), 1000.0)
    moment = after_news(moment, seen(one), 1001.0)
    moment = after_news(moment, seen(one), 1005.0)
    assert moment.left == {"worker-1": 1001.0}
    assert after_news(moment, seen(one, other), 1006.0).left == {}
    moment = after_news(moment, seen(), 1006.0)
    assert after_news(moment, seen(), 1006.0 + REMEMBER_S).left == {}


def phases(compute: float, wait: float) -> WorkerPhases:
    return WorkerPhases(compute=compute, wait=wait)


def test_phases_are_those_of_the_last_seconds() -> None:
    moment = Moment()
    for second in range(30):  # it computes for twenty seconds, then waits
        spent = phases(min(second, 20.0), max(0.0, second - 20.0))
        for _ in range(2):  # the same is said again until the next heartbeat
            moment = after_news(moment, seen(a_worker("worker-0", phases=spent)), float(second))
    assert moment.phases("worker-0") == phases(1.0, 9.0)
    assert moment.phases("nobody") is None
    moment = after_news(moment, seen(a_worker("worker-0", phases=phases(0.5, 0.5))), 31.0)
    assert moment.phases("worker-0") == phases(0.5, 0.5), "it was started anew"
    assert after_news(moment, seen(a_worker("worker-0")), 32.0).phases("worker-0") is None


def followed(cluster: Cluster, clock: Clock) -> Feed:
    """A feed that follows a job by hand; its own threads find nobody to ask."""
    feed = Feed(cluster, clock)
    feed.story("logistic-1")  # it has heard nothing yet: no thread is begun
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
