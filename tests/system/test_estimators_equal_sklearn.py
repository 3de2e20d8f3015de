"""What the estimators learn on a real cluster is what scikit-learn's own learn, on every kind of data."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sklearn.cluster
import sklearn.decomposition
import sklearn.linear_model
import sklearn.naive_bayes
import sklearn.neighbors
import sklearn.preprocessing
import sklearn.svm
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

import gradloom.cluster
import gradloom.decomposition
import gradloom.linear_model
import gradloom.naive_bayes
import gradloom.neighbors
import gradloom.neural_network
import gradloom.preprocessing
import gradloom.svm
from gradloom.estimators.clusters import close_embedded

pytestmark = pytest.mark.system

Loader = Callable[..., tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module", autouse=True)
def one_cluster() -> Iterator[None]:
    yield
    close_embedded()


def scaled(load: Loader) -> tuple[np.ndarray, np.ndarray]:
    X, y = load(return_X_y=True)
    return sklearn.preprocessing.StandardScaler().fit_transform(X), y


def weights(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, n).astype(float) + 0.5


def both(name: str, ours: dict[str, Any], theirs: dict[str, Any] | None = None) -> tuple[Any, Any]:
    module, _, kind = name.rpartition(".")
    mine = getattr(getattr(gradloom, module), kind)(**ours)
    return mine, getattr(getattr(sklearn, module), kind)(**(ours if theirs is None else theirs))


REGRESSORS = [
    ("LinearRegression", {}, {}),
    ("LinearRegression", {"fit_intercept": False}, {}),
    ("Ridge", {"alpha": 0.3}, {}),
    ("Ridge", {"alpha": 2.0, "solver": "cholesky", "fit_intercept": False}, {}),
    ("Lasso", {"alpha": 0.4}, {"tol": 1e-10, "max_iter": 100_000}),
    ("ElasticNet", {"alpha": 0.1, "l1_ratio": 0.7}, {"tol": 1e-10, "max_iter": 100_000}),
    ("PoissonRegressor", {"alpha": 0.1, "tol": 1e-8}, {"solver": "newton-cholesky", "tol": 1e-12}),
]


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("name", "ours", "theirs"), REGRESSORS, ids=lambda value: str(value))
def test_regressions(name: str, ours: dict[str, Any], theirs: dict[str, Any], weighted: bool) -> None:
    X, y = scaled(load_diabetes)
    s = weights(len(y)) if weighted else None
    mine, other = both(f"linear_model.{name}", ours, {**ours, **theirs})
    mine.fit(X, y, s)
    other.fit(X, y, s)
    np.testing.assert_allclose(mine.coef_, other.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(mine.intercept_, other.intercept_, rtol=1e-8, atol=1e-6)
    np.testing.assert_allclose(mine.predict(X), other.predict(X), rtol=1e-6)
    assert mine.score(X, y, s) == pytest.approx(other.score(X, y, s), abs=1e-8)
    np.testing.assert_array_equal(mine.to_sklearn().predict(X), mine.predict(X))


CLASSIFIERS = [
    ("linear_model.LogisticRegression", {"C": 0.5, "tol": 1e-9, "max_iter": 1000}, {"tol": 1e-12}, load_breast_cancer),
    ("linear_model.LogisticRegression", {"tol": 1e-9, "solver": "newton-cholesky"}, {"tol": 1e-12}, load_wine),
    ("linear_model.LogisticRegression", {"class_weight": "balanced", "solver": "auto", "tol": 1e-9},
     {"solver": "newton-cholesky", "tol": 1e-12}, load_wine),
    ("linear_model.LogisticRegression", {"class_weight": {0: 1.0, 1: 3.0}, "solver": "newton-cg", "tol": 1e-9},
     {"solver": "newton-cholesky", "tol": 1e-12}, load_breast_cancer),
    ("svm.LinearSVC", {"C": 0.1, "tol": 1e-6}, {"dual": False, "tol": 1e-10, "max_iter": 100_000}, load_breast_cancer),
    ("svm.LinearSVC", {"C": 0.1, "intercept_scaling": 2.0}, {"dual": False, "tol": 1e-10}, load_iris),
]  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    ("name", "ours", "theirs", "load"), CLASSIFIERS, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_linear_classifiers(
    name: str, ours: dict[str, Any], theirs: dict[str, Any], load: Loader, weighted: bool
) -> None:
    X, y = scaled(load)
    s = weights(len(y)) if weighted else None
    mine, other = both(name, ours, {**ours, **theirs})
    mine.fit(X, y, s)
    other.fit(X, y, s)
    assert mine.coef_.shape == other.coef_.shape
    np.testing.assert_allclose(mine.decision_function(X), other.decision_function(X), rtol=0, atol=2e-5)
    np.testing.assert_array_equal(mine.predict(X), other.predict(X))
    np.testing.assert_array_equal(mine.to_sklearn().decision_function(X), mine.decision_function(X))


def test_an_l1_penalty_gives_the_same_zeros() -> None:
    X, y = scaled(load_breast_cancer)
    settings = {"l1_ratio": 1.0, "C": 0.1}
    mine = gradloom.linear_model.LogisticRegression(tol=1e-9, max_iter=2000, **settings).fit(X, y)
    other = sklearn.linear_model.LogisticRegression(solver="saga", tol=1e-9, max_iter=20_000, **settings).fit(
        X, y
    )
    np.testing.assert_allclose(mine.coef_, other.coef_, atol=1e-4)
    np.testing.assert_array_equal(mine.coef_ == 0, other.coef_ == 0)


@pytest.mark.parametrize("kernel", ["rbf", "poly", "linear"])
@pytest.mark.parametrize("load", [load_breast_cancer, load_wine], ids=["two", "three"])
def test_kernel_machines(kernel: str, load: Loader) -> None:
    X, y = scaled(load)
    mine, other = both("svm.SVC", {"kernel": kernel, "tol": 1e-4, "C": 2.0})
    mine.fit(X, y)
    other.fit(X, y)
    np.testing.assert_allclose(mine.decision_function(X), other.decision_function(X), atol=2e-3)
    np.testing.assert_array_equal(mine.predict(X), other.predict(X))
    np.testing.assert_allclose(mine.to_sklearn().decision_function(X), mine.decision_function(X), atol=1e-9)


def test_clusters_from_the_same_centers() -> None:
    X, _ = scaled(load_wine)
    mine, other = both("cluster.KMeans", {"n_clusters": 5, "init": X[:5], "n_init": 1})
    s = weights(len(X))
    mine.fit(X, sample_weight=s)
    other.fit(X, sample_weight=s)
    np.testing.assert_array_equal(mine.labels_, other.labels_)
    np.testing.assert_allclose(mine.cluster_centers_, other.cluster_centers_, atol=1e-12)
    assert (mine.inertia_, mine.n_iter_) == (pytest.approx(other.inertia_, rel=1e-12), other.n_iter_)
    np.testing.assert_allclose(mine.transform(X), other.transform(X), atol=1e-9)
    assert mine.score(X, sample_weight=s) == pytest.approx(other.score(X, sample_weight=s))
    np.testing.assert_array_equal(mine.to_sklearn().predict(X), mine.predict(X))


def test_batches_find_clusters_nearly_as_good() -> None:
    X, _ = scaled(load_digits)
    batches = gradloom.cluster.MiniBatchKMeans(10, batch_size=300, n_init=3, random_state=0).fit(X)
    best = sklearn.cluster.KMeans(10, n_init=5, random_state=0).fit(X)
    assert batches.inertia_ < 1.05 * best.inertia_
    assert batches.n_steps_ >= batches.n_iter_ >= 1


@pytest.mark.parametrize("metric", ["minkowski", "manhattan", "cosine"])
@pytest.mark.parametrize("votes", ["uniform", "distance"])
def test_neighbours(metric: str, votes: str) -> None:
    X, y = scaled(load_iris)
    train, asked = slice(0, None, 2), slice(1, None, 2)
    for kind, target in (("KNeighborsClassifier", y), ("KNeighborsRegressor", X[:, 0])):
        how = {"weights": votes, "metric": metric}
        mine, other = both(f"neighbors.{kind}", how, {**how, "algorithm": "brute"})
        mine.fit(X[train], target[train])
        other.fit(X[train], target[train])
        np.testing.assert_allclose(mine.predict(X[asked]), other.predict(X[asked]), atol=1e-9)
        np.testing.assert_allclose(
            mine.kneighbors(X[asked], 3)[0], other.kneighbors(X[asked], 3)[0], atol=1e-7
        )
        np.testing.assert_allclose(mine.to_sklearn().predict(X[asked]), mine.predict(X[asked]), atol=1e-9)


def test_nearest_neighbours_of_the_rows_themselves_and_within_a_radius() -> None:
    X, _ = scaled(load_wine)
    mine, other = both("neighbors.NearestNeighbors", {"radius": 2.0}, {"radius": 2.0, "algorithm": "brute"})
    mine.fit(X)
    other.fit(X)
    for ours, theirs in zip(mine.kneighbors(), other.kneighbors(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)
    assert (mine.kneighbors_graph(X[:9], 4) != other.kneighbors_graph(X[:9], 4)).nnz == 0
    assert (mine.radius_neighbors_graph(X[:9]) != other.radius_neighbors_graph(X[:9])).nnz == 0
    found, theirs = mine.radius_neighbors(), other.radius_neighbors(sort_results=True)
    assert [ids.tolist() for ids in found[1]] == [ids.tolist() for ids in theirs[1]]


def test_naive_bayes() -> None:
    X, y = load_digits(return_X_y=True)
    s = weights(len(y))
    for name, settings in (("GaussianNB", {"var_smoothing": 1e-6}), ("MultinomialNB", {"alpha": 0.1})):
        mine, other = both(f"naive_bayes.{name}", settings)
        mine.fit(X, y, s)
        other.fit(X, y, s)
        np.testing.assert_allclose(
            mine.predict_log_proba(X), other.predict_log_proba(X), rtol=1e-7, atol=1e-6
        )
        np.testing.assert_array_equal(mine.predict(X), mine.to_sklearn().predict(X))


@pytest.mark.parametrize(
    "settings", [{}, {"n_components": 3, "whiten": True}, {"n_components": 0.8}], ids=str
)
def test_principal_components(settings: dict[str, Any]) -> None:
    X, _ = scaled(load_wine)
    mine, other = both("decomposition.PCA", settings, {**settings, "svd_solver": "full"})
    np.testing.assert_allclose(mine.fit_transform(X), other.fit_transform(X), atol=1e-8)
    if "whiten" not in settings:  # there scikit-learn's is not the inverse of what it documents
        np.testing.assert_allclose(mine.get_precision(), other.get_precision(), atol=1e-6)
        assert mine.score(X) == pytest.approx(other.score(X))
    np.testing.assert_allclose(
        mine.inverse_transform(mine.transform(X)), other.inverse_transform(other.transform(X)), atol=1e-8
    )
    np.testing.assert_allclose(mine.to_sklearn().transform(X), mine.transform(X), atol=1e-10)


def test_the_standard_scaler() -> None:
    X = load_wine(return_X_y=True)[0].copy()
    X[3, 2] = np.nan
    for settings in ({}, {"with_mean": False}, {"with_std": False}):
        mine, other = both("preprocessing.StandardScaler", settings)
        np.testing.assert_allclose(mine.fit_transform(X), other.fit_transform(X), atol=1e-12)
        np.testing.assert_allclose(mine.inverse_transform(mine.transform(X)), X, atol=1e-9)
        np.testing.assert_array_equal(mine.n_samples_seen_, other.n_samples_seen_)
        np.testing.assert_allclose(mine.to_sklearn().transform(X), mine.transform(X), atol=1e-12)


@pytest.mark.filterwarnings("ignore:MLPRegressor did not converge")
def test_networks_learn_as_well_as_scikit_learns() -> None:
    X, y = scaled(load_digits)
    train, held = slice(0, 1200), slice(1200, None)
    mine = gradloom.neural_network.MLPClassifier(
        (32,), max_iter=40, random_state=0, learning_rate_init=0.005, tol=0.0
    )
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="max_epochs = 40 reached. Raise max_iter"):
        mine.fit(X[train], y[train])
    assert mine.score(X[held], y[held]) > 0.88
    np.testing.assert_allclose(mine.to_sklearn().predict_proba(X), mine.predict_proba(X), atol=1e-9)
    X, y = scaled(load_diabetes)
    network = gradloom.neural_network.MLPRegressor(
        hidden_layer_sizes=(16,), max_iter=300, random_state=0, learning_rate_init=0.01, alpha=0.1
    )
    assert network.fit(X, y / 100).score(X, y / 100) > 0.5


def test_steps_along_the_gradient_come_near_the_minimum() -> None:
    X, y = scaled(load_breast_cancer)
    steps = gradloom.linear_model.SGDClassifier(loss="log_loss", alpha=0.01, tol=1e-3, batch_size=0).fit(X, y)
    exact = sklearn.linear_model.LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-10).fit(X, y)
    np.testing.assert_allclose(steps.predict_proba(X), exact.predict_proba(X), atol=0.02)
    batches = gradloom.linear_model.SGDClassifier(tol=None, max_iter=30, batch_size=100, random_state=0).fit(
        X, y
    )
    assert batches.score(X, y) > 0.95
    assert batches.n_iter_ == 30
    X, y = scaled(load_diabetes)
    regression = gradloom.linear_model.SGDRegressor(
        alpha=0.1, learning_rate="constant", eta0=0.2, tol=1e-8, batch_size=0
    )
    ridge = sklearn.linear_model.Ridge(alpha=0.1 * len(y)).fit(X, y)
    np.testing.assert_allclose(regression.fit(X, y).coef_, ridge.coef_, atol=1e-3)


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [7, -2], [3.0, 9.0]], ids=str)
@pytest.mark.parametrize("of_objects", [False, True], ids=["array", "objects"])
def test_classes_are_what_fit_was_given(labels: list[Any], of_objects: bool) -> None:
    X, y = scaled(load_breast_cancer)
    given = np.asarray(labels, dtype=object if of_objects and isinstance(labels[0], str) else None)[y]
    mine = gradloom.linear_model.LogisticRegression().fit(X, given)
    other = sklearn.linear_model.LogisticRegression().fit(X, given)
    np.testing.assert_array_equal(mine.classes_, other.classes_)
    assert mine.classes_.dtype == other.classes_.dtype
    assert mine.score(X, given) > 0.97


def test_sparse_rows_give_what_dense_ones_do() -> None:
    X, y = load_digits(return_X_y=True)
    thin = sparse.csr_matrix(X)
    for estimator in (
        gradloom.linear_model.Ridge(),
        gradloom.naive_bayes.MultinomialNB(),
        gradloom.neighbors.KNeighborsClassifier(),
        gradloom.cluster.KMeans(4, random_state=0),
    ):
        dense = estimator.fit(X, y).predict(X)
        np.testing.assert_allclose(estimator.fit(thin, y).predict(thin), dense, atol=1e-9)
