"""From how many workers on a cluster beats one machine: by hand, and where it can't be known."""

from dataclasses import replace

import pytest

from builders.runs import even_trace, round_span, task, trace
from gradloom.reports.scaling import Scaling, scaling_of

EVEN = Scaling(rounds=5, workers=4, compute_s=8.0, unevenness=1.0, overhead_s=1.0, round_s=3.0)


def test_what_is_measured_are_medians_of_the_rounds() -> None:
    found = scaling_of(even_trace(rounds=5, workers=4, compute_s=2.0, overhead_s=1.0), "")
    assert isinstance(found, Scaling)
    assert (found.rounds, found.workers) == (5, 4)
    assert found.compute_s == pytest.approx(8.0)
    assert found.unevenness == pytest.approx(1.0)
    assert found.overhead_s == pytest.approx(1.0)
    assert found.speedup == pytest.approx(8.0 / 3.0)


def test_an_uneven_round_is_so_much_longer() -> None:
    rounds = [round_span(n, 4.0 * n, 4.0 * n + 3.0) for n in range(2, 6)]
    tasks = [
        task(worker, n, i, start=4.0 * n, compute_s=seconds)
        for n in range(2, 6)
        for i, (worker, seconds) in enumerate([("a", 3.0), ("b", 1.0)])
    ]
    found = scaling_of(trace(rounds, tasks), "")
    assert isinstance(found, Scaling)
    assert found.unevenness == pytest.approx(1.5)
    assert found.overhead_s == pytest.approx(0.0)


def test_with_the_workers_there_were_the_formula_gives_the_round_as_measured() -> None:
    """Medians of different rounds do not add up by themselves: here C, r and the round's length are of three."""
    shapes = [(4.0, 1.0, 9.0), (1.0, 1.0, 6.0), (2.0, 2.0, 3.0), (3.0, 1.0, 8.0)]
    rounds = [round_span(n, 20.0 * n, 20.0 * n + shape[2]) for n, shape in enumerate(shapes, 2)]
    tasks = [
        task(worker, n, i, start=20.0 * n, compute_s=shape[i])
        for n, shape in enumerate(shapes, 2)
        for i, worker in enumerate("ab")
    ]
    found = scaling_of(trace(rounds, tasks), "")
    assert isinstance(found, Scaling)
    for growing in (False, True):
        assert found.seconds_with(found.workers, growing=growing) == pytest.approx(found.round_s)
    assert found.round_s == 7.0


def test_the_smallest_number_of_workers_that_is_faster() -> None:
    assert EVEN.if_fixed == 2
    assert EVEN.seconds_with(2, growing=False) == 5.0
    tight = replace(EVEN, overhead_s=6.0)
    assert tight.if_fixed == 5
    assert tight.seconds_with(4, growing=False) == 8.0, "as fast is not faster"
    assert tight.seconds_with(5, growing=False) < 8.0


def test_never_if_the_overhead_alone_is_longer() -> None:
    assert replace(EVEN, overhead_s=8.0).if_fixed is None
    assert replace(EVEN, overhead_s=8.0).if_growing is None


@pytest.mark.parametrize("overhead_s", [0.5, 2.0, 5.0, 7.0, 7.9])
@pytest.mark.parametrize("unevenness", [1.0, 1.3])
@pytest.mark.parametrize("workers", [1, 4, 16])
def test_the_formulas_agree_with_trying_every_number(
    overhead_s: float, unevenness: float, workers: int
) -> None:
    found = replace(EVEN, overhead_s=overhead_s, unevenness=unevenness, workers=workers)
    tried = range(2, 5000)
    best = [n for n in tried if found.seconds_with(n, growing=False) < found.compute_s]
    worst = [n for n in tried if found.seconds_with(n, growing=True) < found.compute_s]
    assert found.if_fixed == (best[0] if best else None)
    assert found.if_growing == ((worst[0], worst[-1]) if worst else None)


@pytest.mark.parametrize(
    ("scaling", "says"),
    [
        (
            replace(EVEN, overhead_s=9.0, workers=1),
            "with no number of workers: a round's overhead is longer than computing it on one machine",
        ),
        (replace(EVEN, overhead_s=0.0), "from 2 workers on"),
        (EVEN, "from 2 workers on, up to 30 if every worker adds overhead"),
        (
            replace(EVEN, overhead_s=6.0, workers=8),
            "from 2 to 5 workers on, up to 9 if every worker adds overhead",
        ),
        (
            replace(EVEN, overhead_s=3.0, workers=1),
            "from 2 workers on, if the overhead of a round stays what it is; with none if it grows",
        ),
        (
            replace(EVEN, overhead_s=8.5, workers=8),
            "from 2 workers on, up to 6 if every worker adds overhead; with none if the overhead stays what it is",
        ),
    ],
)
def test_the_answer_in_words(scaling: Scaling, says: str) -> None:
    assert scaling.answer == says


@pytest.mark.parametrize(
    ("synchrony", "says"),
    [
        ("asynchronous", "end before all have answered"),
        ("bounded:3", "end before all"),
        ("backup:1", "end before"),
    ],
)
def test_rounds_that_end_early_say_nothing(synchrony: str, says: str) -> None:
    found = scaling_of(even_trace(), synchrony)
    assert isinstance(found, str)
    assert says in found


def test_too_few_rounds_say_nothing() -> None:
    assert scaling_of(even_trace(rounds=2), "") == "the trace holds 2 whole rounds of training; 3 are needed"


def test_a_round_whose_first_tasks_are_gone_is_left_out() -> None:
    whole = even_trace(rounds=4)
    cut = replace(whole, head=replace(whole.head, dropped_tasks=1), tasks=whole.tasks[1:])
    found = scaling_of(cut, "")
    assert isinstance(found, Scaling)
    assert found.rounds == 3


def test_no_trace_no_answer() -> None:
    assert scaling_of(None, "") == "there is no trace of this run"


def test_workers_that_say_they_took_no_time_give_no_answer() -> None:
    found = scaling_of(even_trace(compute_s=0.0), "")
    assert found == "its workers did not say how long they computed"
