"""Sequential minimal optimisation: the dual of a support vector machine, two coordinates a step. Pure.

::

    maximise   y.b - 1/2 b'Kb     over b in [lower, upper],  sum(b) = 0
    gradient   g = y - K b

Here b_i = y_i alpha_i, so a row of y = +1 lies in [0, C_i] and one of y = -1 in [-C_i, 0]: signs occur nowhere
else. A row is *up* while b_i < upper_i, and *down* while b_i > lower_i. At the optimum no up row has a gradient
above that of a down row; ``gap`` is by how much that still fails: libsvm's m(alpha) - M(alpha).
"""

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[Any]
SMALLEST_CURVATURE = 0.5e-12
"""Half the curvature along a step where the kernel has none, or a negative one: equal rows, sigmoid."""
SAME = 1e-12
"""A value this near to a bound, relative to C_i, is at it: rounding must not make a row look free."""
ROWS_AT_ONCE = 256
"""Of K, turned to float64 at once."""
STEPS_BETWEEN_LEAPS = 5
"""Per row: easy problems end within the first such stretch."""
FEWEST_STEPS_BETWEEN_LEAPS = 2000
MOST_FREE_ROWS = 2000
"""That a leap solves for."""
LEAP_CUBES = 4e9
"""Solutions of a leap times the cube of its free rows: what takes about as long as the steps between two leaps."""
MOST_SOLUTIONS = 50
"""Of a leap."""
RIDGE = 1e-13
"""Of a leap's matrix, relative to its mean diagonal."""
STALLED = 1e-13
"""A smaller rise of the objective, relative to it, is none."""
PATIENCE = 5
"""Stretches without a rise, one after the other, before it is given up: rounding has eaten what is left."""


@dataclass(frozen=True, slots=True, eq=False)
class DualProblem:
    """What is to be maximised; see the head of the module."""

    K: Matrix  # (n, n), float32 or float64, symmetric, C-contiguous
    y: Vector  # (n,), +1 or -1
    cost: Vector  # (n,), C_i >= 0; a row of 0 takes no part

    @property
    def lower(self) -> Vector:
        """Smallest value of each b_i."""
        return np.where(self.y > 0, 0.0, -self.cost)

    @property
    def upper(self) -> Vector:
        """Largest value of each b_i."""
        return np.where(self.y > 0, self.cost, 0.0)

    def gradient(self, b: Vector) -> Vector:
        """y - K b, summed in float64; (n,)."""
        g = self.y.copy()
        if b.any():
            for start in range(0, len(g), ROWS_AT_ONCE):
                rows = slice(start, start + ROWS_AT_ONCE)
                g[rows] -= self.K[rows].astype(np.float64, copy=False) @ b
        return g


@dataclass(frozen=True, slots=True, eq=False)
class DualSolution:
    """A feasible point of the problem."""

    b: Vector  # (n,)
    gradient: Vector  # (n,), at b
    intercept: float
    """The mean gradient of the rows strictly inside their bounds; without one, half way between the two sides."""
    intercepts: tuple[float, float]
    """The intercepts that the optimum allows: of which ``intercept`` is the middle. Both are ``intercept`` where rows
    lie strictly inside their bounds, or the gap is not closed."""
    gap: float
    """How far the point is from the optimality conditions; 0 or less at the optimum, -inf without two sides."""
    objective: float
    """y.b - 1/2 b'Kb."""
    steps: int
    converged: bool
    """Whether ``gap`` is within the tolerance; else ``max_steps`` ran out, or the objective stopped rising."""


def solve(
    problem: DualProblem, tolerance: float, *, start: Vector | None = None, max_steps: int = 10_000_000
) -> DualSolution:
    """Maximise until ``gap <= tolerance``, from ``start`` (feasible; None = 0) and in at most ``max_steps``.

    The pair of a step is chosen by second order: i is the up row of the largest gradient, j the down row that
    gains most with it. The gradient is updated in float64 and computed anew every few thousand steps and at the end,
    so that the gap is that of the point and not of a sum of roundings. Time: a step is 17 passes over vectors of n;
    memory: K.

    Pairs crawl where columns have very different scales, millions of steps for a handful of free rows. What has not
    ended after a stretch of steps *leaps*: all free rows move at once to the optimum that they would have if they
    stayed free, or as far as the first bound on the way. It is given up, unconverged, when the objective has stopped
    rising.

    Nothing is shrunk: below 10,000 rows the passes cost little more than numpy's calls do.

    Source: Fan, Chen, Lin, "Working set selection using second order information for training support vector
    machines", JMLR 6, 2005 (WSS 2); Chang, Lin, "LIBSVM: a library for support vector machines", 2011; the leaps are
    those of an active set method: Scheinberg, "An efficient implementation of an active set method for SVMs", JMLR 7,
    2006.
    """
    b = np.zeros(len(problem.y)) if start is None else start.copy()
    stretch = max(FEWEST_STEPS_BETWEEN_LEAPS, STEPS_BETWEEN_LEAPS * len(b))
    g = problem.gradient(b)
    steps, idle, best = 0, 0, -inf
    while _gap(problem, b, g) > tolerance and steps < max_steps and idle < PATIENCE:
        taken = _ascend(problem, b, g, tolerance, min(stretch, max_steps - steps))
        steps += taken
        if taken == stretch:
            _leap(problem, b, g)
        g = problem.gradient(b)
        if not taken:  # rounding alone keeps the two sides apart
            break
        objective = _objective(problem, b, g)
        idle = 0 if objective > best + STALLED * abs(best) else idle + 1
        best = max(best, objective)
    return _solution(problem, b, g, steps, tolerance)


def _objective(problem: DualProblem, b: Vector, g: Vector) -> float:
    return 0.5 * float(b @ (problem.y + g))


