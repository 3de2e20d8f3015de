"""Who was slow, and why: what a worker did itself counts, not what it waited for, nor how much it had to do."""

import pytest

from builders.scheduling import Desk
from gradloom_coordinator.scheduling.blame import Blame, Cause, in_words, judge_round, remember
from gradloom_coordinator.scheduling.events import PartialArrived, TaskTimes
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.rounds import Tally

LIMITS = Limits(straggler_ratio=1.5, straggler_min_s=0.02, chronic_rounds=5)


def judged(slow: Tally, *, others: int = 3) -> Blame:
    """A worker beside others that take a second for 1,000 rows."""
    tallies = {f"w{i}": Tally(rows=1000, compute_s=0.9, encode_s=0.02, transit_s=0.08) for i in range(others)}
    return judge_round(LIMITS, {**tallies, "slow": slow})["slow"]


@pytest.mark.parametrize(
    ("tally", "cause"),
    [
        (Tally(rows=1000, compute_s=3.0), Cause.COMPUTE),
        (Tally(rows=1000, compute_s=0.9, encode_s=2.0), Cause.COMPUTE),
        (Tally(rows=1000, compute_s=0.9, load_s=2.0), Cause.DATA),
        (Tally(rows=1000, compute_s=0.9, load_s=2.0, reload_s=2.0), Cause.MEMORY),
        (Tally(rows=1000, compute_s=0.9, transit_s=2.0), Cause.NETWORK),
        (Tally(rows=1000, compute_s=1.5, load_s=0.2, transit_s=2.0), Cause.NETWORK),
    ],
)
def test_the_cause_is_what_took_most_beyond_the_usual(tally: Tally, cause: Cause) -> None:
    assert judged(tally).cause is cause


@pytest.mark.parametrize(
    "tally",
    [
        Tally(rows=1000, compute_s=1.4),
        Tally(rows=1000, compute_s=0.9, queue_s=60.0),
        Tally(rows=50_000, compute_s=50.0),
        Tally(rows=10, compute_s=0.025),
    ],
    ids=["a little slower", "its tasks waited in its queue", "has more rows", "milliseconds behind"],
)
def test_is_not_slow(tally: Tally) -> None:
    assert judged(tally).cause is None


def test_how_slow_is_said_against_the_median() -> None:
    assert judged(Tally(rows=1000, compute_s=3.0)).slowdown == pytest.approx(3.0)


def test_when_all_are_slow_nobody_is() -> None:
    tallies = {f"w{i}": Tally(rows=10, compute_s=100.0) for i in range(4)}
    assert [blame.cause for blame in judge_round(LIMITS, tallies).values()] == [None] * 4


def test_one_worker_alone_is_compared_with_nobody() -> None:
    assert judge_round(LIMITS, {"a": Tally(rows=10, compute_s=9.0)}) == {}
    assert judge_round(LIMITS, {"a": Tally(rows=10, compute_s=9.0), "b": Tally()}) == {}


def test_slow_once_is_a_one_off_and_half_of_the_time_is_chronic() -> None:
    blame = Blame(3.04, Cause.COMPUTE)
    slow = remember(0, slow=True)
    assert in_words(LIMITS, blame, slow, 0.1) == "compute: 3.0 times the median, a one-off"
    for _ in range(4):
        slow = remember(slow, slow=True)
    text = "compute: 3.0 times the median, chronic (5 of the last 10 rounds): has 10% of the rows"
    assert in_words(LIMITS, blame, slow, 0.1) == text
    assert in_words(LIMITS, Blame(1.0, None), slow, 0.1) == ""


def test_what_is_long_ago_is_forgotten() -> None:
    slow = (1 << 10) - 1
    for _ in range(10):
        slow = remember(slow, slow=False)
    assert slow == 0


# ---- as the scheduler sees it


def play_a_round(desk: Desk, paces: dict[str, float], times: dict[str, TaskTimes]) -> None:
    """Every worker answers its first task after so many seconds of what it did."""
    while any(desk.in_hand(name) for name in paces):
        for name in paces:
            if desk.in_hand(name):
                ref = desk.in_hand(name)[0]
                desk.tell(PartialArrived(name, ref, 10, times[name]))
    desk.now += 1.0


def test_a_worker_that_only_waits_for_others_is_no_straggler() -> None:
    desk = Desk.of("waits", "works", "idles", limits=Limits(help=False, speculation=False))
    desk.start([10] * 3)
    usual = TaskTimes(compute_s=1.0)
    for name in ("waits", "idles"):
        desk.tell(PartialArrived(name, desk.in_hand(name)[0], 10, usual))
    desk.now += 60.0
    desk.tell(PartialArrived("works", desk.in_hand("works")[0], 10, TaskTimes(compute_s=60.0)))
    assert desk.round().over
    assert desk.worker("waits").straggler == ""
    assert desk.job().share("waits").wait_s == 60.0
    assert desk.worker("works").straggler == "compute: 60.0 times the median, a one-off"


def test_loading_again_what_it_had_held_is_blamed_on_its_memory() -> None:
    desk = Desk.of("a", "b", "c", limits=Limits(help=False, speculation=False))
    desk.start([10] * 3)
    usual, loads = TaskTimes(compute_s=1.0), TaskTimes(load_s=4.0, compute_s=1.0)
    play_a_round(desk, {"a": 1, "b": 1, "c": 1}, {"a": usual, "b": usual, "c": loads})
    assert desk.worker("c").straggler.startswith("data: ")
    desk.next_round()
    play_a_round(desk, {"a": 1, "b": 1, "c": 1}, {"a": usual, "b": usual, "c": loads})
    assert desk.worker("c").straggler.startswith("memory: ")
    desk.next_round()
    play_a_round(desk, {"a": 1, "b": 1, "c": 1}, {"a": usual, "b": usual, "c": usual})
    assert desk.worker("c").straggler == "", "it is judged by its last round"


def test_a_chronic_straggler_gets_fewer_shards_and_one_sees_why() -> None:
    desk = Desk.of("a", "b", "c", limits=Limits(help=False, speculation=False, replace_every_rounds=6))
    desk.start([10] * 30)
    for _ in range(7):
        desk.answer_all(seconds_per_row={"a": 0.1, "b": 0.1, "c": 0.4})
        desk.next_round()
    assert desk.job().share("c").shards < 6
    assert desk.job().share("a").shards > 11
    desk.answer_all(seconds_per_row={"a": 0.1, "b": 0.1, "c": 0.4})
    told = desk.worker("c").straggler
    assert told.startswith("compute: 4.0 times the median, chronic (8 of the last 10 rounds): has 1")
