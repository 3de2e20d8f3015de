"""K-means from the same first centers, and principal components, against scikit-learn."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_blobs
from sklearn.decomposition import PCA

from benchmarks.equality_case import EqualityCase, Floats
from tests.unit.algorithms.training import Data

CLUSTERS = {"digits": 10, "iris": 3, "blobs": 12}


@cache
def rows(name: str, weighted: bool = False) -> Data:
    loads: dict[str, Callable[[], Floats]] = {
        "digits": lambda: load_digits().data,
        "iris": lambda: load_iris().data,
        "breast_cancer": lambda: load_breast_cancer().data,
        "wine": lambda: load_wine().data,
        "blobs": lambda: make_blobs(3000, n_features=5, centers=12, cluster_std=1.5, random_state=1)[0],
    }
    X = loads[name]()
    rng = np.random.default_rng(3)
    X = X[rng.permutation(len(X))]
    return Data(X, np.zeros(len(X)), rng.uniform(0.2, 3.0, len(X)) if weighted else None)


def first_centers(name: str, weighted: bool) -> Floats:
    X = rows(name, weighted).X
    return X[np.random.default_rng(0).choice(len(X), CLUSTERS[name], replace=False)]


def what_clusters_are(centers: Floats, labels: Any, iterations: int, inertia: float) -> Floats:
    """A label, or a number of iterations, that differs makes a difference of at least 1."""
    return np.concatenate([centers.ravel(), labels, [iterations, np.log(inertia)]])


def kmeans(name: str, weighted: bool) -> EqualityCase:
    first = first_centers(name, weighted)

    def twin(data: Data) -> Floats:
        found = KMeans(len(first), init=first, n_init=1).fit(data.X, sample_weight=data.weight)
        return what_clusters_are(found.cluster_centers_, found.labels_, found.n_iter_, found.inertia_)

    def ours(model: Any, data: Data) -> Floats:
        told = model.metadata
        return what_clusters_are(model.centers, model.predict(data.X), told["iterations"], told["inertia"])

    settings = {"n_clusters": len(first), "init": "given", "init_centers": first.tolist(), "dtype": "float64"}
    note = f"centers, labels, iterations, ln inertia{', weighted' if weighted else ''}"
    return EqualityCase(
        "kmeans", settings, name, lambda: rows(name, weighted), "KMeans", twin, 1e-9, ours, note=note
    )


def pca(name: str, n_components: int, solver: str, limit: float) -> EqualityCase:
    def numbers(components: Floats, variances: Floats) -> Floats:
        return np.concatenate([components.ravel(), variances / variances[0]])

    def twin(data: Data) -> Floats:
        found = PCA(n_components, svd_solver="full").fit(data.X)
        return numbers(found.components_, found.explained_variance_)

    settings = {"n_components": n_components, "solver": solver}
    if solver == "randomized":
        settings["power_iterations"] = 20
    return EqualityCase(
        "pca",
        settings,
        name,
        lambda: rows(name),
        "PCA(svd_solver='full')",
        twin,
        limit,
        lambda model, _: numbers(model.components, model.explained_variance),  # type: ignore[attr-defined]
        note="components, variances over the first",
    )


CASES = (
    *(kmeans(name, weighted) for name in CLUSTERS for weighted in (False, True)),
    pca("digits", 20, "gram", 1e-10),
    pca("breast_cancer", 10, "gram", 1e-8),
    pca("wine", 13, "gram", 1e-8),
    pca("digits", 5, "randomized", 1e-6),
)
