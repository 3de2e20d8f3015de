"""Workers come, fall silent and go; no shard is lost and nobody waits in vain."""

import pytest

from builders.scheduling import Desk, answer, cancelled, note, order, retry, sent, task, without_wakes
from gradloom.jobs import RetryReason, WorkerState
from gradloom_coordinator.scheduling.commands import (
    AcceptOffer,
    CloseRound,
    DropPartial,
    EndSession,
    MergePartial,
    SendTasks,
)
from gradloom_coordinator.scheduling.events import (
    Event,
    HeartbeatReceived,
    PartialOffered,
    Stalled,
    StreamBroken,
    WorkerJoined,
    WorkerLeft,
)
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.rounds import Refusal

STARVED = note("waiting: there is no worker that takes work")


def desk_of_two() -> Desk:
    """a computes the first of two shards, b the second."""
    desk = Desk.of("a", "b")
    desk.start([10] * 2)
    return desk


def test_a_late_joiner_is_used_from_the_next_round() -> None:
    desk = Desk.of("a", "b")
    desk.start([10] * 4)
    assert desk.join("c")[0] == note("worker c joined")
    desk.answer_all()
    commands = desk.next_round()
    assert commands[0] == note("placed: 4 shards over 3 workers in equal shares; c joined")
    assert {worker for worker, _ in sent(commands)} == {"a", "b", "c"}


def test_a_late_joiner_helps_at_once_where_that_pays() -> None:
    desk = Desk.of("a")
    desk.start([10] * 32)
    helps = [command for command in desk.join("b") if isinstance(command, SendTasks)]
    tasks = (order(24, 32), order(16, 24))
    assert helps == [SendTasks("b", "job", 1, tasks, "helps a, which has more to do")]


@pytest.mark.parametrize(
    ("event", "reason", "told"),
    [
        (WorkerLeft("b", "SIGTERM"), RetryReason.WORKER_LOST, "worker b is gone: SIGTERM"),
        (StreamBroken("b", "SIGTERM"), RetryReason.STREAM_RESET, "worker b broke off: SIGTERM"),
    ],
)
def test_what_a_lost_worker_had_goes_at_once_to_the_others(
    event: Event, reason: RetryReason, told: str
) -> None:
    desk = desk_of_two()
    assert without_wakes(desk.tell(event)) == [
        note(told),
        retry("b", task(1, 2), reason, "SIGTERM"),
        SendTasks("a", "job", 1, (order(1, 2, 2),), "nobody had it"),
    ]
    assert desk.tell(answer("a", task(0, 1))) == [MergePartial("a", task(0, 1))]
    assert desk.tell(answer("a", task(1, 2, 2))) == [MergePartial("a", task(1, 2, 2)), CloseRound("job", 1)]


def test_a_lost_worker_costs_only_its_own_tasks() -> None:
    desk = desk_of_two()
    desk.tell(answer("b", task(1, 2)))
    assert without_wakes(desk.tell(StreamBroken("b", "reset"))) == [note("worker b broke off: reset")]
    assert desk.in_hand("a") == [task(0, 1)]
    assert desk.job().retries == 0


def test_only_a_heartbeat_keeps_a_worker() -> None:
    desk = desk_of_two()
    desk.now = 4.9
    desk.tell(HeartbeatReceived("a"))
    assert desk.tick(0.2) == [
        EndSession("b", "no sign of life for 5.1 s"),
        note("worker b is gone: no sign of life for 5.1 s"),
        retry("b", task(1, 2), RetryReason.HEARTBEAT_TIMEOUT, "no sign of life for 5.1 s"),
        SendTasks("a", "job", 1, (order(1, 2, 2),), "nobody had it"),
    ]


def test_an_answer_is_a_sign_of_life_too() -> None:
    desk = desk_of_two()
    desk.now = 4.0
    desk.tell(answer("a", task(0, 1)), PartialOffered("b", task(1, 2)))
    assert without_wakes(desk.tick(2.0)) == []


def test_a_suspect_keeps_its_tasks_gets_no_new_ones_and_comes_back() -> None:
    desk = desk_of_two()
    desk.tick_while_alive(3.5, "a")
    assert desk.worker("b").state is WorkerState.SUSPECT
    assert desk.in_hand("b") == [task(1, 2)]
    desk.tell(StreamBroken("a", "reset"))
    assert desk.in_hand("b") == [task(1, 2)], "nothing new for a suspect"
    commands = desk.tell(HeartbeatReceived("b"))
    assert sent(commands) == [("b", task(0, 1, 2))]
    assert desk.worker("b").state is WorkerState.BUSY


def test_a_suspect_gets_nothing_in_the_next_round_either() -> None:
    desk = desk_of_two()
    desk.tell(answer("b", task(1, 2)))
    desk.tick_while_alive(4.0, "a")
    desk.tell(answer("a", task(0, 1)))
    desk.next_round()
    assert desk.in_hand("b") == []
    desk.tell(HeartbeatReceived("b"))
    desk.answer_all()
    assert [worker for worker, _ in sent(desk.next_round())] == ["a", "b"]


