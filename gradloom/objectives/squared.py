"""Half the squared error of a regression."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.preparation import aligned_empty
from gradloom.objectives.passes import Floats, Objective


class SquaredBlock:
    """Half the squared error of one block, in squared units of y.

        loss     = 1/2 sum_i s_i (x_i w + b - y_i)^2
        residual = s_i (x_i w + b - y_i)

    z = X w (m,) float32 or float64, y (m,) float64, s (m,) float64 or None = 1. The error is formed in float64,
    because b and y may be large beside it; only the residual that goes into the product is rounded to z's dtype.
    """

    def __init__(self, rows: int, dtype: np.dtype[Any], intercept: NDArray[np.float64]) -> None:
        self._intercept = float(intercept)
        self._z: Floats = np.empty(0, dtype)
        self._weight: NDArray[np.float64] | None = None
        self._error, self._weighted = (aligned_empty((rows,), np.dtype(np.float64)) for _ in range(2))

    def loss(self, z: Floats, y: NDArray[Any], weight: NDArray[np.float64] | None) -> float:
        """Sum of s_i loss_i."""
        self._z, self._weight = z, weight
        np.copyto(self._error, z)
        np.add(self._error, self._intercept, out=self._error)
        np.subtract(self._error, y, out=self._error)
        if weight is None:
            return 0.5 * float(np.dot(self._error, self._error))
        np.multiply(self._error, weight, out=self._weighted)
        return 0.5 * float(np.dot(self._weighted, self._error))

    def residual(self) -> Floats:
        """s (x w + b - y), in place of z."""
        np.copyto(self._z, self._error if self._weight is None else self._weighted, casting="same_kind")
        return self._z

    def curvature(self) -> Floats:
        """s."""
        ones = np.ones_like(self._z)
        return ones if self._weight is None else ones * self._weight.astype(self._z.dtype)


SQUARED = Objective("squared", SquaredBlock, curvature=1.0)
