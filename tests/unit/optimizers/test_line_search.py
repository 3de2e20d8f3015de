"""The line search on functions of one variable."""

from collections.abc import Callable

import numpy as np
import pytest

from gradloom.optimizers.line_search import (
    CURVATURE,
    SUFFICIENT_DECREASE,
    Sample,
    Verdict,
    advance,
    begin,
    probes,
)

Line = Callable[[float], tuple[float, float]]

LINES: dict[str, Line] = {
    "parabola": lambda a: ((a - 1.0) ** 2, 2.0 * (a - 1.0)),
    "steep wall": lambda a: (float(np.exp(a) - 2.0 * a), float(np.exp(a) - 2.0)),
    "long slope": lambda a: (float(np.log1p(np.exp(-a)) + 1e-3 * a), float(-1.0 / (1.0 + np.exp(a)) + 1e-3)),
    "quartic": lambda a: ((a - 3.0) ** 4, 4.0 * (a - 3.0) ** 3),
    "waves": lambda a: (float(0.05 * a * a - np.sin(a)), float(0.1 * a - np.cos(a))),
}


def search_along(line: Line, step: float, noise: float = 0.0) -> tuple[Verdict, float, int]:
    """The verdict, the last step tried, and the trials."""
    search = begin(*line(0.0), step, noise)
    for trial in range(1, 100):
        tried = search.step
        verdict, search = advance(search, *line(tried))
        if verdict is not Verdict.CONTINUE:
            return verdict, tried, trial
    raise AssertionError("never ends")


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
@pytest.mark.parametrize("step", [1e-3, 0.1, 1.0, 30.0, 500.0])
def test_it_ends_where_the_strong_wolfe_conditions_hold(line: Line, step: float) -> None:
    verdict, found, trials = search_along(line, step)
    (loss, slope), (loss_0, slope_0) = line(found), line(0.0)
    assert verdict is Verdict.ACCEPT
    assert loss <= loss_0 + SUFFICIENT_DECREASE * found * slope_0
    assert abs(slope) <= CURVATURE * abs(slope_0)
    assert trials <= 15


def test_a_good_first_step_costs_one_evaluation() -> None:
    assert search_along(LINES["parabola"], 0.9) == (Verdict.ACCEPT, 0.9, 1)


def test_below_rounding_the_slopes_decide() -> None:
    """The loss is constant to the last digit; only its slope still shows where the minimum is."""
    line: Line = lambda a: (1.0, 1e-12 * (a - 1.0))  # noqa: E731
    verdict, found, _ = search_along(line, 4.0, noise=1e-14)
    assert verdict is Verdict.ACCEPT
    assert 0.1 < found < 1.9


def test_a_line_without_a_minimum_fails_after_bounded_work() -> None:
    verdict, _, trials = search_along(lambda a: (-a, -1.0), 1.0)
    assert verdict is Verdict.FAILED
    assert trials == 20


def test_a_loss_that_jumps_up_narrows_to_nothing_and_fails() -> None:
    verdict, _, trials = search_along(lambda a: (0.0 if a == 0 else 1.0, -1.0), 1.0)
    assert verdict is Verdict.FAILED
    assert trials <= 20


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
@pytest.mark.parametrize("step", [1e-5, 1e-2, 1.0])
def test_steps_that_are_tried_at_once_end_a_search_in_few_rounds(line: Line, step: float) -> None:
    search = begin(*line(0.0), step, 0.0, blind=True)
    for trial in range(1, 20):
        rounds = trial
        with np.errstate(over="ignore"):  # some are far out
            others = tuple(Sample(a, *line(a)) for a in probes(search))
        tried = search.step
        verdict, search = advance(search, *line(tried), others)
        if verdict is not Verdict.CONTINUE:
            break
    alone = search_along(line, step)[2]
    assert verdict is Verdict.ACCEPT
    assert rounds <= min(alone, 6)


def test_nothing_is_tried_beside_a_step_that_is_likely_to_do() -> None:
    line = LINES["waves"]
    search = begin(*line(0.0), 40.0, 0.0)
    seen = []
    while True:
        seen.append(len(probes(search)))
        verdict, search = advance(search, *line(search.step))
        if verdict is not Verdict.CONTINUE:
            break
    assert seen[:2] == [0, 0]
    assert all(n > 3 for n in seen[2:])


def test_a_step_ends_where_the_way_ends() -> None:
    line = LINES["long slope"]
    search = begin(*line(0.0), 0.5, 0.0, 1.0, blind=True)
    assert max(probes(search)) <= 1.0
    while True:
        tried = search.step
        assert tried <= 1.0
        verdict, search = advance(search, *line(tried))
        if verdict is not Verdict.CONTINUE:
            break
    assert verdict is Verdict.ACCEPT
