"""Linear estimators on nasty data: the minimum, or a warning. Models are trained in memory, without a cluster."""

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import linear_model as theirs
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from gradloom.algorithms import build
from gradloom.algorithms.linear_solvers import MOST_PARAMETERS
from gradloom.errors import InvalidParameter, JobFailed
from gradloom.estimators.asking import refusals_as_value_errors
from gradloom.estimators.data import Given, InMemory
from gradloom.estimators.estimator import ClusterEstimator, Settings
from gradloom.linear_model import (
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
    SGDRegressor,
)
from gradloom.models import Model
from tests.unit.algorithms.training import Data, train

RNG = np.random.default_rng(0)
NORMAL: NDArray[Any] = RNG.standard_normal((500, 3))
TARGET = NORMAL @ [1.0, 2.0, 3.0] + 10.0


def in_memory(
    self: ClusterEstimator, kind: type[Model], algorithm: str, settings: Settings, given: Given
) -> Model:
    """What ``_train`` does, on shards in memory."""
    del kind
    assert isinstance(given, InMemory)
    with refusals_as_value_errors():
        self.model_ = train(build(algorithm, settings), Data(given.X, given.y, given.sample_weight), 3)
    return self.model_


@pytest.fixture(autouse=True)
def _without_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClusterEstimator, "_train", in_memory)


def groups_and_population() -> tuple[NDArray[Any], NDArray[Any]]:
    """Columns of zeros and ones that add up to one, and one of large numbers; the group of each row."""
    group = np.eye(4)[RNG.integers(0, 4, 400)]
    return np.column_stack([group, RNG.uniform(0, 1e7, 400)]), group


def objective(model: Any, X: NDArray[Any], y: NDArray[Any]) -> float:
    return float(0.5 * np.mean((y - model.predict(X)) ** 2) + model.alpha * np.abs(model.coef_).sum())


def test_the_lasso_finds_the_minimum_on_powers_of_one_column() -> None:
    x = np.sort(RNG.uniform(0, 1, 500))
    X, y = np.vander(x, 13)[:, :-1], np.sin(9 * x)
    mine = Lasso(1e-6).fit(X, y)
    slopes = (X - X.mean(axis=0)).T @ (y - mine.predict(X)) / len(y)
    assert np.abs(slopes).max() <= 1e-6 * (1 + 1e-6)  # l1, which only entries that are not zero reach
    used = mine.coef_ != 0
    np.testing.assert_allclose(slopes[used], 1e-6 * np.sign(mine.coef_[used]), rtol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert objective(mine, X, y) < objective(theirs.Lasso(1e-6).fit(X, y), X, y)


def test_the_lasso_warns_where_it_is_not_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradloom.optimizers.quadratics.SOLVED", -1.0)
    with pytest.warns(ConvergenceWarning, match="unsolved: the columns are too much alike"):
        Lasso(0.1).fit(NORMAL, TARGET)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cholesky"])
def test_columns_that_add_up_are_not_lost_beside_a_large_one(solver: str) -> None:
    X, group = groups_and_population()
    y = group @ [0.0, 5.0, 10.0, 20.0]
    assert LinearRegression().fit(X, y).score(X, y) > 1 - 1e-12
    classes = (y + RNG.logistic(size=400) > 7.5).astype(int)
    assert LogisticRegression(C=np.inf, solver=solver).fit(X, classes).score(X, classes) > 0.9
    counts = RNG.poisson(np.exp(group @ [0.0, 0.5, 1.0, 2.0]))
    best = theirs.PoissonRegressor(alpha=0, tol=1e-10, max_iter=1000).fit(group, counts).score(group, counts)
    assert PoissonRegressor(alpha=0, solver=solver).fit(X, counts).score(X, counts) >= best


def test_a_huber_regression_finds_an_exact_fit() -> None:
    model = HuberRegressor(alpha=0).fit(NORMAL, TARGET)
    np.testing.assert_allclose(model.coef_, [1.0, 2.0, 3.0], rtol=1e-12)
    assert model.scale_ < 1e-12


@pytest.mark.parametrize("classes", [2, 3])
def test_a_logistic_regression_finds_the_minimum_on_raw_columns(classes: int) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    y = y if classes == 2 else y + (X[:, 0] > 15)
    twin = theirs.LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(LogisticRegression().fit(X, y).coef_, twin.coef_, atol=1e-6)


def test_a_penalised_regression_that_is_searched_for_warns_if_rounds_are_too_few() -> None:
    X = NORMAL * [1.0, 1e3, 1e-3]
    with pytest.warns(ConvergenceWarning, match="max_rounds = 3 reached. Raise max_iter"):
        Ridge(1e-3, solver="lbfgs", max_iter=3).fit(X, TARGET)


@pytest.mark.parametrize("kind", [LinearRegression, Ridge])
def test_more_than_a_thousand_columns_in_any_units_are_solved(kind: Any) -> None:
    X = RNG.standard_normal((40, 1100)) * 10.0 ** RNG.uniform(-3, 3, 1100)
    y = RNG.standard_normal(40)
    model = kind().fit(X, y)
    assert model.model_.metadata["stopped"] == "solved"
    assert model.score(X, y) > 1 - 1e-6


def test_beyond_the_matrix_least_squares_warn_unless_they_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradloom.algorithms.linear_solvers.GRAM_COLUMNS", 2)
    monkeypatch.setattr("gradloom.algorithms.linear_solvers.NEWTON_PARAMETERS", 2)
    monkeypatch.setitem(MOST_PARAMETERS, "gram", 3)
    X = RNG.standard_normal((100, 20)) * 10.0 ** np.linspace(-4, 4, 20)
    with pytest.warns(ConvergenceWarning, match=r"max_rounds = 1000 reached\. Scale the data"):
        LinearRegression().fit(X, TARGET[:100])


def test_steps_at_their_defaults_fit() -> None:
    model = SGDRegressor(random_state=0).fit(NORMAL, TARGET)
    assert model.score(NORMAL, TARGET) > 0.999
    assert model.n_iter_ < 200
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    assert SGDClassifier(random_state=0).fit(X, y).score(X, y) > 0.98


def test_steps_that_diverge_say_so() -> None:
    with pytest.raises(JobFailed, match="the training diverged; a learning_rate smaller than"):
        SGDRegressor().fit(NORMAL * [1.0, 10.0, 1000.0], TARGET)
    steps = SGDRegressor(learning_rate="constant", eta0=1.02, n_iter_no_change=2, batch_size=250)
    with pytest.warns(
        ConvergenceWarning, match=r"diverged: the loss of an epoch rose from .* a learning_rate"
    ):
        steps.fit(NORMAL * 1.45, TARGET)


def test_patience_counts_epochs_or_is_refused() -> None:
    X, y = StandardScaler().fit_transform(NORMAL), (TARGET > 10).astype(int)
    taken = [SGDClassifier(n_iter_no_change=n, random_state=0).fit(X, y).n_iter_ for n in (1, 8)]
    assert taken[0] < taken[1]
    assert SGDClassifier(max_iter=3, tol=None).fit(X, y).n_iter_ == 3
    with pytest.raises(InvalidParameter, match="n_iter_no_change: 8 means nothing with batch_size=0"):
        SGDClassifier(n_iter_no_change=8, batch_size=0).fit(X, y)
