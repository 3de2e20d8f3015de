"""Workers leave in good order, or break off and come back: nothing is lost, nothing counts twice."""

import pytest

from builders.scheduling import Desk, answer, note, sent, task, without_wakes
from gradloom.jobs import RetryReason, WorkerState
from gradloom_coordinator.scheduling.commands import (
    AnnounceRetry,
    DrainWorker,
    DropPartial,
    ForgetWorker,
    MergePartial,
    WakeAt,
)
from gradloom_coordinator.scheduling.events import (
    DrainRequested,
    HeartbeatReceived,
    StreamBroken,
    TasksGivenUp,
    WorkerDraining,
    WorkerLeft,
    WorkerResumed,
)
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.rounds import Refusal


def desk_of_two(shards: int = 16) -> Desk:
    desk = Desk.of("a", "b", limits=Limits(speculation=False))
    desk.start([10] * shards, policy="round_robin")
    return desk


# ---- draining


def test_an_operator_asks_and_the_worker_answers() -> None:
    desk = desk_of_two()
    assert desk.tell(DrainRequested("b", "maintenance")) == [DrainWorker("b", "maintenance")]
    assert desk.worker("b").state is WorkerState.BUSY, "it has not heard yet"
    assert desk.tell(DrainRequested("stranger", "maintenance")) == []


def test_a_worker_that_drains_finishes_what_it_computes_and_starts_nothing_more() -> None:
    desk = desk_of_two()
    computing, second = desk.in_hand("b")
    commands = desk.tell(WorkerDraining("b", "SIGTERM"))
    assert commands[0] == note("worker b drains: SIGTERM")
    assert desk.worker("b").state is WorkerState.DRAINING
    assert desk.worker("b").reason == "SIGTERM"
    assert not desk.round().queues.get("b"), "what it was not given is for others"
    desk.tell(TasksGivenUp("b", (second,)))
    assert desk.in_hand("b") == [computing]
    assert desk.tell(answer("b", computing))[0] == MergePartial("b", computing)
    assert desk.in_hand("b") == []
    desk.tell(WorkerLeft("b", "drained"))
    desk.answer_all()
    assert desk.round().over
    assert desk.job().retries == 0, "nothing was computed twice"


def test_nobody_is_blamed_for_what_a_leaving_worker_could_not_finish() -> None:
    desk = desk_of_two(2)
    commands = desk.tell(WorkerDraining("b", "SIGTERM"), WorkerLeft("b", "no time left"))
    [told] = [command for command in commands if isinstance(command, AnnounceRetry)]
    assert (told.reason, told.worker) == (RetryReason.WORKER_LOST, "b")
    assert sent(commands) == [("a", task(1, 2, 2))]
    assert desk.scheduler.state.trust["b"].failures_in_a_row == 0
    assert all(not chunk.died for chunk in desk.round().chunks.values())


def test_in_the_next_round_its_shards_are_with_the_others() -> None:
    desk = desk_of_two()
    desk.tell(WorkerDraining("b", "SIGTERM"))
    desk.answer_all()
    desk.next_round()
    placement = desk.job().placement
    assert placement is not None
    assert set(placement.shards) == {"a"}


def test_a_worker_that_drains_is_no_suspect_but_it_may_be_lost() -> None:
    desk = desk_of_two()
    desk.tell(WorkerDraining("b", "SIGTERM"))
    desk.tick_while_alive(4.0, "a")
    assert desk.worker("b").state is WorkerState.DRAINING
    desk.tick_while_alive(2.0, "a")
    assert "b" not in desk.scheduler.state.workers


def test_when_the_last_worker_drains_the_job_waits() -> None:
    desk = Desk.of("a")
    desk.start([10] * 16)
    commands = desk.tell(WorkerDraining("a", "SIGTERM"))
    assert note("waiting: there is no worker that takes work") in commands
    desk.tell(WorkerLeft("a", "drained"))
    desk.join("b")
    desk.answer_all()
    assert desk.round().over


