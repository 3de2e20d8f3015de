"""One against one: libsvm's layout, votes and ties, and scikit-learn's one number a class."""

import numpy as np
import pytest
from sklearn.utils.multiclass import _ovr_decision_function

from gradloom.kernels import Kernel
from gradloom.one_vs_one import (
    Expansion,
    class_slices,
    column_of,
    decision_scores,
    decision_sums,
    n_pairs,
    one_vs_rest,
    pairs_of,
    pairs_with,
    signs_of,
    winners,
)
from gradloom.tensors import sum_tensors

RNG = np.random.default_rng(0)
COUNTS = np.array([3, 0, 5, 2])
KERNEL = Kernel("rbf", 0.2)


def expansion() -> Expansion:
    return Expansion(RNG.normal(size=(10, 6)), RNG.normal(size=(10, 3)), COUNTS, RNG.normal(size=6))


def test_pairs_columns_and_signs() -> None:
    assert pairs_of(4) == ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
    assert [column_of(2, other) for other in (0, 1, 3)] == [0, 1, 2]
    assert pairs_with(2, 4).tolist() == [1, 3, 5]
    assert signs_of(2, 4).tolist() == [-1.0, -1.0, 1.0]
    assert n_pairs(4) == 6
    assert class_slices(COUNTS) == [slice(0, 3), slice(3, 3), slice(3, 8), slice(8, 10)]


def test_a_machine_sums_over_the_rows_of_its_two_classes() -> None:
    machines, X = expansion(), RNG.normal(size=(20, 6))
    K, slices = KERNEL.matrix(X, machines.rows), class_slices(COUNTS)
    f = machines.decisions(KERNEL, X, 4)
    for p, (i, j) in enumerate(pairs_of(4)):
        expected = machines.intercept[p] + sum(
            K[:, slices[a]] @ machines.coefficients[slices[a], column_of(a, b)] for a, b in ((i, j), (j, i))
        )
        np.testing.assert_allclose(f[:, p], expected, atol=1e-12)


@pytest.mark.parametrize("class_", range(4))
def test_margins_are_the_decisions_of_one_class_on_its_side(class_: int) -> None:
    machines, X = expansion(), RNG.normal(size=(20, 6))
    f = machines.decisions(KERNEL, X, 4)[:, pairs_with(class_, 4)] * signs_of(class_, 4)
    np.testing.assert_allclose(machines.margins(KERNEL, X, class_, 4), f, atol=1e-12)


def test_landmarks_have_a_coefficient_in_every_machine() -> None:
    table, X = RNG.normal(size=(10, 6)), RNG.normal(size=(20, 6))
    machines = Expansion(RNG.normal(size=(10, 6)), table, np.zeros(0, np.int64), np.zeros(6))
    np.testing.assert_allclose(
        machines.decisions(KERNEL, X, 4), KERNEL.matrix(X, machines.rows) @ table, atol=1e-12
    )


def test_the_first_of_the_classes_with_most_votes_wins() -> None:
    cycle = np.array([[1.0, -1.0, 1.0]])  # 0 beats 1, 2 beats 0, 1 beats 2: a vote each
    assert winners(cycle, 3).tolist() == [0]
    assert winners(np.array([[-1.0, 1.0, 1.0], [1.0, -1.0, -1.0]]), 3).tolist() == [1, 2]
    assert winners(np.array([[0.5], [0.0], [-0.5]]), 2).tolist() == [0, 1, 1]


def test_one_number_a_class_is_scikit_learns() -> None:
    f = RNG.normal(size=(50, 6))
    np.testing.assert_allclose(one_vs_rest(f, 4), _ovr_decision_function(f < 0, -f, 4), atol=1e-12)


def test_scores_are_of_the_votes_and_merge() -> None:
    y, f = RNG.integers(0, 2, 400), RNG.normal(size=(400, 1))
    weight = RNG.uniform(0.5, 2.0, 400)
    whole = decision_sums(y, f, 2, weight)
    halves = [decision_sums(y[part], f[part], 2, weight[part]) for part in (slice(0, 150), slice(150, 400))]
    scores = decision_scores(whole)
    assert scores.keys() == {"accuracy", "roc_auc"}
    assert scores["accuracy"] == pytest.approx(weight[(f[:, 0] <= 0) == y].sum() / weight.sum())
    assert decision_scores(sum_tensors(*halves)) == pytest.approx(scores)
    assert decision_scores(decision_sums(y[:0], f[:0], 2, None)) == {}
