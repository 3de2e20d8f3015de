"""Workers come, fall silent and go; no shard is lost and nobody waits in vain."""

import pytest

from builders.scheduling import Desk, answer, note, order, retry, sent, task
from gradloom.jobs import RetryReason, WorkerState
from gradloom_coordinator.commands import (
    AcceptOffer,
    CloseRound,
    DropPartial,
    EndSession,
    MergePartial,
    SendTasks,
)
from gradloom_coordinator.events import (
    Event,
    HeartbeatReceived,
    PartialOffered,
    Stalled,
    StreamBroken,
    WorkerJoined,
    WorkerLeft,
)
from gradloom_coordinator.limits import Limits
from gradloom_coordinator.rounds import Refusal
from gradloom_coordinator.scheduler import Scheduler

STARVED = note("waiting: there is no worker that takes work")


def desk_of_two(shards: int = 4) -> Desk:
    """a computes the first half, b the second."""
    desk = Desk()
    desk.join("a", "b")
    desk.start([10] * shards)
    return desk


def test_a_late_joiner_is_used_from_the_next_round() -> None:
    desk = desk_of_two()
    assert desk.join("c") == [note("worker c joined")]
    desk.answer_all()
    commands = desk.next_round()
    assert commands[0] == note("placed: 4 shards over 3 workers in equal shares")
    assert sent(commands) == [
        ("a", task(0, 1, round=2)),
        ("b", task(1, 2, round=2)),
        ("b", task(2, 3, round=2)),
        ("c", task(3, 4, round=2)),
    ]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (WorkerLeft("b", "SIGTERM"), RetryReason.WORKER_LOST),
        (StreamBroken("b", "SIGTERM"), RetryReason.STREAM_RESET),
    ],
)
def test_what_a_lost_worker_had_goes_at_once_to_the_others(event: Event, reason: RetryReason) -> None:
    desk = desk_of_two()
    assert desk.tell(event) == [
        note("worker b is gone: SIGTERM"),
        retry("b", task(2, 4), reason, "SIGTERM"),
        SendTasks("a", "job", 1, (order(2, 4, 2),), "2 shards over 1 worker in equal shares"),
    ]
    assert desk.tell(answer("a", task(0, 2))) == [MergePartial("a", task(0, 2))]
    assert desk.tell(answer("a", task(2, 4, 2))) == [MergePartial("a", task(2, 4, 2)), CloseRound("job", 1)]


def test_a_lost_worker_costs_only_its_own_tasks() -> None:
    desk = desk_of_two()
    desk.tell(answer("b", task(2, 4)))
    assert desk.tell(StreamBroken("b", "reset")) == [note("worker b is gone: reset")]
    assert desk.in_hand("a") == [task(0, 2)]
    assert desk.job().retries == 0


def test_only_a_heartbeat_keeps_a_worker() -> None:
    desk = desk_of_two()
    desk.now = 4.9
    desk.tell(HeartbeatReceived("a"))
    assert desk.tick(0.2) == [
        EndSession("b", "no sign of life for 5.1 s"),
        note("worker b is gone: no sign of life for 5.1 s"),
        retry("b", task(2, 4), RetryReason.HEARTBEAT_TIMEOUT, "no sign of life for 5.1 s"),
        SendTasks("a", "job", 1, (order(2, 4, 2),), "2 shards over 1 worker in equal shares"),
    ]


def test_an_answer_is_a_sign_of_life_too() -> None:
    desk = desk_of_two()
    desk.now = 4.0
    desk.tell(answer("a", task(0, 2)), PartialOffered("b", task(2, 4)))
    assert desk.tick(2.0) == []


