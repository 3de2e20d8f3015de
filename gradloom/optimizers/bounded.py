"""Where a quadratic model of a function has its minimum in a box: the step of L-BFGS-B.

    model     m(z) = g^T (z - x) + 1/2 (z - x)^T B (z - x),     B = theta I - W M W^T    from the last pairs (s, y)
    box       z_j >= 0 for the first ``n_bounded`` entries; the others are free

First the Cauchy point: the first local minimum of m along the path x - t g, bent wherever an entry reaches 0. It
decides which entries stay at 0. Then the minimum over all others, cut back to the box. Source: Byrd, Lu, Nocedal, Zhu,
"A limited memory algorithm for bound constrained optimization", SIAM J. Sci. Comput. 16, 1995. Pure: arrays in, arrays
out.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from gradloom.optimizers.lbfgs import Pair
from gradloom.optimizers.optimizer import Vector

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CompactBfgs:
    """B = theta I - W M W^T: the limited-memory BFGS matrix, written compactly."""

    theta: float
    W: Matrix  # (n, 2k): the changes y, then theta times the steps s
    M: Matrix  # (2k, 2k)


def compact(pairs: tuple[Pair, ...], n: int) -> CompactBfgs:
    """The matrix of the pairs, the oldest first; the identity without any. ``n`` = number of variables."""
    if not pairs:
        return CompactBfgs(1.0, np.zeros((n, 0)), np.zeros((0, 0)))
    S, Y = (np.stack([getattr(p, name) for p in pairs], axis=1) for name in ("step", "change"))
    last = pairs[-1]
    theta = float(last.change @ last.change) / last.curvature
    products = S.T @ Y
    lower = np.tril(products, -1)
    inverse = np.block([[-np.diag(np.diagonal(products)), lower.T], [lower, theta * (S.T @ S)]])
    return CompactBfgs(theta, np.hstack([Y, theta * S]), np.linalg.inv(inverse))


def box_minimum(x: Vector, gradient: Vector, bfgs: CompactBfgs, n_bounded: int) -> Vector:
    """Where the model has its minimum in the box, about; x and the result are in the box, shape (n,)."""
    cauchy, c = _cauchy_point(x, gradient, bfgs, n_bounded)
    free = np.ones(len(x), dtype=bool)
    free[:n_bounded] = cauchy[:n_bounded] > 0.0
    if not len(bfgs.M) or not free.any():
        return cauchy
    step = _free_minimum(x, gradient, bfgs, cauchy, c, free)
    inside = cauchy.copy()
    inside[free] += step
    np.maximum(inside[:n_bounded], 0.0, out=inside[:n_bounded])
    if float(gradient @ (inside - x)) < 0.0:
        return inside
    inside = cauchy.copy()
    inside[free] += _longest(cauchy, step, free, n_bounded) * step
    np.maximum(inside[:n_bounded], 0.0, out=inside[:n_bounded])
    return inside


def _cauchy_point(x: Vector, gradient: Vector, bfgs: CompactBfgs, n_bounded: int) -> tuple[Vector, Vector]:
    """The Cauchy point z and c = W^T (z - x); algorithm CP of the source, in its notation."""
    theta, W, M = bfgs.theta, bfgs.W, bfgs.M
    reach = np.full(len(x), inf)
    falling = gradient[:n_bounded] > 0.0
    reach[:n_bounded][falling] = x[:n_bounded][falling] / gradient[:n_bounded][falling]
    d: Vector = np.where(reach > 0.0, -gradient, 0.0)
    z, c, p = x.copy(), np.zeros(W.shape[1]), W.T @ d
    slope = -float(d @ d)
    if slope == 0.0:
        return z, c
    bend = -theta * slope - float(p @ M @ p)
    least = np.finfo(np.float64).eps * bend
    best, before = -slope / bend, 0.0
    for j in _in_order(reach):
        span = float(reach[j]) - before
        if best < span:
            break
        z[j] = 0.0
        c += span * p
        g, w = float(gradient[j]), W[j]
        Mw = M @ w
        slope += span * bend + g * g + theta * g * float(z[j] - x[j]) - g * float(Mw @ c)
        bend = max(bend - theta * g * g - 2.0 * g * float(Mw @ p) - g * g * float(w @ Mw), least)
        p += g * w
        d[j] = 0.0
        best, before = -slope / bend, float(reach[j])
    best = max(best, 0.0)
    moving = d != 0.0
    z[moving] = x[moving] + (before + best) * d[moving]
    np.maximum(z[:n_bounded], 0.0, out=z[:n_bounded])
    return z, c + best * p


def _in_order(reach: Vector) -> list[int]:
    """The entries that reach a bound, the first to do so first."""
    which = np.flatnonzero((reach > 0.0) & np.isfinite(reach))
    ordered: list[int] = which[np.argsort(reach[which], kind="stable")].tolist()
    return ordered


def _free_minimum(
    x: Vector, gradient: Vector, bfgs: CompactBfgs, cauchy: Vector, c: Vector, free: NDArray[np.bool_]
) -> Vector:
    """The step from the Cauchy point to the minimum over the free entries; the direct primal method."""
    theta, M, W = bfgs.theta, bfgs.M, bfgs.W[free]
    reduced = gradient[free] + theta * (cauchy[free] - x[free]) - W @ (M @ c)
    v = M @ (W.T @ reduced)
    inner = np.linalg.solve(np.eye(len(M)) - M @ (W.T @ W) / theta, v)
    return np.asarray(-reduced / theta - W @ inner / theta**2)


def _longest(cauchy: Vector, step: Vector, free: NDArray[np.bool_], n_bounded: int) -> float:
    """How much of the step stays in the box, at most all of it."""
    here, bounded = cauchy[free], np.flatnonzero(free) < n_bounded
    leaving = bounded & (step < 0.0)
    return float(min(1.0, (here[leaving] / -step[leaving]).min(initial=1.0)))
