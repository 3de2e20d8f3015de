"""Huber's losses of a regression: large errors count linearly, beyond a fixed size or one that is learnt too."""

from functools import lru_cache, partial
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.preparation import aligned_empty
from gradloom.objectives.passes import Blocks, Floats, Objective

MAX_LOG_SCALE = 300.0
"""Keeps exp(t), and its square, a number."""


class HuberBlock:
    """Huber's loss of one block, for errors r_i = x_i w + b - y_i beyond a fixed size e in units of y.

        loss     = sum_i s_i (r_i^2 / 2  if |r_i| <= e  else  e |r_i| - e^2 / 2)
        residual = s_i clip(r_i, -e, e)

    z = X w (m,) float32 or float64, y (m,) float64, s (m,) float64 or None = 1. Errors are formed in float64.
    Source: Huber, "Robust estimation of a location parameter", Ann. Math. Statist. 35, 1964.
    """

    def __init__(
        self, rows: int, dtype: np.dtype[Any], intercept: NDArray[np.float64], *, epsilon: float
    ) -> None:
        self._epsilon = epsilon
        self._intercept = float(intercept)
        self._z: Floats = np.empty(0, dtype)
        self._weight: NDArray[np.float64] | None = None
        self._error = aligned_empty((rows,), np.dtype(np.float64))

    def loss(self, z: Floats, y: NDArray[Any], weight: NDArray[np.float64] | None) -> float:
        """Sum of s_i loss_i."""
        self._see(z, y, weight)
        clipped = np.clip(self._error, -self._epsilon, self._epsilon)
        losses = clipped * (self._error - 0.5 * clipped)
        return float(losses.sum() if weight is None else np.dot(weight, losses))

    def residual(self) -> Floats:
        """s dloss/dz, in place of z."""
        return self._in_place_of_z(np.clip(self._error, -self._epsilon, self._epsilon))

    def curvature(self) -> Floats:
        """s where the error is at most e."""
        return self._weighted((np.abs(self._error) <= self._epsilon).astype(np.float64)).astype(self._z.dtype)

    def _see(self, z: Floats, y: NDArray[Any], weight: NDArray[np.float64] | None) -> None:
        self._z, self._weight = z, weight
        np.copyto(self._error, z)
        np.add(self._error, self._intercept, out=self._error)
        np.subtract(self._error, y, out=self._error)

    def _weighted(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if self._weight is None else values * self._weight

    def _in_place_of_z(self, values: NDArray[np.float64]) -> Floats:
        np.copyto(self._z, self._weighted(values), casting="same_kind")
        return self._z


class ScaledHuberBlock(HuberBlock):
    """Huber's loss of one block with the scale c = exp(t) of the errors learnt beside w and b.

        loss      = sum_i s_i (c + H(r_i / c) c),    H(u) = u^2  if |u| <= e  else  2 e |u| - e^2
        d/dz_i    = s_i 2 clip(r_i, -e c, e c)
                    divided by c
        d/dt      = sum_i s_i c (1 - (r_i / c)^2  if |r_i| <= e c  else  1 - e^2)

    It is convex in w, b and c, and proportional to the units of y. The second derivatives of r^2/c in (z, t) are
    2/c v v^T with v = (1, -r), but for c dloss/dc in the corner of t, which is 0 at the optimum and left out: what
    remains is never negative. Source: Huber, Ronchetti, "Robust statistics", 2nd ed., section 7.8, which is what
    scikit-learn's HuberRegressor minimises.
    """

    def __init__(
        self,
        rows: int,
        dtype: np.dtype[Any],
        intercept: NDArray[np.float64],
        *,
        epsilon: float,
        log_scale: float,
    ) -> None:
        self._scale = exp(min(max(log_scale, -MAX_LOG_SCALE), MAX_LOG_SCALE))
        self._relative = epsilon
        super().__init__(rows, dtype, intercept, epsilon=epsilon * self._scale)

    def loss(self, z: Floats, y: NDArray[Any], weight: NDArray[np.float64] | None) -> float:
        """Sum of s_i loss_i."""
        self._see(z, y, weight)
        clipped = np.clip(self._error, -self._epsilon, self._epsilon)
        losses = self._scale + clipped * (2.0 * self._error - clipped) / self._scale
        return float(losses.sum() if weight is None else np.dot(weight, losses))

    def residual(self) -> Floats:
        """s dloss/dz, in place of z."""
        return self._in_place_of_z(np.clip(self._error, -self._epsilon, self._epsilon) * (2.0 / self._scale))

    def curvature(self) -> Floats:
        """2 s / c where the error is at most e c."""
        inside = (np.abs(self._error) <= self._epsilon) * (2.0 / self._scale)
        return self._weighted(inside).astype(self._z.dtype)

    def scale_gradient(self) -> float:
        """d/dt."""
        relative = np.minimum(np.abs(self._error) / self._scale, self._relative)
        return float(self._weighted(self._scale * (1.0 - np.square(relative))).sum())

    def scale_column(self) -> Floats:
        """-r, which the curvature leaves only where it is small."""
        return (-self._error).astype(self._z.dtype)


@lru_cache(maxsize=64)
def huber(epsilon: float, *, learn_scale: bool) -> Objective:
    """Huber's loss with errors that count linearly beyond ``epsilon``: units of the scale that is learnt, or of y.

    The same arguments give the same value, which compares equal to itself.
    """
    if not learn_scale:
        return Objective("huber", partial(HuberBlock, epsilon=epsilon), curvature=1.0)
    return Objective(
        "huber",
        partial(ScaledHuberBlock, epsilon=epsilon, log_scale=0.0),
        curvature=None,
        scaled=partial(_at_scale, epsilon),
    )


def _at_scale(epsilon: float, log_scale: float) -> Blocks:
    return partial(ScaledHuberBlock, epsilon=epsilon, log_scale=log_scale)
