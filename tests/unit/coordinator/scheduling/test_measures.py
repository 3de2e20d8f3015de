"""What the scheduler counts while it decides: told as scenarios, read off its measures."""

import pytest

from builders.scheduling import Desk, answer, failure
from gradloom.jobs import RetryReason
from gradloom.synchrony import parse_synchrony
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.measures import Measures
from gradloom_coordinator.scheduling.meters import Distribution, Spread, Tally
from gradloom_coordinator.scheduling.rounds import Refusal

NO_HELP = Limits(help=False, speculation=False)


def total(meter: Tally, **labels: str) -> float:
    """The sum of the series that have these labels."""
    wanted = {(meter.labels.index(name), value) for name, value in labels.items()}
    values = meter.reading().values
    return sum(n for key, n in values.items() if all(key[at] == value for at, value in wanted))


def seen(spread: Spread, *labels: str) -> tuple[int, float]:
    """How many values, and their sum."""
    found = spread.reading().distributions.get(labels, Distribution((), (), 0.0))
    return sum(found.counts), found.total


def measures(desk: Desk) -> Measures:
    return desk.scheduler.state.measures


def test_an_answer_is_counted_with_its_rows_and_times() -> None:
    desk = Desk.of("w")
    desk.start([10, 10])
    task = desk.in_hand("w")[0]
    desk.now = 3.0
    desk.tell(answer("w", task, rows=10, compute_s=1.5, load_s=0.5))
    m = measures(desk)
    assert desk.job().counts.succeeded == 1
    assert desk.job().share("w").rows == 10
    assert seen(m.task_seconds, "w") == (1, 2.0)
    assert seen(m.round_trip, "w") == (1, 1.0)
    assert (m.hits, m.misses) == (0, 1)
    assert total(m.assignments, worker="w") >= 1


def test_whom_a_round_waited_for_and_how_long() -> None:
    desk = Desk.of("a", "b", "c", limits=NO_HELP)
    desk.start([10, 10, 10])
    desk.answer("a", after_s=1.0)
    desk.answer("b", after_s=1.0)
    desk.answer("c", after_s=2.5)
    m = measures(desk)
    assert {w: total(m.last_arrivals, worker=w) for w in "abc"} == {"a": 0, "b": 0, "c": 1}
    assert total(m.critical_path, worker="c") == 2.5, "since b answered all waited for c"
    assert seen(m.barrier_wait, "job") == (3, 3.5 + 2.5 + 0.0)
    assert desk.job().counts.imbalance == pytest.approx(2.5 / 1.5)


def test_a_worker_that_is_outrun_is_blamed_and_its_time_is_lost() -> None:
    limits = Limits(help=False, copy_min_s=0.1, copy_slots=1.0, copy_after_share=0.5)
    desk = Desk.of("a", "b", "c", limits=limits)
    desk.start([10, 10, 10])
    desk.answer("a", after_s=1.0)
    desk.answer("b", took_s=1.0)
    desk.tick_while_alive(3.0, "a", "b", "c")
    copier = next(name for name in "ab" if desk.in_hand(name))
    desk.answer(copier, after_s=0.5)
    m = measures(desk)
    assert desk.round().complete
    assert total(m.tasks, outcome="superseded") == 1
    assert total(m.rework, reason="superseded") == 4.5
    assert total(m.stragglers, worker="c", cause="compute") == 1
    assert desk.worker("c").straggler.startswith("compute: ")
    assert total(m.stragglers) == 1, "nobody else was slow"


def test_a_copy_that_was_called_off_counts_as_wasted_but_not_against_copying() -> None:
    limits = Limits(help=False, copy_min_s=0.1, copy_slots=1.0, copy_after_share=0.5)
    desk = Desk.of("a", "b", "c", limits=limits)
    desk.start([10, 10, 10])
    desk.answer("a", after_s=1.0)
    desk.answer("b", took_s=1.0)
    desk.tick_while_alive(3.0, "a", "b", "c")
    assert desk.job().copies.launched == 1
    given_at = next(
        g.at for w in desk.scheduler.state.workers.values() for g in w.tasks.values() if g.is_copy
    )
    desk.now += 1.0
    desk.tell(e.CancelRequested("job", ""))
    copies = desk.job().copies
    assert (copies.cancelled, copies.cancelled_s, copies.wasted_s) == (1, desk.now - given_at, 0.0)
    assert total(measures(desk).rework, reason="job_over") > 0


