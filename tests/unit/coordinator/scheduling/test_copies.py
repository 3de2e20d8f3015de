"""A task that takes too long is computed twice, and whoever is first counts."""

from dataclasses import replace

import pytest

from builders.scheduling import Desk, answer, cancelled, failure, notes, sent
from gradloom_coordinator.scheduling.commands import Command, SendTasks, WakeAt
from gradloom_coordinator.scheduling.copies import REST_AFTER, REST_ROUNDS, CopyLedger
from gradloom_coordinator.scheduling.events import (
    JobPlanned,
    JobSubmitted,
    RoundReady,
    StreamBroken,
    WorkerJoined,
)
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.scheduler import Scheduler

LIMITS = Limits(
    help=False, copy_after_share=0.75, copy_slower=1.5, copy_min_s=0.1, copy_slots=0.1, backoff_base_s=0.0
)


def desk_in_its_second_round(
    *workers: WorkerJoined, rows: tuple[int, ...] = (10,) * 4, limits: Limits = LIMITS
) -> Desk:
    """One shard a worker; a row takes 10 ms everywhere, so a task of ten rows 100 ms."""
    desk = Desk(Scheduler(limits))
    desk.tell(*workers)
    desk.start(rows, policy="round_robin")
    while not desk.round().over:
        desk.now += 0.1
        for worker in workers:
            if desk.in_hand(worker.worker):
                ref = desk.in_hand(worker.worker)[0]
                desk.tell(answer(worker.worker, ref, desk.job().rows_in(ref.range), 0.1))
    desk.next_round()
    return desk


FOUR = tuple(map(WorkerJoined, "abcd"))


def all_but(desk: Desk, slow: str, after_s: float = 0.1) -> list[Command]:
    """The others answer after a while."""
    desk.now += after_s
    commands: list[Command] = []
    for name in sorted(desk.scheduler.state.workers):
        if name != slow and desk.in_hand(name):
            ref = desk.in_hand(name)[0]
            commands += desk.tell(answer(name, ref, desk.job().rows_in(ref.range), after_s))
    return commands


def test_what_takes_half_as_long_again_as_the_median_is_copied() -> None:
    desk = desk_in_its_second_round(*FOUR)
    slow = desk.in_hand("d")[0]
    commands = all_but(desk, "d")
    assert sent(commands) == [], "it is not late yet"
    wake = min(command.at for command in commands if isinstance(command, WakeAt))
    assert wake == pytest.approx(desk.now + 0.05)
    desk.now = wake - 0.001
    assert sent(desk.tick()) == []
    desk.now = wake
    [copied] = [command for command in desk.tick() if isinstance(command, SendTasks)]
    assert sent([copied]) == [("a", slow._replace(attempt=2))]
    assert copied.reason == "copies what takes d too long: 0.15 s, median 0.1 s"
    assert desk.in_hand("d") == [slow], "the original goes on"
    assert desk.job().copies.launched == 1
    assert sent(desk.tick(1.0)) == [], "one copy is enough"


def copied_desk() -> Desk:
    desk = desk_in_its_second_round(*FOUR)
    all_but(desk, "d")
    desk.tick(0.05)
    assert len(desk.in_hand("a")) == 1
    return desk


def test_when_the_copy_is_first_it_counts_and_the_original_is_cancelled() -> None:
    desk = copied_desk()
    original = desk.in_hand("d")[0]
    commands = desk.answer("a", after_s=0.1)
    assert cancelled(commands) == [("d", original)]
    assert desk.round().over
    copies = desk.job().copies
    assert (copies.won, copies.lost, copies.cancelled) == (1, 0, 0)
    assert copies.wasted_s == 0.0, "its time was not in vain"
    assert copies.saved_s == pytest.approx(0.15), (
        "it was 150 ms late, and would have been so for as long again"
    )


def test_when_the_original_is_first_the_copy_was_wasted() -> None:
    desk = copied_desk()
    copy = desk.in_hand("a")[0]
    commands = desk.answer("d", after_s=0.02)
    assert cancelled(commands) == [("a", copy)]
    copies = desk.job().copies
    assert (copies.won, copies.lost, copies.saved_s) == (0, 1, 0.0)
    assert copies.wasted_s == pytest.approx(0.02)


def test_a_copy_that_fails_leaves_the_original_in_peace() -> None:
    desk = copied_desk()
    desk.tell(failure("a", desk.in_hand("a")[0]))
    assert len(desk.in_hand("d")) == 1
    assert desk.job().copies.cancelled == 1
    desk.answer("d")
    assert desk.round().over


def test_when_the_original_is_lost_the_copy_is_all_that_is_needed() -> None:
    desk = copied_desk()
    commands = desk.tell(StreamBroken("d", "killed"))
    assert sent(commands) == [], "its copy is under way"
    desk.answer("a", after_s=0.1)
    copies = desk.job().copies
    assert desk.round().over
    assert (copies.won, copies.wasted_s) == (1, 0.0)


