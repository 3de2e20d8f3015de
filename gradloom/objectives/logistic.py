"""The logistic loss of a binary classification."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.preparation import aligned_empty
from gradloom.objectives.passes import Floats, Objective

FACTORS_PER_LOG = 8


class LogisticBlock:
    """Binary cross-entropy of one block, in nats.

    With z_i = x_i w + b and y_i in {0, 1}:

        loss     = sum_i s_i (log(1 + exp(z_i)) - y_i z_i)
        residual = s_i (sigma(z_i) - y_i),   sigma(z) = exp(z) / (1 + exp(z))

    z (m,) float32 or float64, y (m,) int64, s (m,) float64 or None = 1. exp and sigma run in the dtype of z. The
    loss runs in float64, so that rows whose loss is far below 1 still count; without weights the logarithm of a
    product of 8 factors stands for the sum of 8 logarithms. When any of it overflows, the whole block is computed
    again from log(1 + exp(z)) = max(z, 0) + log1p(exp(-|z|)).
    Error of the loss: about (1 + |z|) * eps a row. Source: Hastie, Tibshirani, Friedman, "The Elements of
    Statistical Learning", 2nd ed., section 4.4.
    """

    def __init__(self, rows: int, dtype: np.dtype[Any], intercept: NDArray[np.float64]) -> None:
        self._intercept = float(intercept)
        self._weight: NDArray[np.float64] | None = None
        self._overflowed = False
        self._z: Floats = np.empty(0, dtype)
        self._y, self._exp, self._scratch = (aligned_empty((rows,), dtype) for _ in range(3))
        padded = -(-rows // FACTORS_PER_LOG) * FACTORS_PER_LOG
        self._factors = aligned_empty((padded,), np.dtype(np.float64))
        self._factors[rows:] = 1.0
        self._one_plus_exp = self._factors[:rows]
        self._by_factor = self._factors.reshape(FACTORS_PER_LOG, -1)
        self._logs = aligned_empty((padded // FACTORS_PER_LOG,), np.dtype(np.float64))

    def loss(self, z: Floats, y: NDArray[Any], weight: NDArray[np.float64] | None) -> float:
        """Sum of s_i loss_i; adds the intercept to ``z``."""
        self._z, self._weight = z, weight
        np.add(z, self._intercept, out=z)
        np.copyto(self._y, y)
        np.exp(z, out=self._exp)
        np.copyto(self._one_plus_exp, self._exp)
        np.add(self._one_plus_exp, 1.0, out=self._one_plus_exp)
        total = self._unweighted_loss() if weight is None else self._weighted_loss(weight)
        self._overflowed = not math.isfinite(total)
        return self._stable_loss() if self._overflowed else total

    def residual(self) -> Floats:
        """s (sigma(z) - y), in place of z."""
        z = self._z
        if self._overflowed:
            np.divide(1.0, 1.0 + np.exp(-z), out=z)
        else:
            np.add(self._exp, 1.0, out=self._scratch)
            np.divide(self._exp, self._scratch, out=z)
        np.subtract(z, self._y, out=z)
        if self._weight is not None:
            np.copyto(self._scratch, self._weight)
            np.multiply(z, self._scratch, out=z)
        return z

    def curvature(self) -> Floats:
        """s sigma(z) (1 - sigma(z))."""
        odds = np.exp(-np.abs(self._z)) if self._overflowed else self._exp
        curvature: Floats = odds / np.square(1.0 + odds)
        return curvature if self._weight is None else (curvature * self._weight).astype(self._z.dtype)

    def _unweighted_loss(self) -> float:
        np.multiply.reduce(self._by_factor, axis=0, out=self._logs)
        np.log(self._logs, out=self._logs)
        return float(np.add.reduce(self._logs)) - float(np.dot(self._y, self._z))

    def _weighted_loss(self, weight: NDArray[np.float64]) -> float:
        logs = np.log(self._one_plus_exp, out=self._one_plus_exp)
        np.multiply(self._y, self._z, out=self._scratch)
        return float(np.dot(weight, np.subtract(logs, self._scratch, out=logs)))

    def _stable_loss(self) -> float:
        z = self._z.astype(np.float64)
        losses = np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))) - self._y * z
        return float(losses.sum() if self._weight is None else np.dot(self._weight, losses))


LOGISTIC = Objective("logistic", LogisticBlock, curvature=0.25)
