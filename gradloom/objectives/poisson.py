"""The Poisson loss of a regression on counts, with the logarithm as its link."""

from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.preparation import aligned_empty
from gradloom.objectives.passes import Floats, Objective

LARGEST = 50.0
"""Beyond this z the loss goes on along its tangent: a step that is too long costs much, but stays a number."""


class PoissonBlock:
    """Half the Poisson deviance of one block, but for what depends on y alone.

    With z_i = x_i w + b, the expected count exp(z_i), and y_i >= 0:

        loss     = sum_i s_i (exp(z_i) - y_i z_i)
        residual = s_i (exp(z_i) - y_i)

    z (m,) float32 or float64, y (m,) float64, s (m,) float64 or None = 1. Above z = 50, counts of 5e21, exp(z) is
    exp(50) (1 + z - 50), which keeps the loss convex, smooth and finite. Exponentials run in float64. Source:
    McCullagh, Nelder, "Generalized linear models", 2nd ed., section 6.2.
    """

    def __init__(self, rows: int, dtype: np.dtype[Any], intercept: NDArray[np.float64]) -> None:
        self._intercept = float(intercept)
        self._z: Floats = np.empty(0, dtype)
        self._y: NDArray[Any] = np.empty(0)
        self._weight: NDArray[np.float64] | None = None
        self._exact, self._mean = (aligned_empty((rows,), np.dtype(np.float64)) for _ in range(2))

    def loss(self, z: Floats, y: NDArray[Any], weight: NDArray[np.float64] | None) -> float:
        """Sum of s_i loss_i."""
        self._z, self._y, self._weight = z, y, weight
        np.copyto(self._exact, z)
        np.add(self._exact, self._intercept, out=self._exact)
        np.exp(np.minimum(self._exact, LARGEST), out=self._mean)
        losses = self._mean + exp(LARGEST) * np.maximum(self._exact - LARGEST, 0.0) - y * self._exact
        return float(losses.sum() if weight is None else np.dot(weight, losses))

    def residual(self) -> Floats:
        """s (exp(z) - y), in place of z."""
        error = self._mean - self._y
        np.copyto(self._z, error if self._weight is None else error * self._weight, casting="same_kind")
        return self._z

    def curvature(self) -> Floats:
        """s exp(z)."""
        curvature = self._mean if self._weight is None else self._mean * self._weight
        return curvature.astype(self._z.dtype)


POISSON = Objective("poisson", PoissonBlock, curvature=None)
