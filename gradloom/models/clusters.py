"""Clusters: centers on raw columns, and which one is nearest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradloom.models.model import Floats, sklearn_module
from gradloom.models.unlabelled import Unlabelled, row_weights
from gradloom.tensors import Tensors

CELLS_AT_ONCE = 1 << 22
"""Distances that are held at once: 32 MiB."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Clusters(Unlabelled):
    """Centers; a row belongs to the nearest one, the first of equals."""

    kind: ClassVar[str] = "clusters"

    centers: Floats  # (k, d)
    weights: Floats  # (k,): of the train rows of each cluster

    @property
    def arrays(self) -> Tensors:
        """centers and weights."""
        return {"centers": self.centers, "weights": self.weights}

    def check_arrays(self) -> None:
        """One column a feature, one weight a center, and at least one center."""
        k = len(self.weights) if self.weights.ndim == 1 else 0
        if not k or self.centers.shape != (k, len(self.features)):
            raise ValueError(
                f"centers of shape {self.centers.shape} and weights of shape {self.weights.shape} do not fit "
                f"{len(self.features)} columns"
            )

    def predict(self, X: object) -> NDArray[Any]:
        """Number of the nearest center of each row, counted from 0; (n,) int64. Raises InvalidInput."""
        rows = self.finite(X)
        labels = np.zeros(len(rows), dtype=np.int64)
        for block, distances in self._distances(rows):
            labels[block] = distances.argmin(axis=1)
        return labels

    def transform(self, X: object) -> Floats:
        """Distance of each row from each center, (n, k). Raises InvalidInput."""
        rows = self.finite(X)
        out = np.empty((len(rows), len(self.centers)))
        for block, distances in self._distances(rows):
            np.sqrt(distances, out=out[block])
        return out

    def score_sums(self, X: object, weight: object = None) -> Mapping[str, float]:
        """inertia: weighted sum of squared distances from the nearest center; weight. Raises InvalidInput."""
        rows = self.finite(X)
        s = row_weights(weight, len(rows))
        inertia = 0.0
        for block, distances in self._distances(rows):
            difference = rows[block].astype(np.float64) - self.centers[distances.argmin(axis=1)]
            inertia += float(s[block] @ np.einsum("ij,ij->i", difference, difference))
        return {"inertia": inertia, "weight": float(s.sum())}

    @staticmethod
    def scores_of(sums: Mapping[str, float]) -> dict[str, float]:
        """inertia, and mean_squared_distance: inertia per weight; {} without rows."""
        inertia, weight = sums["inertia"], sums["weight"]
        return {"inertia": inertia, "mean_squared_distance": inertia / weight} if weight > 0 else {}

    def to_sklearn(self) -> Any:
        """A fitted KMeans with these centers; it has no ``labels_`` of the train rows. Raises InvalidInput."""
        cluster = sklearn_module("cluster")
        k = len(self.centers)
        apart = np.arange(k, dtype=np.float64)[:, np.newaxis] * np.ones(len(self.features))
        estimator = cluster.KMeans(k, init=apart, n_init=1).fit(
            apart
        )  # what it keeps for itself is made by fit
        del estimator.labels_
        estimator.set_params(init="k-means++", n_init="auto")
        estimator.cluster_centers_ = self.centers.copy()
        estimator.n_iter_ = int(self.metadata.get("iterations") or 0)
        estimator.inertia_ = float(self.metadata.get("inertia") or 0.0)
        estimator.feature_names_in_ = np.asarray(self.features, dtype=object)
        return estimator

    def _distances(self, rows: NDArray[Any]) -> Iterator[tuple[slice, Floats]]:
        """Blocks of rows, and |x - c|^2 of each row and center."""
        origin = self.centers.mean(axis=0)  # products lose their digits far from the origin
        centers = self.centers - origin
        half = np.einsum("ij,ij->i", centers, centers)
        step = max(1, CELLS_AT_ONCE // max(self.centers.shape))
        for start in range(0, len(rows), step):
            block = slice(start, min(start + step, len(rows)))
            X = rows[block].astype(np.float64) - origin
            distances = X @ centers.T
            distances *= -2.0
            distances += half
            distances += np.einsum("ij,ij->i", X, X)[:, np.newaxis]
            yield block, np.maximum(distances, 0.0, out=distances)
