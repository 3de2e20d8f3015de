"""The worker's life: connect, join, compute one task at a time, answer, back off, resume, drain, leave."""

import itertools

import pytest

from gradloom.canonical import Range
from gradloom_worker.commands import (
    Answer,
    AnswerAgain,
    Command,
    ConnectLater,
    Discard,
    Exit,
    Flush,
    Forget,
    GiveUp,
    LimitDrain,
    OpenSession,
    RunTask,
    SayDraining,
    SayGoodbye,
)
from gradloom_worker.events import (
    Connect,
    DrainAsked,
    DrainTimedOut,
    Event,
    Flushed,
    JobReleased,
    LeaveRequested,
    MessageArrived,
    SessionEnded,
    Task,
    TaskEnded,
    TasksCancelled,
    TasksGiven,
    TasksTakenBack,
    Welcomed,
)
from gradloom_worker.session import PHASE_STEPS, STILL_COMPUTING, Backoff, Phase, Session

LEGAL = {
    (Phase.APART, Phase.JOINING),
    (Phase.APART, Phase.GONE),
    (Phase.JOINING, Phase.ACTIVE),
    (Phase.JOINING, Phase.APART),
    (Phase.JOINING, Phase.GONE),
    (Phase.ACTIVE, Phase.APART),
    (Phase.ACTIVE, Phase.DRAINING),
    (Phase.ACTIVE, Phase.GONE),
    (Phase.DRAINING, Phase.GONE),
}
BASE = Backoff(base_s=0.1)
UNWANTED = "nobody waits for it any more"


def task(lo: int, *, job: str = "job", round: int = 1) -> Task:  # noqa: A002
    return Task(job, round, Range(lo, lo + 1), 1)


def tell(session: Session, *events: Event, now: float = 0.0, jitter: float = 1.0) -> list[Command]:
    """What the last of the events led to."""
    commands: list[Command] = []
    for event in events:
        commands = session.handle(event, now, jitter)
    return commands


def joined(*given: Task) -> Session:
    """A session with the token "t", and these tasks."""
    session = Session(BASE)
    tell(session, Connect(), Welcomed("t"))
    for one in given:
        tell(session, TasksGiven((one,)))
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


# ---- tasks


def test_a_worker_connects_joins_computes_and_answers() -> None:
    session = Session()
    assert tell(session, Connect()) == [OpenSession()]
    assert tell(session, Welcomed("t")) == []
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
    session = joined(task(0), task(1))
    with pytest.raises(AssertionError):
        tell(session, TaskEnded(task(1)))


def test_a_task_starts_once_its_message_is_here_and_holds_up_no_other_job() -> None:
    session = joined()
    assert tell(session, TasksGiven((task(0), task(1)), message_is_here=False)) == []
    assert tell(session, TasksGiven((task(5, job="other"),))) == [RunTask(task(5, job="other"))]
    assert tell(session, MessageArrived("job", 1)) == []
    assert tell(session, TaskEnded(task(5, job="other")))[1:] == [RunTask(task(0))]


def test_the_message_of_an_older_round_starts_nothing() -> None:
    session = joined()
    tell(session, TasksGiven((task(0, round=2),), message_is_here=False))
    assert tell(session, MessageArrived("job", 1)) == []
    assert tell(session, MessageArrived("job", 2)) == [RunTask(task(0, round=2))]


def test_with_a_newer_round_older_tasks_are_given_up_unless_they_have_started() -> None:
    session = joined(task(0), task(1), task(5, job="other"))
    assert tell(session, TasksGiven((task(0, round=2),))) == [GiveUp((task(1),))]
    assert tell(session, TaskEnded(task(0))) == [Answer(task(0)), RunTask(task(5, job="other"))]
    assert tell(session, TaskEnded(task(5, job="other")))[1:] == [RunTask(task(0, round=2))]


