"""L-BFGS as people use it: smooth problems, hard ones, and ends that floating point makes flat."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize, rosen, rosen_der

from gradloom.optimizers import Lbfgs
from gradloom.optimizers.lbfgs import LbfgsState

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]


def minimise(
    function: Function,
    start: np.ndarray,
    optimizer: Lbfgs | None = None,
    goal: float = 1e-8,
    limit: int = 1000,
) -> tuple[LbfgsState, int]:
    """The state at the end, and the evaluations it took."""
    optimizer = optimizer or Lbfgs()
    state = optimizer.init(start)
    for evaluations in range(1, limit + 1):
        state = optimizer.update(state, *function(state.point))
        if state.stalled or state.gradient_norm <= goal:
            return state, evaluations
    raise AssertionError(f"gradient {state.gradient_norm} after {limit} evaluations")


def quadratic(n: int, condition: float) -> tuple[Function, np.ndarray]:
    rng = np.random.default_rng(7)
    Q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    A = Q @ np.diag(np.geomspace(1.0, condition, n)) @ Q.T
    goal = rng.standard_normal(n)
    return (lambda x: (0.5 * float((x - goal) @ A @ (x - goal)), A @ (x - goal))), goal


@pytest.mark.parametrize("condition", [1.0, 10.0, 100.0, 1e4])
def test_quadratics_in_as_few_evaluations_as_scipy(condition: float) -> None:
    function, goal = quadratic(20, condition)
    state, evaluations = minimise(function, np.zeros(20))
    options = {"maxcor": 20, "ftol": 0.0, "gtol": 1e-8, "maxiter": 1000}
    peer = minimize(function, np.zeros(20), jac=True, method="L-BFGS-B", options=options)
    np.testing.assert_allclose(state.solution, goal, atol=1e-6)
    assert evaluations <= 1.2 * peer.nfev + 5


def test_the_banana_valley_that_is_not_convex() -> None:
    start = np.array([-1.2, 1.0, -1.2, 1.0, -1.2, 1.0])
    state, evaluations = minimise(lambda x: (float(rosen(x)), rosen_der(x)), start)
    np.testing.assert_allclose(state.solution, np.ones(6), atol=1e-6)
    assert evaluations < 100


def test_a_start_far_away_is_reached_by_longer_steps() -> None:
    goal = np.array([1e6, -1e6])
    state, evaluations = minimise(
        lambda x: (float(0.5e-3 * ((x - goal) ** 2).sum()), 1e-3 * (x - goal)), np.zeros(2)
    )
    np.testing.assert_allclose(state.solution, goal, rtol=1e-6)
    assert evaluations < 25


def test_every_accepted_loss_is_no_higher_than_the_one_before() -> None:
    function, _ = quadratic(20, 1e4)
    optimizer, losses = Lbfgs(), [np.inf]
    state = optimizer.init(np.ones(20))
    for _ in range(60):
        state = optimizer.update(state, *function(state.point))
        losses.append(state.loss)
    assert all(after <= before for before, after in pairwise(losses))


def test_a_gradient_of_zero_ends_it_at_once() -> None:
    function, goal = quadratic(5, 10.0)
    state, evaluations = minimise(function, goal, goal=-1.0)
    assert evaluations == 1
    assert state.stalled == "the gradient is zero"
    np.testing.assert_array_equal(state.solution, goal)


def test_a_gradient_too_small_to_square_ends_it_too() -> None:
    state, evaluations = minimise(lambda x: (1.0, np.full(3, 1e-200)), np.zeros(3), goal=0.0)
    assert evaluations == 1
    assert state.stalled is not None


def test_a_flat_end_stalls_gracefully_at_the_best_point() -> None:
    function, goal = quadratic(20, 1e4)

    def rounded(x: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = function(x)
        return float(np.float32(loss + 1.0)), gradient.astype(np.float32).astype(np.float64)

    state, evaluations = minimise(rounded, np.zeros(20), Lbfgs(noise=1e-7), goal=0.0)
    assert state.stalled is not None
    assert "floating point" in state.stalled
    assert evaluations < 400
    np.testing.assert_allclose(state.solution, goal, atol=1e-4)


def test_losses_that_lie_can_not_keep_it_busy() -> None:
    """The gradient says down, the loss never falls: the search gives up and says why."""
    state, evaluations = minimise(lambda x: (1.0 + float(x @ x), -np.ones(2)), np.zeros(2), goal=0.0)
    assert state.stalled is not None
    assert evaluations < 50
    np.testing.assert_array_equal(state.solution, np.zeros(2))


def test_updates_change_no_array_and_remember_no_more_than_told() -> None:
    function, _ = quadratic(20, 1e4)
    optimizer = Lbfgs(memory=3)
    state = optimizer.init(np.zeros(20))
    for _ in range(30):
        before = (state, state.point.copy(), [p.step.copy() for p in state.pairs])
        state = optimizer.update(state, *function(state.point))
        assert len(state.pairs) <= 3
        np.testing.assert_array_equal(before[0].point, before[1])
        for pair, copy in zip(before[0].pairs, before[2], strict=True):
            np.testing.assert_array_equal(pair.step, copy)


def test_the_same_evaluations_give_the_same_bits() -> None:
    function, _ = quadratic(20, 1e4)
    first, second = (minimise(function, np.zeros(20))[0] for _ in range(2))
    assert first.solution.tobytes() == second.solution.tobytes()
