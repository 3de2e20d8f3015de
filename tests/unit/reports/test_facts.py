"""What follows from what the coordinator keeps: parts of workers' time, goodput, retries, stretches."""

from dataclasses import replace

from builders.runs import BEGAN, completed, even_trace, facts, numbered, trace, view
from gradloom.jobs import JobState, StateChanged, SteeringRecord
from gradloom.reports.facts import load_of
from gradloom.traces import WorkerTotals


def test_the_parts_of_a_workers_time_sum_to_what_it_was_held() -> None:
    totals = WorkerTotals(
        "w", BEGAN, 10.0, load_s=1.0, compute_s=4.0, encode_s=0.5, wait_s=2.0, lost_s={"nonfinite": 1.0}
    )
    load = load_of(totals)
    assert (load.useful_s, load.in_vain_s, load.waiting_s, load.other_s) == (5.5, 1.0, 2.0, 1.5)
    assert load.held_s == 10.0


def test_waiting_while_a_copy_was_computed_is_not_counted_twice() -> None:
    totals = WorkerTotals("w", BEGAN, 5.0, compute_s=3.0, wait_s=4.0, lost_s={"superseded": 1.0})
    load = load_of(totals)
    assert (load.waiting_s, load.other_s, load.held_s) == (1.0, 0.0, 5.0)


def test_clocks_that_disagree_make_no_negative_part() -> None:
    load = load_of(WorkerTotals("w", BEGAN, 1.0, compute_s=3.0))
    assert (load.held_s, load.other_s) == (3.0, 0.0)


def test_goodput_is_useful_seconds_over_held_ones() -> None:
    assert facts(traced=even_trace(compute_s=1.0, overhead_s=0.25)).goodput == 0.8
    assert facts().goodput is None, "without a trace nobody knows"


def test_workers_stand_in_the_order_of_their_numbers() -> None:
    totals = [WorkerTotals(f"w-{i}", BEGAN, 1.0) for i in (10, 9, 1)]
    assert [load.totals.worker for load in facts(traced=trace([], [], *totals)).loads] == [
        "w-1",
        "w-9",
        "w-10",
    ]


def test_retries_by_reason_and_worker() -> None:
    assert facts().retries == {"nonfinite": {"w-1": 1}}


def test_a_rollback_begins_a_new_stretch() -> None:
    events = numbered(completed(1), completed(2), completed(3), completed(2), completed(3))
    stretches = [[r.done.round for r in stretch] for stretch in facts(events=events).segments()]
    assert stretches == [[1, 2, 3], [2, 3]]


def test_a_trace_that_begins_with_the_job_is_whole() -> None:
    started = numbered(StateChanged(JobState.RUNNING, ""))
    assert facts(events=started, traced=even_trace()).whole is True
    late = [started[0].__class__(1, BEGAN - 60, started[0].what)]
    assert facts(events=late, traced=even_trace()).whole is False


def test_events_that_are_gone_are_noticed() -> None:
    assert facts().first_events_gone is False
    assert facts(events=numbered(completed(1), completed(2))[1:]).first_events_gone is True


def test_a_synchrony_under_which_not_all_counted_is_not_forgotten() -> None:
    assert facts().synchrony == ""
    switched = (
        SteeringRecord(3, "ann", BEGAN, "synchrony", "bounded:3", "synchronous"),
        SteeringRecord(4, "ann", BEGAN, "codec", "none", "int8"),
    )
    assert facts(replace(view(), steering=switched)).synchrony == "bounded:3"
