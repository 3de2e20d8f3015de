"""What is known of columns, and rows on a common scale: scikit-learn's StandardScaler, and a few numbers more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import InvalidInput
from gradloom.models.model import Floats, sklearn_module
from gradloom.models.unlabelled import Unlabelled, row_weights
from gradloom.tensors import Tensors

ROWS_AT_ONCE = 16_384


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Statistics(Unlabelled):
    """Of each column: how many values it has and lacks, their weight, mean, variance, smallest and largest."""

    kind: ClassVar[str] = "statistics"
    missing_allowed: ClassVar[bool] = True

    count: Floats  # (d,): values
    missing: Floats  # (d,): cells without one
    weight: Floats  # (d,): of the values
    mean: Floats  # (d,)
    variance: Floats  # (d,): divisor weight, as in scikit-learn
    minimum: Floats  # (d,)
    maximum: Floats  # (d,)

    @property
    def arrays(self) -> Tensors:
        """All of them, by name."""
        return {
            "count": self.count,
            "missing": self.missing,
            "weight": self.weight,
            "mean": self.mean,
            "variance": self.variance,
            "minimum": self.minimum,
            "maximum": self.maximum,
        }

    def check_arrays(self) -> None:
        """One number a feature."""
        for name, array in self.arrays.items():
            if array.shape != (len(self.features),):
                raise ValueError(f"{name} of shape {array.shape}, not {(len(self.features),)}")

    @property
    def scale(self) -> Floats:
        """Standard deviation of each column, (d,); 1 where a column is constant up to rounding.

        Rounding makes of a constant column a variance of at most n eps var + (n mean eps)^2. Source: Chan, Golub,
        LeVeque, "Algorithms for computing the sample variance", 1983.
        """
        eps, n = np.finfo(np.float64).eps, self.count
        constant = self.variance <= n * eps * self.variance + np.square(n * self.mean * eps)
        return np.where(constant, 1.0, np.sqrt(self.variance))

    def transform(self, X: object) -> Floats:
        """(x - mean) / scale, (n, d); a missing cell stays NaN. Raises InvalidInput for infinite cells."""
        rows = self.checked(X)
        infinite = np.argwhere(np.isinf(rows))
        if len(infinite):
            row, place = infinite[0].tolist()
            raise InvalidInput("X", f"row {row} is infinite in column {self.features[place]!r}")
        return (rows.astype(np.float64) - self.mean) / self.scale

    def predict(self, X: object) -> NDArray[Any]:
        """The rows on the common scale, (n, d): what ``transform`` gives. Raises InvalidInput."""
        return self.transform(X)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.features

    def score_sums(self, X: object, weight: object = None) -> Mapping[str, float]:
        """Weighted sum of ((x - mean) / scale)^2 over the cells that have a value (squared), and of their weights."""
        z = self.transform(X)
        return squares(z, row_weights(weight, len(z)))

    @staticmethod
    def scores_of(sums: Mapping[str, float]) -> dict[str, float]:
        """mean_squared_score: squared per weight, about 1 where rows are like those that the statistics are of; {}
        without values.
        """
        return {"mean_squared_score": sums["squared"] / sums["weight"]} if sums["weight"] > 0 else {}

    def to_sklearn(self) -> Any:
        """A fitted StandardScaler. Raises InvalidInput without scikit-learn."""
        scaler = sklearn_module("preprocessing").StandardScaler()
        scaler.mean_, scaler.var_, scaler.scale_ = self.mean.copy(), self.variance.copy(), self.scale
        alike = len(set(self.weight.tolist())) == 1
        scaler.n_samples_seen_ = self.weight[0] if alike else self.weight.copy()
        scaler.n_features_in_ = len(self.features)
        scaler.feature_names_in_ = np.asarray(self.features, dtype=object)
        return scaler


def squares(z: Floats, weight: Floats) -> Mapping[str, float]:
    """squared: sum w z^2, and weight: sum w, over the cells of z (n, d) that are not NaN."""
    there = ~np.isnan(z)
    squared = float(weight @ np.where(there, np.square(z), 0.0).sum(axis=1))
    return {"squared": squared, "weight": float(weight @ there.sum(axis=1))}