def test_a_suspect_keeps_its_tasks_gets_no_new_ones_and_comes_back() -> None:
    desk = desk_of_two()
    desk.tick_while_alive(3.5, "a")
    assert desk.worker("b").state is WorkerState.SUSPECT
    assert desk.in_hand("b") == [task(2, 4)]
    desk.tell(StreamBroken("a", "reset"))
    assert desk.in_hand("b") == [task(2, 4)], "nothing new for a suspect"
    commands = desk.tell(HeartbeatReceived("b"))
    assert sent(commands) == [("b", task(0, 2, 2))]
    assert desk.worker("b").state is WorkerState.BUSY


def test_a_suspect_gets_nothing_in_the_next_round_either() -> None:
    desk = desk_of_two()
    desk.tell(answer("b", task(2, 4)))
    desk.tick_while_alive(4.0, "a")
    desk.tell(answer("a", task(0, 2)))
    assert sent(desk.next_round()) == [("a", task(0, 4, round=2))]
    desk.tell(HeartbeatReceived("b"), answer("a", task(0, 4, round=2)))
    assert [worker for worker, _ in sent(desk.next_round())] == ["a", "b"]


def test_a_suspects_answer_counts_and_makes_it_idle() -> None:
    desk = desk_of_two()
    desk.tick_while_alive(3.5, "a")
    assert desk.tell(answer("b", task(2, 4))) == [MergePartial("b", task(2, 4))]
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
    assert desk.tick(30.0) == []
    assert desk.join("c") == [
        note("worker c joined"),
        SendTasks("c", "job", 1, (order(0, 4, 3),), "4 shards over 1 worker in equal shares"),
    ]
    assert desk.tell(answer("c", task(0, 4, 3)))[-1] == CloseRound("job", 1)


def test_starving_again_is_said_again() -> None:
    desk = Desk()
    desk.join("a")
    desk.start([10])
    for name in ("b", "c"):
        assert desk.tell(StreamBroken(chr(ord(name) - 1), "reset"))[-1] == STARVED
        desk.join(name)


def test_a_task_that_takes_too_long_ends_its_workers_session() -> None:
    desk = Desk(Scheduler(Limits(task_timeout_s=60.0)))
    desk.join("a", "b")
    desk.start([10] * 4)
    desk.tick_while_alive(10.0, "a", "b")
    desk.tell(answer("a", task(0, 2)))
    assert desk.tick_while_alive(50.0, "a", "b") == []
    commands = desk.tick_while_alive(1.0, "a", "b")
    assert commands[:3] == [
        EndSession("b", "shards 2-3 took more than 60 s"),
        note("worker b is gone: shards 2-3 took more than 60 s"),
        retry("b", task(2, 4), RetryReason.DEADLINE, "shards 2-3 took more than 60 s"),
    ]
    assert desk.worker("a").tasks == {}, "a failed task backs off"
    assert sent(desk.tick_while_alive(1.0, "a")) == [("a", task(2, 4, 2))]


def test_the_time_of_a_task_counts_from_the_answer_to_the_one_before() -> None:
    desk = Desk(Scheduler(Limits(task_timeout_s=60.0)))
    desk.join("a")
    desk.start([10] * 2, policy="round_robin")
    desk.start([10], "other")
    desk.tick_while_alive(50.0, "a")
    desk.tell(answer("a", desk.in_hand("a")[0]))
    desk.tick_while_alive(50.0, "a")
    assert "a" in desk.scheduler.state.workers
    commands = desk.tick_while_alive(11.0, "a")
    assert commands[0] == EndSession("a", "shards 0 took more than 60 s")
    assert "a" not in desk.scheduler.state.workers


def test_only_the_task_that_was_being_computed_is_blamed_for_a_deadline() -> None:
    desk = Desk(Scheduler(Limits(task_timeout_s=2.0)))
    desk.join("a")
    desk.start([60, 10, 10], policy="balanced")
    desk.start([10], "other")
    desk.now = 1.0
    desk.tell(HeartbeatReceived("a"))
    commands = desk.tick(1.5)
    assert retry("a", task(0, 3), RetryReason.DEADLINE, "shards 0-2 took more than 2 s") in commands
    assert (
        retry("a", task(0, 1, job="other"), RetryReason.WORKER_LOST, "shards 0-2 took more than 2 s")
        in commands
    )


