"""Minima of quadratic functions, with or without a sum of absolute values: what Newton and the Gram solver stand on.

    minimise over x:   1/2 x^T A x - b^T x + sum_j l1_j |x_j|,        A symmetric, positive semidefinite

Small dense problems, solved to rounding. Pure: arrays in, arrays out.
"""

from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradloom.optimizers.optimizer import Vector, largest, steepest

Matrix = NDArray[np.float64]

FLAT = 1e-13
"""An eigenvalue of at most this times the largest is none: nothing is known along its direction."""
MOST_LEFT = 1e-6
"""Of b, relative, after solving with a matrix that looked definite; with more it is not."""
TOLERANCE = 1e-14
"""Of the optimality conditions, relative to the numbers that they are differences of."""
SOLVED = 1e-9
"""Optimality conditions that are met to this, relative to the largest entry of b, count as met."""
SHARE = 4
"""Of the entries that are not zero one in so many more may join at once."""
FLAT_STEPS = 3
"""So many entries that joined one by one and did not lower the function end the search."""


class Minimum(NamedTuple):
    """A point, and whether it is the minimum."""

    point: Vector
    solved: bool


def unit_scale(A: Matrix) -> Vector:
    """s (n,) for which s_i A_ij s_j has ones on its diagonal; 1 where A has a zero there."""
    diagonal = np.diagonal(A)
    return np.asarray(1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)))


def solve(A: Matrix, b: Vector) -> Vector:
    """x with A x = b, shape (n,); the shortest of all least-squares solutions where A is singular.

    The matrix is scaled to a diagonal of ones first: columns in very different units then cost no digits, and none
    counts for nothing beside a larger one. One step of iterative refinement follows.
    """
    if len(b) == 0:
        return np.zeros(0)
    scale = unit_scale(A)
    scaled = A * scale * scale[:, np.newaxis]
    if _is_definite(scaled):
        x = scale * np.linalg.solve(scaled, scale * b)
        x = x + scale * np.linalg.solve(scaled, scale * (b - A @ x))
        if largest(scale * (b - A @ x)) <= MOST_LEFT * largest(scale * b):
            return np.asarray(x)
    inverse, null = _inverse(scaled)
    x = scale * (inverse @ (scale * b))
    free, _ = np.linalg.qr(null * scale[:, np.newaxis])
    x = x - free @ (free.T @ x)  # the shortest in the units of x
    return np.asarray(x + scale * (inverse @ (scale * (b - A @ x))))


def _is_definite(A: Matrix) -> bool:
    try:
        factor = np.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        return False
    return bool(np.diagonal(factor).min() ** 2 > len(A) * FLAT)


def _inverse(A: Matrix) -> tuple[Matrix, Matrix]:
    """The pseudoinverse, and the directions (n, m) along which nothing is known."""
    values, vectors = np.linalg.eigh(A)
    known = values > FLAT * len(values) * max(values[-1], 0.0)
    return (vectors[:, known] / values[known]) @ vectors[:, known].T, vectors[:, ~known]


def lasso(A: Matrix, b: Vector, l1: Vector, start: Vector) -> Minimum:
    """The minimum with absolute values, shape (n,); entries that are zero there are zero exactly.

    On a diagonal of ones. Once the signs are given, the minimum is that of a quadratic function: the search goes there,
    or to the lowest point on the way, where some entry becomes zero and leaves. Then those whose gradient is above
    their l1 join. Each step lowers the function, so no choice of signs comes twice. Source: Lee, Battle, Raina, Ng,
    "Efficient sparse coding algorithms", NIPS 2006 ("feature-sign search").
    """
    scale = unit_scale(A)
    search = _SignSearch(A * scale * scale[:, np.newaxis], scale * b, scale * l1, start / scale)
    search.run()
    return Minimum(scale * search.x, search.violation <= SOLVED * search.size)


