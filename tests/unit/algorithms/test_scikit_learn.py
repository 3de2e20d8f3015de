"""The models are scikit-learn's: same data, same penalty, same coefficients, from five unequal shards."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from gradloom.algorithms import build
from gradloom.models import Model
from tests.unit.algorithms.training import Data, schema_of, train

EXACT: dict[str, object] = {"dtype": "float64", "tolerance": 1e-10, "max_rounds": 3000}
CLASSIFICATIONS = {
    "breast_cancer": ("logistic", load_breast_cancer),
    "digits": ("multinomial", load_digits),
    "iris": ("multinomial", load_iris),
    "wine": ("multinomial", load_wine),
}


def shuffled(load: Any, weighted: bool = False) -> Data:
    X, y = load(return_X_y=True)
    rng = np.random.default_rng(3)
    order = rng.permutation(len(X))
    return Data(X[order], y[order], rng.uniform(0.2, 3.0, len(X)) if weighted else None)


def standardised(data: Data) -> tuple[NDArray[Any], NDArray[Any]]:
    """The columns that both sides train on, and their scale."""
    scaler = StandardScaler().fit(data.X)
    return scaler.transform(data.X), scaler.scale_


def assert_same(model: Model, twin: Any, scale: NDArray[Any], data: Data) -> None:
    """Coefficients on standardised columns agree to 1e-4 of the largest, predictions to as much."""
    expected = twin.coef_.reshape(-1, data.X.shape[1]).T
    ours = (model.coefficients.reshape(data.X.shape[1], -1).T * scale).T
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max()))
    if model.classes is None:
        np.testing.assert_allclose(model.predict(data.X), twin.predict(standardised(data)[0]), rtol=1e-4)
    else:
        np.testing.assert_allclose(
            model.predict_proba(data.X), twin.predict_proba(standardised(data)[0]), atol=1e-4
        )


@pytest.mark.parametrize("data_set", CLASSIFICATIONS)
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("class_weight", ["", "balanced"], ids=["plain", "balanced"])
def test_classifiers_equal_logistic_regression(data_set: str, weighted: bool, class_weight: str) -> None:
    algorithm_name, load = CLASSIFICATIONS[data_set]
    data = shuffled(load, weighted)
    algorithm = build(algorithm_name, {**EXACT, "l2": 1e-2, "class_weight": class_weight})
    model = train(algorithm, data)
    X, scale = standardised(data)
    schema = schema_of(data, algorithm.needs)
    weight = np.ones(len(X)) if data.weight is None else data.weight
    if class_weight:  # scikit-learn's "balanced" leaves sample weights out of its counts, ours weighs by them
        weight = weight * np.asarray(schema.preparation.class_weights)[data.y]
    twin = LogisticRegression(
        C=1.0 / (1e-2 * weight.sum()), tol=1e-10, solver="newton-cholesky", max_iter=1000
    )
    assert_same(model, twin.fit(X, data.y, weight), scale, data)


def test_balanced_without_sample_weights_is_scikit_learns() -> None:
    data = shuffled(load_breast_cancer)
    model = train(build("logistic", {**EXACT, "l2": 1e-3, "class_weight": "balanced"}), data)
    X, scale = standardised(data)
    twin = LogisticRegression(C=1.0 / (1e-3 * len(X)), class_weight="balanced", tol=1e-10, max_iter=5000)
    assert_same(model, twin.fit(X, data.y), scale, data)


def test_multinomial_on_two_classes_predicts_what_softmax_of_two_does() -> None:
    """Two columns of coefficients share the penalty of one: half of l2 for their difference."""
    data = shuffled(load_breast_cancer)
    model = train(build("multinomial", {**EXACT, "l2": 2e-2}), data)
    X, scale = standardised(data)
    twin = LogisticRegression(C=1.0 / (1e-2 * len(X)), tol=1e-10, max_iter=5000).fit(X, data.y)
    difference = (model.coefficients[:, 1] - model.coefficients[:, 0]) * scale
    np.testing.assert_allclose(difference, twin.coef_[0], atol=1e-4 * float(np.abs(twin.coef_).max()))
    np.testing.assert_allclose(model.predict_proba(data.X), twin.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("l2", [0.0, 1e-4, 1.0])
def test_linear_equals_ridge(weighted: bool, l2: float) -> None:
    data = shuffled(load_diabetes, weighted)
    model = train(build("linear", {**EXACT, "l2": l2}), data)
    X, scale = standardised(data)
    weight = np.ones(len(X)) if data.weight is None else data.weight
    twin = Ridge(alpha=l2 * weight.sum(), solver="cholesky") if l2 else LinearRegression()
    assert_same(model, twin.fit(X, data.y, weight), scale, data)


def test_without_intercept_and_standardising() -> None:
    data = shuffled(load_diabetes)
    model = train(build("linear", {**EXACT, "l2": 1e-5, "fit_intercept": False, "standardize": False}), data)
    twin = Ridge(alpha=1e-5 * len(data.X), fit_intercept=False, solver="cholesky").fit(data.X, data.y)
    np.testing.assert_allclose(model.coefficients, twin.coef_, atol=1e-4 * float(np.abs(twin.coef_).max()))
    assert model.intercept == 0.0


@pytest.mark.parametrize(
    "solver",
    [
        {"solver": "gradient_descent", "learning_rate": 0.5},
        {"solver": "momentum", "learning_rate": 0.1},
        {"solver": "momentum", "learning_rate": 0.1, "nesterov": True},
        {"solver": "adam", "learning_rate": 0.02},
        {"solver": "adam", "learning_rate": 0.05, "schedule": "step", "step_factor": 0.5, "step_every": 200},
    ],
    ids=lambda o: "-".join(str(v) for v in o.values()),
)
def test_every_step_by_learning_rate_ends_at_the_same_optimum(solver: dict[str, object]) -> None:
    data = shuffled(load_breast_cancer)
    settings: dict[str, object] = {"dtype": "float64", "l2": 1e-1, "tolerance": 1e-6, "max_rounds": 5000}
    model = train(build("logistic", {**settings, **solver}), data)
    X, scale = standardised(data)
    twin = LogisticRegression(C=1.0 / (1e-1 * len(X)), tol=1e-10, max_iter=5000).fit(X, data.y)
    assert str(model.metadata["stopped"]).startswith("converged")
    assert_same(model, twin, scale, data)


def test_small_batches_come_near_the_optimum() -> None:
    data = shuffled(load_breast_cancer)
    settings = {
        "solver": "momentum",
        "learning_rate": 0.02,
        "schedule": "cosine",
        "batch_size": 80,
        "max_rounds": 300,
        "l2": 1e-2,
    }
    model = train(build("logistic", settings), data)
    full = train(build("logistic", {"l2": 1e-2}), data)
    assert model.scores(data.X, data.y)["accuracy"] > 0.98
    gap = model.scores(data.X, data.y)["log_loss"] - full.scores(data.X, data.y)["log_loss"]
    assert abs(gap) < 0.01


@pytest.mark.parametrize("data_set", CLASSIFICATIONS)
def test_float32_rows_predict_as_float64_rows_do(data_set: str) -> None:
    name, load = CLASSIFICATIONS[data_set]
    data = shuffled(load)
    fast, exact = train(build(name, {"l2": 1e-2}), data), train(build(name, {**EXACT, "l2": 1e-2}), data)
    np.testing.assert_allclose(fast.predict_proba(data.X), exact.predict_proba(data.X), atol=2e-3)
    assert (fast.predict(data.X) == exact.predict(data.X)).mean() > 0.998


@pytest.mark.parametrize(("l2", "most"), [(1e-2, 30), (1e-4, 100)])
def test_rounds_to_converge_on_breast_cancer(l2: float, most: int) -> None:
    data = shuffled(load_breast_cancer)
    model = train(build("logistic", {"dtype": "float64", "tolerance": 1e-6, "l2": l2}), data)
    assert isinstance(model.metadata["rounds"], int)
    assert model.metadata["rounds"] <= most
