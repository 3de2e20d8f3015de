"""Solvers that look ahead: many trial steps in one round, Hessians, bounds, steps read off the curvature."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from builders.files import through_a_file
from gradloom.optimizers import (
    Adam,
    AnyOptimizer,
    BarzilaiBorwein,
    Blocks,
    Findings,
    GradientDescent,
    Lbfgs,
    Lbfgsb,
    Momentum,
    Newton,
)
from gradloom.optimizers.optimizer import Vector, steepest

RNG = np.random.default_rng(8)
N, D = 200, 8
X = RNG.standard_normal((N, D)) * np.logspace(0, 0.7, D)
SIGNS = np.sign(X[:, 0] - 0.3 * X[:, 1] + RNG.standard_normal(N))
L1 = np.append(np.full(D - 1, 0.05), 0.0)


class Logistic:
    """Mean logistic loss with a little l2, how often it was evaluated, and what was asked for."""

    def __init__(self, l2: float = 1e-3, *, tries: bool = True) -> None:
        self.l2, self.tries = l2, tries
        self.trial_rounds = 0

    def at(self, w: Vector) -> tuple[float, Vector]:
        m = SIGNS * (X @ w)
        slope = -SIGNS * np.exp(-np.logaddexp(0, m)) / N
        return float(np.logaddexp(0, -m).mean() + 0.5 * self.l2 * w @ w), X.T @ slope + self.l2 * w

    def hessian(self, w: Vector) -> Blocks:
        p = 1 / (1 + np.exp(-X @ w))
        return Blocks(
            ((X.T * (p * (1 - p) / N)) @ X + self.l2 * np.eye(D))[np.newaxis], np.arange(D)[np.newaxis]
        )

    def step(self, optimizer: Any, state: Any) -> Any:
        loss, gradient = self.at(state.point)
        if not isinstance(optimizer, Lbfgs | Lbfgsb | Newton):
            return optimizer.update(state, loss, gradient)
        wish = optimizer.wish(state)
        hessian = self.hessian(state.point) if wish.hessian else None
        if not (wish.offsets and self.tries):
            return optimizer.update(state, loss, gradient, Findings(hessian))
        self.trial_rounds += 1
        tried = [self.at(state.point + offset * wish.direction) for offset in wish.offsets]
        losses, slopes = tuple(a for a, _ in tried), tuple(float(g @ wish.direction) for _, g in tried)
        return optimizer.update(state, loss, gradient, Findings(hessian, losses, slopes))

    def run(
        self, optimizer: AnyOptimizer, rounds: int = 3000, between: Callable[[Any], Any] = lambda s: s
    ) -> Any:
        state = optimizer.init(np.zeros(D))
        for done in range(rounds):
            state = self.step(optimizer, between(state))
            if state.gradient_norm < 1e-11 or state.stalled:
                return state, done + 1
        return state, rounds


EXACT = Logistic().run(Newton())[0].solution
SPARSE = Logistic().run(Newton(l1=L1))[0].solution
SMOOTH: dict[str, AnyOptimizer] = {
    "newton": Newton(),
    "lbfgs": Lbfgs(),
    "lbfgsb": Lbfgsb(np.zeros(D)),
    "barzilai_borwein": BarzilaiBorwein(),
}
WITH_L1: dict[str, AnyOptimizer] = {
    "newton": Newton(l1=L1),
    "lbfgsb": Lbfgsb(L1),
    "barzilai_borwein": BarzilaiBorwein(l1=L1),
}


@pytest.mark.parametrize("optimizer", SMOOTH.values(), ids=SMOOTH)
def test_the_minimum_is_one_for_all(optimizer: AnyOptimizer) -> None:
    state, _ = Logistic().run(optimizer)
    np.testing.assert_allclose(state.solution, EXACT, atol=1e-8)


@pytest.mark.parametrize("optimizer", WITH_L1.values(), ids=WITH_L1)
def test_with_absolute_values_the_minimum_and_its_zeros_are_one_for_all(optimizer: AnyOptimizer) -> None:
    state, _ = Logistic().run(optimizer)
    _, gradient = Logistic().at(state.solution)
    assert np.abs(steepest(state.solution, gradient, L1)).max() < 1e-8
    np.testing.assert_allclose(state.solution, SPARSE, atol=1e-7)
    np.testing.assert_array_equal(state.solution == 0, SPARSE == 0)
    assert 0 < (SPARSE == 0).sum() < D


@pytest.mark.parametrize(
    "optimizer",
    [
        GradientDescent(0.05, L1),
        Momentum(0.01, 0.9, l1=L1),
        Momentum(0.01, 0.9, True, L1),
        Adam(0.002, l1=L1),
    ],
    ids=["descent", "momentum", "nesterov", "adam"],
)
def test_steps_by_learning_rate_stand_still_only_at_that_minimum(optimizer: AnyOptimizer) -> None:
    state = optimizer.init(SPARSE)
    for _ in range(50):
        state = Logistic().step(optimizer, state)
    if isinstance(optimizer, GradientDescent):
        np.testing.assert_allclose(state.point, SPARSE, atol=1e-10)
    state = optimizer.init(np.zeros(D))
    for _ in range(6000):
        state = Logistic().step(optimizer, state)
    np.testing.assert_allclose(state.point, SPARSE, atol=2e-3)
    np.testing.assert_array_equal(state.point == 0, SPARSE == 0)


def test_newton_needs_few_rounds_and_the_others_more() -> None:
    rounds = {name: Logistic().run(one)[1] for name, one in SMOOTH.items()}
    assert rounds["newton"] < 12 < rounds["lbfgs"] < rounds["barzilai_borwein"]


@pytest.mark.parametrize("optimizer", [Lbfgs(), Lbfgsb(L1)], ids=["lbfgs", "lbfgsb"])
def test_trying_many_steps_at_once_costs_no_rounds_but_by_chance(optimizer: AnyOptimizer) -> None:
    (_, with_trials), (_, without) = (Logistic(tries=tries).run(optimizer) for tries in (True, False))
    assert with_trials <= without + 3


def test_a_step_that_is_far_too_long_is_put_right_in_the_next_round_but_one() -> None:
    state = Newton().init(np.zeros(1))
    far = Blocks(np.array([[[1e-4]]]), np.array([[0]]))  # says that the minimum is 10,000 times as far away

    def at(x: float) -> tuple[float, Vector]:
        return 0.5 * (x - 1.0) ** 2, np.array([x - 1.0])

    for _ in range(3):
        wish = Newton().wish(state)
        tried = (
            tuple(at(float(state.point[0] + o * wish.direction[0]))[0] for o in wish.offsets)
            if wish.offsets
            else ()
        )
        state = Newton().update(state, *at(float(state.point[0])), Findings(far, tried, tried))
    assert state.point[0] == pytest.approx(1.0, abs=1.0)
    assert state.step < 1e-3


def test_newton_without_a_hessian_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the Hessian"):
        Newton().update(Newton().init(np.zeros(1)), 0.0, np.zeros(1))


def test_no_entry_goes_further_in_a_step_than_it_may_reach() -> None:
    reach = np.full(D, np.inf)
    reach[2] = 1e-3

    def look(state: Any) -> Any:
        if state.current is not None:
            assert abs(state.point[2] - state.current.point[2]) <= 1e-3 + 1e-12
        return state

    for optimizer in (Newton(reach=reach), Lbfgs(reach=reach), Lbfgsb(L1, reach=reach)):
        Logistic().run(optimizer, rounds=30, between=look)


SAVED: dict[str, AnyOptimizer] = {**SMOOTH, **{f"{name} with l1": one for name, one in WITH_L1.items()}}


@pytest.mark.parametrize("optimizer", SAVED.values(), ids=SAVED)
def test_saved_and_restored_in_every_round_it_takes_the_same_way(optimizer: AnyOptimizer) -> None:
    disturbed, rounds = Logistic().run(
        optimizer, 60, lambda state: optimizer.restore(through_a_file(optimizer.save(state)))
    )
    undisturbed, expected = Logistic().run(optimizer, 60)
    assert rounds == expected
    assert disturbed.point.tobytes() == undisturbed.point.tobytes()


def test_without_curvature_the_gradient_shows_the_way() -> None:
    flat = Blocks(np.zeros((1, 2, 2)), np.array([[0, 1]]))

    def at(x: NDArray[Any]) -> tuple[float, Vector]:
        return float(np.abs(x - 3.0).sum()), np.sign(x - 3.0)

    state = Newton().init(np.zeros(2))
    for _ in range(2):
        state = Newton().update(state, *at(state.point), Findings(flat))
    assert state.stalled is None
    assert (state.point > 0).all()
