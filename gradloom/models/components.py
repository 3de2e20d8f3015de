"""Principal components: directions of largest variance, and coordinates along them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import InvalidInput
from gradloom.models.model import Floats, numbers, sklearn_module
from gradloom.models.unlabelled import Unlabelled, row_weights
from gradloom.tensors import Tensors

ROWS_AT_ONCE = 16_384


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Components(Unlabelled):
    """t = (x - mean) V, with orthonormal directions V; divided by the deviations if ``whiten`` is set."""

    kind: ClassVar[str] = "components"

    components: Floats  # (m, d): a direction a row, by falling variance
    mean: Floats  # (d,)
    explained_variance: Floats  # (m,): along each direction, divisor W - 1
    total_variance: Floats  # (): of all columns together
    noise_variance: Floats  # (): mean of the variances along the directions that are left out

    @property
    def arrays(self) -> Tensors:
        """components, mean, explained_variance, total_variance, noise_variance."""
        return {
            "components": self.components,
            "mean": self.mean,
            "explained_variance": self.explained_variance,
            "total_variance": self.total_variance,
            "noise_variance": self.noise_variance,
        }

    def check_arrays(self) -> None:
        """A column a feature, a variance a component."""
        d, m = len(self.features), self.explained_variance.size
        shapes = [self.components.shape, self.mean.shape, self.explained_variance.shape]
        if shapes != [(m, d), (d,), (m,)] or self.total_variance.size != 1 or self.noise_variance.size != 1:
            raise ValueError(f"components, mean and variances of shapes {shapes} do not fit {d} columns")

    @property
    def whiten(self) -> bool:
        """Whether coordinates are divided by their deviations."""
        return bool(self.settings.get("whiten", False))

    @property
    def explained_variance_ratio(self) -> Floats:
        """Share of each component in the variance of all columns, (m,)."""
        total = float(self.total_variance)
        return self.explained_variance / total if total > 0 else np.zeros_like(self.explained_variance)

    @property
    def singular_values(self) -> Floats:
        """Of the centred rows, (m,): sqrt((W - 1) variance)."""
        return np.sqrt(
            self.explained_variance * max(0.0, float(self.metadata.get("train_weight") or 1.0) - 1.0)
        )

    def transform(self, X: object) -> Floats:
        """Coordinates of each row, (n, m). Raises InvalidInput."""
        rows = self.finite(X)
        out = np.empty((len(rows), len(self.components)))
        for block, centered in self._centered(rows):
            np.matmul(centered, self.components.T, out=out[block])
        if self.whiten:
            out /= self._deviations
        return out

    def predict(self, X: object) -> NDArray[Any]:
        """The coordinates, (n, m): what ``transform`` gives. Raises InvalidInput."""
        return self.transform(X)

    def inverse_transform(self, T: object) -> Floats:
        """Rows (n, d) from their coordinates T (n, m): the nearest points in the space of the components."""
        t = numbers("T", T)
        if t.ndim != 2 or t.shape[1] != len(self.components):
            raise InvalidInput(
                "T", f"has the shape {t.shape}; needed are rows of {len(self.components)} coordinates"
            )
        return (t * self._deviations if self.whiten else t) @ self.components + self.mean

    @property
    def outputs(self) -> tuple[str, ...]:
        """component_0, component_1, ..."""
        return tuple(f"component_{i}" for i in range(len(self.components)))

    def score_sums(self, X: object, weight: object = None) -> Mapping[str, float]:
        """Weighted sums of |x - x'|^2 (error), with x' the nearest point in the space of the components, and of
        |x - mean|^2 (spread); weight. Raises InvalidInput.
        """
        rows = self.finite(X)
        s = row_weights(weight, len(rows))
        error = spread = 0.0
        for block, centered in self._centered(rows):
            left = centered - centered @ self.components.T @ self.components
            error += float(s[block] @ np.einsum("ij,ij->i", left, left))
            spread += float(s[block] @ np.einsum("ij,ij->i", centered, centered))
        return {"error": error, "spread": spread, "weight": float(s.sum())}

    @staticmethod
    def scores_of(sums: Mapping[str, float]) -> dict[str, float]:
        """reconstruction_error: error per weight; explained_variance_ratio: 1 - error / spread; {} without rows."""
        error, spread, weight = sums["error"], sums["spread"], sums["weight"]
        if not weight > 0:
            return {}
        explained = 1.0 - error / spread if spread > 0 else 1.0
        return {"reconstruction_error": error / weight, "explained_variance_ratio": explained}

    def to_sklearn(self) -> Any:
        """The same model as a fitted PCA. Raises InvalidInput without scikit-learn."""
        decomposition = sklearn_module("decomposition")
        m = len(self.components)
        estimator = decomposition.PCA(n_components=m, whiten=self.whiten)
        estimator.components_, estimator.mean_ = self.components.copy(), self.mean.copy()
        estimator.explained_variance_ = self.explained_variance.copy()
        estimator.explained_variance_ratio_ = self.explained_variance_ratio
        estimator.singular_values_ = self.singular_values
        estimator.noise_variance_ = float(self.noise_variance)
        estimator.n_components_, estimator.n_samples_ = m, int(self.metadata.get("train_rows") or 0)
        estimator.n_features_in_ = len(self.features)
        estimator.feature_names_in_ = np.asarray(self.features, dtype=object)
        return estimator

    @property
    def _deviations(self) -> Floats:
        """What whitening divides by, (m,): never 0, as in scikit-learn."""
        return np.maximum(np.sqrt(self.explained_variance), np.finfo(np.float64).eps)

    def _centered(self, rows: NDArray[Any]) -> Iterator[tuple[slice, Floats]]:
        """Blocks of x - mean in float64."""
        for start in range(0, len(rows), ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            yield block, rows[block].astype(np.float64) - self.mean