def test_more_tasks_of_the_same_round_take_nothing_back() -> None:
    session = joined(task(0), task(1))
    assert tell(session, TaskEnded(task(0))) == [Answer(task(0)), RunTask(task(1))]


def test_a_released_job_is_dropped_and_the_others_go_on() -> None:
    session = joined(task(0), task(1), task(2, job="other"))
    assert tell(session, JobReleased("job")) == []
    assert [type(command) for command in tell(session, TaskEnded(task(0)))] == [Discard, RunTask]
    assert session.running == task(2, job="other")


# ---- what others can do sooner, or nobody needs


def test_what_is_taken_back_is_given_up_unless_it_has_started() -> None:
    session = joined(task(0), task(1), task(2))
    assert tell(session, TasksTakenBack((task(0), task(2), task(7)))) == [GiveUp((task(2),))]
    assert tell(session, TaskEnded(task(0))) == [Answer(task(0)), RunTask(task(1))]
    assert tell(session, TaskEnded(task(1))) == [Answer(task(1))]


def test_to_give_up_nothing_is_an_answer_too() -> None:
    assert tell(joined(task(0)), TasksTakenBack((task(0),))) == [GiveUp(())]
    assert tell(joined(), TasksTakenBack((task(0),))) == [GiveUp(())]


def test_tasks_that_wait_for_their_message_have_not_started() -> None:
    session = joined()
    tell(session, TasksGiven((task(0), task(1)), message_is_here=False))
    assert tell(session, TasksTakenBack((task(0),))) == [GiveUp((task(0),))]
    assert tell(session, MessageArrived("job", 1)) == [RunTask(task(1))]


def test_a_task_is_the_same_whenever_it_was_given() -> None:
    session = joined(task(0), Task("job", 1, Range(1, 2), 1, given_at=17.0))
    assert tell(session, TasksTakenBack((task(1),))) == [GiveUp((task(1),))]


def test_cancelled_tasks_are_dropped_wherever_they_are() -> None:
    session = joined(task(0), task(1), task(2), task(3))
    tell(session, TaskEnded(task(0)))
    assert tell(session, TasksCancelled((task(0), task(1), task(2)))) == [Forget((task(0),), unsend=True)]
    assert tell(session, TaskEnded(task(1))) == [Discard(task(1), UNWANTED), RunTask(task(3))]


def test_answers_are_kept_until_a_newer_round_or_the_end_of_their_job() -> None:
    session = joined(task(0), task(1), task(5, job="other"))
    for one in (task(0), task(1), task(5, job="other")):
        tell(session, TaskEnded(one))
    assert session.kept == [task(0), task(1), task(5, job="other")]
    [forgotten, _] = tell(session, TasksGiven((task(0, round=2),)))
    assert forgotten == Forget((task(0), task(1)))
    assert tell(session, JobReleased("other")) == [Forget((task(5, job="other"),), unsend=True)]


# ---- sessions that break


def test_a_broken_session_is_resumed_and_what_is_computed_stays_wanted() -> None:
    session = joined(task(0), task(1), task(2))
    tell(session, TaskEnded(task(0)))
    assert tell(session, SessionEnded("reset")) == [ConnectLater(0.1, "reset")]
    assert not session.waiting, "the coordinator deals them anew"
    assert tell(session, Connect(), now=1.0) == [OpenSession("t", task(1))]
    assert tell(session, Welcomed("t", resumed=True), now=1.0) == [AnswerAgain(task(0))]
    assert tell(session, TaskEnded(task(1))) == [Answer(task(1))]


@pytest.mark.parametrize("back", [False, True], ids=["while apart", "while joining"])
def test_what_ends_without_a_coordinator_is_answered_when_the_session_is_resumed(back: bool) -> None:
    session = joined(task(0))
    tell(session, SessionEnded("reset"))
    if back:
        assert tell(session, Connect()) == [OpenSession("t", task(0))]
    assert tell(session, TaskEnded(task(0))) == []
    if not back:
        assert tell(session, Connect()) == [OpenSession("t")]
    assert tell(session, Welcomed("t", resumed=True)) == [AnswerAgain(task(0))]
    assert tell(session, TasksGiven((task(1),))) == [RunTask(task(1))]


