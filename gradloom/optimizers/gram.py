"""Least squares from one matrix of sums over rows: no iterations over the data.

    minimise   1/(2 W) sum_i s_i (x_i w + b - y_i)^2 + sum_j l1_j |w_j| + 1/2 sum_j l2_j w_j^2

With the sums of s_i a_i a_i^T over the rows a_i = [x_i, y_i, 1], all of it is a quadratic function of w and b, whatever
the number of rows. An intercept without a penalty is taken out first, exactly: that centres by the weighted means.
Columns should be about centred before, or the products lose digits. Source: Björck, "Numerical methods for least
squares problems", section 2.2; with l1: see ``quadratics.lasso``.
"""

from dataclasses import dataclass, replace
from functools import partial
from math import inf

import numpy as np
from numpy.typing import NDArray

from gradloom.optimizers.optimizer import Vector, largest, steepest
from gradloom.optimizers.quadratics import lasso, solve
from gradloom.saved import restore_value, save_value

Matrix = NDArray[np.float64]

CONSTANT = 1e-14
"""A variance of at most this times the mean square is what rounding leaves of a column that never varies."""


@dataclass(frozen=True, slots=True, eq=False)
class GramState:
    """Before the sums are there, or with the solution."""

    point: Vector
    loss: float = inf
    gradient_norm: float = inf
    solved: bool = False
    exact: bool = True
    """Whether the solution meets the conditions of a minimum."""
    stalled: str | None = None
    learning_rate: None = None

    @property
    def solution(self) -> Vector:
        """The solution, or the start."""
        return self.point


@dataclass(frozen=True, slots=True)
class Gram:
    """Solves least squares from its Gram matrix."""

    l1: Vector  # (n,), of the coefficients and, where there is one, the intercept
    l2: Vector  # (n,)

    def init(self, parameters: Vector) -> GramState:
        """Before the sums."""
        return GramState(parameters)

    def solve(self, gram: Matrix) -> GramState:
        """The solution from the (d + 2, d + 2) sums: columns of X, y, and 1."""
        d = len(gram) - 2
        A, b, c = self._quadratic(gram, d)
        free_intercept = len(self.l2) > d and not (self.l1[d] or self.l2[d])
        if free_intercept:
            A, b, c, means = _without_mean(A, b, c)
        n = len(b)
        penalised = A + np.diag(self.l2[:n])
        start = np.zeros(n)
        if self.l1[:n].any():
            w, exact = lasso(penalised, b, self.l1[:n], start)
        else:
            w, exact = solve(penalised, b), True
        loss = 0.5 * max(c - 2.0 * float(b @ w) + float(w @ A @ w), 0.0)
        norm = largest(steepest(w, penalised @ w - b, self.l1[:n]))
        if free_intercept:
            w = np.append(w, means[d] - float(means[:d] @ w))
        return GramState(w, self._penalised(loss, w), norm, solved=True, exact=exact)

    def update(self, state: GramState, loss: float, gradient: Vector) -> GramState:
        """The loss and the gradient at the solution, as they are over the rows."""
        norm = largest(steepest(state.point, gradient, self.l1))
        total = loss + float(self.l1 @ np.abs(state.point))
        return replace(state, loss=total, gradient_norm=norm)

    save = staticmethod(save_value)
    restore = staticmethod(partial(restore_value, GramState))

    def _penalised(self, loss: float, w: Vector) -> float:
        return loss + float(self.l1 @ np.abs(w)) + 0.5 * float(self.l2 @ np.square(w))

    def _quadratic(self, gram: Matrix, d: int) -> tuple[Matrix, Vector, float]:
        """1/W sums as 1/2 w^T A w - b^T w + c/2; the intercept is the last entry of w, if it is learnt."""
        mean = gram / gram[d + 1, d + 1]
        columns = [*range(d), d + 1] if len(self.l2) > d else list(range(d))
        return mean[np.ix_(columns, columns)], mean[columns, d], float(mean[d, d])


def _without_mean(A: Matrix, b: Vector, c: float) -> tuple[Matrix, Vector, float, Vector]:
    """The quadratic with its last entry, the intercept, at its minimum; and the means of the columns and of y."""
    x, y = A[-1, :-1], float(b[-1])
    centred, along = A[:-1, :-1] - np.outer(x, x), b[:-1] - x * y
    constant = np.diagonal(centred) <= CONSTANT * np.diagonal(A)[:-1]
    centred[constant], centred[:, constant], along[constant] = 0.0, 0.0, 0.0
    return centred, along, c - y * y, np.append(x, y)
