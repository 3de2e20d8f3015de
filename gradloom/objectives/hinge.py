"""Hinge losses of support vector machines: two classes, or one against the rest for each of K classes."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.objectives.passes import Floats, Objective


class HingeBlock:
    """(Squared) hinge loss of one block.

    With z_ik = x_i w_k + b_k, t_ik = +1 where row i is of class k and -1 elsewhere, and the margin t_ik z_ik:

        hinge            loss = sum_ik s_i max(0, 1 - t_ik z_ik)         residual = -s_i t_ik [t_ik z_ik < 1]
        squared hinge    loss = sum_ik s_i max(0, 1 - t_ik z_ik)^2       residual = -2 s_i t_ik max(0, 1 - t_ik z_ik)

    z (m,) for two classes, t_i = 2 y_i - 1; or (K, m), one class a row. y (m,) int64; s (m,) float64 or None = 1.
    Shortfalls are formed in float64. At a margin of 1 the hinge has many slopes: 0 is taken. Source: Fan et al.,
    "LIBLINEAR: a library for large linear classification", JMLR 9, 2008.
    """

    def __init__(
        self, rows: int, dtype: np.dtype[Any], intercept: NDArray[np.float64], *, squared: bool
    ) -> None:
        self._squared = squared
        self._intercept = intercept[..., np.newaxis]
        self._columns = np.arange(rows)
        self._z: Floats = np.empty(0, dtype)
        self._sign: NDArray[np.float64] = np.empty(0)
        self._short: NDArray[np.float64] = np.empty(0)
        self._weight: NDArray[np.float64] | None = None

    def loss(self, z: Floats, y: NDArray[Any], weight: NDArray[np.float64] | None) -> float:
        """Sum of s_i loss_i."""
        self._z, self._weight = z, weight
        self._sign = self._signs(y)
        self._short = 1.0 - self._sign * (z + self._intercept)  # float64, as the intercept is
        np.maximum(self._short, 0.0, out=self._short)
        losses = np.square(self._short) if self._squared else self._short
        return float(losses.sum() if weight is None else (losses @ weight).sum())

    def residual(self) -> Floats:
        """s dloss/dz, in place of z."""
        slope = 2.0 * self._short if self._squared else (self._short > 0).astype(np.float64)
        slope *= -self._sign
        np.copyto(self._z, slope if self._weight is None else slope * self._weight, casting="same_kind")
        return self._z

    def curvature(self) -> Floats:
        """2 s where the margin is short of 1: the generalised second derivative of the squared hinge."""
        inside = 2.0 * (self._short > 0)
        return (inside if self._weight is None else inside * self._weight).astype(self._z.dtype)

    def _signs(self, y: NDArray[Any]) -> NDArray[np.float64]:
        if self._intercept.ndim == 1:
            return 2.0 * y - 1.0
        signs = np.full((len(self._intercept), len(y)), -1.0)
        signs[y, self._columns] = 1.0
        return signs


HINGE = Objective("hinge", partial(HingeBlock, squared=False), curvature=None, smooth=False)
SQUARED_HINGE = Objective("squared_hinge", partial(HingeBlock, squared=True), curvature=2.0)
