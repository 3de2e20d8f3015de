"""The worker's life: connect, join, compute one task at a time, back off, leave."""

import itertools

import pytest

from gradloom.canonical import Range
from gradloom_worker.session import (
    PHASE_STEPS,
    STILL_COMPUTING,
    Answer,
    Backoff,
    Command,
    Connect,
    ConnectLater,
    Discard,
    Event,
    Exit,
    JobReleased,
    LeaveRequested,
    OpenSession,
    Phase,
    RunTask,
    SayGoodbye,
    Session,
    SessionEnded,
    Task,
    TaskEnded,
    TasksGiven,
    Welcomed,
)

LEGAL = {
    (Phase.APART, Phase.JOINING),
    (Phase.APART, Phase.GONE),
    (Phase.JOINING, Phase.ACTIVE),
    (Phase.JOINING, Phase.APART),
    (Phase.JOINING, Phase.GONE),
    (Phase.ACTIVE, Phase.APART),
    (Phase.ACTIVE, Phase.GONE),
}


def task(lo: int, *, job: str = "job", round: int = 1) -> Task:  # noqa: A002
    return Task(job, round, Range(lo, lo + 1), 1)


def tell(session: Session, *events: Event, now: float = 0.0, jitter: float = 1.0) -> list[Command]:
    """What the last of the events led to."""
    commands: list[Command] = []
    for event in events:
        commands = session.handle(event, now, jitter)
    return commands


def joined() -> Session:
    session = Session()
    tell(session, Connect(), Welcomed())
    return session


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Phase, Phase)))
def test_a_session_takes_exactly_the_legal_steps(before: Phase, after: Phase) -> None:
    session = Session(phase=before)
    if (before, after) in LEGAL:
        session._step(after)
        assert session.phase is after
    else:
        with pytest.raises(AssertionError, match=f"{before} -> {after}"):
            session._step(after)


def test_the_table_names_every_phase() -> None:
    assert set(PHASE_STEPS) == set(Phase)


def test_a_worker_connects_joins_computes_and_answers() -> None:
    session = Session()
    assert tell(session, Connect()) == [OpenSession()]
    assert tell(session, Welcomed()) == []
    assert tell(session, TasksGiven((task(0),))) == [RunTask(task(0))]
    assert tell(session, TaskEnded(task(0))) == [Answer(task(0))]
    assert session.phase is Phase.ACTIVE


def test_tasks_are_computed_one_at_a_time_in_the_order_they_came() -> None:
    session = joined()
    assert tell(session, TasksGiven((task(0), task(1)))) == [RunTask(task(0))]
    assert tell(session, TasksGiven((task(2, job="other"),))) == []
    assert tell(session, TaskEnded(task(0))) == [Answer(task(0)), RunTask(task(1))]
    assert tell(session, TaskEnded(task(1))) == [Answer(task(1)), RunTask(task(2, job="other"))]
    assert tell(session, TaskEnded(task(2, job="other"))) == [Answer(task(2, job="other"))]


def test_only_the_running_task_can_end() -> None:
    session = joined()
    tell(session, TasksGiven((task(0), task(1))))
    with pytest.raises(AssertionError):
        tell(session, TaskEnded(task(1)))


def test_a_newer_round_takes_back_the_tasks_of_older_ones() -> None:
    session = joined()
    tell(session, TasksGiven((task(0), task(1))), TasksGiven((task(5, job="other"),)))
    assert tell(session, TasksGiven((task(0, round=2),))) == []
    assert tell(session, TaskEnded(task(0))) == [
        Discard(task(0), "nobody waits for it any more"),
        RunTask(task(5, job="other")),
    ]
    assert tell(session, TaskEnded(task(5, job="other")))[1:] == [RunTask(task(0, round=2))]


def test_more_tasks_of_the_same_round_take_nothing_back() -> None:
    session = joined()
    tell(session, TasksGiven((task(0),)), TasksGiven((task(1),)))
    assert tell(session, TaskEnded(task(0))) == [Answer(task(0)), RunTask(task(1))]


def test_a_released_job_is_dropped_and_the_others_go_on() -> None:
    session = joined()
    tell(session, TasksGiven((task(0), task(1))), TasksGiven((task(2, job="other"),)))
    assert tell(session, JobReleased("job")) == []
    assert [type(command) for command in tell(session, TaskEnded(task(0)))] == [Discard, RunTask]
    assert session.running == task(2, job="other")


def test_a_broken_session_takes_its_tasks_with_it() -> None:
    session = joined()
    tell(session, TasksGiven((task(0), task(1))))
    assert tell(session, SessionEnded("reset")) == [ConnectLater(0.2, "reset")]
    assert [type(command) for command in tell(session, TaskEnded(task(0)))] == [Discard]
    tell(session, Connect(), Welcomed())
    assert tell(session, TasksGiven((task(3),))) == [RunTask(task(3))]


