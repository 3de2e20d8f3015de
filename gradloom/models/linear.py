"""A linear model: coefficients and an intercept on raw columns."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import InvalidInput
from gradloom.models.model import Floats, Model, label_array, probabilities
from gradloom.tensors import Tensors

ROWS_AT_ONCE = 65_536
"""Rows are turned to float64 in blocks, so that predicting needs little memory beside X."""
LOGARITHMS = frozenset({"poisson"})
"""Algorithms whose z is the logarithm of what is predicted."""
MARGINS = frozenset({"linear_svm"})
"""Algorithms whose z are distances from a boundary, which say nothing of probabilities."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Linear(Model):
    """z = X w + b, read as a value or its logarithm, or as the log-odds, logits or margins of classes."""

    kind: ClassVar[str] = "linear"

    coefficients: Floats  # (d,), or (d, K) with one column a class
    intercept: Floats  # (), or (K,)

    @property
    def arrays(self) -> Tensors:
        """coefficients and intercept."""
        return {"coefficients": self.coefficients, "intercept": self.intercept}

    def check_arrays(self) -> None:
        """One coefficient a column, and one column an output."""
        expected = (len(self.features), *self.intercept.shape)
        if self.coefficients.shape != expected:
            raise ValueError(f"coefficients of shape {self.coefficients.shape}, not {expected}")

    def decision_function(self, X: object) -> Floats:
        """X w + b in float64: shape (n,), or (n, K) for a multinomial model.

        X (n, d): anything that numpy can read as numbers. Raises InvalidInput for another number of columns or a
        cell that is not finite.
        """
        rows = self.checked(X)
        z = np.empty((len(rows), *self.intercept.shape))
        for start in range(0, len(rows), ROWS_AT_ONCE):
            block = rows[start : start + ROWS_AT_ONCE].astype(np.float64)
            z[start : start + ROWS_AT_ONCE] = block @ self.coefficients + self.intercept
        self.refuse_not_finite(rows, z)
        return z

    def predict(self, X: object) -> NDArray[Any]:
        """The value, or the most probable class as it is written in the data; shape (n,). Raises InvalidInput."""
        z = self.decision_function(X)
        if self.classes is None:
            return np.exp(z) if self.algorithm in LOGARITHMS else z
        index = (z > 0).astype(np.int64) if z.ndim == 1 else z.argmax(axis=1)
        predicted: NDArray[Any] = label_array(self.classes)[index]
        return predicted

    def predict_proba(self, X: object) -> Floats:
        """Probability of each class in the order of ``classes``; shape (n, K). Raises InvalidInput."""
        if self.algorithm in MARGINS:
            raise InvalidInput(
                "predict_proba", f"{self.algorithm} knows no probabilities; use decision_function"
            )
        if self.classes is None:
            return Model.predict_proba(self, X)
        return probabilities(self.decision_function(X))

    def scores(self, X: object, y: object, weight: object = None) -> dict[str, float]:
        """As of any model; without a log_loss where there are no probabilities, which would be needed for it."""
        if self.algorithm not in MARGINS:
            return Model.scores(self, X, y, weight)
        scores = Model.scores(
            replace(self, algorithm="logistic"), X, y, weight
        )  # the order of z is all that counts
        scores.pop("log_loss", None)
        return scores

    def to_sklearn(self) -> Any:
        """The same model as a fitted estimator of scikit-learn. Raises InvalidInput without it."""
        from gradloom.models.linear_sklearn import to_sklearn

        return to_sklearn(self)
