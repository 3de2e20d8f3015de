"""Measured speeds move shards, but only when it pays, and only every so many rounds."""

from dataclasses import replace

from builders.scheduling import Desk, answer, note, notes, sent
from gradloom.steps import Step
from gradloom_coordinator.scheduling.commands import Command
from gradloom_coordinator.scheduling.events import (
    CancelRequested,
    HeartbeatReceived,
    JobPlanned,
    JobSubmitted,
    RoundReady,
    StreamBroken,
    WorkerJoined,
    WorkerResumed,
)
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.scheduler import Scheduler

LIMITS = Limits(
    replace_every_rounds=10, replace_gain=1.25, replace_min_gain_s=0.05, help=False, speculation=False
)
SHARDS = 16


def desk_of(limits: Limits, *workers: str, policy: str = "balanced") -> Desk:
    desk = Desk.of(*workers, limits=limits)
    desk.start([100] * SHARDS, policy=policy)
    return desk


def run_rounds(desk: Desk, n: int, seconds_per_row: dict[str, float]) -> list[Command]:
    """Answer the open round and n more; all that happened from the opening of the last of them."""
    opened: list[Command] = []
    for _ in range(n):
        desk.answer_all(seconds_per_row=seconds_per_row)
        opened = desk.next_round()
    return opened


def shares(desk: Desk) -> dict[str, int]:
    """Shards placed on each worker."""
    placement = desk.job().placement
    assert placement is not None
    return {name: len(part) for name, part in placement.shards.items()}


def test_lopsided_workers_get_shards_by_their_speed_as_soon_as_it_is_known() -> None:
    desk = desk_of(LIMITS, "slow", "swift")
    assert shares(desk) == {"slow": 8, "swift": 8}
    opened = run_rounds(desk, 1, {"slow": 0.03, "swift": 0.01})
    assert opened[0] == note(
        "placed: 16 shards over 2 workers by measured rows per second; others are faster now"
    )
    assert shares(desk) == {"slow": 4, "swift": 12}
    assert desk.job().counts.moved_shards == 4


def test_what_changes_later_is_judged_every_ten_rounds() -> None:
    desk = desk_of(LIMITS, "a", "b")
    run_rounds(desk, 1, {"a": 0.01, "b": 0.01})
    run_rounds(desk, 8, {"a": 0.04, "b": 0.01})
    assert shares(desk) == {"a": 8, "b": 8}
    run_rounds(desk, 1, {"a": 0.04, "b": 0.01})
    assert shares(desk)["a"] <= 4


def test_a_small_difference_moves_nothing() -> None:
    desk = desk_of(LIMITS, "a", "b")
    run_rounds(desk, 20, {"a": 0.012, "b": 0.01})
    assert shares(desk) == {"a": 8, "b": 8}


def test_a_difference_of_milliseconds_moves_nothing() -> None:
    paces = {"a": 3e-5, "b": 1e-5}
    desk = desk_of(LIMITS, "a", "b")
    run_rounds(desk, 20, paces)
    assert shares(desk) == {"a": 8, "b": 8}
    eager = desk_of(replace(LIMITS, replace_min_gain_s=0.0), "a", "b")
    run_rounds(eager, 10, paces)
    assert shares(eager) == {"a": 4, "b": 12}


def test_nothing_moves_where_loading_takes_longer_than_ten_rounds_gain() -> None:
    desk = desk_of(LIMITS, "slow", "swift")
    desk.job().load_s_per_row = 10.0
    run_rounds(desk, 20, {"slow": 0.03, "swift": 0.01})
    assert shares(desk) == {"slow": 8, "swift": 8}


def test_dealt_shards_stay_where_they_are() -> None:
    desk = desk_of(LIMITS, "a", "b", policy="round_robin")
    run_rounds(desk, 20, {"a": 0.09, "b": 0.01})
    assert shares(desk) == {"a": 8, "b": 8}