def test_it_does_not_join_while_it_could_start_no_task() -> None:
    session = joined()
    tell(session, TasksGiven((task(0),)), SessionEnded("the task took too long"))
    assert tell(session, Connect()) == [ConnectLater(0.4, STILL_COMPUTING)]
    assert tell(session, Connect(), jitter=0.5) == [ConnectLater(0.4, STILL_COMPUTING)]
    assert session.phase is Phase.APART
    assert tell(session, TaskEnded(task(0))) == [Discard(task(0), "nobody waits for it any more")]
    assert tell(session, Connect()) == [OpenSession()]


def test_a_task_that_hangs_for_good_ends_the_process_for_a_supervisor_to_start_another() -> None:
    session = Session(Backoff(give_up_after_s=300.0))
    tell(session, Connect(), Welcomed(), TasksGiven((task(0),)), now=0.0)
    tell(session, SessionEnded("the task took too long"), now=1000.0)
    assert [type(command) for command in tell(session, Connect(), now=1300.0)] == [ConnectLater]
    assert tell(session, Connect(), now=1301.0) == [Exit(3, f"gave up after 301 s: {STILL_COMPUTING}")]
    assert session.phase is Phase.GONE


@pytest.mark.parametrize("phase", [Phase.JOINING, Phase.ACTIVE])
def test_it_connects_only_while_apart(phase: Phase) -> None:
    with pytest.raises(AssertionError):
        tell(Session(phase=phase, running=task(0)), Connect())


def test_what_ends_while_apart_is_thrown_away() -> None:
    session = joined()
    tell(session, TasksGiven((task(0), task(1))), SessionEnded("reset"))
    assert [type(command) for command in tell(session, TaskEnded(task(0)))] == [Discard]
    assert session.running is None


def test_backoff_doubles_up_to_its_limit_and_is_scaled_by_the_jitter() -> None:
    session = Session(Backoff(base_s=0.1, limit_s=5.0))
    waits = []
    for _ in range(8):
        [later] = tell(session, Connect(), SessionEnded("refused"))
        assert isinstance(later, ConnectLater)
        waits.append(later.after_s)
    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])
    tell(session, Connect())
    assert tell(session, SessionEnded("refused"), jitter=0.25) == [ConnectLater(1.25, "refused")]


def test_a_welcome_makes_the_next_backoff_short_again() -> None:
    session = Session()
    for _ in range(5):
        tell(session, Connect(), SessionEnded("refused"))
    tell(session, Connect(), Welcomed())
    assert tell(session, SessionEnded("reset")) == [ConnectLater(0.2, "reset")]


def test_after_long_enough_without_a_coordinator_it_gives_up() -> None:
    session = Session(Backoff(give_up_after_s=300.0))
    tell(session, Connect(), now=1000.0)
    assert [type(c) for c in tell(session, SessionEnded("no route"), now=1300.0)] == [ConnectLater]
    tell(session, Connect(), now=1301.0)
    assert tell(session, SessionEnded("no route"), now=1301.0) == [Exit(3, "gave up after 301 s: no route")]
    assert session.phase is Phase.GONE


def test_the_patience_begins_anew_with_each_welcome() -> None:
    session = Session(Backoff(give_up_after_s=300.0))
    tell(session, Connect(), Welcomed(), now=0.0)
    assert [type(c) for c in tell(session, SessionEnded("reset"), now=9000.0)] == [ConnectLater]
    tell(session, Connect(), now=9001.0)
    assert [type(c) for c in tell(session, SessionEnded("no route"), now=9300.0)] == [ConnectLater]


def test_a_refusal_ends_the_process_since_trying_again_gives_the_same() -> None:
    session = Session()
    tell(session, Connect())
    words = "protocol_version: the worker speaks 2, the coordinator 1"
    assert tell(session, SessionEnded(words, refused=True)) == [Exit(2, words)]
    assert session.phase is Phase.GONE


def test_leaving_says_goodbye_to_whom_it_may_concern() -> None:
    active, joining, apart = joined(), Session(), Session()
    tell(joining, Connect())
    leave = LeaveRequested("SIGTERM")
    assert tell(active, leave) == [SayGoodbye("SIGTERM"), Exit(0, "SIGTERM")]
    assert tell(joining, leave) == [Exit(0, "SIGTERM")]
    assert tell(apart, leave) == [Exit(0, "SIGTERM")]


@pytest.mark.parametrize(
    "event",
    [
        Connect(),
        Welcomed(),
        SessionEnded("reset"),
        TasksGiven((task(0),)),
        TaskEnded(task(0)),
        JobReleased("job"),
        LeaveRequested("again"),
    ],
)
def test_nothing_happens_after_the_end(event: Event) -> None:
    session = joined()
    tell(session, TasksGiven((task(0),)), LeaveRequested("SIGTERM"))
    assert tell(session, event) == []