def test_a_suspects_answer_counts_and_makes_it_idle() -> None:
    desk = desk_of_two()
    desk.tick_while_alive(3.5, "a")
    assert without_wakes(desk.tell(answer("b", task(1, 2)))) == [MergePartial("b", task(1, 2))]
    assert desk.worker("b").state is WorkerState.IDLE


def test_when_all_are_silent_at_once_nothing_is_handed_from_one_to_the_next() -> None:
    """As after a pause of the coordinator itself: a task that is moved on and on would look like a killer."""
    desk = Desk()
    desk.join("a", "b", "c", "d")
    desk.start([10])
    commands = desk.tick(6.0)
    assert sent(commands) == []
    assert [command.worker for command in commands if isinstance(command, EndSession)] == list("abcd")
    assert commands.count(STARVED) == 1
    assert sent(desk.join("a")) == [("a", task(0, 1, 2))]


def test_losing_the_last_worker_starves_the_job_until_one_comes() -> None:
    desk = desk_of_two()
    desk.tell(StreamBroken("a", "reset"))
    commands = desk.tell(StreamBroken("b", "reset"))
    assert commands[-1] == STARVED
    desk.tick(20.0)
    assert desk.tick(30.0) == []
    assert sent(desk.join("c")) == [("c", task(1, 2, 2)), ("c", task(0, 1, 3))]
    desk.answer_all()
    assert desk.round().over


def test_starving_again_is_said_again() -> None:
    desk = Desk.of("a")
    desk.start([10])
    for name, next_name in ("ab", "bc"):
        assert desk.tell(StreamBroken(name, "reset"))[-1] == STARVED
        desk.join(next_name)


def test_a_task_that_takes_too_long_ends_its_workers_session() -> None:
    desk = Desk.of("a", "b", limits=Limits(task_timeout_s=60.0, speculation=False))
    desk.start([10] * 2)
    desk.tick_while_alive(10.0, "a", "b")
    desk.tell(answer("a", task(0, 1)))
    assert desk.tick_while_alive(50.0, "a", "b") == []
    commands = desk.tick_while_alive(1.0, "a", "b")
    assert commands[:3] == [
        EndSession("b", "shards 1 took more than 60 s"),
        note("worker b is gone: shards 1 took more than 60 s"),
        retry("b", task(1, 2), RetryReason.DEADLINE, "shards 1 took more than 60 s"),
    ]
    assert desk.worker("a").tasks == {}, "a failed task backs off"
    assert sent(desk.tick_while_alive(1.0, "a")) == [("a", task(1, 2, 2))]


def test_the_time_of_a_task_counts_from_the_answer_to_the_one_before() -> None:
    desk = Desk.of("a", limits=Limits(task_timeout_s=60.0))
    desk.start([10] * 3)
    assert len(desk.in_hand("a")) == 2
    desk.tick_while_alive(50.0, "a")
    desk.answer("a")
    desk.tick_while_alive(50.0, "a")
    assert "a" in desk.scheduler.state.workers
    commands = desk.tick_while_alive(11.0, "a")
    assert commands[0] == EndSession("a", "shards 1 took more than 60 s")
    assert "a" not in desk.scheduler.state.workers


def test_only_the_task_that_was_being_computed_is_blamed_for_a_deadline() -> None:
    desk = Desk.of("a", limits=Limits(task_timeout_s=2.0))
    desk.worker("a").transit_s = 1.0  # far away: it has tasks of both jobs in hand
    desk.start([10])
    desk.start([10], "other")
    desk.now = 1.0
    desk.tell(HeartbeatReceived("a"))
    commands = desk.tick(1.5)
    late = "shards 0 took more than 2 s"
    assert retry("a", task(0, 1), RetryReason.DEADLINE, late) in commands
    assert retry("a", task(0, 1, job="other"), RetryReason.WORKER_LOST, late) in commands


# ---- partials that are not wanted


def test_a_big_partial_is_asked_for_only_while_it_is_wanted() -> None:
    desk = desk_of_two()
    assert desk.tell(PartialOffered("a", task(0, 1))) == [AcceptOffer("a", task(0, 1))]
    desk.tell(answer("a", task(0, 1)))
    assert desk.tell(PartialOffered("a", task(0, 1))) == [DropPartial("a", task(0, 1), Refusal.DUPLICATE)]


def test_a_duplicate_is_dropped() -> None:
    desk = desk_of_two()
    desk.tell(answer("a", task(0, 1)))
    [dropped] = desk.tell(answer("a", task(0, 1)))
    assert dropped == DropPartial("a", task(0, 1), "its shards are counted already")


