"""Measured speeds move shards, but only when it pays, and only every so many rounds."""

from dataclasses import replace

from builders.scheduling import Desk, answer, note, sent
from gradloom_coordinator.commands import Command
from gradloom_coordinator.limits import Limits
from gradloom_coordinator.scheduler import Scheduler

LIMITS = Limits(replace_every_rounds=10, replace_gain=1.25, replace_min_gain_s=0.05)
SHARDS = 16


def desk_of(limits: Limits, *workers: str, policy: str = "balanced") -> Desk:
    desk = Desk(Scheduler(limits))
    desk.join(*workers)
    desk.start([100] * SHARDS, policy=policy)
    return desk


def run_rounds(desk: Desk, n: int, seconds: dict[str, float]) -> list[Command]:
    """Answer the open round and n more; what opening the last of them led to."""
    opened: list[Command] = []
    for _ in range(n):
        desk.answer_all(rows=100 * SHARDS // 2, seconds=seconds)
        opened = desk.next_round()
    return opened


def shards_of(commands: list[Command]) -> dict[str, int]:
    found: dict[str, int] = {}
    for worker, ref in sent(commands):
        found[worker] = found.get(worker, 0) + ref.range.size
    return found


def test_lopsided_workers_get_shards_anew_after_ten_rounds() -> None:
    desk = desk_of(LIMITS, "slow", "swift")
    assert shards_of(run_rounds(desk, 9, {"slow": 3.0, "swift": 1.0})) == {"slow": 8, "swift": 8}
    tenth = run_rounds(desk, 1, {"slow": 3.0, "swift": 1.0})
    assert tenth[0] == note("placed: 16 shards over 2 workers by measured rows per second")
    assert shards_of(tenth) == {"slow": 4, "swift": 12}


def test_a_small_difference_moves_nothing() -> None:
    desk = desk_of(LIMITS, "a", "b")
    assert shards_of(run_rounds(desk, 20, {"a": 1.2, "b": 1.0})) == {"a": 8, "b": 8}


def test_a_difference_of_milliseconds_moves_nothing() -> None:
    desk = desk_of(LIMITS, "a", "b")
    assert shards_of(run_rounds(desk, 20, {"a": 0.03, "b": 0.01})) == {"a": 8, "b": 8}
    eager = desk_of(replace(LIMITS, replace_min_gain_s=0.0), "a", "b")
    assert shards_of(run_rounds(eager, 10, {"a": 0.03, "b": 0.01})) == {"a": 4, "b": 12}


def test_dealt_shards_stay_where_they_are() -> None:
    desk = desk_of(LIMITS, "a", "b", policy="round_robin")
    opened: list[Command] = []
    for _ in range(20):
        desk.answer_all(rows=100, seconds={"a": 9.0, "b": 1.0})
        opened = desk.next_round()
    assert shards_of(opened) == {"a": 8, "b": 8}


def test_an_unmeasured_worker_is_given_time_to_show_its_speed() -> None:
    desk = desk_of(LIMITS, "a", "b")
    for _ in range(20):
        for name in ("a", "b"):
            for ref in desk.in_hand(name):
                desk.tell(answer(name, ref, rows=0 if name == "b" else 800))
        opened = desk.next_round()
    assert shards_of(opened) == {"a": 8, "b": 8}