class _SignSearch:
    """One search, on a matrix with a diagonal of ones."""

    def __init__(self, A: Matrix, b: Vector, l1: Vector, start: Vector) -> None:
        self._A, self._b, self._l1 = A, b, l1
        self.size = max(largest(b), float(l1.max(initial=0.0)), float(np.finfo(float).tiny))
        self._free = l1 == 0
        idle = (np.diagonal(A) <= 0) & ~self._free  # a column of zeros
        self._move(np.where(idle, 0.0, start))
        self._signs = np.sign(self.x)

    def _move(self, x: Vector) -> None:
        self.x, self._gradient = x, self._A @ x - self._b
        self.value = 0.5 * float(x @ (self._gradient - self._b)) + float(self._l1 @ np.abs(x))

    @property
    def violation(self) -> float:
        """Largest absolute entry of the subgradient."""
        return largest(steepest(self.x, self._gradient, self._l1))

    @property
    def _rounding(self) -> float:
        return TOLERANCE * max(self.size, float(np.abs(self.x).sum()))

    def run(self) -> None:
        """Move to the minimum, or as near as rounding lets it come."""
        self._descend()
        flat_steps = 0
        while self.violation > self._rounding and flat_steps < FLAT_STEPS:
            before = self.value
            share = 1 if flat_steps else max(1, int(np.count_nonzero(self.x)) // SHARE)
            if not self._join(share):
                return
            self._descend()
            flat_steps = 0 if self.value < before else flat_steps + 1

    def _join(self, most: int) -> bool:
        """Give a sign to those zeros whose gradient is most above their l1; whether there are any."""
        excess = np.where((self.x == 0) & ~self._free, np.abs(self._gradient) - self._l1, 0.0)
        worst = np.argsort(-excess, kind="stable")[:most]
        worst = worst[excess[worst] > self._rounding]
        self._signs[worst] = -np.sign(self._gradient[worst])
        return len(worst) > 0

    def _descend(self) -> None:
        """To the minimum over the entries that have a sign, but for those that lose it on the way."""
        straight = 0
        for _ in range(2 * len(self.x) + FLAT_STEPS):
            support = np.flatnonzero((self._signs != 0) | self._free)
            slopes = -(self._gradient[support] + self._l1[support] * self._signs[support])
            if largest(slopes) <= self._rounding or straight == 2:
                return
            straight = straight + 1 if self._step(support, slopes) else 0

    def _step(self, support: NDArray[np.intp], slopes: Vector) -> bool:
        """One step towards the minimum with these signs; whether none of them changed."""
        A = self._A[np.ix_(support, support)]
        direction = solve(A, slopes)
        left = slopes - A @ direction
        if largest(left) > 0.5 * largest(slopes):  # flat there: downhill until an entry becomes zero
            direction = left
        x, signs, l1 = self.x[support], self._signs[support], self._l1[support]
        kinks = _kinks(x, signs, direction, l1)
        curvature = max(float(direction @ A @ direction), 0.0)
        step, ends = _lowest(-float(slopes @ direction), curvature, kinks, l1 * np.abs(direction))
        x = x + step * direction
        x[ends] = 0.0
        moved = self.x.copy()
        moved[support] = x
        crossed = (kinks <= step) & (l1 > 0)
        self._signs[support[crossed]] = np.sign(x[crossed])
        if step > 0:
            self._move(moved)
        return not crossed.any()


def _kinks(x: Vector, signs: Vector, direction: Vector, l1: Vector) -> Vector:
    """The step at which each entry leaves the side of its sign; inf if it never does."""
    steps = np.full(len(x), inf)
    leaving = (direction * signs < 0) & (l1 > 0)
    steps[leaving] = np.abs(x[leaving] / direction[leaving])
    return steps


def _lowest(
    slope: float, curvature: float, kinks: Vector, weights: Vector
) -> tuple[float, NDArray[np.bool_]]:
    """The step to the minimum along a line, and the entries that are zero there; each adds to the slope beyond it."""
    for step in np.unique(kinks[kinks < inf]).tolist():
        if slope + step * curvature >= 0:
            break
        here = kinks == step
        slope += 2.0 * float(weights[here].sum())
        if slope + step * curvature >= 0:
            return step, here
    nowhere = np.zeros(len(kinks), dtype=bool)
    return (-slope / curvature if curvature > 0 else 0.0), nowhere