def test_an_unmeasured_worker_is_given_time_to_show_its_speed() -> None:
    desk = desk_of(LIMITS, "a", "b")
    for _ in range(20):
        while not desk.round().over:
            for name in ("a", "b"):
                for ref in desk.in_hand(name):
                    desk.tell(answer(name, ref, rows=0 if name == "b" else 800))
        desk.next_round()
    assert shares(desk) == {"a": 8, "b": 8}


def test_the_shards_of_a_lost_worker_move_and_no_others() -> None:
    desk = desk_of(LIMITS, "a", "b", "c", "d")
    run_rounds(desk, 1, {})
    before = desk.job().placement
    desk.tell(StreamBroken("b", "killed"))
    opened = run_rounds(desk, 1, {})
    after = desk.job().placement
    assert before is not None
    assert after is not None
    assert notes(opened) == ["placed: 16 shards over 3 workers in equal shares; b broke off"]
    assert all(set(before.shards[name]) <= set(after.shards[name]) for name in "acd")
    assert desk.job().counts.moved_shards == 4


def test_a_newcomer_gets_its_share_from_the_next_round_on() -> None:
    desk = desk_of(LIMITS, "a", "b", "c")
    desk.join("new")
    opened = run_rounds(desk, 1, {})
    assert note("placed: 16 shards over 4 workers in equal shares; new joined") in opened
    assert shares(desk)["new"] == 4
    assert desk.job().counts.moved_shards == 4


def test_a_worker_that_was_away_only_for_a_moment_keeps_its_shards() -> None:
    desk = desk_of(LIMITS, "a", "b")
    run_rounds(desk, 1, {})
    before = desk.job().placement
    desk.tell(StreamBroken("b", "reset"), WorkerResumed("b"))
    assert notes(run_rounds(desk, 1, {})) == []
    assert desk.job().placement == before


def test_a_suspect_that_is_heard_again_keeps_its_shards() -> None:
    desk = desk_of(LIMITS, "a", "b")
    run_rounds(desk, 1, {})
    before = desk.job().placement
    desk.tick_while_alive(4.0, "a")
    desk.tell(HeartbeatReceived("b"))
    run_rounds(desk, 1, {})
    assert desk.job().placement == before


def test_another_step_takes_another_time_but_who_was_faster_is_believed() -> None:
    desk = desk_of(replace(LIMITS, replace_min_gain_s=1e9), "slow", "swift")
    desk.answer_all(seconds_per_row={"slow": 0.03, "swift": 0.01})
    desk.join("new")
    desk.open(2, step=Step.PROFILE)
    assert desk.job().pace_s == 0.0
    placed = shares(desk)
    assert placed["swift"] > placed["new"] > placed["slow"]


def test_a_job_begins_with_the_speeds_of_others_of_its_algorithm() -> None:
    desk = Desk(Scheduler(LIMITS))
    desk.tell(*map(WorkerJoined, ("slow", "swift")))
    for job, algorithm in (("first", "logistic"), ("same", "logistic"), ("another", "kmeans")):
        planned = JobPlanned(job, (100,) * SHARDS)
        desk.tell(JobSubmitted(job, "balanced", algorithm), planned, RoundReady(job, 1, Step.PROFILE))
        desk.answer_all(seconds_per_row={"slow": 0.03, "swift": 0.01})
        placement = desk.job(job).placement
        assert placement is not None
        placed = {name: len(part) for name, part in placement.shards.items()}
        assert placed == ({"slow": 4, "swift": 12} if job == "same" else {"slow": 8, "swift": 8})
        desk.tell(CancelRequested(job, "next"))


def test_chunks_are_cut_anew_when_rows_take_another_time() -> None:
    desk = desk_of(LIMITS, "a", "b")
    run_rounds(desk, 1, {"a": 1e-5, "b": 1e-5})
    assert len(desk.round().chunks) == 2, "8 ms each: nothing to cut"
    run_rounds(desk, 30, {"a": 1e-3, "b": 1e-3})
    assert len(desk.round().chunks) == 16


def test_of_a_whole_share_the_placement_is_the_reason() -> None:
    desk = Desk.of("a")
    assert sent(desk.start([10] * 4)) != []
    placement = desk.job().placement
    assert placement is not None
    assert placement.reason == "4 shards over 1 worker in equal shares"