# ---- partials that are not wanted


def test_a_big_partial_is_asked_for_only_while_it_is_wanted() -> None:
    desk = desk_of_two()
    assert desk.tell(PartialOffered("a", task(0, 2))) == [AcceptOffer("a", task(0, 2))]
    desk.tell(answer("a", task(0, 2)))
    assert desk.tell(PartialOffered("a", task(0, 2))) == [DropPartial("a", task(0, 2), Refusal.DUPLICATE)]


def test_a_duplicate_is_dropped() -> None:
    desk = desk_of_two()
    desk.tell(answer("a", task(0, 2)))
    [dropped] = desk.tell(answer("a", task(0, 2)))
    assert dropped == DropPartial("a", task(0, 2), "its shards are counted already")


def test_an_answer_to_an_earlier_round_is_late() -> None:
    desk = desk_of_two()
    desk.answer_all()
    late = DropPartial("a", task(0, 2), "its round is over")
    assert desk.tell(answer("a", task(0, 2))) == [late]
    desk.next_round()
    assert desk.tell(answer("a", task(0, 2))) == [late]
    assert desk.tell(PartialOffered("a", task(0, 2))) == [late]


def test_an_answer_for_an_unknown_job_is_dropped() -> None:
    desk = desk_of_two()
    foreign = task(0, 2, job="never heard of")
    assert desk.tell(answer("a", foreign)) == [DropPartial("a", foreign, "its job is not running")]


@pytest.mark.parametrize("foreign", [(1, 3), (0, 99), (2, 2), (3, 1)])
def test_shards_that_nobody_was_given_are_no_answer(foreign: tuple[int, int]) -> None:
    desk = desk_of_two()
    refused = DropPartial("a", task(*foreign), "its shards are no node of the job's tree")
    assert desk.tell(answer("a", task(*foreign))) == [refused]
    assert desk.tell(PartialOffered("a", task(*foreign))) == [refused]
    assert desk.in_hand("a") == [task(0, 2)]


@pytest.mark.parametrize("what", [answer("b", task(2, 4)), PartialOffered("b", task(2, 4))])
def test_what_a_lost_worker_still_sends_is_dropped(what: Event) -> None:
    desk = desk_of_two()
    desk.tell(StreamBroken("b", "reset"))
    assert desk.tell(what) == [DropPartial("b", task(2, 4), "its worker is gone")]
    assert desk.tell(HeartbeatReceived("b")) == []


def test_losing_a_worker_twice_is_losing_it_once() -> None:
    desk = desk_of_two()
    desk.tell(StreamBroken("b", "reset"))
    assert desk.tell(WorkerLeft("b", "bye")) == []


def test_the_same_shards_from_another_worker_take_the_task_out_of_the_others_hands() -> None:
    desk = desk_of_two()
    assert desk.tell(answer("b", task(0, 2))) == [MergePartial("b", task(0, 2))]
    assert desk.in_hand("a") == []
    assert desk.worker("a").state is WorkerState.IDLE
    assert desk.tell(answer("a", task(0, 2))) == [DropPartial("a", task(0, 2), Refusal.DUPLICATE)]
    assert desk.tell(answer("b", task(2, 4)))[-1] == CloseRound("job", 1)


def test_of_a_task_that_was_counted_in_part_the_rest_is_handed_out_again() -> None:
    desk = desk_of_two()
    commands = desk.tell(answer("b", task(0, 1)))
    assert commands[0] == MergePartial("b", task(0, 1))
    assert [ref for _, ref in sent(commands)] == [task(1, 2)]
    assert CloseRound("job", 1) in desk.answer_all()


def test_a_name_is_free_again_once_its_worker_is_gone() -> None:
    desk = desk_of_two()
    with pytest.raises(AssertionError):
        desk.tell(WorkerJoined("b"))
    desk.tell(StreamBroken("b", "reset"))
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