def test_an_answer_to_an_earlier_round_is_late() -> None:
    desk = desk_of_two()
    desk.answer_all()
    late = DropPartial("a", task(0, 1), "its round is over")
    assert desk.tell(answer("a", task(0, 1))) == [late]
    desk.next_round()
    assert desk.tell(answer("a", task(0, 1))) == [late]
    assert desk.tell(PartialOffered("a", task(0, 1))) == [late]


def test_an_answer_for_an_unknown_job_is_dropped() -> None:
    desk = desk_of_two()
    foreign = task(0, 1, job="never heard of")
    assert desk.tell(answer("a", foreign)) == [DropPartial("a", foreign, "its job is not running")]


@pytest.mark.parametrize("foreign", [(0, 2), (0, 99), (2, 2), (3, 1)])
def test_shards_that_are_no_chunk_are_no_answer(foreign: tuple[int, int]) -> None:
    desk = desk_of_two()
    refused = DropPartial("a", task(*foreign), "its shards are no chunk of the round")
    assert desk.tell(answer("a", task(*foreign))) == [refused]
    assert desk.tell(PartialOffered("a", task(*foreign))) == [refused]
    assert desk.in_hand("a") == [task(0, 1)]


@pytest.mark.parametrize("what", [answer("b", task(1, 2)), PartialOffered("b", task(1, 2))])
def test_what_a_lost_worker_still_sends_is_dropped(what: Event) -> None:
    desk = desk_of_two()
    desk.tell(StreamBroken("b", "reset"))
    assert desk.tell(what) == [DropPartial("b", task(1, 2), "its worker is gone")]
    assert desk.tell(HeartbeatReceived("b")) == []


def test_losing_a_worker_twice_is_losing_it_once() -> None:
    desk = desk_of_two()
    desk.tell(WorkerLeft("b", "SIGTERM"))
    assert desk.tell(WorkerLeft("b", "bye")) == []
    assert desk.tell(StreamBroken("b", "reset")) == []


def test_the_same_shards_from_another_worker_take_the_task_out_of_the_others_hands() -> None:
    desk = desk_of_two()
    commands = desk.tell(answer("b", task(0, 1)))
    assert commands[0] == MergePartial("b", task(0, 1))
    assert cancelled(commands) == [("a", task(0, 1))]
    assert desk.in_hand("a") == []
    assert desk.worker("a").state is WorkerState.IDLE
    assert desk.tell(answer("a", task(0, 1))) == [DropPartial("a", task(0, 1), Refusal.DUPLICATE)]
    assert desk.tell(answer("b", task(1, 2)))[-1] == CloseRound("job", 1)


def test_a_name_is_free_again_once_its_worker_is_gone() -> None:
    desk = desk_of_two()
    with pytest.raises(AssertionError):
        desk.tell(WorkerJoined("b"))
    desk.tell(WorkerLeft("b", "SIGTERM"))
    assert note("worker b joined") in desk.join("b")


def test_a_coordinator_that_stood_still_blames_nobody() -> None:
    desk = Desk()
    desk.join("a", "b")
    desk.start([10, 10])
    desk.now += 60.0
    desk.tell(Stalled(60.0))
    assert desk.tick() == []
    assert {name: desk.worker(name).state for name in ("a", "b")} == {"a": "busy", "b": "busy"}


def test_workers_that_leave_on_purpose_are_no_deaths() -> None:
    desk = Desk()
    for name in ("a", "b", "c", "d"):
        desk.join(name)
    desk.start([10])
    for _ in range(4):
        worker = next(
            name
            for name in ("a", "b", "c", "d")
            if name in desk.scheduler.state.workers and desk.in_hand(name)
        )
        desk.tell(WorkerLeft(worker, "SIGTERM"))
    assert desk.job().state == "running"


def test_a_worker_with_tasks_of_two_jobs_dies_on_neither() -> None:
    desk = Desk()
    for n in range(4):
        desk.join(f"w{n}")
        if n == 0:
            desk.start([10])
            desk.start([10], job="other")
        else:
            desk.tell(StreamBroken(f"w{n - 1}", "gone"))
    assert (desk.job().state, desk.job("other").state) == ("running", "running")


@pytest.mark.parametrize("late", [answer("b", task(1, 2, 9)), PartialOffered("b", task(9, 10))])
def test_whatever_a_suspect_says_makes_it_take_work_again(late: Event) -> None:
    """What is dropped is a sign of life, too: work that lies about must not wait for the next heartbeat."""
    desk = desk_of_two()
    desk.tell(answer("b", task(1, 2)))
    desk.tick_while_alive(3.5, "a")
    desk.tell(WorkerLeft("a", "SIGTERM"))
    assert sent(desk.tell(late)) == [("b", task(0, 1, 2))]


def test_a_coordinator_that_stood_still_gives_those_that_are_away_their_time() -> None:
    desk = desk_of_two()
    desk.tell(StreamBroken("b", "reset"))
    desk.now += 60.0
    desk.tell(Stalled(60.0))
    desk.tick()
    assert desk.worker("b").state is WorkerState.AWAY
