"""Quadratic minima: against the conditions that they must meet, in the worst of units and without a unique answer."""

import numpy as np
import pytest

from gradloom.optimizers.gram import Gram
from gradloom.optimizers.optimizer import steepest
from gradloom.optimizers.quadratics import lasso, solve


def problem(n: int, rank: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((n, rank))
    A = factor @ factor.T
    return A, A @ rng.standard_normal(n)


def test_columns_in_very_different_units_cost_no_digits() -> None:
    A, _ = problem(12, 30)
    units = np.logspace(-6, 6, 12)
    A = A * units * units[:, np.newaxis]
    x = np.ones(12) / units
    np.testing.assert_allclose(solve(A, A @ x) * units, np.ones(12), rtol=1e-10)


def test_without_a_unique_answer_the_shortest_is_given() -> None:
    A, b = problem(10, 4)
    x = solve(A, b)
    np.testing.assert_allclose(A @ x, b, atol=1e-10)
    np.testing.assert_allclose(x, np.linalg.pinv(A) @ b, atol=1e-10)
    assert not solve(np.zeros((3, 3)), np.zeros(3)).any()
    assert solve(np.zeros((0, 0)), np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rank", [60, 12])
def test_the_lasso_meets_its_conditions_to_rounding(seed: int, rank: int) -> None:
    A, b = problem(40, rank, seed)
    l1 = np.full(40, 0.3 * np.abs(b).max())
    l1[-1] = 0.0
    x = lasso(A, b, l1, np.zeros(40)).point
    assert np.abs(steepest(x, A @ x - b, l1)).max() <= 1e-11 * np.abs(b).max()
    assert 0 < (x == 0).sum() < 40
    again = lasso(A, b, l1, np.random.default_rng(seed).standard_normal(40)).point
    if rank == 60:
        np.testing.assert_allclose(again, x, atol=1e-9 * np.abs(x).max())


def test_without_a_unique_answer_columns_in_small_units_count_too() -> None:
    group = np.eye(4)[np.random.default_rng(0).integers(0, 4, 200)]
    X = np.column_stack([group, 1e7 * np.random.default_rng(1).uniform(size=200)])
    X -= X.mean(axis=0)  # the columns of the groups add up to 0
    y = group @ [0.0, 5.0, 10.0, 20.0]
    x = solve(X.T @ X, X.T @ (y - y.mean()))
    np.testing.assert_allclose(X @ x, y - y.mean(), atol=1e-8)
    assert abs(x[:4].sum()) < 1e-6  # the shortest


@pytest.mark.parametrize("seed", range(12))
def test_the_lasso_is_solved_on_columns_that_are_alike_and_in_any_units(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, d = rng.integers(5, 60, 2)
    X = rng.standard_normal((n, 3)) @ rng.standard_normal((3, d)) + 1e-3 * (seed % 2) * rng.standard_normal(
        (n, d)
    )
    X = X[:, rng.integers(0, d, d)] * 10.0 ** rng.uniform(-5, 5, d)
    A, b = X.T @ X / n, X.T @ rng.standard_normal(n) / n
    scale = 1.0 / np.sqrt(np.diagonal(A))
    l1 = 10.0 ** rng.uniform(-6, -1) / scale
    x, solved = lasso(A, b, l1, np.zeros(d))
    assert solved
    assert np.abs(steepest(x / scale, scale * (A @ x - b), scale * l1)).max() < 1e-9 * np.abs(scale * b).max()


def test_the_lasso_says_where_rounding_leaves_no_minimum() -> None:
    A, b = np.zeros((2, 2)), np.array([1.0, 0.0])  # falls without end
    assert not lasso(A, b, np.full(2, 0.5), np.zeros(2)).solved
    state = Gram(np.full(1, 0.1), np.zeros(1)).solve(np.diag([1.0, 1.0, 1.0]))
    assert state.exact


def test_a_penalty_that_is_strong_enough_leaves_nothing() -> None:
    A, b = problem(6, 9)
    assert not lasso(A, b, np.full(6, np.abs(b).max()), np.ones(6)).point.any()


def test_a_column_of_zeros_gets_no_coefficient() -> None:
    A, b = problem(5, 9)
    A[2] = A[:, 2] = b[2] = 0.0
    assert lasso(A, b, np.full(5, 0.1), np.zeros(5)).point[2] == 0.0


def test_the_gram_matrix_gives_least_squares_and_its_loss() -> None:
    rng = np.random.default_rng(2)
    X, y, s = rng.standard_normal((50, 3)), rng.standard_normal(50) + 4.0, rng.uniform(0.5, 2.0, 50)
    rows = np.column_stack([X, y, np.ones(50)])
    gram = (rows.T * s) @ rows
    state = Gram(np.zeros(4), np.zeros(4)).solve(gram)
    design = np.column_stack([X, np.ones(50)]) * np.sqrt(s)[:, np.newaxis]
    expected, residual, *_ = np.linalg.lstsq(design, y * np.sqrt(s))
    np.testing.assert_allclose(state.solution, expected, rtol=1e-11)
    assert state.loss == pytest.approx(0.5 * float(residual[0]) / s.sum(), rel=1e-10)
    assert state.gradient_norm < 1e-12