# ---- breaking off and coming back


def test_a_worker_that_breaks_off_is_awaited_and_its_tasks_are_dealt_at_once() -> None:
    desk = desk_of_two(2)
    commands = desk.tell(StreamBroken("b", "reset"))
    assert commands[0] == note("worker b broke off: reset")
    assert sent(commands) == [("a", task(1, 2, 2))]
    assert WakeAt(desk.now + 10.0) in commands
    assert desk.worker("b").state is WorkerState.AWAY


def test_its_late_result_counts_once_when_it_comes_back_with_it() -> None:
    desk = desk_of_two(2)
    had = desk.in_hand("b")[0]
    desk.tell(StreamBroken("b", "reset"))
    desk.now = 2.0
    desk.tell(HeartbeatReceived("a"))
    commands = desk.tell(WorkerResumed("b"))
    assert note("worker b is back after 2.0 s") in commands
    assert MergePartial("b", had) in desk.tell(answer("b", had))
    assert desk.in_hand("a") == [task(0, 1)], "what a had of it is cancelled"
    assert desk.tell(answer("a", had._replace(attempt=2))) == [
        DropPartial("a", had._replace(attempt=2), Refusal.DUPLICATE)
    ]
    desk.answer_all()
    assert desk.round().over


def test_what_it_says_before_it_is_welcomed_again_does_not_count() -> None:
    desk = desk_of_two(2)
    had = desk.in_hand("b")[0]
    desk.tell(StreamBroken("b", "reset"))
    assert desk.tell(answer("b", had)) == [DropPartial("b", had, Refusal.WORKER_GONE)]


def test_what_it_still_computes_is_in_its_hands_again() -> None:
    desk = desk_of_two(2)
    had = desk.in_hand("b")[0]
    desk.tell(StreamBroken("b", "reset"), WorkerResumed("b", computing=had))
    assert desk.in_hand("b") == [had]
    assert desk.worker("b").state is WorkerState.BUSY
    assert desk.round().chunks[had.range].holders.keys() == {"a", "b"}
    desk.tell(answer("b", had))
    assert desk.in_hand("a") == [task(0, 1)]


def test_what_nobody_has_taken_over_yet_is_given_to_no_other() -> None:
    desk = Desk.of("a")
    desk.start([10])
    [had] = desk.in_hand("a")
    desk.tell(StreamBroken("a", "reset"))
    assert sent(desk.tell(WorkerResumed("a", computing=had))) == []
    assert desk.in_hand("a") == [had]
    desk.answer("a")
    assert desk.round().over


@pytest.mark.parametrize("what", [task(0, 2), task(1, 2, round=9), task(0, 1, job="forgotten")])
def test_what_it_computes_of_old_is_nobodys_business(what: object) -> None:
    desk = desk_of_two(2)
    desk.tell(StreamBroken("b", "reset"))
    desk.tell(WorkerResumed("b", computing=what))  # type: ignore[arg-type]
    assert desk.in_hand("b") == []


def test_it_keeps_its_cache() -> None:
    desk = desk_of_two(4)
    desk.answer_all()
    held = set(desk.job().held["b"])
    desk.tell(StreamBroken("b", "reset"), WorkerResumed("b"))
    assert desk.job().held["b"] == held == {1, 3}


def test_who_does_not_come_back_in_time_is_forgotten() -> None:
    desk = desk_of_two(4)
    desk.answer_all()
    desk.tell(StreamBroken("b", "reset"))
    assert without_wakes(desk.tick_while_alive(9.9, "a")) == []
    assert desk.tick_while_alive(0.2, "a") == [ForgetWorker("b")]
    assert "b" not in desk.scheduler.state.workers
    assert desk.job().holders[1] == ()
    assert desk.tell(WorkerResumed("b")) == []


def test_a_stream_that_breaks_twice_has_broken_once() -> None:
    desk = desk_of_two(2)
    desk.tell(StreamBroken("b", "reset"))
    assert desk.tell(StreamBroken("b", "reset")) == []