def _leap(problem: DualProblem, b: Vector, g: Vector) -> None:
    """Move all free rows at once, in place: up to the optimum on them, letting go of one that meets its bound.

    maximise g.d - 1/2 d'Kd over sum(d) = 0, as far as the bounds let it; the gradient follows b.
    """
    lower, upper = problem.lower, problem.upper
    for at in range(MOST_SOLUTIONS):
        free = np.flatnonzero((b > lower) & (b < upper))
        if not 2 <= len(free) <= MOST_FREE_ROWS or (at and at * float(len(free)) ** 3 > LEAP_CUBES):
            return
        rows = problem.K[free].astype(np.float64)  # (f, n)
        direction = _direction(np.ascontiguousarray(rows[:, free]), g[free])
        if direction is None:
            return
        old = b[free]
        room = np.where(direction > 0, upper[free] - old, lower[free] - old)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(direction != 0, room / direction, inf)
        length = min(1.0, float(reach.min()))
        new = np.clip(old + length * direction, lower[free], upper[free])
        near = SAME * (upper[free] - lower[free])
        new = np.where((new >= upper[free] - near), upper[free], new)
        new = np.where((new <= lower[free] + near), lower[free], new)
        b[free] = new
        g -= (new - old) @ rows
        if length == 1.0:
            return


def _direction(K: Matrix, g: Vector) -> Vector | None:
    """From a point with gradient g to the maximum on these rows, by the curvature K (f, f); None if it does not rise.

    Where the kernel is flat it leads far away, uphill. K is written over.
    """
    f = len(g)
    ridge = RIDGE * float(np.trace(K)) / f
    K.flat[:: f + 1] += ridge
    try:
        solved = np.linalg.solve(K, np.stack([g - g.mean(), np.ones(f)], axis=1))
    except np.linalg.LinAlgError:
        return None
    along, ones = solved[:, 0], solved[:, 1]
    total = float(ones.sum())
    if total == 0 or not np.isfinite(solved).all():
        return None
    direction: Vector = along - ones * (float(along.sum()) / total)
    direction -= direction.mean()
    rise, bend = float(direction @ g), float(direction @ (K @ direction))
    if not (rise > 0 and bend > 0):
        return None
    return direction * min(1e300, rise / bend)


def _ascend(problem: DualProblem, b: Vector, g: Vector, tolerance: float, most: int) -> int:
    """Steps on b and g, in place, until the gap of g is closed; returns how many."""
    K, lower, upper = problem.K, problem.lower, problem.upper
    half = 0.5 * np.diagonal(K).astype(np.float64)
    not_up, not_down = np.where(b < upper, 0.0, inf), np.where(b > lower, 0.0, inf)
    gains, row_i, row_j, fall = (np.empty_like(g) for _ in range(4))
    for step in range(most):
        np.subtract(g, not_up, out=gains)
        i = int(gains.argmax())
        np.subtract(gains[i], g, out=fall)
        np.subtract(fall, not_down, out=fall)
        np.maximum(fall, 0.0, out=fall)
        if fall.max() <= tolerance:
            return step
        row_i[:] = K[i]
        np.subtract(half, row_i, out=row_j)
        np.add(row_j, half[i], out=row_j)
        np.maximum(row_j, SMALLEST_CURVATURE, out=row_j)
        np.multiply(fall, fall, out=gains)
        np.divide(gains, row_j, out=gains)
        j = int(gains.argmax())
        length = min(float(fall[j]) / (2.0 * float(row_j[j])), float(upper[i] - b[i]), float(b[j] - lower[j]))
        row_j[:] = K[j]
        np.subtract(row_i, row_j, out=row_i)
        np.multiply(row_i, length, out=row_i)
        np.subtract(g, row_i, out=g)
        _move(b, i, length, lower, upper, not_up, not_down)
        _move(b, j, -length, lower, upper, not_up, not_down)
    return most


def _move(
    b: Vector, at: int, by: float, lower: Vector, upper: Vector, not_up: Vector, not_down: Vector
) -> None:
    """One coordinate of a step, never past its bounds, and on the one that it meets but for rounding."""
    low, high = float(lower[at]), float(upper[at])
    value, near = float(b[at]) + by, SAME * (high - low)
    if by > 0 and value >= high - near:
        value = high
    elif by < 0 and value <= low + near:
        value = low
    b[at] = value
    not_up[at] = 0.0 if value < high else inf
    not_down[at] = 0.0 if value > low else inf


def _sides(problem: DualProblem, b: Vector, g: Vector) -> tuple[float, float]:
    """The largest gradient of the up rows and the smallest of the down rows; -inf and inf where there is none."""
    up, down = b < problem.upper, b > problem.lower
    return float(g[up].max(initial=-inf)), float(g[down].min(initial=inf))


def _gap(problem: DualProblem, b: Vector, g: Vector) -> float:
    top, bottom = _sides(problem, b, g)
    return top - bottom


def _solution(problem: DualProblem, b: Vector, g: Vector, steps: int, tolerance: float) -> DualSolution:
    top, bottom = _sides(problem, b, g)
    inside = (b > problem.lower) & (b < problem.upper)
    if inside.any():
        intercept = float(g[inside].mean())
    else:  # one side may be empty: the other alone says where the margin is
        ends = [end for end in (top, bottom) if abs(end) < inf]
        intercept = sum(ends) / len(ends) if ends else 0.0
    is_open = not inside.any() and -inf < top < bottom < inf
    return DualSolution(
        b=b,
        gradient=g,
        intercept=intercept,
        intercepts=(top, bottom) if is_open else (intercept, intercept),
        gap=top - bottom,
        objective=_objective(problem, b, g),
        steps=steps,
        converged=top - bottom <= tolerance,
    )
