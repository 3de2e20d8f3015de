"""Nearest neighbours, and what they say of a row."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from gradloom.errors import InvalidParameter
from gradloom.estimators.asking import over_blocks, predicted_classes, refusals_as_value_errors
from gradloom.estimators.data import Given, InMemory
from gradloom.estimators.estimator import Settings, WithoutWeights
from gradloom.estimators.linear import classes_of, dtype_of
from gradloom.estimators.parameters import IN_THE_CLUSTER, Rule, number, one_of, only, whole
from gradloom.models import Neighbors

METRICS = {
    "euclidean": "euclidean",
    "l2": "euclidean",
    "manhattan": "manhattan",
    "cityblock": "manhattan",
    "l1": "manhattan",
    "cosine": "cosine",
    "minkowski": "",
}
"""Names of scikit-learn and ours; minkowski is one of them, by its power p."""
POWERS = {1: "manhattan", 2: "euclidean"}
RULES: Mapping[str, Rule] = {
    "n_neighbors": whole(least=1),
    "algorithm": one_of("auto", "brute", "ivf", why="trees do not spread over machines; ivf is approximate"),
    "leaf_size": only(30, "it belongs to trees"),
    "p": one_of(1, 2, 1.0, 2.0, why="manhattan and euclidean"),
    "metric": one_of(*METRICS),
    "metric_params": only(None, "no metric here has any"),
    "n_jobs": IN_THE_CLUSTER,
}
WEIGHTS = one_of("uniform", "distance", why="a function can't be sent to a cluster")


class _NeighborsBase(WithoutWeights):
    """What all have in common: the rows, and finding the nearest of them."""

    n_neighbors: int
    algorithm: str
    p: float
    metric: str

    def _train_neighbors(self, algorithm: str, more: Settings, given: Given) -> Neighbors:
        if isinstance(given, InMemory) and given.X.shape[0] < self.n_neighbors:
            raise InvalidParameter(
                "n_neighbors",
                f"Expected n_neighbors <= n_samples, but n_neighbors = {self.n_neighbors}, "
                f"n_samples = {given.X.shape[0]}",
            )
        settings: Settings = {
            "n_neighbors": int(self.n_neighbors),
            "metric": METRICS[self.metric] or POWERS[int(self.p)],
            "algorithm": "ivf" if self.algorithm == "ivf" else "exact",
            "dtype": dtype_of(given),
            "serve": "model" if isinstance(given, InMemory) else "auto",
            **more,
        }
        model = self._train(Neighbors, algorithm, settings, given)
        self.effective_metric_ = str(settings["metric"])
        self.effective_metric_params_: dict[str, object] = {}
        self.n_samples_fit_ = int(str(model.metadata["train_rows"]))
        return model

    @property
    def _model(self) -> Neighbors:
        assert isinstance(self.model_, Neighbors)
        return self.model_

    def kneighbors(
        self, X: object = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Distances (n, k) and positions (n, k) of the nearest rows; without X those of each row beside itself.

        Raises ValueError for more neighbours than there are rows.
        """
        check_is_fitted(self)
        k = int(self.n_neighbors if n_neighbors is None else n_neighbors)
        distances, ids = self._beside_themselves(k) if X is None else self._nearest(self._checked(X), k)
        return (distances, ids) if return_distance else ids

    def _nearest(self, rows: Any, k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        if not 1 <= k <= self.n_samples_fit_:
            raise InvalidParameter(
                "n_neighbors",
                f"Expected 1 <= n_neighbors <= n_samples_fit, but n_neighbors = {k}, "
                f"n_samples_fit = {self.n_samples_fit_}",
            )
        asked = self._model if self._model.self_contained else self.job_
        both = over_blocks(lambda block: _stacked(asked.kneighbors(block, k)), rows)
        return both[:, 0], both[:, 1].astype(np.int64)

    def _beside_themselves(self, k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        distances, ids = self._nearest(self._rows_fitted(), k + 1)
        keep = ids != np.arange(len(ids))[:, np.newaxis]
        keep[keep.all(axis=1), -1] = False  # more than k rows like it come before it
        return distances[keep].reshape(-1, k), ids[keep].reshape(-1, k)

    def _rows_fitted(self) -> NDArray[Any]:
        if not self._model.self_contained:
            raise InvalidParameter("X", "is needed: the rows that were fitted are with the workers")
        return self._model.rows

    def kneighbors_graph(
        self, X: object = None, n_neighbors: int | None = None, mode: str = "connectivity"
    ) -> csr_matrix:
        """Rows to rows: 1 (``connectivity``) or the distance (``distance``) for the nearest ones, else 0."""
        _check_mode(mode)
        found = self.kneighbors(X, n_neighbors)
        distances, ids = found[0], found[1]
        values = np.ones(ids.size) if mode == "connectivity" else np.ravel(distances)
        starts = np.arange(0, ids.size + 1, ids.shape[1])
        return csr_matrix((values, np.ravel(ids), starts), shape=(len(ids), self.n_samples_fit_))

    def to_sklearn(self) -> Any:
        """The fitted estimator of scikit-learn with these parameters. Raises InvalidInput without the rows."""
        check_is_fitted(self)
        twin = self.model_.to_sklearn()
        twin.set_params(**{**self._unfitted_twin().get_params(), "algorithm": "brute"})
        for name in ("feature_names_in_", "classes_"):
            if hasattr(twin, name):
                delattr(twin, name)
            if hasattr(self, name):
                setattr(twin, name, getattr(self, name))
        return twin


def _stacked(found: Any) -> NDArray[Any]:
    """Distances and positions as (n, 2, k), for positions up to 2^53."""
    return np.stack([found.distances, found.ids.astype(np.float64)], axis=1)


def _check_mode(mode: str) -> None:
    if mode not in ("connectivity", "distance"):
        raise InvalidParameter("mode", f"{mode!r} is not allowed; it must be connectivity or distance")


class _VotersBase(_NeighborsBase):
    """What both have that learn a target."""

    _rules: ClassVar[Mapping[str, Rule]] = {"weights": WEIGHTS, **RULES}

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        weights: str = "uniform",
        algorithm: str = "auto",
        leaf_size: int = 30,
        p: float = 2,
        metric: str = "minkowski",
        metric_params: None = None,
        n_jobs: int | None = None,
        cluster: object = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.algorithm = algorithm
        self.leaf_size = leaf_size
        self.p = p
        self.metric = metric
        self.metric_params = metric_params
        self.n_jobs = n_jobs
        self.cluster = cluster


class KNeighborsClassifier(ClassifierMixin, _VotersBase):
    """The class of most votes of the nearest rows.

    Attributes: classes_ (K,), effective_metric_, n_samples_fit_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "neighbors.KNeighborsClassifier"
    _target = "class"

    def _learn(self, given: Given) -> None:
        model = self._train_neighbors("knn_classifier", {"weights": self.weights}, given)
        self.classes_ = classes_of(model, given)

    def predict(self, X: object) -> NDArray[Any]:
        """The class of most votes for each row, (n,)."""
        rows = self._checked(X)
        if self._model.self_contained:
            return predicted_classes(self._model, rows, self.classes_)
        return over_blocks(self.job_.predict, rows)

    def predict_proba(self, X: object) -> NDArray[Any]:
        """Share of each class in the votes, in the order of classes_; (n, K)."""
        rows = self._checked(X)
        asked = self._model if self._model.self_contained else self.job_
        return over_blocks(asked.predict_proba, rows)


class KNeighborsRegressor(RegressorMixin, _VotersBase):
    """The mean of the nearest rows.

    Attributes: effective_metric_, n_samples_fit_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "neighbors.KNeighborsRegressor"
    _target = "number"

    def _learn(self, given: Given) -> None:
        self._train_neighbors("knn_regressor", {"weights": self.weights}, given)

    def predict(self, X: object) -> NDArray[Any]:
        """The mean of the targets of the nearest rows, (n,)."""
        rows = self._checked(X)
        asked = self._model if self._model.self_contained else self.job_
        return over_blocks(asked.predict, rows)


class NearestNeighbors(_NeighborsBase):
    """The nearest rows themselves, by their number or within a radius.

    Attributes: effective_metric_, n_samples_fit_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "neighbors.NearestNeighbors"
    _rules: ClassVar[Mapping[str, Rule]] = {"radius": number(least=0), **RULES}

    def __init__(
        self,
        *,
        n_neighbors: int = 5,
        radius: float = 1.0,
        algorithm: str = "auto",
        leaf_size: int = 30,
        metric: str = "minkowski",
        p: float = 2,
        metric_params: None = None,
        n_jobs: int | None = None,
        cluster: object = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.algorithm = algorithm
        self.leaf_size = leaf_size
        self.metric = metric
        self.p = p
        self.metric_params = metric_params
        self.n_jobs = n_jobs
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        self._train_neighbors("neighbors", {"radius": float(self.radius)}, given)

    def radius_neighbors(
        self,
        X: object = None,
        radius: float | None = None,
        return_distance: bool = True,
        sort_results: bool = False,
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Distances and positions of all rows within a radius, as arrays of arrays (n,), the nearest first.

        ``sort_results`` changes nothing, for they are sorted anyway; without X a row is not listed beside itself.
        """
        del sort_results
        check_is_fitted(self)
        rows = self._rows_fitted() if X is None else self._checked(X)
        within = float(self.radius if radius is None else radius)
        found = self._within(rows, within)
        if X is None:
            found = [(d[ids != row], ids[ids != row]) for row, (d, ids) in enumerate(found)]
        distances, positions = (_objects([pair[side] for pair in found]) for side in (0, 1))
        return (distances, positions) if return_distance else positions

    def _within(self, rows: Any, radius: float) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        asked = self._model if self._model.self_contained else self.job_
        dense = rows.toarray() if hasattr(rows, "toarray") else rows
        with refusals_as_value_errors():
            answer = asked.radius_neighbors(dense, radius)
        ends = np.cumsum(answer.counts)[:-1]
        return list(zip(np.split(answer.distances, ends), np.split(answer.ids, ends), strict=True))

    def radius_neighbors_graph(
        self,
        X: object = None,
        radius: float | None = None,
        mode: str = "connectivity",
        sort_results: bool = False,
    ) -> csr_matrix:
        """Rows to rows: 1 or the distance for those within the radius, else 0."""
        _check_mode(mode)
        found = self.radius_neighbors(X, radius, sort_results=sort_results)
        distances, positions = found[0], found[1]
        ids = np.concatenate([*positions, np.zeros(0, dtype=np.int64)])
        values = np.ones(len(ids)) if mode == "connectivity" else np.concatenate([*distances, np.zeros(0)])
        starts = np.concatenate([[0], np.cumsum([len(one) for one in positions])])
        return csr_matrix((values, ids, starts), shape=(len(positions), self.n_samples_fit_))


def _objects(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    out = np.empty(len(arrays), dtype=object)
    out[:] = arrays
    return out