def test_a_failure_is_a_retry_with_its_backoff_and_makes_the_budget_small() -> None:
    desk = Desk.of("a", "b")
    desk.start([10, 10])
    desk.now = 2.0
    desk.tell(failure("a", desk.in_hand("a")[0], RetryReason.NONFINITE))
    m = measures(desk)
    assert total(m.retries, job_id="job", worker="a", reason="nonfinite") == 1
    assert total(m.tasks, outcome="failed") == 1
    assert total(m.rework, reason="nonfinite") == 2.0
    assert total(m.nonfinite, job_id="job") == 1
    assert seen(m.backoff)[0] == 1
    assert desk.job().counts.fewest_tries_left == (3, 2.0)


def test_a_task_that_is_given_up_with_its_job_is_quarantined_and_no_retry() -> None:
    desk = Desk.of("a", "b")
    desk.start([10, 10])
    desk.tell(failure("a", desk.in_hand("a")[0], RetryReason.BAD_DATA))
    m = measures(desk)
    assert total(m.quarantined, reason="bad_data") == 1
    assert total(m.retries) == 0
    assert total(m.tasks, outcome="cancelled") == 1, "what b had in hand"


def test_a_lost_worker_is_noticed_and_its_task_recovered() -> None:
    desk = Desk.of("a", "b", limits=Limits(speculation=False))
    desk.start([10, 10])
    desk.answer("b", after_s=0.5)
    desk.tick_while_alive(4.0, "b")
    desk.tick_while_alive(1.25, "b")
    m = measures(desk)
    assert total(m.worker_events, event="suspected") == 1
    assert total(m.worker_events, event="lost", reason="heartbeat_timeout") == 1
    assert seen(m.detection) == (1, 5.75)
    assert total(m.retries, worker="a", reason="heartbeat_timeout") == 1
    assert desk.scheduler.state.departed == {"a": (5.75, True)}
    desk.answer("b", after_s=2.0)
    assert seen(m.recovery, "worker") == (1, 2.0)
    desk.join("a")
    assert total(m.worker_events, event="restarted") == 1
    assert not desk.scheduler.state.departed


def test_a_worker_that_breaks_off_resumes_or_is_lost() -> None:
    desk = Desk.of("a", "b")
    desk.tell(e.StreamBroken("a", "reset"))
    desk.now = 2.0
    desk.tell(e.WorkerResumed("a"))
    m = measures(desk)
    assert seen(m.recovery, "stream") == (1, 2.0)
    assert total(m.worker_events, event="resumed") == total(m.worker_events, event="broke_off") == 1
    desk.tell(e.StreamBroken("a", "reset"))
    desk.tick_while_alive(11.0, "b")
    assert total(m.worker_events, event="lost", reason="stream_reset") == 1
    desk.tell(e.WorkerLeft("b", "SIGTERM"))
    assert total(m.worker_events, event="left") == 1
    assert desk.scheduler.state.departed["b"] == (13.0, False)


def test_a_worker_that_fails_too_often_is_excluded_and_readmitted() -> None:
    desk = Desk.of("a", "b", "c", limits=Limits(help=False, speculation=False))
    desk.start([10] * 12)
    for _ in range(3):
        while not desk.in_hand("a"):
            desk.tick(1.0)
        desk.tell(failure("a", desk.in_hand("a")[0]))
    m = measures(desk)
    assert total(m.worker_events, event="excluded") == 1
    desk.tell(e.ReadmitRequested("a", "by somebody"))
    assert total(m.worker_events, event="readmitted") == 1
    assert {key[1] for key in m.came_at.reading().values if key[0] == "a"} == {
        "joined",
        "excluded",
        "readmitted",
    }


def test_shards_that_move_say_why() -> None:
    desk = Desk.of("a", "b")
    desk.start([10] * 8)
    desk.answer_all()
    desk.tell(e.WorkerLeft("b", "SIGTERM"))
    desk.next_round()
    assert total(measures(desk).rebalanced, job_id="job", reason="worker_went") == 4


def test_what_is_left_out_of_relaxed_rounds_and_how_old_it_was() -> None:
    desk = Desk.of("a", "b", limits=NO_HELP)
    submitted = e.JobSubmitted("job", "balanced", synchrony=parse_synchrony("asynchronous"))
    desk.tell(submitted, e.JobPlanned("job", (10, 10)), e.RoundReady("job", 1))
    late = desk.in_hand("b")[0]
    desk.answer("a", after_s=1.0)
    assert desk.round().over
    m = measures(desk)
    assert total(m.left_out, reason="left_out") == 1
    desk.next_round()
    desk.tell(answer("b", late))
    assert seen(m.staleness, "job") == (2, 1.0)


def test_refusals_have_short_names() -> None:
    m = Measures()
    before = set(m.dropped.reading().values)
    for refusal in Refusal:
        m.refuse(refusal)
    assert m.dropped.reading().values == dict.fromkeys(before, 1.0)
    assert total(m.left_out) == 2
