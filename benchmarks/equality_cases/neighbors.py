"""Nearest neighbours, their votes and means, against scikit-learn. Rows have noise: no two of them are equally far."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors

from benchmarks.equality_case import EqualityCase, Floats
from tests.unit.algorithms.training import Data

N_NEIGHBORS = 7


@cache
def rows(name: str) -> Data:
    """Columns alike, so that all of them have a say, in an order of their own."""
    loads: dict[str, Callable[[], tuple[Any, Any]]] = {
        "breast_cancer": lambda: load_breast_cancer(return_X_y=True),
        "wine": lambda: load_wine(return_X_y=True),
        "diabetes": lambda: load_diabetes(return_X_y=True),
    }
    X, y = loads[name]()
    rng = np.random.default_rng(5)
    order = rng.permutation(len(X))
    X = (X - X.mean(axis=0)) / X.std(axis=0) + rng.normal(scale=1e-3, size=X.shape)
    return Data(X[order], y[order])


def neighbors(metric: str) -> EqualityCase:
    """Each row's neighbours: a row that differs makes a difference of at least 1."""

    def twin(data: Data) -> Floats:
        found = NearestNeighbors(n_neighbors=N_NEIGHBORS, metric=metric, algorithm="brute").fit(data.X)
        distances, ids = found.kneighbors(data.X + 0.01)
        return np.concatenate([distances.ravel(), ids.ravel()])

    def ours(model: Any, data: Data) -> Floats:
        found = model.kneighbors(data.X + 0.01)
        return np.concatenate([found.distances.ravel(), found.ids.ravel()])

    settings = {"n_neighbors": N_NEIGHBORS, "metric": metric}
    return EqualityCase(
        "neighbors",
        settings,
        "breast_cancer",
        lambda: rows("breast_cancer"),
        "NearestNeighbors",
        twin,
        1e-11,
        ours,
        note=f"distances and ids, {metric}",
    )


def classifier(weights: str) -> EqualityCase:
    def twin(data: Data) -> Floats:
        found = KNeighborsClassifier(N_NEIGHBORS, weights=weights, algorithm="kd_tree").fit(data.X, data.y)
        return np.asarray(found.predict_proba(data.X + 0.01)).ravel()

    def ours(model: Any, data: Data) -> Floats:
        return np.asarray(model.predict_proba(data.X + 0.01)).ravel()

    settings = {"n_neighbors": N_NEIGHBORS, "weights": weights}
    return EqualityCase(
        "knn_classifier",
        settings,
        "wine",
        lambda: rows("wine"),
        "KNeighborsClassifier",
        twin,
        1e-12,
        ours,
        note=f"probabilities, {weights}",
    )


def regressor(weights: str) -> EqualityCase:
    def twin(data: Data) -> Floats:
        found = KNeighborsRegressor(N_NEIGHBORS, weights=weights, algorithm="kd_tree").fit(data.X, data.y)
        return np.asarray(found.predict(data.X + 0.01))

    def ours(model: Any, data: Data) -> Floats:
        return np.asarray(model.predict(data.X + 0.01))

    settings = {"n_neighbors": N_NEIGHBORS, "weights": weights}
    return EqualityCase(
        "knn_regressor",
        settings,
        "diabetes",
        lambda: rows("diabetes"),
        "KNeighborsRegressor",
        twin,
        1e-10,
        ours,
        note=f"predictions, {weights}",
    )


CASES = (
    *(neighbors(metric) for metric in ("euclidean", "cosine", "manhattan")),
    *(classifier(weights) for weights in ("uniform", "distance")),
    *(regressor(weights) for weights in ("uniform", "distance")),
)