def test_answers_of_a_round_that_went_on_are_forgotten_after_the_resume() -> None:
    session = joined(task(0))
    tell(session, TaskEnded(task(0)), SessionEnded("reset"), Connect(), Welcomed("t", resumed=True))
    assert tell(session, TasksGiven((task(0, round=2),))) == [Forget((task(0),)), RunTask(task(0, round=2))]


def test_a_message_that_came_before_the_break_has_to_come_again() -> None:
    session = joined(task(0))
    tell(session, TaskEnded(task(0)), SessionEnded("reset"), Connect(), Welcomed("t", resumed=True))
    assert tell(session, TasksGiven((task(1),), message_is_here=False)) == []


def test_a_session_that_broke_too_long_ago_is_over() -> None:
    session = joined(task(0), task(1))
    tell(session, TaskEnded(task(0)), TaskEnded(task(1)), SessionEnded("reset"), now=100.0)
    assert tell(session, Connect(), now=110.1) == [Forget((task(0), task(1)), unsend=True), OpenSession()]


def test_a_coordinator_that_does_not_know_the_session_gets_a_new_one_without_the_old_answers() -> None:
    session = joined(task(0))
    tell(session, TaskEnded(task(0)), SessionEnded("reset"), Connect())
    assert tell(session, Welcomed("new")) == [Forget((task(0),), unsend=True)]
    assert (session.phase, session.token) == (Phase.ACTIVE, "new")


def test_it_does_not_stay_while_it_could_start_no_task() -> None:
    session = joined(task(0))
    tell(session, SessionEnded("reset"), Connect())
    assert tell(session, Welcomed("new")) == [SayGoodbye(STILL_COMPUTING)]
    assert tell(session, TasksGiven((task(1),))) == [], "it crossed the Goodbye"
    assert tell(session, SessionEnded("bye")) == [ConnectLater(0.2, "bye")]
    assert tell(session, Connect()) == [ConnectLater(0.4, STILL_COMPUTING)]
    assert tell(session, Connect(), jitter=0.5) == [ConnectLater(0.4, STILL_COMPUTING)]
    assert tell(session, TaskEnded(task(0))) == [Discard(task(0), UNWANTED)]
    assert tell(session, Connect()) == [OpenSession()]


def test_a_task_that_hangs_for_good_ends_the_process_for_a_supervisor_to_start_another() -> None:
    session = joined(task(0))
    tell(session, SessionEnded("the task took too long"), now=1000.0)
    tell(session, Connect(), Welcomed("new"), SessionEnded("bye"), now=1001.0)
    assert [type(command) for command in tell(session, Connect(), now=1300.0)] == [ConnectLater]
    assert tell(session, Connect(), now=1301.0) == [Exit(3, f"gave up after 301 s: {STILL_COMPUTING}")]
    assert session.phase is Phase.GONE


@pytest.mark.parametrize("phase", [Phase.JOINING, Phase.ACTIVE])
def test_it_connects_only_while_apart(phase: Phase) -> None:
    with pytest.raises(AssertionError):
        tell(Session(phase=phase, running=task(0)), Connect())


def test_backoff_doubles_up_to_its_limit_and_is_scaled_by_the_jitter() -> None:
    session = Session()
    waits = []
    for _ in range(7):
        [later] = tell(session, Connect(), SessionEnded("refused"))
        assert isinstance(later, ConnectLater)
        waits.append(later.after_s)
    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    tell(session, Connect())
    assert tell(session, SessionEnded("refused"), jitter=0.25) == [ConnectLater(0.25, "refused")]


def test_a_welcome_makes_the_next_backoff_short_again() -> None:
    session = Session(BASE)
    for _ in range(5):
        tell(session, Connect(), SessionEnded("refused"))
    tell(session, Connect(), Welcomed())
    assert tell(session, SessionEnded("reset")) == [ConnectLater(0.1, "reset")]


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


