"""Sequential minimal optimisation: libsvm's optimum, feasible at every end, and clear about what it did not reach."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.svm import SVC

from gradloom.kernels import Kernel
from gradloom.optimizers.smo import DualProblem, DualSolution, solve

X, LABELS = load_breast_cancer(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
Y = np.where(LABELS == 0, 1.0, -1.0)  # libsvm's positive side is the first class
COST = np.random.default_rng(0).uniform(0.3, 2.0, len(Y))
KERNELS = (Kernel("rbf", 0.03), Kernel("poly", 0.03, 2, 1.0), Kernel("linear", 1.0), Kernel("sigmoid", 1e-4))


def problem(kernel: Kernel = KERNELS[0], dtype: str = "float64", cost: float = 1.0) -> DualProblem:
    return DualProblem(kernel.gram(X.astype(dtype)), Y, cost * COST)


def assert_feasible(given: DualProblem, found: DualSolution) -> None:
    assert np.all((found.b >= given.lower) & (found.b <= given.upper))
    assert abs(found.b.sum()) < 1e-9


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_it_reaches_the_objective_and_the_decisions_of_libsvm(kernel: Kernel) -> None:
    given = problem(kernel)
    found = solve(given, 1e-9)
    twin = SVC(
        kernel=kernel.name, gamma=kernel.gamma, degree=kernel.degree, coef0=kernel.coef0, tol=1e-9
    ).fit(X, LABELS, COST)
    theirs = np.zeros(len(Y))
    theirs[twin.support_] = -twin.dual_coef_[0]  # scikit-learn turns the sign for two classes
    objective = Y @ theirs - 0.5 * theirs @ given.K @ theirs
    assert found.converged
    assert found.gap <= 1e-9
    assert found.objective == pytest.approx(objective, rel=1e-8)
    assert_feasible(given, found)
    decisions = -twin.decision_function(X)  # of kernel values that libsvm keeps as float32
    digits = 2e-6 * max(1.0, float(np.abs(decisions).max()))
    np.testing.assert_allclose(given.K @ found.b + found.intercept, decisions, atol=digits, rtol=0)


def test_the_gap_is_that_of_the_point_and_the_gradient_is_exact() -> None:
    given = problem()
    found = solve(given, 1e-4)
    gradient = Y - given.K @ found.b
    up, down = found.b < given.upper, found.b > given.lower
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-12)
    assert found.gap == pytest.approx(gradient[up].max() - gradient[down].min(), abs=1e-12)
    assert 0 < found.gap <= 1e-4


def test_a_kernel_of_float32_is_solved_for_what_it_holds() -> None:
    found, exact = solve(problem(dtype="float32"), 1e-6), solve(problem(), 1e-6)
    assert found.converged
    assert found.objective == pytest.approx(exact.objective, rel=1e-5)


def test_a_start_near_the_optimum_saves_steps_and_leads_to_the_same_place() -> None:
    given = problem(cost=10.0)
    rough = solve(given, 1e-2)
    fine, again = solve(given, 1e-7), solve(given, 1e-7, start=rough.b)
    assert again.steps < fine.steps
    assert again.objective == pytest.approx(fine.objective, rel=1e-10)
    assert solve(given, 1e-7, start=fine.b).steps == 0


def test_out_of_steps_it_says_so_at_a_feasible_point() -> None:
    given = problem()
    found = solve(given, 1e-6, max_steps=20)
    assert (found.converged, found.steps) == (False, 20)
    assert found.gap > 1e-6
    assert_feasible(given, found)
    assert found.objective < solve(given, 1e-6).objective


def test_every_step_ascends() -> None:
    objectives = [solve(problem(), 1e-6, max_steps=steps).objective for steps in range(0, 60, 5)]
    assert objectives == sorted(set(objectives))


def test_rows_of_no_cost_take_no_part() -> None:
    given = problem()
    cost = np.where(np.arange(len(Y)) % 3, COST, 0.0)
    found = solve(DualProblem(given.K, Y, cost), 1e-6)
    kept = np.flatnonzero(cost)
    K = np.ascontiguousarray(given.K[np.ix_(kept, kept)])
    alone = solve(DualProblem(K, Y[kept], cost[kept]), 1e-6)
    assert not found.b[cost == 0].any()
    np.testing.assert_allclose(found.b[kept], alone.b, atol=1e-6)


def test_equal_rows_of_both_classes_end_at_their_bounds() -> None:
    twins = np.repeat(X[:40], 2, axis=0)
    y = np.tile([1.0, -1.0], 40)
    found = solve(DualProblem(KERNELS[0].gram(twins), y, np.ones(80)), 1e-6)
    assert found.converged
    np.testing.assert_allclose(found.b, y, atol=1e-6)


@pytest.mark.parametrize(("side", "intercept"), [(1.0, 1.0), (-1.0, -1.0)])
def test_one_class_alone_needs_no_steps_and_decides_for_itself(side: float, intercept: float) -> None:
    found = solve(DualProblem(KERNELS[0].gram(X[:9]), np.full(9, side), np.ones(9)), 1e-3)
    assert (found.converged, found.steps, found.objective) == (True, 0, 0.0)
    assert found.intercept == intercept


def test_the_same_problem_has_the_same_bits() -> None:
    first, second = (solve(problem(), 1e-5) for _ in range(2))
    assert first.b.tobytes() == second.b.tobytes()


def test_rows_that_all_reach_their_bounds_leave_the_intercept_in_the_middle() -> None:
    y = np.tile([1.0, -1.0], 30)
    found = solve(DualProblem(KERNELS[0].gram(X[:60]), y, np.full(60, 1e-3)), 1e-8)
    low, high = found.intercepts
    np.testing.assert_array_equal(np.abs(found.b), 1e-3)
    assert low < high
    assert found.intercept == pytest.approx(0.5 * (low + high))


def test_columns_of_very_different_scales_take_thousands_of_steps_where_pairs_alone_take_millions() -> None:
    raw = load_breast_cancer().data
    given = DualProblem(KERNELS[2].gram(raw - raw.mean(axis=0)), Y, np.ones(len(Y)))
    found = solve(given, 1e-6, max_steps=200_000)
    primal = (
        0.5 * found.b @ given.K @ found.b
        + np.maximum(0.0, 1.0 - Y * (given.K @ found.b + found.intercept)).sum()
    )
    assert found.converged
    assert primal == pytest.approx(found.objective, rel=1e-6)
    assert_feasible(given, found)


def test_what_rounding_does_not_allow_is_given_up_soon() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 4))
    y = np.where(rows[:, 0] * rows[:, 1] > 0, 1.0, -1.0)
    given = DualProblem(Kernel("poly", 0.25, 3).gram(rows + 300.0), y, np.ones(120))
    found = solve(given, 1e-6)
    assert not found.converged
    assert found.steps < 200_000
    assert_feasible(given, found)
