"""The softmax cross-entropy of a classification with any number of classes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.preparation import aligned_empty
from gradloom.objectives.passes import Floats, Objective


class MultinomialBlock:
    """Softmax cross-entropy of one block, in nats.

    With z_i = W^T x_i + b, shape (K,), and y_i in 0..K-1:

        loss     = sum_i s_i (log sum_k exp(z_ik) - z_i,y_i)
        residual = s_i (softmax(z_i)_k - [k = y_i])

    z (K, m) float32 or float64, one class a row; y (m,) int64; s (m,) float64 or None = 1. The largest z of each
    row of X is subtracted first, so that no exp overflows. Source: Bishop, "Pattern Recognition and Machine
    Learning", section 4.3.4.
    """

    def __init__(self, rows: int, dtype: np.dtype[Any], intercept: NDArray[np.float64]) -> None:
        self._intercept = intercept.astype(dtype)[:, np.newaxis]
        self._z: Floats = np.empty((0, 0), dtype)
        self._y: NDArray[Any] = np.empty(0, np.int64)
        self._weight: NDArray[np.float64] | None = None
        self._columns = np.arange(rows)
        self._row, self._total = (aligned_empty((rows,), dtype) for _ in range(2))
        self._losses = aligned_empty((rows,), np.dtype(np.float64))

    def loss(self, z: Floats, y: NDArray[Any], weight: NDArray[np.float64] | None) -> float:
        """Sum of s_i loss_i; leaves exp(z - max z) in ``z``."""
        self._z, self._y, self._weight = z, y, weight
        np.add(z, self._intercept, out=z)
        np.subtract(z, np.maximum.reduce(z, axis=0, out=self._row), out=z)
        at_label = z[y, self._columns]
        np.exp(z, out=z)
        np.copyto(self._losses, np.add.reduce(z, axis=0, out=self._total))
        np.log(self._losses, out=self._losses)
        np.subtract(self._losses, at_label, out=self._losses)
        return float(self._losses.sum() if weight is None else np.dot(weight, self._losses))

    def residual(self) -> Floats:
        """s (softmax(z) - onehot(y)), in place of z."""
        z = self._z
        np.divide(z, self._total, out=z)
        z[self._y, self._columns] -= 1.0
        if self._weight is not None:
            np.copyto(self._row, self._weight)
            np.multiply(z, self._row, out=z)
        return z

    def curvature(self) -> Floats:
        """s softmax(z)."""
        probabilities: Floats = self._z / self._total
        return probabilities if self._weight is None else probabilities * self._weight.astype(self._z.dtype)


MULTINOMIAL = Objective("multinomial", MultinomialBlock, curvature=0.5, outputs_interact=True)