def test_before_three_quarters_are_counted_only_what_seems_to_hang_is_copied() -> None:
    desk = desk_in_its_second_round(*map(WorkerJoined, "abcdefgh"), rows=(10,) * 8)
    for name in "abcde":
        desk.answer(name)
    median_s = desk.round().median_pace() * 10
    desk.now = desk.worker("f").computes_since + max(1.0, 5 * median_s) - 0.01
    assert sent(desk.tick()) == []
    assert [ref.range for _, ref in sent(desk.tick(0.02))] == [desk.in_hand("f")[0].range]
    assert desk.job().copies.launched == 1


def test_once_three_quarters_are_counted_late_is_late_enough() -> None:
    desk = desk_in_its_second_round(*map(WorkerJoined, "abcdefgh"), rows=(10,) * 8)
    for name in "abcdef":
        desk.answer(name)
    desk.tick(0.5)
    assert desk.job().copies.launched == 1


def test_what_is_merely_bigger_is_not_slow() -> None:
    desk = desk_in_its_second_round(*FOUR, rows=(10, 10, 10, 40))
    all_but(desk, "d")
    assert sent(desk.tick(0.45)) == [], "four times the rows, four times the time"
    assert [worker for worker, _ in sent(desk.tick(0.1))] == ["a"]


def test_nothing_shorter_than_100_ms_is_late() -> None:
    desk = desk_in_its_second_round(*FOUR, rows=(1, 1, 1, 1))
    all_but(desk, "d", after_s=0.001)
    assert sent(desk.tick(0.09)) == []
    assert len(sent(desk.tick(0.01))) == 1


def test_at_most_a_tenth_of_the_workers_compute_copies() -> None:
    desk = desk_in_its_second_round(*(WorkerJoined(f"w{i:02}") for i in range(20)), rows=(10,) * 20)
    desk.now += 0.1
    for i in range(15):
        ref = desk.in_hand(f"w{i:02}")[0]
        desk.tell(answer(f"w{i:02}", ref, 10, 0.1))
    assert len(sent(desk.tick(1.0))) == 2, "of five that are late"
    assert desk.round().copies_in_hand == 2


def test_a_copy_goes_to_another_host() -> None:
    joined = tuple(WorkerJoined(name, host) for name, host in zip("abcd", "xxyy", strict=True))
    desk = desk_in_its_second_round(*joined)
    all_but(desk, "a")
    assert [worker for worker, _ in sent(desk.tick(1.0))] == ["c"]


def test_unless_there_is_only_one_host() -> None:
    desk = desk_in_its_second_round(*(WorkerJoined(name, "laptop") for name in "abcd"))
    all_but(desk, "a")
    assert [worker for worker, _ in sent(desk.tick(1.0))] == ["b"]


def test_no_copy_where_loading_would_take_longer_than_waiting() -> None:
    desk = desk_in_its_second_round(*FOUR)
    desk.job().load_s_per_row = 60.0
    all_but(desk, "d")
    assert sent(desk.tick(0.3)) == []


@pytest.mark.parametrize("switch", ["cluster", "job"])
def test_copying_can_be_switched_off(switch: str) -> None:
    desk = Desk(Scheduler(replace(LIMITS, speculation=switch != "cluster")))
    desk.join("a", "b")
    submitted = JobSubmitted("job", "round_robin", speculation=switch != "job")
    desk.tell(submitted, JobPlanned("job", (10, 10, 10, 10)), RoundReady("job", 1))
    while desk.in_hand("a"):
        desk.answer("a", after_s=0.1)
    desk.answer("b", after_s=0.1)
    assert sent(desk.tick(5.0)) == []
    assert desk.job().copies.launched == 0


# ---- backing off


def test_copies_that_waste_more_than_they_save_rest_for_longer_and_longer() -> None:
    ledger = CopyLedger()
    said = []
    for round_number in (1, 20):
        for _ in range(REST_AFTER):
            ledger.end(won=False, saved_s=0.0, wasted_s=0.1)
            said.append(ledger.judge(round_number))
    assert said[4] == f"copies wasted 0.5 s and saved 0 s: none for {REST_ROUNDS} rounds"
    assert said[9] == f"copies wasted 0.5 s and saved 0 s: none for {2 * REST_ROUNDS} rounds"
    assert [said[i] for i in range(10) if i not in (4, 9)] == [""] * 8
    assert ledger.rests_in(39)
    assert not ledger.rests_in(40)


def test_copies_that_save_go_on() -> None:
    ledger = CopyLedger()
    for _ in range(20):
        ledger.end(won=True, saved_s=1.0, wasted_s=0.1)
        assert ledger.judge(3) == ""
    assert not ledger.rests_in(4)
    assert [ledger.won, ledger.saved_s] == pytest.approx([20, 20.0])


def test_the_scheduler_leaves_off_and_says_so() -> None:
    desk = desk_in_its_second_round(*FOUR)
    said: list[str] = []
    for _ in range(REST_AFTER):
        all_but(desk, "d")
        desk.tick(0.1)
        said += notes(desk.answer("d", after_s=0.02))
        desk.next_round()
    assert [text for text in said if text.startswith("copies wasted")] == [
        f"copies wasted 0.1 s and saved 0 s: none for {REST_ROUNDS} rounds"
    ]
    all_but(desk, "d")
    assert sent(desk.tick(5.0)) == []