# ---- leaving


def test_a_worker_that_is_told_to_leave_finishes_what_it_computes() -> None:
    session = joined(task(0), task(1), task(2))
    assert tell(session, LeaveRequested("SIGTERM")) == [
        SayDraining("SIGTERM"),
        GiveUp((task(1), task(2))),
        LimitDrain(20.0),
    ]
    assert tell(session, TasksGiven((task(3),))) == [GiveUp((task(3),))], "it crossed our Draining"
    assert tell(session, TasksTakenBack((task(1),))) == [GiveUp(())]
    assert tell(session, TaskEnded(task(0))) == [Answer(task(0)), Flush()]
    assert tell(session, Flushed()) == [SayGoodbye("SIGTERM"), Exit(0, "SIGTERM")]


def test_a_worker_with_empty_hands_leaves_as_soon_as_it_has_said_so() -> None:
    session = joined()
    leaving = tell(session, DrainAsked("the machine is needed"))
    assert leaving == [SayDraining("the machine is needed"), LimitDrain(20.0), Flush()]
    assert tell(session, Flushed()) == [
        SayGoodbye("the machine is needed"),
        Exit(0, "the machine is needed"),
    ]


@pytest.mark.parametrize("event", [TasksCancelled((task(0),)), JobReleased("job")])
def test_nobody_waits_for_a_task_that_is_not_wanted(event: Event) -> None:
    session = joined(task(0))
    tell(session, LeaveRequested("SIGTERM"))
    assert tell(session, event)[-1] == Flush()


def test_draining_has_a_limit() -> None:
    session = joined(task(0))
    tell(session, LeaveRequested("SIGTERM"))
    words = "SIGTERM; not through after 20 s"
    assert tell(session, DrainTimedOut()) == [SayGoodbye(words), Exit(0, words)]


def test_the_second_signal_ends_it_at_once() -> None:
    session = joined(task(0))
    tell(session, LeaveRequested("SIGTERM"))
    assert tell(session, LeaveRequested("SIGINT")) == [SayGoodbye("SIGINT"), Exit(0, "SIGINT")]


def test_a_signal_after_an_operators_wish_is_not_the_second_one() -> None:
    session = joined(task(0))
    tell(session, DrainAsked("the machine is needed"))
    assert tell(session, LeaveRequested("SIGTERM")) == []
    assert tell(session, DrainAsked("again")) == []
    assert [type(c) for c in tell(session, LeaveRequested("SIGTERM"))] == [SayGoodbye, Exit]


def test_a_session_that_breaks_while_draining_is_not_resumed() -> None:
    session = joined(task(0))
    tell(session, LeaveRequested("SIGTERM"))
    assert tell(session, SessionEnded("reset")) == [Exit(0, "SIGTERM; reset")]


def test_without_a_coordinator_it_leaves_at_once() -> None:
    joining, apart = Session(), Session()
    tell(joining, Connect())
    assert tell(joining, LeaveRequested("SIGTERM")) == [Exit(0, "SIGTERM")]
    assert tell(apart, LeaveRequested("SIGTERM")) == [Exit(0, "SIGTERM")]


@pytest.mark.parametrize(
    "event",
    [
        Connect(),
        Welcomed(),
        SessionEnded("reset"),
        TasksGiven((task(0),)),
        MessageArrived("job", 1),
        TaskEnded(task(0)),
        TasksTakenBack((task(0),)),
        TasksCancelled((task(0),)),
        JobReleased("job"),
        DrainAsked("again"),
        LeaveRequested("again"),
        Flushed(),
        DrainTimedOut(),
    ],
)
def test_nothing_happens_after_the_end(event: Event) -> None:
    session = joined(task(0))
    tell(session, LeaveRequested("SIGTERM"), LeaveRequested("SIGTERM"))
    assert tell(session, event) == []
