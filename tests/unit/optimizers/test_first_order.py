"""Gradient descent, momentum and Adam against their update rules, step by step."""

from itertools import pairwise

import numpy as np
import pytest

from gradloom.optimizers import Adam, AnyOptimizer, GradientDescent, Momentum

CURVATURES = np.array([1.0, 4.0, 0.25])
GOAL = np.array([1.0, -2.0, 3.0])


def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
    return 0.5 * float(CURVATURES @ (x - GOAL) ** 2), CURVATURES * (x - GOAL)


def run(optimizer: AnyOptimizer, steps: int) -> list[np.ndarray]:
    state = optimizer.init(np.zeros(3))
    points = [state.point]
    for _ in range(steps):
        state = optimizer.update(state, *evaluate(state.point))
        points.append(state.point)
    return points


def test_gradient_descent_follows_the_gradient() -> None:
    points = run(GradientDescent(0.1), 2)
    for before, after in pairwise(points):
        np.testing.assert_array_equal(after, before - 0.1 * evaluate(before)[1])


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_gathers_speed(nesterov: bool) -> None:
    x, v = np.zeros(3), np.zeros(3)
    for point in run(Momentum(0.1, 0.8, nesterov), 6)[1:]:
        g = evaluate(x)[1]
        v = 0.8 * v + g
        x = x - 0.1 * (g + 0.8 * v if nesterov else v)
        np.testing.assert_allclose(point, x, rtol=1e-14)


def test_adam_divides_by_the_size_of_the_gradient() -> None:
    x, m, v = np.zeros(3), np.zeros(3), np.zeros(3)
    for t, point in enumerate(run(Adam(0.05, 0.9, 0.99, 1e-8), 6)[1:], start=1):
        g = evaluate(x)[1]
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        x = x - 0.05 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
        np.testing.assert_allclose(point, x, rtol=1e-12)
    assert run(Adam(0.05), 1)[1] == pytest.approx(0.05 * np.sign(GOAL), rel=1e-6)


@pytest.mark.parametrize(
    "optimizer", [GradientDescent(0.3), Momentum(0.2), Momentum(0.2, nesterov=True), Adam(0.3)]
)
def test_all_of_them_reach_the_minimum(optimizer: AnyOptimizer) -> None:
    np.testing.assert_allclose(run(optimizer, 600)[-1], GOAL, atol=1e-4)


def test_the_state_shows_the_evaluation_it_consumed() -> None:
    optimizer = GradientDescent(0.5)
    fresh = optimizer.init(np.zeros(3))
    assert (fresh.loss, fresh.gradient_norm, fresh.learning_rate) == (np.inf, np.inf, None)
    state = optimizer.update(fresh, *evaluate(fresh.point))
    assert state.loss == evaluate(np.zeros(3))[0]
    assert state.gradient_norm == 8.0
    assert state.learning_rate == 0.5
    np.testing.assert_array_equal(fresh.point, np.zeros(3))


def test_another_method_can_take_over_a_state() -> None:
    state = GradientDescent(0.1).init(np.zeros(3))
    for optimizer in (GradientDescent(0.1), Momentum(0.1), Adam(0.1), GradientDescent(0.01)):
        state = optimizer.update(state, *evaluate(state.point))
    assert state.updates == 4
    assert state.learning_rate == 0.01
