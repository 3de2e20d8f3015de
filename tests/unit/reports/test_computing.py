"""When tasks ran, reckoned; and the speeds that follow from it."""

import pytest

from builders.runs import BEGAN, round_span, task, trace
from gradloom.reports.computing import computed_of
from gradloom.reports.speeds import speeds_of, usual_round


def test_half_of_the_way_lies_before_the_task_and_half_behind() -> None:
    (one,) = computed_of([task("w", 2, 0, start=3.0, compute_s=1.0, load_s=0.5, transit_s=0.25)])
    assert one.start_at == BEGAN + 3.0
    assert one.end_at == BEGAN + 4.5
    assert [(p.name, p.start_at - BEGAN, p.seconds) for p in one.phases] == [
        ("load", 3.0, 0.5),
        ("compute", 3.5, 1.0),
        ("encode", 4.5, 0.0),
    ]


def test_a_worker_computes_one_task_after_the_other() -> None:
    spans = [task("w", 2, 1, start=1.75, compute_s=1.0), task("w", 2, 0, start=1.0, compute_s=1.0)]
    first, second = computed_of([*spans, task("v", 2, 2, start=1.5, compute_s=5.0)])[::2]
    assert (first.span.lo, first.start_at) == (0, BEGAN + 1.0)
    assert (second.span.lo, second.start_at) == (1, BEGAN + 2.0)


def test_speeds_are_of_training_and_of_what_counted() -> None:
    recorded = trace(
        [round_span(1, 0.0, 1.0, "profile"), round_span(2, 1.0, 3.0), round_span(3, 3.0, 9.0)],
        [
            task("b", 1, 0, start=0.1, compute_s=0.5),
            task("b", 2, 0, start=1.0, compute_s=1.0),
            task("b", 2, 1, start=2.0, compute_s=1.0, lost="nonfinite"),
            task("a", 3, 0, start=4.0, compute_s=2.0),
        ],
    )
    found = [(s.worker, s.at_s, s.seconds_per_row) for s in speeds_of(recorded)]
    assert found == [("a", pytest.approx(3.0), 0.02), ("b", 0.0, 0.01)]
    assert usual_round(recorded) == 6.0


def test_no_round_no_speed() -> None:
    assert speeds_of(trace([], [])) == []
    assert usual_round(trace([], [])) == 0.0
